//! Channels and the queue: clients that listen, random calls, the same messages in the same order.

use std::io::{BufReader, Write};
use std::net::TcpStream;

use redlatch::testing::{NodeCore, Options, Session};

use super::{CONFIRM, DROP, ENTER, LEAVE, SCRIPTS, TAKE, connect, masked_place};
use crate::server::Server;
use crate::wire::{frame, read_message};

/// Tokens of three processes, two each.
const TOKENS: [&str; 6] = [
    "aaaaaaaaaaaaaaaa0000000000000000",
    "aaaaaaaaaaaaaaaa0000000000000001",
    "bbbbbbbbbbbbbbbb0000000000000000",
    "bbbbbbbbbbbbbbbb0000000000000001",
    "cccccccccccccccc0000000000000000",
    "cccccccccccccccc0000000000000001",
];

const STEPS: usize = 4_000;

/// One client of either side.
struct Client {
    stream: BufReader<TcpStream>,
    session: Session,
}

struct Clients {
    core: NodeCore,
    all: Vec<Client>,
    story: Vec<String>,
}

impl Clients {
    fn new(server: &Server, clients: usize) -> Self {
        let mut core = NodeCore::new(Options::new().opened(false));
        let client = |_| Client { stream: connect(server), session: core.connect("test:1") };
        let all = (0..clients).map(client).collect();
        Self { core, all, story: Vec::new() }
    }

    /// Loads a script on either side: its digest.
    fn load(&mut self, script: usize) -> String {
        let loaded = self.ask(0, &["SCRIPT", "LOAD", SCRIPTS[script].1]).remove(0);
        loaded.chars().skip(7).take(40).collect()
    }

    /// One client's command; whatever everybody receives, up to the answer to a mark each.
    fn ask(&mut self, by: usize, args: &[&str]) -> Vec<String> {
        self.story.push(format!("{by}: {args:?}"));
        let mut received = Vec::new();
        for client in std::iter::once(by).chain((0..self.all.len()).filter(|at| *at != by)) {
            let command = if client == by { frame(args) } else { Vec::new() };
            let input = [command, frame(&["PING", "mark"])].concat();
            let Client { stream, session } = &mut self.all[client];
            stream.get_mut().write_all(&input).unwrap();
            let answered = self.core.exchange(session, &input);
            let (mut wanted, mut shown) = (Vec::new(), Vec::new());
            while !wanted.last().is_some_and(|last: &String| last.ends_with(r"$4\r\nmark\r\n")) {
                wanted.push(masked(read_message(stream).unwrap()));
            }
            let mut answered = &*answered;
            while !answered.is_empty() {
                shown.push(masked(read_message(&mut answered).unwrap()));
            }
            let from = self.story.len().saturating_sub(20);
            if args[0] != "HELLO" {
                let story = &self.story[from..];
                assert_eq!(wanted, shown, "client {client}: server, node; {story:#?}");
            }
            wanted.pop();
            received.extend(wanted);
        }
        received
    }
}

fn masked(message: Vec<u8>) -> String {
    let text = String::from_utf8(message).unwrap();
    let place = masked_place(&text).map(|place| String::from_utf8(place).unwrap());
    // An owner's end, which is a time of day.
    let words = text.split_inclusive(['\r', ' ']).map(|word| match word.trim_end() {
        ends if ends.len() == 13 && ends.bytes().all(|digit| digit.is_ascii_digit()) => "<end>\r",
        _ => word,
    });
    place.unwrap_or_else(|| words.collect()).escape_default().to_string()
}

#[test]
fn what_is_said_of_a_queue_is_heard_as_from_the_real_server() {
    let server = Server::start_virgin(&[]);
    let mut clients = Clients::new(&server, 4);
    for (client, process) in ["a", "b", "c", "a"].into_iter().enumerate() {
        // The last one shares a channel, in RESP2, where it may do nothing else.
        clients.ask(client, &["HELLO", if client == 3 { "2" } else { "3" }]);
        let channel = format!("redlatch:p:{}", process.repeat(16));
        clients.ask(client, &["SUBSCRIBE", &channel]);
    }
    let digests = [ENTER, LEAVE, CONFIRM, TAKE, DROP].map(|at| clients.load(at));
    clients.ask(0, &["SET", "e", "id"]);
    let mut bits = 1_u64;
    let mut pick = |below: usize| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(bits >> 33).unwrap() % below
    };
    let mut heard = Vec::new();
    for _ in 0..STEPS {
        let (by, owner) = (pick(3), pick(TOKENS.len()));
        let token = TOKENS[owner];
        // No two tickets differ only in when they were shown, which is not the same instant for
        // the server and for the node.
        let number = (64 * (1 + owner + TOKENS.len() * pick(3))).to_string();
        let number = number.as_str();
        let epoch = if pick(20) == 0 { "other" } else { "id" };
        let own = format!("redlatch:p:{}", &token[..16]);
        let [enter, leave, confirm, take, drop] = [0, 1, 2, 3, 4].map(|at| digests[at].as_str());
        let keys = ["3", "e", "l", "redlatch:queue:l"];
        let call: Vec<&str> = match pick(28) {
            0..8 => [&["EVALSHA", enter][..], &keys, &[epoch, number, token]].concat(),
            8..15 => vec!["EVALSHA", leave, "2", "l", keys[3], token, "100000", "60000"],
            15 => vec!["EVALSHA", confirm, "3", "e", "l", "c", epoch, token, "80000", "5", "99999"],
            16 => vec!["DEL", "l"],
            17 => vec!["SET", "l", ["theirs", token][pick(2)], "PX", "60000"],
            18 => vec!["PUBLISH", &own, number],
            20..23 => vec!["EVALSHA", take, "2", "e", "l", epoch, token, "60000", "S"],
            23..28 => vec!["EVALSHA", drop, "1", "l", token, "100000"],
            _ => vec![["SUBSCRIBE", "UNSUBSCRIBE"][pick(2)], &own, number],
        };
        let lives = ["60000", "100000", "3600000"];
        let call = if call[1] == enter { [&call[..], &lives].concat() } else { call };
        heard.extend(clients.ask(by, &call));
        for look in [&["GET", "l"][..], &["HGETALL", "l"], &["ZRANGE", keys[3], "0", "-1"]] {
            clients.ask(by, look);
        }
    }
    for letter in ["G", "g", "n", "w"] {
        let said = |message: &&String| {
            message.contains("message") && message.contains(&format!("$34\\r\\n{letter}"))
        };
        let times = heard.iter().filter(said).count();
        assert!(times > 50, "{letter} was heard {times} times");
    }
    for answer in ["$w60000", "$d60000", r"$1\r\nr", r"$1\r\ng", r"$1\r\nh", r"$1\r\no", r"$1\r\nm"]
    {
        assert!(heard.iter().any(|message| message.starts_with(answer)), "{answer} never came");
    }
}

