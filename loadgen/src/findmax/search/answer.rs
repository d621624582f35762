//! The answer of a search: a rate, how sure it is, and what speaks against it.
//!
//! The interval is the wider one of two. That of the estimate takes probes for independent, which
//! they are not on a machine that has better and worse minutes; the other one is by what the
//! estimate says when a fifth of the time is left out, each fifth in turn (the jackknife of
//! Quenouille and Tukey, over blocks).

use serde::Serialize;

use super::super::health::Health;
use super::super::ladder::rate_of_place;
use super::{CHECK_STEP, Phase, Search, Seen};
use crate::num;
use crate::report::format::rate;

/// Blocks of time that are left out in turn.
const BLOCKS: usize = 5;
/// Student's quantile for 4 degrees of freedom that leaves 5 % above.
const T: f64 = 2.132;
/// Ends of the interval of the estimate.
const ENDS: [f64; 2] = [0.05, 0.95];
/// How sure the interval is.
pub(crate) const CERTAINTY: f64 = 0.9;
/// Places by which the best of the fixed job is wrong: readings differ by some per cent.
const JOB_ERROR: f64 = 1.0;
/// An interval from so much below the answer to so much above it is what a search is for.
const WIDEST: f64 = 1.1;

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Answer {
    /// Where half of the probes keep the bound: more below, fewer above; on the machine at its
    /// best.
    pub(crate) rate: f64,
    /// The same on the machine as it usually was, if its speed is known.
    pub(crate) usual_rate: Option<f64>,
    #[serde(skip)]
    pub(crate) place: i32,
    /// It lies between these with [`CERTAINTY`].
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) certainty: f64,
    /// Below, at and above it, from the probes that count.
    pub(crate) checks: Vec<Check>,
    /// Probes that count, of all.
    pub(crate) counted: usize,
    /// Too few probes were undisturbed, so all of them count.
    pub(crate) counts_disturbed: bool,
    /// Why another search may find something else by more than 10 %; empty if nothing says so.
    pub(crate) doubts: Vec<String>,
}

/// How probes of one rate ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Check {
    pub(crate) rate: f64,
    pub(crate) passed: u32,
    pub(crate) probes: u32,
}

/// The place nearest to an estimate.
pub(super) fn whole(place: f64) -> i32 {
    let from_zero = num::floor_u64(place.abs().round());
    let size = i32::try_from(from_zero).unwrap_or(i32::MAX);
    if place < 0.0 { -size } else { size }
}

impl Search {
    pub(super) fn answer(&self) -> Result<Answer, String> {
        let (mut counted, mut counts_disturbed) = self.counted();
        let one_kind = |seen: &[Seen]| {
            let passed = seen.iter().filter(|seen| seen.passed).count();
            passed == 0 || passed == seen.len()
        };
        if one_kind(&counted) && !counts_disturbed {
            // They say on which side of the limit they are, and no more.
            counts_disturbed = counted.len() < self.seen.len();
            counted.clone_from(&self.seen);
        }
        if !counted.iter().any(|seen| seen.passed) {
            return Err("no rate kept the bound in the time there was".to_owned());
        }
        if counted.iter().all(|seen| seen.passed) {
            let text = "every rate that was probed kept the bound; begin higher, with --rate, or \
                        take more time, with --find-within";
            return Err(text.to_owned());
        }
        let estimate = self.estimate(&counted);
        let middle = estimate.quantile(0.5);
        let apart = T * self.deviation(&counted);
        let [low, high] = ENDS.map(|end| estimate.quantile(end));
        let [low, high] =
            [low.min(middle - apart) - JOB_ERROR, high.max(middle + apart) + JOB_ERROR];
        let [rate, from, to] = [middle, low, high].map(|place| rate_of_place(whole(place)));
        let checks = self.checks(whole(middle), counts_disturbed);
        let mut answer = Answer {
            rate,
            usual_rate: self.usual_shift().map(|shift| rate_of_place(whole(middle) - shift)),
            place: whole(middle),
            from: from.min(rate),
            to: to.max(rate),
            certainty: CERTAINTY,
            checks,
            counted: counted.len(),
            counts_disturbed,
            doubts: Vec::new(),
        };
        answer.doubts = self.doubts(&answer);
        Ok(answer)
    }

