//! Every deadline of the engine: renewals, losses, callers' waits and pauses, on one timer.
//!
//! - I1 a lease is announced lost at least a margin before its validity ends.
//! - I2 a renewal is sent at a third of the ttl and, while it fails, again and again within the
//!   validity; an expired lease is never renewed.
//! - I3 the keeper holds a lease only while it is held: releasing it takes it out.
//! - I4 what a node says of a lease's key is settled by a round that began after it was said.

mod heed;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use hdrhistogram::Histogram;

use crate::algorithm::tally::{Phase, Vote};
use crate::config::Keep;
use crate::engine::clock::Timer;
use crate::engine::core::Engine;
use crate::engine::op::Op;
use crate::engine::waiters::Waiter;
use crate::engine::wheel::{Key, Wheel};
use crate::error::Lost;
use crate::time::Timestamp;

#[derive(Debug)]
pub(crate) enum Timed {
    Lease(Lease),
    /// A caller's pause or deadline.
    Wake(Arc<Waiter>),
}

/// A lease being kept.
#[derive(Debug)]
pub(crate) struct Lease {
    op: Arc<Op>,
    /// When the next renewal is due, if its holder wants one then: whoever that is. A lease that
    /// is handed on keeps it, so that it is renewed in time however often that happens.
    renew_at: Timestamp,
    round: Option<Round>,
    /// A node said that its key may have changed: ask, renewed or not. What is said while a round
    /// is under way needs another one (I4).
    is_doubtful: bool,
}

/// The round of questions under way.
#[derive(Clone, Copy, Debug)]
struct Round {
    number: u8,
    sent_at: Timestamp,
    /// It is to settle a doubt.
    is_doubtful: bool,
}

#[derive(Debug)]
pub(crate) struct Keeper {
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Debug)]
struct State {
    wheel: Wheel<Timed>,
    /// The task will look again by then.
    alarm: Timestamp,
    acquire_latency: Option<Histogram<u64>>,
    leases: usize,
}

/// How long a suspend can go unnoticed by the timers at most.
const SUSPEND_LOOK: Duration = Duration::from_secs(1);

/// How long before the end of its validity a lease is announced lost: a tenth of what the ttl was,
/// from 3 ms (twice a timer's grain, and then some) to 100 ms.
fn loss_margin(ttl: Duration) -> Duration {
    (ttl / 10).clamp(Duration::from_millis(3), Duration::from_millis(100))
}

impl Keeper {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            state: Mutex::new(State {
                wheel: Wheel::new(now),
                alarm: Timestamp::MAX,
                acquire_latency: Histogram::new_with_bounds(1, 3_600_000_000_000, 3).ok(),
                leases: 0,
            }),
            waker: AtomicWaker::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts keeping a lease that was just granted, and is valid until `until` as far as is known.
    pub(crate) fn keep(
        &self,
        op: &Arc<Op>,
        keep: Keep,
        (now, until): (Timestamp, Timestamp),
        latency_ns: u64,
    ) {
        op.keep(keep, now);
        let renew_at = op.decided_at().plus(op.ttl / 3);
        let lease = Lease { op: Arc::clone(op), renew_at, round: None, is_doubtful: false };
        let due = lease.due_by(until, now, Duration::ZERO);
        let mut state = self.state();
        if let Some(histogram) = &mut state.acquire_latency {
            histogram.saturating_record(latency_ns);
        }
        state.leases += 1;
        let key = state.wheel.insert(due, Timed::Lease(lease));
        op.keeper_key.store(key.to_word(), Ordering::Release);
        self.arm(state, due);
    }

    /// A kept lease has a new holder since [`Op::keep`] said how it wants it kept.
    pub(crate) fn handed(&self, op: &Op, now: Timestamp, latency_ns: u64) {
        let mut state = self.state();
        if let Some(histogram) = &mut state.acquire_latency {
            histogram.saturating_record(latency_ns);
        }
        // In the keeper's own hands just now: it goes back as the new holder wants it.
        let Some(key) = Key::from_word(op.keeper_key.load(Ordering::Acquire)) else { return };
        let Some((due, Timed::Lease(lease))) = state.wheel.get(key) else { return };
        // Only where the one before did not want the renewal is it due too late.
        if lease.renew_at < due && lease.round.is_none() && op.may_renew(now) {
            let due = lease.renew_at.max(now);
            state.wheel.reschedule(key, due);
            self.arm(state, due);
        }
    }

