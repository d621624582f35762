//! What a node's epoch catches: restarts with old data, promotions, other servers behind an
//! address, proxies that hide all of it; and how epochs begin.

use std::collections::BTreeSet;
use std::time::Duration;

use redlatch::testing::Protection;
use redlatch::{AcquireError, InitError, NodeState, Redlock, Renewal};

use crate::amnesia::{Hold, Rig, WEAK, attack, attack_with_and_without, besiege};
use crate::hop::Hop;
use crate::persistence::{
    AOF_ALWAYS, AOF_EVERYSEC, aof_len, copy_rdb, promote, put_rdb, replicate, restart_loaded,
    save_rdb, truncate_aof,
};
use crate::server::{Cluster, Server};
use crate::states::flush_scripts;
use crate::support::{all_up, builder, drained, held_everywhere, ms, since_boot, until, within};

const QUARANTINE: &[Protection] = &[Protection::Quarantine];
const SEAL: &[Protection] = &[Protection::Seal];
const EITHER: &[Protection] = &[Protection::Quarantine, Protection::Seal];

fn epoch(server: &Server) -> Option<String> {
    server.get("redlatch:epoch")
}

/// Restarts the node out of the clients' sight and sees that its epoch has survived.
fn restart_with_its_epoch(rig: &Rig, prepare: impl Fn(&Server)) {
    rig.hop.refuse();
    let known = epoch(rig.weak());
    rig.weak().kill();
    prepare(rig.weak());
    restart_loaded(rig.weak());
    assert_eq!(epoch(rig.weak()), known, "the epoch outlives the process");
    assert!(known.is_some() && rig.weak().get("r").is_none(), "and the lock does not");
    rig.hop.accept();
}

/// Scenario 16. An AOF that is synced once a second: a power cut takes its tail, the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_log_lost_its_tail_gives_nobody_the_held_lock() {
    let length = |rig: &Rig| aof_len(rig.weak());
    let cut = |rig: &Rig, len| restart_with_its_epoch(rig, |server| truncate_aof(server, len));
    attack_with_and_without(AOF_EVERYSEC, QUARANTINE, false, length, cut).await;
}

/// Scenario 17. An AOF that is "always" synced is not while it is rewritten, where the server is
/// set up so: the hazard is the same, and so is the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_always_synced_log_that_lost_its_tail_gives_nobody_the_held_lock() {
    let config: Vec<&str> =
        AOF_ALWAYS.iter().copied().chain(["no-appendfsync-on-rewrite yes"]).collect();
    let length = |rig: &Rig| aof_len(rig.weak());
    let cut = |rig: &Rig, len| restart_with_its_epoch(rig, |server| truncate_aof(server, len));
    attack_with_and_without(&config, QUARANTINE, false, length, cut).await;
}

/// Scenarios 16 and 17. Durability is never inferred: a node that comes back with all its data,
/// the lock included, is quarantined like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_forgot_nothing_is_quarantined_all_the_same() {
    for config in [AOF_EVERYSEC, AOF_ALWAYS] {
        let cluster = Cluster::start_with(3, config);
        let ttl = Duration::from_secs(2);
        let settings = builder(cluster.urls()).ttl(ttl).max_ttl(ttl);
        let locks = all_up(settings.connect().await.unwrap()).await;
        // Longer than the node's quarantine, thanks to its renewals.
        let guard = within(locks.acquire("r")).await.unwrap();
        held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
        tokio::task::block_in_place(|| restart_loaded(&cluster[0]));
        until("the new epoch", || locks.nodes()[0].epochs == 2).await;
        until("the quarantine, or its end", || {
            matches!(locks.nodes()[0].state, NodeState::Quarantined | NodeState::Up)
        })
        .await;
        assert!(guard.is_valid(), "the others suffice");
        all_up(locks).await;
        until("the renewals to count there again", || guard.margin() == 1).await;
        within(guard.release()).await.unwrap();
        drained(&cluster).await;
    }
}

