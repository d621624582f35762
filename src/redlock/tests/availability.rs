//! What must go on while a minority of nodes is in trouble, or a majority for a moment.

use super::net::{MS, Net};
use super::rules::{asked, granted, poll};
use super::*;
use crate::builder::Builder;

type Request<'a> = Pin<Box<AcquireFuture<'a>>>;
type Outcome = Result<Guard, AcquireError>;

const TTL: Duration = Duration::from_secs(1);

/// A client whose locks live for a second at most, and so do its quarantines, nearly.
fn short(net: &Net) -> Builder {
    net.builder().ttl(TTL).max_ttl(TTL).unresponsive_after(MS * 5_000)
}

/// A client of five nodes; `flushed` of them are quarantined for a second, `stalled` do not answer.
async fn troubled(net: &Net, flushed: usize, stalled: usize) -> Redlock {
    let locks = net.started(0, short(net)).await;
    (0..flushed).for_each(|node| net.at(node).core.flush());
    net.run(25 * MS).await;
    (0..stalled).for_each(|node| net.at(flushed + node).is_stalled = true);
    // What they do not answer is a heartbeat.
    net.run(100 * MS).await;
    let quarantined = std::iter::repeat_n(NodeState::Quarantined, flushed);
    let silent = std::iter::repeat_n(NodeState::Suspect, stalled);
    let up = std::iter::repeat_n(NodeState::Up, 5 - flushed - stalled);
    let states: Vec<_> = quarantined.chain(silent).chain(up).collect();
    assert_eq!(locks.node_states(), states);
    locks
}

/// Everybody goes on until one of these requests comes to an end, for `ms` milliseconds at most:
/// the outcome, and after how many of them.
async fn first(net: &Net, requests: &mut [Request<'_>], ms: u32) -> Option<(Outcome, u32)> {
    for passed in 0..=ms {
        net.run(Duration::ZERO).await;
        for request in &mut *requests {
            if let Poll::Ready(outcome) = poll(request) {
                return Some((outcome, passed));
            }
        }
        net.advance(MS).await;
    }
    None
}

/// Too few may vote, and one more does not answer just now: whoever may wait, waits for that one.
#[tokio::test(start_paused = true)]
async fn who_may_wait_waits_for_a_node_that_may_be_back_any_moment() {
    let net = Net::new(5);
    let locks = troubled(&net, 2, 1).await;
    let mut request = [asked(locks.acquire("r").wait_for(500 * MS))];
    let once = poll(&mut Box::pin(locks.try_acquire("s").into_future()));
    let Poll::Ready(Err(AcquireError::Quarantined { remaining, .. })) = once else {
        panic!("{once:?}")
    };
    assert!(remaining > 500 * MS, "{remaining:?}: longer than the wait");
    let early = first(&net, &mut request, 300).await;
    assert!(early.is_none(), "{early:?}");
    net.at(2).heal();
    let Some((Ok(guard), after)) = first(&net, &mut request, 150).await else {
        panic!("not granted")
    };
    // It is asked again after at most four times the base of pauses.
    assert!(guard.is_valid() && after <= 15, "after {after} ms");
}

/// The node does not come back: the wait ends when it was to end, with the reason.
#[tokio::test(start_paused = true)]
async fn a_wait_for_a_node_that_stays_away_ends_in_time() {
    let net = Net::new(5);
    let locks = troubled(&net, 2, 1).await;
    let mut request = [asked(locks.acquire("r").wait_for(300 * MS))];
    let Some((Err(error), after)) = first(&net, &mut request, 500).await else { panic!("goes on") };
    assert!(matches!(error, AcquireError::Quarantined { .. }), "{error}");
    assert!((300..310).contains(&after), "after {after} ms");
}

/// Two votes are missing, one of them is a quarantined node's whoever comes back: nobody waits in
/// vain for it, and whoever can wait for its end does.
#[tokio::test(start_paused = true)]
async fn who_cannot_wait_for_any_quorum_fails_at_once_and_no_other_does() {
    let net = Net::new(5);
    let locks = troubled(&net, 3, 1).await;
    let short = poll(&mut Box::pin(locks.acquire("r").wait_for(500 * MS).into_future()));
    assert!(matches!(short, Poll::Ready(Err(AcquireError::Quarantined { .. }))), "{short:?}");
    let mut request = [asked(locks.acquire("r").wait_for(2 * TTL))];
    let early = first(&net, &mut request, 200).await;
    assert!(early.is_none(), "{early:?}");
    net.at(3).heal();
    let Some((Ok(guard), after)) = first(&net, &mut request, 1_800).await else {
        panic!("not granted")
    };
    // The second it takes, less the 325 ms that have passed of it, and a look.
    assert!(guard.is_valid() && (600..1_000).contains(&after), "after {after} ms");
}

/// A lock that two nodes have not heard of, and a process that waits in line for it: when the two
/// are back, the lock spreads to them, whoever waits, and then others may go.
#[tokio::test(start_paused = true)]
async fn a_held_lock_spreads_to_nodes_that_come_back_while_others_wait_for_it() {
    let net = Net::new(5);
    let holder = net.started(0, short(&net)).await;
    let others: Vec<_> = (1..4).map(|client| net.client(client, 9, short(&net))).collect();
    net.run(5 * MS).await;
    for node in [0, 2] {
        net.at(node).is_away = true;
        net.at(node).cut(false, |_| true);
    }
    net.run(5 * MS).await;
    let guard = granted(&net, asked(holder.acquire("r"))).await;
    let mut waiting: Vec<_> = others.iter().map(|locks| asked(locks.acquire("r"))).collect();
    assert!(first(&net, &mut waiting, 100).await.is_none());
    assert_eq!((guard.margin(), net.holders("r")), (0, 0b11010));
    (0..5).for_each(|node| net.at(node).is_away = false);
    let early = first(&net, &mut waiting, 1_600).await;
    assert!(early.is_none(), "{early:?}");
    assert_eq!(guard.margin(), 2, "of the nodes that came back somebody else has the key");
    for node in [3, 4] {
        net.at(node).is_away = true;
        net.at(node).cut(false, |_| true);
    }
    let early = first(&net, &mut waiting, 2_000).await;
    assert!(early.is_none() && guard.is_valid(), "{early:?}");
    drop(guard);
    // The first in line gets it from the three that are left.
    let Some((Ok(next), _)) = first(&net, &mut waiting, 300).await else { panic!("not granted") };
    assert!(next.is_valid());
}
