//! The rows of a comparison: which there are, which way is good, and what is chance.

use crate::document::Document;
use crate::metrics::{self, Name, Scalar, Stat, Unit};
use crate::recorder::Metric;
use crate::report::json::is_weak;
use crate::statistics::judge::Good;

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
        | Name::Latency(Metric::ValidityLeft, _)
        | Name::Latency(_, Stat::Count) => Good::More,
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
        name => metrics::value(document, &name).map(|sample| sample.value),
    };
    value.filter(|value| value.is_finite())
}

/// Too few samples lie above it: chance.
pub(crate) fn weak(name: Name, document: &Document) -> bool {
    let Name::Latency(metric, stat) = name else { return false };
    let count = document.latency(metric).map_or(0, |latency| latency.count);
    match stat {
        Stat::Percentile(p) => is_weak(p, count),
        Stat::Max => true,
        Stat::Mean | Stat::Count => count < 10,
    }
}

/// Acquisitions that failed, and all that were answered.
pub(crate) fn failed(document: &Document) -> (u64, u64) {
    let (totals, of) = (&document.totals, document.totals.errors);
    let failed = of.timeout + of.no_quorum + of.quarantined + of.other;
    (failed, totals.ok + of.busy + failed)
}
