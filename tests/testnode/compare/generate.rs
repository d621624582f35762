//! Random commands over few keys, tokens and databases, right and wrong ones.
//!
//! Left out, because the node does not have them: SET's options but NX, GET and PX, KEYS with
//! other patterns, COMMAND INFO of existing commands, overlapping tracking prefixes, and
//! scripts other than the engine's.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::BoxedStrategy;

use super::states;
use super::{Args, CONFIRM, Case, DROP, ENTER, KEEP, LEAVE, SCRIPTS, STAMP, Step, TAKE, words};

/// One to eight commands on one connection.
pub fn case(digests: Args) -> impl Strategy<Value = Case> {
    // Seldom found by chance, and what RAISE wants: a known epoch, a held lock and its counter.
    let held = [["SET", "k0", "t0"], ["SET", "k1", "t0"], ["SET", "k2", "540000"]];
    let held = held.map(|line| Step::Command(words(&line))).to_vec();
    // And what modes want: owners beside whom others come.
    let take = |key, token, mode| {
        let call = [words(&["EVALSHA"]), vec![digests[TAKE].clone()]].concat();
        [call, words(&["2", "k0", key, "t0", token, "60000", mode, "3"])].concat()
    };
    let shared = ["P0", "P2"].map(|permit| {
        let set = words(&["SET", "k0", "t0"]);
        let permits = ["t1", "t2"].map(|token| take("k2", token, permit));
        [vec![set, take("k1", "t0", "S")], permits.to_vec()].concat()
    });
    let shared = shared.map(|steps| steps.into_iter().map(Step::Command).collect::<Vec<_>>());
    // And what a queue wants: a held lock and who waits for it.
    let line = [
        words(&["SET", "k0", "t0"]),
        words(&["SET", "k1", "t0", "PX", "60000"]),
        words(&["ZADD", "k2", "1", "t1", "2", "t2"]),
    ];
    let line = line.map(Step::Command).to_vec();
    let before = prop_oneof![
        8 => Just(Vec::new()),
        1 => Just(held),
        2 => select(shared.to_vec()),
        1 => Just(line),
    ];
    let step = prop_oneof![
        60 => command(digests).prop_map(Step::Command),
        1 => key().prop_map(|key| Step::Expire { key }),
    ];
    (any::<bool>(), prop::bool::weighted(0.95), before, vec(step, 1..=8)).prop_map(
        |(resp3, scripts_loaded, before, steps)| Case {
            resp3,
            scripts_loaded,
            steps: [before, steps].concat(),
        },
    )
}

fn command(digests: Args) -> BoxedStrategy<Args> {
    let right = prop_oneof![
        30 => set(),
        8 => one("GET"),
        8 => one("PTTL"),
        6 => vec(key(), 1..4).prop_map(|keys| [words(&["DEL"]), keys].concat()),
        20 => evalsha(digests.clone()),
        32 => called(digests.clone()),
        12 => stamp(digests[STAMP].clone()),
        14 => moded(&digests),
        6 => one("HGETALL"),
        14 => queued(&digests),
        8 => sorted(),
        4 => eval(),
        14 => record(),
        6 => scripts(digests),
        12 => fixed(),
    ];
    let spoil = prop_oneof![
        12 => Just(Spoil::Nothing),
        1 => Just(Spoil::DropLast),
        1 => Just(Spoil::Append),
        1 => Just(Spoil::Case),
    ];
    (right, spoil).prop_map(|(args, spoil)| spoil.apply(args)).boxed()
}

#[derive(Clone, Copy, Debug)]
enum Spoil {
    Append,
    Case,
    DropLast,
    Nothing,
}

impl Spoil {
    fn apply(self, mut args: Args) -> Args {
        match self {
            Self::Append => args.push(b"zz".to_vec()),
            Self::Case => args[0].make_ascii_lowercase(),
            Self::DropLast if args.len() > 1 => {
                args.pop();
            }
            Self::DropLast | Self::Nothing => {}
        }
        args
    }
}

/// Every key that a case can set.
pub fn keys() -> Args {
    vec![b"k0".to_vec(), b"k1".to_vec(), b"k2".to_vec(), b"\r\n\0\xff".to_vec()]
}

fn key() -> impl Strategy<Value = Vec<u8>> + Clone {
    select(keys())
}

fn token() -> impl Strategy<Value = Vec<u8>> + Clone {
    select(vec![b"t0".to_vec(), b"t1".to_vec(), Vec::new()])
}

fn one(name: &'static str) -> impl Strategy<Value = Args> {
    key().prop_map(move |key| vec![name.as_bytes().to_vec(), key])
}

