//! The node's answers against a real server's, byte for byte.
//!
//! Masked: ids, the time, INFO's text, the order of KEYS, and the milliseconds that pass
//! between setting a key and asking for its PTTL. In epochs' records, times are compared by
//! their distance from now, and a server's own ids by their places (`states`). A server other
//! than 7.0.15 words its errors in its own way; then only their codes are compared.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use redlatch::testing::{NodeCore, Options, Session, TestClock};

use crate::server::{Server, poll_until};
use crate::wire::{frame, read_message, read_reply};

type Args = Vec<Vec<u8>>;

const CASES: u32 = 10_000;
const SEED: &str = "REDLATCH_TEST_SEED";
const SCRIPTS: [(&str, &str); 11] = [
    ("extend.lua", include_str!("../../src/algorithm/script/extend.lua")),
    ("fenced.lua", include_str!("../../src/algorithm/script/fenced.lua")),
    ("raise.lua", include_str!("../../src/algorithm/script/raise.lua")),
    ("release.lua", include_str!("../../src/algorithm/script/release.lua")),
    ("stamp.lua", include_str!("../../src/algorithm/script/stamp.lua")),
    ("take.lua", include_str!("../../src/algorithm/script/take.lua")),
    ("keep.lua", include_str!("../../src/algorithm/script/keep.lua")),
    ("drop.lua", include_str!("../../src/algorithm/script/drop.lua")),
    ("enter.lua", include_str!("../../src/algorithm/script/enter.lua")),
    ("leave.lua", include_str!("../../src/algorithm/script/leave.lua")),
    ("confirm.lua", include_str!("../../src/algorithm/script/confirm.lua")),
];
const FENCED: usize = 1;
const STAMP: usize = 4;
const TAKE: usize = 5;
const KEEP: usize = 6;
const DROP: usize = 7;
const ENTER: usize = 8;
const LEAVE: usize = 9;
const CONFIRM: usize = 10;

#[test]
fn random_commands_get_the_real_servers_answers() {
    let server = Server::start_virgin(&[]);
    let mut pair = Pair::new(&server, Options::new());
    let seed = std::env::var(SEED).map_or(1, |seed| seed.parse::<u64>().expect("a number"));
    // The cheapest generator: the case's quality is in what it chooses from, not in its bits.
    let bytes: [u8; 16] = (u128::from(seed) << 64 | 1).to_le_bytes();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
    let digests = pair.digests();
    let run = RefCell::new((pair, Seen::default()));
    let outcome = TestRunner::new_with_rng(config, rng).run(&case(digests), |case| {
        let (pair, seen) = &mut *run.borrow_mut();
        pair.reset(case.resp3, case.scripts_loaded);
        // Everything up to a wait goes out in one write.
        for batch in case.steps.split_inclusive(|step| matches!(step, Step::Expire { .. })) {
            let commands: Vec<Args> = batch.iter().map(Step::args).collect();
            for (args, (real, node)) in commands.iter().zip(pair.ask(&commands)) {
                prop_assert!(real == node, "{}", difference(args, &real, &node));
                seen.note(args, &real);
            }
            if let Some(Step::Expire { key }) = batch.last() {
                pair.let_expire(key).map_err(TestCaseError::fail)?;
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{SEED}={seed}: {error}");
    }
    run.into_inner().1.assert_rich();
}

#[test]
fn every_script_is_compared() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/algorithm/script");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
    let names = files.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".lua"));
    let compared: BTreeSet<String> = SCRIPTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names.collect::<BTreeSet<String>>(), compared, "scripts in {folder}");
}

