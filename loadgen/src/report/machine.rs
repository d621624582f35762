//! The machine a run was made on, from /proc and /sys. What they do not tell is `None`.

use std::fs::File;
use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::num;

/// Longer files of /proc and /sys are read up to here.
const MOST_BYTES: u64 = 1 << 20;
const MOST_TEXT: usize = 200;

/// What is known of the machine and of the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    pub(crate) cpu: Option<String>,
    /// CPUs this process may run on, as the kernel writes them.
    pub(crate) affinity: Option<String>,
    /// The quota of its group: `max`, or CPUs.
    pub(crate) cgroup_cpu: Option<String>,
    pub(crate) virtualized: Option<bool>,
    pub(crate) governor: Option<String>,
    pub(crate) mem_bytes: Option<u64>,
    /// Open files allowed.
    pub(crate) nofile: Option<u64>,
    pub(crate) somaxconn: Option<u64>,
    pub(crate) clocksource: Option<String>,
    /// Before the run.
    pub(crate) loadavg_before: Option<String>,
    /// Time that the host gave to other guests during the run, of all CPU time.
    pub(crate) steal_pct: Option<f64>,
    /// CPU time that anybody used during the run, of all CPU time.
    pub(crate) busy_pct: Option<f64>,
    /// The commit this program was built from, where the build told it (`LOADGEN_GIT`).
    pub(crate) git: Option<String>,
    /// The compiler, where the build told it (`LOADGEN_RUSTC`).
    pub(crate) rustc: Option<String>,
}

/// CPU time of the whole machine since its start, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTimes {
    pub(crate) all: u64,
    idle: u64,
    pub(crate) steal: u64,
    /// Of programs, what the kernel did for them included; without interrupts.
    pub(crate) programs: u64,
}

impl CpuTimes {
    /// `None` where the kernel does not tell.
    pub(crate) fn now() -> Option<Self> {
        read("/proc/stat").and_then(|text| cpu_times(&text))
    }
}

/// A look at the machine before the run, to be completed after it.
#[derive(Debug, Default)]
pub(crate) struct Look {
    machine: Machine,
    before: Option<CpuTimes>,
}

fn read(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn short(text: String) -> String {
    text.chars().take(MOST_TEXT).collect()
}

/// The value of `name: value` lines.
fn field(text: &str, name: &str) -> Option<String> {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let value = values.into_iter().find(|(key, _)| key.trim() == name)?.1;
    Some(short(value.trim().to_owned()))
}

/// The first line of /proc/stat: user nice system idle iowait irq softirq steal ..; guest time is
/// in the first two already.
pub(crate) fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
    let at = |place: usize| ticks.get(place).copied();
    let (idle, programs) = (at(3)? + at(4)?, at(0)? + at(1)? + at(2)?);
    Some(CpuTimes { all: ticks.iter().sum(), idle, steal: at(7)?, programs })
}

fn nofile(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `max 100000` is no quota, `150000 100000` is one of 1.5 CPUs.
fn quota(text: &str) -> Option<String> {
    let (quota, period) = text.split_once(' ')?;
    if quota == "max" {
        return Some("max".to_owned());
    }
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.trim().parse().ok()?);
    (period > 0).then(|| format!("{:.2}", num::share(quota, period)))
}

impl Look {
    /// The machine before a run.
    pub(crate) fn before() -> Self {
        let cpu = read("/proc/cpuinfo").unwrap_or_default();
        let status = read("/proc/self/status").unwrap_or_default();
        let memory = read("/proc/meminfo").and_then(|text| field(&text, "MemTotal"));
        let kib = memory.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let flags = field_whole(&cpu, "flags");
        let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
        let clocksource = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let machine = Machine {
            cpu: field(&cpu, "model name"),
            affinity: field(&status, "Cpus_allowed_list"),
            cgroup_cpu: read("/sys/fs/cgroup/cpu.max").and_then(|text| quota(&text)),
            virtualized: flags.map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            governor: read(governor).map(short),
            mem_bytes: kib.map(|kib| kib.saturating_mul(1_024)),
            nofile: read("/proc/self/limits").and_then(|text| nofile(&text)),
            somaxconn: read("/proc/sys/net/core/somaxconn").and_then(|text| text.parse().ok()),
            clocksource: read(clocksource).map(short),
            loadavg_before: read("/proc/loadavg").map(short),
            steal_pct: None,
            busy_pct: None,
            git: option_env!("LOADGEN_GIT").map(ToOwned::to_owned),
            rustc: option_env!("LOADGEN_RUSTC").map(ToOwned::to_owned),
        };
        Self { machine, before: CpuTimes::now() }
    }

    /// The same with what the run made of it.
    pub(crate) fn after(self) -> Machine {
        let after = CpuTimes::now();
        let (steal_pct, busy_pct) = used(self.before, after).unzip();
        Machine { steal_pct, busy_pct, ..self.machine }
    }
}

fn field_whole<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut values = text.lines().filter_map(|line| line.split_once(':'));
    values.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// Stolen and used shares of the CPU time between two readings, in percent.
fn used(before: Option<CpuTimes>, after: Option<CpuTimes>) -> Option<(f64, f64)> {
    let (before, after) = before.zip(after)?;
    let all = after.all.checked_sub(before.all).filter(|&all| all > 0)?;
    let idle = after.idle.checked_sub(before.idle)?;
    let steal = after.steal.checked_sub(before.steal)?;
    let busy = all.checked_sub(idle)?.checked_sub(steal)?;
    Some((100.0 * num::share(steal, all), 100.0 * num::share(busy, all)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read_as_it_writes_them() {
        let stat = |steal: u64, idle: u64| format!("cpu  10 0 20 {idle} 5 0 1 {steal} 0 0\ncpu0 1");
        let times = cpu_times(&stat(4, 60)).unwrap();
        assert_eq!(times, CpuTimes { all: 100, idle: 65, steal: 4, programs: 30 });
        let later = cpu_times(&stat(54, 110));
        assert_eq!(used(Some(times), later), Some((50.0, 0.0)));
        assert_eq!(used(later, Some(times)), None, "a clock that ran back says nothing");
        assert_eq!(used(Some(times), Some(times)), None);
        assert_eq!(cpu_times("cpu 1 2"), None);
        let limits = "Limit  Soft\nMax open files            1024                 524288    files";
        assert_eq!((nofile(limits), nofile("")), (Some(1_024), None));
        let quotas = ["max 100000", "150000 100000", "1 0", "x"].map(quota);
        assert_eq!(quotas, [Some("max".to_owned()), Some("1.50".to_owned()), None, None]);
        assert_eq!(field("MemTotal:  16 kB\nx: y", "x"), Some("y".to_owned()));
    }

    #[test]
    fn this_machine_has_a_cpu_and_memory() {
        let machine = Look::before().after();
        assert!(machine.mem_bytes.is_some_and(|bytes| bytes > 1 << 20), "{machine:?}");
        assert!(machine.nofile.is_some(), "{machine:?}");
    }
}
