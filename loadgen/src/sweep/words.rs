//! Flags of `loadgen run` as words: those that were typed, and those of a point of a sweep.
//!
//! A point is the line that would make it by hand, `loadgen run` with what was typed and the
//! settings of the point, read by the same parser. So every flag that `run` knows can be swept,
//! presets and files keep their meaning, and a bad value is told as `run` tells it.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory};

use crate::args::{self, Cli, Command, RunArgs};
use crate::run::RunError;

/// Flags that cannot change from run to run: what they set belongs to all runs together.
const FIXED: [&str; 25] = [
    "nodes",
    "spawn",
    "server-bin",
    "transport",
    "persist",
    "backend",
    "out",
    "json",
    "progress",
    "quiet",
    "no-color",
    "prometheus",
    "repeat",
    "settle",
    "find-max",
    "find-within",
    "scenario",
    "set",
    "check",
    "show-config",
    "abort-on-fail",
    "name",
    "label",
    "fault",
    "workload",
];

/// A setting of one run: a flag and its value.
pub(crate) type Setting = (String, String);

/// The flags of `loadgen run` among those that were typed for another command that has them.
pub(crate) fn typed(matches: &ArgMatches) -> Vec<OsString> {
    let command = Cli::command();
    let mut words = Vec::new();
    let Some(run) = command.find_subcommand("run") else { return words };
    for flag in run.get_arguments() {
        let id = flag.get_id().as_str();
        let known = matches.try_contains_id(id).unwrap_or(false);
        let Some(long) = flag.get_long().filter(|_| known) else { continue };
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        if matches!(flag.get_action(), ArgAction::SetTrue) {
            words.push(format!("--{long}").into());
            continue;
        }
        let values = matches.get_raw(id).into_iter().flatten();
        if values.clone().next().is_none() {
            // Its value may be left out, and was.
            words.push(format!("--{long}").into());
        }
        for value in values {
            let mut word = OsString::from(format!("--{long}="));
            word.push(value);
            words.push(word);
        }
    }
    words
}

/// A flag of `loadgen run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flag {
    pub(crate) name: String,
    /// It takes no value.
    pub(crate) is_switch: bool,
}

/// The flags that can change from run to run.
pub(crate) fn flags() -> Vec<Flag> {
    let command = Cli::command();
    let flags = command.find_subcommand("run").into_iter().flat_map(clap::Command::get_arguments);
    let flags = flags.filter_map(|flag| {
        let is_switch = matches!(flag.get_action(), ArgAction::SetTrue);
        Some(Flag { name: flag.get_long()?.to_owned(), is_switch })
    });
    flags.filter(|flag| !FIXED.contains(&flag.name.as_str()) && flag.name != "help").collect()
}

/// Finds the flag that is called `name`, with `_` or `-`.
pub(crate) fn find(name: &str) -> Result<Flag, String> {
    let wanted = name.trim_start_matches("--").replace('_', "-");
    let flags = flags();
    if let Some(flag) = flags.iter().find(|flag| flag.name == wanted) {
        return Ok(flag.clone());
    }
    if FIXED.contains(&wanted.as_str()) {
        return Err(format!(
            "`{name}` is the same for all runs and cannot be a parameter; give it as --{wanted}"
        ));
    }
    let names = flags.iter().map(|flag| flag.name.as_str());
    let hint = crate::near::hint(&wanted, names);
    let hint = if hint.is_empty() { "; use one as in rate=1k,2k".to_owned() } else { hint };
    Err(format!("`{name}` is no flag of `loadgen run`{hint}"))
}

/// The arguments of the run with `settings` on top of what was typed.
pub(crate) fn run_args(typed: &[OsString], settings: &[Setting]) -> Result<RunArgs, RunError> {
    let mut line: Vec<OsString> = vec!["loadgen".into(), "run".into()];
    line.extend(typed.iter().cloned());
    for (name, value) in settings {
        let flag = find(name).map_err(RunError::Usage)?;
        match (flag.is_switch, value.as_str()) {
            (false, value) => line.push(format!("--{}={value}", flag.name).into()),
            (true, "on" | "true") => line.push(format!("--{}", flag.name).into()),
            (true, "off" | "false") => {}
            (true, _) => {
                let text = format!("`{name}` is a switch: write {name}=on,off, not `{value}`");
                return Err(RunError::Usage(text));
            }
        }
    }
    let told = |error: args::Refusal| RunError::Usage(error.one_line());
    match args::parse(line.into_iter()).map_err(told)?.command {
        Some(Command::Run(args)) => Ok(*args),
        _ => Err(RunError::Tool("a run was not understood as one".to_owned())),
    }
}

/// `rate=4k keys=100`.
pub(crate) fn label(settings: &[Setting]) -> String {
    let words = settings.iter().map(|(name, value)| format!("{name}={value}"));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Rate;

    fn typed_in(line: &str) -> Vec<OsString> {
        let words = line.split_whitespace();
        let matches = Cli::command().try_get_matches_from(words).unwrap();
        typed(matches.subcommand().unwrap().1)
    }

    #[test]
    fn what_was_typed_comes_back_as_words_and_defaults_do_not() {
        let words = typed_in(
            "loadgen sweep rate=1k,2k -k 7 --fenced --nodes redis://a:1,redis://b:2 --hold=1ms",
        );
        let args = run_args(&words, &[("rate".to_owned(), "2k".to_owned())]).unwrap();
        assert_eq!((args.keys, args.fenced, args.rate), (7, true, Rate::PerSecond(2_000.0)));
        assert_eq!(args.nodes, ["redis://a:1", "redis://b:2"]);
        assert!(!words.iter().any(|word| word.to_string_lossy().starts_with("--ttl")), "{words:?}");
    }

    #[test]
    fn a_bad_value_or_a_flag_twice_is_told_in_one_line() {
        let tell = |typed: &str, name: &str, value: &str| {
            let words = typed_in(&format!("loadgen sweep x=1 {typed}"));
            match run_args(&words, &[(name.to_owned(), value.to_owned())]) {
                Err(RunError::Usage(text)) => text,
                other => panic!("{other:?}"),
            }
        };
        let text = tell("", "rate", "fast");
        assert!(text.contains("`fast`") && !text.contains('\n'), "{text}");
        let text = tell("--rate 5", "rate", "7");
        assert!(text.contains("--rate"), "{text}");
        assert!(tell("", "fenced", "maybe").contains("on,off"));
        let fenced =
            |value: &str| run_args(&[], &[("fenced".to_owned(), value.to_owned())]).unwrap().fenced;
        assert!(fenced("on") && !fenced("off"));
    }

    #[test]
    fn names_take_both_dashes_and_a_near_one_is_suggested() {
        assert_eq!(find("batch_max_commands").unwrap().name, "batch-max-commands");
        assert!(find("fenced").unwrap().is_switch);
        assert!(find("spawn").unwrap_err().contains("same for all runs"));
        assert!(find("raet").unwrap_err().contains("`rate`"));
        // The hidden list of what is fixed must not outlive the flags themselves.
        assert!(flags().len() > 20);
    }
}
