//! The vote ledger: which nodes hold the key, and until when that can be relied on.
//!
//! DESIGN §6: per node a lower bound `e_i` of the key's expiry there, counted from just before that
//! node's bytes were written; the lease is valid until the q-th largest of them. Early grants,
//! late ones, partial extensions, top-ups and revocations all come down to these bounds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::algorithm::tally::{NODES_MAX, Phase, Tally, Vote};
use crate::algorithm::validity::quorum_expiry;
use crate::config::Drift;
use crate::engine::op::{Op, millis};
use crate::time::Timestamp;

impl Op {
    /// A node set or lengthened our key for `ttl` at `sent_at` or later: raises its bound.
    ///
    /// Redlock: `validity = ttl - elapsed - drift`, elapsed counted from before the request left.
    pub(crate) fn raise_bound(&self, node: usize, sent_at: Timestamp, ttl: Duration, ppm: u32) {
        let parts_per_million = self.drift.parts_per_million.max(ppm);
        let share = Drift { parts_per_million, ..self.drift }.share(ttl);
        self.raise_to(node, sent_at.plus(share).as_nanos());
    }

    /// As [`Op::raise_bound`], for the ttl of the attempt: for what nearly always is so, the share
    /// is known.
    pub(crate) fn raise_granted(&self, node: usize, sent_at: Timestamp, ppm: u32) {
        if ppm > self.share_ppm {
            return self.raise_bound(node, sent_at, self.ttl, ppm);
        }
        self.raise_to(node, sent_at.as_nanos().saturating_add(self.share_ns));
    }

    fn raise_to(&self, node: usize, until: u64) {
        if let Some(bound) = self.bounds.get(node) {
            bound.fetch_max(until, Ordering::AcqRel);
        }
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.acquire_tally().nodes()
    }

    /// How many of them must hold the key.
    pub(crate) fn quorum(&self) -> usize {
        self.acquire_tally().quorum()
    }

    /// A node answered that it does not hold our key. `true`: it had been counted on.
    pub(crate) fn clear_bound(&self, node: usize) -> bool {
        self.bounds.get(node).is_some_and(|bound| bound.swap(0, Ordering::AcqRel) > 0)
    }

    /// The instant up to which a quorum holds our key: the ledger's q-th largest bound.
    pub(crate) fn valid_until(&self) -> Timestamp {
        let mut bounds = [0u64; NODES_MAX];
        for (bound, atomic) in bounds.iter_mut().zip(&self.bounds).take(self.nodes()) {
            *bound = atomic.load(Ordering::Acquire);
        }
        let counted = bounds.get(..self.nodes()).unwrap_or_default();
        Timestamp::from_nanos(quorum_expiry(counted, self.quorum()))
    }

    /// Whether a quorum held our key and, by `now`, does not any more: what cannot be mended (R6).
    pub(crate) fn has_run_out(&self, now: Timestamp) -> bool {
        let (mut held, mut holding) = (0, 0);
        let quorum = self.quorum();
        for bound in self.bounds.iter().take(self.nodes()) {
            let bound = bound.load(Ordering::Acquire);
            held += usize::from(bound > 0);
            holding += usize::from(bound > now.as_nanos());
            if holding == quorum {
                return false;
            }
        }
        held >= quorum
    }

    /// Nodes that may hold our key, as far as `tally` knows: everybody but those who said no.
    pub(crate) fn holders(&self, tally: Tally) -> u16 {
        let topped_up = self.asked();
        tally.set(Vote::Granted) | tally.set(Vote::Unknown) | tally.pending() | topped_up
    }

    /// Nodes that were asked to hold the key besides the attempt's SET.
    pub(crate) fn asked(&self) -> u16 {
        self.topped_up.load(Ordering::SeqCst)
    }

    /// How long the keys are to live for a validity of `ttl`.
    pub(crate) fn key_ttl_ms(&self, ttl: Duration) -> u64 {
        millis(ttl).saturating_add(self.lock_delay_ms)
    }

    /// Nodes that count towards the validity at `now`.
    pub(crate) fn holding(&self, now: Timestamp) -> u16 {
        let counted = self.bounds.iter().take(self.nodes()).enumerate();
        let holds = |(at, bound): (usize, &AtomicU64)| {
            u16::from(bound.load(Ordering::Acquire) > now.as_nanos()) << at
        };
        counted.map(holds).fold(0, |all, one| all | one)
    }

    /// A fenced attempt's node accepted `token`; before its vote.
    pub(crate) fn note_fence(&self, node: usize, token: u64) {
        if let Some(fence) = &self.fence {
            fence.note(node, token);
        }
    }

    /// The node is about to be asked to hold the key: from here on it may. `false`: it must not,
    /// because the op is past `phases`, or a release of this token may still come there.
    ///
    /// Noted first and asked second, where whoever lets go changes the phase first and reads the
    /// notes second: in one total order (`SeqCst`) at least one of the two sees the other's.
    pub(crate) fn may_ask(&self, node: usize, phases: &[Phase]) -> bool {
        if self.is_barred(node) {
            return false;
        }
        self.topped_up.fetch_or(1 << node, Ordering::SeqCst);
        phases.contains(&Tally::from_word(self.acquire.load(Ordering::SeqCst)).phase())
    }

    /// A release of this token is owed to the node on its own account (R8): no top-up from here.
    pub(crate) fn bar(&self, node: usize) {
        self.barred.fetch_or(1 << node, Ordering::AcqRel);
    }

    pub(crate) fn is_barred(&self, node: usize) -> bool {
        self.barred.load(Ordering::Acquire) & (1 << node) != 0
    }
}
