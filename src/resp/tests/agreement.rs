//! Valid input: we decode what was meant, and what `redis_protocol` decodes.

use proptest::prelude::*;
use redis_protocol::resp2::types::OwnedFrame as Frame2;
use redis_protocol::resp3::types::{OwnedFrame as Frame3, Resp3Frame};

use super::*;

fn from_resp2(frame: Frame2) -> Value {
    match frame {
        Frame2::SimpleString(text) | Frame2::BulkString(text) => Value::Bytes(text),
        Frame2::Error(text) => Value::Error(text.into_bytes()),
        Frame2::Integer(value) => Value::Integer(value),
        Frame2::Array(items) => Value::Array(items.into_iter().map(from_resp2).collect()),
        Frame2::Null => Value::Null,
    }
}

fn from_resp3(frame: Frame3) -> Value {
    match frame {
        Frame3::BlobString { data, .. }
        | Frame3::SimpleString { data, .. }
        | Frame3::BigNumber { data, .. }
        | Frame3::VerbatimString { data, .. } => Value::Bytes(data),
        Frame3::BlobError { data, .. } => Value::Error(data),
        Frame3::SimpleError { data, .. } => Value::Error(data.into_bytes()),
        Frame3::Boolean { data, .. } => Value::Boolean(data),
        Frame3::Null => Value::Null,
        Frame3::Number { data, .. } => Value::Integer(data),
        Frame3::Double { data, .. } => Value::Double(data),
        Frame3::Array { data, .. } | Frame3::Push { data, .. } => {
            Value::Array(data.into_iter().map(from_resp3).collect())
        }
        Frame3::Map { data, .. } => Value::Map(
            data.into_iter().map(|(key, value)| (from_resp3(key), from_resp3(value))).collect(),
        ),
        Frame3::Set { data, .. } => Value::Array(data.into_iter().map(from_resp3).collect()),
        other => panic!("not a reply: {other:?}"),
    }
}

/// Maps and sets of `redis_protocol` come in the order of a hash table: compare without order.
fn unordered(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let mut texts: Vec<_> = items.iter().map(unordered).collect();
            texts.sort();
            format!("{texts:?}")
        }
        Value::Map(pairs) => {
            let mut texts: Vec<_> =
                pairs.iter().map(|(key, value)| unordered(key) + "=" + &unordered(value)).collect();
            texts.sort();
            format!("{texts:?}")
        }
        other => format!("{other:?}"),
    }
}

/// Trees without what `redis_protocol` cannot represent: no nil by length, no attributes, no
/// aggregate as key or in a set, no equal keys or members.
fn common_tree3() -> impl Strategy<Value = Sample> {
    let is_own_type = |sample: &Sample| sample.value != Value::Null || sample.wire == b"_\r\n";
    let scalar =
        move || prop_oneof![scalar2().prop_filter("RESP3 nil is _", is_own_type), scalar3()];
    scalar().prop_recursive(4, 32, 6, move |inner| {
        let members = || {
            vec(scalar(), 0..4).prop_map(|mut members| {
                members.sort_by_key(|member| format!("{:?}", member.value));
                members.dedup_by_key(|member| format!("{:?}", member.value));
                members
            })
        };
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|items| array(items, '*')),
            members().prop_map(|items| array(items, '~')),
            (members(), vec(inner, 4))
                .prop_map(|(keys, values)| { map(keys.into_iter().zip(values).collect(), '%') }),
        ]
    })
}

fn assert_decodes(sample: &Sample, protocol: Protocol) {
    let (mut frames, error, left) = feed_whole(&sample.wire, protocol);
    assert_eq!((error, left), (None, 0), "{}", sample.wire.escape_ascii());
    assert_eq!(frames.len(), 1);
    assert_eq!(frames.pop(), Some(Frame::Reply(sample.value.clone())));
}

