//! Looks at the machine between probes and over them: how fast it is, and who else uses it.
//!
//! CPU time that no process of this run used is other programs'. The kernel counts that of the
//! machine by ticks and that of processes exactly, so the difference is good to a few percent.
//!
//! Invariant: what the kernel or a node does not tell is `None`, and nodes that may run elsewhere
//! make unknown what others used while they were under load.

use super::health::Health;
use crate::calibration::job;
use crate::clock;
use crate::num;
use crate::report::machine::CpuTimes;
use crate::run::RunError;
use crate::series::Series;

/// What the kernel calls a tick in /proc: 10 ms wherever this program runs.
const TICK_NS: u64 = 10 * clock::NS_PER_MS;

/// CPU time until an instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instant {
    machine: Option<CpuTimes>,
    /// Of this process and of those of its children that have ended.
    own_ns: Option<u64>,
    nodes_ns: Option<u64>,
}

impl Instant {
    pub(super) fn now(series: &Series) -> Self {
        Self { nodes_ns: series.node_cpu_ns(), ..Self::at_rest() }
    }

    /// Nodes without a load use nothing, wherever they are.
    fn at_rest() -> Self {
        let children = std::fs::read_to_string("/proc/self/stat").ok();
        let children = children.and_then(|stat| ended_children_ns(&stat));
        Self {
            machine: CpuTimes::now(),
            own_ns: children.map(|ns| ns.saturating_add(clock::cpu_ns())),
            nodes_ns: Some(0),
        }
    }

    /// What others had of the time since.
    pub(super) fn until(&self, later: &Self) -> Health {
        let Some((from, to)) = self.machine.zip(later.machine) else { return Health::default() };
        let all = to.all.saturating_sub(from.all);
        let more = |pick: fn(&Self) -> Option<u64>| pick(later)?.checked_sub(pick(self)?);
        let ours = more(|at| at.own_ns).zip(more(|at| at.nodes_ns)).map(|(own, nodes)| own + nodes);
        let programs_ns = to.programs.saturating_sub(from.programs).saturating_mul(TICK_NS);
        let share = |ns: u64| (all > 0).then(|| num::share(ns, all.saturating_mul(TICK_NS)));
        Health {
            job_ns: None,
            others: ours.and_then(|ours| share(programs_ns.saturating_sub(ours))),
            stolen: share(to.steal.saturating_sub(from.steal).saturating_mul(TICK_NS)),
        }
    }
}

/// Of /proc/self/stat: the time of children that were waited for, behind the name in brackets.
fn ended_children_ns(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(13)? + ticks(14)?).saturating_mul(TICK_NS))
}

/// The machine while it rests for `rest_ns`, and how fast it is then.
pub(super) fn look(series: &Series, rest_ns: u64) -> Result<Health, RunError> {
    let before = Instant::at_rest();
    series.sleep(rest_ns)?;
    let rested = before.until(&Instant::at_rest());
    Ok(Health { job_ns: job::job_ns(), ..rested })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(all: u64, programs: u64, steal: u64, own_ns: u64, nodes_ns: Option<u64>) -> Instant {
        let stat = format!("cpu {programs} 0 0 {} 0 0 0 {steal} 0", all - programs - steal);
        let machine = crate::report::machine::cpu_times(&stat);
        Instant { machine, own_ns: Some(own_ns), nodes_ns }
    }

    #[test]
    fn what_neither_this_process_nor_a_node_used_is_others() {
        let begin = at(1_000, 100, 10, 5 * TICK_NS, Some(0));
        let end = at(1_400, 300, 14, 105 * TICK_NS, Some(60 * TICK_NS));
        let health = begin.until(&end);
        assert_eq!((health.others, health.stolen), (Some(0.1), Some(0.01)));
        let elsewhere = begin.until(&at(1_400, 300, 14, 105 * TICK_NS, None));
        assert_eq!((elsewhere.others, elsewhere.stolen), (None, Some(0.01)));
        // Counted by ticks, a machine may seem to have done less than its processes.
        assert_eq!(begin.until(&at(1_400, 110, 10, 105 * TICK_NS, Some(0))).others, Some(0.0));
        assert_eq!(begin.until(&begin), Health::default(), "no time has passed");
        let unknown = Instant { machine: None, ..end };
        assert_eq!(begin.until(&unknown), Health::default());
    }

    #[test]
    fn the_time_of_children_stands_behind_the_name_whatever_that_is() {
        let stat = "12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 11 12 30 40 20 0";
        assert_eq!(ended_children_ns(stat), Some(70 * TICK_NS));
        assert_eq!(ended_children_ns("12 (a"), None);
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(ended_children_ns(&own).is_some(), "{own}");
    }
}
