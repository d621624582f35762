//! Taking and giving back: what lies on the nodes, who excludes whom, what callers are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redlatch::{AcquireError, InspectError, Lost, ReleaseError, Renewal, ResumeError, Verdict};

use crate::server::{Cluster, Reply, Server};
use crate::support::{
    all_up, builder, connect, drained, held_everywhere, ms, since_boot, until, verdicts, within,
};

const TTL: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_lock_is_a_plain_key_with_a_token_on_every_node() {
    for (count, quorum) in [(1, 1), (3, 2), (5, 3)] {
        let cluster = Cluster::start(count);
        let sockets: Vec<String> = cluster.iter().map(Server::unix_url).collect();
        for urls in [cluster.urls(), sockets] {
            let locks = all_up(builder(urls).connect().await.unwrap()).await;
            let guard = within(locks.acquire("orders:42").ttl(TTL)).await.unwrap();
            let token = guard.token().to_hex();
            assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()));
            held_everywhere(&cluster, "orders:42", &token).await;
            for server in &*cluster {
                let left = server.pttl("orders:42");
                assert!((20_000..=30_000).contains(&left), "{left} ms of 30 s left");
                assert_eq!(server.keys(), ["orders:42"]);
            }
            assert!(guard.is_valid());
            assert!(guard.remaining() < TTL, "the drift allowance is taken off");
            assert!(guard.valid_until().since_boot() < since_boot() + TTL);
            let report = guard.report();
            assert_eq!((report.attempts, report.quorum, report.contended), (1, quorum, false));
            assert!(report.count(Verdict::Granted) >= quorum, "{report}");
            assert_eq!(report.votes.len(), count);
            within(guard.release()).await.unwrap();
            drained(&cluster).await;
        }
    }
}

#[tokio::test]
async fn every_attempt_has_a_token_of_its_own() {
    let cluster = Cluster::start(1);
    let locks = connect(&cluster).await;
    let mut tokens = std::collections::HashSet::new();
    for _ in 0..50 {
        let guard = within(locks.acquire("r")).await.unwrap();
        assert!(tokens.insert(guard.token()), "a token came twice");
        within(guard.release()).await.unwrap();
    }
}

#[tokio::test]
async fn a_prefix_stands_before_the_name_and_nowhere_else() {
    let cluster = Cluster::start(3);
    let locks = builder(cluster.urls()).key_prefix("lock:").connect().await.unwrap();
    let locks = all_up(locks).await;
    let guard = within(locks.acquire("r")).await.unwrap();
    assert_eq!(guard.resource().as_bytes(), b"r");
    held_everywhere(&cluster, "lock:r", &guard.token().to_hex()).await;
    let inspection = within(locks.inspect("r")).await.unwrap();
    assert_eq!(inspection.holder(), Some(guard.token().as_bytes().as_slice()));
    // Names of any bytes, also those of the protocol.
    let odd = within(locks.acquire(&b"\r\n$-1\r\n\x00\xff"[..])).await.unwrap();
    drop(guard);
    within(odd.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn a_second_client_is_busy_and_a_second_caller_too() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    let guard = within(ours.acquire("r")).await.unwrap();
    held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
    let error = within(theirs.try_acquire("r")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Busy { .. }), "{error}");
    let report = error.report().unwrap();
    assert_eq!(report.attempts, 1);
    assert!(report.count(Verdict::Denied) >= 2, "{report}");
    assert!(report.contended);
    let text = error.to_string();
    assert!(text.contains("`r` is held by another owner"), "{text}");
    assert!(text.contains(&cluster[0].url()) || text.contains(&cluster[1].url()), "{text}");
    // Within one client the nodes need not even be asked.
    let asked = cluster.iter().map(|server| server.calls("set")).sum::<u64>();
    let error = within(ours.try_acquire("r")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Busy { .. }), "{error}");
    assert_eq!(cluster.iter().map(|server| server.calls("set")).sum::<u64>(), asked);
    within(guard.release()).await.unwrap();
    let free = within(theirs.acquire("r")).await.unwrap();
    assert_eq!(ours.stats().failed, 1);
    within(free.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn two_clients_exclude_each_other() {
    let cluster = Cluster::start(3);
    let clients = [connect(&cluster).await, connect(&cluster).await];
    let inside = Arc::new(AtomicBool::new(false));
    let tasks = clients.map(|locks| {
        let inside = Arc::clone(&inside);
        tokio::spawn(async move {
            for _ in 0..40 {
                let guard = locks.acquire("r").await.unwrap();
                assert!(!inside.swap(true, Ordering::SeqCst), "two holders");
                tokio::time::sleep(ms(1)).await;
                assert!(guard.is_valid());
                inside.store(false, Ordering::SeqCst);
                guard.release().await.unwrap();
            }
        })
    });
    for task in tasks {
        within(task).await.unwrap();
    }
    drained(&cluster).await;
}

#[tokio::test]
async fn a_dropped_guard_is_released() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    for round in 1..=20 {
        drop(within(locks.acquire("r")).await.unwrap());
        assert_eq!(locks.stats().released, round);
    }
    drained(&cluster).await;
    let next = within(locks.try_acquire("r")).await.unwrap();
    assert_eq!(locks.stats().held, 1);
    drop(next);
    drained(&cluster).await;
    assert_eq!(locks.stats().held, 0);
}

