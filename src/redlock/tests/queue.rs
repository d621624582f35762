//! Waiting for a lock of another process: rules R10 and R11, by the shortest schedule in which a
//! lock breaks without them. Every order of events: [`schedules`].

use super::net::{MS, Net};
use super::rules::{asked, granted, poll};
use super::*;
use crate::algorithm::tally::{Decision, Vote};
use crate::builder::Builder;
use crate::engine::clock::at_next_reading;
use crate::{Mode, Waiting};

mod given;
mod readers;
mod schedules;
mod turns;

type Request<'a> = Pin<Box<AcquireFuture<'a>>>;

const QUEUE: &str = "redlatch:queue:r";
const LONG: &str = "60000";
const TTL: Duration = Duration::from_secs(1);

/// Nodes on which a stranger has "r".
fn taken(nodes: usize) -> Net {
    taken_of(Net::new(nodes))
}

fn taken_of(net: Net) -> Net {
    for node in 0..net.nodes() {
        net.at(node).command(&["SET", "r", "theirs", "PX", LONG]);
    }
    net
}

/// Answers to which no hurry is.
fn patient(net: &Net) -> Builder {
    net.builder().node_timeout(200 * MS).unresponsive_after(500 * MS).heartbeat_interval(400 * MS)
}

/// Who stands in line at a node, first to last.
fn line(net: &Net, node: usize) -> Vec<String> {
    let reply = net.at(node).command(&["ZRANGE", QUEUE, "0", "-1"]);
    let text = String::from_utf8(reply).unwrap();
    // A token and the ttl that its ticket asks for.
    let members = text.split("\r\n").filter(|part| part.len() > Token::LEN);
    members.map(|member| member[..Token::LEN].to_owned()).collect()
}

/// A request that stands in line on every node, and its ticket.
async fn in_line<'a>(net: &Net, locks: &'a Redlock) -> (Request<'a>, String) {
    let before: Vec<usize> = (0..net.nodes()).map(|node| line(net, node).len()).collect();
    let mut request = asked(locks.acquire("r").ttl(TTL));
    for _ in 0..20 {
        net.run(MS).await;
        assert!(poll(&mut request).is_pending());
        if (0..net.nodes()).all(|node| line(net, node).len() == before[node] + 1) {
            let channel = locks.engine().fleet.hub.channel();
            let process = &channel[script::CHANNEL_PREFIX.len()..];
            let own = |ticket: &String| ticket.starts_with(process);
            let ticket = line(net, 0).into_iter().find(own).unwrap();
            return (request, ticket);
        }
    }
    panic!("no ticket on every node");
}

/// The stranger lets go, as one who knows of the queue; what follows is not served.
fn hand_on(net: &Net, node: usize) {
    let mut station = net.at(node);
    let call = ["EVAL", script::LEAVE.body, "2", "r", QUEUE, "theirs", LONG, LONG];
    let letter = station.command(&call);
    assert_eq!(letter, b"$1\r\nh\r\n");
    // Messages arrive.
    station.serve_most(0, |_| true);
}

/// How often a node executed this script for this token.
fn calls(net: &Net, node: usize, sha: &str, token: &str) -> usize {
    let station = net.at(node);
    let is_call = |command: &&Vec<Vec<u8>>| {
        command[0] == b"EVALSHA"
            && command[1] == sha.as_bytes()
            && command.iter().any(|word| word == token.as_bytes())
    };
    station.executed.iter().filter(is_call).count()
}

#[tokio::test(start_paused = true)]
async fn r10_a_reservation_that_is_told_of_is_no_grant_before_it_is_confirmed() {
    let net = taken(3);
    let locks = net.started(0, patient(&net)).await;
    let (mut request, ticket) = in_line(&net, &locks).await;
    for node in 0..3 {
        hand_on(&net, node);
    }
    settle().await;
    assert!(poll(&mut request).is_pending(), "granted by a message");
    assert_eq!((net.holders("r"), calls(&net, 0, script::EXTEND.sha, &ticket)), (0b111, 0));
    net.serve_node(0);
    settle().await;
    assert!(poll(&mut request).is_pending(), "granted by one of three nodes");
    net.serve_node(1);
    settle().await;
    let Poll::Ready(Ok(guard)) = poll(&mut request) else { panic!("not granted") };
    assert!(guard.is_valid() && calls(&net, 2, script::EXTEND.sha, &ticket) == 0);
}

