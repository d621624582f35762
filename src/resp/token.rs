//! The grammar: one token off the front of the input, either a whole scalar or the header of an
//! aggregate.
//!
//! The only place that knows type bytes, lengths and terminators; the fast path, the scanner and
//! the tree decoder stand on it. Nothing here allocates or recurses.

use super::Protocol;
use super::error::{Fault, FaultKind};
use super::limits::Limits;

/// What one type byte and its line (and body) stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Aggregate(Aggregate, usize),
    BigNumber(&'a [u8]),
    Boolean(bool),
    Bulk(&'a [u8]),
    BulkError(&'a [u8]),
    Double(f64),
    Error(&'a [u8]),
    Integer(i64),
    /// `_`.
    Null,
    /// `$-1` or `*-1`.
    NullLength,
    Simple(&'a [u8]),
    /// The text behind the format, and whether the format is one of the two standard ones.
    Verbatim(&'a [u8], bool),
}

/// The kinds of aggregate. Their length counts elements, for maps and attributes pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Array,
    Attribute,
    Map,
    Push,
    Set,
}

/// A token and where the next one starts, or `None` while bytes are missing.
pub(super) type Step<T> = Result<Option<(T, usize)>, Fault>;

/// Reads the token at `at`.
#[inline]
pub(super) fn token<'a>(
    input: &'a [u8],
    at: usize,
    protocol: Protocol,
    limits: &Limits,
) -> Step<Token<'a>> {
    let Some(&byte) = input.get(at) else { return Ok(None) };
    let body = at.saturating_add(1);
    match byte {
        b'+' => map(line(input, body, limits), Token::Simple),
        b'-' => map(line(input, body, limits), Token::Error),
        b':' => map(integer(input, body), Token::Integer),
        b'$' => match length(input, body)? {
            Some((Length::Of(bytes), next)) => map(bulk(input, next, bytes, limits), Token::Bulk),
            Some((Length::Null, next)) => Ok(Some((Token::NullLength, next))),
            None => Ok(None),
        },
        b'*' => match length(input, body)? {
            Some((Length::Of(len), next)) => {
                Ok(Some((Token::Aggregate(Aggregate::Array, capped(len)), next)))
            }
            Some((Length::Null, next)) => Ok(Some((Token::NullLength, next))),
            None => Ok(None),
        },
        _ => match protocol {
            Protocol::Resp3 => rich_token(input, at, byte, limits),
            Protocol::Resp2 => refused(input, at, byte, protocol),
        },
    }
}

/// The types that only RESP3 has.
fn rich_token<'a>(input: &'a [u8], at: usize, byte: u8, limits: &Limits) -> Step<Token<'a>> {
    let body = at.saturating_add(1);
    match byte {
        b'_' => map(line_end(input, body), |()| Token::Null),
        b'#' => boolean(input, body),
        b',' => double(input, body, limits),
        b'(' => big_number(input, body, limits),
        b'!' => map(long_bulk(input, body, limits), Token::BulkError),
        b'=' => match long_bulk(input, body, limits)? {
            Some((bytes, next)) => verbatim(bytes, at).map(|token| Some((token, next))),
            None => Ok(None),
        },
        b'%' => aggregate(input, body, Aggregate::Map),
        b'~' => aggregate(input, body, Aggregate::Set),
        b'>' => aggregate(input, body, Aggregate::Push),
        b'|' => aggregate(input, body, Aggregate::Attribute),
        _ => refused(input, at, byte, Protocol::Resp3),
    }
}

/// Why `byte` starts no token of `protocol`.
#[cold]
fn refused<'a>(input: &[u8], at: usize, byte: u8, protocol: Protocol) -> Step<Token<'a>> {
    let rest = input.get(at..).unwrap_or_default();
    let kind = match byte {
        b'_' | b'#' | b',' | b'(' | b'!' | b'=' | b'%' | b'~' | b'>' | b'|'
            if protocol == Protocol::Resp2 =>
        {
            FaultKind::Resp3Type(byte)
        }
        b';' | b'.' => FaultKind::Streamed,
        b'H' if rest.starts_with(HTTP) => FaultKind::Http,
        // Not yet enough to tell HTTP from noise.
        b'H' if HTTP.starts_with(rest) => return Ok(None),
        TLS_ALERT | TLS_HANDSHAKE => FaultKind::Tls,
        _ => FaultKind::UnknownType,
    };
    Err(Fault::new(kind, at))
}

/// The bytes up to the line's end.
#[inline]
fn line<'a>(input: &'a [u8], from: usize, limits: &Limits) -> Step<&'a [u8]> {
    let rest = input.get(from..).unwrap_or_default();
    // One byte more than allowed, so that the line of exactly the limit is still found.
    let window = rest.get(..=limits.line_bytes).unwrap_or(rest);
    let Some(len) = window.iter().position(|&byte| byte == b'\r' || byte == b'\n') else {
        if window.len() > limits.line_bytes {
            let seen = window.len() as u64;
            return Err(Fault::limit("a line", seen, limits.line_bytes, from));
        }
        return Ok(None);
    };
    let end = from.saturating_add(len);
    let text = rest.get(..len).unwrap_or_default();
    map(line_end(input, end), |()| text)
}

/// Expects the line's end at `from`; the first byte that is none of it is an error at once.
#[inline]
fn line_end(input: &[u8], from: usize) -> Step<()> {
    match input.get(from..) {
        Some([b'\r', b'\n', ..]) => Ok(Some(((), from.saturating_add(CRLF_BYTES)))),
        Some([] | [b'\r']) | None => Ok(None),
        Some(_) => Err(Fault::malformed("no line end where one must be", from)),
    }
}

