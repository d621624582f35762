//! How each field of a result is merged, on the JSON itself.
//!
//! A field without a rule of its own is kept if all machines agree; texts that differ are put side
//! by side; anything else is left out. By the rule of compatible growth of `document`, a field that
//! is left out reads back as unknown.

use serde_json::{Map, Number, Value};

use crate::report::format::many;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// All of them, in turn, so many at most.
    Concat(usize),
    First,
    /// Every machine says so.
    All,
    /// Some machine says so.
    Any,
    LeaveOut,
    Max,
    Sum,
    /// The mean, each weighed by its machine's acquisitions.
    Weighed,
    /// The worst word of these, from the worst on.
    Worst(&'static [&'static str]),
}

const OUTCOMES: &[&str] = &["unsafe", "invalid", "interrupted", "threshold", "pass"];
const SAFETY: &[&str] = &["violated", "unknown", "expected", "holds"];

/// By path; the first that matches counts, `*` at the end matches the rest.
const RULES: &[(&str, Rule)] = &[
    ("config*", Rule::First),
    ("environment.target.test_node", Rule::Any),
    ("environment.target.spawned", Rule::All),
    ("run.monotonic_start_ns", Rule::First),
    ("run.seed", Rule::First),
    ("run.duration_ns", Rule::Max),
    ("run.argv", Rule::First),
    ("run.interrupted", Rule::Any),
    ("totals.oldest_unfinished_ns", Rule::Max),
    ("totals.failure_texts", Rule::Concat(8)),
    ("totals.*", Rule::Sum),
    ("latency_ns*", Rule::LeaveOut),
    ("workloads", Rule::LeaveOut),
    ("series*", Rule::LeaveOut),
    ("heatmap*", Rule::LeaveOut),
    ("thresholds*", Rule::LeaveOut),
    ("attempts.per_acquisition", Rule::Weighed),
    ("attempts.*", Rule::LeaveOut),
    ("contention.window_ns", Rule::Max),
    ("contention.attempts_per_acquisition", Rule::Weighed),
    ("contention.hold_mean_ns", Rule::Weighed),
    ("contention.ping_p50_ns_by_node", Rule::Concat(900)),
    ("contention.ping_ns_by_node", Rule::Concat(900)),
    ("contention.ping_p50_ns", Rule::LeaveOut),
    ("contention.commands*", Rule::LeaveOut),
    ("contention.hottest_keys", Rule::LeaveOut),
    ("contention.*", Rule::Sum),
    ("fairness.longest_wait_ns", Rule::Max),
    ("fairness.jain*", Rule::LeaveOut),
    ("fairness.*", Rule::Sum),
    ("nodes", Rule::Concat(900)),
    ("cost_per_acquisition.acquisitions", Rule::Sum),
    ("cost_per_acquisition.nodes_counted", Rule::Sum),
    ("cost_per_acquisition.client_cpu_ns", Rule::Weighed),
    ("cost_per_acquisition.*", Rule::LeaveOut),
    ("faults", Rule::Concat(1_000)),
    ("safety.verdict", Rule::Worst(SAFETY)),
    ("safety.keys", Rule::Max),
    ("safety.violations", Rule::Concat(16)),
    ("safety.counter_exact", Rule::All),
    ("safety.*", Rule::Sum),
    ("fencing.verdict", Rule::Worst(SAFETY)),
    ("fencing.highest_token", Rule::Max),
    ("fencing.one_round_trip_share", Rule::LeaveOut),
    ("fencing.*", Rule::Sum),
    ("witness.verdict", Rule::Worst(SAFETY)),
    ("witness.examples", Rule::Concat(16)),
    ("witness.longest_pass_ns", Rule::Max),
    ("witness.refused", Rule::LeaveOut),
    ("witness.*", Rule::Sum),
    ("quality.valid", Rule::All),
    ("quality.processes_lost", Rule::Concat(100)),
    ("quality.hottest_key", Rule::LeaveOut),
    ("quality.*", Rule::Max),
    ("verdict.outcome", Rule::Worst(OUTCOMES)),
    ("verdict.exit_code", Rule::LeaveOut),
    ("verdict.reasons", Rule::LeaveOut),
    ("verdict.warnings", Rule::LeaveOut),
];

