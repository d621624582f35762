//! Scenario files: a run written down as TOML, its settings those of the command line.
//!
//! One table ([`table::SETTINGS`]) maps every path of a file to a flag. A file, `--set` and a
//! preset all become flags put into the command line where nothing that counts more said anything,
//! so that a value means the same wherever it stands and is checked by the flag's own parser.
//!
//! Invariants:
//! 1. What was typed counts most, then `--set`, then the file, then the preset, then defaults; a
//!    flag counts as set as well where one that excludes it was.
//! 2. A list that counts more replaces the whole list; labels alone are put together by key.
//! 3. A mistake in a file is told with the file, the line and the column.

mod faults;
mod flatten;
mod place;
mod preview;
mod show;
mod table;
mod tree;
mod workloads;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::args::preset::Preset;
use crate::values;
use flatten::Entry;
pub(crate) use place::Origin;
use place::Place;
pub(crate) use preview::{keep, preview};
pub(crate) use show::settings;
pub(crate) use workloads::{WorkloadArgs, own_prefix};

/// More of `--set` than this is a mistake in a script.
const MAX_SETS: usize = 256;

/// A command line with everything that was written elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Expanded {
    pub(crate) line: Vec<OsString>,
    /// Where the flags that were put in come from.
    pub(crate) origins: Vec<Origin>,
}

/// Puts the settings of `--scenario`, `--set` and `--preset` into `line`, the arguments of
/// `command`, which `typed` has read already. It may be any command with the flags of a run, and
/// have `defaults` of its own.
pub(crate) fn expand(
    line: Vec<OsString>,
    command: &Command,
    typed: &ArgMatches,
    defaults: &[(&'static str, &'static str)],
) -> Result<Expanded, String> {
    let mut layers = Layers::new(command, typed);
    let (set, filed) = written(command, typed)?.into_iter().partition(Entry::is_set_later);
    for layer in [set, filed] {
        let layer: Vec<Entry> = layer;
        layer.into_iter().try_for_each(|entry| layers.add(entry))?;
        layers.end_layer();
    }
    let preset = layers.text("preset").map_or_else(
        || Ok(typed.try_get_one::<Preset>("preset").ok().flatten().copied()),
        |name| Preset::find(&name).map(Some),
    )?;
    for &(flag, value) in preset.map(Preset::flags).unwrap_or_default() {
        layers.add(Entry::of_preset(flag, value))?;
    }
    layers.end_layer();
    layers.add_duration_of_stages(typed);
    layers.end_layer();
    for &(flag, value) in defaults {
        layers.add(Entry::of_preset(flag, value))?;
    }
    let at = line.iter().position(|word| word == command.get_name());
    let at = at.map_or(line.len(), |at| at + 1);
    let mut line = line;
    line.splice(at..at, layers.words());
    Ok(Expanded { line, origins: layers.origins() })
}

/// What the file and `--set` say.
fn written(command: &Command, typed: &ArgMatches) -> Result<Vec<Entry>, String> {
    let file = typed.try_get_one::<PathBuf>("scenario").ok().flatten();
    let sets = typed.try_get_many::<String>("set").ok().flatten();
    let sets: Vec<&String> = sets.map(Iterator::collect).unwrap_or_default();
    if sets.len() > MAX_SETS {
        return Err(format!("--set was given {} times; at most {MAX_SETS} fit", sets.len()));
    }
    let mut root = file.map_or_else(|| Ok(tree::Spot::empty()), |path| tree::read(path))?;
    for set in sets {
        tree::set(&mut root, set)?;
    }
    flatten::entries(command, &root)
}

/// What is set so far, and by what.
#[derive(Debug)]
struct Layers<'a> {
    command: &'a Command,
    typed: &'a ArgMatches,
    /// Of layers that count more than the one being added to.
    above: Vec<Entry>,
    current: Vec<Entry>,
}

