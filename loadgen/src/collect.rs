//! Everything the processes of a run sent, put together: totals, intervals, and the 100 ms series
//! the fault analysis reads.
//!
//! Invariants:
//! 1. A tick of the series is final when every process still alive has sent it.
//! 2. Totals are the exact merge of all histograms, late ones included; the series and the achieved
//!    rate hold only what finished inside the measured time.

pub(crate) mod heat;
pub(crate) mod nodes;
pub(crate) mod parts;

use std::collections::BTreeMap;

use crate::agent::Message;
use crate::backend::{NodeLook, NodePassed};
use crate::config::RunConfig;
use crate::driver::{Event, Final, NodeNews, Tick};
use crate::recorder::{Counts, Hist, Metric, TICK_NS, histogram, merge};
use crate::thresholds::Calm;
use heat::Heat;
use nodes::NodeTimes;
use parts::PartSums;

/// Changes at nodes that are kept for drawing; more is a node that never settles.
const MOST_NEWS: usize = 1_000;

/// Histograms by metric; metrics without samples are absent.
#[derive(Debug, Default)]
pub(crate) struct Hists(BTreeMap<Metric, Hist>);

impl Hists {
    pub(crate) fn add(&mut self, metric: Metric, hist: &Hist) {
        merge(self.0.entry(metric).or_insert_with(histogram), hist);
    }

    pub(crate) fn get(&self, metric: Metric) -> Option<&Hist> {
        self.0.get(&metric)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Metric, &Hist)> {
        self.0.iter().map(|(metric, hist)| (*metric, hist))
    }

    fn drain_into(&mut self, all: &mut Self) -> Self {
        for (metric, hist) in self.iter() {
            all.add(metric, hist);
        }
        std::mem::take(self)
    }

    /// The value at percentile `p`, `None` without samples.
    pub(crate) fn at(&self, metric: Metric, p: f64) -> Option<u64> {
        self.get(metric).filter(|hist| !hist.is_empty()).map(|hist| hist.value_at_percentile(p))
    }
}

/// One 100 ms interval of the series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) counts: Counts,
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
    pub(crate) max_ns: Option<u64>,
    pub(crate) in_flight: u64,
    /// Arrivals that clients took or that wait for one; in a closed loop, calls.
    pub(crate) started: u64,
    /// Grants that somebody else was in the way of.
    pub(crate) contended: u64,
    /// The longest stall of the machine.
    pub(crate) hiccup_ns: Option<u64>,
}

/// One interval of `--interval`.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) from_ns: u64,
    pub(crate) length_ns: u64,
    pub(crate) counts: Counts,
    pub(crate) in_flight: u64,
    pub(crate) hists: Hists,
}

#[derive(Debug, Default)]
struct Pending {
    from: Vec<u32>,
    hists: Hists,
    counts: Counts,
    in_flight: u64,
    started: u64,
}

/// Gathers a run.
#[derive(Debug)]
pub(crate) struct Collector {
    ticks_per_interval: u64,
    duration_ns: u64,
    alive: Vec<u32>,
    ready: Vec<u32>,
    /// What the tokens of each process begin with, where that is known.
    pub(crate) owners: BTreeMap<u32, String>,
    pending: BTreeMap<u32, Pending>,
    current: Hists,
    current_counts: Counts,
    intervals_done: u64,
    late: Hists,
    pub(crate) late_counts: Counts,
    pub(crate) totals: Hists,
    /// Of each workload of a mix.
    pub(crate) parts: Vec<PartSums>,
    /// Of the measured time alone.
    pub(crate) counts: Counts,
    pub(crate) rows: Vec<Row>,
    pub(crate) heat: Heat,
    pub(crate) node_times: NodeTimes,
    /// What a process saw at the nodes, until the tick that it belongs to.
    passed: BTreeMap<u32, Vec<NodePassed>>,
    /// Responses outside faults.
    pub(crate) calm: Calm,
    pub(crate) news: Vec<NodeNews>,
    /// What the nodes look like by the last interval.
    pub(crate) looks: Vec<NodeLook>,
    /// What the first process noticed: the same as the others, once.
    pub(crate) first_news: Vec<NodeNews>,
    pub(crate) finals: Vec<(u32, Final)>,
    /// Arrivals that each process has told of.
    started: BTreeMap<u32, u64>,
    /// Processes that a fault ended, and the arrivals that they had told of until then.
    pub(crate) killed: Vec<(u32, u64)>,
    /// Processes that failed or ended early, and why.
    pub(crate) trouble: Vec<String>,
}

