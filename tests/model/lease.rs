//! A lease in its ledger: rules R5 and R6, with a node that forgets meanwhile.
//!
//! Property: the hold of a lease, from its grant to the last instant at which it is valid, has no
//! instant at which another attempt is valid.
//!
//! Protocol. X writes `SET NX` to every node, holds from the q-th vote, and extends, tops up and
//! repairs as it likes; for each node it keeps `e`, the send time of the last counted answer plus
//! the ttl, and is valid until the q-th longest. Y is one plain attempt on two nodes. A node runs
//! a renewal at any time after it was sent, and its answer arrives at any time after that.
//! Fault. FLUSHALL on live connections, once.
//!
//! Bounds: N = 3, q = 2, ttl = 2 ticks, D = 2, one fault; X has at most `renewals` commands after
//! its SETs, one at a time on each node. Any number of steps fit into a tick.
//! Coarser than `epoch`, which has these apart: a SET and its seal run as one; a vote of an acquire
//! is written, run and heard at one instant (a later one only counts for less), or, if granted in
//! quarantine, counts when that ends; Y releases at one instant.
//! Left out: restarts; clock rates; the release of a grant that does not count (the key stays
//! until it expires, which is more than the engine allows; for order see `order`).

use crate::search::{Model, breaks, holds};

const TTL: u8 = 2;
const QUORUM: usize = 2;

/// The rules, each of which can be broken.
#[derive(Clone, Copy)]
struct Leases {
    /// R5: the answer of a quarantined node raises nothing.
    quarantine: bool,
    /// R5: the extend script compares the epoch.
    epoch_in_script: bool,
    /// R6: an answer after the end of validity makes the lease lost.
    late_is_lost: bool,
    /// R6: SET NX goes out only after a quorum answered "mine".
    quorum_first: bool,
    renewals: u8,
    faults: u8,
}

const ALL: Leases = Leases {
    quarantine: true,
    epoch_in_script: true,
    late_is_lost: true,
    quorum_first: true,
    renewals: 3,
    faults: 1,
};

/// X's command at one node.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Op {
    None,
    /// `SET NX` of the acquire: run and counted in one step.
    First,
    /// `SET NX` of a top-up or a repair.
    Set,
    Extend,
    /// Run, and the key is X's; the answer is under way.
    Mine {
        extend: bool,
    },
    /// Run, and it is not, or the epoch was another.
    NotMine,
}

/// Y's vote at one node.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    Idle,
    /// Granted by a node in quarantine: counts as soon as that is over.
    Granted,
    Counted,
    No,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    /// 0 nobody, 1 X, 2 Y.
    owner: u8,
    left: u8,
    /// The epoch key is missing.
    blank: bool,
    open_in: u8,
    /// Whether X and Y know the present epoch.
    known: [bool; 2],
    /// What is left of X's share.
    e: u8,
    op: Op,
    op_age: u8,
    /// X's last extension here was answered "mine".
    mine: bool,
    job: Job,
    job_age: u8,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct State {
    nodes: [Node; 3],
    held: bool,
    lost: bool,
    /// Y was valid while X held its lease but was not valid.
    between: bool,
    renewals: u8,
    faults: u8,
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "the fields are read by Debug, in a trace")]
enum Step {
    Tick,
    XGets { node: usize },
    XSends { node: usize, op: Op },
    XRuns { node: usize },
    XHears { node: usize },
    YVotes { node: usize },
    YReleases,
    Handshake { client: usize, node: usize },
    Flush { node: usize },
}

type Out = Vec<(Step, State)>;

impl State {
    fn x_valid(&self) -> bool {
        self.nodes.iter().filter(|node| node.e > 0).count() >= QUORUM
    }

    fn y_valid(&self) -> bool {
        self.nodes.iter().filter(|node| node.job == Job::Counted).count() >= QUORUM
    }

    /// Nothing below can be a violation: a client that can never be valid again is over.
    fn is_over(&self, rules: &Leases) -> bool {
        let y_over = self.nodes[1..].iter().any(|node| node.job == Job::No);
        let x_over = self.lost || (self.held && rules.late_is_lost && !self.x_valid());
        x_over || (y_over && !self.between)
    }
}

