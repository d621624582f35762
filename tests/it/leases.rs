//! Holding: extension, renewal, loss, `run`, hand-over to another client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redlatch::{
    AcquireError, ExtendError, Guard, Lost, Redlock, Renewal, ResumeError, RunError, Token, Waiting,
};

use crate::server::Cluster;
use crate::support::{
    all_up, builder, connect, drained, held_everywhere, ms, since_boot, until, within,
};

async fn held(locks: &Redlock, cluster: &Cluster, renewal: Renewal, ttl: Duration) -> Guard {
    let guard = within(locks.acquire("r").ttl(ttl).renewal(renewal)).await.unwrap();
    held_everywhere(cluster, "r", &guard.token().to_hex()).await;
    // Every grant is counted: from here on the validity moves by renewals only.
    until("all answers", || locks.stats().in_flight == 0).await;
    guard
}

#[tokio::test]
async fn an_extension_lengthens_and_never_shortens() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let guard = held(&locks, &cluster, Renewal::Off, Duration::from_secs(20)).await;
    let before = guard.valid_until();
    let longer = within(guard.extend(Duration::from_secs(120))).await.unwrap();
    assert!(longer > before && guard.valid_until() >= longer);
    until("every node to have been extended", || {
        cluster.iter().all(|server| server.pttl("r") > 90_000)
    })
    .await;
    let shorter = within(guard.extend(Duration::from_secs(5))).await.unwrap();
    assert!(shorter >= longer, "{shorter:?} < {longer:?}");
    assert!(guard.remaining() > Duration::from_secs(90));
    for server in &*cluster {
        assert!(server.pttl("r") > 90_000, "{} was shortened", server.url());
    }
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn an_extension_of_what_is_gone_fails_and_revives_nothing() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let guard = held(&locks, &cluster, Renewal::Off, Duration::from_secs(20)).await;
    for server in &*cluster {
        server.command(&["DEL", "r"]);
    }
    let error = within(guard.extend(Duration::from_secs(60))).await.unwrap_err();
    assert!(
        matches!(&error, ExtendError::Lost { .. } | ExtendError::Unconfirmed { .. }),
        "{error}"
    );
    until("the ledger to know", || !guard.is_valid()).await;
    let error = within(guard.extend(Duration::from_secs(60))).await.unwrap_err();
    assert!(matches!(&error, ExtendError::Lost { .. }), "{error}");
    assert!(cluster.iter().all(|server| server.dbsize() == 0), "revived");
    within(guard.release()).await.unwrap();
}

