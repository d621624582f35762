//! Names of numbers: which there are, and what is meant by one that is not.

use std::fmt;

use super::Unit;
use crate::near;
use crate::recorder::Metric;
use crate::workload::Label;

/// The name of a number in a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Name {
    /// A statistic of what is recorded as a histogram.
    Latency(Metric, Stat),
    Scalar(Scalar),
    /// The same of one workload of a mix: `NAME{workload=..}`.
    WorkloadLatency(Label, Metric, Stat),
    WorkloadScalar(Label, Scalar),
}

/// What to take of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stat {
    /// Above 0 and below 100.
    Percentile(f64),
    Max,
    Mean,
    Count,
}

/// The single numbers of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// Locks granted per second of the measured time.
    Throughput,
    /// Answers per second of the measured time.
    Achieved,
    /// Arrivals planned per second.
    Offered,
    ErrorsRate,
    ErrorsCount,
    TimeoutsRate,
    /// Of the arrivals planned.
    UnfinishedRate,
    SafetyViolations,
    /// Only of a fenced run.
    FencingViolations,
    /// Of the faults that were noticed.
    FaultDetectMax,
    FaultGapMax,
    /// "Never" if one fault was not recovered from.
    FaultRecoveredMax,
    FaultFailedSum,
    /// Locks lost while they were held.
    FaultLostSum,
    FairnessJain,
    /// CPU time of the generator's processes per granted lock.
    CpuPerLock,
    CommandsPerHandover,
}

impl Scalar {
    pub(crate) const ALL: [Self; 17] = [
        Self::Throughput,
        Self::Achieved,
        Self::Offered,
        Self::ErrorsRate,
        Self::ErrorsCount,
        Self::TimeoutsRate,
        Self::UnfinishedRate,
        Self::SafetyViolations,
        Self::FencingViolations,
        Self::FaultDetectMax,
        Self::FaultGapMax,
        Self::FaultRecoveredMax,
        Self::FaultFailedSum,
        Self::FaultLostSum,
        Self::FairnessJain,
        Self::CpuPerLock,
        Self::CommandsPerHandover,
    ];

    /// Those that each workload of a mix has.
    const OF_WORKLOAD: [Self; 7] = [
        Self::Throughput,
        Self::Achieved,
        Self::Offered,
        Self::ErrorsRate,
        Self::ErrorsCount,
        Self::TimeoutsRate,
        Self::UnfinishedRate,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Achieved => "achieved",
            Self::Offered => "offered",
            Self::ErrorsRate => "errors.rate",
            Self::ErrorsCount => "errors.count",
            Self::TimeoutsRate => "timeouts.rate",
            Self::UnfinishedRate => "unfinished.rate",
            Self::SafetyViolations => "safety.violations",
            Self::FencingViolations => "fencing.violations",
            Self::FaultDetectMax => "fault.detect.max",
            Self::FaultGapMax => "fault.gap.max",
            Self::FaultRecoveredMax => "fault.recovered.max",
            Self::FaultFailedSum => "fault.failed.sum",
            Self::FaultLostSum => "fault.lost.sum",
            Self::FairnessJain => "fairness.jain",
            Self::CpuPerLock => "cpu.per_lock",
            Self::CommandsPerHandover => "contention.commands_per_handover",
        }
    }

    pub(crate) const fn unit(self) -> Unit {
        match self {
            Self::Throughput | Self::Achieved | Self::Offered => Unit::PerSecond,
            Self::ErrorsRate | Self::TimeoutsRate | Self::UnfinishedRate => Unit::Share,
            Self::ErrorsCount
            | Self::SafetyViolations
            | Self::FencingViolations
            | Self::FaultFailedSum
            | Self::FaultLostSum => Unit::Count,
            Self::FaultDetectMax
            | Self::FaultGapMax
            | Self::FaultRecoveredMax
            | Self::CpuPerLock => Unit::Time,
            Self::FairnessJain | Self::CommandsPerHandover => Unit::Number,
        }
    }
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "max" => Some(Self::Max),
            "mean" => Some(Self::Mean),
            "count" => Some(Self::Count),
            _ => {
                let p = crate::values::decimal(text.strip_prefix('p')?)?;
                (p > 0.0 && p < 100.0).then_some(Self::Percentile(p))
            }
        }
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percentile(p) => write!(f, "p{p}"),
            Self::Max => f.write_str("max"),
            Self::Mean => f.write_str("mean"),
            Self::Count => f.write_str("count"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(metric, stat) => write!(f, "{}.{stat}", metric.name()),
            Self::Scalar(scalar) => f.write_str(scalar.name()),
            Self::WorkloadLatency(label, metric, stat) => {
                write!(f, "{}.{stat}{{workload={label}}}", metric.name())
            }
            Self::WorkloadScalar(label, scalar) => {
                write!(f, "{}{{workload={label}}}", scalar.name())
            }
        }
    }
}

