//! `result.json`, schema `loadgen.result/1`: what a run leaves for every later reader.
//!
//! Integers are ns; what is not known is `null`, never NaN or 0. Everything here is read back as it
//! was written, histograms included.
//!
//! Compatible growth: a new field is an `Option`, or has a default, so that older results can still
//! be read; a change of meaning is a new schema.

pub(crate) mod base64;
mod read;
mod timeline;
mod workload;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calibration::Calibration;
use crate::calibration::overload::Hottest;
use crate::cluster::probe::NodeFacts;
use crate::collect::heat::HeatMap;
use crate::config::RunConfig;
use crate::mode::Class;
use crate::recorder::{Hist, Metric};
use crate::report::contention::{Contention, Fairness};
use crate::report::cost::Cost;
use crate::report::faults::FaultReport;
use crate::report::machine::Machine;
use crate::report::{NodeReport, TargetAbout};
use crate::thresholds::Checked;
use crate::verdict::{Outcome, Safety};
use crate::witness::report::WitnessReport;

pub(crate) use read::load;
pub(crate) use timeline::{Event, MOST_EVENTS, State, What};
pub(crate) use workload::WorkloadReport;

/// What [`Document::schema`] says.
pub(crate) const SCHEMA: &str = "loadgen.result/1";

/// A finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) schema: String,
    pub(crate) run: Run,
    pub(crate) config: RunConfig,
    /// The lock mode in the words of `--mode`.
    pub(crate) mode: String,
    pub(crate) environment: Environment,
    pub(crate) totals: Totals,
    /// By metric name; `null` where nothing was recorded.
    pub(crate) latency_ns: BTreeMap<String, Option<Latency>>,
    /// Of a mix; empty for a run of one workload.
    #[serde(default)]
    pub(crate) workloads: Vec<WorkloadReport>,
    pub(crate) attempts: Attempts,
    pub(crate) contention: Contention,
    pub(crate) fairness: Fairness,
    pub(crate) series: Series,
    /// Responses by time and by length.
    #[serde(default)]
    pub(crate) heatmap: Option<HeatMap>,
    /// By time.
    #[serde(default)]
    pub(crate) events: Vec<Event>,
    /// Events beyond the bound of the list.
    #[serde(default)]
    pub(crate) events_left_out: u64,
    pub(crate) nodes: Vec<NodeReport>,
    pub(crate) cost_per_acquisition: Cost,
    pub(crate) faults: Vec<FaultReport>,
    pub(crate) safety: SafetyReport,
    /// `null` unless the run was fenced.
    pub(crate) fencing: Option<Fencing>,
    /// `null` unless the nodes were looked at.
    #[serde(default)]
    pub(crate) witness: Option<WitnessReport>,
    pub(crate) quality: QualityReport,
    #[serde(default)]
    pub(crate) thresholds: Vec<Checked>,
    pub(crate) verdict: VerdictReport,
    /// Of a result that was merged from several machines': each one's part.
    #[serde(default)]
    pub(crate) machines: Vec<crate::merge::Part>,
}

/// Which run this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The name of its directory.
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    /// `--label`.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) started_at: String,
    /// The start of the measured time on the machine's own clock.
    pub(crate) monotonic_start_ns: u64,
    pub(crate) duration_ns: u64,
    pub(crate) warmup_ns: u64,
    pub(crate) seed: u64,
    pub(crate) plan_hash: String,
    pub(crate) argv: Vec<String>,
    pub(crate) interrupted: bool,
}

/// Where it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Environment {
    pub(crate) loadgen: String,
    pub(crate) profile: String,
    pub(crate) os: Option<String>,
    pub(crate) cores: Option<usize>,
    /// At the end of the run.
    pub(crate) loadavg: Option<String>,
    /// Of this process, just before the run.
    #[serde(default)]
    pub(crate) calibration: Option<Calibration>,
    pub(crate) target: TargetAbout,
    #[serde(flatten)]
    pub(crate) machine: Machine,
    /// What each node says of itself; `null` where it did not answer after the run.
    #[serde(default)]
    pub(crate) nodes: Vec<Option<NodeFacts>>,
}

/// What was asked for and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) offered: u64,
    pub(crate) ok: u64,
    pub(crate) ok_in_time: u64,
    pub(crate) unfinished: u64,
    pub(crate) not_started: u64,
    pub(crate) oldest_unfinished_ns: u64,
    pub(crate) errors: Errors,
    pub(crate) release_unconfirmed: u64,
    pub(crate) saturated: u64,
    pub(crate) offered_rate: Option<f64>,
    pub(crate) achieved_rate: Option<f64>,
    pub(crate) ok_rate: Option<f64>,
    pub(crate) failure_texts: Vec<String>,
}

/// Acquisitions that failed, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Errors {
    pub(crate) timeout: u64,
    pub(crate) no_quorum: u64,
    pub(crate) quarantined: u64,
    /// A refusal under `--try`: an answer, not a failure.
    pub(crate) busy: u64,
    /// Granted, and lost before the release.
    pub(crate) lost: u64,
    pub(crate) other: u64,
}

impl Errors {
    /// Acquisitions that failed: all but a refusal, which is an answer, and what was granted first.
    pub(crate) const fn failed(&self) -> u64 {
        self.timeout + self.no_quorum + self.quarantined + self.other
    }
}

