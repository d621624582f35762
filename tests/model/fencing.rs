//! Fencing tokens: protocol F1, without time and with a node that forgets its counter.
//!
//! Properties: no two attempts return one token; an attempt that starts after another has returned
//! returns a larger one.
//!
//! Protocol. A node that grants sets its counter `c := max(c + 1, p)` and answers it. An attempt
//! returns the value that q nodes answered alike; else it raises once, at the nodes whose grants
//! it heard, to one above the largest, owner-checked, and returns that after q of them agreed.
//! Any message is run at any later time and heard at any time after; a lost one is never heard.
//!
//! Two forms. Without time: proposals are any of 0..=2, keys expire at any moment, no node forgets.
//! With amnesia: time runs from 0 to 5, a proposal is the time with an error of one tick either
//! way, and one node loses its counter and keys once. It then has a new epoch, which attempts
//! begun before do not know (refused) and others know: those propose above the end of its
//! quarantine (D = 3; the floor) and count its vote after it. An answer that counts is heard at
//! once in this form.
//!
//! Bounds: N = 3, q = 2, two attempts. Left out: a second raise, counters that expire after a day
//! (amnesia too), renewals (they keep the token), exclusion itself: tokens do not rest on it.

use crate::search::{Model, breaks, holds};

const QUORUM: usize = 2;
const END: u8 = 5;
const QUARANTINE: u8 = 3;

/// How a node chooses its value, and an attempt its token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    F1,
    /// Nodes count up by one, the token is the largest value of a quorum.
    IncrAndMax,
    /// The values of F1, but the largest of a quorum instead of equal ones.
    MaxOfGrants,
    /// F1 with `c := max(c, p)`.
    NotStrict,
}

#[derive(Clone, Copy)]
struct Fencing {
    scheme: Scheme,
    /// Whether time runs and a node forgets.
    amnesia: bool,
    /// Proposals are above the end of the quarantine.
    floor: bool,
}

