//! What one step leads to: the passing of time, and everything that may happen next.

use super::{Ask, Job, Leave, Node, Out, Owner, Phase, State, Step, TTL, Tickets};
use crate::search::Model;

fn tick<const N: usize>(state: &State<N>) -> State<N> {
    let mut next = *state;
    for node in &mut next.nodes {
        node.left = node.left.saturating_sub(1);
        if node.left == 0 {
            node.owner = Owner::Nobody;
        }
        for term in node.opens.iter_mut().chain([&mut node.open_in]) {
            *term = term.saturating_sub(1);
        }
        node.a_share = node.a_share.saturating_sub(1);
        node.b_share = node.b_share.saturating_sub(1);
        if node.ask != Ask::None {
            node.ask_age = (node.ask_age + 1).min(TTL);
        }
        node.word = node.word.map(|age| (age + 1).min(TTL));
        if !matches!(node.job, Job::Idle | Job::No) {
            node.job_age += 1;
            if node.job_age == TTL {
                (node.job, node.job_age) = (Job::No, 0);
            }
            if node.job == Job::Granted && node.opens[1] == 0 {
                node.job = Job::Counted;
            }
        }
    }
    // R6: a hold ends with its validity, for good.
    if next.phase == Phase::Held && !next.b_valid() {
        next.phase = Phase::Lost;
    }
    next
}

impl<const N: usize> Model for Tickets<N> {
    type State = State<N>;
    type Step = Step;

    fn start(&self) -> State<N> {
        let nodes = self.starts.map(|share| Node {
            owner: if share > 0 { Owner::A } else { Owner::Nobody },
            left: share,
            queued: false,
            blank: false,
            open_in: 0,
            known: [true; 2],
            opens: [0; 2],
            a_share: share,
            a_leave: Leave::None,
            ask: Ask::None,
            ask_age: 0,
            word: None,
            b_share: 0,
            b_leave: !self.fresh_ticket,
            job: Job::Idle,
            job_age: 0,
        });
        State { nodes, armed: true, left: false, phase: Phase::Waiting, faults: self.faults }
    }

    fn next(&self, state: &State<N>, out: &mut Out<N>) {
        // A violation takes two.
        let (a_over, b_over, y_over) = state.over(self);
        if usize::from(a_over) + usize::from(b_over) + usize::from(y_over) >= 2 {
            return;
        }
        out.push((Step::Tick, tick(state)));
        self.a_steps(state, out);
        if state.phase == Phase::Waiting {
            let mut next = *state;
            next.phase = Phase::GaveUp;
            next.nodes.iter_mut().for_each(|node| node.b_leave = true);
            out.push((Step::BGivesUp, next));
        }
        for node in 0..N {
            if Self::asks(0, node) {
                self.b_steps(state, node, out);
            }
            if Self::asks(1, node) {
                self.y_steps(state, node, out);
            }
            self.a_leaves(state, node, out);
            self.node_steps(state, node, out);
        }
    }

    fn canonical(&self, mut state: State<N>) -> State<N> {
        // Who is over is told apart by nothing but its keys and what may still change a key.
        let (a_over, b_over, y_over) = state.over(self);
        for (index, node) in state.nodes.iter_mut().enumerate() {
            if a_over && self.empty_ledger {
                node.a_share = 0;
            }
            if b_over {
                node.b_share = 0;
                (node.ask, node.ask_age) = (Ask::None, 0);
                node.word = None;
            }
            if y_over {
                (node.job, node.job_age) = (Job::No, 0);
            }
            if b_over || !Self::asks(0, index) {
                (node.known[0], node.opens[0]) = (true, 0);
            }
            if !Self::asks(1, index) || matches!(node.job, Job::Counted | Job::No) {
                (node.known[1], node.opens[1]) = (true, 0);
            }
        }
        state
    }

    fn violation(&self, state: &State<N>) -> Option<&'static str> {
        match (state.a_valid(), state.b_valid(), state.y_valid()) {
            (true, true, _) => Some("the holder and its successor are valid at once"),
            (true, _, true) => Some("the holder and another are valid at once"),
            (_, true, true) => Some("the successor and another are valid at once"),
            _ => None,
        }
    }
}
