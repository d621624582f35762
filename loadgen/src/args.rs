//! The command line. Grammars of single values are in `values`; this file says which flags exist,
//! what they default to, and which combinations make no sense.

pub(crate) mod preset;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::clock::{NS_PER_MS, NS_PER_S};
use crate::cluster::Transport;
use crate::config::{BackendKind, EngineKnobs, Gather, RunConfig, Waiting};
use crate::mode::Mode;
use crate::values::{self, Arrival, Hold, KeyDist, Percentiles, Rate};
use preset::Preset;

/// Load generator for redlatch: how long locks take under contention and while nodes die, and
/// whether they kept excluding each other.
///
/// Without a command it runs the main job: five local nodes, a mixed load of about 20 s, one node
/// killed and one paused meanwhile, then a verdict and report files.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One measured run
    Run(Box<RunArgs>),
    /// A saved run shown again: text, HTML, Markdown, CSV, figures
    Report(crate::report::command::ReportArgs),
    #[command(flatten)]
    Cluster(crate::cluster::cli::Command),
    /// A worker process of a run; speaks with its parent on stdin and stdout
    #[command(name = "__agent", hide = true)]
    Agent,
}

/// How the state of a run is shown while it lasts. No documentation of single values: clap would
/// spread the whole help over twice the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    // A block on a terminal, lines elsewhere.
    Auto,
    Block,
    Lines,
    None,
}

const UNITS: &str = "TIME is a number with a unit: 50us, 1.5ms, 10s, 2m; N and R \
take k and M: 20k.";
const EXIT_CODES: &str = "Exit codes: 0 pass, 1 tool or I/O error, 2 bad usage, 4 mutual \
exclusion or the order of fencing tokens violated, 5 the run is not valid as a measurement, 130 \
interrupted (the report is still written).";

#[derive(Debug, Args)]
#[command(after_help = format!("{}\n\n{UNITS}\n\n{EXIT_CODES}", preset::help()))]
pub(crate) struct RunArgs {
    /// A whole load by name, see below; flags beside it win
    #[arg(long, value_name = "NAME", help_heading = "Load")]
    pub(crate) preset: Option<Preset>,

