//! Where measurements go: one shard of histograms per recording thread, swapped out by the tick
//! loop, so that recording costs an uncontended lock and no allocation.
//!
//! Invariants:
//! 1. A sample is in exactly one snapshot; merging all snapshots gives all samples, bit for bit.
//! 2. Values above [`HIGHEST_NS`] are kept as that value and counted as saturated.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::NS_PER_S;

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

/// Why a section was not had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    Timeout,
    NoQuorum,
    /// Too few nodes may vote: the others may have forgotten locks.
    Quarantined,
    Busy,
    Lost,
    Other,
}

/// What happened, by count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) ok: u64,
    pub(crate) timeout: u64,
    pub(crate) no_quorum: u64,
    pub(crate) quarantined: u64,
    pub(crate) busy: u64,
    pub(crate) lost: u64,
    pub(crate) other: u64,
    /// Releases that no quorum confirmed; the lock was held properly until then.
    pub(crate) release_unconfirmed: u64,
    pub(crate) saturated: u64,
    /// Fenced acquisitions that nobody was in the way of and that took a second round trip, because
    /// the nodes had counted differently.
    pub(crate) raised: u64,
    /// Rounds in which nodes were asked, of all acquisitions, granted or not.
    pub(crate) attempts: u64,
}

impl Counts {
    pub(crate) fn fail(&mut self, kind: FailureKind) {
        *match kind {
            FailureKind::Timeout => &mut self.timeout,
            FailureKind::NoQuorum => &mut self.no_quorum,
            FailureKind::Quarantined => &mut self.quarantined,
            FailureKind::Busy => &mut self.busy,
            FailureKind::Lost => &mut self.lost,
            FailureKind::Other => &mut self.other,
        } += 1;
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.ok += more.ok;
        self.timeout += more.timeout;
        self.no_quorum += more.no_quorum;
        self.quarantined += more.quarantined;
        self.busy += more.busy;
        self.lost += more.lost;
        self.other += more.other;
        self.release_unconfirmed += more.release_unconfirmed;
        self.saturated += more.saturated;
        self.raised += more.raised;
        self.attempts += more.attempts;
    }

    /// Acquisitions that did not end with a lock. A refusal under `--try` is an answer, not an
    /// error, and a lock lost later was granted.
    pub(crate) fn errors(&self) -> u64 {
        self.timeout + self.no_quorum + self.quarantined + self.other
    }

    /// Acquisitions that were answered, one way or the other.
    pub(crate) fn finished(&self) -> u64 {
        self.ok + self.busy + self.errors()
    }
}

/// Histograms and counts of one recording thread since the last snapshot.
#[derive(Debug)]
pub(crate) struct Shard {
    hists: Vec<Hist>,
    pub(crate) counts: Counts,
}

impl Shard {
    fn new() -> Self {
        Self { hists: Metric::ALL.map(|_| histogram()).into(), counts: Counts::default() }
    }

    pub(crate) fn record(&mut self, metric: Metric, value: u64) {
        if value > HIGHEST_NS && metric != Metric::ValidityLeft {
            self.counts.saturated += 1;
        }
        if let Some(hist) = self.hists.get_mut(metric.at()) {
            hist.saturating_record(value);
        }
    }

    /// Adds samples gathered elsewhere.
    pub(crate) fn add(&mut self, metric: Metric, samples: &Hist) {
        if let Some(hist) = self.hists.get_mut(metric.at()) {
            merge(hist, samples);
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
    /// A recorder for so many threads; more than that share shards.
    pub(crate) fn new(threads: usize) -> Self {
        let shards = (0..threads.max(1)).map(|_| Mutex::new(Shard::new())).collect();
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
}

impl Snapshots {
    pub(crate) fn new() -> Self {
        Self { spare: histogram() }
    }

    /// Moves what `metrics` hold, and all counts, out of the shards.
    pub(crate) fn take(&mut self, recorder: &Recorder, metrics: &[Metric]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for shard in &recorder.shards {
            snapshot.counts.add(&std::mem::take(&mut held(shard).counts));
        }
        for &metric in metrics {
            let mut sum: Option<Hist> = None;
            for shard in &recorder.shards {
                if !self.swap_out(shard, metric) {
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
            snapshot.hists.extend(sum.map(|hist| (metric, hist)));
        }
        snapshot
    }

    /// Exchanges a shard's histogram for the empty spare one; false if it had no samples.
    fn swap_out(&mut self, shard: &Mutex<Shard>, metric: Metric) -> bool {
        let mut shard = held(shard);
        match shard.hists.get_mut(metric.at()) {
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
mod tests {
    use super::*;
    use crate::plan::rng::SplitMix;

    #[test]
    fn snapshots_of_many_threads_merge_to_all_samples_bit_for_bit() {
        let recorder = Recorder::new(3);
        let mut snapshots = Snapshots::new();
        let mut expected = histogram();
        let mut total = histogram();
        for round in 0..4 {
            std::thread::scope(|scope| {
                for thread in 0..4_u64 {
                    let recorder = &recorder;
                    scope.spawn(move || {
                        let mut rng = SplitMix::new(thread + 10 * round);
                        for _ in 0..1_000 {
                            let value = rng.next() >> 28;
                            recorder.with(|shard| shard.record(Metric::Service, value));
                        }
                    });
                }
            });
            for thread in 0..4_u64 {
                let mut rng = SplitMix::new(thread + 10 * round);
                (0..1_000).for_each(|_| expected.saturating_record(rng.next() >> 28));
            }
            for (metric, hist) in snapshots.take(&recorder, &Metric::ALL).hists {
                assert_eq!(metric, Metric::Service);
                merge(&mut total, &hist);
            }
        }
        assert_eq!(total, expected);
        assert_eq!(total.len(), 16_000);
        assert!(snapshots.take(&recorder, &Metric::ALL).hists.is_empty(), "nothing is taken twice");
    }

    #[test]
    fn values_beyond_the_range_are_kept_and_counted() {
        let recorder = Recorder::new(1);
        recorder.with(|shard| shard.record(Metric::Response, u64::MAX));
        recorder.with(|shard| shard.counts.fail(FailureKind::NoQuorum));
        let snapshot = Snapshots::new().take(&recorder, &[Metric::Response]);
        recorder.with(|shard| shard.counts.fail(FailureKind::Quarantined));
        let quarantined = Snapshots::new().take(&recorder, &[]).counts;
        assert_eq!((quarantined.quarantined, quarantined.errors()), (1, 1));
        assert_eq!(snapshot.counts.saturated, 1);
        assert_eq!((snapshot.counts.errors(), snapshot.counts.finished()), (1, 1));
        assert!(snapshot.hists[0].1.max() >= HIGHEST_NS);
    }
}
