//! A run in a sentence, for every format: what was asked for, of which nodes, by which command.

use super::format::{self, count, many, setting};
use crate::args::MAIN_JOB;
use crate::config::RunConfig;
use crate::mode::Mode;
use crate::num;
use crate::report::TargetAbout;
use crate::values::{Hold, KeyDist};
use crate::workload::Workload;

/// The load that was asked for.
pub(crate) fn scenario(config: &RunConfig) -> String {
    let clients = many(config.clients.into(), "client", "clients");
    let driven = match config.rate_per_s() {
        None => format!("closed loop, {clients}"),
        Some(rate) => {
            format!("open loop, {} {}/s, {clients}", config.arrival, format::rate(rate))
        }
    };
    let preset = config.preset.map(|preset| format!("{}: ", preset.name())).unwrap_or_default();
    let times =
        format!("for {} ({} warm-up)", setting(config.duration_ns), setting(config.warmup_ns));
    let parts = config.parts();
    let parts = parts.iter().zip(config.shares());
    let words: Vec<String> = parts
        .map(|(of, share)| match config.is_mix() {
            true => format!("{} {:.1} % ({})", of.name, 100.0 * share, asks(of, config)),
            false => asks(of, config),
        })
        .collect();
    let mix = match config.is_mix() {
        true => format!("a mix of {}: ", many(words.len() as u64, "workload", "workloads")),
        false => String::new(),
    };
    format!("{preset}{driven} {times}, {mix}{}", words.join("; "))
}

/// What sections of a workload ask for.
fn asks(of: &Workload, config: &RunConfig) -> String {
    let hold = match of.hold {
        Hold::Fixed(at) => setting(at),
        Hold::Exp(mean) => format!("exp {}", setting(mean)),
        Hold::Uniform(low, high) => format!("{}..{}", setting(low), setting(high)),
    };
    let wait = if of.try_only {
        "no wait".into()
    } else {
        format!("wait {} ({})", setting(of.wait_ns), config.waiting.name())
    };
    let all = many(of.keys.into(), "key", "keys");
    let keys = match of.key_dist {
        KeyDist::Uniform => all,
        KeyDist::Seq => format!("{all} in turn"),
        KeyDist::Zipf(s) => format!("zipf {s} over {all}"),
        KeyDist::Hot { keys, load } => format!(
            "{all}, {} % of the load on {}",
            load * 100.0,
            count(num::floor_u64((keys * f64::from(of.keys)).round()).max(1))
        ),
    };
    let fenced = if of.fenced { ", fenced" } else { "" };
    let mode = match of.mode {
        Mode::Mutex => String::new(),
        other => format!(", {other}"),
    };
    format!("{keys}{mode}, hold {hold}, ttl {}{fenced}, {wait}", setting(of.ttl_ns))
}

/// The nodes and processes it was made with.
pub(crate) fn target(config: &RunConfig, about: &TargetAbout, nodes: usize) -> String {
    let load = format!(
        "{} × {}",
        many(config.processes.into(), "process", "processes"),
        many(config.threads.into(), "thread", "threads")
    );
    if nodes == 0 {
        let kind = format!("{:?}", config.backend).to_lowercase();
        return format!("no nodes (backend {kind}); {load}");
    }
    let place = if about.spawned { "local, " } else { "" };
    let nodes = many(nodes as u64, "node", "nodes");
    format!("{nodes}, {} ({place}{}); {load}", about.server, about.transport)
}

/// A command line that makes the same load again, its plan included.
pub(crate) fn reproduce(argv: &[String], seed: u64) -> String {
    let typed: Vec<&String> = argv.iter().skip(1).collect();
    let mut line = if typed.is_empty() { MAIN_JOB.to_owned() } else { "loadgen".to_owned() };
    for word in &typed {
        line.push(' ');
        line.push_str(&quoted(word));
    }
    let has_seed = typed.iter().any(|word| *word == "--seed" || word.starts_with("--seed="));
    if !has_seed {
        line.push_str(&format!(" --seed {seed}"));
    }
    line
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=+,./:@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_to_reproduce_is_quoted_and_has_the_seed() {
        let line = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            reproduce(&words, 42)
        };
        assert_eq!(line(&["x/loadgen", "run", "-c", "4"]), "loadgen run -c 4 --seed 42");
        assert_eq!(line(&["l", "run", "--seed=7"]), "loadgen run --seed=7");
        assert_eq!(
            line(&["l", "run", "--key-prefix", "a b'; rm", "--seed", "1"]),
            "loadgen run --key-prefix 'a b'\\''; rm' --seed 1"
        );
        assert_eq!(line(&["l"]), format!("{MAIN_JOB} --seed 42"));
    }
}
