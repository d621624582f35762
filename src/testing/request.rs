//! Cuts a client's bytes into commands: arrays of bulk strings, and inline commands.
//!
//! Not the engine's decoder: a server reads other frames than a client. Quotes in inline commands
//! are plain characters here.
//!
//! Invariants:
//! 1. A frame is bounded: [`ARGS_MAX`] arguments, [`BULK_MAX`] bytes each, [`FRAME_MAX`] in all.
//! 2. Nothing of an incomplete frame is consumed.

use std::ops::Range;

/// What the front of the input holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// The frame needs more bytes.
    Incomplete,
    /// `consumed` bytes that hold no command (an empty line, an array without elements).
    Nothing { consumed: usize },
    /// A command of at least one argument, given by their places in the input.
    Command { consumed: usize, args: Vec<Range<usize>> },
    /// No command can be found any more: answer this error and close.
    Broken(Vec<u8>),
}

/// Reads the frame at the front of `input`. An unauthenticated client gets smaller bounds.
pub(super) fn front(input: &[u8], authenticated: bool) -> Front {
    let found = match input.first() {
        None => return Front::Incomplete,
        Some(b'*') => array(input, authenticated),
        Some(_) => inline(input),
    };
    match found {
        Ok(Front::Incomplete) if input.len() > FRAME_MAX => {
            Front::Broken(b"ERR Protocol error: too big request for the test node".to_vec())
        }
        Ok(front) => front,
        Err(text) => Front::Broken([b"ERR Protocol error: ", text.as_slice()].concat()),
    }
}

fn inline(input: &[u8]) -> Result<Front, Vec<u8>> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return match input.len() > LINE_MAX {
            true => Err(b"too big inline request".to_vec()),
            false => Ok(Front::Incomplete),
        };
    };
    let line = input.get(..end).unwrap_or_default();
    let mut args = Vec::new();
    let mut start = None;
    for (at, byte) in line.iter().chain(b" ").enumerate() {
        match (byte.is_ascii_whitespace(), start) {
            (false, None) => start = Some(at),
            (true, Some(first)) => {
                args.push(first..at);
                start = None;
            }
            _ => {}
        }
    }
    let consumed = end + 1;
    Ok(match args.is_empty() {
        true => Front::Nothing { consumed },
        false => Front::Command { consumed, args },
    })
}

fn array(input: &[u8], authenticated: bool) -> Result<Front, Vec<u8>> {
    let Some((count, mut at)) = number_line(input, 1, "too big mbulk count string")? else {
        return Ok(Front::Incomplete);
    };
    let count = match count {
        Some(count) if count <= 0 => return Ok(Front::Nothing { consumed: at }),
        Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    if count > ARGS_MAX {
        return Err(b"invalid multibulk length".to_vec());
    }
    if !authenticated && count > ARGS_UNAUTHENTICATED_MAX {
        return Err(b"unauthenticated multibulk length".to_vec());
    }
    let mut args = Vec::with_capacity(count);
    while args.len() < count {
        match input.get(at) {
            None => return Ok(Front::Incomplete),
            Some(b'$') => {}
            Some(other) => {
                return Err([b"expected '$', got '".as_slice(), &[*other, b'\'']].concat());
            }
        }
        let Some((len, start)) = number_line(input, at + 1, "too big bulk count string")? else {
            return Ok(Front::Incomplete);
        };
        let len = len.and_then(|len| usize::try_from(len).ok()).unwrap_or(usize::MAX);
        if len > BULK_MAX {
            return Err(b"invalid bulk length".to_vec());
        }
        if !authenticated && len > BULK_UNAUTHENTICATED_MAX {
            return Err(b"unauthenticated bulk length".to_vec());
        }
        // The two bytes after the value are skipped unread, as the server does.
        at = start + len + 2;
        if input.len() < at {
            return Ok(Front::Incomplete);
        }
        args.push(start..start + len);
    }
    Ok(Front::Command { consumed: at, args })
}

/// A line's number (`None`: not a number) and where the next line starts; `None` while the line
/// is incomplete.
type NumberLine = Option<(Option<i64>, usize)>;

fn number_line(input: &[u8], at: usize, too_long: &str) -> Result<NumberLine, Vec<u8>> {
    let rest = input.get(at..).unwrap_or_default();
    let Some(len) = rest.iter().position(|byte| *byte == b'\r') else {
        return match rest.len() > LINE_MAX {
            true => Err(too_long.as_bytes().to_vec()),
            false => Ok(None),
        };
    };
    // The byte after `\r` is skipped unread, but it must have arrived.
    if rest.len() < len + 2 {
        return Ok(None);
    }
    Ok(Some((integer(rest.get(..len).unwrap_or_default()), at + len + 2)))
}

/// The one spelling of a number that the server accepts: no `+`, no leading zero, no blank.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let value: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (itoa::Buffer::new().format(value).as_bytes() == text).then_some(value)
}

