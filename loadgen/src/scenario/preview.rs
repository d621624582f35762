//! The settings of a command line: looked at instead of run (`--check`, `--show-config`), and kept
//! beside the files of a run.

use std::io::Write;

use crate::args::RunArgs;
use crate::report::RunResult;
use crate::report::format::many;
use crate::run::{self, RunError};
use crate::target;

/// What is asked instead of a run, done; `None`: a run is asked for.
pub(crate) fn preview(args: &RunArgs, name: &str) -> Option<Result<u8, RunError>> {
    let asked = &args.scenario;
    (asked.check || asked.show_config).then(|| look(args, name).map(|()| 0))
}

/// Writes the settings of a run as the scenario that repeats it, its seed included.
pub(crate) fn keep(args: &RunArgs, result: &RunResult) -> Result<(), RunError> {
    let path = result.dir.join("scenario.toml");
    let what = format!("cannot write `{}`", path.display());
    let text = super::show::repeating(&args.scenario.settings, result.config.seed);
    std::fs::write(&path, text).map_err(RunError::tool(&what))
}

fn look(args: &RunArgs, name: &str) -> Result<(), RunError> {
    let config = args.resolve(name, run::fresh_seed()).map_err(RunError::Usage)?;
    target::check(args, &config)?;
    // A reader that closed its end has seen enough.
    let mut out = std::io::stdout();
    if args.scenario.show_config {
        let _ = out.write_all(args.scenario.settings.as_bytes());
        return Ok(());
    }
    let what = args.scenario.scenario.as_ref().map(|path| path.display().to_string());
    let _ = writeln!(
        out,
        "{} is valid: run `{}`, {}, {}",
        what.as_deref().unwrap_or("the command line"),
        config.name,
        many(config.faults.len() as u64, "fault", "faults"),
        many(config.thresholds.len() as u64, "threshold", "thresholds")
    );
    Ok(())
}
