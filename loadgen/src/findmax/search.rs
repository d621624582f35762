//! Which rate is probed next, and when the answer stands. Pure: it is told what passed, what the
//! machine was like, and how much time is left.
//!
//! From the first rate it is doubled until it fails. After that probes go where the estimate over
//! *all* probes that count is least sure, to the end of the time, since a machine that changes is
//! known by the whole of it; at last the rate that was found is probed again, with those 8 % below
//! and above it. A probe during which others used the machine ([`super::health`]) does not count.
//!
//! Shared machines run faster and slower from minute to minute, and a rate is kept or not by how
//! much of the machine it takes. So each probe is taken at the rate that it stands for on the
//! machine at its best: a rate that was tried while the fixed job took a fifth longer says what a
//! rate a fifth higher would. The answer is that of the machine at its best, which two searches
//! agree on where their minutes were not alike. What the best is, is judged anew with every look.
//! Of nodes on other machines the fixed job says nothing: there a rate is a rate.
//!
//! Invariants:
//! 1. At most [`MOST_PROBES`] probes, and none when no time is left.
//! 2. Whether a probe counts does not depend on its result.
//! 3. Where too few probes count, all of them do, and the answer says so.

mod answer;

use super::estimate::{Estimate, Tallies};
use super::health::{Disturbance, Health, Usual};
use super::ladder::{DOUBLE, GRAIN, LEVELS, places_of};
use crate::plan::rng::Xoshiro;
pub(crate) use answer::Answer;
#[cfg(test)]
pub(crate) use answer::Check;

pub(crate) const MOST_PROBES: usize = 400;
/// Looks at the machine that are kept; waits of an hour have more.
pub(super) const MOST_LOOKS: usize = 4_000;
/// Probes of the check at the end.
pub(crate) const CHECKS: u32 = 7;
/// Probes that a search takes at least, the check included.
pub(crate) const FEWEST_PROBES: u32 = 12;
/// Places between the answer and the rates below and above it that are checked.
const CHECK_STEP: i32 = 2 * GRAIN;
/// Places from the estimate at which the next probes are made: farther away one tells little, and
/// at one place alone nothing is learned of how steeply probes begin to fail.
const FARTHEST: f64 = 5.0 * GRAIN as f64;
const NEAREST: f64 = GRAIN as f64;
/// Probes that count below which all do; of the first few, a quarter.
const FEWEST_COUNTED: usize = 12;
/// Failures at a rate after which the doubling turns round; disturbed ones count half.
const FAILURES: u32 = 2;

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A probe at the rate of this place.
    Probe(i32),
    Done(Result<Answer, String>),
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// Doubling; whether a rate has passed.
    Up { at: i32, passed: bool },
    /// The first rate failed: halving until one passes.
    Down { at: i32 },
    /// Places still to be probed around the estimate.
    Around { next: Vec<i32> },
    /// Below, at and above the answer; so many probes were made before.
    Check { at: i32, next: Vec<i32>, before: usize },
}

/// A probe as the search knows it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    place: i32,
    passed: bool,
    health: Health,
}

/// A search under way.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    phase: Phase,
    seen: Vec<Seen>,
    /// The machine at rest.
    looks: Vec<Health>,
    /// The nodes run on this machine.
    is_whole: bool,
    rng: Xoshiro,
}

impl Search {
    /// Begins at a place of the ladder.
    pub(crate) fn new(first: i32, seed: u64) -> Self {
        Self {
            phase: Phase::Up { at: first, passed: false },
            seen: Vec::new(),
            looks: Vec::new(),
            is_whole: true,
            rng: Xoshiro::for_client(seed, 0),
        }
    }

    /// Of nodes that may run elsewhere.
    pub(crate) const fn of_nodes_elsewhere(mut self) -> Self {
        self.is_whole = false;
        self
    }

