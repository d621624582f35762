//! Intervals from inside single runs: whole blocks of time are resampled, so that what belongs
//! together in time (a slow second after another) stays together.
//!
//! Circular block bootstrap (Politis and Romano, 1992). How far back a run remembers is not known,
//! so several lengths of blocks are tried and the widest result counts: a block that is too short
//! is too sure of itself.

use std::collections::BTreeMap;

use super::{Z, student, variance};
use crate::clock::NS_PER_S;
use crate::num;
use crate::plan::rng::Xoshiro;
use crate::recorder::Hist;

/// Longer runs have longer blocks.
pub(crate) const MOST_BLOCKS: usize = 60;
/// Resamples for one standard error, which is then right to 5 %.
const RESAMPLES: usize = 200;
/// Below so many blocks nothing is said.
pub(crate) const FEWEST_BLOCKS: usize = 4;

/// Equal blocks of a run's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    block_ns: u64,
    pub(crate) blocks: usize,
}

impl Grid {
    /// Blocks of at least a second and of whole intervals, at most [`MOST_BLOCKS`]; what is left
    /// over at the end belongs to the last one.
    pub(crate) fn of(duration_ns: u64, interval_ns: u64) -> Self {
        let interval_ns = interval_ns.max(1);
        let second = NS_PER_S.div_ceil(interval_ns).saturating_mul(interval_ns);
        let seconds = (duration_ns / second).max(1);
        let each = seconds.div_ceil(MOST_BLOCKS as u64);
        Self { block_ns: second.saturating_mul(each), blocks: num::usize_of(seconds / each).max(1) }
    }

    /// The block that holds the instant.
    pub(crate) fn at(&self, since_start_ns: u64) -> usize {
        num::usize_of(since_start_ns / self.block_ns).min(self.blocks - 1)
    }
}

/// The standard error of the logarithm of a statistic of `n` blocks. `statistic` gets how often
/// each block was drawn. `None` with too few blocks, or if the statistic has no value.
pub(crate) fn log_error(
    n: usize,
    seed: u64,
    statistic: impl Fn(&[u32]) -> Option<f64>,
) -> Option<f64> {
    if n < FEWEST_BLOCKS {
        return None;
    }
    let mut lengths = vec![1, n / 8, n / 5];
    lengths.retain(|&length| length > 0);
    lengths.dedup();
    let errors = lengths.into_iter().enumerate().map(|(stream, length)| {
        let mut rng = Xoshiro::for_client(seed, num::u32_of(stream as u64));
        let draws: Vec<f64> = (0..RESAMPLES)
            .filter_map(|_| statistic(&draw(n, length, &mut rng)))
            .filter(|&value| value > 0.0)
            .map(f64::ln)
            .collect();
        // Blocks that overlap vary less than new ones would, the more so the longer they are.
        let narrowed = 1.0 - length as f64 / n as f64;
        // Few long blocks know little about their own spread.
        let pushed = student(n as f64 / length as f64 - 1.0) / Z;
        let error = (variance(&draws)? / narrowed).sqrt() * pushed;
        (draws.len() > RESAMPLES / 2).then_some(error)
    });
    errors.flatten().max_by(f64::total_cmp)
}

/// How often each of `n` blocks is in a resample made of runs of `length`.
fn draw(n: usize, length: usize, rng: &mut Xoshiro) -> Vec<u32> {
    let mut times = vec![0_u32; n];
    let mut drawn = 0;
    while drawn < n {
        let from = num::usize_of(rng.below(n as u64));
        for step in 0..length.min(n - drawn) {
            if let Some(count) = times.get_mut((from + step) % n) {
                *count += 1;
            }
            drawn += 1;
        }
    }
    times
}

/// Histograms of blocks, as counts of the values that any of them has.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockHists {
    /// Ascending, each with its count in every block.
    values: Vec<(u64, Vec<u64>)>,
    blocks: usize,
}

impl BlockHists {
    pub(crate) fn new(blocks: &[Hist]) -> Self {
        let mut values: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (at, hist) in blocks.iter().enumerate() {
            for step in hist.iter_recorded() {
                let counts = values.entry(step.value_iterated_to());
                let counts = counts.or_insert_with(|| vec![0; blocks.len()]);
                if let Some(count) = counts.get_mut(at) {
                    *count += step.count_at_value();
                }
            }
        }
        Self { values: values.into_iter().collect(), blocks: blocks.len() }
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks
    }

    /// The `q`-quantile of all samples, blocks counted `times`.
    pub(crate) fn quantile(&self, q: f64, times: &[u32]) -> Option<f64> {
        let weigh = |counts: &[u64]| -> u64 {
            counts.iter().zip(times).map(|(count, &times)| count * u64::from(times)).sum()
        };
        let weighed: Vec<(u64, u64)> =
            self.values.iter().map(|(value, counts)| (*value, weigh(counts))).collect();
        let all: u64 = weighed.iter().map(|(_, count)| count).sum();
        if all == 0 {
            return None;
        }
        let wanted = num::floor_u64((q * all as f64).ceil()).clamp(1, all);
        let mut so_far = 0;
        let found = weighed.into_iter().find(|(_, count)| {
            so_far += count;
            so_far >= wanted
        });
        found.map(|(value, _)| value as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_blocks_go_round_so_that_every_block_is_drawn_as_often() {
        let mut rng = Xoshiro::for_client(1, 0);
        let mut all = vec![0; 6];
        for _ in 0..3_000 {
            let times = draw(6, 4, &mut rng);
            assert_eq!(times.iter().sum::<u32>(), 6, "as many blocks as the run has");
            all.iter_mut().zip(times).for_each(|(all, times)| *all += times);
        }
        assert!(all.iter().all(|times| (2_850..3_150).contains(times)), "{all:?}");
    }

    #[test]
    fn the_error_of_a_mean_of_few_blocks_is_students() {
        // Of five blocks only single ones are drawn, so the error of their mean is known.
        let blocks = [98.0, 99.0, 100.0, 101.0, 102.0];
        let mean = |times: &[u32]| {
            let sum: f64 = blocks.iter().zip(times).map(|(x, &n)| x * f64::from(n)).sum();
            Some(sum / 5.0)
        };
        let errors = (0..50).map(|seed| log_error(5, seed, mean).unwrap());
        let error = errors.sum::<f64>() / 50.0;
        let expected = (2.5_f64 / 5.0).sqrt() / 100.0 * 2.776 / Z;
        assert!((error / expected - 1.0).abs() < 0.04, "{error}, {expected}");
    }

    #[test]
    fn a_statistic_that_most_resamples_do_not_have_has_no_error() {
        let of_some = |times: &[u32]| {
            let rare = times.first() == Some(&2);
            rare.then(|| 1.0 + f64::from(times.iter().skip(1).copied().max().unwrap_or(0)))
        };
        assert_eq!(log_error(5, 1, of_some), None);
    }
}
