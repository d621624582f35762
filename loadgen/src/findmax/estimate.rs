//! Where probes begin to fail, from all of them together.
//!
//! How often a probe passes falls with the rate along a logistic curve, whose place and width are
//! not known, and now and then a probe says the contrary of what it should. Of every place and
//! width the likelihood of what was seen is known, so the places are weighed by it: Watson and
//! Pelli's QUEST (Perception & Psychophysics 33, 1983), with the width left open.

use std::collections::BTreeMap;

use super::ladder::GRAIN;

/// Widths of the curve, in rungs.
const WIDTHS: [f64; 3] = [0.8, 2.0, 5.0];
/// Shares of probes that fail although the rate is low enough: how often the machine is busy with
/// other things unseen is not known either.
const DISTURBED: [f64; 3] = [0.02, 0.1, 0.25];
/// Probes that pass although the rate is too high.
const LUCKY: f64 = 0.04;
/// Places that are weighed together.
const BIN: i32 = 2;

/// How many probes passed, and how many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u32,
    pub(super) all: u32,
}

/// By place.
pub(super) type Tallies = BTreeMap<i32, Tally>;

/// The places at which half of the probes pass, with how sure that is.
#[derive(Clone, Debug)]
pub(super) struct Estimate {
    lowest: i32,
    /// Of each [`BIN`], not yet divided by their sum.
    weights: Vec<f64>,
    all: f64,
}

impl Estimate {
    /// The place is looked for from `lowest` to `highest`.
    pub(super) fn of(tallies: &Tallies, lowest: i32, highest: i32) -> Self {
        let pairs = WIDTHS.into_iter().flat_map(|width| DISTURBED.map(|share| (width, share)));
        let reach = tallies.keys().map(|at| (at - lowest).max(highest - at)).max().unwrap_or(0);
        let curves: Vec<Curve> =
            pairs.map(|(width, share)| Curve::of(width, share, reach)).collect();
        let tallies: Vec<(i32, Tally)> = tallies.iter().map(|(at, tally)| (*at, *tally)).collect();
        let logs: Vec<Vec<f64>> = (lowest..=highest)
            .step_by(crate::num::usize_of(BIN.unsigned_abs().into()))
            .map(|place| {
                let log = |curve: &Curve| -> f64 {
                    tallies.iter().map(|(at, tally)| curve.log(at - place, *tally)).sum()
                };
                curves.iter().map(log).collect()
            })
            .collect();
        let most = logs.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let weight = |logs: &Vec<f64>| logs.iter().map(|log| (log - most).exp()).sum();
        let weights: Vec<f64> = logs.iter().map(weight).collect();
        let all = weights.iter().sum();
        Self { lowest, weights, all }
    }

    /// The place below which it lies with probability `q`; inside a bin, by how far that one is
    /// used up.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        let wanted = q * self.all;
        let mut sum = 0.0;
        let mut bins = 0.0;
        for weight in &self.weights {
            if sum + weight >= wanted && *weight > 0.0 {
                bins += (wanted - sum) / weight;
                break;
            }
            sum += weight;
            bins += 1.0;
        }
        f64::from(self.lowest) + f64::from(BIN) * (bins - 0.5)
    }
}

/// The logarithms of the odds to pass and to fail, by the distance to the place.
struct Curve {
    reach: i32,
    logs: Vec<(f64, f64)>,
}

impl Curve {
    /// Of a width and a share of disturbed probes, for distances up to `reach`.
    fn of(width: f64, disturbed: f64, reach: i32) -> Self {
        let logs = (-reach..=reach).map(|distance| {
            let levels = f64::from(distance) / f64::from(GRAIN);
            let passes = 1.0 / (1.0 + (levels / width).exp());
            let passes = LUCKY + (1.0 - LUCKY - disturbed) * passes;
            (passes.ln(), (1.0 - passes).ln())
        });
        Self { reach, logs: logs.collect() }
    }

    /// Of what was seen so far above the place.
    fn log(&self, distance: i32, tally: Tally) -> f64 {
        let at = usize::try_from(distance.clamp(-self.reach, self.reach) + self.reach);
        let (passes, fails) = at.ok().and_then(|at| self.logs.get(at)).copied().unwrap_or_default();
        f64::from(tally.passed) * passes + f64::from(tally.all - tally.passed) * fails
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u32, all: u32) -> Tally {
        Tally { passed, all }
    }

    #[test]
    fn the_estimate_lies_between_what_passed_and_what_failed_and_narrows() {
        let few: Tallies = [(40, tally(2, 2)), (80, tally(0, 2))].into();
        let many: Tallies =
            [(40, tally(4, 4)), (56, tally(6, 6)), (64, tally(0, 6)), (80, tally(0, 4))].into();
        let (few, many) = (Estimate::of(&few, 0, 120), Estimate::of(&many, 0, 120));
        let width = |estimate: &Estimate| estimate.quantile(0.9) - estimate.quantile(0.1);
        assert!((40.0..80.0).contains(&few.quantile(0.5)), "{}", few.quantile(0.5));
        assert!((56.0..64.0).contains(&many.quantile(0.5)), "{}", many.quantile(0.5));
        assert!(width(&many) < width(&few) / 2.0);
    }

    #[test]
    fn it_is_where_half_of_the_probes_pass() {
        // By a logistic curve around place 50.
        let curve = |at: i32| 100.0 / (1.0 + (f64::from(at - 50) / 8.0).exp());
        let passed = |at| crate::num::u32_of(crate::num::floor_u64(curve(at).round()));
        let all: Tallies = (20..80).step_by(5).map(|at| (at, tally(passed(at), 100))).collect();
        let found = Estimate::of(&all, 0, 100);
        assert!((49.0..51.0).contains(&found.quantile(0.5)), "{}", found.quantile(0.5));
        assert!(found.quantile(0.9) - found.quantile(0.1) < 3.0, "so many are sure");
    }

    #[test]
    fn one_probe_that_says_the_contrary_moves_little() {
        let passes = (40..80).step_by(4).map(|at| (at, tally(3, 3)));
        let fails = (80..120).step_by(4).map(|at| (at, tally(0, 3)));
        let mut all: Tallies = passes.chain(fails).collect();
        let before = Estimate::of(&all, 0, 160).quantile(0.5);
        all.insert(48, tally(2, 3));
        let after = Estimate::of(&all, 0, 160).quantile(0.5);
        assert!((before - after).abs() < 3.0, "{before} {after}");
    }
}
