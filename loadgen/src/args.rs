//! The command line. Grammars of single values are in `values`; this file says which flags exist,
//! what they default to, and which combinations make no sense.

mod groups;
mod mix;
pub(crate) mod preset;
mod resolve;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::cluster::{Persist, Transport};
use crate::config::{BackendKind, Waiting};
use crate::mode::Mode;
use crate::scenario::{self, Origin, WorkloadArgs};
use crate::values::{self, Arrival, CatchUp, Hold, KeyDist, Percentiles, Rate, Stages, TimeUnit};
use groups::{EngineArgs, ScenarioArgs, VerdictArgs};
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
    /// A run under random faults that a seed repeats
    Chaos(Box<crate::chaos::ChaosArgs>),
    /// The same load at many settings: tables and a curve of latency over throughput
    Sweep(Box<crate::sweep::SweepArgs>),
    /// Search the settings of the engine that serve an objective best
    Tune(Box<crate::tune::TuneArgs>),
    /// What changed between runs, how sure that is, and an exit code for it
    Compare(crate::compare::CompareArgs),
    /// Judge the saved history of a run again
    Check(crate::check::CheckArgs),
    /// The results of several machines that ran together, as one
    Merge(crate::merge::MergeArgs),
    /// Whether this machine and these nodes are fit for a measurement
    Doctor(crate::doctor::DoctorArgs),
    /// Print the JSON Schema of result.json
    Schema,
    #[command(flatten)]
    Cluster(crate::cluster::cli::Command),
    /// Completions for a shell, to be put where it looks for them
    Completions {
        /// bash, elvish, fish, powershell or zsh
        #[arg(value_name = "SHELL", hide_possible_values = true)]
        shell: Shell,
    },
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
const EXIT_CODES: &str = "Exit codes: 0 pass, 1 tool or I/O error, 2 bad usage, 3 a \
threshold failed, 4 mutual exclusion or the order of fencing tokens violated (with --witness also \
a lock that the nodes did not hold), 5 the run is not \
valid as a measurement, 130 interrupted (the report is still written). 4 hides 5, and 5 hides 3.";

#[derive(Debug, Args)]
#[command(after_help = format!(
    "{}\n\n{}\n\n{UNITS}\n\n{EXIT_CODES}", preset::help(), crate::faults::help()
))]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) scenario: ScenarioArgs,

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
    /// What spawned nodes keep on disk
    #[arg(long, value_name = "WHAT", default_value = "none", help_heading = "Target")]
    pub(crate) persist: Persist,
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
    /// The rate over time, in straight lines from 0: 10s:1k,30s:5k,5s:0; --duration is then their
    /// sum, unless it is given
    #[arg(long, value_name = "TIME:R,..", value_parser = values::stages, conflicts_with = "rate",
          help_heading = "Load")]
    pub(crate) stages: Option<Stages>,
    /// Arrivals of an open loop: poisson, as of many independent users; constant, evenly spaced;
    /// burst:N, N in one instant
    #[arg(long, value_name = "KIND", default_value = "poisson", value_parser = values::arrival,
          help_heading = "Load")]
    pub(crate) arrival: Arrival,
    /// After a stall, make up for missed arrivals at most at R times the rate; inf: at once
    #[arg(long, value_name = "R", default_value = "inf", value_parser = values::catch_up,
          help_heading = "Load")]
    pub(crate) catch_up: CatchUp,
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
    /// Run although a lock is asked for more time than there is
    #[arg(long, help_heading = "Load")]
    pub(crate) allow_overload: bool,
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
    // A [[workload]] of a scenario, which is where people write it.
    #[arg(long = "workload", hide = true, value_parser = WorkloadArgs::parse)]
    pub(crate) workloads: Vec<WorkloadArgs>,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    #[arg(help = "A fault, KIND@START/LENGTH[:TARGET][,PARAM=VALUE], see below; may be repeated",
          long = "fault", value_name = "FAULT", value_parser = values::fault,
          help_heading = "Faults")]
    pub(crate) faults: Vec<String>,
    /// The nodes of --nodes may lose what they hold: allows the faults flush and ttl-shrink on them
    #[arg(long, requires = "nodes", help_heading = "Faults")]
    pub(crate) i_own_these_nodes: bool,

    #[command(flatten)]
    pub(crate) verdict: VerdictArgs,
    #[command(flatten)]
    pub(crate) series: crate::series::SeriesArgs,
    #[command(flatten)]
    pub(crate) checker: crate::history::CheckerArgs,

    /// What this run is called, in its report and its directory
    #[arg(long, value_name = "NAME", value_parser = values::run_name, help_heading = "Output")]
    pub(crate) name: Option<String>,
    /// What to tell this run apart by; goes into the result; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::label,
          help_heading = "Output")]
    pub(crate) labels: Vec<(String, String)>,
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
    /// Unit of the times in reports
    #[arg(short = 'u', long, value_name = "UNIT", default_value = "auto", help_heading = "Output")]
    pub(crate) time_unit: TimeUnit,
    /// Time between two live lines, and length of the intervals in latency.hlog
    #[arg(short, long, value_name = "TIME", default_value = "1s", help_heading = "Output",
          value_parser = values::positive_duration)]
    pub(crate) interval: u64,
    /// Live status; auto: a block on a terminal, lines elsewhere
    #[arg(long, value_name = "HOW", default_value = "auto", help_heading = "Output")]
    pub(crate) progress: Progress,
    /// Serve the values so far at http://ADDR/metrics while the run lasts; :PORT is on this host
    #[arg(long, value_name = "ADDR", value_parser = crate::prometheus::address,
          help_heading = "Output")]
    pub(crate) prometheus: Option<std::net::SocketAddr>,
    /// No live status
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// No colours (NO_COLOR works as well)
    #[arg(long, help_heading = "Output")]
    pub(crate) no_color: bool,
}

