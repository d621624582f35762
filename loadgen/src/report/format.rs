//! How numbers read: three significant digits, a unit, thousands apart; and how lines are wrapped.

use crate::clock::{NS_PER_MS, NS_PER_S, NS_PER_US};

/// Columns of every text this program prints.
pub(crate) const COLUMNS: usize = 100;

/// `412µs`, `2.91ms`, `31.2ms`, `1.20s`.
pub(crate) fn ns(value: u64) -> String {
    let (unit_ns, unit) = match value {
        0..NS_PER_US => return format!("{value}ns"),
        // Values that would round to 1000 of a unit are written in the next one.
        NS_PER_US..999_500 => (NS_PER_US, "µs"),
        999_500..999_500_000 => (NS_PER_MS, "ms"),
        _ => (NS_PER_S, "s"),
    };
    let scaled = value as f64 / unit_ns as f64;
    let digits = match scaled {
        s if s < 9.995 => 2,
        s if s < 99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.digits$}{unit}")
}

/// [`ns`], or a dash when there is nothing.
pub(crate) fn maybe_ns(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), ns)
}

/// A setting as it was typed: `10s`, `1.5ms`, `0`.
pub(crate) fn setting(value_ns: u64) -> String {
    for (unit_ns, unit) in
        [(60 * NS_PER_S, "m"), (NS_PER_S, "s"), (NS_PER_MS, "ms"), (NS_PER_US, "us")]
    {
        if value_ns >= unit_ns && value_ns.is_multiple_of(unit_ns) {
            return format!("{}{unit}", value_ns / unit_ns);
        }
    }
    if value_ns == 0 { "0".to_owned() } else { ns(value_ns).replace('µ', "u") }
}

/// `299 840`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 node`, `5 nodes`.
pub(crate) fn many(n: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { more })
}

/// A rate per second, whole from 100 on.
pub(crate) fn rate(value: f64) -> String {
    if value >= 100.0 { count(crate::num::floor_u64(value.round())) } else { format!("{value:.1}") }
}

/// `p50`, `p99.9`.
pub(crate) fn percentile(p: f64) -> String {
    format!("p{p}")
}

/// `text` broken at blanks so that no line is longer than the page, every line after `lead`'s first
/// one indented as far as the text of the first.
pub(crate) fn wrapped(lead: &str, text: &str) -> String {
    let indent = lead.chars().count();
    let mut out = String::from(lead);
    let mut column = indent;
    let words: Vec<&str> = text.split_whitespace().collect();
    for (at, word) in words.iter().enumerate() {
        let width = word.chars().count();
        // The groups of a number stay together.
        let mut whole = width;
        for pair in words.windows(2).skip(at) {
            let [left, right] = pair else { break };
            if !is_one_number(left, right) {
                break;
            }
            whole += 1 + right.chars().count();
        }
        let continues = at > 0 && words.get(at - 1).is_some_and(|left| is_one_number(left, word));
        if at > 0 && !continues && column + 1 + whole > COLUMNS {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if at > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
    out
}

/// Are these two groups of one number, as in `29 500/s`?
fn is_one_number(left: &str, right: &str) -> bool {
    let digits = right.bytes().take_while(u8::is_ascii_digit).count();
    digits == 3 && left.ends_with(|last: char| last.is_ascii_digit())
}

/// Colours, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("1;32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_significant_digits_and_no_thousand_of_a_unit() {
        for (value, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_000, "1.00µs"),
            (412_300, "412µs"),
            (999_499, "999µs"),
            (999_500, "1.00ms"),
            (2_909_999, "2.91ms"),
            (31_249_000, "31.2ms"),
            (999_500_000, "1.00s"),
            (60_000_000_000, "60.0s"),
        ] {
            assert_eq!(ns(value), text);
        }
        assert_eq!(count(1_299_840), "1 299 840");
        assert_eq!([0, 1, 2].map(|n| many(n, "key", "keys")), ["0 keys", "1 key", "2 keys"]);
        assert_eq!((rate(4_996.6), rate(3.25)), ("4 997".to_owned(), "3.2".to_owned()));
        assert_eq!((setting(10_000_000_000), setting(1_500_000)), ("10s".into(), "1500us".into()));
        assert_eq!((setting(0), setting(120_000_000_000)), ("0".into(), "2m".into()));
    }

    #[test]
    fn a_number_is_not_broken_between_its_groups() {
        let text = wrapped(" a ", &format!("{} 1 234 567/s and 89 000", "word ".repeat(18)));
        assert!(text.contains("\n   1 234 567/s and 89 000\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }

    #[test]
    fn long_texts_wrap_under_their_lead() {
        let text = wrapped(" warning   ", &"word ".repeat(60));
        assert!(text.lines().count() > 2);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS));
        assert!(text.lines().nth(1).unwrap().starts_with("           word"));
    }
}
