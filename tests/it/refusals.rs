//! Nodes that refuse: what each error of a real server counts for, and that the node votes again
//! once it is healed. Scenario 29, state by state.

use std::future::Future;
use std::task::Poll;
use std::time::{Duration, Instant};

use redlatch::{AcquireError, Guard, NodeState, Redlock, Renewal, Verdict};

use crate::hop::Hop;
use crate::persistence::{promote, replicate};
use crate::server::{Client, Cluster, Reply, Server};
use crate::states::{
    Busy, allow, break_saving, end_loading, fill_memory, flush_scripts, free_memory, kill_clients,
    mend_saving, need_replicas, start_loading, write_error,
};
use crate::support::{all_up, builder, drained, held_everywhere, ms, until, within};

const TTL: Duration = Duration::from_secs(3);
/// Of locks that must outlive a test.
const LONG: Duration = Duration::from_secs(100);
const BEAT: Duration = ms(100);

/// Three servers, each behind a hop that counts the connections to it, and a client with every
/// node up.
struct Rig {
    locks: Redlock,
    hops: Vec<Hop>,
    servers: Cluster,
}

impl Rig {
    async fn start() -> Self {
        Self::with(TTL).await
    }

    async fn with(max_ttl: Duration) -> Self {
        let servers = Cluster::start(3);
        let hops: Vec<Hop> = servers.iter().map(|server| Hop::start(server.addr())).collect();
        let patient = builder(hops.iter().map(Hop::url)).ttl(TTL).max_ttl(max_ttl);
        let locks = all_up(patient.heartbeat_interval(BEAT).connect().await.unwrap()).await;
        Self { locks, hops, servers }
    }

    fn reason(&self, node: usize) -> String {
        self.locks.nodes()[node].reason.clone().unwrap_or_default()
    }

    /// A lock without renewal, with every node's answer in.
    async fn acquired(&self, resource: &str) -> Guard {
        let request = self.locks.acquire(resource).renewal(Renewal::Off).wait_for(LONG);
        let guard = within(request).await.unwrap();
        until("all answers", || self.locks.stats().in_flight == 0).await;
        guard
    }

    /// The first `count` nodes refuse: the client is told which and why, and gets no lock.
    async fn refused_by(&self, count: usize, words: &[&str]) {
        for _ in 0..5 {
            let error = within(self.locks.try_acquire("refused")).await.unwrap_err();
            assert!(matches!(&error, AcquireError::NoQuorum { .. }), "{error}");
            let text = error.to_string();
            for hop in &self.hops[..count] {
                let told = text.split(';').find(|part| part.contains(&hop.url()));
                let told = told.unwrap_or_else(|| panic!("{} is not named: {text}", hop.url()));
                assert!(words.iter().any(|word| told.contains(word)), "{told}");
            }
            tokio::time::sleep(ms(20)).await;
        }
    }

    /// Waits until the client knows a reason of each of the first `count` nodes.
    async fn noticed(&self, count: usize, words: &[&str]) {
        until("every refusal to be noticed", || {
            (0..count).all(|node| words.iter().any(|word| self.reason(node).contains(word)))
        })
        .await;
    }

    /// Watches for a while: the clients must not hammer the node with connections.
    async fn no_storm(&self, node: usize) {
        let (before, began) = (self.hops[node].accepted(), Instant::now());
        tokio::time::sleep(ms(1_500)).await;
        // Full jitter below 500 ms is four a second; the first ones come closer together.
        let expected = 30 + u64::try_from(began.elapsed().as_millis()).unwrap() / 100;
        let connections = self.hops[node].accepted() - before;
        assert!(connections <= expected, "{connections} connections in {:?}", began.elapsed());
    }

    /// Every node votes again.
    async fn healed(&self) {
        let is_up = |node: &redlatch::NodeStatus| node.state == NodeState::Up;
        until("every node to be up again", || self.locks.nodes().iter().all(is_up)).await;
        let guard = self.acquired("healed").await;
        assert_eq!(guard.report().count(Verdict::Ineligible), 0, "{}", guard.report());
        held_everywhere(&self.servers, "healed", &guard.token().to_hex()).await;
        within(guard.release()).await.unwrap();
        until("all answers", || self.locks.stats().in_flight == 0).await;
    }
}

/// How a state is entered and left.
trait State {
    /// What the reasons may say of it.
    const WORDS: &'static [&'static str];
    /// Whether the connection survives: the node is what its handshake found, only unwilling.
    const KEEPS_CONNECTION: bool;
    fn enter(server: &Server) -> Self;
    fn heal(self, server: &Server);
}

