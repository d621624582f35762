//! This machine: limits, clocks, what else runs on it, and how late it is.

use rustix::process::{Resource, getrlimit};

use super::{Finding, Level};
use crate::clock::{self, NS_PER_MS, NS_PER_S, NS_PER_US, now_ns};
use crate::num;
use crate::recorder::histogram;
use crate::report::format::{ns, percentile};

/// How long stalls are watched for.
const WATCH_NS: u64 = 2 * NS_PER_S;
/// The sleeps by which they are found.
const NAP_NS: u64 = NS_PER_MS;
const CLOCK_READS: u64 = 100_000;
const SLEEPS: u64 = 200;
/// As long as the pacer sleeps at 5 000 arrivals per second.
const SLEEP_NS: u64 = 200 * NS_PER_US;
/// Open files of one process without its nodes, generously.
const FILES: u64 = 128;
const FILES_PER_NODE: u64 = 4;

pub(super) fn look(clients: u32, processes: u32) -> Vec<Finding> {
    let before = cpu_times();
    let stalls = stalls();
    let steal = before.zip(cpu_times()).map(|(before, after)| steal(before, after));
    vec![
        cores(processes),
        quota(read("/sys/fs/cgroup/cpu.max").as_deref()),
        load(),
        steal_finding(steal),
        governor(),
        clocksource(),
        instant(),
        oversleep(),
        stalls,
        files(clients),
        backlog(),
    ]
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn core_count() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

fn cores(processes: u32) -> Finding {
    let cores = core_count();
    let found = format!("{cores} for this program");
    let remedy = "generator, nodes and engine share them: results say what this machine can do, \
                  not what the locks can; use more cores, or nodes on other machines";
    Finding::warn_if(cores < u64::from(processes) + 2, "cores", found, remedy)
}

/// `max 100000` or `QUOTA PERIOD` in microseconds.
fn quota(cpu_max: Option<&str>) -> Finding {
    let name = "cgroup CPU quota";
    let Some((quota, period)) = cpu_max.and_then(|text| text.split_once(' ')) else {
        return Finding::unknown(name);
    };
    match (quota.parse::<f64>(), period.parse::<f64>()) {
        _ if quota == "max" => Finding::good(name, "none"),
        (Ok(quota), Ok(period)) if period > 0.0 => Finding::bad(
            name,
            Level::Warning,
            format!("{:.2} cores, then the kernel stops this program", quota / period),
            "a stop of up to a period looks like a slow lock: raise the limit (docker --cpus, \
             resources.limits.cpu) or pin cores instead",
        ),
        _ => Finding::unknown(name),
    }
}

fn load() -> Finding {
    let one = read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let Some(one) = one else { return Finding::unknown("load") };
    let cores = core_count();
    let found = format!("{one:.2} in the last minute, on {cores} cores");
    let remedy = "something else runs here: end it, or wait, and look again";
    Finding::warn_if(one > cores as f64 * 0.5, "load", found, remedy)
}

/// CPU time of all cores, and what the hypervisor took, in ticks.
fn cpu_times() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest times are inside user and nice.
    Some((fields.iter().take(8).sum(), *fields.get(7)?))
}

fn steal((before, stolen_before): (u64, u64), (after, stolen_after): (u64, u64)) -> f64 {
    let all = after.saturating_sub(before);
    num::share(stolen_after.saturating_sub(stolen_before), all)
}

fn steal_finding(steal: Option<f64>) -> Finding {
    let Some(steal) = steal else { return Finding::unknown("steal") };
    let found = format!("{:.1} % of the CPU time of the last 2 s", 100.0 * steal);
    let remedy = "the hypervisor gives this machine's CPU to others: use another machine, or \
                  compare only runs made in turn";
    Finding::warn_if(steal > 0.01, "steal", found, remedy)
}

fn governor() -> Finding {
    match read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") {
        None => Finding::unknown("CPU governor"),
        Some(governor) => {
            let remedy = "clocks that go down between arrivals make low rates look slow: \
                          `cpupower frequency-set -g performance`";
            Finding::warn_if(governor != "performance", "CPU governor", governor, remedy)
        }
    }
}

fn clocksource() -> Finding {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let Some(source) = read(path) else { return Finding::unknown("clock source") };
    let quick = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"];
    let remedy = "every look at the clock is a system call; boot with clocksource=tsc if the CPU's \
                  is stable";
    Finding::warn_if(!quick.contains(&source.as_str()), "clock source", source, remedy)
}