#[test]
fn logins_get_the_real_servers_answers() {
    let server = Server::start_with(&["requirepass pw", "user locks on >secret ~* &* +@all"]);
    let options = || Options::new().password("pw").user("locks", "secret");
    let conversations: [&[&str]; 4] = [
        &[
            "PING",
            "FOO",
            "SET",
            "SET a b",
            "CLIENT FOO",
            "CLIENT SETNAME a",
            "HELLO",
            "HELLO 3",
            "HELLO x",
            "HELLO 3 AUTH default bad",
            "HELLO 3 SETNAME a",
            "AUTH bad",
            "AUTH default bad",
            "AUTH nobody pw",
            "GET a",
            "AUTH pw",
            "GET a",
            "AUTH bad",
            "GET a",
        ],
        &[
            "HELLO 3 AUTH default pw",
            "CLIENT TRACKING ON BCAST NOLOOP PREFIX a PREFIX b",
            "GET a",
            "HELLO 2",
            "GET a",
        ],
        &["AUTH locks bad", "AUTH locks secret", "GET a", "HELLO 3 AUTH nobody pw", "GET a"],
        &[
            "HELLO 3 SETNAME bad\u{1}name AUTH locks secret",
            "PING",
            "HELLO 3 AUTH locks secret SETNAME x",
        ],
    ];
    for conversation in conversations {
        let mut pair = Pair::new(&server, options());
        for line in conversation {
            pair.ask_equal(words(&line.split(' ').collect::<Vec<_>>()));
        }
    }
}

/// Frames that no client of ours sends; after the broken ones, both sides have hung up.
#[test]
fn raw_frames_get_the_real_servers_answers() {
    let server = Server::start_virgin(&[]);
    let exact = Pair::new(&server, Options::new()).exact;
    let long = [b'1'; 70_000];
    let inputs: Vec<Vec<u8>> = vec![
        b"*0\r\n*-1\r\n\r\nPING\r\n".to_vec(),
        b"  set  a   b  \nGET a\r\nDEL a\r\n".to_vec(),
        b"*1\r\n$4\rxPINGxy*1\r\n$4\r\nPING\r\n".to_vec(),
        b"*1\r\n$0\r\n\r\nPING\r\n".to_vec(),
        b"PING\r\n*x\r\nPING\r\n".to_vec(),
        b"*01\r\n".to_vec(),
        b"*+1\r\n".to_vec(),
        b"*99999999999\r\n".to_vec(),
        b"*1\r\nPING\r\n".to_vec(),
        b"*1\r\n$-1\r\n".to_vec(),
        b"*1\r\n$x\r\n".to_vec(),
        b"*1\r\n$04\r\nPING\r\n".to_vec(),
        b"*1\r\n$99999999999\r\n".to_vec(),
        [b"*".as_slice(), &long].concat(),
        [b"*1\r\n$".as_slice(), &long].concat(),
        long.to_vec(),
    ];
    for input in inputs {
        // A mark behind the input: a server that still listens answers it, one that hung up
        // does not.
        let marked = [input.as_slice(), b"\r\nPING mark\r\n"].concat();
        let mut stream = connect(&server);
        // The server may hang up before everything is written.
        let _ = stream.get_mut().write_all(&marked);
        let mut real = Vec::new();
        while let Ok(reply) = read_reply(&mut stream) {
            real.push(mask(&[], reply, exact));
            if real.last().is_some_and(|reply| reply.ends_with(b"mark\r\n")) {
                break;
            }
        }
        let mut core = NodeCore::new(Options::new());
        let mut session = core.connect("test:1");
        let answered = core.exchange(&mut session, &marked);
        let node = split(&answered).into_iter().map(|reply| mask(&[], reply, exact));
        let shown = String::from_utf8_lossy(&input[..input.len().min(60)]).into_owned();
        assert_eq!(real, node.collect::<Vec<_>>(), "after {shown:?}");
        let marks = real.last().is_some_and(|reply| reply.ends_with(b"mark\r\n"));
        assert_eq!(core.is_open(&session), marks, "after {shown:?}");
    }
}

/// A real server and a node, asked the same.
struct Pair {
    stream: BufReader<TcpStream>,
    core: NodeCore,
    session: Session,
    clock: TestClock,
    /// Whether the server's wording is the one that the node has.
    exact: bool,
    /// What the server says of itself.
    itself: Identity,
}

