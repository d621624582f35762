//! `[[workload]]`: the workloads of a mix, each a table of its own.
//!
//! As a fault, each becomes the text of a flag: `--workload` with the settings of its table, in
//! TOML. What a workload does not say, the flags of a run without a mix say for all; a flag that
//! was typed counts more than what the file says of any.

use std::fmt::Write as _;

use clap::Command;

use super::flatten::{Entry, entry, unknown};
use super::place::Place;
use super::show;
use super::table::{Kind, SETTINGS, Setting};
use super::tree::{self, Key, Node, Spot};
use crate::mode::Mode;
use crate::near;
use crate::values::{self, Hold, KeyDist};
use crate::workload::{Label, MOST_WORKLOADS};

/// Settings of the engine, of which a run has one.
const OF_ALL: [&str; 2] = ["max_ttl", "waiting"];
/// What tells workloads apart.
const OF_MIX: [&str; 2] = ["name", "weight"];
const MOST_WEIGHT: f64 = 1e6;

/// What one workload says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WorkloadArgs {
    pub(crate) name: String,
    pub(crate) weight: f64,
    pub(crate) mode: Option<Mode>,
    pub(crate) keys: Option<u32>,
    pub(crate) key_dist: Option<KeyDist>,
    pub(crate) key_prefix: Option<String>,
    pub(crate) ttl: Option<u64>,
    pub(crate) hold: Option<Hold>,
    pub(crate) think: Option<u64>,
    pub(crate) wait: Option<u64>,
    pub(crate) try_only: Option<bool>,
    pub(crate) fenced: Option<bool>,
}

/// The key of a setting of one workload.
fn key_of(setting: &Setting) -> Option<&'static str> {
    setting.path.strip_prefix("workload.")
}

/// Whether a list of workloads is a mix: several, or one that is told apart from others.
pub(super) fn is_mix(list: &[Spot]) -> bool {
    let told = |spot: &Spot| OF_MIX.iter().any(|key| get(spot, key).is_some());
    list.len() > 1 || list.iter().any(told)
}

fn get<'a>(spot: &'a Spot, key: &str) -> Option<&'a Spot> {
    let Node::Table(keys) = &spot.node else { return None };
    keys.iter().find(|(of, _)| of.name == key).map(|(_, spot)| spot)
}

fn text_of<'a>(spot: &'a Spot, key: &str) -> Option<&'a str> {
    match &get(spot, key)?.node {
        Node::Text(text) => Some(text),
        _ => None,
    }
}

/// The workloads of a mix, and the settings that hold for all of them.
pub(super) fn entries(command: &Command, key: &Key, list: &[Spot]) -> Result<Vec<Entry>, String> {
    if let Some(first) = list.get(MOST_WORKLOADS) {
        return Err(format!(
            "{}: a mix has at most {MOST_WORKLOADS} workloads; put those together that you need \
             not tell apart",
            first.place
        ));
    }
    let mut texts = Vec::new();
    let mut of_all = Vec::new();
    for (at, spot) in list.iter().enumerate() {
        let Node::Table(keys) = &spot.node else {
            return Err(format!("{}: a workload is a table; write [[workload]]", spot.place));
        };
        let (name, place) = name(spot)?;
        let others = list.iter().take(at).filter_map(|other| get(other, "name"));
        if let Some(twin) = others.into_iter().find(|of| of.node == Node::Text(name.clone())) {
            return Err(format!(
                "{place}: a workload is called `{name}` already, at {}; give each its own name",
                twin.place
            ));
        }
        let mut text = format!("name = {}, weight = {}", show::quoted(&name), weight(spot)?);
        for (key, value) in keys {
            let setting = SETTINGS.iter().find(|of| key_of(of) == Some(key.name.as_str()));
            match setting {
                _ if OF_MIX.contains(&key.name.as_str()) => {}
                Some(setting) if OF_ALL.contains(&key.name.as_str()) => {
                    of_all.push(entry(command, setting, key, value)?);
                }
                Some(setting) => {
                    let said = entry(command, setting, key, value)?;
                    let said = match (setting.kind, said.values.first()) {
                        (Kind::Switch, on) => on.is_some().to_string(),
                        (_, value) => show::quoted(value.map_or("", |value| &value.text)),
                    };
                    let _ = write!(text, ", {} = {said}", key.name);
                }
                None => return Err(unknown(key, &format!("workload.{}", key.name), "workload")),
            }
        }
        excluded(spot)?;
        texts.push((text, spot.place.clone()));
    }
    let mut entries = together(of_all, list)?;
    entries.push(Entry::several("workload", &key.place, texts));
    Ok(entries)
}