    /// Nodes to use: redis://HOST:PORT or unix:///PATH, separated by commas
    #[arg(long, value_name = "URL,..", value_delimiter = ',', help_heading = "Target",
          conflicts_with_all = ["spawn", "server_bin"])]
    pub(crate) nodes: Vec<String>,
    /// Spawn so many local nodes, 1 to 9 [default: 5 without --nodes]
    #[arg(long, value_name = "N", help_heading = "Target",
          value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) spawn: Option<u32>,
    /// Server to spawn, or test-node [default: valkey-server or redis-server, else test-node]
    #[arg(long, value_name = "PATH", help_heading = "Target")]
    pub(crate) server_bin: Option<PathBuf>,
    /// How spawned nodes are reached
    #[arg(long, value_name = "KIND", default_value = "tcp", help_heading = "Target")]
    pub(crate) transport: Transport,
    #[arg(long, hide = true, default_value = "engine")]
    pub(crate) backend: BackendKind,

    /// Concurrent lock users, all processes together
    #[arg(short, long, value_name = "N", default_value = "64", value_parser = values::count_u32,
          help_heading = "Load")]
    pub(crate) clients: u32,
    /// Runtime worker threads per process
    #[arg(short, long, value_name = "N", default_value = "2", help_heading = "Load",
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Separate processes, each with an engine of its own
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Load",
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) processes: u32,
    /// Arrivals per second of the whole run (5k, 20000/s), or max: a closed loop
    #[arg(short, long, value_name = "R", default_value = "max", value_parser = values::rate,
          help_heading = "Load")]
    pub(crate) rate: Rate,
    /// Arrivals of an open loop: as of many independent users, or evenly spaced
    #[arg(long, value_name = "KIND", default_value = "poisson", help_heading = "Load")]
    pub(crate) arrival: Arrival,
    /// Measured time
    #[arg(short, long, value_name = "TIME", default_value = "10s", help_heading = "Load",
          value_parser = values::positive_duration)]
    pub(crate) duration: u64,
    /// Time before it that is not recorded
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = values::duration,
          help_heading = "Load")]
    pub(crate) warmup: u64,
    /// Stop after N acquisitions if that is before --duration; no warm-up then
    #[arg(short = 'n', long, value_name = "N", value_parser = values::count, help_heading = "Load")]
    pub(crate) requests: Option<u64>,
    /// Arrivals that may be outstanding; beyond it the schedule falls behind and the run says so
    #[arg(long, value_name = "N", default_value = "100k", value_parser = values::count_u32,
          help_heading = "Load")]
    pub(crate) max_in_flight: u32,
    /// Seed of the plan [default: random, printed]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub(crate) seed: Option<u64>,

    /// Number of lock names; 1 is one hot lock
    #[arg(short, long, value_name = "N", default_value = "1000", value_parser = values::count_u32,
          help_heading = "Workload")]
    pub(crate) keys: u32,
    /// uniform, zipf:S, hot:KEYS/LOAD (hot:0.1/0.9: a tenth of the names gets nine tenths), seq
    #[arg(long, value_name = "DIST", default_value = "uniform", value_parser = values::key_dist,
          help_heading = "Workload")]
    pub(crate) key_dist: KeyDist,
    /// mutex; shared:READ% (readers share); all:K (K names at once); hierarchy:DEPTH (paths, who
    /// has one has all below it); permits:K (K holders)
    #[arg(long, value_name = "MODE", default_value = "mutex", value_parser = Mode::parse,
          help_heading = "Workload")]
    pub(crate) mode: Mode,
    /// What every lock name begins with
    #[arg(long, value_name = "TEXT", default_value = "lg:", help_heading = "Workload")]
    pub(crate) key_prefix: String,
    /// Time to live asked for
    #[arg(long, value_name = "TIME", default_value = "10s", help_heading = "Workload",
          value_parser = values::positive_duration)]
    pub(crate) ttl: u64,
    /// Longest ttl of any lock: a node that was restarted does not vote for so long [default: the
    /// ttl, at least 3s]
    #[arg(long, value_name = "TIME", help_heading = "Workload",
          value_parser = values::positive_duration)]
    pub(crate) max_ttl: Option<u64>,
    /// How long a lock is kept: 1ms, exp:1ms, uniform:5ms..20ms
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = values::hold,
          help_heading = "Workload")]
    pub(crate) hold: Hold,
    /// Pause of a client between two sections of a closed loop
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = values::duration,
          help_heading = "Workload")]
    pub(crate) think: u64,
    /// Longest wait for a lock
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = values::duration,
          help_heading = "Workload")]
    pub(crate) wait: u64,
    /// Do not wait: a held lock is refused at once
    #[arg(long = "try", conflicts_with = "wait", help_heading = "Workload")]
    pub(crate) try_only: bool,
    /// How processes wait for a lock that another one holds: a queue on the nodes, a race at every
    /// release, or attempts with pauses
    #[arg(long, value_name = "HOW", default_value = "queue", help_heading = "Workload")]
    pub(crate) waiting: Waiting,
    /// Take a fencing token with every lock, and check that the tokens of each name increase
    #[arg(long, help_heading = "Workload")]
    pub(crate) fenced: bool,

    /// Commands per write
    #[arg(long, value_name = "N", value_parser = values::count_u32, help_heading = "Engine")]
    pub(crate) batch_max_commands: Option<u32>,
    /// Bytes per write
    #[arg(long, value_name = "N", value_parser = values::count_u32, help_heading = "Engine")]
    pub(crate) batch_max_bytes: Option<u32>,
    /// When a node's driver gathers commands before it writes
    #[arg(long, value_name = "MODE", help_heading = "Engine")]
    pub(crate) batch_gather: Option<Gather>,
    /// Gather only with so many commands in flight
    #[arg(long, value_name = "N", value_parser = values::count_u32, help_heading = "Engine")]
    pub(crate) batch_gather_min_inflight: Option<u32>,
    /// Commands in flight per node
    #[arg(long, value_name = "N", value_parser = values::count_u32, help_heading = "Engine")]
    pub(crate) max_inflight: Option<u32>,
    /// How long a node may take to answer
    #[arg(long, value_name = "TIME", value_parser = values::positive_duration,
          help_heading = "Engine")]
    pub(crate) node_timeout: Option<u64>,

    /// A fault on spawned nodes: kill@START/LENGTH or pause@START/LENGTH on one by chance; append
    /// :node=N, :minority or :majority to choose; may be repeated
    #[arg(long = "fault", value_name = "FAULT", help_heading = "Faults")]
    pub(crate) faults: Vec<String>,

    /// Directory of this run's files [default: loadgen-runs/TIME-NAME]
    #[arg(short, long, value_name = "DIR", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
    /// Write the result as JSON to FILE as well, - for standard output (the report goes to stderr)
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
    /// Percentiles to report
    #[arg(long, value_name = "LIST", default_value = "50,90,99,99.9,99.99",
          value_parser = values::percentiles, help_heading = "Output")]
    pub(crate) percentiles: Percentiles,
    /// Time between two live lines, and length of the intervals in latency.hlog
    #[arg(short, long, value_name = "TIME", default_value = "1s", help_heading = "Output",
          value_parser = values::positive_duration)]
    pub(crate) interval: u64,
    /// Live status; auto: a block on a terminal, lines elsewhere
    #[arg(long, value_name = "HOW", default_value = "auto", help_heading = "Output")]
    pub(crate) progress: Progress,
    /// No live status
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// No colours (NO_COLOR works as well)
    #[arg(long, help_heading = "Output")]
    pub(crate) no_color: bool,
}