impl Pair {
    fn new(server: &Server, options: Options) -> Self {
        // The node's time starts at the server's, so that both refuse the same huge expiries.
        let clock = TestClock::manual(TestClock::real().now_ms());
        let mut core = NodeCore::new(options.clock(clock.clone()).opened(false));
        let session = core.connect("test:1");
        let exact = server.info("redis_version").as_deref() == Some("7.0.15")
            && server.info("valkey_version").is_none();
        let itself = Identity::of(server);
        Self { stream: connect(server), core, session, clock, exact, itself }
    }

    /// Both sides' ids and times: the server's, the node's.
    fn views(&self) -> [View; 2] {
        let node = Identity { run_id: self.core.run_id(), replid: self.core.replid() };
        let now_us = [TestClock::real().now_us(), self.clock.now_us()];
        [View::new(&self.itself, now_us[0]), View::new(&node, now_us[1])]
    }

    /// The scripts' digests, by the real server's word.
    fn digests(&mut self) -> Args {
        let load = |(_, body)| self.ask_equal(words(&["SCRIPT", "LOAD", body]))[5..45].to_vec();
        SCRIPTS.into_iter().map(load).collect()
    }

    /// Not by FLUSHALL, and seldom by SCRIPT FLUSH: on the server they take a hundred times as
    /// long as all the rest of a case.
    fn reset(&mut self, resp3: bool, scripts_loaded: bool) {
        let mut commands = vec![
            words(&["HELLO", if resp3 { "3" } else { "2" }]),
            words(&["CLIENT", "TRACKING", "OFF"]),
        ];
        for db in ["1", "0"] {
            commands.push(words(&["SELECT", db]));
            commands.push([words(&["DEL"]), generate::keys()].concat());
            commands.push(words(&["DBSIZE"]));
        }
        match scripts_loaded {
            true => commands.extend(SCRIPTS.map(|(_, body)| words(&["SCRIPT", "LOAD", body]))),
            false => commands.push(words(&["SCRIPT", "FLUSH"])),
        }
        for (args, (real, node)) in commands.iter().zip(self.ask(&commands)) {
            assert!(real == node, "{}", difference(args, &real, &node));
        }
    }

    /// The masked replies of both to one write. The node gets it in two parts.
    fn ask(&mut self, commands: &[Args]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let [real, node] = self.views();
        let input = |view: &View| -> Vec<u8> {
            commands.iter().flat_map(|args| frame(&view.filled(args))).collect()
        };
        self.stream.get_mut().write_all(&input(&real)).unwrap();
        let input = input(&node);
        let (head, tail) = input.split_at(input.len() / 2);
        let mut answered = self.core.exchange(&mut self.session, head);
        answered.extend(self.core.exchange(&mut self.session, tail));
        let node = split(&answered);
        assert_eq!(node.len(), commands.len(), "one reply per command");
        let real: Vec<Vec<u8>> =
            commands.iter().map(|_| read_reply(&mut self.stream).unwrap()).collect();
        let views = self.views();
        let masked = |view: &View, args: &Args, reply| view.masked(mask(args, reply, self.exact));
        let pairs = commands.iter().zip(real.into_iter().zip(node));
        let pairs = pairs.map(|(args, (real, node))| {
            (masked(&views[0], args, real), masked(&views[1], args, node))
        });
        pairs.collect()
    }

    /// The reply that both give to one command.
    fn ask_equal(&mut self, args: Args) -> Vec<u8> {
        let (real, node) = self.ask(std::slice::from_ref(&args)).remove(0);
        assert!(real == node, "{}", difference(&args, &real, &node));
        real
    }

    /// Waits until a key set with PX 1 has expired on the server, then lets the node's time pass.
    fn let_expire(&mut self, key: &[u8]) -> Result<(), String> {
        let args = vec![b"PTTL".to_vec(), key.to_vec()];
        poll_until("the key to expire", || {
            self.stream.get_mut().write_all(&frame(&args)).unwrap();
            (read_reply(&mut self.stream).unwrap() == b":-2\r\n").then_some(())
        });
        let node =
            |pair: &mut Self| split(&pair.core.exchange(&mut pair.session, &frame(&args))).concat();
        self.clock.advance(Duration::from_millis(1));
        let last = node(self);
        self.clock.advance(Duration::from_millis(1));
        match (last.as_slice(), node(self).as_slice()) {
            (b":0\r\n", b":-2\r\n") => Ok(()),
            replies => Err(format!("PX 1 after 1 and 2 ms: {replies:?}")),
        }
    }
}

