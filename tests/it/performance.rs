//! What the speed rests on, as counts: commands, writes, batches, allocations. No times.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::pin;
use std::task::Poll;

use redlatch::{Redlock, Resource};

use crate::allocator::allocations;
use crate::server::{Cluster, Server};
use crate::support::{all_up, builder, connect, drained, until, within};

async fn cycle(locks: &Redlock, resource: &Resource) {
    locks.acquire(resource).await.unwrap().release().await.unwrap();
}

fn calls(cluster: &Cluster, command: &str) -> u64 {
    cluster.iter().map(|server| server.calls(command)).sum()
}

fn written(locks: &Redlock) -> (u64, u64) {
    let nodes = locks.nodes();
    (nodes.iter().map(|node| node.commands).sum(), nodes.iter().map(|node| node.writes).sum())
}

async fn settled(locks: &Redlock, cluster: &Cluster) {
    drained(cluster).await;
    until("answers to everything", || locks.stats().in_flight == 0).await;
}

#[tokio::test]
async fn an_uncontended_cycle_is_one_set_and_one_script_per_node() {
    const CYCLES: u64 = 200;
    let cluster = Cluster::start(5);
    // Without heartbeats, so that every command counted is a lock's.
    let minute = std::time::Duration::from_secs(60);
    let locks = builder(cluster.urls()).heartbeat_interval(minute).connect().await.unwrap();
    let locks = all_up(locks).await;
    let counted =
        || ["set", "evalsha", "get", "script|exists"].map(|command| calls(&cluster, command));
    let (first, before) = (counted(), written(&locks));
    let resource = Resource::from("r");
    for _ in 0..CYCLES {
        within(cycle(&locks, &resource)).await;
    }
    settled(&locks, &cluster).await;
    let last = counted();
    let [sets, scripts, epochs, seals] = std::array::from_fn(|at| last[at] - first[at]);
    // A node whose SET had not left when the lock was given back is spared both.
    assert!((CYCLES * 3..=CYCLES * 5).contains(&sets), "{sets} SETs in {CYCLES} cycles");
    assert!((1..=CYCLES * 5).contains(&scripts), "{scripts} EVALSHAs in {CYCLES} cycles");
    let commands = written(&locks).0 - before.0;
    // The nodes themselves would tell of the epoch's end.
    assert_eq!((epochs, seals), (0, 0), "watched connections seal no write");
    assert_eq!(commands, sets + scripts, "nothing else is sent");
    assert_eq!(locks.stats().acquired, CYCLES);
    println!("{sets} SETs and {scripts} EVALSHAs in {CYCLES} cycles on 5 nodes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_writes() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let before = written(&locks);
    let mut tasks = Vec::new();
    for task in 0..64 {
        let locks = locks.clone();
        tasks.push(tokio::spawn(async move {
            let resource = Resource::from(format!("key:{task}"));
            for _ in 0..100 {
                cycle(&locks, &resource).await;
            }
        }));
    }
    for task in tasks {
        within(task).await.unwrap();
    }
    settled(&locks, &cluster).await;
    let (commands, writes) = written(&locks);
    let (commands, writes) = (commands - before.0, writes - before.1);
    println!("{commands} commands in {writes} writes");
    assert!(commands > writes, "{commands} commands in {writes} writes");
    assert_eq!(locks.stats().acquired, 6_400);
}

#[tokio::test]
async fn releases_of_one_batch_share_a_script_call() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let mut guards = Vec::new();
    for key in 0..64 {
        guards.push(within(locks.acquire(format!("key:{key}"))).await.unwrap());
    }
    until("all grants", || cluster.iter().all(|server| server.dbsize() == 64)).await;
    let before: Vec<u64> = cluster.iter().map(|server| server.calls("evalsha")).collect();
    drop(guards);
    settled(&locks, &cluster).await;
    for (server, before) in cluster.iter().zip(before) {
        let calls = server.calls("evalsha") - before;
        // The first four leave one by one, because hardly anything is in flight; the rest shares.
        assert!((1..=6).contains(&calls), "{calls} script calls for 64 releases");
        assert!(server.calls("del") <= 6, "one DEL per call");
    }
    assert_eq!(locks.stats().released, 64);
}