impl Leases {
    fn x_steps(&self, state: &State, node: usize, out: &mut Out) {
        let at = &state.nodes[node];
        let mut push = |step, change: &dyn Fn(&mut State, &mut Node)| {
            let mut next = *state;
            let mut changed = next.nodes[node];
            change(&mut next, &mut changed);
            next.nodes[node] = changed;
            out.push((step, next));
        };
        match at.op {
            Op::None if state.held && state.renewals > 0 => {
                push(Step::XSends { node, op: Op::Extend }, &|s, n| {
                    s.renewals -= 1;
                    (n.op, n.op_age, n.mine) = (Op::Extend, 0, false);
                });
                let mine = state.nodes.iter().filter(|node| node.mine).count() >= QUORUM;
                if (mine && state.x_valid()) || !self.quorum_first {
                    push(Step::XSends { node, op: Op::Set }, &|s, n| {
                        s.renewals -= 1;
                        (n.op, n.op_age) = (Op::Set, 0);
                    });
                }
            }
            Op::None => {}
            Op::Set => push(Step::XRuns { node }, &|_, n| {
                n.op = Op::NotMine;
                if n.owner == 0 {
                    (n.owner, n.left) = (1, TTL);
                    if n.known[0] && !n.blank {
                        n.op = Op::Mine { extend: false };
                    }
                }
            }),
            Op::Extend => push(Step::XRuns { node }, &|_, n| {
                n.op = Op::NotMine;
                let epoch = (n.known[0] && !n.blank) || !self.epoch_in_script;
                if n.owner == 1 && epoch {
                    (n.left, n.op) = (TTL, Op::Mine { extend: true });
                }
            }),
            Op::First => push(Step::XGets { node }, &|s, n| {
                let granted = n.owner == 0 && n.known[0] && !n.blank;
                if n.owner == 0 {
                    (n.owner, n.left) = (1, TTL);
                }
                n.op = if granted { Op::Mine { extend: false } } else { Op::NotMine };
                self.x_hears(s, n);
            }),
            Op::Mine { .. } | Op::NotMine => push(Step::XHears { node }, &|s, n| {
                self.x_hears(s, n);
            }),
        }
    }

    fn x_hears(&self, state: &mut State, node: &mut Node) {
        let (op, age) = (node.op, node.op_age);
        (node.op, node.op_age) = (Op::None, 0);
        if state.held && !state.x_valid() && self.late_is_lost {
            state.lost = true;
            return;
        }
        let Op::Mine { extend } = op else { return };
        let quarantined = node.known[0] && node.open_in > 0;
        if quarantined && (self.quarantine || !state.held) {
            return;
        }
        node.mine |= extend;
        node.e = node.e.max(TTL.saturating_sub(age));
        let others = state.nodes.iter().filter(|other| other.e > 0).count();
        // The own vote is not yet in `state`; a node that had one already adds nothing.
        let before = usize::from(node.e > 0);
        state.held |= others + before >= QUORUM;
    }

    fn y_steps(&self, state: &State, node: usize, out: &mut Out) {
        let at = &state.nodes[node];
        if at.job != Job::Idle {
            return;
        }
        let mut next = *state;
        let changed = &mut next.nodes[node];
        changed.job = Job::No;
        if at.owner == 0 && at.known[1] && !at.blank {
            (changed.owner, changed.left) = (2, TTL);
            changed.job = if at.open_in > 0 { Job::Granted } else { Job::Counted };
        }
        out.push((Step::YVotes { node }, next));
    }

