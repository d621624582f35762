//! What a probe says of a percentile: the median over short windows of it.
//!
//! A stall of 60 ms, which a shared machine has now and then, is 3 % of a probe of two seconds and
//! breaks its p99, though it says nothing of the rate. It is in one window of ten, or two. What
//! counts is what half of the windows keep. Every window is in the file, so a system that stalls
//! all the time is seen, and one that stalls rarely is told from the whole probe's figure.
//!
//! Invariants:
//! 1. A window has samples enough for its percentile, [`FEWEST_ABOVE`] above it; where that would
//!    leave fewer than [`FEWEST`] windows, there are none, and the whole probe counts.
//! 2. A window in which nothing was answered is longer than any bound.

use std::time::Duration;

use crate::clock::NS_PER_MS;
use crate::recorder::{Hist, histogram, merge};

/// The shortest window.
pub(super) const SHORTEST_NS: u64 = 200 * NS_PER_MS;
const FEWEST: usize = 5;
/// Longer probes have longer windows.
const MOST: usize = 40;
const FEWEST_ABOVE: f64 = 4.0;

/// The windows of a probe.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Windows {
    pub(super) length_ns: u64,
    /// The percentile of each; `None` where nothing was answered.
    pub(super) values_ns: Vec<Option<u64>>,
    /// `None`: half of them have none.
    pub(super) median_ns: Option<f64>,
    pub(super) samples: u64,
}

impl Windows {
    /// From the histograms of intervals of [`SHORTEST_NS`], by their beginnings, of which a probe
    /// of `duration_ns` has so many as are whole; later ones came after its end.
    pub(super) fn of(all: &[(Duration, Hist)], duration_ns: u64, percentile: f64) -> Option<Self> {
        let shortest = crate::num::usize_of(duration_ns / SHORTEST_NS);
        let mut hists = vec![histogram(); shortest.min(100 * MOST)];
        for (begin, hist) in all {
            let at = u64::try_from(begin.as_nanos()).unwrap_or(u64::MAX) / SHORTEST_NS;
            if let Some(window) = hists.get_mut(crate::num::usize_of(at)) {
                merge(window, hist);
            }
        }
        let samples: u64 = hists.iter().map(Hist::len).sum();
        let above = samples as f64 * (1.0 - percentile / 100.0);
        let most = crate::num::usize_of(crate::num::floor_u64(above / FEWEST_ABOVE)).min(MOST);
        let each = hists.len().div_ceil(most.max(1)).max(1);
        if hists.len() / each < FEWEST {
            return None;
        }
        let values_ns: Vec<Option<u64>> = hists
            .chunks_exact(each)
            .map(|group| {
                let mut all = histogram();
                group.iter().for_each(|hist| merge(&mut all, hist));
                (!all.is_empty()).then(|| all.value_at_percentile(percentile))
            })
            .collect();
        let length_ns = SHORTEST_NS * each as u64;
        Some(Self { length_ns, median_ns: median(&values_ns), values_ns, samples })
    }
}

fn median(values: &[Option<u64>]) -> Option<f64> {
    // 2.: those without an answer are the longest.
    let mut sorted: Vec<u64> = values.iter().map(|value| value.unwrap_or(u64::MAX)).collect();
    sorted.sort_unstable();
    let (lower, upper) =
        (sorted.get((sorted.len().max(1) - 1) / 2)?, sorted.get(sorted.len() / 2)?);
    (*upper < u64::MAX).then(|| f64::midpoint(*lower as f64, *upper as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = NS_PER_MS;

    /// Windows of `n` answers of 1 ms, and of the given share of 80 ms in some.
    fn windows(n: u64, stalled: &[usize]) -> Vec<(Duration, Hist)> {
        let window = |at: usize| {
            let mut hist = histogram();
            let slow = if stalled.contains(&at) { n / 4 } else { 0 };
            hist.saturating_record_n(MS, n - slow);
            hist.saturating_record_n(80 * MS, slow);
            (Duration::from_nanos(at as u64 * SHORTEST_NS), hist)
        };
        (0..10).map(window).collect()
    }

    fn median_ms(all: &[(Duration, Hist)], percentile: f64) -> Option<f64> {
        let of = Windows::of(all, 10 * SHORTEST_NS, percentile)?;
        Some((of.median_ns? / MS as f64).round())
    }

    #[test]
    fn stalls_in_a_few_windows_do_not_count_and_in_most_of_them_do() {
        let all = windows(2_000, &[3, 8]);
        assert_eq!(median_ms(&all, 99.0), Some(1.0));
        assert_eq!(median_ms(&windows(2_000, &[0, 1, 3, 4, 6, 8]), 99.0), Some(80.0));
        let of = Windows::of(&all, 10 * SHORTEST_NS, 99.0).unwrap();
        assert_eq!((of.values_ns.len(), of.length_ns, of.samples), (10, SHORTEST_NS, 20_000));
        assert!(of.values_ns[3] > Some(79 * MS), "it is told: {of:?}");
    }

    #[test]
    fn few_samples_make_longer_windows_and_too_few_none() {
        // 2 000 answers: 20 above the p99, so five windows of 400 ms.
        let of = Windows::of(&windows(200, &[]), 10 * SHORTEST_NS, 99.0).unwrap();
        assert_eq!((of.values_ns.len(), of.length_ns), (5, 2 * SHORTEST_NS));
        assert_eq!(Windows::of(&windows(190, &[]), 10 * SHORTEST_NS, 99.0), None);
        assert_eq!(Windows::of(&windows(190, &[]), 10 * SHORTEST_NS, 90.0).unwrap().samples, 1_900);
        assert_eq!(Windows::of(&[], 10 * SHORTEST_NS, 50.0), None);
        assert_eq!(Windows::of(&windows(9_000, &[]), 4 * SHORTEST_NS, 50.0), None, "too short");
    }

    #[test]
    fn windows_without_an_answer_are_the_longest() {
        let mut all = windows(2_000, &[]);
        all.truncate(6);
        assert_eq!(median_ms(&all, 99.0), Some(1.0), "four of ten");
        all.truncate(5);
        let of = Windows::of(&all, 10 * SHORTEST_NS, 99.0).unwrap();
        assert_eq!((of.median_ns, of.values_ns[9]), (None, None));
        // What came after the end is nobody's.
        let mut late = windows(2_000, &[]);
        late.push((Duration::from_nanos(10 * SHORTEST_NS), late[0].1.clone()));
        assert_eq!(Windows::of(&late, 10 * SHORTEST_NS, 99.0).unwrap().samples, 20_000);
    }
}
