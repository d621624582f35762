//! Error classes, texts and pushes.

use super::*;
use crate::resp::reply::{ErrorClass, ErrorReply, TEXT_CHARS};

/// Every class with a text of a real server, and whether the command certainly did not run.
const CLASSES: [(&str, ErrorClass, bool); 24] = [
    ("BUSY Redis is busy running a script.", ErrorClass::Busy, true),
    ("CLUSTERDOWN Hash slot not served", ErrorClass::ClusterDown, true),
    ("CROSSSLOT Keys in request don't hash to the same slot", ErrorClass::CrossSlot, true),
    ("LOADING Redis is loading the dataset in memory", ErrorClass::Loading, true),
    ("MASTERDOWN Link with MASTER is down", ErrorClass::MasterDown, true),
    ("MISCONF Redis is configured to save RDB snapshots", ErrorClass::Misconf, true),
    ("MOVED 3999 127.0.0.1:6381", ErrorClass::Moved, true),
    ("ASK 3999 127.0.0.1:6381", ErrorClass::Moved, true),
    ("NOAUTH Authentication required.", ErrorClass::NoAuth, true),
    ("NOPERM this user has no permissions to run the 'set' command", ErrorClass::NoPerm, true),
    ("NOPROTO unsupported protocol version", ErrorClass::NoProto, true),
    ("NOREPLICAS Not enough good replicas to write.", ErrorClass::NoReplicas, true),
    ("NOSCRIPT No matching script.", ErrorClass::NoScript, true),
    ("OOM command not allowed when used memory > 'maxmemory'.", ErrorClass::Oom, true),
    ("READONLY You can't write against a read only replica.", ErrorClass::ReadOnly, true),
    ("ERR unknown command 'DELEX', with args", ErrorClass::UnknownCommand, true),
    ("ERR Unknown subcommand or wrong number of arguments", ErrorClass::UnknownCommand, true),
    ("WRONGPASS invalid username-password pair", ErrorClass::WrongPass, true),
    ("WRONGTYPE Operation against a key", ErrorClass::WrongType, false),
    ("ERR syntax error", ErrorClass::Other, false),
    ("BUSYKEY Target key name already exists.", ErrorClass::Other, false),
    ("ERR this is BUSY LOADING and OOM", ErrorClass::Other, false),
    ("busy", ErrorClass::Other, false),
    ("", ErrorClass::Other, false),
];

#[test]
fn errors_are_classified_by_their_code() {
    for (text, class, definite) in CLASSES {
        let found = ErrorReply::new(text.as_bytes()).class();
        assert_eq!(found, class, "{text}");
        assert_eq!(found.is_definite_refusal(), definite, "{text}");
    }
    // A code alone, without prose.
    assert_eq!(ErrorReply::new(b"NOSCRIPT").class(), ErrorClass::NoScript);
}

#[test]
fn error_texts_are_short_and_printable() {
    assert_eq!(
        ErrorReply::new(b"ERR a\x1b[31m\x07b\xff").text(),
        "ERR a\\u{1b}[31m\\u{7}b\u{fffd}"
    );
    let long = [b'x'; 10_000];
    assert_eq!(ErrorReply::new(&long).text().chars().count(), TEXT_CHARS);
    let controls = [0x01; 10_000];
    let text = ErrorReply::new(&controls).text();
    assert_eq!(text.chars().count(), TEXT_CHARS);
    assert!(!text.contains(char::is_control));
    let wide = "\u{1f512}".repeat(1_000);
    assert_eq!(ErrorReply::new(wide.as_bytes()).text().chars().count(), TEXT_CHARS);
}

