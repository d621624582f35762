//! Connections on which the server itself tells of the epoch's end, so that no write is sealed:
//! where they are used, and that whoever has one learns in time what a seal would have shown.

use std::time::Duration;

use redlatch::testing::Protection;
use redlatch::{AcquireError, NodeState, NodeStatus, Redlock};

use crate::amnesia::{Rig, attack_on};
use crate::hop::Hop;
use crate::persistence::{promote, replicate};
use crate::server::{Reply, Server};
use crate::states::allow;
use crate::support::{all_up, builder, drained, until, within};

const SEAL: &[Protection] = &[Protection::Seal];
const EITHER: &[Protection] = &[Protection::Quarantine, Protection::Seal];

fn is_watched(node: &NodeStatus) -> bool {
    node.server.as_ref().unwrap().ends_with(", watched")
}

/// A client of one node whose heartbeats are too rare to be counted.
async fn client(url: String) -> Redlock {
    let minute = Duration::from_secs(60);
    all_up(builder([url]).heartbeat_interval(minute).connect().await.unwrap()).await
}

/// Reads of the epoch and of the scripts that one lock costs, by the server's own count.
async fn seals(server: &Server, locks: &Redlock) -> [u64; 2] {
    let counted = || ["get", "script|exists"].map(|command| server.calls(command));
    let before = counted();
    within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
    until("the key to be gone", || server.pttl("r") == -2).await;
    until("all answers", || locks.stats().in_flight == 0).await;
    let [gets, exists] = counted();
    [gets - before[0], exists - before[1]]
}

/// Scenario 72. A proxy, RESP2.
#[tokio::test]
async fn whoever_reaches_the_process_itself_seals_nothing() {
    let server = Server::start();
    let hop = Hop::start(server.addr());
    let direct = [server.url(), server.unix_url()];
    let sealed = [hop.url(), format!("{}?protocol=2", server.url())];
    for (url, watched) in
        direct.map(|url| (url, true)).into_iter().chain(sealed.map(|url| (url, false)))
    {
        let locks = client(url.clone()).await;
        assert_eq!(is_watched(&locks.nodes()[0]), watched, "{url}");
        assert_eq!(seals(&server, &locks).await, [u64::from(!watched); 2], "{url}");
        within(locks.close()).await;
    }
}

/// Scenario 72. Rights that only a watched connection needs. Without one of them every write is
/// sealed.
#[tokio::test]
async fn without_the_rights_for_it_writes_are_sealed() {
    let server = Server::start();
    for (missing, watched) in [
        ("-client|info", false),
        ("-client|caching", false),
        ("-client|tracking", false),
        ("+client", true),
    ] {
        allow(&server, &[missing]);
        let locks = client(server.url()).await;
        assert_eq!(is_watched(&locks.nodes()[0]), watched, "{missing}");
        assert_eq!(seals(&server, &locks).await[1], u64::from(!watched), "{missing}");
        within(locks.close()).await;
        allow(&server, &["+client"]);
    }
}

/// Scenario 72. A server that may evict does not always say so.
#[tokio::test]
async fn where_a_server_may_evict_writes_are_sealed() {
    let server = Server::start_with(&["maxmemory 100mb", "maxmemory-policy allkeys-lru"]);
    let settings = builder([server.url()]).heartbeat_interval(Duration::from_secs(60));
    let locks = all_up(settings.allow_eviction().connect().await.unwrap()).await;
    assert!(!is_watched(&locks.nodes()[0]));
    assert_eq!(seals(&server, &locks).await[1], 1);
}

/// Each ends the connection before anything is asked on it: there is no heartbeat here.
#[tokio::test]
async fn whatever_ends_the_epoch_ends_the_connection_at_once() {
    let server = Server::start_with(&["enable-debug-command yes"]);
    let locks = client(server.url()).await;
    let ends: [(&[&str], bool); 7] = [
        (&["DEL", "redlatch:epoch"], true),
        (&["SET", "redlatch:epoch", "another"], true),
        (&["PEXPIRE", "redlatch:epoch", "1"], true),
        (&["FLUSHALL"], true),
        (&["FLUSHDB", "ASYNC"], true),
        (&["EVAL", "return redis.call('RENAME', 'redlatch:epoch', 'e')", "0"], true),
        (&["DEBUG", "RELOAD"], false),
    ];
    for (end, forgets) in ends {
        let before = locks.nodes()[0].clone();
        let reply = server.command(end);
        assert!(!matches!(reply, Reply::Error(_)), "{end:?}: {reply:?}");
        let word = format!("{end:?} to be noticed");
        until(&word, || locks.nodes()[0].connects == before.connects + 1).await;
        until("the greeting", || locks.nodes()[0].state != NodeState::Down).await;
        let after = locks.nodes()[0].clone();
        assert_eq!(after.seals_broken, before.seals_broken + 1, "{end:?}");
        assert_eq!(after.epochs, before.epochs + u64::from(forgets), "{end:?}");
        assert!(is_watched(&after), "{end:?}");
    }
}

/// Scenario 73. SWAPDB exchanges a database and tells nobody.
#[tokio::test]
async fn a_database_that_is_swapped_is_found_by_the_seal_or_by_the_heartbeat() {
    for sealed in [true, false] {
        let server = Server::start();
        let often = Duration::from_millis(100);
        let mut settings = builder([server.url()]);
        if sealed {
            settings = settings.resp2_only().heartbeat_interval(Duration::from_secs(60));
        } else {
            settings = settings.heartbeat_interval(often);
        }
        let locks = all_up(settings.connect().await.unwrap()).await;
        let guard = within(locks.acquire("r")).await.unwrap();
        assert_eq!(server.command(&["SWAPDB", "0", "1"]), Reply::Simple("OK".into()));
        if sealed {
            let error = within(locks.try_acquire("other")).await.unwrap_err();
            assert!(matches!(error, AcquireError::NoQuorum { .. }), "{error}");
        }
        until("the new epoch", || locks.nodes()[0].epochs == 2).await;
        assert_eq!(locks.nodes()[0].state, NodeState::Quarantined);
        drop(guard);
    }
}

/// Scenario 15, on a connection that nothing stands between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_of_a_watched_node_gives_nobody_the_held_lock() {
    let flush = |rig: &Rig, ()| rig.weak().flushall();
    for idle in [false, true] {
        attack_on(Rig::start_direct, &[], EITHER, idle, |_| (), flush).await;
    }
}

/// Scenario 21, likewise: the copy of another server's data, and a master again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_node_that_was_a_replica_for_a_moment_gives_nobody_the_held_lock() {
    let demote = |rig: &Rig, other: Server| {
        replicate(rig.weak(), &other);
        promote(rig.weak());
    };
    let other = |_: &Rig| Server::start_virgin(&[]);
    attack_on(Rig::start_direct, &[], EITHER, true, other, demote).await;
}

/// Of two connections of one client, each is watched by itself: the one behind a proxy is sealed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_restart_is_still_found_by_the_seal() {
    let rig = Rig::start(&[]);
    let locks = all_up(rig.client(Duration::from_secs(2), None).connect().await.unwrap()).await;
    let watched = locks.nodes().iter().filter(|node| is_watched(node)).count();
    assert_eq!(watched, 4, "all but the one behind the hop");
    let restart = |rig: &Rig, ()| rig.hop.behind_their_backs(|| rig.weak().restart());
    attack_on(Rig::start, &[], SEAL, true, |_| (), restart).await;
    drained(&rig.cluster).await;
}
