//! DESIGN §6.1, rule by rule: the shortest schedule in which a lock breaks without it.

use std::pin::pin;

use super::net::{MS, Net};
use super::*;
use crate::time::Timestamp;

type Request<'a> = Pin<Box<AcquireFuture<'a>>>;

pub(super) fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// A request that has been sent, and that no node has seen.
pub(super) fn asked<'a>(request: impl IntoFuture<IntoFuture = AcquireFuture<'a>>) -> Request<'a> {
    let mut future = Box::pin(request.into_future());
    assert!(poll(&mut future).is_pending());
    future
}

/// The lock, after a moment.
pub(super) async fn granted(net: &Net, mut request: Request<'_>) -> Guard {
    net.run(MS).await;
    match poll(&mut request) {
        Poll::Ready(outcome) => outcome.unwrap(),
        Poll::Pending => panic!("not granted"),
    }
}

/// A client of three nodes, and a guard of "r" of which node 2 has not heard; node 2 is back.
async fn held_by_two(net: &Net, builder: Builder) -> (Redlock, Guard) {
    let locks = net.started(0, builder).await;
    net.at(2).is_away = true;
    net.at(2).cut(false, |_| true);
    net.run(MS).await;
    let guard = granted(net, asked(locks.acquire("r"))).await;
    net.at(2).is_away = false;
    net.run(25 * MS).await;
    assert_eq!((locks.node_states()[2], net.holders("r")), (NodeState::Up, 0b011));
    (locks, guard)
}

/// How often a node was asked to set `key`.
fn sets(net: &Net, node: usize, key: &str) -> usize {
    let is_set = |command: &&Vec<Vec<u8>>| command[0] == b"SET" && command[1] == key.as_bytes();
    net.at(node).executed.iter().filter(is_set).count()
}

/// How often a node executed a script.
fn calls(net: &Net, node: usize, sha: &str) -> usize {
    let is_call =
        |command: &&Vec<Vec<u8>>| command[0] == b"EVALSHA" && command[1] == sha.as_bytes();
    net.at(node).executed.iter().filter(is_call).count()
}

/// Without pushes: they would tell of the flush, too.
#[tokio::test(start_paused = true)]
async fn r1_a_flush_between_the_set_and_the_seal_voids_the_grant() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder().resp2_only()).await;
    net.at(2).is_stalled = true;
    let mut request = asked(locks.try_acquire("r"));
    for node in 0..2 {
        let mut station = net.at(node);
        station.serve_most(1, |_| true);
        assert_eq!(station.executed.last().unwrap()[0], b"SET");
        station.core.flush();
    }
    net.run(25 * MS).await;
    let Poll::Ready(Err(error)) = poll(&mut request) else { panic!("granted") };
    assert!(matches!(error, AcquireError::NoQuorum { .. }), "{error}");
    assert_eq!(locks.nodes().iter().map(|node| node.seals_broken).sum::<u64>(), 2);
}

/// A heartbeat that finds a node's clock stepped is answered before a SET.
#[tokio::test(start_paused = true)]
async fn r1_a_vote_counts_only_if_the_node_may_vote_when_it_comes() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder()).await;
    net.run(60 * MS).await;
    for node in 0..3 {
        net.at(node).is_stalled = true;
    }
    net.advance(42 * MS).await;
    settle().await;
    let mut request = asked(locks.try_acquire("r"));
    for node in 0..2 {
        let mut station = net.at(node);
        station.is_stalled = false;
        station.clock.advance(MS * 1_000);
        station.serve_most(1, |_| true);
    }
    settle().await;
    assert!(net.keys() == 0 && locks.engine().nodes[0].voided_at() > Timestamp::ZERO);
    net.serve();
    net.run(21 * MS).await;
    let Poll::Ready(Err(error)) = poll(&mut request) else { panic!("granted") };
    assert!(matches!(error, AcquireError::NoQuorum { .. }), "{error}");
    assert_eq!(net.keys(), 0, "a vote that does not count is taken back");
}

