//! The numbers of a result by name: what thresholds, searches and comparisons speak of.
//!
//! A name is `METRIC.STAT` for what is recorded as a histogram (`acquire.response.p99`,
//! `handoff.mean`), or one of the single numbers of [`Scalar`] (`errors.rate`, `throughput`); of
//! one workload of a mix with `{workload=NAME}` behind it.
//!
//! Invariant: what was not measured has no value: [`value`] answers `None`, never 0.

mod name;
mod unit;

pub(crate) use name::{Name, Scalar, Stat};
pub(crate) use unit::Unit;

use crate::document::{Document, Totals};
use crate::num;
use crate::recorder::{Hist, Metric, histogram, merge};
use crate::verdict::Safety;

/// A number of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// In the unit of its name: ns, a share of 1, or as it is. Infinite where a fault was never
    /// recovered from.
    pub(crate) value: f64,
    pub(crate) unit: Unit,
    /// What it was made from: answers, grants, faults.
    pub(crate) samples: u64,
    /// The true value may be higher: arrivals without an answer are in it with their ages so far.
    pub(crate) at_least: bool,
}

/// What `document` has under `name`; `None` where nothing was measured.
pub(crate) fn value(document: &Document, name: &Name) -> Option<Sample> {
    match *name {
        Name::Latency(Metric::Attempts, stat) => attempts(document, stat),
        Name::Latency(Metric::Response, stat) => {
            let answered = document.hist(Metric::Response);
            response(answered, document.hist(Metric::Unanswered).as_ref(), stat)
        }
        Name::Latency(metric, stat) => of_hist(&document.hist(metric)?, stat, Unit::Time),
        Name::Scalar(scalar) => match of_totals(&document.totals, scalar) {
            Some(found) => found_of(scalar, found),
            None => self::scalar(document, scalar),
        },
        Name::WorkloadLatency(label, metric, stat) => {
            let of = document.workload(label.as_str())?;
            match metric {
                Metric::Response => {
                    let ages = of.hist(Metric::Unanswered);
                    response(of.hist(Metric::Response), ages.as_ref(), stat)
                }
                metric => of_hist(&of.hist(metric)?, stat, Unit::Time),
            }
        }
        Name::WorkloadScalar(label, scalar) => {
            found_of(scalar, of_totals(&document.workload(label.as_str())?.totals, scalar)?)
        }
    }
}

/// A statistic of a histogram; `None` if it is empty.
pub(crate) fn of_hist(hist: &Hist, stat: Stat, unit: Unit) -> Option<Sample> {
    let value = match stat {
        _ if hist.is_empty() => return None,
        Stat::Percentile(p) => hist.value_at_percentile(p) as f64,
        Stat::Max => hist.max() as f64,
        Stat::Mean => hist.mean(),
        Stat::Count => hist.len() as f64,
    };
    let unit = if stat == Stat::Count { Unit::Count } else { unit };
    Some(Sample { value, unit, samples: hist.len(), at_least: false })
}

/// Response times, those without an answer counted by their ages: a bound from below.
pub(crate) fn response(
    answered: Option<Hist>,
    unanswered: Option<&Hist>,
    stat: Stat,
) -> Option<Sample> {
    let mut all = answered.unwrap_or_else(histogram);
    let samples = all.len();
    let ages = unanswered.filter(|ages| !ages.is_empty());
    if let Some(ages) = ages.filter(|_| stat != Stat::Count) {
        merge(&mut all, ages);
    }
    let sample = of_hist(&all, stat, Unit::Time)?;
    let at_least = ages.is_some_and(|ages| match stat {
        Stat::Percentile(_) => sample.value >= ages.min() as f64,
        Stat::Max | Stat::Mean => true,
        Stat::Count => false,
    });
    Some(Sample { samples, at_least, ..sample })
}

fn attempts(document: &Document, stat: Stat) -> Option<Sample> {
    let all = document.attempts.contended?;
    let value = match stat {
        Stat::Percentile(p) if (p - 50.0).abs() < 1e-9 => all.p50 as f64,
        Stat::Percentile(p) if (p - 99.0).abs() < 1e-9 => all.p99 as f64,
        // The others are not stored, and `Name::parse` refuses them.
        Stat::Percentile(_) => return None,
        Stat::Max => all.max as f64,
        Stat::Mean => all.mean?,
        Stat::Count => all.count as f64,
    };
    Some(Sample { value, unit: Unit::Count, samples: all.count, at_least: false })
}