/// Not told of, but found when the ticket is shown again.
#[tokio::test(start_paused = true)]
async fn r10_a_reservation_that_is_found_is_no_grant_before_it_is_confirmed() {
    let net = taken(3);
    let locks = net.started(0, patient(&net)).await;
    let (mut request, ticket) = in_line(&net, &locks).await;
    (0..3).for_each(|node| net.at(node).is_mute = true);
    for node in 0..3 {
        hand_on(&net, node);
    }
    let shown = calls(&net, 0, script::ENTER.sha, &ticket);
    for _ in 0..260 {
        net.advance(MS).await;
        settle().await;
        assert!(poll(&mut request).is_pending());
        (0..3).for_each(|node| _ = net.at(node).serve_most(1, |_| true));
        settle().await;
        if calls(&net, 0, script::ENTER.sha, &ticket) > shown {
            break;
        }
    }
    assert!(calls(&net, 0, script::ENTER.sha, &ticket) > shown, "not shown again");
    assert_eq!(calls(&net, 0, script::EXTEND.sha, &ticket), 0);
    assert!(poll(&mut request).is_pending(), "granted by a reservation");
    net.run(MS).await;
    let Poll::Ready(Ok(guard)) = poll(&mut request) else { panic!("not granted") };
    assert!(guard.is_valid() && calls(&net, 0, script::EXTEND.sha, &ticket) == 1);
}

/// From when it was sent: the node lengthens the key some time after.
#[tokio::test(start_paused = true)]
async fn r10_validity_counts_from_when_the_confirmation_was_sent() {
    let net = taken(3);
    let locks = net.started(0, patient(&net)).await;
    let (mut request, _) = in_line(&net, &locks).await;
    net.run(30 * MS).await;
    for node in 0..3 {
        hand_on(&net, node);
    }
    settle().await;
    net.advance(40 * MS).await;
    net.serve();
    settle().await;
    let Poll::Ready(Ok(guard)) = poll(&mut request) else { panic!("not granted") };
    // The ttl, less the drift of one per cent and 2 ms, less the 40 ms.
    let remaining = guard.remaining();
    assert!(remaining <= 948 * MS, "{remaining:?}: from when it was answered");
    assert!(remaining > 940 * MS, "{remaining:?}: from before it was sent");
}

#[tokio::test(start_paused = true)]
async fn r10_a_confirmation_in_another_epoch_does_not_count() {
    let net = taken(3);
    let locks = net.started(0, patient(&net)).await;
    let (mut request, ticket) = in_line(&net, &locks).await;
    for node in 0..3 {
        hand_on(&net, node);
    }
    settle().await;
    for node in 0..2 {
        // Whoever greets the node now begins another.
        net.at(node).command(&["DEL", script::EPOCH_KEY, script::STATE_KEY]);
    }
    for _ in 0..20 {
        net.run(MS).await;
        match poll(&mut request) {
            Poll::Pending => {}
            // Two nodes have to wait longer than whoever asks.
            Poll::Ready(Err(error)) => {
                assert!(matches!(error, AcquireError::Quarantined { .. }), "{error}");
                break;
            }
            Poll::Ready(Ok(guard)) => panic!("granted by one node of the epoch known: {guard:?}"),
        }
    }
    assert_eq!(calls(&net, 0, script::EXTEND.sha, &ticket), 1);
}

/// A node that was restarted may have forgotten to whom it gave the lock, whatever it says now.
#[tokio::test(start_paused = true)]
async fn r10_a_confirmation_of_a_quarantined_node_does_not_count() {
    let net = taken(3);
    let locks = net.started(0, patient(&net)).await;
    let (mut request, ticket) = in_line(&net, &locks).await;
    (0..2).for_each(|node| net.at(node).restart(true));
    net.run(10 * MS).await;
    assert!(poll(&mut request).is_pending());
    use NodeState::{Quarantined, Up};
    assert_eq!(locks.node_states(), [Quarantined, Quarantined, Up]);
    for node in 0..3 {
        hand_on(&net, node);
    }
    net.run(2 * MS).await;
    assert!(poll(&mut request).is_pending(), "granted by nodes that may not vote");
    assert_eq!(calls(&net, 0, script::EXTEND.sha, &ticket), 1);
    // And what was reserved is given back.
    assert_eq!(net.holders("r"), 0);
}

