//! Carries a plan out: breaks nodes at their instants and heals them, whatever happens.
//!
//! It measures nothing but when it did what.
//!
//! Invariants:
//! 1. Every fault that began is healed: at its end, at [`Runner::stop`], or when the runner is
//!    dropped. Stopping starts no further fault.
//! 2. Instants are CLOCK_BOOTTIME ns: `begin_ns` just before the first node is hit, `in_force_ns`
//!    when the last one certainly is (reaped, stopped, under a proxy's new rules), `end_ns` just
//!    before the healing, `healed_ns` when all of them answer. The length of a fault counts from
//!    `in_force_ns`.
//! 3. Faults do not wait for each other: each has a thread of its own.

use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::board::{Board, Lasted};
use super::plan::{Plan, Planned};
use super::{Fault, FaultKind};
use crate::clock::{NS_PER_MS, now_ns};

const HEAL_ATTEMPTS: usize = 3;
/// Between two repetitions of a fault that lasts by them.
const KEEP_UP_NS: u64 = 100 * NS_PER_MS;

/// What can be broken: what a run has, or a stand-in of a test. Errors are for people.
pub(crate) trait Breakable: Send + Sync + 'static {
    /// Begins `fault` on one target; it is in force on return. Of a process of the load: how many
    /// locks it holds.
    fn hit(&self, fault: &Fault, index: usize) -> Result<Option<u64>, String>;
    /// Does again what a fault does that lasts by being repeated.
    fn keep_up(&self, fault: &Fault, index: usize) -> Result<(), String>;
    fn heal(&self, fault: &Fault, index: usize) -> Result<(), String>;
    /// Waits a bounded time until the healed target answers; false if it does not.
    fn answers(&self, fault: &Fault, index: usize) -> bool;
    fn heal_all(&self) -> Result<(), String>;
}

/// What one fault did and when; `None`: not yet, or it failed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FaultRecord {
    /// The place of the fault in the plan.
    pub(crate) number: usize,
    pub(crate) fault: Fault,
    /// Nodes or processes, from 0.
    pub(crate) targets: Vec<usize>,
    pub(crate) begin_ns: u64,
    pub(crate) in_force_ns: Option<u64>,
    pub(crate) end_ns: Option<u64>,
    pub(crate) healed_ns: Option<u64>,
    /// Locks that the processes of the load held that were hit.
    pub(crate) held: Option<u64>,
    /// What went wrong with the breaking or the healing.
    pub(crate) error: Option<String>,
}

/// Where a fault is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// All targets are down.
    InForce,
    /// The healing starts.
    Ending,
    /// The last event of a fault: all targets answer, or `error` says why not.
    Over,
}

/// One step of one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FaultEvent {
    pub(crate) phase: Phase,
    pub(crate) record: FaultRecord,
}

/// What became of a fault; `None`: it never began.
type Done = Option<FaultRecord>;

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until `deadline_ns`; false if asked to stop before.
    fn wait_until(&self, deadline_ns: u64) -> bool {
        let mut asked = self.lock();
        loop {
            if *asked {
                return false;
            }
            let left = deadline_ns.saturating_sub(now_ns());
            if left == 0 {
                return true;
            }
            let waited = self.changed.wait_timeout(asked, Duration::from_nanos(left));
            asked = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A plan being carried out. Dropping it stops and heals.
#[derive(Debug)]
pub(crate) struct Runner {
    stop: Arc<Stop>,
    board: Arc<Board>,
    thread: Option<JoinHandle<Outcome>>,
}

/// All that happened.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Of the faults that began, in the order of the plan.
    pub(crate) records: Vec<FaultRecord>,
    /// Whether every node is up again.
    pub(crate) healed: Result<(), String>,
}

/// Starts `plan` against `nodes`; its instants count from `start_ns`. Events go to `events` as they
/// happen; nobody has to listen.
pub(crate) fn start<B: Breakable>(
    plan: Plan,
    nodes: Arc<B>,
    start_ns: u64,
    events: Sender<FaultEvent>,
) -> io::Result<Runner> {
    let (stop, board) = (Arc::new(Stop::default()), Arc::new(Board::default()));
    let shared = (stop.clone(), board.clone());
    let run = move || run_all(&plan, &*nodes, start_ns, &events, (&shared.0, &shared.1));
    let thread = thread::Builder::new().name("faults".into()).spawn(run)?;
    Ok(Runner { stop, board, thread: Some(thread) })
}

impl Runner {
    /// The faults that have begun so far, and when they were over.
    pub(crate) fn lasted(&self) -> Vec<Lasted> {
        self.board.lasted()
    }

    /// Begins nothing more and lets every fault be healed now, without waiting for that.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.ask();
    }

    /// Waits until the last fault is over.
    #[cfg(test)]
    pub(crate) fn finish(mut self) -> Outcome {
        self.join()
    }

    /// Begins nothing more, heals everything, and waits for that.
    pub(crate) fn stop(mut self) -> Outcome {
        self.stop.ask();
        self.join()
    }

    fn join(&mut self) -> Outcome {
        let nothing = || Outcome { records: Vec::new(), healed: Ok(()) };
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => nothing(),
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its own thread.
            let _ = thread.join();
        }
    }
}

