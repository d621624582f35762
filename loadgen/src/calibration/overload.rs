//! Whether a load can be served at all: how much lock time per second it asks of its busiest name.
//!
//! A lock passes from one holder to the next in no less than hold and hand-off. Asked for more of
//! that per second than a second has, a name falls behind for as long as the run lasts, and every
//! latency of it tells how long the run was, not how fast the locks are. Nothing is wrong with the
//! generator then, so this is said before the start.
//!
//! Sound towards silence: what is estimated is a lower bound (readers and permits overlap, of a
//! hierarchy only one kind of claim is counted), so a load that is called too much is.

use serde::{Deserialize, Serialize};

use crate::clock::NS_PER_S;
use crate::config::RunConfig;
use crate::mode::Mode;
use crate::num;
use crate::plan::claims::INNER_EVERY;
use crate::report::format::{ns, rate, setting};
use crate::values::{Hold, KeyDist, Rate};
use crate::workload::Workload;

/// Ranks of a Zipf distribution that are added up one by one; the rest by its integral.
const RANKS: u32 = 10_000;

/// What is asked of the busiest name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hottest {
    pub(crate) key: String,
    /// Per second, at the highest rate of the run.
    pub(crate) requests_per_s: f64,
    pub(crate) hold_mean_ns: u64,
    /// Estimated: two round trips to the nodes, or the floor of the generator.
    pub(crate) handoff_ns: u64,
    /// Lock time asked for per second; from 1 on, waits grow without end.
    pub(crate) rho: f64,
}

impl Hottest {
    /// Of an open loop that waits for its locks; anything else cannot fall behind.
    pub(crate) fn of(config: &RunConfig, handoff_ns: u64) -> Option<Self> {
        let Rate::PerSecond(peak) = config.rate else { return None };
        let parts = config.parts();
        let all = parts.iter().zip(config.shares());
        let asked: Vec<Asked> = all
            .filter(|(of, _)| !of.try_only)
            .map(|(of, share)| Asked::of(of, peak * share, handoff_ns))
            .collect();
        // Workloads that share names like the same ones best: what they ask of one adds up.
        let together = |key: &str| {
            let of = asked.iter().filter(|asked| asked.key == key);
            let (mut requests_per_s, mut rho, mut held) = (0.0, 0.0, 0.0);
            for asked in of {
                requests_per_s += asked.requests_per_s;
                rho += asked.rho;
                held += asked.requests_per_s * asked.hold_mean_ns as f64;
            }
            let mean = if requests_per_s > 0.0 { held / requests_per_s } else { 0.0 };
            let hold_mean_ns = num::floor_u64(mean.round());
            Self { key: key.to_owned(), requests_per_s, hold_mean_ns, handoff_ns, rho }
        };
        let all = asked.iter().map(|asked| together(&asked.key));
        all.reduce(|most, other| if other.rho > most.rho { other } else { most })
    }

    /// What is to be said about it, if it is too much.
    pub(crate) fn overload(&self) -> Option<String> {
        let Self { key, requests_per_s, hold_mean_ns, handoff_ns, rho } = self;
        (*rho >= 1.0).then(|| {
            format!(
                "overload: `{key}` is asked for {rho:.1} s of lock time per second ({} requests/s, \
                 each hold {} + hand-off {}); waits grow for as long as the run lasts; lower \
                 --rate or --hold, raise --keys, or say --allow-overload if that is meant",
                rate(*requests_per_s),
                setting(*hold_mean_ns),
                ns(*handoff_ns)
            )
        })
    }
}

/// What one workload asks of the name that it likes best.
#[derive(Clone, Debug)]
struct Asked {
    key: String,
    requests_per_s: f64,
    hold_mean_ns: u64,
    rho: f64,
}

impl Asked {
    fn of(of: &Workload, rate: f64, handoff_ns: u64) -> Self {
        let tree = of.mode.tree(of.keys);
        let leaf = tree.depth().saturating_sub(1);
        let busiest = busiest_share(of.key_dist, of.keys);
        let inner = 1.0 / INNER_EVERY as f64;
        let (share, level) = match of.mode {
            Mode::Mutex => (busiest, leaf),
            Mode::Shared(reads) => (busiest * (1.0 - reads / 100.0), leaf),
            Mode::All(k) => (1.0 - (1.0 - busiest).powf(f64::from(k)), leaf),
            Mode::Permits(n) => (busiest / f64::from(n.max(1)), leaf),
            // Those that lock the busiest name at the top, or at the end.
            Mode::Hierarchy(_) if leaf > 0 => {
                let last = of.keys.saturating_sub(1);
                let tops = f64::from(tree.way(0, last).last().unwrap_or(0)) + 1.0;
                let top = inner / leaf as f64 * busiest.max(1.0 / tops);
                let end = busiest * (1.0 - inner);
                if top > end { (top, 0) } else { (end, leaf) }
            }
            Mode::Hierarchy(_) => (busiest, leaf),
        };
        let hold_mean_ns = match of.hold {
            Hold::Fixed(at) => at,
            Hold::Exp(mean) => mean,
            Hold::Uniform(low, high) => low / 2 + high / 2,
        };
        let requests_per_s = rate * share;
        let each_s = hold_mean_ns.saturating_add(handoff_ns) as f64 / NS_PER_S as f64;
        let cell = tree.way(level, 0).last().unwrap_or(0);
        let key = format!("{}{}", of.key_prefix, tree.name(cell.into()));
        Self { key, requests_per_s, hold_mean_ns, rho: requests_per_s * each_s }
    }
}