/// One call passes over no more heads than sixteen for whom nobody listens.
#[test]
fn dead_heads_are_passed_over_as_by_the_real_server() {
    let server = Server::start_virgin(&[]);
    let mut clients = Clients::new(&server, 1);
    clients.ask(0, &["HELLO", "3"]);
    clients.ask(0, &["SET", "e", "id"]);
    let [enter, leave, take, drop] = [ENTER, LEAVE, TAKE, DROP].map(|at| clients.load(at));
    let queue = "redlatch:queue:l";
    let me = TOKENS[0];
    for (heads, left) in [(15, 0), (16, 0), (17, 1), (40, 24)] {
        let calls: [&[&[&str]]; 3] = [
            &[&["EVALSHA", &enter, "3", "e", "l", queue, "id", "64000", me, "9", "70000", "9999"]],
            &[
                &["SET", "l", me, "PX", "60000"],
                &["EVALSHA", &leave, "2", "l", queue, me, "70000", "9"],
            ],
            &[
                &["EVALSHA", &take, "2", "e", "l", "id", me, "60000", "IS"],
                &["EVALSHA", &drop, "1", "l", me, "70000"],
            ],
        ];
        for (at, call) in calls.into_iter().enumerate() {
            clients.ask(0, &["DEL", "l", queue]);
            for head in 0..heads {
                let member = format!("dddddddddddddddd{head:016}60000");
                clients.ask(0, &["ZADD", queue, &(head * 64).to_string(), &member]);
            }
            for command in call {
                clients.ask(0, command);
            }
            // Who enters is behind them, and takes the lock if it is reached.
            let own = usize::from(at == 0 && heads > 15);
            let stands = format!(":{}\\r\\n", left + own);
            assert_eq!(clients.ask(0, &["ZCARD", queue]), [stands], "{at}: {heads}");
            clients.ask(0, &["GET", "l"]);
        }
    }
}

/// Every command around channels, in both protocols.
#[test]
fn listening_gets_the_real_servers_answers() {
    let server = Server::start_virgin(&[]);
    let lines = [
        "SUBSCRIBE a b a",
        "GET x",
        "PING",
        "PING x",
        "CLIENT ID",
        "CLIENT FOO",
        "SET k",
        "FOO",
        "SUBSCRIBE",
        "PUBLISH a b",
        "PUBLISH z b",
        "PUBLISH a",
        "HELLO 3",
        "UNSUBSCRIBE z a",
        "PUBLISH b again",
        "UNSUBSCRIBE",
        "UNSUBSCRIBE",
        "GET x",
        "HELLO 2",
        "SUBSCRIBE c",
        "HELLO 3",
        "UNSUBSCRIBE c",
        "HELLO 3",
    ];
    for version in ["2", "3"] {
        let mut clients = Clients::new(&server, 2);
        clients.ask(0, &["HELLO", version]);
        clients.ask(1, &["HELLO", "3"]);
        for line in lines {
            let line: Vec<&str> = line.split(' ').collect();
            if line != ["CLIENT", "ID"] || version == "2" {
                clients.ask(0, &line);
            }
            clients.ask(1, &["PUBLISH", "b", "x"]);
        }
    }
    // In front of what a command answers, and that in front of what it changed.
    let mut clients = Clients::new(&server, 1);
    clients.ask(0, &["HELLO", "3"]);
    clients.ask(0, &["SUBSCRIBE", "redlatch:p:"]);
    clients.ask(0, &["CLIENT", "TRACKING", "ON"]);
    clients.ask(0, &["ZADD", "q", "1", ""]);
    clients.ask(0, &["ZRANGE", "q", "0", "0"]);
    let received =
        clients.ask(0, &["EVAL", SCRIPTS[LEAVE].1, "2", "l", "q", "t", "100000", "60000"]);
    let kinds: Vec<char> = received.iter().filter_map(|message| message.chars().next()).collect();
    assert_eq!(kinds, ['>', '$', '>', '>'], "{received:?}");
    assert_eq!(clients.ask(0, &["ZCARD", "q"]), [r":0\r\n"]);
}
