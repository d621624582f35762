//! The queue in front of each resource: one contender of this process at a time, first come first
//! served.
//!
//! - I1 a resource's slot belongs to one attempt or one lease at a time; it passes on exactly once
//!   per owner.
//! - I2 callers get the slot in the order in which they came; one that left is passed over.
//! - I3 a waiter costs neither a task nor a timer of its own.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use atomic_waker::AtomicWaker;

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
    queue: VecDeque<Arc<Waiter>>,
    /// Waiters in the queue that left.
    gone: u32,
    /// Another process waits for the lock: its release is to hand it on.
    awaited: bool,
    turn: Turn,
}

type Shard = HashMap<Resource, Slot, RandomState>;

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

impl Waiters {
    pub(crate) fn new() -> Self {
        let hasher = RandomState::new();
        let shard = || Mutex::new(Shard::with_hasher(hasher.clone()));
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher,
            waiting: AtomicUsize::new(0),
            awaited: AtomicUsize::new(0),
        }
    }

    fn shard(&self, resource: &[u8]) -> Option<MutexGuard<'_, Shard>> {
        let hash = self.hasher.hash_one(resource);
        // The map uses the low bits and the top seven; these are neither.
        let shard = self.shards.get((hash >> 32) as usize % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the slot if it is free; otherwise queues up, with `waiter()`'s waiter.
    pub(crate) fn claim(
        &self,
        resource: &Resource,
        now: Timestamp,
        waiter: impl FnOnce() -> Option<Waiter>,
    ) -> Claim {
        let Some(mut shard) = self.shard(resource.as_bytes()) else { return Claim::Occupied };
        let Some(slot) = shard.get_mut(resource) else {
            let slot =
                Slot { queue: VecDeque::new(), gone: 0, awaited: false, turn: Turn::new(now) };
            shard.insert(resource.clone(), slot);
            return Claim::Taken;
        };
        if self.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            return Claim::Occupied;
        }
        let Some(waiter) = waiter() else { return Claim::Occupied };
        let waiter = Arc::new(waiter);
        slot.queue.push_back(Arc::clone(&waiter));
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
        let mut shard = self.shard(resource.as_bytes())?;
        let slot = shard.get_mut(resource)?;
        loop {
            let Some(next) = slot.queue.pop_front() else {
                if slot.awaited {
                    self.awaited.fetch_sub(1, Ordering::Relaxed);
                }
                shard.remove(resource);
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
        let mut shard = self.shard(resource.as_bytes())?;
        let slot = shard.get_mut(resource)?;
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
        let Some(mut shard) = self.shard(resource.as_bytes()) else { return true };
        {
            let mut place = waiter.place();
            if !matches!(*place, Place::Queued) {
                return false;
            }
            *place = Place::Gone;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(slot) = shard.get_mut(resource) {
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
        if let Some(mut shard) = self.shard(resource.as_bytes())
            && let Some(slot) = shard.get_mut(resource)
        {
            slot.turn.contended(now);
        }
    }

    /// Another process waits for this lock. `false`: nobody here holds or wants it.
    pub(crate) fn is_awaited(&self, resource: &[u8]) -> bool {
        let Some(mut shard) = self.shard(resource) else { return false };
        let Some(slot) = shard.get_mut(resource) else { return false };
        if !std::mem::replace(&mut slot.awaited, true) {
            self.awaited.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Whether another process was waiting; not any more, it is being handed the lock. Costs one
    /// load while nobody waits for anything.
    pub(crate) fn take_awaited(&self, resource: &Resource) -> bool {
        if self.awaited.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let Some(mut shard) = self.shard(resource.as_bytes()) else { return false };
        let slot = shard.get_mut(resource);
        let was = slot.is_some_and(|slot| std::mem::take(&mut slot.awaited));
        if was {
            self.awaited.fetch_sub(1, Ordering::Relaxed);
        }
        was
    }

    /// Callers in queues.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Wakes every queued caller: the client is closing.
    pub(crate) fn wake_all(&self) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for waiter in shard.values().flat_map(|slot| &slot.queue) {
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
        let shard = waiters.shard(resource.as_bytes()).unwrap();
        let length = shard[&resource].queue.len();
        assert!(length < 8, "{length} in the queue");
        drop(shard);
        let (next, _) = waiters.pass(&resource, || NOW, || 0).unwrap();
        assert!(Arc::ptr_eq(&next, &stays));
    }
}
