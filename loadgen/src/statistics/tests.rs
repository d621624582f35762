//! Known quantiles, and simulations of whole comparisons: how often chance is called a change, and
//! how often a change is found.

use super::blocks::{BlockHists, Grid, log_error};
use super::judge::{Good, Word, judge};
use super::*;
use crate::plan::rng::Xoshiro;
use crate::recorder::histogram;

/// Normal with mean 0 and deviation 1, by Box and Muller.
fn normal(rng: &mut Xoshiro) -> f64 {
    let radius = (2.0 * rng.exponential()).sqrt();
    radius * (std::f64::consts::TAU * rng.unit()).cos()
}

/// Values of runs around `level`, with deviation `spread` on the logarithmic scale.
fn runs(n: usize, level: f64, spread: f64, rng: &mut Xoshiro) -> Vec<f64> {
    (0..n).map(|_| level * (spread * normal(rng)).exp()).collect()
}

/// A run's seconds: noise that remembers `memory` of the second before.
fn seconds(n: usize, memory: f64, spread: f64, rng: &mut Xoshiro) -> Vec<f64> {
    let fresh = (1.0 - memory * memory).sqrt();
    let mut state = normal(rng);
    let step = |_| {
        state = memory * state + fresh * normal(rng);
        1_000.0 * (spread * state).exp()
    };
    (0..n).map(step).collect()
}

#[test]
fn quantiles_lie_between_their_neighbours() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(quantile(&[10.0, 20.0], 0.25), Some(12.5));
    assert_eq!(quantile(&[10.0, f64::NAN], 1.0), Some(10.0));
    assert_eq!((median(&[]), variance(&[1.0])), (None, None));
    assert_eq!(variance(&[1.0, 3.0]), Some(2.0), "over one degree of freedom, not two");
    for (df, t) in [(1.0, 12.706), (3.0, 3.182), (4.5, 2.674), (12.0, 2.179), (30.0, 2.042)] {
        assert!((student(df) - t).abs() < 0.003, "{df}: {}", student(df));
    }
}

#[test]
fn a_ratio_is_estimated_and_what_has_none_is_not() {
    let ratio = ratio_interval(&[100.0, 102.0, 98.0], &[150.0, 151.0, 149.0], 1).unwrap();
    assert!((ratio.estimate - 1.5).abs() < 0.01, "{ratio:?}");
    assert!(ratio.low < ratio.estimate && ratio.estimate < ratio.high && ratio.excludes(1.0));
    assert_eq!(
        ratio_interval(&[100.0, 102.0], &[99.0], 1),
        ratio_interval(&[100.0, 102.0], &[99.0], 1)
    );
    for (a, b) in [(&[1.0][..], &[2.0][..]), (&[], &[1.0, 2.0]), (&[0.0, 1.0], &[1.0, 2.0])] {
        assert_eq!(ratio_interval(a, b, 1), None);
    }
    let alone = ratio_interval(&[100.0, 110.0, 90.0, 105.0], &[101.0], 1).unwrap();
    assert!(alone.low < 0.9 && alone.high > 1.1, "one run varies as the others do: {alone:?}");
}

#[test]
fn runs_of_one_build_differ_by_chance_in_5_of_100_comparisons_not_more() {
    let mut rng = Xoshiro::for_client(7, 0);
    for n in [3, 5] {
        let wrong = (0..1_000)
            .filter(|&seed| {
                let (a, b) = (runs(n, 100.0, 0.1, &mut rng), runs(n, 100.0, 0.1, &mut rng));
                ratio_interval(&a, &b, seed).is_some_and(|ratio| ratio.excludes(1.0))
            })
            .count();
        assert!((5..=80).contains(&wrong), "{n} runs each: {wrong} of 1000");
    }
}

#[test]
fn five_runs_each_find_a_change_of_20_percent() {
    let mut rng = Xoshiro::for_client(8, 0);
    let mut found = 0;
    for seed in 0..500 {
        let (a, b) = (runs(5, 100.0, 0.06, &mut rng), runs(5, 120.0, 0.06, &mut rng));
        let word = judge(ratio_interval(&a, &b, seed), Good::Less, 0.05);
        assert_ne!(word, Word::Better);
        found += usize::from(word == Word::Worse);
    }
    assert!(found >= 450, "found in {found} of 500");
}

#[test]
fn blocks_see_through_noise_that_remembers() {
    let mut rng = Xoshiro::for_client(9, 0);
    let error = |run: &[f64], seed| {
        log_error(run.len(), seed, |times| {
            let sum: f64 = run.iter().zip(times).map(|(x, &n)| x * f64::from(n)).sum();
            Some(sum / run.len() as f64)
        })
        .unwrap()
    };
    let mut wrong = 0;
    for seed in 0..1_000 {
        let [a, b] = [0, 1].map(|_| seconds(40, 0.6, 0.2, &mut rng));
        let log = (mean(&b).unwrap() / mean(&a).unwrap()).ln();
        let half = Z * (error(&a, seed).powi(2) + error(&b, seed).powi(2)).sqrt();
        wrong += usize::from(Interval::around_log(log, half).excludes(1.0));
    }
    assert!((1..=100).contains(&wrong), "{wrong} of 1000; resampling single seconds gives 300");
}

