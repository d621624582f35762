//! One caller's way to a lock: queue, rounds, pauses, deadline.
//!
//! ```text
//!            slot taken                won
//!   New ─┬──────────────► Racing ─────────────► Done (the lease takes the slot along)
//!        │                 ▲   │ lost                ▲
//!        │ slot occupied   │   ▼                     │ still valid
//!        ├──► Queued ──────┼─ Pausing                │
//!        │       │ handed  │ gone bad                │
//!        │       └──────► Handed ────────────────────┘
//!        └─ deadline, attempts used up: Done (the slot passes on)
//! ```
//! - I1 whatever state it is dropped in, the slot passes on, and every node that may hold the key
//!   of an attempt under way is sent a release.
//! - I2 validity is judged after the last wait, right before the lease is handed out.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::algorithm::tally::{Phase, Tally, Vote};
use crate::engine::core::{Engine, Unstartable, Wakes};
use crate::engine::op::Op;
use crate::engine::waiters::{Claim, Place, Waiter};
use crate::engine::wheel::Key;
use crate::engine::wish::{Course, Failure, Wish};
use crate::resource::Resource;
use crate::time::{Timestamp, nanos};

mod claims;
mod ends;
mod pause;
mod queue;
mod timer;
mod token;

use claims::Search;

#[derive(Debug)]
enum State {
    New,
    Queued(Arc<Waiter>),
    /// Another caller of this process handed its lease over.
    Handed(Arc<Op>),
    Racing(Arc<Op>),
    Pausing(Timestamp),
    /// Another process has the lock; the nodes tell when to try.
    Watching(Arc<Op>),
    Done,
}

/// What nearly every request needs of it stands together: a hundred callers are woken by one read,
/// and each cache line of theirs is a miss. What only some need is [`Late`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Acquisition {
    state: State,
    late: Option<Box<Late>>,
    began: Timestamp,
    round_began: Timestamp,
    deadline: Timestamp,
    waiter: Option<Arc<Waiter>>,
    timer: Option<Key>,
    /// When the timer goes off.
    armed_for: Timestamp,
    has_slot: bool,
    course: Course,
    wish: Wish,
}

/// Of a request whose first round was not enough.
#[derive(Debug, Default)]
struct Late {
    /// The place in line, once it has one: kept through all its tickets.
    number: Option<u64>,
    /// When a minority's reservations are given up.
    yield_at: Option<Timestamp>,
    yields: u32,
    /// Nodes that are left to whoever has the others, as a bit set.
    spared: u16,
    /// The nodes said that the lock may be free.
    was_told: bool,
    /// Denied rounds in a row: the backoff's exponent.
    denied: u32,
    /// Since when no round could be decided by the nodes' answers.
    unanswered_since: Option<Timestamp>,
    failure: Failure,
    /// The round that raises the nodes' fencing counters to one value, and that value.
    raise: Option<(u8, u64)>,
    search: Search,
}

impl Acquisition {
    pub(crate) const fn new(wish: Wish) -> Self {
        Self {
            state: State::New,
            late: None,
            began: Timestamp::ZERO,
            round_began: Timestamp::ZERO,
            deadline: Timestamp::MAX,
            waiter: None,
            timer: None,
            armed_for: Timestamp::ZERO,
            has_slot: false,
            course: Course::NONE,
            wish,
        }
    }

    fn late(&mut self) -> &mut Late {
        self.late.get_or_insert_with(Box::default)
    }

    /// The nodes said that the lock may be free: asked once.
    fn take_told(&mut self) -> bool {
        self.late.as_deref_mut().is_some_and(|late| std::mem::take(&mut late.was_told))
    }

    pub(crate) const fn course(&self) -> &Course {
        &self.course
    }

    pub(crate) const fn resource(&self) -> &Resource {
        &self.wish.resource
    }

