//! The value grammars of the command line: durations, rates, counts, distributions, percentiles.
//!
//! Every error names the value and shows one that would be right. Bounded: no accepted value can
//! overflow the arithmetic of a run.

mod schedule;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::{NS_PER_MS, NS_PER_S, NS_PER_US};
use crate::num;

pub(crate) use schedule::{CatchUp, Stage, Stages, catch_up, fault, label, run_name, stages};

/// The longest duration a flag takes: a day.
const MAX_DURATION_NS: u64 = 86_400 * NS_PER_S;
/// The highest rate a flag takes, per second.
const MAX_RATE: f64 = 100_000_000.0;
/// The most arrivals that come in one instant.
const MAX_BURST: u32 = 1_000_000;

/// `-r`: how arrivals are driven.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rate {
    /// Closed loop: every client starts its next section when the last one is done.
    Max,
    /// Open loop: so many arrivals per second, whatever the answers do.
    PerSecond(f64),
}

/// `--arrival`: the gaps between arrivals of an open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Arrival {
    /// Evenly spaced.
    Constant,
    /// Exponential gaps, as of many independent users.
    Poisson,
    /// So many in the same instant, evenly spaced bursts.
    Burst(u32),
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Poisson => f.write_str("poisson"),
            Self::Burst(n) => write!(f, "burst:{n}"),
        }
    }
}

/// `--time-unit`: in which unit reports print times. No documentation of single values: see `args`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TimeUnit {
    // The unit that keeps three digits.
    #[default]
    Auto,
    Us,
    Ms,
}

/// `--key-dist`: which lock name an arrival asks for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyDist {
    Uniform,
    Zipf(f64),
    /// The first `keys` share of all names gets `load` share of all arrivals.
    Hot {
        keys: f64,
        load: f64,
    },
    Seq,
}

/// `--hold`: how long a lock is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hold {
    Fixed(u64),
    Exp(u64),
    Uniform(u64, u64),
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// A decimal without sign, exponent or words.
fn number(text: &str) -> Option<f64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if plain { text.parse::<f64>().ok() } else { None }
}

/// `250us`, `1ms`, `1.5s`, `2m`, `1h`, `0` in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a duration; write for example 250us, 1ms, 10s or 2m");
    let (digits, unit) = split_number(text.trim());
    let value = number(digits).ok_or_else(bad)?;
    let unit_ns = match unit {
        "ns" => 1,
        "us" | "µs" => NS_PER_US,
        "ms" => NS_PER_MS,
        "s" => NS_PER_S,
        "m" | "min" => 60 * NS_PER_S,
        "h" => 3_600 * NS_PER_S,
        "" if value == 0.0 => 1,
        "" => return Err(format!("`{text}` has no unit; write for example {text}ms or {text}s")),
        _ => return Err(bad()),
    };
    let ns = num::floor_u64((value * unit_ns as f64).round());
    if ns > MAX_DURATION_NS {
        return Err(format!("`{text}` is too long; the longest duration is 24h"));
    }
    Ok(ns)
}

/// As [`duration`], but not zero.
pub(crate) fn positive_duration(text: &str) -> Result<u64, String> {
    match duration(text)? {
        0 => Err(format!("`{text}` must be longer than zero")),
        ns => Ok(ns),
    }
}

/// `0`, `2.5`, `9.5k`, `1M`.
pub(crate) fn decimal(text: &str) -> Option<f64> {
    scaled(text.trim())
}

fn scaled(text: &str) -> Option<f64> {
    let (digits, suffix) = split_number(text);
    let factor = match suffix {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        _ => return None,
    };
    Some(number(digits)? * factor)
}

/// `max`, `500`, `5k`, `20000/s`.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    let trimmed = text.trim();
    if trimmed == "max" {
        return Ok(Rate::Max);
    }
    let bare = trimmed.strip_suffix("/s").unwrap_or(trimmed);
    let value = scaled(bare).ok_or_else(|| {
        format!("`{text}` is not a rate; write for example 500, 5k, 20000/s or max")
    })?;
    if !(value > 0.0 && value <= MAX_RATE) {
        return Err(format!(
            "rate `{text}` is out of range; use more than 0 and at most 100M, or max"
        ));
    }
    Ok(Rate::PerSecond(value))
}

