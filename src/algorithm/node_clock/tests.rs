//! Clocks that jitter, step, slew, sleep and lie, sampled as a client would.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const MICRO: i128 = 1_000;
const MILLI: i128 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;

/// A node whose clock's offset and rate the test sets, and what the client made of it.
struct World {
    clock: NodeClock,
    now: u64,
    /// Of the node's clock against ours, in nanoseconds.
    offset: i128,
    rate_ppm: i128,
}

impl World {
    fn new() -> Self {
        let offset = 1_700_000_000 * 1_000_000_000;
        Self { clock: NodeClock::default(), now: 77 * SECOND, offset, rate_ppm: 0 }
    }

    fn pass(&mut self, nanos: u64) {
        self.now += nanos;
        self.offset += i128::from(nanos) * self.rate_ppm / 1_000_000;
    }

    /// A sample after `pause`; the node reads its clock after `part` per mille of the round trip.
    fn sample(&mut self, pause: u64, round_trip_us: u64, part: u64) -> Reading {
        self.pass(pause);
        let sent = Timestamp::from_nanos(self.now);
        let there = round_trip_us * part;
        self.pass(there);
        let node_us = (i128::from(self.now) + self.offset).div_euclid(MICRO);
        self.pass(round_trip_us * 1_000 - there);
        let received = Timestamp::from_nanos(self.now);
        self.clock.sample(Sample { sent, received, node_us: node_us.try_into().unwrap() })
    }

    /// A sample of a near node, a second after the last.
    fn tick(&mut self) -> Reading {
        self.sample(SECOND, 200, 400)
    }

    fn ticks(&mut self, count: usize) -> Vec<Reading> {
        (0..count).map(|_| self.tick()).collect()
    }

    fn error_us(&self) -> i64 {
        let estimate = self.clock.estimate_us(Timestamp::from_nanos(self.now)).unwrap();
        let truth = (i128::from(self.now) + self.offset).div_euclid(MICRO);
        estimate - i64::try_from(truth).unwrap()
    }
}

fn is_forward(reading: &Reading) -> bool {
    matches!(reading, Reading::SteppedForward(_))
}

fn is_step(reading: &Reading) -> bool {
    matches!(reading, Reading::SteppedForward(_) | Reading::SteppedBack(_))
}

#[test]
fn the_first_sample_is_all_it_takes_to_estimate() {
    let mut world = World::new();
    assert_eq!(world.clock.estimate_us(Timestamp::ZERO), None);
    assert_eq!(world.sample(0, 1_000, 500), Reading::First);
    assert!(world.error_us().abs() <= 1, "{}", world.error_us());
    world.pass(HOUR);
    assert!(world.error_us().abs() <= 1);
    assert_eq!((world.clock.rate_ppm(), world.clock.is_suspect()), (None, false));
    assert_eq!(world.clock.drift_ppm(10_000), 10_000);
}

#[test]
fn a_steady_clock_has_no_rate_and_no_extra_drift() {
    let mut world = World::new();
    world.rate_ppm = 30;
    assert!(!world.ticks(11).iter().any(is_step));
    assert!((29..=31).contains(&world.clock.rate_ppm().unwrap()), "{:?}", world.clock.rate_ppm());
    assert_eq!(world.clock.drift_ppm(10_000), 10_000);
    assert_eq!(
        world.clock.drift_ppm(0),
        2 * u32::try_from(world.clock.rate_ppm().unwrap()).unwrap()
    );
}

#[test]
fn a_step_is_reported_once_with_what_is_certain_of_it() {
    for forward_ms in [10, 50, 86_400_000] {
        let mut world = World::new();
        world.ticks(30);
        world.offset += forward_ms * MILLI;
        let Reading::SteppedForward(amount) = world.tick() else { panic!("{forward_ms} ms") };
        let least = forward_ms * MILLI - 2 * MILLI;
        assert!((least..=forward_ms * MILLI).contains(&(amount.as_nanos() as i128)), "{amount:?}");
        assert_eq!(world.ticks(30), vec![Reading::Steady; 30]);
        assert!(world.error_us().abs() < 200);
    }
    let mut world = World::new();
    world.ticks(30);
    world.offset -= 50 * MILLI;
    assert!(matches!(world.tick(), Reading::SteppedBack(by) if by.as_millis() == 48));
    assert_eq!(world.ticks(30), vec![Reading::Steady; 30]);
    assert!(world.error_us().abs() < 200);
}