fn set() -> impl Strategy<Value = Args> {
    let ttl = prop_oneof![
        8 => select(vec!["60000", "100000", "3600000"]),
        1 => select(vec![
            "0", "-1", "x", "", "05", "+5", " 5", "-0", "1.0",
            "9223372036854775807", "9223372036854775808", "-9223372036854775809",
        ]),
    ];
    let option = prop_oneof![
        6 => Just(words(&["NX"])),
        1 => Just(words(&["nx"])),
        3 => select(vec![words(&["GET"]), words(&["get"])]),
        8 => ttl.clone().prop_map(|ttl| words(&["PX", ttl])),
        1 => ttl.prop_map(|ttl| words(&["px", ttl])),
        1 => select(vec![words(&["FOO"]), words(&["PX"]), words(&["60000"]), words(&[""])]),
    ];
    (key(), token(), vec(option, 0..=3)).prop_map(|(key, token, options)| {
        [words(&["SET"]), vec![key, token], options.concat()].concat()
    })
}

/// Numbers, and texts that are none, as Lua sees them. None is a ttl that could run out here.
pub const SCRIPT_NUMBERS: [&str; 16] = [
    "60000",
    "200000",
    "0",
    "-1",
    "-5",
    "1.5",
    "5000000.5",
    "2e4",
    " 100000 ",
    "+100000",
    "abc",
    "",
    "1e17",
    "99999999999999999",
    "nan",
    "inf",
];

/// The numbers of keys mostly right; arguments by pairs or one by one, as either script reads them.
fn script_arguments() -> impl Strategy<Value = Args> {
    let ttl = prop_oneof![
        6 => select(vec!["60000", "100000", "3600000"]),
        1 => select(SCRIPT_NUMBERS.to_vec()),
    ]
    .prop_map(|ttl| ttl.as_bytes().to_vec());
    let pair = (token(), ttl).prop_map(|(token, ttl)| vec![token, ttl]);
    let argv = prop_oneof![vec(token(), 0..=4), vec(pair, 0..=3).prop_map(|pairs| pairs.concat()),];
    let count = prop_oneof![
        8 => (1..=3_usize).prop_map(|count| count.to_string()),
        1 => select(vec!["0", "-1", "x", "99", "", "9223372036854775807"]).prop_map(str::to_owned),
    ];
    (count, vec(key(), 3), argv).prop_map(|(count, mut keys, argv)| {
        keys.truncate(count.parse().unwrap_or(3));
        [vec![count.into_bytes()], keys, argv].concat()
    })
}

fn evalsha(digests: Args) -> impl Strategy<Value = Args> {
    let upper = digests.iter().map(|digest| digest.to_ascii_uppercase()).collect::<Args>();
    let digest = prop_oneof![
        20 => select(digests),
        1 => select(upper),
        1 => select(vec![vec![b'0'; 40], b"0".to_vec(), Vec::new()]),
    ];
    (digest, script_arguments())
        .prop_map(|(digest, rest)| [words(&["EVALSHA"]), vec![digest], rest].concat())
}

/// Calls of the right shape: epoch, lock and counter are three keys, and the epoch's id is often
/// the one that is there. RAISE takes the fourth argument for a ttl, so that it is a long one.
fn called(digests: Args) -> impl Strategy<Value = Args> {
    let number = prop_oneof![
        4 => select(vec!["520000", "540000", "560000", "9007199254740993"]),
        1 => select(SCRIPT_NUMBERS.to_vec()),
    ];
    // STAMP takes it for a quarantine, which must not be over at once.
    let ttls: Vec<&str> = SCRIPT_NUMBERS.into_iter().filter(|number| *number != "1.5").collect();
    let ttl = prop_oneof![9 => Just("60000"), 1 => select(ttls)];
    (select(digests), select(vec!["t0", "t1"]), ttl, number).prop_map(
        |(digest, token, ttl, number)| {
            let head = [words(&["EVALSHA"]), vec![digest]].concat();
            [head, words(&["3", "k0", "k1", "k2", "t0", token, ttl, number, "100000"])].concat()
        },
    )
}

/// Locks in modes: the epoch is the first key, and its id is often the one that is there.
fn moded(digests: &Args) -> impl Strategy<Value = Args> + use<> {
    let (take, keep, drop) = (digests[TAKE].clone(), digests[KEEP].clone(), digests[DROP].clone());
    let modes = ["X", "S", "IX", "IS", "P0", "P1", "P2", "P12345", "P", "x", ""];
    let mode = prop_oneof![9 => select(modes[..7].to_vec()), 1 => select(modes.to_vec())];
    let ttl = prop_oneof![
        12 => select(vec!["60000", "100000", "3600000"]),
        1 => select(SCRIPT_NUMBERS.to_vec()),
        1 => Just("060000"),
    ];
    let permits = select(vec!["3", "3", "3", "2", "1", "0", "10000", "x"]);
    let locks =
        select(vec![vec!["k1"], vec!["k2"], vec!["k1", "k2"], vec!["k2", "k1"], vec!["k1", "k1"]]);
    let call =
        (select(vec![0, 0, 0, 1, 2]), select(vec!["t0", "t1", ""]), ttl, vec(mode, 2), permits);
    (call, locks).prop_map(move |((script, token, ttl, modes, permits), locks)| {
        let count = (locks.len() + usize::from(script < 2)).to_string();
        let digest = [&take, &keep, &drop][script].clone();
        let head = [words(&["EVALSHA"]), vec![digest], words(&[&count])].concat();
        let rest = match script {
            0 => {
                [&["k0"], &*locks, &["t0", token, ttl], &modes[..locks.len()], &[permits]].concat()
            }
            1 => [&["k0"], &*locks, &["t0", token, ttl]].concat(),
            _ => [&*locks, &[token, ttl]].concat(),
        };
        [head, words(&rest)].concat()
    })
}