#[tokio::test]
async fn releasing_what_expired_is_fine_and_finding_another_owner_is_not() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let request = || locks.acquire("r").ttl(TTL).renewal(Renewal::Off);
    let gone = within(request()).await.unwrap();
    held_everywhere(&cluster, "r", &gone.token().to_hex()).await;
    for server in &*cluster {
        server.command(&["DEL", "r"]);
    }
    within(gone.release()).await.unwrap();

    let taken = within(request()).await.unwrap();
    held_everywhere(&cluster, "r", &taken.token().to_hex()).await;
    for server in &*cluster {
        server.command(&["SET", "r", "intruder"]);
    }
    let error = within(taken.release()).await.unwrap_err();
    assert!(matches!(&error, ReleaseError::NotHeld { .. }), "{error}");
    assert!(error.to_string().contains("exclusivity may have been broken"), "{error}");
    for server in &*cluster {
        assert_eq!(server.get("r").as_deref(), Some("intruder"), "another owner's key stays");
    }
}

#[tokio::test]
async fn foreign_locks_exclude_us_and_ours_exclude_them() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let foreign = ["SET", "r", "their-random-value", "NX", "PX", "30000"];
    for server in &*cluster {
        assert_eq!(server.command(&foreign), Reply::Simple("OK".into()));
    }
    let error = within(locks.try_acquire("r")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Busy { .. }), "{error}");
    let inspection = within(locks.inspect("r")).await.unwrap();
    assert_eq!(inspection.holder(), Some(b"their-random-value".as_slice()));
    assert_eq!((inspection.taken(), inspection.quorum), (3, 2));
    assert!(inspection.nodes.iter().all(|node| node.ttl.is_some_and(|ttl| ttl <= TTL)));
    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire("r").await }
    });
    until("a caller to try", || locks.nodes()[0].commands >= 3).await;
    for server in &*cluster {
        server.command(&["DEL", "r"]);
    }
    let guard = within(waiting).await.unwrap().unwrap();
    held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
    for server in &*cluster {
        assert_eq!(server.command(&foreign), Reply::Bulk(None), "they are excluded");
    }
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn counters_count() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    for _ in 0..10 {
        within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
    }
    let held = within(locks.acquire("held")).await.unwrap();
    let waiter = tokio::spawn({
        let locks = locks.clone();
        async move { drop(locks.acquire("held").await.unwrap()) }
    });
    until("a waiter", || locks.stats().waiting == 1).await;
    let stats = locks.stats();
    assert_eq!((stats.held, stats.acquired, stats.released), (1, 11, 10));
    assert_eq!((stats.contended, stats.failed, stats.lost), (0, 0, 0));
    assert_eq!(stats.acquire.count(), 11);
    assert!(stats.acquire.at(50.0) <= stats.acquire.max());
    drop(held);
    within(waiter).await.unwrap();
    drained(&cluster).await;
    until("answers to everything", || locks.stats().in_flight == 0).await;
    let stats = locks.stats();
    assert_eq!((stats.held, stats.waiting, stats.acquired), (0, 0, 12));
    // The waiter got the lock as it was, unless the machine stalled for a whole turn before.
    assert_eq!((stats.contended, stats.released + stats.handed_on), (1, 12));
    for (node, server) in locks.nodes().iter().zip(&*cluster) {
        assert_eq!(node.endpoint, server.url());
        assert!(node.server.as_ref().unwrap().contains("RESP3"), "{node:?}");
        assert_eq!((node.connects, node.disconnects, node.reason.as_ref()), (1, 0, None));
        assert!(node.commands >= 22 && node.operations >= 22, "{node:?}");
        assert!(node.writes >= 1 && node.reads >= 1 && node.bytes_written > 0, "{node:?}");
    }
}