/// Half a GiB of the checker's memory, most of it never touched.
const MOST_CROWD_WORDS: u64 = 1 << 26;

/// What the main job sets; everything else keeps the defaults of `loadgen run`.
pub(crate) const MAIN_JOB: &str = "loadgen run --clients 256 --rate 2k --duration 18s --keys 1000 \
     --key-dist hot:0.001/0.1 --hold exp:1ms --ttl 3s --wait 2s \
     --fault kill@4s/3s --fault pause@11s/2s";

/// The arguments of `loadgen` without any.
pub(crate) fn main_job() -> Result<RunArgs, clap::Error> {
    match Cli::try_parse_from(MAIN_JOB.split_whitespace())?.command {
        Some(Command::Run(args)) => Ok(*args),
        _ => Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand)),
    }
}

/// The command line as it is meant: with what a preset sets, where it was not set otherwise.
pub(crate) fn parse(line: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let line: Vec<OsString> = line.collect();
    let matches = Cli::command().try_get_matches_from(&line)?;
    match matches.subcommand_matches("run") {
        Some(run) if run.contains_id("preset") => Cli::try_parse_from(preset::expand(line, run)),
        _ => Cli::from_arg_matches(&matches),
    }
}

impl RunArgs {
    /// The resolved settings of the run; `nodes` are filled in once they are known.
    pub(crate) fn resolve(&self, name: &str, fresh_seed: u64) -> Result<RunConfig, String> {
        self.check()?;
        let config = RunConfig {
            name: name.to_owned(),
            preset: self.preset,
            backend: self.backend,
            nodes: self.nodes.clone(),
            clients: self.clients,
            threads: self.threads,
            processes: self.processes,
            rate: self.rate,
            arrival: self.arrival,
            duration_ns: self.duration,
            warmup_ns: if self.requests.is_some() { 0 } else { self.warmup },
            requests: self.requests,
            max_in_flight: self.max_in_flight,
            seed: self.seed.unwrap_or(fresh_seed),
            keys: self.keys,
            key_dist: self.key_dist,
            key_prefix: self.key_prefix.clone(),
            mode: self.mode,
            ttl_ns: self.ttl,
            max_ttl_ns: self.max_ttl.unwrap_or_else(|| self.ttl.max(3 * NS_PER_S)),
            hold: self.effective_hold(),
            think_ns: self.think,
            wait_ns: self.wait,
            try_only: self.try_only,
            waiting: self.waiting,
            fenced: self.fenced,
            interval_ns: self.interval,
            percentiles: self.percentiles.0.clone(),
            faults: self.faults.clone(),
            engine: EngineKnobs {
                batch_max_commands: self.batch_max_commands,
                batch_max_bytes: self.batch_max_bytes,
                batch_gather: self.batch_gather,
                batch_gather_min_inflight: self.batch_gather_min_inflight,
                max_inflight: self.max_inflight,
                node_timeout_ns: self.node_timeout,
            },
        };
        if config.crowd_words() > MOST_CROWD_WORDS {
            return Err(format!(
                "--keys {} times --clients {} is too much to check in mode {}; lower one of them",
                self.keys, self.clients, self.mode
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
        limit("keys", self.keys.into(), 10_000_000)?;
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
        if self.mode != Mode::Mutex && self.fenced {
            return Err("--fenced goes with --mode mutex alone: other locks have no one order of \
                        holders"
                .to_owned());
        }
        if let Mode::All(k) = self.mode
            && k > self.keys
        {
            return Err(format!("--mode all:{k} needs as many --keys; there are {}", self.keys));
        }
        if self.max_ttl.is_some_and(|most| most < self.ttl) {
            return Err("--max-ttl must not be shorter than --ttl".to_owned());
        }
        if self.key_prefix.len() > 1_024 {
            return Err("--key-prefix is longer than 1024 bytes; use a shorter one".to_owned());
        }
        Ok(())
    }

    /// A wrong grant shows only where two sections can overlap in time, so the broken lock is never
    /// held for nothing.
    fn effective_hold(&self) -> Hold {
        match (self.backend, self.hold) {
            (BackendKind::Broken | BackendKind::BrokenModes, Hold::Fixed(0)) => {
                Hold::Fixed(NS_PER_MS / 5)
            }
            (_, hold) => hold,
        }
    }
}

#[cfg(test)]
mod tests;
