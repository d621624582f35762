//! From a scenario's tree to flags: every key is known, every value one that its flag takes.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command};

use super::faults;
use super::place::{Origin, Place};
use super::table::{self, Kind, SETTINGS, Setting};
use super::tree::{Key, Node, Spot};
use super::workloads;
use crate::near;

/// A setting as a flag.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) flag: &'static str,
    pub(super) path: String,
    pub(super) place: Place,
    /// None of them: the flag is not given.
    pub(super) values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) text: String,
    /// Given as `--flag` alone.
    is_bare: bool,
    pub(super) place: Place,
}

impl Entry {
    pub(super) fn of_preset(flag: &'static str, text: &str) -> Self {
        let value = Value { text: text.to_owned(), is_bare: false, place: Place::Preset };
        Self { flag, path: flag.to_owned(), place: Place::Preset, values: vec![value] }
    }

    /// A flag that is given several times.
    pub(super) fn several(flag: &'static str, at: &Place, texts: Vec<(String, Place)>) -> Self {
        let value = |(text, place)| Value { text, is_bare: false, place };
        let values = texts.into_iter().map(value).collect();
        Self { flag, path: flag.to_owned(), place: at.clone(), values }
    }

    pub(super) fn is_on(&self) -> bool {
        !self.values.is_empty()
    }

    /// By `--set`, at least in part.
    pub(super) fn is_set_later(&self) -> bool {
        self.values.iter().any(|value| matches!(value.place, Place::Set(_)))
    }

    pub(super) fn words(&self) -> Vec<String> {
        let flag = self.flag;
        let word = |value: &Value| match value.is_bare {
            true => format!("--{flag}"),
            false => format!("--{flag}={}", value.text),
        };
        self.values.iter().map(word).collect()
    }

    /// Where its values were written, for messages about the flag.
    pub(super) fn origins(&self) -> Vec<Origin> {
        let all = self.values.iter();
        all.map(|value| Origin::new(self.flag, &self.path, &value.text, &value.place)).collect()
    }

    /// The message for a setting that `command` does not have.
    pub(super) fn not_here(&self, command: &Command) -> String {
        let name = command.get_name();
        let advice = match self.path.starts_with("chaos.") {
            true => "give the file to `loadgen chaos`, or leave it out",
            false => "leave it out",
        };
        format!("{}: `{}` is no setting of `loadgen {name}`; {advice}", self.place, self.path)
    }
}

/// Every setting of the tree.
pub(super) fn entries(command: &Command, root: &Spot) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let Node::Table(keys) = &root.node else { return Ok(entries) };
    walk(command, keys, "", &mut entries)?;
    Ok(entries)
}

fn walk(
    command: &Command,
    keys: &[(Key, Spot)],
    above: &str,
    entries: &mut Vec<Entry>,
) -> Result<(), String> {
    for (key, spot) in keys {
        let name = &key.name;
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        if let (Node::List(list), "workload") = (&spot.node, path.as_str()) {
            match workloads::is_mix(list) {
                true => entries.extend(workloads::entries(command, key, list)?),
                false => walk(command, only_workload(list, spot)?, &path, entries)?,
            }
            continue;
        }
        let setting = SETTINGS.iter().find(|of| of.path == path && of.kind != Kind::Workloads);
        if let Some(setting) = setting {
            entries.push(entry(command, setting, key, spot)?);
            continue;
        }
        let is_table = table::under(&path).next().is_some();
        match &spot.node {
            Node::Table(below) if is_table => walk(command, below, &path, entries)?,
            _ if is_table => {
                return Err(format!(
                    "{}: `{path}` is a table; write [{path}] and its settings below it",
                    key.place
                ));
            }
            _ => return Err(unknown(key, &path, above)),
        }
    }
    Ok(())
}

/// The workload of a list of one.
fn only_workload<'a>(list: &'a [Spot], at: &Spot) -> Result<&'a [(Key, Spot)], String> {
    match list {
        [Spot { node: Node::Table(keys), .. }] => Ok(keys),
        _ => Err(format!("{}: `workload` is a table; write [workload]", at.place)),
    }
}

pub(super) fn unknown(key: &Key, path: &str, above: &str) -> String {
    let name = key.name.as_str();
    // What is right but stands in the wrong table.
    let elsewhere = SETTINGS.iter().find(|setting| {
        setting.path.rsplit('.').next() == Some(name) && setting.path.contains('.')
    });
    let near = near::nearest(name, table::under(above));
    let hint = match (near, elsewhere) {
        (Some(near), _) if above.is_empty() => format!("did you mean `{near}`?"),
        (Some(near), _) => format!("did you mean `{above}.{near}`?"),
        (None, Some(setting)) => format!("did you mean `{}`?", setting.path),
        (None, None) if path == "workload.name" || path == "workload.weight" => {
            "it tells the workloads of a mix apart: write [[workload]], with two brackets, for \
             each"
                .to_owned()
        }
        (None, None) => {
            let all: Vec<&str> = table::under(above).filter(|&known| known != "backend").collect();
            let of = if above.is_empty() { String::new() } else { format!("[{above}] ") };
            format!("{of}knows {}", all.join(", "))
        }
    };
    format!("{}: unknown key `{path}`; {hint}", key.place)
}

