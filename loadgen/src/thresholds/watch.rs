//! Thresholds looked at while the run lasts: one that fails ends it.
//!
//! Only what is cumulative can be judged before the end; a run that is ended early has failed, even
//! if its last moments would have made up for it.

use super::Threshold;
use crate::collect::Hists;
use crate::collect::parts::PartSums;
use crate::config::RunConfig;
use crate::metrics::{self, Name, Sample, Scalar, Stat};
use crate::num;
use crate::recorder::{Counts, Hist, Metric};

/// Answers below which nothing is judged but violations.
const FEWEST_ANSWERS: u64 = 10;

/// What is known of a run under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoFar<'a> {
    /// Of the measured time.
    pub(crate) elapsed_ns: u64,
    pub(crate) counts: &'a Counts,
    pub(crate) totals: &'a Hists,
    /// Of each workload of a mix.
    pub(crate) parts: &'a [PartSums],
    /// Responses outside faults, if somebody asks for them.
    pub(crate) calm: Option<&'a Hist>,
    pub(crate) violations: u64,
    pub(crate) token_violations: u64,
}

/// The thresholds that end the run when they fail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    thresholds: Vec<Threshold>,
    /// The workloads of a mix.
    workloads: Vec<String>,
    from_ns: u64,
}

/// Whether `name` is known before the end.
pub(super) const fn can_watch(name: &Name) -> bool {
    match name {
        Name::Latency(metric, stat) | Name::WorkloadLatency(_, metric, stat) => {
            !matches!(metric, Metric::Unanswered | Metric::Attempts) && !matches!(stat, Stat::Count)
        }
        Name::Scalar(scalar) | Name::WorkloadScalar(_, scalar) => matches!(
            scalar,
            Scalar::Throughput
                | Scalar::Achieved
                | Scalar::ErrorsRate
                | Scalar::ErrorsCount
                | Scalar::TimeoutsRate
                | Scalar::SafetyViolations
                | Scalar::FencingViolations
        ),
    }
}

impl Watch {
    pub(crate) fn new(config: &RunConfig) -> Self {
        let all = config.abort_on_fail_ns.is_some();
        let watched =
            |threshold: &&Threshold| threshold.abort || (all && can_watch(&threshold.name));
        Self {
            thresholds: config.thresholds.iter().filter(watched).cloned().collect(),
            workloads: config.workloads.iter().map(|of| of.name.clone()).collect(),
            from_ns: config.abort_on_fail_ns.unwrap_or(0),
        }
    }

    /// Why the run should end now, if it should.
    pub(crate) fn failed(&self, now: &SoFar<'_>) -> Option<String> {
        if now.elapsed_ns < self.from_ns {
            return None;
        }
        self.thresholds.iter().find_map(|threshold| {
            // What has no samples yet may still get some.
            let sample = self.sample(threshold, now)?;
            let checked = threshold.judge(Some(sample));
            let at_s = now.elapsed_ns as f64 / crate::clock::NS_PER_S as f64;
            (!checked.ok).then(|| format!("{}; ended early, at {at_s:.1} s", checked.failure()))
        })
    }

    fn sample(&self, threshold: &Threshold, now: &SoFar<'_>) -> Option<Sample> {
        let part = match threshold.workload() {
            None => None,
            Some(label) => {
                let at = self.workloads.iter().position(|name| name == label.as_str())?;
                Some(now.parts.get(at)?)
            }
        };
        let counts = part.map_or(now.counts, |part| &part.counts);
        let totals = part.map_or(now.totals, |part| &part.hists);
        let (value, samples, fewest) = match threshold.name {
            Name::Latency(metric, stat) | Name::WorkloadLatency(_, metric, stat) => {
                let calm = now.calm.filter(|_| threshold.outside_faults);
                let hist = if threshold.outside_faults { calm } else { totals.get(metric) };
                let sample = metrics::of_hist(hist?, stat, threshold.name.unit())?;
                (sample.value, sample.samples, FEWEST_ANSWERS)
            }
            Name::Scalar(scalar) | Name::WorkloadScalar(_, scalar) => {
                scalar_so_far(scalar, counts, now)?
            }
        };
        let unit = threshold.name.unit();
        (samples >= fewest).then_some(Sample { value, unit, samples, at_least: false })
    }
}

