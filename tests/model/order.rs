//! The order of frames at one node: rules R7, R8, R9, R11 and the connection fence.
//!
//! Properties: no key is left that nothing will release (an orphan); no release of an earlier
//! attempt deletes the key of a later one; no extend runs before its acquire; a grant counts only
//! if its SET ran under the epoch of the connection; no KILL hits another client's connection.
//!
//! Protocol. Frames wait in two lanes, the priority lane drained first; the driver moves one lane
//! or both to the wire and ends a write that holds a SET with the seal. The node runs the wire in
//! order, each frame at any later time, and the answer is heard at once or never, if the
//! connection is lost. The bytes of a lost connection go on running, unheard, until the node
//! notices or KILL ends them. A connection is greeted before anything of a lock is written; then
//! come the KILLs of the earlier ones, then owed releases.
//! Faults: the loss of a connection, a restart with the key kept (persistence) or lost, FLUSHALL.
//!
//! A vote that did not count, or is unknown since the connection was lost, is released though the
//! lease may live by its other nodes; a live lease may repair its key here later.
//!
//! Bounds: one node (frames to different nodes have no order), two attempts on one key, at most
//! `renewals` extends and repairs, two losses and one restart, one FLUSHALL, one expiry.
//! Left out: time; the votes of other nodes (an attempt is given up or extended whatever this node
//! said); a write of part of a lane; proxies that pool connections; when an owed release may be
//! forgotten because the key must have expired.

mod queue;
mod rules;

use queue::{Frame, Queue};

use crate::search::Model;

/// The rules, each of which can be broken.
#[derive(Clone, Copy)]
struct Order {
    /// R7: a release withdraws the unsent frames of its token.
    withdraws: bool,
    /// R8: nothing is queued for a token after its release.
    silent_after_release: bool,
    /// R8: an extend goes behind a queued acquire.
    extend_follows: bool,
    /// R9: the seal is behind the SETs of both lanes.
    seal_last: bool,
    /// R9: nothing is written before the greeting was answered.
    handshake_first: bool,
    /// R11: each attempt has a token of its own.
    fresh_tokens: bool,
    /// The fence: earlier connections are killed at all ...
    kills: bool,
    /// ... before owed releases ...
    kill_first: bool,
    /// ... only if the run id is that of the earlier connection ...
    kill_gated: bool,
    /// ... every one whose KILL was not answered, not only the last.
    kills_all: bool,
    /// Releases stay owed through a restart.
    owed_through_restart: bool,
    /// Whether an orphan is a violation.
    minds_orphans: bool,
    renewals: u8,
    restarts: u8,
    flushes: u8,
    expiries: u8,
}

