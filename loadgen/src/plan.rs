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
mod mix;
pub(crate) mod rng;
mod zipf;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::config::RunConfig;
use crate::mode::Mode;
use crate::values::Arrival;
use curve::Curve;
use mix::Mix;
use rng::Xoshiro;

/// One section as planned; `intended_ns` counts from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Section {
    pub(crate) intended_ns: u64,
    pub(crate) key: u32,
    pub(crate) hold_ns: u64,
    /// What [`claims::Claims`] draws from; 0 where names have one kind of holder.
    pub(crate) draw: u64,
    /// Its place among the workloads of the run.
    pub(crate) workload: u8,
}

/// The sections of one client, in order. `intended_ns` is 0 in a closed loop.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    rng: Xoshiro,
    mix: Arc<Mix>,
    arrival: Arrival,
    client: u32,
    clients: u32,
    /// The rate of the whole run; `None` in a closed loop.
    curve: Option<Curve>,
    index: u64,
    /// Sections of each workload so far.
    drawn: Box<[u64]>,
    left: u64,
    /// Under the rate up to the last arrival.
    area: f64,
}

impl Stream {
    pub(crate) fn new(config: &RunConfig, client: u32) -> Self {
        Self::with(config, client, config.curve(), Mix::new(config))
    }

    fn with(config: &RunConfig, client: u32, curve: Option<Curve>, mix: Arc<Mix>) -> Self {
        let quota = config.requests.map_or(u64::MAX, |all| {
            let clients = u64::from(config.clients.max(1));
            all / clients + u64::from(u64::from(client) < all % clients)
        });
        Self {
            rng: Xoshiro::for_client(config.seed, client),
            drawn: vec![0; mix.len()].into(),
            mix,
            arrival: config.arrival,
            client,
            clients: config.clients.max(1),
            curve,
            index: 0,
            left: quota,
            area: 0.0,
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

/// Among the sections of all clients, of the `nth` of one.
fn place_of(nth: u64, client: u32, clients: u32) -> u64 {
    nth.saturating_mul(u64::from(clients)).saturating_add(u64::from(client))
}

impl Iterator for Stream {
    type Item = Section;

    fn next(&mut self) -> Option<Section> {
        self.left = self.left.checked_sub(1)?;
        let position = place_of(self.index, self.client, self.clients);
        self.index += 1;
        let intended_ns = self.intended_ns(position)?;
        let (workload, source) = self.mix.pick(&mut self.rng)?;
        // Names in turn are taken in turn by each workload, whatever comes in between.
        let nth = *self.drawn.get(usize::from(workload))?;
        let key = source.keys.pick(&mut self.rng, place_of(nth, self.client, self.clients));
        let hold_ns = source.hold_ns(&mut self.rng);
        let draw = if source.draws { self.rng.next() } else { 0 };
        *self.drawn.get_mut(usize::from(workload))? = nth + 1;
        Some(Section { intended_ns, key, hold_ns, draw, workload })
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
        let (curve, mix) = (config.curve(), Mix::new(config));
        let stream = |client| Stream::with(config, client, curve.clone(), Arc::clone(&mix));
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
    let (is_mix, parts) = (config.is_mix(), config.parts());
    for of in parts.iter().filter(|_| is_mix) {
        eat(of.weight.to_bits());
        eat(of.keys.into());
    }
    for client in 0..config.clients.min(64) {
        for section in Stream::new(config, client).take(256) {
            eat(section.intended_ns);
            eat(section.key.into());
            eat(section.hold_ns);
            if is_mix {
                eat(section.workload.into());
            }
            let of = parts.get(usize::from(section.workload));
            if of.is_some_and(|of| of.mode != Mode::Mutex) {
                eat(section.draw);
            }
        }
    }
    format!("{:016x}", state ^ (state >> 32)).split_off(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::{Hold, KeyDist, Rate, Stage};
    use crate::workload::Workload;

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

    #[test]
    fn a_mix_gets_its_shares_whatever_the_seed_and_names_in_turn_come_in_turn() {
        let seq = Workload { key_dist: KeyDist::Seq, ..Workload::for_tests("seq", 1.0) };
        let parts = vec![Workload::for_tests("most", 3.0), seq];
        for seed in 0..20 {
            let config = RunConfig { seed, ..open(1_000.0, Arrival::Poisson) };
            let config = config.mixed(parts.clone());
            let all: Vec<Section> = Schedule::new(&config, 0..4).take(10_000).collect();
            let most = all.iter().filter(|section| section.workload == 0).count();
            // Binomial: 7500 and a deviation of 43; 5 of them leave one seed in two million out.
            assert!(most.abs_diff(7_500) < 217, "{most}");
            assert_eq!(all, Schedule::new(&config, 0..4).take(10_000).collect::<Vec<_>>());
            let mine = Stream::new(&config, 1).filter(|section| section.workload == 1);
            assert_eq!(mine.take(4).map(|of| of.key).collect::<Vec<_>>(), [1, 5, 1, 5]);
        }
    }

    #[test]
    fn the_fingerprint_knows_the_weights_and_a_mix_of_one_has_the_plan_of_the_one() {
        let mix = |weights: [f64; 2]| {
            let [a, b] = weights;
            let parts = vec![Workload::for_tests("a", a), Workload::for_tests("b", b)];
            open(1_000.0, Arrival::Poisson).mixed(parts)
        };
        assert_eq!(hash(&mix([3.0, 1.0])), hash(&mix([3.0, 1.0])));
        assert_ne!(hash(&mix([3.0, 1.0])), hash(&mix([1.0, 3.0])));
        let plain = open(1_000.0, Arrival::Poisson);
        let one = plain.clone().mixed(vec![Workload::for_tests("a", 2.0)]);
        let sections = |config| Schedule::new(config, 0..4).take(100).collect::<Vec<_>>();
        assert_eq!(sections(&plain), sections(&one));
        // Of a run without a mix nothing is drawn for it: plans are those of before there were any.
        assert_eq!(hash(&plain), "0ce18f81");
    }
}
