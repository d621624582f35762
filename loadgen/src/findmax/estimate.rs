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
/// Shares of probes that fail although the rate is low enough: how busy the machine is with other
/// things is not known either.
const DISTURBED: [f64; 3] = [0.03, 0.12, 0.3];
/// Probes that pass although the rate is too high.
const LUCKY: f64 = 0.04;
/// Places per level.
const GRAIN: i32 = 2;
/// Bins per level in which places are put together.
const BINS: f64 = 8.0;
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
pub(super) struct Estimate {
    /// Where the first bin begins.
    first: f64,
    /// Of each bin, not yet divided by their sum.
    weights: Vec<f64>,
    all: f64,
}

impl Estimate {
    /// From the tallies by level; the place is looked for from `lowest` to `highest`.
    pub(super) fn of(tallies: &BTreeMap<i32, Tally>, lowest: i32, highest: i32) -> Self {
        let pairs = WIDTHS.into_iter().flat_map(|width| DISTURBED.map(|share| (width, share)));
        let curves: Vec<(f64, Curve)> = pairs
            .map(|(width, share)| (width, Curve::of(width, share, highest - lowest)))
            .collect();
        let mut logs: Vec<(f64, f64)> = Vec::new();
        for place in lowest * GRAIN..=highest * GRAIN {
            for (width, curve) in &curves {
                let log =
                    |(&level, tally): (&i32, &Tally)| curve.log(level * GRAIN - place, *tally);
                let log: f64 = tallies.iter().map(log).sum();
                logs.push((f64::from(place) / f64::from(GRAIN) - TWO_OF_THREE * width, log));
            }
        }
        let most = logs.iter().map(|&(_, log)| log).fold(f64::NEG_INFINITY, f64::max);
        let first = f64::from(lowest) - TWO_OF_THREE * WIDTHS.into_iter().fold(0.0, f64::max);
        let bins = crate::num::floor_u64((f64::from(highest) - first).max(0.0) * BINS) + 1;
        let mut weights = vec![0.0; crate::num::usize_of(bins)];
        let mut all = 0.0;
        for (place, log) in logs {
            let bin = crate::num::usize_of(crate::num::floor_u64((place - first) * BINS));
            if let Some(weight) = weights.get_mut(bin) {
                *weight += (log - most).exp();
                all += (log - most).exp();
            }
        }
        Self { first, weights, all }
    }

    /// The level below which the place lies with probability `q`.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        let mut sum = 0.0;
        let at = self.weights.iter().position(|weight| {
            sum += weight;
            sum >= q * self.all
        });
        self.first + at.unwrap_or(self.weights.len()) as f64 / BINS
    }
}

/// The logarithms of the odds to pass and to fail, by the distance to the place.
struct Curve {
    /// Steps of a grain below the place that the table begins with.
    reach: i32,
    logs: Vec<(f64, f64)>,
}

impl Curve {
    /// Of a width and a share of disturbed probes, for distances up to so many levels.
    fn of(width: f64, disturbed: f64, levels: i32) -> Self {
        let reach = levels.max(0) * GRAIN;
        let logs = (-reach..=reach).map(|distance| {
            let levels = f64::from(distance) / f64::from(GRAIN);
            let passes = 1.0 / (1.0 + (levels / width).exp());
            let passes = LUCKY + (1.0 - LUCKY - disturbed) * passes;
            (passes.ln(), (1.0 - passes).ln())
        });
        Self { reach, logs: logs.collect() }
    }

    /// Of what was seen so far from the place.
    fn log(&self, distance: i32, tally: Tally) -> f64 {
        let at = usize::try_from(distance.clamp(-self.reach, self.reach) + self.reach);
        let (passes, fails) = at.ok().and_then(|at| self.logs.get(at)).copied().unwrap_or_default();
        f64::from(tally.passed) * passes + f64::from(tally.all - tally.passed) * fails
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
