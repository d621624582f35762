//! R1': connections on which nobody seals, because the server itself tells of the epoch's end.
//!
//! A grant counts if and only if its reply stands in front of every invalidation of the epoch.

use super::net::{MS, Net};
use super::rules::{asked, granted, poll};
use super::*;
use crate::Lost;

const EPOCH: &str = script::EPOCH_KEY;

/// What a node was asked besides handshakes: every command with this name and first argument.
fn count(net: &Net, node: usize, words: [&str; 2]) -> usize {
    let is_it = |command: &&Vec<Vec<u8>>| {
        command.len() > 1 && words.iter().zip(&command[..2]).all(|(w, c)| w.as_bytes() == c)
    };
    net.at(node).executed.iter().filter(is_it).count()
}

fn are_watched(locks: &Redlock, watched: bool) -> bool {
    let says = |node: &NodeStatus| node.server.as_deref().unwrap().contains("watched");
    locks.nodes().iter().all(|node| says(node) == watched)
}

/// No vote counted, and no key is left; or, where they `counted`, the lock was over by then.
async fn refused(net: &Net, mut request: Pin<Box<AcquireFuture<'_>>>, counted: bool) {
    net.run(21 * MS).await;
    let Poll::Ready(Err(error)) = poll(&mut request) else { panic!("granted") };
    let no_quorum = matches!(error, AcquireError::NoQuorum { .. });
    assert!(no_quorum || (counted && matches!(error, AcquireError::TooSlow { .. })), "{error}");
    (0..net.nodes()).for_each(|node| net.at(node).is_stalled = false);
    net.run(5 * MS).await;
    assert_eq!(net.keys(), 0, "a vote that does not count is taken back");
}

#[tokio::test(start_paused = true)]
async fn only_a_direct_connection_is_watched_and_its_writes_have_no_seal() {
    for is_direct in [false, true] {
        let net = Net::that_is(is_direct, 3);
        let locks = net.started(0, net.builder()).await;
        let before = count(&net, 0, ["GET", EPOCH]);
        drop(granted(&net, asked(locks.acquire("r"))).await);
        net.run(MS).await;
        let seals = usize::from(!is_direct);
        assert_eq!(count(&net, 0, ["GET", EPOCH]) - before, seals);
        // One is the handshake's.
        assert_eq!(count(&net, 0, ["SCRIPT", "EXISTS"]), 1 + seals);
        assert_eq!((count(&net, 0, ["SET", "r"]), net.keys()), (1, 0));
        assert!(are_watched(&locks, is_direct));
    }
    let net = Net::that_is(true, 3);
    let locks = net.started(0, net.builder().resp2_only()).await;
    assert!(are_watched(&locks, false), "without pushes nobody can tell");
}

#[tokio::test(start_paused = true)]
async fn r1_a_flush_in_front_of_the_set_or_behind_it_voids_the_grant() {
    for sets_first in [false, true] {
        let net = Net::that_is(true, 3);
        let locks = net.started(0, net.builder()).await;
        net.at(2).is_stalled = true;
        let request = asked(locks.try_acquire("r"));
        for node in 0..2 {
            let mut station = net.at(node);
            if sets_first {
                station.serve_most(1, |_| true);
                assert_eq!(station.executed.last().unwrap()[0], b"SET");
            }
            station.core.flush();
        }
        refused(&net, request, sets_first).await;
        let status = locks.nodes();
        assert!(status[..2].iter().all(|node| (node.seals_broken, node.connects) == (1, 2)));
        assert_eq!(locks.node_states()[0], NodeState::Quarantined);
    }
}

/// Nothing but the epoch has changed: no other word of the server's says that a grant is void.
///
/// Scenario 71.
#[tokio::test(start_paused = true)]
async fn r1_a_grant_behind_the_end_of_the_epoch_does_not_count() {
    let ends: [&[&str]; 4] = [
        &["DEL", EPOCH],
        &["SET", EPOCH, "another"],
        &["SET", EPOCH, "another", "PX", "50"],
        // What is the same again may have been another in between.
        &["SET", EPOCH, "same"],
    ];
    for end in ends {
        let net = Net::that_is(true, 3);
        let locks = net.started(0, net.builder()).await;
        let same = locks.nodes()[0].epoch.clone().unwrap();
        let end: Vec<&str> = end.iter().map(|w| if *w == "same" { &same } else { *w }).collect();
        net.at(2).is_stalled = true;
        let request = asked(locks.try_acquire("r"));
        // In one read: the invalidation, then the reply.
        for node in 0..2 {
            net.at(node).command(&end);
            net.serve_node(node);
            assert_eq!(count(&net, node, ["SET", "r"]), 1);
        }
        settle().await;
        refused(&net, request, false).await;
        assert!(locks.nodes()[..2].iter().all(|node| (node.seals_broken, node.connects) == (1, 2)));
    }
}

