//! How a budget of time is spent: rounds of successive halving (Jamieson and Talwalkar, 2016),
//! every one with fewer configurations and longer runs than the one before.
//!
//! Invariants:
//! 1. A plan fits its budget with a reserve for runs that take longer than planned.
//! 2. A plan that is smaller than the full one says so.

use crate::clock::{NS_PER_MS, NS_PER_S};
use crate::series;

/// Of the budget; the rest is for what takes longer than planned.
const PLANNED_SHARE: f64 = 0.9;
/// A run shorter than this measures the start of a process.
const SHORTEST_NS: u64 = 200 * NS_PER_MS;
/// Longer runs tell less than more rounds would.
const LONGEST_FINAL_NS: u64 = 30 * NS_PER_S;
/// Weights of a run's length in each phase.
const FIRST: u64 = 2;
const SECOND: u64 = 5;
const LAST: u64 = 6;

/// How many of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    floor: u32,
    first: u32,
    /// 0: no second round.
    second: u32,
    finalists: u32,
    rounds: u32,
}

/// The full plan first.
const SHAPES: [Shape; 8] = [
    Shape { floor: 5, first: 24, second: 8, finalists: 3, rounds: 5 },
    Shape { floor: 5, first: 24, second: 8, finalists: 3, rounds: 3 },
    Shape { floor: 5, first: 16, second: 6, finalists: 3, rounds: 3 },
    Shape { floor: 4, first: 12, second: 4, finalists: 2, rounds: 3 },
    Shape { floor: 3, first: 8, second: 3, finalists: 2, rounds: 3 },
    Shape { floor: 3, first: 5, second: 2, finalists: 1, rounds: 3 },
    Shape { floor: 3, first: 4, second: 0, finalists: 1, rounds: 3 },
    Shape { floor: 2, first: 3, second: 0, finalists: 1, rounds: 3 },
];

/// A plan that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) floor: u32,
    pub(crate) first: u32,
    pub(crate) second: u32,
    pub(crate) finalists: u32,
    pub(crate) rounds: u32,
    pub(crate) first_ns: u64,
    pub(crate) second_ns: u64,
    pub(crate) last_ns: u64,
    /// It is not the full one.
    pub(crate) is_cut: bool,
}

impl Shape {
    /// Runs and the sum of their weights, with `references` beside the finalists.
    fn runs(self, references: u32) -> (u64, u64) {
        // The control takes part in every round.
        let first = u64::from(self.first + 1);
        let second = if self.second == 0 { 0 } else { u64::from(self.second + 1) };
        let last = u64::from((self.finalists + references) * self.rounds);
        let floor = u64::from(self.floor);
        let weights = (floor + first) * FIRST + second * SECOND + last * LAST;
        (floor + first + second + last, weights)
    }

    fn plan(self, budget_ns: u64, overhead_ns: u64, references: u32) -> Option<Plan> {
        let (runs, weights) = self.runs(references);
        let planned_ns = crate::num::floor_u64(budget_ns as f64 * PLANNED_SHARE);
        let unit_ns = planned_ns.checked_sub(runs.checked_mul(overhead_ns)?)? / weights;
        let unit_ns = unit_ns.min(LONGEST_FINAL_NS / LAST);
        // Whole intervals: a part of one would not be in the series.
        let length = |weight: u64| (unit_ns * weight) / (100 * NS_PER_MS) * (100 * NS_PER_MS);
        let Self { floor, first, second, finalists, rounds } = self;
        let (first_ns, second_ns, last_ns) = (length(FIRST), length(SECOND), length(LAST));
        let is_cut = SHAPES.first() != Some(&self);
        (first_ns >= SHORTEST_NS).then_some(Plan {
            floor,
            first,
            second,
            finalists,
            rounds,
            first_ns,
            second_ns,
            last_ns,
            is_cut,
        })
    }
}