/// The length of a bulk or an aggregate.
enum Length {
    Null,
    Of(u64),
}

#[inline]
fn length(input: &[u8], from: usize) -> Step<Length> {
    match input.get(from) {
        Some(b'-') => {
            let null = b"-1";
            let end = from.saturating_add(null.len());
            match input.get(from..end) {
                Some(text) if text == null => map(line_end(input, end), |()| Length::Null),
                None => Ok(None),
                Some(_) => Err(Fault::malformed("a negative length", from)),
            }
        }
        Some(b'?') => Err(Fault::new(FaultKind::Streamed, from.saturating_sub(1))),
        _ => map(digits(input, from), Length::Of),
    }
}

/// Decimal digits, at least one, and the line end.
#[inline]
fn digits(input: &[u8], from: usize) -> Step<u64> {
    let rest = input.get(from..).unwrap_or_default();
    let mut value: u64 = 0;
    for (index, &byte) in rest.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            if index == 0 {
                return Err(Fault::malformed("a number without digits", from));
            }
            let end = from.saturating_add(index);
            return map(line_end(input, end), |()| value);
        }
        // Leading zeros are counted too: no number needs more digits than the largest one.
        let next = value.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit)));
        match next {
            Some(next) if index < DIGITS_MAX => value = next,
            _ => return Err(Fault::malformed("a number out of range", from)),
        }
    }
    Ok(None)
}

#[inline]
fn integer(input: &[u8], from: usize) -> Step<i64> {
    let (negative, start) = match input.get(from) {
        Some(b'-') => (true, from.saturating_add(1)),
        Some(b'+') => (false, from.saturating_add(1)),
        _ => (false, from),
    };
    let Some((magnitude, next)) = digits(input, start)? else { return Ok(None) };
    let value = if negative {
        0_i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    };
    match value {
        Some(value) => Ok(Some((value, next))),
        None => Err(Fault::malformed("a number out of range", from)),
    }
}

/// `bytes` bytes and their terminator.
#[inline]
fn bulk<'a>(input: &'a [u8], from: usize, bytes: u64, limits: &Limits) -> Step<&'a [u8]> {
    let len = capped(bytes);
    if len > limits.bulk_bytes {
        return Err(Fault::limit("a bulk string", bytes, limits.bulk_bytes, from));
    }
    let end = from.saturating_add(len);
    match input.get(from..end) {
        Some(text) => map(line_end(input, end), |()| text),
        None => Ok(None),
    }
}

/// A length and that many bytes, of the types that know no nil.
fn long_bulk<'a>(input: &'a [u8], from: usize, limits: &Limits) -> Step<&'a [u8]> {
    match length(input, from)? {
        Some((Length::Of(bytes), next)) => bulk(input, next, bytes, limits),
        Some((Length::Null, _)) => Err(Fault::malformed("a negative length", from)),
        None => Ok(None),
    }
}

fn aggregate<'a>(input: &'a [u8], from: usize, kind: Aggregate) -> Step<Token<'a>> {
    match length(input, from)? {
        Some((Length::Of(len), next)) => Ok(Some((Token::Aggregate(kind, capped(len)), next))),
        Some((Length::Null, _)) => Err(Fault::malformed("a negative length", from)),
        None => Ok(None),
    }
}

fn boolean<'a>(input: &'a [u8], from: usize) -> Step<Token<'a>> {
    let value = match input.get(from) {
        Some(b't') => true,
        Some(b'f') => false,
        Some(_) => return Err(Fault::malformed("a boolean that is neither t nor f", from)),
        None => return Ok(None),
    };
    map(line_end(input, from.saturating_add(1)), |()| Token::Boolean(value))
}

fn double<'a>(input: &'a [u8], from: usize, limits: &Limits) -> Step<Token<'a>> {
    let Some((text, next)) = line(input, from, limits)? else { return Ok(None) };
    match str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
        Some(value) => Ok(Some((Token::Double(value), next))),
        None => Err(Fault::malformed("a double that is no number", from)),
    }
}

fn big_number<'a>(input: &'a [u8], from: usize, limits: &Limits) -> Step<Token<'a>> {
    let Some((text, next)) = line(input, from, limits)? else { return Ok(None) };
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if unsigned.is_empty() || !unsigned.iter().all(u8::is_ascii_digit) {
        return Err(Fault::malformed("a big number that is no number", from));
    }
    Ok(Some((Token::BigNumber(text), next)))
}

/// A verbatim string starts with three letters of format and a colon.
fn verbatim(bytes: &[u8], at: usize) -> Result<Token<'_>, Fault> {
    match bytes.split_at_checked(4) {
        Some((format @ [_, _, _, b':'], text)) => {
            Ok(Token::Verbatim(text, format == b"txt:" || format == b"mkd:"))
        }
        _ => Err(Fault::malformed("a verbatim string without its format", at)),
    }
}

#[inline]
fn map<T, U>(step: Step<T>, convert: impl FnOnce(T) -> U) -> Step<U> {
    match step {
        Ok(Some((value, next))) => Ok(Some((convert(value), next))),
        Ok(None) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// A wire length as a count; on small machines the excess meets its limit as `usize::MAX`.
#[inline]
fn capped(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

const CRLF_BYTES: usize = b"\r\n".len();
/// Digits of `u64::MAX`.
const DIGITS_MAX: usize = 20;
const HTTP: &[u8] = b"HTTP/";
/// First bytes of the two TLS records that a server may send before anything else.
const TLS_ALERT: u8 = 0x15;
const TLS_HANDSHAKE: u8 = 0x16;
