//! One process of a cell (one peer, one number of tasks, one number of nodes), so that no runtime,
//! allocator or connection of another cell is near. Its part of the result is one line of JSON.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::counters::{Cpu, CpuSpan, NodeCounters, NodeSpan};
use crate::gate::Moment;
use crate::ledger::Ledger;
use crate::peer::{Library, Peer};
use crate::window::Window;
use crate::wire::Wire;
use crate::{probe, tasks};

pub(crate) const TTL: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CellSpec {
    pub(crate) peer: Peer,
    /// Of this process.
    pub(crate) tasks: usize,
    pub(crate) process: u32,
    /// All tasks on one key instead of a key each.
    pub(crate) one_key: bool,
    /// On one key: how long each task holds it.
    pub(crate) hold: Duration,
    /// Where the holders of all processes are written down, if there are several.
    pub(crate) ledger: Option<PathBuf>,
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

/// What one process saw.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) window_s: f64,
    /// By task.
    pub(crate) cycles: Vec<u64>,
    pub(crate) acquire: Buckets,
    pub(crate) cycle: Buckets,
    pub(crate) held: Duration,
    pub(crate) max_wait: Duration,
    pub(crate) changes: u64,
    pub(crate) crossings: u64,
    pub(crate) violations: u64,
    pub(crate) cpu: CpuSpan,
    /// Only process 0 asks the servers.
    pub(crate) nodes: Vec<NodeSpan>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

/// A histogram as the values it counted and how often, without the empty ones.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Buckets(Vec<(u64, u64)>);

impl Buckets {
    fn new(histogram: &Histogram<u64>) -> Self {
        let steps = histogram.iter_recorded();
        Self(steps.map(|step| (step.value_iterated_to(), step.count_at_value())).collect())
    }

    pub(crate) fn add_to(&self, histogram: &mut Histogram<u64>) {
        for (value, count) in &self.0 {
            histogram.saturating_record_n(*value, *count);
        }
    }
}

/// Runs this process's tasks; a failure to measure is a failure, errors of the peer are part of
/// the result.
pub(crate) fn run(spec: CellSpec) -> Result<Part> {
    let mut wires = if spec.process == 0 { connect(&spec)? } else { Vec::new() };
    let ledger = spec.ledger.as_ref().map(|path| Ledger::open(path, spec.process));
    let window = Arc::new(Window::new(spec.tasks, ledger.transpose()?));
    let observer = {
        let (window, spec) = (Arc::clone(&window), spec.clone());
        // The peers start it once they are connected and checked, and the others are as well.
        move |begin| {
            thread::spawn(move || {
                let result = observe(&window, &spec, &mut wires, begin);
                window.stop();
                result
            })
        }
    };
    let observed = match spec.peer.library {
        Library::Probe | Library::ProbeNext => probe::run(&spec, &window, observer)?,
        _ => tasks::run(&spec, &window, observer)?,
    };
    let mut part = observed.join().map_err(|_| "the observer panicked")??;
    (part.errors, part.first_error) = window.errors();
    Ok(part)
}

/// The thread that opens, closes and reads the window.
pub(crate) type Observer = thread::JoinHandle<Result<Part>>;

pub(crate) fn connect(spec: &CellSpec) -> Result<Vec<Wire>> {
    Ok(spec.ports.iter().map(|port| Wire::connect(*port)).collect::<std::io::Result<_>>()?)
}

fn observe(window: &Window, spec: &CellSpec, wires: &mut [Wire], begin: Moment) -> Result<Part> {
    let mut counters = || -> Result<Vec<NodeCounters>> {
        wires.iter_mut().map(|wire| NodeCounters::read(wire, window)).collect()
    };
    let cycles = || window.tasks.iter().map(|task| task.cycles()).collect::<Vec<_>>();
    let of_holders = || {
        let counters = [&window.changes, &window.crossings];
        counters.map(|counter| counter.load(Relaxed))
    };
    let open = begin.after(Duration::from_secs_f64(spec.warmup_s));
    open.wait();
    let counters_begin = counters()?;
    window.measure();
    let begin = (Cpu::read(&spec.server_pids, &spec.spinner_pids)?, cycles());
    let holders_begin = of_holders();
    open.after(Duration::from_secs_f64(spec.seconds)).wait();
    let end = (Cpu::read(&spec.server_pids, &spec.spinner_pids)?, cycles());
    let holders_end = of_holders();
    let max_wait = window.max_wait();
    let counters_end = counters()?;
    window.stop();

    let latencies = window.latencies();
    let [changes, crossings] = holders_end;
    let [changes_begin, crossings_begin] = holders_begin;
    let spans = counters_begin.iter().zip(&counters_end);
    Ok(Part {
        window_s: end.0.at.duration_since(begin.0.at).as_secs_f64(),
        cycles: end.1.iter().zip(&begin.1).map(|(end, begin)| end - begin).collect(),
        acquire: Buckets::new(&latencies.acquire),
        cycle: Buckets::new(&latencies.cycle),
        held: latencies.held,
        max_wait,
        changes: changes - changes_begin,
        crossings: crossings - crossings_begin,
        violations: window.violations.load(Relaxed),
        cpu: end.0.since(&begin.0),
        nodes: spans.map(|(begin, end)| NodeSpan::between(begin, end)).collect(),
        ..Part::default()
    })
}
