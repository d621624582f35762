//! Where measurements go: one shard of histograms per recording thread, swapped out by the tick
//! loop, so that recording costs an uncontended lock and no allocation.
//!
//! Invariants:
//! 1. A sample is in exactly one snapshot; merging all snapshots gives all samples, bit for bit.
//! 2. Values above [`HIGHEST_NS`] are kept as that value and counted as saturated.
//! 3. In a mix, what is recorded of a section is recorded of its workload as well; so the samples
//!    of all workloads are those of the whole.

mod counts;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;

use crate::clock::NS_PER_S;
pub(crate) use counts::{Counts, FailureKind};

/// The highest value told apart from larger ones.
pub(crate) const HIGHEST_NS: u64 = 60 * NS_PER_S;
/// The grain of the internal series.
pub(crate) const TICK_NS: u64 = 100_000_000;

pub(crate) type Hist = Histogram<u64>;

/// An empty histogram: 1 ns to 60 s, 3 significant digits.
#[expect(clippy::expect_used, reason = "the bounds are constants that the crate accepts")]
pub(crate) fn histogram() -> Hist {
    Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("valid constant bounds")
}

/// What is measured. The order is that of reports and of frames between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Response,
    Service,
    Uncontended,
    Contended,
    Handoff,
    /// Those of [`Metric::Handoff`] from one process to another.
    HandoffBetween,
    Release,
    ValidityLeft,
    Failed,
    Hold,
    HoldLate,
    SchedLag,
    Hiccup,
    Attempts,
    /// Arrivals without an answer, by their ages at the end: a response takes at least that long.
    Unanswered,
}

impl Metric {
    pub(crate) const ALL: [Self; 15] = [
        Self::Response,
        Self::Service,
        Self::Uncontended,
        Self::Contended,
        Self::Handoff,
        Self::HandoffBetween,
        Self::Release,
        Self::ValidityLeft,
        Self::Failed,
        Self::Hold,
        Self::HoldLate,
        Self::SchedLag,
        Self::Hiccup,
        Self::Attempts,
        Self::Unanswered,
    ];

    /// Those kept of each workload of a mix; the others are between workloads, or of none.
    pub(crate) const OF_WORKLOAD: [Self; 8] = [
        Self::Response,
        Self::Service,
        Self::Uncontended,
        Self::Contended,
        Self::Release,
        Self::Failed,
        Self::Hold,
        Self::Unanswered,
    ];

    /// The name in files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Response => "acquire.response",
            Self::Service => "acquire.service",
            Self::Uncontended => "acquire.uncontended",
            Self::Contended => "acquire.contended",
            Self::Handoff => "handoff",
            Self::HandoffBetween => "handoff.between_processes",
            Self::Release => "release",
            Self::ValidityLeft => "validity.left",
            Self::Failed => "acquire.failed",
            Self::Hold => "hold",
            Self::HoldLate => "hold.late",
            Self::SchedLag => "sched.lag",
            Self::Hiccup => "hiccup",
            Self::Attempts => "attempts",
            Self::Unanswered => "acquire.unanswered",
        }
    }

    const fn at(self) -> usize {
        self as usize
    }
}

/// Histograms and counts of one recording thread since the last snapshot.
#[derive(Debug)]
pub(crate) struct Shard {
    /// By metric; those of workloads are made when something is recorded.
    hists: Vec<Option<Hist>>,
    pub(crate) counts: Counts,
    /// Of each workload of a mix.
    parts: Vec<Self>,
}

impl Shard {
    fn new(workloads: usize) -> Self {
        let whole = Metric::ALL.map(|_| Some(histogram()));
        // Threads times workloads is a large number.
        let part = || Self::of(Metric::ALL.map(|_| None).into(), Vec::new());
        Self::of(whole.into(), (0..workloads).map(|_| part()).collect())
    }

    fn of(hists: Vec<Option<Hist>>, parts: Vec<Self>) -> Self {
        Self { hists, counts: Counts::default(), parts }
    }

    fn hist(&mut self, metric: Metric) -> Option<&mut Hist> {
        Some(self.hists.get_mut(metric.at())?.get_or_insert_with(histogram))
    }

    pub(crate) fn record(&mut self, metric: Metric, value: u64) {
        let Some(hist) = self.hist(metric) else { return };
        hist.saturating_record(value);
        if value > HIGHEST_NS && metric != Metric::ValidityLeft {
            self.counts.saturated += 1;
        }
    }

    /// Adds samples gathered elsewhere.
    fn add(&mut self, metric: Metric, samples: &Hist) {
        if let Some(hist) = self.hist(metric) {
            merge(hist, samples);
        }
    }
}

/// A shard, for what belongs to one workload: everything goes to the whole and to the workload.
#[derive(Debug)]
pub(crate) struct Recording<'a> {
    shard: &'a mut Shard,
    workload: usize,
}

