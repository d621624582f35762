//! `result.json`, schema `loadgen.result/1`: integers in ns, `null` for what is not known, never
//! NaN.

use std::collections::BTreeMap;

use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde_json::{Map, Value, json};

use super::{RunResult, contention};
use crate::clock::Utc;
use crate::num;
use crate::oracle::judge::{Span, Violation};
use crate::recorder::{HIGHEST_NS, Hist, Metric, TICK_NS};

/// Samples above a percentile below which it is called weak.
pub(crate) const FEWEST_ABOVE: f64 = 10.0;

/// Whether fewer than 10 samples lie above percentile `p` of `n`.
pub(crate) fn is_weak(p: f64, n: u64) -> bool {
    n as f64 * (1.0 - p / 100.0) < FEWEST_ABOVE - 1e-9
}

/// The whole result.
pub(crate) fn document(run: &RunResult) -> Value {
    json!({
        "schema": "loadgen.result/1",
        "run": {
            "id": run.dir.file_name().map(|name| name.to_string_lossy()),
            "name": run.config.name,
            "started_at": Utc::from_unix_ns(run.started_wall_ns).iso(),
            "monotonic_start_ns": run.measured_ns,
            "duration_ns": run.lasted_ns,
            "warmup_ns": run.config.warmup_ns,
            "seed": run.config.seed,
            "plan_hash": run.plan_hash,
            "argv": run.argv,
            "interrupted": run.interrupted,
        },
        "config": run.config,
        "mode": run.config.mode.to_string(),
        "environment": environment(run),
        "totals": totals(run),
        "latency_ns": latencies(run),
        "attempts": {
            "per_acquisition": run.contention.attempts_per_acquisition,
            "contended_mean": run.mean_attempts().and_then(num::finite),
            "contended": contention::attempts(run.totals.get(Metric::Attempts)),
        },
        "contention": run.contention,
        "fairness": run.fairness,
        "series": series(run),
        "nodes": run.nodes,
        "cost_per_acquisition": run.cost,
        "faults": run.faults,
        "safety": safety(run),
        "fencing": fencing(run),
        "quality": quality(run),
        "verdict": {
            "outcome": run.verdict.outcome,
            "exit_code": run.verdict.exit_code,
            "reasons": run.verdict.reasons,
            "warnings": run.verdict.warnings,
        },
    })
}

fn environment(run: &RunResult) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    json!({
        "loadgen": env!("CARGO_PKG_VERSION"),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "os": read("/proc/sys/kernel/osrelease").map(|release| format!("Linux {release}")),
        "cores": std::thread::available_parallelism().ok().map(std::num::NonZeroUsize::get),
        "loadavg": read("/proc/loadavg"),
        "target": run.about,
    })
}

fn totals(run: &RunResult) -> Value {
    let all = &run.all_counts;
    json!({
        "offered": run.offered,
        "ok": all.ok,
        "ok_in_time": run.counts.ok,
        "unfinished": run.unfinished,
        "not_started": run.not_started,
        "oldest_unfinished_ns": run.oldest_unfinished_ns,
        "errors": {
            "timeout": all.timeout,
            "no_quorum": all.no_quorum,
            "quarantined": all.quarantined,
            "busy": all.busy,
            "lost": all.lost,
            "other": all.other,
        },
        "release_unconfirmed": all.release_unconfirmed,
        "saturated": all.saturated,
        "offered_rate": num::finite(run.offered_rate()),
        "achieved_rate": num::finite(run.achieved_rate()),
        "ok_rate": num::finite(run.ok_rate()),
        "failure_texts": run.failure_texts,
    })
}

/// One histogram as JSON; `sum` is exact to the histogram's buckets, as mean is.
fn latency(hist: &Hist, percentiles: &[f64]) -> Value {
    let n = hist.len();
    let values: Vec<Value> = percentiles
        .iter()
        .map(|&p| json!({ "p": p, "ns": hist.value_at_percentile(p), "weak": is_weak(p, n) }))
        .collect();
    let mut bytes = Vec::new();
    let packed =
        V2DeflateSerializer::new().serialize(hist, &mut bytes).ok().map(|_| base64(&bytes));
    json!({
        "count": n,
        "min": hist.min(),
        "mean": num::finite(hist.mean()),
        "stddev": num::finite(hist.stdev()),
        "sum": num::finite(hist.mean() * n as f64),
        "max": hist.max(),
        "saturated": hist.count_between(HIGHEST_NS, u64::MAX),
        "percentiles": values,
        "hdr_v2_deflate_b64": packed,
    })
}

fn latencies(run: &RunResult) -> Value {
    let mut all = Map::new();
    for metric in Metric::ALL.into_iter().filter(|&metric| metric != Metric::Attempts) {
        let value = run.totals.get(metric).map(|hist| latency(hist, &run.config.percentiles));
        all.insert(metric.name().to_owned(), value.unwrap_or(Value::Null));
    }
    Value::Object(all)
}