#[tokio::test(start_paused = true)]
async fn r2_every_epoch_has_an_id_of_its_own_and_a_quarantine() {
    let net = Net::new(1);
    let max_ttl = 100 * MS;
    let locks = net.started(0, net.builder().ttl(max_ttl).max_ttl(max_ttl)).await;
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let guard = granted(&net, asked(locks.acquire("r"))).await;
        net.at(0).restart(false);
        net.run(25 * MS).await;
        let epoch = locks.nodes()[0].epoch.clone().unwrap();
        assert!(seen.insert(epoch), "an epoch came back");
        drop(guard);
        let refused = poll(&mut Box::pin(locks.try_acquire("r").into_future()));
        assert!(matches!(refused, Poll::Ready(Err(AcquireError::Quarantined { .. }))));
        net.run(max_ttl - 30 * MS).await;
        assert_eq!(locks.node_states()[0], NodeState::Quarantined);
        net.run(40 * MS).await;
        assert_eq!(locks.node_states()[0], NodeState::Up);
    }
}

/// What no seal sees: a node whose data was replaced under a live connection, with its epoch.
#[tokio::test(start_paused = true)]
async fn r3_a_promotion_under_a_live_connection_is_found_by_the_heartbeat() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder()).await;
    net.at(0).core.demote();
    net.at(0).core.promote();
    net.run(MS).await;
    assert_eq!(locks.node_states()[0], NodeState::Up, "nobody has asked");
    net.run(55 * MS).await;
    assert_eq!(locks.node_states()[0], NodeState::Quarantined);
    assert_eq!(locks.nodes()[0].connects, 2, "what was in flight counts as unknown");
}

#[tokio::test(start_paused = true)]
async fn r4_nodes_without_an_epoch_open_for_nobody() {
    let net = Net::new(3);
    let build = || net.builder().ttl(200 * MS).max_ttl(200 * MS);
    let (locks, other) = (net.started(0, build()).await, net.started(1, build()).await);
    // So long after their start that nobody would take them for new.
    net.run_by(MS * 100_000, MS * 1_000).await;
    let guard = granted(&net, asked(locks.acquire("r").renewal(Renewal::Off))).await;
    (0..3).for_each(|node| net.at(node).core.flush());
    let mut request = asked(other.acquire("r").wait_for(MS * 1_000));
    let mut waited = 0;
    let second = loop {
        net.run(Duration::ZERO).await;
        net.advance(MS).await;
        waited += 1;
        if let Poll::Ready(second) = poll(&mut request) {
            break second.unwrap();
        }
        assert!(waited < 1_000, "never opens");
    };
    assert!(second.is_valid() && !guard.is_valid() && waited >= 200, "{waited} ms");
}

/// The scripts of another epoch refuse by themselves; this is about one that is not judged yet.
#[tokio::test(start_paused = true)]
async fn r5_an_extension_does_not_count_while_its_node_may_not_vote() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder()).await;
    let guard = granted(&net, asked(locks.acquire("r"))).await;
    net.run(45 * MS).await;
    assert_eq!(guard.margin(), 1);
    net.at(0).is_stalled = true;
    net.run(5 * MS).await;
    let mut extension = Box::pin(guard.extend(Duration::from_secs(10)));
    assert!(poll(&mut extension).is_pending());
    net.run(MS).await;
    {
        let mut station = net.at(0);
        station.is_stalled = false;
        station.clock.advance(MS * 500);
        station.serve_most(1, |_| true);
        assert_eq!(station.executed.last().unwrap()[1], script::STAMP.sha.as_bytes());
    }
    settle().await;
    assert_eq!((guard.is_valid(), guard.margin()), (true, 0));
    net.serve();
    settle().await;
    assert!(calls(&net, 0, script::EXTEND.sha) == 1 && net.holders("r") == 0b111);
    assert_eq!((guard.is_valid(), guard.margin()), (true, 0));
}

