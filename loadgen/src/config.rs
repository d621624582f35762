//! A run's resolved settings: what the parent hands to its worker processes and writes into
//! `result.json`. Times are nanoseconds; nothing here is optional by accident.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::args::preset::Preset;
use crate::clock::{NS_PER_MS, NS_PER_S};
use crate::cluster::Persist;
use crate::mode::Mode;
use crate::thresholds::Threshold;
use crate::values::{Arrival, Hold, KeyDist, Rate, Stage, TimeUnit};
use crate::workload::Workload;

/// Which lock is put under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BackendKind {
    /// redlatch itself.
    Engine,
    /// A lock inside the process: the floor of the generator. Every process has names of its own.
    Noop,
    /// Grants every tenth contended request although the lock is held; the verdict must say so.
    Broken,
    /// Every tenth lock is of another kind than was asked for: a reader instead of a writer, one
    /// name instead of all, a path without its ancestors, a permit too many.
    BrokenModes,
    /// Excludes properly, but every tenth grant repeats the fencing token of the one before.
    BrokenTokens,
    /// Constant service of 100 us and one stall of a tenth of the run: a known answer.
    Stall,
    /// As noop, but the pacer sleeps 5 ms too long every time: the run must say so.
    Late,
}

/// `--batch-gather`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Gather {
    Adaptive,
    Always,
    Off,
}

/// `--waiting`: how a process waits for a lock that another one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Waiting {
    // In order of arrival, by a queue on the nodes.
    Queue,
    // The nodes tell of a release, and whoever is first has the lock.
    Race,
    // Attempts with pauses between them.
    Backoff,
}

impl Waiting {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Race => "race",
            Self::Backoff => "backoff",
        }
    }
}

/// The knobs of the engine that a run can turn; `None` keeps the engine's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EngineKnobs {
    pub(crate) batch_max_commands: Option<u32>,
    pub(crate) batch_max_bytes: Option<u32>,
    pub(crate) batch_gather: Option<Gather>,
    pub(crate) batch_gather_min_inflight: Option<u32>,
    pub(crate) max_inflight: Option<u32>,
    pub(crate) node_timeout_ns: Option<u64>,
    /// Bound of the first pause between two attempts, and what it doubles to at most.
    pub(crate) retry_base_ns: Option<u64>,
    pub(crate) retry_cap_ns: Option<u64>,
}

/// Everything a worker process needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunConfig {
    pub(crate) name: String,
    /// What the user tells this run apart by.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// What the rest was set by, where it was not set otherwise.
    pub(crate) preset: Option<Preset>,
    pub(crate) backend: BackendKind,
    pub(crate) nodes: Vec<String>,
    /// What spawned nodes keep on disk.
    #[serde(default)]
    pub(crate) persist: Persist,
    pub(crate) clients: u32,
    pub(crate) threads: u32,
    pub(crate) processes: u32,
    /// With stages, the highest of theirs.
    pub(crate) rate: Rate,
    /// From 0, the rate goes in a straight line to each stage's in turn; the last one's then
    /// stays. Empty: the rate is the same all the time.
    #[serde(default)]
    pub(crate) stages: Vec<Stage>,
    pub(crate) arrival: Arrival,
    /// After a stall, missed arrivals are made up for at most at so many times the rate; `None`:
    /// at once.
    #[serde(default)]
    pub(crate) catch_up: Option<f64>,
    pub(crate) duration_ns: u64,
    pub(crate) warmup_ns: u64,
    pub(crate) requests: Option<u64>,
    pub(crate) max_in_flight: u32,
    /// A load beyond what the locks can serve is meant.
    #[serde(default)]
    pub(crate) allow_overload: bool,
    pub(crate) seed: u64,
    pub(crate) keys: u32,
    pub(crate) key_dist: KeyDist,
    pub(crate) key_prefix: String,
    pub(crate) mode: Mode,
    pub(crate) ttl_ns: u64,
    pub(crate) max_ttl_ns: u64,
    pub(crate) hold: Hold,
    pub(crate) think_ns: u64,
    pub(crate) wait_ns: u64,
    pub(crate) try_only: bool,
    pub(crate) waiting: Waiting,
    pub(crate) fenced: bool,
    /// Of a mix, in the order of reports; what a workload has is then above that of the first.
    /// Empty: a run of one workload.
    #[serde(default)]
    pub(crate) workloads: Vec<Workload>,
    pub(crate) interval_ns: u64,
    pub(crate) percentiles: Vec<f64>,
    #[serde(default)]
    pub(crate) time_unit: TimeUnit,
    pub(crate) faults: Vec<String>,
    #[serde(default)]
    pub(crate) thresholds: Vec<Threshold>,
    /// A threshold that fails after so much of the measured time ends the run; `None`: only those
    /// that say so themselves do.
    #[serde(default)]
    pub(crate) abort_on_fail_ns: Option<u64>,
    /// What is kept for a later check.
    #[serde(default)]
    pub(crate) history: crate::history::Keep,
    /// A violation counts also where the faults break what quorum locks assume.
    #[serde(default)]
    pub(crate) strict: bool,
    /// The nodes are looked at from outside, whether they hold what the library says.
    #[serde(default)]
    pub(crate) witness: bool,
    pub(crate) engine: EngineKnobs,
}