/// Scenario 18. A restart with a dump that is older than the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_old_dump_gives_nobody_the_held_lock() {
    let put = |rig: &Rig, dump| restart_with_its_epoch(rig, |server| put_rdb(server, &dump));
    attack_with_and_without(&[], QUARANTINE, false, |rig| copy_rdb(rig.weak()), put).await;
}

/// Scenario 21. Made a replica of another server and a master again, on a connection that lives
/// on and did not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_a_replica_for_a_moment_gives_nobody_the_held_lock() {
    let demote = |rig: &Rig, other: Server| {
        let accepted = rig.hop.accepted();
        replicate(rig.weak(), &other);
        promote(rig.weak());
        assert_eq!(rig.hop.accepted(), accepted, "the connections live on");
    };
    attack_with_and_without(&[], EITHER, true, |_| Server::start_virgin(&[]), demote).await;
}

/// A copy of the weak node as a fail-over leaves it: its data, its epoch, a process of its own
/// that has been up for longer than any quarantine asks.
fn replica(rig: &Rig) -> Server {
    let copy = Server::start_virgin(&[]);
    replicate(&copy, rig.weak());
    promote(&copy);
    assert_eq!(epoch(&copy), epoch(rig.weak()));
    crate::server::poll_until("the replica to be up for a while", || {
        let uptime: u64 = copy.info("uptime_in_seconds")?.parse().ok()?;
        (uptime >= 3).then_some(())
    });
    copy
}

/// Scenario 22. A replica that lacks the lock is promoted behind the same address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_behind_the_address_gives_nobody_the_held_lock() {
    let fail_over = |rig: &Rig, copy: Server| {
        rig.hop.redirect(copy.addr());
        rig.hop.cut();
        copy
    };
    attack_with_and_without(&[], QUARANTINE, false, replica, fail_over).await;
}

/// Scenarios 22 and 23. The same behind a proxy that lets no connection notice: the copy has
/// the epoch, but it has never been told the scripts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_fail_over_gives_nobody_the_held_lock() {
    let fail_over = |rig: &Rig, copy: Server| {
        rig.hop.behind_their_backs(|| rig.hop.redirect(copy.addr()));
        copy
    };
    attack_with_and_without(&[], SEAL, true, replica, fail_over).await;
}

/// Scenario 52. The address leads to another server, a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_behind_the_address_gives_nobody_the_held_lock() {
    let moved = |rig: &Rig, other: Server| {
        rig.hop.redirect(other.addr());
        rig.hop.cut();
        other
    };
    let virgin = |_: &Rig| Server::start_virgin(&[]);
    attack_with_and_without(&[], QUARANTINE, false, virgin, moved).await;
    // And so that no connection notices.
    let moved = |rig: &Rig, other: Server| {
        rig.hop.behind_their_backs(|| rig.hop.redirect(other.addr()));
        other
    };
    attack_with_and_without(&[], SEAL, true, virgin, moved).await;
}

/// Scenario 23. A proxy hides that the node was restarted without its data: the seal finds no
/// epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_restart_without_data_gives_nobody_the_held_lock() {
    let restart = |rig: &Rig, ()| rig.hop.behind_their_backs(|| rig.weak().restart());
    for idle in [false, true] {
        attack_with_and_without(&[], SEAL, idle, |_| (), restart).await;
    }
}

/// Scenario 23. As before, but a dump has kept the epoch: the seal finds no scripts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_restart_that_kept_the_epoch_gives_nobody_the_held_lock() {
    let restart = |rig: &Rig, ()| {
        let known = epoch(rig.weak());
        rig.hop.behind_their_backs(|| {
            restart_loaded(rig.weak());
            assert!(known.is_some() && epoch(rig.weak()) == known);
        });
    };
    for idle in [false, true] {
        attack_with_and_without(&[], SEAL, idle, |rig| save_rdb(rig.weak()), restart).await;
    }
}