proptest! {
    #[test]
    fn resp2_agrees(sample in tree2()) {
        assert_decodes(&sample, Protocol::Resp2);
        let (frame, len) = redis_protocol::resp2::decode::decode(&sample.wire).unwrap().unwrap();
        prop_assert_eq!(len, sample.wire.len());
        prop_assert_eq!(from_resp2(frame), sample.value);
    }

    #[test]
    fn resp3_takes_every_reply_of_resp2(sample in tree2()) {
        assert_decodes(&sample, Protocol::Resp3);
    }

    #[test]
    fn resp3_agrees_where_redis_protocol_can(sample in common_tree3()) {
        assert_decodes(&sample, Protocol::Resp3);
        let decoded = redis_protocol::resp3::decode::complete::decode(&sample.wire);
        let (frame, len) = decoded.unwrap().unwrap();
        prop_assert_eq!(len, sample.wire.len());
        prop_assert_eq!(unordered(&from_resp3(frame)), unordered(&sample.value));
    }

    #[test]
    fn resp3_decodes_what_was_meant(sample in tree3()) {
        assert_decodes(&sample, Protocol::Resp3);
    }

    #[test]
    fn frames_encoded_by_redis_protocol_decode(
        texts in vec(vec(any::<u8>(), 0..20), 0..5),
        number in any::<i64>(),
    ) {
        let texts = texts.into_iter().map(|data| Frame3::BlobString { data, attributes: None });
        let number = Frame3::Number { data: number, attributes: None };
        let items = texts.chain([number, Frame3::Null]).collect();
        let frame = Frame3::Array { data: items, attributes: None };
        let mut wire = vec![0; frame.encode_len(false)];
        let len = redis_protocol::resp3::encode::complete::encode(&mut wire, &frame, false);
        prop_assert_eq!(len.unwrap(), wire.len());
        assert_decodes(&Sample { wire, value: from_resp3(frame) }, Protocol::Resp3);
    }
}

#[test]
fn order_and_equal_elements_of_maps_and_sets_survive() {
    let wire = b"%3\r\n+b\r\n:1\r\n+a\r\n:2\r\n+b\r\n~3\r\n:9\r\n:8\r\n:9\r\n";
    let text = |text: &str| Value::Bytes(text.into());
    let set = [9, 8, 9].map(Value::Integer).to_vec();
    let pairs = vec![
        (text("b"), Value::Integer(1)),
        (text("a"), Value::Integer(2)),
        (text("b"), Value::Array(set)),
    ];
    assert_decodes(&Sample::new(*wire, Value::Map(pairs)), Protocol::Resp3);
}

#[test]
fn nil_by_length_inside_an_aggregate_of_resp3_is_nil() {
    for wire in [b"*2\r\n$-1\r\n:7\r\n".as_slice(), b"*2\r\n*-1\r\n:7\r\n", b"*2\r\n_\r\n:7\r\n"] {
        let value = Value::Array(vec![Value::Null, Value::Integer(7)]);
        assert_decodes(&Sample::new(wire, value), Protocol::Resp3);
    }
}

#[test]
fn verbatim_strings_may_have_any_format() {
    for wire in ["=8\r\nxml:abcd\r\n", "=8\r\ntxt:abcd\r\n"] {
        let text = Value::Bytes(b"abcd".to_vec());
        assert_decodes(&Sample::new(wire, text.clone()), Protocol::Resp3);
        let inside = Sample::new(format!("*1\r\n{wire}"), Value::Array(vec![text]));
        assert_decodes(&inside, Protocol::Resp3);
    }
}

#[test]
fn nil_is_nil_in_both_protocols() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        assert_decodes(&Sample::new(*b"$-1\r\n", Value::Null), protocol);
        assert_decodes(&Sample::new(*b"*-1\r\n", Value::Null), protocol);
    }
    assert_decodes(&Sample::new(*b"_\r\n", Value::Null), Protocol::Resp3);
}

/// An empty attribute leads around the quick path, so that both ways of reading meet.
#[test]
fn the_quick_path_reads_what_the_grammar_reads() {
    let mut wires: Vec<_> = (0..=120).map(|len| bulk(&vec![b'x'; len])).collect();
    wires.extend((-12..=12).map(|number| format!(":{number}\r\n").into_bytes()));
    wires.extend([
        b"+OK\r\n".to_vec(),
        b"_\r\n".to_vec(),
        b"$-1\r\n".to_vec(),
        b"$00\r\n\r\n".to_vec(),
        b"$03\r\nabc\r\n".to_vec(),
        b"$3\r\nabcdefg".to_vec(),
        b"$12\r\nabcdefghijkl\rx".to_vec(),
        b"$3\r\nabc\r".to_vec(),
        b"$3\r\nabc\r\r\n".to_vec(),
        b"$12\r\nabcdefghijkl\r\r\n".to_vec(),
        b"$1x\r\n".to_vec(),
        b":1\rx".to_vec(),
        b"+OK\rx".to_vec(),
    ]);
    for wire in wires {
        let (frames, error, left) = feed_whole(&wire, Protocol::Resp3);
        let behind_attribute = [b"|0\r\n", wire.as_slice()].concat();
        let (other_frames, other_error, other_left) =
            feed_whole(&behind_attribute, Protocol::Resp3);
        assert_eq!(frames, other_frames, "{}", wire.escape_ascii());
        assert_eq!(error.is_some(), other_error.is_some(), "{}", wire.escape_ascii());
        assert_eq!(left > 0, other_left > 0, "{}", wire.escape_ascii());
    }
}
