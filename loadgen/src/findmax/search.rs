//! Which rate is probed next, and when the answer stands. Pure: it is told what passed.
//!
//! Rates lie on a fixed ladder of 4 % steps, so that two searches can name the same rate. From the
//! first rate it is doubled until it fails, then the gap is halved until neighbours are left, where
//! two of three probes decide. Each of these steps may be wrong on a machine that is not quiet, so
//! after that probes go where the estimate over *all* probes is least sure, until that is sure
//! enough; at last the rate itself is probed until two of three at least have passed there.
//!
//! Invariants:
//! 1. At most [`MOST_PROBES`] probes.
//! 2. The answer was probed three times at least, two thirds of them passed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::estimate::{Estimate, Tally};
use crate::plan::rng::Xoshiro;

/// From a rate of the ladder to the next.
const STEP: f64 = 1.04;
/// Levels that double a rate, nearly.
const DOUBLE: i32 = 18;
/// Half a lock per second, 50 millions.
const LEVELS: std::ops::RangeInclusive<i32> = -194..=276;
/// The rate of level 0.
const BASE_RATE: f64 = 1_000.0;
const MOST_PROBES: u32 = 60;
/// Probes around the estimate before it may be believed.
const FEWEST_AROUND: u32 = 12;
/// Levels from the estimate at most: farther away a probe tells little.
const FARTHEST: f64 = 5.0;
/// Levels between which the answer lies with 80 %, narrow enough.
const NARROW: f64 = 2.4;
/// Probes of the answer itself.
const FEWEST_AT_ANSWER: u32 = 3;

/// The rate of a level, in three digits.
pub(crate) fn rate_of(level: i32) -> f64 {
    let rate = BASE_RATE * STEP.powi(level);
    let digit = 10_f64.powf(rate.log10().floor() - 2.0);
    // Three digits of a rate are never told apart by floating point again.
    let rounded = (rate / digit).round() * digit;
    if rounded >= 100.0 { rounded.round() } else { (rounded * 1e4).round() / 1e4 }
}

/// The level nearest to a rate.
pub(crate) fn level_of(rate: f64) -> i32 {
    let level = (rate.max(1e-9) / BASE_RATE).ln() / STEP.ln();
    let bounded = level.round().clamp(f64::from(*LEVELS.start()), f64::from(*LEVELS.end()));
    (*LEVELS.start()..=*LEVELS.end()).find(|&at| f64::from(at) >= bounded).unwrap_or(0)
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Answer {
    /// The highest rate at which two of three probes pass.
    pub(crate) rate: f64,
    /// It lies between these with 80 %.
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// Of the probes at that rate.
    pub(crate) passed: u32,
    pub(crate) probes: u32,
    /// The estimate did not become as sure as is wanted.
    pub(crate) is_rough: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Probe(i32),
    Done(Result<Answer, String>),
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// Doubling; the highest level that passed, and the first above it that failed.
    Up {
        at: i32,
        passed: Option<i32>,
        failed: Option<i32>,
    },
    /// The first rate failed: halving until one passes.
    Down {
        at: i32,
        failed: i32,
    },
    Between {
        passed: i32,
        failed: i32,
    },
    /// Levels still to be probed around the estimate.
    Around {
        next: Vec<i32>,
        made: u32,
    },
    /// The answer itself.
    Confirm {
        level: i32,
    },
}

/// A search under way.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    phase: Phase,
    tallies: BTreeMap<i32, Tally>,
    made: u32,
    rng: Xoshiro,
}

impl Search {
    pub(crate) fn new(first: i32, seed: u64) -> Self {
        Self {
            phase: Phase::Up { at: first, passed: None, failed: None },
            tallies: BTreeMap::new(),
            made: 0,
            rng: Xoshiro::for_client(seed, 0),
        }
    }