impl Collector {
    pub(crate) fn new(config: &RunConfig) -> Self {
        Self {
            ticks_per_interval: (config.interval_ns / TICK_NS).max(1),
            duration_ns: config.duration_ns,
            alive: (0..config.processes).collect(),
            ready: Vec::new(),
            owners: BTreeMap::new(),
            pending: BTreeMap::new(),
            current: Hists::default(),
            current_counts: Counts::default(),
            intervals_done: 0,
            late: Hists::default(),
            late_counts: Counts::default(),
            totals: Hists::default(),
            parts: config.workloads.iter().map(|_| PartSums::default()).collect(),
            counts: Counts::default(),
            rows: Vec::new(),
            heat: Heat::default(),
            node_times: NodeTimes::new((config.interval_ns / TICK_NS).max(1)),
            passed: BTreeMap::new(),
            calm: Calm::new(config),
            news: Vec::new(),
            looks: Vec::new(),
            first_news: Vec::new(),
            finals: Vec::new(),
            started: BTreeMap::new(),
            killed: Vec::new(),
            trouble: Vec::new(),
        }
    }

    /// Every process that lives is connected.
    pub(crate) fn all_ready(&self) -> bool {
        self.alive.iter().all(|process| self.ready.contains(process))
    }

    /// No process will send anything more.
    pub(crate) fn all_done(&self) -> bool {
        self.alive.is_empty()
    }

    /// Takes a message in; intervals that it completed come back.
    pub(crate) fn take(&mut self, message: Message) -> Vec<Interval> {
        match message {
            Message::Interrupted => {}
            Message::From(process, Event::Ready(owner)) => {
                self.ready.push(process);
                self.owners.extend(owner.map(|owner| (process, owner)));
            }
            Message::From(process, Event::Tick(tick)) => self.tick(process, tick),
            Message::From(process, Event::Nodes(news)) => {
                let room = MOST_NEWS.saturating_sub(self.first_news.len());
                let first = news.iter().take(if process == 0 { room } else { 0 });
                self.first_news.extend(first.cloned());
                self.news.extend(news);
            }
            Message::From(process, Event::Looks(looks)) => {
                self.passed.insert(process, looks.iter().map(|look| look.since).collect());
                // All see the same nodes; one is enough.
                if self.alive.first() == Some(&process) {
                    self.looks = looks;
                }
            }
            Message::From(process, Event::Final(last)) => {
                self.finals.push((process, *last));
                self.alive.retain(|&alive| alive != process);
            }
            Message::From(process, Event::Failed(text)) => {
                self.trouble.push(text);
                self.alive.retain(|&alive| alive != process);
            }
            Message::Killed(process) => {
                self.alive.retain(|&alive| alive != process);
                let started = self.started.remove(&process).unwrap_or(0);
                self.killed.push((process, started));
            }
            Message::Gone(process, why) => {
                if self.alive.contains(&process) {
                    self.trouble.push(format!("process {process} is gone: {why}"));
                    self.alive.retain(|&alive| alive != process);
                }
            }
        }
        self.advance()
    }

