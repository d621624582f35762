//! The rate of arrivals over time: a constant, or straight lines from stage to stage.
//!
//! Arrivals are placed by area: the one behind `n` others comes when the area under the rate has
//! reached `n`. So the same draws give the same arrivals whatever the shape, and a rate of 0 has
//! none.

use std::sync::Arc;

use crate::clock::NS_PER_S;
use crate::config::RunConfig;
use crate::num;
use crate::values::{Rate, Stage};

impl RunConfig {
    /// The rate over time, from the start of the warm-up on; `None` in a closed loop.
    pub(crate) fn curve(&self) -> Option<Curve> {
        match self.rate {
            Rate::Max => None,
            Rate::PerSecond(_) if !self.stages.is_empty() => {
                Some(Curve::staged(&self.stages, self.warmup_ns))
            }
            Rate::PerSecond(rate) => Some(Curve::flat(rate)),
        }
    }
}

/// Where arrivals go.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    /// Shared: every client has a curve.
    pieces: Arc<[Piece]>,
    /// Of the time behind all pieces, per second.
    last_rate: f64,
    /// The piece asked for last: arrivals are placed in order.
    at: usize,
}

/// A straight line.
#[derive(Clone, Copy, Debug)]
struct Piece {
    begin_s: f64,
    length_s: f64,
    from_rate: f64,
    to_rate: f64,
    /// Under everything before it.
    area_before: f64,
}

impl Curve {
    /// The same rate all the time.
    pub(crate) fn flat(rate: f64) -> Self {
        Self { pieces: Arc::default(), last_rate: rate, at: 0 }
    }

    /// From 0 in a straight line to each stage's rate in turn, beginning after `warmup_ns`, in
    /// which the first stage's rate drives: what is ramped up to is warm.
    pub(crate) fn staged(stages: &[Stage], warmup_ns: u64) -> Self {
        let first = stages.first().map_or(0.0, |stage| stage.to_rate);
        let mut pieces = Vec::with_capacity(stages.len() + 1);
        let mut push = |length_ns: u64, from_rate, to_rate| {
            let (begin_s, area_before) = end_of(&pieces);
            let length_s = length_ns as f64 / NS_PER_S as f64;
            if length_ns > 0 {
                pieces.push(Piece { begin_s, length_s, from_rate, to_rate, area_before });
            }
        };
        push(warmup_ns, first, first);
        let mut rate = 0.0;
        for stage in stages {
            push(stage.over_ns, rate, stage.to_rate);
            rate = stage.to_rate;
        }
        Self { pieces: pieces.into(), last_rate: rate, at: 0 }
    }

    /// When the area under the rate reaches `area`; `None` if it never does. Areas must not
    /// decrease from call to call.
    pub(crate) fn reaches_ns(&mut self, area: f64) -> Option<u64> {
        while let Some(piece) = self.pieces.get(self.at) {
            if area < piece.area_before + piece.area() {
                return Some(nanos(piece.begin_s + piece.after_s(area - piece.area_before)));
            }
            self.at += 1;
        }
        let (end_s, end_area) = end_of(&self.pieces);
        (self.last_rate > 0.0).then(|| nanos(end_s + (area - end_area) / self.last_rate))
    }

    /// Arrivals within `[from_ns, to_ns)`, about: by the area.
    pub(crate) fn arrivals(&self, from_ns: u64, to_ns: u64) -> f64 {
        let second = |ns: u64| ns as f64 / NS_PER_S as f64;
        (self.area_until(second(to_ns)) - self.area_until(second(from_ns))).max(0.0)
    }

    fn area_until(&self, at_s: f64) -> f64 {
        let inside: f64 = self.pieces.iter().map(|piece| piece.area_until(at_s)).sum();
        let (end_s, _) = end_of(&self.pieces);
        inside + (at_s - end_s).max(0.0) * self.last_rate
    }
}

/// When the last piece ends, and the area under all of them.
fn end_of(pieces: &[Piece]) -> (f64, f64) {
    pieces.last().map_or((0.0, 0.0), |piece| {
        (piece.begin_s + piece.length_s, piece.area_before + piece.area())
    })
}

impl Piece {
    fn slope(&self) -> f64 {
        (self.to_rate - self.from_rate) / self.length_s
    }

    fn area(&self) -> f64 {
        (self.from_rate + self.to_rate) / 2.0 * self.length_s
    }

    fn area_until(&self, at_s: f64) -> f64 {
        let s = (at_s - self.begin_s).clamp(0.0, self.length_s);
        s * (self.from_rate + self.slope() * s / 2.0)
    }

    /// How long after its begin `area` is reached: the root of `from s + slope s^2 / 2 = area`, in
    /// the form that does not cancel when the slope is small.
    fn after_s(&self, area: f64) -> f64 {
        if area <= 0.0 && self.from_rate > 0.0 {
            return 0.0;
        }
        let root = (self.from_rate * self.from_rate + 2.0 * self.slope() * area).max(0.0).sqrt();
        let s = 2.0 * area / (self.from_rate + root);
        if s.is_finite() { s.clamp(0.0, self.length_s) } else { 0.0 }
    }
}

fn nanos(seconds: f64) -> u64 {
    num::floor_u64(seconds * NS_PER_S as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(over_ms: u64, to_rate: f64) -> Stage {
        Stage { over_ns: over_ms * 1_000_000, to_rate }
    }

    /// Arrivals per 100 ms, the first second.
    fn per_tenth(curve: &mut Curve) -> Vec<u32> {
        let mut all = vec![0; 10];
        for n in 0..100_000 {
            let Some(at) = curve.reaches_ns(f64::from(n)) else { break };
            match all.get_mut((at / 100_000_000) as usize) {
                Some(count) => *count += 1,
                None => break,
            }
        }
        all
    }

    #[test]
    fn arrivals_follow_a_ramp_a_plateau_a_step_and_a_pause() {
        // 0 to 1000/s in 200 ms, stays for 200 ms, drops to nothing for 200 ms, then 500/s.
        let stages = [
            stage(200, 1_000.0),
            stage(200, 1_000.0),
            stage(0, 0.0),
            stage(200, 0.0),
            stage(0, 500.0),
            stage(400, 500.0),
        ];
        let mut curve = Curve::staged(&stages, 0);
        assert_eq!(per_tenth(&mut curve), [25, 75, 100, 100, 0, 0, 50, 50, 50, 50]);
        assert!((curve.arrivals(0, 1_000_000_000) - 500.0).abs() < 1e-6);
        assert!((curve.arrivals(100_000_000, 300_000_000) - 175.0).abs() < 1e-6);
    }

    #[test]
    fn the_warm_up_runs_at_the_first_rate_and_the_last_one_stays() {
        let mut curve = Curve::staged(&[stage(200, 400.0)], 100_000_000);
        // 40 in the warm-up, then the ramp from 0, then on at 400/s.
        assert_eq!(per_tenth(&mut curve), [40, 10, 30, 40, 40, 40, 40, 40, 40, 40]);
        let mut ends = Curve::staged(&[stage(100, 1_000.0), stage(100, 0.0)], 0);
        assert_eq!(per_tenth(&mut ends), [50, 50, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(ends.reaches_ns(101.0), None, "a rate of 0 has no further arrival");
    }

    #[test]
    fn a_flat_curve_is_even() {
        let mut curve = Curve::flat(1_000.0);
        assert_eq!(
            (0..3).map(|n| curve.reaches_ns(f64::from(n))).collect::<Vec<_>>(),
            [Some(0), Some(1_000_000), Some(2_000_000)]
        );
    }
}