const F1: Fencing = Fencing { scheme: Scheme::F1, amnesia: false, floor: true };

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Vote {
    Flying,
    Refused,
    Granted(u8),
    Heard(u8),
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Raise {
    None,
    Flying,
    Refused,
    Agreed,
    Heard,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    counter: u8,
    /// 0 is nobody, else the attempt plus one.
    owner: u8,
    forgot: bool,
    votes: [Vote; 2],
    raises: [Raise; 2],
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    New,
    Open,
    Raising(u8),
    Returned(u8),
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Attempt {
    phase: Phase,
    proposal: u8,
    /// It began after the node forgot.
    knows: bool,
    /// The token that the other had returned before this one began.
    above: u8,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    attempts: [Attempt; 2],
    nodes: [Node; 3],
    now: u8,
    /// When the quarantine of the node that forgot ends; 0 is not yet.
    open_at: u8,
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "the fields are read by Debug, in a trace")]
enum Step {
    Tick,
    Begin { attempt: usize, proposal: u8 },
    Run { attempt: usize, node: usize },
    Hear { attempt: usize, node: usize },
    Raise { attempt: usize, to: u8 },
    RunRaise { attempt: usize, node: usize },
    HearRaise { attempt: usize, node: usize },
    Return { attempt: usize, token: u8 },
    Expire { node: usize },
    Forget { node: usize },
}

type Out = Vec<(Step, State)>;

impl State {
    /// Time and owners that nothing will read again are one state.
    fn settle_time(&mut self) {
        let begun = self.attempts.iter().all(|attempt| attempt.phase != Phase::New);
        let knows = self.attempts.iter().any(|attempt| attempt.knows);
        if begun && (!knows || self.now >= self.open_at) {
            self.now = END;
            self.open_at = self.open_at.min(1);
        }
        for node in &mut self.nodes {
            let read = |attempt: usize| {
                let may_raise = match self.attempts[attempt].phase {
                    Phase::Raising(_) => node.raises[attempt] == Raise::Flying,
                    Phase::Returned(_) => false,
                    _ => !matches!(node.votes[attempt], Vote::Refused | Vote::Flying),
                };
                node.votes[attempt] == Vote::Flying || (may_raise && node.owner == mark(attempt))
            };
            if !read(0) && !read(1) {
                node.owner = 0;
            }
        }
    }
}

impl Fencing {
    fn accepted(&self, counter: u8, proposal: u8) -> u8 {
        match self.scheme {
            Scheme::F1 | Scheme::MaxOfGrants => proposal.max(counter + 1),
            Scheme::IncrAndMax => counter + 1,
            Scheme::NotStrict => proposal.max(counter),
        }
    }

    fn begin(&self, state: &State, attempt: usize, out: &mut Out) {
        let proposals = match self.amnesia {
            true => state.now.saturating_sub(1)..=state.now + 1,
            false if self.scheme == Scheme::IncrAndMax => 0..=0,
            false => 0..=2,
        };
        for proposal in proposals {
            let knows = state.open_at > 0;
            let floor = if knows && self.floor { state.open_at + 1 } else { 0 };
            let proposal = proposal.max(floor);
            let mut next = *state;
            let above = match state.attempts[1 - attempt].phase {
                Phase::Returned(token) => token + 1,
                _ => 0,
            };
            next.attempts[attempt] = Attempt { phase: Phase::Open, proposal, knows, above };
            out.push((Step::Begin { attempt, proposal }, next));
        }
    }

    /// Whether this attempt may be granted by this node, and whether its grant counts now.
    fn eligible(state: &State, attempt: usize, node: usize) -> (bool, bool) {
        let forgot = state.nodes[node].forgot;
        let knows = state.attempts[attempt].knows;
        (!forgot || knows, !(forgot && knows) || state.now >= state.open_at)
    }

    fn message_steps(&self, state: &State, attempt: usize, node: usize, out: &mut Out) {
        let at = state.nodes[node];
        let mine = mark(attempt);
        let mut push = |step, change: &dyn Fn(&mut Node)| {
            let mut next = *state;
            change(&mut next.nodes[node]);
            out.push((step, next));
        };
        let (may_grant, counts) = Self::eligible(state, attempt, node);
        match at.votes[attempt] {
            Vote::Flying => push(Step::Run { attempt, node }, &|n| {
                n.votes[attempt] = Vote::Refused;
                if n.owner == 0 && may_grant {
                    n.counter = self.accepted(n.counter, state.attempts[attempt].proposal);
                    let heard = self.amnesia && counts;
                    n.owner = mine;
                    n.votes[attempt] = if heard { Vote::Heard } else { Vote::Granted }(n.counter);
                }
            }),
            Vote::Granted(value) if counts => push(Step::Hear { attempt, node }, &|n| {
                n.votes[attempt] = Vote::Heard(value);
            }),
            _ => {}
        }
        let Phase::Raising(to) = state.attempts[attempt].phase else { return };
        match at.raises[attempt] {
            Raise::Flying => push(Step::RunRaise { attempt, node }, &|n| {
                n.raises[attempt] = Raise::Refused;
                if n.owner == mine && to > n.counter {
                    n.counter = to;
                    n.raises[attempt] = if self.amnesia { Raise::Heard } else { Raise::Agreed };
                }
            }),
            Raise::Agreed => push(Step::HearRaise { attempt, node }, &|n| {
                n.raises[attempt] = Raise::Heard;
            }),
            _ => {}
        }
    }

    fn decide(&self, state: &State, attempt: usize, out: &mut Out) {
        let heard = |node: &Node| match node.votes[attempt] {
            Vote::Heard(value) => Some(value),
            _ => None,
        };
        let values = || state.nodes.iter().filter_map(heard);
        let mut next = *state;
        let token = match state.attempts[attempt].phase {
            Phase::Raising(to) => {
                let agreed = |node: &&Node| node.raises[attempt] == Raise::Heard;
                (state.nodes.iter().filter(agreed).count() >= QUORUM).then_some(to)
            }
            Phase::Open if values().count() >= QUORUM => {
                let largest = values().max().unwrap_or(0);
                let equal = values().find(|v| values().filter(|w| w == v).count() >= QUORUM);
                let by_max = matches!(self.scheme, Scheme::IncrAndMax | Scheme::MaxOfGrants);
                if !by_max && equal.is_none() {
                    let to = largest + 1;
                    next.attempts[attempt].phase = Phase::Raising(to);
                    for node in next.nodes.iter_mut().filter(|node| heard(node).is_some()) {
                        node.raises[attempt] = Raise::Flying;
                    }
                    out.push((Step::Raise { attempt, to }, next));
                    return;
                }
                if by_max { Some(largest) } else { equal }
            }
            _ => None,
        };
        if let Some(token) = token {
            next.attempts[attempt].phase = Phase::Returned(token);
            out.push((Step::Return { attempt, token }, next));
        }
    }
}

fn mark(attempt: usize) -> u8 {
    if attempt == 0 { 1 } else { 2 }
}

impl Model for Fencing {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        let attempt = Attempt { phase: Phase::New, proposal: 0, knows: false, above: 0 };
        let node = Node {
            counter: 0,
            owner: 0,
            forgot: false,
            votes: [Vote::Flying; 2],
            raises: [Raise::None; 2],
        };
        State { attempts: [attempt; 2], nodes: [node; 3], now: 0, open_at: 0 }
    }

    fn next(&self, state: &State, out: &mut Out) {
        if self.amnesia && state.now < END {
            out.push((Step::Tick, State { now: state.now + 1, ..*state }));
        }
        for attempt in 0..2 {
            match state.attempts[attempt].phase {
                Phase::New => self.begin(state, attempt, out),
                _ => {
                    for node in 0..3 {
                        self.message_steps(state, attempt, node, out);
                    }
                    self.decide(state, attempt, out);
                }
            }
        }
        for (node, at) in state.nodes.iter().enumerate() {
            if at.owner != 0 {
                let mut next = *state;
                next.nodes[node].owner = 0;
                out.push((Step::Expire { node }, next));
            }
            if self.amnesia && state.open_at == 0 {
                let mut next = *state;
                next.open_at = state.now + QUARANTINE;
                let forgetful = &mut next.nodes[node];
                (forgetful.counter, forgetful.owner, forgetful.forgot) = (0, 0, true);
                out.push((Step::Forget { node }, next));
            }
        }
    }

    fn canonical(&self, mut state: State) -> State {
        for attempt in 0..2 {
            let phase = state.attempts[attempt].phase;
            if matches!(phase, Phase::New | Phase::Open) {
                continue;
            }
            // Answers that nobody reads any more, and proposals that no node will see.
            let returned = matches!(phase, Phase::Returned(_));
            let mut flying = false;
            for node in &mut state.nodes {
                if node.votes[attempt] == Vote::Flying {
                    flying = true;
                } else {
                    node.votes[attempt] = Vote::Refused;
                }
                if returned {
                    node.raises[attempt] = Raise::None;
                }
            }
            if !flying {
                state.attempts[attempt].proposal = 0;
            }
        }
        state.settle_time();
        state.nodes.sort_unstable();
        // The two attempts are alike.
        let mut swapped = state;
        swapped.attempts.reverse();
        for node in &mut swapped.nodes {
            node.votes.reverse();
            node.raises.reverse();
            node.owner = if node.owner == 0 { 0 } else { 3 - node.owner };
        }
        swapped.nodes.sort_unstable();
        state.min(swapped)
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let tokens = state.attempts.map(|attempt| match attempt.phase {
            Phase::Returned(token) => Some(token),
            _ => None,
        });
        if tokens[0].is_some() && tokens[0] == tokens[1] {
            return Some("a token was returned twice");
        }
        let behind = (0..2).any(|at| tokens[at].is_some_and(|t| t < state.attempts[at].above));
        behind.then_some("a later attempt has a smaller token")
    }
}

#[test]
fn f1_tokens_are_unique_and_increase() {
    holds("F1", &F1);
}

#[test]
fn f1_with_a_floor_outlives_a_lost_counter() {
    holds("F1, amnesia", &Fencing { amnesia: true, ..F1 });
}

#[test]
fn f1_counting_up_and_taking_the_largest_repeats_a_token() {
    breaks("INCR and max", "returned twice", &Fencing { scheme: Scheme::IncrAndMax, ..F1 }, 14);
}

#[test]
fn f1_taking_the_largest_grant_repeats_a_token() {
    breaks("max of grants", "returned twice", &Fencing { scheme: Scheme::MaxOfGrants, ..F1 }, 14);
}

#[test]
fn f1_an_accept_that_is_not_strict_repeats_a_token() {
    breaks("not strict", "returned twice", &Fencing { scheme: Scheme::NotStrict, ..F1 }, 13);
}

#[test]
fn f1_without_a_floor_a_lost_counter_repeats_a_token() {
    breaks("no floor", "returned twice", &Fencing { amnesia: true, floor: false, ..F1 }, 12);
}
