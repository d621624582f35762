//! The rows of the latency table, the same in every format: which metrics, and how far each value
//! can be trusted.

use super::censored::Censored;
use super::format::{self, ns};
use super::json::is_weak;
use crate::num;
use crate::recorder::{Hist, Metric, histogram};

/// What a row is called, and what stands behind it.
pub(crate) const ROWS: [(Metric, &str, &str); 9] = [
    (Metric::Response, "acquire response", "from plan"),
    (Metric::Service, "acquire service", "from call"),
    (Metric::Uncontended, "  uncontended", ""),
    (Metric::Contended, "  contended", ""),
    (Metric::Handoff, "handoff", "release to grant"),
    (Metric::HandoffBetween, "  betw. processes", ""),
    (Metric::Release, "release", ""),
    (Metric::Failed, "failed", ""),
    (Metric::Hold, "hold, really", ""),
];

/// The samples of a row, with what is known of those that are missing.
#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) answered: u64,
    samples: Censored,
    /// From here on, as a share of all samples, values say nothing about those that are missing.
    bound_share: f64,
}

/// How far a value is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Full,
    /// Fewer than 10 samples lie above it.
    Weak,
    /// At least as long: arrivals without an answer are not in it.
    Bound,
}

impl Trust {
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::Full => "",
            Self::Weak => "~",
            Self::Bound => "≥",
        }
    }
}

impl Values {
    /// `None` when there is nothing to show; `hist` gives the samples of a metric.
    pub(crate) fn of(
        metric: Metric,
        unfinished: u64,
        hist: impl Fn(Metric) -> Option<Hist>,
    ) -> Option<Self> {
        let samples = hist(metric).unwrap_or_else(histogram);
        let answered = samples.len();
        // Ages are those of responses; services say nothing about the time before the call.
        let ages = if metric == Metric::Response { hist(Metric::Unanswered) } else { None };
        let by_number = matches!(metric, Metric::Response | Metric::Service) && ages.is_none();
        let missing = num::share(unfinished, answered + unfinished);
        let bound_share = if by_number { missing } else { 0.0 };
        let samples = Censored::new(samples, ages.as_ref());
        (!samples.all().is_empty()).then_some(Self { answered, samples, bound_share })
    }

    pub(crate) fn at_ns(&self, p: f64) -> (u64, Trust) {
        let (value, is_bound) = self.samples.at(p);
        let trust = match () {
            () if is_bound || 1.0 - p / 100.0 < self.bound_share => Trust::Bound,
            () if is_weak(p, self.samples.all().len()) => Trust::Weak,
            () => Trust::Full,
        };
        (value, trust)
    }

    pub(crate) fn at(&self, p: f64) -> String {
        let (value, trust) = self.at_ns(p);
        format!("{}{}", trust.mark(), ns(value))
    }

    pub(crate) fn max(&self) -> String {
        // Any of the missing ones may be the longest.
        let (longest, is_bound) = self.samples.max();
        format!("{}{}", if is_bound { Trust::Bound.mark() } else { "" }, ns(longest))
    }

    pub(crate) fn count(&self) -> String {
        format::count(self.answered)
    }
}
