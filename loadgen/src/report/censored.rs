//! Percentiles of samples of which some are missing: arrivals without an answer when the run ended.
//!
//! Their answers take longer than their ages. So every percentile lies between two values: as if
//! each had been answered that very moment, and as if none ever were. Where these differ, the first
//! is a lower bound and is marked as one. Above the share of the answered the second is infinite.

use crate::recorder::{Hist, merge};

/// Answers, and the ages of those that are missing.
#[derive(Debug)]
pub(crate) struct Censored {
    answered: Hist,
    /// With the ages; `None`: nothing is missing.
    all: Option<Hist>,
}

impl Censored {
    pub(crate) fn new(answered: Hist, ages: Option<&Hist>) -> Self {
        let all = ages.filter(|ages| !ages.is_empty()).map(|ages| {
            let mut all = answered.clone();
            merge(&mut all, ages);
            all
        });
        Self { answered, all }
    }

    /// Everything, what is missing with its age.
    pub(crate) fn all(&self) -> &Hist {
        self.all.as_ref().unwrap_or(&self.answered)
    }

    /// The value at percentile `p`, and whether it is only a lower bound.
    pub(crate) fn at(&self, p: f64) -> (u64, bool) {
        let lowest = self.all().value_at_percentile(p);
        let Some(all) = &self.all else { return (lowest, false) };
        let rank = crate::num::floor_u64((p / 100.0 * all.len() as f64 - 1e-9).ceil()).max(1);
        let highest = self.answer_of_rank(rank);
        (lowest, highest.is_none_or(|highest| highest > all.highest_equivalent(lowest)))
    }

    /// The longest, which any of the missing may exceed.
    pub(crate) fn max(&self) -> (u64, bool) {
        (self.all().max(), self.all.is_some())
    }

    /// The `rank`-th of the answers in their order, `None` behind the last.
    fn answer_of_rank(&self, rank: u64) -> Option<u64> {
        let mut so_far = 0;
        self.answered.iter_recorded().find_map(|step| {
            so_far += step.count_since_last_iteration();
            (so_far >= rank).then(|| self.answered.highest_equivalent(step.value_iterated_to()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    fn samples(values: impl IntoIterator<Item = u64>) -> Hist {
        let mut hist = histogram();
        values.into_iter().for_each(|value| hist.saturating_record(value));
        hist
    }

    fn marks(of: &Censored, percentiles: &[f64]) -> Vec<bool> {
        percentiles.iter().map(|&p| of.at(p).1).collect()
    }

    #[test]
    fn nothing_missing_is_nothing_marked() {
        let whole = Censored::new(samples(1..=1_000), Some(&histogram()));
        assert_eq!(whole.at(50.0), (500, false));
        assert_eq!(marks(&whole, &[90.0, 99.0, 99.99]), [false; 3]);
        assert_eq!(whole.max(), (1_000, false));
    }

    #[test]
    fn a_tenth_missing_leaves_percentiles_below_ninety_exact() {
        // The missing are older than anything that was answered.
        let ages = samples((0..100).map(|n| 10_000 + 100 * n));
        let of = Censored::new(samples(1..=900), Some(&ages));
        assert_eq!(of.at(50.0), (500, false));
        assert_eq!(of.at(90.0), (900, false), "the last of the answered");
        assert_eq!(
            marks(&of, &[50.0, 89.9, 90.0, 90.1, 99.0, 99.9]),
            [false, false, false, true, true, true]
        );
        let (p99, _) = of.at(99.0);
        assert!(p99 >= 18_000, "{p99}: ages count");
        assert!(of.max().1);
    }

    #[test]
    fn the_youngest_of_a_few_missing_does_not_put_every_percentile_in_doubt() {
        // Four of 100 000 had only just arrived when the run ended.
        let of =
            Censored::new(samples((0..100_000).map(|n| 40_000 + n % 7)), Some(&samples([9; 4])));
        assert_eq!(of.at(50.0), (40_031, false), "within the same three digits");
        assert_eq!(
            marks(&of, &[50.0, 90.0, 99.0, 99.9, 99.999]),
            [false, false, false, false, true]
        );
        // Ages in the middle of wide-spread answers move what lies above them.
        let of = Censored::new(samples((1..=100).map(|n| n * 1_000)), Some(&samples([50_000; 5])));
        assert_eq!(marks(&of, &[20.0, 60.0, 90.0]), [false, true, true]);
    }
}
