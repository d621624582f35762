//! One cell as the run sees it: its processes, started one by one, let go at the same moment, and
//! their parts added up.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdin;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::cell::{self, CellSpec, Part};
use crate::children::{self, Owned};
use crate::counters::per_cycle;
use crate::gate::{HEADROOM, Moment, READY};
use crate::ledger::Ledger;
use crate::window::Latencies;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct CellResult {
    pub(crate) cycles_per_s: f64,
    pub(crate) acquire_p50_us: f64,
    pub(crate) acquire_p99_us: f64,
    pub(crate) acquire_p999_us: f64,
    pub(crate) cycle_p50_us: f64,
    pub(crate) client_cpu_us: f64,
    pub(crate) server_cpu_us: f64,
    pub(crate) commands: f64,
    pub(crate) reads: f64,
    pub(crate) writes: f64,
    pub(crate) others_cpu_percent: f64,
    pub(crate) errors: u64,
    pub(crate) keys_left: i64,
    pub(crate) first_error: Option<String>,
    /// Commands per cycle by name, those run inside scripts included.
    pub(crate) calls: BTreeMap<String, f64>,
    pub(crate) handover: Option<Handover>,
}

/// What only a contended cell has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Handover {
    /// Acquisitions whose holder differs from the one before, of all.
    pub(crate) passed_on: f64,
    /// Acquisitions whose holder is of another process than the one before, of all.
    pub(crate) crossed: f64,
    /// Mean, as measured.
    pub(crate) hold_us: f64,
    pub(crate) jain: f64,
    pub(crate) max_wait_ms: f64,
    pub(crate) starved: usize,
    pub(crate) violations: u64,
}

/// Runs a cell in `processes` of its own; `whole` describes it as if it were one process.
pub(crate) fn run(whole: &CellSpec, processes: usize) -> Result<CellResult> {
    for wire in &mut cell::connect(whole)? {
        wire.text(&["FLUSHALL", "SYNC"])?;
    }
    if let Some(path) = &whole.ledger {
        Ledger::create(path)?;
    }
    let mut members = Vec::new();
    // One at a time: each checks the same key, and whoever is first may set the servers up.
    for process in 0..processes {
        let mut spec = whole.clone();
        spec.process = process as u32;
        spec.tasks = whole.tasks / processes + usize::from(process < whole.tasks % processes);
        if process > 0 {
            spec.server_pids.clear();
        }
        let member = Member::start(&spec)?;
        if member.line(READY_WITHIN)? != READY {
            return Err("the cell failed; its error is above".into());
        }
        members.push(member);
    }
    let begin = Moment::now().after(HEADROOM).line();
    for member in &mut members {
        member.input.write_all(begin.as_bytes())?;
    }
    let limit = Duration::from_secs_f64(whole.warmup_s + whole.seconds + 60.0);
    let deadline = Instant::now() + limit;
    let mut parts = Vec::new();
    for member in &members {
        let line = member.line(deadline.saturating_duration_since(Instant::now()))?;
        let part: Part =
            serde_json::from_str(&line).map_err(|_| "the cell failed; its error is above")?;
        parts.push(part);
    }
    drop(members);
    if let Some(path) = &whole.ledger {
        fs::remove_file(path)?;
    }
    let mut result = sum(&parts, whole.one_key);
    result.keys_left = keys_left(whole)?;
    Ok(result)
}

/// One process of the cell; its log goes to our standard error. Dropped, it is killed.
struct Member {
    input: ChildStdin,
    lines: Receiver<std::io::Result<String>>,
    _process: Owned,
}

impl Member {
    fn start(spec: &CellSpec) -> Result<Self> {
        let args = ["cell".to_owned(), serde_json::to_string(spec)?];
        let (process, input, output) = children::spawn_piped(&env::current_exe()?, &args)?;
        let (sender, lines) = mpsc::channel();
        // A thread reads, so that this one can give up; it sleeps while the cell runs.
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { input, lines, _process: process })
    }

    fn line(&self, limit: Duration) -> Result<String> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Ok(line?),
            Err(mpsc::RecvTimeoutError::Timeout) => Err("the cell did not end in time".into()),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err("the cell failed; its error is above".into())
            }
        }
    }
}

