//! Servers that cannot hold locks, peers that are no servers, and secrets.

use super::*;

/// Runs a handshake in which the reply to the command that starts with `command` is `reply`.
fn error_with(config: &HandshakeConfig, command: &str, reply: &str) -> HandshakeError {
    let mut peer = Peer::start(config);
    let mut replies = match config.protocol {
        Preferred::Resp3 => redis_7(),
        Preferred::Resp2Only => redis_5("master"),
    };
    if config.protocol == Preferred::Resp2Only && peer.sent[0].starts_with("AUTH") {
        replies.insert(0, "+OK\r\n".to_owned());
    }
    if let Some(select) = peer.sent.iter().position(|sent| sent.starts_with("SELECT")) {
        replies.insert(select, "+OK\r\n".to_owned());
    }
    let at = peer.sent.iter().position(|sent| sent.starts_with(command)).unwrap();
    replies[at] = reply.to_owned();
    assert_eq!(peer.answer(&replies), at + 1, "{reply:?} is seen at once");
    peer.error()
}

fn hello_error(reply: &str) -> HandshakeError {
    error_with(&with_password(), "HELLO", reply)
}

#[test]
fn wrong_or_missing_passwords_are_told_apart() {
    let error = hello_error("-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    assert_eq!(error, HandshakeError::WrongPassword);
    let noauth =
        "-NOAUTH HELLO must be called with the client already authenticated, otherwise\r\n";
    let error = error_with(&config(), "HELLO", noauth);
    assert_eq!((&error, error.is_permanent()), (&HandshakeError::AuthRequired, true));
    // RESP2 has no HELLO that says so first: any command will.
    let legacy = HandshakeConfig { protocol: Preferred::Resp2Only, ..config() };
    let error = error_with(&legacy, "INFO server", "-NOAUTH Authentication required.\r\n");
    assert_eq!(error, HandshakeError::AuthRequired);
    let legacy = HandshakeConfig { protocol: Preferred::Resp2Only, ..with_password() };
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    assert_eq!(error_with(&legacy, "AUTH", wrong), HandshakeError::WrongPassword);
    let none_set = "-ERR Client sent AUTH, but no password is set\r\n";
    let text = error_with(&legacy, "AUTH", none_set).to_string();
    assert_eq!(text, "the server refused AUTH: ERR Client sent AUTH, but no password is set");
}

#[test]
fn what_passes_by_itself_is_transient() {
    let loading = "-LOADING Redis is loading the dataset in memory\r\n";
    let cases = [
        (loading, HandshakeError::Loading),
        ("-MASTERDOWN Link with MASTER is down\r\n", HandshakeError::MasterDown),
        ("-BUSY Redis is busy running a script.\r\n", HandshakeError::Busy),
    ];
    for (reply, expected) in cases {
        for command in ["HELLO", "INFO", "CLIENT", "SELECT", "SCRIPT LOAD", "COMMAND"] {
            let config = HandshakeConfig { database: 1, ..config() };
            let error = error_with(&config, command, reply);
            assert_eq!((&error, error.is_permanent()), (&expected, false), "{command}");
        }
    }
    let oom = error_with(&config(), "SCRIPT LOAD", "-OOM command not allowed\r\n");
    assert!(!oom.is_permanent(), "{oom}");
    let denied = error_with(&config(), "HELLO", "-DENIED Redis is running in protected mode\r\n");
    assert!(denied.is_permanent());
    assert!(denied.to_string().contains("protected mode"), "{denied}");
}

#[test]
fn servers_that_hold_no_locks_are_refused() {
    let cases = [
        (HELLO.replace("$6\r\nmaster", "$7\r\nreplica"), HandshakeError::NotAMaster),
        (HELLO.replace("$6\r\nmaster", "$5\r\nslave"), HandshakeError::NotAMaster),
        (HELLO.replace("$10\r\nstandalone", "$7\r\ncluster"), HandshakeError::ClusterNode),
        (HELLO.replace("$10\r\nstandalone", "$8\r\nsentinel"), HandshakeError::Sentinel),
    ];
    for (reply, expected) in cases {
        let error = error_with(&config(), "HELLO", &reply);
        assert_eq!((&error, error.is_permanent()), (&expected, true));
    }
    let legacy = HandshakeConfig { protocol: Preferred::Resp2Only, ..config() };
    let replica = error_with(&legacy, "INFO replication", &bulk("role:slave\r\n"));
    assert_eq!(replica, HandshakeError::NotAMaster);
    let cluster = error_with(&legacy, "INFO server", &bulk("redis_mode:cluster\r\n"));
    assert_eq!(cluster, HandshakeError::ClusterNode);
}

#[test]
fn a_node_whose_epoch_cannot_be_told_is_refused() {
    let role = "-READONLY this node is a replica\r\n";
    assert_eq!(error_with(&config(), "EVAL", role), HandshakeError::NotAMaster);
    let open = "-INITIALISED this node has an epoch already\r\n";
    assert_eq!(error_with(&config(), "EVAL", open), HandshakeError::Initialised);
    let denied = error_with(&config(), "EVAL", "-NOPERM no permission\r\n");
    let HandshakeError::NoPermission { command } = denied else { panic!("{denied}") };
    assert!(command.starts_with("EVAL") && command.contains("redlatch:*"), "{command}");
    let denied = error_with(&config(), "SCRIPT EXISTS", "-NOPERM no permission\r\n");
    assert_eq!(denied, HandshakeError::NoPermission { command: "SCRIPT EXISTS" });
    for strange in ["+OK\r\n", "$-1\r\n", "*1\r\n$1\r\nx\r\n", "*0\r\n"] {
        let error = error_with(&config(), "EVAL", strange);
        assert!(matches!(error, HandshakeError::UnexpectedReply { .. }), "{error}");
    }
}

#[test]
fn a_server_that_may_evict_locks_is_refused_unless_allowed() {
    let evicts = verbatim("maxmemory:1048576\r\nmaxmemory_policy:volatile-lru\r\n");
    let error = error_with(&config(), "INFO memory", &evicts);
    let policy = "volatile-lru".to_owned();
    assert_eq!((&error, error.is_permanent()), (&HandshakeError::Evicts { policy }, true));
    let mut peer = Peer::start(&HandshakeConfig { allow_eviction: true, ..config() });
    let mut replies = redis_7();
    replies[9] = evicts;
    peer.answer(&replies);
    assert!(matches!(peer.last, Some(Ok(Progress::Done(_)))));
    let unlimited = verbatim("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n");
    replies[9] = unlimited;
    let mut peer = Peer::start(&config());
    peer.answer(&replies);
    assert!(matches!(peer.last, Some(Ok(Progress::Done(_)))));
}

#[test]
fn the_database_must_be_selected() {
    let config = HandshakeConfig { database: 99, ..config() };
    let error = error_with(&config, "SELECT", "-ERR DB index is out of range\r\n");
    assert_eq!(
        error.to_string(),
        "the server refused database 99 (ERR DB index is out of range): give one that it has"
    );
    assert!(error.is_permanent());
    let noperm = "-NOPERM this user has no permissions to run the 'select' command\r\n";
    let error = error_with(&config, "SELECT", noperm);
    assert_eq!(error, HandshakeError::NoPermission { command: "SELECT" });
    let error = error_with(&config, "SELECT", "$-1\r\n");
    assert_eq!(error, HandshakeError::UnexpectedReply { command: "SELECT", found: "nil" });
}

#[test]
fn scripts_must_be_loaded_under_their_digest() {
    let other = bulk(SCRIPTS[1].sha);
    let error = error_with(&config(), "SCRIPT LOAD", &other);
    assert_eq!(error, HandshakeError::ScriptMismatch { expected: SCRIPTS[0].sha });
    let noperm = "-NOPERM this user has no permissions to run the 'script|load' command\r\n";
    let error = error_with(&config(), "SCRIPT LOAD", noperm);
    assert_eq!(error, HandshakeError::NoPermission { command: "SCRIPT LOAD" });
    let error = error_with(&config(), "SCRIPT LOAD", "+OK\r\n");
    assert_eq!(
        error,
        HandshakeError::UnexpectedReply { command: "SCRIPT LOAD", found: "a status" }
    );
}

#[test]
fn peers_that_are_no_server_are_refused() {
    let resp2_map = HELLO.replace("proto\r\n:3", "proto\r\n:2");
    for reply in ["+OK\r\n", ":1\r\n", "*0\r\n", "%0\r\n", "_\r\n", "$3\r\nabc\r\n", &resp2_map] {
        let error = error_with(&config(), "HELLO", reply);
        assert!(
            matches!(error, HandshakeError::UnexpectedReply { command: "HELLO", .. }),
            "{reply:?}: {error}"
        );
        assert!(error.is_permanent());
    }
    let error = error_with(&config(), "COMMAND", "+OK\r\n");
    assert!(matches!(error, HandshakeError::UnexpectedReply { command: "COMMAND INFO", .. }));
}

#[test]
fn a_reply_too_many_is_an_error() {
    let mut peer = Peer::start(&config());
    peer.answer(&redis_7());
    peer.capabilities();
    peer.answer(&["+OK\r\n".to_owned()]);
    assert_eq!(peer.error(), HandshakeError::UnaskedReply { found: "a status" });
}

#[test]
fn hostile_names_are_cut_and_escaped() {
    let long = "\x1b".repeat(5_000);
    let hello = HELLO.replace("$5\r\nredis\r\n", &bulk(&long));
    let mut replies = redis_7();
    replies[0] = hello;
    replies[1] = verbatim(&format!("run_id:{long}\r\n"));
    let mut peer = Peer::start(&config());
    peer.answer(&replies);
    let found = peer.capabilities();
    assert_eq!(found.server, "\\x1b".repeat(64));
    assert_eq!(found.run_id, Some("\\x1b".repeat(64)));
}

/// I3: neither a server that quotes its input nor one that echoes it makes us print the password.
#[test]
fn the_password_is_in_no_text() {
    let config = with_password();
    let legacy = HandshakeConfig { protocol: Preferred::Resp2Only, ..with_password() };
    let quote = format!("-ERR syntax error near '3' 'AUTH' 'default' '{SECRET}'\r\n");
    let cut =
        format!("-ERR unknown command 'AUTH', with args beginning with: '{}\r\n", &SECRET[..6]);
    let echo = format!("*5\r\n+HELLO\r\n:3\r\n+AUTH\r\n+default\r\n+{SECRET}\r\n");
    let errors = [
        error_with(&config, "HELLO", &quote),
        error_with(&config, "HELLO", &echo),
        error_with(&legacy, "AUTH", &cut),
        error_with(&legacy, "AUTH", &format!("+{SECRET}\r\n")),
    ];
    for error in errors {
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains(&SECRET[..4]), "{text}");
        }
    }
    let handshake = Handshake::new(&config);
    for text in [format!("{config:?}"), format!("{handshake:?}"), format!("{legacy:#?}")] {
        assert!(!text.contains(&SECRET[..4]) && text.contains("<hidden>"), "{text}");
    }
}