impl RunConfig {
    pub(crate) fn is_open_loop(&self) -> bool {
        matches!(self.rate, Rate::PerSecond(_))
    }

    /// The arrivals per second asked for, `None` in a closed loop.
    pub(crate) fn rate_per_s(&self) -> Option<f64> {
        match self.rate {
            Rate::Max => None,
            Rate::PerSecond(rate) => Some(rate),
        }
    }

    /// How many of the clients `process` runs: client `c` lives in process `c % processes`.
    pub(crate) fn clients_of(&self, process: u32) -> impl Iterator<Item = u32> + use<> {
        (process..self.clients).step_by(usize::try_from(self.processes.max(1)).unwrap_or(1))
    }

    /// Locks that exclude only inside one process need names of their own per process.
    pub(crate) fn private_keys(&self) -> bool {
        let shared = [BackendKind::Engine, BackendKind::Broken];
        !shared.contains(&self.backend) && self.processes > 1
    }

    /// Names that can be locked: more than `keys` where these are the leaves of a tree.
    pub(crate) fn names(&self) -> u64 {
        self.spaces().cells()
    }

    /// How often the checker has all names: once per process where each has names of its own.
    pub(crate) fn name_sets(&self) -> u64 {
        u64::from(if self.private_keys() { self.processes } else { 1 })
    }

    /// Cells the checker needs.
    pub(crate) fn checked_keys(&self) -> u64 {
        self.names() * self.name_sets()
    }

    /// The words in which the checker notes who is in a name, where these can be many.
    pub(crate) fn crowd_words(&self) -> u64 {
        let crowded = self.spaces().crowded_cells() * self.name_sets();
        crowded.saturating_mul(self.clients.into())
    }

    /// Measured intervals of [`crate::recorder::TICK_NS`] in a full run.
    pub(crate) fn ticks(&self) -> u32 {
        crate::num::u32_of(self.duration_ns.div_ceil(crate::recorder::TICK_NS))
    }

    /// Time a run waits, after its last arrival, for sections that are under way.
    pub(crate) fn grace_ns(&self) -> u64 {
        self.longest_wait_ns().clamp(500 * NS_PER_MS, 2 * NS_PER_S)
    }

    /// Settings of a small closed-loop run without nodes.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            name: "test".to_owned(),
            labels: BTreeMap::new(),
            preset: None,
            backend: BackendKind::Noop,
            nodes: Vec::new(),
            persist: Persist::None,
            clients: 4,
            threads: 1,
            processes: 1,
            rate: Rate::Max,
            stages: Vec::new(),
            arrival: Arrival::Constant,
            catch_up: None,
            duration_ns: 300_000_000,
            warmup_ns: 0,
            requests: None,
            max_in_flight: 1_000,
            allow_overload: false,
            seed: 1,
            keys: 8,
            key_dist: KeyDist::Uniform,
            key_prefix: "lg:".to_owned(),
            mode: Mode::Mutex,
            ttl_ns: 10_000_000_000,
            max_ttl_ns: 10_000_000_000,
            hold: Hold::Fixed(0),
            think_ns: 0,
            wait_ns: 1_000_000_000,
            try_only: false,
            waiting: Waiting::Queue,
            fenced: false,
            workloads: Vec::new(),
            interval_ns: 1_000_000_000,
            percentiles: vec![50.0, 99.0],
            time_unit: TimeUnit::Auto,
            faults: Vec::new(),
            thresholds: Vec::new(),
            abort_on_fail_ns: None,
            history: crate::history::Keep::None,
            strict: false,
            witness: false,
            engine: EngineKnobs::default(),
        }
    }
}
