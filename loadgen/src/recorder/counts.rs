//! What happened, by count.

use serde::{Deserialize, Serialize};

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
    /// Of a workload of an open loop: arrivals that were handed over.
    pub(crate) handed_over: u64,
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
        self.handed_over += more.handed_over;
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
