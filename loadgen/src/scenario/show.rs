//! The settings of a command line as a scenario file: what `--show-config` prints, and a file that
//! gives the same settings when it is read.
//!
//! Passwords of nodes are left out, since a file is passed on.

use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::table::{self, Kind, SETTINGS, Setting};
use super::workloads::{self, WorkloadArgs};
use crate::cluster::url::NodeUrl;

/// Every setting of `matches`, the arguments of `command`, defaults included.
pub(crate) fn settings(command: &Command, matches: &ArgMatches) -> String {
    let mut out =
        String::from("# The settings of a run; without a seed, each run draws its own.\n");
    let mut open = "";
    let is_mix = matches.get_many::<WorkloadArgs>("workloads").is_some();
    for setting in SETTINGS.iter().filter(|of| !(is_mix && of.path.starts_with("workload."))) {
        let values = values(command, matches, setting);
        let (above, key) = setting.path.rsplit_once('.').unwrap_or(("", setting.path));
        if values.is_empty() {
            continue;
        }
        let is_key = !matches!(
            setting.kind,
            Kind::Labels | Kind::Faults | Kind::Thresholds | Kind::Workloads
        );
        if is_key && above != open {
            let _ = writeln!(out, "\n[{above}]");
            open = above;
        }
        match setting.kind {
            Kind::Labels => {
                let _ = writeln!(out, "\n[labels]");
                open = "labels";
                // The last of several with one key counts, and a key stands once in a table.
                let all: std::collections::BTreeMap<&str, &str> =
                    values.iter().filter_map(|text| text.split_once('=')).collect();
                for (key, value) in all {
                    let _ = writeln!(out, "{} = {}", quoted(key), quoted(value));
                }
            }
            Kind::Faults => values.iter().for_each(|text| fault(&mut out, text)),
            Kind::Thresholds => {
                for text in &values {
                    let _ = writeln!(out, "\n[[threshold]]\nexpr = {}", quoted(text));
                }
            }
            Kind::Workloads => {
                let base = |setting: &Setting| self::values(command, matches, setting);
                values.iter().for_each(|text| workloads::table(&mut out, text, base));
            }
            Kind::Joined => {
                let all: Vec<String> = values.iter().map(|text| value(text)).collect();
                let _ = writeln!(out, "{key} = [{}]", all.join(", "));
            }
            Kind::Switch => {
                let _ = writeln!(out, "{key} = true");
            }
            Kind::One | Kind::Optional | Kind::Stages => {
                let text = values.first().map(|text| value(text)).unwrap_or_default();
                let _ = writeln!(out, "{key} = {text}");
            }
        }
    }
    out
}

/// `settings` with the seed that was drawn, where it has none.
pub(crate) fn repeating(settings: &str, seed: u64) -> String {
    let has_seed = settings.lines().any(|line| line.starts_with("seed = "));
    match settings.split_once('\n') {
        Some((head, rest)) if !has_seed => format!("{head}\nseed = {seed}\n{rest}"),
        _ => settings.to_owned(),
    }
}

/// The texts of a setting; none where it is not set.
fn values(command: &Command, matches: &ArgMatches, setting: &Setting) -> Vec<String> {
    let Some(arg) = table::arg(command, setting.flag) else { return Vec::new() };
    let id = arg.get_id().as_str();
    if setting.kind == Kind::Switch {
        let is_on = matches.try_get_one::<bool>(id).ok().flatten().copied().unwrap_or(false);
        return if is_on { vec!["true".to_owned()] } else { Vec::new() };
    }
    let is_set = |id: &str| {
        matches.try_contains_id(id).is_ok()
            && matches.value_source(id) == Some(ValueSource::CommandLine)
    };
    // What is only for tests is shown only where it is set, and a default that something else
    // excludes is none.
    let excluded = || {
        let mut others = command.get_arguments().filter(|other| is_set(other.get_id().as_str()));
        others.any(|other| super::excludes(command, arg, other))
    };
    if !is_set(id) && (arg.is_hide_set() || excluded()) {
        return Vec::new();
    }
    // A preset's flags are all in the line already, and a typed one would count more than they.
    if setting.flag == "preset" {
        let name = matches.get_one::<crate::args::preset::Preset>("preset");
        return name.map(|preset| preset.name().to_owned()).into_iter().collect();
    }
    let raw = matches.try_get_raw(id).ok().flatten();
    let texts = raw.map(|raw| raw.map(|text| text.to_string_lossy().into_owned()));
    let texts: Vec<String> = texts.map(Iterator::collect).unwrap_or_default();
    match setting.flag {
        "nodes" => texts.iter().map(|text| without_password(text)).collect(),
        "percentiles" => texts.iter().flat_map(|all| all.split(',')).map(str::to_owned).collect(),
        _ => texts,
    }
}

fn without_password(url: &str) -> String {
    url.parse::<NodeUrl>().map_or_else(|_| "redis://?".to_owned(), |url| url.to_string())
}

fn fault(out: &mut String, text: &str) {
    let (kind, rest) = text.split_once('@').unwrap_or((text, ""));
    // Parameters may come without a target.
    let end = rest.find([':', ',']).unwrap_or(rest.len());
    let (times, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let (at, length) = times.split_once('/').map_or((times, None), |(at, end)| (at, Some(end)));
    let mut parts = rest.split(',');
    let target = parts.next().unwrap_or_default().trim_start_matches(':');
    let _ = writeln!(out, "\n[[fault]]\nkind = {}\nat = {}", quoted(kind), quoted(at));
    if let Some(length) = length {
        let _ = writeln!(out, "for = {}", quoted(length));
    }
    if !target.is_empty() {
        let _ = writeln!(out, "target = {}", quoted(target));
    }
    let pair = |part: &str| {
        let (key, value) = part.split_once('=')?;
        Some(format!("{} = {}", quoted(key), quoted(value)))
    };
    let params: Vec<String> = parts.filter_map(pair).collect();
    if !params.is_empty() {
        let _ = writeln!(out, "params = {{ {} }}", params.join(", "));
    }
}

/// A number where it reads back the same, else a text.
pub(super) fn value(text: &str) -> String {
    let digits = |text: &str| {
        let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        is_number && text.len() <= 18 && (text == "0" || !text.starts_with('0'))
    };
    let is_decimal = text.split_once('.').is_some_and(|(whole, part)| {
        digits(whole) && !part.is_empty() && part.chars().all(|c| c.is_ascii_digit())
    });
    if digits(text) || is_decimal { text.to_owned() } else { quoted(text) }
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