/// The engine's largest call has 64 keys and 128 arguments.
const ARGS_MAX: usize = 4_096;
const BULK_MAX: usize = 1 << 20;
const FRAME_MAX: usize = 4 << 20;
const LINE_MAX: usize = 64 << 10;
/// The server's own bounds before AUTH.
const ARGS_UNAUTHENTICATED_MAX: usize = 10;
const BULK_UNAUTHENTICATED_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn words(input: &[u8]) -> Vec<&[u8]> {
        match front(input, true) {
            Front::Command { args, consumed } => {
                assert_eq!(consumed, input.len());
                args.into_iter().map(|place| &input[place]).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn broken(input: &[u8], authenticated: bool) -> String {
        match front(input, authenticated) {
            Front::Broken(text) => String::from_utf8(text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_are_found_only_when_complete() {
        let frame = b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n";
        assert_eq!(words(frame), [b"GET".as_slice(), b"a\r\nb"]);
        for cut in 0..frame.len() {
            assert_eq!(front(&frame[..cut], true), Front::Incomplete, "cut at {cut}");
        }
        assert_eq!(words(b" set  a b\r\n"), [b"set".as_slice(), b"a", b"b"]);
        assert_eq!(front(b"\r\nPING", true), Front::Nothing { consumed: 2 });
        assert_eq!(front(b"*-1\r\nPING", true), Front::Nothing { consumed: 5 });
    }

    /// The texts are those of redis-server 7.0.15.
    #[test]
    fn hostile_frames_end_in_the_servers_errors() {
        let cases: [(&[u8], &str); 7] = [
            (b"*x\r\n", "invalid multibulk length"),
            (b"*01\r\n", "invalid multibulk length"),
            (b"*99999999999999999999\r\n", "invalid multibulk length"),
            (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$99999999999\r\n", "invalid bulk length"),
            (b"*1\r\n$+4\r\nPING\r\n", "invalid bulk length"),
        ];
        for (input, text) in cases {
            assert_eq!(broken(input, true), format!("ERR Protocol error: {text}"));
        }
        let long = vec![b'1'; LINE_MAX + 2];
        assert!(broken(&[b"*", long.as_slice()].concat(), true).ends_with("mbulk count string"));
        assert!(
            broken(&[b"*1\r\n$", long.as_slice()].concat(), true).ends_with("bulk count string")
        );
        assert!(broken(&long, true).ends_with("too big inline request"));
        assert!(broken(b"*11\r\n", false).ends_with("unauthenticated multibulk length"));
        assert!(broken(b"*1\r\n$16385\r\n", false).ends_with("unauthenticated bulk length"));
        let mut huge = b"*5\r\n".to_vec();
        for _ in 0..4 {
            huge.extend_from_slice(format!("${BULK_MAX}\r\n").as_bytes());
            huge.resize(huge.len() + BULK_MAX + 2, b'x');
        }
        assert!(broken(&huge, true).ends_with("too big request for the test node"));
    }
}
