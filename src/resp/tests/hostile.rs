//! Input that is wrong, huge or malicious ends in an error or a wait, within the limits (I1).

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::resp::limits::DEPTH_MAX;

const BOTH: [Protocol; 2] = [Protocol::Resp2, Protocol::Resp3];

fn limited(what: &str, error: &DecodeError) -> bool {
    matches!(error, DecodeError::Limit { what: found, .. } if *found == what)
}

proptest! {
    #[test]
    fn random_bytes_never_panic(wire in vec(any::<u8>(), 0..200)) {
        for protocol in BOTH {
            feed_whole(&wire, protocol);
        }
    }

    #[test]
    fn random_protocol_characters_never_panic(wire in r"[-+:$*_#,(!=%~>|;.?0-9tf\r\n]{0,120}") {
        for protocol in BOTH {
            feed_whole(wire.as_bytes(), protocol);
        }
    }

    #[test]
    fn mutated_frames_never_panic(
        sample in prop_oneof![tree3(), push3()],
        hits in vec((any::<Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut wire = sample.wire;
        for (index, byte, action) in hits {
            let at = index.index(wire.len());
            match action {
                0 => wire[at] = byte,
                1 => wire.insert(at, byte),
                _ if wire.len() > 1 => drop(wire.remove(at)),
                _ => {}
            }
        }
        for protocol in BOTH {
            feed_whole(&wire, protocol);
        }
    }

    /// A prefix of a valid frame is never an error and never a frame.
    #[test]
    fn every_prefix_waits(sample in tree3(), cut in any::<Index>()) {
        let cut = cut.index(sample.wire.len());
        let (frames, error, left) = feed_whole(&sample.wire[..cut], Protocol::Resp3);
        prop_assert_eq!(error, None);
        prop_assert!(frames.is_empty());
        prop_assert_eq!(left, cut);
    }
}

#[test]
fn nesting_is_bounded() {
    for header in ["*1\r\n", "~1\r\n", "%1\r\n+k\r\n", "|1\r\n+k\r\n"] {
        let wire = header.repeat(200_000);
        let error = error_of(wire.as_bytes(), Protocol::Resp3);
        assert!(limited("a depth", &error), "{header:?}: {error}");
        let deepest = header.repeat(DEPTH_MAX)
            + ":1\r\n"
            + if header.starts_with('|') { ":2\r\n" } else { "" };
        let (_, error, _) = feed_whole(deepest.as_bytes(), Protocol::Resp3);
        assert_eq!(error, None, "{header:?}");
        let too_deep = header.repeat(DEPTH_MAX + 1) + ":1\r\n";
        assert!(limited("a depth", &error_of(too_deep.as_bytes(), Protocol::Resp3)));
    }
    assert!(limited("a depth", &error_of("*1\r\n".repeat(200_000).as_bytes(), Protocol::Resp2)));
}

#[test]
fn rows_of_attributes_do_not_recurse() {
    let row = "|0\r\n".repeat(60_000);
    let inside = format!("*1\r\n{row}:5\r\n");
    let (frames, error, _) = feed_whole(inside.as_bytes(), Protocol::Resp3);
    assert_eq!((frames, error), (vec![Frame::Reply(Value::Array(vec![Value::Integer(5)]))], None));
    let in_front = format!("{row}:5\r\n");
    let (frames, error, _) = feed_whole(in_front.as_bytes(), Protocol::Resp3);
    assert_eq!((frames, error), (vec![Frame::Reply(Value::Integer(5))], None));
    let endless = "|0\r\n".repeat(Limits::DEFAULT.elements + 1);
    assert!(limited("a count of elements", &error_of(endless.as_bytes(), Protocol::Resp3)));
}

#[test]
fn announced_sizes_are_refused_before_they_arrive() {
    for protocol in BOTH {
        for wire in ["$999999999999\r\n", "$4194305\r\n"] {
            assert!(limited("a bulk string", &error_of(wire.as_bytes(), protocol)), "{wire}");
        }
        for wire in ["*2147483647\r\n", "*65537\r\n", "*18446744073709551615\r\n"] {
            assert!(limited("a count of elements", &error_of(wire.as_bytes(), protocol)), "{wire}");
        }
        let wire = b"$99999999999999999999\r\n";
        assert!(matches!(error_of(wire, protocol), DecodeError::Malformed { .. }));
    }
    for wire in ["%32769\r\n", "%9223372036854775809\r\n", "|18446744073709551615\r\n"] {
        assert!(limited("a count of elements", &error_of(wire.as_bytes(), Protocol::Resp3)));
    }
    assert!(limited("a bulk string", &error_of(b"=99999999\r\n", Protocol::Resp3)));
    assert!(limited("a bulk string", &error_of(b"*1\r\n!99999999\r\n", Protocol::Resp3)));
}

#[test]
fn each_limit_holds_exactly() {
    let limits = Limits { bulk_bytes: 100, depth: 2, elements: 5, frame_bytes: 150, line_bytes: 6 };
    let ends = |wire: &[u8]| feed([wire], Protocol::Resp3, limits).1;
    assert_eq!(ends(&bulk(&[b'x'; 100])), None);
    assert!(limited("a bulk string", &ends(&bulk(&[b'x'; 101])).unwrap()));
    assert!(limited("a bulk string", &ends(b"$101\r\n").unwrap()));
    assert_eq!(ends(b"*1\r\n*1\r\n:1\r\n"), None);
    assert!(limited("a depth", &ends(b"*1\r\n*1\r\n*1\r\n").unwrap()));
    assert_eq!(ends(b"*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n"), None);
    assert!(limited(
        "a count of elements",
        &ends(b"*2\r\n*2\r\n:1\r\n:1\r\n*2\r\n:1\r\n").unwrap()
    ));
    assert_eq!(ends(b"+abcdef\r\n"), None);
    assert_eq!(ends(b"+abcdef"), None);
    assert!(limited("a line", &ends(b"+abcdefg").unwrap()));
    assert!(limited("a line", &ends(b"-abcdefg\r\n").unwrap()));
    // 4 bytes of header, twice 67, two lines: 150 bytes and one more.
    let bulks = bulk(&[b'x'; 60]).repeat(2);
    assert_eq!(ends(&[b"*4\r\n", bulks.as_slice(), b"+abc\r\n+abc\r\n"].concat()), None);
    let longer = [b"*4\r\n", bulks.as_slice(), b"+abcd\r\n+abc\r\n"].concat();
    assert!(limited("a frame", &ends(&longer).unwrap()));
}

#[test]
fn terminators_and_numbers_are_checked() {
    let wires = [
        "_x\r\n",
        "$3\r\nabcXX",
        "$3\r\nabc\rX",
        "+OK\rX",
        "+O\nK\r\n",
        ":1\n",
        ":\r\n",
        ":-\r\n",
        ":1x\r\n",
        ":9223372036854775808\r\n",
        ":-9223372036854775809\r\n",
        "$-2\r\n",
        "$ 3\r\n",
        "$+3\r\n",
        "*-2\r\n",
        "$-1x\r\n",
        "#x\r\n",
        "#tt\r\n",
        ",\r\n",
        ",1.2.3\r\n",
        "(\r\n",
        "(12a\r\n",
        "=3\r\ntxt\r\n",
        "=5\r\ntxt_a\r\n",
        "%-1\r\n",
        "~-1\r\n",
        ">-1\r\n",
        "=-1\r\n",
        "!-1\r\n",
        "*2\r\n:1\r\n$3\r\nabcXX",
        ":000000000000000000001\r\n",
    ];
    for wire in wires {
        let error = error_of(wire.as_bytes(), Protocol::Resp3);
        assert!(matches!(error, DecodeError::Malformed { .. }), "{wire:?}: {error}");
    }
    let (frames, error, _) = feed_whole(b":-9223372036854775808\r\n:+7\r\n", Protocol::Resp2);
    let numbers = [i64::MIN, 7].map(|number| Frame::Reply(Value::Integer(number)));
    assert_eq!((frames, error), (numbers.into(), None));
}

#[test]
fn streams_and_misplaced_pushes_are_refused() {
    for wire in ["$?\r\n", "*?\r\n", "%?\r\n", "~?\r\n", ";4\r\n", ".\r\n", "*1\r\n*?\r\n"] {
        let error = error_of(wire.as_bytes(), Protocol::Resp3);
        assert!(matches!(error, DecodeError::Streamed { .. }), "{wire:?}: {error}");
    }
    for wire in ["*1\r\n>1\r\n+message\r\n", ">0\r\n", ">1\r\n:1\r\n", ">1\r\n_\r\n"] {
        let error = error_of(wire.as_bytes(), Protocol::Resp3);
        assert!(matches!(error, DecodeError::Malformed { .. }), "{wire:?}: {error}");
    }
}

#[test]
fn resp2_knows_no_type_of_resp3() {
    for byte in "_#,(!=%~>|".chars() {
        for wire in [format!("{byte}1\r\n"), format!("*1\r\n{byte}1\r\n")] {
            let error = error_of(wire.as_bytes(), Protocol::Resp2);
            assert!(
                matches!(error, DecodeError::Resp3Type { byte: b, .. } if b == byte),
                "{error}"
            );
        }
    }
}

#[test]
fn other_protocols_are_named() {
    let text = |wire: &[u8], protocol| error_of(wire, protocol).to_string();
    for protocol in BOTH {
        let http = text(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n", protocol);
        assert_eq!(
            http,
            "the peer speaks HTTP (\"HTTP/1.1 400 Bad Request\\r\\nConten\"): \
             check host and port of this node"
        );
        let tls = text(&[0x15, 3, 3, 0, 2, 2, 80], protocol);
        assert!(tls.starts_with("the peer speaks TLS (\"\\x15\\x03\\x03\\x00"), "{tls}");
        assert!(text(&[0x16, 3, 1], protocol).starts_with("the peer speaks TLS"));
        let ssh = text(b"SSH-2.0-OpenSSH_9.2\r\n", protocol);
        assert!(ssh.starts_with("no RESP type starts with \"SSH-2.0"), "{ssh}");
        assert!(matches!(error_of(b"HELP", protocol), DecodeError::UnknownType { .. }));
    }
}

#[test]
fn errors_show_little_and_nothing_unprintable() {
    let wire = [b"?".as_slice(), &[0x1b; 5_000]].concat();
    let text = error_of(&wire, Protocol::Resp3).to_string();
    assert_eq!(text.matches("\\x1b").count(), 31);
    assert!(text.len() < 250 && !text.contains(char::is_control), "{text}");
}
