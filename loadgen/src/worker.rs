//! One client: asks for a lock, holds it, gives it back, and records what it saw.
//!
//! Response counts from the planned arrival, service from the call. In a closed loop the two are
//! the same, because a client that waits plans nothing meanwhile.
//!
//! Invariants:
//! 1. Only sections planned inside the measured time are recorded; the checker sees all of them.
//! 2. The acquisition is recorded at the grant, so a slow release delays no sample.
//! 3. Every section that began was either answered or is counted as unfinished, not both.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{Backend, Failure, Grant, Released};
use crate::clock::now_ns;
use crate::config::RunConfig;
use crate::mode::Claim;
use crate::oracle::judge::{Entry, Handover, Inside, Oracle};
use crate::plan::claims::Claims;
use crate::plan::{Section, Stream};
use crate::queue::{Queue, Taken};
use crate::recorder::{FailureKind, Metric, Recorder};
use crate::timer::Timer;
use crate::workload::Workload;

/// Kept texts of failures, per process.
const MAX_TEXTS: usize = 8;

/// What one client did; written by its task alone and read by the tick loop while it runs. On a
/// cache line of its own, or clients on different cores would slow each other down.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Tally {
    /// The planned instant of the section that has no answer yet, 0 when there is none.
    pub(crate) asking_since_ns: AtomicU64,
    /// Its workload.
    pub(crate) asking_of: AtomicU8,
    /// A lock is held, or being released.
    pub(crate) holding: AtomicBool,
    pub(crate) asked: AtomicU64,
    pub(crate) granted: AtomicU64,
    pub(crate) longest_ns: AtomicU64,
}

/// What the clients of a process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: RunConfig,
    pub(crate) process: u32,
    pub(crate) backend: Backend,
    pub(crate) claims: Claims,
    pub(crate) workloads: Vec<Workload>,
    /// Names of this process alone; 0 where all processes share theirs.
    pub(crate) own_names: u64,
    pub(crate) oracle: Oracle,
    pub(crate) recorder: Recorder,
    pub(crate) timer: Arc<Timer>,
    pub(crate) queue: Queue,
    /// Tallies of this process's clients, in the order of their numbers.
    pub(crate) tallies: Vec<Tally>,
    pub(crate) stop: AtomicBool,
    /// Texts of the first failures.
    pub(crate) texts: Mutex<Vec<String>>,
}

/// The instants of a run on the common clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) start_ns: u64,
    pub(crate) measured_ns: u64,
    pub(crate) end_ns: u64,
}

impl Times {
    pub(crate) fn new(config: &RunConfig, start_ns: u64) -> Self {
        let measured_ns = start_ns.saturating_add(config.warmup_ns);
        Self { start_ns, measured_ns, end_ns: measured_ns.saturating_add(config.duration_ns) }
    }
}

/// One client of a process: its number in the run and its place among the tallies.
#[derive(Debug)]
struct Client<'a> {
    shared: &'a Shared,
    tally: &'a Tally,
    id: u32,
    generation: u64,
    measured_ns: u64,
    /// Where this process's names begin among the checker's cells.
    first_cell: u64,
    /// What the section under way claims.
    claims: Vec<Claim>,
}

/// Runs client `id` until its plan or the run ends.
pub(crate) async fn run(shared: Arc<Shared>, place: usize, id: u32, times: Times) {
    let Some(tally) = shared.tallies.get(place) else { return };
    let measured_ns = times.measured_ns;
    let mut client = Client::new(&shared, tally, id, measured_ns);
    if shared.config.is_open_loop() {
        while let Some(Taken { section, not_before_ns }) = shared.queue.take(times.start_ns).await {
            let intended_ns = times.start_ns + section.intended_ns;
            if not_before_ns > 0 {
                // Taken, so it is this client's, which is where it is counted if the run ends.
                tally.ask(section, intended_ns);
                shared.timer.until(not_before_ns).await;
            }
            client.section(section, intended_ns, None).await;
        }
        return;
    }
    for section in Stream::new(&shared.config, id) {
        let now = now_ns();
        if now >= times.end_ns || shared.stop.load(Ordering::Relaxed) {
            return;
        }
        client.section(section, now, Some(now)).await;
        let of = shared.workloads.get(usize::from(section.workload));
        let think_ns = of.map_or(0, |workload| workload.think_ns);
        if think_ns > 0 {
            shared.timer.until(now_ns() + think_ns).await;
        } else {
            // A lock that never waits would keep this worker thread to one client.
            tokio::task::coop::consume_budget().await;
        }
    }
}