const ALL: Order = Order {
    withdraws: true,
    silent_after_release: true,
    extend_follows: true,
    seal_last: true,
    handshake_first: true,
    fresh_tokens: true,
    kills: true,
    kill_first: true,
    kill_gated: true,
    kills_all: true,
    owed_through_restart: true,
    minds_orphans: true,
    renewals: 2,
    restarts: 1,
    flushes: 1,
    expiries: 0,
};

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Phase {
    New,
    /// Queued or sent; this node's vote is not in.
    Open,
    /// The vote counted.
    Held,
    /// Given up after the SET was sent: a grant will be released when it is heard of.
    Abandoned,
    /// A release is queued, sent or owed.
    Releasing,
    /// No release is outstanding, nor thought to be needed.
    Done,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Token {
    phase: Phase,
    /// Granted; the seal is to come.
    staged: bool,
    /// A release goes out on the next connection.
    owed: bool,
    /// The lease is held by its other nodes, or may be, until the user ends it.
    live: bool,
    /// The SET ran under another epoch than the connection's.
    uncovered: bool,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Link {
    Down,
    Up,
    Greeted,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct State {
    tokens: [Token; 2],
    normal: Queue,
    priority: Queue,
    wire: Queue,
    /// What lost connections left in the network.
    old: [Queue; 2],
    /// Lost connections whose KILL was not answered.
    unfenced: [bool; 2],
    /// Lost connections of an earlier process: their ids may be another client's now.
    stale: [bool; 2],
    link: Link,
    /// Connections lost so far.
    lost: u8,
    restarted: bool,
    /// What the key holds; 0 is nothing.
    owner: u8,
    /// The node still has the epoch that the connection knows.
    same_epoch: bool,
    restarts: u8,
    flushes: u8,
    expiries: u8,
    renewals: u8,
    wrong: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "the fields are read by Debug, in a trace")]
enum Step {
    Acquire(u8),
    GiveUp(u8),
    Extend(u8),
    Repair(u8),
    Release(u8),
    WriteBoth,
    WritePriority,
    Run(Frame),
    RunOld(Frame),
    OldEnds(usize),
    Loss,
    Restart { key_kept: bool },
    Connect,
    Greet,
    Flush,
    Expire,
}

type Out = Vec<(Step, State)>;

impl State {
    fn token(&mut self, token: u8) -> &mut Token {
        &mut self.tokens[usize::from(token)]
    }

    fn queued(&self, frame: Frame) -> bool {
        self.normal.has(frame) || self.priority.has(frame)
    }

    fn withdraw(&mut self, token: u8) {
        let gone = |frame| frame == Frame::Set(token) || frame == Frame::Extend(token);
        (self.normal, self.priority) = (self.normal.without(gone), self.priority.without(gone));
    }

    /// Queues the release, or owes it while there is no connection to queue it on.
    fn release(&mut self, token: u8) {
        self.token(token).phase = Phase::Releasing;
        self.token(token).staged = false;
        if self.link == Link::Greeted {
            self.priority.push(Frame::Release(token));
        } else {
            self.token(token).owed = true;
        }
    }

    /// The node runs a frame; `heard` is whether its answer reaches us.
    fn run(&mut self, rules: &Order, frame: Frame, heard: bool) {
        match frame {
            Frame::Set(token) | Frame::Unsealed(token) => {
                let granted = self.owner == 0;
                if granted {
                    self.owner = rules.value(token);
                    self.token(token).uncovered = !self.same_epoch;
                }
                if heard {
                    self.hear_set(token, granted, frame == Frame::Set(token));
                }
            }
            Frame::Extend(token) => {
                let to_come = self.wire.has(Frame::Set(token)) || self.queued(Frame::Set(token));
                if heard && to_come && self.token(token).phase == Phase::Open {
                    self.wrong = Some("an extend ran before its acquire");
                }
            }
            Frame::Release(token) => {
                if self.owner == rules.value(token) {
                    self.owner = 0;
                    let holds = |other| {
                        let is_same = rules.value(other) == rules.value(token);
                        is_same && self.tokens[usize::from(other)].phase == Phase::Held
                    };
                    if holds(0) || holds(1) {
                        self.wrong = Some("an earlier release deleted the key of a holder");
                    }
                }
                let more = self.queued(frame) || self.wire.has(frame);
                if heard && !more && self.token(token).phase == Phase::Releasing {
                    self.token(token).phase = Phase::Done;
                }
            }
            Frame::Seal => {
                for token in 0..2 {
                    if heard && self.token(token).staged {
                        self.token(token).staged = false;
                        self.count(token, self.same_epoch);
                    }
                }
            }
            Frame::Kill(link) => {
                if self.stale[usize::from(link)] {
                    self.wrong = Some("the connection of another client was killed");
                }
                self.old[usize::from(link)] = Queue::default();
                self.unfenced[usize::from(link)] &= !heard;
            }
        }
    }

    fn hear_set(&mut self, token: u8, granted: bool, sealed: bool) {
        let at = *self.token(token);
        match at.phase {
            Phase::Open | Phase::Held if granted && sealed => self.token(token).staged = true,
            Phase::Open | Phase::Held if granted => self.count(token, true),
            Phase::Open => self.token(token).phase = Phase::Done,
            // A repair, after the release of a grant that did not count.
            Phase::Releasing | Phase::Done if at.live => {
                self.token(token).staged = granted && sealed;
            }
            Phase::Abandoned if granted => self.release(token),
            Phase::Abandoned => self.token(token).phase = Phase::Done,
            _ => {}
        }
    }

    fn count(&mut self, token: u8, eligible: bool) {
        if !eligible {
            self.withdraw(token);
            self.release(token);
            return;
        }
        if self.token(token).uncovered {
            self.wrong = Some("a grant counted that its seal does not cover");
        }
        self.token(token).phase = Phase::Held;
    }

    fn lose(&mut self, rules: &Order) {
        for token in 0..2 {
            let unsent = self.queued(Frame::Set(token));
            let at = self.token(token);
            at.staged = false;
            match at.phase {
                Phase::Open if unsent => at.phase = Phase::Done,
                Phase::Open | Phase::Abandoned | Phase::Releasing => {
                    (at.phase, at.owed) = (Phase::Releasing, true);
                }
                Phase::New | Phase::Held | Phase::Done => {}
            }
        }
        let link = usize::from(self.lost);
        if !rules.kills_all {
            self.unfenced = [false; 2];
        }
        // The id is in the answer to the greeting: without it there is nothing to kill by.
        self.unfenced[link] = self.link == Link::Greeted;
        self.old[link] = self.wire;
        (self.normal, self.priority, self.wire) = Default::default();
        self.link = Link::Down;
        self.lost += 1;
    }

    fn greet(&mut self, rules: &Order) {
        self.link = Link::Greeted;
        self.same_epoch = true;
        let mut kills = Queue::default();
        for link in 0..2 {
            let at = usize::from(link);
            if self.unfenced[at] && self.restarted && rules.kill_gated {
                self.unfenced[at] = false;
            }
            if self.unfenced[at] && rules.kills {
                kills.push(Frame::Kill(link));
            }
        }
        if rules.kill_first {
            kills.frames().for_each(|frame| self.wire.push(frame));
        }
        for token in 0..2 {
            if std::mem::take(&mut self.token(token).owed) {
                if self.restarted && !rules.owed_through_restart {
                    self.token(token).phase = Phase::Done;
                } else {
                    self.wire.push(Frame::Release(token));
                }
            }
        }
        if !rules.kill_first {
            kills.frames().for_each(|frame| self.wire.push(frame));
        }
        self.restarted = false;
    }

    fn write(&mut self, rules: &Order, both: bool) {
        let normal = if both { std::mem::take(&mut self.normal) } else { Queue::default() };
        let priority = std::mem::take(&mut self.priority);
        let has_set = |queue: Queue| queue.frames().any(|frame| matches!(frame, Frame::Set(_)));
        let behind = !rules.seal_last && has_set(priority);
        if !behind {
            priority.frames().for_each(|frame| self.wire.push(frame));
        }
        normal.frames().for_each(|frame| self.wire.push(frame));
        if has_set(normal) || (has_set(priority) && !behind) {
            self.wire.push(Frame::Seal);
        }
        for frame in priority.frames().filter(|_| behind) {
            self.wire.push(match frame {
                Frame::Set(token) => Frame::Unsealed(token),
                frame => frame,
            });
        }
    }
}

impl Order {
    /// What the key holds for an attempt.
    fn value(&self, token: u8) -> u8 {
        if self.fresh_tokens { token + 1 } else { 1 }
    }

    fn user_steps(&self, state: &State, token: u8, out: &mut Out) {
        let mut push = |step, change: &dyn Fn(&mut State)| {
            let mut next = *state;
            change(&mut next);
            out.push((step, next));
        };
        let at = state.tokens[usize::from(token)];
        let ready =
            state.link == Link::Greeted || (!self.handshake_first && state.link == Link::Up);
        let in_use = state.tokens[0].live || state.tokens[0].phase == Phase::New;
        if ready && at.phase == Phase::New && (token == 0 || !in_use) {
            push(Step::Acquire(token), &|s| {
                (s.token(token).phase, s.token(token).live) = (Phase::Open, true);
                s.normal.push(Frame::Set(token));
            });
        }
        let unsent = state.queued(Frame::Set(token));
        match at.phase {
            Phase::Open => push(Step::GiveUp(token), &|s| {
                s.token(token).live = false;
                if self.withdraws || !unsent {
                    s.withdraw(token);
                }
                if unsent && self.withdraws {
                    s.token(token).phase = Phase::Done;
                } else if unsent || at.staged {
                    s.release(token);
                } else {
                    s.token(token).phase = Phase::Abandoned;
                }
            }),
            Phase::Held | Phase::Releasing | Phase::Done if at.live => {
                push(Step::Release(token), &|s| {
                    s.token(token).live = false;
                    if self.withdraws {
                        s.withdraw(token);
                    }
                    s.release(token);
                })
            }
            _ => {}
        }
        let is_over = matches!(at.phase, Phase::Releasing | Phase::Done);
        let loud = !self.silent_after_release && is_over;
        if state.renewals == 0 || state.link != Link::Greeted {
            return;
        }
        if matches!(at.phase, Phase::Held | Phase::Open) {
            push(Step::Extend(token), &|s| {
                s.renewals -= 1;
                let behind = self.extend_follows && s.normal.has(Frame::Set(token));
                let lane = if behind { &mut s.normal } else { &mut s.priority };
                lane.push(Frame::Extend(token));
            });
        }
        let may_repair = at.phase == Phase::Held || (at.live && is_over);
        if (may_repair && !unsent) || loud {
            push(Step::Repair(token), &|s| {
                s.renewals -= 1;
                s.priority.push(Frame::Set(token));
            });
        }
    }

    fn network_steps(&self, state: &State, out: &mut Out) {
        let mut push = |step, change: &dyn Fn(&mut State)| {
            let mut next = *state;
            change(&mut next);
            out.push((step, next));
        };
        if let Some(frame) = state.wire.frames().next() {
            push(Step::Run(frame), &|s| {
                s.wire.pop();
                s.run(self, frame, true);
            });
        }
        for link in 0..2 {
            if let Some(frame) = state.old[link].frames().next() {
                push(Step::RunOld(frame), &|s| {
                    s.old[link].pop();
                    s.run(self, frame, false);
                });
                push(Step::OldEnds(link), &|s| s.old[link] = Queue::default());
            }
        }
        match state.link {
            Link::Down => push(Step::Connect, &|s| s.link = Link::Up),
            Link::Up => push(Step::Greet, &|s| s.greet(self)),
            Link::Greeted => {}
        }
        if state.link == Link::Greeted || (state.link == Link::Up && !self.handshake_first) {
            if state.normal != Queue::default() {
                push(Step::WriteBoth, &|s| s.write(self, true));
            }
            if state.priority != Queue::default() {
                push(Step::WritePriority, &|s| s.write(self, false));
            }
        }
        let connected = state.link != Link::Down;
        if connected && state.lost < 2 {
            push(Step::Loss, &|s| s.lose(self));
        }
        if state.restarts > 0 && (!connected || state.lost < 2) {
            for key_kept in [true, false] {
                push(Step::Restart { key_kept }, &|s| {
                    if connected {
                        s.lose(self);
                    }
                    s.old = [Queue::default(); 2];
                    s.stale = [s.lost > 0, s.lost > 1];
                    (s.restarted, s.same_epoch) = (true, false);
                    s.restarts -= 1;
                    s.owner = if key_kept { s.owner } else { 0 };
                });
            }
        }
        if state.expiries > 0 && state.owner != 0 {
            push(Step::Expire, &|s| (s.owner, s.expiries) = (0, s.expiries - 1));
        }
        if state.flushes > 0 {
            push(Step::Flush, &|s| {
                (s.owner, s.same_epoch) = (0, false);
                s.flushes -= 1;
            });
        }
    }
}

impl Model for Order {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        let token =
            Token { phase: Phase::New, staged: false, owed: false, live: false, uncovered: false };
        State {
            tokens: [token; 2],
            normal: Queue::default(),
            priority: Queue::default(),
            wire: Queue::default(),
            old: [Queue::default(); 2],
            unfenced: [false; 2],
            stale: [false; 2],
            link: if self.handshake_first { Link::Greeted } else { Link::Up },
            lost: 0,
            restarted: false,
            owner: 0,
            same_epoch: true,
            restarts: self.restarts,
            flushes: self.flushes,
            expiries: self.expiries,
            renewals: self.renewals,
            wrong: None,
        }
    }

    fn next(&self, state: &State, out: &mut Out) {
        for token in 0..2 {
            self.user_steps(state, token, out);
        }
        self.network_steps(state, out);
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let is_left = |token: u8| {
            let at = state.tokens[usize::from(token)];
            let release = Frame::Release(token);
            let sent = state.queued(release) || state.wire.has(release);
            matches!(at.phase, Phase::Done | Phase::New) && !at.owed && !at.live && !sent
        };
        let mut holders = (0..2).filter(|token| self.value(*token) == state.owner);
        let orphan = self.minds_orphans && state.owner != 0 && holders.all(is_left);
        if orphan { Some("orphan key") } else { state.wrong }
    }
}
