//! Handshakes against scripted replies. Those of `REDIS_7` were recorded from redis-server 7.0.15.

mod refusals;
mod watch;

use super::capabilities::{Mode, Role};
use super::*;
use crate::resp::decode::{Decoded, Decoder};
use crate::resp::limits::Limits;
use crate::session::stamp::Stamp;

const SCRIPTS: [ScriptText; 2] = [
    ScriptText { sha: "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", body: "return 1" },
    ScriptText { sha: "7f923f79fe76194c868d7e1d0820de36700eb649", body: "return 2" },
];

const HELLO: &str = "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n\
    $5\r\nproto\r\n:3\r\n$2\r\nid\r\n:42\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n\
    $4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\
    process_id:5658\r\nrun_id:a11291f02dcdc247cbde9cbf28826e008554bc4b\r\ntcp_port:6379\r\n";
const RUN_ID: &str = "a11291f02dcdc247cbde9cbf28826e008554bc4b";
const NO_SETINFO: &str = "-ERR unknown subcommand 'SETINFO'. Try CLIENT HELP.\r\n";
const NO_COMMANDS: &str = "*2\r\n$-1\r\n$-1\r\n";
const NO_HELLO: &str = "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n";
const STAMP: &str = "*6\r\n$2\r\ne1\r\n$40\r\na11291f02dcdc247cbde9cbf28826e008554bc4b\r\n\
    :1795644171217156\r\n:1795644201519156\r\n:30302\r\n$5\r\n5/3/a\r\n";
const MEMORY: &str = "# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n";
const SECRET: &str = "s3cr3t-passw0rd";

fn config() -> HandshakeConfig {
    HandshakeConfig {
        user: None,
        password: None,
        database: 0,
        client_name: "redlatch".to_owned(),
        protocol: Preferred::Resp3,
        scripts: SCRIPTS.to_vec(),
        intent: Intent::Greet,
        caller: Caller { fresh: "f1".into(), quarantine_ms: 30_302, fleet: "5/3/a".into() },
        previous: None,
        allow_eviction: false,
        channel: None,
        ends: Ends::Unknown,
    }
}

fn stamp() -> Stamp {
    Stamp {
        id: (*b"e1").into(),
        run_id: RUN_ID.to_owned(),
        now_us: 1_795_644_171_217_156,
        opens_us: 1_795_644_201_519_156,
        quarantine_ms: 30_302,
        fleet: "5/3/a".to_owned(),
    }
}

