//! What a run leaves behind: one [`RunResult`], and the writers that put it into text, JSON and
//! histogram files.

pub(crate) mod censored;
pub(crate) mod command;
pub(crate) mod contention;
pub(crate) mod cost;
mod events;
pub(crate) mod faults;
mod figures;
pub(crate) mod format;
pub(crate) mod hgrm;
pub(crate) mod hlog;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod machine;
mod markdown;
pub(crate) mod rows;
mod svg;
pub(crate) mod tabular;
pub(crate) mod text;
pub(crate) mod totals;
pub(crate) mod words;
pub(crate) mod workloads;

use serde::{Deserialize, Serialize};

use crate::calibration::Calibration;
use crate::calibration::overload::Hottest;
use crate::cluster::probe::NodeFacts;
use crate::collect::heat::HeatMap;
use crate::collect::{Collector, Hists, Row};
use crate::config::RunConfig;
use crate::document::NodeSeries;
use crate::driver::NodeNews;
use crate::num;
use crate::oracle::judge::Findings;
use crate::recorder::{Counts, Hist, Metric};
use crate::thresholds::Checked;
use crate::verdict::Verdict;
use crate::witness::report::WitnessReport;
use contention::{Contention, Fairness};
use cost::{Cost, ServerShare};
use faults::FaultReport;
use machine::Machine;
use totals::PartResult;

/// Where the load went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetAbout {
    /// For people: `redis 7.0.15`, `test node`, `given nodes`.
    pub(crate) server: String,
    /// The nodes are the library's own test nodes, not a real server.
    pub(crate) test_node: bool,
    /// Spawned by this run.
    pub(crate) spawned: bool,
    pub(crate) transport: String,
}

/// What was seen of one node, over all processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeReport {
    /// From 1, as people count.
    pub(crate) id: usize,
    pub(crate) url: String,
    pub(crate) state: String,
    pub(crate) up: bool,
    pub(crate) commands: u64,
    pub(crate) writes: u64,
    pub(crate) reconnects: u64,
    pub(crate) timeouts: u64,
    /// Epochs seen, at most of any process: one more than the times it may have forgotten locks.
    pub(crate) epochs: u64,
    /// How much longer its votes do not count, at the end of the run.
    pub(crate) quarantine_ns: Option<u64>,
    pub(crate) rtt_p50_ns: Option<u64>,
    pub(crate) rtt_p99_ns: Option<u64>,
    /// By the server's own counters.
    pub(crate) server: Option<ServerShare>,
}

/// What the generator did itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quality {
    pub(crate) cpu_pct: f64,
    /// Of one thread each, over all processes: 100 % is `threads * processes` cores.
    pub(crate) cpu_share: f64,
    /// Of the busiest worker thread: the share of the measured time that it was on a CPU.
    pub(crate) busiest_worker: Option<f64>,
    pub(crate) mean_burst: Option<f64>,
    /// What the load asks of its busiest name; `None` where nothing can fall behind.
    pub(crate) hottest: Option<Hottest>,
    pub(crate) agents_lost: Vec<String>,
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct RunResult {
    pub(crate) config: RunConfig,
    pub(crate) argv: Vec<String>,
    pub(crate) started_wall_ns: u64,
    pub(crate) measured_ns: u64,
    /// How long the measured time lasted in the end; shorter than planned after an interrupt.
    pub(crate) lasted_ns: u64,
    pub(crate) plan_hash: String,
    pub(crate) interrupted: bool,
    pub(crate) about: TargetAbout,
    pub(crate) totals: Hists,
    /// Of a mix, in the order of its workloads.
    pub(crate) workloads: Vec<PartResult>,
    /// Of the measured time.
    pub(crate) counts: Counts,
    /// With what finished after it.
    pub(crate) all_counts: Counts,
    pub(crate) offered: u64,
    pub(crate) unfinished: u64,
    pub(crate) not_started: u64,
    pub(crate) oldest_unfinished_ns: u64,
    pub(crate) rows: Vec<Row>,
    pub(crate) nodes: Vec<NodeReport>,
    pub(crate) cost: Cost,
    pub(crate) faults: Vec<FaultReport>,
    pub(crate) contention: Contention,
    pub(crate) fairness: Fairness,
    pub(crate) findings: Findings,
    /// Where one was asked for; its verdict is the run's.
    pub(crate) witness: Option<WitnessReport>,
    pub(crate) quality: Quality,
    pub(crate) calibration: Calibration,
    pub(crate) failure_texts: Vec<String>,
    pub(crate) thresholds: Vec<Checked>,
    pub(crate) verdict: Verdict,
    pub(crate) timeline: Timeline,
    pub(crate) machine: Machine,
    pub(crate) dir: std::path::PathBuf,
    /// `scenario.toml` is among the files in `dir`.
    pub(crate) has_scenario: bool,
}

