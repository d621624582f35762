//! The engine: the nodes, and how operations reach them.
//!
//! - I1 a release covers every node that may hold the key; it is sent to a node only behind that
//!   node's SET (or the SET never left).
//! - I2 the local slot of a resource passes on exactly once per owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::algorithm::tally::{Tally, Vote};
use crate::config::Settings;
use crate::engine::clock::Clock;
use crate::engine::dispatch::OWED_GRACE;
use crate::engine::fleet::Fleet;
use crate::engine::keeper::Keeper;
use crate::engine::lately::Lately;
use crate::engine::node::{Health, Node, Refusal};
use crate::engine::op::{Op, Spec, Way};
use crate::engine::rng::SharedRng;
use crate::engine::waiters::{Place, Waiters};
use crate::error::Lost;
use crate::resource::Resource;
use crate::time::Timestamp;

/// Everything that handles, guards and tasks share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) nodes: Box<[Arc<Node>]>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) keeper: Keeper,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) lately: Lately,
    pub(crate) rng: SharedRng,
    pub(crate) changed: Arc<Notify>,
    pub(crate) counters: Counters,
    closed: AtomicBool,
    over: AtomicBool,
}

/// Counters of acquisitions since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) acquired: AtomicU64,
    pub(crate) contended: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) released: AtomicU64,
    pub(crate) handed_on: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) suspends: AtomicU64,
}

/// Drivers to wake, once, after everything for them is queued.
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "commands that were queued leave only when their drivers are woken"]
pub(crate) struct Wakes(u16);

/// Why an attempt was not started. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unstartable {
    /// Too few nodes are up.
    NoQuorum,
    /// Enough are up, too few of them within their caps.
    Overloaded,
    /// Too few may vote: others may have forgotten locks.
    Quarantined(Opening),
}

/// When enough nodes may vote again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Then it is enough of those that are quarantined now.
    pub(crate) at: Timestamp,
    /// Not before this, whoever comes back meanwhile.
    pub(crate) soonest: Timestamp,
}