    pub(crate) fn poll(
        &mut self,
        engine: &Engine,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Arc<Op>, Failure>> {
        loop {
            if engine.is_closed() && !matches!(self.state, State::Done) {
                return self.fail(engine, Failure::Closed);
            }
            match &self.state {
                State::New => {
                    if self.start(engine, cx) {
                        return self.fail(engine, Failure::Busy);
                    }
                }
                State::Queued(waiter) => {
                    let waiter = Arc::clone(waiter);
                    if self.poll_queued(engine, &waiter, cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                State::Handed(op) => {
                    let op = Arc::clone(op);
                    if self.take_over(engine, &op) {
                        return Poll::Ready(Ok(op));
                    }
                }
                State::Racing(op) => {
                    let op = Arc::clone(op);
                    match self.poll_racing(engine, &op, cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Some(Ok(()))) => return Poll::Ready(Ok(op)),
                        Poll::Ready(Some(Err(failure))) => return self.fail(engine, failure),
                        Poll::Ready(None) => {}
                    }
                }
                State::Pausing(until) => {
                    let until = *until;
                    if self.wait(engine, until, cx).is_pending() {
                        return Poll::Pending;
                    }
                    let now = engine.clock.now();
                    if now >= self.deadline {
                        let failure = self.late().failure;
                        return self.fail(engine, failure);
                    }
                    self.begin_round(engine, now);
                }
                State::Watching(op) => {
                    let op = Arc::clone(op);
                    if self.poll_watching(engine, op, cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                State::Done => return Poll::Pending,
            }
        }
    }

    /// Takes the slot or a place in the queue. `true`: occupied, and the caller will not wait.
    fn start(&mut self, engine: &Engine, cx: &mut Context<'_>) -> bool {
        let now = engine.clock.now();
        self.began = now;
        self.deadline = self.wish.wait.map_or(Timestamp::MAX, |wait| now.plus(wait));
        if self.wish.claims.is_some() {
            // Others of this process may be let in beside it, so there is no queue to be in.
            self.begin_round(engine, now);
            return false;
        }
        let (ttl, keep, once) = (self.wish.ttl, self.wish.keep, self.wish.once);
        let fenced = self.wish.fenced;
        let waiter = || {
            let waiter = Waiter::new(ttl, keep, fenced);
            waiter.waker.register(cx.waker());
            (!once).then_some(waiter)
        };
        match engine.waiters.claim(&self.wish.resource, now, waiter) {
            Claim::Taken => {
                self.has_slot = true;
                if self.is_to_queue(engine, now) {
                    self.begin_ticket(engine, now);
                } else {
                    self.begin_round(engine, now);
                }
            }
            Claim::Occupied => {
                self.course.contended = true;
                return true;
            }
            Claim::Queued(waiter) => {
                self.course.contended = true;
                if self.deadline < Timestamp::MAX {
                    self.timer = Some(engine.keeper.wake_at(self.deadline, &waiter));
                }
                self.waiter = Some(Arc::clone(&waiter));
                self.state = State::Queued(waiter);
            }
        }
        false
    }

    fn poll_queued(
        &mut self,
        engine: &Engine,
        waiter: &Arc<Waiter>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut place = waiter.place();
        match &*place {
            Place::Queued => {
                waiter.waker.register(cx.waker());
                drop(place);
                if engine.clock.now() < self.deadline {
                    return Poll::Pending;
                }
                if engine.waiters.leave(&self.wish.resource, waiter) {
                    self.late().failure = Failure::TimedOut;
                    // Not called, no slot: a pause that is over fails with the reason above.
                    self.state = State::Pausing(Timestamp::ZERO);
                }
                return Poll::Ready(());
            }
            Place::Started(op) => {
                self.state = State::Racing(Arc::clone(op));
                self.course.attempts = 1;
            }
            Place::Handed(op) => self.state = State::Handed(Arc::clone(op)),
            Place::Called(None) | Place::Gone => self.state = State::Pausing(Timestamp::ZERO),
            Place::Called(Some(pause)) => {
                self.state = State::Pausing(engine.clock.now().plus(*pause));
            }
        }
        *place = Place::Gone;
        drop(place);
        self.has_slot = true;
        self.cancel_timer(engine);
        let now = engine.clock.now();
        self.round_began = now;
        self.course.queued_ns = nanos(now.since(self.began));
        Poll::Ready(())
    }

    fn begin_round(&mut self, engine: &Engine, now: Timestamp) {
        self.round_began = now;
        self.course.tally = None;
        match self.attempt(engine) {
            Ok(op) => {
                self.course.attempts = self.course.attempts.saturating_add(1);
                let mut wakes = Wakes::default();
                if self.take_told() {
                    engine.submit_first(&op, &mut wakes);
                } else {
                    engine.submit(&op, &mut wakes);
                }
                engine.wake(wakes);
                self.state = State::Racing(op);
            }
            Err(Unstartable::Quarantined(opening)) => {
                self.after_round(engine, now, Failure::Quarantined(opening));
            }
            Err(Unstartable::NoQuorum) => self.after_round(engine, now, Failure::NoQuorum),
            Err(Unstartable::Overloaded) => self.after_round(engine, now, Failure::Overloaded),
        }
    }

    fn poll_racing(
        &mut self,
        engine: &Engine,
        op: &Arc<Op>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(), Failure>>> {
        let mut tally = op.acquire_tally();
        // Whoever was woken nearly always finds it decided, and has nothing to be woken for.
        if tally.phase() == Phase::Open || op.fence.is_some() {
            op.waker.register(cx.waker());
            tally = op.acquire_tally();
        }
        match tally.phase() {
            Phase::Open if op.ticket.is_some() && engine.clock.now() < self.deadline => {
                match self.poll_ticket(engine, op, cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => Poll::Ready(None),
                }
            }
            Phase::Open => {
                // A round ends by itself within the nodes' timeout; only a deadline that is
                // nearer needs a timer.
                let round_end = self.round_began.plus(engine.settings.node_timeout);
                let is_round = op.ticket.is_none() && self.deadline >= round_end;
                if is_round || self.wait(engine, self.deadline, cx).is_pending() {
                    return Poll::Pending;
                }
                if let Some(tally) = op.abandon() {
                    self.note_contention(engine, op, engine.clock.now());
                    self.undo(engine, op, tally);
                    self.state = State::Done;
                    self.course.tally = Some(tally);
                    let failure = if self.late().denied > 0 || op.ticket.is_some() {
                        Failure::TimedOut
                    } else {
                        Failure::NoQuorum
                    };
                    return Poll::Ready(Some(Err(failure)));
                }
                Poll::Ready(None)
            }
            Phase::Won => {
                let mut now = engine.clock.now();
                self.course.tally = Some(tally);
                self.course.waited_ns = nanos(now.since(self.began));
                self.course.quorum_wait_ns = nanos(op.decided_at().since(self.round_began));
                if op.fence.is_some() {
                    match self.poll_token(engine, op, tally, cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(failure)) => {
                            self.give_back(engine, op);
                            self.after_round(engine, engine.clock.now(), failure);
                            return Poll::Ready(None);
                        }
                    }
                    now = engine.clock.now();
                }
                engine.drop_voided(op, self.round_began);
                // I2; etcd#11456: nothing may be awaited between this and the caller.
                // R6: a grant that came behind the end of what the others gave has revived nothing.
                let is_lost = op.lost().is_some();
                let until = if is_lost { Timestamp::ZERO } else { op.valid_until() };
                let validity = until.since(now);
                if validity < engine.settings.min_validity(self.wish.ttl) {
                    self.give_back(engine, op);
                    self.after_round(engine, now, Failure::TooSlow(validity));
                    return Poll::Ready(None);
                }
                self.succeed(engine, op, (now, until));
                Poll::Ready(Some(Ok(())))
            }
            Phase::Lost | Phase::Abandoned | Phase::Released => {
                self.note_permit(op);
                self.undo(engine, op, tally);
                let now = engine.clock.now();
                self.course.tally = Some(tally);
                self.course.quorum_wait_ns = nanos(op.decided_at().since(self.round_began));
                let answered = tally.count(Vote::Granted) + tally.count(Vote::Denied);
                // An answer that is still to come can only be counted as one when somebody has
                // denied: that is what ended the round early.
                let decided = tally.count(Vote::Denied) > 0
                    && answered + tally.pending().count_ones() as usize >= tally.quorum();
                let failure = if decided { Failure::Busy } else { Failure::NoQuorum };
                self.after_round(engine, now, failure);
                Poll::Ready(None)
            }
        }
    }

    /// A won round that is of no use.
    fn give_back(&mut self, engine: &Engine, op: &Arc<Op>) {
        let mut wakes = Wakes::default();
        engine.let_go(op, None, &mut wakes);
        engine.wake(wakes);
        engine.fleet.pool.put(Arc::clone(op));
        if let Some(late) = &mut self.late {
            late.raise = None;
        }
    }

    fn undo(&self, engine: &Engine, op: &Arc<Op>, tally: Tally) {
        let mut wakes = Wakes::default();
        engine.undo(op, tally, &mut wakes);
        engine.wake(wakes);
        engine.fleet.pool.put(Arc::clone(op));
    }
}