/// Scenario 23. What the first write behind a hidden restart is worth: nothing, whoever else wants
/// the lock; and which half of the seal said so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_write_behind_a_hidden_restart_counts_nowhere() {
    for keeps_epoch in [false, true] {
        let rig = Rig::start(&[]);
        let ttl = Duration::from_secs(2);
        let locks = all_up(rig.client(ttl, None).connect().await.unwrap()).await;
        // The quorum needs the weak node.
        rig.cluster[3..].iter().for_each(Server::kill);
        until("the deaths to be seen", || {
            locks.nodes()[3..].iter().all(|node| node.state == NodeState::Down)
        })
        .await;
        tokio::task::block_in_place(|| {
            if keeps_epoch {
                save_rdb(rig.weak());
            }
            rig.hop.behind_their_backs(|| restart_loaded(rig.weak()));
        });
        let before = locks.nodes()[WEAK].clone();
        assert_eq!((before.disconnects, before.seals_broken), (0, 0), "nothing was noticed");
        let error = within(locks.try_acquire("r")).await.unwrap_err();
        assert!(matches!(error, AcquireError::NoQuorum { .. }), "{error}");
        until("the new epoch", || locks.nodes()[WEAK].epochs == 2).await;
        let node = locks.nodes()[WEAK].clone();
        assert_eq!(node.seals_broken, 1);
        assert_eq!(node.script_reloads, u64::from(keeps_epoch), "only then are scripts missing");
        let error = within(locks.try_acquire("r")).await.unwrap_err();
        assert!(matches!(error, AcquireError::Quarantined { .. }), "{error}");
        drained(&rig.cluster[..3]).await;
    }
}

/// Scenario 24. SCRIPT FLUSH forgets no lock: the epoch goes on, nothing is quarantined, and locks
/// are granted again at once, by plain SETs, whether writes are sealed or not, and by scripts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_scripts_cost_a_round_trip_and_no_quarantine() {
    for (fenced, sealed) in [(false, false), (false, true), (true, false)] {
        let cluster = Cluster::start(3);
        // Rare heartbeats: each would load the scripts again by itself.
        let mut settings = builder(cluster.urls()).heartbeat_interval(Duration::from_secs(60));
        if sealed {
            settings = settings.resp2_only();
        }
        let locks = all_up(settings.connect().await.unwrap()).await;
        let held = within(locks.acquire("held")).await.unwrap();
        held_everywhere(&cluster, "held", &held.token().to_hex()).await;
        cluster.iter().for_each(flush_scripts);
        let request = locks.acquire("r");
        let guard = within(if fenced { request.fenced() } else { request }).await.unwrap();
        assert!(guard.attempts() <= 2, "{}", guard.attempts());
        assert_eq!(guard.fencing_token().is_some(), fenced);
        let nodes = locks.nodes();
        for node in &nodes {
            let seen = (node.state, node.epochs, node.disconnects);
            assert_eq!(seen, (NodeState::Up, 1, 0), "{node:?}");
        }
        // The third may not be that far yet; and a SET alone needs no script.
        let needed = if fenced || sealed { 2 } else { 0 };
        let reloads: Vec<u64> = nodes.iter().map(|node| node.script_reloads).collect();
        assert!(reloads.iter().all(|count| *count <= 1) && reloads.iter().sum::<u64>() >= needed);
        assert!(held.is_valid());
        within(held.extend(Duration::from_secs(100))).await.unwrap();
        within(held.release()).await.unwrap();
        within(guard.release()).await.unwrap();
        drained(&cluster).await;
    }
}

/// What the nodes were asked to hold back for, at most, in ms.
fn published(server: &Server) -> u64 {
    let state = server.get("redlatch:node").unwrap_or_default();
    state.split(' ').nth(3).map_or(0, |word| word.parse().unwrap())
}

