//! Thresholds: what a run must reach, judged on its result and, where asked for, meanwhile.
//!
//! Written `METRIC OP VALUE [outside faults] [abort]`, as in `acquire.response.p99<5ms` or
//! `safety.violations == 0 abort`; [`crate::metrics`] knows the metrics and their units.
//!
//! Invariants:
//! 1. A threshold on what was not measured fails.
//! 2. A value that is only known from below does not keep an upper limit.

mod calm;
mod watch;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub(crate) use calm::Calm;
pub(crate) use watch::{SoFar, Watch};

use crate::document::Document;
use crate::metrics::{self, Name, Sample, Scalar, Stat};
use crate::num;
use crate::recorder::{Hist, Metric};
use crate::workload::Label;

/// More than this are a mistake in a script.
pub(crate) const MAX_THRESHOLDS: usize = 64;
const MAX_CHARS: usize = 200;
const OUTSIDE: &str = "outside faults";
const ABORT: &str = "abort";

/// How a value is compared with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Other,
}

/// One threshold, as it was written and as it is meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Threshold {
    text: String,
    name: Name,
    op: Op,
    limit: f64,
    /// Only what happened in 100 ms intervals without a fault counts.
    pub(crate) outside_faults: bool,
    /// A failure that shows meanwhile ends the run.
    pub(crate) abort: bool,
}

/// What became of a threshold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checked {
    pub(crate) expr: String,
    /// ns, a share of 1, or as it is; `null` where it was not measured or never came.
    pub(crate) value: Option<f64>,
    pub(crate) ok: bool,
    pub(crate) samples: u64,
    /// The value, or why there is none, for people.
    pub(crate) shown: String,
}

impl Op {
    /// Longer signs first: `<=` begins with `<`.
    const ALL: [(&'static str, Self); 6] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("!=", Self::Other),
        ("<", Self::Less),
        (">", Self::More),
    ];

    #[expect(clippy::float_cmp, reason = "counts and limits as they were written are exact")]
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Less => value < limit,
            Self::AtMost => value <= limit,
            Self::More => value > limit,
            Self::AtLeast => value >= limit,
            Self::Equal => value == limit,
            Self::Other => value != limit,
        }
    }

    const fn is_lower_limit(self) -> bool {
        matches!(self, Self::More | Self::AtLeast)
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let shown: String = text.chars().take(MAX_CHARS).collect();
        if shown.len() < text.len() {
            return Err(format!("`{shown}..` is longer than {MAX_CHARS} letters"));
        }
        let bad = |problem: String| format!("`{shown}`: {problem}");
        // The braces of a workload have a sign of their own.
        let from = text.find('}').unwrap_or(0);
        let sign = text.get(from..).unwrap_or_default().find(['<', '>', '=', '!']);
        let sign = sign.map(|at| from + at).ok_or_else(|| {
            bad("no comparison; write METRIC<VALUE, as in acquire.response.p99<5ms".to_owned())
        })?;
        let (name, rest) = text.split_at_checked(sign).unwrap_or((text, ""));
        let op = Op::ALL.into_iter().find_map(|(sign, op)| Some((rest.strip_prefix(sign)?, op)));
        let (rest, op) = op.ok_or_else(|| {
            bad("the comparison is none of <, <=, >, >=, ==, !=; use one of these".to_owned())
        })?;
        let name = Name::parse(name.trim()).map_err(bad)?;
        let (mut limit, mut outside_faults, mut abort) = (rest.trim(), false, false);
        loop {
            if let Some(before) = limit.strip_suffix(ABORT).filter(|_| !abort) {
                (limit, abort) = (before.trim_end(), true);
            } else if let Some(before) = limit.strip_suffix(OUTSIDE).filter(|_| !outside_faults) {
                (limit, outside_faults) = (before.trim_end(), true);
            } else {
                break;
            }
        }
        let limit = name.unit().parse(limit).map_err(|problem| {
            let words = ["outside faults", "abort"].map(|word| format!("`{word}`")).join(" or ");
            let extra = match limit.contains(' ') {
                true => format!("; after it only {words}"),
                false => String::new(),
            };
            bad(format!("{problem}{extra}"))
        })?;
        if outside_faults && !matches!(name, Name::Latency(Metric::Response, _)) {
            return Err(bad(format!(
                "`{OUTSIDE}` is known of acquire.response alone; leave it out, or use that metric"
            )));
        }
        if abort && !watch::can_watch(&name) {
            return Err(bad(format!(
                "`{name}` is known only at the end of a run; leave `{ABORT}` out"
            )));
        }
        Ok(Self { text: text.to_owned(), name, op, limit, outside_faults, abort })
    }
}

