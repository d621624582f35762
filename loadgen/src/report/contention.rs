//! What contention cost: how locks passed on, what that asked of the nodes, and how evenly the
//! waiters were served.

mod keys;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::format::{many, ns};
use crate::document::AttemptsOf;
use crate::driver::ClientReport;
use crate::num;
use crate::recorder::{Counts, Hist, histogram, merge};
use crate::witness::{NodeWork, Seen};
pub(crate) use keys::{HotKey, MOST_HOT_KEYS, hottest_keys, lines as hottest_lines};

/// How evenly the clients were served, over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fairness {
    pub(crate) clients: usize,
    /// Jain's index over granted sections, clients that asked alone; 1 is even. `None`: nobody
    /// asked.
    pub(crate) jain: Option<f64>,
    /// The same over processes, by their clients' means.
    pub(crate) jain_processes: Option<f64>,
    /// Of those that ended and those that did not.
    pub(crate) longest_wait_ns: u64,
    /// Clients that asked and never got a lock.
    pub(crate) starved: usize,
}

/// What the nodes ran for the locks of the measured time, by their own counters; heartbeats and
/// this program's questions are taken off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Commands {
    /// Nodes whose counters cover the whole window; the sums are over these.
    pub(crate) nodes_counted: usize,
    /// Those inside scripts included.
    pub(crate) commands: u64,
    pub(crate) per_acquisition: Option<f64>,
    /// By those that had waited for the predecessor's release; all commands are theirs, so it
    /// tells most where every grant is a handover.
    pub(crate) per_handover: Option<f64>,
    /// By those from one process to another: a handover inside a process asks no node.
    pub(crate) per_handover_between_processes: Option<f64>,
    pub(crate) kinds_per_acquisition: BTreeMap<String, f64>,
    /// Taken off; `None` where a node does not tell kinds apart, so that they are still in.
    pub(crate) heartbeats: Option<u64>,
    pub(crate) probes: u64,
}

/// How locks passed on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Contention {
    /// Where counters and grants were read at both ends.
    pub(crate) window_ns: u64,
    pub(crate) grants: u64,
    pub(crate) handovers: u64,
    pub(crate) handovers_between_processes: u64,
    /// Rounds of asking nodes, those of failed acquisitions included, by locks granted.
    pub(crate) attempts_per_acquisition: Option<f64>,
    pub(crate) hold_mean_ns: Option<f64>,
    /// Of all PINGs to all nodes, sent while the load ran.
    pub(crate) ping_p50_ns: Option<u64>,
    pub(crate) ping_p50_ns_by_node: Vec<Option<u64>>,
    /// The same PINGs in more figures; `null` of a node that never answered.
    #[serde(default)]
    pub(crate) ping_ns_by_node: Vec<Option<Pings>>,
    pub(crate) commands: Option<Commands>,
    /// The names that were granted most often in the measured time, the first of them first.
    #[serde(default)]
    pub(crate) hottest_keys: Vec<HotKey>,
}

/// PING round trips to one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pings {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Pings {
    fn of(hist: &Hist) -> Option<Self> {
        let at = |p| hist.value_at_percentile(p);
        let (p50, p90, p99) = (at(50.0), at(90.0), at(99.0));
        let pings = Self { count: hist.len(), p50, p90, p99, max: hist.max() };
        (!hist.is_empty()).then_some(pings)
    }
}

impl Contention {
    pub(crate) fn of(seen: &Seen, counts: &Counts, hold: Option<&Hist>) -> Self {
        let p50 = |hist: &Hist| (!hist.is_empty()).then(|| hist.value_at_percentile(50.0));
        let mut pings = histogram();
        seen.nodes.iter().for_each(|node| merge(&mut pings, &node.pings));
        let per = |part, whole| (whole > 0).then(|| num::share(part, whole));
        Self {
            window_ns: seen.window_ns,
            grants: seen.grants.all,
            handovers: seen.grants.handovers,
            handovers_between_processes: seen.grants.between_processes,
            attempts_per_acquisition: per(counts.attempts, counts.ok),
            hold_mean_ns: hold.filter(|hold| !hold.is_empty()).map(|hold| hold.mean()),
            ping_p50_ns: p50(&pings),
            ping_p50_ns_by_node: seen.nodes.iter().map(|node| p50(&node.pings)).collect(),
            ping_ns_by_node: seen.nodes.iter().map(|node| Pings::of(&node.pings)).collect(),
            commands: Commands::of(seen),
            hottest_keys: Vec::new(),
        }
    }

