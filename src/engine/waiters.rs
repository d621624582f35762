//! The queue in front of each resource: one contender of this process at a time, first come first
//! served.
//!
//! - I1 a resource's slot belongs to one attempt or one lease at a time; it passes on exactly once
//!   per owner.
//! - I2 callers get the slot in the order in which they came; one that left is passed over.
//! - I3 a waiter costs neither a task nor a timer of its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use atomic_waker::AtomicWaker;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::algorithm::backoff::Turn;
use crate::config::Keep;
use crate::engine::op::Op;
use crate::resource::Resource;
use crate::time::Timestamp;

/// One caller in a queue, or one that sleeps between attempts.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) waker: AtomicWaker,
    /// What its attempt is to ask for.
    pub(crate) ttl: Duration,
    /// How its lease is to be kept.
    pub(crate) keep: Keep,
    /// Whether it wants a fencing token of its own.
    pub(crate) fenced: bool,
    state: Mutex<Place>,
}

/// Where a waiter stands.
#[derive(Debug)]
pub(crate) enum Place {
    Queued,
    /// The slot is its own; whoever passed it on has started its attempt already.
    Started(Arc<Op>),
    /// The slot is its own, and so is the lease of the one who handed both on.
    Handed(Arc<Op>),
    /// The slot is its own; it starts by itself, after a pause if one is due.
    Called(Option<Duration>),
    /// It left, or has taken note of its call.
    Gone,
}

impl Waiter {
    pub(crate) fn new(ttl: Duration, keep: Keep, fenced: bool) -> Self {
        Self { waker: AtomicWaker::new(), ttl, keep, fenced, state: Mutex::new(Place::Queued) }
    }

