//! From flags to the settings of a run, and which combinations make no sense.

use super::RunArgs;
use super::groups::EngineArgs;
use crate::clock::{NS_PER_MS, NS_PER_S};
use crate::config::{BackendKind, EngineKnobs, RunConfig};
use crate::thresholds::{MAX_THRESHOLDS, Threshold};
use crate::values::{Hold, Rate};

/// Half a GiB of the checker's memory, most of it never touched.
const MOST_CROWD_WORDS: u64 = 1 << 26;

impl RunArgs {
    /// The resolved settings of the run; `nodes` are filled in once they are known.
    pub(crate) fn resolve(&self, name: &str, fresh_seed: u64) -> Result<RunConfig, String> {
        self.check()?;
        let config = RunConfig {
            name: self.name.as_deref().unwrap_or(name).to_owned(),
            labels: self.labels.iter().cloned().collect(),
            preset: self.preset,
            backend: self.backend,
            nodes: self.nodes.clone(),
            persist: self.persist,
            clients: self.clients,
            threads: self.threads,
            processes: self.processes,
            rate: self.stages.as_ref().map_or(self.rate, |all| Rate::PerSecond(all.peak())),
            stages: self.stages.as_ref().map(|all| all.0.clone()).unwrap_or_default(),
            arrival: self.arrival,
            catch_up: self.catch_up.0,
            duration_ns: self.duration,
            warmup_ns: if self.requests.is_some() { 0 } else { self.warmup },
            requests: self.requests,
            max_in_flight: self.max_in_flight,
            allow_overload: self.allow_overload,
            seed: self.seed.unwrap_or(fresh_seed),
            keys: self.keys,
            key_dist: self.key_dist,
            key_prefix: self.key_prefix.clone(),
            mode: self.mode,
            ttl_ns: self.ttl,
            max_ttl_ns: 0,
            hold: self.effective_hold(self.hold),
            think_ns: self.think,
            wait_ns: self.wait,
            try_only: self.try_only,
            waiting: self.waiting,
            fenced: self.fenced,
            workloads: Vec::new(),
            interval_ns: self.interval,
            percentiles: self.percentiles.0.clone(),
            time_unit: self.time_unit,
            faults: self.faults.clone(),
            thresholds: self.verdict.thresholds.clone(),
            abort_on_fail_ns: self.verdict.abort_on_fail,
            history: self.checker.history,
            strict: self.checker.strict,
            witness: self.checker.witness,
            engine: self.engine.knobs(),
        };
        let config = self.mix(config)?;
        let config = RunConfig {
            max_ttl_ns: self.max_ttl.unwrap_or_else(|| config.longest_ttl_ns().max(3 * NS_PER_S)),
            ..config
        };
        if config.crowd_words() > MOST_CROWD_WORDS {
            return Err(format!(
                "--keys {} times --clients {} is too much to check in mode {}; lower one of them",
                config.spaces().crowded_cells(),
                self.clients,
                config.modes()
            ));
        }
        let tokens = |of: &&Threshold| of.needs_tokens() && !config.is_fenced();
        if let Some(tokens) = config.thresholds.iter().find(tokens) {
            return Err(format!(
                "--threshold `{tokens}` needs the tokens of a run with --fenced; add it"
            ));
        }
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let limit = |what: &str, value: u64, most: u64| {
            if value <= most {
                Ok(())
            } else {
                Err(format!("--{what} {value} is too many; at most {most} are supported"))
            }
        };
        limit("clients", self.clients.into(), 100_000)?;
        limit("max-in-flight", self.max_in_flight.into(), 10_000_000)?;
        if self.clients < self.processes {
            return Err(format!(
                "--clients {} cannot be spread over --processes {}; every process needs a client",
                self.clients, self.processes
            ));
        }
        if self.interval < 100 * NS_PER_MS || !self.interval.is_multiple_of(100 * NS_PER_MS) {
            return Err("--interval must be a multiple of 100ms".to_owned());
        }
        if self.duration < 100 * NS_PER_MS || self.duration > 6 * 3_600 * NS_PER_S {
            return Err("--duration must be between 100ms and 6h".to_owned());
        }
        if self.backend != BackendKind::Engine && !self.faults.is_empty() {
            return Err("--fault needs nodes; this backend has none".to_owned());
        }
        if self.backend != BackendKind::Engine && self.checker.witness {
            return Err("--witness needs nodes to look at; this backend has none".to_owned());
        }
        if self.checker.witness && !self.workloads.is_empty() {
            return Err(
                "--witness looks at the names of one workload, and this run is a mix; leave \
                        it out"
                    .to_owned(),
            );
        }
        self.engine.check()?;
        let thresholds = &self.verdict.thresholds;
        limit("threshold", thresholds.len() as u64, MAX_THRESHOLDS as u64)?;
        if self.verdict.abort_on_fail.is_some() && thresholds.is_empty() {
            return Err("--abort-on-fail needs something that can fail; add --threshold".to_owned());
        }
        if self.arrival_needs_rate() {
            return Err(format!(
                "--arrival {} is for an open loop; add --rate or --stages",
                self.arrival
            ));
        }
        Ok(())
    }

    /// `poisson` is the default and harmless; a burst that never comes is a mistake.
    fn arrival_needs_rate(&self) -> bool {
        let closed = self.rate == Rate::Max && self.stages.is_none();
        closed && matches!(self.arrival, crate::values::Arrival::Burst(_))
    }

    /// A wrong grant shows only where two sections can overlap in time, so the broken lock is never
    /// held for nothing.
    pub(super) fn effective_hold(&self, asked: Hold) -> Hold {
        match (self.backend, asked) {
            (BackendKind::Broken | BackendKind::BrokenModes, Hold::Fixed(0)) => {
                Hold::Fixed(NS_PER_MS / 5)
            }
            (_, hold) => hold,
        }
    }
}

impl EngineArgs {
    fn knobs(&self) -> EngineKnobs {
        EngineKnobs {
            batch_max_commands: self.batch_max_commands,
            batch_max_bytes: self.batch_max_bytes,
            batch_gather: self.batch_gather,
            batch_gather_min_inflight: self.batch_gather_min_inflight,
            max_inflight: self.max_inflight,
            node_timeout_ns: self.node_timeout,
            retry_base_ns: self.retry_base,
            retry_cap_ns: self.retry_cap,
        }
    }

    fn check(&self) -> Result<(), String> {
        let usual = redlatch::Retry::default();
        let ns = |given: Option<u64>, usual: std::time::Duration| {
            given.map_or(usual, std::time::Duration::from_nanos)
        };
        let (base, cap) = (ns(self.retry_base, usual.base), ns(self.retry_cap, usual.cap));
        if base > cap {
            return Err(format!("--retry-base {base:?} is above --retry-cap {cap:?}"));
        }
        Ok(())
    }
}
