//! Which path of a scenario file is which flag.

use clap::{Arg, Command};

/// How the value of a setting becomes the text of its flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text or a number, as it would be typed.
    One,
    /// `true` is the flag, `false` is none.
    Switch,
    /// A switch that may have a value.
    Optional,
    /// A list, typed with commas between; a text is a list of one.
    Joined,
    /// `"10s:1k,5s:0"`, or a list of `{ over, to }`.
    Stages,
    /// A table of texts, a flag for each.
    Labels,
    /// A list of tables, a flag for each.
    Faults,
    Thresholds,
    Workloads,
}

/// A setting of a scenario file.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) path: &'static str,
    pub(super) flag: &'static str,
    pub(super) kind: Kind,
}

const fn one(path: &'static str, flag: &'static str) -> Setting {
    Setting { path, flag, kind: Kind::One }
}

const fn of(path: &'static str, flag: &'static str, kind: Kind) -> Setting {
    Setting { path, flag, kind }
}

/// Every setting, in the order a file is written.
pub(super) const SETTINGS: &[Setting] = &[
    one("name", "name"),
    one("seed", "seed"),
    one("preset", "preset"),
    one("backend", "backend"),
    of("abort_on_fail", "abort-on-fail", Kind::Optional),
    of("labels", "label", Kind::Labels),
    of("cluster.nodes", "nodes", Kind::Joined),
    of("cluster.i_own_these_nodes", "i-own-these-nodes", Kind::Switch),
    one("cluster.spawn", "spawn"),
    one("cluster.server", "server-bin"),
    one("cluster.transport", "transport"),
    one("cluster.persist", "persist"),
    one("load.clients", "clients"),
    one("load.processes", "processes"),
    one("load.threads", "threads"),
    one("load.rate", "rate"),
    of("load.stages", "stages", Kind::Stages),
    one("load.arrival", "arrival"),
    one("load.catch_up", "catch-up"),
    one("load.warmup", "warmup"),
    one("load.duration", "duration"),
    one("load.requests", "requests"),
    one("load.max_in_flight", "max-in-flight"),
    of("load.allow_overload", "allow-overload", Kind::Switch),
    one("series.repeat", "repeat"),
    one("series.settle", "settle"),
    one("series.find_max", "find-max"),
    one("series.find_within", "find-within"),
    one("workload.mode", "mode"),
    one("workload.keys", "keys"),
    one("workload.key_dist", "key-dist"),
    one("workload.key_prefix", "key-prefix"),
    one("workload.ttl", "ttl"),
    one("workload.max_ttl", "max-ttl"),
    one("workload.hold", "hold"),
    one("workload.think", "think"),
    one("workload.wait", "wait"),
    of("workload.try", "try", Kind::Switch),
    one("workload.waiting", "waiting"),
    of("workload.fenced", "fenced", Kind::Switch),
    // Instead of these, where there are several.
    of("workload", "workload", Kind::Workloads),
    one("engine.max_inflight", "max-inflight"),
    one("engine.node_timeout", "node-timeout"),
    one("engine.batch.max_commands", "batch-max-commands"),
    one("engine.batch.max_bytes", "batch-max-bytes"),
    one("engine.batch.gather", "batch-gather"),
    one("engine.batch.gather_min_inflight", "batch-gather-min-inflight"),
    one("engine.retry.base", "retry-base"),
    one("engine.retry.cap", "retry-cap"),
    one("output.dir", "out"),
    one("output.json", "json"),
    of("output.percentiles", "percentiles", Kind::Joined),
    one("output.time_unit", "time-unit"),
    one("output.prometheus", "prometheus"),
    one("output.interval", "interval"),
    one("output.progress", "progress"),
    one("output.history", "history"),
    of("output.quiet", "quiet", Kind::Switch),
    of("output.no_color", "no-color", Kind::Switch),
    of("checker.strict", "strict", Kind::Switch),
    of("checker.witness", "witness", Kind::Switch),
    one("chaos.every", "every"),
    of("chaos.kinds", "kinds", Kind::Joined),
    one("chaos.for", "for"),
    one("chaos.target", "target"),
    of("fault", "fault", Kind::Faults),
    of("threshold", "threshold", Kind::Thresholds),
];

/// Flags of a run that no file can set: they say which file, or what to do with it.
#[cfg(test)]
pub(super) const TYPED_ALONE: &[&str] = &["scenario", "set", "check", "show-config", "help"];

/// The argument of `command` behind `--flag`.
pub(super) fn arg<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(flag))
}

/// Settings and tables directly under `path`; the root's is empty.
pub(super) fn under(path: &str) -> impl Iterator<Item = &'static str> {
    let head = if path.is_empty() { String::new() } else { format!("{path}.") };
    let mut seen: Vec<&str> = Vec::new();
    SETTINGS.iter().filter_map(move |setting| {
        let rest = setting.path.strip_prefix(head.as_str())?;
        let key = rest.split('.').next()?;
        let is_new = !seen.contains(&key);
        seen.push(key);
        is_new.then_some(key)
    })
}