    /// Places that the machine usually was behind itself at its best, if that is known.
    fn usual_shift(&self) -> Option<i32> {
        let mut known: Vec<f64> = self.looks.iter().filter_map(|look| look.job_ns).collect();
        known.sort_by(f64::total_cmp);
        let job_ns = known.get(known.len() / 2).copied()?;
        Some(self.shift(&self.usual(), &Health { job_ns: Some(job_ns), ..Health::default() }))
    }

    /// By how much the estimate deviates when blocks of time are left out.
    fn deviation(&self, counted: &[Seen]) -> f64 {
        let without = |block: usize| {
            let is_kept = |&(at, _): &(usize, &Seen)| at * BLOCKS / counted.len().max(1) != block;
            let rest = counted.iter().enumerate().filter(is_kept).map(|(_, seen)| *seen);
            self.estimate(&rest.collect::<Vec<_>>()).quantile(0.5)
        };
        let all: Vec<f64> = (0..BLOCKS).map(without).collect();
        let n = all.len() as f64;
        let mean = all.iter().sum::<f64>() / n;
        ((n - 1.0) / n * all.iter().map(|at| (at - mean).powi(2)).sum::<f64>()).sqrt()
    }

    /// The probes of the check that count; without a check, all of them around the answer.
    fn checks(&self, answer: i32, counts_disturbed: bool) -> Vec<Check> {
        let (at, before) = match self.phase {
            Phase::Check { at, before, .. } => (at, before),
            _ => (answer, 0),
        };
        let counted: Vec<Seen> = self
            .seen
            .iter()
            .zip(self.disturbances())
            .skip(before)
            .filter_map(|(seen, found)| (counts_disturbed || found.is_none()).then_some(*seen))
            .collect();
        let usual = self.usual();
        let check = |place: i32| {
            let is_here =
                |seen: &&Seen| (self.stands_for(seen, &usual) - place).abs() < CHECK_STEP / 2;
            let here = || counted.iter().filter(is_here);
            Check {
                rate: rate_of_place(place),
                passed: num::u32_of(here().filter(|seen| seen.passed).count() as u64),
                probes: num::u32_of(here().count() as u64),
            }
        };
        let places = [at - CHECK_STEP, at, at + CHECK_STEP];
        places.map(check).into_iter().filter(|check| check.probes > 0).collect()
    }

    fn doubts(&self, answer: &Answer) -> Vec<String> {
        let mut doubts = Vec::new();
        if answer.counts_disturbed {
            doubts.push(
                "the machine was disturbed during most probes, so disturbed ones count".to_owned(),
            );
        }
        if let Some(share) = self.usual().constant_others() {
            doubts.push(format!(
                "other programs used {:.0} % of the CPU time all the time",
                100.0 * share
            ));
        }
        if answer.from * WIDEST < answer.rate || answer.rate * WIDEST < answer.to {
            doubts.push("the interval is wider than 10 % on a side".to_owned());
        }
        // One probe more or less is chance.
        let most = |check: &Check, passed: bool| {
            let these = if passed { check.passed } else { check.probes - check.passed };
            2 * these > check.probes + 1
        };
        let told =
            |what: &str, at: f64| format!("most probes of the check {what} it, at {}", rate(at));
        for check in &answer.checks {
            if check.rate * WIDEST.sqrt() < answer.rate && most(check, false) {
                doubts.push(told("failed below", check.rate));
            }
            if check.rate > answer.rate * WIDEST.sqrt() && most(check, true) {
                doubts.push(told("passed above", check.rate));
            }
        }
        doubts
    }
}