const LONG_TOKENS: [&str; 2] =
    ["t0000000000000000000000000000001", "t0000000000000000000000000000002"];

/// Who stands in line for a lock. Of a line of two the first is called.
fn queued(digests: &Args) -> impl Strategy<Value = Args> + use<> {
    let scripts = [ENTER, ENTER, ENTER, LEAVE, LEAVE, CONFIRM].map(|at| digests[at].clone());
    // Hardly ever do two tickets differ only in when they were shown.
    let number = prop_oneof![
        9 => (1..5_000_u32).prop_map(|number| (number * 64).to_string()),
        1 => select(SCRIPT_NUMBERS.to_vec()).prop_map(str::to_owned),
    ];
    let ttl = prop_oneof![
        12 => select(vec!["60000", "100000", "3600000"]),
        1 => select(SCRIPT_NUMBERS.to_vec()),
    ];
    let keys = prop_oneof![
        9 => Just(["k0", "k1", "k2"]),
        1 => select(vec![["k0", "k1", "k1"], ["k0", "k0", "k2"], ["k0", "k2", "k0"]]),
    ];
    // As long as tokens are, and not.
    let token = select(vec![LONG_TOKENS[0], LONG_TOKENS[0], LONG_TOKENS[1], "t0", "t1"]);
    (0..scripts.len(), keys, number, token, vec(ttl, 3)).prop_map(
        move |(script, keys, number, token, ttls)| {
            let head = [words(&["EVALSHA"]), vec![scripts[script].clone()]].concat();
            let rest = match script {
                0..3 => {
                    [&["3"], &keys[..], &["t0", &number, token, ttls[0], ttls[1], ttls[2]]].concat()
                }
                3..5 => [&["2"], &keys[1..], &[token, ttls[0], ttls[1]]].concat(),
                _ => [&["3"], &keys[..], &["t0", token, ttls[0], "540000", ttls[1]]].concat(),
            };
            [head, words(&rest)].concat()
        },
    )
}

fn sorted() -> impl Strategy<Value = Args> {
    let score = prop_oneof![
        3 => select(vec!["1", "2", "3"]),
        1 => select(SCRIPT_NUMBERS.to_vec()),
    ];
    let score = score.prop_map(|score| score.as_bytes().to_vec());
    let pairs = vec((score, token()).prop_map(|(score, member)| vec![score, member]), 1..=3);
    let place = select(vec!["0", "0", "1", "-1", "-1", "-2", "5", "-5", "x"]);
    prop_oneof![
        4 => (key(), pairs).prop_map(|(key, pairs)| {
            [words(&["ZADD"]), vec![key], pairs.concat()].concat()
        }),
        1 => one("ZCARD"),
        3 => (key(), vec(place, 2)).prop_map(|(key, places)| {
            [words(&["ZRANGE"]), vec![key], words(&places)].concat()
        }),
    ]
}

/// What an epoch's records, locks and counters hold, in the keys where [`called`] and [`stamp`]
/// look for them.
fn record() -> impl Strategy<Value = Args> {
    let counter =
        select(vec!["520000", "540000", "9007199254740992", "1.5", "1e17", "inf", "nan", "-3"]);
    let set = |key: &'static str, value| words(&["SET", key, value]);
    prop_oneof![
        4 => Just(set("k0", "t0")),
        4 => counter.prop_map(move |value| set("k2", value)),
        2 => select(vec!["t0", "t1"]).prop_map(move |value| set("k1", value)),
        4 => select(states::RECORDS.to_vec()).prop_map(move |value| set("k1", value)),
    ]
}

