//! The rates that are tried: rungs of 4 %, each in four, so that two searches name the same rates.
//!
//! A rung is as far as two rates must be apart to be told from each other; a quarter of it is as
//! finely as an answer is given. Rates are of three digits.

use std::ops::RangeInclusive;

/// From a rung to the next.
const STEP: f64 = 1.04;
/// Quarters of a rung.
pub(crate) const GRAIN: i32 = 4;
/// Rungs that double a rate, nearly.
pub(crate) const DOUBLE: i32 = 18;
/// Half a lock per second, 50 millions.
pub(crate) const LEVELS: RangeInclusive<i32> = -194..=276;
/// The rate of rung 0.
const BASE_RATE: f64 = 1_000.0;

/// The rate of a rung.
pub(crate) fn rate_of(level: i32) -> f64 {
    rate_at(f64::from(level))
}

/// The rate of a quarter rung.
pub(crate) fn rate_of_place(place: i32) -> f64 {
    rate_at(f64::from(place) / f64::from(GRAIN))
}

/// The rate so many rungs up, in three digits.
pub(crate) fn rate_at(level: f64) -> f64 {
    let rate = BASE_RATE * STEP.powf(level);
    let digit = 10_f64.powf(rate.log10().floor() - 2.0);
    // Three digits of a rate are never told apart by floating point again.
    let rounded = (rate / digit).round() * digit;
    if rounded >= 100.0 { rounded.round() } else { (rounded * 1e4).round() / 1e4 }
}

/// The rung nearest to a rate.
pub(crate) fn level_of(rate: f64) -> i32 {
    let level = (rate.max(1e-9) / BASE_RATE).ln() / STEP.ln();
    let bounded = level.round().clamp(f64::from(*LEVELS.start()), f64::from(*LEVELS.end()));
    LEVELS.clone().find(|&at| f64::from(at) >= bounded).unwrap_or(0)
}

/// So many places is a factor between two rates.
pub(super) fn places_of(factor: f64) -> f64 {
    factor.ln() / STEP.ln() * f64::from(GRAIN)
}

/// The place of the rung nearest to a rate.
pub(super) fn place_of(rate: f64) -> i32 {
    level_of(rate) * GRAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_has_rates_of_three_digits_and_finds_them_again() {
        for level in LEVELS {
            assert_eq!(level_of(rate_of(level)), level, "{}", rate_of(level));
            assert_eq!(rate_of_place(level * GRAIN), rate_of(level));
        }
        assert_eq!(rate_of(level_of(1_000.0)), 1_000.0);
        assert_eq!(level_of(0.0), *LEVELS.start());
        assert_eq!(level_of(1e300), *LEVELS.end());
    }

    #[test]
    fn places_between_rungs_are_about_a_percent_apart() {
        for place in 0..100 {
            let step = rate_of_place(place + 1) / rate_of_place(place);
            assert!((1.002..1.02).contains(&step), "{place}: {step}");
        }
    }
}
