//! The hand-over from the pacer to the clients of a process: arrivals wait here until a client is
//! free.
//!
//! Invariants:
//! 1. Arrivals leave in the order they came; none is lost or given twice.
//! 2. The pacer keeps it at `--max-in-flight` at most, so it is bounded.
//! 3. After [`Queue::close`] every client sees the end at once; arrivals still inside are counted.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::plan::Section;

#[derive(Debug, Default)]
struct State {
    arrivals: VecDeque<Section>,
    idle: VecDeque<Waker>,
    closed: bool,
    finished: bool,
}

/// Many tasks take, one thread gives.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().arrivals.len()
    }

    /// Adds `due` and wakes as many idle clients.
    pub(crate) fn give(&self, due: &mut Vec<Section>) {
        let mut woken = Vec::new();
        {
            let mut state = self.lock();
            for section in due.drain(..) {
                state.arrivals.push_back(section);
                woken.extend(state.idle.pop_front());
            }
        }
        woken.into_iter().for_each(Waker::wake);
    }

    /// No more arrivals will come; clients stop when the rest is taken.
    pub(crate) fn finish(&self) {
        self.end(|state| state.finished = true);
    }

    /// Clients stop now.
    pub(crate) fn close(&self) {
        self.end(|state| state.closed = true);
    }

    fn end(&self, mark: impl FnOnce(&mut State)) {
        let idle = {
            let mut state = self.lock();
            mark(&mut state);
            std::mem::take(&mut state.idle)
        };
        idle.into_iter().for_each(Waker::wake);
    }

    /// The next arrival, or `None` at the end.
    pub(crate) async fn take(&self) -> Option<Section> {
        poll_fn(|context| self.poll_take(context)).await
    }

    fn poll_take(&self, context: &Context<'_>) -> Poll<Option<Section>> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(None);
        }
        match state.arrivals.pop_front() {
            Some(section) => Poll::Ready(Some(section)),
            None if state.finished => Poll::Ready(None),
            None => {
                state.idle.push_back(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The instants of the arrivals nobody took.
    pub(crate) fn left_over(&self) -> Vec<u64> {
        self.lock().arrivals.iter().map(|section| section.intended_ns).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn everything_given_is_taken_once_and_the_end_is_seen_by_all() {
        let queue = Arc::new(Queue::default());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let queue = Arc::clone(&queue);
                runtime.spawn(async move {
                    let mut taken = Vec::new();
                    while let Some(section) = queue.take().await {
                        taken.push(section.intended_ns);
                    }
                    taken
                })
            })
            .collect();
        for chunk in 0..100_u64 {
            let section = |n| Section { intended_ns: chunk * 10 + n, key: 0, hold_ns: 0, draw: 0 };
            queue.give(&mut (0..10).map(section).collect());
        }
        queue.finish();
        let mut all: Vec<u64> =
            takers.into_iter().flat_map(|taker| runtime.block_on(taker).unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_closed_queue_keeps_what_nobody_took() {
        let queue = Queue::default();
        queue.give(&mut vec![Section { intended_ns: 7, key: 0, hold_ns: 0, draw: 0 }]);
        queue.close();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(queue.take()), None);
        assert_eq!((queue.left_over(), queue.len()), (vec![7], 1));
    }
}
