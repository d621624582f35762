//! Waiting in line between clients, on real servers: who is next, what it costs, what may be lost.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use redlatch::{AcquireFuture, Guard, Handoff, NodeState, Redlock, ReleaseError, Waiting};

use crate::server::{Cluster, Reply, Server};
use crate::support::{all_up, builder, drained, ms, until, within};

const QUEUE: &str = "redlatch:queue:r";

/// A client whose callers all go through the nodes.
async fn client(cluster: &Cluster) -> Redlock {
    let handoff = Handoff::default().bound(0, ms(0));
    all_up(builder(cluster.urls()).handoff(handoff).connect().await.unwrap()).await
}

/// The lock, held on every node: an early majority is no state to begin an attack from.
async fn held(locks: &Redlock, cluster: &Cluster) -> Guard {
    for _ in 0..100 {
        let guard = within(locks.acquire("r")).await.unwrap();
        for _ in 0..60 {
            if cluster.iter().all(|server| server.get("r").is_some()) {
                return guard;
            }
            tokio::time::sleep(ms(3)).await;
        }
        // A connection was about to be lost.
        drop(guard);
        tokio::time::sleep(ms(20)).await;
    }
    panic!("never held on every node");
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
    let guard = held(&holder, &cluster).await;
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

/// The tickets in line at `server`, first to last.
fn line(server: &Server) -> Vec<String> {
    let Reply::Array(Some(tickets)) = server.command(&["ZRANGE", QUEUE, "0", "-1"]) else {
        panic!()
    };
    // Without the ttl that each asks for.
    let token = |ticket: String| ticket.chars().take(32).collect();
    tickets.into_iter().filter_map(Reply::text).map(token).collect()
}

/// A process that died while it was in line; its channel has no listener.
const DEAD: &str = "000000000000dead0000000000000001";

/// Scenario 64.
#[tokio::test]
async fn a_dead_head_is_passed_over() {
    let cluster = Cluster::start(3);
    let (holder, next) = (client(&cluster).await, client(&cluster).await);
    let guard = held(&holder, &cluster).await;
    let request = in_line(&next, &cluster, 0).await;
    for server in &*cluster {
        assert_eq!(server.command(&["ZADD", QUEUE, "1", DEAD]).int(), 1);
    }
    within(guard.release()).await.unwrap();
    let guard = granted(request).await;
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn a_lock_that_expires_goes_to_the_next_in_line() {
    let cluster = Cluster::start(3);
    let next = client(&cluster).await;
    for server in &*cluster {
        server.command(&["SET", "r", DEAD, "PX", "700"]);
    }
    let guard = granted(in_line(&next, &cluster, 0).await).await;
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
}

/// Deleted by whoever holds it, with a command that knows of no queue.
#[tokio::test]
async fn a_lock_of_another_library_goes_to_the_next_in_line() {
    for nodes in [1, 3] {
        behind_another_library(&Cluster::start(nodes)).await;
    }
}

async fn behind_another_library(cluster: &Cluster) {
    let next = client(cluster).await;
    for round in 0..10 {
        for server in &**cluster {
            server.command(&["SET", "r", "theirs", "PX", "60000"]);
        }
        let mut request = in_line(&next, cluster, 0).await;
        assert!(is_pending(&mut request), "round {round}");
        for server in &**cluster {
            server.command(&["DEL", "r"]);
        }
        within(granted(request).await.release()).await.unwrap();
    }
    drained(cluster).await;
}

/// Scenario 66. What is released by a command that was under way when somebody queued up.
#[tokio::test]
async fn a_release_that_knew_of_nobody_strands_nobody() {
    let cluster = Cluster::start(3);
    let (holder, next) = (client(&cluster).await, client(&cluster).await);
    for _ in 0..50 {
        let guard = within(holder.acquire("r")).await.unwrap();
        let waiting = tokio::spawn({
            let next = next.clone();
            async move { next.acquire("r").await }
        });
        tokio::task::yield_now().await;
        drop(guard);
        let guard = within(waiting).await.unwrap().unwrap();
        within(guard.release()).await.unwrap();
    }
    drained(&cluster).await;
}

#[tokio::test]
async fn whoever_leaves_the_line_is_not_called() {
    let cluster = Cluster::start(3);
    let (holder, first, second) =
        (client(&cluster).await, client(&cluster).await, client(&cluster).await);
    let guard = held(&holder, &cluster).await;
    let one = in_line(&first, &cluster, 0).await;
    let two = in_line(&second, &cluster, 1).await;
    drop(one);
    until("the ticket to be gone", || cluster.iter().all(|server| line(server).len() == 1)).await;
    within(guard.release()).await.unwrap();
    within(granted(two).await.release()).await.unwrap();
    drained(&cluster).await;
}

/// Called, and gone in the same moment: the lock goes on, whatever was reserved.
#[tokio::test]
async fn a_head_that_leaves_hands_the_lock_on() {
    let cluster = Cluster::start(3);
    let (holder, first, second) =
        (client(&cluster).await, client(&cluster).await, client(&cluster).await);
    let guard = held(&holder, &cluster).await;
    let mut one = in_line(&first, &cluster, 0).await;
    let two = in_line(&second, &cluster, 1).await;
    within(guard.release()).await.unwrap();
    // Not polled since: granted, perhaps, but to nobody who knows.
    let mine = |server: &Server| server.get("r").is_some() && line(server).len() == 1;
    until("the first to be called", || cluster.iter().all(mine)).await;
    let _ = is_pending(&mut one);
    drop(one);
    within(granted(two).await.release()).await.unwrap();
    drained(&cluster).await;
}

/// R10: being told that the lock is reserved is no grant; the nodes say who has it.
#[tokio::test]
async fn a_message_that_is_not_true_grants_nothing() {
    let cluster = Cluster::start(3);
    let (holder, next) = (client(&cluster).await, client(&cluster).await);
    let guard = held(&holder, &cluster).await;
    let mut request = in_line(&next, &cluster, 0).await;
    let ticket = line(&cluster[0]).remove(0);
    for server in &*cluster {
        let message = format!("g{ticket}r");
        let channel = format!("redlatch:p:{}", &ticket[..16]);
        assert_eq!(server.command(&["PUBLISH", &channel, &message]).int(), 1);
        for word in ["", "g", "w", "nonsense", "g0", &"n".repeat(33), &"w".repeat(33)] {
            server.command(&["PUBLISH", &channel, word]);
        }
    }
    let answered = || next.nodes().iter().all(|node| node.in_flight == 0);
    until("the confirmations to be answered", answered).await;
    assert!(is_pending(&mut request) && guard.is_valid());
    within(guard.release()).await.unwrap();
    within(granted(request).await.release()).await.unwrap();
    drained(&cluster).await;
}

/// R10: what is not ours is not handed on, whoever waits for it.
#[tokio::test]
async fn a_lock_that_another_has_taken_is_not_handed_on() {
    let cluster = Cluster::start(3);
    let (holder, next) = (client(&cluster).await, client(&cluster).await);
    let guard = held(&holder, &cluster).await;
    let mut request = in_line(&next, &cluster, 0).await;
    for server in &*cluster {
        server.command(&["SET", "r", "theirs", "PX", "60000"]);
    }
    let error = within(guard.release()).await.unwrap_err();
    assert!(matches!(error, ReleaseError::NotHeld { .. }), "{error}");
    assert!(cluster.iter().all(|server| server.get("r").as_deref() == Some("theirs")));
    assert!(is_pending(&mut request));
    cluster.iter().for_each(|server| drop(server.command(&["DEL", "r"])));
    within(granted(request).await.release()).await.unwrap();
    drained(&cluster).await;
}

/// Scenario 65. Two nodes of five have forgotten who is in line.
#[tokio::test]
async fn a_queue_that_two_nodes_lost_is_still_one() {
    let cluster = Cluster::start(5);
    let (holder, first, second) =
        (client(&cluster).await, client(&cluster).await, client(&cluster).await);
    for _ in 0..10 {
        let guard = held(&holder, &cluster).await;
        let mut one = in_line(&first, &cluster, 0).await;
        let mut two = in_line(&second, &cluster, 1).await;
        for server in &cluster[..2] {
            server.command(&["DEL", QUEUE]);
        }
        within(guard.release()).await.unwrap();
        // Both are looked after: what one was given of the lock, it gives back in time. Where two
        // nodes lost the line, the second may be the first to have three.
        let (guard, mut other) = within(async {
            tokio::select! {
                guard = &mut one => (guard.unwrap(), two),
                guard = &mut two => (guard.unwrap(), one),
            }
        })
        .await;
        assert!(is_pending(&mut other), "two holders");
        within(guard.release()).await.unwrap();
        within(granted(other).await.release()).await.unwrap();
    }
    drained(&cluster).await;
}

/// Scenario 67. A node forgets everything while a waiter is in line: what it hands on counts for
/// nothing, and the others carry the lock.
#[tokio::test]
async fn a_hand_off_on_a_node_that_forgot_counts_for_nothing() {
    let cluster = Cluster::start(3);
    let minute = Duration::from_secs(60);
    let settings = || builder(cluster.urls()).ttl(minute).max_ttl(minute);
    let holder = all_up(settings().connect().await.unwrap()).await;
    let next = all_up(settings().connect().await.unwrap()).await;
    let guard = held(&holder, &cluster).await;
    let request = in_line(&next, &cluster, 0).await;
    cluster[0].flushall();
    within(guard.release()).await.unwrap();
    let guard = granted(request).await;
    until("the node's quarantine", || next.nodes()[0].state == NodeState::Quarantined).await;
    // Two carry it: none may be lost.
    assert!(guard.is_valid() && guard.margin() == 0, "{:?}", guard.report());
    within(guard.verify()).await.unwrap();
    within(guard.release()).await.unwrap();
}

/// With the rights that the manual names, and without those that the queue needs.
#[tokio::test]
async fn without_the_rights_to_queue_everybody_races() {
    const RIGHTS: &str = "on >secret resetkeys ~r ~redlatch:* resetchannels -@all +info +time \
        +eval +evalsha +script|load +script|exists +set +get +mget +del +pttl +pexpire +client|id \
        +client|kill +client|tracking +client|caching +client|setname +client|no-evict \
        +command|info";
    const QUEUES: &str = "&redlatch:p:* +subscribe +publish +zadd +zpopmin +zrange +zrem";
    let cluster = Cluster::start(3);
    for (rights, queues) in [(RIGHTS.to_owned(), false), (format!("{RIGHTS} {QUEUES}"), true)] {
        for server in &*cluster {
            let rules = ["ACL", "SETUSER", "locks", "reset"].into_iter();
            let rules: Vec<&str> = rules.chain(rights.split_whitespace()).collect();
            assert_eq!(server.command(&rules), Reply::Simple("OK".into()));
        }
        let urls = || cluster.urls().into_iter().map(|url| url.replace("://", "://locks:secret@"));
        let holder = all_up(builder(urls()).connect().await.unwrap()).await;
        let next = all_up(builder(urls()).connect().await.unwrap()).await;
        let guard = held(&holder, &cluster).await;
        let mut request = Box::pin(next.acquire("r").into_future());
        let looks = |server: &Server| server.calls("zadd") + server.calls("pttl");
        let before: u64 = cluster.iter().map(looks).sum();
        until("the waiter to have looked", || {
            assert!(is_pending(&mut request));
            cluster.iter().map(looks).sum::<u64>() >= before + 3
        })
        .await;
        within(guard.release()).await.unwrap();
        within(granted(request).await.release()).await.unwrap();
        assert_eq!(cluster.iter().all(|server| server.calls("zadd") > 0), queues);
    }
}

/// Each gets a token of its own, also with a lock that was reserved for it.
#[tokio::test]
async fn tokens_grow_along_the_line() {
    let cluster = Cluster::start(3);
    let clients = [client(&cluster).await, client(&cluster).await, client(&cluster).await];
    let tokens = std::cell::RefCell::new(Vec::new());
    let tasks = clients.iter().map(|locks| async {
        for _ in 0..20 {
            let guard = locks.acquire("r").fenced().await.unwrap();
            tokens.borrow_mut().push(guard.fencing_token().unwrap());
            guard.release().await.unwrap();
        }
    });
    within(futures_of(tasks)).await;
    let tokens = tokens.into_inner();
    assert_eq!(tokens.len(), 60);
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
    assert!(cluster.iter().all(|server| server.calls("zadd") > 0), "nobody stood in line");
}

/// Scripts, queues and locks are gone: whoever waits is in line again before long.
#[tokio::test]
async fn a_queue_that_is_lost_costs_time_only() {
    let cluster = Cluster::start(3);
    let (holder, next) = (client(&cluster).await, client(&cluster).await);
    for lose in [
        &["SCRIPT", "FLUSH"][..],
        &["DEL", QUEUE],
        &["CLIENT", "KILL", "TYPE", "pubsub"],
        &["SET", QUEUE, "of another type"],
    ] {
        let guard = held(&holder, &cluster).await;
        let request = in_line(&next, &cluster, 0).await;
        for server in &*cluster {
            server.command(lose);
        }
        // Unconfirmed, where its connection was closed.
        drop(guard);
        for server in &*cluster {
            server.command(&["DEL", QUEUE]);
        }
        within(granted(request).await.release()).await.unwrap();
        let is_up = |locks: &Redlock| locks.nodes().iter().all(|node| node.state == NodeState::Up);
        until("the nodes to be up", || is_up(&holder) && is_up(&next)).await;
    }
    drained(&cluster).await;
}

/// Three contenders have two, two and one of five nodes: nobody can have the lock before somebody
/// gives way.
#[tokio::test]
async fn a_split_between_three_is_resolved() {
    let cluster = Cluster::start(5);
    let clients = [client(&cluster).await, client(&cluster).await, client(&cluster).await];
    for server in &*cluster {
        server.command(&["SET", "r", "theirs", "PX", "60000"]);
    }
    let mut requests = Vec::new();
    for (at, locks) in clients.iter().enumerate() {
        requests.push(in_line(locks, &cluster, i64::try_from(at).unwrap()).await);
    }
    let tickets = line(&cluster[0]);
    assert_eq!(tickets.len(), 3);
    // As if each had been the only one to reach these nodes in time.
    for (server, owner) in cluster.iter().zip([0, 0, 1, 1, 2]) {
        let script = "redis.call('ZREMRANGEBYRANK', KEYS[2], ARGV[2], ARGV[2]) \
            redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000) \
            return redis.call('PUBLISH', 'redlatch:p:' .. string.sub(ARGV[1], 1, 16), \
            'g' .. ARGV[1] .. KEYS[1])";
        let call = ["EVAL", script, "2", "r", QUEUE, &tickets[owner], &owner.to_string()];
        let told = server.command(&call);
        assert_eq!(told.int(), 1);
    }
    let mut rounds = 0;
    let tasks = requests.into_iter().map(|request| async {
        let guard = request.await.unwrap();
        let attempts = guard.attempts();
        guard.release().await.unwrap();
        attempts
    });
    for attempts in within(futures_of(tasks)).await {
        rounds = rounds.max(attempts);
    }
    // The denied round and the split ticket, and three more.
    assert!(rounds <= 5, "{rounds} rounds");
    drained(&cluster).await;
}

/// All of them side by side, in one task.
async fn futures_of<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut outputs = Vec::new();
    std::future::poll_fn(|cx| {
        for slot in &mut running {
            if let Some(future) = slot
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                outputs.push(output);
                *slot = None;
            }
        }
        if running.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs
}

/// Without channels the nodes still tell of releases, by whatever command.
#[tokio::test]
async fn whoever_races_is_told_of_a_release() {
    let cluster = Cluster::start(3);
    let settings = builder(cluster.urls()).waiting(Waiting::Race);
    let next = all_up(settings.connect().await.unwrap()).await;
    for round in 0..10 {
        for server in &*cluster {
            server.command(&["SET", "r", "theirs", "PX", "60000"]);
        }
        let mut request = Box::pin(next.acquire("r").into_future());
        let before = cluster[0].calls("pttl");
        until("the lock to be watched", || {
            assert!(is_pending(&mut request), "round {round}");
            cluster[0].calls("pttl") > before
        })
        .await;
        for server in &*cluster {
            server.command(&["DEL", "r"]);
        }
        within(granted(request).await.release()).await.unwrap();
    }
    drained(&cluster).await;
    assert!(cluster.iter().all(|server| server.calls("zadd") == 0));
}

/// Everybody is told of the same release: one gets through, and nobody is left behind.
#[tokio::test]
async fn many_who_race_are_all_served() {
    let cluster = Cluster::start(5);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let settings = builder(cluster.urls()).waiting(Waiting::Race);
        clients.push(all_up(settings.connect().await.unwrap()).await);
    }
    let guard = within(clients[0].acquire("r")).await.unwrap();
    let tasks = clients.iter().skip(1).map(|locks| async {
        for _ in 0..3 {
            locks.acquire("r").await.unwrap().release().await.unwrap();
        }
    });
    let mut tasks = Box::pin(futures_of(tasks));
    tokio::select! {
        _ = &mut tasks => panic!("granted while it was held"),
        () = tokio::time::sleep(ms(50)) => {}
    }
    within(guard.release()).await.unwrap();
    assert_eq!(within(tasks).await.len(), 7);
    drained(&cluster).await;
}
