//! A lock that one process hands to another through the nodes: rules R10, R11 and R12.
//!
//! Property: of the old holder A, its successor B and another attempt Y no two are valid at once.
//!
//! Protocol. A holds the lock from the start. B has a ticket, which it shows to nodes by `enter` at
//! any time: a free key it gets in full, as by `SET NX`, else it is queued. A's guard ends at any
//! time; then `leave` goes to every node: where the key is A's or free it passes to the queue's
//! head for a short reservation, or is deleted if nobody is queued. A free key passes to the head,
//! too, when anybody else enters or leaves. A node tells B of its reservation, also when B enters
//! again, and B sends that node a confirm: an extend that compares owner and epoch. The answer to a
//! confirm, or to an enter that got the key, is a vote, in a ledger that was empty, for what is
//! left of the ttl since the command was sent; with q votes B holds. B may give up before that, and
//! then leaves as A does. Y is one plain attempt.
//! R10': nodes that give the lock for the whole ttl instead of a reservation say so to B. Their
//! word is a vote, for what is left of the ttl since it was said; B hears it at any time after that
//! or never, in front of all that the node says later, and not on another connection.
//! The network keeps no order: each frame runs at any time after it was sent, or never, and its
//! answer comes at any time after that, or never. (The engine keeps the order of a connection, but
//! what a lost connection owed is sent again on the next.) What a node tells comes at once or
//! never. An enter that runs late counts for less, so it runs when it is sent; also in any phase.
//! Fault. FLUSHALL on live connections: queues go with the keys. A restart is that, and some lost
//! answers.
//!
//! Bounds: N = 3, q = 2, ttl = 2 ticks, a reservation 1 tick, D = 2, one fault; and one node alone
//! with four (why one node tells: see `epoch`). Any number of steps fit into a tick. B and Y ask
//! two nodes each, so that they share one; with a fault so does A, which shares one with either.
//! As in `lease`, a vote of Y is written, run and heard at one instant, or counts when the
//! quarantine ends.
//! Left out: renewals and R6 (see `lease`: here a hold ends with its validity); further tickets (a
//! queue in which B is not the head is one that it has not entered); the end of B's hold (that is
//! A's part, again); clock rates; fencing tokens.

mod rules;
mod steps;

const TTL: u8 = 2;
const RESERVATION: u8 = 1;

/// Whether `leave` compares the key's value with the token of who leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    InOneScript,
    /// It reads and compares, and later pops and sets.
    ReadFirst,
    NotOfHolder,
    NotOfWaiter,
}

/// What B takes for a node's vote.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Vote {
    /// The answer to its command, from the time of its sending.
    Answer,
    /// The same, from the time of the answer.
    AtAnswer,
    /// That a node told it of the key.
    Notification,
}

/// What a node passes the lock to B with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// A reservation, which B confirms.
    Reserves,
    /// The whole ttl; its word counts from when it was said (R10').
    Gives,
    /// The same, but its word counts from when B hears it.
    GivesAtHearing,
    /// A reservation, but its word counts for the whole ttl.
    GivesTooLittle,
}

/// The rules, each of which can be broken.
#[derive(Clone, Copy)]
struct Tickets<const N: usize> {
    compare: Compare,
    /// A's `leave` goes out only when its guard has ended.
    guard_first: bool,
    /// R12: a guard that ended does not come back.
    stays_ended: bool,
    vote: Vote,
    pass: Pass,
    /// B, entering again, confirms what it finds to be its own.
    confirms_found: bool,
    /// B's ledger is empty when the lock is passed to it; otherwise it takes over A's.
    empty_ledger: bool,
    /// A confirm compares the owner.
    confirm_owner: bool,
    /// R1: enter and confirm compare the epoch.
    script_epoch: bool,
    /// R5: the answer of a quarantined node is no vote.
    quarantine: bool,
    /// R11: B, having given up, leaves whatever it is told of.
    only_released: bool,
    /// R11: B's ticket has another token than its earlier attempts, which still owe releases.
    fresh_ticket: bool,
    /// What is left of A's share at each node; 0 where it has no vote.
    starts: [u8; N],
    faults: u8,
}