#[tokio::test(start_paused = true)]
async fn r10_a_lock_is_not_handed_on_while_it_is_held() {
    let net = Net::new(3);
    let holder = net.started(0, patient(&net)).await;
    let next = net.started(1, patient(&net)).await;
    let mut first = asked(holder.acquire("r").ttl(TTL));
    net.run(MS).await;
    let Poll::Ready(Ok(guard)) = poll(&mut first) else { panic!("not granted") };
    let (mut request, _) = in_line(&net, &next).await;
    for _ in 0..400 {
        net.run_by(5 * MS, 5 * MS).await;
        assert!(poll(&mut request).is_pending() && guard.is_valid());
    }
    let token = guard.lease().op().token;
    let leaves = |node| {
        let station = net.at(node);
        let leave =
            |command: &&Vec<Vec<u8>>| command[1..].first().is_some_and(|sha| sha == LEAVE_SHA);
        station.executed.iter().filter(leave).count()
    };
    assert_eq!([0, 1, 2].map(leaves), [0; 3]);
    drop(guard);
    net.run(2 * MS).await;
    let Poll::Ready(Ok(guard)) = poll(&mut request) else { panic!("not handed on") };
    assert!(guard.is_valid());
    let own =
        |node| calls(&net, node, script::LEAVE.sha, std::str::from_utf8(token.as_bytes()).unwrap());
    assert_eq!([0, 1, 2].map(own), [1; 3]);
}

const LEAVE_SHA: &[u8] = script::LEAVE.sha.as_bytes();

/// Reserved in the moment in which it is given up: nobody confirms it, and it goes on.
#[tokio::test(start_paused = true)]
async fn r11_what_is_reserved_for_a_ticket_that_was_given_up_is_only_released() {
    let net = taken(3);
    let first = net.started(0, patient(&net)).await;
    let second = net.started(1, patient(&net)).await;
    let (request, ticket) = in_line(&net, &first).await;
    let (mut next, _) = in_line(&net, &second).await;
    drop(request);
    for node in 0..3 {
        hand_on(&net, node);
    }
    settle().await;
    for _ in 0..3 {
        net.run(MS).await;
    }
    for node in 0..3 {
        assert_eq!(calls(&net, node, script::EXTEND.sha, &ticket), 0, "node {node}");
        assert_eq!(calls(&net, node, script::LEAVE.sha, &ticket), 1, "node {node}");
    }
    let Poll::Ready(Ok(guard)) = poll(&mut next) else { panic!("not handed on") };
    drop(guard);
    net.run(2 * MS).await;
    assert_eq!(net.keys(), 0);
}

/// A ticket on its way when it is given up: its release is behind it, whatever it finds.
#[tokio::test(start_paused = true)]
async fn r11_a_ticket_that_was_given_up_unseen_leaves_nothing() {
    for is_free in [true, false] {
        let net = taken(3);
        let locks = net.started(0, patient(&net)).await;
        let mut request = asked(locks.acquire("r"));
        net.serve();
        settle().await;
        assert!(poll(&mut request).is_pending());
        settle().await;
        for node in (0..3).filter(|_| is_free) {
            net.at(node).command(&["DEL", "r"]);
        }
        drop(request);
        net.run(5 * MS).await;
        for node in 0..3 {
            assert_eq!(tokens(&net, node, script::ENTER.sha, 8).len(), 1);
            assert!(line(&net, node).is_empty(), "{:?}", line(&net, node));
        }
        assert_eq!(net.holders("r"), if is_free { 0 } else { 0b111 });
    }
}