    /// Lines for people, without their lead; none where nobody ever waited.
    pub(crate) fn words(&self, nodes: usize, attempts: Option<&Hist>) -> Vec<String> {
        let mut lines = Vec::new();
        if self.handovers == 0 && attempts.is_none() {
            return lines;
        }
        let mut text = many(self.handovers, "handover", "handovers");
        if self.handovers_between_processes > 0 {
            let between = num::share(self.handovers_between_processes, self.handovers);
            text.push_str(&format!(", {:.0} % between processes", 100.0 * between));
        }
        if let Some(mean) = self.attempts_per_acquisition {
            text.push_str(&format!("; {mean:.2} attempts per acquisition"));
        }
        if let Some(hist) = attempts.filter(|hist| !hist.is_empty()) {
            let p99 = hist.value_at_percentile(99.0);
            text.push_str(&format!(" (contended: p99 {p99}, at most {})", hist.max()));
        }
        lines.push(text);
        lines.extend(self.commands.as_ref().and_then(|commands| commands.words(nodes)));
        let hold = self.hold_mean_ns.map(|mean| format!("held {} on average", mean_ns(mean)));
        let ping = self.ping_p50_ns.map(|ping| format!("PING p50 {} meanwhile", ns(ping)));
        let times: Vec<String> = hold.into_iter().chain(ping).collect();
        lines.extend((!times.is_empty()).then(|| times.join(", ")));
        lines
    }
}

fn mean_ns(mean: f64) -> String {
    ns(num::floor_u64(mean.round()))
}

impl Commands {
    /// `None` when no node could be read.
    fn of(seen: &Seen) -> Option<Self> {
        let works: Vec<&NodeWork> =
            seen.nodes.iter().filter_map(|node| node.work.as_ref()).collect();
        if works.is_empty() {
            return None;
        }
        let commands = works.iter().map(|work| work.commands).sum();
        let per = |n: u64, whole: u64| (whole > 0).then(|| num::share(n, whole));
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for (kind, n) in works.iter().flat_map(|work| &work.kinds) {
            *kinds.entry(kind.clone()).or_default() += n;
        }
        let grants = seen.grants;
        let each = |(kind, n): (String, u64)| Some((kind, per(n, grants.all)?));
        Some(Self {
            nodes_counted: works.len(),
            commands,
            per_acquisition: per(commands, grants.all),
            per_handover: per(commands, grants.handovers),
            per_handover_between_processes: per(commands, grants.between_processes),
            kinds_per_acquisition: kinds.into_iter().filter_map(each).collect(),
            heartbeats: works.iter().map(|work| work.heartbeats).sum(),
            probes: works.iter().map(|work| work.probes).sum(),
        })
    }

    fn words(&self, nodes: usize) -> Option<String> {
        const SHOWN: usize = 5;
        let mut text = format!("{:.1} commands per acquisition", self.per_acquisition?);
        if let Some(each) = self.per_handover {
            text.push_str(&format!(", {each:.1} per handover"));
        }
        if let Some(each) = self.per_handover_between_processes {
            text.push_str(&format!(", {each:.1} per one between processes"));
        }
        let of = many(nodes as u64, "node", "nodes");
        if self.nodes_counted < nodes {
            text.push_str(&format!(", over {} of {of}", self.nodes_counted));
        } else {
            text.push_str(&format!(", over {of}"));
        }
        let mut kinds: Vec<(&String, f64)> =
            self.kinds_per_acquisition.iter().map(|(kind, each)| (kind, *each)).collect();
        kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
        let kinds: Vec<String> =
            kinds.iter().take(SHOWN).map(|(kind, each)| format!("{kind} {each:.1}")).collect();
        if !kinds.is_empty() {
            text.push_str(&format!(": {}", kinds.join(", ")));
        }
        if self.heartbeats.is_none() {
            text.push_str("; heartbeats are in it");
        }
        Some(text)
    }
}

/// Jain's index: 1 when all are equal, 1/n when one has everything. `None` when all are 0.
fn jain(shares: &[f64]) -> Option<f64> {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share.powi(2)).sum();
    let index = (squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares));
    index.and_then(num::finite)
}

/// Over the clients of all processes; `oldest_ns` is the age of the oldest wait without an end.
pub(crate) fn fairness(clients: &[ClientReport], processes: u32, oldest_ns: u64) -> Fairness {
    let asking: Vec<&ClientReport> = clients.iter().filter(|client| client.asked > 0).collect();
    let granted: Vec<f64> = asking.iter().map(|client| client.granted as f64).collect();
    let mean = |process: u32| {
        let its = asking.iter().filter(|client| client.id % processes.max(1) == process);
        let (n, sum) = its.fold((0_u64, 0), |(n, sum), client| (n + 1, sum + client.granted));
        (n > 0).then(|| num::share(sum, n))
    };
    let means: Vec<f64> = (0..processes.max(1)).filter_map(mean).collect();
    let longest_ns = clients.iter().map(|client| client.longest_ns).max().unwrap_or(0);
    Fairness {
        clients: clients.len(),
        jain: jain(&granted),
        jain_processes: jain(&means).filter(|_| processes > 1),
        longest_wait_ns: longest_ns.max(oldest_ns),
        starved: asking.iter().filter(|client| client.granted == 0).count(),
    }
}

impl Fairness {
    /// One line for people; `None` where nobody asked.
    pub(crate) fn words(&self, processes: u32) -> Option<String> {
        let clients = many(self.clients as u64, "client", "clients");
        let mut text = format!("Jain index {:.3} over {clients}", self.jain?);
        if let Some(jain) = self.jain_processes {
            let processes = many(processes.into(), "process", "processes");
            text.push_str(&format!(", {jain:.3} over {processes}"));
        }
        let longest = ns(self.longest_wait_ns);
        text.push_str(&format!(", longest wait {longest}, {} starved", self.starved));
        Some(text)
    }
}

