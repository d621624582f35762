//! The rows of a comparison: which there are, which way is good, and what is chance.

use crate::document::Document;
use crate::metrics::{self, Name, Scalar, Stat, Unit};
use crate::recorder::Metric;
use crate::report::json::is_weak;
use crate::statistics::judge::Good;
use crate::workload::Label;

/// The rows of every comparison.
pub(crate) fn usual() -> Vec<Name> {
    let of = |metric, p| Name::Latency(metric, Stat::Percentile(p));
    vec![
        Name::Scalar(Scalar::Throughput),
        of(Metric::Response, 50.0),
        of(Metric::Response, 99.0),
        of(Metric::Response, 99.9),
        of(Metric::Service, 50.0),
        of(Metric::Service, 99.0),
        of(Metric::Handoff, 50.0),
        of(Metric::Handoff, 99.0),
        of(Metric::Release, 99.0),
        Name::Scalar(Scalar::ErrorsRate),
        Name::Scalar(Scalar::CpuPerLock),
        Name::Scalar(Scalar::CommandsPerHandover),
        Name::Scalar(Scalar::FairnessJain),
    ]
}

pub(crate) const fn good(name: Name) -> Good {
    match name {
        Name::Scalar(
            Scalar::Throughput | Scalar::Achieved | Scalar::Offered | Scalar::FairnessJain,
        )
        | Name::WorkloadScalar(_, Scalar::Throughput | Scalar::Achieved | Scalar::Offered)
        | Name::Latency(Metric::ValidityLeft, _)
        | Name::Latency(_, Stat::Count)
        | Name::WorkloadLatency(_, _, Stat::Count) => Good::More,
        _ => Good::Less,
    }
}

/// The unit's word in JSON.
pub(crate) const fn word(unit: Unit) -> &'static str {
    match unit {
        Unit::Time => "ns",
        Unit::PerSecond => "per_second",
        Unit::Share => "share",
        Unit::Count => "count",
        Unit::Number => "number",
    }
}

/// The value in a result; `None` where nothing was measured. A run without a grant has a
/// throughput: none.
pub(crate) fn value(name: Name, document: &Document) -> Option<f64> {
    let value = match name {
        Name::Scalar(Scalar::Throughput) => document.totals.ok_rate,
        Name::WorkloadScalar(label, Scalar::Throughput) => {
            document.workload(label.as_str()).and_then(|of| of.totals.ok_rate)
        }
        name => metrics::value(document, &name).map(|sample| sample.value),
    };
    value.filter(|value| value.is_finite())
}

/// Too few samples lie above it: chance.
pub(crate) fn weak(name: Name, document: &Document) -> bool {
    let (latency, stat) = match name {
        Name::Latency(metric, stat) => (document.latency(metric), stat),
        Name::WorkloadLatency(label, metric, stat) => {
            (document.workload(label.as_str()).and_then(|of| of.latency(metric)), stat)
        }
        Name::Scalar(_) | Name::WorkloadScalar(..) => return false,
    };
    let count = latency.map_or(0, |latency| latency.count);
    match stat {
        Stat::Percentile(p) => is_weak(p, count),
        Stat::Max => true,
        Stat::Mean | Stat::Count => count < 10,
    }
}

/// The rows of each workload of a mix.
pub(crate) fn of_workloads(document: &Document) -> Vec<Name> {
    let labels = document.workloads.iter().filter_map(|of| Label::parse(&of.name).ok());
    let of = |label| {
        let response = |p| Name::WorkloadLatency(label, Metric::Response, Stat::Percentile(p));
        let scalar = |scalar| Name::WorkloadScalar(label, scalar);
        [scalar(Scalar::Throughput), response(50.0), response(99.0), scalar(Scalar::ErrorsRate)]
    };
    labels.flat_map(of).collect()
}

/// Acquisitions that failed, and all that were answered, of a workload or of all.
pub(crate) fn failed(name: Name, document: &Document) -> (u64, u64) {
    let part = name.workload().map(|label| document.workload(label.as_str()));
    let totals = match part {
        None => &document.totals,
        Some(Some(part)) => &part.totals,
        Some(None) => return (0, 0),
    };
    let of = totals.errors;
    let failed = of.failed();
    (failed, totals.ok + of.busy + failed)
}
