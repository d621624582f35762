//! What a run will do, decided before it runs: when each section is asked for, on which name, and
//! how long it is held.
//!
//! Every client has a stream of its own, seeded by (seed, client) and drawn in a fixed order, so
//! the plan does not depend on timing, on the number of processes or on who executes it.
//!
//! Invariants:
//! 1. Same settings and seed, same plan, same [`hash`].
//! 2. Arrivals come out in the order of their instants; nothing is stored ahead but one per client.

pub(crate) mod claims;
pub(crate) mod curve;
pub(crate) mod rng;
mod zipf;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::config::RunConfig;
use crate::mode::Mode;
use crate::num;
use crate::values::{Arrival, Hold, KeyDist};
use curve::Curve;
use rng::Xoshiro;
use zipf::Zipf;

/// One section as planned; `intended_ns` counts from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Section {
    pub(crate) intended_ns: u64,
    pub(crate) key: u32,
    pub(crate) hold_ns: u64,
    /// What [`claims::Claims`] draws from; 0 where names have one kind of holder.
    pub(crate) draw: u64,
}

#[derive(Clone, Debug)]
enum Keys {
    Uniform(u64),
    Zipf(Zipf),
    Hot { hot: u64, all: u64, load: f64 },
    Seq(u64),
}

impl Keys {
    fn new(config: &RunConfig) -> Self {
        let all = u64::from(config.keys.max(1));
        match config.key_dist {
            KeyDist::Uniform => Self::Uniform(all),
            KeyDist::Zipf(s) => Self::Zipf(Zipf::new(config.keys, s)),
            KeyDist::Hot { keys, load } => {
                let hot = num::floor_u64((keys * all as f64).round()).clamp(1, all);
                Self::Hot { hot, all, load }
            }
            KeyDist::Seq => Self::Seq(all),
        }
    }

    fn pick(&self, rng: &mut Xoshiro, position: u64) -> u32 {
        let key = match self {
            Self::Uniform(all) => rng.below(*all),
            Self::Zipf(zipf) => u64::from(zipf.sample(rng)),
            Self::Hot { hot, all, load } => {
                let (in_hot, place) = (rng.unit() < *load, rng.next());
                let scale = |bound: u64| (u128::from(place) * u128::from(bound)) >> 64;
                if in_hot || hot == all {
                    u64::try_from(scale(*hot)).unwrap_or(0)
                } else {
                    hot + u64::try_from(scale(all - hot)).unwrap_or(0)
                }
            }
            Self::Seq(all) => position % all,
        };
        num::u32_of(key)
    }
}

/// The sections of one client, in order. `intended_ns` is 0 in a closed loop.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    rng: Xoshiro,
    keys: Keys,
    hold: Hold,
    arrival: Arrival,
    draws: bool,
    client: u32,
    clients: u32,
    /// The rate of the whole run; `None` in a closed loop.
    curve: Option<Curve>,
    index: u64,
    left: u64,
    /// Under the rate up to the last arrival.
    area: f64,
}

impl Stream {
    pub(crate) fn new(config: &RunConfig, client: u32) -> Self {
        Self::with(config, client, config.curve())
    }

    fn with(config: &RunConfig, client: u32, curve: Option<Curve>) -> Self {
        let quota = config.requests.map_or(u64::MAX, |all| {
            let clients = u64::from(config.clients.max(1));
            all / clients + u64::from(u64::from(client) < all % clients)
        });
        Self {
            rng: Xoshiro::for_client(config.seed, client),
            keys: Keys::new(config),
            hold: config.hold,
            arrival: config.arrival,
            draws: config.mode != Mode::Mutex,
            client,
            clients: config.clients.max(1),
            curve,
            index: 0,
            left: quota,
            area: 0.0,
        }
    }

    fn hold_ns(&mut self) -> u64 {
        match self.hold {
            Hold::Fixed(ns) => ns,
            Hold::Exp(mean) => num::floor_u64(self.rng.exponential() * mean as f64),
            Hold::Uniform(low, high) => low + self.rng.below(high - low + 1),
        }
    }

