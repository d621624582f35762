//! Hand-offs on real servers: order, who is passed over, what is not handed on, and what it costs.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use redlatch::{AcquireFuture, Guard, Handoff, Lost, Redlock, Renewal, Token};

use crate::server::Cluster;
use crate::support::{
    all_up, builder, connect, drained, held_everywhere, ms, since_boot, until, within,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A client that hands on as often as it can, but for its turn's end.
async fn generous(cluster: &Cluster) -> Redlock {
    let handoff = Handoff::default().bound(u32::MAX, HOUR);
    all_up(builder(cluster.urls()).handoff(handoff).connect().await.unwrap()).await
}

/// A request that is in the queue.
async fn queued<'a>(request: impl IntoFuture<IntoFuture = AcquireFuture<'a>>) -> Request<'a> {
    let mut request = Box::pin(request.into_future());
    let first = std::future::poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx))).await;
    assert!(first.is_pending());
    request
}

type Request<'a> = Pin<Box<AcquireFuture<'a>>>;

async fn granted(request: Request<'_>) -> Guard {
    within(request).await.unwrap()
}

/// The lock and a caller behind it: the pair for which `end` of the first hands on, or not. A
/// machine that stalls for longer than this process's turn gets another try.
async fn handed_on(locks: &Redlock, mut end: impl FnMut(Guard)) -> bool {
    for _ in 0..20 {
        let guard = within(locks.acquire("r")).await.unwrap();
        let request = queued(locks.acquire("r")).await;
        let before = locks.stats().handed_on;
        end(guard);
        let guard = granted(request).await;
        let handed = locks.stats().handed_on > before;
        assert_eq!(guard.report().handed_over, handed);
        assert_eq!(guard.attempts() == 0, handed);
        if handed {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn the_lease_passes_in_order_past_those_who_left() {
    let cluster = Cluster::start(3);
    let locks = generous(&cluster).await;
    let first = within(locks.acquire("r")).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for task in 0..60 {
        let (locks, order) = (locks.clone(), Arc::clone(&order));
        let (shared, waiting) = (locks.clone(), locks.stats().waiting);
        tasks.push(tokio::spawn(async move {
            let guard = shared.acquire("r").await.unwrap();
            order.lock().unwrap().push(task);
            if task % 2 == 0 { drop(guard) } else { guard.release().await.unwrap() }
        }));
        until("the task to queue up", || locks.stats().waiting > waiting).await;
    }
    for task in tasks.iter().skip(2).step_by(3) {
        task.abort();
    }
    until("a third to have left", || locks.stats().waiting == 40).await;
    drop(first);
    for (at, task) in tasks.into_iter().enumerate() {
        assert_eq!(within(task).await.is_ok(), at % 3 != 2, "task {at}");
    }
    let order = order.lock().unwrap().clone();
    assert_eq!(order, (0..60).filter(|at| at % 3 != 2).collect::<Vec<_>>());
    let stats = locks.stats();
    assert_eq!((stats.acquired, stats.lost, stats.held), (41, 0, 0));
    assert!(stats.handed_on >= 1, "{stats:?}");
    drained(&cluster).await;
}

#[tokio::test]
async fn a_token_that_was_read_stays_with_its_holder() {
    let cluster = Cluster::start(3);
    let locks = generous(&cluster).await;
    assert!(handed_on(&locks, drop).await);
    assert!(handed_on(&locks, |guard| println!("{guard:?}")).await, "eight digits are no token");
    let mut seen = Vec::new();
    assert!(!handed_on(&locks, |guard| seen.push(guard.token())).await);
    assert!(!handed_on(&locks, |guard| seen.push(guard.lease().token())).await);
    let mut leases = Vec::new();
    assert!(handed_on(&locks, |guard| leases.push(guard.lease().clone())).await);
    let past = leases.pop().unwrap();
    assert!(!seen.contains(&past.token()));
    assert_eq!(past.token().to_hex(), "0".repeat(32), "the token of somebody else by now");
    assert_eq!(past.ensure_valid(), Err(Lost::Expired));
    drained(&cluster).await;
    // Nor can an earlier holder take up what the next one has.
    let holder = within(locks.acquire("r")).await.unwrap();
    let lease = holder.lease().clone();
    let request = queued(locks.acquire("r")).await;
    drop(holder);
    let guard = granted(request).await;
    if guard.attempts() == 0 {
        let error = within(locks.resume("r", lease.token())).await.unwrap_err();
        assert!(error.to_string().contains('r'), "{error}");
    }
    assert!(guard.is_valid());
    let token: Token = guard.token();
    held_everywhere(&cluster, "r", &token.to_hex()).await;
    drop(guard);
    drained(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_gets_its_turn() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let (locks, done) = (ours.clone(), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                locks.acquire("r").await.unwrap().release().await.unwrap();
            }
        }));
    }
    until("hand-offs", || ours.stats().handed_on > 1_000).await;
    for _ in 0..20 {
        let guard = within(theirs.acquire("r")).await.unwrap();
        assert!(guard.attempts() > 0 && !guard.report().handed_over);
        within(guard.release()).await.unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in tasks {
        within(task).await.unwrap();
    }
    assert_eq!((ours.stats().lost, theirs.stats().handed_on), (0, 0));
    drained(&cluster).await;
}

#[tokio::test]
async fn a_handed_lease_is_renewed_for_as_long_as_its_holder_wants() {
    let cluster = Cluster::start(3);
    let locks = generous(&cluster).await;
    let ttl = ms(900);
    for before in [Renewal::On, Renewal::Off] {
        let mut tries = 0;
        let guard = loop {
            let holder = within(locks.acquire("r").ttl(ttl).renewal(before)).await.unwrap();
            let request = queued(locks.acquire("r").ttl(ttl)).await;
            drop(holder);
            let guard = granted(request).await;
            if guard.attempts() == 0 {
                break guard;
            }
            tries += 1;
            assert!(tries < 20, "nothing is handed on");
        };
        let end = since_boot() + ttl * 3;
        while since_boot() < end {
            assert!(guard.is_valid(), "{:?}", guard.lease());
            tokio::time::sleep(ms(20)).await;
        }
        held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
        within(guard.release()).await.unwrap();
        drained(&cluster).await;
    }
    assert_eq!(locks.stats().lost, 0);
}

#[tokio::test]
async fn a_lost_lease_is_not_handed_on() {
    let cluster = Cluster::start(3);
    let locks = generous(&cluster).await;
    let ttl = ms(600);
    let holder = within(locks.acquire("r").ttl(ttl)).await.unwrap();
    until("all grants", || cluster.iter().all(|server| server.dbsize() == 1)).await;
    until("all answers", || locks.stats().in_flight == 0).await;
    for server in &cluster[..2] {
        server.command(&["DEL", "r"]);
    }
    within(holder.lost()).await;
    let (lease, request) = (holder.lease().clone(), queued(locks.acquire("r").ttl(ttl)).await);
    let reason = lease.ensure_valid().unwrap_err();
    drop(holder);
    let guard = granted(request).await;
    assert!(guard.attempts() > 0 && guard.is_valid());
    assert_eq!(lease.ensure_valid(), Err(reason), "loss is for good");
    assert_eq!((locks.stats().handed_on, locks.stats().lost), (0, 1));
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn a_thousand_hand_offs_cost_the_nodes_next_to_nothing() {
    let cluster = Cluster::start(3);
    let locks = generous(&cluster).await;
    let first = within(locks.acquire("r")).await.unwrap();
    let sets = || cluster.iter().map(|server| server.calls("set")).sum::<u64>();
    let scripts = || cluster.iter().map(|server| server.calls("evalsha")).sum::<u64>();
    let mut tasks = Vec::new();
    for _ in 0..1_000 {
        let locks = locks.clone();
        tasks.push(tokio::spawn(async move {
            locks.acquire("r").await.unwrap().release().await.unwrap();
        }));
    }
    until("the queue", || locks.stats().waiting == 1_000).await;
    until("all answers", || locks.stats().in_flight == 0).await;
    let before = (sets(), scripts());
    drop(first);
    for task in tasks {
        within(task).await.unwrap();
    }
    drained(&cluster).await;
    until("all answers", || locks.stats().in_flight == 0).await;
    let stats = locks.stats();
    // A turn of this process that ends in between costs a round; on a slow machine, some do.
    let rounds = stats.released;
    assert_eq!(stats.handed_on + rounds, 1_001, "{stats:?}");
    assert!(stats.handed_on >= 500, "{stats:?}");
    assert!(sets() - before.0 <= 3 * (rounds - 1) && scripts() - before.1 <= 3 * rounds);
    println!("{} hand-offs, {} SETs, {} EVALSHAs", stats.handed_on, sets(), scripts());
}
