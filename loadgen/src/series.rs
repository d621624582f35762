//! Several runs on the same nodes, one after the other: what `--repeat`, `sweep`, `--find-max` and
//! `tune` have in common.
//!
//! Invariants:
//! 1. Every run has keys and a directory of its own; nothing of one is in the way of the next.
//! 2. After Ctrl-C nothing more is run, and what was measured is kept.
//! 3. After a run with faults the next one waits until restarted nodes vote again.

pub(crate) mod figures;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Args;

use crate::args::{Progress, RunArgs};
use crate::clock::{self, NS_PER_MS, NS_PER_S};
use crate::cluster::url::NodeUrl;
use crate::config::RunConfig;
use crate::document::Document;
use crate::interrupt;
use crate::live::Live;
use crate::report::cost;
use crate::report::format::{COLUMNS, Paint};
use crate::run::{self, RunError, files};
use crate::target::Target;
use crate::values;

/// What a restarted node needs besides the longest ttl before it votes.
const QUARANTINE_MARGIN_NS: u64 = NS_PER_S;
/// A waiting thread looks this often for an interrupt.
const LOOK_NS: u64 = 50 * NS_PER_MS;

/// Flags of everything that makes several runs.
#[derive(Debug, Args)]
pub(crate) struct SeriesArgs {
    /// So many runs one after the other on the same nodes, each with files of its own; the spread
    /// of the figures is printed, and the worst verdict counts
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Series",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) repeat: u32,
    /// Pause between two runs on the same nodes
    #[arg(long, value_name = "TIME", default_value = "300ms", help_heading = "Series",
          value_parser = values::duration)]
    pub(crate) settle: u64,
    /// Search the highest rate at which a figure keeps a bound, as in acquire.response.p99<5ms, by
    /// many short runs (of 2s, or of --duration): that at which half of them keep it. Of a
    /// percentile, the median over windows of a run counts (of 200ms, or longer), so that no single
    /// stall of the machine decides; a run beside other programs or on a machine that was slower
    /// than at its best does not count
    #[arg(long, value_name = "BOUND", help_heading = "Series", conflicts_with = "repeat")]
    pub(crate) find_max: Option<String>,
    /// Time that such a search may take, in `sweep` each of them; the more, the surer the answer
    #[arg(long, value_name = "TIME", default_value = "4m", help_heading = "Series",
          value_parser = values::positive_duration)]
    pub(crate) find_within: u64,
    /// The flags of a run that were typed, as words.
    #[arg(skip)]
    pub(crate) typed: Vec<OsString>,
}

/// Nodes that are up, and a directory for what is measured on them.
#[derive(Debug)]
pub(crate) struct Series {
    target: Target,
    pub(crate) dir: PathBuf,
    pub(crate) paint: Paint,
    quiet: bool,
    prometheus: Option<std::net::SocketAddr>,
    settle_ns: u64,
    made: u32,
    began_ns: u64,
    /// The next run waits until then.
    rest_until_ns: u64,
    interrupted: bool,
    nodes_are_here: bool,
}

impl Series {
    /// Brings the nodes up. `config` is that of any of the runs.
    pub(crate) fn open(args: &RunArgs, config: &RunConfig, name: &str) -> Result<Self, RunError> {
        interrupt::watch().map_err(RunError::tool("cannot watch for signals"))?;
        let target = Target::bring_up(args, config)?;
        let dir = run::run_dir(args, name)?;
        let nodes_are_here = target.node_urls().iter().all(NodeUrl::is_on_this_machine);
        Ok(Self {
            nodes_are_here,
            target,
            dir,
            paint: run::paint(args),
            quiet: args.quiet || args.progress == Progress::None,
            prometheus: args.prometheus,
            settle_ns: args.series.settle,
            made: 0,
            began_ns: clock::now_ns(),
            rest_until_ns: 0,
            interrupted: false,
        })
    }

    /// Makes a run with its files in `place`, a path inside the directory of the series.
    pub(crate) fn run(&mut self, config: &RunConfig, place: &str) -> Result<Document, RunError> {
        self.rest()?;
        self.made += 1;
        let config = RunConfig { nodes: self.target.urls(), ..config.clone() };
        let config = run::own_keys(&config, self.made);
        let dir = self.dir.join(place);
        let what = format!("cannot create the directory `{}`", dir.display());
        std::fs::create_dir_all(&dir).map_err(RunError::tool(&what))?;
        let mut live = Live::new(&config, Progress::None, self.paint, config.nodes.len());
        live.serve(self.prometheus)?;
        let result = run::execute(&config, &mut self.target, &mut live, &dir);
        let result = result.inspect_err(|_| {
            let _ = std::fs::remove_dir(&dir);
        })?;
        self.interrupted |= result.interrupted;
        let rest_ns = match result.faults.is_empty() {
            true => self.settle_ns,
            false => self.settle_ns.max(config.max_ttl_ns + QUARANTINE_MARGIN_NS),
        };
        self.rest_until_ns = clock::now_ns() + rest_ns;
        files::write(&result)
    }