    /// `None`: the rate has gone to 0 for good.
    fn intended_ns(&mut self, position: u64) -> Option<u64> {
        let Some(curve) = &mut self.curve else { return Some(0) };
        self.area = match self.arrival {
            // Client c takes every clients-th arrival of one evenly spaced schedule.
            Arrival::Constant => position as f64,
            // The whole burst comes when the first of it would.
            Arrival::Burst(n) => (position - position % u64::from(n.max(1))) as f64,
            Arrival::Poisson => self.area + self.rng.exponential() * f64::from(self.clients),
        };
        curve.reaches_ns(self.area)
    }
}

impl Iterator for Stream {
    type Item = Section;

    fn next(&mut self) -> Option<Section> {
        self.left = self.left.checked_sub(1)?;
        let position = self
            .index
            .saturating_mul(u64::from(self.clients))
            .saturating_add(u64::from(self.client));
        self.index += 1;
        let intended_ns = self.intended_ns(position)?;
        let key = self.keys.pick(&mut self.rng, position);
        let hold_ns = self.hold_ns();
        let draw = if self.draws { self.rng.next() } else { 0 };
        Some(Section { intended_ns, key, hold_ns, draw })
    }
}

/// The arrivals of several clients as one schedule.
#[derive(Debug)]
pub(crate) struct Schedule {
    streams: Vec<Stream>,
    next: BinaryHeap<Reverse<(u64, usize, Section)>>,
}

impl Schedule {
    pub(crate) fn new(config: &RunConfig, clients: impl Iterator<Item = u32>) -> Self {
        let curve = config.curve();
        let stream = |client| Stream::with(config, client, curve.clone());
        let mut schedule = Self { streams: clients.map(stream).collect(), next: BinaryHeap::new() };
        for at in 0..schedule.streams.len() {
            schedule.refill(at);
        }
        schedule
    }

    fn refill(&mut self, at: usize) {
        if let Some(section) = self.streams.get_mut(at).and_then(Iterator::next) {
            self.next.push(Reverse((section.intended_ns, at, section)));
        }
    }

    /// When the next arrival is due, if there is one.
    pub(crate) fn peek_ns(&self) -> Option<u64> {
        self.next.peek().map(|Reverse((intended_ns, ..))| *intended_ns)
    }
}

impl Iterator for Schedule {
    type Item = Section;

    fn next(&mut self) -> Option<Section> {
        let Reverse((_, at, section)) = self.next.pop()?;
        self.refill(at);
        Some(section)
    }
}

