//! Acquires against nodes that forget: rules R1 to R4 of the node epoch, seal and quarantine.
//!
//! Property: no two attempts are valid at one instant.
//!
//! Protocol. A client writes `SET NX`, then the seal, to each node at a time of its choice; the
//! node runs the two in order, each at any later time; the answer arrives at any time after. A
//! grant counts if the seal saw the epoch that the connection knew when the write was formed and
//! the scripts in the cache, and if the quarantine is over when the answer is processed. An
//! attempt is valid while q counted nodes are younger than the ttl, by the send time of each. A
//! handshake stamps (one script: read, compare, write) and then loads the scripts; either client
//! or a third one does it at any time.
//! Faults. FLUSHALL on live connections; a restart, empty or with a data set older than the lock
//! that still has the epoch key; the same two behind a proxy that keeps the clients connected.
//!
//! Bounds: N = 3, q = 2, ttl = 2 ticks, D = 2, one fault; and, with more faults and a longer ttl,
//! one node alone: any two quorums share a node, so two attempts that are valid at once are both
//! counted there at once, and a rule that is about one node keeps or breaks that. Time is what is
//! left of each term, so a run is not bounded; any number of steps fit into a tick.
//! Two attempts are enough: a violation is between two, and others only add keys, which deny.
//! For the same reason an attempt asks just q nodes, and a SET that runs after its attempt ran out
//! is left out.
//! Left out: clock rates and steps, releases (see `order`), extensions (see `lease`), a restart
//! that brings back released keys (they deny), lost answers (an answer may stay away for good).

use crate::search::{Model, breaks, holds};

/// Where the seal stands in a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seal {
    AfterSets,
    BeforeSets,
    Absent,
}

/// The rules, each of which can be broken.
#[derive(Clone, Copy)]
struct Epochs<const N: usize> {
    seal: Seal,
    /// The seal asks for the value of the epoch; otherwise it only asks whether there is one.
    exact: bool,
    /// The seal also asks whether the scripts are in the cache.
    scripts: bool,
    quarantine: bool,
    ttl: u8,
    /// D, in ticks.
    closed_for: u8,
    fresh_ids: bool,
    /// A stamp compares the incarnation that the epoch was written by.
    incarnation: bool,
    /// A stamp reads the incarnation, compares and writes in one script.
    one_script: bool,
    /// The stamp comes before the scripts are loaded.
    stamp_first: bool,
    /// A node without an epoch counts as new and is open at once.
    missing_opens: bool,
    /// Can happen: the data set goes back to an older one on live connections (excluded by R3).
    reverts: bool,
    faults: u8,
}

impl<const N: usize> Epochs<N> {
    const ALL: Self = Self {
        seal: Seal::AfterSets,
        exact: true,
        scripts: true,
        quarantine: true,
        ttl: 2,
        closed_for: 2,
        fresh_ids: true,
        incarnation: true,
        one_script: true,
        stamp_first: true,
        missing_opens: false,
        reverts: false,
        faults: 1,
    };
}

/// How far a write is, from the client's and the node's side together.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    Idle,
    Written,
    /// Only where the seal stands before the SET.
    Sealed,
    /// The SET ran and granted; the seal is to come.
    Granted,
    /// Both ran and were fine; the answer is under way.
    Proven,
    Counted,
    No,
}

/// A client's connection to a node.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Conn {
    job: Job,
    /// Ticks since the write.
    age: u8,
    /// The epoch that the handshake answered; 0 is no handshake.
    known: u8,
    /// Ticks until that epoch is open.
    open_in: u8,
    /// Only with a stamp in two steps: 1 the present incarnation was read, 2 an earlier one.
    read: u8,
}