fn stamp(digest: Vec<u8>) -> impl Strategy<Value = Args> {
    let mode = prop_oneof![
        5 => Just("greet"),
        2 => Just("void"),
        2 => Just("peek"),
        2 => Just("open"),
        1 => Just("other"),
    ];
    let asked = select(states::QUARANTINES.to_vec());
    let fleet = prop_oneof![4 => select(vec!["f", "g"]), 1 => select(vec!["-", "", "a b"])];
    let by = prop_oneof![
        4 => Just([words(&["EVALSHA"]), vec![digest]].concat()),
        1 => Just(words(&["EVAL", SCRIPTS[STAMP].1])),
    ];
    (by, mode, select(vec!["t0", "t1"]), asked, fleet, select(vec!["t0", "t1"])).prop_map(
        |(by, mode, fresh, asked, fleet, old)| {
            [by, words(&["2", "k0", "k1", mode, fresh, asked, fleet, old])].concat()
        },
    )
}

fn eval() -> impl Strategy<Value = Args> {
    (select(SCRIPTS.to_vec()), script_arguments())
        .prop_map(|((_, body), rest)| [words(&["EVAL", body]), rest].concat())
}

fn scripts(digests: Args) -> impl Strategy<Value = Args> {
    let exists = vec(select([digests, words(&["", "0"])].concat()), 1..=3);
    prop_oneof![
        select(SCRIPTS.to_vec()).prop_map(|(_, body)| words(&["SCRIPT", "LOAD", body])),
        exists.prop_map(|digests| [words(&["SCRIPT", "EXISTS"]), digests].concat()),
        select(vec![
            words(&["SCRIPT", "FLUSH"]),
            words(&["SCRIPT", "FLUSH", "async"]),
            words(&["SCRIPT", "FLUSH", "NOW"]),
            words(&["SCRIPT", "FOO"]),
        ]),
    ]
}

/// Commands without random parts.
fn fixed() -> impl Strategy<Value = Args> {
    let lines = [
        "AUTH x",
        "AUTH default x",
        "AUTH nobody x",
        "CLIENT CACHING YES",
        "CLIENT CACHING no",
        "CLIENT CACHING x",
        "CLIENT FOO",
        "CLIENT ID",
        "CLIENT KILL 1.2.3.4:5",
        "CLIENT KILL ID 0",
        "CLIENT KILL ID 999999",
        "CLIENT KILL ID 999999 ADDR 1.2.3.4:5",
        "CLIENT KILL ID 999999 SKIPME maybe",
        "CLIENT KILL ADDR 1.2.3.4:5 SKIPME NO",
        "CLIENT NO-EVICT OFF",
        "CLIENT NO-EVICT on",
        "CLIENT SETINFO LIB-NAME redlatch",
        "CLIENT SETNAME a",
        "CLIENT SETNAME \u{1}",
        "CLIENT TRACKING OFF",
        "CLIENT TRACKING ON",
        "CLIENT TRACKING ON BCAST",
        "CLIENT TRACKING ON BCAST NOLOOP",
        "CLIENT TRACKING ON BCAST OPTIN",
        "CLIENT TRACKING ON OPTIN",
        "CLIENT TRACKING ON OPTOUT",
        "CLIENT TRACKING ON OPTIN OPTOUT",
        "CLIENT TRACKING ON NOLOOP",
        "CLIENT TRACKING ON PREFIX a",
        "CLIENT TRACKING x",
        "CLIENT TRACKING ON REDIRECT 999999",
        "CLIENT TRACKING ON REDIRECT x",
        "CLIENT|ID",
        "COMMAND FOO x",
        "COMMAND INFO delifeq delex",
        "COMMAND INFO FOO nothing",
        "DBSIZE",
        "DELEX k0 IFEQ t0",
        "DELIFEQ k0 t0",
        "FLUSHALL",
        "FLUSHALL ASYNC",
        "FLUSHALL x",
        "FLUSHDB",
        "FLUSHDB sync",
        "FOO k0",
        "HELLO",
        "HELLO 2",
        "HELLO 3",
        "HELLO 3 AUTH default x",
        "HELLO 3 AUTH nobody x",
        "HELLO 3 SETNAME a",
        "HELLO 3 SETNAME \u{1}",
        "HELLO 4",
        "HELLO x",
        "HELLO 3 FOO",
        "INFO",
        "INFO server",
        "KEYS *",
        "KEYS *",
        "KEYS *",
        "PING",
        "PING a",
        "PUBLISH c m",
        "ROLE",
        "SELECT -1",
        "SELECT 0",
        "SELECT 1",
        "SELECT 1",
        "SELECT 16",
        "SELECT 99999999999",
        "SELECT x",
        "TIME",
    ];
    let mut all: Vec<Args> =
        lines.iter().map(|line| words(&line.split(' ').collect::<Vec<_>>())).collect();
    let long = "0123456789".repeat(20);
    all.push(words(&["FOO", &long, "a"]));
    all.push(words(&[&long, "a\r\nb", "c\0d"]));
    all.push(words(&["", "a"]));
    all.push(words(&["FOO", &long[..120], "abcdefgh", "i"]));
    select(all)
}
