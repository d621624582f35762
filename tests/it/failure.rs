//! Nodes that die, stall, come back, refuse: what callers notice, and what stays on the nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redlatch::testing::TestNode;
use redlatch::{AcquireError, InspectError, NodeState, Redlock, Renewal, Verdict};

use crate::server::{Cluster, Reply, Server};
use crate::support::{
    all_up, builder, connect, drained, emptied, held_everywhere, ms, since_boot, test_nodes, until,
    urls, within,
};

const TTL: Duration = Duration::from_secs(60);
/// Where a node comes back that may have forgotten locks: its votes do not count for so long.
const SHORT: Duration = Duration::from_secs(3);
/// [`SHORT`], the drift allowance for the clocks at both ends, and the grain of expiry.
const QUARANTINE: Duration = Duration::from_millis(3_100);

fn state(locks: &Redlock, node: usize) -> NodeState {
    locks.nodes()[node].state
}

fn reason(locks: &Redlock, node: usize) -> String {
    locks.nodes()[node].reason.clone().unwrap_or_default()
}

/// Callers on locks of their own and one shared lock, until told to stop.
struct Load {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    cycles: Arc<AtomicU64>,
}

impl Load {
    fn start(locks: &Redlock, ttl: Duration) -> Self {
        let (stop, cycles) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let inside = Arc::new(AtomicBool::new(false));
        let tasks = (0..16).map(|task| {
            let (locks, stop, cycles) = (locks.clone(), Arc::clone(&stop), Arc::clone(&cycles));
            let inside = Arc::clone(&inside);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let own = locks.acquire(format!("own:{task}")).ttl(ttl).await.unwrap();
                    let shared = locks.acquire("shared").ttl(ttl).await.unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two holders");
                    tokio::task::yield_now().await;
                    inside.store(false, Ordering::SeqCst);
                    drop((own, shared));
                    cycles.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Self { tasks: tasks.collect(), stop, cycles }
    }

    async fn cycles(&self, more: u64) {
        let target = self.cycles.load(Ordering::Relaxed) + more;
        let stuck = || self.tasks.iter().any(tokio::task::JoinHandle::is_finished);
        until("the callers to get on", || stuck() || self.cycles.load(Ordering::Relaxed) >= target)
            .await;
        assert!(!stuck(), "an acquisition failed");
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            within(task).await.expect("no acquisition fails");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_five_killed_or_paused_fails_nobody() {
    let cluster = Cluster::start(5);
    // The defaults but for the ttl: a node counts as suspect after 50 ms.
    let builder = Redlock::builder().nodes(cluster.urls()).ttl(SHORT).max_ttl(SHORT);
    let locks = all_up(builder.connect().await.unwrap()).await;
    let load = Load::start(&locks, SHORT);
    load.cycles(200).await;
    cluster[0].kill();
    load.cycles(500).await;
    until("the death to be seen", || state(&locks, 0) == NodeState::Down).await;
    assert!(!reason(&locks, 0).is_empty());
    cluster[0].restart();
    until("the quarantine", || state(&locks, 0) == NodeState::Quarantined).await;
    load.cycles(200).await;
    until("the node to be back", || state(&locks, 0) == NodeState::Up).await;
    load.cycles(200).await;
    cluster[1].pause();
    load.cycles(500).await;
    until("the pause to be seen", || state(&locks, 1) != NodeState::Up).await;
    cluster[1].resume();
    until("the node to be back", || state(&locks, 1) == NodeState::Up).await;
    load.cycles(200).await;
    load.end().await;
    assert_eq!((locks.stats().failed, locks.stats().lost), (0, 0));
    drained(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_the_error_names_the_nodes_and_the_fleet_recovers() {
    let cluster = Cluster::start(5);
    let builder = builder(cluster.urls()).ttl(SHORT).max_ttl(SHORT);
    let locks = all_up(builder.connect().await.unwrap()).await;
    let held = within(locks.acquire("held")).await.unwrap();
    cluster[..3].iter().for_each(Server::kill);
    let wait = ms(300);
    let error = within(locks.acquire("r").wait_for(wait)).await.unwrap_err();
    assert!(matches!(&error, AcquireError::NoQuorum { .. }), "{error}");
    let report = error.report().unwrap();
    assert!(report.waited >= wait, "{report}");
    for (vote, server) in report.votes.iter().zip(&cluster[..3]) {
        assert_eq!((vote.verdict, &vote.endpoint), (Verdict::NotSent, &server.url()), "{error}");
        assert!(!vote.reason.as_deref().unwrap_or("").is_empty(), "{error}");
        assert!(error.to_string().contains(&server.url()), "{error}");
    }
    let once = within(locks.try_acquire("r")).await.unwrap_err();
    assert!(matches!(&once, AcquireError::NoQuorum { .. }), "{once}");
    let unconfirmed = within(held.release()).await;
    assert!(unconfirmed.is_err(), "two of five cannot confirm");
    let inspected = within(locks.inspect("r")).await;
    assert!(matches!(inspected, Err(InspectError::NoQuorum { answered: 0..=2, .. })));
    println!("{error}");

    // Without persistence they come back empty: until the longest lock must have ended, their
    // votes do not count, and every acquisition says so, and for how long.
    let began = since_boot();
    cluster[..3].iter().for_each(Server::restart);
    let returned = since_boot();
    for node in 0..3 {
        until("the quarantine", || state(&locks, node) == NodeState::Quarantined).await;
        let status = locks.nodes()[node].clone();
        assert_eq!(status.epochs, 2, "{status:?}");
        assert!(status.quarantine.is_some_and(|left| left > Duration::ZERO), "{status:?}");
    }
    let deadline = returned + QUARANTINE + Duration::from_secs(1);
    let mut told = 0;
    let mut last = QUARANTINE;
    let guard = loop {
        match within(locks.try_acquire("r")).await {
            Ok(guard) => break guard,
            Err(AcquireError::Quarantined { remaining, report, .. }) => {
                assert!(remaining <= last, "{remaining:?} after {last:?}");
                (told, last) = (told + 1, remaining);
                assert_eq!(report.count(Verdict::Granted), 0, "{report}");
                let vote = report.votes[0].reason.as_deref().unwrap_or_default();
                assert!(vote.contains("may have forgotten locks"), "{report}");
            }
            Err(error) => panic!("{error}"),
        }
        assert!(since_boot() < deadline, "not granted again, {last:?} to go");
        tokio::time::sleep(ms(5)).await;
    };
    let granted = since_boot();
    assert!(granted - began >= SHORT, "{:?}: an older lock may be valid", granted - began);
    assert!(told > 0);
    println!("granted {:?} after three of five returned", granted - returned);
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn a_request_without_a_deadline_ends_when_no_quorum_answers_for_a_ttl() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    cluster[..2].iter().for_each(Server::kill);
    let began = since_boot();
    let error = within(locks.acquire("r").ttl(ms(400))).await.unwrap_err();
    assert!(matches!(&error, AcquireError::NoQuorum { .. }), "{error}");
    assert!(since_boot() - began >= ms(400));
}

#[tokio::test]
async fn a_lock_whose_node_died_is_released_by_the_others() {
    let cluster = Cluster::start(3);
    let builder = builder(cluster.urls()).ttl(ms(2_500)).max_ttl(SHORT);
    let locks = all_up(builder.connect().await.unwrap()).await;
    let guard = within(locks.acquire("r")).await.unwrap();
    held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
    cluster[0].kill();
    assert!(guard.is_valid());
    within(guard.extend(SHORT)).await.unwrap();
    within(guard.release()).await.unwrap();
    drained(&cluster[1..]).await;
    cluster[0].restart();
    until("the node to be back", || state(&locks, 0) == NodeState::Up).await;
    within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
    drained(&cluster).await;
}

/// A client that misses a node soon, and that gives its connection up or keeps it.
async fn connect_that(gives_up: bool, cluster: &Cluster) -> Redlock {
    let mut settings = builder(cluster.urls()).node_timeout(ms(100)).connect_timeout(ms(900));
    if gives_up {
        settings = settings.unresponsive_after(ms(300));
    }
    all_up(settings.connect().await.unwrap()).await
}

#[tokio::test]
async fn what_a_paused_node_is_owed_reaches_it_when_it_returns() {
    // Over the same connection, and over a new one after the silent one was given up.
    for gives_up in [false, true] {
        let cluster = Cluster::start(3);
        let locks = connect_that(gives_up, &cluster).await;
        let mut guards = Vec::new();
        for key in 0..20 {
            guards.push(within(locks.acquire(format!("key:{key}")).ttl(TTL)).await.unwrap());
        }
        until("all grants", || cluster.iter().all(|server| server.dbsize() == 20)).await;
        cluster[0].pause();
        let late = within(locks.acquire("late").ttl(TTL)).await.unwrap();
        for guard in guards {
            within(guard.release()).await.unwrap();
        }
        within(late.release()).await.unwrap();
        let expected = if gives_up { NodeState::Down } else { NodeState::Suspect };
        until("the pause to be seen", || state(&locks, 0) == expected).await;
        assert!(!gives_up || reason(&locks, 0).contains("no answer"), "{}", reason(&locks, 0));
        // Later requests do without it.
        within(within(locks.acquire("more").ttl(TTL)).await.unwrap().release()).await.unwrap();
        cluster[0].resume();
        until("the node to be back", || state(&locks, 0) == NodeState::Up).await;
        drained(&cluster).await;
        assert_eq!(locks.nodes()[0].releases_given_up, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_that_a_paused_node_executes_late_leave_nothing() {
    for gives_up in [false, true] {
        let cluster = Cluster::start(3);
        let locks = connect_that(gives_up, &cluster).await;
        cluster[..2].iter().for_each(Server::pause);
        let mut tasks = Vec::new();
        for key in 0..100 {
            let locks = locks.clone();
            tasks.push(tokio::spawn(async move {
                let request = locks.acquire(format!("key:{key}")).ttl(TTL);
                if key % 2 == 0 {
                    // Leaves early, with its SETs in the paused servers' buffers.
                    drop(tokio::time::timeout(ms(5), request).await);
                } else {
                    let error = request.wait_for(ms(150)).await.unwrap_err();
                    assert!(matches!(error, AcquireError::NoQuorum { .. }), "{error}");
                }
            }));
        }
        for task in tasks {
            within(task).await.unwrap();
        }
        drained(&cluster[2..]).await;
        if gives_up {
            until("the connections to be given up", || {
                (0..2).all(|node| state(&locks, node) == NodeState::Down)
            })
            .await;
        }
        cluster[..2].iter().for_each(Server::resume);
        let locks = all_up(locks).await;
        until("the late SETs", || cluster[0].calls("set") > 0 && cluster[1].calls("set") > 0).await;
        drained(&cluster).await;
        until("answers to everything", || locks.stats().in_flight == 0).await;
        drained(&cluster).await;
        within(within(locks.acquire("key:0")).await.unwrap().release()).await.unwrap();
    }
}

#[tokio::test]
async fn refusals_are_no_grants_and_are_told() {
    for text in [
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MISCONF Redis is configured to save RDB snapshots",
        "NOREPLICAS Not enough good replicas to write.",
        "BUSY Redis is busy running a script.",
        "MASTERDOWN Link with MASTER is down",
        "CLUSTERDOWN Hash slot not served",
        "MOVED 3999 127.0.0.1:6381",
        "ERR something new",
    ] {
        let nodes = test_nodes(3).await;
        let locks = all_up(builder(urls(&nodes)).connect().await.unwrap()).await;
        nodes[0].fail_with(Some(text));
        let guard = within(locks.acquire("r").ttl(TTL)).await.unwrap();
        until("the refusal", || nodes[0].commands().contains_key("set")).await;
        assert_eq!(guard.report().count(Verdict::Granted), 2, "{text}");
        nodes[0].fail_with(None);
        within(guard.release()).await.unwrap();
        let locks = all_up(locks).await;
        emptied(&nodes).await;

        nodes[..2].iter().for_each(|node| node.fail_with(Some(text)));
        let error = within(locks.try_acquire("r").ttl(TTL)).await.unwrap_err();
        assert!(matches!(&error, AcquireError::NoQuorum { .. }), "{text}: {error}");
        let report = error.report().unwrap();
        assert!(report.count(Verdict::Granted) <= 1, "{report}");
        let expected = if text.starts_with("ERR") { Verdict::Unknown } else { Verdict::Ineligible };
        for vote in &report.votes[..2] {
            assert_eq!(vote.verdict, expected, "{text}: {error}");
            let told = vote.reason.clone().unwrap_or_default();
            assert!(told.contains(text.split(' ').next().unwrap()), "{text}: {told}");
        }
        nodes[..2].iter().for_each(|node| node.fail_with(None));
        let locks = all_up(locks).await;
        emptied(&nodes).await;
        within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
        emptied(&nodes).await;
    }
}

#[tokio::test]
async fn a_release_that_died_with_its_connection_is_sent_on_the_next() {
    let nodes = test_nodes(3).await;
    let locks = all_up(builder(urls(&nodes)).connect().await.unwrap()).await;
    let guard = within(locks.acquire("r").ttl(TTL)).await.unwrap();
    until("all grants", || nodes.iter().all(|node| node.snapshot().len() == 1)).await;
    nodes.iter().for_each(|node| node.stall(true));
    let releasing = tokio::spawn(guard.release());
    until("the releases to have left", || locks.stats().in_flight == 3).await;
    // Sent, and never executed.
    nodes.iter().for_each(TestNode::drop_connections);
    assert!(within(releasing).await.unwrap().is_err(), "nobody has confirmed");
    assert!(nodes.iter().all(|node| node.snapshot().len() == 1));
    nodes.iter().for_each(|node| node.stall(false));
    emptied(&nodes).await;
}

#[tokio::test]
async fn a_release_that_was_refused_is_repeated() {
    let nodes = test_nodes(3).await;
    let locks = builder(urls(&nodes)).heartbeat_interval(ms(50)).connect().await.unwrap();
    let locks = all_up(locks).await;
    let guard = within(locks.acquire("r").ttl(TTL)).await.unwrap();
    until("all grants", || nodes.iter().all(|node| node.snapshot().len() == 1)).await;
    nodes.iter().for_each(|node| node.fail_next(3, "MISCONF Errors writing to the AOF file"));
    let error = within(guard.release()).await.unwrap_err();
    assert!(error.to_string().contains("MISCONF"), "{error}");
    emptied(&nodes).await;
}

#[tokio::test]
async fn a_node_that_became_a_replica_is_out_until_it_is_a_master_again() {
    let cluster = Cluster::start(3);
    let builder = builder(cluster.urls()).ttl(SHORT).max_ttl(SHORT);
    let locks = all_up(builder.connect().await.unwrap()).await;
    let port = cluster[1].port.to_string();
    cluster[0].command(&["REPLICAOF", "127.0.0.1", &port]);
    let guard = within(locks.acquire("r")).await.unwrap();
    until("the role to be seen", || state(&locks, 0) == NodeState::Down).await;
    until("the reason", || reason(&locks, 0).contains("replica")).await;
    within(guard.release()).await.unwrap();
    let error = {
        cluster[1].pause();
        within(locks.acquire("r").wait_for(ms(100))).await.unwrap_err()
    };
    assert!(error.to_string().contains("is a replica"), "{error}");
    cluster[1].resume();
    cluster[0].command(&["REPLICAOF", "NO", "ONE"]);
    // It has its master's data, and the locks of nobody: a new epoch.
    until("the quarantine", || state(&locks, 0) == NodeState::Quarantined).await;
    let locks = all_up(locks).await;
    assert_eq!(locks.nodes()[0].epochs, 2);
    within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn a_full_server_grants_nothing_and_still_releases() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let guard = within(locks.acquire("r").ttl(TTL).renewal(Renewal::On)).await.unwrap();
    held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
    cluster.iter().for_each(|server| server.config_set("maxmemory", "1"));
    let error = within(locks.try_acquire("other")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::NoQuorum { .. }), "{error}");
    assert!(error.to_string().contains("OOM"), "{error}");
    within(guard.extend(TTL * 2)).await.unwrap();
    within(guard.release()).await.unwrap();
    cluster.iter().for_each(|server| server.config_set("maxmemory", "0"));
    within(within(locks.acquire("other")).await.unwrap().release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn a_key_of_another_type_is_somebody_elses() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    for server in &*cluster {
        assert_eq!(server.command(&["HSET", "r", "field", "1"]), Reply::Int(1));
    }
    let error = within(locks.try_acquire("r")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Busy { .. }), "{error}");
    assert_eq!(within(locks.inspect("r")).await.unwrap().holder(), None);
    for server in &*cluster {
        assert_eq!(server.command(&["DEL", "r"]), Reply::Int(1));
    }
    let guard = within(locks.acquire("r").ttl(TTL)).await.unwrap();
    held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
    for server in &*cluster {
        server.command(&["DEL", "r"]);
        server.command(&["HSET", "r", "field", "1"]);
    }
    assert!(within(guard.extend(TTL * 2)).await.is_err());
    assert!(!guard.is_valid());
    drop(guard);
    within(within(locks.acquire("q")).await.unwrap().release()).await.unwrap();
    assert!(cluster.iter().all(|server| server.dbsize() == 1), "their key stays");
}