/// The share of all requests that the most popular of `keys` names has.
fn busiest_share(dist: KeyDist, keys: u32) -> f64 {
    let keys = keys.max(1);
    let all = f64::from(keys);
    match dist {
        KeyDist::Uniform | KeyDist::Seq => 1.0 / all,
        KeyDist::Hot { keys, load } => {
            let hot = (keys * all).round().clamp(1.0, all);
            if hot < all { load / hot } else { 1.0 / all }
        }
        KeyDist::Zipf(s) => {
            let first: f64 = (1..=keys.min(RANKS)).map(|rank| f64::from(rank).powf(-s)).sum();
            1.0 / (first + area(s, f64::from(keys.min(RANKS)) + 0.5, all + 0.5))
        }
    }
}

/// Under x^-s between `from` and `to`.
fn area(s: f64, from: f64, to: f64) -> f64 {
    if (s - 1.0).abs() < 1e-9 {
        (to / from).ln()
    } else {
        (to.powf(1.0 - s) - from.powf(1.0 - s)) / (1.0 - s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Schedule;
    use crate::plan::claims::Claims;
    use crate::values::Arrival;

    fn open(rate: f64, keys: u32) -> RunConfig {
        RunConfig {
            rate: Rate::PerSecond(rate),
            arrival: Arrival::Poisson,
            keys,
            hold: Hold::Fixed(1_000_000),
            ..RunConfig::for_tests()
        }
    }

    fn rho(config: &RunConfig) -> f64 {
        Hottest::of(config, 1_000_000).unwrap().rho
    }

    #[test]
    fn lock_time_is_rate_times_hold_and_hand_off() {
        assert!((rho(&open(900.0, 1)) - 1.8).abs() < 1e-9);
        assert!((rho(&open(900.0, 9)) - 0.2).abs() < 1e-9);
        let words = Hottest::of(&open(900.0, 1), 1_000_000).unwrap().overload().unwrap();
        assert!(words.contains("`lg:0` is asked for 1.8 s of lock time per second"), "{words}");
        assert!(words.contains("900 requests/s, each hold 1ms + hand-off 1.00ms"), "{words}");
        assert_eq!(Hottest::of(&open(900.0, 9), 1_000_000).unwrap().overload(), None);
    }

    #[test]
    fn what_never_falls_behind_is_not_judged() {
        let closed = RunConfig { rate: Rate::Max, ..open(1.0, 1) };
        assert_eq!(Hottest::of(&closed, 1), None);
        let refuses = RunConfig { try_only: true, ..open(1e6, 1) };
        assert_eq!(Hottest::of(&refuses, 1), None);
        assert!(rho(&RunConfig { mode: Mode::Shared(100.0), ..open(1e6, 1) }) < 1e-9);
        let permits = RunConfig { mode: Mode::Permits(4), ..open(900.0, 1) };
        assert!((rho(&permits) - 0.45).abs() < 1e-9);
    }

    #[test]
    fn workloads_that_share_names_add_up_and_others_do_not() {
        let of = |name, prefix: &str| Workload {
            keys: 1,
            key_prefix: prefix.to_owned(),
            hold: Hold::Fixed(1_000_000),
            ..Workload::for_tests(name, 1.0)
        };
        let mix = |prefixes: [&str; 3]| {
            let [a, b, c] = prefixes;
            let slow = Workload { hold: Hold::Fixed(4_000_000), ..of("c", c) };
            open(900.0, 1).mixed(vec![of("a", a), of("b", b), slow])
        };
        // 300/s each, 2 or 5 ms of lock time.
        assert!((rho(&mix(["x:", "y:", "z:"])) - 1.5).abs() < 1e-9);
        let both = Hottest::of(&mix(["x:", "z:", "x:"]), 1_000_000).unwrap();
        assert!((both.rho - 2.1).abs() < 1e-9 && both.key == "x:0", "{both:?}");
        assert_eq!((both.requests_per_s, both.hold_mean_ns), (600.0, 2_500_000));
    }

    /// The share of the busiest name agrees with what plans really ask for.
    #[test]
    fn shares_are_those_of_the_plan() {
        for (key_dist, keys, mode) in [
            (KeyDist::Uniform, 20, Mode::Mutex),
            (KeyDist::Zipf(1.1), 100, Mode::Mutex),
            (KeyDist::Zipf(1.0), 50_000, Mode::Mutex),
            (KeyDist::Hot { keys: 0.02, load: 0.4 }, 100, Mode::Mutex),
            (KeyDist::Uniform, 20, Mode::All(3)),
            (KeyDist::Uniform, 1_000, Mode::Hierarchy(3)),
        ] {
            let config = RunConfig { key_dist, mode, ..open(1_000.0, keys) };
            let hottest = Hottest::of(&config, 0).unwrap();
            let claims = Claims::new(&config);
            let tree = mode.tree(keys);
            let (mut hits, mut of) = (0, Vec::new());
            for section in Schedule::new(&config, 0..4).take(40_000) {
                claims.of(section, &mut of);
                let exclusive = of.iter().filter(|c| c.class == crate::mode::Class::Exclusive);
                let name = |cell: u32| format!("lg:{}", tree.name(cell.into()));
                hits += exclusive.filter(|claim| name(claim.cell) == hottest.key).count();
            }
            let (seen, told) = (hits as f64 / 40_000.0, hottest.requests_per_s / 1_000.0);
            assert!((seen - told).abs() < 0.1 * told + 0.002, "{key_dist:?} {mode}: {seen} {told}");
        }
    }
}