/// A node and the connections to it.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    /// 0 is nobody.
    owner: u8,
    left: u8,
    /// 0 is missing.
    epoch: u8,
    /// The epoch was stamped by this process.
    ours: bool,
    open_in: u8,
    scripts: bool,
    last_id: u8,
    conns: [Conn; 2],
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct State<const N: usize> {
    faults: u8,
    nodes: [Node; N],
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "the fields are read by Debug, in a trace")]
enum Step {
    Tick,
    Write { client: usize, node: usize },
    RunSet { client: usize, node: usize },
    RunSeal { client: usize, node: usize },
    Count { client: usize, node: usize },
    Handshake { client: usize, node: usize },
    ReadIncarnation { client: usize, node: usize },
    OtherStamps { node: usize },
    OtherLoads { node: usize },
    Flush { node: usize },
    Restart { node: usize, hidden: bool, old_data: bool },
    Revert { node: usize },
}

impl<const N: usize> Epochs<N> {
    fn proven(&self, node: &Node, conn: &Conn) -> bool {
        let epoch = if self.exact { node.epoch == conn.known } else { node.epoch != 0 };
        epoch && (node.scripts || !self.scripts)
    }

    /// Whether a stamp would write, given whether the incarnations are taken for equal.
    fn is_due(&self, node: &Node, same: bool) -> bool {
        node.epoch == 0 || (self.incarnation && !same)
    }

    fn stamp(&self, node: &mut Node, same: bool) {
        if self.is_due(node, same) {
            let opens = self.missing_opens && node.epoch == 0;
            node.open_in = if opens { 0 } else { self.closed_for };
            if self.fresh_ids {
                node.last_id += 1;
                node.epoch = node.last_id;
            } else {
                // A counter beside the data: it starts again with the data.
                node.epoch += 1;
            }
            node.ours = true;
        }
        node.scripts = true;
    }

    fn client_steps(&self, state: &State<N>, node: usize, client: usize, out: &mut Out<N>) {
        let at = &state.nodes[node];
        let conn = at.conns[client];
        let mut push = |step, change: &dyn Fn(&mut Node, usize)| {
            let mut next = *state;
            change(&mut next.nodes[node], client);
            out.push((step, next));
        };
        let free = at.owner == 0;
        let set = |n: &mut Node, c: usize| (n.owner, n.left) = (mark(c), self.ttl);
        let proven = self.proven(at, &conn);
        let to = move |job| move |n: &mut Node, c: usize| n.conns[c].job = job;
        match conn.job {
            Job::Idle => {
                if conn.known != 0 {
                    push(Step::Write { client, node }, &to(Job::Written));
                }
                self.handshake(at, conn, Step::Handshake { client, node }, &mut push);
                if !self.one_script && conn.read == 0 {
                    let read = |n: &mut Node, c: usize| n.conns[c].read = 1;
                    push(Step::ReadIncarnation { client, node }, &read);
                }
            }
            Job::Written if self.seal == Seal::BeforeSets => {
                let job = if proven { Job::Sealed } else { Job::No };
                push(Step::RunSeal { client, node }, &to(job));
            }
            Job::Written | Job::Sealed => {
                let sealed = conn.job == Job::Sealed || self.seal == Seal::Absent;
                let granted = if sealed { Job::Proven } else { Job::Granted };
                let job = if free { granted } else { Job::No };
                push(Step::RunSet { client, node }, &|n: &mut Node, c: usize| {
                    if free {
                        set(n, c);
                    }
                    n.conns[c].job = job;
                });
            }
            Job::Granted => {
                let job = if proven { Job::Proven } else { Job::No };
                push(Step::RunSeal { client, node }, &to(job));
            }
            Job::Proven => {
                let counts = conn.open_in == 0 || !self.quarantine;
                let job = if counts { Job::Counted } else { Job::No };
                push(Step::Count { client, node }, &to(job));
            }
            Job::Counted | Job::No => {}
        }
    }

    fn handshake(&self, at: &Node, conn: Conn, step: Step, push: &mut Push<'_>) {
        let same = match conn.read {
            _ if self.one_script => at.ours,
            0 => return,
            1 => at.ours,
            // The incarnation was read before the restart, the epoch is read after it.
            _ => !at.ours,
        };
        if conn.known != at.epoch || self.is_due(at, same) || !at.scripts {
            push(step, &|n, c| {
                self.stamp(n, same);
                let conn = &mut n.conns[c];
                (conn.known, conn.open_in, conn.read) = (n.epoch, n.open_in, 0);
            });
        }
    }

