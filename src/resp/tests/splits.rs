//! Wherever a stream is cut, the same frames and the same error come out of it (I3 of `resp`).

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Errors as far as they must not depend on the cut: a sample shows what had arrived by then.
fn kind(error: Option<DecodeError>) -> String {
    match error {
        Some(DecodeError::Malformed { what, .. }) => what.to_owned(),
        Some(DecodeError::Limit { what, .. }) => what.to_owned(),
        Some(DecodeError::Resp3Type { byte, .. }) => format!("RESP3 type {byte}"),
        Some(error) => format!("{:?}", std::mem::discriminant(&error)),
        None => String::new(),
    }
}

fn assert_cut_anywhere(wire: &[u8], protocol: Protocol) {
    let (whole, whole_error, _) = feed_whole(wire, protocol);
    let whole_error = kind(whole_error);
    let check = |chunks: Vec<&[u8]>| {
        let cut = chunks.first().map_or(0, |chunk| chunk.len());
        let (frames, error, _) = feed(chunks, protocol, Limits::DEFAULT);
        assert_eq!(frames, whole, "first chunk of {cut} bytes: {}", wire.escape_ascii());
        assert_eq!(kind(error), whole_error, "first chunk of {cut} bytes");
    };
    for cut in 0..=wire.len() {
        let (first, second) = wire.split_at(cut);
        check(vec![first, second]);
    }
    check(wire.chunks(1).collect());
    check(wire.chunks(3).collect());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn resp2_streams_can_be_cut_anywhere(samples in vec(tree2(), 1..5)) {
        let wire: Vec<u8> = samples.into_iter().flat_map(|sample| sample.wire).collect();
        assert_cut_anywhere(&wire, Protocol::Resp2);
    }

    #[test]
    fn resp3_streams_can_be_cut_anywhere(
        samples in vec(prop_oneof![3 => tree3(), 1 => push3()], 1..5),
    ) {
        let count = samples.len();
        let wire: Vec<u8> = samples.into_iter().flat_map(|sample| sample.wire).collect();
        let (frames, error, left) = feed_whole(&wire, Protocol::Resp3);
        prop_assert_eq!((frames.len(), error, left), (count, None, 0));
        assert_cut_anywhere(&wire, Protocol::Resp3);
    }

    #[test]
    fn broken_streams_break_alike_wherever_they_are_cut(
        samples in vec(prop_oneof![tree3(), push3()], 1..4),
        hits in vec((any::<Index>(), any::<u8>()), 1..4),
        protocol in prop_oneof![Just(Protocol::Resp2), Just(Protocol::Resp3)],
    ) {
        let mut wire: Vec<u8> = samples.into_iter().flat_map(|sample| sample.wire).collect();
        for (index, byte) in hits {
            let at = index.index(wire.len());
            wire[at] = byte;
        }
        assert_cut_anywhere(&wire, protocol);
    }
}

#[test]
fn what_locks_are_answered_with_can_be_cut_anywhere() {
    let wire = b"+OK\r\n$-1\r\n:1\r\n-NOSCRIPT No matching script.\r\n_\r\n*-1\r\n$4\r\nddmo\r\n\
        #t\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\norders\r\n+PONG\r\n|1\r\n+ttl\r\n:9\r\n:-2\r\n\
        =8\r\ntxt:abcd\r\n*3\r\n:1\r\n$-1\r\n*1\r\n:2\r\n!5\r\nERR x\r\n$0\r\n\r\n";
    let (frames, error, left) = feed_whole(wire, Protocol::Resp3);
    assert_eq!((frames.len(), error, left), (15, None, 0));
    assert_cut_anywhere(wire, Protocol::Resp3);
    assert_cut_anywhere(b"+OK\r\nHTTP/1.1 400 Bad Request\r\n", Protocol::Resp3);
    assert_cut_anywhere(b"+OK\r\nHTTP/1.1 400 Bad Request\r\n", Protocol::Resp2);
}

/// Elements that were accepted are not looked at again: noise in their place changes nothing.
#[test]
fn a_partial_aggregate_is_not_scanned_twice() {
    let mut decoder = Decoder::new(Protocol::Resp3, Limits::DEFAULT);
    let mut wire = b"*4\r\n:11\r\n%1\r\n+key\r\n:22\r\n$3\r\nen".to_vec();
    assert_eq!(decoder.decode(&wire), Ok(Decoded::Incomplete));
    let accepted = wire.len() - b"$3\r\nen".len();
    wire[4..accepted].fill(b'?');
    wire.extend_from_slice(b"d\r\n:3");
    assert_eq!(decoder.decode(&wire), Ok(Decoded::Incomplete));
    // The conversion reads the whole frame, but only once: when all of it is there.
    wire.extend_from_slice(b"3\r\n");
    assert!(matches!(decoder.decode(&wire), Err(DecodeError::UnknownType { .. })));
}