fn with_password() -> HandshakeConfig {
    HandshakeConfig { password: Some(SECRET.to_owned()), ..config() }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn verbatim(text: &str) -> String {
    format!("={}\r\ntxt:{text}\r\n", text.len() + 4)
}

/// What a server of version 7.0 answers to the greeting, reply by reply.
fn redis_7() -> Vec<String> {
    let mut replies = vec![HELLO.to_owned(), verbatim(INFO)];
    replies.extend([NO_SETINFO, NO_SETINFO, "+OK\r\n", STAMP].map(str::to_owned));
    replies.extend(SCRIPTS.map(|script| bulk(script.sha)));
    replies.push("*1\r\n:1\r\n".to_owned());
    replies.extend([verbatim(MEMORY), "+OK\r\n".to_owned()]);
    replies.push("*2\r\n_\r\n_\r\n".to_owned());
    replies
}

/// What a server of version 5 answers in RESP2, from INFO on.
fn redis_5(role: &str) -> Vec<String> {
    let old = INFO.replace("7.0.15", "5.0.14");
    let mut replies = vec![bulk(&old), bulk(&format!("# Replication\r\nrole:{role}\r\n"))];
    replies.extend(["+OK\r\n", ":9\r\n", NO_SETINFO, NO_SETINFO, NO_SETINFO].map(str::to_owned));
    replies.push(STAMP.to_owned());
    replies.extend(SCRIPTS.map(|script| bulk(script.sha)));
    replies.push("*1\r\n:1\r\n".to_owned());
    replies.push(bulk(MEMORY));
    replies.push(NO_COMMANDS.to_owned());
    replies
}

/// A peer that answers with what it was told to, and reads what it is sent.
struct Peer {
    handshake: Handshake,
    decoder: Decoder,
    /// Everything written so far, as lines of words; arguments of two lines and more are cut.
    sent: Vec<String>,
    last: Option<Result<Progress, HandshakeError>>,
}

impl Peer {
    fn start(config: &HandshakeConfig) -> Self {
        let mut handshake = Handshake::new(config);
        let mut out = Vec::new();
        handshake.start(&mut out);
        let decoder = Decoder::new(handshake.protocol(), Limits::DEFAULT);
        let mut peer = Self { handshake, decoder, sent: Vec::new(), last: None };
        peer.note_commands(&out);
        peer
    }

    /// Answers with `replies`; stops at the first verdict. Returns how many were taken.
    fn answer(&mut self, replies: &[String]) -> usize {
        for (index, wire) in replies.iter().enumerate() {
            self.decoder.set_protocol(self.handshake.protocol());
            let reply = match self.decoder.decode(wire.as_bytes()) {
                Ok(Decoded::Reply { reply, len }) if len == wire.len() => reply,
                other => panic!("{other:?} for {wire:?}"),
            };
            let mut out = Vec::new();
            let progress = self.handshake.handle_reply(&reply, &mut out);
            self.note_commands(&out);
            let goes_on = progress == Ok(Progress::Continue);
            self.last = Some(progress);
            if !goes_on {
                return index + 1;
            }
        }
        replies.len()
    }

    fn note_commands(&mut self, mut out: &[u8]) {
        let mut decoder = Decoder::new(Protocol::Resp2, Limits::DEFAULT);
        while let Ok(Decoded::Reply { reply: Reply::Tree(command), len }) = decoder.decode(out) {
            let Value::Array(parts) = command else { panic!("no command") };
            let words = parts.iter().filter_map(|part| part.as_bytes());
            let words: Vec<_> = words.map(|word| String::from_utf8_lossy(word)).collect();
            self.sent.push(words.join(" "));
            out = &out[len..];
        }
        assert_eq!(out, b"");
    }

    fn capabilities(&self) -> &Capabilities {
        match &self.last {
            Some(Ok(Progress::Done(capabilities))) => capabilities,
            other => panic!("not done: {other:?}"),
        }
    }

    fn error(&self) -> HandshakeError {
        match &self.last {
            Some(Err(error)) => error.clone(),
            other => panic!("no error: {other:?}"),
        }
    }
}

#[test]
fn redis_7_is_greeted_in_one_round_trip() {
    let mut peer = Peer::start(&config());
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        "HELLO 3 SETNAME redlatch",
        "INFO server",
        "CLIENT SETINFO LIB-NAME redlatch",
        &format!("CLIENT SETINFO LIB-VER {version}"),
        "CLIENT NO-EVICT ON",
        &format!(
            "EVAL {} 2 redlatch:epoch redlatch:node greet f1 30302 5/3/a ",
            crate::algorithm::script::STAMP.body
        ),
        "SCRIPT LOAD return 1",
        "SCRIPT LOAD return 2",
        "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
        "INFO memory",
        "CLIENT TRACKING ON OPTIN NOLOOP",
        "COMMAND INFO delifeq delex",
    ];
    assert_eq!(peer.sent, expected);
    let replies = redis_7();
    assert_eq!(peer.answer(&replies), replies.len());
    assert_eq!(peer.sent.len(), expected.len(), "nothing more was sent");
    let expected = Capabilities {
        protocol: Protocol::Resp3,
        server: "redis".to_owned(),
        version: "7.0.15".to_owned(),
        mode: Mode::Standalone,
        role: Role::Master,
        run_id: Some(RUN_ID.to_owned()),
        client_id: Some(42),
        native_release: None,
        stamp: Some(stamp()),
        fence: Fence::NotNeeded,
        listens: false,
        tracks: true,
        watches: false,
    };
    assert_eq!(peer.capabilities(), &expected);
    assert_eq!(peer.handshake.protocol(), Protocol::Resp3);
}