fn connect(server: &Server) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    BufReader::new(stream)
}

/// The replies among what a node wrote.
fn split(mut replies: &[u8]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    while !replies.is_empty() {
        out.push(read_message(&mut replies).expect("the node writes whole replies"));
    }
    out.retain(|message| message[0] != b'>');
    out
}

/// Replaces what two servers cannot have in common.
fn mask(args: &[Vec<u8>], reply: Vec<u8>, exact: bool) -> Vec<u8> {
    let word = |at: usize| args.get(at).map(|arg| arg.to_ascii_lowercase()).unwrap_or_default();
    let (first, second) = (word(0), word(1));
    match (first.as_slice(), second.as_slice()) {
        // What other servers have and 7.0.15 has not.
        (b"delex" | b"delifeq", _) | (b"client", b"setinfo") | (b"command", b"info") if !exact => {
            return b"?".to_vec();
        }
        _ => {}
    }
    if reply[0] == b'-' {
        let code = reply.split(|byte| *byte == b' ').next().unwrap_or_default().to_vec();
        return if exact { reply } else { code };
    }
    let text = String::from_utf8_lossy(&reply).into_owned();
    match (first.as_slice(), second.as_slice()) {
        (b"hello", _) if !exact => reply[..1].to_vec(),
        (b"hello", _) => {
            let (head, tail) = text.split_once("$2\r\nid\r\n:").expect("HELLO answers an id");
            let tail = tail.trim_start_matches(|digit: char| digit.is_ascii_digit());
            format!("{head}<id>{tail}").into_bytes()
        }
        (b"client", b"id") => b":<id>".to_vec(),
        (b"info", _) => reply[..1].to_vec(),
        (b"time", _) => reply[..4].to_vec(),
        // Every ttl used is a multiple of 20 s or tiny, so rounding up finds which one it was.
        (b"pttl", _) => match text[1..].trim_end().parse::<i64>().unwrap() {
            left if left > 1 => format!(":{}", (left + 19_999) / 20_000 * 20_000).into_bytes(),
            _ => reply,
        },
        (b"eval" | b"evalsha", _) => masked_place(&text).unwrap_or(reply),
        (b"keys", _) => {
            let mut parts: Vec<&str> = text.split('$').collect();
            parts[1..].sort_unstable();
            parts.concat().into_bytes()
        }
        _ => reply,
    }
}

/// What a ticket is answered while somebody has the lock: a letter and the lock's life, as above.
fn masked_place(text: &str) -> Option<Vec<u8>> {
    let (_, place) = text.strip_prefix('$')?.strip_suffix("\r\n")?.split_once("\r\n")?;
    let left: i64 = place.strip_prefix(['w', 'd'])?.parse().ok()?;
    let life = if left > 1 { (left + 19_999) / 20_000 * 20_000 } else { left };
    Some(format!("${}{life}", &place[..1]).into_bytes())
}

fn difference(args: &[Vec<u8>], real: &[u8], node: &[u8]) -> String {
    let shown = |bytes: &[u8]| bytes[..bytes.len().min(600)].escape_ascii().to_string();
    let command: Vec<String> = args.iter().map(|arg| shown(arg)).collect();
    format!("{command:?}\n  server: {}\n  node:   {}", shown(real), shown(node))
}

