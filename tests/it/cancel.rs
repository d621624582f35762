//! Futures dropped after every one of their polls, guards dropped anywhere: no key stays behind.
//!
//! Each sweep drops a future after its k-th poll for k = 0, 1, 2, ... until it completes; then the
//! nodes must be empty, and the lock must still be there for the next caller.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use redlatch::{Guard, NodeStatus, Redlock, Renewal};

use crate::server::Cluster;
use crate::support::{
    connect, drained, emptied, held_everywhere, ms, polled, test_nodes, until, within,
};

/// After a drop, other tasks get a different number of turns each time before the next step.
async fn turns(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

async fn nothing_left(locks: &Redlock, cluster: &Cluster) {
    drained(cluster).await;
    until("answers to everything", || locks.stats().in_flight == 0).await;
    drained(cluster).await;
    assert_eq!((locks.stats().held, locks.stats().waiting), (0, 0));
}

/// Sweeps the acquire future. `between` says what else goes on while it is polled.
async fn sweep_acquire(locks: &Redlock, cluster: &Cluster, shift: usize) -> usize {
    for polls in 0.. {
        assert!(polls < 1_000, "never completes");
        let outcome = within(polled(locks.acquire("r").into_future(), polls)).await;
        turns(shift).await;
        let done = outcome.is_some();
        drop(outcome.map(Result::unwrap));
        nothing_left(locks, cluster).await;
        if done {
            return polls;
        }
    }
    unreachable!("the loop is left by its return")
}

/// Scenario 68.
#[tokio::test]
async fn an_acquire_dropped_after_any_poll_leaves_nothing() {
    for nodes in [1, 3, 5] {
        let cluster = Cluster::start(nodes);
        let locks = connect(&cluster).await;
        for shift in 0..8 {
            let polls = sweep_acquire(&locks, &cluster, shift).await;
            assert!(polls >= 2, "it cannot complete without waiting");
        }
        drop(within(locks.try_acquire("r")).await.unwrap());
        nothing_left(&locks, &cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acquire_dropped_after_any_time_leaves_nothing() {
    let cluster = Cluster::start(5);
    let locks = connect(&cluster).await;
    for round in 0..400_u32 {
        // 0 to 0.8 ms in steps of 2 us: somewhere in it the SETs leave, arrive and are answered.
        let began = std::time::Instant::now();
        let mut request = Box::pin(locks.acquire("r").into_future());
        let outcome = std::future::poll_fn(|cx| {
            let polled = request.as_mut().poll(cx);
            let over = began.elapsed() >= Duration::from_micros(2) * round;
            if polled.is_pending() && !over {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(polled)
        })
        .await;
        drop(request);
        if let Poll::Ready(guard) = outcome {
            drop(guard.unwrap());
        }
    }
    nothing_left(&locks, &cluster).await;
}

#[tokio::test]
async fn a_queued_acquire_dropped_after_any_poll_leaves_nothing() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    for polls in 0.. {
        assert!(polls < 1_000, "never completes");
        let holder = within(locks.acquire("r")).await.unwrap();
        let behind = tokio::spawn({
            let locks = locks.clone();
            async move { drop(locks.acquire("r").await.unwrap()) }
        });
        turns(2).await;
        let mut queued = Box::pin(polled(locks.acquire("r").into_future(), polls));
        let first = std::future::poll_fn(|cx| Poll::Ready(queued.as_mut().poll(cx))).await;
        let after = tokio::spawn({
            let locks = locks.clone();
            async move { drop(locks.acquire("r").await.unwrap()) }
        });
        turns(polls % 5).await;
        drop(holder);
        let outcome = match first {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => within(queued.as_mut()).await,
        };
        drop(queued);
        let done = outcome.is_some();
        drop(outcome.map(Result::unwrap));
        within(behind).await.unwrap();
        within(after).await.unwrap();
        nothing_left(&locks, &cluster).await;
        if done {
            assert!(polls >= 2);
            break;
        }
    }
}

#[tokio::test]
async fn an_acquire_against_another_client_dropped_after_any_poll_leaves_nothing() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    for polls in 0.. {
        assert!(polls < 1_000, "never completes");
        // Denied rounds and pauses until the other client lets go, a little later each time.
        let holder = within(theirs.acquire("r")).await.unwrap();
        held_everywhere(&cluster, "r", &holder.token().to_hex()).await;
        let releasing = tokio::spawn(async move {
            tokio::time::sleep(ms(8)).await;
            drop(holder);
        });
        let outcome = within(polled(ours.acquire("r").into_future(), polls)).await;
        let done = outcome.is_some();
        drop(outcome.map(Result::unwrap));
        within(releasing).await.unwrap();
        nothing_left(&ours, &cluster).await;
        if done {
            assert!(polls >= 3, "it was contended");
            break;
        }
    }
}

async fn taken(locks: &Redlock) -> Guard {
    within(locks.acquire("r").ttl(Duration::from_secs(30)).renewal(Renewal::Off)).await.unwrap()
}

#[tokio::test]
async fn a_release_dropped_after_any_poll_still_happens() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    for polls in 0.. {
        assert!(polls < 1_000, "never completes");
        let guard = taken(&locks).await;
        let outcome = within(polled(guard.release(), polls)).await;
        let done = outcome.is_some();
        outcome.into_iter().for_each(|outcome| outcome.unwrap());
        nothing_left(&locks, &cluster).await;
        if done {
            break;
        }
    }
}

#[tokio::test]
async fn an_extension_dropped_after_any_poll_keeps_the_lock() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    for polls in 0.. {
        assert!(polls < 1_000, "never completes");
        let guard = taken(&locks).await;
        let outcome = within(polled(guard.extend(Duration::from_secs(90)), polls)).await;
        let done = outcome.is_some();
        assert!(guard.is_valid());
        // The next one is not confused by the one before.
        if polls % 2 == 1 {
            within(guard.extend(Duration::from_secs(120))).await.unwrap();
            assert!(guard.remaining() > Duration::from_secs(100));
        }
        drop(guard);
        nothing_left(&locks, &cluster).await;
        if done {
            break;
        }
    }
}

#[tokio::test]
async fn a_run_dropped_after_any_poll_releases() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    for polls in 0.. {
        assert!(polls < 1_000, "never completes");
        let run = locks.run("r", async |lease| {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            lease.is_valid()
        });
        let outcome = within(polled(run, polls)).await;
        nothing_left(&locks, &cluster).await;
        if let Some(outcome) = outcome {
            assert!(outcome.unwrap());
            break;
        }
    }
}

