//! How a caller's way ends: with a lease, with a failure, or by going away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::{Acquisition, State};
use crate::algorithm::tally::Phase;
use crate::engine::core::{Engine, Wakes};
use crate::engine::handoff::Ended;
use crate::engine::op::Op;
use crate::engine::waiters::Place;
use crate::engine::wish::Failure;
use crate::time::{Timestamp, nanos};

impl Acquisition {
    /// The lock is the caller's, by the ledger of `now` until `until`.
    pub(super) fn succeed(
        &mut self,
        engine: &Engine,
        op: &Arc<Op>,
        (now, until): (Timestamp, Timestamp),
    ) {
        self.cancel_timer(engine);
        self.note_contention(engine, op, now);
        op.has_slot.store(self.has_slot, Ordering::Release);
        self.has_slot = false;
        self.state = State::Done;
        engine.keeper.keep(op, self.wish.keep, (now, until), self.course.waited_ns);
        // Voided in this very moment, before the keeper knew of the lease.
        engine.drop_voided(op, self.round_began);
        self.count(engine);
    }

    fn count(&self, engine: &Engine) {
        engine.counters.acquired.fetch_add(1, Ordering::Relaxed);
        if self.course.contended {
            engine.counters.contended.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn fail(
        &mut self,
        engine: &Engine,
        failure: Failure,
    ) -> Poll<Result<Arc<Op>, Failure>> {
        self.course.waited_ns = nanos(engine.clock.now().since(self.began));
        engine.counters.failed.fetch_add(1, Ordering::Relaxed);
        self.leave(engine);
        Poll::Ready(Err(failure))
    }

    /// Takes a lease over that another caller of this process handed on. `false`: it has gone bad
    /// since, and a round of its own is next, in the slot that came with it.
    pub(super) fn take_over(&mut self, engine: &Engine, op: &Arc<Op>) -> bool {
        let now = engine.clock.now();
        // I2, as for a grant of the nodes.
        let is_good = op.is_valid(now)
            && op.valid_until().since(now) >= engine.settings.min_validity(self.wish.ttl);
        if !is_good {
            let mut wakes = Wakes::default();
            engine.let_go(op, None, &mut wakes);
            engine.wake(wakes);
            engine.fleet.pool.put(Arc::clone(op));
            self.state = State::Pausing(Timestamp::ZERO);
            return false;
        }
        self.course.handed = true;
        self.course.tally = Some(op.acquire_tally());
        self.course.waited_ns = nanos(now.since(self.began));
        self.has_slot = false;
        self.state = State::Done;
        op.has_slot.swap(true, Ordering::AcqRel);
        // Lost in this very moment: the keeper may have found no slot to pass on.
        if op.lost().is_some() {
            let mut wakes = Wakes::default();
            engine.give_slot_up(op, &mut wakes);
            engine.wake(wakes);
        }
        engine.keeper.handed(op, now, self.course.waited_ns);
        self.count(engine);
        true
    }

    /// I1: undoes whatever is under way. Called once, when the caller fails or goes away.
    pub(crate) fn leave(&mut self, engine: &Engine) {
        self.cancel_timer(engine);
        let state = std::mem::replace(&mut self.state, State::Done);
        let mut wakes = Wakes::default();
        match state {
            State::New | State::Pausing(_) | State::Done => {}
            State::Queued(waiter) => {
                if !engine.waiters.leave(&self.wish.resource, &waiter) {
                    // Called in the same moment: the slot is ours to pass on.
                    self.has_slot = true;
                    let place = std::mem::replace(&mut *waiter.place(), Place::Gone);
                    match place {
                        Place::Started(op) => Self::drop_attempt(engine, &op, &mut wakes),
                        Place::Handed(op) => self.drop_handed(engine, &op, &mut wakes),
                        Place::Called(_) | Place::Gone | Place::Queued => {}
                    }
                }
            }
            State::Watching(op) => engine.unwatch(op),
            State::Handed(op) => self.drop_handed(engine, &op, &mut wakes),
            State::Racing(op) => Self::drop_attempt(engine, &op, &mut wakes),
        }
        if std::mem::take(&mut self.has_slot) {
            engine.pass_slot(&self.wish.resource, false, &mut wakes);
        }
        engine.wake(wakes);
    }

    fn drop_attempt(engine: &Engine, op: &Arc<Op>, wakes: &mut Wakes) {
        match op.abandon() {
            Some(tally) => engine.undo(op, tally, wakes),
            None if op.acquire_tally().phase() == Phase::Won => _ = engine.let_go(op, None, wakes),
            None => engine.undo(op, op.acquire_tally(), wakes),
        }
        engine.fleet.pool.put(Arc::clone(op));
    }

    /// It was handed a lease and goes away without it: the next one may have it.
    fn drop_handed(&mut self, engine: &Engine, op: &Arc<Op>, wakes: &mut Wakes) {
        // The slot goes with the lease.
        op.has_slot.store(std::mem::take(&mut self.has_slot), Ordering::Release);
        if engine.end_hold(op, op.hold.generation(), wakes) != Ended::HandedOn {
            engine.fleet.pool.put(Arc::clone(op));
        }
    }
}