    fn node_steps(&self, state: &State, node: usize, out: &mut Out) {
        let at = &state.nodes[node];
        let busy = [at.op != Op::None, at.job != Job::Idle];
        for (client, is_busy) in busy.into_iter().enumerate() {
            if !at.known[client] && !is_busy {
                let mut next = *state;
                let changed = &mut next.nodes[node];
                if changed.blank {
                    (changed.blank, changed.open_in) = (false, TTL);
                }
                changed.known[client] = true;
                out.push((Step::Handshake { client, node }, next));
            }
        }
        if state.faults > 0 {
            let mut next = *state;
            next.faults -= 1;
            let changed = &mut next.nodes[node];
            (changed.owner, changed.left, changed.blank) = (0, 0, true);
            (changed.open_in, changed.known) = (0, [false; 2]);
            out.push((Step::Flush { node }, next));
        }
    }
}

fn tick(state: &State) -> State {
    let mut next = *state;
    for node in &mut next.nodes {
        node.left = node.left.saturating_sub(1);
        if node.left == 0 {
            node.owner = 0;
        }
        node.open_in = node.open_in.saturating_sub(1);
        node.e = node.e.saturating_sub(1);
        if node.op != Op::None {
            node.op_age = (node.op_age + 1).min(TTL);
        }
        if !matches!(node.job, Job::Idle | Job::No) {
            node.job_age += 1;
            if node.job_age == TTL {
                (node.job, node.job_age) = (Job::No, 0);
            }
            if node.job == Job::Granted && node.open_in == 0 {
                node.job = Job::Counted;
            }
        }
    }
    next
}

impl Model for Leases {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        let node = Node {
            owner: 0,
            left: 0,
            blank: false,
            open_in: 0,
            known: [true; 2],
            e: 0,
            op: Op::First,
            op_age: 0,
            mine: false,
            job: Job::Idle,
            job_age: 0,
        };
        State {
            nodes: [node; 3],
            held: false,
            lost: false,
            between: false,
            renewals: self.renewals,
            faults: self.faults,
        }
    }

    fn next(&self, state: &State, out: &mut Out) {
        if state.is_over(self) {
            return;
        }
        out.push((Step::Tick, tick(state)));
        for node in 0..3 {
            self.x_steps(state, node, out);
            if node > 0 {
                self.y_steps(state, node, out);
            }
            self.node_steps(state, node, out);
        }
        if state.between && state.y_valid() {
            let mut next = *state;
            for node in &mut next.nodes[1..] {
                node.job = Job::No;
                node.job_age = 0;
                if node.owner == 2 {
                    (node.owner, node.left) = (0, 0);
                }
            }
            out.push((Step::YReleases, next));
        }
        for (_, next) in out {
            next.between |= next.held && !next.x_valid() && next.y_valid();
        }
    }

    fn canonical(&self, mut state: State) -> State {
        // Y asks the second and the third node: those two are alike.
        if state.nodes[2] < state.nodes[1] {
            state.nodes.swap(1, 2);
        }
        state
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let overlap = state.held && state.x_valid() && (state.y_valid() || state.between);
        overlap.then_some("a hold overlaps another")
    }
}

#[test]
fn with_every_rule_no_hold_overlaps_another() {
    holds("lease, all rules", &ALL);
}

#[test]
fn r5_a_renewal_counted_on_a_quarantined_node_lets_two_in() {
    breaks("renewal in quarantine", "overlaps", &Leases { quarantine: false, ..ALL }, 15);
}

#[test]
fn r5_an_extend_that_ignores_the_epoch_lets_two_in() {
    breaks("extend ignores the epoch", "overlaps", &Leases { epoch_in_script: false, ..ALL }, 14);
}

#[test]
fn r6_a_late_answer_that_revives_the_lease_lets_two_in() {
    let rules = Leases { late_is_lost: false, faults: 0, renewals: 2, ..ALL };
    breaks("late answer counts", "overlaps", &rules, 14);
}

/// The other half of R6 is not what keeps holds apart: an answer counts only inside the validity
/// that was there before, and then for its own node alone. It keeps a lease that lost its keys to
/// what the epoch cannot see (R3) from being renewed.
#[test]
fn r6_a_repair_before_a_quorum_answered_lets_nobody_in() {
    holds("repair first", &Leases { quorum_first: false, renewals: 2, ..ALL });
}
