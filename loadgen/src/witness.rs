//! Watches the nodes from outside while the load is measured: how far away they are, by PING, and
//! what they did, by their own counters at both ends of the measured time.
//!
//! One thread and one connection per node, so that a node that is silent holds nobody up.
//!
//! Invariants:
//! 1. What this watcher asked is known and taken off; so are the engine's heartbeats, which the
//!    servers count themselves: each runs INFO twice, which no lock does.
//! 2. Counters and grants are read in the same instants, so their quotients mean something.
//! 3. A node that was restarted meanwhile, or that did not answer, is left out, not guessed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{self, NS_PER_MS, now_ns};
use crate::cluster::probe::{self, NodeCounters, READING_INFOS};
use crate::cluster::resp::Connection;
use crate::cluster::url::NodeUrl;
use crate::oracle::judge::{Grants, Oracle};
use crate::recorder::{Hist, histogram};

/// Between two PINGs to a node: rare enough to be no load.
const PING_EVERY_NS: u64 = 25 * NS_PER_MS;
/// How long a node may take to answer the watcher.
const LIMIT: Duration = Duration::from_millis(500);
/// What one heartbeat of the engine makes a server run, itself included: its script reads who the
/// server is, the time and two keys.
const HEARTBEAT: [(&str, u64); 4] = [("evalsha", 1), ("get", 2), ("info", 2), ("time", 1)];

/// What one node did within the measured time, without heartbeats and this watcher's questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeWork {
    pub(crate) commands: u64,
    /// By kind, those inside scripts included; empty where the node does not tell them apart, in
    /// which case heartbeats are still in [`NodeWork::commands`].
    pub(crate) kinds: BTreeMap<String, u64>,
    /// Heartbeats taken off.
    pub(crate) heartbeats: Option<u64>,
    /// Questions of the watcher taken off.
    pub(crate) probes: u64,
}

/// What was seen of one node.
#[derive(Debug)]
pub(crate) struct NodeSeen {
    pub(crate) work: Option<NodeWork>,
    pub(crate) pings: Hist,
}

/// What was seen of all.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) window_ns: u64,
    /// Granted within the window.
    pub(crate) grants: Grants,
    pub(crate) nodes: Vec<NodeSeen>,
}

/// The window that is watched.
#[derive(Clone, Copy, Debug)]
struct Window {
    from_ns: u64,
    to_ns: u64,
}

/// The watcher's threads.
#[derive(Debug)]
pub(crate) struct Witness {
    over: Arc<AtomicBool>,
    clerk: JoinHandle<(u64, Grants)>,
    nodes: Vec<JoinHandle<NodeSeen>>,
}

impl Witness {
    /// Watches `urls` from `from_ns` to `to_ns`, or until [`Witness::end`].
    pub(crate) fn start(
        urls: Vec<NodeUrl>,
        oracle: Arc<Oracle>,
        from_ns: u64,
        to_ns: u64,
    ) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let window = Window { from_ns, to_ns };
        let thread = || std::thread::Builder::new().name("witness".to_owned());
        let theirs = Arc::clone(&over);
        let clerk = thread().spawn(move || {
            wait(window.from_ns, &theirs);
            let (since_ns, before) = (now_ns(), oracle.grants());
            wait(window.to_ns, &theirs);
            (now_ns().saturating_sub(since_ns), oracle.grants().since(before))
        })?;
        let mut nodes = Vec::new();
        for url in urls {
            let theirs = Arc::clone(&over);
            nodes.push(thread().spawn(move || watch(&url, window, &theirs))?);
        }
        Ok(Self { over, clerk, nodes })
    }

    /// Ends the window if it has not ended by itself, and tells what was seen.
    pub(crate) fn end(self) -> Seen {
        self.over.store(true, Ordering::Release);
        let (window_ns, grants) = self.clerk.join().unwrap_or_default();
        let lost = |_| NodeSeen { work: None, pings: histogram() };
        let nodes = self.nodes.into_iter().map(|node| node.join().unwrap_or_else(lost)).collect();
        Seen { window_ns, grants, nodes }
    }
}

/// Sleeps to `until_ns`, or to the end of the watch: then false.
fn wait(until_ns: u64, over: &AtomicBool) -> bool {
    while !over.load(Ordering::Acquire) {
        let now = now_ns();
        if now >= until_ns {
            return true;
        }
        clock::sleep_until(until_ns.min(now + PING_EVERY_NS));
    }
    false
}