fn name(spot: &Spot) -> Result<(String, Place), String> {
    let Some(name) = get(spot, "name") else {
        return Err(format!(
            "{}: a workload of a mix needs a name, by which its numbers go; add name = \"..\"",
            spot.place
        ));
    };
    let text = text_of(spot, "name").ok_or_else(|| {
        format!("{}: `workload.name` is {}; write a text", name.place, name.kind())
    })?;
    Label::parse(text).map_err(|why| format!("{}: `workload.name`: {why}", name.place))?;
    Ok((text.to_owned(), name.place.clone()))
}

/// Its weight as it was written; without one, it weighs 1.
fn weight(spot: &Spot) -> Result<&str, String> {
    let Some(weight) = get(spot, "weight") else { return Ok("1") };
    let text = text_of(spot, "weight").ok_or_else(|| {
        format!("{}: `workload.weight` is {}; write a number", weight.place, weight.kind())
    })?;
    weighed(text).map_err(|why| format!("{}: `workload.weight`: {why}", weight.place))?;
    Ok(text)
}

fn weighed(text: &str) -> Result<f64, String> {
    let weight = text.parse::<f64>().ok().filter(|weight| weight.is_finite());
    match weight {
        Some(weight) if weight > 0.0 && weight <= MOST_WEIGHT => Ok(weight),
        Some(0.0) => Err("a weight of 0 asks for nothing; take the [[workload]] out instead, or \
                          give it a weight above 0"
            .to_owned()),
        _ => Err(format!(
            "`{text}` is no weight; use a number above 0 and at most {MOST_WEIGHT}: a workload \
             gets its share of the sum of all weights"
        )),
    }
}

fn excluded(spot: &Spot) -> Result<(), String> {
    match (get(spot, "try"), get(spot, "wait")) {
        (Some(Spot { node: Node::Switch(true), place: at }), Some(Spot { place, .. })) => {
            Err(format!(
                "{place}: `workload.wait` excludes `workload.try`, set at {at}; leave one of them \
                 out"
            ))
        }
        _ => Ok(()),
    }
}

/// What holds for all workloads, once; every one of them has to say the same.
fn together(said: Vec<Entry>, list: &[Spot]) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    for of in said {
        let text = |of: &Entry| of.values.first().map(|value| value.text.clone());
        let key = of.path.trim_start_matches("workload.").to_owned();
        let everywhere = list.iter().all(|spot| get(spot, &key).is_some());
        let same = entries.iter().find(|other| other.flag == of.flag);
        if !everywhere || same.is_some_and(|other| text(other) != text(&of)) {
            return Err(format!(
                "{}: `{}` cannot differ between workloads, which share one engine; write the same \
                 in each [[workload]], or in none and --{} beside the file",
                of.place, of.path, of.flag
            ));
        }
        if same.is_none() {
            entries.push(of);
        }
    }
    Ok(entries)
}

/// A table in the text of a flag.
fn parse_table(text: &str) -> Result<Spot, String> {
    let root = tree::parse("--workload", &format!("workload = {{ {text} }}"))?;
    get(&root, "workload").cloned().ok_or_else(|| "no table".to_owned())
}

impl WorkloadArgs {
    /// `name = "checkout", weight = 3, hold = "1ms"`: the settings of a `[[workload]]`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let table = parse_table(text).map_err(|why| {
            format!("`{text}` is no workload ({why}); write as in name = \"a\", weight = 3")
        })?;
        let (name, _) = name(&table)?;
        let weight = weighed(weight(&table)?)?;
        let mut args = Self { name, weight, ..Self::default() };
        let Node::Table(keys) = &table.node else { return Ok(args) };
        for (key, spot) in keys {
            let switch = || match spot.node {
                Node::Switch(is) => Ok(is),
                _ => Err(format!("`{}` is true or false", key.name)),
            };
            let text = || match &spot.node {
                Node::Text(text) => Ok(text.as_str()),
                _ => Err(format!("`{}` is {}; write a text", key.name, spot.kind())),
            };
            match key.name.as_str() {
                "name" | "weight" => {}
                "mode" => args.mode = Some(Mode::parse(text()?)?),
                "keys" => args.keys = Some(values::count_u32(text()?)?),
                "key_dist" => args.key_dist = Some(values::key_dist(text()?)?),
                "key_prefix" => args.key_prefix = Some(text()?.to_owned()),
                "ttl" => args.ttl = Some(values::positive_duration(text()?)?),
                "hold" => args.hold = Some(values::hold(text()?)?),
                "think" => args.think = Some(values::duration(text()?)?),
                "wait" => args.wait = Some(values::duration(text()?)?),
                "try" => args.try_only = Some(switch()?),
                "fenced" => args.fenced = Some(switch()?),
                other => return Err(format!("a workload has no `{other}` of its own")),
            }
        }
        excluded(&table)?;
        Ok(args)
    }
}