impl<'a> Client<'a> {
    fn new(shared: &'a Shared, tally: &'a Tally, id: u32, measured_ns: u64) -> Self {
        let first_cell = u64::from(shared.process) * shared.own_names;
        let claims = Vec::new();
        Self { shared, tally, id, generation: 0, measured_ns, first_cell, claims }
    }

    /// Makes one section. `now`: the clock was read just before, by whoever planned it.
    async fn section(&mut self, plan: Section, intended_ns: u64, now: Option<u64>) {
        self.tally.ask(plan, intended_ns);
        add_one(&self.tally.asked);
        self.shared.claims.of(plan, &mut self.claims);
        let key = self.claims.first().map_or(0, |claim| u64::from(claim.cell)) + self.first_cell;
        // Read before the call: whatever this acquisition gets must be above it. Only locks of one
        // name have tokens.
        let floor = self.shared.oracle.highest_token(key);
        let called_ns = now.unwrap_or_else(now_ns);
        let outcome = self.shared.backend.acquire(plan.workload, &self.claims).await;
        let granted_ns = now_ns();
        let waited_ns = granted_ns.saturating_sub(intended_ns);
        if waited_ns > self.tally.longest_ns.load(Ordering::Relaxed) {
            self.tally.longest_ns.store(waited_ns, Ordering::Relaxed);
        }
        let recorded = intended_ns >= self.measured_ns;
        // Answered: whatever follows, it is not among the unfinished.
        self.tally.asking_since_ns.store(0, Ordering::Relaxed);
        match outcome {
            Ok(grant) => {
                self.tally.holding.store(true, Ordering::Relaxed);
                add_one(&self.tally.granted);
                if let Some(token) = grant.token {
                    let valid = || grant.held.is_valid();
                    self.shared.oracle.check_token(key, token, floor, valid);
                }
                let at = Instants { intended_ns, called_ns, granted_ns };
                self.hold(plan, grant, at, recorded).await;
                self.tally.holding.store(false, Ordering::Relaxed);
            }
            Err(failure) => self.failed(plan, &failure, waited_ns, recorded),
        }
    }

    async fn hold(&mut self, plan: Section, grant: Grant, at: Instants, recorded: bool) {
        let shared = self.shared;
        let Grant { held, attempts, contended, valid_until_ns, token, .. } = grant;
        self.generation += 1;
        let remaining_ns = valid_until_ns.saturating_sub(at.granted_ns);
        let entered = (remaining_ns > 0).then(|| {
            let entry = Entry {
                client: self.id,
                generation: self.generation,
                called_ns: at.called_ns,
                contended,
                token: token.unwrap_or(0),
                begin_ns: at.granted_ns,
                end_ns: valid_until_ns,
            };
            shared.oracle.enter_all(&self.claims, self.first_cell, entry)
        });
        if recorded {
            let handover = entered.as_ref().and_then(|entered| entered.handover);
            let asked = Asked { workload: plan.workload, attempts, contended };
            self.record_grant(asked, at, remaining_ns, handover);
        }
        if plan.hold_ns > 0 {
            shared.timer.until(at.granted_ns.saturating_add(plan.hold_ns)).await;
        }
        let asked_ns = now_ns();
        let in_time = match entered {
            Some(entered) => Inside::leave(entered, asked_ns, || held.is_valid()),
            None => {
                shared.oracle.note_overrun();
                false
            }
        };
        let released = held.release().await;
        if recorded {
            let held_ns = asked_ns.saturating_sub(at.granted_ns);
            shared.recorder.with_of(plan.workload, |to| {
                to.record(Metric::Release, now_ns().saturating_sub(asked_ns));
                to.record(Metric::Hold, held_ns);
                if plan.hold_ns > 0 {
                    to.record(Metric::HoldLate, held_ns.saturating_sub(plan.hold_ns));
                }
                if !in_time || released == Released::NotHeld {
                    to.count(|counts| counts.fail(FailureKind::Lost));
                }
                let unconfirmed = u64::from(released == Released::Unconfirmed);
                to.count(|counts| counts.release_unconfirmed += unconfirmed);
            });
        }
    }