/// A fingerprint of the plan: FNV-1a over the first 256 sections of the first 64 clients and the
/// settings that shape the rest.
pub(crate) fn hash(config: &RunConfig) -> String {
    let mut state: u64 = 0xCBF2_9CE4_8422_2325;
    let mut eat = |word: u64| {
        for byte in word.to_le_bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    };
    for word in [config.clients.into(), config.keys.into(), config.duration_ns, config.warmup_ns] {
        eat(word);
    }
    // Small numbers of arrivals do not reach the later stages.
    for stage in &config.stages {
        eat(stage.over_ns);
        eat(stage.to_rate.to_bits());
    }
    if let Some(times) = config.catch_up {
        eat(times.to_bits());
    }
    for client in 0..config.clients.min(64) {
        for section in Stream::new(config, client).take(256) {
            eat(section.intended_ns);
            eat(section.key.into());
            eat(section.hold_ns);
            if config.mode != Mode::Mutex {
                eat(section.draw);
            }
        }
    }
    format!("{:016x}", state ^ (state >> 32)).split_off(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::{Rate, Stage};

    fn open(rate: f64, arrival: Arrival) -> RunConfig {
        RunConfig { rate: Rate::PerSecond(rate), arrival, ..RunConfig::for_tests() }
    }

    #[test]
    fn same_seed_same_plan_and_another_seed_another() {
        let a = RunConfig { hold: Hold::Exp(1_000_000), ..open(1_000.0, Arrival::Poisson) };
        let b = RunConfig { seed: a.seed + 1, ..a.clone() };
        assert_eq!(hash(&a), hash(&a.clone()));
        assert_ne!(hash(&a), hash(&b));
        assert_eq!(hash(&a).len(), 8);
    }

    #[test]
    fn the_plan_does_not_depend_on_how_clients_are_spread_over_processes() {
        let config = open(1_000.0, Arrival::Poisson);
        let whole: Vec<Section> = Schedule::new(&config, 0..4).take(400).collect();
        let mut parts: Vec<Section> = Schedule::new(&config, [0, 2].into_iter())
            .take(400)
            .chain(Schedule::new(&config, [1, 3].into_iter()).take(400))
            .collect();
        parts.sort_by_key(|section| section.intended_ns);
        parts.truncate(400);
        assert_eq!(whole, parts);
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_and_poisson_ones_have_the_right_mean() {
        let even: Vec<u64> = Schedule::new(&open(1_000.0, Arrival::Constant), 0..4)
            .take(100)
            .map(|section| section.intended_ns)
            .collect();
        assert!(even.windows(2).all(|pair| pair[1] - pair[0] == 1_000_000), "{even:?}");

        let last = Schedule::new(&open(1_000.0, Arrival::Poisson), 0..4).nth(99_999).unwrap();
        let mean = last.intended_ns as f64 / 100_000.0;
        assert!((mean - 1e6).abs() < 2e4, "{mean}");
    }

    #[test]
    fn bursts_come_whole_and_at_the_rate_however_clients_are_spread() {
        let config = open(1_000.0, Arrival::Burst(10));
        let all: Vec<u64> = Schedule::new(&config, 0..4).take(40).map(|s| s.intended_ns).collect();
        let expected: Vec<u64> = (0..40).map(|n| n / 10 * 10_000_000).collect();
        assert_eq!(all, expected);
        let odd = Schedule::new(&config, [1, 3].into_iter()).take(20).map(|s| s.intended_ns);
        assert_eq!(odd.filter(|&at| at == 10_000_000).count(), 5, "half of the second burst");
    }

    #[test]
    fn stages_shape_the_plan_and_its_fingerprint_knows_them() {
        let stages = vec![
            Stage { over_ns: 1_000_000_000, to_rate: 2_000.0 },
            Stage { over_ns: 1_000_000_000, to_rate: 0.0 },
        ];
        for arrival in [Arrival::Constant, Arrival::Poisson] {
            let config = RunConfig { stages: stages.clone(), ..open(2_000.0, arrival) };
            let all: Vec<u64> = Schedule::new(&config, 0..4).map(|s| s.intended_ns).collect();
            assert!((1_850..2_150).contains(&all.len()), "2000 under the triangle: {}", all.len());
            let middle = all.iter().filter(|&&at| (500_000_000..1_500_000_000).contains(&at));
            assert!((1_400..1_600).contains(&middle.count()), "three quarters in the middle half");
            let mut later = config.clone();
            later.stages[1].to_rate = 1.0;
            assert_ne!(hash(&config), hash(&later));
            assert_ne!(hash(&config), hash(&RunConfig { catch_up: Some(2.0), ..config.clone() }));
        }
    }

    #[test]
    fn quotas_add_up_and_order_holds() {
        let config = RunConfig { requests: Some(10), ..open(1_000.0, Arrival::Poisson) };
        let all: Vec<Section> = Schedule::new(&config, 0..4).collect();
        assert_eq!(all.len(), 10);
        assert!(all.windows(2).all(|pair| pair[0].intended_ns <= pair[1].intended_ns));
    }

    #[test]
    fn hot_and_seq_keys() {
        let hot = RunConfig {
            keys: 1_000,
            key_dist: KeyDist::Hot { keys: 0.001, load: 0.25 },
            ..RunConfig::for_tests()
        };
        let hits = Stream::new(&hot, 0).take(40_000).filter(|section| section.key == 0).count();
        assert!((9_500..10_500).contains(&hits), "{hits}");
        let seq = RunConfig { key_dist: KeyDist::Seq, ..RunConfig::for_tests() };
        let keys: Vec<u32> = Stream::new(&seq, 1).take(4).map(|section| section.key).collect();
        assert_eq!(keys, [1, 5, 1, 5]);
    }
}