fn sum(parts: &[Part], one_key: bool) -> CellResult {
    let tasks: Vec<u64> = parts.iter().flat_map(|part| part.cycles.iter().copied()).collect();
    let done = tasks.iter().sum::<u64>() as f64;
    let each = done.max(1.0);
    let total = |field: fn(&Part) -> f64| parts.iter().map(field).sum::<f64>();
    // The windows begin and end at the same moments but for some waking up.
    let window_s = total(|part| part.window_s) / parts.len().max(1) as f64;
    let rate = if window_s > 0.0 { done / window_s } else { 0.0 };
    let mut latencies = Latencies::new();
    for part in parts {
        part.acquire.add_to(&mut latencies.acquire);
        part.cycle.add_to(&mut latencies.cycle);
        latencies.held += part.held;
    }
    let us = |value: u64| value as f64 / 1e3;
    let recorded = latencies.acquire.len().max(1) as f64;
    let first = parts.first();
    let nodes = first.map_or(&[][..], |part| &part.nodes);
    let per_cycle = per_cycle(nodes, (parts.len() > 1).then_some(rate));
    let client_s = total(|part| part.cpu.client_s);
    let rest_s = first.map_or(0.0, |part| part.cpu.rest_s);
    let max_wait = parts.iter().map(|part| part.max_wait).max().unwrap_or_default();
    CellResult {
        cycles_per_s: rate,
        acquire_p50_us: us(latencies.acquire.value_at_quantile(0.5)),
        acquire_p99_us: us(latencies.acquire.value_at_quantile(0.99)),
        acquire_p999_us: us(latencies.acquire.value_at_quantile(0.999)),
        cycle_p50_us: us(latencies.cycle.value_at_quantile(0.5)),
        client_cpu_us: client_s * 1e6 / each,
        server_cpu_us: first.map_or(0.0, |part| part.cpu.servers_s) * 1e6 / each,
        commands: per_cycle.commands,
        reads: per_cycle.reads,
        writes: per_cycle.writes,
        others_cpu_percent: 100.0 * (rest_s - client_s) / window_s.max(f64::MIN_POSITIVE),
        errors: parts.iter().map(|part| part.errors).sum(),
        keys_left: 0,
        first_error: parts.iter().find_map(|part| part.first_error.clone()),
        calls: per_cycle.calls,
        handover: one_key.then(|| Handover {
            passed_on: total(|part| part.changes as f64) / each,
            crossed: total(|part| part.crossings as f64) / each,
            hold_us: latencies.held.as_secs_f64() * 1e6 / recorded,
            jain: jain(&tasks),
            max_wait_ms: max_wait.as_secs_f64() * 1e3,
            starved: tasks.iter().filter(|count| **count == 0).count(),
            violations: parts.iter().map(|part| part.violations).sum(),
        }),
    }
}

/// Jain's fairness index: 1 when all tasks got the same, 1/n when one got everything.
fn jain(counts: &[u64]) -> f64 {
    let sum: f64 = counts.iter().map(|count| *count as f64).sum();
    let squares: f64 = counts.iter().map(|count| (*count as f64).powi(2)).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / (counts.len() as f64 * squares) }
}

/// Keys on all nodes once late releases had their time; ttl 10 s does not hide one that leaked.
fn keys_left(spec: &CellSpec) -> Result<i64> {
    let mut wires = cell::connect(spec)?;
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let mut left = 0;
        for wire in &mut wires {
            // Without the two in which the library keeps a node's epoch.
            left += wire.integer(&["DBSIZE"])?;
            left -= wire.integer(&["EXISTS", "redlatch:epoch", "redlatch:node"])?;
        }
        if left == 0 || Instant::now() > deadline {
            return Ok(left);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A process gives its own check 20 s.
const READY_WITHIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jain_spans_one_to_one_nth() {
        assert!((jain(&[5, 5, 5, 5]) - 1.0).abs() < 1e-12);
        assert!((jain(&[8, 0, 0, 0]) - 0.25).abs() < 1e-12);
        assert!(jain(&[0, 0]).abs() < 1e-12);
    }

    #[test]
    fn the_parts_of_all_processes_add_up() {
        let part = |cycles: [u64; 2], us: u64| {
            let text = format!(
                r#"{{"window_s": 2.0, "cycles": [{}, {}], "acquire": [[{}, 10]], "cycle": [],
                "held": {{"secs": 0, "nanos": 10000}}, "max_wait": {{"secs": {us}, "nanos": 0}},
                "changes": 6, "crossings": 2, "violations": 1,
                "cpu": {{"client_s": 0.5, "servers_s": 0.25, "rest_s": 2.0}}, "nodes": [],
                "errors": 0, "first_error": null}}"#,
                cycles[0],
                cycles[1],
                us * 1000
            );
            serde_json::from_str::<Part>(&text).unwrap()
        };
        let result = sum(&[part([4, 6], 100), part([10, 0], 900)], true);
        let contended = result.handover.unwrap();
        let near = |one: f64, other: f64| (one - other).abs() < other.abs() / 1e3 + 1e-9;
        assert!(near(result.cycles_per_s, 10.0));
        assert!(near(result.acquire_p50_us, 100.0), "{}", result.acquire_p50_us);
        assert!(near(result.acquire_p99_us, 900.0), "{}", result.acquire_p99_us);
        assert!(near(result.client_cpu_us, 5e4));
        assert!(near(result.others_cpu_percent, 50.0));
        assert!(near(contended.crossed, 0.2));
        assert!(near(contended.hold_us, 1.0));
        assert!(near(contended.jain, 400.0 / (4.0 * 152.0)));
        assert!(near(contended.max_wait_ms, 9e5));
        assert_eq!((contended.starved, contended.violations), (1, 2));
    }
}