impl Engine {
    pub(crate) fn new(
        nodes: Box<[Arc<Node>]>,
        fleet: Arc<Fleet>,
        settings: Settings,
        clock: Clock,
        changed: Arc<Notify>,
        seed: u64,
    ) -> Self {
        Self {
            nodes,
            settings,
            clock,
            keeper: Keeper::new(clock.now()),
            waiters: Arc::clone(fleet.hub.waiters()),
            lately: Lately::new(),
            fleet,
            rng: SharedRng::new(seed),
            changed,
            counters: Counters::default(),
            closed: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// No handle and no guard is left: the tasks end when nothing is owed.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn spec<'a>(&'a self, resource: &'a Resource, ttl: Duration) -> Spec<'a> {
        Spec {
            resource,
            prefix: self.settings.key_prefix.as_bytes(),
            ttl,
            lock_delay: self.settings.lock_delay,
            drift: self.settings.drift,
            nodes: self.nodes.len(),
            quorum: self.settings.quorum,
            fencing: None,
            ticket: None,
            claims: None,
        }
    }

    /// May an attempt start now? Decided before any node is touched.
    pub(super) fn admit(&self) -> Result<(), Unstartable> {
        let (mut ready, mut full, mut quarantined, mut away) = (0, 0, 0, 0);
        for node in &self.nodes {
            match node.admits() {
                Ok(()) => ready += 1,
                Err(Refusal::Overloaded) => full += 1,
                Err(Refusal::Quarantined) => quarantined += 1,
                Err(Refusal::Unavailable) => away += 1,
            }
        }
        let quorum = self.settings.quorum;
        if ready >= quorum {
            Ok(())
        } else if ready + full >= quorum {
            Err(Unstartable::Overloaded)
        } else if ready + full + quarantined >= quorum {
            let missing = quorum - ready - full;
            // A node that does not answer may answer any moment.
            let soonest = self.opens_at(missing.saturating_sub(away));
            Err(Unstartable::Quarantined(Opening { at: self.opens_at(missing), soonest }))
        } else {
            Err(Unstartable::NoQuorum)
        }
    }

    /// When `missing` of the quarantined nodes may vote; zero, if none is missing.
    fn opens_at(&self, missing: usize) -> Timestamp {
        let Some(last) = missing.checked_sub(1) else { return Timestamp::ZERO };
        let is_quarantined = |node: &&Arc<Node>| node.health() == Health::Quarantined;
        let nodes = self.nodes.iter().filter(is_quarantined);
        let mut ends: Vec<Timestamp> = nodes.map(|node| node.opens_at()).collect();
        ends.sort_unstable();
        ends.get(last).copied().unwrap_or(Timestamp::ZERO)
    }

    /// Makes an attempt's op. Nothing is sent before [`Engine::submit`].
    pub(crate) fn attempt(
        &self,
        resource: &Resource,
        ttl: Duration,
        fenced: bool,
    ) -> Result<Arc<Op>, Unstartable> {
        self.prepare(resource, ttl, fenced, None)
    }

    /// An op with a fresh token, for a round or, with a ticket's number, for a place in line.
    pub(crate) fn prepare(
        &self,
        resource: &Resource,
        ttl: Duration,
        fenced: bool,
        ticket: Option<Way>,
    ) -> Result<Arc<Op>, Unstartable> {
        self.admit()?;
        let mut spec = self.spec(resource, ttl);
        spec.ticket = ticket;
        if fenced {
            spec.fencing = Some(self.propose());
        }
        Ok(self.fleet.pool.take(&spec))
    }

    /// Queues an attempt at every node that takes it; the others vote *not sent*.
    pub(crate) fn submit(&self, op: &Arc<Op>, wakes: &mut Wakes) {
        self.submit_to(self.nodes.iter(), op, wakes);
    }

    pub(crate) fn submit_to<'a>(
        &self,
        nodes: impl Iterator<Item = &'a Arc<Node>>,
        op: &Arc<Op>,
        wakes: &mut Wakes,
    ) {
        for node in nodes {
            match node.submit_acquire(op) {
                Ok(wake) => wakes.add(node.index, wake),
                Err(Refusal::Quarantined) => {
                    let _ = op.vote(node.index, Vote::Ineligible, Timestamp::ZERO);
                }
                Err(_) => drop(op.vote(node.index, Vote::NotSent, Timestamp::ZERO)),
            }
        }
    }

    pub(crate) fn wake(&self, wakes: Wakes) {
        for node in &self.nodes {
            if wakes.0 & (1 << node.index) != 0 {
                node.flush_or_wake(self.clock);
            }
        }
    }

