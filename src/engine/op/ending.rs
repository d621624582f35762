//! How an op ends: its release, and when nobody needs it any more.
//!
//! ```text
//!   released ──► its caller is done ──┐
//!      └───────► all nodes are done ──┴─► back to the pool, by whoever is the second
//! ```
//! - I1 the second of the two puts it back, once: a word of two bits says who was first.

use std::sync::atomic::Ordering;

use super::{Op, cast};
use crate::algorithm::tally::{Decision, Rule, Tally, Vote};
use crate::time::Timestamp;

/// Who is done with it: bits of one word.
const CALLER: u8 = 1;
const NODES: u8 = 2;

impl Op {
    pub(crate) fn release_tally(&self) -> Tally {
        Tally::from_word(self.release.load(Ordering::Acquire))
    }

    /// Begins the release among `nodes`: all others hold nothing of ours.
    pub(crate) fn begin_release(&self, nodes: u16) {
        let mut tally = Tally::new(self.nodes(), self.quorum(), 0);
        for node in (0..self.nodes()).filter(|node| nodes & (1 << node) == 0) {
            tally = tally.apply(node, Vote::NotSent, Rule::Gone).map_or(tally, |next| next.0);
        }
        self.release.store(tally.word(), Ordering::Release);
    }

    /// Counts a vote on the release.
    pub(crate) fn vote_release(&self, node: usize, vote: Vote) {
        if self.count_release(node, vote) {
            self.waker.wake();
        }
    }

    /// As [`Op::vote_release`], but whoever waits is the caller's to wake. `true`: it is decided.
    pub(crate) fn count_release(&self, node: usize, vote: Vote) -> bool {
        cast(&self.release, node, vote, Rule::Gone, None).is_some_and(Decision::is_final)
    }

    /// A release is owed for its keys, until they must have expired at `until`.
    pub(crate) fn owe_until(&self, until: Timestamp) {
        self.owed_until.fetch_max(until.as_nanos(), Ordering::AcqRel);
    }

    pub(crate) fn owed_until(&self) -> Timestamp {
        Timestamp::from_nanos(self.owed_until.load(Ordering::Acquire))
    }

    /// Its caller has let go of it. `true`: it goes back to the pool (I1).
    pub(crate) fn caller_is_done(&self) -> bool {
        self.done.fetch_or(CALLER, Ordering::AcqRel) == NODES
    }

    /// A node has answered its release. `true`: it was the last, and the op goes back to the pool
    /// (I1). What another node may still have of it, [`Arc::get_mut`](std::sync::Arc) finds out.
    pub(crate) fn nodes_are_done(&self) -> bool {
        self.release_tally().pending() == 0 && self.done.fetch_or(NODES, Ordering::AcqRel) == CALLER
    }
}