fn words(words: &[&str]) -> Args {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// That the random cases reached what they are meant to compare.
#[derive(Default)]
struct Seen(BTreeSet<String>);

impl Seen {
    fn note(&mut self, args: &[Vec<u8>], reply: &[u8]) {
        let name = String::from_utf8_lossy(&args[0]).to_ascii_lowercase();
        let end = reply.len().min(match reply[0] {
            b'-' => 20,
            b'$' => 9,
            _ => 4,
        });
        self.0.insert(format!("{name} {}", reply[..end].escape_ascii()));
    }

    fn assert_rich(&self) {
        let wanted = [
            r"set +OK",
            r"set $-1",
            r"set _",
            r"set -ERR invalid expire",
            r"set -ERR syntax error",
            r"set -ERR value is not",
            r"set -ERR wrong number",
            r"get $-1",
            r"get _",
            r"get $2",
            r"pttl :-2",
            r"pttl :-1",
            r"pttl :100",
            r"pttl :600",
            r"del :0",
            r"del :2",
            r"evalsha -NOSCRIPT",
            r"evalsha -ERR user_script",
            r"evalsha -ERR Wrong number",
            r"evalsha -ERR value is not",
            r"evalsha -ERR Number of keys",
            r"evalsha $1\r\nd",
            r"evalsha $1\r\ne",
            r"evalsha $1\r\nm",
            r"evalsha $1\r\no",
            r"evalsha $3",
            r"evalsha -EPOCH another",
            r"evalsha -INITIALISED",
            r"evalsha -ERR no such mode",
            r"evalsha -ERR no such ttl",
            r"evalsha -WRONGTYPE",
            r"get -WRONGTYPE",
            r"set -WRONGTYPE",
            r"hgetall -WRONGTYPE",
            r"hgetall *2",
            r"hgetall %1",
            r"hgetall *0",
            r"evalsha :1\r",
            r"evalsha :0\r",
            r"evalsha :-1",
            r"evalsha :",
            r"evalsha $1\r\nn",
            r"evalsha $d60000",
            r"evalsha $d-1",
            r"evalsha $1\r\ng",
            r"evalsha $1\r\nr",
            r"evalsha -ERR value is not a ",
            r"zadd -WRONGTYPE",
            r"zadd -ERR value is not a ",
            r"zadd -ERR syntax error",
            r"zadd :0",
            r"zadd :1",
            r"zadd :2",
            r"zcard :2",
            r"zrange *2",
            r"zrange *0",
            r"zrange -WRONGTYPE",
            r"publish :0",
            r"evalsha *6",
            r"evalsha $-1",
            r"evalsha _",
            r"eval $1",
            r"eval *6",
            r"client -ERR CLIENT CACHING",
            r"script *",
            r"script +OK",
            r"script -ERR",
            r"keys *2",
            r"dbsize :2",
            r"select +OK",
            r"select -ERR DB index",
            r"hello %",
            r"hello *",
            r"hello -NOPROTO",
            r"hello -WRONGPASS",
            r"info =",
            r"info $",
            r"command *",
            r"role *3",
            r"client -ERR unknown sub",
        ];
        let missing: Vec<&str> = wanted
            .into_iter()
            .filter(|wanted| !self.0.iter().any(|seen| seen.starts_with(wanted)))
            .collect();
        assert!(missing.is_empty(), "never compared: {missing:?}\nseen: {:#?}", self.0);
    }
}

#[derive(Clone, Debug)]
struct Case {
    resp3: bool,
    scripts_loaded: bool,
    steps: Vec<Step>,
}

#[derive(Clone)]
enum Step {
    Command(Args),
    /// `SET key x PX 1`, then wait until it is gone.
    Expire {
        key: Vec<u8>,
    },
}

impl Step {
    fn args(&self) -> Args {
        match self {
            Self::Command(args) => args.clone(),
            Self::Expire { key } => {
                [words(&["SET"]), vec![key.clone()], words(&["x", "PX", "1"])].concat()
            }
        }
    }
}

/// Readable in proptest's report of the smallest failing case.
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let args: Vec<String> =
            self.args().iter().map(|arg| arg.escape_ascii().to_string()).collect();
        write!(f, "{args:?}")
    }
}

mod ends;
mod generate;
mod modes;
mod pushes;
mod queue;
mod scripts;
mod states;
use generate::case;
use states::{Identity, View};
