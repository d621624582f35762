//! What can be a row, by name, and its value in a result.

use crate::document::{Document, Latency};
use crate::recorder::{Hist, Metric};
use crate::report::json::is_weak;
use crate::statistics::judge::Good;

/// The name of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Name {
    Of(Metric, Stat),
    Scalar(Scalar),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stat {
    Percentile(f64),
    Max,
    Mean,
}

/// A number of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Throughput,
    ErrorsRate,
    ClientCpu,
    NodeCpu,
    CommandsPerLock,
    CommandsPerHandover,
    Fairness,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Ns,
    PerSecond,
    Share,
    Number,
}

impl Scalar {
    const ALL: [Self; 7] = [
        Self::Throughput,
        Self::ErrorsRate,
        Self::ClientCpu,
        Self::NodeCpu,
        Self::CommandsPerLock,
        Self::CommandsPerHandover,
        Self::Fairness,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::ErrorsRate => "errors.rate",
            Self::ClientCpu => "cpu.per_lock",
            Self::NodeCpu => "node.cpu_per_lock",
            Self::CommandsPerLock => "contention.commands_per_lock",
            Self::CommandsPerHandover => "contention.commands_per_handover",
            Self::Fairness => "fairness.jain",
        }
    }
}

impl Name {
    /// The rows of every comparison.
    pub(crate) fn usual() -> Vec<Self> {
        let of = |metric, p| Self::Of(metric, Stat::Percentile(p));
        let mut names = vec![
            Self::Scalar(Scalar::Throughput),
            of(Metric::Response, 50.0),
            of(Metric::Response, 99.0),
            of(Metric::Response, 99.9),
            of(Metric::Service, 50.0),
            of(Metric::Service, 99.0),
            of(Metric::Handoff, 50.0),
            of(Metric::Handoff, 99.0),
            of(Metric::Release, 99.0),
        ];
        let rest = Scalar::ALL.into_iter().filter(|&scalar| scalar != Scalar::Throughput);
        names.extend(rest.map(Self::Scalar));
        names
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(scalar) = Scalar::ALL.into_iter().find(|scalar| scalar.name() == text) {
            return Ok(Self::Scalar(scalar));
        }
        let of = |metric: Metric| {
            let stat = text.strip_prefix(metric.name())?.strip_prefix('.')?;
            Some(Self::Of(metric, Stat::parse(stat)?))
        };
        Metric::ALL.into_iter().find_map(of).ok_or_else(|| {
            let scalars = Scalar::ALL.map(Scalar::name).join(", ");
            format!(
                "`{text}` is no row; write METRIC.STAT, as acquire.response.p99, handoff.p50 or \
                 release.max, or one of {scalars}"
            )
        })
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::Scalar(scalar) => scalar.name().to_owned(),
            Self::Of(metric, stat) => format!("{}.{}", metric.name(), stat.text()),
        }
    }

    pub(crate) const fn good(self) -> Good {
        match self {
            Self::Scalar(Scalar::Throughput | Scalar::Fairness)
            | Self::Of(Metric::ValidityLeft, _) => Good::More,
            _ => Good::Less,
        }
    }

    pub(crate) const fn unit(self) -> Unit {
        match self {
            Self::Of(Metric::Attempts, _) => Unit::Number,
            Self::Of(..) | Self::Scalar(Scalar::ClientCpu | Scalar::NodeCpu) => Unit::Ns,
            Self::Scalar(Scalar::Throughput) => Unit::PerSecond,
            Self::Scalar(Scalar::ErrorsRate) => Unit::Share,
            Self::Scalar(_) => Unit::Number,
        }
    }

    /// The value in a result; `None` where nothing was measured.
    pub(crate) fn value(self, document: &Document) -> Option<f64> {
        match self {
            Self::Of(metric, stat) => stat.of(document.latency(metric)?),
            Self::Scalar(scalar) => scalar.of(document),
        }
        .filter(|value| value.is_finite())
    }

    /// Fewer than 10 samples lie above it: chance.
    pub(crate) fn is_weak(self, document: &Document) -> bool {
        let Self::Of(metric, stat) = self else { return false };
        let count = document.latency(metric).map_or(0, |latency| latency.count);
        match stat {
            Stat::Percentile(p) => is_weak(p, count),
            Stat::Max => true,
            Stat::Mean => count < 10,
        }
    }
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "max" => Some(Self::Max),
            "mean" => Some(Self::Mean),
            _ => {
                let p = text.strip_prefix('p')?.parse::<f64>().ok()?;
                (0.0..100.0).contains(&p).then_some(Self::Percentile(p))
            }
        }
    }

    fn text(self) -> String {
        match self {
            Self::Percentile(p) => format!("p{p}"),
            Self::Max => "max".to_owned(),
            Self::Mean => "mean".to_owned(),
        }
    }

    fn of(self, latency: &Latency) -> Option<f64> {
        if latency.count == 0 {
            return None;
        }
        match self {
            Self::Max => Some(latency.max as f64),
            Self::Mean => latency.mean,
            Self::Percentile(p) => {
                let told = latency.percentiles.iter().find(|of| (of.p - p).abs() < 1e-9);
                let exact = || latency.hist().map(|hist: Hist| hist.value_at_percentile(p));
                told.map(|of| of.ns).or_else(exact).map(|ns| ns as f64)
            }
        }
    }
}

impl Scalar {
    fn of(self, document: &Document) -> Option<f64> {
        let commands = document.contention.commands.as_ref();
        match self {
            Self::Throughput => document.totals.ok_rate,
            Self::ErrorsRate => {
                let (failed, all) = failed(document);
                (all > 0).then(|| crate::num::share(failed, all))
            }
            Self::ClientCpu => document.cost_per_acquisition.client_cpu_ns,
            Self::NodeCpu => document.cost_per_acquisition.node_cpu_ns,
            Self::CommandsPerLock => commands?.per_acquisition,
            Self::CommandsPerHandover => commands?.per_handover,
            Self::Fairness => document.fairness.jain,
        }
    }
}

/// Acquisitions that failed, of all that were answered.
pub(crate) fn failed(document: &Document) -> (u64, u64) {
    let (totals, of) = (&document.totals, document.totals.errors);
    let failed = of.timeout + of.no_quorum + of.quarantined + of.other;
    (failed, totals.ok + of.busy + failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_a_wrong_one_is_named() {
        for name in Name::usual() {
            assert_eq!(Name::parse(&name.text()), Ok(name));
        }
        let between = Name::parse("handoff.between_processes.p99").unwrap();
        assert_eq!(between, Name::Of(Metric::HandoffBetween, Stat::Percentile(99.0)));
        for wrong in ["acquire.response", "acquire.response.p100", "speed", "hold.px", ""] {
            let text = Name::parse(wrong).unwrap_err();
            assert!(text.contains(&format!("`{wrong}`")) && text.contains("throughput"), "{text}");
        }
    }
}