    pub(crate) fn place(&self) -> MutexGuard<'_, Place> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Small: each cache line of it is a miss, twice per lock.
#[derive(Debug)]
struct Slot {
    resource: Resource,
    queue: VecDeque<Arc<Waiter>>,
    /// Waiters in the queue that left.
    gone: u32,
    /// Another process waits for the lock: its release is to hand it on.
    awaited: bool,
    turn: Turn,
}

/// Some of the slots. A request for a lock comes here twice, and hashes its name once each time.
type Shard = HashTable<Slot>;

#[derive(Debug)]
pub(crate) struct Waiters {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    waiting: AtomicUsize,
    /// Slots that are awaited.
    awaited: AtomicUsize,
}

const SHARDS: usize = 32;
/// Callers that one process may have waiting, over all resources.
pub(crate) const WAITING_MAX: usize = 1 << 20;

/// What became of a claim.
#[derive(Debug)]
pub(crate) enum Claim {
    /// The slot was free and is the caller's now.
    Taken,
    /// Somebody has it, and the caller did not want to queue (or the queues are full).
    Occupied,
    Queued(Arc<Waiter>),
}

impl Slot {
    fn new(resource: Resource, now: Timestamp) -> Self {
        Self { resource, queue: VecDeque::new(), gone: 0, awaited: false, turn: Turn::new(now) }
    }
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            hasher: RandomState::new(),
            waiting: AtomicUsize::new(0),
            awaited: AtomicUsize::new(0),
        }
    }

    /// The shard of `resource`, and its hash.
    fn shard(&self, resource: &[u8]) -> Option<(MutexGuard<'_, Shard>, u64)> {
        let hash = self.hasher.hash_one(resource);
        // The table uses the low bits and the top seven; these are neither.
        let shard = self.shards.get((hash >> 32) as usize % SHARDS)?;
        Some((shard.lock().unwrap_or_else(PoisonError::into_inner), hash))
    }

    /// Does `look` with the slot of `resource`, if there is one.
    fn with_slot<T>(&self, resource: &[u8], look: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let (mut shard, hash) = self.shard(resource)?;
        shard.find_mut(hash, |slot| slot.resource.as_bytes() == resource).map(look)
    }

    /// Takes the slot if it is free; otherwise queues up, with `waiter()`'s waiter.
    pub(crate) fn claim(
        &self,
        resource: &Resource,
        now: Timestamp,
        waiter: impl FnOnce() -> Option<Waiter>,
    ) -> Claim {
        let Some((mut shard, hash)) = self.shard(resource.as_bytes()) else {
            return Claim::Occupied;
        };
        let is_it = |slot: &Slot| slot.resource == *resource;
        let again = |slot: &Slot| self.hasher.hash_one(slot.resource.as_bytes());
        let mut occupied = match shard.entry(hash, is_it, again) {
            Entry::Occupied(occupied) => occupied,
            Entry::Vacant(vacant) => {
                vacant.insert(Slot::new(resource.clone(), now));
                return Claim::Taken;
            }
        };
        if self.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            return Claim::Occupied;
        }
        let Some(waiter) = waiter() else { return Claim::Occupied };
        let waiter = Arc::new(waiter);
        occupied.get_mut().queue.push_back(Arc::clone(&waiter));
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Claim::Queued(waiter)
    }

    /// Gives the slot up: to the next waiter and the pause it must leave for other processes, or
    /// to nobody. The waiter is still [`Place::Queued`] and may have left: the caller checks.
    pub(crate) fn pass(
        &self,
        resource: &Resource,
        now: impl FnOnce() -> Timestamp,
        bits: impl FnOnce() -> u64,
    ) -> Option<(Arc<Waiter>, Option<Duration>)> {
        let (mut shard, hash) = self.shard(resource.as_bytes())?;
        let mut entry = shard.find_entry(hash, |slot| slot.resource == *resource).ok()?;
        loop {
            let slot = entry.get_mut();
            let Some(next) = slot.queue.pop_front() else {
                if slot.awaited {
                    self.awaited.fetch_sub(1, Ordering::Relaxed);
                }
                entry.remove();
                return None;
            };
            if matches!(*next.place(), Place::Gone) {
                slot.gone = slot.gone.saturating_sub(1);
                continue;
            }
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Some((next, slot.turn.pass(now(), bits())));
        }
    }

    /// Hands the slot and what is in it to the first waiter, if this process's turn is not over
    /// and `give` has a place for that waiter: it is [`Place::Queued`], and cannot leave meanwhile.
    pub(crate) fn hand_on(
        &self,
        resource: &Resource,
        now: Timestamp,
        give: impl FnOnce(&Waiter) -> Option<Place>,
    ) -> Option<Arc<Waiter>> {
        let (mut shard, hash) = self.shard(resource.as_bytes())?;
        let slot = shard.find_mut(hash, |slot| slot.resource == *resource)?;
        if slot.turn.is_over(now) {
            return None;
        }
        loop {
            let next = slot.queue.pop_front()?;
            let mut place = next.place();
            if matches!(*place, Place::Gone) {
                drop(place);
                slot.gone = slot.gone.saturating_sub(1);
                continue;
            }
            let Some(given) = give(&next) else {
                drop(place);
                slot.queue.push_front(next);
                return None;
            };
            *place = given;
            drop(place);
            slot.turn.count();
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Some(next);
        }
    }

    /// A queued waiter leaves. `false`: it has been called already, and the slot is its own.
    pub(crate) fn leave(&self, resource: &Resource, waiter: &Waiter) -> bool {
        let Some((mut shard, hash)) = self.shard(resource.as_bytes()) else { return true };
        {
            let mut place = waiter.place();
            if !matches!(*place, Place::Queued) {
                return false;
            }
            *place = Place::Gone;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(slot) = shard.find_mut(hash, |slot| slot.resource == *resource) {
            slot.gone += 1;
            // Swept when half the queue is gone: constant work per waiter in the mean.
            if slot.gone as usize * 2 > slot.queue.len() {
                slot.queue.retain(|waiter| !matches!(*waiter.place(), Place::Gone));
                slot.gone = 0;
            }
        }
        true
    }

    /// Another process had the lock: this process keeps its turns short.
    pub(crate) fn contended(&self, resource: &Resource, now: Timestamp) {
        self.with_slot(resource.as_bytes(), |slot| slot.turn.contended(now));
    }

    /// Another process waits for this lock. `false`: nobody here holds or wants it.
    pub(crate) fn is_awaited(&self, resource: &[u8]) -> bool {
        let awaited = |slot: &mut Slot| {
            if !std::mem::replace(&mut slot.awaited, true) {
                self.awaited.fetch_add(1, Ordering::Relaxed);
            }
        };
        self.with_slot(resource, awaited).is_some()
    }

    /// Whether another process was waiting; not any more, it is being handed the lock. Costs one
    /// load while nobody waits for anything.
    pub(crate) fn take_awaited(&self, resource: &Resource) -> bool {
        if self.awaited.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let not_any_more = |slot: &mut Slot| {
            let was = std::mem::take(&mut slot.awaited);
            if was {
                self.awaited.fetch_sub(1, Ordering::Relaxed);
            }
            was
        };
        self.with_slot(resource.as_bytes(), not_any_more).unwrap_or(false)
    }

    /// Callers in queues.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Wakes every queued caller: the client is closing.
    pub(crate) fn wake_all(&self) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for waiter in shard.iter().flat_map(|slot| &slot.queue) {
                waiter.waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::ZERO;
    const KEEP: Keep = Keep { renew: false, max_hold: Duration::ZERO };

    fn queue(waiters: &Waiters, resource: &Resource) -> Arc<Waiter> {
        match waiters.claim(resource, NOW, || Some(Waiter::new(Duration::ZERO, KEEP, false))) {
            Claim::Queued(waiter) => waiter,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn i2_the_slot_passes_in_order_and_skips_those_who_left() {
        let waiters = Waiters::new();
        let resource = Resource::from("r");
        assert!(matches!(waiters.claim(&resource, NOW, || None), Claim::Taken));
        assert!(matches!(waiters.claim(&resource, NOW, || None), Claim::Occupied));
        let queued: Vec<_> = (0..5).map(|_| queue(&waiters, &resource)).collect();
        assert_eq!(waiters.waiting(), 5);
        assert!(waiters.leave(&resource, &queued[0]));
        assert!(waiters.leave(&resource, &queued[2]));
        assert!(waiters.leave(&resource, &queued[4]));
        for expected in [1, 3] {
            let (next, pause) = waiters.pass(&resource, || NOW, || 0).unwrap();
            assert!(Arc::ptr_eq(&next, &queued[expected]));
            assert_eq!(pause, None);
        }
        assert!(waiters.pass(&resource, || NOW, || 0).is_none());
        assert_eq!(waiters.waiting(), 0);
        assert!(matches!(waiters.claim(&resource, NOW, || None), Claim::Taken));
    }

    #[test]
    fn i1_a_called_waiter_cannot_leave_unnoticed() {
        let waiters = Waiters::new();
        let resource = Resource::from("r");
        assert!(matches!(waiters.claim(&resource, NOW, || None), Claim::Taken));
        let waiter = queue(&waiters, &resource);
        let (next, _) = waiters.pass(&resource, || NOW, || 0).unwrap();
        *next.place() = Place::Called(None);
        assert!(!waiters.leave(&resource, &waiter));
    }

    #[test]
    fn those_who_left_do_not_pile_up() {
        let waiters = Waiters::new();
        let resource = Resource::from("r");
        assert!(matches!(waiters.claim(&resource, NOW, || None), Claim::Taken));
        let stays = queue(&waiters, &resource);
        for _ in 0..10_000 {
            let leaves = queue(&waiters, &resource);
            assert!(waiters.leave(&resource, &leaves));
        }
        let length = waiters.with_slot(resource.as_bytes(), |slot| slot.queue.len()).unwrap();
        assert!(length < 8, "{length} in the queue");
        let (next, _) = waiters.pass(&resource, || NOW, || 0).unwrap();
        assert!(Arc::ptr_eq(&next, &stays));
    }
}