fn instant() -> Finding {
    let start_ns = now_ns();
    for _ in 0..CLOCK_READS {
        std::hint::black_box(now_ns());
    }
    let each = (now_ns() - start_ns) / CLOCK_READS;
    let remedy = "each lock looks at the clock about ten times; see the clock source";
    Finding::warn_if(each > 500, "look at the clock", ns(each), remedy)
}

fn oversleep() -> Finding {
    clock::sharpen_timers();
    let mut late = histogram();
    for _ in 0..SLEEPS {
        let until_ns = now_ns() + SLEEP_NS;
        clock::sleep_until(until_ns);
        late.saturating_record(now_ns().saturating_sub(until_ns));
    }
    let (p50, p99) = (late.value_at_percentile(50.0), late.value_at_percentile(99.0));
    let found = format!("{} p50, {} p99 after what was asked for", ns(p50), ns(p99));
    let remedy = "arrivals of an open loop leave late by as much: free the machine, or read \
                  response times with that in mind";
    Finding::warn_if(p99 > NS_PER_MS, "sleeps", found, remedy)
}

/// Naps of 1 ms, and how much longer they took: stalls of the machine, not of any program.
fn stalls() -> Finding {
    let (mut all, end_ns) = (histogram(), now_ns() + WATCH_NS);
    while now_ns() < end_ns {
        let until_ns = now_ns() + NAP_NS;
        clock::sleep_until(until_ns);
        all.saturating_record(now_ns().saturating_sub(until_ns));
    }
    let (p, max) = (99.0, all.max());
    let at = ns(all.value_at_percentile(p));
    let found = format!("{} {at}, longest {} within 2 s", percentile(p), ns(max));
    let remedy =
        "outliers of that size are the machine's: use a quieter one, or end what else runs";
    Finding::warn_if(max > 5 * NS_PER_MS, "stalls", found, remedy)
}

/// Clients share connections, one per process and node: it is the nodes' that count.
fn files(clients: u32) -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let needed = FILES + FILES_PER_NODE * 9;
    let Some(now) = limit.current else { return Finding::good("open files", "no limit") };
    let found = format!(
        "{now} allowed, about {needed} needed; {clients} clients share one connection per node"
    );
    let remedy = format!("`ulimit -n {}`", needed.next_power_of_two().max(1_024));
    match now {
        now if now < FILES => Finding::bad("open files", Level::Impossible, found, &remedy),
        // Servers that are started here inherit it, and keep room for their own clients.
        now => Finding::warn_if(now < 1_024, "open files", found, &remedy),
    }
}

fn backlog() -> Finding {
    let most = read("/proc/sys/net/core/somaxconn").and_then(|text| text.parse::<u64>().ok());
    let Some(most) = most else { return Finding::unknown("somaxconn") };
    let remedy = "`sysctl net.core.somaxconn=1024`, or reconnects after a fault are refused";
    Finding::warn_if(most < 511, "somaxconn", most.to_string(), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read_and_none_is_good() {
        assert_eq!(quota(Some("max 100000")).level, Level::Good);
        let half = quota(Some("50000 100000"));
        assert_eq!(half.level, Level::Warning);
        assert!(half.found.contains("0.50 cores"), "{}", half.found);
        for unknown in [None, Some(""), Some("x y"), Some("1 0")] {
            assert_eq!(quota(unknown).level, Level::Unknown);
        }
    }

    #[test]
    fn steal_is_a_share_of_what_passed() {
        assert!((steal((1_000, 10), (2_000, 60)) - 0.05).abs() < 1e-9);
        assert!(steal((5, 5), (5, 5)).abs() < 1e-9);
        assert_eq!(steal_finding(Some(0.05)).level, Level::Warning);
        assert_eq!(steal_finding(Some(0.0)).level, Level::Good);
        assert_eq!(steal_finding(None).level, Level::Unknown);
    }

    #[test]
    fn every_finding_of_this_machine_has_a_text_and_every_warning_a_remedy() {
        let all = look(64, 1);
        assert!(all.len() >= 10);
        for finding in all {
            assert!(!finding.found.is_empty() && !finding.found.contains("NaN"), "{finding:?}");
            assert_eq!(finding.remedy.is_some(), finding.level >= Level::Warning, "{finding:?}");
        }
    }
}