/// Without the keeper, which would have announced the loss before.
///
/// Scenario 54.
#[tokio::test(start_paused = true)]
async fn r6_an_answer_behind_the_end_makes_the_loss_final() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder().unresponsive_after(MS * 1_000)).await;
    let ttl = 100 * MS;
    let guard = granted(&net, asked(locks.acquire("r").ttl(ttl).renewal(Renewal::Off))).await;
    // The keys live on there.
    (0..3).for_each(|node| net.at(node).clock.rewind(500 * MS));
    net.run(60 * MS).await;
    {
        let mut extension = Box::pin(guard.extend(ttl));
        assert!(poll(&mut extension).is_pending());
    }
    let lease = guard.into_lease();
    net.advance(20 * MS).await;
    assert!(lease.is_valid());
    net.advance(30 * MS).await;
    net.run(Duration::ZERO).await;
    assert!(calls(&net, 0, script::EXTEND.sha) == 1 && net.holders("r") == 0b111);
    assert!(!lease.is_valid(), "revived");
    assert_eq!(lease.ensure_valid(), Err(crate::Lost::Expired));
}

#[tokio::test(start_paused = true)]
async fn r6_a_node_is_topped_up_behind_a_won_round_only() {
    for wins in [true, false] {
        let net = Net::new(3);
        let ttl = 300 * MS;
        let (locks, guard) = held_by_two(&net, net.builder().ttl(ttl)).await;
        net.at(1).is_stalled = !wins;
        net.run(200 * MS).await;
        assert_eq!(sets(&net, 2, "r"), usize::from(wins));
        assert_eq!(locks.nodes()[2].topped_up, u64::from(wins));
        assert!(guard.is_valid());
    }
}

/// Scenario 55.
#[tokio::test(start_paused = true)]
async fn r6_a_key_that_is_set_behind_the_end_is_taken_back() {
    let net = Net::new(3);
    let builder = net.builder().ttl(90 * MS).unresponsive_after(MS * 1_000);
    let (locks, guard) = held_by_two(&net, builder).await;
    // Until the first renewal has been won, and node 2 is asked.
    net.at(2).is_stalled = true;
    while guard.remaining() < 70 * MS {
        net.run(MS).await;
    }
    net.run(10 * MS).await;
    (0..3).for_each(|node| net.at(node).is_stalled = true);
    net.run(100 * MS).await;
    assert!(!guard.is_valid());
    net.at(2).is_stalled = false;
    net.run(2 * MS).await;
    assert_eq!((sets(&net, 2, "r"), net.holders("r") & 0b100), (1, 0));
    assert_eq!(locks.nodes()[2].topped_up, 0);
}

/// Both nodes' pipes are full: the second lock's SETs wait.
#[tokio::test(start_paused = true)]
async fn r7_a_set_that_has_not_left_never_leaves_behind_its_release() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder()).await;
    net.narrow(100);
    (0..3).for_each(|node| net.at(node).cut(false, |_| true));
    net.run(5 * MS).await;
    let first = asked(locks.acquire("first"));
    let second = asked(locks.acquire("second"));
    settle().await;
    drop(second);
    let guard = granted(&net, first).await;
    net.run(2 * MS).await;
    let withdrawn: u64 = locks.nodes().iter().map(|node| node.withdrawn).sum();
    assert_eq!((withdrawn, sets(&net, 0, "second"), sets(&net, 0, "first")), (3, 0, 1));
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn r7_a_top_up_that_has_not_left_never_leaves_behind_its_release() {
    for is_released in [false, true] {
        let net = Net::new(3);
        let ttl = Duration::from_secs(10);
        let (locks, guard) = held_by_two(&net, net.builder().ttl(ttl)).await;
        net.narrow(100);
        net.at(2).cut(false, |_| true);
        net.run(20 * MS).await;
        let others = [asked(locks.acquire("a")), asked(locks.acquire("b"))];
        let now = locks.engine().clock.now();
        locks.engine().top_up(guard.lease().op(), ttl, now);
        settle().await;
        if is_released {
            drop(guard);
        } else {
            std::mem::forget(guard);
        }
        net.run(5 * MS).await;
        assert_eq!(sets(&net, 2, "r"), usize::from(!is_released));
        drop(others);
    }
}