/// What figures over time are drawn from, beside the rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    pub(crate) heat: HeatMap,
    pub(crate) nodes: NodeSeries,
    /// Of one process, in the order of time.
    pub(crate) news: Vec<NodeNews>,
    /// Per fault, begin and end of the longest time without a grant that overlaps it.
    pub(crate) gaps: Vec<(u64, u64)>,
    pub(crate) node_facts: Vec<Option<NodeFacts>>,
}

impl RunResult {
    pub(crate) fn lasted_s(&self) -> f64 {
        self.lasted_ns as f64 / crate::clock::NS_PER_S as f64
    }

    /// Answers per second within the measured time.
    pub(crate) fn achieved_rate(&self) -> f64 {
        if self.lasted_ns == 0 { 0.0 } else { self.counts.finished() as f64 / self.lasted_s() }
    }

    /// Recorded acquisitions that took a token and that nobody else was in the way of.
    pub(crate) fn uncontended(&self) -> u64 {
        let of = |hists: &Hists| hists.get(Metric::Uncontended).map_or(0, Hist::len);
        if !self.config.is_mix() {
            return of(&self.totals);
        }
        let parts = self.workloads.iter().zip(&self.config.workloads);
        parts.filter(|(_, workload)| workload.fenced).map(|(part, _)| of(&part.hists)).sum()
    }

    /// Of a fenced run: the share of these that had their token after one round trip.
    pub(crate) fn one_trip_share(&self) -> Option<f64> {
        let all = self.uncontended();
        let once = all.saturating_sub(self.all_counts.raised);
        (self.config.is_fenced() && all > 0).then(|| num::share(once, all))
    }

    /// The mean number of attempts of a contended acquisition.
    pub(crate) fn mean_attempts(&self) -> Option<f64> {
        self.totals.get(Metric::Attempts).map(|hist| hist.mean())
    }
}

/// Nodes as all processes saw them: counts add up, round trips are the slowest process's.
pub(crate) fn nodes(
    collector: &Collector,
    urls: &[String],
    servers: &[Option<ServerShare>],
) -> Vec<NodeReport> {
    let mut nodes: Vec<NodeReport> = Vec::new();
    for (_, last) in &collector.finals {
        for (at, sample) in last.nodes.iter().enumerate() {
            if nodes.len() <= at {
                let url = urls.get(at).unwrap_or(&sample.endpoint).clone();
                let (id, server) = (at + 1, servers.get(at).copied().flatten());
                nodes.push(NodeReport { id, url, up: true, server, ..NodeReport::default() });
            }
            let Some(node) = nodes.get_mut(at) else { continue };
            node.up &= sample.up;
            if node.state.is_empty() || !sample.up {
                node.state.clone_from(&sample.state);
            }
            node.commands += sample.commands;
            node.writes += sample.writes;
            node.reconnects += sample.reconnects;
            node.timeouts += sample.timeouts;
            node.epochs = node.epochs.max(sample.epochs);
            node.quarantine_ns = node.quarantine_ns.max(sample.quarantine_ns);
            node.rtt_p50_ns = node.rtt_p50_ns.max(sample.rtt_p50_ns);
            node.rtt_p99_ns = node.rtt_p99_ns.max(sample.rtt_p99_ns);
        }
    }
    nodes
}