/// `1000`, `100k`, `1M`: a whole number from 1 on.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    match scaled(text.trim()) {
        Some(value) if value >= 1.0 && value.fract() == 0.0 && value <= 1e12 => {
            Ok(num::floor_u64(value))
        }
        _ => {
            Err(format!("`{text}` is not a whole number from 1 on; write for example 1000 or 100k"))
        }
    }
}

/// As [`count`], at most `u32::MAX`.
pub(crate) fn count_u32(text: &str) -> Result<u32, String> {
    let value = count(text)?;
    u32::try_from(value).map_err(|_| format!("`{text}` is too large; at most {} fits", u32::MAX))
}

/// `poisson`, `constant`, `burst:N`.
pub(crate) fn arrival(text: &str) -> Result<Arrival, String> {
    match text.trim().split_once(':') {
        None if text.trim() == "poisson" => Ok(Arrival::Poisson),
        None if text.trim() == "constant" => Ok(Arrival::Constant),
        Some(("burst", n)) => match count_u32(n) {
            Ok(n) if n <= MAX_BURST => Ok(Arrival::Burst(n)),
            _ => Err(format!(
                "`{text}`: a burst has 1 to {MAX_BURST} arrivals; write for example burst:100"
            )),
        },
        _ => Err(format!(
            "`{text}` is no kind of arrival; use poisson, constant or burst:N, as in burst:100"
        )),
    }
}

/// `uniform`, `zipf:1.1`, `hot:0.1/0.9`, `seq`.
pub(crate) fn key_dist(text: &str) -> Result<KeyDist, String> {
    let trimmed = text.trim();
    match trimmed.split_once(':') {
        None if trimmed == "uniform" => Ok(KeyDist::Uniform),
        None if trimmed == "seq" => Ok(KeyDist::Seq),
        Some(("zipf", s)) => match number(s) {
            Some(s) if s > 0.0 && s <= 20.0 => Ok(KeyDist::Zipf(s)),
            _ => Err(format!(
                "`{text}`: the exponent of zipf must be above 0 and at most 20, as in zipf:1.1"
            )),
        },
        Some(("hot", shares)) => {
            let pair = shares.split_once('/').and_then(|(k, l)| Some((number(k)?, number(l)?)));
            match pair {
                Some((keys, load)) if keys > 0.0 && keys < 1.0 && load > 0.0 && load < 1.0 => {
                    Ok(KeyDist::Hot { keys, load })
                }
                _ => Err(format!(
                    "`{text}`: write hot:KEYS/LOAD with two shares between 0 and 1, as in \
                    hot:0.1/0.9"
                )),
            }
        }
        _ => Err(format!(
            "`{text}` is no key distribution; use uniform, zipf:S, hot:KEYS/LOAD or seq"
        )),
    }
}

/// `1ms`, `exp:1ms`, `uniform:5ms..20ms`.
pub(crate) fn hold(text: &str) -> Result<Hold, String> {
    let trimmed = text.trim();
    match trimmed.split_once(':') {
        None => duration(trimmed).map(Hold::Fixed),
        Some(("exp", mean)) => positive_duration(mean).map(Hold::Exp),
        Some(("uniform", range)) => {
            let Some((low, high)) = range.split_once("..") else {
                return Err(format!("`{text}`: write uniform:A..B, as in uniform:5ms..20ms"));
            };
            let (low, high) = (duration(low)?, duration(high)?);
            if low > high {
                return Err(format!("`{text}`: the first bound is above the second"));
            }
            Ok(Hold::Uniform(low, high))
        }
        Some(_) => Err(format!("`{text}` is no hold time; use 1ms, exp:1ms or uniform:5ms..20ms")),
    }
}