    fn record_grant(
        &self,
        Asked { workload, attempts, contended }: Asked,
        at: Instants,
        remaining_ns: u64,
        handover: Option<Handover>,
    ) {
        let service_ns = at.granted_ns.saturating_sub(at.called_ns);
        let waited_ns = at.granted_ns.saturating_sub(at.intended_ns);
        self.shared.oracle.count_waits(&self.claims, self.first_cell, waited_ns);
        let kind = if contended { Metric::Contended } else { Metric::Uncontended };
        let of = self.shared.workloads.get(usize::from(workload));
        let fenced = of.is_some_and(|workload| workload.fenced);
        let second_trip = took_second_trip(fenced, contended, attempts);
        self.shared.recorder.with_of(workload, |to| {
            to.record(Metric::Response, waited_ns);
            to.record(Metric::Service, service_ns);
            to.record(kind, service_ns);
            to.record(Metric::ValidityLeft, remaining_ns);
            if contended {
                to.record(Metric::Attempts, attempts.into());
            }
            to.count(|counts| {
                counts.ok += 1;
                counts.raised += u64::from(second_trip);
                counts.attempts += u64::from(attempts);
            });
            if let Some(Handover { took_ns, between_processes }) = handover {
                to.record(Metric::Handoff, took_ns);
                if between_processes {
                    to.record(Metric::HandoffBetween, took_ns);
                }
            }
        });
    }

    fn failed(&self, plan: Section, failure: &Failure, waited_ns: u64, recorded: bool) {
        if recorded {
            self.shared.recorder.with_of(plan.workload, |to| {
                to.count(|counts| {
                    counts.fail(failure.kind);
                    counts.attempts += u64::from(failure.attempts);
                });
                to.record(Metric::Failed, waited_ns);
            });
        }
        if !failure.text.is_empty() {
            let mut texts = self.shared.texts.lock().unwrap_or_else(PoisonError::into_inner);
            if texts.len() < MAX_TEXTS && !texts.contains(&failure.text) {
                texts.push(failure.text.clone());
            }
        }
    }
}

/// Nobody was in the way of a fenced acquisition, and yet one round trip was not enough: the nodes
/// had counted differently, and its owner raised them to one token.
fn took_second_trip(fenced: bool, contended: bool, attempts: u32) -> bool {
    fenced && !contended && attempts > 1
}

/// How a lock was had.
#[derive(Clone, Copy, Debug)]
struct Asked {
    workload: u8,
    attempts: u32,
    contended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Instants {
    intended_ns: u64,
    called_ns: u64,
    granted_ns: u64,
}

/// Counts up what one task alone writes: no other update can be lost, so no locked addition.
fn add_one(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl Shared {
    /// Sections under way or waiting for a client. Looks at every client, so not for each arrival.
    pub(crate) fn in_flight(&self) -> u64 {
        let busy = self.tallies.iter().filter(|tally| tally.is_busy()).count();
        busy as u64 + self.queue.len() as u64
    }

    /// Arrivals that clients took so far, and those that wait for one.
    pub(crate) fn started(&self) -> u64 {
        let taken = self.tallies.iter().map(|tally| tally.asked.load(Ordering::Relaxed));
        taken.sum::<u64>() + self.queue.len() as u64
    }
}

impl Tally {
    fn ask(&self, section: Section, intended_ns: u64) {
        self.asking_of.store(section.workload, Ordering::Relaxed);
        self.asking_since_ns.store(intended_ns, Ordering::Relaxed);
    }

    /// The planned instant of the section that has no answer yet.
    pub(crate) fn asking_ns(&self) -> Option<u64> {
        Some(self.asking_since_ns.load(Ordering::Relaxed)).filter(|&since| since != 0)
    }

    fn is_busy(&self) -> bool {
        self.holding.load(Ordering::Relaxed) || self.asking_ns().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_uncontended_fenced_lock_tells_a_second_trip_from_a_second_try() {
        let all = [(true, false, 2), (true, false, 1), (true, true, 2), (false, false, 2)];
        let told = all.map(|(fenced, contended, n)| took_second_trip(fenced, contended, n));
        assert_eq!(told, [true, false, false, false]);
    }
}