/// Node 2 was flushed under the attempt: a release is on its way there for all that is known.
#[tokio::test(start_paused = true)]
async fn r8_a_node_that_was_sent_a_release_is_not_asked_to_hold_the_key_again() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder().ttl(100 * MS).max_ttl(100 * MS)).await;
    let request = asked(locks.acquire("r"));
    net.at(2).serve_most(1, |_| true);
    net.at(2).core.flush();
    let guard = granted(&net, request).await;
    net.run(500 * MS).await;
    assert_eq!(locks.node_states()[2], NodeState::Up, "the quarantine is over");
    assert!(guard.is_valid() && sets(&net, 2, "r") == 1);
}

/// Requests and releases that share writes, cut anywhere.
#[tokio::test(start_paused = true)]
async fn r9_nothing_stands_between_the_sets_of_a_write_and_its_seal() {
    let net = Net::new(1);
    let locks = net.started(0, net.builder()).await;
    let mut guards = Vec::new();
    for turn in 0..20 {
        let keys = (0..6).map(|key| format!("{turn}-{key}"));
        let requests: Vec<_> = keys.map(|key| asked(locks.acquire(key))).collect();
        guards.clear();
        for request in requests {
            guards.push(granted(&net, request).await);
        }
    }
    let station = net.at(0);
    let mut seals = 0;
    let is_lock = |command: &Vec<Vec<u8>>| command[0] == b"SET" && command[1] == b"0-0";
    let first = station.executed.iter().position(is_lock).unwrap();
    let (handshake, executed) = station.executed.split_at(first);
    let loads = handshake.iter().filter(|command| command[..2].concat() == b"SCRIPTLOAD").count();
    assert_eq!(loads, script::ALL.len(), "all loaded before anything of a caller's");
    let mut executed = executed.iter().peekable();
    while let Some(command) = executed.next() {
        let next = executed.peek().map(|next| next[0].as_slice());
        if command[0] == b"SET" && next != Some(b"SET") {
            assert_eq!(executed.next().unwrap()[..2], [b"GET".to_vec(), script::EPOCH_KEY.into()]);
            assert_eq!(executed.next().unwrap()[0], b"SCRIPT");
            seals += 1;
        }
    }
    assert!(seals >= 20 && locks.nodes()[0].seals_broken == 0);
}

/// Scenario 9.
#[tokio::test(start_paused = true)]
async fn r11_every_attempt_has_a_token_of_its_own() {
    let net = Net::new(3);
    // Whoever waits in line asks once.
    let asks_again = net.builder().waiting(crate::Waiting::Backoff);
    let (locks, other) = (net.started(0, asks_again).await, {
        let builder = net.builder();
        net.client(1, 8, builder)
    });
    net.run(2 * MS).await;
    let _held = granted(&net, asked(other.acquire("taken"))).await;
    let mut refused = asked(locks.acquire("taken"));
    for turn in 0..60 {
        let request = asked(locks.acquire("r"));
        if turn % 3 > 0 {
            net.run(Duration::ZERO).await;
        }
        drop(request);
        net.run(MS).await;
        assert!(poll(&mut refused).is_pending());
    }
    let station = net.at(0);
    let sets = station.executed.iter().filter(|command| command[0] == b"SET");
    let tokens: Vec<&Vec<u8>> = sets.map(|command| &command[2]).collect();
    let distinct: HashSet<_> = tokens.iter().collect();
    assert!(tokens.len() > 60 && distinct.len() == tokens.len(), "a token came back");
}

#[tokio::test(start_paused = true)]
async fn r12_a_lease_whose_release_has_begun_is_not_handed_on() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder()).await;
    let guard = granted(&net, asked(locks.acquire("r"))).await;
    let mut next = asked(locks.acquire("r"));
    // As closing does.
    let mut wakes = crate::engine::core::Wakes::default();
    assert!(locks.engine().let_go(guard.lease().op(), None, &mut wakes));
    locks.engine().wake(wakes);
    drop(guard);
    assert!(poll(&mut next).is_pending(), "a release was taken back");
    let guard = granted(&net, next).await;
    assert!(guard.attempts() == 1 && locks.stats().handed_on == 0);
    let _ = pin!(guard.release()).poll(&mut Context::from_waker(Waker::noop()));
}
