//! When the server is trusted to tell of the epoch's end, and everything that forbids it.

use super::*;

const CLIENT: &str =
    "id=42 addr=10.0.0.9:40112 laddr=10.0.0.1:6379 fd=8 name=redlatch db=0 resp=3\n";

fn direct() -> HandshakeConfig {
    let (ours, theirs) = ("10.0.0.9:40112".parse().unwrap(), "10.0.0.1:6379".parse().unwrap());
    HandshakeConfig { ends: Ends::Tcp { ours, theirs }, ..config() }
}

/// What a server answers that tells: those of the greeting, then the three of the watch.
fn replies() -> Vec<String> {
    let mut replies = redis_7();
    replies.extend([verbatim(CLIENT), "+OK\r\n".to_owned(), bulk("e1")]);
    replies
}

fn is_watched(replies: &[String], config: &HandshakeConfig) -> bool {
    let mut peer = Peer::start(config);
    assert_eq!(peer.answer(replies), replies.len());
    peer.capabilities().watches
}

#[test]
fn the_epoch_is_tracked_last_and_only_where_the_ends_are_known() {
    let peer = Peer::start(&direct());
    let wanted = ["CLIENT INFO", "CLIENT CACHING YES", "GET redlatch:epoch"];
    assert_eq!(peer.sent[peer.sent.len() - 3..], wanted);
    let at = |words: &str| peer.sent.iter().position(|sent| sent.starts_with(words)).unwrap();
    assert!(at("EVAL") < at("CLIENT TRACKING") && at("CLIENT TRACKING") < at("CLIENT CACHING"));
    assert!(is_watched(&replies(), &direct()));
    assert!(!is_watched(&redis_7(), &config()));
    let legacy = HandshakeConfig { protocol: Preferred::Resp2Only, ..direct() };
    assert!(!is_watched(&redis_5("master"), &legacy));
}

#[test]
fn in_doubt_a_connection_is_not_watched() {
    let no = "-NOPERM this user has no permissions\r\n".to_owned();
    let proxied = |from: &str, to: &str| verbatim(&CLIENT.replace(from, to));
    let hello = |name: &str, version: &str| {
        let named = format!("${}\r\n{name}\r\n", name.len());
        let numbered = format!("${}\r\n{version}\r\n", version.len());
        HELLO.replace("$5\r\nredis\r\n", &named).replace("$6\r\n7.0.15\r\n", &numbered)
    };
    let info = |more: &str| verbatim(&format!("{INFO}{more}"));
    let full = "# Memory\r\nmaxmemory:1\r\nmaxmemory_policy:allkeys-lru\r\n";
    // From the end: GET, CACHING, CLIENT INFO, COMMAND INFO, TRACKING, INFO memory.
    let last = replies().len() - 1;
    let cases = [
        // Not tracked, or not since it was this epoch.
        (last, no.clone(), false),
        (last, bulk("e2"), false),
        (last, "_\r\n".to_owned(), false),
        (last - 1, no.clone(), false),
        (last - 4, no.clone(), false),
        // Somebody stands in between, or nobody says so.
        (last - 2, no.clone(), false),
        (last - 2, "-ERR unknown subcommand 'INFO'. Try CLIENT HELP.\r\n".to_owned(), false),
        (last - 2, proxied("10.0.0.9:40112", "10.0.0.9:40113"), false),
        (last - 2, proxied("laddr=10.0.0.1:6379", "laddr=10.0.0.2:6379"), false),
        // It may evict, or does not say.
        (last - 5, no.clone(), false),
        (last - 5, verbatim(full), false),
        (last - 5, verbatim(&full.replace("allkeys-lru", "noeviction")), true),
        // Another server, or a version that nobody has tried.
        (0, hello("keydb", "7.0.15"), false),
        (0, hello("redis", "6.2.14"), false),
        (0, hello("redis", "255.255.255"), false),
        (0, hello("redis", "df-v1.23.0"), false),
        (0, hello("valkey", "9.1.2"), true),
        (0, hello("redis", "8.6.3"), true),
        (1, no, false),
        (1, info("dragonfly_version:df-v1.23.0\r\n"), false),
        (1, info("garnet_version:1.0.5\r\n"), false),
        (1, info("gcc_version:14.2.0\r\nvalkey_version:8.1.1\r\n"), true),
    ];
    for (at, reply, watched) in cases {
        let mut replies = replies();
        replies[at] = reply;
        let config = HandshakeConfig { allow_eviction: true, ..direct() };
        assert_eq!(is_watched(&replies, &config), watched, "{}", replies[at]);
    }
}

#[test]
fn what_is_pushed_meanwhile_ends_it() {
    let key = |key: &str| Push::InvalidateKeys(vec![key.as_bytes().to_vec()]);
    for (push, watched) in [
        (Push::InvalidateAll, false),
        (key("redlatch:epoch"), false),
        (key("redlatch:epoch2"), true),
        (Push::Other(vec![Value::Bytes(b"invalidate".to_vec())]), true),
    ] {
        // Before the last reply, and behind it while the earlier connection is being closed.
        for early in [true, false] {
            let previous = Previous { run_id: RUN_ID.to_owned(), client_id: 17 };
            let mut peer = Peer::start(&HandshakeConfig { previous: Some(previous), ..direct() });
            let replies = replies();
            let first = replies.len() - usize::from(early);
            peer.answer(&replies[..first]);
            peer.handshake.handle_push(&push);
            peer.answer(&replies[first..]);
            assert_eq!(peer.last, Some(Ok(Progress::Continue)));
            peer.answer(&[":1\r\n".to_owned()]);
            assert_eq!(peer.capabilities().watches, watched, "{push:?}, early: {early}");
        }
    }
}