/// Scenario 25. Clients with locks of different lengths: the longest one's quarantine is
/// everybody's, also when only a client with shorter locks is there to begin it. Without it that
/// client gets the lock while it is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_lock_of_any_client_sets_everybodys_quarantine() {
    let short = Duration::from_secs(1);
    let cases = [(true, None), (false, None), (true, Some(Protection::Quarantine))];
    for (longer_comes_first, off) in cases {
        let long = Duration::from_secs(if off.is_some() { 60 } else { 3 });
        let rig = Rig::start(&[]);
        // The longer one goes its own way to the weak node, which is closed behind it.
        let way = Hop::start(rig.weak().addr());
        let client = async |ttl| {
            let hop = if ttl == long { &way } else { &rig.hop };
            let settings = rig.client_over(hop, ttl, off).heartbeat_interval(ms(50));
            all_up(settings.connect().await.unwrap()).await
        };
        let (patient, hasty) = if longer_comes_first {
            let patient = client(long).await;
            (patient, client(short).await)
        } else {
            let hasty = client(short).await;
            assert!(rig.cluster.iter().all(|server| published(server) < 1_500));
            (client(long).await, hasty)
        };
        // Published before the first such lock can be asked for.
        assert!(rig.cluster.iter().all(|server| published(server) >= 3_000));
        // Two heartbeats later everybody has heard of it.
        let commands = hasty.nodes()[0].commands;
        until("heartbeats", || hasty.nodes()[0].commands >= commands + 2).await;

        // A lock of the longer kind, with three grants; then its client is gone, without a word.
        for server in &rig.cluster[3..] {
            server.command(&["SET", "r", "foreign"]);
        }
        let guard = within(patient.acquire("r").renewal(Renewal::Off)).await.unwrap();
        let first = Hold::of(&guard);
        std::mem::forget(guard.into_lease());
        for server in &rig.cluster[3..] {
            server.command(&["DEL", "r"]);
        }
        drop(patient);
        // Dropped or not, it lives on in the lease.
        way.refuse();
        way.cut();
        rig.hop.refuse();
        rig.hop.cut();
        tokio::task::block_in_place(|| rig.weak().restart());
        assert_eq!(epoch(rig.weak()), None);
        rig.hop.accept();
        let (_guard, second, refusals) = besiege(hasty.clone(), "r").await;
        if off.is_some() {
            assert!(first.overlaps(second), "this does not need it: {first:?} {second:?}");
            continue;
        }
        assert!(!first.overlaps(second) && first.until <= second.from, "{first:?} {second:?}");
        assert!(!refusals.is_empty());
        assert_eq!(hasty.nodes()[WEAK].epochs, 2);
        assert!(published(rig.weak()) >= 3_000, "begun by the hasty one, for the longer locks");
    }
}

/// Many clients meet a new node at once: one epoch begins, and all know it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_race_to_stamp_agree_on_one_epoch() {
    let cluster = Cluster::start_virgin(3, &[]);
    let ttl = Duration::from_secs(1);
    let clients: Vec<Redlock> = (0..24)
        .map(|_| builder(cluster.urls()).ttl(ttl).max_ttl(ttl).connect_lazy().unwrap())
        .collect();
    let knows = |locks: &Redlock| locks.nodes().iter().all(|node| node.epoch.is_some());
    until("everybody to have greeted", || clients.iter().all(knows)).await;
    for (at, server) in cluster.iter().enumerate() {
        let nodes: Vec<_> = clients.iter().map(|locks| locks.nodes()[at].clone()).collect();
        let seen: BTreeSet<_> = nodes.iter().map(|node| node.epoch.clone()).collect();
        assert_eq!(seen, BTreeSet::from([epoch(server)]));
        assert!(nodes.iter().all(|node| node.epochs == 1));
    }
    for locks in clients {
        all_up(locks).await;
    }
}

