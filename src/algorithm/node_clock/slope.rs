//! The rate of a clock: the slopes of the straight lines through its latest offset intervals.
//!
//! A line passes through two intervals if its slope lies between those of the two lines that
//! touch their opposite ends; it passes through many if that holds for each pair (Helly's theorem
//! on a line). So the slopes that are possible are an interval too, kept point by point, and a
//! sample costs one pass over the window.
//!
//! - I1 The window is the longest run of latest points that one line can pass through: points from
//!   before a step, or of another rate, fall out by themselves.
//! - I2 A rate is given only from 5 points over 10 s, and only when it is certain to 1000 ppm or
//!   to a tenth of itself.

use std::collections::VecDeque;

/// The rates that are possible, in parts per 1e9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) least: i128,
    pub(super) most: i128,
}

impl Rate {
    pub(super) fn middle(self) -> i128 {
        i128::midpoint(self.least, self.most)
    }
}

/// The latest offsets that lie on one line.
#[derive(Clone, Debug, Default)]
pub(super) struct Slope {
    points: VecDeque<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: u64,
    low: i128,
    high: i128,
    /// The slopes of the lines from here to all later points.
    rate: Rate,
}

impl Slope {
    /// Adds the offset's bounds at `at`; the rate, if this point made it known.
    pub(super) fn add(&mut self, at: u64, low: i128, high: i128) -> Option<Rate> {
        let last = self.points.back().map(|point| point.at);
        if last.is_some_and(|last| at.saturating_sub(last) < SPACING_NS) {
            return None;
        }
        let (low, high) = (low - SLACK, high + SLACK);
        if self.points.len() >= POINTS_MAX {
            self.points.pop_front();
        }
        for point in &mut self.points {
            let span = i128::from(at.saturating_sub(point.at)).max(1);
            point.rate.least = point.rate.least.max(slope(low - point.high, span));
            point.rate.most = point.rate.most.min(slope(high - point.low, span));
        }
        self.points.push_back(Point { at, low, high, rate: ANY });
        let (rate, kept) = self.longest_line();
        self.points.drain(..self.points.len() - kept);

        let span = at.saturating_sub(self.points.front()?.at);
        let precision = PRECISION_MIN.max(rate.middle().abs() / 10);
        let is_known = kept >= POINTS_MIN && span >= SPAN_MIN_NS;
        // I2.
        (is_known && (rate.most - rate.least) / 2 <= precision).then_some(rate)
    }

    /// I1: the slopes of the lines through the longest run of latest points, and its length.
    fn longest_line(&self) -> (Rate, usize) {
        let (mut rate, mut kept) = (ANY, 0);
        for point in self.points.iter().rev() {
            let least = rate.least.max(point.rate.least);
            let most = rate.most.min(point.rate.most);
            if least > most {
                break;
            }
            (rate, kept) = (Rate { least, most }, kept + 1);
        }
        (rate, kept)
    }
}

fn slope(rise: i128, span: i128) -> i128 {
    (rise * 1_000 * 1_000_000 / span).clamp(ANY.least, ANY.most)
}

pub(super) const PPB_PER_PPM: i128 = 1_000;
/// A million times too fast or too slow: no clock, but a number that can be multiplied by any age.
const ANY: Rate = Rate { least: -1_000_000_000_000_000, most: 1_000_000_000_000_000 };
/// At a sample a second this is a minute, enough to know 1000 ppm through round trips of 50 ms.
const POINTS_MAX: usize = 64;
const POINTS_MIN: usize = 5;
const SPAN_MIN_NS: u64 = 10_000_000_000;
/// Closer samples say nothing new of the rate and would shorten the window.
const SPACING_NS: u64 = 500_000_000;
const _: () = assert!(POINTS_MAX as u64 * SPACING_NS > 2 * SPAN_MIN_NS);
/// How far from straight a line may be: 50 ppm of wander in 10 s.
const SLACK: i128 = 250_000;
const PRECISION_MIN: i128 = 1_000 * PPB_PER_PPM;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MILLI: i128 = 1_000_000;

    /// Points a second apart, 0.2 ms wide, at these offsets in ms.
    fn feed(slope: &mut Slope, from: u64, offsets: impl IntoIterator<Item = i128>) -> Option<Rate> {
        let mut last = None;
        for (second, offset) in (from..).zip(offsets) {
            let middle = offset * MILLI;
            last = slope.add(second * SECOND, middle - 100_000, middle + 100_000);
        }
        last
    }

    #[test]
    fn a_line_of_10_s_gives_its_slope_and_a_shorter_one_none() {
        let mut line = Slope::default();
        assert_eq!(feed(&mut line, 0, (0..10).map(|s| s * 20)), None);
        let rate = feed(&mut line, 10, [200]).expect("10 s");
        // 0.7 ms of doubt over 10 s.
        assert_eq!(rate, Rate { least: 19_930_000, most: 20_070_000 });
    }

    #[test]
    fn i1_points_before_a_step_or_a_bend_fall_out() {
        let mut steps = Slope::default();
        feed(&mut steps, 0, [0; 30]);
        assert_eq!(feed(&mut steps, 30, [10; 2]), None);
        assert_eq!(steps.points.len(), 2);
        // The point at 31 s is on the new line, too: its 10 s end at 41 s.
        assert_eq!(feed(&mut steps, 32, (1..10).map(|s| 10 + s * 50)), None);
        let rate = feed(&mut steps, 41, [510]).map(|rate| rate.middle() / PPB_PER_PPM);
        assert_eq!(rate, Some(50_000));
    }

    #[test]
    fn i2_few_points_far_apart_and_wide_ones_give_no_rate() {
        let mut far = Slope::default();
        for hour in 0..4 {
            assert_eq!(far.add(hour * 3_600 * SECOND, 0, 1), None);
        }
        assert!(far.add(4 * 3_600 * SECOND, 0, 1).is_some());

        let mut wide = Slope::default();
        let mut known = (0..64).map(|s| wide.add(s * SECOND, -25 * MILLI, 25 * MILLI).is_some());
        assert_eq!(known.position(|known| known), Some(51), "101 ms of doubt in 51 s");
    }

    #[test]
    fn the_window_is_bounded_and_ignores_crowds() {
        let mut crowd = Slope::default();
        for tenth in 0..5_000 {
            crowd.add(tenth * SECOND / 10, 0, 0);
            assert!(crowd.points.len() <= POINTS_MAX);
        }
        let span = crowd.points.back().unwrap().at - crowd.points.front().unwrap().at;
        assert_eq!(span, 63 * SECOND / 2);
        assert_eq!(crowd.add(0, 0, 0), None, "a clock that went back");
    }
}
