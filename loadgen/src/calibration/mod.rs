//! What the generator costs by itself, measured in this process just before a run: how long a lock
//! takes that costs nothing, what a look at the clock costs, and how much this machine oversleeps.
//!
//! The floor runs the code of a run: the same clients, recorder and checker on the lock without
//! nodes. Nothing that is measured later can be told from it by less than that.
//!
//! Invariant: it takes about 100 ms and, whatever goes wrong, never more than [`LIMIT_NS`] of load;
//! what could not be measured is `None`.

pub(crate) mod job;
pub(crate) mod overload;
pub(crate) mod threads;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{self, NS_PER_MS, NS_PER_US, now_ns};
use crate::cluster::resp::Connection;
use crate::cluster::url::NodeUrl;
use crate::collect::Hists;
use crate::config::{BackendKind, RunConfig};
use crate::driver::{Event, Load};
use crate::mode::Mode;
use crate::oracle::judge::Oracle;
use crate::recorder::{Hist, Metric, histogram};
use crate::report::format::ns;
use crate::scratch::Scratch;
use crate::values::{Hold, KeyDist, Rate};

/// Sections of the floor: enough for a p99, a few ms of time.
const SECTIONS: u64 = 5_000;
/// However slow the machine is.
const LIMIT_NS: u64 = 200 * NS_PER_MS;
const CLOCK_READS: u64 = 10_000;
const SLEEPS: u64 = 100;
/// As long as the pacer sleeps at 5 000 arrivals per second.
const SLEEP_NS: u64 = 200 * NS_PER_US;
/// All sleeps together, on a machine that oversleeps by far.
const SLEEP_LIMIT_NS: u64 = 60 * NS_PER_MS;
/// PINGs to each node, and how long it may take for any.
const PINGS: u32 = 5;
const PING_LIMIT: Duration = Duration::from_millis(200);

/// Two percentiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    /// Acquisitions of a lock inside this process, one client.
    pub(crate) noop_floor_ns: Option<Pair>,
    /// One look at the clock.
    pub(crate) instant_ns: Option<u64>,
    /// How much longer than asked for this machine sleeps.
    pub(crate) sleep_overshoot_ns: Option<Pair>,
    /// What one holder and the next are apart at least: two round trips to the nodes in the middle,
    /// or the floor where there are none.
    pub(crate) handoff_ns: Option<u64>,
}

impl Calibration {
    /// Measures all of it, in the process that will run `config` on `nodes`.
    pub(crate) fn measure(config: &RunConfig, nodes: &[NodeUrl]) -> Self {
        let noop_floor_ns = floor(config);
        let handoff_ns = match nodes {
            [] => noop_floor_ns.map(|floor| floor.p50),
            nodes => round_trip_ns(nodes).map(|rtt| 2 * rtt),
        };
        let (instant_ns, sleep_overshoot_ns) = (Some(clock_cost_ns()), overshoot());
        Self { noop_floor_ns, instant_ns, sleep_overshoot_ns, handoff_ns }
    }

    /// For people: the floor and the oversleeping.
    pub(crate) fn words(&self) -> Option<String> {
        let of = |what: &str, pair: Pair| format!("{what} {}/{}", ns(pair.p50), ns(pair.p99));
        let floor = self.noop_floor_ns.map(|pair| of("floor p50/p99", pair));
        let sleep = self.sleep_overshoot_ns.map(|pair| of("sleeps late by", pair));
        let words: Vec<String> = floor.into_iter().chain(sleep).collect();
        (!words.is_empty()).then(|| format!("before the run: {}", words.join(", ")))
    }
}

/// To the node in the middle, by the quickest PING to each that answers.
fn round_trip_ns(nodes: &[NodeUrl]) -> Option<u64> {
    let ping = |url: &NodeUrl| {
        let mut connection = Connection::open(url, PING_LIMIT).ok()?;
        let pings = (0..PINGS).map(|_| {
            let sent_ns = now_ns();
            connection.ping().ok().map(|()| now_ns().saturating_sub(sent_ns))
        });
        pings.flatten().min()
    };
    let mut all: Vec<u64> = std::thread::scope(|scope| {
        let asked: Vec<_> = nodes.iter().map(|url| scope.spawn(move || ping(url))).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    });
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

fn pair(hist: &Hist) -> Option<Pair> {
    let at = |p| hist.value_at_percentile(p);
    (!hist.is_empty()).then(|| Pair { p50: at(50.0), p99: at(99.0) })
}

fn clock_cost_ns() -> u64 {
    let begin = now_ns();
    let mut last = begin;
    for _ in 0..CLOCK_READS {
        last = now_ns();
    }
    last.saturating_sub(begin) / CLOCK_READS
}

fn overshoot() -> Option<Pair> {
    let mut late = histogram();
    // A thread of its own: how finely it sleeps is a setting of the thread.
    let sleeps = std::thread::Builder::new().name("calibration".to_owned()).spawn(move || {
        clock::sharpen_timers();
        // From its first instant on: one sleep at least, however late the thread begins.
        let limit = now_ns() + SLEEP_LIMIT_NS;
        for _ in 0..SLEEPS {
            let before = now_ns();
            if before >= limit {
                break;
            }
            std::thread::sleep(Duration::from_nanos(SLEEP_NS));
            late.saturating_record(now_ns().saturating_sub(before + SLEEP_NS));
        }
        late
    });
    pair(&sleeps.ok()?.join().ok()?)
}

/// Runs a load of one client on the lock without nodes.
fn floor(run: &RunConfig) -> Option<Pair> {
    let config = RunConfig {
        backend: BackendKind::Noop,
        nodes: Vec::new(),
        clients: 1,
        threads: 1,
        processes: 1,
        rate: Rate::Max,
        stages: Vec::new(),
        duration_ns: LIMIT_NS,
        warmup_ns: 0,
        requests: Some(SECTIONS),
        keys: 1,
        key_dist: KeyDist::Uniform,
        mode: Mode::Mutex,
        hold: Hold::Fixed(0),
        think_ns: 0,
        workloads: Vec::new(),
        faults: Vec::new(),
        ..run.clone()
    };
    let scratch = Scratch::new("floor").ok()?;
    let oracle = Oracle::create(&scratch.path().join("cells"), &config).ok()?;
    let load = Load::prepare(config, 0, oracle).ok()?;
    let mut all = Hists::default();
    load.run(now_ns(), &AtomicBool::new(false), |event| {
        if let Event::Tick(tick) = event {
            for (metric, hist) in &tick.snapshot.hists {
                all.add(*metric, hist);
            }
        }
    });
    pair(all.get(Metric::Service)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_measures_all_three_in_a_fraction_of_a_second() {
        let begin = now_ns();
        let found = Calibration::measure(&RunConfig::for_tests(), &[]);
        let took = now_ns() - begin;
        let floor = found.noop_floor_ns.unwrap();
        assert!(floor.p50 > 0 && floor.p50 <= floor.p99, "{found:?}");
        assert!((1..100_000).contains(&found.instant_ns.unwrap()), "{found:?}");
        // A lock takes at least two looks at the clock.
        assert!(floor.p99 >= found.instant_ns.unwrap(), "{found:?}");
        assert!(found.sleep_overshoot_ns.unwrap().p99 > 0, "{found:?}");
        assert_eq!(found.handoff_ns, Some(floor.p50), "no nodes are asked");
        assert!(found.words().unwrap().contains("floor p50/p99 "), "{found:?}");
        assert!(took < 3_000 * NS_PER_MS, "{took} ns");
    }
}
