//! The tally's rule, explored exhaustively.

use super::*;

/// Every order of every combination of votes for N = 1..=4, and for larger N every
/// combination with the votes in node order and reversed: the decision falls at exactly the
/// vote that makes it certain, once, and matches the plain count.
fn explore(tally: Tally, left: &mut Vec<usize>, granted: usize, negative: usize) -> u64 {
    let (n, q) = (tally.nodes(), tally.quorum());
    let mut states = 1;
    for at in 0..left.len() {
        let node = left.remove(at);
        for vote in [Vote::Granted, Vote::Denied, Vote::Unknown, Vote::NotSent] {
            let won_before = granted >= q;
            let lost_before = !won_before && negative > n - q;
            let (g, m) = if vote == Vote::Granted {
                (granted + 1, negative)
            } else {
                (granted, negative + 1)
            };
            let (next, decision) = tally.apply(node, vote, Rule::Grants).unwrap();
            let expected = match (won_before, lost_before, vote == Vote::Granted) {
                (true, _, true) => Decision::Kept,
                (_, true, true) => Decision::Owed,
                (true, _, false) | (_, true, false) => Decision::Counted,
                _ if g >= q => Decision::Won,
                _ if m > n - q => Decision::Lost,
                _ => Decision::Counted,
            };
            assert_eq!(decision, expected, "{tally:?} + {node} {vote:?}");
            assert_eq!(next.vote(node), Some(vote));
            assert_eq!(next.count(Vote::Granted), g);
            assert_eq!(
                next.apply(node, Vote::Granted, Rule::Grants).is_some(),
                vote == Vote::Unknown
            );
            states += explore(next, left, g, m);
        }
        left.insert(at, node);
    }
    states
}

#[test]
fn i1_every_order_of_votes_decides_once_and_as_counted() {
    let mut states = 0;
    for nodes in 1..=5 {
        for quorum in nodes / 2 + 1..=nodes {
            states += explore(Tally::new(nodes, quorum, 0), &mut (0..nodes).collect(), 0, 0);
        }
    }
    assert!(states > 400_000, "explored only {states}");
}

/// N = 6 and 7 over all vote combinations, in node order, reversed and rotated.
#[test]
fn i1_larger_fleets_decide_as_counted() {
    let votes = [Vote::Granted, Vote::Denied, Vote::Unknown];
    for nodes in [6usize, 7] {
        for quorum in nodes / 2 + 1..=nodes {
            for mut code in 0..3usize.pow(u32::try_from(nodes).unwrap()) {
                let mut ballot = Vec::new();
                for _ in 0..nodes {
                    ballot.push(votes[code % 3]);
                    code /= 3;
                }
                for shift in 0..nodes {
                    check_order(nodes, quorum, &ballot, |i| (i + shift) % nodes);
                    check_order(nodes, quorum, &ballot, |i| (nodes - 1 + shift - i) % nodes);
                }
            }
        }
    }
}

fn check_order(nodes: usize, quorum: usize, ballot: &[Vote], order: impl Fn(usize) -> usize) {
    let mut tally = Tally::new(nodes, quorum, 3);
    let (mut granted, mut negative, mut decided) = (0, 0, 0);
    for i in 0..nodes {
        let node = order(i);
        let (next, decision) = tally.apply(node, ballot[node], Rule::Grants).unwrap();
        tally = next;
        if ballot[node] == Vote::Granted {
            granted += 1
        } else {
            negative += 1
        }
        match decision {
            Decision::Won => {
                assert_eq!(granted, quorum);
                decided += 1;
            }
            Decision::Lost => {
                assert_eq!(negative, nodes - quorum + 1);
                decided += 1;
            }
            _ => {}
        }
    }
    assert_eq!(decided, 1);
    assert_eq!(tally.round(), 3);
    assert_eq!(tally.pending(), 0);
}

#[test]
fn i2_an_unknown_answer_may_become_known_and_is_then_owed() {
    let mut tally = Tally::new(3, 2, 0);
    for node in 0..2 {
        tally = tally.apply(node, Vote::Unknown, Rule::Grants).unwrap().0;
    }
    assert_eq!(tally.phase(), Phase::Lost);
    let (tally, decision) = tally.apply(0, Vote::Granted, Rule::Grants).unwrap();
    assert_eq!(decision, Decision::Owed);
    assert!(tally.apply(0, Vote::Denied, Rule::Grants).is_none());
    assert!(tally.apply(3, Vote::Granted, Rule::Grants).is_none());
}

#[test]
fn i3_a_caller_that_leaves_loses_the_race_to_the_deciding_vote() {
    let open = Tally::new(3, 2, 0).apply(0, Vote::Granted, Rule::Grants).unwrap().0;
    let gone = open.abandon().unwrap();
    assert_eq!(gone.apply(1, Vote::Granted, Rule::Grants).unwrap().1, Decision::Owed);
    let won = open.apply(1, Vote::Granted, Rule::Grants).unwrap().0;
    assert!(won.abandon().is_none());
    assert_eq!(won.set(Vote::Granted), 0b011);
    assert_eq!(won.pending(), 0b100);
    let released = won.release().unwrap();
    assert!(released.release().is_none());
    assert_eq!(released.apply(2, Vote::Granted, Rule::Grants).unwrap().1, Decision::Owed);
}

#[test]
fn a_release_is_done_where_the_key_is_gone() {
    let tally = Tally::new(3, 2, 0).apply(0, Vote::Missing, Rule::Gone).unwrap().0;
    assert_eq!(tally.apply(1, Vote::Granted, Rule::Gone).unwrap().1, Decision::Won);
    let denied = tally.apply(1, Vote::Denied, Rule::Gone).unwrap();
    assert_eq!(denied.1, Decision::Counted);
    assert_eq!(denied.0.apply(2, Vote::Denied, Rule::Gone).unwrap().1, Decision::Lost);
}
