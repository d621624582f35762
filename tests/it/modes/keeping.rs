//! What is held in modes: renewal, extension, loss, release, repair, and what others see of it.

use std::future::IntoFuture;
use std::time::Duration;

use redlatch::testing::{Options, TestNode};
use redlatch::{AcquireError, AcquireFuture, ExtendError, Lost, Mode, NodeState, Redlock, Renewal};

use super::{foreign_takes, is_busy, settled};
use crate::server::{Client, Cluster, Reply};
use crate::support::{all_up, builder, connect, drained, ms, polled, since_boot, until, within};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn renewal_keeps_readers_and_permits_and_sets_for_several_ttls() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    let ttl = ms(900);
    let reader = within(ours.acquire("r").mode(Mode::Shared).ttl(ttl)).await.unwrap();
    let permit = within(ours.acquire("p").permit_of(1).ttl(ttl)).await.unwrap();
    let both = within(ours.acquire_all(["a", "b"]).ttl(ttl)).await.unwrap();
    let below = within(ours.acquire("x/y").hierarchical().ttl(ttl)).await.unwrap();
    let guards = [&reader, &permit, &both, &below];
    let first = guards.map(redlatch::Guard::valid_until);
    let end = since_boot() + ttl * 3;
    while since_boot() < end {
        for key in ["r", "p", "a", "b", "x", "x/y"] {
            let error = within(theirs.try_acquire(key)).await.unwrap_err();
            assert!(matches!(&error, AcquireError::Busy { .. }), "{key}: {error}");
        }
        assert!(guards.iter().all(|guard| guard.is_valid()));
        tokio::time::sleep(ms(40)).await;
    }
    for (guard, first) in guards.into_iter().zip(first) {
        assert!(guard.valid_until() > first, "{:?}", guard.resources());
    }
    assert_eq!((ours.stats().lost, ours.stats().held), (0, 4));
    for guard in [reader, permit, both, below] {
        within(guard.release()).await.unwrap();
    }
    drained(&cluster).await;
}

