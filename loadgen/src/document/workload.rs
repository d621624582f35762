//! One workload of a mix.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Document, Latency, Totals};
use crate::recorder::{Hist, Metric};

/// What was asked for by one workload of a mix, and what came of it. Histograms and counts of all
/// workloads add up to those of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkloadReport {
    pub(crate) name: String,
    pub(crate) weight: f64,
    /// Of all arrivals, as planned.
    pub(crate) share: f64,
    /// The lock mode in the words of `--mode`.
    pub(crate) mode: String,
    /// Without texts of failures, which are those of the run.
    pub(crate) totals: Totals,
    /// By metric name; `null` where nothing was recorded.
    pub(crate) latency_ns: BTreeMap<String, Option<Latency>>,
}

impl WorkloadReport {
    /// What was recorded of `metric`.
    pub(crate) fn latency(&self, metric: Metric) -> Option<&Latency> {
        self.latency_ns.get(metric.name())?.as_ref()
    }

    /// The histogram of `metric`, every sample in it; `None` if nothing was recorded or what is
    /// stored cannot be read.
    pub(crate) fn hist(&self, metric: Metric) -> Option<Hist> {
        self.latency(metric)?.hist()
    }
}

impl Document {
    pub(crate) fn workload(&self, name: &str) -> Option<&WorkloadReport> {
        self.workloads.iter().find(|of| of.name == name)
    }
}