impl Name {
    /// `acquire.response.p99`, `errors.rate`, each also with `{workload=NAME}` behind it; the error
    /// names what was meant.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some((name, braces)) = text.split_once('{') else { return Self::parse_whole(text) };
        let label = braces.strip_suffix('}').and_then(|inside| inside.split_once('='));
        let label = label.filter(|(key, _)| key.trim() == "workload").ok_or_else(|| {
            format!(
                "`{{{braces}` says nothing; write {{workload=NAME}}, as in {name}{{workload=a}}"
            )
        })?;
        let label = Label::parse(label.1.trim())?;
        let of_all = |what: &str| {
            format!("`{what}` is known of all workloads together; leave {{workload={label}}} out")
        };
        match Self::parse_whole(name.trim())? {
            Self::Latency(metric, stat) if Metric::OF_WORKLOAD.contains(&metric) => {
                Ok(Self::WorkloadLatency(label, metric, stat))
            }
            Self::Scalar(scalar) if Scalar::OF_WORKLOAD.contains(&scalar) => {
                Ok(Self::WorkloadScalar(label, scalar))
            }
            other => Err(of_all(&other.to_string())),
        }
    }

    /// The workload that it is about, if it is about one.
    pub(crate) const fn workload(&self) -> Option<Label> {
        match self {
            Self::WorkloadLatency(label, ..) | Self::WorkloadScalar(label, _) => Some(*label),
            Self::Latency(..) | Self::Scalar(_) => None,
        }
    }

    fn parse_whole(text: &str) -> Result<Self, String> {
        if let Some(scalar) = Scalar::ALL.into_iter().find(|scalar| scalar.name() == text) {
            return Ok(Self::Scalar(scalar));
        }
        let metric = Metric::ALL.into_iter().filter_map(|metric| {
            let stat = text.strip_prefix(metric.name())?;
            // The longest name wins: `handoff.between_processes` begins with `handoff`.
            (stat.is_empty() || stat.starts_with('.')).then_some((metric, stat))
        });
        let Some((metric, stat)) = metric.max_by_key(|(metric, _)| metric.name().len()) else {
            return Err(unknown(text));
        };
        let name = metric.name();
        let wanted = format!(
            "`{name}` needs one of p50, p90, p99, p99.9, max, mean or count behind it, as in \
             {name}.p99"
        );
        let Some(stat) = stat.strip_prefix('.') else { return Err(wanted) };
        let stat = Stat::parse(stat).ok_or_else(|| {
            let meant = match Stat::parse(&format!("p{stat}")) {
                Some(meant) => Some(format!("{name}.{meant}")),
                // Part of the metric's name, perhaps.
                None => unknown_word(text).filter(|_| stat.contains('.')),
            };
            match meant {
                Some(near) => format!("there is no number called `{text}`; did you mean `{near}`?"),
                None => format!("`{stat}` is no statistic: {wanted}"),
            }
        })?;
        match (metric, stat) {
            (Metric::Attempts, Stat::Percentile(p)) if p != 50.0 && p != 99.0 => {
                Err("`attempts` has p50, p99, max, mean and count; use one of these".to_owned())
            }
            _ => Ok(Self::Latency(metric, stat)),
        }
    }

    pub(crate) const fn unit(&self) -> Unit {
        match self {
            Self::Latency(Metric::Attempts, _)
            | Self::Latency(_, Stat::Count)
            | Self::WorkloadLatency(_, _, Stat::Count) => Unit::Count,
            Self::Latency(..) | Self::WorkloadLatency(..) => Unit::Time,
            Self::Scalar(scalar) | Self::WorkloadScalar(_, scalar) => scalar.unit(),
        }
    }
}