/// Readers of one key end each in its own time; the key lives as long as the last of them.
#[tokio::test]
async fn a_reader_is_lengthened_alone_and_the_key_never_shortened() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let read = |ttl| locks.acquire("r").mode(Mode::Shared).ttl(ttl).renewal(Renewal::Off);
    let (long, short) = (within(read(LONG)).await.unwrap(), within(read(LONG / 3)).await.unwrap());
    settled(&[&locks]).await;
    let pttl = || cluster.iter().map(|server| server.pttl("r")).collect::<Vec<_>>();
    assert!(pttl().iter().all(|left| *left > 40_000), "{:?}", pttl());
    within(short.extend(LONG / 2)).await.unwrap();
    assert!(short.remaining() > LONG / 3 && short.remaining() < LONG / 2);
    assert!(pttl().iter().all(|left| *left > 40_000), "{:?}", pttl());
    within(short.extend(LONG * 2)).await.unwrap();
    until("all nodes to be extended", || pttl().iter().all(|left| *left > 100_000)).await;
    let shorter = within(short.extend(ms(500))).await.unwrap();
    assert!(shorter.since_boot() > since_boot() + LONG, "an extension shortened");
    assert!(within(long.verify()).await.is_ok());
    // What is left lives as long as it needs, and no longer.
    within(short.release()).await.unwrap();
    until("all nodes to be released", || pttl().iter().all(|left| *left < 61_000)).await;
    assert!(within(long.verify()).await.is_ok());
    within(long.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn a_reader_that_has_ended_is_in_nobodys_way() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    // Another reader keeps the key itself alive; a plain lock waits until that is gone as well.
    let brief = within(ours.acquire("r").mode(Mode::Shared).ttl(ms(300))).await.unwrap();
    drop(brief.into_lease());
    let intent = Mode::IntentShared;
    let other = within(theirs.acquire("r").mode(intent).ttl(LONG)).await.unwrap();
    let writer = within(theirs.acquire("r").mode(Mode::IntentExclusive)).await.unwrap();
    assert!(writer.is_valid() && other.is_valid());
    drop((writer, other));
    drained(&cluster).await;
    // The only reader is gone: the key goes with it, for any library.
    let brief = within(ours.acquire("r").mode(Mode::Shared).ttl(ms(300))).await.unwrap();
    drop(brief.into_lease());
    let mut taken = 0;
    within(async {
        // Each node by its own clock: not all of them need to be free at one look.
        while taken < 3 {
            taken += foreign_takes(&cluster, "r");
            tokio::time::sleep(ms(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_lost_says_so_and_is_never_revived() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let reader = within(locks.acquire("r").mode(Mode::Shared).ttl(ms(900))).await.unwrap();
    let both = within(locks.acquire_all(["a", "b"]).ttl(ms(900))).await.unwrap();
    settled(&[&locks]).await;
    // Half of it on every node is none of it.
    for server in &*cluster {
        server.command(&["DEL", "b"]);
        server.command(&["HDEL", "r", &reader.token().to_hex()]);
    }
    assert_eq!(within(both.lost()).await, Lost::TakenOver);
    assert_eq!(within(reader.lost()).await, Lost::TakenOver);
    let error = within(reader.extend(LONG)).await.unwrap_err();
    assert!(matches!(error, ExtendError::Lost { .. }), "{error}");
    within(reader.release()).await.unwrap();
    within(both.release()).await.unwrap();
    drained(&cluster).await;
}

/// R1, R5: what a node granted in an epoch that has ended counts for nothing.
#[tokio::test]
async fn a_flushed_quorum_ends_readers_and_counts_for_none() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let reader = within(locks.acquire("r").mode(Mode::Shared)).await.unwrap();
    settled(&[&locks]).await;
    for server in &cluster[..2] {
        server.flushall();
    }
    // Before anybody has noticed: the scripts find no epoch.
    let error = within(locks.try_acquire("r").mode(Mode::Shared)).await.unwrap_err();
    let is_refusal =
        matches!(error, AcquireError::NoQuorum { .. } | AcquireError::Quarantined { .. });
    assert!(is_refusal, "{error}");
    assert_eq!(within(reader.lost()).await, Lost::TakenOver);
    drop(reader);
    settled(&[&locks]).await;
    drained(&cluster).await;
}

/// A node that was away when the lock was granted holds it after the next renewal.
#[tokio::test]
async fn nodes_that_lack_a_claim_are_asked_again() {
    let cluster = Cluster::start(3);
    let ttl = ms(900);
    let settings = builder(cluster.urls()).ttl(ttl).max_ttl(ttl);
    let locks = all_up(settings.connect().await.unwrap()).await;
    let reader = within(locks.acquire("r").mode(Mode::Shared)).await.unwrap();
    let both = within(locks.acquire_all(["a", "b"])).await.unwrap();
    until("all grants", || reader.margin() == 1 && both.margin() == 1).await;
    cluster[0].command(&["HDEL", "r", &reader.token().to_hex()]);
    cluster[0].command(&["DEL", "a"]);
    let is_whole = || cluster[0].get("a").is_some() && cluster[0].pttl("r") > 0;
    until("the repair", || locks.nodes()[0].topped_up >= 2 && is_whole()).await;
    until("the ledger to know", || reader.margin() == 1 && both.margin() == 1).await;
    within(reader.release()).await.unwrap();
    within(both.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn scripts_that_were_flushed_are_loaded_again() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let flush = || cluster.iter().for_each(|server| drop(server.command(&["SCRIPT", "FLUSH"])));
    flush();
    // In the same attempt: nothing else would load them so soon.
    let reader = within(locks.try_acquire("r").mode(Mode::Shared)).await.unwrap();
    flush();
    within(reader.extend(LONG * 2)).await.unwrap();
    flush();
    within(reader.release()).await.unwrap();
    drained(&cluster).await;
    assert!(locks.nodes().iter().all(|node| node.disconnects == 0));
}

/// A plain lock that has ended finds its key taken by readers: none of its scripts and commands
/// fails on the other type, and nothing of the readers' is touched.
#[tokio::test]
async fn a_plain_lock_that_has_ended_leaves_readers_alone() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    let plain = within(ours.acquire("r").ttl(LONG)).await.unwrap();
    settled(&[&ours]).await;
    cluster.iter().for_each(|server| drop(server.command(&["DEL", "r"])));
    let reader = within(theirs.acquire("r").mode(Mode::Shared)).await.unwrap();
    settled(&[&theirs]).await;
    // Told as another owner's, and not as an error, which would take others of its batch along.
    let error = within(plain.extend(LONG * 2)).await.unwrap_err();
    assert!(matches!(&error, ExtendError::Lost { .. }), "{error}");
    within(plain.release()).await.unwrap();
    assert!(within(reader.verify()).await.is_ok());
    let inspection = within(ours.inspect("r")).await.unwrap();
    assert!(inspection.holder().is_none() && inspection.nodes.iter().all(|node| node.answered));
    within(reader.release()).await.unwrap();
    drained(&cluster).await;
}

/// As above, where the server has a command for releases, which fails on the other type.
#[tokio::test]
async fn a_native_release_of_what_readers_have_now_is_no_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let node = TestNode::start_with(listener, Options::new().delifeq(true));
    let locks = all_up(builder([node.url()]).connect().await.unwrap()).await;
    let plain = within(locks.acquire("r").ttl(LONG)).await.unwrap();
    // Its own client is blocking, and the node runs on this runtime.
    let deleted = tokio::task::spawn_blocking(move || {
        Client::connect(addr).unwrap().command(&["DEL", "r"]).unwrap()
    });
    assert_eq!(within(deleted).await.unwrap(), Reply::Int(1));
    let reader = within(locks.acquire("r").mode(Mode::Shared)).await.unwrap();
    let scripts = node.commands().get("evalsha").copied();
    within(plain.release()).await.unwrap();
    assert_eq!(node.commands().get("delifeq"), Some(&1));
    assert!(node.commands().get("evalsha").copied() > scripts);
    assert!(within(reader.verify()).await.is_ok());
    // Releases are native again where they can be.
    drop(within(locks.acquire("s")).await.unwrap());
    until("a native release", || node.commands().get("delifeq") == Some(&2)).await;
}

/// A lease in one mode never passes to a caller of this process that asked for another one.
#[tokio::test]
async fn no_claim_is_handed_on() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let both = within(locks.acquire_all(["r", "s"])).await.unwrap();
    let reader = within(locks.acquire("t").mode(Mode::Shared)).await.unwrap();
    let wait = |name: &'static str| {
        let locks = locks.clone();
        tokio::spawn(async move { locks.acquire(name).await.unwrap() })
    };
    let waiters = [wait("r"), wait("t"), wait("r"), wait("t")];
    until("waiters", || locks.stats().waiting == 2).await;
    within(both.release()).await.unwrap();
    within(reader.release()).await.unwrap();
    for (at, waiter) in waiters.into_iter().enumerate() {
        let guard = within(waiter).await.unwrap();
        // The first of each came over the nodes; it may hand its own, plain lease on.
        assert!(!guard.report().handed_over || at >= 2);
        drop(guard);
    }
    drained(&cluster).await;
}

fn requests(locks: &Redlock, which: usize) -> AcquireFuture<'_> {
    match which {
        0 => locks.acquire("r").mode(Mode::Shared).into_future(),
        1 => locks.acquire("r").permit_of(2).into_future(),
        2 => locks.acquire("a/b/c").hierarchical().into_future(),
        _ => locks.acquire_all(["a", "b", "c"]).into_future(),
    }
}

