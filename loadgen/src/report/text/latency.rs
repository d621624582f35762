//! The table of latencies.
//!
//! Arrivals without an answer count in the response times with their ages at the end. They took
//! longer than that, so a percentile at or above the youngest of them is only a lower bound: `≥`.

use std::fmt::Write as _;

use crate::recorder::Metric;
use crate::report::RunResult;
use crate::report::format::{self, COLUMNS, many, ns};
use crate::report::rows::{ROWS, Values};

const LABEL: usize = 18;

pub(super) fn table(out: &mut String, run: &RunResult) {
    let shown: Vec<f64> = run.config.percentiles.iter().copied().take(6).collect();
    let _ = write!(out, " {:<LABEL$}", "latency");
    for p in &shown {
        let _ = write!(out, "{:>9}", format::percentile(*p));
    }
    line!(out, "{:>9}{:>11}", "max", "n");
    let attempts = run.mean_attempts().map(|mean| format!("{mean:.2} attempts"));
    let open = run.config.is_open_loop();
    for (metric, label, note) in ROWS {
        // A lock that is given back at once has no hold to speak of.
        if metric == Metric::Hold && !run.config.holds() {
            continue;
        }
        let note = match metric {
            Metric::Contended => attempts.as_deref().unwrap_or_default(),
            Metric::Response | Metric::Service if !open => "",
            _ => note,
        };
        let hist = |metric| run.totals.get(metric).cloned();
        if let Some(values) = Values::of(metric, run.unfinished, hist) {
            row(out, label, &values, &shown, note);
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

fn row(out: &mut String, label: &str, values: &Values, shown: &[f64], note: &str) {
    let _ = write!(out, " {label:<LABEL$}");
    for &p in shown {
        let _ = write!(out, "{:>9}", values.at(p));
    }
    let short = format!("{:>9}{:>11}", values.max(), values.count());
    let text = format!("{short}{}{note}", if note.is_empty() { "" } else { "  " });
    let fits = LABEL + 1 + shown.len() * 9 + text.chars().count() <= COLUMNS;
    line!(out, "{}", if fits { text } else { short });
}
