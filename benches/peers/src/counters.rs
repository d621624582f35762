//! What the servers and the kernel count, read twice and subtracted.
//!
//! INFO takes time under load, so each node's counters carry the number of cycles done at the
//! moment they were read: per-cycle figures divide by the cycles between *those* two moments.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::Result;
use crate::window::Window;
use crate::wire::{Wire, info_field};

/// Commands that only run inside the peers' scripts, or that only the observer sends. INFO counts
/// calls from scripts as well, so they are left out of "commands per cycle".
const NOT_FROM_PEERS: [&str; 9] =
    ["get", "mget", "del", "unlink", "exists", "pexpire", "pttl", "info", "dbsize"];

/// One node's counters at one moment.
#[derive(Debug)]
pub(crate) struct NodeCounters {
    cycles: f64,
    reads: u64,
    writes: u64,
    calls: BTreeMap<String, u64>,
}

impl NodeCounters {
    pub(crate) fn read(wire: &mut Wire, window: &Window) -> Result<Self> {
        let before = window.total_cycles();
        let info = wire.text(&["INFO", "all"])?;
        let after = window.total_cycles();
        let number = |name: &str| -> Result<u64> {
            let field = info_field(&info, name).ok_or_else(|| format!("INFO has no {name}"))?;
            Ok(field.parse()?)
        };
        let calls = info.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = rest.split(',').next()?.parse().ok()?;
            Some((name.to_ascii_lowercase(), calls))
        });
        Ok(Self {
            cycles: (before + after) as f64 / 2.0,
            reads: number("total_reads_processed")?,
            writes: number("total_writes_processed")?,
            calls: calls.collect(),
        })
    }
}

/// Sums over the nodes, per cycle.
#[derive(Debug, Default)]
pub(crate) struct PerCycle {
    pub(crate) reads: f64,
    pub(crate) writes: f64,
    /// Client-sent commands.
    pub(crate) commands: f64,
    /// Every command by name, script-inner calls included.
    pub(crate) calls: BTreeMap<String, f64>,
}

pub(crate) fn per_cycle(begin: &[NodeCounters], end: &[NodeCounters]) -> PerCycle {
    let mut sum = PerCycle::default();
    for (begin, end) in begin.iter().zip(end) {
        let cycles = (end.cycles - begin.cycles).max(1.0);
        // The second INFO's own read, and the first one's own write, fall between the two.
        sum.reads += (end.reads - begin.reads).saturating_sub(1) as f64 / cycles;
        sum.writes += (end.writes - begin.writes).saturating_sub(1) as f64 / cycles;
        for (name, calls) in &end.calls {
            let calls = calls - begin.calls.get(name).copied().unwrap_or(0);
            if calls == 0 {
                continue;
            }
            let per_cycle = calls as f64 / cycles;
            *sum.calls.entry(name.clone()).or_default() += per_cycle;
            if !NOT_FROM_PEERS.contains(&name.as_str()) {
                sum.commands += per_cycle;
            }
        }
    }
    sum
}

/// CPU time used up to one moment, by whom.
#[derive(Debug)]
pub(crate) struct Cpu {
    pub(crate) at: Instant,
    pub(crate) client: Duration,
    pub(crate) servers: Duration,
    spinners: Duration,
    machine_busy: Duration,
}

impl Cpu {
    pub(crate) fn read(servers: &[u32], spinners: &[u32]) -> Result<Self> {
        let client = clock_gettime(ClockId::ProcessCPUTime);
        Ok(Self {
            at: Instant::now(),
            client: Duration::new(client.tv_sec as u64, client.tv_nsec as u32),
            servers: of_processes(servers)?,
            spinners: of_processes(spinners)?,
            machine_busy: of_machine()?,
        })
    }

    /// CPU used since `begin` by everybody else on the machine, in per cent of one core.
    pub(crate) fn others_percent(&self, begin: &Self) -> f64 {
        let ours = |cpu: &Self| (cpu.client + cpu.servers + cpu.spinners).as_secs_f64();
        let busy = self.machine_busy.as_secs_f64() - begin.machine_busy.as_secs_f64();
        let others = busy - (ours(self) - ours(begin));
        100.0 * others / self.at.duration_since(begin.at).as_secs_f64()
    }
}

fn of_processes(pids: &[u32]) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for pid in pids {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // Nanoseconds on a CPU, run queue wait, slices. /proc/PID/stat has 10 ms grain.
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let on_cpu = text.split_whitespace().next().unwrap_or("0");
            sum += Duration::from_nanos(on_cpu.parse()?);
        }
    }
    Ok(sum)
}

fn of_machine() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    // user nice system idle iowait irq softirq steal; a tick is 10 ms on every Linux we know.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum();
    Ok(Duration::from_millis(busy * 10))
}