/// In one read: the reply, then the invalidation. The node knew of every lock when it granted; and
/// for as long as the lock lives nobody else counts its votes.
#[tokio::test(start_paused = true)]
async fn r1_a_grant_in_front_of_the_end_of_the_epoch_counts() {
    let net = Net::that_is(true, 3);
    let locks = net.started(0, net.builder()).await;
    let request = asked(locks.acquire("r"));
    net.serve_node(0);
    net.at(0).command(&["DEL", EPOCH]);
    net.at(0).serve(|_| true);
    settle().await;
    assert_eq!(locks.nodes()[0].seals_broken, 1);
    net.at(2).is_stalled = true;
    net.serve_node(1);
    let guard = granted(&net, request).await;
    assert!(guard.is_valid() && guard.margin() == 0, "by that node and one more");
    net.run(30 * MS).await;
    assert_eq!((locks.nodes()[0].connects, locks.node_states()[0]), (2, NodeState::Quarantined));
}

#[tokio::test(start_paused = true)]
async fn r1_no_invalidation_of_anything_else_ends_the_watch() {
    let net = Net::that_is(true, 3);
    let locks = net.started(0, net.builder()).await;
    let guard = granted(&net, asked(locks.acquire("r"))).await;
    // Renewed once, its key is watched.
    net.run_by(Duration::from_secs(11), 10 * MS).await;
    assert_eq!(net.at(0).command(&["DEL", "r"]), b":1\r\n");
    net.run(5 * MS).await;
    assert!(guard.is_valid());
    let status = &locks.nodes()[0];
    assert_eq!((status.connects, status.seals_broken, status.state), (1, 0, NodeState::Up));
}

/// A lock of five nodes: renewed once, so that its keys are watched, and never again.
async fn renewed_for_the_last_time() -> (Net, Redlock, Guard) {
    let net = Net::that_is(true, 5);
    let locks = net.started(0, net.builder()).await;
    let bound = Renewal::AtMost(Duration::from_secs(15));
    let guard = granted(&net, asked(locks.acquire("r").renewal(bound))).await;
    net.run_by(Duration::from_secs(6), 10 * MS).await;
    (net, locks, guard)
}

/// Told while it is being asked about: the answers that were given before that say nothing of it.
#[tokio::test(start_paused = true)]
async fn a_key_that_changes_while_it_is_asked_about_is_asked_about_again() {
    let (net, _locks, guard) = renewed_for_the_last_time().await;
    (3..5).for_each(|node| net.at(node).is_stalled = true);
    assert_eq!(net.at(0).command(&["DEL", "r"]), b":1\r\n");
    net.run(3 * MS).await;
    assert_eq!(guard.margin(), 1, "asked: one does not hold it, two do, two are silent");
    (1..3).for_each(|node| _ = net.at(node).command(&["DEL", "r"]));
    net.run(3 * MS).await;
    (3..5).for_each(|node| net.at(node).is_stalled = false);
    net.run(30 * MS).await;
    assert_eq!(guard.lease().ensure_valid(), Err(Lost::TakenOver), "by two of five it is held");
}

/// Nobody can tell that `key` is gone there.
fn lose_silently(net: &Net, node: usize, key: &str) {
    let mut station = net.at(node);
    station.core.forget_tracked();
    assert_eq!(station.command(&["DEL", key]), b":1\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_doubt_that_too_few_nodes_answered_is_asked_about_again() {
    let (net, _locks, guard) = renewed_for_the_last_time().await;
    (2..5).for_each(|node| net.at(node).is_stalled = true);
    net.at(0).command(&["DEL", "r"]);
    net.run(30 * MS).await;
    (2..5).for_each(|node| net.at(node).is_stalled = false);
    net.run(3 * MS).await;
    assert_eq!(guard.margin(), 1);
    (1..3).for_each(|node| lose_silently(&net, node, "r"));
    net.run(300 * MS).await;
    assert_eq!(guard.lease().ensure_valid(), Err(Lost::TakenOver), "by two of five it is held");
}

/// A renewal is decided by the first three; what the other two say behind that is not left until
/// the next one.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_missing_behind_a_renewals_decision_is_repaired_at_once() {
    let net = Net::new(5);
    // So that nobody watches the keys.
    let locks = net.started(0, net.builder().resp2_only()).await;
    let guard = granted(&net, asked(locks.acquire("r"))).await;
    net.run(3_325 * MS).await;
    let until_then = guard.valid_until();
    for node in 3..5 {
        lose_silently(&net, node, "r");
        net.at(node).is_stalled = true;
    }
    net.run(15 * MS).await;
    assert!(guard.valid_until() > until_then, "renewed by the others");
    (3..5).for_each(|node| net.at(node).is_stalled = false);
    assert_eq!(guard.margin(), 2, "they have not answered yet");
    net.run(20 * MS).await;
    assert_eq!((guard.margin(), net.holders("r")), (2, 0b11111));
    assert!(locks.nodes()[3..].iter().all(|node| node.topped_up == 1));
}

