//! What an acquisition costs on both sides of the wire.
//!
//! The servers' side is the difference of their own counters over the whole run, warm-up included,
//! by the locks granted meanwhile, so batches and handshakes of the run are in it and nothing is
//! guessed: what a node does not tell, and a node that was restarted, is left out.

use serde::{Deserialize, Serialize};

use super::format::{many, ns};
use crate::clock::NS_PER_S;
use crate::cluster::probe::NodeCounters;
use crate::num;

/// What one node did during the run, by its own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerShare {
    /// With those inside scripts where the server tells kinds apart.
    pub(crate) commands: Option<u64>,
    /// Reads from sockets: fewer than commands where they come in batches.
    pub(crate) reads: Option<u64>,
    pub(crate) cpu_ns: Option<u64>,
}

/// Means per granted lock; of the servers, per node as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Locks granted in the whole run, warm-up included.
    pub(crate) acquisitions: u64,
    pub(crate) client_cpu_ns: Option<f64>,
    /// Nodes whose counters cover the whole run.
    pub(crate) nodes_counted: usize,
    pub(crate) node_cpu_ns: Option<f64>,
    pub(crate) node_commands: Option<f64>,
    pub(crate) node_reads: Option<f64>,
}

/// What a node did between two readings; `None` if it was restarted or did not answer.
pub(crate) fn share(
    before: Option<&NodeCounters>,
    after: Option<&NodeCounters>,
) -> Option<ServerShare> {
    let (before, after) = before.zip(after)?;
    if before.run_id.is_none() || before.run_id != after.run_id {
        return None;
    }
    let more = |pick: fn(&NodeCounters) -> Option<u64>| pick(after)?.checked_sub(pick(before)?);
    Some(ServerShare {
        commands: more(|of| of.commands),
        reads: more(|of| of.reads),
        cpu_ns: more(cpu_ns),
    })
}

/// CPU time that a node has used since its start.
pub(crate) fn cpu_ns(counters: &NodeCounters) -> Option<u64> {
    let seconds = counters.cpu_user_s? + counters.cpu_system_s?;
    Some(num::floor_u64((seconds * NS_PER_S as f64).round()))
}

impl Cost {
    /// Over `acquisitions` locks, for which the clients used `client_cpu_ns`.
    pub(crate) fn of(acquisitions: u64, client_cpu_ns: u64, nodes: &[Option<ServerShare>]) -> Self {
        let counted: Vec<ServerShare> = nodes.iter().flatten().copied().collect();
        let each = |pick: fn(&ServerShare) -> Option<u64>| {
            let known: Vec<u64> = counted.iter().filter_map(pick).collect();
            let whole = acquisitions.checked_mul(known.len() as u64).filter(|&whole| whole > 0)?;
            Some(num::share(known.iter().sum(), whole))
        };
        Self {
            acquisitions,
            client_cpu_ns: (acquisitions > 0).then(|| num::share(client_cpu_ns, acquisitions)),
            nodes_counted: counted.len(),
            node_cpu_ns: each(|node| node.cpu_ns),
            node_commands: each(|node| node.commands),
            node_reads: each(|node| node.reads),
        }
    }

    /// One line for people; `None` when no lock was granted.
    pub(crate) fn words(&self, nodes: usize) -> Option<String> {
        let cpu = |value: f64| format!("CPU {}", ns(num::floor_u64(value)));
        let client = cpu(self.client_cpu_ns?);
        let plain = |value: Option<f64>, what| value.map(|value| format!("{value:.2} {what}"));
        let told = [
            self.node_cpu_ns.map(cpu),
            plain(self.node_commands, "commands"),
            plain(self.node_reads, "reads"),
        ];
        let told: Vec<String> = told.into_iter().flatten().collect();
        if told.is_empty() {
            return Some(format!(
                "per acquisition: client {client}; every node was restarted or does not tell"
            ));
        }
        let some = if self.nodes_counted < nodes {
            let of = many(nodes as u64, "node", "nodes");
            format!(" ({} of {of}, the rest restarted or does not tell)", self.nodes_counted)
        } else {
            String::new()
        };
        Some(format!("per acquisition: client {client}; each node {}{some}", told.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(run_id: &str, commands: u64, cpu_s: f64) -> NodeCounters {
        NodeCounters {
            run_id: Some(run_id.to_owned()),
            commands: Some(commands),
            cpu_user_s: Some(cpu_s),
            cpu_system_s: Some(1.0),
            ..NodeCounters::default()
        }
    }

    #[test]
    fn a_restarted_or_silent_node_does_not_count_and_nothing_unknown_is_a_number() {
        let before = reading("a", 100, 2.0);
        let share = |after: Option<&NodeCounters>| share(Some(&before), after);
        let known = share(Some(&reading("a", 500, 2.5))).unwrap();
        assert_eq!(
            (known.commands, known.reads, known.cpu_ns),
            (Some(400), None, Some(500_000_000))
        );
        assert_eq!(share(Some(&reading("b", 500, 2.5))), None);
        assert_eq!(share(None), None);
        let cost = Cost::of(200, 4_000_000, &[Some(known), None, Some(known)]);
        assert_eq!((cost.nodes_counted, cost.node_commands), (2, Some(2.0)));
        assert_eq!((cost.client_cpu_ns, cost.node_cpu_ns), (Some(20_000.0), Some(2_500_000.0)));
        assert_eq!(cost.node_reads, None);
        let text = cost.words(3).unwrap();
        assert!(text.contains("client CPU 20.0µs; each node CPU 2.50ms, 2.00 commands"), "{text}");
        assert!(text.contains("(2 of 3 nodes"), "{text}");
    }

    #[test]
    fn without_locks_there_is_no_cost_of_one() {
        let cost = Cost::of(0, 5, &[Some(ServerShare { commands: Some(4), ..Default::default() })]);
        assert_eq!((cost.client_cpu_ns, cost.node_commands), (None, None));
        assert_eq!(cost.words(1), None);
        let text = Cost::of(5, 5, &[None]).words(1).unwrap();
        assert!(text.ends_with("every node was restarted or does not tell"), "{text}");
    }
}
