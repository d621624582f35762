//! How long to wait before the next attempt: exponential backoff with full jitter, and the turns
//! that a process gives to others.
//!
//! Full jitter (a uniform draw from zero to the exponential bound) is the variant with the least
//! work and the fewest collisions in Brooker's comparison (AWS Architecture Blog, 2015,
//! "Exponential Backoff And Jitter"). Random bits are arguments.

use std::time::Duration;

use crate::time::{Timestamp, nanos};

/// A uniform draw from `[0, min(cap, base * 2^attempt)]`; `attempt` counts from zero.
pub(crate) fn full_jitter(base: Duration, cap: Duration, attempt: u32, bits: u64) -> Duration {
    let bound = nanos(base).saturating_mul(1u64.checked_shl(attempt).unwrap_or(u64::MAX));
    Duration::from_nanos(scale(bound.min(nanos(cap)), bits))
}

/// A uniform draw between the two.
pub(crate) fn between(least: Duration, most: Duration, bits: u64) -> Duration {
    least.saturating_add(Duration::from_nanos(scale(nanos(most.saturating_sub(least)), bits)))
}

/// `bits` taken as a fraction of 2^64, times `bound`; both ends within reach.
fn scale(bound: u64, bits: u64) -> u64 {
    let product = u128::from(bound).saturating_add(1) * u128::from(bits);
    u64::try_from(product >> 64).unwrap_or(bound)
}

/// Fairness between processes: how long one process passes a lock among its own callers before
/// it leaves a gap for others.
///
/// A burst lasts [`BURST_MIN`]; each gap that nobody used doubles the next burst up to
/// [`BURST_MAX`], so that a process that is alone pays under 2 %; a gap that somebody used, or a
/// denied attempt, brings it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    began: Timestamp,
    passes: u32,
    /// How often the burst has doubled since another process was in the way.
    doublings: u8,
}

/// The design's bound: 10 ms or 1 024 passes, whichever is first.
const BURST_MIN: Duration = Duration::from_millis(10);
/// Bursts of 160 ms, 16 384 passes.
const DOUBLINGS_MAX: u8 = 4;
const PASSES_MIN: u32 = 1_024;
const GAP: Duration = Duration::from_millis(3);

impl Turn {
    pub(crate) const fn new(now: Timestamp) -> Self {
        Self { began: now, passes: 0, doublings: 0 }
    }

    /// The lock passes to another caller of this process: a gap to leave first, if one is due.
    pub(crate) fn pass(&mut self, now: Timestamp, bits: u64) -> Option<Duration> {
        let is_over = self.is_over(now);
        self.count();
        if !is_over {
            return None;
        }
        self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
        self.passes = 0;
        let gap = GAP / 2 + Duration::from_nanos(scale_half(bits));
        self.began = now.plus(gap);
        Some(gap)
    }

    /// Whether the next pass ends the burst.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        let scale = 1 << self.doublings;
        let passes = self.passes.saturating_add(1);
        now.since(self.began) >= BURST_MIN * scale || passes >= PASSES_MIN * scale
    }

    /// A pass within the burst, for which [`Turn::is_over`] was asked.
    pub(crate) fn count(&mut self) {
        self.passes = self.passes.saturating_add(1);
    }

    /// Somebody else held the lock: short bursts again.
    pub(crate) fn contended(&mut self, now: Timestamp) {
        *self = Self::new(now);
    }
}

fn scale_half(bits: u64) -> u64 {
    scale(nanos(GAP / 2), bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(2);
    const CAP: Duration = Duration::from_millis(20);

    #[test]
    fn jitter_spans_zero_to_the_bound_and_never_passes_the_cap() {
        assert_eq!(full_jitter(BASE, CAP, 0, 0), Duration::ZERO);
        assert_eq!(full_jitter(BASE, CAP, 0, u64::MAX), BASE);
        assert_eq!(full_jitter(BASE, CAP, 2, u64::MAX), BASE * 4);
        for attempt in [4, 63, 64, 1_000, u32::MAX] {
            assert_eq!(full_jitter(BASE, CAP, attempt, u64::MAX), CAP, "attempt {attempt}");
        }
        let mid = full_jitter(BASE, CAP, 2, u64::MAX / 2 - 1);
        assert!(mid > BASE && mid < BASE * 4, "{mid:?}");
        assert_eq!(full_jitter(Duration::ZERO, CAP, 9, u64::MAX), Duration::ZERO);
    }

    #[test]
    fn a_lone_process_pays_little_and_a_contended_one_yields_every_burst() {
        let mut now = Timestamp::ZERO;
        let mut turn = Turn::new(now);
        let mut gaps = Duration::ZERO;
        for _ in 0..100_000 {
            now = now.plus(Duration::from_micros(100));
            if let Some(gap) = turn.pass(now, u64::MAX) {
                gaps += gap;
                now = now.plus(gap);
            }
        }
        let share = gaps.as_secs_f64() / now.since(Timestamp::ZERO).as_secs_f64();
        assert!((0.001..0.02).contains(&share), "gaps take {share}");

        let (mut contended, mut longest, mut last) = (Turn::new(now), Duration::ZERO, now);
        for _ in 0..1_000 {
            now = now.plus(Duration::from_micros(100));
            if contended.pass(now, 0).is_some() {
                longest = longest.max(now.since(last));
                contended.contended(now);
                last = now;
            }
        }
        assert!(longest <= BURST_MIN + Duration::from_millis(1), "{longest:?}");
        assert!(now.since(last) < BURST_MIN * 2);
    }

    #[test]
    fn the_pass_count_bounds_a_burst_too() {
        let now = Timestamp::ZERO;
        let mut turn = Turn::new(now);
        let first = (1..=2_000).find(|_| turn.pass(now, 0).is_some());
        assert_eq!(first, Some(1_024));
    }
}