/// A database of others that is flushed again and again, or a table of tracked keys that is too
/// small: each costs a connection, and means nothing. A real end makes up for them.
#[tokio::test(start_paused = true)]
async fn a_server_that_cries_wolf_is_sealed_instead() {
    let net = Net::that_is(true, 1);
    let locks = net.started(0, net.builder().max_ttl(100 * MS).ttl(100 * MS)).await;
    let cry = async |others: bool| {
        let mut session = net.at(0).core.connect("operator:0");
        let words: &[u8] = if others { b"SELECT 3\r\nFLUSHDB\r\n" } else { b"FLUSHALL\r\n" };
        net.at(0).core.exchange(&mut session, words);
        net.run(25 * MS).await;
        (locks.nodes()[0].connects, are_watched(&locks, true))
    };
    assert_eq!((cry(true).await, cry(true).await), ((2, true), (3, true)));
    assert_eq!(cry(false).await, (4, true));
    assert_eq!((cry(true).await, cry(true).await), ((5, true), (6, true)));
    assert_eq!((cry(true).await, cry(true).await), ((7, true), (8, false)));
    assert_eq!(cry(true).await, (8, false));
    net.run(200 * MS).await;
    drop(granted(&net, asked(locks.acquire("r"))).await);
    net.run(MS).await;
    assert!(count(&net, 0, ["SCRIPT", "EXISTS"]) > 8, "a seal besides the handshakes'");
}

/// What our own connection does to the epoch is not pushed to it: only the stamp's answer says so.
/// Here it comes in one read with the grant behind it, without anything else that would tell.
///
/// Scenario 71.
#[tokio::test(start_paused = true)]
async fn r1_a_grant_behind_a_stamp_of_ours_that_began_another_epoch_does_not_count() {
    let net = Net::that_is(true, 3);
    // All scripts at once fit into it, and the SET behind them.
    net.narrow(64 << 10);
    let locks = net.started(0, net.builder()).await;
    let held = granted(&net, asked(locks.acquire("held"))).await;
    net.at(2).is_stalled = true;
    for node in 0..2 {
        let mut station = net.at(node);
        station.command(&["SCRIPT", "FLUSH"]);
        station.core.demote();
        station.core.promote();
    }
    // By a script that is not known any more: the next write begins with a stamp.
    drop(held);
    settle().await;
    for node in 0..2 {
        net.serve_node(node);
    }
    settle().await;
    let request = asked(locks.try_acquire("r"));
    settle().await;
    for node in 0..2 {
        let mut station = net.at(node);
        let before = station.executed.len();
        station.serve(|_| true);
        let order: Vec<&[u8]> = station.executed[before..].iter().map(|c| &c[0][..]).collect();
        let at = |name: &[u8]| order.iter().position(|command| *command == name);
        assert!(at(b"EVAL") < at(b"SET") && at(b"EVAL").is_some(), "{order:?}");
    }
    settle().await;
    refused(&net, request, false).await;
    let epochs: Vec<u64> = locks.nodes().iter().map(|node| node.epochs).collect();
    assert_eq!(epochs, [2, 2, 1]);
}

/// The same for what a heartbeat finds: a clock that has stepped, in one read with a grant.
#[tokio::test(start_paused = true)]
async fn r1_a_grant_behind_a_heartbeat_counts_by_what_that_says() {
    for is_direct in [false, true] {
        let net = Net::that_is(is_direct, 3);
        let locks = net.started(0, net.builder()).await;
        net.run(60 * MS).await;
        (0..3).for_each(|node| net.at(node).is_stalled = true);
        net.advance(42 * MS).await;
        settle().await;
        let request = asked(locks.try_acquire("r"));
        for node in 0..2 {
            let mut station = net.at(node);
            station.is_stalled = false;
            station.clock.advance(MS * 1_000);
            station.serve(|_| true);
        }
        settle().await;
        assert!(locks.engine().nodes[0].voided_at() > crate::time::Timestamp::ZERO);
        refused(&net, request, false).await;
    }
}

/// A server whose table of tracked keys is full forgets one in silence if that was our command's
/// doing: the heartbeat looks, and has the epoch tracked again.
///
/// Scenario 73.
#[tokio::test(start_paused = true)]
async fn r3_what_is_not_pushed_is_found_by_the_heartbeat_and_watched_again() {
    let net = Net::that_is(true, 1);
    let locks = net.started(0, net.builder()).await;
    net.at(0).core.forget_tracked();
    net.run(60 * MS).await;
    assert_eq!(locks.nodes()[0].connects, 1);
    let request = asked(locks.try_acquire("r"));
    net.at(0).command(&["SET", EPOCH, "another"]);
    refused(&net, request, false).await;
    let net = Net::that_is(true, 1);
    let locks = net.started(0, net.builder()).await;
    net.at(0).core.forget_tracked();
    net.at(0).command(&["SET", EPOCH, "another"]);
    net.run(60 * MS).await;
    assert_eq!(locks.nodes()[0].connects, 2);
}