    /// Stops keeping a lease (I3).
    pub(crate) fn drop_lease(&self, op: &Op) {
        let Some(key) = Key::from_word(op.keeper_key.swap(0, Ordering::AcqRel)) else { return };
        let mut state = self.state();
        let removed = state.wheel.remove(key);
        if matches!(removed, Some(Timed::Lease(_))) {
            state.leases = state.leases.saturating_sub(1);
        }
        drop(state);
    }

    /// Wakes `waiter` at `due`, or a little later.
    pub(crate) fn wake_at(&self, due: Timestamp, waiter: &Arc<Waiter>) -> Key {
        let mut state = self.state();
        let key = state.wheel.insert(due, Timed::Wake(Arc::clone(waiter)));
        self.arm(state, due);
        key
    }

    pub(crate) fn cancel(&self, key: Key) {
        let removed = self.state().wheel.remove(key);
        drop(removed);
    }

    fn arm(&self, mut state: MutexGuard<'_, State>, due: Timestamp) {
        if due < state.alarm {
            state.alarm = due;
            drop(state);
            self.waker.wake();
        }
    }

    /// Leases held now.
    pub(crate) fn leases(&self) -> usize {
        self.state().leases
    }

    pub(crate) fn acquire_latency(&self) -> Option<Histogram<u64>> {
        self.state().acquire_latency.clone()
    }

    /// Every lease held now: for closing.
    pub(crate) fn held(&self) -> Vec<Arc<Op>> {
        let state = self.state();
        let lease = |timed: &Timed| match timed {
            Timed::Lease(lease) => Some(Arc::clone(&lease.op)),
            Timed::Wake(_) => None,
        };
        state.wheel.iter().filter_map(lease).collect()
    }

    /// Puts a lease back that is still held.
    fn keep_on(&self, lease: Lease, now: Timestamp, recheck: Duration) {
        let op = Arc::clone(&lease.op);
        let mut state = self.state();
        // Judged under the lock: a new holder that did not find it here was before us.
        let due = lease.due(now, recheck);
        let key = state.wheel.insert(due, Timed::Lease(lease));
        // Dropped meanwhile, when there was no key to be found: out again (I3).
        if op.keeper_key.swap(key.to_word(), Ordering::AcqRel) == 0 {
            op.keeper_key.store(0, Ordering::Release);
            state.wheel.remove(key);
            state.leases = state.leases.saturating_sub(1);
        }
    }

    fn forget(&self) {
        let mut state = self.state();
        state.leases = state.leases.saturating_sub(1);
    }
}

/// The task that serves the keeper.
#[derive(Debug)]
pub(crate) struct KeeperTask {
    engine: Arc<Engine>,
    timer: Timer,
    due: Vec<Timed>,
    /// Per node, up to when what it voided has been taken out of the ledgers.
    heeded: Vec<Timestamp>,
    suspended: Duration,
}

impl KeeperTask {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let timer = Timer::new(engine.clock);
        let heeded = vec![Timestamp::ZERO; engine.nodes.len()];
        let suspended = engine.clock.suspended();
        Self { engine, timer, due: Vec::new(), heeded, suspended }
    }

    fn serve(&mut self) -> Option<Timestamp> {
        let engine = Arc::clone(&self.engine);
        let now = engine.clock.now();
        engine.keeper.state().wheel.advance(now, &mut self.due);
        for timed in self.due.drain(..) {
            match timed {
                Timed::Wake(waiter) => waiter.waker.wake(),
                Timed::Lease(lease) => match look_after(&engine, lease, now) {
                    Some(lease) => {
                        // Looks at the votes soon: a refusal by a majority must not wait for the
                        // timeout.
                        engine.keeper.keep_on(lease, now, engine.settings.node_timeout / 8);
                    }
                    None => engine.keeper.forget(),
                },
            }
        }
        if engine.is_closed() {
            // Closing releases what it finds here; it cannot have found what was in our hands.
            engine.release_all();
        }
        let mut state = engine.keeper.state();
        let next = state.wheel.next_due();
        state.alarm = next.unwrap_or(Timestamp::MAX);
        next
    }
}

impl Future for KeeperTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.engine.keeper.waker.register(cx.waker());
        if this.engine.is_over() {
            return Poll::Ready(());
        }
        this.engine.fleet.alarm.register(cx.waker());
        while this.timer.poll_fired(cx).is_ready() {}
        this.notice_suspend();
        this.heed_nodes();
        if let Some(next) = this.serve() {
            // Timers stand still while the machine is suspended, leases do not.
            let look = this.engine.clock.now().plus(SUSPEND_LOOK);
            this.timer.alarm(next.min(look), cx);
        }
        Poll::Pending
    }
}

