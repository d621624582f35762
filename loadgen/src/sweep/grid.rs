//! The points of a sweep: parameters with their values, and the order in which they are measured.
//!
//! Invariants:
//! 1. At most [`MOST_POINTS`] points and [`MOST_RUNS`] runs.
//! 2. Every round measures every point once, in an order of its own that the seed gives, so that a
//!    machine that changes meanwhile changes all points alike.

use super::words::{self, Setting};
use crate::plan::rng::Xoshiro;
use crate::values;

/// Days of measuring at the usual length of a run.
pub(crate) const MOST_POINTS: usize = 400;
pub(crate) const MOST_RUNS: usize = 2_000;

/// A parameter and the values it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// As the flag is called, without dashes in front.
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

impl Axis {
    /// `rate=1k..40k:x2`, `clients=10..50:+10`, `keys=1,100`, `batch-gather=off,always`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some((name, list)) = text.split_once('=') else {
            return Err(format!(
                "`{text}` is no parameter; write NAME=VALUES, as in rate=1k..40k:x2 or keys=1,100"
            ));
        };
        let name = words::find(name)?.name;
        let mut values: Vec<String> = Vec::new();
        for part in list.split(',') {
            if part.trim().is_empty() {
                return Err(format!(
                    "`{text}`: a value is missing; write for example {name}=1,100"
                ));
            }
            for value in range(&name, part.trim())? {
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
        Ok(Self { name, values })
    }
}

/// A number or a time, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Quantity {
    Number(f64),
    /// In ns.
    Time(f64),
}

impl Quantity {
    fn parse(text: &str) -> Option<Self> {
        if let Some(number) = values::decimal(text) {
            return Some(Self::Number(number));
        }
        values::duration(text).ok().map(|ns| Self::Time(ns as f64))
    }

    const fn value(self) -> f64 {
        match self {
            Self::Number(value) | Self::Time(value) => value,
        }
    }

    /// With another value; a zero without a unit is whatever the other one is.
    fn is_like(self, other: Self) -> bool {
        matches!((self, other), (Self::Number(_), Self::Number(_)) | (Self::Time(_), Self::Time(_)))
    }

