//! What a grant is worth, once it is known to count.

use std::sync::Arc;
use std::time::Duration;

use crate::algorithm::tally::{Decision, Phase, Vote};
use crate::engine::connection::Fault;
use crate::engine::dispatch::{Dispatch, Item, OWED_GRACE, RELOADS_MAX};
use crate::engine::node::{Owed, TopUp, count};
use crate::engine::op::Op;
use crate::engine::op::ahead::AHEAD;
use crate::engine::sealed::{Proof, Verdict};
use crate::error::Lost;
use crate::session::answer::Kind;
use crate::session::pipeline::Pipeline;
use crate::time::Timestamp;

/// What a SET that was done is answered with.
pub(crate) const OK: &[u8] = b"+OK\r\n";

impl Dispatch<'_> {
    /// What most of the answers are: that an acquisition's SET was done, one behind the other. Does
    /// with each as [`Dispatch::reply`] does, which has to ask what else it might be. How many were
    /// taken from the front of `input`.
    pub(crate) fn sets(&mut self, pipeline: &mut Pipeline<Item>, input: &[u8]) -> usize {
        // In steps of what is read ahead.
        let most = if self.ahead > 0 { self.ahead } else { AHEAD };
        let is_ok = |reply: &&[u8]| *reply == OK;
        let replies = input.chunks_exact(OK.len()).take(most).take_while(is_ok).count();
        let sets = pipeline.run(Kind::Acquire, replies);
        let Some(head) = pipeline.head().filter(|_| sets > 0) else { return 0 };
        self.answered(pipeline, head.sent_at, (sets, sets));
        pipeline.pop_run(sets, |item| {
            if self.proof == Proof::Seal {
                self.sealed.hold(item, head.sent_at);
            } else {
                self.granted(item, head.sent_at);
            }
        });
        sets
    }

    /// R1: the seal of the write at the head has come. Its grants count, or are taken back.
    pub(super) fn unseal(&mut self, is_cached: bool) -> Result<(), Fault> {
        let verdict = self.sealed.verdict(is_cached);
        while let Some((item, sent_at)) = self.sealed.pop() {
            if verdict == Verdict::Intact {
                self.granted(item, sent_at);
            } else {
                self.void(item);
            }
        }
        if verdict != Verdict::Intact {
            count(&self.node.counters.seals_broken, 1);
        }
        match verdict {
            Verdict::Intact => {
                *self.reloads_left = RELOADS_MAX;
                Ok(())
            }
            Verdict::OtherEpoch => Err(Fault::epoch()),
            Verdict::NoScript => self.begin_reload(),
        }
    }

    /// R1': the heartbeat has looked at the epoch, and had it tracked anew.
    pub(super) fn looked(&self, id: &[u8]) -> Result<(), Fault> {
        if id == self.epoch {
            return Ok(());
        }
        count(&self.node.counters.seals_broken, 1);
        Err(Fault::epoch())
    }

    pub(super) fn granted(&mut self, item: Item, sent_at: Timestamp) {
        if !self.votes_count {
            return self.void(item); // R1
        }
        match item {
            // R11: its release is under way behind this.
            Item::Confirm(op) if op.is_barred(self.node.index) => {}
            Item::Acquire(op) | Item::Confirm(op) => {
                // R6: a late grant must not revive a lease that has run out.
                if op.acquire_tally().phase() == Phase::Won && op.has_run_out(self.now) {
                    op.lose(Lost::Expired);
                }
                // Op I1: the bound first, then the vote that lets it count.
                op.raise_granted(self.node.index, sent_at, self.node.drift_ppm());
                let decision = op.count_vote(self.node.index, Vote::Granted, self.now);
                if decision.is_some_and(Decision::is_final) {
                    self.call(&op);
                }
                if decision == Some(Decision::Owed) && op.acquire_tally().phase() != Phase::Released
                {
                    // Nobody wants it any more: the release follows on the same connection.
                    count(&self.node.counters.late_grants_released, 1);
                    self.owe(op);
                } else if op.ticket.is_some() {
                    // A first grant: how long it waits for the others is its holder's to bound.
                    op.waker.wake();
                }
            }
            Item::TopUp(top_up) => {
                let TopUp { op, ttl_ms } = *top_up;
                // R6: behind the end of the old validity it would revive a lock.
                if op.is_valid(self.now) {
                    let ttl = Duration::from_millis(ttl_ms);
                    op.raise_bound(self.node.index, sent_at, ttl, self.node.drift_ppm());
                    count(&self.node.counters.topped_up, 1);
                } else {
                    self.owe(op);
                }
            }
            Item::Enter(_)
            | Item::Extend(_)
            | Item::Query(_)
            | Item::Release(_)
            | Item::Watch(_) => {}
        }
    }

    /// A grant that may not count: the key may be there, so it is taken back.
    fn void(&mut self, item: Item) {
        match item {
            Item::Acquire(op) | Item::Confirm(op) => {
                op.vote(self.node.index, Vote::Ineligible, self.now);
                self.owe(op);
            }
            Item::TopUp(top_up) => self.owe(top_up.op),
            Item::Enter(_)
            | Item::Extend(_)
            | Item::Query(_)
            | Item::Release(_)
            | Item::Watch(_) => {}
        }
    }

    /// The node never gets this token again: its release may be sent more than once (R8, R11).
    fn owe(&mut self, op: Arc<Op>) {
        op.bar(self.node.index);
        op.owe_until(self.now.plus(op.ttl).plus(OWED_GRACE));
        self.lanes.releases.push_back(Owed::new(op));
    }
}
