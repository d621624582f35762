//! Watches the nodes from outside while the load is measured: how far away they are, by PING, what
//! they did, by their own counters at both ends of the measured time, and, where that is asked for,
//! whether they hold what the library says it holds ([`locks`]).
//!
//! One thread and one connection per node, so that a node that is silent holds nobody up.
//!
//! Invariants:
//! 1. What this watcher asked is known and taken off; so are the engine's heartbeats, which the
//!    servers count themselves: each runs INFO twice, which no lock does.
//! 2. Counters and grants are read in the same instants, so their quotients mean something.
//! 3. A node that was restarted meanwhile, or that did not answer, is left out, not guessed.

pub(crate) mod locks;
mod nodes;
pub(crate) mod report;
pub(crate) mod sight;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{self, NS_PER_MS, now_ns};
use crate::cluster::probe::{self, NodeCounters, READING_INFOS};
use crate::cluster::resp::Connection;
use crate::cluster::url::NodeUrl;
use crate::oracle::judge::{Grants, Oracle};
use crate::recorder::{Hist, histogram};
use locks::{Setup, Sightings};

/// Between two PINGs to a node: rare enough to be no load.
const PING_EVERY_NS: u64 = 25 * NS_PER_MS;
/// How long a node may take to answer the watcher.
const LIMIT: Duration = Duration::from_millis(500);
/// What one heartbeat of the engine makes a server run, itself included: its script reads who the
/// server is, the time and two keys.
const HEARTBEAT: [(&str, u64); 4] = [("evalsha", 1), ("get", 2), ("info", 2), ("time", 1)];

/// Commands by their kinds.
type Kinds = BTreeMap<String, u64>;
/// What each node was asked by those who look at locks. Whoever reads a node's counters holds it
/// meanwhile, so that nothing is asked.
type Asked = RwLock<Vec<Kinds>>;

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
    /// Where it was asked for.
    pub(crate) locks: Option<Sightings>,
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
    locks: Option<JoinHandle<Sightings>>,
}

impl Witness {
    /// Watches `urls` from `from_ns` to `to_ns`, or until [`Witness::end`]; `locks`, where these
    /// are looked at as well.
    pub(crate) fn start(
        urls: Vec<NodeUrl>,
        oracle: Arc<Oracle>,
        from_ns: u64,
        to_ns: u64,
        locks: Option<Setup>,
    ) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let window = Window { from_ns, to_ns };
        let thread = || std::thread::Builder::new().name("witness".to_owned());
        let asked: Arc<Asked> = Arc::default();
        let locks = locks.map(|setup| {
            let (urls, oracle) = (urls.clone(), Arc::clone(&oracle));
            let (theirs, asked) = (Arc::clone(&over), Arc::clone(&asked));
            let look = move || locks::run(urls, &setup, &oracle, window, &theirs, &asked);
            thread().spawn(look)
        });
        let locks = locks.transpose()?;
        let theirs = Arc::clone(&over);
        let clerk = thread().spawn(move || {
            wait(window.from_ns, &theirs);
            let (since_ns, before) = (now_ns(), oracle.grants());
            wait(window.to_ns, &theirs);
            (now_ns().saturating_sub(since_ns), oracle.grants().since(before))
        })?;
        let mut nodes = Vec::new();
        for (at, url) in urls.into_iter().enumerate() {
            let (theirs, asked) = (Arc::clone(&over), Arc::clone(&asked));
            nodes.push(thread().spawn(move || watch(&url, window, &theirs, (&asked, at)))?);
        }
        Ok(Self { over, clerk, nodes, locks })
    }

    /// Ends the window if it has not ended by itself, and tells what was seen.
    pub(crate) fn end(self) -> Seen {
        self.over.store(true, Ordering::Release);
        let (window_ns, grants) = self.clerk.join().unwrap_or_default();
        let lost = |_| NodeSeen { work: None, pings: histogram() };
        let nodes = self.nodes.into_iter().map(|node| node.join().unwrap_or_else(lost)).collect();
        let locks = self.locks.map(|locks| locks.join().unwrap_or_default());
        Seen { window_ns, grants, nodes, locks }
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
fn watch(
    url: &NodeUrl,
    window: Window,
    over: &AtomicBool,
    (asked, at): (&Asked, usize),
) -> NodeSeen {
    let mut seen = NodeSeen { work: None, pings: histogram() };
    let mut asker = Asker { url, connection: None, pings: 0, others: 0 };
    // Connected before the window, so that nothing of it has to be taken off.
    asker.with(Connection::ping);
    if !wait(window.from_ns, over) {
        return seen;
    }
    let (before, asked_before) = asker.counters(asked, at);
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
    let (after, asked_after) = asker.counters(asked, at);
    let looks = since(&asked_before, &asked_after);
    seen.work = work(before.as_ref(), after.as_ref(), (asker.pings, asker.others), &looks);
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

    /// The node's counters, and what the node had been asked by then about locks.
    fn counters(&mut self, asked: &Asked, at: usize) -> (Option<NodeCounters>, Kinds) {
        let asked = asked.read().unwrap_or_else(PoisonError::into_inner);
        let counters = self.with(probe::read_counters);
        (counters, asked.get(at).cloned().unwrap_or_default())
    }
}

fn since(before: &Kinds, after: &Kinds) -> Kinds {
    let more = |(kind, n): (&String, &u64)| {
        (kind.clone(), n.saturating_sub(before.get(kind).copied().unwrap_or(0)))
    };
    after.iter().map(more).collect()
}

/// What lies between two readings on one connection, less `pings`, `others`, the INFOs of one
/// reading and `looks`, and less the heartbeats.
fn work(
    before: Option<&NodeCounters>,
    after: Option<&NodeCounters>,
    (pings, others): (u64, u64),
    looks: &Kinds,
) -> Option<NodeWork> {
    let (before, after) = before.zip(after)?;
    if before.run_id.is_none() || before.run_id != after.run_id {
        return None;
    }
    let probes = pings + others + READING_INFOS + looks.values().sum::<u64>();
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
    looks.iter().for_each(|(kind, n)| take(&mut kinds, kind, *n));
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
        let looks = Kinds::from([("set".to_owned(), 0), ("get".to_owned(), 7)]);
        let work = work(Some(&before), Some(&after), (40, 0), &looks).unwrap();
        let left: Vec<(&str, u64)> = work.kinds.iter().map(|(k, n)| (k.as_str(), *n)).collect();
        assert_eq!(left, [("evalsha", 50), ("get", 60 - 7), ("set", 50)]);
        assert_eq!((work.commands, work.heartbeats, work.probes), (160 - 7, Some(5), 44 + 7));
    }

    #[test]
    fn a_restarted_or_silent_node_says_nothing_and_one_without_kinds_its_sum() {
        let none = Kinds::new();
        let before = reading("a", &[("set", 1)]);
        assert_eq!(work(Some(&before), Some(&reading("b", &[("set", 9)])), (0, 0), &none), None);
        assert_eq!(work(Some(&before), None, (0, 0), &none), None);
        let sum = |commands| NodeCounters {
            run_id: Some("a".to_owned()),
            commands: Some(commands),
            ..NodeCounters::default()
        };
        let plain = work(Some(&sum(100)), Some(&sum(300)), (40, 0), &none).unwrap();
        assert_eq!((plain.commands, plain.heartbeats), (200 - 44, None));
    }
}
