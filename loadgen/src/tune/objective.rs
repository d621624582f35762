//! What is tuned for: `min p99 @ 10k/s`, `max rate @ p99<5ms`, `min cpu @ 10k/s`,
//! `max throughput`.

use crate::metrics::{Name, Unit};
use crate::statistics::judge::Good;
use crate::thresholds::Threshold;
use crate::values::{self, Rate};

/// An objective.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Objective {
    /// As it was written.
    pub(crate) text: String,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// A figure of a run at a rate, the less the better or the more.
    Figure { name: Name, good: Good, rate: Rate },
    /// The highest rate that keeps a bound.
    Rate { bound: Threshold },
}

const EXAMPLES: &str =
    "'min p99 @ 10k/s', 'min cpu @ 10k/s', 'max rate @ p99<5ms' or 'max throughput'";

impl Objective {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("--objective `{text}`: {why}; write for example {EXAMPLES}");
        let (goal, at) = match text.split_once('@') {
            Some((goal, at)) => (goal.trim(), Some(at.trim())),
            None => (text.trim(), None),
        };
        let (good, figure) = match goal.split_once(char::is_whitespace) {
            Some(("min", figure)) => (Good::Less, figure.trim()),
            Some(("max", figure)) => (Good::More, figure.trim()),
            _ => return Err(bad("it begins with neither min nor max")),
        };
        if figure == "rate" {
            let Some(bound) = at.filter(|_| good == Good::More) else {
                return Err(bad("a rate is raised to where a bound is kept"));
            };
            let bound: Threshold = long(bound).parse().map_err(|problem: String| bad(&problem))?;
            if bound.outside_faults || bound.abort {
                return Err(bad("a bound alone is wanted"));
            }
            return Ok(Self { text: text.to_owned(), what: What::Rate { bound } });
        }
        let name = Name::parse(&long(figure)).map_err(|problem| bad(&problem))?;
        let rate = match at {
            Some(at) => values::rate(at).map_err(|problem| bad(&problem))?,
            None if name.unit() == Unit::PerSecond => Rate::Max,
            None => return Err(bad("it does not say at which rate")),
        };
        Ok(Self { text: text.to_owned(), what: What::Figure { name, good, rate } })
    }

    pub(crate) const fn good(&self) -> Good {
        match self.what {
            What::Figure { good, .. } => good,
            What::Rate { .. } => Good::More,
        }
    }

    pub(crate) fn unit(&self) -> Unit {
        match &self.what {
            What::Figure { name, .. } => name.unit(),
            What::Rate { .. } => Unit::PerSecond,
        }
    }

    /// The figure in a word, for the head of a column.
    pub(crate) fn figure(&self) -> String {
        match &self.what {
            What::Figure { name, .. } => name.to_string(),
            What::Rate { .. } => "rate".to_owned(),
        }
    }
}

/// `p99` means the response, `cpu` the CPU time per lock.
fn long(text: &str) -> String {
    let is_percentile =
        text.strip_prefix('p').is_some_and(|p| p.starts_with(|c: char| c.is_ascii_digit()));
    match text {
        _ if is_percentile => format!("acquire.response.{text}"),
        "cpu" => "cpu.per_lock".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_with_their_short_words() {
        let of = |text| Objective::parse(text).unwrap();
        let p99 = of("min p99 @ 10k/s");
        let What::Figure { name, good, rate } = p99.what.clone() else { panic!("{p99:?}") };
        assert_eq!(name.to_string(), "acquire.response.p99");
        assert_eq!((good, rate), (Good::Less, Rate::PerSecond(10_000.0)));
        assert_eq!(of("min cpu @ 500").figure(), "cpu.per_lock");
        let rate = of("max rate @ p99<5ms");
        let What::Rate { bound } = &rate.what else { panic!("{rate:?}") };
        assert_eq!(bound.to_string(), "acquire.response.p99<5ms");
        assert_eq!((rate.good(), rate.unit()), (Good::More, Unit::PerSecond));
        let open = of("max throughput");
        assert!(matches!(open.what, What::Figure { rate: Rate::Max, .. }), "{open:?}");
        assert!(matches!(of("min handoff.p99 @ max").what, What::Figure { rate: Rate::Max, .. }));
    }

    #[test]
    fn a_mistake_is_named_with_examples() {
        for (bad, told) in [
            ("p99 @ 10k", "neither min nor max"),
            ("min p99", "at which rate"),
            ("min p99 @ fast", "`fast`"),
            ("min rate @ p99<5ms", "bound is kept"),
            ("max rate", "bound is kept"),
            ("max rate @ p99", "no comparison"),
            ("min acquire.respnse.p99 @ 1k", "did you mean"),
            ("", "neither"),
        ] {
            let error = Objective::parse(bad).unwrap_err();
            assert!(error.contains(told) && error.contains("'min p99 @ 10k/s'"), "{bad}: {error}");
        }
    }
}
