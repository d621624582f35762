//! What was asked for and what came of it, of a whole run or of one workload of a mix.

use std::collections::BTreeMap;

use super::RunResult;
use super::censored::Censored;
use super::json::latency;
use crate::collect::Hists;
use crate::document::{Errors, Latency, Percentile, Totals};
use crate::num;
use crate::recorder::{Counts, Metric};

/// One workload of a mix, counted.
#[derive(Debug, Default)]
pub(crate) struct PartResult {
    /// Of the measured time.
    pub(crate) counts: Counts,
    /// With what finished after it.
    pub(crate) all_counts: Counts,
    pub(crate) offered: u64,
    pub(crate) unfinished: u64,
    pub(crate) not_started: u64,
    pub(crate) oldest_unfinished_ns: u64,
    pub(crate) hists: Hists,
}

/// Everything that was counted of a run, or of a workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tallied<'a> {
    counts: &'a Counts,
    all: &'a Counts,
    offered: u64,
    unfinished: u64,
    not_started: u64,
    oldest_unfinished_ns: u64,
    hists: &'a Hists,
}

impl PartResult {
    pub(super) const fn tallied(&self) -> Tallied<'_> {
        Tallied {
            counts: &self.counts,
            all: &self.all_counts,
            offered: self.offered,
            unfinished: self.unfinished,
            not_started: self.not_started,
            oldest_unfinished_ns: self.oldest_unfinished_ns,
            hists: &self.hists,
        }
    }
}

impl RunResult {
    pub(super) const fn tallied(&self) -> Tallied<'_> {
        Tallied {
            counts: &self.counts,
            all: &self.all_counts,
            offered: self.offered,
            unfinished: self.unfinished,
            not_started: self.not_started,
            oldest_unfinished_ns: self.oldest_unfinished_ns,
            hists: &self.totals,
        }
    }
}

pub(super) fn totals(of: &Tallied<'_>, lasted_s: f64, failure_texts: Vec<String>) -> Totals {
    let all = of.all;
    let rate = |n: u64| num::finite(if lasted_s > 0.0 { n as f64 / lasted_s } else { 0.0 });
    Totals {
        offered: of.offered,
        ok: all.ok,
        ok_in_time: of.counts.ok,
        unfinished: of.unfinished,
        not_started: of.not_started,
        oldest_unfinished_ns: of.oldest_unfinished_ns,
        errors: Errors {
            timeout: all.timeout,
            no_quorum: all.no_quorum,
            quarantined: all.quarantined,
            busy: all.busy,
            lost: all.lost,
            other: all.other,
        },
        release_unconfirmed: all.release_unconfirmed,
        saturated: all.saturated,
        offered_rate: rate(of.offered),
        achieved_rate: rate(of.counts.finished()),
        ok_rate: rate(of.counts.ok),
        failure_texts,
    }
}

/// `metrics` by their names; `None` where nothing was recorded.
pub(super) fn latencies(
    of: &Tallied<'_>,
    percentiles: &[f64],
    metrics: &[Metric],
) -> BTreeMap<String, Option<Latency>> {
    let one = |metric| {
        let mut latency = latency(of.hists.get(metric)?, percentiles);
        bound(of, metric, &mut latency.percentiles);
        Some(latency)
    };
    metrics.iter().map(|&metric| (metric.name().to_owned(), one(metric))).collect()
}

/// Makes percentiles that depend on arrivals without an answer lower bounds: of responses by their
/// ages, of services, which say nothing about the time before the call, by their number.
fn bound(of: &Tallied<'_>, metric: Metric, percentiles: &mut [Percentile]) {
    let Some(answered) = of.hists.get(metric) else { return };
    let missing = num::share(of.unfinished, answered.len() + of.unfinished);
    let ages = of.hists.get(Metric::Unanswered);
    let responses = (metric == Metric::Response && ages.is_some_and(|ages| !ages.is_empty()))
        .then(|| Censored::new(answered.clone(), ages));
    for percentile in percentiles {
        if let Some(responses) = &responses {
            (percentile.ns, percentile.at_least) = responses.at(percentile.p);
        } else if [Metric::Response, Metric::Service].contains(&metric) {
            percentile.at_least = 1.0 - percentile.p / 100.0 < missing;
        }
    }
}