#[tokio::test]
async fn waiting_in_the_process_costs_the_nodes_nothing() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let guard = within(locks.acquire("r")).await.unwrap();
    let sets = calls(&cluster, "set");
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let locks = locks.clone();
        waiting.push(tokio::spawn(async move { drop(locks.acquire("r").await.unwrap()) }));
    }
    until("the queue", || locks.stats().waiting == 200).await;
    assert_eq!(calls(&cluster, "set"), sets, "a queued caller asked the nodes");
    drop(guard);
    for task in waiting {
        within(task).await.unwrap();
    }
    settled(&locks, &cluster).await;
    let sets = calls(&cluster, "set") - sets;
    assert!(sets <= 200 * 3, "{sets} SETs for 200 grants on 3 nodes");
}

/// Allocations of `CYCLES` cycles on a runtime of this thread, everything being warm: of the first
/// window of so many cycles that stays within `most`, else of the last.
///
/// Queues and pools grow to the largest number of commands that a lagging node ever had in flight.
/// With one node nothing can lag behind the caller, so the first window counts.
fn measure(urls: &[String], most: u64, cycle: impl AsyncFn(&Redlock)) -> u64 {
    let windows = if urls.len() == 1 { 1 } else { WINDOWS };
    measure_in(windows, urls, most, cycle)
}

fn measure_in(windows: usize, urls: &[String], most: u64, cycle: impl AsyncFn(&Redlock)) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cycles = async |locks: &Redlock| {
        for _ in 0..CYCLES {
            cycle(locks).await;
        }
    };
    let locks = runtime.block_on(async {
        // Once a second and node, a heartbeat allocates; it is no part of a cycle.
        let minute = std::time::Duration::from_secs(60);
        let builder = builder(urls).heartbeat_interval(minute);
        let locks = all_up(builder.connect().await.unwrap()).await;
        cycles(&locks).await;
        locks
    });
    let mut counts = Vec::new();
    while counts.len() < windows && counts.last().is_none_or(|count| *count > most) {
        counts.push(allocations(|| runtime.block_on(cycles(&locks))));
    }
    println!("{} nodes, allocations in windows of {CYCLES} cycles: {counts:?}", urls.len());
    runtime.block_on(locks.close());
    counts.pop().unwrap()
}

const CYCLES: u64 = 1_000;
const WINDOWS: usize = 10;

#[test]
fn a_cycle_allocates_nothing() {
    for count in [1, 3, 5] {
        let cluster = Cluster::start(count);
        let sockets: Vec<String> = cluster.iter().map(Server::unix_url).collect();
        for urls in [cluster.urls(), sockets] {
            let resource = Resource::from("orders:42");
            let released = measure(&urls, 0, async |locks| {
                locks.acquire(&resource).await.unwrap().release().await.unwrap();
            });
            assert_eq!(released, 0, "in {CYCLES} cycles on {count} nodes");
            let dropped = measure(&urls, 0, async |locks| {
                drop(locks.acquire(&resource).await.unwrap());
            });
            assert_eq!(dropped, 0, "in {CYCLES} dropped cycles on {count} nodes");
        }
    }
}

/// The waiter and, as nobody was in the queue before it, the queue; nothing for the hand-off.
#[test]
fn a_hand_off_allocates_no_more_than_queueing() {
    let cluster = Cluster::start(1);
    let resource = Resource::from("orders:42");
    // Where this process is stopped for longer than a turn of hand-offs lasts, the next lock is
    // asked from the node once, with an op more: such a window is not the only one.
    let counted = measure_in(3, &cluster.urls(), 2 * CYCLES, async |locks| {
        let guard = locks.acquire(&resource).await.unwrap();
        let mut next = pin!(locks.acquire(&resource).into_future());
        let first = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
        assert!(first.is_pending());
        drop(guard);
        next.await.unwrap().release().await.unwrap();
    });
    assert!(counted <= 2 * CYCLES, "{counted} allocations in {CYCLES} cycles");
}

#[test]
fn a_name_costs_one_allocation() {
    for count in [1, 3] {
        let cluster = Cluster::start(count);
        let counted = measure(&cluster.urls(), CYCLES, async |locks| {
            locks.acquire("orders:42").await.unwrap().release().await.unwrap();
        });
        assert!(counted <= CYCLES, "{counted} allocations in {CYCLES} cycles");
    }
}