impl Plan {
    /// The largest plan that fits; `overhead_ns` is what a run takes besides its length,
    /// `references` how many configurations are in the last round besides the finalists.
    pub(crate) fn fit(budget_ns: u64, overhead_ns: u64, references: u32) -> Result<Self, String> {
        let plan = SHAPES.into_iter().find_map(|shape| {
            let plan = shape.plan(budget_ns, overhead_ns, references)?;
            // A smaller plan of longer runs tells more than a larger one of very short ones.
            let is_last = SHAPES.last() == Some(&shape);
            (is_last || plan.first_ns >= 3 * SHORTEST_NS).then_some(plan)
        });
        plan.ok_or_else(|| {
            let (runs, weights) =
                SHAPES.map(|shape| shape.runs(references)).last().copied().unwrap_or((0, 0));
            let needed = runs * overhead_ns + weights * (SHORTEST_NS / FIRST + 100 * NS_PER_MS);
            let needed = crate::num::floor_u64(needed as f64 / PLANNED_SHARE);
            format!(
                "--budget is too short for any comparison; give {} at least",
                series::about(needed).trim_start_matches("about ")
            )
        })
    }

    /// The smallest plan, for runs that turn out to take longer than a plan allows for: the race
    /// then ends where the budget does.
    pub(crate) const fn smallest() -> Self {
        Self {
            floor: 2,
            first: 3,
            second: 0,
            finalists: 1,
            rounds: 3,
            first_ns: SHORTEST_NS,
            second_ns: SHORTEST_NS,
            last_ns: 2 * SHORTEST_NS,
            is_cut: true,
        }
    }

    pub(crate) fn words(&self, budget_ns: u64) -> String {
        let seconds = |ns: u64| format!("{:.1} s", ns as f64 / NS_PER_S as f64);
        let second = if self.second > 0 {
            format!(" → {} of {}", self.second, seconds(self.second_ns))
        } else {
            String::new()
        };
        let cut = if self.is_cut { "; cut to fit the budget" } else { "" };
        format!(
            "default × {}, then {} configurations of {}{second} → {} of {} in {} rounds, within \
             {}{cut}",
            self.floor,
            self.first,
            seconds(self.first_ns),
            self.finalists,
            seconds(self.last_ns),
            self.rounds,
            series::about(budget_ns).trim_start_matches("about "),
        )
    }

    /// The time all runs take.
    #[cfg(test)]
    fn needs_ns(&self, overhead_ns: u64, references: u32) -> u64 {
        let second = if self.second == 0 { 0 } else { u64::from(self.second + 1) };
        let last = u64::from((self.finalists + references) * self.rounds);
        let first = u64::from(self.floor + self.first + 1);
        first * (self.first_ns + overhead_ns)
            + second * (self.second_ns + overhead_ns)
            + last * (self.last_ns + overhead_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_fits_its_budget_and_says_when_it_was_cut() {
        for budget_s in [14_u64, 20, 30, 60, 120, 300, 900, 36_000] {
            for overhead_ms in [300, 700, 1_500] {
                let (budget, overhead) = (budget_s * NS_PER_S, overhead_ms * NS_PER_MS);
                let Ok(plan) = Plan::fit(budget, overhead, 2) else {
                    assert!(budget_s < 40, "{budget_s} s is enough");
                    continue;
                };
                assert!(plan.needs_ns(overhead, 2) <= budget * 9 / 10, "{plan:?}");
                assert!(plan.first_ns >= SHORTEST_NS && plan.last_ns >= plan.first_ns);
                let is_smallest = plan.first == SHAPES[SHAPES.len() - 1].first;
                assert!(is_smallest || plan.first_ns >= 3 * SHORTEST_NS, "too short: {plan:?}");
                assert_eq!(plan.is_cut, plan.words(budget).contains("cut to fit"));
            }
        }
        let full = Plan::fit(300 * NS_PER_S, 700 * NS_PER_MS, 1).unwrap();
        assert_eq!((full.floor, full.first, full.second, full.finalists), (5, 24, 8, 3));
        let small = Plan::fit(20 * NS_PER_S, 700 * NS_PER_MS, 1).unwrap();
        assert!(small.is_cut && small.first < 24, "{small:?}");
        let longer = Plan::fit(60 * NS_PER_S, 700 * NS_PER_MS, 1).unwrap();
        assert!(longer.first > small.first, "{longer:?}");
    }

    #[test]
    fn a_budget_for_nothing_is_refused_with_one_that_is_enough() {
        let error = Plan::fit(5 * NS_PER_S, 700 * NS_PER_MS, 1).unwrap_err();
        let seconds: u64 = error
            .split_whitespace()
            .find_map(|word| word.strip_suffix('s')?.parse().ok())
            .unwrap_or_else(|| panic!("{error}"));
        assert!(Plan::fit(seconds * NS_PER_S, 700 * NS_PER_MS, 1).is_ok(), "{error}");
    }
}
