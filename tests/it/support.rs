//! What the tests share: clients with patient settings, and polling with a deadline.

use std::future::IntoFuture;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use redlatch::testing::TestNode;
use redlatch::{Builder, NodeState, Redlock, Verdict};

use crate::server::{Cluster, Server};

/// Longer than anything here takes on a slow machine; what takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Settings under which a stall of a loaded machine is no fault of a node, and under which no key
/// that was left behind expires before [`LIMIT`] tells on it.
pub(crate) fn builder<I>(urls: I) -> Builder
where
    I: IntoIterator,
    I::Item: Into<String>,
{
    let urls: Vec<String> = urls.into_iter().map(Into::into).collect();
    Redlock::builder()
        .nodes(urls)
        .ttl(LIMIT * 6)
        .node_timeout(Duration::from_secs(2))
        .unresponsive_after(Duration::from_secs(4))
        .connect_timeout(Duration::from_secs(10))
}

/// A client with every node up.
pub(crate) async fn connect(cluster: &Cluster) -> Redlock {
    all_up(builder(cluster.urls()).connect().await.unwrap()).await
}

pub(crate) async fn all_up(locks: Redlock) -> Redlock {
    let is_up = |locks: &Redlock| locks.nodes().iter().all(|node| node.state == NodeState::Up);
    until("every node to be up", || is_up(&locks)).await;
    locks
}

pub(crate) async fn test_nodes(count: usize) -> Vec<TestNode> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(TestNode::start().await.unwrap());
    }
    nodes
}

pub(crate) fn urls(nodes: &[TestNode]) -> Vec<String> {
    nodes.iter().map(TestNode::url).collect()
}

/// Fails instead of hanging.
pub(crate) async fn within<F: IntoFuture>(future: F) -> F::Output {
    match tokio::time::timeout(LIMIT, future.into_future()).await {
        Ok(output) => output,
        Err(_) => panic!("not done within {LIMIT:?}"),
    }
}

/// Polls `future` at most `polls` times, each time when it is woken: its output, or `None`.
pub(crate) async fn polled<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {LIMIT:?} for {what}");
        tokio::time::sleep(ms(3)).await;
    }
}

/// Waits until no server holds a key any more.
pub(crate) async fn drained(servers: &[Server]) {
    let deadline = Instant::now() + LIMIT;
    for server in servers {
        while server.dbsize() != 0 {
            let keys = server.keys();
            assert!(Instant::now() < deadline, "{} still holds {keys:?}", server.url());
            tokio::time::sleep(ms(3)).await;
        }
    }
}

/// Waits until no test node holds a key any more.
pub(crate) async fn emptied(nodes: &[TestNode]) {
    until("the test nodes to be empty", || nodes.iter().all(|node| node.snapshot().is_empty()))
        .await;
}

/// Waits until every server holds `value` under `key`: grants may come behind the deciding one.
pub(crate) async fn held_everywhere(servers: &[Server], key: &str, value: &str) {
    until("every node to hold the key", || {
        servers.iter().all(|server| server.get(key).as_deref() == Some(value))
    })
    .await;
}

pub(crate) fn verdicts(report: &redlatch::Report) -> Vec<Verdict> {
    report.votes.iter().map(|vote| vote.verdict).collect()
}

/// The clock that leases are counted on.
pub(crate) fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}
