//! One cell: one peer, one number of tasks, one number of nodes, in a process of its own, so that
//! no runtime, allocator or connection of another cell is near. Its result is one line of JSON.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::counters::{Cpu, NodeCounters, per_cycle};
use crate::peer::{Library, Peer};
use crate::window::Window;
use crate::wire::Wire;
use crate::{probe, tasks};

pub(crate) const TTL: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CellSpec {
    pub(crate) peer: Peer,
    pub(crate) tasks: usize,
    /// All tasks on one key instead of a key each.
    pub(crate) one_key: bool,
    pub(crate) ports: Vec<u16>,
    pub(crate) server_pids: Vec<u32>,
    pub(crate) spinner_pids: Vec<u32>,
    pub(crate) warmup_s: f64,
    pub(crate) seconds: f64,
}

impl CellSpec {
    pub(crate) fn key(&self, task: usize) -> String {
        if self.one_key { "peers:hot".to_owned() } else { format!("peers:{task:04}") }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect()
    }

    pub(crate) fn quorum(&self) -> usize {
        self.ports.len() / 2 + 1
    }
}

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
    pub(crate) jain: f64,
    pub(crate) max_wait_ms: f64,
    pub(crate) starved: usize,
    pub(crate) violations: u64,
}

/// Runs the cell; a failure to measure is a failure, errors of the peer are part of the result.
pub(crate) fn run(spec: CellSpec) -> Result<CellResult> {
    let mut wires = connect(&spec)?;
    for wire in &mut wires {
        wire.text(&["FLUSHALL", "SYNC"])?;
    }
    let window = Arc::new(Window::new(spec.tasks));
    let observer = {
        let (window, spec) = (Arc::clone(&window), spec.clone());
        // The peers start it once they are connected and checked.
        move || {
            thread::spawn(move || {
                let result = observe(&window, &spec, &mut wires);
                window.stop();
                result
            })
        }
    };
    let observed = match spec.peer.library {
        Library::Probe | Library::ProbeNext => probe::run(&spec, &window, observer)?,
        _ => tasks::run(&spec, &window, observer)?,
    };
    let mut result = observed.join().map_err(|_| "the observer panicked")??;
    result.keys_left = keys_left(&spec)?;
    let (errors, first_error) = window.errors();
    result.errors = errors;
    result.first_error = first_error;
    Ok(result)
}

/// The thread that opens, closes and reads the window.
pub(crate) type Observer = thread::JoinHandle<Result<CellResult>>;

fn connect(spec: &CellSpec) -> Result<Vec<Wire>> {
    Ok(spec.ports.iter().map(|port| Wire::connect(*port)).collect::<std::io::Result<_>>()?)
}

fn observe(window: &Window, spec: &CellSpec, wires: &mut [Wire]) -> Result<CellResult> {
    let mut counters = || -> Result<Vec<NodeCounters>> {
        wires.iter_mut().map(|wire| NodeCounters::read(wire, window)).collect()
    };
    let cycles = || window.tasks.iter().map(|task| task.cycles()).collect::<Vec<_>>();
    thread::sleep(Duration::from_secs_f64(spec.warmup_s));
    let counters_begin = counters()?;
    window.measure();
    let begin = (Cpu::read(&spec.server_pids, &spec.spinner_pids)?, cycles());
    let changes_begin = window.changes.load(Relaxed);
    thread::sleep(Duration::from_secs_f64(spec.seconds));
    let end = (Cpu::read(&spec.server_pids, &spec.spinner_pids)?, cycles());
    let changes = window.changes.load(Relaxed) - changes_begin;
    let max_wait = window.max_wait();
    let counters_end = counters()?;
    window.stop();

    let per_task: Vec<u64> = end.1.iter().zip(&begin.1).map(|(end, begin)| end - begin).collect();
    let done = per_task.iter().sum::<u64>() as f64;
    let each = done.max(1.0);
    let latencies = window.latencies();
    let us = |value: u64| value as f64 / 1e3;
    let per_cycle = per_cycle(&counters_begin, &counters_end);
    let cpu_us = |begin: Duration, end: Duration| (end - begin).as_secs_f64() * 1e6 / each;
    Ok(CellResult {
        cycles_per_s: done / end.0.at.duration_since(begin.0.at).as_secs_f64(),
        acquire_p50_us: us(latencies.acquire.value_at_quantile(0.5)),
        acquire_p99_us: us(latencies.acquire.value_at_quantile(0.99)),
        acquire_p999_us: us(latencies.acquire.value_at_quantile(0.999)),
        cycle_p50_us: us(latencies.cycle.value_at_quantile(0.5)),
        client_cpu_us: cpu_us(begin.0.client, end.0.client),
        server_cpu_us: cpu_us(begin.0.servers, end.0.servers),
        commands: per_cycle.commands,
        reads: per_cycle.reads,
        writes: per_cycle.writes,
        others_cpu_percent: end.0.others_percent(&begin.0),
        calls: per_cycle.calls,
        handover: spec.one_key.then(|| Handover {
            passed_on: changes as f64 / each,
            jain: jain(&per_task),
            max_wait_ms: max_wait.as_secs_f64() * 1e3,
            starved: per_task.iter().filter(|count| **count == 0).count(),
            violations: window.violations.load(Relaxed),
        }),
        ..CellResult::default()
    })
}

/// Jain's fairness index: 1 when all tasks got the same, 1/n when one got everything.
fn jain(counts: &[u64]) -> f64 {
    let sum: f64 = counts.iter().map(|count| *count as f64).sum();
    let squares: f64 = counts.iter().map(|count| (*count as f64).powi(2)).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / (counts.len() as f64 * squares) }
}

/// Keys on all nodes once late releases had their time; ttl 10 s does not hide one that leaked.
fn keys_left(spec: &CellSpec) -> Result<i64> {
    let mut wires = connect(spec)?;
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

#[cfg(test)]
mod tests {
    use super::jain;

    #[test]
    fn jain_spans_one_to_one_nth() {
        assert!((jain(&[5, 5, 5, 5]) - 1.0).abs() < 1e-12);
        assert!((jain(&[8, 0, 0, 0]) - 0.25).abs() < 1e-12);
        assert!(jain(&[0, 0]).abs() < 1e-12);
    }
}
