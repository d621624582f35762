//! The search against systems whose limit is known.

use super::*;

/// A queue on a machine that is not quiet.
struct Noisy {
    rng: Xoshiro,
    capacity: f64,
    /// Spread of a probe's p99, of the capacity during one, and how often one is disturbed.
    sigma: f64,
    jitter: f64,
    disturbed: f64,
}

impl Noisy {
    fn normal(&mut self) -> f64 {
        // Box and Muller.
        let radius = (2.0 * self.rng.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.rng.unit()).cos()
    }

    /// Whether the p99 of a probe is below ten times that of an idle queue.
    fn probe(&mut self, rate: f64) -> bool {
        let capacity = self.capacity * (self.jitter * self.normal()).exp();
        let factor = (self.sigma * self.normal()).exp();
        let disturbance = if self.rng.unit() < self.disturbed { 3.0 } else { 1.0 };
        rate < capacity && factor * disturbance / (1.0 - rate / capacity) < 10.0
    }
}

fn search(system: &mut Noisy, first: f64, seed: u64) -> (Result<Answer, String>, u32) {
    let mut search = Search::new(level_of(first), seed);
    loop {
        match search.next_step() {
            Step::Probe(level) => {
                let passed = system.probe(rate_of(level));
                search.record(level, passed);
                assert!(search.made <= MOST_PROBES);
            }
            Step::Done(answer) => return (answer, search.made),
        }
    }
}

fn noisy(seed: u64, capacity: f64) -> Noisy {
    let rng = Xoshiro::for_client(seed, 99);
    Noisy { rng, capacity, sigma: 0.3, jitter: 0.04, disturbed: 0.1 }
}

#[test]
fn two_searches_on_a_noisy_machine_agree_within_a_tenth_nearly_always() {
    let (mut agree, mut probes, mut sum) = (0, 0, 0.0);
    for seed in 0..100 {
        let mut system = noisy(seed, 20_000.0);
        let ((first, n), (second, m)) =
            (search(&mut system, 1_000.0, seed), search(&mut system, 1_000.0, seed + 1_000));
        let (first, second) = (first.unwrap().rate, second.unwrap().rate);
        agree += u32::from(first.max(second) / first.min(second) <= 1.1);
        probes += n + m;
        sum += first + second;
    }
    assert!(agree >= 95, "{agree} of 100 pairs");
    assert!(probes / 200 <= 45, "{} probes each", probes / 200);
    // Two of three pass below 18 000, where the p99 is ten times that of an idle queue.
    let mean = sum / 200.0;
    assert!((15_500.0..18_500.0).contains(&mean), "{mean}");
}

#[test]
fn the_first_rate_may_be_far_off_on_either_side() {
    for (first, capacity) in [(1_000.0, 50.0), (10.0, 900_000.0), (40_000.0, 10_000.0)] {
        let mut agree = 0;
        for seed in 0..20 {
            let answer = search(&mut noisy(seed, capacity), first, seed).0.unwrap();
            agree += u32::from((0.72..1.0).contains(&(answer.rate / capacity)));
            assert!(answer.from <= answer.rate && answer.rate <= answer.to, "{answer:?}");
        }
        assert!(agree >= 18, "{first} {capacity}: {agree}");
    }
}

#[test]
fn without_noise_the_answer_is_the_last_rung_that_passes_and_was_confirmed() {
    let mut quiet = Noisy { sigma: 0.0, jitter: 0.0, disturbed: 0.0, ..noisy(1, 10_000.0) };
    let answer = search(&mut quiet, 1_000.0, 1).0.unwrap();
    assert!((8_200.0..=9_000.0).contains(&answer.rate), "{answer:?}");
    assert_eq!(answer.passed, answer.probes);
    assert!(answer.probes >= 3 && !answer.is_rough, "{answer:?}");
}

#[test]
fn a_bound_that_nothing_keeps_and_one_that_everything_keeps_are_told() {
    let mut none = Search::new(level_of(1_000.0), 1);
    let told = loop {
        match none.next_step() {
            Step::Probe(level) => none.record(level, false),
            Step::Done(answer) => break answer.unwrap_err(),
        }
    };
    assert!(told.contains("no rate"), "{told}");
    let mut all = Search::new(level_of(1_000.0), 1);
    let told = loop {
        match all.next_step() {
            Step::Probe(level) => all.record(level, true),
            Step::Done(answer) => break answer.unwrap_err(),
        }
    };
    assert!(told.contains("every rate"), "{told}");
}

#[test]
fn a_coin_for_a_machine_ends_within_the_bound_on_probes() {
    for seed in 0..50 {
        let mut rng = Xoshiro::for_client(seed, 5);
        let mut search = Search::new(level_of(1_000.0), seed);
        let mut made = 0;
        while let Step::Probe(level) = search.next_step() {
            search.record(level, rng.unit() < 0.5);
            made += 1;
            assert!(made <= MOST_PROBES);
        }
    }
}

#[test]
fn the_ladder_has_rates_of_three_digits_and_finds_them_again() {
    for level in LEVELS {
        assert_eq!(level_of(rate_of(level)), level, "{}", rate_of(level));
    }
    assert_eq!(rate_of(level_of(1_000.0)), 1_000.0);
    assert_eq!(level_of(0.0), *LEVELS.start());
    assert_eq!(level_of(1e300), *LEVELS.end());
}
