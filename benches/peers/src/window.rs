//! One measured window: what the tasks write while they run and the observer reads.
//!
//! Invariants:
//! 1. A task's counters have one writer, so counting costs no locked instruction and no shared
//!    cache line.
//! 2. Latencies are recorded only between the observer's `measure` and `stop`.

use std::cell::OnceCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::ledger::{Entry, Ledger};

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

const HIGHEST_NS: u64 = 120_000_000_000;

/// Counters of one task, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct TaskCounters {
    cycles: AtomicU64,
    /// When the pending acquire began, in ns since the window's epoch; 0 when none is pending.
    waiting_since_ns: AtomicU64,
    max_wait_ns: AtomicU64,
}

impl TaskCounters {
    pub(crate) fn cycles(&self) -> u64 {
        self.cycles.load(Relaxed)
    }

    pub(crate) fn add_cycle(&self) {
        self.cycles.store(self.cycles.load(Relaxed) + 1, Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct Latencies {
    pub(crate) acquire: Histogram<u64>,
    pub(crate) cycle: Histogram<u64>,
    pub(crate) held: Duration,
}

impl Latencies {
    #[expect(clippy::expect_used, reason = "the bounds are constants and valid")]
    pub(crate) fn new() -> Self {
        let empty = Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("valid bounds");
        Self { acquire: empty.clone(), cycle: empty, held: Duration::ZERO }
    }
}

#[derive(Debug)]
pub(crate) struct Window {
    epoch: Instant,
    phase: AtomicU8,
    pub(crate) tasks: Vec<TaskCounters>,
    /// One recorder per thread; its lock is contended only when the window is read.
    recorders: Mutex<Vec<Arc<Mutex<Latencies>>>>,
    errors: AtomicU64,
    first_error: Mutex<Option<String>>,
    // On one key: is it held (by our own account), and by whom last.
    is_held: AtomicBool,
    last_holder: AtomicUsize,
    pub(crate) violations: AtomicU64,
    pub(crate) changes: AtomicU64,
    /// Of the changes, those from a task of another process.
    pub(crate) crossings: AtomicU64,
    /// Where other processes take part.
    ledger: Option<Ledger>,
}

impl Window {
    pub(crate) fn new(tasks: usize, ledger: Option<Ledger>) -> Self {
        Self {
            epoch: Instant::now(),
            phase: AtomicU8::new(WARM_UP),
            tasks: (0..tasks).map(|_| TaskCounters::default()).collect(),
            recorders: Mutex::new(Vec::new()),
            errors: AtomicU64::new(0),
            first_error: Mutex::new(None),
            is_held: AtomicBool::new(false),
            last_holder: AtomicUsize::new(usize::MAX),
            violations: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            crossings: AtomicU64::new(0),
            ledger,
        }
    }

    pub(crate) fn measure(&self) {
        self.phase.store(MEASURE, Release);
    }

    pub(crate) fn stop(&self) {
        self.phase.store(STOP, Release);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.phase.load(Acquire) == STOP
    }

    pub(crate) fn is_measuring(&self) -> bool {
        self.phase.load(Relaxed) == MEASURE
    }

    pub(crate) fn total_cycles(&self) -> u64 {
        self.tasks.iter().map(TaskCounters::cycles).sum()
    }

    pub(crate) fn record(&self, acquire: Duration, held: Duration, cycle: Duration) {
        if !self.is_measuring() {
            return;
        }
        thread_local! {
            static RECORDER: OnceCell<Arc<Mutex<Latencies>>> = const { OnceCell::new() };
        }
        RECORDER.with(|cell| {
            let recorder = cell.get_or_init(|| {
                let fresh = Arc::new(Mutex::new(Latencies::new()));
                let mut all = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(Arc::clone(&fresh));
                fresh
            });
            let mut latencies = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.acquire.saturating_record(acquire.as_nanos() as u64);
            latencies.cycle.saturating_record(cycle.as_nanos() as u64);
            latencies.held += held;
        });
    }

    /// All threads' latencies in one.
    pub(crate) fn latencies(&self) -> Latencies {
        let mut sum = Latencies::new();
        for recorder in self.recorders.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let one = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            // Same bounds on both sides: adding cannot fail.
            let _ = sum.acquire.add(&one.acquire);
            let _ = sum.cycle.add(&one.cycle);
            sum.held += one.held;
        }
        sum
    }

    pub(crate) fn error(&self, text: impl FnOnce() -> String) {
        self.errors.fetch_add(1, Relaxed);
        let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(text);
    }

    pub(crate) fn errors(&self) -> (u64, Option<String>) {
        let first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        (self.errors.load(Relaxed), first.clone())
    }

    pub(crate) fn wait_begins(&self, task: usize, now: Instant) {
        let since = now.duration_since(self.epoch).as_nanos() as u64;
        if let Some(counters) = self.tasks.get(task) {
            counters.waiting_since_ns.store(since.max(1), Relaxed);
        }
    }

    /// Answers how long the task waited.
    pub(crate) fn wait_ends(&self, task: usize, now: Instant) -> Duration {
        let Some(counters) = self.tasks.get(task) else { return Duration::ZERO };
        let since = counters.waiting_since_ns.swap(0, Relaxed);
        let waited = (now.duration_since(self.epoch).as_nanos() as u64).saturating_sub(since);
        if self.is_measuring() {
            let longest = counters.max_wait_ns.load(Relaxed).max(waited);
            counters.max_wait_ns.store(longest, Relaxed);
        }
        Duration::from_nanos(waited)
    }

    /// The longest wait of any task, those that have not ended included.
    pub(crate) fn max_wait(&self) -> Duration {
        let now = self.epoch.elapsed().as_nanos() as u64;
        let longest = self.tasks.iter().map(|task| {
            let pending = match task.waiting_since_ns.load(Relaxed) {
                0 => 0,
                since => now.saturating_sub(since),
            };
            task.max_wait_ns.load(Relaxed).max(pending)
        });
        Duration::from_nanos(longest.max().unwrap_or(0))
    }

    /// Notes that `task` holds the one key of a contended cell.
    pub(crate) fn enters(&self, task: usize) {
        if self.is_held.swap(true, Acquire) {
            self.violations.fetch_add(1, Relaxed);
        }
        // Holders exclude each other, so this pair of accesses needs no more than that.
        let is_change = self.last_holder.swap(task, Relaxed) != task;
        let entry = match &self.ledger {
            Some(ledger) => ledger.enters(task as u32),
            None => Ok(if is_change { Entry::Passed } else { Entry::Same }),
        };
        let counters: &[&AtomicU64] = match entry {
            Ok(Entry::Broken) => &[&self.violations],
            Ok(Entry::Crossed) => &[&self.changes, &self.crossings],
            Ok(Entry::Passed) => &[&self.changes],
            Ok(Entry::Same) => &[],
            Err(error) => return self.error(|| format!("ledger: {error}")),
        };
        for counter in counters {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// The counterpart of [`Window::enters`], before the release is sent.
    pub(crate) fn leaves(&self) {
        if let Some(Err(error)) = self.ledger.as_ref().map(Ledger::leaves) {
            self.error(|| format!("ledger: {error}"));
        }
        self.is_held.store(false, Release);
    }
}