#[test]
fn i2_small_forward_movements_add_up_and_backward_ones_hide_nothing() {
    let mut world = World::new();
    world.ticks(20);
    world.offset += 6 * MILLI;
    assert_eq!(world.tick(), Reading::Steady);
    world.offset += 6 * MILLI;
    assert!(is_forward(&world.tick()), "12 ms within 2 s");

    world.ticks(20);
    world.offset -= 9 * MILLI;
    assert_eq!(world.tick(), Reading::Steady);
    world.offset += 11 * MILLI;
    assert!(is_forward(&world.tick()), "11 ms, 2 ms above where it had been");

    // One at a time, each is let pass once the allowed rate has caught up with it.
    world.ticks(20);
    for _ in 0..20 {
        world.offset += 6 * MILLI;
        assert!(!world.ticks(10).iter().any(is_step));
    }
}

#[test]
fn a_slew_begins_as_steps_and_settles_into_a_rate() {
    let mut world = World::new();
    world.ticks(30);
    world.rate_ppm = 40_000;
    let first = world.ticks(10);
    assert!(first.iter().all(is_forward), "{first:?}");
    world.ticks(2);
    assert_eq!(world.ticks(100), vec![Reading::Steady; 100]);
    assert!((39_900..=40_100).contains(&world.clock.rate_ppm().unwrap()));
    assert!((79_800..=80_200).contains(&world.clock.drift_ppm(10_000)));
    assert!(!world.clock.is_suspect());
    // Between samples the estimate moves with it.
    world.pass(SECOND);
    assert!(world.error_us().abs() < 500, "{}", world.error_us());
    world.pass(SECOND);

    // A step on top of the slew, at once.
    world.offset += 12 * MILLI;
    assert!(is_forward(&world.tick()));
    world.ticks(12);
    // The end of a slew is no step; the drift stays until another rate is known.
    world.rate_ppm = 0;
    assert_eq!(world.ticks(9), vec![Reading::Steady; 9]);
    assert!(world.clock.drift_ppm(10_000) > 79_000);
    assert_eq!(world.ticks(3), vec![Reading::Steady; 3]);
    assert_eq!(world.clock.drift_ppm(10_000), 10_000);
}

#[test]
fn a_step_as_the_slew_ends_is_not_taken_for_the_slew() {
    let mut world = World::new();
    world.rate_ppm = 30_000;
    world.ticks(30);
    world.rate_ppm = 0;
    assert_eq!(world.tick(), Reading::Steady);
    world.offset += 20 * MILLI;
    assert!(is_forward(&world.tick()), "less than a second of the old slew, yet a step");
}

#[test]
fn chronys_fastest_slew_makes_a_node_suspect_either_way() {
    for ppm in [83_333, -83_333] {
        let mut world = World::new();
        world.rate_ppm = ppm;
        world.ticks(12);
        assert!(world.clock.is_suspect(), "{ppm}");
        assert_eq!(world.clock.drift_ppm(10_000) > 10_000, ppm > 0);
        assert!(!world.ticks(60).iter().any(is_step));
        world.rate_ppm = 0;
        world.ticks(12);
        assert!(!world.clock.is_suspect(), "{ppm}");
    }
}

#[test]
fn i1_a_slew_goes_on_during_a_slow_round_trip() {
    let mut world = World::new();
    world.rate_ppm = 45_000;
    // Read as early and as late as can be, in turns: 2 ms of slew lie between.
    let mut readings = (0..120).map(|turn| world.sample(SECOND, 50_000, 1_000 * (turn % 2)));
    let settled = readings.by_ref().skip(20).find(is_step);
    assert_eq!(settled, None);
    let rate = world.clock.rate_ppm().unwrap();
    assert!((44_500..=45_500).contains(&rate), "{rate}");
}

