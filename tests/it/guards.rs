//! Guards against configurations that cannot be safe: what is refused, what is warned of, and
//! what a quorum above the majority, a lock delay and a bound on holding are good for.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redlatch::testing::Protection;
use redlatch::{
    AcquireError, Builder, ConfigError, ConnectError, Drift, ExtendError, NodeState, Redlock,
    Renewal,
};

use crate::server::{Client, Cluster, Reply, Server, claim_port, poll_until};
use crate::support::{
    all_up, builder, connect, drained, held_everywhere, ms, since_boot, until, within,
};

const LONG: Duration = Duration::from_secs(100);

/// A client of `urls` that cannot come up, within a second: why not.
async fn refusal(builder: Builder) -> ConnectError {
    let connecting = builder.connect_timeout(Duration::from_secs(1)).connect();
    within(connecting).await.expect_err("the fleet must be refused")
}

async fn reason_of(locks: &Redlock, node: usize, word: &str) -> String {
    let reason = || locks.nodes()[node].reason.clone().unwrap_or_default();
    until(word, || reason().contains(word)).await;
    assert_eq!(locks.nodes()[node].state, NodeState::Down);
    reason()
}

/// A node that cannot be one of three: the others carry the fleet, and the reason says what it
/// is. Alone it is no fleet, and connecting says the same.
async fn is_refused(url: &str, words: &[&str]) {
    let cluster = Cluster::start(2);
    let mut urls = cluster.urls();
    urls.push(url.to_owned());
    let locks = builder(urls).connect().await.unwrap();
    for word in words {
        reason_of(&locks, 2, word).await;
    }
    let guard = within(locks.acquire("r")).await.unwrap();
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
    let error = refusal(builder([url])).await;
    assert!(matches!(&error, ConnectError::NoQuorum { up: 0, nodes: 1, quorum: 1, .. }), "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// Scenario 30. A member of a Redis Cluster.
#[tokio::test]
async fn a_cluster_node_is_no_independent_node() {
    let member = Server::start_with(&["cluster-enabled yes"]);
    is_refused(&member.url(), &["cluster node", "give the address of a standalone server"]).await;
    assert_eq!(member.calls("set"), 0, "nothing was tried there");
}

/// A Sentinel of its own, gone with the value.
struct Sentinel {
    child: Child,
    url: String,
    _claim: std::fs::File,
    dir: std::path::PathBuf,
}

impl Sentinel {
    fn start() -> Self {
        let (port, claim) = claim_port();
        let name = format!("redlatch-sentinel-{}-{port}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let conf = dir.join("sentinel.conf");
        let mut file = std::fs::File::create(&conf).unwrap();
        writeln!(file, "port {port}\nbind 127.0.0.1\nlogfile {}/log", dir.display()).unwrap();
        let named = std::env::var("REDLATCH_TEST_SERVER").ok();
        let names = named.iter().map(String::as_str).chain(["redis-server", "valkey-server"]);
        let runs = |words: &[&str]| {
            let (program, args) = words.split_first().unwrap();
            let output = Command::new(program).args(args).arg("--version").output();
            output.is_ok_and(|output| output.status.success())
        };
        let name = names.into_iter().find(|name| runs(&[name])).expect("a server to run");
        // Where it can, the kernel ends it with this test, however that ends.
        let guarded = ["setpriv", "--pdeathsig", "KILL", name];
        let words = if runs(&guarded) { &guarded[..] } else { &guarded[3..] };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(&conf).arg("--sentinel");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let addr = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        poll_until("the Sentinel to answer", || {
            let reply = Client::connect(addr).ok()?.command(&["PING"]).ok()?;
            (reply == Reply::Simple("PONG".into())).then_some(())
        });
        Self { child, url: format!("redis://{addr}"), _claim: claim, dir }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Scenario 30. A Sentinel.
#[tokio::test]
async fn a_sentinel_is_no_node() {
    let sentinel = Sentinel::start();
    is_refused(&sentinel.url, &["Sentinel", "give the address of a master"]).await;
}

/// Scenario 27, its first half: a server that may drop a lock when its memory is full.
#[tokio::test]
async fn a_node_that_evicts_is_refused_unless_it_is_allowed() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let line = format!("maxmemory-policy {policy}");
        let evicting = Server::start_with(&["maxmemory 100mb", &line]);
        let words = ["evicts keys", policy, "allow_eviction"];
        is_refused(&evicting.url(), &words).await;
        let locks = within(builder([evicting.url()]).allow_eviction().connect()).await.unwrap();
        within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
    }
    // Without a limit nothing is evicted, and with noeviction neither.
    for lines in [&["maxmemory-policy allkeys-lru"], &["maxmemory 1gb"]] {
        let server = Server::start_with(lines);
        within(builder([server.url()]).connect()).await.unwrap();
    }
}

/// Scenario 11, at its sharpest: one server under two names would vote twice.
#[tokio::test]
async fn a_server_under_two_names_votes_once() {
    let cluster = Cluster::start(2);
    let (port, other) = (cluster[0].port, cluster[1].url());
    // Else the first who greets it there has it quarantined.
    let mut client = Client::connect(cluster[0].addr()).unwrap();
    client.command(&["SELECT", "3"]).unwrap();
    let words = redlatch::testing::open_node_command(Duration::ZERO);
    let words: Vec<&str> = words.iter().map(|word| str::from_utf8(word).unwrap()).collect();
    assert!(matches!(client.command(&words).unwrap(), Reply::Array(Some(_))));
    let names = [
        cluster[0].url(),
        format!("redis://localhost:{port}"),
        cluster[0].unix_url(),
        format!("redis://localhost:{port}/3"),
    ];
    for (first, second) in [(0, 1), (0, 2), (1, 2), (0, 3), (2, 3)] {
        let (first, second) = (&names[first], &names[second]);
        let urls = [first.clone(), second.clone(), other.clone()];
        let locks = builder(urls).connect().await.unwrap();
        let word = "the same server process";
        let twice = || {
            let nodes = locks.nodes();
            let refused = |node: &&redlatch::NodeStatus| {
                node.reason.as_ref().is_some_and(|reason| reason.contains(word))
            };
            let states = nodes.iter().filter(|node| node.state == NodeState::Up).count();
            nodes[..2].iter().filter(refused).count() == 1 && states == 2
        };
        until("one of the two to be refused", twice).await;
        let guard = within(locks.acquire("r")).await.unwrap();
        assert!(guard.report().count(redlatch::Verdict::Granted) == 2, "{}", guard.report());
        within(guard.release()).await.unwrap();
        // Two names and a dead node are one vote of three.
        let (dead, _claim) = claim_port();
        let urls = [first.clone(), second.clone(), format!("redis://127.0.0.1:{dead}")];
        let error = refusal(builder(urls)).await;
        assert!(matches!(&error, ConnectError::NoQuorum { up: 1, quorum: 2, .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let same = [format!("redis://127.0.0.1:{port}/1"), format!("redis://127.0.0.1:{port}/2")];
    let error = refusal(builder(same)).await;
    let ConnectError::Config(error) = error else { panic!("{error}") };
    assert!(matches!(&error, ConfigError::DuplicateNode { .. }), "{error}");
}

/// Holds a lock on exactly `quorum` nodes of `count`, restarts `amnesic` of these, and asks for it
/// with another client: did both get it?
async fn second_holder(count: usize, quorum: usize, amnesic: usize, quarantine: bool) -> bool {
    let cluster = Cluster::start(count);
    let client = async || {
        let mut client = builder(cluster.urls()).quorum(quorum).ttl(LONG).max_ttl(LONG);
        if !quarantine {
            client = client.without(Protection::Quarantine);
        }
        all_up(client.connect().await.unwrap()).await
    };
    let (ours, theirs) = (client().await, client().await);
    for server in &cluster[quorum..] {
        server.command(&["SET", "r", "somebody"]);
    }
    let guard = within(ours.try_acquire("r").renewal(Renewal::Off)).await.unwrap();
    until("all answers", || ours.stats().in_flight == 0).await;
    for server in &cluster[quorum..] {
        server.command(&["DEL", "r"]);
    }
    cluster[..amnesic].iter().for_each(Server::restart);
    until("the restarts to be noticed", || {
        let back = |node: &redlatch::NodeStatus| {
            node.epochs == 2 && matches!(node.state, NodeState::Up | NodeState::Quarantined)
        };
        theirs.nodes()[..amnesic].iter().all(back)
    })
    .await;
    let second = within(theirs.try_acquire("r").renewal(Renewal::Off)).await;
    if let Err(error) = &second {
        let expected = matches!(error, AcquireError::Busy { .. } | AcquireError::NoQuorum { .. });
        assert!(expected, "{error}");
    }
    let both = second.is_ok_and(|second| second.is_valid()) && guard.is_valid();
    within(ours.close()).await;
    both
}

/// Scenario 10. Two quorums share 2q - N nodes, so 2q - N - 1 of them may forget: shown with the
/// quarantine off, which is what makes a node's forgetting harmless otherwise.
#[tokio::test]
async fn a_quorum_above_the_majority_survives_nodes_that_forget() {
    // One amnesic node breaks three nodes with two votes, and the quarantine mends that.
    assert!(second_holder(3, 2, 1, false).await);
    assert!(!second_holder(3, 2, 1, true).await);
    for (count, quorum) in [(4, 3), (5, 4)] {
        let tolerated = 2 * quorum - count - 1;
        assert!(!second_holder(count, quorum, tolerated, false).await, "{count}/{quorum}");
        assert!(second_holder(count, quorum, tolerated + 1, false).await, "{count}/{quorum}");
    }
}

/// Scenario 10. An even number of nodes excludes as any other, and is warned of unless the quorum
/// was chosen.
#[tokio::test]
async fn an_even_number_of_nodes_excludes_and_is_warned_of() {
    let cluster = Cluster::start(4);
    let locks = connect(&cluster).await;
    let [warning] = <[String; 1]>::try_from(locks.warnings()).unwrap();
    assert!(warning.contains("4 nodes") && warning.contains("as 3 nodes would"), "{warning}");
    let chosen = all_up(builder(cluster.urls()).quorum(3).connect().await.unwrap()).await;
    assert_eq!(chosen.warnings(), Vec::<String>::new());
    for round in 0..10 {
        let (one, other) = tokio::join!(locks.try_acquire("r"), chosen.try_acquire("r"));
        assert!(one.is_err() || other.is_err(), "two holders in round {round}");
        drop((one, other));
        drained(&cluster).await;
    }
    let odd = builder(cluster.urls().into_iter().take(3)).connect_lazy().unwrap();
    assert_eq!(odd.warnings(), Vec::<String>::new());
    // Below the majority no quorum can be.
    let error = builder(cluster.urls()).quorum(2).connect_lazy().unwrap_err();
    assert!(matches!(&error, ConfigError::OutOfRange { name: "quorum", .. }), "{error}");
}

/// Scenario 10. The quorum decides, be it the majority of an even number of nodes or more than one
/// of an odd number: one node fewer grants nothing, extends nothing and makes no fleet, even where
/// it is a majority.
#[tokio::test]
async fn one_node_fewer_than_the_quorum_is_no_quorum() {
    for (count, chosen, quorum) in [(2, None, 2), (4, None, 3), (5, Some(4), 4), (3, Some(3), 3)] {
        let cluster = Cluster::start(count);
        let settings = || {
            let settings = builder(cluster.urls()).ttl(LONG).max_ttl(LONG * 2);
            chosen.into_iter().fold(settings, Builder::quorum)
        };
        let locks = all_up(settings().connect().await.unwrap()).await;
        let what = format!("{quorum} of {count}");
        // Every node answers; another owner has all but so many.
        for free in [quorum - 1, quorum] {
            cluster[free..].iter().for_each(|server| _ = server.command(&["SET", "r", "foreign"]));
            let outcome = within(locks.try_acquire("r").renewal(Renewal::Off)).await;
            assert_eq!(outcome.is_ok(), free == quorum, "{what}, {free} free: {outcome:?}");
            let is_busy = matches!(&outcome, Err(AcquireError::Busy { .. }));
            assert!(outcome.is_ok() || is_busy, "{what}: {outcome:?}");
            drop(outcome);
            cluster[free..].iter().for_each(|server| _ = server.command(&["DEL", "r"]));
            drained(&cluster).await;
        }
        // No more than the quorum are up; then one fewer, which is all that is left to a holder.
        cluster[quorum..].iter().for_each(Server::kill);
        let are_down =
            |from: usize| locks.nodes()[from..].iter().all(|node| node.state == NodeState::Down);
        until("the deaths to be seen", || are_down(quorum)).await;
        let guard = within(locks.acquire("r").renewal(Renewal::Off)).await.unwrap();
        within(guard.extend(LONG)).await.unwrap();
        cluster[quorum - 1].kill();
        until("the last death to be seen", || are_down(quorum - 1)).await;
        let valid_until = guard.valid_until();
        let error = within(guard.extend(LONG * 2)).await.unwrap_err();
        assert!(matches!(&error, ExtendError::Unconfirmed { .. }), "{what}: {error}");
        assert_eq!(guard.valid_until(), valid_until, "{what}: extended by too few");
        let error = within(locks.try_acquire("other")).await.unwrap_err();
        assert!(matches!(&error, AcquireError::NoQuorum { .. }), "{what}: {error}");
        let error = refusal(settings()).await;
        let ConnectError::NoQuorum { up, quorum: needed, .. } = error else { panic!("{error}") };
        assert_eq!((up, needed), (quorum - 1, quorum), "{what}");
    }
}

/// Scenario 12, the part that is allowed: a ttl that the drift allowance eats is warned of.
#[tokio::test]
async fn a_ttl_that_is_mostly_drift_is_warned_of() {
    let warnings = |ttl: u64, ppm: u32| {
        let mut drift = Drift::default();
        drift.parts_per_million = ppm;
        let lazy = builder(["redis://127.0.0.1:1"]).ttl(ms(ttl)).drift(drift);
        lazy.connect_lazy().unwrap().warnings()
    };
    for (ttl, ppm) in [(8, 10_000), (10_000, 250_000)] {
        let [warning] = <[String; 1]>::try_from(warnings(ttl, ppm)).unwrap();
        assert!(warning.contains("drift allowance") && warning.contains("raise"), "{warning}");
    }
    assert!(warnings(20, 10_000).is_empty() && warnings(10_000, 83_333).is_empty());
}

async fn warned(locks: &Redlock, nodes: &[usize]) {
    let told = |at: &usize| locks.nodes()[*at].warning.is_some();
    until("the nodes to warn", || nodes.iter().all(told)).await;
}

/// The name by which a fleet goes, from the record on a node.
fn fleet(server: &Server) -> String {
    let state = server.get("redlatch:node").unwrap();
    state.split(' ').nth(4).unwrap().to_owned()
}

/// Scenario 11. Clients with different node lists or quorums can both hold a lock: the second one
/// is told, the first one not, until it is gone and the record passes on.
#[tokio::test]
async fn clients_of_different_fleets_are_told() {
    // Without a first epoch by somebody else, the first client's name is on record at once.
    let cluster = Cluster::start_virgin(4, &[]);
    let urls = cluster.urls();
    let client = |at: &[usize]| {
        let urls: Vec<String> = at.iter().map(|at| urls[*at].clone()).collect();
        builder(urls).ttl(ms(500)).max_ttl(ms(500)).heartbeat_interval(ms(100))
    };
    let first = all_up(client(&[0, 1, 2]).connect().await.unwrap()).await;
    let name = fleet(&cluster[0]);
    assert!(name.starts_with("3/2/"), "{name}");
    let same = all_up(client(&[2, 0, 1]).connect().await.unwrap()).await;
    let lists = all_up(client(&[0, 1, 3]).connect().await.unwrap()).await;
    warned(&lists, &[0, 1]).await;
    assert_eq!(lists.nodes()[2].warning, None, "no other client counts this one");
    let other = fleet(&cluster[3]);
    assert_ne!(other, name);
    let warnings = lists.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (warning, url) in warnings.iter().zip([&urls[0], &urls[1]]) {
        assert!(warning.starts_with(url.as_str()), "{warning}");
        assert!(warning.contains(&name) && warning.contains(&other), "{warning}");
    }
    let quorums = all_up(client(&[0, 1, 2]).quorum(3).connect().await.unwrap()).await;
    warned(&quorums, &[0, 1, 2]).await;
    assert!(quorums.warnings()[0].contains("3/3/"), "{:?}", quorums.warnings());
    within(quorums.close()).await;
    for silent in [&first, &same] {
        assert_eq!(silent.warnings(), Vec::<String>::new());
    }
    // It locks all the same: a warning is no refusal.
    within(within(lists.acquire("r")).await.unwrap().release()).await.unwrap();

    within(first.close()).await;
    within(same.close()).await;
    until("the record to pass on", || fleet(&cluster[0]) == other && fleet(&cluster[1]) == other)
        .await;
    until("the warning to end", || lists.warnings().is_empty()).await;
    let late = all_up(client(&[0, 1, 2]).connect().await.unwrap()).await;
    warned(&late, &[0, 1]).await;
}

/// Scenario 12. Impossible ttls are typed errors on every way in, and nothing is sent.
#[tokio::test]
async fn an_impossible_ttl_is_refused_before_anything_is_sent() {
    let cluster = Cluster::start(3);
    let silent = builder(cluster.urls()).heartbeat_interval(LONG).max_ttl(LONG).ttl(LONG / 2);
    let locks = all_up(silent.connect().await.unwrap()).await;
    let guard = within(locks.acquire("held").renewal(Renewal::Off)).await.unwrap();
    held_everywhere(&cluster, "held", &guard.token().to_hex()).await;
    let commands = || cluster.iter().map(|node| node.calls("set") + node.calls("evalsha")).sum();
    let before: u64 = commands();
    let exact = Duration::from_millis(1 << 53);
    let ttls = [Duration::ZERO, Duration::from_micros(900), ms(1), ms(2), LONG + ms(1), exact];
    for ttl in ttls.into_iter().chain([exact + ms(1), Duration::MAX]) {
        let errors = [
            within(locks.acquire("r").ttl(ttl)).await.map(drop),
            within(locks.acquire("r").ttl(ttl).fenced()).await.map(drop),
            within(locks.try_acquire("r").ttl(ttl)).await.map(drop),
        ];
        for error in errors.map(Result::unwrap_err) {
            let AcquireError::InvalidTtl { ttl: named, min, max } = error else {
                panic!("{error}")
            };
            assert_eq!((named, max), (ttl, LONG));
            assert!(min > ms(2) && min < ms(6), "{min:?}");
        }
        let error = within(guard.extend(ttl)).await.unwrap_err();
        assert!(matches!(&error, ExtendError::InvalidTtl { .. }), "{error}");
        let error = builder(cluster.urls()).max_ttl(LONG).ttl(ttl).connect().await.unwrap_err();
        let ConnectError::Config(error) = error else { panic!("{error}") };
        assert!(matches!(&error, ConfigError::OutOfRange { name: "ttl", .. }), "{error}");
    }
    assert_eq!(commands(), before, "something was sent");
    assert!(guard.is_valid());
    // What remains is allowed, the ends included.
    let AcquireError::InvalidTtl { min, .. } =
        within(locks.acquire("r").ttl(ms(1))).await.unwrap_err()
    else {
        panic!("not a ttl")
    };
    for ttl in [min, LONG] {
        drop(within(locks.try_acquire("r").ttl(ttl)).await);
    }
    within(guard.extend(LONG)).await.unwrap();
    assert!(commands() > before);
}

/// The lock delay: keys outlive the validity, whether granted or extended; a release ends both.
#[tokio::test]
async fn a_lock_delay_keeps_the_keys_but_not_the_lock() {
    let cluster = Cluster::start(3);
    let (ttl, delay) = (Duration::from_secs(60), Duration::from_secs(300));
    let delaying = builder(cluster.urls()).ttl(ttl).lock_delay(delay).max_ttl(ttl * 10);
    let locks = all_up(delaying.connect().await.unwrap()).await;
    for (fenced, extended) in [(false, false), (false, true), (true, false), (true, true)] {
        let request = locks.acquire("r").renewal(Renewal::Off);
        let request = if fenced { request.fenced() } else { request };
        let guard = within(request).await.unwrap();
        held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
        let valid = if extended { ttl * 2 } else { ttl };
        if extended {
            within(guard.extend(valid)).await.unwrap();
            until("all answers", || locks.stats().in_flight == 0).await;
        }
        let keys = i64::try_from((valid + delay).as_millis()).unwrap();
        for server in &*cluster {
            let left = server.pttl("r");
            assert!(left > keys - 30_000 && left <= keys, "{left} of {keys} ms");
        }
        assert!(guard.remaining() <= valid && guard.remaining() > valid / 2);
        within(guard.release()).await.unwrap();
        assert!(cluster.iter().filter(|server| server.pttl("r") == -2).count() >= 2);
        let counters = if fenced { ["redlatch:fence:r"].as_slice() } else { &[] };
        assert!(counters.iter().all(|key| cluster[0].pttl(key) > 0));
        drained(&cluster).await;
    }
    // It is part of what a restarted node waits for.
    let error = builder(cluster.urls()).ttl(ttl).max_ttl(ttl).lock_delay(delay).connect_lazy();
    let error = error.unwrap_err();
    assert!(error.to_string().contains("lock_delay"), "{error}");
}

/// The lock delay: when a holder dies, others wait for the ttl and the delay.
#[tokio::test]
async fn a_dead_holders_lock_is_free_after_ttl_and_delay() {
    let cluster = Cluster::start(3);
    let (ttl, delay) = (ms(1_000), ms(1_500));
    let other = connect(&cluster).await;
    let dying = builder(cluster.urls()).ttl(ttl).lock_delay(delay);
    let dying = all_up(dying.connect().await.unwrap()).await;
    let before = since_boot();
    let guard = within(dying.acquire("r").renewal(Renewal::Off)).await.unwrap();
    let valid_until = guard.valid_until().since_boot();
    assert!(valid_until < before + ttl * 20);
    // Nobody will ever release it: the client goes on, the guard is leaked.
    std::mem::forget(guard);
    let next = within(other.acquire("r")).await.unwrap();
    // The servers' clock counts whole milliseconds.
    assert!(since_boot() + ms(2) >= before + ttl + delay, "too early");
    within(next.release()).await.unwrap();
}

/// Names of the engine's own keys cannot be locked, also when a prefix completes them.
#[tokio::test]
async fn the_engines_own_names_are_kept() {
    let cluster = Cluster::start(1);
    let cases = [
        ("", "redlatch:epoch"),
        ("", "redlatch:"),
        ("red", "latch:node"),
        ("redlatch", ":fence:r"),
    ];
    for (prefix, name) in cases {
        let locks = builder(cluster.urls()).key_prefix(prefix).connect().await.unwrap();
        let sets = cluster[0].calls("set");
        let errors = [
            within(locks.acquire(name)).await.map(drop).unwrap_err(),
            within(locks.try_acquire(name).fenced()).await.map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, AcquireError::ReservedResource { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(within(locks.inspect(name)).await.is_err());
        assert_eq!(cluster[0].calls("set"), sets);
        // Only in front of the key, and only whole.
        for free in ["redlatch", "xredlatch:", "redlatch-epoch"] {
            let free = format!("{free}{name}");
            within(within(locks.acquire(free)).await.unwrap().release()).await.unwrap();
        }
    }
    let error = builder(cluster.urls()).key_prefix("redlatch:x").connect_lazy().unwrap_err();
    assert!(matches!(&error, ConfigError::OutOfRange { name: "key_prefix", .. }), "{error}");
}

/// Scenario 60. A guard that is forgotten is renewed up to `max_hold` and no longer; without that
/// bound it would hold the lock for good.
#[tokio::test]
async fn a_forgotten_guard_ends_with_max_hold() {
    let cluster = Cluster::start(3);
    let other = connect(&cluster).await;
    let (ttl, most) = (ms(1_500), ms(4_000));
    let client = |most| builder(cluster.urls()).ttl(ttl).max_hold(most);
    let bounded = all_up(client(most).connect().await.unwrap()).await;
    let unbounded = all_up(client(LONG).connect().await.unwrap()).await;
    let guard = within(bounded.acquire("bounded")).await.unwrap();
    let (lease, first, lost) = (guard.lease().clone(), guard.valid_until(), guard.lost());
    std::mem::forget(guard);
    let endless = within(unbounded.acquire("endless")).await.unwrap();
    let kept = endless.lease().clone();
    std::mem::forget(endless);
    let reason = within(lost).await;
    assert!(reason == redlatch::Lost::Expired && !lease.is_valid(), "{reason}");
    assert!(lease.valid_until() > first, "it was not renewed");
    assert!(lease.valid_until().since_boot() <= since_boot() + ttl);
    drop(within(other.acquire("bounded")).await.unwrap());
    assert!(kept.is_valid(), "{kept:?}");
    let error = within(other.try_acquire("endless")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Busy { .. }), "{error}");
}