#[tokio::test]
async fn closing_releases_and_ends() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let clone = locks.clone();
    let guard = within(locks.acquire("r")).await.unwrap();
    let lease = guard.lease().clone();
    let other = within(locks.acquire("other")).await.unwrap();
    let waiter = tokio::spawn(async move { clone.acquire("r").await.map(drop) });
    until("a waiter", || locks.stats().waiting == 1).await;
    within(locks.close()).await;
    drained(&cluster).await;
    assert!(matches!(within(waiter).await.unwrap(), Err(AcquireError::Closed)));
    assert_eq!(within(guard.lost()).await, Lost::Closed);
    assert!(!guard.is_valid() && lease.remaining() == Duration::ZERO);
    assert_eq!(lease.ensure_valid(), Err(Lost::Closed));
    let error = within(locks.acquire("r")).await.unwrap_err();
    assert!(matches!(error, AcquireError::Closed), "{error}");
    let error = within(locks.try_acquire("r")).await.unwrap_err();
    assert!(matches!(error, AcquireError::Closed), "{error}");
    assert!(matches!(within(locks.inspect("r")).await, Err(InspectError::Closed)));
    let resumed = within(locks.resume("r", lease.token())).await;
    assert!(matches!(resumed, Err(ResumeError::Closed)));
    within(guard.release()).await.unwrap();
    drop(other);
    within(locks.close()).await;
    assert!(locks.nodes().iter().all(|node| node.state == redlatch::NodeState::Closed));
}

#[tokio::test]
async fn the_last_handle_ends_the_connections_behind_the_last_release() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let guard = within(locks.acquire("r")).await.unwrap();
    held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
    drop(locks);
    assert!(guard.is_valid(), "a guard keeps its client alive");
    drop(guard);
    drained(&cluster).await;
    let connections = |server: &Server| {
        let list = server.command(&["CLIENT", "LIST"]).text().unwrap();
        list.lines().filter(|line| line.contains("name=redlatch")).count()
    };
    until("the connections to end", || cluster.iter().all(|node| connections(node) == 0)).await;
}

#[tokio::test]
async fn verdicts_of_a_partial_grant_are_told_and_undone() {
    let cluster = Cluster::start(5);
    let locks = connect(&cluster).await;
    for server in &cluster[..3] {
        server.command(&["SET", "r", "other", "PX", "60000"]);
    }
    let error = within(locks.try_acquire("r")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Busy { .. }), "{error}");
    let found = verdicts(error.report().unwrap());
    assert_eq!(found[..3], [Verdict::Denied; 3], "{error}");
    assert!(!found[3..].contains(&Verdict::Denied), "{error}");
    drained(&cluster[3..]).await;
    for server in &cluster[..3] {
        assert_eq!(server.get("r").as_deref(), Some("other"));
    }
}