/// The whole of scenario 29 for one state: one node of three, then two.
async fn refuses<S: State>() {
    let rig = Rig::start().await;
    let first = S::enter(&rig.servers[0]);
    // A minority: the lock is granted by the others.
    let guard = rig.acquired("r").await;
    let report = guard.report();
    assert!(report.count(Verdict::Granted) == 2, "{report}");
    rig.noticed(1, S::WORDS).await;
    within(guard.release()).await.unwrap();
    let second = S::enter(&rig.servers[1]);
    // Whoever noticed nothing yet asks once more.
    let _ = within(rig.locks.try_acquire("ask")).await;
    rig.noticed(2, S::WORDS).await;
    rig.refused_by(2, S::WORDS).await;
    rig.no_storm(0).await;
    rig.refused_by(2, S::WORDS).await;
    for node in &rig.locks.nodes()[..2] {
        assert_eq!(node.disconnects == 0, S::KEEPS_CONNECTION, "{node:?}");
    }
    first.heal(&rig.servers[0]);
    second.heal(&rig.servers[1]);
    rig.healed().await;
    for node in &rig.locks.nodes()[..2] {
        assert_eq!(node.connects == 1, S::KEEPS_CONNECTION, "{node:?}");
    }
    assert_eq!(rig.locks.nodes()[2].connects, 1);
}

struct Oom;
impl State for Oom {
    const WORDS: &'static [&'static str] = &["OOM"];
    const KEEPS_CONNECTION: bool = true;
    fn enter(server: &Server) -> Self {
        fill_memory(server);
        Self
    }
    fn heal(self, server: &Server) {
        free_memory(server);
    }
}

/// Scenario 29. OOM.
#[tokio::test]
async fn a_full_node() {
    refuses::<Oom>().await;
}

struct NoReplicas;
impl State for NoReplicas {
    const WORDS: &'static [&'static str] = &["NOREPLICAS"];
    const KEEPS_CONNECTION: bool = true;
    fn enter(server: &Server) -> Self {
        need_replicas(server, 1);
        Self
    }
    fn heal(self, server: &Server) {
        need_replicas(server, 0);
    }
}

/// Scenario 29. NOREPLICAS.
#[tokio::test]
async fn a_node_that_misses_its_replicas() {
    refuses::<NoReplicas>().await;
}

struct Misconf;
impl State for Misconf {
    const WORDS: &'static [&'static str] = &["MISCONF"];
    const KEEPS_CONNECTION: bool = true;
    fn enter(server: &Server) -> Self {
        break_saving(server);
        Self
    }
    fn heal(self, server: &Server) {
        mend_saving(server);
    }
}

/// Scenario 29. MISCONF.
#[tokio::test]
async fn a_node_whose_disk_is_full() {
    refuses::<Misconf>().await;
}

struct NoPerm;
impl State for NoPerm {
    const WORDS: &'static [&'static str] = &["NOPERM"];
    const KEEPS_CONNECTION: bool = true;
    fn enter(server: &Server) -> Self {
        allow(server, &["-set"]);
        Self
    }
    fn heal(self, server: &Server) {
        allow(server, &["+@all"]);
    }
}

/// Scenario 29. NOPERM.
#[tokio::test]
async fn a_node_that_forbids_the_command() {
    refuses::<NoPerm>().await;
}

struct Loading;
impl State for Loading {
    const WORDS: &'static [&'static str] = &["loading"];
    const KEEPS_CONNECTION: bool = false;
    fn enter(server: &Server) -> Self {
        start_loading(server, 60_000);
        Self
    }
    fn heal(self, server: &Server) {
        end_loading(server);
    }
}

/// Scenario 29. LOADING.
#[tokio::test]
async fn a_node_that_loads_its_data() {
    refuses::<Loading>().await;
}

struct ReadOnly {
    _master: Server,
}
impl State for ReadOnly {
    const WORDS: &'static [&'static str] = &["READONLY", "replica"];
    const KEEPS_CONNECTION: bool = false;
    fn enter(server: &Server) -> Self {
        let master = Server::start();
        replicate(server, &master);
        Self { _master: master }
    }
    fn heal(self, server: &Server) {
        promote(server);
    }
}

/// Scenario 29. READONLY.
#[tokio::test]
async fn a_node_that_became_a_replica() {
    refuses::<ReadOnly>().await;
}