impl<'a> Layers<'a> {
    fn new(command: &'a Command, typed: &'a ArgMatches) -> Self {
        Self { command, typed, above: Vec::new(), current: Vec::new() }
    }

    fn is_typed(&self, arg: &Arg) -> bool {
        let id = arg.get_id().as_str();
        // Asking for an id that the command lacks would be an error of this program.
        self.typed.try_contains_id(id).is_ok()
            && self.typed.value_source(id) == Some(ValueSource::CommandLine)
    }

    /// Whether something typed says what `arg` would, or excludes it.
    fn is_beneath_typed(&self, arg: &Arg) -> bool {
        let mut others = self.command.get_arguments();
        self.is_typed(arg)
            || others.any(|other| self.is_typed(other) && excludes(self.command, arg, other))
    }

    fn add(&mut self, mut entry: Entry) -> Result<(), String> {
        if entry.flag == "workload" {
            let is_hidden = |flag: &str| {
                table::arg(self.command, flag).is_some_and(|arg| self.is_beneath_typed(arg))
            };
            for value in &mut entry.values {
                value.text = workloads::beneath(&value.text, &value.place, is_hidden)?;
            }
        }
        let arg =
            table::arg(self.command, entry.flag).ok_or_else(|| entry.not_here(self.command))?;
        // Labels are told apart by their keys, and the last of one key counts.
        let is_typed = entry.flag != "label" && self.is_typed(arg);
        let excluded = self
            .command
            .get_arguments()
            .any(|other| self.is_typed(other) && excludes(self.command, arg, other));
        let hidden = self.above.iter().any(|over| self.hides(over, arg, entry.flag));
        if is_typed || excluded || hidden {
            return Ok(());
        }
        let beside = self.current.iter().find(|beside| {
            let other = table::arg(self.command, beside.flag);
            beside.is_on()
                && entry.is_on()
                && other.is_some_and(|other| excludes(self.command, arg, other))
        });
        if let Some(beside) = beside {
            return Err(format!(
                "{}: `{}` excludes `{}`, set at {}; leave one of them out",
                entry.place, entry.path, beside.path, beside.place
            ));
        }
        self.current.push(entry);
        Ok(())
    }

    fn hides(&self, over: &Entry, arg: &Arg, flag: &str) -> bool {
        let other = table::arg(self.command, over.flag);
        over.flag == flag
            || (over.is_on() && other.is_some_and(|other| excludes(self.command, arg, other)))
    }

    /// What is added from here on counts less.
    fn end_layer(&mut self) {
        self.above.append(&mut self.current);
    }

    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.above.iter().chain(&self.current)
    }

    fn text(&self, flag: &str) -> Option<String> {
        let entry = self.all().find(|entry| entry.flag == flag)?;
        entry.values.first().map(|value| value.text.clone())
    }

    /// Stages say how long the load lasts, where nobody else does.
    fn add_duration_of_stages(&mut self, typed: &ArgMatches) {
        let typed = typed.try_get_one::<values::Stages>("stages").ok().flatten().cloned();
        let stages = typed.or_else(|| values::stages(&self.text("stages")?).ok());
        if let Some(stages) = stages {
            // A flag of every run: it cannot be unknown, and hides or excludes nothing.
            let _ = self.add(Entry::of_preset("duration", &format!("{}ns", stages.lasts_ns())));
        }
    }

    fn words(&self) -> Vec<OsString> {
        self.all().flat_map(Entry::words).map(OsString::from).collect()
    }

    fn origins(&self) -> Vec<Origin> {
        self.all().filter(|entry| entry.place != Place::Preset).flat_map(Entry::origins).collect()
    }
}

/// Whether `command` refuses the two together.
fn excludes(command: &Command, one: &Arg, other: &Arg) -> bool {
    let lists = |one, other: &Arg| {
        let all = command.get_arg_conflicts_with(one);
        all.iter().any(|arg| arg.get_id() == other.get_id())
    };
    lists(one, other) || lists(other, one)
}

/// How a path is shown in messages.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