    /// In words, for whoever waits.
    pub(crate) fn doing(&self) -> &'static str {
        match self.phase {
            Phase::Up { .. } => "doubling",
            Phase::Down { .. } => "halving",
            Phase::Between { .. } => "closing in",
            Phase::Around { .. } => "making sure",
            Phase::Confirm { .. } => "confirming",
        }
    }

    /// Takes the result of a probe.
    pub(crate) fn record(&mut self, level: i32, passed: bool) {
        let tally = self.tallies.entry(level).or_default();
        tally.all += 1;
        tally.passed += u32::from(passed);
        self.made += 1;
        if let Phase::Around { next, made } = &mut self.phase {
            next.pop();
            *made += 1;
        }
    }

    fn tally(&self, level: i32) -> Tally {
        self.tallies.get(&level).copied().unwrap_or_default()
    }

    /// What two of three probes at `level` say; `None` while they do not.
    fn decided(&self, level: i32) -> Option<bool> {
        let Tally { passed, all } = self.tally(level);
        match (passed, all - passed) {
            (2.., failed) if passed > failed => Some(true),
            (passed, 2..) if all - passed > passed => Some(false),
            _ => None,
        }
    }

    pub(crate) fn next_step(&mut self) -> Step {
        loop {
            if self.made >= MOST_PROBES {
                return Step::Done(self.rough());
            }
            match self.phase.clone() {
                Phase::Up { at, passed, failed } => {
                    // Upwards one pass is enough: an error is found out later.
                    if self.tally(at).passed > 0 {
                        if at + DOUBLE > *LEVELS.end() {
                            let text = "every rate that can be asked for keeps the bound";
                            return Step::Done(Err(text.to_owned()));
                        }
                        let passed = Some(at);
                        self.phase = Phase::Up { at: at + DOUBLE, passed, failed: None };
                    } else if self.decided(at) == Some(false) {
                        // A rate may fail because the machine was busy; then twice the rate
                        // tells.
                        let higher = at + DOUBLE;
                        self.phase = match (failed, passed) {
                            (None, _) if higher <= *LEVELS.end() => {
                                Phase::Up { at: higher, passed, failed: Some(at) }
                            }
                            (failed, Some(passed)) => {
                                Phase::Between { passed, failed: failed.unwrap_or(at) }
                            }
                            (failed, None) => {
                                let failed = failed.unwrap_or(at);
                                Phase::Down { at: failed - DOUBLE, failed }
                            }
                        };
                    } else {
                        return Step::Probe(at);
                    }
                }
                Phase::Down { at, failed } => match self.decided(at) {
                    _ if at < *LEVELS.start() => {
                        let text = "no rate keeps the bound; see why the probes failed";
                        return Step::Done(Err(text.to_owned()));
                    }
                    Some(true) => self.phase = Phase::Between { passed: at, failed },
                    Some(false) => self.phase = Phase::Down { at: at - DOUBLE, failed: at },
                    None => return Step::Probe(at),
                },
                Phase::Between { passed, failed } if failed - passed <= 2 => {
                    self.phase = Phase::Around { next: Vec::new(), made: 0 };
                }
                Phase::Between { passed, failed } => {
                    let middle = i32::midpoint(passed, failed);
                    match self.decided(middle) {
                        Some(true) => self.phase = Phase::Between { passed: middle, failed },
                        Some(false) => self.phase = Phase::Between { passed, failed: middle },
                        None => return Step::Probe(middle),
                    }
                }
                Phase::Around { next, made } => {
                    if let Some(&level) = next.last() {
                        return Step::Probe(level);
                    }
                    let estimate = self.estimate();
                    let width = estimate.quantile(0.9) - estimate.quantile(0.1);
                    let enough = made >= FEWEST_AROUND && width <= NARROW;
                    if enough || self.made + FEWEST_AT_ANSWER >= MOST_PROBES {
                        self.phase = Phase::Confirm { level: level_at(estimate.quantile(0.5)) };
                    } else {
                        let next = self.spread(&estimate);
                        self.phase = Phase::Around { next, made };
                    }
                }
                Phase::Confirm { level } => {
                    let Tally { passed, all } = self.tally(level);
                    if all < FEWEST_AT_ANSWER {
                        return Step::Probe(level);
                    }
                    if 3 * passed >= 2 * all {
                        return Step::Done(Ok(self.answer(level)));
                    }
                    // What was named did not hold: one rung lower.
                    self.phase = Phase::Confirm { level: level - 1 };
                }
            }
        }
    }

    /// Where the estimate is least sure, in an order of chance: the machine changes meanwhile.
    fn spread(&mut self, estimate: &Estimate) -> Vec<i32> {
        let middle = estimate.quantile(0.5);
        let near = |q| estimate.quantile(q).clamp(middle - FARTHEST, middle + FARTHEST);
        let mut levels: Vec<i32> = [0.1, 0.5, 0.9].map(|q| level_at(near(q) + 0.5)).into();
        for last in (1..levels.len()).rev() {
            let other = crate::num::usize_of(self.rng.below(last as u64 + 1));
            levels.swap(last, other);
        }
        levels
    }

    fn estimate(&self) -> Estimate {
        let ends = self.tallies.first_key_value().zip(self.tallies.last_key_value());
        let (lowest, highest) = ends
            .map_or((0, 0), |((&lowest, _), (&highest, _))| (lowest - DOUBLE, highest + DOUBLE));
        Estimate::of(&self.tallies, lowest, highest)
    }

    fn answer(&self, level: i32) -> Answer {
        let estimate = self.estimate();
        let Tally { passed, all } = self.tally(level);
        let rate = rate_of(level);
        let at = |q: f64| BASE_RATE * STEP.powf(estimate.quantile(q));
        let (from, to) = (at(0.1).min(rate), at(0.9).max(rate));
        let is_rough = estimate.quantile(0.9) - estimate.quantile(0.1) > 2.0 * NARROW;
        Answer { rate, from, to, passed, probes: all, is_rough }
    }

    /// The highest rate that passed, when there may be no more probes.
    fn rough(&self) -> Result<Answer, String> {
        let middle = self.estimate().quantile(0.5);
        let good = self.tallies.iter().rev().find(|(level, tally)| {
            f64::from(**level) <= middle + 0.5
                && tally.all >= 2
                && 3 * tally.passed >= 2 * tally.all
        });
        let (&level, _) = good.ok_or("no rate passed in two of three probes")?;
        Ok(Answer { is_rough: true, ..self.answer(level) })
    }
}

/// The level at or below `place`.
fn level_at(place: f64) -> i32 {
    let lowest = f64::from(*LEVELS.start());
    let up = crate::num::floor_u64((place - lowest).max(0.0));
    let up = i32::try_from(up).unwrap_or(i32::MAX);
    LEVELS.start().saturating_add(up).min(*LEVELS.end())
}

#[cfg(test)]
mod tests;
