//! How sure a comparison of measurements is: quantiles of samples, intervals by bootstrap, and the
//! rule that turns an interval into a word. Pure; the same seed gives the same interval.
//!
//! Invariants:
//! 1. Values are compared as ratios, on a logarithmic scale: half and double are equally far from
//!    no change, and an interval never reaches below -100 %.
//! 2. What cannot be said is `None`: no samples, a value that is not positive, one run against one
//!    run without a look inside them.
//! 3. Bounded: [`RESAMPLES`] resamples of runs, fewer of at most [`blocks::MOST_BLOCKS`] blocks.

pub(crate) mod blocks;
pub(crate) mod judge;
mod runs;

pub(crate) use runs::ratio_interval;

/// Resamples of a bootstrap: the ends of its interval are then stable to about 2 % of its width.
pub(crate) const RESAMPLES: usize = 2_000;
/// The quantile of the normal distribution that leaves 2.5 % above.
pub(crate) const Z: f64 = 1.959_964;

/// A value with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) estimate: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    /// From a logarithm and how far its interval reaches to both sides.
    pub(crate) fn around_log(log: f64, half_width: f64) -> Self {
        let (low, high) = ((log - half_width).exp(), (log + half_width).exp());
        Self { estimate: log.exp(), low, high }
    }

    /// Whether `value` lies outside of it.
    pub(crate) fn excludes(&self, value: f64) -> bool {
        value < self.low || value > self.high
    }
}

/// The `q`-quantile, 0 to 1, between the two samples around it (Hyndman and Fan's type 7); `None`
/// without samples.
pub(crate) fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, q)
}

fn quantile_of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = crate::num::usize_of(crate::num::floor_u64(place)).min(last);
    let (low, high) = (*sorted.get(below)?, *sorted.get((below + 1).min(last))?);
    Some(low + (high - low) * (place - below as f64))
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 0.5)
}

fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
}

/// The unbiased variance, `None` below two samples.
fn variance(samples: &[f64]) -> Option<f64> {
    let (mean, n) = (mean(samples)?, samples.len());
    let squares: f64 = samples.iter().map(|x| (x - mean).powi(2)).sum();
    (n > 1).then(|| squares / (n - 1) as f64)
}

/// The quantile of Student's distribution that leaves 2.5 % above, for `df` degrees of freedom.
fn student(df: f64) -> f64 {
    /// Of 1 to 10 degrees.
    const TABLE: [f64; 10] =
        [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    let df = df.max(1.0);
    if df < 10.0 {
        let at = |n: usize| TABLE.get(n - 1).copied().unwrap_or(Z);
        let below = crate::num::usize_of(crate::num::floor_u64(df)).max(1);
        return at(below) + (at(below + 1) - at(below)) * (df - below as f64);
    }
    // Abramowitz and Stegun 26.7.5, two terms: right to three digits from 10 degrees on.
    let cube = Z.powi(3);
    Z + (cube + Z) / (4.0 * df) + (5.0 * Z.powi(5) + 16.0 * cube + 3.0 * Z) / (96.0 * df * df)
}

#[cfg(test)]
mod tests;
