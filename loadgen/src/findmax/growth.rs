//! Whether a rate was sustained: the arrivals under way do not grow in number during the run, and
//! as many are answered as come.
//!
//! Growth is the sign of a rate that is a little too high, long before latencies tell. A line is
//! fitted through the means of blocks of the series. Blocks, because neighbouring intervals are
//! alike, which would make chance look like a trend.
//!
//! A run as such is not valid if 1 % of its arrivals were not answered in time. That would let one
//! stall of the machine at the end of a short probe decide, so here most of its time must be like
//! that as well.

use crate::clock::NS_PER_S;
use crate::document::Document;

/// Blocks of a run.
const BLOCKS: usize = 10;
/// The slope over its standard error from which it is none by chance: Student's quantile for
/// 8 degrees of freedom that leaves 0.5 % above.
const LEAST_T: f64 = 3.355;
/// Growth over the run that matters, as a share of its arrivals.
const LEAST_SHARE: f64 = 0.002;

/// Answers to arrivals below which the rate was not had.
const LEAST_ANSWERED: f64 = 0.99;

/// How far the answers stayed behind the arrivals, in words; `None` if they did not.
pub(super) fn missed(document: &Document) -> Option<String> {
    let (totals, series) = (&document.totals, &document.series);
    let seconds = document.run.duration_ns as f64 / NS_PER_S as f64;
    let answered = totals.achieved_rate? * seconds / totals.offered.max(1) as f64;
    let rows: Vec<f64> =
        series.ok.iter().zip(&series.errors).map(|(a, b)| (a + b) as f64).collect();
    // Refusals under --try are in no row.
    let has_rows = !document.config.try_only && !rows.is_empty();
    let usual = has_rows.then(|| usual(rows) / (totals.offered as f64 / series.ok.len() as f64));
    let missed = answered.max(usual.unwrap_or(0.0)) < LEAST_ANSWERED;
    missed.then(|| {
        format!("rate missed: {:.1} % of the arrivals were answered in time", 100.0 * answered)
    })
}

/// The median of blocks, in units of an interval.
fn usual(rows: Vec<f64>) -> f64 {
    let length = rows.len().div_ceil(BLOCKS);
    let mut blocks: Vec<f64> = rows
        .chunks(length.max(1))
        .map(|block| block.iter().sum::<f64>() / block.len() as f64)
        .collect();
    blocks.sort_by(f64::total_cmp);
    blocks.get(blocks.len() / 2).copied().unwrap_or(0.0)
}

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
    use crate::report::text::tests::sample;

    #[test]
    fn a_backlog_that_grows_is_seen_through_the_noise() {
        let mut rng = Xoshiro::for_client(1, 0);
        let series: Vec<f64> =
            (0..20).map(|at| 20.0 + 2.0 * f64::from(at) + 10.0 * rng.unit()).collect();
        assert!(in_series(&series, 10_000.0));
        assert!(!in_series(&series, 100_000.0), "too little to matter");
    }

    /// 20 intervals of 1 000 arrivals, answered as `rows` says.
    fn answered(rows: [u64; 20]) -> Document {
        let mut document = crate::report::json::document(&sample());
        document.run.duration_ns = 2 * NS_PER_S;
        document.totals.offered = 20_000;
        document.totals.achieved_rate = Some(rows.iter().sum::<u64>() as f64 / 2.0);
        (document.series.ok, document.series.errors) = (rows.into(), vec![0; 20]);
        document
    }

    #[test]
    fn a_stall_at_the_end_misses_no_rate_but_staying_behind_all_the_time_does() {
        let mut stall = [1_000; 20];
        stall[19] = 300;
        assert_eq!(missed(&answered(stall)), None);
        let told = missed(&answered([970; 20])).unwrap();
        assert!(told.contains("97.0 %"), "{told}");
        assert_eq!(missed(&answered([995; 20])), None);
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
