//! The hand-over from the pacer to the clients of a process: arrivals wait here until a client is
//! free.
//!
//! Invariants:
//! 1. Arrivals leave in the order they came; none is lost or given twice.
//! 2. The pacer keeps it at `--max-in-flight` at most, so it is bounded.
//! 3. After [`Queue::close`] every client sees the end at once; arrivals still inside are counted.
//! 4. With `--catch-up`, arrivals that a stall made late start no denser than so many times the
//!    rate: at so small a share of their planned gaps. Their planned instants stay, and so does
//!    the delay in their response times.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::clock::{self, NS_PER_MS};
use crate::plan::Section;

/// Later than this, an arrival was held up by a stall: sleeps overshoot by less.
const STALLED_NS: u64 = 5 * NS_PER_MS;

#[derive(Debug, Default)]
struct State {
    arrivals: VecDeque<Section>,
    idle: VecDeque<Waker>,
    closed: bool,
    finished: bool,
    /// Of the last arrival taken: its planned instant and when it starts. Kept with `--catch-up`.
    last: Option<(u64, u64)>,
}

/// What was taken from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) section: Section,
    /// Not to be started before; 0: at once.
    pub(crate) not_before_ns: u64,
}

/// Many tasks take, one thread gives.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// With `--catch-up`: the share of its planned gap that a late arrival keeps to the one before.
    gap_share: Option<f64>,
}

impl Queue {
    /// A queue that catches up with at most `catch_up` times the rate; `None`: at once.
    pub(crate) fn new(catch_up: Option<f64>) -> Self {
        let gap_share = catch_up.map(|times| 1.0 / times.max(1.0));
        Self { state: Mutex::default(), gap_share }
    }

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

    /// The next arrival of a run that began at `start_ns`, or `None` at the end.
    pub(crate) async fn take(&self, start_ns: u64) -> Option<Taken> {
        poll_fn(|context| self.poll_take(context, start_ns)).await
    }

    fn poll_take(&self, context: &Context<'_>, start_ns: u64) -> Poll<Option<Taken>> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(None);
        }
        match state.arrivals.pop_front() {
            Some(section) => {
                let share = self.gap_share;
                let not_before_ns = share
                    .map_or(0, |share| state.spaced(section, start_ns, clock::now_ns(), share));
                Poll::Ready(Some(Taken { section, not_before_ns }))
            }
            None if state.finished => Poll::Ready(None),
            None => {
                state.idle.push_back(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The arrivals nobody took.
    pub(crate) fn left_over(&self) -> Vec<Section> {
        self.lock().arrivals.iter().copied().collect()
    }
}

impl State {
    /// When `section` may start: now, unless it is late and the one before it started just now.
    fn spaced(&mut self, section: Section, start_ns: u64, now: u64, gap_share: f64) -> u64 {
        let intended_ns = start_ns.saturating_add(section.intended_ns);
        let at = match self.last {
            Some((before_ns, began_ns)) if now.saturating_sub(intended_ns) > STALLED_NS => {
                let gap_ns = intended_ns.saturating_sub(before_ns) as f64 * gap_share;
                now.max(began_ns.saturating_add(crate::num::floor_u64(gap_ns)))
            }
            _ => now,
        };
        self.last = Some((intended_ns, at));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn section(intended_ns: u64) -> Section {
        Section { intended_ns, key: 0, hold_ns: 0, draw: 0, workload: 0 }
    }

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
                    while let Some(taken_now) = queue.take(0).await {
                        taken.push(taken_now.section.intended_ns);
                    }
                    taken
                })
            })
            .collect();
        for chunk in 0..100_u64 {
            queue.give(&mut (0..10).map(|n| section(chunk * 10 + n)).collect());
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
        queue.give(&mut vec![section(7)]);
        queue.close();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(queue.take(0)), None);
        assert_eq!((queue.left_over(), queue.len()), (vec![section(7)], 1));
    }

    #[test]
    fn after_a_stall_arrivals_start_at_a_multiple_of_the_rate_until_they_are_on_time() {
        // Planned 1 ms apart; nobody took anything for 100 ms. At twice the rate.
        let mut state = State::default();
        let mut now = 0;
        let mut starts = Vec::new();
        for n in 0..400_u64 {
            let intended_ns = n * NS_PER_MS;
            let section = section(intended_ns);
            let stalled = if (100..200).contains(&n) { 200 * NS_PER_MS } else { 0 };
            now = now.max(intended_ns).max(stalled);
            now = state.spaced(section, 0, now, 0.5);
            starts.push(now);
        }
        assert_eq!(starts[99], 99 * NS_PER_MS);
        assert_eq!((starts[100], starts[101]), (200 * NS_PER_MS, 200_500_000));
        assert_eq!(starts[180] - starts[120], 30 * NS_PER_MS, "60 arrivals in half their time");
        assert_eq!(starts[399], 399 * NS_PER_MS, "on time again");
        // 95 ms of delay are made up for at 0.5 ms each; what is below 5 ms at once.
        let late = starts.iter().zip(0..).filter(|&(&at, n)| at > n * NS_PER_MS).count();
        assert!((185..=195).contains(&late), "{late}");
    }
}
