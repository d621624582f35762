//! Whether the arrivals under way grow in number during a run: the sign of a rate that is a little
//! too high, long before latencies tell.
//!
//! A line is fitted through the means of blocks of the series. Blocks, because neighbouring
//! intervals are alike, which would make chance look like a trend.

use crate::document::Document;

/// Blocks of a run.
const BLOCKS: usize = 10;
/// The slope over its standard error from which it is none by chance: Student's quantile for
/// 8 degrees of freedom that leaves 0.5 % above.
const LEAST_T: f64 = 3.355;
/// Growth over the run that matters, as a share of its arrivals.
const LEAST_SHARE: f64 = 0.002;

/// Whether they do in `document`.
pub(super) fn grows(document: &Document) -> bool {
    let series: Vec<f64> = document.series.in_flight.iter().map(|&n| n as f64).collect();
    in_series(&series, document.totals.offered as f64)
}

fn in_series(series: &[f64], arrivals: f64) -> bool {
    let length = series.len() / BLOCKS;
    if length == 0 {
        return false;
    }
    let mean = |block: &[f64]| block.iter().sum::<f64>() / block.len() as f64;
    let means: Vec<f64> = series.chunks_exact(length).take(BLOCKS).map(mean).collect();
    let n = means.len() as f64;
    let (middle, level) = ((n - 1.0) / 2.0, mean(&means));
    let place = |at: usize| at as f64 - middle;
    let squares: f64 = (0..means.len()).map(|at| place(at).powi(2)).sum();
    let slope: f64 =
        means.iter().enumerate().map(|(at, y)| place(at) * (y - level)).sum::<f64>() / squares;
    let off = |(at, y): (usize, &f64)| (y - level - slope * place(at)).powi(2);
    let residual: f64 = means.iter().enumerate().map(off).sum();
    let error = (residual / (n - 2.0) / squares).sqrt();
    // A straight line without any error rises as surely as can be.
    let is_sure = slope > LEAST_T * error;
    is_sure && slope * n > LEAST_SHARE * arrivals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::rng::Xoshiro;

    #[test]
    fn a_backlog_that_grows_is_seen_through_the_noise() {
        let mut rng = Xoshiro::for_client(1, 0);
        let series: Vec<f64> =
            (0..20).map(|at| 20.0 + 2.0 * f64::from(at) + 10.0 * rng.unit()).collect();
        assert!(in_series(&series, 10_000.0));
        assert!(!in_series(&series, 100_000.0), "too little to matter");
    }

    #[test]
    fn a_level_and_a_single_burst_do_not_grow() {
        let mut rng = Xoshiro::for_client(2, 0);
        let mut seen = 0;
        for _ in 0..1_000 {
            let series: Vec<f64> = (0..20).map(|_| 30.0 + 30.0 * rng.unit()).collect();
            seen += u32::from(in_series(&series, 1_000.0));
        }
        assert!(seen <= 15, "{seen} of 1000 by chance");
        let mut burst = vec![20.0; 20];
        burst[17] = 4_000.0;
        assert!(!in_series(&burst, 10_000.0));
        assert!(!in_series(&[], 1.0) && !in_series(&[1.0; 9], 1.0));
    }
}