    /// As a person would write it.
    fn text(self) -> String {
        const TIMES: [(f64, &str); 5] =
            [(6e10, "m"), (1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")];
        const NUMBERS: [(f64, &str); 3] = [(1e6, "M"), (1e3, "k"), (1.0, "")];
        let (value, units): (f64, &[(f64, &str)]) = match self {
            Self::Number(value) => (value, &NUMBERS),
            Self::Time(value) => (value.round(), &TIMES),
        };
        let fits = |(unit, _): &&(f64, &str)| value >= *unit && (value / unit).fract() == 0.0;
        match units.iter().find(fits) {
            Some((unit, name)) => format!("{}{name}", value / unit),
            None => format!("{value}"),
        }
    }

    /// Steps of a factor leave the whole numbers, and nobody means half a client; steps of a tenth
    /// add up to 0.30000000000000004, which nobody means either.
    fn rounded(self) -> Self {
        match self {
            Self::Number(value) if value >= 10.0 => Self::Number(value.round()),
            Self::Number(value) => Self::Number((value * 1e9).round() / 1e9),
            other => other,
        }
    }

    const fn with(self, value: f64) -> Self {
        match self {
            Self::Number(_) => Self::Number(value),
            Self::Time(_) => Self::Time(value),
        }
    }
}

/// The values of one part of a list: a range, or the part itself.
fn range(name: &str, part: &str) -> Result<Vec<String>, String> {
    // `uniform:5ms..20ms` is a value, not a range: what is in front of the dots is no number.
    let Some((from, rest)) = part.split_once("..") else { return Ok(vec![part.to_owned()]) };
    let Some(from) = Quantity::parse(from) else { return Ok(vec![part.to_owned()]) };
    let step_missing = || {
        format!(
            "`{name}={part}` needs a step: write {part}:x2 for twice as much each time, or \
             {part}:+5 for 5 more"
        )
    };
    let (to_text, step_text) = rest.split_once(':').ok_or_else(step_missing)?;
    let bad_end = || format!("`{name}={part}`: `{to_text}` is not an end like the beginning");
    let to = Quantity::parse(to_text).ok_or_else(bad_end)?;
    if !from.is_like(to) {
        return Err(bad_end());
    }
    if to.value() < from.value() {
        return Err(format!("`{name}={part}` runs downwards; write the lower end first"));
    }
    let next: Box<dyn Fn(f64) -> f64> = if let Some(factor) = step_text.strip_prefix('x') {
        match values::decimal(factor) {
            Some(factor) if factor > 1.0 && from.value() > 0.0 => Box::new(move |at| at * factor),
            _ => {
                return Err(format!(
                    "`{name}={part}`: a factor is above 1 and the range begins above 0, as in \
                     1k..40k:x2"
                ));
            }
        }
    } else if let Some(more) = step_text.strip_prefix('+') {
        match Quantity::parse(more) {
            Some(more) if more.value() > 0.0 && more.is_like(from) => {
                Box::new(move |at| at + more.value())
            }
            _ => {
                return Err(format!(
                    "`{name}={part}`: a step is above 0 and has the unit of the range, as in \
                     1k..40k:+5k or 1ms..9ms:+2ms"
                ));
            }
        }
    } else {
        return Err(step_missing());
    };
    let mut values = Vec::new();
    let mut at = from.value();
    // The last step may miss the end by what floating point adds up to.
    while at < to.value() * (1.0 - 1e-9) {
        values.push(from.with(at).rounded().text());
        if values.len() > MOST_POINTS {
            return Err(format!(
                "`{name}={part}` has more than {MOST_POINTS} values; take larger steps"
            ));
        }
        at = next(at);
    }
    // The end was named, so it is measured, whether a step meets it or not.
    values.push(to.text());
    Ok(values)
}

/// Every combination of the values, the last parameter changing fastest.
pub(crate) fn points(axes: &[Axis], rounds: u32) -> Result<Vec<Vec<Setting>>, String> {
    for (at, axis) in axes.iter().enumerate() {
        if axes.iter().take(at).any(|earlier| earlier.name == axis.name) {
            return Err(format!("`{}` is a parameter twice; put its values together", axis.name));
        }
    }
    let count = axes.iter().fold(1_usize, |n, axis| n.saturating_mul(axis.values.len()));
    let runs = count.saturating_mul(crate::num::usize_of(rounds.into()));
    if count > MOST_POINTS || runs > MOST_RUNS {
        return Err(format!(
            "{count} points times {rounds} rounds are too many; at most {MOST_POINTS} points and \
             {MOST_RUNS} runs are made: take fewer values"
        ));
    }
    let mut points: Vec<Vec<Setting>> = vec![Vec::new()];
    for axis in axes {
        let more = |point: &Vec<Setting>| {
            let point = point.clone();
            axis.values.iter().map(move |value| {
                let mut point = point.clone();
                point.push((axis.name.clone(), value.clone()));
                point
            })
        };
        points = points.iter().flat_map(more).collect();
    }
    Ok(points)
}

/// The numbers below `count` in the order of round `round`.
pub(crate) fn order(count: usize, round: u32, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut rng = Xoshiro::for_client(seed, round);
    // Fisher and Yates.
    for last in (1..count).rev() {
        let other = crate::num::usize_of(rng.below(last as u64 + 1));
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        Axis::parse(text).unwrap().values
    }

    #[test]
    fn ranges_and_lists_have_their_values_and_their_end() {
        assert_eq!(values("rate=1k..40k:x2"), ["1k", "2k", "4k", "8k", "16k", "32k", "40k"]);
        assert_eq!(values("rate=1k..4k:x2"), ["1k", "2k", "4k"]);
        assert_eq!(values("clients=10..45:+10"), ["10", "20", "30", "40", "45"]);
        assert_eq!(values("keys=1,100"), ["1", "100"]);
        assert_eq!(values("keys=1,1..3:+1,1"), ["1", "2", "3"]);
        assert_eq!(values("hold=100us..1ms:x10,5ms"), ["100us", "1ms", "5ms"]);
        assert_eq!(values("rate=1000..3000:x1.5"), ["1k", "1500", "2250", "3k"]);
        assert_eq!(values("hold=uniform:5ms..20ms,exp:1ms"), ["uniform:5ms..20ms", "exp:1ms"]);
        assert_eq!(values("batch_gather=off,always"), ["off", "always"]);
        assert_eq!(values("think=1ms..2ms:+500us"), ["1ms", "1500us", "2ms"]);
        assert_eq!(values("rate=5..5:x2"), ["5"]);
        assert_eq!(values("clients=10..30:x1.5"), ["10", "15", "23", "30"], "no half clients");
        let tenths = ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8"];
        assert_eq!(values("rate=0.1..0.8:+0.1"), tenths, "the end only once");
        assert_eq!(values("clients=1..400:+1").len(), 400, "as many as may be");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_write() {
        for (bad, told) in [
            ("rate", "NAME=VALUES"),
            ("rate=", "a value is missing"),
            ("rate=1,,2", "a value is missing"),
            ("raet=1", "`rate`"),
            ("rate=1k..40k", "1k..40k:x2"),
            ("rate=1k..40k:2", "needs a step"),
            ("rate=1k..40k:x1", "above 1"),
            ("rate=0..40k:x2", "above 0"),
            ("rate=1k..40k:+0", "above 0"),
            ("rate=1k..40k:+1ms", "unit of the range"),
            ("rate=40k..1k:x2", "downwards"),
            ("rate=1k..5ms:x2", "`5ms`"),
            ("rate=1..100k:+1", "more than 400"),
            ("nodes=redis://a", "same for all runs"),
        ] {
            let error = Axis::parse(bad).unwrap_err();
            assert!(error.contains(told) && !error.contains('\n'), "{bad}: {error}");
        }
        let axis = |text| Axis::parse(text).unwrap();
        let twice = points(&[axis("rate=1"), axis("rate=2")], 1).unwrap_err();
        assert!(twice.contains("twice"), "{twice}");
        let many = [axis("rate=1..30:+1"), axis("keys=1..30:+1")];
        assert!(points(&many, 1).unwrap_err().contains("900 points"));
        assert!(points(&many[..1], 100).unwrap_err().contains("100 rounds"));
    }

    #[test]
    fn points_are_all_combinations() {
        let axes = ["rate=1k,2k", "keys=1,100,7"].map(|text| Axis::parse(text).unwrap());
        let points = points(&axes, 1).unwrap();
        assert_eq!(points.len(), 6);
        assert_eq!(words::label(&points[1]), "rate=1k keys=100");
        assert_eq!(words::label(&points[3]), "rate=2k keys=1");
    }

    #[test]
    fn every_round_has_every_point_once_in_an_order_that_the_seed_gives() {
        for round in 0..20 {
            let mut shuffled = order(50, round, 7);
            assert_eq!(shuffled, order(50, round, 7));
            assert_ne!(shuffled, order(50, round + 1, 7));
            assert_ne!(shuffled, order(50, round, 8));
            shuffled.sort_unstable();
            assert_eq!(shuffled, (0..50).collect::<Vec<_>>());
        }
        // Over many rounds each point comes first about equally often.
        let firsts = (0..4_000).filter(|&round| order(4, round, 3).first() == Some(&2)).count();
        assert!((850..1_150).contains(&firsts), "{firsts}");
        assert!(order(0, 0, 1).is_empty());
    }
}
