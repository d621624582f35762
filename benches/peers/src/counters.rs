//! What the servers and the kernel count, read twice and subtracted.
//!
//! INFO takes time under load, so each node's counters carry the moment they were read, and the
//! number of this process's cycles then: per-cycle figures divide by the cycles between *those*
//! two moments, or, where other processes take part, by the rate of all times that span.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::window::Window;
use crate::wire::{Wire, info_field};

/// Commands that only run inside the peers' scripts, or that only the observer sends. INFO counts
/// calls from scripts as well, so they are left out of "commands per cycle".
///
/// `set` comes from both sides: a queue's script sets the lock for whom it popped, and pops nowhere
/// else, so as many are left out as there were `zpopmin`.
const NOT_FROM_PEERS: [&str; 22] = [
    "get",
    "mget",
    "del",
    "unlink",
    "exists",
    "pexpire",
    "pexpireat",
    "pttl",
    "type",
    "time",
    "hget",
    "hgetall",
    "hset",
    "hdel",
    "hvals",
    "zadd",
    "zrem",
    "zrange",
    "zpopmin",
    "publish",
    "info",
    "dbsize",
];

/// One node's counters at one moment.
#[derive(Debug)]
pub(crate) struct NodeCounters {
    at: Instant,
    cycles: f64,
    reads: u64,
    writes: u64,
    calls: BTreeMap<String, u64>,
}

impl NodeCounters {
    pub(crate) fn read(wire: &mut Wire, window: &Window) -> Result<Self> {
        let (began, before) = (Instant::now(), window.total_cycles());
        let info = wire.text(&["INFO", "all"])?;
        let (at, after) = (began + began.elapsed() / 2, window.total_cycles());
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
            at,
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

/// What one node counted between two moments.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct NodeSpan {
    seconds: f64,
    /// Cycles of the process that asked.
    cycles: f64,
    reads: u64,
    writes: u64,
    calls: BTreeMap<String, u64>,
}

impl NodeSpan {
    pub(crate) fn between(begin: &NodeCounters, end: &NodeCounters) -> Self {
        let calls = end.calls.iter().filter_map(|(name, calls)| {
            let calls = calls - begin.calls.get(name).copied().unwrap_or(0);
            (calls > 0).then(|| (name.clone(), calls))
        });
        Self {
            seconds: end.at.duration_since(begin.at).as_secs_f64(),
            cycles: end.cycles - begin.cycles,
            // The second INFO's own read, and the first one's own write, fall between the two.
            reads: (end.reads - begin.reads).saturating_sub(1),
            writes: (end.writes - begin.writes).saturating_sub(1),
            calls: calls.collect(),
        }
    }
}

/// `rate`: cycles per second of all processes, where the asking one was not alone.
pub(crate) fn per_cycle(nodes: &[NodeSpan], rate: Option<f64>) -> PerCycle {
    let mut sum = PerCycle::default();
    for node in nodes {
        let cycles = rate.map_or(node.cycles, |rate| rate * node.seconds).max(1.0);
        sum.reads += node.reads as f64 / cycles;
        sum.writes += node.writes as f64 / cycles;
        for (name, calls) in &node.calls {
            *sum.calls.entry(name.clone()).or_default() += *calls as f64 / cycles;
            if !NOT_FROM_PEERS.contains(&name.as_str()) {
                sum.commands += *calls as f64 / cycles;
            }
        }
        let popped = node.calls.get("zpopmin").copied().unwrap_or(0);
        let set = node.calls.get("set").copied().unwrap_or(0);
        sum.commands -= popped.min(set) as f64 / cycles;
    }
    sum
}

/// CPU time used up to one moment, by whom.
#[derive(Debug)]
pub(crate) struct Cpu {
    pub(crate) at: Instant,
    client: Duration,
    servers: Duration,
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

    pub(crate) fn since(&self, begin: &Self) -> CpuSpan {
        let servers = self.servers.saturating_sub(begin.servers).as_secs_f64();
        let spinners = self.spinners.saturating_sub(begin.spinners).as_secs_f64();
        let busy = self.machine_busy.saturating_sub(begin.machine_busy).as_secs_f64();
        CpuSpan {
            client_s: self.client.saturating_sub(begin.client).as_secs_f64(),
            servers_s: servers,
            rest_s: busy - servers - spinners,
        }
    }
}

/// CPU time used between two moments, in seconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct CpuSpan {
    /// This process.
    pub(crate) client_s: f64,
    pub(crate) servers_s: f64,
    /// Everybody but the servers and the spinners: the cell's processes and what else runs.
    pub(crate) rest_s: f64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scripts_call_is_no_command_and_others_cycles_count() {
        let calls = [("evalsha", 30), ("set", 25), ("zpopmin", 10), ("publish", 40), ("get", 9)];
        let node = NodeSpan {
            seconds: 2.0,
            cycles: 5.0,
            reads: 20,
            writes: 10,
            calls: calls.map(|(name, calls)| (name.to_owned(), calls)).into(),
        };
        let alone = per_cycle(std::slice::from_ref(&node), None);
        assert!((alone.commands - 45.0 / 5.0).abs() < 1e-9, "{}", alone.commands);
        assert!((alone.reads - 4.0).abs() < 1e-9);
        let among_others = per_cycle(&[node], Some(10.0));
        assert!((among_others.commands - 45.0 / 20.0).abs() < 1e-9, "{}", among_others.commands);
        assert!((among_others.calls["publish"] - 2.0).abs() < 1e-9);
    }
}