#[test]
fn a_handshake_is_not_done_before_its_last_reply() {
    let replies = redis_7();
    for count in 0..replies.len() {
        let mut peer = Peer::start(&config());
        assert_eq!(peer.answer(&replies[..count]), count);
        assert!(!matches!(peer.last, Some(Ok(Progress::Done(_)))), "after {count} replies");
    }
}

#[test]
fn native_releases_are_found_by_name() {
    let entry = |name: &str| format!("*2\r\n${}\r\n{name}\r\n:3\r\n", name.len());
    let cases = [
        (format!("*2\r\n{}_\r\n", entry("delifeq")), Some(NativeRelease::Delifeq)),
        (format!("*2\r\n_\r\n{}", entry("DELEX")), Some(NativeRelease::Delex)),
        (format!("*1\r\n{}", entry("delex")), Some(NativeRelease::Delex)),
        ("*0\r\n".to_owned(), None),
        ("-NOPERM this user has no permissions to run 'command|info'\r\n".to_owned(), None),
    ];
    for (reply, expected) in cases {
        let mut replies = redis_7();
        *replies.last_mut().unwrap() = reply.clone();
        let mut peer = Peer::start(&config());
        peer.answer(&replies);
        assert_eq!(peer.capabilities().native_release, expected, "{reply:?}");
    }
}

#[test]
fn what_is_cosmetic_may_be_refused() {
    let mut replies = redis_7();
    for reply in &mut replies[1..5] {
        *reply = "-NOPERM this user has no permissions\r\n".to_owned();
    }
    let mut peer = Peer::start(&config());
    peer.answer(&replies);
    assert_eq!(peer.capabilities().run_id, None);
    assert_eq!(peer.capabilities().version, "7.0.15");
}

#[test]
fn credentials_and_database_are_sent_where_they_belong() {
    let peer = Peer::start(&HandshakeConfig { database: 7, ..with_password() });
    assert_eq!(peer.sent[0], format!("HELLO 3 AUTH default {SECRET} SETNAME redlatch"));
    assert!(peer.sent.contains(&"SELECT 7".to_owned()));
    let user = Some("locks".to_owned());
    let peer =
        Peer::start(&HandshakeConfig { user, client_name: String::new(), ..with_password() });
    assert_eq!(peer.sent[0], format!("HELLO 3 AUTH locks {SECRET}"));
    assert!(!peer.sent.iter().any(|command| command.starts_with("SELECT")));
}

#[test]
fn a_server_without_resp3_gets_a_second_round() {
    for (refusal, user) in [
        (NO_HELLO, None),
        ("-NOPROTO unsupported protocol version\r\n", Some("locks".to_owned())),
        ("-ERR unknown command 'HELLO'\r\n", None),
    ] {
        let auth = if user.is_some() { "AUTH locks " } else { "AUTH " };
        let mut peer = Peer::start(&HandshakeConfig { user, database: 3, ..with_password() });
        // Before AUTH everything behind HELLO is refused as well; that must not count.
        let first = peer.sent.len();
        let mut replies = vec!["-NOAUTH Authentication required.\r\n".to_owned(); first];
        replies[0] = refusal.to_owned();
        assert_eq!(peer.answer(&replies[..first - 1]), first - 1);
        assert_eq!((peer.sent.len(), peer.handshake.protocol()), (first, Protocol::Resp3));
        assert_eq!(peer.answer(&replies[first - 1..]), 1);
        assert_eq!(peer.handshake.protocol(), Protocol::Resp2);
        assert_eq!(peer.sent[first], format!("{auth}{SECRET}"));
        assert_eq!(peer.sent[first + 3], "CLIENT SETNAME redlatch");

        let mut replies = redis_5("master");
        replies.insert(0, "+OK\r\n".to_owned());
        replies.insert(8, "+OK\r\n".to_owned());
        assert_eq!(peer.answer(&replies), replies.len());
        let found = peer.capabilities();
        assert_eq!((found.protocol, found.role), (Protocol::Resp2, Role::Master));
        assert_eq!((found.server.as_str(), found.version.as_str()), ("redis", "5.0.14"));
        assert_eq!((found.client_id, found.run_id.as_deref()), (Some(9), Some(RUN_ID)));
        assert_eq!(peer.handshake.protocol(), Protocol::Resp2);
    }
}

