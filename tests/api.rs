//! The public face: what crosses threads, what can be spawned, what is never printed.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: a panic is a failure, and they spawn as they please"
)]

use std::error::Error;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use redlatch::testing::TestNode;
use redlatch::{
    Acquire, AcquireAll, AcquireError, AcquireFuture, Batching, Builder, ClaimError, ConfigError,
    ConnectError, Deadline, Drift, Endpoint, EndpointError, ExtendError, FenceGate, FencingToken,
    FencingTokenError, Gather, Guard, Handoff, InitError, InspectError, Inspection, Lease, Lost,
    Mode, NodeInspection, NodeState, NodeStatus, NodeVote, Percentiles, Reconnect, Redlock,
    ReleaseError, Renewal, Report, Resource, ResumeError, Retry, RunError, StaleToken, Stats,
    Token, TryAcquire, Verdict,
};

const fn shared<T: Send + Sync + Debug + 'static>() {}
const fn value<T: Clone + Send + Sync + Debug + 'static>() {}
const fn copied<T: Copy + Eq + Hash + Send + Sync + Debug + 'static>() {}
const fn error<T: Error + Clone + Send + Sync + 'static>() {}
fn movable<F: Future + Send>(future: F) -> F {
    future
}

const _: () = {
    shared::<Guard>();
    shared::<AcquireFuture<'static>>();
    value::<Redlock>();
    value::<Builder>();
    value::<Lease>();
    value::<Acquire<'static>>();
    value::<TryAcquire<'static>>();
    value::<AcquireAll<'static>>();
    value::<Endpoint>();
    value::<Resource>();
    value::<Report>();
    value::<NodeVote>();
    value::<Inspection>();
    value::<NodeInspection>();
    value::<NodeStatus>();
    value::<Stats>();
    value::<Percentiles>();
    value::<Batching>();
    value::<Gather>();
    value::<Drift>();
    shared::<FenceGate<String>>();
    value::<Handoff>();
    value::<Reconnect>();
    value::<Renewal>();
    value::<Retry>();
    copied::<Deadline>();
    copied::<FencingToken>();
    copied::<Token>();
    copied::<Lost>();
    copied::<Mode>();
    copied::<NodeState>();
    copied::<Verdict>();
    error::<AcquireError>();
    error::<ClaimError>();
    error::<ConfigError>();
    error::<ConnectError>();
    error::<EndpointError>();
    error::<ExtendError>();
    error::<FencingTokenError>();
    error::<InitError>();
    error::<InspectError>();
    error::<Lost>();
    error::<ReleaseError>();
    error::<ResumeError>();
    error::<RunError>();
    error::<StaleToken>();
};

/// A guard can be let go of once: release and hand-over consume it, and it has no copy.
const _: () = {
    trait NotClone<Marker> {
        const PROVEN: () = ();
    }
    struct IsClone;
    impl<T: ?Sized> NotClone<()> for T {}
    impl<T: Clone> NotClone<IsClone> for T {}
    // Ambiguous, and so an error, if `Guard` were `Clone`.
    <Guard as NotClone<_>>::PROVEN
};

fn consumes<Output>(_: impl FnOnce(Guard) -> Output) {}

#[test]
fn a_guard_is_consumed_by_what_ends_it() {
    consumes(Guard::release);
    consumes(Guard::into_lease);
}