impl TryFrom<String> for Threshold {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> Self {
        threshold.text
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Threshold {
    /// Whether it speaks of fencing tokens, which only some runs have.
    pub(crate) fn needs_tokens(&self) -> bool {
        self.name == Name::Scalar(Scalar::FencingViolations)
    }

    /// The workload of a mix that it is about.
    pub(crate) const fn workload(&self) -> Option<Label> {
        self.name.workload()
    }

    /// Where it bounds the percentile of a latency from above: its metric, the percentile, ns.
    pub(crate) fn latency_limit(&self) -> Option<(Metric, f64, f64)> {
        match self.name {
            Name::Latency(metric, Stat::Percentile(p)) if !self.op.is_lower_limit() => {
                Some((metric, p, self.limit))
            }
            _ => None,
        }
    }

    /// Whether it holds of a latency that was found otherwise than for a whole run; `None` if there
    /// is none.
    pub(crate) fn judge_latency(&self, value_ns: Option<f64>, samples: u64) -> Checked {
        let unit = self.name.unit();
        self.judge(value_ns.map(|value| Sample { value, unit, samples, at_least: false }))
    }

    fn stat(&self) -> Option<Stat> {
        match self.name {
            Name::Latency(_, stat) | Name::WorkloadLatency(_, _, stat) => Some(stat),
            Name::Scalar(_) | Name::WorkloadScalar(..) => None,
        }
    }

    fn judge(&self, sample: Option<Sample>) -> Checked {
        let expr = self.text.clone();
        let Some(sample) = sample else {
            return Checked { expr, shown: "no samples".to_owned(), ..Checked::default() };
        };
        let Sample { value, unit, samples, at_least } = sample;
        // 2.: a lower limit that a lower bound keeps is kept; no other is known to be.
        let known = !at_least || self.op.is_lower_limit();
        let shown = unit.show(value);
        let shown = if at_least { format!("at least {shown}") } else { shown };
        let ok = known && self.op.holds(value, self.limit);
        Checked { expr, value: num::finite(value), ok, samples, shown }
    }

    fn check(&self, document: &Document, calm: Option<&Hist>) -> Checked {
        match self.stat().filter(|_| self.outside_faults) {
            None => self.judge(metrics::value(document, &self.name)),
            Some(stat) => {
                // Who never got an answer may have waited since before the fault.
                let unanswered = document.hist(Metric::Unanswered);
                let calm = calm.filter(|calm| !calm.is_empty()).cloned();
                self.judge(
                    calm.and_then(|calm| metrics::response(Some(calm), unanswered.as_ref(), stat)),
                )
            }
        }
    }
}

/// Judges all of them by a result; `calm` holds the responses outside faults.
pub(crate) fn check(
    thresholds: &[Threshold],
    document: &Document,
    calm: Option<&Hist>,
) -> Vec<Checked> {
    thresholds.iter().map(|threshold| threshold.check(document, calm)).collect()
}

impl Checked {
    /// Why the run failed, and by how much.
    pub(crate) fn failure(&self) -> String {
        match self.samples {
            0 => format!("{} no samples of it in this run", self.failed()),
            _ => format!("{} {}", self.failed(), self.shown),
        }
    }

    /// What [`Self::failure`] begins with, whatever the value.
    pub(crate) fn failed(&self) -> String {
        format!("threshold {} failed:", self.expr)
    }
}

#[cfg(test)]
mod tests;
