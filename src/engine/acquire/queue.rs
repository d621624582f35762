//! A caller that waits in line on the nodes.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Acquisition, State};
use crate::algorithm::tally::Vote;
use crate::engine::core::{Engine, Unstartable, Wakes};
use crate::engine::op::Op;
use crate::engine::wish::Failure;
use crate::time::Timestamp;

impl Acquisition {
    /// Is a round of SETs that would be denied to be left out? Where a node has to count a fencing
    /// token up, a round is the shorter way to a free lock.
    pub(super) fn is_to_queue(&self, engine: &Engine, now: Timestamp) -> bool {
        engine.lately.was_contended(&self.wish.resource, now)
            && !self.wish.once
            && !self.wish.fenced
            && engine.settings.retry.attempts.is_none()
            && engine.may_queue()
    }

    /// A place in line was decided or given up: somebody had the lock when it was shown, or not.
    pub(super) fn note_contention(&mut self, engine: &Engine, op: &Op, now: Timestamp) {
        if op.ticket.as_ref().is_some_and(|ticket| ticket.is_queued() && ticket.taken(0) != 0) {
            self.course.contended = true;
            engine.lately.note(&self.wish.resource, now);
        }
    }

    /// Queues up on the nodes; with the number of its first ticket, if it had one.
    pub(super) fn begin_ticket(&mut self, engine: &Engine, now: Timestamp) {
        self.begin_ticket_behind(engine, now, Wakes::default());
    }

    /// As [`Acquisition::begin_ticket`], in one write with what is queued already: nobody is to
    /// slip in between the release of an earlier ticket and this one.
    fn begin_ticket_behind(&mut self, engine: &Engine, now: Timestamp, mut wakes: Wakes) {
        self.round_began = now;
        self.late().yield_at = None;
        let number = self.late().number;
        let (ttl, fenced) = (self.wish.ttl, self.wish.fenced);
        let failure = match engine.ticket(&self.wish.resource, ttl, fenced, number) {
            Ok(op) => {
                self.late().number = op.ticket.as_ref().map(|ticket| ticket.number);
                self.course.attempts = self.course.attempts.saturating_add(1);
                let is_shown = engine.show(&op, self.late().spared, &mut wakes);
                if is_shown || !self.give_ticket_up(engine, &op, &mut wakes) {
                    engine.wake(wakes);
                    self.state = State::Racing(op);
                    return;
                }
                Failure::NoQuorum
            }
            Err(Unstartable::Quarantined(opening)) => Failure::Quarantined(opening),
            Err(Unstartable::NoQuorum) => Failure::NoQuorum,
            Err(Unstartable::Overloaded) => Failure::Overloaded,
        };
        engine.wake(wakes);
        self.after_round(engine, now, failure);
    }

    /// `false`: it was decided in this very moment, and is looked at as it is: a won one is kept.
    fn give_ticket_up(&mut self, engine: &Engine, op: &Arc<Op>, wakes: &mut Wakes) -> bool {
        let Some(tally) = op.abandon() else { return false };
        self.course.tally = Some(tally);
        engine.undo(op, tally, wakes);
        engine.fleet.pool.put(Arc::clone(op));
        true
    }

    /// Waits until the nodes say that the lock may be free; `None`: they cannot be asked now.
    pub(super) fn begin_watch(&mut self, engine: &Engine) -> Option<()> {
        let op = engine.watch_for(&self.wish.resource, self.wish.ttl).ok()?;
        self.state = State::Watching(op);
        Some(())
    }

    pub(super) fn poll_watching(
        &mut self,
        engine: &Engine,
        op: Arc<Op>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        op.waker.register(cx.waker());
        let look_at = op.ticket.as_ref().map_or(Timestamp::ZERO, |ticket| ticket.look_at());
        if self.wait_anew(engine, look_at.min(self.deadline), cx).is_pending() {
            return Poll::Pending;
        }
        engine.unwatch(op);
        self.late().was_told = true;
        self.state = State::Pausing(Timestamp::ZERO);
        Poll::Ready(())
    }

    /// A staged round: one node has answered, or has not in time.
    fn poll_staged(&mut self, engine: &Engine, op: &Arc<Op>, cx: &mut Context<'_>) -> Poll<()> {
        let now = engine.clock.now();
        let tally = op.acquire_tally();
        if tally.count(Vote::Denied) > 0 && tally.count(Vote::Granted) == 0 {
            let mut wakes = Wakes::default();
            if self.give_ticket_up(engine, op, &mut wakes) {
                engine.wake(wakes);
                self.after_round(engine, now, Failure::Busy);
            }
            return Poll::Ready(());
        }
        if tally.pending().count_ones() as usize != tally.nodes() {
            let mut wakes = Wakes::default();
            engine.submit_rest(op, &mut wakes);
            engine.wake(wakes);
        }
        self.wait_anew(engine, self.deadline, cx)
    }

    /// The round is open: waits for the nodes' word, and asks again where none may be coming.
    pub(super) fn poll_ticket(
        &mut self,
        engine: &Engine,
        op: &Arc<Op>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(ticket) = &op.ticket else { return Poll::Ready(()) };
        if !ticket.is_queued() {
            return self.poll_staged(engine, op, cx);
        }
        let now = engine.clock.now();
        let late = self.late();
        if late.yield_at.is_none() && op.acquire_tally().count(Vote::Granted) > 0 {
            late.yield_at = Some(engine.yield_at(now, late.yields));
        }
        if late.yield_at.is_some_and(|at| at <= now) {
            // Others have what is missing, and may miss what we have: for good, if one of them
            // holds the lock, which shows when giving way was no use.
            let was_in_vain = late.yields > 0 && engine.is_hopeless(op);
            let ours = op.acquire_tally().set(Vote::Granted);
            late.spared = if was_in_vain { late.spared | ours } else { 0 };
            late.yields = late.yields.saturating_add(1);
            let mut wakes = Wakes::default();
            if self.give_ticket_up(engine, op, &mut wakes) {
                self.begin_ticket_behind(engine, now, wakes);
            }
            return Poll::Ready(());
        }
        if ticket.look_at() <= now {
            if !engine.is_hopeless(op) {
                late.spared = 0;
            }
            let mut wakes = Wakes::default();
            let is_shown = engine.show(op, late.spared, &mut wakes);
            let is_given_up = !is_shown && self.give_ticket_up(engine, op, &mut wakes);
            engine.wake(wakes);
            if is_given_up {
                self.after_round(engine, now, Failure::NoQuorum);
            }
            if !is_shown {
                return Poll::Ready(());
            }
        }
        let next = ticket.look_at().min(self.late().yield_at.unwrap_or(Timestamp::MAX));
        self.wait_anew(engine, next.min(self.deadline), cx)
    }
}
