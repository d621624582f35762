//! Waiting in line between clients, on real servers: who is next, what it costs, what may be lost.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::Poll;

use redlatch::{AcquireFuture, Guard, Handoff, Redlock};

use crate::server::{Cluster, Server};
use crate::support::{all_up, builder, drained, ms, until, within};

const QUEUE: &str = "redlatch:queue:r";

/// A client whose callers all go through the nodes.
async fn client(cluster: &Cluster) -> Redlock {
    let handoff = Handoff::default().bound(0, ms(0));
    all_up(builder(cluster.urls()).handoff(handoff).connect().await.unwrap()).await
}

type Request<'a> = Pin<Box<AcquireFuture<'a>>>;

/// A request that stands in line on every node, behind `before` others.
async fn in_line<'a>(locks: &'a Redlock, cluster: &Cluster, before: i64) -> Request<'a> {
    let mut request = Box::pin(locks.acquire("r").into_future());
    let stands = |server: &Server| server.command(&["ZCARD", QUEUE]).int() == before + 1;
    until("the ticket to be on every node", || {
        let waker = std::task::Waker::noop();
        let polled = request.as_mut().poll(&mut std::task::Context::from_waker(waker));
        assert!(polled.is_pending());
        cluster.iter().all(stands)
    })
    .await;
    request
}

async fn granted(request: Request<'_>) -> Guard {
    within(request).await.unwrap()
}

fn is_pending(request: &mut Request<'_>) -> bool {
    let waker = std::task::Waker::noop();
    matches!(request.as_mut().poll(&mut std::task::Context::from_waker(waker)), Poll::Pending)
}

#[tokio::test]
async fn a_release_hands_the_lock_to_the_next_in_line() {
    let cluster = Cluster::start(3);
    let (holder, first, second) =
        (client(&cluster).await, client(&cluster).await, client(&cluster).await);
    let guard = within(holder.acquire("r")).await.unwrap();
    let one = in_line(&first, &cluster, 0).await;
    let mut two = in_line(&second, &cluster, 1).await;
    let before: u64 = cluster.iter().map(|server| server.calls("set")).sum();
    within(guard.release()).await.unwrap();
    let guard = granted(one).await;
    assert!(is_pending(&mut two));
    // A round that was denied, and a ticket.
    assert_eq!(guard.attempts(), 2);
    assert!(guard.is_valid() && guard.was_contended());
    within(guard.release()).await.unwrap();
    let guard = granted(two).await;
    within(guard.release()).await.unwrap();
    // Only what the scripts set: nobody raced for it.
    let after: u64 = cluster.iter().map(|server| server.calls("set")).sum();
    assert!(after - before <= 6, "{} SETs for two hand-offs", after - before);
    drained(&cluster).await;
}
