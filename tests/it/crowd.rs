//! Very many callers that wait for one lock.

use std::future::IntoFuture;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redlatch::{AcquireFuture, Guard, Handoff, Resource};

use crate::allocator::bytes_kept;
use crate::server::Cluster;
use crate::support::{all_up, builder, drained, until, within};

const CROWD: usize = 100_000;
const LEAVING: usize = 10_000;

fn poll(request: &mut AcquireFuture<'_>) -> Option<Guard> {
    match Pin::new(request).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(granted) => Some(granted.unwrap()),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_crowd_is_served_in_order_and_leaves_nothing_behind() {
    let cluster = Cluster::start(3);
    let handoff = Handoff::default().bound(u32::MAX, Duration::from_secs(3_600));
    let locks = builder(cluster.urls()).handoff(handoff).connect().await.unwrap();
    let locks = all_up(locks).await;
    let resource = Resource::from("r");
    let holder = within(locks.acquire(&resource)).await.unwrap();

    let request = |_| Some(locks.acquire(&resource).into_future());
    let mut requests: Vec<Option<AcquireFuture<'_>>> = (0..CROWD).map(request).collect();
    let kept = bytes_kept(|| {
        for request in requests.iter_mut().flatten() {
            assert!(poll(request).is_none(), "granted while it was held");
        }
    });
    assert_eq!(locks.stats().waiting, CROWD);
    let each = kept / i64::try_from(CROWD).unwrap();
    println!("{each} bytes of the engine for each of {CROWD} waiters");
    assert!((1..=300).contains(&each), "{each} bytes for each waiter");

    // A permutation of the crowd (a full-period linear congruence), of which the first leave.
    let mut at = 4_711;
    for _ in 0..LEAVING {
        at = (at * 20_021 + 7) % CROWD;
        assert!(requests[at].take().is_some());
    }
    assert_eq!(locks.stats().waiting, CROWD - LEAVING);

    let mut guard = Some(holder);
    let mut served = 0;
    for request in requests.into_iter().flatten() {
        drop(guard.take());
        // The next one, and nobody else: whoever came later waits.
        guard = Some(within(request).await.unwrap());
        served += 1;
        assert_eq!(locks.stats().waiting, CROWD - LEAVING - served);
    }
    assert_eq!(served, CROWD - LEAVING);
    drop(guard);
    drained(&cluster).await;
    until("nothing to be in flight", || locks.stats().in_flight == 0).await;
    let stats = locks.stats();
    assert_eq!((stats.held, stats.waiting), (0, 0));
}
