//! Carries a plan out: breaks nodes at their instants and heals them, whatever happens.
//!
//! It measures nothing but when it did what.
//!
//! Invariants:
//! 1. Every fault that began is healed: at its end, at [`Runner::stop`], or when the runner is
//!    dropped. Stopping starts no further fault.
//! 2. Instants are CLOCK_BOOTTIME ns: `begin_ns` just before the first node is hit, `in_force_ns`
//!    when the last one certainly is (reaped, or every thread stopped), `end_ns` just before the
//!    healing, `healed_ns` when all of them answer PING. The length of a fault counts from
//!    `in_force_ns`.
//! 3. Faults do not wait for each other: each has a thread of its own.

use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;

use super::FaultKind;
use super::plan::{Plan, Planned};
use crate::clock::now_ns;
use crate::cluster::process::poll_until;
use crate::cluster::{Cluster, ClusterError, probe};

const HEAL_ATTEMPTS: usize = 3;
const PING_LIMIT: Duration = Duration::from_secs(5);

/// What can be broken: a local cluster, or a stand-in of a test.
pub(crate) trait Breakable: Send + Sync + 'static {
    fn kill(&self, index: usize) -> Result<(), ClusterError>;
    fn pause(&self, index: usize) -> Result<(), ClusterError>;
    fn resume(&self, index: usize) -> Result<(), ClusterError>;
    fn restart(&self, index: usize) -> Result<(), ClusterError>;
    /// Waits a bounded time until the node answers; false if it does not.
    fn answers(&self, index: usize) -> bool;
    fn heal_all(&self) -> Result<(), ClusterError>;
}

impl Breakable for Cluster {
    fn kill(&self, index: usize) -> Result<(), ClusterError> {
        self.kill(index)
    }

    fn pause(&self, index: usize) -> Result<(), ClusterError> {
        self.pause(index)
    }

    fn resume(&self, index: usize) -> Result<(), ClusterError> {
        self.resume(index)
    }

    fn restart(&self, index: usize) -> Result<(), ClusterError> {
        self.restart(index)
    }

    fn answers(&self, index: usize) -> bool {
        let limit = Duration::from_millis(500);
        let url = self.nodes().nth(index).map(|node| node.url.clone());
        url.is_some_and(|url| poll_until(PING_LIMIT, || probe::answers(&url, limit)))
    }

    fn heal_all(&self) -> Result<(), ClusterError> {
        self.heal_all()
    }
}

/// What one fault did and when; `None`: not yet, or it failed before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FaultRecord {
    /// The place of the fault in the plan.
    pub(crate) number: usize,
    pub(crate) kind: FaultKind,
    /// Counted from 0.
    pub(crate) targets: Vec<usize>,
    pub(crate) begin_ns: u64,
    pub(crate) in_force_ns: Option<u64>,
    pub(crate) end_ns: Option<u64>,
    pub(crate) healed_ns: Option<u64>,
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
    thread: Option<JoinHandle<Outcome>>,
}

/// All that happened.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Of the faults that began, in the order of the plan.
    pub(crate) records: Vec<FaultRecord>,
    /// Whether every node is up again.
    pub(crate) healed: Result<(), ClusterError>,
}

/// Starts `plan` against `nodes`; its instants count from `start_ns`. Events go to `events` as they
/// happen; nobody has to listen.
pub(crate) fn start<B: Breakable>(
    plan: Plan,
    nodes: Arc<B>,
    start_ns: u64,
    events: Sender<FaultEvent>,
) -> io::Result<Runner> {
    let stop = Arc::new(Stop::default());
    let shared = stop.clone();
    let run = move || run_all(&plan, &*nodes, start_ns, &events, &shared);
    let thread = thread::Builder::new().name("faults".into()).spawn(run)?;
    Ok(Runner { stop, thread: Some(thread) })
}

impl Runner {
    /// Waits until the last fault is over.
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
    stop: &Stop,
) -> Outcome {
    let records = thread::scope(|scope| {
        let one = |(number, planned)| {
            let own = events.clone();
            let run = move || run_one(number, planned, nodes, start_ns, &own, stop);
            let thread = thread::Builder::new().name("fault".into()).spawn_scoped(scope, run);
            // Without a thread the faults after it come late, rather than this one never.
            thread.map_err(|_| run_one(number, planned, nodes, start_ns, events, stop))
        };
        let threads: Vec<_> = plan.faults.iter().enumerate().map(one).collect();
        let record = |thread: Result<thread::ScopedJoinHandle<'_, _>, _>| match thread {
            Ok(thread) => thread.join().ok().flatten(),
            Err(record) => record,
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
    stop: &Stop,
) -> Option<FaultRecord> {
    let Planned { fault, targets } = planned;
    if !stop.wait_until(start_ns.saturating_add(nanos(fault.at))) {
        return None;
    }
    let mut record = FaultRecord {
        number,
        kind: fault.kind,
        targets: targets.clone(),
        begin_ns: now_ns(),
        in_force_ns: None,
        end_ns: None,
        healed_ns: None,
        error: None,
    };
    let tell = |phase, record: &FaultRecord| {
        let _ = events.send(FaultEvent { phase, record: record.clone() });
    };
    let broken = each(targets, |index| match fault.kind {
        FaultKind::Kill => nodes.kill(index),
        FaultKind::Pause => nodes.pause(index),
    });
    match broken {
        Ok(()) => {
            let in_force_ns = now_ns();
            record.in_force_ns = Some(in_force_ns);
            tell(Phase::InForce, &record);
            stop.wait_until(in_force_ns.saturating_add(nanos(fault.for_)));
        }
        Err(error) => record.error = Some(error),
    }
    record.end_ns = Some(now_ns());
    tell(Phase::Ending, &record);
    match each(targets, |index| heal(nodes, fault.kind, index)) {
        Ok(()) if targets.iter().all(|index| nodes.answers(*index)) => {
            record.healed_ns = Some(now_ns());
        }
        Ok(()) => {
            record.error.get_or_insert_with(|| "a healed node does not answer PING".to_owned());
        }
        Err(error) => {
            record.error.get_or_insert(error);
        }
    }
    tell(Phase::Over, &record);
    Some(record)
}

fn heal<B: Breakable>(nodes: &B, kind: FaultKind, index: usize) -> Result<(), ClusterError> {
    match kind {
        FaultKind::Pause => nodes.resume(index),
        FaultKind::Kill => {
            let mut healed = nodes.restart(index);
            for _ in 1..HEAL_ATTEMPTS {
                if healed.is_ok() {
                    break;
                }
                healed = nodes.restart(index);
            }
            healed
        }
    }
}

/// All targets at once, so that a majority goes down together; the first error, after all are
/// tried.
fn each(
    targets: &[usize],
    act: impl Fn(usize) -> Result<(), ClusterError> + Sync,
) -> Result<(), String> {
    let results: Vec<_> = thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> =
            targets.iter().map(|&index| scope.spawn(move || act(index))).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut errors = results.into_iter().filter_map(|result| match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the thread of a fault panicked".to_owned()),
    });
    errors.next().map_or(Ok(()), Err)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "execute_tests.rs"]
mod tests;
