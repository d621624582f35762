//! What differs between runs besides their results. Machine, server, load and plan have to be the
//! same; the engine's settings and the build are what one compares, and are named.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::side::{Measured, Side};
use crate::document::Document;
use crate::report::format;
use crate::run::asked_prefix;
use crate::verdict::Outcome;

/// One thing that is not the same in two sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// Of which side; the other is always the first run of A.
    pub(crate) side: String,
    pub(crate) what: String,
    pub(crate) a: String,
    pub(crate) b: String,
}

#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) differences: Vec<Difference>,
    pub(crate) under_test: Vec<Difference>,
}

/// Settings that say what a run is called or how it is reported.
const OF_NO_MATTER: [&str; 12] = [
    "name",
    "labels",
    "nodes",
    "seed",
    "percentiles",
    "preset",
    "time_unit",
    "thresholds",
    "allow_overload",
    "history",
    "strict",
    "witness",
];
/// Kept short: a list that nobody reads to its end helps nobody.
const MOST: usize = 40;

pub(crate) fn find(sides: &[Side]) -> Found {
    let mut found = Found::default();
    let Some((base, first)) = sides.first().and_then(|base| Some((base, base.runs.first()?)))
    else {
        return found;
    };
    for side in sides {
        for run in &side.runs {
            compare(first, run, &side.letter, &mut found);
        }
        seeds(base, side, &mut found.differences);
        for run in side.runs.iter().filter(|run| is_void(run)) {
            let why = run.document.verdict.reasons.first().cloned().unwrap_or_default();
            let b = format!("{:?}: {why}", run.document.verdict.outcome).to_lowercase();
            let what = format!("{} counts", run.path.display());
            found.differences.push(entry(side, &what, "yes".to_owned(), b));
        }
    }
    for list in [&mut found.differences, &mut found.under_test] {
        list.dedup();
        let mut seen: Vec<Difference> = Vec::new();
        for difference in list.drain(..) {
            if seen.len() < MOST && !seen.contains(&difference) {
                seen.push(difference);
            }
        }
        *list = seen;
    }
    found
}

/// The run is not a measurement.
fn is_void(run: &Measured) -> bool {
    matches!(run.document.verdict.outcome, Outcome::Invalid | Outcome::Interrupted)
}

fn entry(side: &Side, what: &str, a: String, b: String) -> Difference {
    Difference { side: side.letter.clone(), what: what.to_owned(), a, b }
}

fn compare(first: &Measured, run: &Measured, letter: &str, found: &mut Found) {
    let (a, b) = (facts(first), facts(run));
    let names = a.keys().chain(b.keys()).collect::<std::collections::BTreeSet<_>>();
    for name in names {
        let text = |facts: &BTreeMap<String, String>| {
            facts.get(name).cloned().unwrap_or_else(|| "-".to_owned())
        };
        let (a, b) = (text(&a), text(&b));
        // Runs that follow each other on the same nodes have keys of their own.
        let is_prefix = name.rsplit('.').next() == Some("key_prefix");
        let is_alike = is_prefix && asked_prefix(&a) == asked_prefix(&b);
        if a != b && !is_alike {
            let to =
                if is_under_test(name) { &mut found.under_test } else { &mut found.differences };
            to.push(Difference { side: letter.to_owned(), what: name.clone(), a, b });
        }
    }
}

fn is_under_test(name: &str) -> bool {
    name.starts_with("engine.") || name == "loadgen"
}

/// Seeds may differ between the runs of a side, but both sides have to have made the same plans.
fn seeds(base: &Side, side: &Side, differences: &mut Vec<Difference>) {
    let of = |side: &Side| -> Vec<(u64, String)> {
        let seed = |run: &Measured| (run.document.run.seed, run.document.run.plan_hash.clone());
        let mut seeds: Vec<_> = side.runs.iter().map(seed).collect();
        seeds.sort();
        seeds.dedup();
        seeds
    };
    let (a, b) = (of(base), of(side));
    let within =
        |some: &[(u64, String)], all: &[(u64, String)]| some.iter().all(|s| all.contains(s));
    if within(&a, &b) || within(&b, &a) {
        return;
    }
    let text = |seeds: Vec<(u64, String)>, pick: fn(&(u64, String)) -> String| {
        seeds.iter().take(4).map(pick).collect::<Vec<_>>().join(" ")
    };
    let of_seeds = |seed: &(u64, String)| seed.0.to_string();
    let of_plans = |seed: &(u64, String)| seed.1.clone();
    let (seeds_a, seeds_b) = (text(a.clone(), of_seeds), text(b.clone(), of_seeds));
    differences.push(if seeds_a == seeds_b {
        entry(side, "plan", text(a, of_plans), text(b, of_plans))
    } else {
        entry(side, "seed", seeds_a, seeds_b)
    });
}

/// Everything that should be equal, by name.
fn facts(run: &Measured) -> BTreeMap<String, String> {
    let document = &run.document;
    let environment = &document.environment;
    let mut facts = BTreeMap::new();
    let mut put = |name: &str, value: String| facts.insert(name.to_owned(), value);
    put("cores", environment.cores.map_or_else(|| "-".to_owned(), |cores| cores.to_string()));
    put("kernel", environment.os.clone().unwrap_or_else(|| "-".to_owned()));
    put("loadgen", environment.loadgen.clone());
    put("build", environment.profile.clone());
    put("server", environment.target.server.clone());
    put("transport", environment.target.transport.clone());
    put("nodes", document.nodes.len().to_string());
    facts.extend(settings(document));
    facts
}

/// The settings that decide about a result, by name, as they would be typed.
pub(crate) fn settings(document: &Document) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    if let Ok(Value::Object(config)) = serde_json::to_value(&document.config) {
        for (name, value) in config {
            if name == "workloads" {
                // By their names, not by their places in a list.
                for of in value.as_array().into_iter().flatten() {
                    let called = of.get("name").and_then(Value::as_str).unwrap_or_default();
                    flatten(&format!("workload.{called}"), of, &mut facts);
                }
            } else if !OF_NO_MATTER.contains(&name.as_str()) {
                flatten(&name, &value, &mut facts);
            }
        }
    }
    facts
}

fn flatten(name: &str, value: &Value, facts: &mut BTreeMap<String, String>) {
    let text = match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                flatten(&format!("{name}.{field}"), value, facts);
            }
            return;
        }
        Value::Null => "default".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if name.ends_with("_ns") => {
            number.as_u64().map_or_else(|| number.to_string(), format::setting)
        }
        other => other.to_string(),
    };
    facts.insert(name.to_owned(), text.chars().take(200).collect());
}

/// Why these runs are not compared.
pub(crate) fn refusal(differences: &[Difference]) -> String {
    let mut text = "these runs differ in more than what is under test:".to_owned();
    for Difference { side, what, a, b } in differences {
        text.push_str(&format!("\n  {what}: {a} in A, {b} in {side}"));
    }
    text.push_str("\nmake them alike");
    if differences.iter().any(|difference| difference.what == "seed") {
        text.push_str(" (--seed N gives both the same plan)");
    }
    text.push_str(", or compare them all the same with --force");
    text
}