fn run_all<B: Breakable>(
    plan: &Plan,
    nodes: &B,
    start_ns: u64,
    events: &Sender<FaultEvent>,
    (stop, board): (&Stop, &Board),
) -> Outcome {
    let records = thread::scope(|scope| {
        let one = |(number, planned)| {
            let own = events.clone();
            let shared = (stop, board);
            let run = move || run_one(number, planned, nodes, start_ns, &own, shared);
            let thread = thread::Builder::new().name("fault".into()).spawn_scoped(scope, run);
            // Without a thread the faults after it come late, rather than this one never.
            thread.map_err(|_| Box::new(run_one(number, planned, nodes, start_ns, events, shared)))
        };
        let threads: Vec<_> = plan.faults.iter().enumerate().map(one).collect();
        type Begun<'a> = Result<thread::ScopedJoinHandle<'a, Done>, Box<Done>>;
        let record = |thread: Begun<'_>| match thread {
            Ok(thread) => thread.join().ok().flatten(),
            Err(record) => *record,
        };
        threads.into_iter().filter_map(record).collect()
    });
    Outcome { records, healed: nodes.heal_all() }
}

fn run_one<B: Breakable>(
    number: usize,
    planned: &Planned,
    nodes: &B,
    start_ns: u64,
    events: &Sender<FaultEvent>,
    (stop, board): (&Stop, &Board),
) -> Done {
    let Planned { fault, targets } = planned;
    if !stop.wait_until(start_ns.saturating_add(nanos(fault.at))) {
        return None;
    }
    let mut record = FaultRecord {
        number,
        fault: *fault,
        targets: targets.clone(),
        begin_ns: now_ns(),
        in_force_ns: None,
        end_ns: None,
        healed_ns: None,
        held: None,
        error: None,
    };
    board.begin(number, record.begin_ns);
    let tell = |phase, record: &FaultRecord| {
        let _ = events.send(FaultEvent { phase, record: record.clone() });
    };
    match each(targets, |index| nodes.hit(fault, index)) {
        Ok(held) => {
            let in_force_ns = now_ns();
            record.in_force_ns = Some(in_force_ns);
            record.held = held.into_iter().flatten().reduce(u64::saturating_add);
            tell(Phase::InForce, &record);
            let until_ns = in_force_ns.saturating_add(nanos(fault.for_));
            record.error = last(fault, targets, nodes, until_ns, stop).err();
        }
        Err(error) => record.error = Some(error),
    }
    record.end_ns = Some(now_ns());
    tell(Phase::Ending, &record);
    match each(targets, |index| heal(nodes, fault, index)) {
        Ok(_) if targets.iter().all(|index| nodes.answers(fault, *index)) => {
            let healed_ns = now_ns();
            record.healed_ns = Some(healed_ns);
            board.over(number, healed_ns);
        }
        Ok(_) => {
            record.error.get_or_insert_with(|| "it does not answer after the heal".to_owned());
        }
        Err(error) => {
            record.error.get_or_insert(error);
        }
    }
    tell(Phase::Over, &record);
    Some(record)
}

/// Lets the fault last until `until_ns` or the stop.
fn last<B: Breakable>(
    fault: &Fault,
    targets: &[usize],
    nodes: &B,
    until_ns: u64,
    stop: &Stop,
) -> Result<(), String> {
    if fault.kind == FaultKind::TtlShrink {
        while stop.wait_until(until_ns.min(now_ns().saturating_add(KEEP_UP_NS)))
            && now_ns() < until_ns
        {
            each(targets, |index| nodes.keep_up(fault, index))?;
        }
    }
    stop.wait_until(until_ns);
    Ok(())
}

fn heal<B: Breakable>(nodes: &B, fault: &Fault, index: usize) -> Result<(), String> {
    let mut healed = nodes.heal(fault, index);
    for _ in 1..HEAL_ATTEMPTS {
        if healed.is_ok() {
            break;
        }
        healed = nodes.heal(fault, index);
    }
    healed
}

/// All targets at once, so that a majority goes down together; the first error, after all are
/// tried.
fn each<T: Send>(
    targets: &[usize],
    act: impl Fn(usize) -> Result<T, String> + Sync,
) -> Result<Vec<T>, String> {
    let results: Vec<_> = thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> =
            targets.iter().map(|&index| scope.spawn(move || act(index))).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let panicked = |_| Err("the thread of a fault panicked".to_owned());
    results.into_iter().map(|result| result.unwrap_or_else(panicked)).collect()
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "execute_tests.rs"]
mod tests;
