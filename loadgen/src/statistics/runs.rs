//! Intervals over whole runs: the unit that varies by itself, so that nothing has to be assumed
//! about what happens inside one.
//!
//! The percentile bootstrap is too narrow for the three to ten runs one has: it knows `n - 1`
//! degrees of freedom less than it needs (Hesterberg, "What Teachers Should Know About the
//! Bootstrap", 2015, section 4.1). Its ends are therefore pushed out by Student's quantile over the
//! normal one and by `sqrt(n / (n - 1))`.

use super::{Interval, RESAMPLES, Z, mean, quantile_of_sorted, student, variance};
use crate::plan::rng::Xoshiro;

/// The ratio of `b` to `a`, of the geometric means of their runs. `None` where a side has no
/// values, where one is not above 0, and for one run against one. A side of a single run is taken
/// to vary as the other one does.
pub(crate) fn ratio_interval(a: &[f64], b: &[f64], seed: u64) -> Option<Interval> {
    let (a, b) = (logs(a)?, logs(b)?);
    let log = mean(&b)? - mean(&a)?;
    let (first, second) = (Side::of(&a, &b)?, Side::of(&b, &a)?);
    let mut rng = Xoshiro::for_client(seed, 0);
    let mut draws: Vec<f64> =
        (0..RESAMPLES).map(|_| second.draw(&mut rng) - first.draw(&mut rng)).collect();
    draws.sort_by(f64::total_cmp);
    let push = student(degrees(first, second)) / Z;
    let (low, high) = (quantile_of_sorted(&draws, 0.025)?, quantile_of_sorted(&draws, 0.975)?);
    let (low, high) = ((log + push * low.min(0.0)).exp(), (log + push * high.max(0.0)).exp());
    Some(Interval { estimate: log.exp(), low, high })
}

fn logs(values: &[f64]) -> Option<Vec<f64>> {
    let sound = !values.is_empty() && values.iter().all(|&x| x.is_finite() && x > 0.0);
    sound.then(|| values.iter().map(|x| x.ln()).collect())
}

/// What is resampled for one side.
#[derive(Clone, Copy, Debug)]
struct Side<'a> {
    /// Whose deviations from their mean are drawn.
    runs: &'a [f64],
    mean: f64,
    /// How many are drawn.
    n: usize,
    /// Of the mean.
    variance: f64,
    /// The runs are those of the other side.
    is_borrowed: bool,
}

impl<'a> Side<'a> {
    fn of(own: &'a [f64], other: &'a [f64]) -> Option<Self> {
        let runs = if own.len() > 1 { own } else { other };
        let variance = variance(runs)? / own.len() as f64;
        Some(Self { runs, mean: mean(runs)?, n: own.len(), variance, is_borrowed: own.len() < 2 })
    }

    /// The deviation of the mean of a resample, widened to the variance that runs really have.
    fn draw(&self, rng: &mut Xoshiro) -> f64 {
        let runs = self.runs.len() as u64;
        let mut sum = 0.0;
        for _ in 0..self.n {
            let at = crate::num::usize_of(rng.below(runs));
            sum += self.runs.get(at).copied().unwrap_or(self.mean) - self.mean;
        }
        let widened = (runs as f64 / (runs as f64 - 1.0)).sqrt();
        sum / self.n as f64 * widened
    }
}

/// Welch and Satterthwaite's degrees of freedom.
fn degrees(a: Side<'_>, b: Side<'_>) -> f64 {
    if a.is_borrowed || b.is_borrowed {
        return a.runs.len() as f64 - 1.0;
    }
    let own = |side: Side<'_>| side.variance.powi(2) / (side.runs.len() as f64 - 1.0);
    let below = own(a) + own(b);
    let most = (a.runs.len() + b.runs.len()) as f64 - 2.0;
    if below > 0.0 { ((a.variance + b.variance).powi(2) / below).min(most) } else { most }
}