/// A fleet is opened on its operator's word only when all of it is there and none is in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_is_opened_when_it_is_whole_and_new() {
    let cluster = Cluster::start_virgin(3, &[]);
    let untouched = || cluster.iter().all(|server| !server.is_running() || epoch(server).is_none());

    cluster[1].kill();
    let error = within(builder(cluster.urls()).init_fleet()).await.unwrap_err();
    assert!(matches!(&error, InitError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&cluster[1].url()), "{error}");
    assert!(untouched());
    tokio::task::block_in_place(|| cluster[1].restart());

    let twice = Hop::start(cluster[0].addr());
    let urls = [cluster[0].url(), twice.url(), cluster[2].url()];
    let error = within(builder(urls).init_fleet()).await.unwrap_err();
    assert!(matches!(&error, InitError::SameServer), "{error}");
    assert!(untouched());

    within(builder(cluster.urls()).init_fleet()).await.unwrap();
    assert!(cluster.iter().all(|server| epoch(server).is_some()));
    let locks = all_up(builder(cluster.urls()).connect().await.unwrap()).await;
    within(within(locks.try_acquire("r")).await.unwrap().release()).await.unwrap();
    assert!(locks.nodes().iter().all(|node| node.quarantine.is_none()));

    // One of them that lost everything is in use for all that.
    let before = epoch(&cluster[0]);
    within(locks.close()).await;
    cluster[2].flushall();
    let error = within(builder(cluster.urls()).init_fleet()).await.unwrap_err();
    let InitError::AlreadyInitialised { nodes } = &error else { panic!("{error}") };
    assert!(nodes.iter().any(|node| *node == cluster[0].url()), "{error}");
    assert_eq!((epoch(&cluster[0]), epoch(&cluster[2])), (before, None), "nothing was opened");
    drained(&cluster).await;
}

/// A new fleet that nobody has opened makes its first client wait, and says how to avoid it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_fleet_makes_its_first_client_wait_and_says_why() {
    let cluster = Cluster::start_virgin(3, &[]);
    let started = since_boot();
    let ttl = Duration::from_secs(2);
    let settings = || builder(cluster.urls()).ttl(ttl).max_ttl(ttl);
    let locks = settings().connect().await.unwrap();
    let error = within(locks.try_acquire("r")).await.unwrap_err();
    let AcquireError::Quarantined { remaining, .. } = &error else { panic!("{error}") };
    assert!(*remaining > Duration::ZERO && *remaining < ttl * 2, "{remaining:?}");
    assert!(error.to_string().contains("init_fleet"), "{error}");
    // A second client waits no less.
    let other = settings().connect().await.unwrap();
    let (guard, hold, refusals) = besiege(other, "r").await;
    assert!(hold.from - started >= ttl, "{:?}", hold.from - started);
    assert!(refusals.iter().any(|error| matches!(error, AcquireError::Quarantined { .. })));
    within(guard.release()).await.unwrap();
    // Whoever waits long enough gets it without asking twice.
    within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
}

/// Scenario 52. The address leads to another server that has been open for long, for other
/// clients: whoever knew the one before begins an epoch there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_open_before_gives_nobody_the_held_lock() {
    let (short, long) = (Duration::from_secs(2), Duration::from_secs(60));
    for (ttl, off) in [(short, None), (long, Some(Protection::Quarantine))] {
        let other = Server::start();
        let rig = Rig::start(&[]);
        let moved = |rig: &Rig, ()| {
            rig.hop.redirect(other.addr());
            rig.hop.cut();
        };
        let takeover = attack(&rig, (ttl, off), false, |_| (), moved).await;
        match off {
            None => takeover.assert_apart("on"),
            Some(_) => takeover.assert_two_holders("without"),
        }
    }
}

/// Scenario 52. And back again: the first server has kept its epoch, and knows nothing of the
/// locks that were granted in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_behind_its_address_gives_nobody_the_held_lock() {
    let (short, long) = (Duration::from_secs(2), Duration::from_secs(60));
    for (ttl, off) in [(short, None), (long, Some(Protection::Quarantine))] {
        let other = Server::start_virgin(&[]);
        let rig = Rig::start(&[]);
        rig.hop.redirect(other.addr());
        if off.is_some() {
            other.open();
        }
        let first = rig.client(ttl, off).connect().await.unwrap();
        all_up(first).await;
        let back = |rig: &Rig, ()| {
            rig.hop.redirect(rig.weak().addr());
            rig.hop.cut();
        };
        let takeover = attack(&rig, (ttl, off), false, |_| (), back).await;
        match off {
            None => takeover.assert_apart("on"),
            Some(_) => takeover.assert_two_holders("without"),
        }
    }
}