#[tokio::test]
async fn an_extension_with_an_impossible_ttl_sends_nothing() {
    let cluster = Cluster::start(1);
    let locks = connect(&cluster).await;
    let guard = held(&locks, &cluster, Renewal::Off, Duration::from_secs(20)).await;
    let calls = cluster[0].calls("evalsha");
    for ttl in [Duration::ZERO, ms(2), Duration::from_millis((1 << 53) + 1)] {
        let error = within(guard.extend(ttl)).await.unwrap_err();
        assert!(matches!(&error, ExtendError::InvalidTtl { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{ttl:?}")), "{error}");
    }
    assert_eq!(cluster[0].calls("evalsha"), calls);
    assert!(guard.is_valid());
}

#[tokio::test]
async fn renewal_keeps_a_lock_for_several_ttls() {
    let cluster = Cluster::start(3);
    let (locks, other) = (connect(&cluster).await, connect(&cluster).await);
    let ttl = ms(900);
    let guard = held(&locks, &cluster, Renewal::On, ttl).await;
    let first = guard.valid_until();
    let end = since_boot() + ttl * 4;
    while since_boot() < end {
        let error = within(other.try_acquire("r")).await.unwrap_err();
        assert!(matches!(&error, AcquireError::Busy { .. }), "{error}");
        assert!(guard.is_valid());
        tokio::time::sleep(ms(50)).await;
    }
    assert!(guard.valid_until() > first);
    assert_eq!(locks.stats().lost, 0);
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn scripts_that_were_flushed_are_loaded_again() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let flush = || {
        for server in &*cluster {
            server.command(&["SCRIPT", "FLUSH"]);
        }
    };
    let guard = held(&locks, &cluster, Renewal::On, ms(900)).await;
    flush();
    let longer = within(guard.extend(Duration::from_secs(30))).await.unwrap();
    assert!(longer.since_boot() > since_boot() + Duration::from_secs(20));
    flush();
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
    // A renewal meets the empty cache as well.
    let guard = held(&locks, &cluster, Renewal::On, ms(900)).await;
    let first = guard.valid_until();
    flush();
    until("a renewal", || guard.valid_until() > first).await;
    assert!(guard.is_valid());
    drop(guard);
    drained(&cluster).await;
    assert!(locks.nodes().iter().map(|node| node.script_reloads).sum::<u64>() >= 6);
    assert!(locks.nodes().iter().all(|node| node.disconnects == 0));
}

#[tokio::test]
async fn without_renewal_a_lock_ends_and_says_so_before_it_does() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    // A machine that stalls may be late to run anybody; one that works is early once in three.
    let mut early = false;
    for _ in 0..3 {
        let guard = held(&locks, &cluster, Renewal::Off, ms(1_000)).await;
        let end = guard.valid_until().since_boot();
        assert_eq!(within(guard.lost()).await, Lost::Expired);
        let now = since_boot();
        assert!(!guard.is_valid() && guard.remaining().is_zero());
        assert_eq!(guard.lease().ensure_valid(), Err(Lost::Expired));
        assert_eq!(within(guard.lost()).await, Lost::Expired, "loss is for good");
        within(guard.release()).await.unwrap();
        early = now < end;
        if early {
            break;
        }
    }
    assert!(early, "the loss was announced after the validity had ended");
    assert_eq!(locks.stats().held, 0);
    assert!(locks.stats().lost >= 1);
    drained(&cluster).await;
}

#[tokio::test]
async fn a_bounded_hold_is_renewed_up_to_its_bound() {
    let cluster = Cluster::start(3);
    let bounded = builder(cluster.urls()).max_hold(ms(1_500)).connect().await.unwrap();
    let bounded = all_up(bounded).await;
    for (locks, renewal) in [
        (connect(&cluster).await, Renewal::AtMost(ms(1_500))),
        (bounded.clone(), Renewal::On),
        (bounded, Renewal::AtMost(Duration::from_secs(60))),
    ] {
        let guard = held(&locks, &cluster, renewal, ms(600)).await;
        let (first, bound) = (guard.valid_until(), since_boot() + ms(1_500));
        let lost = tokio::spawn(guard.lost());
        let mut last = first;
        while !lost.is_finished() {
            last = last.max(guard.valid_until());
            assert!(since_boot() < bound + Duration::from_secs(10), "it is renewed for ever");
            tokio::time::sleep(ms(2)).await;
        }
        assert_eq!(lost.await.unwrap(), Lost::Expired);
        assert!(last > first, "it was renewed");
        assert!(last.since_boot() <= bound, "renewed beyond the bound");
        drop(guard);
        drained(&cluster).await;
    }
}

#[tokio::test]
async fn run_returns_the_value_and_releases() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let mut sum = 1;
    let run = locks.run("r", async |lease| {
        assert!(lease.is_valid());
        sum += 41;
        (lease.resource().to_string(), sum)
    });
    assert_eq!(within(run).await.unwrap(), ("r".to_owned(), 42));
    let run = locks.run("", async |_| panic!("must not run"));
    let error = within(run).await.unwrap_err();
    assert!(matches!(&error, RunError::Acquire(AcquireError::InvalidResource { .. })), "{error}");
    drained(&cluster).await;
    assert_eq!(locks.stats().held, 0);
}

#[tokio::test]
async fn run_cancels_the_work_when_the_lock_is_lost() {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let cluster = Cluster::start(3);
    let locks = builder(cluster.urls()).ttl(ms(900)).connect().await.unwrap();
    let locks = all_up(locks).await;
    let cancelled = Arc::new(AtomicBool::new(false));
    let flag = Flag(Arc::clone(&cancelled));
    let run = locks.run("r", async |lease| {
        held_everywhere(&cluster, "r", &lease.token().to_hex()).await;
        for server in &cluster[..2] {
            server.command(&["DEL", "r"]);
        }
        let _flag = flag;
        std::future::pending::<()>().await;
    });
    let error = within(run).await.unwrap_err();
    assert!(matches!(error, RunError::Lost(Lost::TakenOver)), "{error}");
    assert!(cancelled.load(Ordering::SeqCst));
    drained(&cluster).await;
    assert_eq!((locks.stats().held, locks.stats().lost), (0, 1));
}

#[tokio::test]
async fn a_minority_that_lost_the_key_loses_nothing() {
    let cluster = Cluster::start(5);
    let locks = connect(&cluster).await;
    let guard = held(&locks, &cluster, Renewal::On, ms(900)).await;
    for server in &cluster[..2] {
        server.command(&["DEL", "r"]);
    }
    let first = guard.valid_until();
    until("two renewals", || guard.valid_until().since_boot() > first.since_boot() + ms(400)).await;
    assert!(guard.is_valid());
    assert_eq!(locks.stats().lost, 0);
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn a_lease_is_taken_up_again_by_another_client() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    let guard = held(&ours, &cluster, Renewal::On, Duration::from_secs(30)).await;
    let lease = guard.into_lease();
    assert_eq!((ours.stats().held, lease.is_valid()), (0, true));
    // Handed on as text, as between processes.
    let token = Token::from_hex(&lease.token().to_hex()).unwrap();
    let wrong = Token::from_hex(&"0f".repeat(16)).unwrap();
    let error = within(theirs.resume("r", wrong)).await.unwrap_err();
    assert!(matches!(&error, ResumeError::NotHeld { .. }), "{error}");
    let error = within(theirs.resume("other", token)).await.unwrap_err();
    assert!(matches!(&error, ResumeError::NotHeld { .. }), "{error}");
    for name in [String::new(), "x".repeat(5_000)] {
        let error = within(theirs.resume(name, token)).await.unwrap_err();
        assert!(matches!(&error, ResumeError::Invalid(_)), "{error}");
    }
    held_everywhere(&cluster, "r", &token.to_hex()).await;
    let resumed = within(theirs.resume("r", token)).await.unwrap();
    assert!(resumed.is_valid() && resumed.token() == token);
    assert_eq!(theirs.stats().held, 1);
    within(resumed.release()).await.unwrap();
    drained(&cluster).await;
    let error = within(theirs.resume("r", token)).await.unwrap_err();
    assert!(matches!(&error, ResumeError::NotHeld { .. }), "{error}");
    assert_eq!(theirs.stats().held, 0);
}

#[tokio::test]
async fn a_lease_without_a_guard_is_neither_renewed_nor_released() {
    let cluster = Cluster::start(3);
    // Whoever waits in line calls scripts too.
    let settings = builder(cluster.urls()).waiting(Waiting::Backoff);
    let locks = all_up(settings.connect().await.unwrap()).await;
    let guard = held(&locks, &cluster, Renewal::On, ms(900)).await;
    let lease = guard.into_lease();
    let (end, scripts) = (lease.valid_until(), cluster[0].calls("evalsha"));
    drop(within(locks.acquire("r").wait_for(Duration::from_secs(10))).await.unwrap());
    assert!(since_boot() > end.since_boot(), "granted while the lease was valid");
    assert_eq!(lease.valid_until(), end);
    assert!(!lease.is_valid());
    assert!(cluster[0].calls("evalsha") <= scripts + 1, "the later lock's release at most");
}