/// What the main job sets; everything else keeps the defaults of `loadgen run`.
pub(crate) const MAIN_JOB: &str = "loadgen run --clients 256 --rate 2k --duration 18s --keys 1000 \
     --key-dist hot:0.001/0.1 --hold exp:1ms --ttl 3s --wait 2s \
     --fault kill@4s/3s --fault pause@11s/2s";

/// The arguments of `loadgen` without any.
pub(crate) fn main_job() -> Result<RunArgs, String> {
    match parse(MAIN_JOB.split_whitespace().map(OsString::from)).map_err(|why| why.one_line())? {
        Cli { command: Some(Command::Run(args)), .. } => Ok(*args),
        _ => Err("the main job is no run".to_owned()),
    }
}

/// Writes what `shell` needs to complete command lines of this program.
pub(crate) fn completions(shell: Shell, out: &mut dyn std::io::Write) {
    // Into memory first: the generator gives up loudly where a reader has closed its end.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "loadgen", &mut text);
    let _ = out.write_all(&text);
}

/// Why a command line cannot be followed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Also what asks for help or the version.
    Clap(clap::Error),
    /// Of a scenario, in one line.
    Scenario(String),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Self {
        Self::Clap(error)
    }
}

impl Refusal {
    /// Without the usage and the advice that follow it on a screen.
    pub(crate) fn one_line(&self) -> String {
        match self {
            Self::Clap(error) => {
                let text = error.render().to_string();
                let first = text.lines().take_while(|line| !line.trim().is_empty());
                let first: Vec<&str> = first.map(str::trim).collect();
                first.join(" ").trim_start_matches("error: ").to_owned()
            }
            Self::Scenario(text) => text.clone(),
        }
    }
}

impl Command {
    /// The flags of a run, where the command has them.
    fn run_args_mut(&mut self) -> Option<&mut RunArgs> {
        match self {
            Self::Run(args) => Some(args),
            Self::Chaos(args) => Some(&mut args.run),
            Self::Sweep(args) => Some(&mut args.run),
            Self::Tune(args) => Some(&mut args.run),
            _ => None,
        }
    }

    /// Where flags that were not typed come from.
    pub(crate) fn origins(&mut self) -> Vec<Origin> {
        self.run_args_mut().map(|args| args.scenario.origins.clone()).unwrap_or_default()
    }
}

/// The command line as it is meant: with what a scenario, `--set` and a preset say, where it was
/// not set otherwise.
pub(crate) fn parse(line: impl Iterator<Item = OsString>) -> Result<Cli, Refusal> {
    let line: Vec<OsString> = line.collect();
    // What is missing may be in the file; every mistake is found again below.
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(&line)?;
    let mut whole = Cli::command();
    whole.build();
    let takes_scenario = |command: &&clap::Command| {
        command.get_arguments().any(|arg| arg.get_long() == Some("scenario"))
    };
    let read = matches.subcommand();
    let read = read.and_then(|(name, typed)| Some((whole.find_subcommand(name)?, typed)));
    let Some((command, typed)) = read.filter(|(command, _)| takes_scenario(command)) else {
        return Ok(Cli::try_parse_from(line)?);
    };
    let defaults: &[_] = if command.get_name() == "chaos" { crate::chaos::DEFAULTS } else { &[] };
    let words = crate::sweep::words::typed(typed);
    let expanded = scenario::expand(line, command, typed, defaults).map_err(Refusal::Scenario)?;
    let matches = Cli::command().try_get_matches_from(expanded.line)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let read = matches.subcommand().map(|(_, read)| read);
    if let Some((args, read)) = cli.command.as_mut().and_then(Command::run_args_mut).zip(read) {
        args.scenario.settings = scenario::settings(command, read);
        args.scenario.origins = expanded.origins;
        args.series.typed = words;
    }
    Ok(cli)
}

#[cfg(test)]
mod tests;
