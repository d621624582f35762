//! One row: a value of two sides, its change, how sure that is, and a word for it.
//!
//! Where both sides are single runs, the interval is made of two parts, on the logarithmic scale:
//! how much each run varied within itself (blocks of its time resampled), and how much runs of one
//! build differ from each other on one machine, which no single run can tell and is therefore
//! assumed ([`floor`]).

use serde::Serialize;

use super::names::{self, failed};
use super::side::{Measured, Side};
use crate::metrics::{Name, Scalar, Stat, Unit};
use crate::recorder::Hist;
use crate::statistics::blocks::log_error;
use crate::statistics::judge::{Good, Word, judge};
use crate::statistics::{Interval, Z, ratio_interval};

/// The resamples of one comparison are the same whenever it is made.
const SEED: u64 = 0x1F0D_2026;

/// A row, against the baseline.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(serialize_with = "unit_word")]
    pub(crate) unit: Unit,
    pub(crate) good: Good,
    pub(crate) gated: bool,
    /// The geometric mean over a side's runs; `null` where one has no value.
    pub(crate) a: Option<f64>,
    pub(crate) b: Option<f64>,
    /// b as a multiple of a.
    pub(crate) ratio: Option<Between>,
    /// Of shares, which can be 0: b less a.
    pub(crate) difference: Option<Between>,
    pub(crate) word: Word,
    /// Fewer than 10 samples lie above the percentile in some run.
    pub(crate) weak: bool,
}

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Between {
    pub(crate) estimate: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

fn unit_word<S: serde::Serializer>(unit: &Unit, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(names::word(*unit))
}

impl From<Interval> for Between {
    fn from(of: Interval) -> Self {
        Self { estimate: of.estimate, low: of.low, high: of.high }
    }
}

/// How much single runs of one build are taken to differ: the standard deviation of the logarithm.
/// Measured with runs of 10 s, closed loop, 1024 clients, on a shared machine of two cores that was
/// busy otherwise: throughput 0.06 to 0.16, p50 0.03 to 0.19, p99 0.04 to 0.31, p99.9 0.22 to 0.53,
/// CPU per lock 0.01 to 0.05 within an hour, but on some days it has two speeds 40 % apart, and
/// changes between them from run to run. A quiet machine does better; only repeated runs can know.
const fn floor(name: Name) -> f64 {
    match name {
        Name::Scalar(scalar) | Name::WorkloadScalar(_, scalar) => match scalar {
            Scalar::Throughput => FLOOR_THROUGHPUT,
            Scalar::CpuPerLock => FLOOR_COST,
            _ => 0.05,
        },
        Name::Latency(_, stat) | Name::WorkloadLatency(_, _, stat) => match stat {
            Stat::Percentile(p) if p <= 75.0 => FLOOR_MIDDLE,
            Stat::Percentile(p) if p <= 99.0 => FLOOR_TAIL,
            Stat::Mean => FLOOR_MIDDLE,
            _ => 0.40,
        },
    }
}

const FLOOR_THROUGHPUT: f64 = 0.14;
const FLOOR_MIDDLE: f64 = 0.15;
const FLOOR_TAIL: f64 = 0.25;
const FLOOR_COST: f64 = 0.20;

/// The floors in words.
pub(crate) fn floors() -> String {
    format!(
        "{:.0} % in throughput, {:.0} % in p50, {:.0} % in p99 and {:.0} % in CPU (one standard \
         deviation)",
        100.0 * FLOOR_THROUGHPUT,
        100.0 * FLOOR_MIDDLE,
        100.0 * FLOOR_TAIL,
        100.0 * FLOOR_COST
    )
}

impl Row {
    /// `None` if neither side has a value and nobody asked for it.
    pub(crate) fn of(name: Name, a: &Side, b: &Side, gated: bool, noise: f64) -> Option<Self> {
        let (of_a, of_b) = (values(name, a), values(name, b));
        if of_a.is_none() && of_b.is_none() && !gated {
            return None;
        }
        let runs = || a.runs.iter().chain(&b.runs);
        let mut row = Self {
            name: name.to_string(),
            unit: name.unit(),
            good: names::good(name),
            gated,
            a: of_a.as_deref().and_then(middle),
            b: of_b.as_deref().and_then(middle),
            ratio: None,
            difference: None,
            word: Word::Unclear,
            weak: runs().any(|run| names::weak(name, &run.document)),
        };
        let (Some(of_a), Some(of_b)) = (of_a, of_b) else { return Some(row) };
        if let Name::Scalar(Scalar::ErrorsRate) | Name::WorkloadScalar(_, Scalar::ErrorsRate) = name
        {
            row.errors(name, a, b, noise);
            return Some(row);
        }
        let ratio = match (a.runs.as_slice(), b.runs.as_slice()) {
            ([a], [b]) => single(name, a, b),
            _ => ratio_interval(&of_a, &of_b, SEED),
        };
        row.ratio = ratio.map(Between::from);
        // What never changes has no spread, and is equal.
        let same = of_a.iter().chain(&of_b).all(|value| Some(value) == of_a.first());
        row.word = match ratio {
            None if same => Word::NoDifference,
            // Nothing at all where there was something, as no lock granted any more.
            None if row.b == Some(0.0) && row.good == Good::More => Word::Worse,
            _ if row.weak => Word::Unclear,
            _ => judge(ratio, row.good, noise),
        };
        Some(row)
    }

    /// Shares can be 0, so they are subtracted. A change has to be one in a thousand at least, and
    /// by the noise threshold of the larger of the two.
    fn errors(&mut self, name: Name, a: &Side, b: &Side, noise: f64) {
        let sum = |side: &Side| {
            side.runs
                .iter()
                .map(|run| failed(name, &run.document))
                .fold((0, 0), |(f, n), (g, m)| (f + g, n + m))
        };
        let shares = [sum(a), sum(b)].map(|(failed, all)| crate::num::share(failed, all));
        let [share_a, share_b] = shares;
        (self.a, self.b) = (Some(share_a), Some(share_b));
        let errors = [(a, share_a), (b, share_b)].map(|(side, share)| {
            let runs = side.runs.len() as f64;
            // Failures come in clumps: runs differ by half of what they have.
            let between = (0.5 * share).powi(2) / runs;
            between + share * (1.0 - share) / (sum(side).1.max(1) as f64)
        });
        let half = Z * errors.iter().sum::<f64>().sqrt();
        let estimate = share_b - share_a;
        let difference = Between { estimate, low: estimate - half, high: estimate + half };
        let least = (noise * share_a.max(share_b)).max(0.001);
        self.word = match estimate {
            _ if difference.low <= 0.0 && difference.high >= 0.0 => Word::NoDifference,
            _ if estimate.abs() < least => Word::NoDifference,
            _ if estimate > 0.0 => Word::Worse,
            _ => Word::Better,
        };
        self.difference = Some(difference);
    }

    /// One side has nothing to compare.
    pub(crate) fn has_no_value(&self) -> bool {
        self.word == Word::Unclear && (self.a.is_none() || self.b.is_none())
    }

    /// The size of a change that this row would not have shown.
    pub(crate) fn hidden(&self) -> Option<f64> {
        let ratio = self.ratio.filter(|_| self.word == Word::NoDifference)?;
        Some((ratio.high / ratio.low).sqrt() - 1.0)
    }

    /// `acquire.response.p99 worse, +20 %`.
    pub(crate) fn says(&self) -> String {
        let change = match (self.ratio, self.difference) {
            (Some(ratio), _) => format!(", {}", super::show::change(ratio.estimate)),
            (_, Some(points)) => format!(", {:+.2} points", 100.0 * points.estimate),
            _ if self.has_no_value() => " (a side has no value)".to_owned(),
            _ => String::new(),
        };
        let weak = if self.weak { " (too few samples above it)" } else { "" };
        format!("{} {}{change}{weak}", self.name, self.word.text())
    }
}

/// The values of all runs, if all have one.
fn values(name: Name, side: &Side) -> Option<Vec<f64>> {
    side.runs.iter().map(|run| names::value(name, &run.document)).collect()
}

/// The geometric mean, or the plain one where that is not defined.
fn middle(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    let logs: f64 = values.iter().map(|value| value.ln()).sum();
    let plain: f64 = values.iter().sum();
    (n > 0.0).then(|| if logs.is_finite() { (logs / n).exp() } else { plain / n })
}

/// One run against one.
fn single(name: Name, a: &Measured, b: &Measured) -> Option<Interval> {
    let log = |run: &Measured| {
        names::value(name, &run.document).filter(|&value| value > 0.0).map(f64::ln)
    };
    let within = |run: &Measured| within(name, run).unwrap_or(0.0).powi(2);
    let variance = within(a) + within(b) + 2.0 * floor(name).powi(2);
    Some(Interval::around_log(log(b)? - log(a)?, Z * variance.sqrt()))
}

/// The standard error of the logarithm from inside one run; `None` for what a run has only one
/// number of.
fn within(name: Name, run: &Measured) -> Option<f64> {
    match name {
        Name::Scalar(Scalar::Throughput) => {
            let granted = run.granted();
            log_error(granted.len(), SEED, |times| {
                let sum = granted.iter().zip(times).map(|(rate, &n)| rate * f64::from(n));
                Some(sum.sum())
            })
        }
        Name::Latency(metric, Stat::Percentile(p)) => {
            let q = p / 100.0;
            let from_blocks = run.blocks(metric).and_then(|blocks| {
                log_error(blocks.len(), SEED, |times| blocks.quantile(q, times))
            });
            from_blocks.or_else(|| by_rank(&run.document.hist(metric)?, q))
        }
        // Blocks of time are those of all workloads together.
        Name::WorkloadLatency(label, metric, Stat::Percentile(p)) => {
            by_rank(&run.document.workload(label.as_str())?.hist(metric)?, p / 100.0)
        }
        _ => None,
    }
}

/// From the totals alone: the samples one standard error of the rank below and above, twice as far
/// because neighbours are alike.
fn by_rank(hist: &Hist, q: f64) -> Option<f64> {
    let n = hist.len() as f64;
    let reach = 2.0 * (q * (1.0 - q) / n).sqrt();
    let at = |q: f64| (hist.value_at_quantile(q.clamp(0.0, 1.0)) as f64).max(1.0);
    (n >= 1.0).then(|| (at(q + reach) / at(q - reach)).ln() / 2.0)
}