#[test]
fn hours_between_samples_widen_the_interval_and_no_more() {
    let mut world = World::new();
    world.ticks(20);
    assert_eq!(world.sample(10 * HOUR, 200, 500), Reading::Steady);
    assert_eq!(world.ticks(20), vec![Reading::Steady; 20]);
    // 1000 ppm of 10 hours are 36 s.
    world.pass(10 * HOUR);
    world.offset += 40_000 * MILLI;
    assert!(matches!(world.tick(), Reading::SteppedForward(by) if by.as_secs() == 3));
    assert_eq!(world.ticks(20), vec![Reading::Steady; 20]);
    assert!(world.clock.rate_ppm().unwrap().abs() < 50);

    // A slew is not believed to have gone on for hours.
    world.rate_ppm = 30_000;
    world.ticks(20);
    assert!(is_forward(&world.sample(HOUR, 200, 500)));
}

#[test]
fn answers_out_of_all_range_are_steps_and_nothing_overflows() {
    let mut clock = NodeClock::default();
    let at = |sent, received, node_us| Sample {
        sent: Timestamp::from_nanos(sent),
        received: Timestamp::from_nanos(received),
        node_us,
    };
    assert_eq!(clock.sample(at(0, 1, i64::MIN)), Reading::First);
    assert_eq!(clock.estimate_us(Timestamp::ZERO), Some(i64::MIN));
    let longest = Duration::from_nanos(u64::MAX);
    let forward = clock.sample(at(SECOND, SECOND, i64::MAX));
    assert_eq!(forward, Reading::SteppedForward(longest));
    assert_eq!(clock.estimate_us(Timestamp::MAX), Some(i64::MAX));
    let back = clock.sample(at(2 * SECOND, 2 * SECOND, i64::MIN));
    assert_eq!(back, Reading::SteppedBack(longest));
    // Received before it was sent, and before the last one: the same answer 2 s earlier.
    let earlier = clock.sample(at(u64::MAX, 0, i64::MIN));
    assert!(matches!(earlier, Reading::SteppedForward(by) if by.as_millis() == 1_999));
}

fn trips() -> impl Strategy<Value = (u64, u64)> {
    (100u64..50_000, 0u64..=1_000)
}

