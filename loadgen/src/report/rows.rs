//! The rows of the latency table, the same in every format: which metrics, and how far each value
//! can be trusted.

use super::format::{self, ns};
use super::json::is_weak;
use crate::num;
use crate::recorder::{Hist, Metric, histogram, merge};

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
    /// Arrivals without an answer included, by their ages.
    all: Hist,
    /// From here on a value is a lower bound.
    bound_from_ns: u64,
    /// The same as a share of all samples, for values that ages say nothing about.
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
        let all = hist(metric).unwrap_or_else(histogram);
        let answered = all.len();
        let mut values = Self { answered, bound_from_ns: u64::MAX, bound_share: 0.0, all };
        match metric {
            Metric::Response => {
                if let Some(ages) = hist(Metric::Unanswered) {
                    merge(&mut values.all, &ages);
                    values.bound_from_ns = ages.min();
                }
            }
            Metric::Service => {
                values.bound_share = num::share(unfinished, answered + unfinished);
            }
            _ => {}
        }
        (!values.all.is_empty()).then_some(values)
    }

    pub(crate) fn at_ns(&self, p: f64) -> (u64, Trust) {
        let value = self.all.value_at_percentile(p);
        let trust = match () {
            () if value >= self.bound_from_ns || 1.0 - p / 100.0 < self.bound_share => Trust::Bound,
            () if is_weak(p, self.all.len()) => Trust::Weak,
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
        let mark = if self.bound_from_ns < u64::MAX { "≥" } else { "" };
        format!("{mark}{}", ns(self.all.max()))
    }

    pub(crate) fn count(&self) -> String {
        format::count(self.answered)
    }
}