    /// Queues releases of a won lock at every node that may hold it, for `holder` or for whoever
    /// holds it. `false`: not held any more.
    pub(crate) fn let_go(&self, op: &Arc<Op>, holder: Option<u64>, wakes: &mut Wakes) -> bool {
        self.keeper.drop_lease(op);
        let Some(tally) = op.let_go(holder) else { return false };
        match &op.ticket {
            Some(ticket) => self.decide_hand_on(op, ticket),
            None => op.hands_on.store(self.waiters.take_awaited(&op.resource), Ordering::Release),
        }
        let holders = op.holders(tally);
        op.begin_release(holders);
        self.submit_releases(op, holders, wakes);
        self.counters.released.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Queues releases of a failed attempt: what was granted, and what may have been. Grants that
    /// are still to come are released by the driver that sees them.
    pub(crate) fn undo(&self, op: &Arc<Op>, tally: Tally, wakes: &mut Wakes) {
        let mut holders = tally.set(Vote::Granted) | tally.set(Vote::Unknown);
        if let Some(ticket) = &op.ticket {
            self.decide_hand_on(op, ticket);
            holders |= op.asked();
        }
        op.begin_release(holders);
        self.submit_releases(op, holders, wakes);
    }

    fn submit_releases(&self, op: &Arc<Op>, holders: u16, wakes: &mut Wakes) {
        if holders == 0 {
            return;
        }
        let ttl = op.ttl.max(op.renew_ttl()).saturating_add(self.settings.lock_delay);
        op.owe_until(self.clock.now().plus(ttl).plus(OWED_GRACE));
        for node in self.nodes.iter().filter(|node| holders & (1 << node.index) != 0) {
            wakes.add(node.index, node.submit_release(op));
        }
    }

    /// Announces a loss. The keys stay until the holder lets go or they expire: until its validity
    /// ends the holder may still be winding down.
    pub(crate) fn lose(&self, op: &Arc<Op>, reason: Lost) {
        if op.lose(reason) {
            self.after_loss(op);
        }
    }

    /// What follows from a loss, whoever noticed it: others of this process may try again.
    pub(crate) fn after_loss(&self, op: &Op) {
        self.counters.lost.fetch_add(1, Ordering::Relaxed);
        let mut wakes = Wakes::default();
        self.give_slot_up(op, &mut wakes);
        self.wake(wakes);
    }

    /// The op's resource is free for the next caller of this process (I2).
    pub(crate) fn give_slot_up(&self, op: &Op, wakes: &mut Wakes) {
        if op.has_slot.swap(false, Ordering::AcqRel) {
            self.pass_slot(&op.resource, op.hands_on.load(Ordering::Acquire), wakes);
        }
    }

    /// Hands the slot to the next waiter and starts its attempt, so that its SETs can leave in the
    /// same write as the releases before them.
    pub(crate) fn pass_slot(&self, resource: &Resource, hands_on: bool, wakes: &mut Wakes) {
        loop {
            let now = || self.clock.now();
            let passed = self.waiters.pass(resource, now, || self.rng.next());
            let Some((next, pause)) = passed else { return };
            // Those who wait in line need no gap to be seen.
            let pause = pause.filter(|_| !self.may_queue());
            let mut place = next.place();
            if !matches!(*place, Place::Queued) {
                continue;
            }
            let started = match pause {
                Some(_) => None,
                // The lock goes to another process: in line behind those who wait already.
                None if hands_on && self.may_queue() => {
                    self.ticket(resource, next.ttl, next.fenced, None).ok()
                }
                None => self.attempt(resource, next.ttl, next.fenced).ok(),
            };
            let Some(op) = started else {
                *place = Place::Called(pause);
                drop(place);
                next.waker.wake();
                return;
            };
            if let Some(waker) = next.waker.take() {
                op.waker.register(&waker);
            }
            *place = Place::Started(Arc::clone(&op));
            drop(place);
            if op.ticket.as_ref().is_some_and(|ticket| ticket.is_queued()) {
                // Shown to too few, it is given up when it looks again.
                self.show(&op, 0, wakes);
            } else {
                self.submit(&op, wakes);
            }
            return;
        }
    }

    /// No new acquisitions from here on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waiters.wake_all();
    }

    /// Releases every held lock and tells its holder.
    pub(crate) fn release_all(&self) {
        let mut wakes = Wakes::default();
        for op in self.keeper.held() {
            op.lose(Lost::Closed);
            self.let_go(&op, None, &mut wakes);
            op.has_slot.store(false, Ordering::Release);
        }
        self.wake(wakes);
    }

    /// The tasks are to end: what is owed is sent first, for a bounded time.
    pub(crate) fn end(&self) {
        self.closed.store(true, Ordering::Release);
        self.over.store(true, Ordering::Release);
        for node in &self.nodes {
            node.closing.store(true, Ordering::Release);
            node.waker.wake();
        }
        self.keeper.nudge();
    }

    /// Have all drivers ended?
    pub(crate) fn has_ended(&self) -> bool {
        self.nodes.iter().all(|node| node.health() == Health::Closed)
    }
}

impl Wakes {
    pub(crate) fn add(&mut self, node: usize, wake: bool) {
        self.0 |= u16::from(wake) << node;
    }
}
