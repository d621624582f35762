//! Tests of the codec over whole streams; `Sample` is a frame on the wire and what it means.

mod agreement;
mod commands;
mod hostile;
mod replies;
mod splits;

use proptest::collection::vec;
use proptest::prelude::*;

use super::Protocol;
use super::decode::{Decoded, Decoder};
use super::error::DecodeError;
use super::limits::Limits;
use super::push::Push;
use super::reply::{Reply, Value};

/// A valid frame and the value it must decode to.
#[derive(Clone, Debug)]
struct Sample {
    wire: Vec<u8>,
    value: Value,
}

impl Sample {
    fn new(wire: impl Into<Vec<u8>>, value: Value) -> Self {
        Self { wire: wire.into(), value }
    }
}

/// What a stream consisted of.
#[derive(Debug, PartialEq)]
enum Frame {
    Reply(Value),
    Push(Push),
}

/// A reply without the difference between the borrowed and the owned forms.
fn plain(reply: Reply<'_>) -> Value {
    match reply {
        Reply::Ok => Value::Bytes(b"OK".to_vec()),
        Reply::Null => Value::Null,
        Reply::Integer(value) => Value::Integer(value),
        Reply::One(value) => Value::Array(vec![Value::Integer(value)]),
        Reply::Boolean(value) => Value::Boolean(value),
        Reply::Bulk(text) | Reply::Simple(text) => Value::Bytes(text.to_vec()),
        Reply::Error(error) => Value::Error(error.as_bytes().to_vec()),
        Reply::Tree(value) => value,
    }
}

/// Decodes what arrives in `chunks`: the frames, the error that ended them, the bytes left over.
fn feed<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    protocol: Protocol,
    limits: Limits,
) -> (Vec<Frame>, Option<DecodeError>, usize) {
    let mut decoder = Decoder::new(protocol, limits);
    let mut buffer = Vec::new();
    let mut frames = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            let len = match decoder.decode(&buffer) {
                Ok(Decoded::Incomplete) => break,
                Ok(Decoded::Reply { reply, len }) => {
                    frames.push(Frame::Reply(plain(reply)));
                    len
                }
                Ok(Decoded::Push { push, len }) => {
                    frames.push(Frame::Push(push));
                    len
                }
                Err(error) => return (frames, Some(error), buffer.len()),
            };
            assert!(len > 0 && len <= buffer.len(), "consumed {len} of {}", buffer.len());
            buffer.drain(..len);
        }
    }
    (frames, None, buffer.len())
}

fn feed_whole(wire: &[u8], protocol: Protocol) -> (Vec<Frame>, Option<DecodeError>, usize) {
    feed([wire], protocol, Limits::DEFAULT)
}

/// The one error that `wire` must end in, before any frame.
fn error_of(wire: &[u8], protocol: Protocol) -> DecodeError {
    let (frames, error, _) = feed_whole(wire, protocol);
    assert_eq!(frames, [], "{}", wire.escape_ascii());
    error.unwrap_or_else(|| panic!("accepted or waited for more: {}", wire.escape_ascii()))
}

fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

/// Scalars of RESP2, and the two forms of nil.
fn scalar2() -> impl Strategy<Value = Sample> {
    prop_oneof![
        "[ -~]{0,20}".prop_map(|text| {
            Sample::new(format!("+{text}\r\n"), Value::Bytes(text.into_bytes()))
        }),
        "[ -~]{0,20}".prop_map(|text| {
            Sample::new(format!("-{text}\r\n"), Value::Error(text.into_bytes()))
        }),
        any::<i64>().prop_map(|n| Sample::new(format!(":{n}\r\n"), Value::Integer(n))),
        vec(any::<u8>(), 0..40).prop_map(|text| Sample::new(bulk(&text), Value::Bytes(text))),
        Just(Sample::new(*b"$-1\r\n", Value::Null)),
        Just(Sample::new(*b"*-1\r\n", Value::Null)),
    ]
}

/// Scalars that only RESP3 has.
fn scalar3() -> impl Strategy<Value = Sample> {
    let double = prop_oneof![
        any::<f64>().prop_filter("equality needs a number", |value| !value.is_nan()),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY)
    ];
    prop_oneof![
        Just(Sample::new(*b"_\r\n", Value::Null)),
        any::<bool>().prop_map(|value| {
            Sample::new(if value { *b"#t\r\n" } else { *b"#f\r\n" }, Value::Boolean(value))
        }),
        double.prop_map(|value| Sample::new(format!(",{value}\r\n"), Value::Double(value))),
        "-?[0-9]{1,40}".prop_map(|digits| {
            Sample::new(format!("({digits}\r\n"), Value::Bytes(digits.into_bytes()))
        }),
        ("txt|mkd", vec(any::<u8>(), 0..20)).prop_map(|(format, text)| {
            let head = format!("={}\r\n{format}:", text.len() + 4);
            Sample::new([head.as_bytes(), &text, b"\r\n"].concat(), Value::Bytes(text))
        }),
        vec(any::<u8>(), 0..20).prop_map(|text| {
            let head = format!("!{}\r\n", text.len());
            Sample::new([head.as_bytes(), &text, b"\r\n"].concat(), Value::Error(text))
        }),
    ]
}

fn array(items: Vec<Sample>, kind: char) -> Sample {
    let mut wire = format!("{kind}{}\r\n", items.len()).into_bytes();
    items.iter().for_each(|item| wire.extend_from_slice(&item.wire));
    Sample { wire, value: Value::Array(items.into_iter().map(|item| item.value).collect()) }
}

fn map(pairs: Vec<(Sample, Sample)>, kind: char) -> Sample {
    let mut wire = format!("{kind}{}\r\n", pairs.len()).into_bytes();
    for (key, value) in &pairs {
        wire.extend_from_slice(&key.wire);
        wire.extend_from_slice(&value.wire);
    }
    let pairs = pairs.into_iter().map(|(key, value)| (key.value, value.value)).collect();
    Sample { wire, value: Value::Map(pairs) }
}

/// Any reply of RESP2.
fn tree2() -> impl Strategy<Value = Sample> {
    scalar2().prop_recursive(4, 32, 6, |inner| vec(inner, 0..6).prop_map(|items| array(items, '*')))
}

/// Any reply of RESP3, with attributes in front of some of its elements.
fn tree3() -> impl Strategy<Value = Sample> {
    prop_oneof![scalar2(), scalar3()].prop_recursive(4, 32, 6, |inner| {
        let pairs = || vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|items| array(items, '*')),
            vec(inner.clone(), 0..6).prop_map(|items| array(items, '~')),
            pairs().prop_map(|pairs| map(pairs, '%')),
            (pairs(), inner.clone()).prop_map(|(pairs, behind)| {
                let attribute = map(pairs, '|');
                Sample { wire: [attribute.wire, behind.wire].concat(), value: behind.value }
            }),
        ]
    })
}

/// Any push: a kind, then anything.
fn push3() -> impl Strategy<Value = Sample> {
    let kind = "invalidate|message|subscribe|[a-z]{1,8}";
    (kind, vec(tree3(), 0..4)).prop_map(|(kind, mut items)| {
        items.insert(0, Sample::new(bulk(kind.as_bytes()), Value::Bytes(kind.into_bytes())));
        array(items, '>')
    })
}
