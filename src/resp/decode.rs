//! Takes one frame at a time off the front of a read buffer.
//!
//! Replies that locks produce are scalars and come straight from the buffer, without a copy.
//! Aggregates first pass the scanner of `scan`, which bounds them, then become a tree.
//! After an error the stream cannot be trusted any more: the caller closes the connection.

use super::Protocol;
use super::error::{DecodeError, Fault};
use super::limits::Limits;
use super::push::Push;
use super::reply::{ErrorReply, Reply, Value};
use super::scan::Scan;
use super::token::{Aggregate, Token, token};
use super::tree;

/// Decodes one connection's stream. Between calls it remembers how far it has seen a partial
/// aggregate, so the caller keeps the unconsumed bytes and only appends to them.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    protocol: Protocol,
    limits: Limits,
    scan: Scan,
}

/// The frame at the front of the input.
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded<'a> {
    /// Part of a frame, or nothing: read more.
    Incomplete,
    /// The answer to the oldest command in flight. `len` bytes are consumed.
    Reply { reply: Reply<'a>, len: usize },
    /// A frame that answers no command. `len` bytes are consumed.
    Push { push: Push, len: usize },
}

impl Decoder {
    /// RESP3 accepts every frame of RESP2 too, so a connection that has not agreed on a version
    /// yet starts with [`Protocol::Resp3`].
    pub(crate) fn new(protocol: Protocol, limits: Limits) -> Self {
        Self { protocol, limits, scan: Scan::IDLE }
    }

    /// Changes the version for the frames to come; called between frames only.
    pub(crate) fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.scan = Scan::IDLE;
    }

    /// Decodes the frame that starts at the first byte of `input`.
    ///
    /// # Errors
    /// The input is no RESP, or exceeds a limit; the stream is lost.
    #[inline]
    pub(crate) fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<'a>, DecodeError> {
        match quick(input, self.protocol) {
            Some((reply, len)) => Ok(Decoded::Reply { reply, len }),
            None => self.decode_any(input),
        }
    }

    #[inline(never)]
    fn decode_any<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<'a>, DecodeError> {
        match token(input, 0, self.protocol, &self.limits) {
            Ok(Some((token, len))) => match scalar(token) {
                Ok(reply) => Ok(Decoded::Reply { reply, len }),
                Err(_) => self.decode_aggregate(input),
            },
            Ok(None) => Ok(Decoded::Incomplete),
            Err(fault) => Err(fault.into_error(input)),
        }
    }

    #[inline(never)]
    fn decode_aggregate<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<'a>, DecodeError> {
        let shape = match self.scan.advance(input, self.protocol, &self.limits) {
            Ok(Some(shape)) => shape,
            Ok(None) => return Ok(Decoded::Incomplete),
            Err(fault) => return Err(fault.into_error(input)),
        };
        let frame = input.get(shape.reply_at..shape.len).unwrap_or_default();
        self.convert(frame, shape.len, shape.by_hand).map_err(|fault| fault.into_error(frame))
    }

    /// Converts a complete reply, which may be a scalar if attributes stood in front of it.
    fn convert<'a>(
        &self,
        frame: &'a [u8],
        len: usize,
        by_hand: bool,
    ) -> Result<Decoded<'a>, Fault> {
        let Some((first, _)) = token(frame, 0, self.protocol, &self.limits)? else {
            return Err(Fault::malformed("a frame that ends early", 0));
        };
        let kind = match scalar(first) {
            Ok(reply) => return Ok(Decoded::Reply { reply, len }),
            Err(kind) => kind,
        };
        let value = tree::value(frame, self.protocol, &self.limits, by_hand)?;
        if kind != Aggregate::Push {
            return Ok(Decoded::Reply { reply: Reply::Tree(value), len });
        }
        match Push::from_value(value) {
            Some(push) => Ok(Decoded::Push { push, len }),
            None => Err(Fault::malformed("a push without a kind", 0)),
        }
    }
}

/// The few shapes that nearly every answer to a lock command has: a status, nil, a digit, a short
/// string, an array of one digit (SCRIPT EXISTS). `None` says nothing about the input; [`token`]
/// decides, and knows these shapes too.
/// It is 3 to 5 times faster than [`token`], because it needs no loop and small results.
#[inline]
fn quick(input: &[u8], protocol: Protocol) -> Option<(Reply<'_>, usize)> {
    let (text_at, len) = match *input {
        [b'+', b'O', b'K', b'\r', b'\n', ..] => return Some((Reply::Ok, 5)),
        [b'$', b'-', b'1', b'\r', b'\n', ..] => return Some((Reply::Null, 5)),
        [b'_', b'\r', b'\n', ..] if protocol == Protocol::Resp3 => return Some((Reply::Null, 3)),
        [b':', digit @ b'0'..=b'9', b'\r', b'\n', ..] => {
            return Some((Reply::Integer(i64::from(digit - b'0')), 4));
        }
        [b'*', b'1', b'\r', b'\n', b':', digit @ b'0'..=b'9', b'\r', b'\n', ..] => {
            return Some((Reply::One(i64::from(digit - b'0')), 8));
        }
        [b'$', ones @ b'0'..=b'9', b'\r', b'\n', ..] => (4, usize::from(ones - b'0')),
        [b'$', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => {
            (5, usize::from(tens - b'0') * 10 + usize::from(ones - b'0'))
        }
        _ => return None,
    };
    let (text, end) = input.get(text_at..)?.split_at_checked(len)?;
    match end {
        [b'\r', b'\n', ..] => Some((Reply::Bulk(text), text_at + len + 2)),
        _ => None,
    }
}

/// The reply that one token makes, or the aggregate that it only begins.
#[inline]
fn scalar(token: Token<'_>) -> Result<Reply<'_>, Aggregate> {
    Ok(match token {
        Token::Aggregate(kind, _) => return Err(kind),
        Token::BigNumber(text) | Token::Verbatim(text, _) => {
            Reply::Tree(Value::Bytes(text.to_vec()))
        }
        Token::Boolean(value) => Reply::Boolean(value),
        Token::Bulk(text) => Reply::Bulk(text),
        Token::BulkError(text) | Token::Error(text) => Reply::Error(ErrorReply::new(text)),
        Token::Double(value) => Reply::Tree(Value::Double(value)),
        Token::Integer(value) => Reply::Integer(value),
        Token::Null | Token::NullLength => Reply::Null,
        Token::Simple(b"OK") => Reply::Ok,
        Token::Simple(text) => Reply::Simple(text),
    })
}