proptest! {
    #[test]
    fn round_trips_never_look_like_steps(
        rate in -900i128..900,
        trips in vec((trips(), 1u64..4_000), 1..200),
    ) {
        let mut world = World::new();
        world.rate_ppm = rate;
        for ((round_trip, part), pause_ms) in trips {
            let reading = world.sample(pause_ms * 1_000_000, round_trip, part);
            prop_assert!(!is_step(&reading), "{reading:?} with {:?}", world.clock.rate_ppm());
            prop_assert!(world.error_us().unsigned_abs() <= round_trip, "{}", world.error_us());
        }
        let rate = i128::from(world.clock.rate_ppm().unwrap_or(0));
        prop_assert!((rate - world.rate_ppm).abs() <= 1_000, "measured {rate}");
        prop_assert_eq!(world.clock.drift_ppm(10_000), 10_000);
    }

    #[test]
    fn every_forward_step_is_reported_at_the_next_sample(
        rate in -900i128..900,
        before in vec(trips(), 1..100),
        next in trips(),
        extra_us in 0i128..1_000_000,
    ) {
        let mut world = World::new();
        world.rate_ppm = rate;
        let last = before[before.len() - 1];
        for (round_trip, part) in before {
            world.sample(SECOND, round_trip, part);
        }
        let step = 10 * MILLI + (i128::from(last.0 + next.0) + extra_us) * MICRO;
        world.offset += step;
        let reading = world.sample(SECOND, next.0, next.1);
        let Reading::SteppedForward(amount) = reading else {
            return Err(TestCaseError::fail(format!("{step} ns: {reading:?}")));
        };
        prop_assert!(amount.as_nanos() as i128 <= step);
    }

    #[test]
    fn every_backward_step_is_reported_at_the_next_sample(
        before in vec(trips(), 1..100),
        next in trips(),
        extra_us in 0i128..1_000_000,
    ) {
        let mut world = World::new();
        let last = before[before.len() - 1];
        for (round_trip, part) in before {
            world.sample(SECOND, round_trip, part);
        }
        // 3 ms for the rate that a second of noise may leave in force.
        world.offset -= 13 * MILLI + (i128::from(last.0 + next.0) + extra_us) * MICRO;
        let reading = world.sample(SECOND, next.0, next.1);
        prop_assert!(matches!(reading, Reading::SteppedBack(_)), "{reading:?}");
    }

    #[test]
    fn a_slew_is_known_to_a_tenth_after_10_s(
        before in 0usize..70,
        size in 2_500i128..83_333,
        is_fast: bool,
        trips in vec((100u64..1_000, 0u64..=1_000), 80..81),
    ) {
        let mut world = World::new();
        world.ticks(before);
        let rate = if is_fast { size } else { -size };
        world.rate_ppm = rate;
        for (second, &(round_trip, part)) in trips.iter().enumerate() {
            let reading = world.sample(SECOND, round_trip, part);
            if is_fast && size > 15_000 && second == 0 && before > 0 {
                prop_assert!(is_forward(&reading), "{reading:?}");
            }
            if second >= 12 {
                let measured = i128::from(world.clock.rate_ppm().unwrap());
                prop_assert!((measured - rate).abs() <= size / 10, "{measured} after {second} s");
                prop_assert!(second < 14 || !is_step(&reading), "{reading:?} after {second} s");
                let is_over = (size > 55_000, size < 45_000);
                prop_assert!(!is_over.0 || world.clock.is_suspect());
                prop_assert!(!is_over.1 || !world.clock.is_suspect());
            }
        }
    }

    /// I2, for any life of a clock: what moved forward since the last report is covered by the
    /// drift allowance of that time, but for 10 ms and the round trips.
    #[test]
    fn i2_forward_movement_is_reported_or_covered_by_the_drift(
        life in vec((1usize..30, rates(), steps()), 1..12),
        trips in vec((100u64..1_000, 0u64..=1_000), 400..401),
    ) {
        let mut world = World::new();
        let mut trips = trips.iter().cycle();
        let mut uncovered = 0;
        for (seconds, rate, step_us) in life {
            world.rate_ppm = rate;
            world.offset += step_us * MICRO;
            let mut moved_us = step_us;
            for _ in 0..seconds {
                let drift = i128::from(world.clock.drift_ppm(10_000));
                let (before, offset) = (world.now, world.offset);
                let &(round_trip, part) = trips.next().unwrap();
                let reading = world.sample(SECOND, round_trip, part);
                let forward = world.offset - offset + moved_us * MICRO;
                let covered = i128::from(world.now - before) * drift / 1_000_000;
                uncovered = (uncovered + forward - covered).max(0);
                if is_forward(&reading) || reading == Reading::First {
                    uncovered = 0;
                }
                moved_us = 0;
                prop_assert!(uncovered <= 10 * MILLI + 2 * MILLI, "{uncovered} ns: {reading:?}");
            }
        }
    }

    #[test]
    fn no_input_overflows(
        samples in vec((any::<u64>(), any::<u64>(), any::<i64>()), 1..100),
        ticking in vec((0u64..3 * SECOND, any::<i64>()), 1..100),
    ) {
        let mut clock = NodeClock::default();
        let mut at = 0u64;
        let ticking = ticking.into_iter().map(|(pause, node_us)| {
            at += pause;
            (at, at, node_us)
        });
        for (sent, received, node_us) in ticking.chain(samples) {
            let [sent, received] = [sent, received].map(Timestamp::from_nanos);
            clock.sample(Sample { sent, received, node_us });
            prop_assert!(clock.estimate_us(Timestamp::MAX).is_some());
            prop_assert!(clock.drift_ppm(7) >= 7);
            if clock.is_suspect() {
                prop_assert!(clock.rate_ppm().unwrap().abs() >= 50_000);
            }
        }
    }
}

fn rates() -> impl Strategy<Value = i128> {
    prop_oneof![Just(0), -1_000i128..12_000, -83_333i128..83_333]
}

fn steps() -> impl Strategy<Value = i128> {
    prop_oneof![Just(0), -10_000i128..10_000, -200_000i128..200_000]
}