#[test]
fn resp2_can_be_asked_for() {
    let mut peer = Peer::start(&HandshakeConfig { protocol: Preferred::Resp2Only, ..config() });
    assert_eq!(peer.handshake.protocol(), Protocol::Resp2);
    assert_eq!(peer.sent[0], "INFO server");
    assert!(!peer.sent.iter().any(|command| command.starts_with("HELLO")));
    peer.answer(&redis_5("master"));
    assert_eq!(peer.capabilities().mode, Mode::Standalone);
}

#[test]
fn valkey_is_named_by_its_own_version() {
    let info = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n\
        server_mode:standalone\r\nrun_id:abc\r\n";
    let mut replies = redis_5("master");
    replies[0] = bulk(info);
    let mut peer = Peer::start(&HandshakeConfig { protocol: Preferred::Resp2Only, ..config() });
    peer.answer(&replies);
    let found = peer.capabilities();
    assert_eq!((found.server.as_str(), found.version.as_str()), ("valkey", "9.1.2"));
    assert_eq!((found.mode, found.run_id.as_deref()), (Mode::Standalone, Some("abc")));
    // HELLO is right on its own; INFO must not replace it by the version it imitates.
    let mut replies = redis_7();
    replies[0] = HELLO.replace("$5\r\nredis", "$6\r\nvalkey").replace("7.0.15", "9.1.02");
    replies[1] = verbatim("redis_version:7.2.4\r\nrun_id:abc\r\n");
    let mut peer = Peer::start(&config());
    peer.answer(&replies);
    let found = peer.capabilities();
    assert_eq!((found.server.as_str(), found.version.as_str()), ("valkey", "9.1.02"));
}

#[test]
fn an_earlier_connection_to_the_same_process_is_closed_first() {
    let previous = |run_id: &str| Some(Previous { run_id: run_id.to_owned(), client_id: 17 });
    let replies = redis_7();
    for (answer, fence) in [
        (":1\r\n", Fence::Done),
        (":0\r\n", Fence::Done),
        ("-NOPERM this user has no permissions\r\n", Fence::Refused),
    ] {
        let mut peer = Peer::start(&HandshakeConfig { previous: previous(RUN_ID), ..config() });
        let first = peer.sent.len();
        assert_eq!(peer.answer(&replies), replies.len());
        assert_eq!(peer.last, Some(Ok(Progress::Continue)), "not done before the fence");
        assert_eq!(peer.sent[first..], ["CLIENT KILL ID 17"]);
        peer.answer(&[answer.to_owned()]);
        assert_eq!(peer.capabilities().fence, fence);
    }
    // Another process: its client 17 is somebody else.
    let mut peer = Peer::start(&HandshakeConfig { previous: previous("other"), ..config() });
    let first = peer.sent.len();
    peer.answer(&replies);
    assert_eq!((peer.sent.len(), peer.capabilities().fence), (first, Fence::NotNeeded));
    // A process without a name: nothing can be made sure of.
    let mut nameless = redis_7();
    nameless[1] = verbatim("redis_version:7.0.15\r\n");
    nameless[5] = STAMP.replace(&bulk(RUN_ID), "$0\r\n\r\n");
    let mut peer = Peer::start(&HandshakeConfig { previous: previous(RUN_ID), ..config() });
    peer.answer(&nameless);
    assert_eq!((peer.sent.len(), peer.capabilities().fence), (first, Fence::Refused));
}
