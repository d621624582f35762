//! One run from settings to files: nodes up, processes connected, start, gather, faults healed,
//! verdict, reports, nodes down. [`execute`] is a run on nodes that are up already, which prints
//! nothing, so that several can follow one another on the same nodes.
//!
//! Invariants:
//! 1. Whatever ends the run early, faults are healed, nodes are ended and, once the run has begun,
//!    the report is written.
//! 2. The exit code is the verdict's; a run that could not be made at all ends with 1, one that was
//!    asked for wrongly with 2.
//! 3. Runs that share nodes share no key ([`own_keys`]): what an earlier one left behind, to expire
//!    by itself, is in nobody's way. Nothing is flushed, since a node that was flushed may have
//!    forgotten locks, and would not vote for a while.

pub(crate) mod files;
mod repeat;
mod session;
mod sums;

use std::io;
use std::path::{Path, PathBuf};

use crate::args::{Progress, RunArgs};
use crate::clock::{self, Utc};
use crate::config::RunConfig;
use crate::findmax;
use crate::live::Live;
use crate::report::format::Paint;
use crate::report::{RunResult, text};
use crate::scenario;
use crate::target::Target;
use crate::workload::Workload;

/// Why there is no run.
#[derive(Debug)]
pub(crate) enum RunError {
    /// The command line makes no sense: exit 2.
    Usage(String),
    /// Something failed: exit 1.
    Tool(String),
    /// Interrupted before anything was measured: exit 130.
    Interrupted,
}

impl RunError {
    pub(crate) fn tool(what: &str) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| Self::Tool(format!("{what}: {error}"))
    }
}

/// Makes a run and gives back its exit code.
pub(crate) fn run(args: &RunArgs, name: &str) -> Result<u8, RunError> {
    let mut config = args.resolve(name, fresh_seed()).map_err(RunError::Usage)?;
    if let Some(bound) = &args.series.find_max {
        return findmax::run(args, bound);
    }
    if args.series.repeat > 1 {
        return repeat::run(args, &config, &config.name);
    }
    let paint = paint(args);
    let mut target = Target::bring_up(args, &config)?;
    config.nodes = target.urls();
    let dir = run_dir(args, &config.name)?;
    let progress = if args.quiet { Progress::None } else { args.progress };
    let mut live = Live::new(&config, progress, paint, config.nodes.len());
    live.serve(args.prometheus)?;
    let mut result = execute(&config, &mut target, &mut live, &dir).inspect_err(|_| {
        // Nothing was measured; a directory with files in it stays.
        let _ = std::fs::remove_dir(&dir);
    })?;
    scenario::keep(args, &result)?;
    result.has_scenario = true;
    let document = files::write(&result)?;
    files::show(args, &text::render(&result, paint), &document)?;
    Ok(result.verdict.exit_code)
}

/// Makes one run on nodes that are up, `config.nodes`, and prints nothing but what `live` shows.
/// Of its files only the interval log is written, into `dir`; [`files::write`] writes the others.
pub(crate) fn execute(
    config: &RunConfig,
    target: &mut Target,
    live: &mut Live,
    dir: &Path,
) -> Result<RunResult, RunError> {
    target.plan_faults(config)?;
    session::measure(config, target, live, dir.to_path_buf())
}

/// `config` with keys of its own for run `number` of those that share nodes. Names of the same
/// length in every run, so that none sends more bytes than another.
pub(crate) fn own_keys(config: &RunConfig, number: u32) -> RunConfig {
    let own = |prefix: &str| format!("{prefix}r{number:06}:");
    let of = |workload: &Workload| Workload {
        key_prefix: own(&workload.key_prefix),
        ..workload.clone()
    };
    let workloads = config.workloads.iter().map(of).collect();
    RunConfig { key_prefix: own(&config.key_prefix), workloads, ..config.clone() }
}

/// The key prefix that a run was asked for, without what [`own_keys`] put behind it.
pub(crate) fn asked_prefix(prefix: &str) -> &str {
    let own = prefix.strip_suffix(':').and_then(|rest| rest.rsplit_once('r'));
    match own {
        Some((asked, number))
            if number.len() == 6 && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            asked
        }
        _ => prefix,
    }
}

/// The seed of a run that was given none.
pub(crate) fn fresh_seed() -> u64 {
    (u64::from(std::process::id()) << 32 ^ clock::wall_ns()) % 1_000_000_000
}

/// Colours for standard output.
pub(crate) fn paint(args: &RunArgs) -> Paint {
    let wanted = !args.no_color && std::env::var_os("NO_COLOR").is_none();
    Paint(wanted && io::IsTerminal::is_terminal(&io::stdout()))
}

/// The directory of a run's files, made.
pub(crate) fn run_dir(args: &RunArgs, name: &str) -> Result<PathBuf, RunError> {
    let dir = args.out.clone().unwrap_or_else(|| {
        let stem = Utc::from_unix_ns(clock::wall_ns()).file_stem();
        let base = Path::new("loadgen-runs");
        // Two runs within a second must not write into each other's files.
        let names = (1..).map(|n| if n == 1 { String::new() } else { format!("-{n}") });
        let mut names = names.map(|suffix| base.join(format!("{stem}-{name}{suffix}")));
        names.find(|dir| !dir.exists()).unwrap_or_else(|| base.join(name))
    });
    let what = format!("cannot create the report directory `{}`", dir.display());
    std::fs::create_dir_all(&dir).map_err(RunError::tool(&what))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_on_the_same_nodes_have_keys_of_their_own_of_one_length() {
        let config = RunConfig::for_tests();
        let [first, tenth] = [1, 10].map(|number| own_keys(&config, number).key_prefix);
        assert_ne!(first, tenth);
        assert_eq!(first.len(), tenth.len());
        assert!(first.starts_with(&config.key_prefix) && !tenth.starts_with(&first));
        assert_eq!(RunConfig { key_prefix: "lg:".to_owned(), ..own_keys(&config, 3) }, config);
        assert_eq!((asked_prefix(&first), asked_prefix(&tenth)), ("lg:", "lg:"));
        let parts = vec![Workload::for_tests("a", 1.0), Workload::for_tests("b", 1.0)];
        let mix = own_keys(&config.mixed(parts), 7);
        let prefixes: Vec<&str> = mix.workloads.iter().map(|of| of.key_prefix.as_str()).collect();
        assert_eq!(prefixes, ["lg:a:r000007:", "lg:b:r000007:"]);
        for other in ["", "lg:", "r1:", "r00001:", "lg:r00000x:"] {
            assert_eq!(asked_prefix(other), other);
        }
    }
}
