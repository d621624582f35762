//! What passed at every node, interval by interval: at most [`MOST_COLUMNS`] of them, so that it
//! costs the same for a run of a minute as for one of six hours.
//!
//! Invariants:
//! 1. Every command and write of the measured time is in exactly one column.
//! 2. When the columns are full, each two become one; none is ever dropped.

use crate::backend::NodePassed;
use crate::document::{NodeColumns, NodeSeries};
use crate::num;
use crate::recorder::TICK_NS;

pub(crate) const MOST_COLUMNS: usize = 1_000;

/// Gathers what the processes see, as they tell of it.
#[derive(Clone, Debug)]
pub(crate) struct NodeTimes {
    ticks_per_column: usize,
    /// By column, then by node.
    columns: Vec<Vec<NodePassed>>,
}

impl NodeTimes {
    pub(crate) fn new(ticks_per_interval: u64) -> Self {
        let ticks_per_column = num::usize_of(ticks_per_interval).max(1);
        Self { ticks_per_column, columns: Vec::new() }
    }

    /// Adds what one process saw up to the end of tick `tick`, by node.
    pub(crate) fn add(&mut self, tick: usize, seen: &[NodePassed]) {
        while tick / self.ticks_per_column >= MOST_COLUMNS {
            self.fold();
        }
        let at = tick / self.ticks_per_column;
        if self.columns.len() <= at {
            self.columns.resize_with(at + 1, Vec::new);
        }
        if let Some(column) = self.columns.get_mut(at) {
            add_all(column, seen);
        }
    }

    fn fold(&mut self) {
        let halves = std::mem::take(&mut self.columns);
        for (at, half) in halves.into_iter().enumerate() {
            match self.columns.last_mut().filter(|_| at % 2 == 1) {
                None => self.columns.push(half),
                Some(whole) => add_all(whole, &half),
            }
        }
        self.ticks_per_column *= 2;
    }

    /// As it is written into files; empty of a lock without nodes.
    pub(crate) fn series(&self) -> NodeSeries {
        let nodes = self.columns.iter().map(Vec::len).max().unwrap_or(0);
        let of = |node: usize| -> NodeColumns {
            let passed = || {
                self.columns.iter().map(move |column| column.get(node).copied().unwrap_or_default())
            };
            NodeColumns {
                commands: passed().map(|of| of.commands).collect(),
                writes: passed().map(|of| of.writes).collect(),
                rtt_p50: passed().map(|of| of.rtt_p50_ns).collect(),
                rtt_p99: passed().map(|of| of.rtt_p99_ns).collect(),
            }
        };
        if nodes == 0 {
            return NodeSeries::default();
        }
        let interval_ns = (self.ticks_per_column as u64).saturating_mul(TICK_NS);
        NodeSeries { interval_ns, by_node: (0..nodes).map(of).collect() }
    }
}

fn add_all(all: &mut Vec<NodePassed>, seen: &[NodePassed]) {
    if all.len() < seen.len() {
        all.resize_with(seen.len(), NodePassed::default);
    }
    all.iter_mut().zip(seen).for_each(|(all, of)| all.add(of));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(commands: u64, rtt_ns: u64) -> NodePassed {
        let rtt = Some(rtt_ns);
        NodePassed { commands, writes: commands / 2, rtt_p50_ns: rtt, rtt_p99_ns: Some(9 * rtt_ns) }
    }

    #[test]
    fn counts_of_processes_add_up_and_the_slowest_round_trip_stays() {
        let mut times = NodeTimes::new(10);
        assert_eq!(times.series(), NodeSeries::default(), "a lock without nodes");
        times.add(9, &[seen(10, 100), seen(20, 200)]);
        times.add(9, &[seen(30, 50), seen(40, 300)]);
        // Cut short within the third interval, of which only one node is known.
        times.add(24, &[NodePassed { rtt_p50_ns: None, rtt_p99_ns: None, ..seen(6, 0) }]);
        let series = times.series();
        assert_eq!((series.interval_ns, series.by_node.len()), (1_000_000_000, 2));
        let [first, second] = &series.by_node[..] else { panic!("two nodes") };
        assert_eq!(
            (first.commands.as_slice(), &first.writes[..]),
            (&[40, 0, 6][..], &[20, 0, 3][..])
        );
        assert_eq!(first.rtt_p50, [Some(100), None, None]);
        assert_eq!(second.rtt_p99, [Some(2_700), None, None]);
        assert_eq!(second.commands, [60, 0, 0]);
    }

    #[test]
    fn a_run_of_six_hours_keeps_every_command_in_few_columns() {
        for ticks in [1_usize, 1_000, 1_001, 216_000] {
            let mut times = NodeTimes::new(1);
            (0..ticks).for_each(|tick| times.add(tick, &[seen(4, 7)]));
            let series = times.series();
            let columns = &series.by_node[0];
            assert!(columns.commands.len() <= MOST_COLUMNS, "{ticks}");
            assert_eq!(columns.commands.iter().sum::<u64>(), 4 * ticks as u64);
            assert_eq!(columns.rtt_p99.iter().flatten().max(), Some(&63));
            let spanned = columns.commands.len() as u64 * series.interval_ns;
            assert!(
                (ticks as u64 * TICK_NS..ticks as u64 * TICK_NS + series.interval_ns)
                    .contains(&spanned)
            );
        }
    }
}