#[tokio::test]
async fn a_request_dropped_after_any_poll_leaves_nothing() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    for (which, turns) in (0..4).flat_map(|which| (0..6).map(move |turns| (which, turns))) {
        for polls in 0.. {
            assert!(polls < 100, "never completes");
            let outcome = within(polled(requests(&locks, which), polls)).await;
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            let is_done = outcome.is_some();
            drop(outcome.map(Result::unwrap));
            settled(&[&locks]).await;
            drained(&cluster).await;
            if is_done {
                break;
            }
        }
    }
    assert_eq!((locks.stats().held, locks.stats().waiting), (0, 0));
}

/// A node dies with the answer to a claim in its mouth: what it may have granted is released.
#[tokio::test]
async fn a_claim_without_an_answer_is_released() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    cluster[0].pause();
    cluster[1].pause();
    let request = locks.acquire("r").mode(Mode::Shared).wait_for(ms(100));
    let error = within(request).await.unwrap_err();
    assert!(!is_busy(&error), "{error}");
    cluster[0].resume();
    cluster[1].resume();
    until("both to be back", || locks.nodes().iter().all(|node| node.state == NodeState::Up)).await;
    settled(&[&locks]).await;
    drained(&cluster).await;
    for server in &*cluster {
        assert_eq!(server.command(&["EXISTS", "r"]), Reply::Int(0));
    }
}