impl Recording<'_> {
    fn part(&mut self) -> Option<&mut Shard> {
        self.shard.parts.get_mut(self.workload)
    }

    /// Where `metric` is kept of the workload as well.
    fn part_with(&mut self, metric: Metric) -> Option<&mut Shard> {
        let is_mix = !self.shard.parts.is_empty();
        if is_mix && Metric::OF_WORKLOAD.contains(&metric) { self.part() } else { None }
    }

    pub(crate) fn record(&mut self, metric: Metric, value: u64) {
        self.shard.record(metric, value);
        if let Some(part) = self.part_with(metric) {
            part.record(metric, value);
        }
    }

    pub(crate) fn add(&mut self, metric: Metric, samples: &Hist) {
        self.shard.add(metric, samples);
        if let Some(part) = self.part_with(metric) {
            part.add(metric, samples);
        }
    }

    pub(crate) fn count(&mut self, change: impl Fn(&mut Counts)) {
        change(&mut self.shard.counts);
        self.count_part(change);
    }

    /// What only workloads count.
    pub(crate) fn count_part(&mut self, change: impl Fn(&mut Counts)) {
        if let Some(part) = self.part() {
            change(&mut part.counts);
        }
    }
}

thread_local! {
    static MY_SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The shards of one process.
#[derive(Debug)]
pub(crate) struct Recorder {
    shards: Vec<Mutex<Shard>>,
    given: AtomicUsize,
}

fn held(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// A recorder for so many threads, more than which share shards, and of each workload of a
    /// mix.
    pub(crate) fn new(threads: usize, workloads: usize) -> Self {
        let shards = (0..threads.max(1)).map(|_| Mutex::new(Shard::new(workloads))).collect();
        Self { shards, given: AtomicUsize::new(0) }
    }

    /// Runs `record` on this thread's shard.
    pub(crate) fn with<R>(&self, record: impl FnOnce(&mut Shard) -> R) -> Option<R> {
        let mut at = MY_SHARD.get();
        if at == usize::MAX {
            at = self.given.fetch_add(1, Ordering::Relaxed);
            MY_SHARD.set(at);
        }
        let shard = self.shards.get(at % self.shards.len().max(1))?;
        Some(record(&mut held(shard)))
    }

    /// The same, of a section of `workload`.
    pub(crate) fn with_of<R>(
        &self,
        workload: u8,
        record: impl FnOnce(&mut Recording<'_>) -> R,
    ) -> Option<R> {
        self.with(|shard| record(&mut Recording { shard, workload: workload.into() }))
    }
}

/// Takes snapshots; owns the spare histograms that are swapped in.
#[derive(Debug)]
pub(crate) struct Snapshots {
    spare: Hist,
}

/// Samples of one or more shards since the last snapshot; empty metrics are left out.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) hists: Vec<(Metric, Hist)>,
    pub(crate) counts: Counts,
    /// Of each workload of a mix.
    pub(crate) parts: Vec<Self>,
}

impl Snapshots {
    pub(crate) fn new() -> Self {
        Self { spare: histogram() }
    }

    /// Moves what `metrics` hold, of each workload what `of_parts` hold, and all counts, out of the
    /// shards.
    pub(crate) fn take(
        &mut self,
        recorder: &Recorder,
        metrics: &[Metric],
        of_parts: &[Metric],
    ) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for shard in &recorder.shards {
            // At once, so that a section that ends meanwhile is in both or in neither.
            let mut shard = held(shard);
            snapshot.counts.add(&std::mem::take(&mut shard.counts));
            snapshot.parts.resize_with(shard.parts.len(), Snapshot::default);
            for (of, part) in snapshot.parts.iter_mut().zip(&mut shard.parts) {
                of.counts.add(&std::mem::take(&mut part.counts));
            }
        }
        snapshot.hists = self.hists(recorder, metrics, |shard| Some(shard));
        for (at, of) in snapshot.parts.iter_mut().enumerate() {
            of.hists = self.hists(recorder, of_parts, |shard| shard.parts.get_mut(at));
        }
        snapshot
    }

    fn hists(
        &mut self,
        recorder: &Recorder,
        metrics: &[Metric],
        of: impl Fn(&mut Shard) -> Option<&mut Shard>,
    ) -> Vec<(Metric, Hist)> {
        let mut hists = Vec::new();
        for &metric in metrics {
            let mut sum: Option<Hist> = None;
            for shard in &recorder.shards {
                if !self.swap_out(of(&mut held(shard)), metric) {
                    continue;
                }
                match &mut sum {
                    None => sum = Some(std::mem::replace(&mut self.spare, histogram())),
                    Some(sum) => {
                        merge(sum, &self.spare);
                        self.spare.reset();
                    }
                }
            }
            hists.extend(sum.map(|hist| (metric, hist)));
        }
        hists
    }

    /// Exchanges a shard's histogram for the empty spare one; false if it had no samples.
    fn swap_out(&mut self, shard: Option<&mut Shard>, metric: Metric) -> bool {
        match shard.and_then(|shard| shard.hists.get_mut(metric.at())?.as_mut()) {
            Some(hist) if !hist.is_empty() => {
                std::mem::swap(hist, &mut self.spare);
                true
            }
            _ => false,
        }
    }
}

/// `into += from`; all histograms of the crate have the same bounds, so this cannot fail.
pub(crate) fn merge(into: &mut Hist, from: &Hist) {
    let merged = into.add(from);
    debug_assert!(merged.is_ok(), "histograms of different bounds");
}

#[cfg(test)]
mod tests;
