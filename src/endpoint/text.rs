//! The letters of an address: escapes in both directions, and masking.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Longest address that an error repeats.
const SHOWN_CHARS_MAX: usize = 256;
/// What stands for everything that can be a password.
const MASK: &str = "***";

/// `%XX` undone; `None` for a bad escape or bytes that are not UTF-8.
pub(super) fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            out.push(hex(bytes.next()?)? << 4 | hex(bytes.next()?)?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Writes a text so that it can stand anywhere in an address.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                f.write_char(char::from(byte))
            }
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

/// `address` for an error message: everything that can be a password is masked, what is not
/// printable is escaped, and the length is bounded. The address may be malformed in any way, so
/// this errs towards masking.
pub(super) fn masked(address: &str) -> String {
    let (scheme, rest) = split_scheme(address);
    let (user, rest) = match rest.rsplit_once('@') {
        // The path of a socket may hold an `@`: there is no user before it.
        Some((before, _))
            if is_unix(scheme) && before.starts_with('/') && !before.contains(':') =>
        {
            (String::new(), rest)
        }
        Some((user_info, rest)) => (format!("{}@", masked_user_info(user_info)), rest),
        None => (String::new(), rest),
    };
    let mut out = String::new();
    if !scheme.is_empty() {
        out = format!("{scheme}://");
    }
    out.push_str(&user);
    let (place, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
    if user.is_empty() && !is_unix(scheme) {
        out.push_str(&masked_port(place));
    } else {
        out.push_str(place);
    }
    for (index, parameter) in query.iter().flat_map(|query| query.split('&')).enumerate() {
        out.push(if index == 0 { '?' } else { '&' });
        out.push_str(&masked_parameter(parameter));
    }
    printable(&out)
}

fn split_scheme(address: &str) -> (&str, &str) {
    let is_scheme = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    };
    match address.split_once("://") {
        Some((scheme, rest)) if !scheme.is_empty() && is_scheme(scheme) => (scheme, rest),
        _ => ("", address),
    }
}

fn is_unix(scheme: &str) -> bool {
    scheme.to_ascii_lowercase().ends_with("unix")
}

/// Keeps a user name that is one beyond doubt.
fn masked_user_info(user_info: &str) -> String {
    let (user, has_password) =
        user_info.split_once(':').map_or((user_info, false), |(user, _)| (user, true));
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'%');
    match (user.bytes().all(is_plain), has_password) {
        (true, true) => format!("{user}:{MASK}"),
        (true, false) => user.to_owned(),
        (false, _) => MASK.to_owned(),
    }
}

/// `redis://user:password`, its host forgotten, has the password where the port should be.
fn masked_port(place: &str) -> String {
    let host_end = place.rfind(']').filter(|_| place.starts_with('[')).map_or(0, |end| end + 1);
    let (host, tail) = place.split_at(host_end);
    let Some((more_host, tail)) = tail.split_once(':') else { return place.to_owned() };
    let (port, path) = tail.split_at(tail.find('/').unwrap_or(tail.len()));
    let is_port = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    // A password with a `/` continues in what looks like the path.
    let shown = if is_port { format!("{port}{path}") } else { MASK.to_owned() };
    format!("{host}{more_host}:{shown}")
}

fn masked_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some(("db" | "protocol" | "client_name", _)) => parameter.to_owned(),
        Some((name, _)) => format!("{name}={MASK}"),
        None => MASK.to_owned(),
    }
}

fn printable(text: &str) -> String {
    let mut out = String::new();
    for (index, char) in text.chars().enumerate() {
        if index == SHOWN_CHARS_MAX {
            out.push_str("...");
            break;
        }
        if char.is_ascii_graphic() {
            out.push(char);
        } else {
            out.extend(char.escape_unicode());
        }
    }
    out
}
