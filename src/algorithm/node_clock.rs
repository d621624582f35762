//! What a client knows of one node's wall clock, from `TIME` samples taken about once a second.
//!
//! Keys expire by the node's wall clock, so a forward movement of it shortens every lease there.
//! This module tells a step from a slew. It does not act on either: the heartbeat voids the
//! node's votes after a step and asks for the drift allowance (DESIGN §6 "Clocks").
//!
//! - I1 The offset (node's time less ours) is known as an interval: the node read its clock at
//!   some instant between `sent` and `received`. A slow round trip only makes it wide.
//! - I2 No more than 10 ms of forward movement stay unreported beyond the rate in force.
//!   What is not reported is not forgotten: the upper bound stays where it was.
//! - I3 A rate comes into force only when it is known well enough for [`NodeClock::drift_ppm`] to
//!   cover it.

mod slope;

use std::time::Duration;

use crate::time::Timestamp;
use slope::{PPB_PER_PPM, Rate, Slope};

/// One reading of a node's clock. Samples are given in the order in which they were received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When the question left, on our clock.
    pub sent: Timestamp,
    /// When the answer was read, on our clock.
    pub received: Timestamp,
    /// The node's answer: microseconds since 1970.
    pub node_us: i64,
}

/// What a sample says about the node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Nothing to compare with.
    First,
    /// Where it was expected.
    Steady,
    /// Ahead of every rate in force, by at least this much: keys there may expire early.
    SteppedForward(Duration),
    /// Behind every rate in force, by at least this much: keys there live longer.
    SteppedBack(Duration),
}

/// What is known of one node's wall clock.
///
/// # How a step is told from a slew
/// At one sample a second, 10 ms of step and a second of 8 % slew look the same. So the first is
/// assumed: whatever is ahead of the rate in force (1000 ppm at the start) is a step, and so is
/// each further second of a slew. Meanwhile the samples are laid on a straight line ([`Slope`]):
/// a step breaks the line, a slew is one. Once the line spans 10 s its slope is the rate in force
/// and the steps end. What departs from it is a step again, at the first sample.
///
/// A step is reported when the movement is certain (the intervals are disjoint) and may have been
/// 10 ms or more (their outer ends are that far apart). A movement that is certain but smaller
/// leaves the upper bound behind, where it grows with the rate in force, so that many small ones
/// add up to a step (I2). Backward movements are adopted at once: a debt of theirs could hide
/// a forward step.
///
/// What remains hidden: a forward step within the round trips' widths, and one that coincides with
/// the end of a fast slew, up to what that slew would have moved between the two samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeClock {
    known: Option<Offset>,
    force: Force,
    slope: Slope,
    /// The last rate that was measured, kept until there is another.
    measured: Option<Rate>,
}

/// Bounds of the offset at `at`, all in nanoseconds. Wide enough for any answer: no sum of these
/// can overflow, as times are below 2^64 and rates are clamped.
#[derive(Clone, Copy, Debug)]
struct Offset {
    at: u64,
    low: i128,
    high: i128,
}

/// Rates in force, in parts per 1e9.
#[derive(Clone, Copy, Debug)]
struct Force {
    least: i128,
    middle: i128,
    most: i128,
}

impl NodeClock {
    /// Takes one sample in.
    pub(crate) fn sample(&mut self, sample: Sample) -> Reading {
        let received = sample.received.as_nanos();
        let sent = sample.sent.as_nanos().min(received);
        let node = i128::from(sample.node_us) * NANOS_PER_MICRO;
        let round_trip = received - sent;
        // I1. The bounds are to hold at `received`. If the node read its clock earlier, the offset
        // moved since: upward beyond `high` if the clock is fast; never downward beyond `low`.
        let (low, high) = (node - i128::from(received), node + RESOLUTION - i128::from(sent));
        let reading = self.compare(&Offset {
            at: received,
            low,
            high: high + moved(round_trip, self.force.most.max(0)),
        });
        let rate = self.slope.add(received, low, high + i128::from(round_trip / SLEW_MAX_DIVISOR));
        if let Some(rate) = rate {
            self.measured = Some(rate);
            self.force = Force::around(rate);
        }
        reading
    }