pub(super) fn entry(
    command: &Command,
    setting: &'static Setting,
    key: &Key,
    spot: &Spot,
) -> Result<Entry, String> {
    let Setting { path, flag, kind } = *setting;
    let value =
        |text: String, spot: &Spot| Value { text, is_bare: false, place: spot.place.clone() };
    let want =
        |what: &str| Err(format!("{}: `{path}` is {}; write {what}", spot.place, spot.kind()));
    let bare = || vec![Value { text: String::new(), is_bare: true, place: spot.place.clone() }];
    let values = match (kind, &spot.node) {
        (Kind::Switch | Kind::Optional, Node::Switch(false)) => Vec::new(),
        (Kind::Switch | Kind::Optional, Node::Switch(true)) => bare(),
        (Kind::Switch, _) => return want("true or false, without quotes"),
        (Kind::Optional, Node::Text(text)) => vec![value(text.clone(), spot)],
        (Kind::Optional, _) => return want("true, false or a time"),
        (Kind::One | Kind::Joined | Kind::Stages, Node::Text(text)) => {
            vec![value(text.clone(), spot)]
        }
        (Kind::One, _) => return want("a text or a number"),
        (Kind::Joined, Node::List(list)) => {
            let mut texts = Vec::new();
            for spot in list {
                let Node::Text(text) = &spot.node else {
                    return Err(format!("{}: an entry of `{path}` is {}", spot.place, spot.kind()));
                };
                texts.push(text.as_str());
            }
            vec![value(texts.join(","), spot)]
        }
        (Kind::Joined, _) => return want("a list"),
        (Kind::Stages, Node::List(list)) => {
            let stages = list.iter().map(stage).collect::<Result<Vec<_>, _>>()?;
            vec![value(stages.join(","), spot)]
        }
        (Kind::Stages, _) => return want("a list of { over = \"10s\", to = \"1k\" }"),
        (Kind::Labels, Node::Table(labels)) => {
            let mut all = Vec::new();
            for (key, spot) in labels {
                let Node::Text(text) = &spot.node else {
                    return Err(format!("{}: label `{}` is a text", spot.place, key.name));
                };
                all.push(value(format!("{}={text}", key.name), spot));
            }
            all
        }
        (Kind::Labels, _) => return want("[labels] and a line for each"),
        (Kind::Faults | Kind::Thresholds, Node::List(list)) => {
            let text = if kind == Kind::Faults { faults::fault } else { faults::threshold };
            let all = list.iter().map(|spot| Ok(value(text(spot)?, spot)));
            all.collect::<Result<_, String>>()?
        }
        (Kind::Faults | Kind::Thresholds | Kind::Workloads, _) => {
            return Err(format!("{}: write [[{path}]], with two brackets", key.place));
        }
    };
    let entry = Entry { flag, path: path.to_owned(), place: key.place.clone(), values };
    for value in &entry.values {
        check(command, &entry, value)?;
    }
    Ok(entry)
}

fn stage(spot: &Spot) -> Result<String, String> {
    let bad = || format!("{}: a stage is {{ over = \"10s\", to = \"1k\" }}", spot.place);
    let Node::Table(keys) = &spot.node else { return Err(bad()) };
    let text = |name: &str| {
        let found = keys.iter().find(|(key, _)| key.name == name)?;
        if let Node::Text(text) = &found.1.node { Some(text.as_str()) } else { None }
    };
    if keys.len() != 2 {
        return Err(bad());
    }
    let (over, to) = text("over").zip(text("to")).ok_or_else(bad)?;
    Ok(format!("{over}:{to}"))
}

/// Lets the flag's own parser judge the value, and says the same with the place of the value.
fn check(command: &Command, entry: &Entry, value: &Value) -> Result<(), String> {
    let arg = table::arg(command, entry.flag).ok_or_else(|| entry.not_here(command))?;
    if value.is_bare || matches!(arg.get_action(), ArgAction::SetTrue) {
        return Ok(());
    }
    let words = [command.get_name().to_owned(), format!("--{}={}", entry.flag, value.text)];
    let Err(error) = command.clone().try_get_matches_from(words) else {
        return Ok(());
    };
    let texts = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(all)) => all.clone(),
        _ => Vec::new(),
    };
    let problem = match error.kind() {
        ErrorKind::ValueValidation => std::error::Error::source(&error).map(ToString::to_string),
        ErrorKind::InvalidValue => {
            let valid = texts(ContextKind::ValidValue);
            let hint = near::hint(&value.text, valid.iter().map(String::as_str));
            Some(format!("`{}` is none of {}{hint}", value.text, valid.join(", ")))
        }
        // Other flags are missing: theirs to say.
        _ => return Ok(()),
    };
    let problem = problem.unwrap_or_else(|| format!("`{}` is no value for it", value.text));
    Err(format!("{}: `{}`: {problem}", value.place, entry.path))
}