/// One histogram; `sum` is exact to the histogram's buckets, as `mean` is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) min: u64,
    pub(crate) mean: Option<f64>,
    pub(crate) stddev: Option<f64>,
    pub(crate) sum: Option<f64>,
    pub(crate) max: u64,
    pub(crate) saturated: u64,
    pub(crate) percentiles: Vec<Percentile>,
    pub(crate) hdr_v2_deflate_b64: Option<String>,
}

/// One percentile of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentile {
    pub(crate) p: f64,
    pub(crate) ns: u64,
    /// Fewer than 10 samples lie above it.
    pub(crate) weak: bool,
    /// Only a lower bound, because of arrivals that had no answer when the run ended.
    #[serde(default)]
    pub(crate) at_least: bool,
}

/// How often acquisitions asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempts {
    pub(crate) per_acquisition: Option<f64>,
    pub(crate) contended_mean: Option<f64>,
    /// Contended acquisitions by their number of attempts.
    pub(crate) contended: Option<AttemptsOf>,
}

/// Contended acquisitions by their number of attempts, in five numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AttemptsOf {
    pub(crate) count: u64,
    pub(crate) mean: Option<f64>,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

/// Columns of equal length, one entry per interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) interval_ns: u64,
    pub(crate) t: Vec<u64>,
    pub(crate) ok: Vec<u64>,
    pub(crate) errors: Vec<u64>,
    pub(crate) in_flight: Vec<u64>,
    /// Arrivals handed over; in a closed loop, calls. Empty in results that have it not.
    #[serde(default)]
    pub(crate) started: Vec<u64>,
    /// Grants that somebody else was in the way of.
    #[serde(default)]
    pub(crate) contended: Vec<u64>,
    /// The longest stall of the machine.
    #[serde(default)]
    pub(crate) hiccup: Vec<Option<u64>>,
    #[serde(rename = "acquire.response")]
    pub(crate) response: ResponseSeries,
    /// In intervals of its own.
    #[serde(default)]
    pub(crate) nodes: NodeSeries,
}

/// What passed at every node over time; empty where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeSeries {
    /// `--interval`, or twice, four times .. as long in a run with very many.
    pub(crate) interval_ns: u64,
    /// In the order of [`Document::nodes`].
    pub(crate) by_node: Vec<NodeColumns>,
}

/// Columns of equal length, one entry per interval. Counts are of all processes together; round
/// trips are those of the slowest one, `null` where none was measured: the library takes one in 64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeColumns {
    pub(crate) commands: Vec<u64>,
    pub(crate) writes: Vec<u64>,
    pub(crate) rtt_p50: Vec<Option<u64>>,
    pub(crate) rtt_p99: Vec<Option<u64>>,
}

/// `acquire.response` per interval; `null` in intervals without an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResponseSeries {
    pub(crate) max: Vec<Option<u64>>,
    pub(crate) p50: Vec<Option<u64>>,
    pub(crate) p99: Vec<Option<u64>>,
}

/// What the checker of mutual exclusion found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SafetyReport {
    pub(crate) verdict: Safety,
    pub(crate) sections: u64,
    pub(crate) keys: u64,
    pub(crate) violation_count: u64,
    /// Some of them, with both sides.
    pub(crate) violations: Vec<Overlap>,
    pub(crate) overruns: u64,
    pub(crate) unresolved: u64,
    pub(crate) counter_exact: bool,
    pub(crate) lost_updates: u64,
    pub(crate) torn_reads: u64,
    pub(crate) unjudged_keys: u64,
}

/// Two sections that may not overlap, and did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overlap {
    pub(crate) key: String,
    pub(crate) held: HeldSpan,
    pub(crate) granted: HeldSpan,
    pub(crate) held_as: Class,
    pub(crate) granted_as: Class,
}

/// Who held a lock from when to when; instants count from the measured start and are negative in
/// the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldSpan {
    pub(crate) client: u32,
    pub(crate) process: u32,
    pub(crate) begin_ns: i64,
    pub(crate) end_ns: i64,
}

/// What the checker of fencing tokens found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fencing {
    pub(crate) verdict: Safety,
    pub(crate) checked: u64,
    pub(crate) violation_count: u64,
    pub(crate) highest_token: u64,
    pub(crate) uncontended: u64,
    pub(crate) second_round_trips: u64,
    pub(crate) one_round_trip_share: Option<f64>,
}

/// How far the generator itself can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct QualityReport {
    pub(crate) valid: bool,
    pub(crate) sched_lag_ns: Summary,
    pub(crate) hiccup_ns: Summary,
    pub(crate) hold_late_ns: Summary,
    pub(crate) cpu_pct: Option<f64>,
    pub(crate) cpu_share: Option<f64>,
    /// The share of the measured time that the busiest worker thread was on a CPU.
    #[serde(default)]
    pub(crate) busiest_worker: Option<f64>,
    pub(crate) mean_burst: Option<f64>,
    /// What the load asks of its busiest name; `null` where nothing can fall behind.
    #[serde(default)]
    pub(crate) hottest_key: Option<Hottest>,
    pub(crate) processes_lost: Vec<String>,
}

/// A histogram in three numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) p50: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) max: Option<u64>,
}

/// The outcome, with every reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerdictReport {
    pub(crate) outcome: Outcome,
    pub(crate) exit_code: u8,
    pub(crate) reasons: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl Document {
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