/// The merged result, without what needs more than its fields.
pub(super) fn merge(all: &[Value]) -> Value {
    let values: Vec<&Value> = all.iter().collect();
    let weights: Vec<f64> = all.iter().map(|one| number(within(one, "/totals/ok"))).collect();
    let mut merged = at("", &values, &weights).unwrap_or(Value::Null);
    let texts = |name: &str| -> Vec<Value> {
        let mut texts = Vec::new();
        for (n, one) in all.iter().enumerate() {
            for text in within(one, &format!("/verdict/{name}")).as_array().into_iter().flatten() {
                let text = text.as_str().unwrap_or_default();
                texts.push(Value::from(format!("machine {}: {text}", n + 1)));
            }
        }
        texts.truncate(50);
        texts
    };
    let worst = within(&merged, "/verdict/outcome").clone();
    let code = all.iter().find(|one| *within(one, "/verdict/outcome") == worst);
    let code = code.map_or(Value::Null, |one| within(one, "/verdict/exit_code").clone());
    if let Some(verdict) = merged.get_mut("verdict").and_then(Value::as_object_mut) {
        verdict.insert("exit_code".to_owned(), code);
        verdict.insert("reasons".to_owned(), texts("reasons").into());
        verdict.insert("warnings".to_owned(), texts("warnings").into());
    }
    let nodes = merged.get_mut("nodes").and_then(Value::as_array_mut);
    for (n, node) in nodes.into_iter().flatten().enumerate() {
        if let Some(fields) = node.as_object_mut() {
            fields.insert("id".to_owned(), Value::from(n + 1));
        }
    }
    merged
}

fn rule(path: &str) -> Option<Rule> {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == pattern,
    };
    RULES.iter().find(|(pattern, _)| matches(pattern)).map(|(_, rule)| *rule)
}

fn within<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&NULL)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// `None`: the field is left out.
fn at(path: &str, values: &[&Value], weights: &[f64]) -> Option<Value> {
    // Sections of numbers are walked into; their fields find the same rule.
    let is_whole = matches!(rule(path), Some(Rule::First | Rule::LeaveOut));
    if values.iter().any(|value| value.is_object()) && !is_whole {
        let mut fields = Map::new();
        let names = values.iter().filter_map(|value| value.as_object()).flat_map(Map::keys);
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let theirs: Vec<&Value> = values.iter().map(|v| v.get(name).unwrap_or(&NULL)).collect();
            match at(&path, &theirs, weights) {
                Some(value) => drop(fields.insert(name.clone(), value)),
                // Part of a thing that has a meaning only as a whole.
                None if rule(&path).is_none() && path.matches('.').count() > 1 => return None,
                None => {}
            }
        }
        return Some(Value::Object(fields));
    }
    let known: Vec<&Value> = values.iter().copied().filter(|value| !value.is_null()).collect();
    let first = *values.first()?;
    match rule(path) {
        Some(Rule::LeaveOut) => None,
        Some(Rule::First) => Some(first.clone()),
        Some(Rule::All) => Some(Value::from(values.iter().all(|v| v.as_bool() == Some(true)))),
        Some(Rule::Any) => Some(Value::from(values.iter().any(|v| v.as_bool() == Some(true)))),
        Some(Rule::Concat(most)) => {
            let lists = values.iter().filter_map(|value| value.as_array());
            Some(lists.flatten().take(most).cloned().collect())
        }
        Some(Rule::Worst(words)) => {
            let said = |word: &&&str| values.iter().any(|value| value.as_str() == Some(word));
            // A word that has no place is worse than any that has.
            let known = |value: &&&Value| !words.iter().any(|word| value.as_str() == Some(word));
            let unknown = values.iter().find(known).map(|value| (*value).clone());
            unknown.or_else(|| words.iter().find(said).map(|word| Value::from(*word)))
        }
        Some(Rule::Max) => {
            known.into_iter().max_by(|a, b| number(a).total_cmp(&number(b))).cloned()
        }
        Some(Rule::Sum) => sum(&known, values.len()),
        Some(Rule::Weighed) => weighed(values, weights),
        None => agreed(values),
    }
}

static NULL: Value = Value::Null;

/// A sum with an unknown part is unknown.
fn sum(known: &[&Value], all: usize) -> Option<Value> {
    if known.len() < all {
        return None;
    }
    let whole: Option<u64> = known.iter().map(|value| value.as_u64()).sum();
    match whole {
        Some(whole) => Some(Value::from(whole)),
        None => Number::from_f64(known.iter().map(|value| number(value)).sum()).map(Value::Number),
    }
}

fn weighed(values: &[&Value], weights: &[f64]) -> Option<Value> {
    let pairs = values.iter().map(|value| value.as_f64()).zip(weights);
    let parts: Option<Vec<f64>> = pairs.map(|(value, weight)| Some(value? * weight)).collect();
    let whole: f64 = weights.iter().sum();
    let mean = parts?.iter().sum::<f64>() / whole;
    Number::from_f64(mean).map(Value::Number)
}

/// The same everywhere, or texts side by side.
fn agreed(values: &[&Value]) -> Option<Value> {
    let first = *values.first()?;
    if values.iter().all(|value| *value == first) {
        return Some(first.clone());
    }
    let mut texts: Vec<&str> = values.iter().map(|value| value.as_str()).collect::<Option<_>>()?;
    texts.dedup();
    let rest = texts.len().saturating_sub(4);
    texts.truncate(4);
    let mut text = texts.join(" + ");
    if rest > 0 {
        text.push_str(&format!(" + {}", many(rest as u64, "other", "others")));
    }
    Some(Value::from(text))
}