#[tokio::test]
async fn an_inspection_dropped_after_any_poll_confuses_nobody() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let guard = taken(&locks).await;
    held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
    for polls in 0.. {
        assert!(polls < 1_000, "never completes");
        let outcome = within(polled(locks.inspect("r"), polls)).await;
        within(guard.extend(Duration::from_secs(30))).await.unwrap();
        if let Some(outcome) = outcome {
            let holder = guard.token();
            assert_eq!(outcome.unwrap().holder(), Some(holder.as_bytes().as_slice()));
            break;
        }
    }
    drop(guard);
    nothing_left(&locks, &cluster).await;
}

#[tokio::test]
async fn requests_dropped_while_every_node_stalls_leave_nothing() {
    let nodes = test_nodes(3).await;
    let urls: Vec<String> = nodes.iter().map(redlatch::testing::TestNode::url).collect();
    // Without heartbeats, so that every write is one of SETs.
    let minute = Duration::from_secs(60);
    let locks = crate::support::builder(urls).heartbeat_interval(minute).connect().await.unwrap();
    let locks = crate::support::all_up(locks).await;
    let before = locks.nodes();
    nodes.iter().for_each(|node| node.stall(true));
    let mut requests: Vec<Pin<Box<_>>> =
        (0..50).map(|at| Box::pin(locks.acquire(format!("key:{at}")).into_future())).collect();
    for request in &mut requests {
        let polled = std::future::poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
    }
    until("the SETs to have left", || {
        let sent = |(node, before): (&NodeStatus, &NodeStatus)| node.commands - before.commands;
        locks.nodes().iter().zip(&before).map(sent).all(|sent| sent == 50)
    })
    .await;
    assert!(locks.stats().in_flight >= 150);
    drop(requests);
    nodes.iter().for_each(|node| node.stall(false));
    until("the SETs to be executed", || {
        nodes.iter().all(|node| node.commands().get("set") == Some(&50))
    })
    .await;
    emptied(&nodes).await;
    let late = locks.nodes().iter().map(|node| node.late_grants_released).sum::<u64>();
    assert_eq!(late, 150, "each grant was released behind itself");
}