/// The distribution of attempts of contended acquisitions, for files.
pub(crate) fn attempts(hist: Option<&Hist>) -> Option<AttemptsOf> {
    let hist = hist.filter(|hist| !hist.is_empty())?;
    Some(AttemptsOf {
        count: hist.len(),
        mean: num::finite(hist.mean()),
        p50: hist.value_at_percentile(50.0),
        p99: hist.value_at_percentile(99.0),
        max: hist.max(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::judge::Grants;
    use crate::witness::NodeSeen;

    fn client(id: u32, asked: u64, granted: u64) -> ClientReport {
        ClientReport { id, asked, granted, longest_ns: id.into() }
    }

    #[test]
    fn jain_is_one_when_even_and_one_over_n_when_one_client_gets_all() {
        let even = fairness(&[client(0, 5, 5), client(1, 5, 5)], 1, 0);
        assert!((even.jain.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(even.jain_processes, None, "one process is not compared with itself");
        let one = fairness(&[client(0, 9, 8), client(1, 9, 0), client(2, 0, 0)], 1, 0);
        assert!(
            (one.jain.unwrap() - 0.5).abs() < 1e-12,
            "a client that never asked does not count"
        );
        assert_eq!((one.starved, one.longest_wait_ns, one.clients), (1, 2, 3));
        assert_eq!(fairness(&[], 1, 0).jain, None);
    }

    #[test]
    fn processes_are_compared_by_the_means_of_their_clients() {
        // Process 0 has two clients, process 1 one: each of them got as much.
        let clients = [client(0, 4, 4), client(1, 4, 4), client(2, 4, 4)];
        let even = fairness(&clients, 2, 77);
        assert!((even.jain_processes.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(even.longest_wait_ns, 77, "a wait without an end is the longest");
        let uneven = fairness(&[client(0, 4, 4), client(1, 4, 0), client(2, 4, 4)], 2, 0);
        assert!((uneven.jain_processes.unwrap() - 0.5).abs() < 1e-12);
        assert!(uneven.words(2).unwrap().contains("0.500 over 2 processes"));
    }

    fn seen() -> Seen {
        let work = |commands: u64| NodeWork {
            commands,
            kinds: BTreeMap::from([("set".to_owned(), 100), ("get".to_owned(), commands - 100)]),
            heartbeats: Some(3),
            probes: 44,
        };
        let mut pings = histogram();
        (1..=99).for_each(|n| pings.saturating_record(n * 1_000));
        let node = |commands| NodeSeen { work: Some(work(commands)), pings: pings.clone() };
        let lost = NodeSeen { work: None, pings: histogram() };
        let grants = Grants { all: 100, handovers: 50, between_processes: 20 };
        Seen { window_ns: 1, grants, nodes: vec![node(300), lost, node(500)], locks: None }
    }

    #[test]
    fn commands_are_counted_by_grant_and_by_handover_over_the_nodes_that_tell() {
        let counts = Counts { ok: 100, attempts: 250, ..Counts::default() };
        let contention = Contention::of(&seen(), &counts, None);
        let commands = contention.commands.as_ref().unwrap();
        assert_eq!((commands.nodes_counted, commands.commands), (2, 800));
        assert_eq!((commands.per_acquisition, commands.per_handover), (Some(8.0), Some(16.0)));
        assert_eq!(commands.per_handover_between_processes, Some(40.0));
        assert_eq!(commands.kinds_per_acquisition["get"], 6.0);
        assert_eq!((commands.heartbeats, commands.probes), (Some(6), 88));
        assert_eq!(contention.attempts_per_acquisition, Some(2.5));
        assert_eq!(contention.ping_p50_ns_by_node[1], None);
        assert_eq!(contention.ping_ns_by_node[1], None);
        let pings = contention.ping_ns_by_node[2].unwrap();
        assert_eq!((pings.count, Some(pings.p50)), (99, contention.ping_p50_ns_by_node[2]));
        assert!((98_900..99_200).contains(&pings.p99) && pings.max >= pings.p99, "{pings:?}");
        let ping = contention.ping_p50_ns.unwrap();
        assert!((49_900..50_100).contains(&ping), "{ping}");
        let text = contention.words(3, None).join(" / ");
        for words in [
            "50 handovers, 40 % between processes; 2.50 attempts",
            "8.0 commands per acquisition, 16.0 per handover, 40.0 per one between processes",
            "over 2 of 3 nodes: get 6.0, set 2.0",
            "PING p50 50.0µs",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn what_nobody_waited_for_is_not_spoken_of() {
        let grants = Grants { all: 10, ..Grants::default() };
        let quiet = Seen { grants, ..Seen::default() };
        let contention = Contention::of(&quiet, &Counts::default(), None);
        assert!(contention.words(0, None).is_empty());
        assert_eq!((contention.commands, contention.ping_p50_ns), (None, None));
    }
}
