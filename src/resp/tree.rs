//! Complete aggregates to owned values.
//!
//! The input has passed the scanner: it is one whole, valid frame within the limits, so recursion
//! is at most [`DEPTH_MAX`](super::limits::DEPTH_MAX) deep and the sizes it announces are true.
//!
//! `redis_protocol` converts what it can represent. Its RESP3 decoder takes `$-1` and `*-1` for
//! streams, keeps maps and sets in hash tables (the order and equal elements are lost, aggregates
//! as keys are refused) and knows two formats of verbatim strings; replies with any of these are
//! converted here, over the same tokens that the scanner saw.

use redis_protocol::resp2::decode::decode_range as decode_resp2;
use redis_protocol::resp2::types::RangeFrame as Frame2;
use redis_protocol::resp3::decode::complete::decode_range as decode_resp3;
use redis_protocol::resp3::types::RangeFrame as Frame3;

use super::Protocol;
use super::error::Fault;
use super::limits::Limits;
use super::reply::Value;
use super::token::{Aggregate, Step, Token, token};

/// Converts `frame`; `by_hand` is the scanner's verdict on `redis_protocol`.
pub(super) fn value(
    frame: &[u8],
    protocol: Protocol,
    limits: &Limits,
    by_hand: bool,
) -> Result<Value, Fault> {
    let value = match protocol {
        _ if by_hand => by_tokens(frame, 0, protocol, limits)?.map(|(value, _)| value),
        Protocol::Resp2 => match decode_resp2(frame) {
            Ok(Some((tree, _))) => from_resp2(&tree, frame),
            _ => None,
        },
        Protocol::Resp3 => match decode_resp3(frame) {
            Ok(Some((tree, _))) => from_resp3(&tree, frame),
            _ => None,
        },
    };
    value.ok_or_else(|| Fault::malformed("an aggregate that cannot be read", 0))
}

fn from_resp2(tree: &Frame2, frame: &[u8]) -> Option<Value> {
    let bytes = |&(from, to): &(usize, usize)| frame.get(from..to).map(<[u8]>::to_vec);
    Some(match tree {
        Frame2::Array(items) => {
            Value::Array(items.iter().map(|item| from_resp2(item, frame)).collect::<Option<_>>()?)
        }
        Frame2::BulkString(range) | Frame2::SimpleString(range) => Value::Bytes(bytes(range)?),
        Frame2::Error(range) => Value::Error(bytes(range)?),
        Frame2::Integer(value) => Value::Integer(*value),
        Frame2::Null => Value::Null,
    })
}

fn from_resp3(tree: &Frame3, frame: &[u8]) -> Option<Value> {
    let bytes = |&(from, to): &(usize, usize)| frame.get(from..to).map(<[u8]>::to_vec);
    Some(match tree {
        Frame3::Array { data, .. } | Frame3::Push { data, .. } => {
            Value::Array(data.iter().map(|item| from_resp3(item, frame)).collect::<Option<_>>()?)
        }
        Frame3::BigNumber { data, .. }
        | Frame3::BlobString { data, .. }
        | Frame3::SimpleString { data, .. }
        | Frame3::VerbatimString { data, .. } => Value::Bytes(bytes(data)?),
        Frame3::BlobError { data, .. } | Frame3::SimpleError { data, .. } => {
            Value::Error(bytes(data)?)
        }
        Frame3::Boolean { data, .. } => Value::Boolean(*data),
        Frame3::Double { data, .. } => Value::Double(*data),
        Frame3::Null => Value::Null,
        Frame3::Number { data, .. } => Value::Integer(*data),
        // Converted by hand or refused by the scanner.
        Frame3::ChunkedString(_)
        | Frame3::Hello { .. }
        | Frame3::Map { .. }
        | Frame3::Set { .. } => {
            return None;
        }
    })
}

/// The value at `at` and where the next one starts. Attributes in front of it are passed over.
fn by_tokens(frame: &[u8], mut at: usize, protocol: Protocol, limits: &Limits) -> Step<Value> {
    loop {
        let Some((first, next)) = token(frame, at, protocol, limits)? else { return Ok(None) };
        let value = match first {
            // A row of attributes is a loop, not a recursion: the scanner bounds their number by
            // the elements of the frame, not by its depth.
            Token::Aggregate(Aggregate::Attribute, pairs) => {
                let count = pairs.saturating_mul(2);
                let Some((_, after)) = elements(frame, next, count, protocol, limits)? else {
                    return Ok(None);
                };
                at = after;
                continue;
            }
            Token::Aggregate(Aggregate::Map, pairs) => {
                let count = pairs.saturating_mul(2);
                let items = elements(frame, next, count, protocol, limits)?;
                return Ok(items.map(|(items, next)| (Value::Map(paired(items)), next)));
            }
            Token::Aggregate(_, count) => {
                let items = elements(frame, next, count, protocol, limits)?;
                return Ok(items.map(|(items, next)| (Value::Array(items), next)));
            }
            Token::BigNumber(text)
            | Token::Bulk(text)
            | Token::Simple(text)
            | Token::Verbatim(text, _) => Value::Bytes(text.to_vec()),
            Token::BulkError(text) | Token::Error(text) => Value::Error(text.to_vec()),
            Token::Boolean(value) => Value::Boolean(value),
            Token::Double(value) => Value::Double(value),
            Token::Integer(value) => Value::Integer(value),
            Token::Null | Token::NullLength => Value::Null,
        };
        return Ok(Some((value, next)));
    }
}

/// `count` values from `at` on.
fn elements(
    frame: &[u8],
    mut at: usize,
    count: usize,
    protocol: Protocol,
    limits: &Limits,
) -> Step<Vec<Value>> {
    let mut items = Vec::with_capacity(count.min(limits.elements));
    for _ in 0..count {
        let Some((item, next)) = by_tokens(frame, at, protocol, limits)? else { return Ok(None) };
        items.push(item);
        at = next;
    }
    Ok(Some((items, at)))
}

fn paired(items: Vec<Value>) -> Vec<(Value, Value)> {
    let mut pairs = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((key, value));
    }
    pairs
}