/// The value, what it is made from, and how much of that there has to be.
fn scalar_so_far(scalar: Scalar, counts: &Counts, now: &SoFar<'_>) -> Option<(f64, u64, u64)> {
    let finished = counts.finished();
    let per_second = |n: u64| {
        let seconds = now.elapsed_ns as f64 / crate::clock::NS_PER_S as f64;
        (seconds > 0.0).then(|| n as f64 / seconds)
    };
    Some(match scalar {
        Scalar::Throughput => (per_second(counts.ok)?, finished, FEWEST_ANSWERS),
        Scalar::Achieved => (per_second(finished)?, finished, FEWEST_ANSWERS),
        Scalar::ErrorsRate => (num::share(counts.errors(), finished), finished, FEWEST_ANSWERS),
        Scalar::ErrorsCount => (counts.errors() as f64, finished, 1),
        Scalar::TimeoutsRate => (num::share(counts.timeout, finished), finished, FEWEST_ANSWERS),
        Scalar::SafetyViolations => (now.violations as f64, finished, 1),
        Scalar::FencingViolations => (now.token_violations as f64, finished, 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;
    use crate::workload::Workload;

    fn config(thresholds: &[&str], abort_on_fail_ns: Option<u64>) -> RunConfig {
        let thresholds = thresholds.iter().map(|text| text.parse().unwrap()).collect();
        RunConfig { thresholds, abort_on_fail_ns, ..RunConfig::for_tests() }
    }

    fn watch(thresholds: &[&str], after: Option<u64>, counts: Counts, at_s: u64) -> Option<String> {
        let mut slow = histogram();
        slow.saturating_record_n(80_000_000, counts.ok);
        let mut totals = Hists::default();
        totals.add(Metric::Response, &slow);
        Watch::new(&config(thresholds, after)).failed(&SoFar {
            elapsed_ns: at_s * 1_000_000_000,
            counts: &counts,
            totals: &totals,
            parts: &[],
            calm: None,
            violations: 0,
            token_violations: 3,
        })
    }

    #[test]
    fn a_failure_ends_the_run_when_it_was_asked_to() {
        let counts = Counts { ok: 95, timeout: 5, ..Counts::default() };
        assert_eq!(watch(&["errors.rate<1%"], None, counts, 2), None, "nobody asked");
        let why = watch(&["errors.rate<1% abort"], None, counts, 2).unwrap();
        assert!(why.contains("errors.rate<1%") && why.contains("5.0 %"), "{why}");
        assert!(why.contains("ended early, at 2.0 s"), "{why}");
        let all = ["errors.rate<10%", "acquire.response.p50<50ms"];
        assert_eq!(watch(&all, Some(3_000_000_000), counts, 2), None, "too early");
        assert!(watch(&all, Some(3_000_000_000), counts, 3).unwrap().contains("response.p50"));
        assert!(watch(&["throughput>=1k"], Some(0), counts, 1).unwrap().contains("95.0/s"));
        assert!(watch(&["achieved>=100 abort"], None, counts, 1).is_none());
        assert!(watch(&["fencing.violations==0"], Some(0), counts, 1).unwrap().contains(": 3;"));
        // Only known at the end; and what is not outside faults has no samples yet.
        let late = ["fault.recovered.max<1ms", "acquire.response.p50<1ms outside faults"];
        assert_eq!(watch(&late, Some(0), counts, 9), None);
        let count = ["acquire.response.count>=1000"];
        assert_eq!(watch(&count, Some(0), counts, 9), None, "it grows until the end");
    }

    #[test]
    fn every_number_is_judged_by_what_it_is_of() {
        let counts = Counts { ok: 95, timeout: 1, other: 4, ..Counts::default() };
        assert_eq!(watch(&["timeouts.rate<2%"], Some(0), counts, 1), None);
        assert!(watch(&["errors.rate<2%"], Some(0), counts, 1).is_some());
        // Three tokens were out of order, and exclusion held.
        assert_eq!(watch(&["safety.violations==0"], Some(0), counts, 1), None);
    }

    #[test]
    fn a_handful_of_answers_is_no_evidence() {
        let counts = Counts { ok: 8, timeout: 1, ..Counts::default() };
        assert_eq!(watch(&["errors.rate<1%"], Some(0), counts, 1), None);
        assert!(watch(&["errors.count==0"], Some(0), counts, 1).is_some());
    }

    #[test]
    fn a_workload_is_judged_by_its_own_answers() {
        let part = |ok, timeout, ns| {
            let mut hist = histogram();
            hist.saturating_record_n(ns, ok);
            let mut part = PartSums::default();
            part.hists.add(Metric::Response, &hist);
            part.counts = Counts { ok, timeout, ..Counts::default() };
            part
        };
        let parts = [part(90, 0, 1_000_000), part(80, 20, 80_000_000)];
        let failed = |threshold: &str| {
            let names = [Workload::for_tests("quick", 1.0), Workload::for_tests("slow", 1.0)];
            let config = config(&[threshold], Some(0)).mixed(names.into());
            let now = SoFar {
                elapsed_ns: 1_000_000_000,
                counts: &Counts { ok: 170, timeout: 20, ..Counts::default() },
                totals: &Hists::default(),
                parts: &parts,
                calm: None,
                violations: 0,
                token_violations: 0,
            };
            Watch::new(&config).failed(&now).is_some()
        };
        assert!(failed("acquire.response.p50{workload=slow}<50ms"));
        assert!(!failed("acquire.response.p50{workload=quick}<50ms"));
        assert!(failed("errors.rate{workload=slow}<15%") && failed("errors.rate<1%"));
        assert!(!failed("errors.rate{workload=quick}<1%"));
        assert!(failed("throughput{workload=slow}>85") && !failed("throughput>85"));
    }
}