/// Every name people use most, for hints.
fn all() -> Vec<String> {
    let stats = ["p50", "p90", "p99", "p99.9", "p99.99", "max", "mean", "count"];
    let names = |metric: Metric| stats.map(|stat| format!("{}.{stat}", metric.name()));
    let mut all: Vec<String> = Metric::ALL.into_iter().flat_map(names).collect();
    all.extend(Scalar::ALL.map(|scalar| scalar.name().to_owned()));
    all
}

fn unknown_word(text: &str) -> Option<String> {
    let all = all();
    near::nearest(text, all.iter().map(String::as_str)).map(str::to_owned)
}

fn unknown(text: &str) -> String {
    let metrics: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    let apart = text.rsplit_once('.').and_then(|(metric, stat)| {
        Some(format!("{}.{}", near::nearest(metric, metrics)?, Stat::parse(stat)?))
    });
    match apart.or_else(|| unknown_word(text)) {
        Some(near) => format!("there is no number called `{text}`; did you mean `{near}`?"),
        None => format!(
            "there is no number called `{text}`; use METRIC.STAT, as in acquire.response.p99 or \
             handoff.max, or one of {}",
            Scalar::ALL.map(Scalar::name).join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_it_is_shown() {
        let attempts = ["p90", "p99.9", "p99.99"].map(|stat| format!("attempts.{stat}"));
        for text in all().into_iter().filter(|text| !attempts.contains(text)) {
            assert_eq!(Name::parse(&text).unwrap().to_string(), text);
        }
        let between = Name::parse("handoff.between_processes.p99.9").unwrap();
        assert_eq!(between, Name::Latency(Metric::HandoffBetween, Stat::Percentile(99.9)));
        assert_eq!(Name::parse("handoff.p1").unwrap().unit(), Unit::Time);
        assert_eq!(Name::parse("acquire.service.count").unwrap().unit(), Unit::Count);
    }

    #[test]
    fn what_is_no_name_is_answered_with_one() {
        for (text, word) in [
            ("acquire.respnose.p99", "did you mean `acquire.response.p99`"),
            ("aquire.response.p75", "did you mean `acquire.response.p75`"),
            ("error.rate", "did you mean `errors.rate`"),
            ("safty.violations", "did you mean `safety.violations`"),
            ("troughput", "did you mean `throughput`"),
            ("acquire.response", "needs one of p50"),
            ("acquire.response.99", "did you mean `acquire.response.p99`"),
            ("acquire.response.p100", "`p100` is no statistic"),
            ("acquire.response.p0", "is no statistic"),
            ("handoff.between_proceses.p99", "did you mean `handoff.between_processes.p99`"),
            ("handoff.median", "`median` is no statistic"),
            ("attempts.p90", "`attempts` has"),
            ("", "use METRIC.STAT"),
            ("latency", "use METRIC.STAT"),
        ] {
            let error = Name::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_of_a_workload_read_back_and_those_it_has_not_are_told() {
        for text in [
            "acquire.response.p99{workload=checkout}",
            "acquire.failed.count{workload=a-1_b}",
            "throughput{workload=x}",
            "unfinished.rate{workload=x}",
        ] {
            let name = Name::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
            assert!(text.contains(name.workload().unwrap().as_str()));
        }
        let spaced = Name::parse("errors.rate {workload = x}").unwrap();
        assert_eq!(spaced.to_string(), "errors.rate{workload=x}");
        for (bad, word) in [
            ("safety.violations{workload=x}", "known of all workloads together"),
            ("handoff.p99{workload=x}", "leave {workload=x} out"),
            ("throughput{wrkload=x}", "write {workload=NAME}"),
            ("throughput{workload=x", "write {workload=NAME}"),
            ("throughput{}", "write {workload=NAME}"),
            ("throughput{workload=1x}", "no name of a workload"),
            ("throughptu{workload=x}", "did you mean `throughput`?"),
        ] {
            let told = Name::parse(bad).unwrap_err();
            assert!(told.contains(word), "{bad}: {told}");
        }
    }
}