/// When the runtime is gone, nothing keeps time any more: whoever waits learns that it is over.
impl Drop for KeeperTask {
    fn drop(&mut self) {
        self.engine.close();
        let sleeping = |timed: &Timed| match timed {
            Timed::Wake(waiter) => Some(Arc::clone(waiter)),
            Timed::Lease(_) => None,
        };
        let state = self.engine.keeper.state();
        let waiters: Vec<_> = state.wheel.iter().filter_map(sleeping).collect();
        drop(state);
        waiters.iter().for_each(|waiter| waiter.waker.wake());
        for op in self.engine.keeper.held() {
            self.engine.lose(&op, Lost::Closed);
        }
    }
}

impl Keeper {
    /// Makes the task look again: the engine is over, or a test moved the clock.
    pub(crate) fn nudge(&self) {
        self.waker.wake();
    }
}

impl Lease {
    /// When to look at it next: `recheck` from now while a round is under way.
    fn due(&self, now: Timestamp, recheck: Duration) -> Timestamp {
        self.due_by(self.op.valid_until(), now, recheck)
    }

    /// As [`Lease::due`] of a lease that is valid until `until`.
    fn due_by(&self, until: Timestamp, now: Timestamp, recheck: Duration) -> Timestamp {
        let end = until.minus(loss_margin(self.op.ttl));
        if !self.op.may_renew(now) && self.round.is_none() && !self.is_doubtful {
            return end;
        }
        let next = if self.round.is_some() { now.plus(recheck) } else { self.renew_at };
        next.min(end)
    }
}

/// A lease is due: renews it, announces its loss, or looks again later. `None`: not kept any more.
fn look_after(engine: &Engine, mut lease: Lease, now: Timestamp) -> Option<Lease> {
    let op = &lease.op;
    if op.acquire_tally().phase() != Phase::Won {
        return None;
    }
    if op.lost().is_some() {
        engine.after_loss(op);
        return None;
    }
    let ttl = op.renew_ttl();
    let may_renew = op.may_renew(now);
    let end = op.valid_until().minus(loss_margin(op.ttl));
    if end <= now {
        op.keeper_key.store(0, Ordering::Release);
        // A bound that is zero was taken out: the node said that the key is not ours. Also where no
        // renewal was due, for a push makes us ask.
        let tally = op.extend_tally();
        let gone = tally.count(Vote::Denied) + tally.count(Vote::Missing);
        let is_gone = gone > op.nodes() - op.quorum() || op.valid_until() == Timestamp::ZERO;
        let reason = if is_gone {
            Lost::TakenOver
        } else if may_renew {
            Lost::Unreachable
        } else {
            Lost::Expired
        };
        engine.lose(op, reason);
        return None;
    }
    if !may_renew && lease.round.is_some_and(|round| !round.is_doubtful) {
        // I2's bound: from here on it runs out, unless a next holder wants it longer.
        lease.round = None;
    }
    if let Some(Round { number, sent_at, is_doubtful }) = lease.round {
        let tally = op.extend_tally();
        let settled = tally.round() != number || tally.phase() != Phase::Open;
        if settled || sent_at.plus(engine.settings.node_timeout) <= now {
            lease.round = None;
            if tally.round() == number && tally.phase() == Phase::Won {
                // R6: a quorum has just said that it is ours.
                if may_renew {
                    engine.top_up(op, ttl, now);
                }
                if lease.is_doubtful {
                    lease.renew_at = now; // I4
                } else {
                    engine.watch(op, now);
                    lease.renew_at = sent_at.plus(ttl / 3);
                }
            } else {
                // Failed: again soon, several times within what is left.
                lease.is_doubtful |= is_doubtful;
                let pause = (end.since(now) / 8).min(Duration::from_millis(250));
                lease.renew_at = now.plus(pause);
            }
        }
    }
    let is_due = lease.renew_at <= now && (may_renew || lease.is_doubtful);
    if is_due && lease.round.is_none() {
        let number = engine.extend(op, if may_renew { ttl } else { Duration::ZERO });
        let is_doubtful = std::mem::take(&mut lease.is_doubtful);
        lease.round = Some(Round { number, sent_at: now, is_doubtful });
    }
    Some(lease)
}
