//! R10': a node's word that it has given the lock to our ticket is its vote, on a watched
//! connection.

use super::*;

/// As [`taken`], with nobody between the clients and the nodes.
fn taken_directly() -> Net {
    taken_of(Net::that_is(true, 3))
}

/// Every confirmation of this ticket that a node has executed.
fn confirms(net: &Net, ticket: &str) -> usize {
    (0..net.nodes()).map(|node| calls(net, node, script::EXTEND.sha, ticket)).sum()
}

/// A node tells the process of `locks` this word about its ticket for "r".
fn say(net: &Net, node: usize, word: &str, ticket: &str) {
    let channel = [script::CHANNEL_PREFIX, &ticket[..16]].concat();
    let said = net.at(node).command(&["PUBLISH", &channel, &[word, ticket, "r"].concat()]);
    assert_eq!(said, b":1\r\n", "nobody listens");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_a_quorum_has_given_is_held_without_another_word() {
    let net = taken_directly();
    let locks = net.started(0, patient(&net)).await;
    let (mut request, ticket) = in_line(&net, &locks).await;
    hand_on(&net, 0);
    settle().await;
    assert!(poll(&mut request).is_pending(), "granted by one of three nodes");
    hand_on(&net, 1);
    settle().await;
    let Poll::Ready(Ok(guard)) = poll(&mut request) else { panic!("not granted") };
    assert!(guard.is_valid() && guard.token().as_bytes() == ticket.as_bytes());
    assert_eq!((confirms(&net, &ticket), net.holders("r")), (0, 0b111));
    // For the ttl that the ticket asked for, not for a reservation's life.
    let lives = net.at(0).command(&["PTTL", "r"]);
    assert_eq!(lives, b":1000\r\n");
    drop(guard);
    net.run(2 * MS).await;
    assert_eq!(net.holders("r"), 0b100, "the stranger's, who has not let go there");
}

/// From when what was answered in front of the word had been sent; not from when the word came.
#[tokio::test(start_paused = true)]
async fn its_validity_counts_from_the_last_answer_in_front_of_it() {
    for (wait_ms, by_word) in [(20, true), (100, true), (140, false)] {
        let net = taken_directly();
        let locks = net.started(0, patient(&net)).await;
        let (mut request, ticket) = in_line(&net, &locks).await;
        net.advance(wait_ms * MS).await;
        settle().await;
        for node in 0..3 {
            hand_on(&net, node);
        }
        settle().await;
        // The ttl, less the drift of one per cent and 2 ms; the last answer took up to 2 ms.
        let left = |guard: &Guard, age_ms: u32| {
            let (least, most) = (986 - age_ms, 988 - age_ms);
            let remaining = guard.remaining();
            assert!(least * MS <= remaining && remaining <= most * MS, "{remaining:?}, {age_ms}");
        };
        let granted = match poll(&mut request) {
            Poll::Ready(Ok(guard)) => {
                left(&guard, wait_ms);
                Some(guard)
            }
            outcome => {
                assert!(outcome.is_pending());
                None
            }
        };
        assert_eq!(granted.is_some(), by_word, "after {wait_ms} ms");
        net.serve();
        settle().await;
        // A confirmation makes good what is missing, where that is much.
        let guard = granted.unwrap_or_else(|| match poll(&mut request) {
            Poll::Ready(Ok(guard)) => guard,
            _ => panic!("not confirmed"),
        });
        let (age_ms, confirmed) = if wait_ms < 32 { (wait_ms, 0) } else { (0, 3) };
        left(&guard, age_ms);
        assert_eq!(confirms(&net, &ticket), confirmed, "after {wait_ms} ms");
    }
}

/// A lock that has lost a part of its ttl is confirmed first where so much must be left.
#[tokio::test(start_paused = true)]
async fn a_word_too_old_for_the_least_validity_is_confirmed_first() {
    for (min_validity, by_word) in [(0.5, true), (0.9, false)] {
        let net = taken_directly();
        let locks = net.started(0, patient(&net).min_validity(min_validity)).await;
        let (mut request, ticket) = in_line(&net, &locks).await;
        net.advance(110 * MS).await;
        settle().await;
        (0..3).for_each(|node| hand_on(&net, node));
        settle().await;
        let granted = poll(&mut request);
        assert_eq!(granted.is_ready(), by_word, "{min_validity}: {granted:?}");
        net.serve();
        settle().await;
        let granted = if by_word { granted } else { poll(&mut request) };
        let Poll::Ready(Ok(guard)) = granted else { panic!("{granted:?}") };
        assert_eq!(confirms(&net, &ticket), 3);
        assert_eq!(guard.report().attempts, 2, "a round and a ticket: {:?}", guard.report());
    }
}

/// What was said and what is said behind it come in one read.
#[tokio::test(start_paused = true)]
async fn a_word_behind_the_end_of_the_epoch_is_no_vote() {
    for word_first in [true, false] {
        let net = taken_directly();
        let locks = net.started(0, patient(&net)).await;
        let (mut request, ticket) = in_line(&net, &locks).await;
        for node in 0..2 {
            if word_first {
                say(&net, node, "G", &ticket);
            }
            net.at(node).core.flush();
            if !word_first {
                net.at(node).command(&["SET", "r", &ticket, "PX", "1000"]);
                say(&net, node, "G", &ticket);
            }
            net.at(node).serve_most(0, |_| true);
        }
        let op = locks.engine().fleet.hub.ticket_for("r").unwrap();
        settle().await;
        let votes = op.acquire_tally().set(Vote::Granted);
        assert_eq!(votes, if word_first { 0b11 } else { 0 }, "word first: {word_first}");
        // The nodes that had given it have forgotten it in the same moment.
        if let Poll::Ready(Ok(guard)) = poll(&mut request) {
            panic!("{guard:?}");
        }
        assert_eq!(confirms(&net, &ticket), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_word_about_another_ticket_is_no_vote() {
    let net = taken_directly();
    let locks = net.started(0, patient(&net)).await;
    let (mut request, ticket) = in_line(&net, &locks).await;
    let other = [&ticket[..16], "0123456789abcdef"].concat();
    for node in 0..3 {
        say(&net, node, "G", &other);
        net.at(node).serve_most(0, |_| true);
    }
    net.run(2 * MS).await;
    assert!(poll(&mut request).is_pending());
    let op = locks.engine().fleet.hub.ticket_for("r").unwrap();
    assert_eq!(op.acquire_tally().pending(), 0b111);
}

fn poll_any<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// It may have forgotten to whom it gave the lock before.
#[tokio::test(start_paused = true)]
async fn the_word_of_a_quarantined_node_is_no_vote_and_is_given_back() {
    let net = taken_directly();
    let locks = net.started(0, patient(&net)).await;
    let (mut request, ticket) = in_line(&net, &locks).await;
    (0..2).for_each(|node| net.at(node).restart(true));
    net.run(10 * MS).await;
    // The new connections have answered something a moment ago.
    let mut look = Box::pin(locks.inspect("r"));
    assert!(poll_any(&mut look).is_pending());
    net.run(MS).await;
    assert!(poll_any(&mut look).is_ready());
    assert!(poll(&mut request).is_pending());
    use NodeState::{Quarantined, Up};
    assert_eq!(locks.node_states(), [Quarantined, Quarantined, Up]);
    let op = locks.engine().fleet.hub.ticket_for("r").unwrap();
    for node in 0..3 {
        hand_on(&net, node);
    }
    settle().await;
    let tally = op.acquire_tally();
    assert_eq!((tally.set(Vote::Ineligible), tally.set(Vote::Granted)), (0b11, 0b100));
    assert!(poll(&mut request).is_pending(), "granted by nodes that may not vote");
    net.run(2 * MS).await;
    assert_eq!((confirms(&net, &ticket), net.holders("r") & 0b11), (0, 0));
}

/// Nor is a reservation one, on a watched connection either.
#[tokio::test(start_paused = true)]
async fn a_reservation_is_confirmed_on_a_watched_connection_too() {
    let net = taken_directly();
    let locks = net.started(0, patient(&net)).await;
    let (mut request, ticket) = in_line(&net, &locks).await;
    for node in 0..3 {
        net.at(node).command(&["SET", "r", &ticket, "PX", "50"]);
        say(&net, node, "g", &ticket);
        net.at(node).serve_most(0, |_| true);
    }
    settle().await;
    assert!(poll(&mut request).is_pending(), "granted by a reservation");
    net.run(MS).await;
    assert!(matches!(poll(&mut request), Poll::Ready(Ok(_))));
    assert!(confirms(&net, &ticket) >= 3);
}

/// The word says nothing of the fencing token.
#[tokio::test(start_paused = true)]
async fn a_fenced_ticket_is_confirmed() {
    let net = taken_directly();
    let locks = net.started(0, patient(&net)).await;
    let mut request = asked(locks.acquire("r").ttl(TTL).fenced());
    while (0..3).any(|node| line(&net, node).is_empty()) {
        net.run(MS).await;
        assert!(poll(&mut request).is_pending());
    }
    let op = locks.engine().fleet.hub.ticket_for("r").unwrap();
    for node in 0..3 {
        hand_on(&net, node);
    }
    settle().await;
    assert!(poll(&mut request).is_pending(), "granted without a token");
    assert_eq!(op.acquire_tally().pending(), 0b111);
    net.run(MS).await;
    let Poll::Ready(Ok(guard)) = poll(&mut request) else { panic!("not confirmed") };
    assert!(guard.fencing_token().is_some());
}

/// R8: a release of the ticket is under way to the node, and comes after whatever it says.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_owed_a_release_of_the_ticket_votes_no_more() {
    let net = taken_directly();
    let locks = net.started(0, patient(&net)).await;
    let (mut request, _) = in_line(&net, &locks).await;
    let op = locks.engine().fleet.hub.ticket_for("r").unwrap();
    op.bar(0);
    (0..2).for_each(|node| hand_on(&net, node));
    settle().await;
    assert_eq!(op.acquire_tally().set(Vote::Granted), 0b10);
    assert_eq!(op.holding(locks.engine().clock.now()), 0b10);
    assert!(poll(&mut request).is_pending());
}

/// Given to a ticket in the moment in which that is given up: it goes on to the next.
#[tokio::test(start_paused = true)]
async fn r11_what_is_given_to_a_ticket_that_was_given_up_is_only_released() {
    let net = taken_directly();
    let first = net.started(0, patient(&net)).await;
    let second = net.started(1, patient(&net)).await;
    let (request, ticket) = in_line(&net, &first).await;
    let (mut next, _) = in_line(&net, &second).await;
    drop(request);
    for node in 0..3 {
        hand_on(&net, node);
    }
    settle().await;
    net.run(3 * MS).await;
    assert_eq!(confirms(&net, &ticket), 0);
    let Poll::Ready(Ok(guard)) = poll(&mut next) else { panic!("not handed on") };
    drop(guard);
    net.run(2 * MS).await;
    assert_eq!(net.keys(), 0);
}

/// A head whose process is gone costs no time at all; one that has not shown itself for long, and
/// may hang, gets no more than a reservation.
#[tokio::test(start_paused = true)]
async fn a_head_that_may_be_dead_does_not_get_the_lock() {
    let net = taken_directly();
    let first = net.started(0, patient(&net)).await;
    let second = net.started(1, patient(&net)).await;
    let (_gone, ticket) = in_line(&net, &first).await;
    let (mut next, other) = in_line(&net, &second).await;
    for node in 0..3 {
        // Its process is killed: the system closes its connections.
        net.at(node).cut(false, |line| line.client == 0);
        assert_eq!(line(&net, node), [ticket.clone(), other.clone()]);
        hand_on(&net, node);
        assert!(line(&net, node).is_empty());
    }
    settle().await;
    assert!(matches!(poll(&mut next), Poll::Ready(Ok(_))), "not its turn");

    let net = taken_directly();
    let locks = net.started(0, patient(&net)).await;
    let (_request, ticket) = in_line(&net, &locks).await;
    for (after_ms, is_given) in [(400, true), (800, false)] {
        let mut station = net.at(0);
        let member = [&ticket, "1000"].concat();
        station.command(&["SET", "r", "theirs"]);
        station.command(&["DEL", QUEUE]);
        let now_ms = station.clock.now_us() / 1_000;
        let score = (64 * 1_000 + now_ms / 250 % 64).to_string();
        station.command(&["ZADD", QUEUE, &score, &member]);
        station.clock.advance(after_ms * MS);
        drop(station);
        hand_on(&net, 0);
        let lives = net.at(0).command(&["PTTL", "r"]);
        let wanted = if is_given { ":1000\r\n" } else { ":60000\r\n" };
        assert_eq!(String::from_utf8(lives).unwrap(), wanted, "after {after_ms} ms");
    }
}