    fn tick(&self, state: &State<N>) -> State<N> {
        let mut next = *state;
        for node in &mut next.nodes {
            node.left = node.left.saturating_sub(1);
            if node.left == 0 {
                node.owner = 0;
            }
            node.open_in = node.open_in.saturating_sub(1);
            for conn in &mut node.conns {
                conn.open_in = conn.open_in.saturating_sub(1);
                if !matches!(conn.job, Job::Idle | Job::No) {
                    conn.age += 1;
                    if conn.age == self.ttl {
                        conn.job = Job::No;
                    }
                }
            }
        }
        next
    }

    fn fault_steps(&self, state: &State<N>, node: usize, out: &mut Out<N>) {
        let fault = |step, change: &dyn Fn(&mut Node)| {
            let mut next = *state;
            next.faults -= 1;
            change(&mut next.nodes[node]);
            (step, next)
        };
        out.push(fault(Step::Flush { node }, &|n| {
            (n.owner, n.left, n.epoch, n.open_in) = (0, 0, 0, 0);
        }));
        if self.reverts {
            out.push(fault(Step::Revert { node }, &|n| (n.owner, n.left) = (0, 0)));
        }
        for (hidden, old_data) in [(false, false), (false, true), (true, false), (true, true)] {
            out.push(fault(Step::Restart { node, hidden, old_data }, &|n| {
                (n.owner, n.left, n.scripts, n.ours) = (0, 0, false, false);
                if !old_data {
                    (n.epoch, n.open_in) = (0, 0);
                }
                for conn in &mut n.conns {
                    conn.read = if hidden && conn.read > 0 { 2 } else { 0 };
                    if !hidden {
                        conn.known = 0;
                        // What the node answered before it died may still arrive.
                        if matches!(conn.job, Job::Written | Job::Sealed | Job::Granted) {
                            conn.job = Job::No;
                        }
                    }
                }
            }));
        }
    }
}

/// Appends a step that changes one node, given the client.
type Push<'a> = dyn FnMut(Step, &dyn Fn(&mut Node, usize)) + 'a;
type Out<const N: usize> = Vec<(Step, State<N>)>;

fn mark(client: usize) -> u8 {
    if client == 0 { 1 } else { 2 }
}

/// With three nodes each attempt asks two, so that the quorums share the middle one.
fn asks<const N: usize>(client: usize, node: usize) -> bool {
    N == 1 || node == client || node == client + 1
}

fn jobs<const N: usize>(state: &State<N>, client: usize) -> impl Iterator<Item = Job> {
    let asked = (0..N).filter(move |node| asks::<N>(client, *node));
    asked.map(move |node| state.nodes[node].conns[client].job)
}

fn is_valid<const N: usize>(state: &State<N>, client: usize) -> bool {
    jobs(state, client).all(|job| job == Job::Counted)
}

/// An attempt that lost a vote it needs is over, and with it the search below it.
fn is_over<const N: usize>(state: &State<N>, client: usize) -> bool {
    jobs(state, client).any(|job| job == Job::No)
}

impl<const N: usize> Model for Epochs<N> {
    type State = State<N>;
    type Step = Step;

    fn start(&self) -> State<N> {
        // The fleet was opened by its operator; both clients are connected.
        let conn = Conn { job: Job::Idle, age: 0, known: 1, open_in: 0, read: 0 };
        let node = Node {
            owner: 0,
            left: 0,
            epoch: 1,
            ours: true,
            open_in: 0,
            scripts: true,
            last_id: 1,
            conns: [conn; 2],
        };
        State { faults: self.faults, nodes: [node; N] }
    }

    fn next(&self, state: &State<N>, out: &mut Out<N>) {
        if is_over(state, 0) || is_over(state, 1) {
            return;
        }
        out.push((Step::Tick, self.tick(state)));
        for node in 0..N {
            for client in (0..2).filter(|client| asks::<N>(*client, node)) {
                self.client_steps(state, node, client, out);
            }
            let at = &state.nodes[node];
            if self.is_due(at, at.ours) || !at.scripts {
                let mut next = *state;
                self.stamp(&mut next.nodes[node], at.ours);
                out.push((Step::OtherStamps { node }, next));
            }
            if !self.stamp_first && !at.scripts {
                let mut next = *state;
                next.nodes[node].scripts = true;
                out.push((Step::OtherLoads { node }, next));
            }
            if state.faults > 0 {
                self.fault_steps(state, node, out);
            }
        }
    }

