//! The table of latencies.
//!
//! Arrivals without an answer count in the response times with their ages at the end. They took
//! longer than that, so a percentile at or above the youngest of them is only a lower bound: `≥`.

use std::fmt::Write as _;

use crate::num;
use crate::recorder::{Hist, Metric, histogram, merge};
use crate::report::RunResult;
use crate::report::format::{self, COLUMNS, count, many, ns};
use crate::report::json::is_weak;
use crate::values::Hold;

const LABEL: usize = 18;

pub(super) fn table(out: &mut String, run: &RunResult) {
    let shown: Vec<f64> = run.config.percentiles.iter().copied().take(6).collect();
    let _ = write!(out, " {:<LABEL$}", "latency");
    for p in &shown {
        let _ = write!(out, "{:>9}", format::percentile(*p));
    }
    line!(out, "{:>9}{:>11}", "max", "n");
    let attempts = run.mean_attempts().map(|mean| format!("  {mean:.2} attempts"));
    let open = run.config.is_open_loop();
    for (metric, label, note) in [
        (Metric::Response, "acquire response", open.then_some("  from plan")),
        (Metric::Service, "acquire service", open.then_some("  from call")),
        (Metric::Uncontended, "  uncontended", None),
        (Metric::Contended, "  contended", attempts.as_deref()),
        (Metric::Handoff, "handoff", Some("  release to grant")),
        (Metric::HandoffBetween, "  betw. processes", None),
        (Metric::Release, "release", None),
        (Metric::Failed, "failed", None),
        (Metric::Hold, "hold, really", None),
    ] {
        // A lock that is given back at once has no hold to speak of.
        if metric == Metric::Hold && run.config.hold == Hold::Fixed(0) {
            continue;
        }
        if let Some(values) = Values::of(run, metric) {
            row(out, label, &values, &shown, note.unwrap_or_default());
        }
    }
    if run.unfinished > 0 {
        let arrivals = many(run.unfinished, "arrival", "arrivals");
        line!(out, " ≥ at least: {arrivals} had no answer when the run ended");
    }
    if let Some(hist) = run.totals.get(Metric::ValidityLeft) {
        line!(
            out,
            " {:<LABEL$}min {}, half of all at most {}",
            "validity left",
            ns(hist.min()),
            ns(hist.value_at_percentile(50.0))
        );
    }
    line!(out, "");
}

/// The samples of a row, with what is known of those that are missing.
struct Values {
    answered: u64,
    /// Arrivals without an answer included, by their ages.
    all: Hist,
    /// From here on a value is a lower bound.
    bound_from_ns: u64,
    /// The same as a share of all samples, for values that ages say nothing about.
    bound_share: f64,
}

impl Values {
    /// `None` when there is nothing to show.
    fn of(run: &RunResult, metric: Metric) -> Option<Self> {
        let all = run.totals.get(metric).cloned().unwrap_or_else(histogram);
        let answered = all.len();
        let mut values = Self { answered, bound_from_ns: u64::MAX, bound_share: 0.0, all };
        match metric {
            Metric::Response => {
                if let Some(ages) = run.totals.get(Metric::Unanswered) {
                    merge(&mut values.all, ages);
                    values.bound_from_ns = ages.min();
                }
            }
            Metric::Service => {
                values.bound_share = num::share(run.unfinished, answered + run.unfinished);
            }
            _ => {}
        }
        (!values.all.is_empty()).then_some(values)
    }

    fn at(&self, p: f64) -> String {
        let value = self.all.value_at_percentile(p);
        let mark = match () {
            () if value >= self.bound_from_ns || 1.0 - p / 100.0 < self.bound_share => "≥",
            () if is_weak(p, self.all.len()) => "~",
            () => "",
        };
        format!("{mark}{}", ns(value))
    }

    fn max(&self) -> String {
        // Any of the missing ones may be the longest.
        let mark = if self.bound_from_ns < u64::MAX { "≥" } else { "" };
        format!("{mark}{}", ns(self.all.max()))
    }
}

fn row(out: &mut String, label: &str, values: &Values, shown: &[f64], note: &str) {
    let _ = write!(out, " {label:<LABEL$}");
    for &p in shown {
        let _ = write!(out, "{:>9}", values.at(p));
    }
    let short = format!("{:>9}{:>11}", values.max(), count(values.answered));
    let text = format!("{short}{note}");
    let fits = LABEL + 1 + shown.len() * 9 + text.chars().count() <= COLUMNS;
    line!(out, "{}", if fits { text } else { short });
}