    /// Rests so long between runs from now on.
    pub(crate) const fn set_settle(&mut self, settle_ns: u64) {
        self.settle_ns = settle_ns;
    }

    /// Waits for the nodes to be as they were before the last run.
    fn rest(&self) -> Result<(), RunError> {
        self.sleep(self.rest_until_ns.saturating_sub(clock::now_ns()))
    }

    /// Ctrl-C was pressed: the last run may be a part of one, and no other follows.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted || interrupt::came()
    }

    /// Time since the nodes were up.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        clock::now_ns().saturating_sub(self.began_ns)
    }

    /// CPU time that the nodes have used since their start; `None` unless all of them are known to
    /// run on this machine and tell.
    pub(crate) fn node_cpu_ns(&self) -> Option<u64> {
        if !self.nodes_are_here {
            return None;
        }
        let all = self.target.counters();
        all.iter().map(|counters| cost::cpu_ns(counters.as_ref()?)).sum()
    }

    /// Sleeps so long, but no longer than to an interrupt.
    pub(crate) fn sleep(&self, span_ns: u64) -> Result<(), RunError> {
        let until_ns = clock::now_ns().saturating_add(span_ns);
        loop {
            if self.interrupted() {
                return Err(RunError::Interrupted);
            }
            let left_ns = until_ns.saturating_sub(clock::now_ns());
            if left_ns == 0 {
                return Ok(());
            }
            clock::sleep_until(clock::now_ns() + left_ns.min(LOOK_NS));
        }
    }

    /// A line about how far the series is.
    pub(crate) fn progress(&self, text: &str) {
        if !self.quiet {
            let line: String = text.chars().take(COLUMNS).chain(['\n']).collect();
            let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), line.as_bytes());
        }
    }

    /// Writes `bytes` into the directory of the series.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, RunError> {
        let path = self.dir.join(name);
        let what = format!("cannot write `{}`", path.display());
        std::fs::write(&path, bytes).map_err(RunError::tool(&what))?;
        Ok(path)
    }

    /// The command line as it may be shown.
    pub(crate) fn argv(&self) -> Vec<String> {
        let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        words.map(|word| self.target.hide(word)).collect()
    }

    /// What the nodes are.
    pub(crate) fn about(&self) -> crate::report::TargetAbout {
        self.target.about()
    }
}

/// Whether `--flag` was typed.
pub(crate) fn was_typed(args: &RunArgs, flag: &str) -> bool {
    args.series.typed.iter().any(|word| is_flag(word, flag))
}

/// Whether `word` is `--flag` or `--flag=..`.
pub(crate) fn is_flag(word: &OsStr, flag: &str) -> bool {
    word.to_string_lossy().strip_prefix("--").is_some_and(|word| {
        word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// How much longer `left` runs take, after `done` of them took `elapsed_ns`; before the first one
/// by what a run takes at least.
pub(crate) fn time_left_ns(config: &RunConfig, done: u64, left: u64, elapsed_ns: u64) -> u64 {
    let planned_ns = config.warmup_ns + config.duration_ns + NS_PER_S;
    let each_ns = elapsed_ns.checked_div(done).unwrap_or(planned_ns);
    each_ns.saturating_mul(left)
}

/// `about 40s`, `about 3m 20s`, for a time that is left.
pub(crate) fn about(span_ns: u64) -> String {
    match span_ns.div_ceil(NS_PER_S) {
        seconds @ 0..60 => format!("about {seconds}s"),
        seconds @ 60..3_600 => format!("about {}m {:02}s", seconds / 60, seconds % 60),
        seconds => format!("about {}h {:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

/// The exit code of several runs: unsafe before invalid before a failed threshold; an interrupt
/// keeps its own code unless a run was unsafe.
pub(crate) fn worst_exit(codes: impl IntoIterator<Item = u8>, interrupted: bool) -> u8 {
    const WORST_FIRST: [u8; 5] = [4, 130, 1, 5, 3];
    let mut codes: Vec<u8> = codes.into_iter().collect();
    codes.extend(interrupted.then_some(130));
    WORST_FIRST.into_iter().find(|code| codes.contains(code)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_wins() {
        assert_eq!(worst_exit([0, 5, 0, 3], false), 5);
        assert_eq!(worst_exit([0, 5, 4], true), 4);
        assert_eq!(worst_exit([0, 5], true), 130);
        assert_eq!(worst_exit([0, 3, 0], false), 3);
        assert_eq!(worst_exit([], false), 0);
    }

    #[test]
    fn the_time_left_is_by_what_runs_took_and_before_the_first_by_the_plan() {
        let config = RunConfig { duration_ns: 4 * NS_PER_S, ..RunConfig::for_tests() };
        assert_eq!(time_left_ns(&config, 0, 3, 0), 15 * NS_PER_S);
        assert_eq!(time_left_ns(&config, 2, 3, 12 * NS_PER_S), 18 * NS_PER_S);
        assert_eq!(about(90 * NS_PER_S), "about 1m 30s");
        assert_eq!(about(1), "about 1s");
        assert_eq!(about(7_260 * NS_PER_S), "about 2h 01m");
    }
}