/// The name in the text of a flag.
pub(super) fn name_in(text: &str) -> Option<String> {
    Some(text_of(&parse_table(text).ok()?, "name")?.to_owned())
}

/// `text` without the settings that `is_hidden` by flags that count more. A prefix is never hidden,
/// since which workloads share names hangs by it.
pub(super) fn beneath(
    text: &str,
    place: &Place,
    is_hidden: impl Fn(&str) -> bool,
) -> Result<String, String> {
    let table = parse_table(text)?;
    let Node::Table(keys) = &table.node else { return Ok(text.to_owned()) };
    let mut kept = Vec::new();
    for (key, spot) in keys {
        let setting = SETTINGS.iter().find(|of| key_of(of) == Some(key.name.as_str()));
        match setting {
            Some(setting) if is_hidden(setting.flag) => {
                if key.name == "key_prefix" {
                    return Err(format!(
                        "{place}: workload `{}` has a key_prefix of its own, which --key-prefix \
                         would put aside; use --set workload.{}.key_prefix=..",
                        text_of(&table, "name").unwrap_or_default(),
                        text_of(&table, "name").unwrap_or_default()
                    ));
                }
            }
            _ => kept.push(format!("{} = {}", key.name, written(&key.name, spot))),
        }
    }
    Ok(kept.join(", "))
}

/// A value as TOML.
fn written(key: &str, spot: &Spot) -> String {
    match &spot.node {
        Node::Switch(is) => is.to_string(),
        Node::Text(text) if key == "weight" => text.clone(),
        Node::Text(text) => show::quoted(text),
        Node::List(_) | Node::Table(_) => String::new(),
    }
}

/// A workload as `[[workload]]` with every setting, `base` being what the flags say for all.
pub(super) fn table(out: &mut String, text: &str, base: impl Fn(&Setting) -> Vec<String>) {
    let Ok(own) = parse_table(text) else { return };
    let name = text_of(&own, "name").unwrap_or_default();
    let weight = text_of(&own, "weight").unwrap_or("1");
    let _ = writeln!(out, "\n[[workload]]\nname = {}\nweight = {weight}", show::quoted(name));
    let tries = matches!(get(&own, "try"), Some(Spot { node: Node::Switch(true), .. }));
    for setting in SETTINGS {
        let Some(key) = key_of(setting) else { continue };
        let said = get(&own, key).map(|spot| match &spot.node {
            Node::Text(text) => show::value(text),
            _ => written(key, spot),
        });
        let hides = match key {
            "try" => get(&own, "wait").is_some(),
            "wait" => tries,
            _ => false,
        };
        let base = || match (base(setting).first(), key) {
            _ if hides => None,
            (Some(prefix), "key_prefix") => Some(show::value(&own_prefix(prefix, name))),
            (Some(_), _) if setting.kind == Kind::Switch => Some("true".to_owned()),
            (Some(text), _) => Some(show::value(text)),
            (None, _) => None,
        };
        if let Some(value) = said.or_else(base) {
            let _ = writeln!(out, "{key} = {value}");
        }
    }
}

/// What the names of a workload begin with that says nothing of them.
pub(crate) fn own_prefix(prefix: &str, name: &str) -> String {
    format!("{prefix}{name}:")
}

/// The paths that `--set` means with `parts`: a workload of a mix goes by its name, and what is set
/// of none in particular is set of all.
pub(super) fn paths(
    root: &Spot,
    parts: &[&str],
    place: &Place,
) -> Result<Vec<Vec<String>>, String> {
    let plain = vec![parts.iter().map(|part| (*part).to_owned()).collect()];
    let list = match get(root, "workload").map(|spot| &spot.node) {
        Some(Node::List(list)) if is_mix(list) => list,
        _ => return Ok(plain),
    };
    let path = |at: usize, key: &str| vec!["workload".to_owned(), (at + 1).to_string(), key.into()];
    match parts {
        ["workload", key] if key.parse::<usize>().is_err() => {
            Ok((0..list.len()).map(|at| path(at, key)).collect())
        }
        ["workload", name, key] if name.parse::<usize>().is_err() => {
            let names: Vec<&str> = list.iter().filter_map(|spot| text_of(spot, "name")).collect();
            let at = list.iter().position(|spot| text_of(spot, "name") == Some(*name));
            let at = at.ok_or_else(|| {
                let hint = near::hint(name, names.iter().copied());
                format!(
                    "{place}: no workload is called `{name}`{hint}{}",
                    if hint.is_empty() {
                        format!("; there are {}", names.join(", "))
                    } else {
                        String::new()
                    }
                )
            })?;
            Ok(vec![path(at, key)])
        }
        _ => Ok(plain),
    }
}