    fn canonical(&self, mut state: State<N>) -> State<N> {
        // A connection that will do nothing more is told apart by nothing.
        for conn in state.nodes.iter_mut().flat_map(|node| &mut node.conns) {
            if matches!(conn.job, Job::Counted | Job::No) {
                (conn.known, conn.open_in, conn.read) = (0, 0, 0);
            }
        }
        // The two attempts are alike: the mirror image is the same state.
        let mut mirror = state;
        mirror.nodes.reverse();
        for node in &mut mirror.nodes {
            node.conns.reverse();
            node.owner = if node.owner == 0 { 0 } else { 3 - node.owner };
        }
        if mirror.nodes < state.nodes { mirror } else { state }
    }

    fn violation(&self, state: &State<N>) -> Option<&'static str> {
        (is_valid(state, 0) && is_valid(state, 1)).then_some("two attempts are valid at once")
    }
}

type One = Epochs<1>;
type Three = Epochs<3>;

#[test]
fn with_every_rule_one_node_never_counts_for_two() {
    for (ttl, faults) in [(2, 4), (3, 4), (4, 3)] {
        holds("epoch, one node", &One { ttl, closed_for: ttl, faults, ..One::ALL });
    }
}

#[test]
fn with_every_rule_no_two_attempts_are_valid_at_once() {
    holds("epoch, three nodes", &Three::ALL);
}

#[test]
fn r1_a_seal_before_the_sets_lets_two_in() {
    breaks(
        "seal before the SETs",
        "two attempts",
        &Three { seal: Seal::BeforeSets, ..Three::ALL },
        17,
    );
}

#[test]
fn r1_no_seal_lets_two_in() {
    breaks("no seal", "two attempts", &One { seal: Seal::Absent, ..One::ALL }, 7);
}

#[test]
fn r1_no_script_check_behind_a_proxy_lets_two_in() {
    breaks("no script check", "two attempts", &One { scripts: false, ..One::ALL }, 9);
}

#[test]
fn r1_counting_inside_the_quarantine_lets_two_in() {
    breaks("no quarantine", "two attempts", &One { quarantine: false, ..One::ALL }, 10);
}

#[test]
fn r2_an_epoch_id_that_comes_back_lets_two_in() {
    breaks("reused ids", "two attempts", &One { fresh_ids: false, ..One::ALL }, 10);
}

#[test]
fn r2_any_epoch_lets_two_in() {
    breaks("any epoch", "two attempts", &One { exact: false, ..One::ALL }, 10);
}

#[test]
fn r2_a_stamp_that_ignores_the_incarnation_lets_two_in() {
    breaks("no incarnation", "two attempts", &One { incarnation: false, ..One::ALL }, 10);
}

#[test]
fn r2_a_stamp_in_two_steps_lets_two_in() {
    breaks("stamp in two steps", "two attempts", &One { one_script: false, ..One::ALL }, 11);
}

#[test]
fn r2_scripts_loaded_before_the_stamp_lets_two_in() {
    breaks("load before stamp", "two attempts", &One { stamp_first: false, ..One::ALL }, 10);
}

#[test]
fn r2_a_quarantine_shorter_than_the_ttl_lets_two_in() {
    breaks("D below the ttl", "two attempts", &One { closed_for: 1, ..One::ALL }, 11);
}

#[test]
fn r3_a_revert_that_keeps_the_epoch_lets_two_in() {
    breaks("revert", "two attempts", &One { reverts: true, ..One::ALL }, 9);
}

#[test]
fn r4_a_missing_epoch_that_opens_lets_two_in() {
    breaks("missing epoch opens", "two attempts", &Three { missing_opens: true, ..Three::ALL }, 18);
}
