//! Modes, permits, hierarchies and several resources at once, on real servers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redlatch::{AcquireError, ClaimError, ExtendError, Guard, Lost, Mode, Redlock, Renewal};

use crate::server::{Cluster, Reply, Server};
use crate::support::{all_up, builder, connect, drained, ms, until, within};

const MODES: [Mode; 4] = [Mode::Exclusive, Mode::Shared, Mode::IntentExclusive, Mode::IntentShared];

/// What is asked for, by one name for all kinds of request.
#[derive(Clone, Copy, Debug)]
enum Way {
    In(Mode),
    /// One of a thousand permits, so that two requests find two.
    Permit,
    /// Exclusively, together with a resource that nobody else wants.
    Together(&'static str),
}

const WAYS: [Way; 6] = [
    Way::In(Mode::Exclusive),
    Way::In(Mode::Shared),
    Way::In(Mode::IntentExclusive),
    Way::In(Mode::IntentShared),
    Way::Permit,
    Way::Together("other"),
];

async fn ask(locks: &Redlock, way: Way) -> Result<Guard, AcquireError> {
    match way {
        Way::In(mode) => within(locks.try_acquire("r").mode(mode)).await,
        Way::Permit => within(locks.try_acquire("r").permit_of(1_000)).await,
        Way::Together(other) => within(locks.acquire_all(["r", other]).once()).await,
    }
}

/// Gray's matrix, plus permits, which exclude every mode and not each other.
fn is_beside(one: Way, two: Way) -> bool {
    match (one, two) {
        (Way::In(one), Way::In(two)) => one.is_beside(two),
        (Way::Permit, Way::Permit) => true,
        _ => false,
    }
}

fn is_busy(error: &AcquireError) -> bool {
    matches!(error, AcquireError::Busy { .. } | AcquireError::TimedOut { .. })
}

/// `SET r foreign NX`, as any other library would.
fn foreign_takes(cluster: &Cluster, key: &str) -> usize {
    let set = |server: &&Server| {
        let reply = server.command(&["SET", key, "foreign", "NX", "PX", "600000"]);
        reply == Reply::Simple("OK".into())
    };
    cluster.iter().filter(set).count()
}

fn foreign_releases(cluster: &Cluster, key: &str) {
    for server in &**cluster {
        if server.try_command(&["GET", key]).ok().and_then(Reply::text).as_deref()
            == Some("foreign")
        {
            server.command(&["DEL", key]);
        }
    }
}

async fn settled(locks: &[&Redlock]) {
    for locks in locks {
        until("all answers", || locks.stats().in_flight == 0).await;
    }
}

#[tokio::test]
async fn every_cell_of_the_matrix_holds() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    for held in WAYS {
        for wanted in WAYS {
            for other in [&theirs, &ours] {
                let guard = ask(&ours, held).await.unwrap();
                // Every node holds it before anybody else asks.
                settled(&[&ours]).await;
                let wanted_other = match wanted {
                    Way::Together(_) => Way::Together("another"),
                    wanted => wanted,
                };
                match ask(other, wanted_other).await {
                    Ok(second) => {
                        assert!(is_beside(held, wanted), "{wanted:?} beside {held:?}");
                        within(second.release()).await.unwrap();
                    }
                    Err(error) => {
                        assert!(!is_beside(held, wanted), "{wanted:?} beside {held:?}: {error}");
                        assert!(is_busy(&error), "{error}");
                    }
                }
                settled(&[&ours, &theirs]).await;
                assert_eq!(foreign_takes(&cluster, "r"), 0, "a foreign client beside {held:?}");
                within(guard.release()).await.unwrap();
                drained(&cluster).await;
            }
        }
        assert_eq!(foreign_takes(&cluster, "r"), 3);
        let error = ask(&ours, held).await.unwrap_err();
        assert!(is_busy(&error), "{held:?} beside a foreign client: {error}");
        settled(&[&ours]).await;
        foreign_releases(&cluster, "r");
        drained(&cluster).await;
    }
    assert_eq!((ours.stats().held, theirs.stats().held), (0, 0));
}

#[tokio::test]
async fn readers_share_and_a_writer_comes_after_them() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    let mut readers = Vec::new();
    for locks in [&ours, &theirs, &ours, &theirs, &ours] {
        readers.push(within(locks.acquire("r").mode(Mode::Shared)).await.unwrap());
    }
    assert!(readers.iter().all(Guard::is_valid));
    let writer = {
        let theirs = theirs.clone();
        tokio::spawn(async move { theirs.acquire("r").await.unwrap() })
    };
    let theirs_denied = || theirs.nodes().iter().map(|node| node.operations).sum::<u64>();
    let before = theirs_denied();
    until("the writer to have been denied", || theirs_denied() > before + 12).await;
    assert!(!writer.is_finished());
    for reader in readers {
        assert!(reader.is_valid());
        within(reader.release()).await.unwrap();
    }
    let writer = within(writer).await.unwrap();
    let error = within(ours.try_acquire("r").mode(Mode::Shared)).await.unwrap_err();
    assert!(is_busy(&error), "{error}");
    within(writer.release()).await.unwrap();
    drained(&cluster).await;
}