/// A list such as `50,90,99.9`, given back ascending and without repeats.
pub(crate) fn percentiles(text: &str) -> Result<Percentiles, String> {
    let mut list = Vec::new();
    for part in text.split(',') {
        match number(part.trim()) {
            Some(p) if p > 0.0 && p < 100.0 => list.push(p),
            _ => {
                return Err(format!(
                    "`{part}` is not a percentile; use values above 0 and below 100, as in \
                    50,99,99.9"
                ));
            }
        }
    }
    list.sort_by(f64::total_cmp);
    list.dedup();
    if list.len() > 16 {
        return Err(format!("`{text}` has {} percentiles; at most 16 are printed", list.len()));
    }
    Ok(Percentiles(list))
}

/// Ascending percentiles, each within (0, 100).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles(pub(crate) Vec<f64>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_every_unit_and_name_what_is_wrong() {
        assert_eq!(duration("250us"), Ok(250_000));
        assert_eq!(duration("1.5s"), Ok(1_500_000_000));
        assert_eq!(duration("2m"), Ok(120_000_000_000));
        assert_eq!(duration("0"), Ok(0));
        for bad in ["", "s", "-1s", "1", "1 parsec", "1e3s", "NaNs", "25h", ".5s", "1.2.3s"] {
            let error = duration(bad).unwrap_err();
            assert!(error.contains(&format!("`{bad}`")) || bad.is_empty(), "{bad}: {error}");
        }
        assert!(positive_duration("0s").unwrap_err().contains("longer than zero"));
    }

    #[test]
    fn rates_and_counts() {
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert_eq!(rate("5k"), Ok(Rate::PerSecond(5_000.0)));
        assert_eq!(rate("20000/s"), Ok(Rate::PerSecond(20_000.0)));
        assert_eq!(rate("2.5"), Ok(Rate::PerSecond(2.5)));
        for bad in ["0", "-5", "fast", "200M", "5k/m", "inf", ""] {
            assert!(rate(bad).unwrap_err().contains(&format!("`{bad}`")), "{bad}");
        }
        assert_eq!(count("100k"), Ok(100_000));
        for bad in ["0", "1.5", "-3", "x", "9999999M"] {
            assert!(count(bad).unwrap_err().contains(&format!("`{bad}`")), "{bad}");
        }
        assert!(count_u32("5000M").unwrap_err().contains("5000M"));
    }

    #[test]
    fn arrivals_are_shown_as_they_are_written() {
        for text in ["poisson", "constant", "burst:50"] {
            assert_eq!(arrival(text).unwrap().to_string(), text);
        }
        for bad in ["burst", "burst:0", "burst:2M", "uniform", "constant:3"] {
            assert!(arrival(bad).unwrap_err().contains(&format!("`{bad}`")), "{bad}");
        }
    }

    #[test]
    fn distributions() {
        assert_eq!(key_dist("zipf:1.1"), Ok(KeyDist::Zipf(1.1)));
        assert_eq!(key_dist("hot:0.1/0.9"), Ok(KeyDist::Hot { keys: 0.1, load: 0.9 }));
        for bad in ["zipf", "zipf:0", "zipf:x", "hot:1/0.5", "hot:0.1", "normal"] {
            assert!(key_dist(bad).unwrap_err().contains(&format!("`{bad}`")), "{bad}");
        }
        assert_eq!(hold("exp:1ms"), Ok(Hold::Exp(1_000_000)));
        assert_eq!(hold("uniform:5ms..20ms"), Ok(Hold::Uniform(5_000_000, 20_000_000)));
        for bad in ["uniform:5ms", "uniform:2s..1s", "gauss:1ms", "exp:0"] {
            assert!(hold(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percentiles_come_back_ascending_because_the_histogram_stops_at_the_first_descent() {
        assert_eq!(percentiles("99,50,99.9,50").unwrap().0, vec![50.0, 99.0, 99.9]);
        assert!(percentiles("100").unwrap_err().contains("`100`"));
        assert!(percentiles("50,,99").is_err());
    }
}