fn series(run: &RunResult) -> Value {
    let column = |pick: &dyn Fn(&crate::collect::Row) -> Value| -> Vec<Value> {
        run.rows.iter().map(pick).collect()
    };
    let mut response = BTreeMap::new();
    response.insert("p50", column(&|row| json!(row.p50_ns)));
    response.insert("p99", column(&|row| json!(row.p99_ns)));
    response.insert("max", column(&|row| json!(row.max_ns)));
    json!({
        "interval_ns": TICK_NS,
        "t": (0..run.rows.len() as u64).map(|at| at * TICK_NS).collect::<Vec<_>>(),
        "ok": column(&|row| json!(row.counts.ok)),
        "errors": column(&|row| json!(row.counts.errors())),
        "in_flight": column(&|row| json!(row.in_flight)),
        "acquire.response": response,
    })
}

fn safety(run: &RunResult) -> Value {
    let findings = &run.findings;
    // Before the measured start, in the warm-up, instants are negative.
    let since = |at_ns: u64| i128::from(at_ns) - i128::from(run.measured_ns);
    let since = |at_ns: u64| i64::try_from(since(at_ns)).unwrap_or(i64::MAX);
    let span = |span: Span| {
        let processes = run.config.processes.max(1);
        json!({
            "client": span.client,
            "process": span.client % processes,
            "begin_ns": since(span.begin_ns),
            "end_ns": since(span.end_ns),
        })
    };
    let example = |violation: &Violation| {
        json!({
            "key": key_name(run, violation.key),
            "held": span(violation.held),
            "granted": span(violation.granted),
            "held_as": violation.classes[0],
            "granted_as": violation.classes[1],
        })
    };
    json!({
        "verdict": run.verdict.safety,
        "sections": findings.sections,
        "keys": run.config.names(),
        "violation_count": findings.violations,
        "violations": findings.examples.iter().map(example).collect::<Vec<_>>(),
        "overruns": findings.overruns,
        "unresolved": findings.unresolved,
        "counter_exact": findings.lost_updates == 0 && findings.torn_reads == 0,
        "lost_updates": findings.lost_updates,
        "torn_reads": findings.torn_reads,
        "unjudged_keys": findings.unjudged_keys,
    })
}

/// `null` unless the run was fenced.
fn fencing(run: &RunResult) -> Value {
    let Some(verdict) = run.verdict.fencing else { return Value::Null };
    let tokens = run.findings.tokens;
    json!({
        "verdict": verdict,
        "checked": tokens.checked,
        "violation_count": tokens.violations,
        "highest_token": tokens.highest,
        "uncontended": run.uncontended(),
        "second_round_trips": run.all_counts.raised,
        "one_round_trip_share": run.one_trip_share().and_then(num::finite),
    })
}

/// The lock name behind a cell of the checker.
pub(crate) fn key_name(run: &RunResult, cell: u64) -> String {
    let tree = run.config.mode.tree(run.config.keys);
    format!("{}{}", run.config.key_prefix, tree.name(cell % tree.cells().max(1)))
}

fn quality(run: &RunResult) -> Value {
    let summary = |metric: Metric| {
        let value = |p| run.totals.at(metric, p);
        json!({
            "p50": value(50.0),
            "p99": value(99.0),
            "max": run.totals.get(metric).map(Hist::max),
        })
    };
    json!({
        "valid": run.verdict.exit_code != 5,
        "sched_lag_ns": summary(Metric::SchedLag),
        "hiccup_ns": summary(Metric::Hiccup),
        "hold_late_ns": summary(Metric::HoldLate),
        "cpu_pct": num::finite(run.quality.cpu_pct),
        "cpu_share": num::finite(run.quality.cpu_share),
        "mean_burst": run.quality.mean_burst.and_then(num::finite),
        "processes_lost": run.quality.agents_lost,
    })
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            if place <= chunk.len() {
                let index = usize::try_from(group >> (18 - 6 * place) & 63).unwrap_or(0);
                text.push(char::from(LETTERS.get(index).copied().unwrap_or(b'=')));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    #[test]
    fn base64_has_the_vectors_of_rfc_4648() {
        for (plain, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn sums_counts_and_means_agree() {
        let mut hist = histogram();
        (1..=2_000_u64).for_each(|n| hist.saturating_record(n * 1_000));
        let value = latency(&hist, &[50.0, 99.0, 99.9]);
        let number = |key: &str| value[key].as_f64().unwrap();
        assert!((number("sum") / number("count") - number("mean")).abs() < 1e-6);
        assert_eq!(value["count"], 2_000);
        assert!((number("mean") / 1_000_500.0 - 1.0).abs() < 1e-3);
        let weak: Vec<bool> =
            (0..3).map(|at| value["percentiles"][at]["weak"].as_bool().unwrap()).collect();
        assert_eq!(weak, [false, false, true], "2 samples lie above p99.9");
        assert_eq!(latency(&histogram(), &[50.0])["mean"], 0.0);
    }
}
