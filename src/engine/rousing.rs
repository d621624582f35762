//! How callers are woken whose answers came in one read.
//!
//! On a runtime of several workers, a task that one of them wakes unparks another. On a busy
//! machine that one takes the CPU at once, finds this one task, runs it and parks again: a read
//! with a hundred answers made a hundred pairs of context switches. Of 1 024 callers, 307 200 locks
//! took 60 000 on two cores, 5 000 since, and a quarter less of the client's CPU. To wake them all
//! behind the read is no better, for each wake-up is one. So the host wakes two, and whoever of
//! them comes back to wait for the nodes wakes two more: a worker that was unparked finds more to
//! do the more it does.
//!
//! ```text
//!   votes of a read ──► queue ──┬─ two at once
//!                               ├─ two by each caller that begins to wait
//!                               └─ some by each turn of the host, until nobody is left
//! ```
//! - I1 nobody waits for what woken callers do: one that is not polled, or runs for long, wakes
//!   nobody, and the host's next turns wake them all.
//! - I2 they are woken in the order in which they were answered.
//! - I3 a caller wakes others when its own task is about to wait, not when it has got its lock: the
//!   last one that it wakes may be left to its worker (tokio's LIFO slot), and would wait for
//!   whatever it does with the lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use atomic_waker::AtomicWaker;

/// The callers that are still to be woken; see the module's head.
#[derive(Debug)]
pub(crate) struct Rousing {
    /// Whether there are other workers that a wake-up may unpark.
    is_gradual: bool,
    waiting: AtomicUsize,
    queue: Mutex<VecDeque<Waker>>,
}

/// Woken at once, and by each caller that begins to wait: of two, one goes on where that one stops,
/// and the other may be taken by another worker.
const FANOUT: usize = 2;
/// Woken by each turn of the host, behind which it lets them run.
const PER_TURN: usize = 16;

impl Rousing {
    /// `is_gradual`: on a runtime of several workers.
    pub(crate) const fn new(is_gradual: bool) -> Self {
        Self { is_gradual, waiting: AtomicUsize::new(0), queue: Mutex::new(VecDeque::new()) }
    }

    /// A caller's answer is there: wakes it, or notes in `calls` that it is to be woken when the
    /// read is dealt with.
    pub(crate) fn call(&self, caller: &AtomicWaker, calls: &mut Vec<Waker>) {
        if self.is_gradual {
            calls.extend(caller.take());
        } else {
            caller.wake();
        }
    }

    /// A read is dealt with: wakes the first of `calls`, and queues the others.
    pub(crate) fn rouse(&self, calls: &mut Vec<Waker>) {
        // I2
        if calls.len() > FANOUT || self.is_waiting() {
            let mut queue = self.queue();
            queue.extend(calls.drain(..));
            self.note(&queue);
            drop(queue);
            self.wake_some(FANOUT);
        } else {
            calls.drain(..).for_each(Waker::wake);
        }
    }

    /// A caller is about to wait (I3), and wakes others. Costs one load while there are none.
    pub(crate) fn help(&self) {
        if self.is_waiting() {
            self.wake_some(FANOUT);
        }
    }

    /// A turn of the host, which must come again while anybody is waiting.
    pub(crate) fn turn(&self) {
        if self.is_waiting() {
            self.wake_some(PER_TURN);
        }
    }

    /// The host ends: wakes everybody.
    pub(crate) fn end(&self) {
        while self.is_waiting() {
            self.turn();
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Outside the lock: a waker may do anything.
    fn wake_some(&self, most: usize) {
        let mut some = [const { None }; PER_TURN];
        let mut queue = self.queue();
        for place in some.iter_mut().take(most) {
            *place = queue.pop_front();
        }
        self.note(&queue);
        drop(queue);
        some.into_iter().flatten().for_each(Waker::wake);
    }

    fn note(&self, queue: &VecDeque<Waker>) {
        self.waiting.store(queue.len(), Ordering::Release);
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waker>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    /// Notes the order in which callers are woken.
    struct Caller(usize, Arc<Mutex<Vec<usize>>>);

    impl Wake for Caller {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    fn callers(count: usize) -> (Vec<Waker>, Arc<Mutex<Vec<usize>>>) {
        let woken = Arc::default();
        let caller = |at| Waker::from(Arc::new(Caller(at, Arc::clone(&woken))));
        ((0..count).map(caller).collect(), woken)
    }

    #[test]
    fn i1_turns_alone_wake_everybody_once_and_i2_in_order() {
        let rousing = Rousing::new(true);
        let (mut calls, woken) = callers(100);
        rousing.rouse(&mut calls);
        assert!(calls.is_empty());
        assert_eq!(*woken.lock().unwrap(), [0, 1], "the others wait");
        let mut turns = 0;
        while rousing.is_waiting() {
            rousing.turn();
            turns += 1;
        }
        assert_eq!(turns, 98_usize.div_ceil(PER_TURN));
        assert_eq!(*woken.lock().unwrap(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_begins_to_wait_wakes_two_more() {
        let rousing = Rousing::new(true);
        let (mut calls, woken) = callers(5);
        rousing.rouse(&mut calls);
        rousing.help();
        assert_eq!(*woken.lock().unwrap(), [0, 1, 2, 3]);
        rousing.help();
        rousing.help();
        assert_eq!(*woken.lock().unwrap(), [0, 1, 2, 3, 4]);
        assert!(!rousing.is_waiting(), "nobody is left for the host");
    }

    #[test]
    fn a_later_read_queues_behind_an_earlier_one() {
        let rousing = Rousing::new(true);
        let (mut all, woken) = callers(8);
        let mut later = all.split_off(6);
        rousing.rouse(&mut all);
        rousing.rouse(&mut later);
        assert_eq!(*woken.lock().unwrap(), [0, 1, 2, 3]);
        rousing.end();
        assert_eq!(*woken.lock().unwrap(), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn where_there_is_one_worker_callers_are_woken_at_once() {
        let (wakers, woken) = callers(2);
        let mut calls = Vec::new();
        for (is_gradual, caller) in [false, true].into_iter().zip(wakers) {
            let slot = AtomicWaker::new();
            slot.register(&caller);
            Rousing::new(is_gradual).call(&slot, &mut calls);
        }
        assert_eq!((woken.lock().unwrap().clone(), calls.len()), (vec![0], 1));
    }
}