    /// In words, for whoever waits.
    pub(crate) fn doing(&self) -> &'static str {
        match self.phase {
            Phase::Up { .. } => "doubling",
            Phase::Down { .. } => "halving",
            Phase::Around { .. } => "closing in",
            Phase::Check { .. } => "checking",
        }
    }

    /// Takes a look at the machine between probes.
    pub(crate) fn look(&mut self, health: Health) {
        if self.looks.len() < MOST_LOOKS {
            self.looks.push(health);
        }
    }

    /// What is unusual about the machine while it rests.
    pub(crate) fn unrest(&self, health: &Health) -> Option<Disturbance> {
        Usual::of(self.looks.iter()).disturbance(health)
    }

    /// Takes the result of a probe.
    pub(crate) fn record(&mut self, place: i32, passed: bool, health: Health) {
        self.seen.push(Seen { place, passed, health });
        if let Phase::Around { next } | Phase::Check { next, .. } = &mut self.phase {
            next.pop();
        }
    }

    /// What disturbed each probe, by what is known now.
    pub(crate) fn disturbances(&self) -> Vec<Option<Disturbance>> {
        let usual = self.usual();
        self.seen.iter().map(|seen| usual.disturbance(&seen.health)).collect()
    }

    /// The place on the machine at its best that a probe stands for.
    fn stands_for(&self, seen: &Seen, usual: &Usual) -> i32 {
        seen.place + self.shift(usual, &seen.health)
    }

    /// Places that a machine like this is behind itself at its best.
    fn shift(&self, usual: &Usual, health: &Health) -> i32 {
        if self.is_whole { answer::whole(places_of(usual.slowness(health))) } else { 0 }
    }

    /// What to probe now to learn of `place` on the machine at its best.
    fn now_at(&self, place: i32) -> i32 {
        let shift = self.looks.last().map_or(0, |look| self.shift(&self.usual(), look));
        (place - shift).clamp(*LEVELS.start() * GRAIN, *LEVELS.end() * GRAIN)
    }

    fn usual(&self) -> Usual {
        let looks = Usual::of(self.looks.iter());
        Usual::of(self.seen.iter().map(|seen| &seen.health)).with_job_of(&looks)
    }

    /// The step to take when there is time for `left` probes.
    pub(crate) fn next_step(&mut self, left: u32) -> Step {
        let room = MOST_PROBES.saturating_sub(self.seen.len());
        let left = left.min(crate::num::u32_of(room as u64));
        loop {
            if left == 0 {
                return Step::Done(self.answer());
            }
            match self.phase.clone() {
                Phase::Up { at, passed } => match self.says(at) {
                    None => return Step::Probe(at),
                    Some(true) => {
                        let at = at + DOUBLE * GRAIN;
                        if at > *LEVELS.end() * GRAIN {
                            let text = "every rate that can be asked for keeps the bound";
                            return Step::Done(Err(text.to_owned()));
                        }
                        self.phase = Phase::Up { at, passed: true };
                    }
                    Some(false) if passed => self.phase = Phase::Around { next: Vec::new() },
                    Some(false) => self.phase = Phase::Down { at: at - DOUBLE * GRAIN },
                },
                Phase::Down { at } if at < *LEVELS.start() * GRAIN => {
                    let text = "no rate keeps the bound; see why the probes failed";
                    return Step::Done(Err(text.to_owned()));
                }
                Phase::Down { at } => match self.says(at) {
                    None => return Step::Probe(at),
                    Some(true) => self.phase = Phase::Around { next: Vec::new() },
                    Some(false) => self.phase = Phase::Down { at: at - DOUBLE * GRAIN },
                },
                Phase::Around { .. } if left <= CHECKS => {
                    let at = answer::whole(self.estimate(&self.counted().0).quantile(0.5));
                    let (below, above) = (at - CHECK_STEP, at + CHECK_STEP);
                    // The last of them is the first.
                    let next = vec![at, below, above, at, above, below, at];
                    self.phase = Phase::Check { at, next, before: self.seen.len() };
                }
                Phase::Around { next } => match (next.last(), self.beyond()) {
                    (Some(&place), _) => return Step::Probe(self.now_at(place)),
                    // Those that turned it round were disturbed.
                    (None, Some(phase)) => self.phase = phase,
                    (None, None) => self.phase = Phase::Around { next: self.spread() },
                },
                Phase::Check { next, .. } => match next.last() {
                    Some(&place) => return Step::Probe(self.now_at(place)),
                    None => return Step::Done(self.answer()),
                },
            }
        }
    }

    /// What the probes at `place` say in the beginning, where one pass is enough: an error is found
    /// out later. `None` while there are too few.
    fn says(&self, place: i32) -> Option<bool> {
        let here =
            self.seen.iter().zip(self.disturbances()).filter(|(seen, _)| seen.place == place);
        let mut halves = 0;
        for (seen, disturbance) in here {
            if seen.passed {
                return Some(true);
            }
            halves += if disturbance.is_none() { 2 } else { 1 };
        }
        (halves >= 2 * FAILURES).then_some(false)
    }

    /// Doubling or halving once more, where all probes that count ended alike and nothing is known
    /// farther on.
    fn beyond(&self) -> Option<Phase> {
        let quiet = self.quiet();
        let places = |passed: bool| {
            let these = quiet.iter().filter(move |seen| seen.passed == passed);
            these.map(|seen| seen.place)
        };
        let (up, at) = match (places(true).max(), places(false).min()) {
            (Some(highest), None) => (true, highest + DOUBLE * GRAIN),
            (None, Some(lowest)) => (false, lowest - DOUBLE * GRAIN),
            _ => return None,
        };
        let is_rung = (*LEVELS.start() * GRAIN..=*LEVELS.end() * GRAIN).contains(&at);
        if !is_rung || self.says(at).is_some() {
            return None;
        }
        Some(if up { Phase::Up { at, passed: true } } else { Phase::Down { at } })
    }

    fn quiet(&self) -> Vec<Seen> {
        let all = self.seen.iter().zip(self.disturbances());
        let quiet = all.filter_map(|(seen, found)| found.is_none().then_some(*seen));
        quiet.collect()
    }

    /// The probes that count, and whether all of them had to.
    fn counted(&self) -> (Vec<Seen>, bool) {
        let quiet = self.quiet();
        match quiet.len() >= FEWEST_COUNTED.min(self.seen.len() / 4) {
            true => (quiet, false),
            false => (self.seen.clone(), true),
        }
    }

    /// The place is looked for from the lowest rate that failed to the highest that passed, and
    /// half a doubling beyond both.
    fn estimate(&self, counted: &[Seen]) -> Estimate {
        let usual = self.usual();
        let stands_for = |seen: &Seen| self.stands_for(seen, &usual);
        let mut tallies = Tallies::new();
        for seen in counted {
            let tally = tallies.entry(stands_for(seen)).or_default();
            tally.all += 1;
            tally.passed += u32::from(seen.passed);
        }
        let places =
            |passed: bool| counted.iter().filter(move |seen| seen.passed == passed).map(stands_for);
        let middle = self.seen.last().map_or(0, |seen| seen.place);
        let (failed, passed) = (places(false).min(), places(true).max());
        let lowest = failed.or(passed).unwrap_or(middle).min(passed.unwrap_or(i32::MAX));
        let highest = passed.or(failed).unwrap_or(middle).max(failed.unwrap_or(i32::MIN));
        let beyond = DOUBLE * GRAIN / 2;
        Estimate::of(&tallies, lowest - beyond, highest + beyond)
    }

    /// Where the estimate is least sure, in an order of chance: the machine changes meanwhile.
    fn spread(&mut self) -> Vec<i32> {
        let estimate = self.estimate(&self.counted().0);
        let middle = estimate.quantile(0.5);
        let below = (middle - estimate.quantile(0.1)).clamp(NEAREST, FARTHEST);
        let above = (estimate.quantile(0.9) - middle).clamp(NEAREST, FARTHEST);
        let mut places = [middle - below, middle, middle + above].map(answer::whole).to_vec();
        for last in (1..places.len()).rev() {
            let other = crate::num::usize_of(self.rng.below(last as u64 + 1));
            places.swap(last, other);
        }
        places
    }
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