struct MasterDown;
impl State for MasterDown {
    const WORDS: &'static [&'static str] = &["MASTERDOWN", "replica"];
    const KEEPS_CONNECTION: bool = false;
    fn enter(server: &Server) -> Self {
        server.config_set("replica-serve-stale-data", "no");
        // Else it refuses the write as a replica before it looks for its master.
        server.config_set("replica-read-only", "no");
        server.command(&["REPLICAOF", "127.0.0.1", "1"]);
        assert_eq!(write_error(server).as_deref(), Some("MASTERDOWN"));
        Self
    }
    fn heal(self, server: &Server) {
        promote(server);
    }
}

/// Scenario 29. MASTERDOWN.
#[tokio::test]
async fn a_replica_without_its_master() {
    refuses::<MasterDown>().await;
}

struct NoAuth;
impl State for NoAuth {
    const WORDS: &'static [&'static str] = &["requires a password"];
    const KEEPS_CONNECTION: bool = false;
    fn enter(server: &Server) -> Self {
        // In this order: a connection that is there stays logged in.
        let mut admin = Client::connect(server.addr()).unwrap();
        server.config_set("requirepass", "secret");
        assert!(admin.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap().int() > 0);
        Self
    }
    fn heal(self, server: &Server) {
        let mut admin = Client::connect(server.addr()).unwrap();
        let ok = Reply::Simple("OK".into());
        assert_eq!(admin.command(&["AUTH", "secret"]).unwrap(), ok);
        assert_eq!(admin.command(&["CONFIG", "SET", "requirepass", ""]).unwrap(), ok);
    }
}

/// Scenario 29. NOAUTH.
#[tokio::test]
async fn a_node_that_wants_a_password() {
    refuses::<NoAuth>().await;
}

/// Scenario 29. BUSY: the seal of a write is refused like the rest of it, so the node is greeted
/// again, which it refuses until its script has ended.
#[tokio::test]
async fn a_node_that_is_busy_with_a_script() {
    let rig = Rig::start().await;
    let words = ["BUSY", "blocking the server"];
    let first = Busy::start(&rig.servers[0]);
    let guard = rig.acquired("r").await;
    assert_eq!(guard.report().count(Verdict::Granted), 2, "{}", guard.report());
    rig.noticed(1, &words).await;
    within(guard.release()).await.unwrap();
    let second = Busy::start(&rig.servers[1]);
    let _ = within(rig.locks.try_acquire("ask")).await;
    rig.noticed(2, &words).await;
    rig.refused_by(2, &words).await;
    rig.no_storm(0).await;
    rig.refused_by(2, &words).await;
    first.end();
    second.end();
    rig.healed().await;
    drained(&rig.servers).await;
}

/// Scenario 29. WRONGTYPE: a foreign key of another type under the lock's name is somebody else's,
/// and stays, on whichever path it is met.
#[tokio::test]
async fn a_key_of_another_type_on_one_node_and_on_two() {
    let rig = Rig::start().await;
    let is_there = |server: &Server| server.command(&["HGET", "r", "f"]).text().is_some();
    // Only the release script reads with MGET.
    let releases = |node: usize| rig.servers[node].calls("mget");
    for fenced in [false, true] {
        let request = || {
            let request = rig.locks.try_acquire("r").renewal(Renewal::Off);
            if fenced { request.fenced() } else { request }
        };
        rig.servers[0].command(&["HSET", "r", "f", "1"]);
        let guard = within(request()).await.unwrap();
        until("all answers", || rig.locks.stats().in_flight == 0).await;
        let before = releases(0);
        within(guard.release()).await.unwrap();
        drained(&rig.servers[1..]).await;
        assert_eq!(releases(0), before, "nothing was owed where it was refused");
        // Whoever extends by hand asks every node to hold the key.
        let guard = within(request()).await.unwrap();
        until("all answers", || rig.locks.stats().in_flight == 0).await;
        within(guard.extend(TTL)).await.unwrap();
        within(guard.release()).await.unwrap();
        until("all answers", || rig.locks.stats().in_flight == 0).await;
        drained(&rig.servers[1..]).await;
        rig.servers[1].command(&["HSET", "r", "f", "1"]);
        let before = releases(0) + releases(1);
        let error = within(request()).await.unwrap_err();
        assert!(matches!(&error, AcquireError::Busy { .. }), "{error}");
        let text = error.to_string();
        for hop in &rig.hops[..2] {
            assert!(text.contains(&format!("{}: held by another owner", hop.url())), "{text}");
        }
        drained(&rig.servers[2..]).await;
        assert!(rig.servers[..2].iter().all(is_there));
        assert_eq!(releases(0) + releases(1), before, "nothing was owed where it was refused");
        for server in &rig.servers[..2] {
            server.command(&["DEL", "r"]);
        }
    }
    rig.healed().await;
    assert!(rig.locks.nodes().iter().all(|node| node.disconnects == 0));
}

