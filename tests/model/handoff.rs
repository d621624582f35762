//! One lease and its guards within a process: rule R12.
//!
//! Properties: at most one guard of a lease is valid; none is valid while another client is.
//!
//! Protocol. X holds all three nodes. Its guard releases (a frame is queued for each node, leaves,
//! and is run, each at any time) or hands the lease on to a new guard and is disarmed. Y is one
//! plain attempt that is valid with two nodes.
//!
//! Bounds: N = 3, q = 2, one hand-off, one other client. No time passes: the ledger of X stays
//! valid throughout, which is the worst case. Left out: hand-offs between processes (see `ticket`),
//! a lease whose token was given away (it is never handed off), lost connections (see `order`).

use crate::search::{Model, breaks, holds};

/// The halves of R12, each of which can be broken.
#[derive(Clone, Copy)]
struct Handoffs {
    /// A hand-off disarms the old guard.
    moves: bool,
    /// A lease whose release frames are queued is not taken back.
    stays_released: bool,
}

const ALL: Handoffs = Handoffs { moves: true, stays_released: true };

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Guard {
    /// Not made yet.
    None,
    Held,
    /// Released, or disarmed by the hand-off.
    Gone,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Release {
    None,
    Queued,
    Sent,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    X,
    Nobody,
    Y,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct State {
    guards: [Guard; 2],
    /// Each node's key and X's release on its way there.
    nodes: [(Owner, Release); 3],
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "the fields are read by Debug, in a trace")]
enum Step {
    Release { guard: usize },
    HandOff,
    TakeBack,
    Leaves { node: usize },
    Runs { node: usize },
    YVotes { node: usize },
}

impl Model for Handoffs {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State { guards: [Guard::Held, Guard::None], nodes: [(Owner::X, Release::None); 3] }
    }

    fn next(&self, state: &State, out: &mut Vec<(Step, State)>) {
        let mut push = |step, change: &dyn Fn(&mut State)| {
            let mut next = *state;
            change(&mut next);
            out.push((step, next));
        };
        for guard in 0..2 {
            if state.guards[guard] == Guard::Held {
                push(Step::Release { guard }, &|s| {
                    s.guards[guard] = Guard::Gone;
                    s.nodes.iter_mut().for_each(|node| node.1 = Release::Queued);
                });
            }
        }
        if state.guards == [Guard::Held, Guard::None] {
            push(Step::HandOff, &|s| {
                s.guards[1] = Guard::Held;
                if self.moves {
                    s.guards[0] = Guard::Gone;
                }
            });
        }
        if state.guards == [Guard::Gone, Guard::None] && !self.stays_released {
            push(Step::TakeBack, &|s| {
                s.guards[1] = Guard::Held;
                // What is still queued is withdrawn; what left is not to be had back.
                for node in s.nodes.iter_mut().filter(|node| node.1 == Release::Queued) {
                    node.1 = Release::None;
                }
            });
        }
        for node in 0..3 {
            match state.nodes[node] {
                (_, Release::Queued) => {
                    push(Step::Leaves { node }, &|s| s.nodes[node].1 = Release::Sent);
                }
                (owner, Release::Sent) => push(Step::Runs { node }, &|s| {
                    let left = if owner == Owner::X { Owner::Nobody } else { owner };
                    s.nodes[node] = (left, Release::None);
                }),
                (_, Release::None) => {}
            }
            if state.nodes[node].0 == Owner::Nobody {
                push(Step::YVotes { node }, &|s| s.nodes[node].0 = Owner::Y);
            }
        }
    }

    fn canonical(&self, mut state: State) -> State {
        state.nodes.sort_unstable();
        state
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let valid = state.guards.iter().filter(|guard| **guard == Guard::Held).count();
        let y_valid = state.nodes.iter().filter(|node| node.0 == Owner::Y).count() >= 2;
        if valid > 1 {
            return Some("two guards of one lease are valid");
        }
        (valid > 0 && y_valid).then_some("a guard and another client are valid")
    }
}

#[test]
fn with_every_rule_one_guard_is_valid() {
    holds("hand-off, all rules", &ALL);
}

#[test]
fn r12_an_old_guard_that_stays_armed_is_a_second_one() {
    breaks("old guard armed", "two guards", &Handoffs { moves: false, ..ALL }, 1);
}

#[test]
fn r12_a_release_that_is_taken_back_lets_another_in() {
    let rules = Handoffs { stays_released: false, ..ALL };
    breaks("release taken back", "another client", &rules, 8);
}
