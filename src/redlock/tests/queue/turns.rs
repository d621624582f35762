//! How often each of several clients has a lock that all of them want.

use super::*;

/// Four clients ask again and again for what the others want, too, while the nodes read and answer
/// at these intervals in ms only: how often each has had it.
async fn turns(intervals: [u32; 3], node_timeout: Duration) -> [u32; 4] {
    let net = Net::new(3);
    let ttl = MS * 4_000;
    let locks: Vec<Redlock> = (0..4)
        .map(|client| {
            let builder = patient(&net).ttl(ttl).max_ttl(ttl).node_timeout(node_timeout);
            let builder = builder.connect_timeout(ttl).unresponsive_after(MS * 2_000);
            net.client(client, 3, builder.handoff(Handoff::default().bound(0, MS)))
        })
        .collect();
    net.run_by(40 * MS, MS).await;
    let mut requests: Vec<Option<Request<'_>>> = (0..4).map(|_| None).collect();
    let mut turns = [0; 4];
    let slowest = intervals.into_iter().max().unwrap();
    // Three round trips to a turn would do.
    for now in 0..TURNS * 5 * slowest {
        for (request, locks) in requests.iter_mut().zip(&locks) {
            request.get_or_insert_with(|| asked(locks.acquire("r")));
        }
        net.advance(MS).await;
        settle().await;
        for (node, interval) in intervals.into_iter().enumerate() {
            if now % interval == 0 {
                net.serve_node(node);
            }
        }
        settle().await;
        for (client, slot) in requests.iter_mut().enumerate() {
            if let Some(Poll::Ready(outcome)) = slot.as_mut().map(poll) {
                drop(outcome.unwrap());
                turns[client] += 1;
                *slot = None;
            }
        }
        if turns.iter().sum::<u32>() == TURNS {
            break;
        }
    }
    turns
}

const TURNS: u32 = 40;

/// Reservations live long enough to be confirmed, and a node that is near does not make whoever
/// waits give way before those that are far have answered.
#[tokio::test(start_paused = true)]
async fn everybody_has_a_turn_however_far_the_nodes_are() {
    for (intervals, node_timeout_ms) in
        [([2, 2, 2], 50), ([2, 30, 30], 50), ([40, 40, 40], 50), ([100, 100, 100], 250)]
    {
        let turns = turns(intervals, MS * node_timeout_ms).await;
        assert_eq!(turns.iter().sum::<u32>(), TURNS, "{intervals:?} {turns:?}");
        assert!(turns.iter().all(|turns| *turns >= TURNS / 8), "{intervals:?} {turns:?}");
    }
}