/// Scenario 29. WRONGTYPE: a key that became another type under a held lock costs that lock a node
/// and nobody anything else: what shares its script calls is extended and released there.
#[tokio::test]
async fn a_key_that_became_another_type_spares_its_batch() {
    let rig = Rig::with(LONG).await;
    let mut guards = Vec::new();
    for at in 0..12 {
        guards.push(rig.acquired(&format!("r{at}")).await);
    }
    until("all grants", || rig.servers.iter().all(|server| server.dbsize() == 12)).await;
    let server = &rig.servers[0];
    server.command(&["DEL", "r5"]);
    server.command(&["HSET", "r5", "f", "1"]);
    let before = server.calls("evalsha");
    // All of them are asked for before the connection's task runs.
    let mut extensions: Vec<_> =
        guards.iter().map(|guard| Box::pin(within(guard.extend(LONG)))).collect();
    std::future::poll_fn(|cx| {
        extensions.retain_mut(|extension| match extension.as_mut().poll(cx) {
            Poll::Ready(outcome) => outcome.is_err(),
            Poll::Pending => true,
        });
        if extensions.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    drop(extensions);
    until("all answers", || rig.locks.stats().in_flight == 0).await;
    let calls = server.calls("evalsha") - before;
    assert!(calls < 12, "{calls} calls for 12 locks: nothing was shared");
    let margins: Vec<usize> = guards.iter().map(Guard::margin).collect();
    assert_eq!(margins, [1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]);
    let is_short = |at: &usize| server.pttl(&format!("r{at}")) < 50_000;
    assert_eq!((0..12).filter(is_short).collect::<Vec<_>>(), [5]);
    // Released together: the foreign key stays.
    drop(guards);
    drained(&rig.servers[1..]).await;
    until("the others to be released there", || server.keys() == ["r5"]).await;
    assert!(rig.locks.nodes().iter().all(|node| node.disconnects == 0));
    assert_eq!(server.command(&["HGET", "r5", "f"]).text().as_deref(), Some("1"));
}

/// Scenarios 24 and 29. NOSCRIPT: the node is stamped again before its scripts are loaded, on the
/// same connection, in the same epoch; what it granted meanwhile does not count and is taken back.
#[tokio::test]
async fn a_node_that_forgot_its_scripts() {
    let rig = Rig::start().await;
    // No stamp must come between and load the scripts: that is the heartbeat's way to notice.
    let slow = builder(rig.hops.iter().map(Hop::url)).ttl(TTL).max_ttl(TTL);
    let locks = slow.heartbeat_interval(Duration::from_secs(60)).connect().await.unwrap();
    let locks = all_up(locks).await;
    within(rig.locks.close()).await;
    let stamps = |node: usize| rig.servers[node].calls("eval");
    let before: Vec<u64> = (0..2).map(stamps).collect();
    flush_scripts(&rig.servers[0]);
    let guard = within(locks.acquire("r").renewal(Renewal::Off)).await.unwrap();
    until("all answers", || locks.stats().in_flight == 0).await;
    assert_eq!(guard.report().count(Verdict::Granted), 2, "{}", guard.report());
    until("the scripts to be back", || locks.nodes()[0].script_reloads == 1).await;
    within(guard.release()).await.unwrap();
    drained(&rig.servers).await;

    rig.servers[..2].iter().for_each(flush_scripts);
    let error = within(locks.try_acquire("r")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::NoQuorum { .. }), "{error}");
    assert!(error.to_string().contains("NOSCRIPT"), "{error}");
    // One round more, on its own.
    let guard = within(locks.acquire("r").renewal(Renewal::Off)).await.unwrap();
    within(guard.release()).await.unwrap();
    drained(&rig.servers).await;
    let nodes = locks.nodes();
    for (node, reloads) in [(0, 2), (1, 1)] {
        assert_eq!(nodes[node].script_reloads, reloads);
        assert_eq!(stamps(node) - before[node], reloads, "each reload begins with a stamp");
        assert_eq!((nodes[node].connects, nodes[node].epochs), (1, 1), "the same epoch");
    }
}

/// Scenario 29. A definite refusal owes no release; an unknown outcome does, and it is sent when
/// the node answers again.
#[tokio::test]
async fn only_an_unknown_outcome_is_released() {
    let rig = Rig::with(LONG).await;
    // Only the release script reads with MGET; some servers have a command for it.
    let ways = ["mget", "delifeq", "delex"];
    let releases = |server: &Server| ways.iter().map(|way| server.calls(way)).sum::<u64>();
    fill_memory(&rig.servers[0]);
    let guard = rig.acquired("r").await;
    within(guard.release()).await.unwrap();
    drained(&rig.servers).await;
    // A release that was owed would leave before the next heartbeats.
    let beats = rig.locks.nodes()[0].operations + 5;
    until("heartbeats", || rig.locks.nodes()[0].operations >= beats).await;
    assert_eq!(releases(&rig.servers[0]), 0, "nothing was owed to the full node");
    assert_eq!(releases(&rig.servers[1]), 1);
    assert_eq!(releases(&rig.servers[2]), 1);
    free_memory(&rig.servers[0]);

    rig.servers[0].pause();
    let guard = within(rig.locks.acquire("r").ttl(LONG).renewal(Renewal::Off)).await.unwrap();
    until("the others' answers", || rig.servers[1..].iter().all(|node| node.dbsize() == 1)).await;
    drop(guard);
    rig.servers[0].resume();
    // Far sooner than the key's own end.
    until("the release", || releases(&rig.servers[0]) >= 1).await;
    drained(&rig.servers).await;
}

/// Scenario 29. A held lock on full nodes can be renewed by the engine, extended by hand, verified
/// and released.
#[tokio::test]
async fn a_lock_that_is_held_outlives_the_memory() {
    let rig = Rig::start().await;
    for fenced in [false, true] {
        let request = rig.locks.acquire("r");
        let request = if fenced { request.fenced() } else { request };
        let guard = within(request).await.unwrap();
        held_everywhere(&rig.servers, "r", &guard.token().to_hex()).await;
        rig.servers.iter().for_each(fill_memory);
        let (first, renewed) = (guard.valid_until(), Duration::from_secs(2));
        until("renewals", || guard.valid_until().since_boot() > first.since_boot() + renewed).await;
        within(guard.extend(TTL)).await.unwrap();
        within(guard.verify()).await.unwrap();
        within(guard.release()).await.unwrap();
        drained_locks(&rig.servers, "r").await;
        rig.servers.iter().for_each(free_memory);
    }
    assert!(rig.locks.nodes().iter().all(|node| node.disconnects == 0));
}

async fn drained_locks(servers: &[Server], key: &str) {
    until("the lock's keys to be gone", || servers.iter().all(|node| node.pttl(key) == -2)).await;
}

/// Scenario 29. What the heartbeat would like to write, a node that takes no writes may refuse
/// without losing its connection or its heartbeat.
#[tokio::test]
async fn a_heartbeat_that_may_not_write_goes_on() {
    let rig = Rig::start().await;
    fill_memory(&rig.servers[0]);
    need_replicas(&rig.servers[1], 1);
    break_saving(&rig.servers[2]);
    let refused = |node: usize, code: &str| {
        let text = rig.servers[node].info(&format!("errorstat_{code}")).unwrap_or_default();
        text.strip_prefix("count=").map_or(0, |count| count.parse::<u64>().unwrap())
    };
    // The record of who named the fleet is refreshed when it is 5 s old, without any call here.
    until("several refreshes to be refused", || {
        [(0, "OOM"), (1, "NOREPLICAS"), (2, "MISCONF")]
            .iter()
            .all(|(node, code)| refused(*node, code) >= 4)
    })
    .await;
    for node in rig.locks.nodes() {
        assert_eq!((node.state, node.connects, node.disconnects), (NodeState::Up, 1, 0));
        assert_eq!((node.epochs, &node.reason), (1, &None), "the rest was answered: {node:?}");
    }
    free_memory(&rig.servers[0]);
    need_replicas(&rig.servers[1], 0);
    mend_saving(&rig.servers[2]);
    rig.healed().await;
}

/// Scenario 29. Connections that the server closes are opened again, once each.
#[tokio::test]
async fn connections_that_an_operator_kills_come_back() {
    let rig = Rig::with(LONG).await;
    let guard = within(rig.locks.acquire("r").ttl(LONG).renewal(Renewal::Off)).await.unwrap();
    held_everywhere(&rig.servers, "r", &guard.token().to_hex()).await;
    for round in 1..=3 {
        assert!(kill_clients(&rig.servers[0]) >= 1);
        until("the node to be back", || {
            let node = &rig.locks.nodes()[0];
            node.connects == 1 + round && node.state == NodeState::Up
        })
        .await;
    }
    assert!(guard.is_valid(), "what was granted rests on no connection");
    within(guard.verify()).await.unwrap();
    assert_eq!(rig.locks.nodes()[0].epochs, 1, "the same process, the same epoch");
    drop(guard);
    drained(&rig.servers).await;
}