/// A ticket that is given up, for others who miss this node, gives way to another: its number is
/// the same, and its token is no other's.
#[tokio::test(start_paused = true)]
async fn r11_every_ticket_has_a_token_of_its_own() {
    let net = taken(3);
    let locks = net.started(0, patient(&net)).await;
    let (mut request, first) = in_line(&net, &locks).await;
    hand_on(&net, 0);
    for _ in 0..40 {
        net.run(MS).await;
        assert!(poll(&mut request).is_pending());
    }
    let rounds = tokens(&net, 1, "r", 2);
    let mut tickets = tokens(&net, 1, script::ENTER.sha, 8);
    tickets.dedup();
    let distinct: HashSet<_> = rounds.iter().chain(&tickets).collect();
    assert!(rounds.len() == 1 && tickets.len() > 1, "{rounds:?} {tickets:?}");
    assert!(tickets[0] == first && distinct.len() == 1 + tickets.len(), "{rounds:?} {tickets:?}");
    let numbers = tokens(&net, 1, script::ENTER.sha, 7);
    assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
    // Those before, which may be owed a release, are not in line any more.
    assert_eq!(line(&net, 1).first(), tickets.last());
}

/// Word `at` of every command about `what` that a node executed.
fn tokens(net: &Net, node: usize, what: &str, at: usize) -> Vec<String> {
    let station = net.at(node);
    let is_it = |command: &&Vec<Vec<u8>>| {
        matches!(command[0].as_slice(), b"SET" | b"EVALSHA") && command[1] == what.as_bytes()
    };
    let commands = station.executed.iter().filter(is_it);
    commands.map(|command| String::from_utf8(command[at].clone()).unwrap()).collect()
}

/// A server tells a connection nothing of what that connection did: whoever waits for the readers
/// of its own process is told by the process, in line or not.
#[tokio::test(start_paused = true)]
async fn a_writer_is_told_of_the_readers_of_its_own_process() {
    for waiting in [Waiting::Queue, Waiting::Race] {
        let net = Net::new(3);
        let locks = net.started(0, patient(&net).waiting(waiting)).await;
        let readers = [0, 1].map(|_| asked(locks.acquire("r").mode(Mode::Shared).ttl(TTL)));
        let [one, two] = readers;
        let (one, two) = (granted(&net, one).await, granted(&net, two).await);
        let mut writer = asked(locks.acquire("r").ttl(TTL));
        net.run(10 * MS).await;
        assert!(poll(&mut writer).is_pending());
        drop(one);
        net.run(10 * MS).await;
        assert!(poll(&mut writer).is_pending(), "granted beside a reader");
        drop(two);
        // Long before it would have looked by itself.
        let mut is_told = false;
        for _ in 0..10 {
            net.run(MS).await;
            is_told = is_told || poll(&mut writer).is_ready();
        }
        assert!(is_told, "{waiting:?}: not told");
    }
}

/// The missing vote comes between the caller's look at the votes and its giving way: by another
/// thread, while this one reads the clock.
#[tokio::test(start_paused = true)]
async fn r11_a_ticket_that_wins_as_it_gives_way_is_kept() {
    let net = taken(3);
    let locks = net.started(0, patient(&net)).await;
    let (mut request, ticket) = in_line(&net, &locks).await;
    hand_on(&net, 0);
    net.run(MS).await;
    assert!(poll(&mut request).is_pending(), "granted by one node of three");
    net.advance(90 * MS).await;
    let engine = locks.engine();
    let (op, now) = (engine.fleet.hub.ticket_for("r").unwrap(), engine.clock.now());
    assert_eq!(op.acquire_tally().count(Vote::Granted), 1);
    let votes = Arc::clone(&op);
    at_next_reading(move || {
        votes.raise_bound(1, now, TTL, 0);
        assert_eq!(votes.vote(1, Vote::Granted, now), Some(Decision::Won));
    });
    let Poll::Ready(Ok(guard)) = poll(&mut request) else { panic!("given up, and forgotten") };
    assert!(guard.is_valid() && guard.token().as_bytes() == ticket.as_bytes());
    drop(guard);
    net.run(MS).await;
    assert_eq!(net.holders("r") & 1, 0, "kept for nobody");
}
