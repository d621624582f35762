//! Where probes begin to fail, from all of them together.
//!
//! How often a probe passes falls with the rate along a logistic curve, whose place and width are
//! not known, and now and then a probe says the contrary of what it should because the machine was
//! busy with something else. Of every place and width the likelihood of what was seen is known, so
//! the places are weighed by it: Watson and Pelli's QUEST (Perception & Psychophysics 33, 1983),
//! with the width left open.

use std::collections::BTreeMap;

/// Widths of the curve, in levels.
const WIDTHS: [f64; 4] = [0.7, 1.5, 3.0, 6.0];
/// Probes that say the contrary, of all.
const LAPSES: f64 = 0.06;
/// Places per level.
const GRAIN: i32 = 2;
/// The place asked for is where two of three probes pass: so many widths before the middle.
const TWO_OF_THREE: f64 = std::f64::consts::LN_2;

/// How many probes passed, and how many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u32,
    pub(super) all: u32,
}

/// Levels at which two of three probes pass, with how sure that is.
#[derive(Clone, Debug)]
pub(super) struct Estimate(Vec<(f64, f64)>);

impl Estimate {
    /// From the tallies by level; the place is looked for from `lowest` to `highest`.
    pub(super) fn of(tallies: &BTreeMap<i32, Tally>, lowest: i32, highest: i32) -> Self {
        let mut logs: Vec<(f64, f64)> = Vec::new();
        for place in lowest * GRAIN..=highest * GRAIN {
            let place = f64::from(place) / f64::from(GRAIN);
            for width in WIDTHS {
                let log: f64 = tallies
                    .iter()
                    .map(|(&level, tally)| {
                        let passes = 1.0 / (1.0 + ((f64::from(level) - place) / width).exp());
                        let passes = LAPSES + (1.0 - 2.0 * LAPSES) * passes;
                        let failed = tally.all - tally.passed;
                        f64::from(tally.passed) * passes.ln()
                            + f64::from(failed) * (1.0 - passes).ln()
                    })
                    .sum();
                logs.push((place - TWO_OF_THREE * width, log));
            }
        }
        let most = logs.iter().map(|&(_, log)| log).fold(f64::NEG_INFINITY, f64::max);
        let mut weights: Vec<(f64, f64)> =
            logs.into_iter().map(|(place, log)| (place, (log - most).exp())).collect();
        weights.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all: f64 = weights.iter().map(|&(_, weight)| weight).sum();
        weights.iter_mut().for_each(|(_, weight)| *weight /= all);
        Self(weights)
    }

    /// The level below which the place lies with probability `q`.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        let mut sum = 0.0;
        for &(place, weight) in &self.0 {
            sum += weight;
            if sum >= q {
                return place;
            }
        }
        self.0.last().map_or(0.0, |&(place, _)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_lies_between_what_passed_and_what_failed_and_narrows() {
        let tally = |passed, all| Tally { passed, all };
        let few: BTreeMap<i32, Tally> = [(10, tally(2, 2)), (20, tally(0, 2))].into();
        let many: BTreeMap<i32, Tally> =
            [(10, tally(4, 4)), (14, tally(6, 6)), (16, tally(0, 6)), (20, tally(0, 4))].into();
        let (few, many) = (Estimate::of(&few, 0, 30), Estimate::of(&many, 0, 30));
        let width = |estimate: &Estimate| estimate.quantile(0.9) - estimate.quantile(0.1);
        assert!((9.0..20.0).contains(&few.quantile(0.5)), "{}", few.quantile(0.5));
        assert!((13.5..16.0).contains(&many.quantile(0.5)), "{}", many.quantile(0.5));
        assert!(width(&many) < width(&few) / 2.0);
    }

    #[test]
    fn one_probe_that_says_the_contrary_moves_little() {
        let tally = |passed, all| Tally { passed, all };
        let plain: BTreeMap<i32, Tally> = (10..20).map(|at| (at, tally(3, 3))).collect();
        let fails = (20..30).map(|at| (at, tally(0, 3)));
        let mut plain: BTreeMap<i32, Tally> = plain.into_iter().chain(fails).collect();
        let before = Estimate::of(&plain, 0, 40).quantile(0.5);
        plain.insert(12, tally(2, 3));
        let after = Estimate::of(&plain, 0, 40).quantile(0.5);
        assert!((before - after).abs() < 0.8, "{before} {after}");
    }
}