#[test]
fn quantiles_of_resampled_histograms_are_those_of_the_merged_ones() {
    let mut rng = Xoshiro::for_client(10, 0);
    let hists: Vec<_> = (0..6)
        .map(|_| {
            let mut hist = histogram();
            (0..500).for_each(|_| hist.saturating_record(rng.below(1 << 30)));
            hist
        })
        .collect();
    let mut merged = histogram();
    for (at, times) in [1_u32, 0, 3, 1, 1, 0].into_iter().enumerate() {
        (0..times).for_each(|_| crate::recorder::merge(&mut merged, &hists[at]));
    }
    let blocks = BlockHists::new(&hists);
    for q in [0.5, 0.9, 0.99, 0.999] {
        let got = blocks.quantile(q, &[1, 0, 3, 1, 1, 0]).unwrap();
        let exact = merged.value_at_quantile(q) as f64;
        assert!((got / exact - 1.0).abs() < 1e-9, "{q}: {got} {exact}");
    }
    assert_eq!(BlockHists::default().quantile(0.5, &[]), None);
    assert_eq!(log_error(3, 1, |_| Some(1.0)), None, "too few blocks");
}

#[test]
fn long_runs_have_longer_blocks() {
    let second = crate::clock::NS_PER_S;
    let short = Grid::of(10 * second + 1, second / 10);
    assert_eq!(
        (short.blocks, short.at(0), short.at(3 * second), short.at(u64::MAX)),
        (10, 0, 3, 9)
    );
    let long = Grid::of(605 * second, second);
    assert_eq!((long.blocks, long.at(604 * second)), (55, 54), "no short one at the end");
    assert_eq!(Grid::of(10 * second, 3 * second).blocks, 3, "whole intervals");
    assert_eq!(Grid::of(0, 0).blocks, 1);
}

#[test]
fn words_need_both_a_sure_and_a_large_change() {
    let ratio = |estimate, low, high| Some(Interval { estimate, low, high });
    let word = |ratio| judge(ratio, Good::Less, 0.05);
    assert_eq!(word(ratio(1.2, 1.1, 1.3)), Word::Worse);
    assert_eq!(word(ratio(0.8, 0.7, 0.9)), Word::Better);
    assert_eq!(judge(ratio(0.8, 0.7, 0.9), Good::More, 0.05), Word::Worse);
    assert_eq!(word(ratio(1.03, 1.01, 1.05)), Word::NoDifference, "sure, but small");
    assert_eq!(word(ratio(1.1, 0.95, 1.25)), Word::NoDifference, "large, but not sure");
    assert_eq!(word(ratio(1.4, 0.4, 5.0)), Word::Unclear);
    assert_eq!(word(ratio(1.1, 0.5, 2.0)), Word::NoDifference, "twice to each side is not blind");
    assert_eq!(word(None), Word::Unclear);
}

/// Half of an interval, on the logarithmic scale.
fn half(ratio: Interval) -> f64 {
    (ratio.high / ratio.low).ln() / 2.0
}

#[test]
fn intervals_over_runs_are_as_wide_as_students() {
    // Deviations of 1 to each side, so the variance of the logarithms is known.
    let side = |level: f64| [-0.1, 0.0, 0.1].map(|log: f64| level * log.exp());
    let widths = (0..20).map(|seed| half(ratio_interval(&side(1.0), &side(1.0), seed).unwrap()));
    let width = widths.sum::<f64>() / 20.0;
    let expected = 2.776 * (2.0 * 0.01 / 3.0_f64).sqrt();
    assert!((width / expected - 1.0).abs() < 0.1, "{width}, by Student's test {expected}");
}

#[test]
fn one_run_against_several_is_taken_to_vary_as_they_do() {
    let several: Vec<f64> = (0..8).map(|n| (0.02 * f64::from(n)).exp()).collect();
    let logs: Vec<f64> = several.iter().map(|value| value.ln()).collect();
    let widths = (0..20).map(|seed| half(ratio_interval(&several, &[1.05], seed).unwrap()));
    let width = widths.sum::<f64>() / 20.0;
    let expected = student(7.0) * (variance(&logs).unwrap() * (1.0 + 1.0 / 8.0)).sqrt();
    // Even deviations have shorter tails than the normal ones that Student's test is made for.
    assert!((0.85..1.02).contains(&(width / expected)), "{width}, by Student's test {expected}");
}