/// What is not measured is `None` inside; `None` outside: it is not made from totals.
fn of_totals(totals: &Totals, scalar: Scalar) -> Option<Option<(f64, u64)>> {
    let errors = &totals.errors;
    let failed = errors.failed();
    let finished = totals.ok + errors.busy + failed;
    let share = |part: u64, of: u64| (of > 0).then(|| (num::share(part, of), of));
    let rate = |rate: Option<f64>, n: u64| rate.map(|rate| (rate, n));
    Some(match scalar {
        Scalar::Throughput => rate(totals.ok_rate, totals.ok_in_time),
        Scalar::Achieved => rate(totals.achieved_rate, finished),
        Scalar::Offered => rate(totals.offered_rate, totals.offered),
        Scalar::ErrorsRate => share(failed, finished),
        Scalar::ErrorsCount => Some((failed as f64, finished)),
        Scalar::TimeoutsRate => share(errors.timeout, finished),
        Scalar::UnfinishedRate => share(totals.unfinished, totals.offered),
        _ => return None,
    })
}

fn found_of(scalar: Scalar, found: Option<(f64, u64)>) -> Option<Sample> {
    let (value, samples) = found?;
    let has_samples = samples > 0 && !value.is_nan();
    has_samples.then_some(Sample { value, unit: scalar.unit(), samples, at_least: false })
}

fn scalar(document: &Document, scalar: Scalar) -> Option<Sample> {
    let plain = |value: u64, samples: u64| Some((value as f64, samples));
    let faults = &document.faults;
    let all_faults = faults.len() as u64;
    let found = match scalar {
        // Those that were expected count for nothing; `--strict` makes them violations.
        Scalar::SafetyViolations if document.safety.verdict == Safety::Expected => {
            plain(0, document.safety.sections)?
        }
        Scalar::SafetyViolations => {
            let safety = &document.safety;
            let off = safety.lost_updates + safety.torn_reads;
            plain(safety.violation_count.max(off), safety.sections)?
        }
        Scalar::FencingViolations => {
            let fencing = document.fencing.as_ref()?;
            plain(fencing.violation_count, fencing.checked)?
        }
        Scalar::FaultDetectMax => most(faults.iter().filter_map(|fault| fault.detect_ns))?,
        Scalar::FaultGapMax => most(faults.iter().map(|fault| fault.gap_ns))?,
        Scalar::FaultRecoveredMax if faults.iter().any(|fault| fault.recovered_ns.is_none()) => {
            (f64::INFINITY, all_faults)
        }
        Scalar::FaultRecoveredMax => most(faults.iter().filter_map(|fault| fault.recovered_ns))?,
        Scalar::FaultFailedSum => plain(faults.iter().map(|fault| fault.failed).sum(), all_faults)?,
        Scalar::FaultLostSum => plain(faults.iter().map(|fault| fault.lost).sum(), all_faults)?,
        Scalar::FairnessJain => (document.fairness.jain?, document.fairness.clients as u64),
        Scalar::CpuPerLock => {
            let cost = &document.cost_per_acquisition;
            (cost.client_cpu_ns?, cost.acquisitions)
        }
        Scalar::CommandsPerHandover => {
            let contention = &document.contention;
            (contention.commands.as_ref()?.per_handover?, contention.handovers)
        }
        // Made from totals.
        Scalar::Throughput
        | Scalar::Achieved
        | Scalar::Offered
        | Scalar::ErrorsRate
        | Scalar::ErrorsCount
        | Scalar::TimeoutsRate
        | Scalar::UnfinishedRate => return None,
    };
    found_of(scalar, Some(found))
}

/// The longest of some times, with how many there were.
fn most(times: impl Iterator<Item = u64>) -> Option<(f64, u64)> {
    times.fold(None, |most, ns| {
        let (longest, n) = most.unwrap_or((0.0, 0));
        Some((f64::max(longest, ns as f64), n + 1))
    })
}

#[cfg(test)]
mod tests;