    fn compare(&mut self, fresh: &Offset) -> Reading {
        let Some(known) = self.known else {
            self.known = Some(*fresh);
            return Reading::First;
        };
        let at = fresh.at.max(known.at);
        let age = at - known.at;
        // A rate is trusted forward no longer than it took to measure.
        let most =
            if age > RATE_TRUSTED_NS { self.force.most.min(ALLOWED) } else { self.force.most };
        let ceiling = known.high + moved(age, most);
        let floor = known.low + moved(age, self.force.least.min(-ALLOWED));
        if fresh.low > ceiling {
            if fresh.high - floor >= STEP_MIN {
                self.force = Force::default();
                self.known = Some(Offset { at, ..*fresh });
                return Reading::SteppedForward(duration(fresh.low - ceiling));
            }
            // I2: the bound stays behind, and the next excess is counted from there.
            self.known = Some(Offset { at, low: ceiling, high: ceiling });
            return Reading::Steady;
        }
        if fresh.high < known.low + moved(age, self.force.least) {
            // Slower than the rate in force: a slew that ended, unless it is a step.
            self.force = Force::default();
        }
        let behind = floor - fresh.high;
        if behind > 0 {
            self.known = Some(Offset { at, ..*fresh });
            let is_step = behind >= STEP_MIN;
            return if is_step { Reading::SteppedBack(duration(behind)) } else { Reading::Steady };
        }
        let (low, high) = (fresh.low.max(floor), fresh.high.min(ceiling));
        self.known = Some(Offset { at, low, high });
        Reading::Steady
    }

    /// The node's wall clock at `now` on ours, in microseconds since 1970: the middle of the
    /// offset's interval, moved on by the rate in force. `None` before the first sample.
    pub(crate) fn estimate_us(&self, now: Timestamp) -> Option<i64> {
        let known = self.known?;
        let now = now.as_nanos();
        let age = now.saturating_sub(known.at).min(RATE_TRUSTED_NS);
        let offset = known.low + (known.high - known.low) / 2 + moved(age, self.force.middle);
        Some(saturated((i128::from(now) + offset).div_euclid(NANOS_PER_MICRO)))
    }

    /// How much faster (positive) or slower the node's clock runs than ours, in ppm, from samples
    /// at least 10 s apart: the last rate that was measured, `None` before there was one.
    pub(crate) fn rate_ppm(&self) -> Option<i64> {
        self.measured.map(|rate| saturated(rate.middle() / PPB_PER_PPM))
    }

    /// The drift allowance for leases on this node: `configured_ppm`, or twice the measured rate
    /// of a fast clock if that is more (I3).
    pub(crate) fn drift_ppm(&self, configured_ppm: u32) -> u32 {
        let fast = self.rate_ppm().unwrap_or(0).max(0);
        configured_ppm.max(u32::try_from(fast.saturating_mul(2)).unwrap_or(u32::MAX))
    }

    /// Whether the clock was measured to be more than 5 % off, either way: the node must not vote.
    pub(crate) fn is_suspect(&self) -> bool {
        self.measured.is_some_and(|rate| rate.middle().abs() > SUSPECT)
    }
}

impl Force {
    fn around(rate: Rate) -> Self {
        Self { least: rate.least - ALLOWED, middle: rate.middle(), most: rate.most + ALLOWED }
    }
}

impl Default for Force {
    fn default() -> Self {
        Self { least: -ALLOWED, middle: 0, most: ALLOWED }
    }
}

/// How far an offset moves in `age` nanoseconds at `rate`.
fn moved(age: u64, rate: i128) -> i128 {
    i128::from(age) * rate / (1_000 * 1_000_000)
}

fn duration(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

fn saturated(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

const NANOS_PER_MICRO: i128 = 1_000;
/// `TIME` cuts off what is below a microsecond.
const RESOLUTION: i128 = 999;
/// Twice what the kernel's PLL may slew (500 ppm): beyond it, a movement needs an explanation.
const ALLOWED: i128 = 1_000 * PPB_PER_PPM;
/// Under this the 2 ms and the 1 % of the drift allowance are to cover it.
const STEP_MIN: i128 = 10_000_000;
const RATE_TRUSTED_NS: u64 = 10_000_000_000;
const SUSPECT: i128 = 50_000 * PPB_PER_PPM;
/// An eighth is more than 8.33 %, what chrony slews at most by default (chrony.conf(5)).
const SLEW_MAX_DIVISOR: u64 = 8;

#[cfg(test)]
mod tests;
