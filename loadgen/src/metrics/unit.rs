//! In what a number is measured: how it is written, and how it is shown.

use std::fmt::Write as _;

use crate::num;
use crate::report::format;
use crate::values;

/// The unit of a [`super::Sample`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// In ns.
    Time,
    PerSecond,
    /// Of 1; people write per cent.
    Share,
    Count,
    /// A plain number, such as an index or a mean of counts.
    Number,
}

impl Unit {
    /// The number that `text` says in this unit; the error says what to write instead.
    pub(crate) fn parse(self, text: &str) -> Result<f64, String> {
        let bad = || format!("`{text}` is not {}", self.example());
        let text = text.trim();
        match self {
            Self::Time => values::duration(text).map(|ns| ns as f64).map_err(|_| bad()),
            Self::PerSecond => {
                values::decimal(text.strip_suffix("/s").unwrap_or(text)).ok_or_else(bad)
            }
            Self::Share => match text.strip_suffix('%') {
                Some(percent) => values::decimal(percent.trim_end()).map(|p| p / 100.0),
                None => values::decimal(text),
            }
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(bad),
            Self::Count | Self::Number => values::decimal(text).ok_or_else(bad),
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Time => "a time; write for example 250us, 5ms or 2s",
            Self::PerSecond => "a rate; write for example 500 or 9.5k",
            Self::Share => "a share from 0 to 1; write for example 0.1% or 0.001",
            Self::Count => "a count; write for example 0 or 10k",
            Self::Number => "a number; write for example 0.95",
        }
    }

    /// `value`, for people.
    pub(crate) fn show(self, value: f64) -> String {
        if value.is_infinite() {
            return "never".to_owned();
        }
        match self {
            Self::Time => format::ns(num::floor_u64(value.round())),
            Self::PerSecond => format!("{}/s", format::rate(value)),
            Self::Share => percent(value),
            Self::Count if value.fract() == 0.0 => format::count(num::floor_u64(value)),
            Self::Count | Self::Number => format!("{value:.3}"),
        }
    }
}

/// Three digits, and never a 0 that is none.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let mut text = String::new();
    let _ = match percent {
        0.0 => write!(text, "0 %"),
        p if p < 0.001 => write!(text, "< 0.001 %"),
        p if p < 1.0 => write!(text, "{p:.3} %"),
        p => write!(text, "{p:.1} %"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_in_the_unit_of_what_they_limit() {
        for (unit, text, value) in [
            (Unit::Time, "5ms", 5e6),
            (Unit::Time, "0", 0.0),
            (Unit::PerSecond, "9.5k", 9_500.0),
            (Unit::PerSecond, "20000/s", 20_000.0),
            (Unit::Share, "0.1%", 0.001),
            (Unit::Share, "5 %", 0.05),
            (Unit::Share, "0.25", 0.25),
            (Unit::Count, "0", 0.0),
            (Unit::Count, "10k", 10_000.0),
            (Unit::Number, "0.95", 0.95),
        ] {
            assert!((unit.parse(text).unwrap() - value).abs() < 1e-9, "{text}");
        }
        for (unit, text, word) in [
            (Unit::Time, "5", "a time"),
            (Unit::Time, "5%", "a time"),
            (Unit::PerSecond, "5ms", "a rate"),
            (Unit::Share, "5ms", "a share"),
            (Unit::Share, "5", "a share"),
            (Unit::Share, "101%", "a share"),
            (Unit::Count, "-1", "a count"),
            (Unit::Count, "NaN", "a count"),
            (Unit::Number, "", "a number"),
        ] {
            let error = unit.parse(text).unwrap_err();
            assert!(error.contains(word) && error.contains("write for example"), "{error}");
        }
    }

    #[test]
    fn numbers_are_shown_with_their_unit_and_never_rounded_to_nothing() {
        for (unit, value, text) in [
            (Unit::Share, 0.0, "0 %"),
            (Unit::Share, 1e-7, "< 0.001 %"),
            (Unit::Share, 0.001, "0.100 %"),
            (Unit::Share, 0.25, "25.0 %"),
            (Unit::Count, 12_345.0, "12 345"),
            (Unit::Number, 0.98765, "0.988"),
            (Unit::Time, f64::INFINITY, "never"),
        ] {
            assert_eq!(unit.show(value), text);
        }
        assert_eq!(Unit::Time.show(2_910_000.0), format::ns(2_910_000));
        assert_eq!(Unit::PerSecond.show(9_500.0), format!("{}/s", format::rate(9_500.0)));
    }
}