/// Watches one node.
fn watch(url: &NodeUrl, window: Window, over: &AtomicBool) -> NodeSeen {
    let mut seen = NodeSeen { work: None, pings: histogram() };
    let mut asker = Asker { url, connection: None, pings: 0, others: 0 };
    // Connected before the window, so that nothing of it has to be taken off.
    asker.with(Connection::ping);
    if !wait(window.from_ns, over) {
        return seen;
    }
    let before = asker.with(probe::read_counters);
    (asker.pings, asker.others) = (0, 0);
    loop {
        let sent_ns = now_ns();
        asker.pings += 1;
        if asker.with(Connection::ping).is_some() {
            seen.pings.saturating_record(now_ns().saturating_sub(sent_ns));
        }
        if !wait((now_ns() + PING_EVERY_NS).min(window.to_ns), over) || now_ns() >= window.to_ns {
            break;
        }
    }
    let after = asker.with(probe::read_counters);
    seen.work = work(before.as_ref(), after.as_ref(), asker.pings, asker.others);
    seen
}

/// A connection to one node that is made anew when it breaks.
struct Asker<'a> {
    url: &'a NodeUrl,
    connection: Option<Connection>,
    pings: u64,
    /// AUTH and SELECT.
    others: u64,
}

impl Asker<'_> {
    fn with<T>(&mut self, ask: impl FnOnce(&mut Connection) -> io::Result<T>) -> Option<T> {
        if self.connection.is_none() {
            self.connection = Connection::open(self.url, LIMIT).ok();
            let greeting = [self.url.password().is_some(), self.url.database() != 0];
            self.others += greeting.map(u64::from).iter().sum::<u64>();
        }
        let answer = ask(self.connection.as_mut()?).ok();
        if answer.is_none() {
            // A late answer would be taken for the next one.
            self.connection = None;
        }
        answer
    }
}

/// What lies between two readings on one connection, less `pings`, `others` and the INFOs of one
/// reading, and less the heartbeats.
fn work(
    before: Option<&NodeCounters>,
    after: Option<&NodeCounters>,
    pings: u64,
    others: u64,
) -> Option<NodeWork> {
    let (before, after) = before.zip(after)?;
    if before.run_id.is_none() || before.run_id != after.run_id {
        return None;
    }
    let probes = pings + others + READING_INFOS;
    if after.kinds.is_empty() {
        let more = after.commands?.checked_sub(before.commands?)?.saturating_sub(probes);
        return Some(NodeWork { commands: more, probes, ..NodeWork::default() });
    }
    let mut kinds = BTreeMap::new();
    for (kind, count) in &after.kinds {
        let more = count.checked_sub(before.kinds.get(kind).copied().unwrap_or(0))?;
        kinds.insert(kind.clone(), more);
    }
    take(&mut kinds, "ping", pings);
    take(&mut kinds, "info", READING_INFOS);
    let heartbeats = kinds.get("info").copied().unwrap_or(0) / 2;
    for (kind, each) in HEARTBEAT {
        take(&mut kinds, kind, each * heartbeats);
    }
    kinds.retain(|_, count| *count > 0);
    let sum: u64 = kinds.values().sum();
    let commands = sum.saturating_sub(others);
    Some(NodeWork { commands, kinds, heartbeats: Some(heartbeats), probes })
}

fn take(kinds: &mut BTreeMap<String, u64>, kind: &str, n: u64) {
    if let Some(count) = kinds.get_mut(kind) {
        *count = count.saturating_sub(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(run_id: &str, kinds: &[(&str, u64)]) -> NodeCounters {
        let kinds: BTreeMap<String, u64> =
            kinds.iter().map(|&(kind, n)| (kind.to_owned(), n)).collect();
        let commands = Some(kinds.values().sum());
        NodeCounters { run_id: Some(run_id.to_owned()), commands, kinds, ..NodeCounters::default() }
    }

    #[test]
    fn what_the_watcher_asked_and_heartbeats_are_taken_off() {
        let before = reading("a", &[("info", 10), ("ping", 3), ("set", 100), ("evalsha", 7)]);
        let after = reading(
            "a",
            &[
                ("info", 10 + 4 + 2 * 5),
                ("ping", 3 + 40),
                ("set", 150),
                ("evalsha", 7 + 50 + 5),
                ("get", 60 + 2 * 5),
                ("time", 5),
            ],
        );
        let work = work(Some(&before), Some(&after), 40, 0).unwrap();
        let left: Vec<(&str, u64)> = work.kinds.iter().map(|(k, n)| (k.as_str(), *n)).collect();
        assert_eq!(left, [("evalsha", 50), ("get", 60), ("set", 50)]);
        assert_eq!((work.commands, work.heartbeats, work.probes), (160, Some(5), 44));
    }

    #[test]
    fn a_restarted_or_silent_node_says_nothing_and_one_without_kinds_its_sum() {
        let before = reading("a", &[("set", 1)]);
        assert_eq!(work(Some(&before), Some(&reading("b", &[("set", 9)])), 0, 0), None);
        assert_eq!(work(Some(&before), None, 0, 0), None);
        let sum = |commands| NodeCounters {
            run_id: Some("a".to_owned()),
            commands: Some(commands),
            ..NodeCounters::default()
        };
        let plain = work(Some(&sum(100)), Some(&sum(300)), 40, 0).unwrap();
        assert_eq!((plain.commands, plain.heartbeats), (200 - 44, None));
    }
}
