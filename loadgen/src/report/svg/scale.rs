//! From values to coordinates, and the values worth a mark on an axis.

use crate::clock::{NS_PER_MS, NS_PER_S, NS_PER_US};

/// A straight or logarithmic axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    from: (f64, f64),
    to: (f64, f64),
    is_log: bool,
}

impl Scale {
    pub(crate) fn linear(domain: (f64, f64), range: (f64, f64)) -> Self {
        Self { from: domain, to: range, is_log: false }
    }

    /// Of positive values; others lie at the low end.
    pub(crate) fn log(domain: (f64, f64), range: (f64, f64)) -> Self {
        let low = domain.0.max(f64::MIN_POSITIVE);
        let from = (low.log2(), domain.1.max(low).log2());
        Self { from, to: range, is_log: true }
    }

    /// Where `value` lies, held inside the axis.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let value = if self.is_log { value.max(f64::MIN_POSITIVE).log2() } else { value };
        let span = self.from.1 - self.from.0;
        let share = if span > 0.0 { (value - self.from.0) / span } else { 0.5 };
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.to.0 + share * (self.to.1 - self.to.0)
    }
}

/// Round values from 0 to at least `most`, about `wanted` of them.
pub(crate) fn round_ticks(most: f64, wanted: f64) -> Vec<f64> {
    let step = round_step(most / wanted.max(1.0));
    let steps = (most / step).ceil().clamp(1.0, 50.0);
    (0..=50).map(f64::from).take_while(|&at| at <= steps).map(|at| at * step).collect()
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let least = if least.is_finite() && least > 0.0 { least } else { 1.0 };
    let power = 10_f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| times * power >= least * 0.9999);
    times.unwrap_or(10.0) * power
}

/// Instants worth a mark in a span of `span_ns`, in ns.
pub(crate) fn time_ticks(span_ns: u64) -> Vec<u64> {
    const MINUTE: u64 = 60 * NS_PER_S;
    const STEPS: [u64; 18] = [
        NS_PER_S / 50,
        NS_PER_S / 20,
        NS_PER_S / 10,
        NS_PER_S / 5,
        NS_PER_S / 2,
        NS_PER_S,
        2 * NS_PER_S,
        5 * NS_PER_S,
        10 * NS_PER_S,
        15 * NS_PER_S,
        30 * NS_PER_S,
        MINUTE,
        2 * MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        15 * MINUTE,
        30 * MINUTE,
        60 * MINUTE,
    ];
    let step = STEPS.into_iter().find(|step| span_ns / step <= 12);
    let step = step.unwrap_or(span_ns / 10).max(1);
    (0..=span_ns / step).map(|at| at * step).collect()
}

/// An instant since the start: `4s`, `1m30s`, `0.2s`.
pub(crate) fn time_label(at_ns: u64) -> String {
    let (minutes, rest) = (at_ns / (60 * NS_PER_S), at_ns % (60 * NS_PER_S));
    let seconds = rest as f64 / NS_PER_S as f64;
    match (minutes, rest) {
        (0, _) => format!("{seconds}s"),
        (minutes, 0) if minutes % 60 == 0 => format!("{}h", minutes / 60),
        (minutes, 0) => format!("{minutes}m"),
        _ => format!("{minutes}m{seconds}s"),
    }
}

/// Lengths worth a mark from `low` to `high`: powers of ten, and what lies between them where
/// there are few.
pub(crate) fn latency_ticks(low_ns: f64, high_ns: f64) -> Vec<u64> {
    let times: &[u64] = match (high_ns / low_ns.max(1.0)).log10() {
        decades if decades < 1.3 => &[1, 2, 3, 5, 7],
        decades if decades < 3.4 => &[1, 2, 5],
        _ => &[1],
    };
    let powers = (0..12).map(|power| 10_u64.pow(power));
    let all = powers.flat_map(|power| times.iter().map(move |times| times * power));
    all.filter(|&value| (low_ns..=high_ns).contains(&(value as f64))).collect()
}

/// A round length: `10µs`, `2ms`.
pub(crate) fn latency_label(value_ns: u64) -> String {
    match value_ns {
        0..NS_PER_US => format!("{value_ns}ns"),
        NS_PER_US..NS_PER_MS => format!("{}µs", value_ns / NS_PER_US),
        NS_PER_MS..NS_PER_S => format!("{}ms", value_ns / NS_PER_MS),
        _ => format!("{}s", value_ns / NS_PER_S),
    }
}

/// A round amount: `500`, `20k`, `1.5M`.
pub(crate) fn amount_label(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e4 => format!("{}k", v / 1e3),
        v => format!("{v}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_hold_values_inside_and_never_divide_by_nothing() {
        let log = Scale::log((1.0, 1_024.0), (100.0, 0.0));
        assert_eq!(
            [1.0, 32.0, 1_024.0, 0.0, 1e9].map(|v| log.at(v)),
            [100.0, 50.0, 0.0, 100.0, 0.0]
        );
        let flat = Scale::linear((3.0, 3.0), (0.0, 10.0));
        assert_eq!((flat.at(3.0), flat.at(f64::NAN)), (5.0, 5.0));
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(round_ticks(2_100.0, 4.0), [0.0, 1_000.0, 2_000.0, 3_000.0]);
        assert_eq!(round_ticks(0.0, 4.0), [0.0, 1.0]);
        assert_eq!(time_ticks(18 * NS_PER_S).len(), 10);
        for span in [1, NS_PER_S / 10, 7 * NS_PER_S, 21_600 * NS_PER_S, u64::MAX / 2] {
            assert!((1..=14).contains(&time_ticks(span).len()), "{span}");
        }
        let labels: Vec<String> =
            [0, 200, 4_000, 90_000, 120_000, 7_200_000].map(|ms| time_label(ms * NS_PER_MS)).into();
        assert_eq!(labels, ["0s", "0.2s", "4s", "1m30s", "2m", "2h"]);
        assert_eq!(latency_ticks(5e4, 2e9).len(), 5);
        assert_eq!(
            latency_ticks(1e5, 1e6),
            [100_000, 200_000, 300_000, 500_000, 700_000, 1_000_000]
        );
        assert_eq!([999, 20_000, 5_000_000].map(latency_label), ["999ns", "20µs", "5ms"]);
        assert_eq!([500.0, 20_000.0, 1.5e6].map(amount_label), ["500", "20k", "1.5M"]);
    }
}
