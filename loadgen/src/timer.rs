//! Deadlines finer than the runtime's: a thread of its own sleeps to the earliest one and wakes the
//! task. The runtime's wheel has a grain of 1 ms; this overshoots by tens of microseconds, and the
//! hold times that came out are measured anyway.
//!
//! Invariants:
//! 1. A deadline that was registered is woken at or after its instant, never lost.
//! 2. At most one entry per waiting future and poll; a dropped future leaves at most a spurious
//!    wake.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock;

#[derive(Debug, Default)]
struct State {
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    /// Wakers by sequence number; the heap orders numbers, not wakers.
    wakers: std::collections::HashMap<u64, Waker>,
    next: u64,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    earlier: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle; the thread ends with it.
#[derive(Debug)]
pub(crate) struct Timer {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Timer {
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("hold-timer".to_owned()).spawn(move || {
                clock::sharpen_timers();
                run(&theirs);
            })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Completes at `deadline_ns`, at once if that has passed.
    pub(crate) fn until(&self, deadline_ns: u64) -> Until<'_> {
        Until { shared: &self.shared, deadline_ns, registered: None }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.earlier.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared) {
    let mut due = Vec::new();
    let mut state = shared.lock();
    loop {
        let now = clock::now_ns();
        while let Some(&Reverse((deadline_ns, number))) = state.heap.peek()
            && deadline_ns <= now
        {
            state.heap.pop();
            due.extend(state.wakers.remove(&number));
        }
        if !due.is_empty() {
            drop(state);
            due.drain(..).for_each(Waker::wake);
            state = shared.lock();
            continue;
        }
        if state.closed {
            return;
        }
        state = match state.heap.peek() {
            None => shared.earlier.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(&Reverse((deadline_ns, _))) => {
                let span = Duration::from_nanos(deadline_ns - now);
                shared.earlier.wait_timeout(state, span).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

/// See [`Timer::until`].
#[derive(Debug)]
pub(crate) struct Until<'a> {
    shared: &'a Shared,
    deadline_ns: u64,
    registered: Option<u64>,
}

impl Future for Until<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if clock::now_ns() >= self.deadline_ns {
            return Poll::Ready(());
        }
        let mut state = self.shared.lock();
        if let Some(waker) = self.registered.and_then(|number| state.wakers.get_mut(&number)) {
            waker.clone_from(context.waker());
            return Poll::Pending;
        }
        let number = state.next;
        state.next += 1;
        let is_first =
            state.heap.peek().is_none_or(|Reverse((first, _))| self.deadline_ns < *first);
        state.heap.push(Reverse((self.deadline_ns, number)));
        state.wakers.insert(number, context.waker().clone());
        drop(state);
        self.registered = Some(number);
        if is_first {
            self.shared.earlier.notify_one();
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_reached_in_any_order_and_never_early() {
        let timer = Arc::new(Timer::start().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let begin = clock::now_ns();
        let waits: Vec<_> = [3_000_000, 300_000, 0, 1_000_000, 300_000]
            .into_iter()
            .map(|after| {
                let (timer, deadline) = (Arc::clone(&timer), begin + after);
                runtime.spawn(async move {
                    timer.until(deadline).await;
                    clock::now_ns() >= deadline
                })
            })
            .collect();
        for wait in waits {
            assert!(runtime.block_on(wait).unwrap());
        }
    }
}
