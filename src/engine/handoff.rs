//! What becomes of a lease when its holder is done: the next caller of this process gets it as it
//! is, or it is released on the nodes.
//!
//! - I1 (DESIGN R12) a lease has one holder: the old one is past before the new one can see it.
//! - I2 the slot goes where the lease goes, or is given up after the releases are queued.
//! - I3 a chain of hand-offs is bounded in number and time, counted from the network's grant; then
//!   the lock goes through the nodes, where other processes wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::algorithm::tally::Phase;
use crate::engine::core::{Engine, Wakes};
use crate::engine::op::{Op, millis};
use crate::engine::waiters::{Place, Waiter};
use crate::time::Timestamp;

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Another caller of this process has the lease, and the op with it.
    HandedOn,
    /// Releases are queued at every node that may hold the key.
    Releasing,
    /// It was not held any more.
    Gone,
}

impl Engine {
    /// The holder of `generation` is done: hands the lease on, or queues releases and gives the
    /// slot up.
    pub(crate) fn end_hold(&self, op: &Arc<Op>, generation: u64, wakes: &mut Wakes) -> Ended {
        if self.hand_on(op, generation) {
            return Ended::HandedOn;
        }
        let held = self.let_go(op, Some(generation), wakes);
        self.give_slot_up(op, wakes);
        if held { Ended::Releasing } else { Ended::Gone }
    }

    fn hand_on(&self, op: &Arc<Op>, generation: u64) -> bool {
        // A claim is not what anybody queues for here.
        if op.claim.is_some() {
            return false;
        }
        // Nobody waits for anything: an uncontended lock pays one load.
        if self.waiters.waiting() == 0 || self.is_closed() {
            return false;
        }
        let now = self.clock.now();
        let give = |waiter: &Waiter| {
            let may = self.may_hand_off(op, waiter, generation, now);
            // I2; without the slot the queue is another's to serve.
            if !may || !op.has_slot.swap(false, Ordering::AcqRel) {
                return None;
            }
            // I1; it fails when the client is closing and has released it, or the token is known.
            if !op.hold.move_on(generation) {
                op.has_slot.store(true, Ordering::Release);
                return None;
            }
            op.keep(waiter.keep, now);
            Some(Place::Handed(Arc::clone(op)))
        };
        let Some(next) = self.waiters.hand_on(&op.resource, now, give) else { return false };
        self.counters.handed_on.fetch_add(1, Ordering::Relaxed);
        next.waker.wake();
        true
    }

    /// Whether the lease of `generation` may go to `waiter` at `now`. What can change in the same
    /// moment (released, token shown) is decided by [`Hold`](crate::engine::hold::Hold) after it.
    fn may_hand_off(&self, op: &Op, waiter: &Waiter, generation: u64, now: Timestamp) -> bool {
        let bound = self.settings.handoff;
        // I3
        generation < u64::from(bound.most)
            && now.since(op.decided_at()) < bound.within
            && op.lost().is_none()
            && op.acquire_tally().phase() == Phase::Won
            // A fencing token is one holder's: the next one gets its own from the nodes.
            && op.fence.is_none()
            && !waiter.fenced
            // The frame, the keys' ttl and the renewals are what the waiter asked for.
            && waiter.ttl == op.ttl
            && op.renew_ttl_ms.load(Ordering::Acquire) == millis(op.ttl)
            && op.valid_until().since(now) >= self.hand_off_validity(op.ttl)
    }

    /// The validity that a handed lease must have left: what any grant must have, and two thirds
    /// of what a fresh one would have, for a holder that relies on its ttl.
    fn hand_off_validity(&self, ttl: Duration) -> Duration {
        self.settings.min_validity(ttl).max(self.settings.drift.share(ttl) * 2 / 3)
    }
}