#[test]
fn the_hot_replies_are_borrowed_and_typed() {
    let cases = [
        (b"+OK\r\n".as_slice(), Reply::Ok, "a status"),
        (b"+PONG\r\n", Reply::Simple(b"PONG"), "a status"),
        (b":-1\r\n", Reply::Integer(-1), "an integer"),
        (b"$2\r\nde\r\n", Reply::Bulk(b"de"), "a string"),
        (b"_\r\n", Reply::Null, "nil"),
        (b"#f\r\n", Reply::Boolean(false), "a boolean"),
        (b"-OOM x\r\n", Reply::Error(ErrorReply::new(b"OOM x")), "an error"),
        (b"!5\r\nERR x\r\n", Reply::Error(ErrorReply::new(b"ERR x")), "an error"),
        (b",1.5\r\n", Reply::Tree(Value::Double(1.5)), "a double"),
        (b"*1\r\n:1\r\n", Reply::One(1), "an array"),
        (b"*0\r\n", Reply::Tree(Value::Array(vec![])), "an array"),
        (b"%0\r\n", Reply::Tree(Value::Map(vec![])), "a map"),
    ];
    for (wire, expected, kind) in cases {
        let mut decoder = Decoder::new(Protocol::Resp3, Limits::DEFAULT);
        assert_eq!(expected.kind(), kind);
        let len = wire.len();
        assert_eq!(decoder.decode(wire), Ok(Decoded::Reply { reply: expected, len }));
    }
}

#[test]
fn text_comes_from_every_kind_of_string() {
    assert_eq!(Reply::Ok.as_bytes(), Some(b"OK".as_slice()));
    assert_eq!(Reply::Bulk(b"a").as_bytes(), Some(b"a".as_slice()));
    assert_eq!(Reply::Tree(Value::Bytes(b"b".to_vec())).as_bytes(), Some(b"b".as_slice()));
    assert_eq!(Reply::Error(ErrorReply::new(b"c")).as_bytes(), None);
}

#[test]
fn fields_are_found_in_maps_and_in_flat_arrays() {
    for wire in
        [b"%2\r\n+id\r\n:7\r\n+id\r\n:8\r\n".as_slice(), b"*4\r\n+x\r\n+id\r\n+id\r\n:7\r\n"]
    {
        let mut decoder = Decoder::new(Protocol::Resp3, Limits::DEFAULT);
        let Ok(Decoded::Reply { reply: Reply::Tree(value), .. }) = decoder.decode(wire) else {
            panic!("a tree");
        };
        assert_eq!(value.field(b"id"), Some(&Value::Integer(7)));
        assert_eq!(value.field(b"none"), None);
    }
}

fn push_of(wire: &[u8]) -> Push {
    match Decoder::new(Protocol::Resp3, Limits::DEFAULT).decode(wire) {
        Ok(Decoded::Push { push, len }) if len == wire.len() => push,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pushes_are_typed() {
    let keys = push_of(b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert_eq!(keys, Push::InvalidateKeys(vec![b"a".to_vec(), b"b".to_vec()]));
    for payload in ["_\r\n", "$-1\r\n", ":1\r\n", "*1\r\n:1\r\n"] {
        let wire = format!(">2\r\n$10\r\ninvalidate\r\n{payload}");
        assert_eq!(push_of(wire.as_bytes()), Push::InvalidateAll, "{payload:?}");
    }
    let message = push_of(b">3\r\n+message\r\n$2\r\nch\r\n$5\r\nhello\r\n");
    assert_eq!(message, Push::Message { channel: b"ch".to_vec(), payload: b"hello".to_vec() });
    let confirmed = push_of(b">3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n");
    assert!(matches!(confirmed, Push::Other(items) if items.len() == 3));
    // Attributes in front of a push are passed over like those of a reply.
    assert_eq!(
        push_of(b"|1\r\n+a\r\n:1\r\n>1\r\n+x\r\n"),
        Push::Other(vec![Value::Bytes(b"x".to_vec())])
    );
}

#[test]
fn a_change_of_protocol_takes_effect_at_once() {
    let mut decoder = Decoder::new(Protocol::Resp3, Limits::DEFAULT);
    assert!(decoder.decode(b"_\r\n").is_ok());
    decoder.set_protocol(Protocol::Resp2);
    assert!(decoder.decode(b"_\r\n").is_err());
}
