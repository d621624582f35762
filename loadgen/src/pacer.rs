//! The open loop's clock: a thread that sleeps to the next planned instant and hands over every
//! arrival that is due, each stamped with its own planned instant.
//!
//! Invariants:
//! 1. An arrival is never dropped and never re-timed: if the generator or the cap on outstanding
//!    arrivals holds it back, it keeps its planned instant and the delay shows as response time and
//!    as schedule lag.
//! 2. The plan is drawn as it is needed, so a hopeless rate costs no memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::{self, NS_PER_MS};
use crate::config::BackendKind;
use crate::num;
use crate::plan::Schedule;
use crate::recorder::{Counts, Metric, histogram};
use crate::worker::{Shared, Times};

/// Arrivals handed over at once at most.
const MOST_AT_ONCE: usize = 1_024;
/// Arrivals of a missed schedule counted one by one; beyond that the rate says how many there were.
const MOST_COUNTED: u64 = 2_000_000;
/// How much too long the pacer of `--backend late` sleeps.
const LATE_NS: u64 = 5 * NS_PER_MS;

/// What the schedule asked for within the measured time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paced {
    /// Arrivals planned, handed over or not.
    pub(crate) offered: u64,
    /// Arrivals that never reached a client's queue.
    pub(crate) not_started: u64,
    /// The same by workload.
    pub(crate) not_started_of: Vec<u64>,
    /// Wake-ups that handed over something; `started / wakes` is the mean burst.
    pub(crate) wakes: u64,
    pub(crate) started: u64,
}

/// Runs the schedule of `clients` until the end of the run.
pub(crate) fn run(shared: &Arc<Shared>, mut schedule: Schedule, times: Times) -> Paced {
    clock::sharpen_timers();
    let late_ns = if shared.config.backend == BackendKind::Late { LATE_NS } else { 0 };
    let mut room = Room::of(shared);
    let not_started_of = vec![0; shared.workloads.len()];
    let mut paced = Paced { not_started_of, ..Paced::default() };
    let mut due = Vec::with_capacity(MOST_AT_ONCE);
    while let Some(next_ns) = schedule.peek_ns().map(|offset| times.start_ns + offset) {
        if next_ns >= times.end_ns || shared.stop.load(Ordering::Relaxed) {
            break;
        }
        // Wakes at least every 50 ms, so that a stop is seen at any rate.
        clock::sleep_until(next_ns.min(clock::now_ns() + 50 * NS_PER_MS) + late_ns);
        let now = clock::now_ns();
        let is_over = now >= times.end_ns;
        let most = room.at_most(shared, MOST_AT_ONCE);
        // What the end overtook while this thread slept is due as well, once.
        let latest_ns = now.min(times.end_ns.saturating_sub(1));
        while due.len() < most
            && schedule.peek_ns().is_some_and(|offset| times.start_ns + offset <= latest_ns)
        {
            due.extend(schedule.next());
        }
        if !due.is_empty() {
            room.take(due.len());
            paced.hand_over(shared, &mut due, times);
        } else if most == 0 && !is_over {
            clock::sleep_until(now + NS_PER_MS);
        }
        if is_over {
            break;
        }
    }
    // A rate that went to 0 is a part of the load, unlike the last of so many requests.
    while shared.config.requests.is_none()
        && clock::now_ns() < times.end_ns
        && !shared.stop.load(Ordering::Relaxed)
    {
        clock::sleep_until(times.end_ns.min(clock::now_ns() + 50 * NS_PER_MS));
    }
    shared.queue.finish();
    if !shared.stop.load(Ordering::Relaxed) {
        paced.count_missed(shared, schedule, times);
    }
    paced
}

/// How many more arrivals may be outstanding. Counting them means looking at every client, so that
/// is done only when as many were handed over as there was room for.
struct Room {
    share: u64,
    left: u64,
}

impl Room {
    fn of(shared: &Shared) -> Self {
        let config = &shared.config;
        let share = config.max_in_flight.div_ceil(config.processes.max(1)).max(1);
        Self { share: share.into(), left: 0 }
    }

    /// As much as there is, `most` at most.
    fn at_most(&mut self, shared: &Shared, most: usize) -> usize {
        if self.left == 0 {
            self.left = self.share.saturating_sub(shared.in_flight());
        }
        num::usize_of(self.left).min(most)
    }

    fn take(&mut self, n: usize) {
        self.left = self.left.saturating_sub(n as u64);
    }
}

impl Paced {
    fn hand_over(&mut self, shared: &Shared, due: &mut Vec<crate::plan::Section>, times: Times) {
        let now = clock::now_ns();
        let measured = |section: &crate::plan::Section| {
            Some(times.start_ns + section.intended_ns).filter(|&at| at >= times.measured_ns)
        };
        shared.recorder.with(|shard| {
            for at in due.iter().filter_map(measured) {
                shard.record(Metric::SchedLag, now.saturating_sub(at));
                self.offered += 1;
                self.started += 1;
            }
        });
        let is_mix = shared.config.is_mix();
        for section in due.iter().filter(|section| is_mix && measured(section).is_some()) {
            let hand_over = |counts: &mut Counts| counts.handed_over += 1;
            shared.recorder.with_of(section.workload, |to| to.count_part(hand_over));
        }
        self.wakes += u64::from(due.iter().any(|section| measured(section).is_some()));
        shared.queue.give(due);
    }

    fn count_missed(&mut self, shared: &Shared, schedule: Schedule, times: Times) {
        let now = clock::now_ns();
        let mut missed = vec![(0_u64, histogram()); shared.workloads.len()];
        let mut last_ns = times.measured_ns;
        let mut counted = 0;
        for section in schedule {
            let at = times.start_ns + section.intended_ns;
            if at >= times.end_ns {
                break;
            }
            if at >= times.measured_ns
                && let Some((n, ages)) = missed.get_mut(usize::from(section.workload))
            {
                last_ns = at;
                counted += 1;
                *n += 1;
                ages.saturating_record(now.saturating_sub(at));
            }
            if counted >= MOST_COUNTED {
                let share = 1.0 / f64::from(shared.config.processes.max(1));
                let (from, to) = (last_ns - times.start_ns, times.end_ns - times.start_ns);
                let all = shared.config.curve().map_or(0.0, |curve| curve.arrivals(from, to));
                for ((n, ages), part) in missed.iter_mut().zip(shared.config.shares()) {
                    let rest = num::floor_u64(all * share * part);
                    *n += rest;
                    // The last of them is as old as this at least, and so are the others.
                    ages.saturating_record_n(now.saturating_sub(times.end_ns), rest);
                }
                break;
            }
        }
        for ((at, (n, ages)), not_started) in (0..).zip(missed).zip(&mut self.not_started_of) {
            self.offered += n;
            self.not_started += n;
            *not_started += n;
            shared.recorder.with_of(at, |to| to.add(Metric::Unanswered, &ages));
        }
    }
}