impl<const N: usize> Tickets<N> {
    const ALL: Self = Self {
        compare: Compare::InOneScript,
        guard_first: true,
        stays_ended: true,
        vote: Vote::Answer,
        pass: Pass::Reserves,
        confirms_found: true,
        empty_ledger: true,
        confirm_owner: true,
        script_epoch: true,
        quarantine: true,
        only_released: true,
        fresh_ticket: true,
        starts: [TTL; N],
        faults: 1,
    };

    /// Most counterexamples need no fault.
    const CALM: Self = Self { faults: 0, ..Self::ALL };
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Owner {
    Nobody,
    A,
    B,
    Y,
}

/// A's `leave` at one node.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Leave {
    None,
    Sent,
    /// Only where it reads first: the key was A's.
    Read,
}

/// B's command at one node.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Ask {
    None,
    /// Sent, and not run yet.
    Confirm,
    /// Run, and the key is B's; the answer is under way. (Another answer says nothing.)
    Mine,
}

/// Y's vote at one node.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Job {
    Idle,
    /// Granted by a node in quarantine: counts as soon as that is over.
    Granted,
    Counted,
    No,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Phase {
    Waiting,
    Held,
    /// Held, and its validity ended.
    Lost,
    GaveUp,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Node {
    owner: Owner,
    left: u8,
    /// B's ticket is in the queue.
    queued: bool,
    /// The epoch key is missing.
    blank: bool,
    open_in: u8,
    /// Whether B and Y know the present epoch.
    known: [bool; 2],
    /// Ticks until the epoch that they know is open.
    opens: [u8; 2],
    /// What is left of A's share.
    a_share: u8,
    a_leave: Leave,
    ask: Ask,
    ask_age: u8,
    /// Ticks since the node said that it has given B the lock, where B has not heard it yet.
    word: Option<u8>,
    /// What is left of B's share.
    b_share: u8,
    /// B's `leave` is under way.
    b_leave: bool,
    job: Job,
    job_age: u8,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct State<const N: usize> {
    nodes: [Node; N],
    /// A's guard has not ended.
    armed: bool,
    /// A's `leave` was sent.
    left: bool,
    phase: Phase,
    faults: u8,
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "the fields are read by Debug, in a trace")]
enum Step {
    Tick,
    AEnds,
    ASendsLeave,
    ATakesBack,
    ALeaveReads { node: usize },
    ALeaveRuns { node: usize },
    BEnters { node: usize },
    BConfirmRuns { node: usize },
    BHears { node: usize },
    BHearsWord { node: usize },
    BGivesUp,
    BLeaveRuns { node: usize },
    OthersCome { node: usize },
    YVotes { node: usize },
    Handshake { client: usize, node: usize },
    Flush { node: usize },
}

type Out<const N: usize> = Vec<(Step, State<N>)>;

impl Node {
    /// The key is the queue's head's, or nobody's.
    fn pass(&mut self, pass: Pass) {
        (self.owner, self.left) = (Owner::Nobody, 0);
        if self.queued {
            (self.owner, self.left, self.queued) = (Owner::B, RESERVATION, false);
            if matches!(pass, Pass::Gives | Pass::GivesAtHearing) {
                self.left = TTL;
            }
            if pass != Pass::Reserves {
                self.word = Some(0);
            }
        }
    }
}

impl<const N: usize> State<N> {
    fn shares(&self, share: impl Fn(&Node) -> bool) -> bool {
        self.nodes.iter().filter(|node| share(node)).count() > N / 2
    }

    fn a_valid(&self) -> bool {
        self.armed && self.shares(|node| node.a_share > 0)
    }

    fn b_valid(&self) -> bool {
        self.phase == Phase::Held && self.shares(|node| node.b_share > 0)
    }

    fn y_valid(&self) -> bool {
        self.shares(|node| node.job == Job::Counted)
    }

    /// Which of A, B and Y cannot be valid any more.
    fn over(&self, rules: &Tickets<N>) -> (bool, bool, bool) {
        let returns = self.armed || !rules.stays_ended;
        let a_over = !returns || !self.shares(|node| node.a_share > 0);
        let gave_up = self.phase == Phase::GaveUp && rules.only_released;
        let b_over = gave_up || self.phase == Phase::Lost;
        (a_over, b_over, self.nodes.iter().any(|node| node.job == Job::No))
    }

    fn b_votes(&mut self, node: usize, share: u8) {
        let counted = &mut self.nodes[node].b_share;
        *counted = share.max(*counted);
        if self.phase != Phase::Lost && self.shares(|node| node.b_share > 0) {
            self.phase = Phase::Held;
        }
    }
}

impl<const N: usize> Tickets<N> {
    /// With three nodes B and Y ask two each, so that they share the middle one.
    fn asks(client: usize, node: usize) -> bool {
        N == 1 || node == client || node == client + 1
    }

    fn a_steps(&self, state: &State<N>, out: &mut Out<N>) {
        let mut push = |step, change: &dyn Fn(&mut State<N>)| {
            let mut next = *state;
            change(&mut next);
            out.push((step, next));
        };
        let leaves = |s: &mut State<N>| {
            s.left = true;
            s.nodes.iter_mut().for_each(|node| node.a_leave = Leave::Sent);
        };
        if state.armed {
            push(Step::AEnds, &|s| {
                s.armed = false;
                if !s.left {
                    leaves(s);
                }
            });
            if !self.guard_first && !state.left {
                push(Step::ASendsLeave, &leaves);
            }
        } else if !self.stays_ended {
            push(Step::ATakesBack, &|s| s.armed = true);
        }
    }

    fn a_leaves(&self, state: &State<N>, node: usize, out: &mut Out<N>) {
        let at = &state.nodes[node];
        if at.a_leave == Leave::None {
            return;
        }
        let mut next = *state;
        let changed = &mut next.nodes[node];
        changed.a_leave = Leave::None;
        if self.compare == Compare::ReadFirst && at.a_leave == Leave::Sent {
            if at.owner == Owner::A {
                changed.a_leave = Leave::Read;
            }
            out.push((Step::ALeaveReads { node }, next));
            return;
        }
        let blind = at.a_leave == Leave::Read || self.compare == Compare::NotOfHolder;
        if matches!(at.owner, Owner::A | Owner::Nobody) || blind {
            changed.pass(self.pass);
        }
        self.passed(Step::ALeaveRuns { node }, next, node, out);
    }

    fn b_steps(&self, state: &State<N>, node: usize, out: &mut Out<N>) {
        let at = &state.nodes[node];
        let mut push = |step, change: &dyn Fn(&mut State<N>, &mut Node)| {
            let mut next = *state;
            let mut changed = next.nodes[node];
            change(&mut next, &mut changed);
            next.nodes[node] = changed;
            out.push((step, next));
        };
        if at.ask == Ask::Confirm {
            push(Step::BConfirmRuns { node }, &|_, n| {
                let owner =
                    n.owner == Owner::B || (!self.confirm_owner && n.owner != Owner::Nobody);
                let epoch = (n.known[0] && !n.blank) || !self.script_epoch;
                (n.ask, n.ask_age) = (Ask::None, 0);
                if owner && epoch {
                    (n.ask, n.ask_age, n.left) = (Ask::Mine, at.ask_age, TTL);
                }
            });
        }
        if at.b_leave {
            push(Step::BLeaveRuns { node }, &|_, n| {
                (n.b_leave, n.queued) = (false, false);
                let own = matches!(n.owner, Owner::B | Owner::Nobody);
                if own || self.compare == Compare::NotOfWaiter {
                    n.pass(self.pass);
                }
            });
        }
        self.enter(state, node, out);
        if at.ask == Ask::Mine {
            let mut next = *state;
            self.hears(&mut next, node);
            out.push((Step::BHears { node }, next));
        }
        if let Some(age) = at.word {
            let mut next = *state;
            next.nodes[node].word = None;
            let age = if self.pass == Pass::Gives { age } else { 0 };
            self.counts(&mut next, node, TTL.saturating_sub(age));
            out.push((Step::BHearsWord { node }, next));
        }
    }

    fn enter(&self, state: &State<N>, node: usize, out: &mut Out<N>) {
        let at = &state.nodes[node];
        let step = Step::BEnters { node };
        let mut next = *state;
        let changed = &mut next.nodes[node];
        if self.script_epoch && (at.blank || !at.known[0]) {
            return;
        }
        match at.owner {
            Owner::B if self.confirms_found => self.tells(step, next, node, out),
            Owner::B => {}
            Owner::A | Owner::Y => {
                changed.queued = true;
                out.push((step, next));
            }
            Owner::Nobody => {
                (changed.owner, changed.left, changed.queued) = (Owner::B, TTL, false);
                out.push((step, next));
                if at.ask == Ask::None {
                    next.nodes[node].ask = Ask::Mine;
                    out.push((step, next));
                }
            }
        }
    }

    /// A script has passed the lock on, or deleted it.
    fn passed(&self, step: Step, state: State<N>, node: usize, out: &mut Out<N>) {
        if self.pass == Pass::Reserves {
            self.tells(step, state, node, out);
        } else {
            out.push((step, state));
        }
    }

    /// A script has run; if the key is B's then, the node tells it, and B hears or does not.
    fn tells(&self, step: Step, state: State<N>, node: usize, out: &mut Out<N>) {
        out.push((step, state));
        if state.nodes[node].owner == Owner::B {
            let mut next = state;
            self.is_told(&mut next, node);
            out.push((step, next));
        }
    }

    fn is_told(&self, state: &mut State<N>, node: usize) {
        if state.phase == Phase::GaveUp && self.only_released {
            state.nodes[node].b_leave = true;
            return;
        }
        if !self.empty_ledger {
            for at in &mut state.nodes {
                at.b_share = at.b_share.max(at.a_share);
            }
        }
        if self.vote == Vote::Notification {
            state.b_votes(node, TTL);
            return;
        }
        let at = &mut state.nodes[node];
        if at.ask == Ask::None {
            (at.ask, at.ask_age) = (Ask::Confirm, 0);
        }
    }

    fn hears(&self, state: &mut State<N>, node: usize) {
        let at = &mut state.nodes[node];
        let age = if self.vote == Vote::AtAnswer { 0 } else { at.ask_age };
        (at.ask, at.ask_age) = (Ask::None, 0);
        self.counts(state, node, TTL.saturating_sub(age));
    }

    /// The node vouches for this share of B's.
    fn counts(&self, state: &mut State<N>, node: usize, share: u8) {
        let quarantined = state.nodes[node].opens[0] > 0 && self.quarantine;
        if state.phase == Phase::GaveUp && self.only_released {
            state.nodes[node].b_leave = true;
        } else if !quarantined {
            state.b_votes(node, share);
        }
    }

    fn y_steps(&self, state: &State<N>, node: usize, out: &mut Out<N>) {
        let at = &state.nodes[node];
        if at.job != Job::Idle {
            return;
        }
        let mut next = *state;
        let changed = &mut next.nodes[node];
        changed.job = Job::No;
        if at.owner == Owner::Nobody && at.known[1] && !at.blank {
            (changed.owner, changed.left) = (Owner::Y, TTL);
            changed.job = if at.opens[1] > 0 { Job::Granted } else { Job::Counted };
        }
        out.push((Step::YVotes { node }, next));
    }

    fn node_steps(&self, state: &State<N>, node: usize, out: &mut Out<N>) {
        let at = &state.nodes[node];
        if at.queued && at.owner == Owner::Nobody {
            let mut next = *state;
            next.nodes[node].pass(self.pass);
            self.passed(Step::OthersCome { node }, next, node, out);
        }
        let busy = [at.ask != Ask::None, at.job != Job::Idle];
        for (client, is_busy) in busy.into_iter().enumerate() {
            if (at.blank || !at.known[client]) && !is_busy {
                let mut next = *state;
                let changed = &mut next.nodes[node];
                if changed.blank {
                    (changed.blank, changed.open_in) = (false, TTL);
                }
                (changed.known[client], changed.opens[client]) = (true, changed.open_in);
                if client == 0 {
                    changed.word = None;
                }
                out.push((Step::Handshake { client, node }, next));
            }
        }
        if state.faults > 0 {
            let mut next = *state;
            next.faults -= 1;
            let changed = &mut next.nodes[node];
            (changed.owner, changed.left, changed.queued) = (Owner::Nobody, 0, false);
            (changed.blank, changed.open_in, changed.known) = (true, 0, [false; 2]);
            out.push((Step::Flush { node }, next));
        }
    }
}