async fn client(node: &TestNode) -> Redlock {
    Redlock::connect([node.url()]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_future_can_be_spawned() {
    let node = TestNode::start().await.unwrap();
    let locks = movable(Redlock::connect([node.url()])).await.unwrap();
    let spawned = tokio::spawn(async move {
        let guard = movable(locks.acquire("r").into_future()).await.unwrap();
        movable(guard.extend(Duration::from_secs(20))).await.unwrap();
        let lost = tokio::spawn(guard.lost());
        let lease = guard.lease().clone();
        let watched = tokio::spawn(lease.lost());
        movable(locks.inspect("r")).await.unwrap();
        movable(guard.release()).await.unwrap();
        let token =
            movable(locks.try_acquire("r").into_future()).await.unwrap().into_lease().token();
        drop(movable(locks.resume("r", token)).await.unwrap());
        let all = movable(locks.acquire_all(["r", "s"]).into_future()).await.unwrap();
        movable(all.release()).await.unwrap();
        movable(locks.close()).await;
        assert!(!lost.is_finished() && !watched.is_finished(), "released in time: never lost");
        lost.abort();
        watched.abort();
    });
    spawned.await.unwrap();
    let locks = client(&node).await;
    let spawned = tokio::spawn(async move {
        let sum = locks.run("r", async |lease: &Lease| u8::from(lease.is_valid()) + 41).await;
        sum.unwrap()
    });
    assert_eq!(spawned.await.unwrap(), 42);
}

#[tokio::test]
async fn guards_and_leases_go_where_they_are_needed() {
    let node = TestNode::start().await.unwrap();
    let locks = client(&node).await;
    let guard = locks.acquire("r").await.unwrap();
    let lease = guard.lease().clone();
    // A lost() future outlives the guard, and a lease outlives the handle.
    let lost = guard.lost();
    drop(locks);
    std::thread::spawn(move || drop(guard)).join().unwrap();
    assert!(!lease.is_valid() && lease.remaining().is_zero());
    assert_eq!(lease.resource(), &Resource::from("r"));
    drop(lost);
}

#[tokio::test]
async fn names_come_in_every_shape() {
    let node = TestNode::start().await.unwrap();
    let locks = client(&node).await;
    let owned = String::from("r");
    let resource = Resource::from("r");
    locks.acquire("r").await.unwrap().release().await.unwrap();
    locks.acquire(&owned).await.unwrap().release().await.unwrap();
    locks.acquire(owned).await.unwrap().release().await.unwrap();
    locks.acquire(&b"r"[..]).await.unwrap().release().await.unwrap();
    locks.acquire(b"r".to_vec()).await.unwrap().release().await.unwrap();
    locks.acquire(&resource).await.unwrap().release().await.unwrap();
    locks.acquire(resource).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn no_output_has_a_password_or_a_whole_token() {
    let password = "correct-horse-battery";
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let options = redlatch::testing::Options::new().password(password);
    let node = TestNode::start_with(listener, options);
    let url = format!("redis://:{password}@{addr}");
    let endpoint: Endpoint = url.parse().unwrap();
    let builder = Redlock::builder().node(url.as_str());
    let mut shown = format!("{endpoint} {endpoint:?} {endpoint:#?} {builder:?} {builder:#?}");
    let locks = builder.clone().connect().await.unwrap();
    let guard = locks.acquire("r").await.unwrap();
    let token = guard.token();
    let busy = locks.try_acquire("r").await.unwrap_err();
    let request = locks.acquire("other");
    let future = locks.acquire("other").into_future();
    shown += &format!("{locks:?} {locks:#?} {guard:?} {guard:#?} {:?}", guard.lease());
    shown += &format!("{token:?} {:?} {} {busy} {busy:?}", guard.report(), guard.report());
    shown += &format!("{request:?} {future:?} {:?} {:?}", locks.nodes(), locks.stats());
    let running = format!("{:?}", guard.valid_until());
    let mut racing = Box::pin(locks.acquire("racing").into_future());
    std::future::poll_fn(|cx| {
        assert!(racing.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    shown += &format!("{running} {racing:?}");
    let raced = loop {
        let keys = node.snapshot();
        if let Some(key) = keys.into_iter().find(|key| key.key == b"racing") {
            break String::from_utf8(key.value).unwrap();
        }
        tokio::task::yield_now().await;
    };
    drop(racing);
    for wrong in [
        builder.clone().node(url.as_str()).connect().await.unwrap_err(),
        Redlock::connect([format!("redis://:{password}@{addr}/x")]).await.unwrap_err(),
        Redlock::connect([format!("rediss+odd://:{password}@{addr}")]).await.unwrap_err(),
        Redlock::connect([format!("redis://:{password}@{addr}:1:2")]).await.unwrap_err(),
        Redlock::connect([format!("redis://:{password}-not@{addr}")]).await.unwrap_err(),
    ] {
        shown += &format!("{wrong} {wrong:?}");
    }
    assert!(!shown.contains("correct-horse"), "{shown}");
    assert!(!shown.contains(&token.to_hex()) && !shown.contains(&raced), "{shown}");
    // Nor the bytes of either, as a slice prints them.
    for secret in [token.to_hex().into_bytes(), raced.into_bytes(), password.as_bytes().to_vec()] {
        let bytes = format!("{secret:?}");
        let inner = bytes.trim_matches(['[', ']']);
        assert!(!shown.contains(inner), "{shown}");
    }
    assert!(shown.contains(&token.to_hex()[..8]), "eight digits tell locks apart");
    guard.release().await.unwrap();
}