    fn tick(&mut self, process: u32, tick: Tick) {
        let passed = self.passed.remove(&process);
        PartSums::take(&mut self.parts, &tick.snapshot, tick.index.is_none());
        let Some(index) = tick.index else {
            self.late_counts.add(&tick.snapshot.counts);
            for (metric, hist) in &tick.snapshot.hists {
                self.late.add(*metric, hist);
            }
            return;
        };
        if let Some(passed) = passed {
            self.node_times.add(usize::try_from(index).unwrap_or(usize::MAX), &passed);
        }
        *self.started.entry(process).or_default() += tick.started;
        let pending = self.pending.entry(index).or_default();
        pending.from.push(process);
        pending.counts.add(&tick.snapshot.counts);
        pending.in_flight += tick.in_flight;
        pending.started += tick.started;
        for (metric, hist) in &tick.snapshot.hists {
            pending.hists.add(*metric, hist);
        }
    }

    fn advance(&mut self) -> Vec<Interval> {
        let mut done = Vec::new();
        while let Some(entry) = self.pending.first_entry() {
            let complete = self.alive.iter().all(|process| {
                let sent = entry.get().from.contains(process);
                sent || self.finals.iter().any(|(ended, _)| ended == process)
            });
            if !complete {
                break;
            }
            let (index, pending) = entry.remove_entry();
            done.extend(self.close(index, pending));
        }
        done
    }

    fn close(&mut self, index: u32, pending: Pending) -> Option<Interval> {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        while self.rows.len() < at {
            self.heat.add(self.rows.len(), None);
            self.rows.push(Row::default());
        }
        let responses = pending.hists.get(Metric::Response);
        self.heat.add(at, responses);
        self.calm.take(index, responses);
        let value = |p| pending.hists.at(Metric::Response, p);
        self.rows.push(Row {
            counts: pending.counts,
            p50_ns: value(50.0),
            p99_ns: value(99.0),
            max_ns: responses.map(Hist::max),
            in_flight: pending.in_flight,
            started: pending.started,
            contended: pending.hists.get(Metric::Contended).map_or(0, Hist::len),
            hiccup_ns: pending.hists.get(Metric::Hiccup).map(Hist::max),
        });
        self.counts.add(&pending.counts);
        self.current_counts.add(&pending.counts);
        for (metric, hist) in pending.hists.iter() {
            self.current.add(metric, hist);
        }
        let rows = self.rows.len() as u64;
        let ends =
            rows.is_multiple_of(self.ticks_per_interval) || rows * TICK_NS >= self.duration_ns;
        ends.then(|| self.close_interval(pending.in_flight))
    }

    fn close_interval(&mut self, in_flight: u64) -> Interval {
        let from_ns = self.intervals_done * TICK_NS;
        let to_ns = (self.rows.len() as u64 * TICK_NS).min(self.duration_ns.max(from_ns));
        self.intervals_done = self.rows.len() as u64;
        Interval {
            from_ns,
            length_ns: to_ns - from_ns,
            counts: std::mem::take(&mut self.current_counts),
            in_flight,
            hists: self.current.drain_into(&mut self.totals),
        }
    }

    /// The rest, when every process is done: an interval that was cut short, then what came late.
    pub(crate) fn finish(&mut self) -> Vec<Interval> {
        let mut rest = self.advance();
        self.calm.decide();
        if self.intervals_done < self.rows.len() as u64 {
            rest.push(self.close_interval(0));
        }
        let counts = self.late_counts;
        if counts != Counts::default() || self.late.iter().next().is_some() {
            let from_ns = self.rows.len() as u64 * TICK_NS;
            let hists = self.late.drain_into(&mut self.totals);
            rest.push(Interval { from_ns, length_ns: TICK_NS, counts, in_flight: 0, hists });
        }
        self.news.sort_by_key(|news| news.at_ns);
        rest
    }

    /// Responses that came after the measured time.
    pub(crate) fn late_responses(&self) -> u64 {
        let inside: u64 = self.heat.total();
        self.totals.get(Metric::Response).map_or(0, Hist::len).saturating_sub(inside)
    }

    /// Counts of the whole run, what finished late included.
    pub(crate) fn all_counts(&self) -> Counts {
        let mut all = self.counts;
        all.add(&self.late_counts);
        all
    }
}

#[cfg(test)]
mod tests;
