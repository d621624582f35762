//! What a reply means to the operation it belongs to.
//!
//! The rules of the vote: a definite refusal says *ineligible* and owes nothing; a late answer says
//! *unknown* and stays owed until its reply or the connection's death tells more; a grant that
//! nobody wants any more is released behind itself, on the same connection. A grant counts by its
//! proof only (R1), and no answer counts while the node is quarantined (R5).

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::algorithm::tally::{Phase, Vote};
use crate::engine::connection::Fault;
use crate::engine::node::{Extension, Lanes, Node, Owed, TopUp, count};
use crate::engine::op::Op;
use crate::engine::op::ahead::{self, AHEAD};
use crate::engine::query::Query;
use crate::engine::sealed::{Proof, Sealed};
use crate::error::Lost;
use crate::resp::reply::Reply;
use crate::session::answer::{Answer, Kind, answer};
use crate::session::handshake::NativeRelease;
use crate::session::pipeline::Pipeline;
use crate::session::stamp::Stamp;
use crate::time::Timestamp;

mod ends;
pub(crate) mod grants;
mod places;
mod refusals;

pub(crate) use refusals::{RELOADS_MAX, Reload};

/// What a command in flight is for.
#[derive(Debug)]
pub(crate) enum Item {
    Acquire(Arc<Op>),
    /// A lock that a node reserved for us: its answer is a vote of the attempt.
    Confirm(Arc<Op>),
    /// A ticket that is shown.
    Enter(Arc<Op>),
    Extend(Box<Extension>),
    Query(Arc<Query>),
    Release(Owed),
    TopUp(Box<TopUp>),
    /// A held key that is watched.
    Watch(Arc<Op>),
}

/// A thousand of them are in flight to a busy node: the larger they are, the more of the cache
/// their queues take. That is why what is rarely sent is boxed.
const _: () = assert!(size_of::<Item>() == 16);

impl Item {
    /// What its reply will need of its op; see [`ahead`].
    fn for_reply(&self) -> u64 {
        match self {
            Self::Acquire(op) => op.for_vote(),
            Self::Release(owed) => owed.op.for_release(),
            _ => 0,
        }
    }
}

/// Beyond its ttl a key is owed a release for this long: a command of a dead connection may still
/// be in the server's socket buffer, and its key lives a whole ttl from when it is executed.
pub(crate) const OWED_GRACE: Duration = Duration::from_secs(60);

/// The parts of a connection, besides its FIFO, that a reply touches.
pub(crate) struct Dispatch<'a> {
    pub(crate) node: &'a Node,
    pub(crate) now: Timestamp,
    /// The epoch that the connection was greeted in.
    pub(crate) epoch: &'a [u8],
    /// The node's quarantine is over.
    pub(crate) votes_count: bool,
    pub(crate) is_fenced: bool,
    pub(crate) proof: Proof,
    pub(crate) native: &'a mut Option<NativeRelease>,
    pub(crate) lanes: &'a mut Lanes,
    pub(crate) sealed: &'a mut Sealed,
    /// When the newest command that has been answered was sent.
    pub(crate) answered: &'a mut Timestamp,
    pub(crate) stamped: &'a mut Option<(Stamp, Timestamp)>,
    pub(crate) refused: &'a mut VecDeque<Owed>,
    /// Callers to wake when the read is dealt with.
    pub(crate) calls: &'a mut Vec<Waker>,
    pub(crate) reload: &'a mut Reload,
    pub(crate) reloads_left: &'a mut u32,
    /// Items at the head of the FIFO whose ops have been read ahead.
    pub(crate) ahead: usize,
    /// How many the connection has brought.
    pub(crate) replies: &'a mut u64,
}

impl Dispatch<'_> {
    /// Hands `reply` to the command at the head of the FIFO.
    pub(crate) fn reply(
        &mut self,
        pipeline: &mut Pipeline<Item>,
        reply: &Reply<'_>,
    ) -> Result<(), Fault> {
        let Some(head) = pipeline.head() else {
            return Err(Fault(format!("{} without a command", reply.kind())));
        };
        let answer = answer(head.kind, head.items, reply)?;
        self.answered(pipeline, head.sent_at, (1, head.items));
        match answer {
            Answer::Granted if self.proof == Proof::Seal => {
                pipeline.pop(|_, item| self.sealed.hold(item, head.sent_at));
            }
            Answer::Granted => pipeline.pop(|_, item| self.granted(item, head.sent_at)),
            Answer::Life(ms) => pipeline.pop(|_, item| self.lives(item, ms)),
            Answer::Place(place) => pipeline.pop(|_, item| self.placed(item, place, head.sent_at)),
            Answer::Fenced(token) => pipeline.pop(|_, item| {
                if let Item::Acquire(op) | Item::Confirm(op) = &item {
                    op.note_fence(self.node.index, token);
                }
                self.granted(item, head.sent_at);
            }),
            Answer::Taken => pipeline.pop(|_, item| self.granted(item, head.sent_at)),
            Answer::Elsewhere(permit) => pipeline.pop(|_, item| {
                if let Item::Acquire(op) = &item {
                    op.note_free(permit);
                }
                self.vote(item, Vote::Denied);
            }),
            Answer::Epoch(id) => {
                pipeline.pop(|_, _| {});
                if self.proof == Proof::Watch {
                    return self.looked(id);
                }
                self.sealed.epoch(id == self.epoch);
            }
            Answer::Cached(is_cached) => {
                pipeline.pop(|_, _| {});
                return self.unseal(is_cached);
            }
            Answer::Stamped(stamp) => {
                pipeline.pop(|_, _| {});
                if head.kind == Kind::Stamp {
                    *self.reloads_left = RELOADS_MAX;
                }
                self.was_reloaded(head.kind);
                self.node.answered_in(self.now.since(head.sent_at));
                *self.stamped = Some((stamp, head.sent_at));
            }
            Answer::Denied => pipeline.pop(|_, item| self.vote(item, Vote::Denied)),
            Answer::Letters(letters) => {
                *self.reloads_left = RELOADS_MAX;
                pipeline.pop(|at, item| {
                    let letter = letters.get(at).copied().unwrap_or(b'm');
                    self.letter(item, letter, head.sent_at);
                });
            }
            Answer::Deleted(deleted) => pipeline.pop(|_, item| self.deleted(item, deleted)),
            Answer::Refused(error) => return self.refused(pipeline, head.kind, error),
            Answer::Done => pipeline.pop(|_, _| {}),
            Answer::Value(value) => pipeline.pop(|_, item| {
                if let Item::Watch(op) = item
                    && value != op.token.as_bytes()
                {
                    self.node.doubt(&op);
                }
            }),
            Answer::Reply(reply) => pipeline.pop(|_, item| {
                if let Item::Query(query) = item {
                    query.answer(self.node.index, reply);
                }
            }),
        }
        Ok(())
    }

    /// Commands of one write over `items` items are answered: reads their ops ahead, and counts.
    fn answered(
        &mut self,
        pipeline: &Pipeline<Item>,
        sent_at: Timestamp,
        (replies, items): (usize, usize),
    ) {
        *self.answered = sent_at;
        if self.ahead < items {
            self.ahead = ahead::read(pipeline.ahead(items.max(AHEAD)), Item::for_reply);
        }
        self.ahead = self.ahead.saturating_sub(items);
        let before = *self.replies;
        *self.replies += replies as u64;
        if before.next_multiple_of(SAMPLED) < *self.replies {
            self.sample(sent_at);
        }
    }

    /// One round trip in [`SAMPLED`] is recorded: enough for a histogram, and it costs nothing.
    fn sample(&self, sent_at: Timestamp) {
        self.node.answered_in(self.now.since(sent_at));
        let mut about = self.node.about();
        if let Some(histogram) = &mut about.round_trips {
            let span = self.now.since(sent_at).as_nanos();
            histogram.saturating_record(u64::try_from(span).unwrap_or(u64::MAX));
        }
    }

    fn vote(&mut self, item: Item, vote: Vote) {
        match item {
            Item::Acquire(op) | Item::Confirm(op) => {
                op.vote(self.node.index, vote, self.now);
                if op.ticket.is_some() {
                    op.waker.wake();
                }
            }
            Item::Enter(op) => self.no_place(&op, vote),
            Item::Extend(extension) => {
                extension.op.vote_extend(self.node.index, vote, extension.round);
            }
            Item::Release(owed) => self.released(owed, vote),
            Item::Query(query) => query.fail(self.node.index),
            Item::TopUp(_) | Item::Watch(_) => {}
        }
    }

    /// A release is answered. It comes again as long as an earlier connection's SET might.
    fn released(&mut self, owed: Owed, vote: Vote) {
        let op = &owed.op;
        if op.count_release(self.node.index, vote) {
            self.call(op);
        }
        if let Some(claim) = &op.claim {
            // The server tells a connection nothing of what it did itself (NOLOOP), and whoever of
            // this process waits for such a key waits on this connection.
            let (hub, keys) = (&self.node.fleet.hub, claim.keys.iter());
            if vote == Vote::Granted {
                hub.freed(keys, self.now);
            } else {
                hub.changed(keys, self.now, self.lanes);
            }
        }
        let was_unknown = op.acquire_tally().vote(self.node.index) == Some(Vote::Unknown);
        if !self.is_fenced && (owed.unsure || was_unknown) && op.owed_until() > self.now {
            count(&self.node.counters.releases_repeated, 1);
            self.refused.push_back(owed);
        } else if op.nodes_are_done() {
            self.node.fleet.pool.put_free(owed.op);
        }
    }

    /// The op's round is decided.
    fn call(&mut self, op: &Op) {
        self.node.fleet.rousing.call(&op.waker, self.calls);
    }

    fn letter(&mut self, item: Item, letter: u8, sent_at: Timestamp) {
        let vote = match letter {
            b'd' | b'e' | b'h' => Vote::Granted,
            b'o' | b'n' => Vote::Denied,
            _ => Vote::Missing,
        };
        let item = match item {
            Item::Release(owed) => return self.released(owed, vote),
            item => item,
        };
        if let (Item::Confirm(_), Vote::Granted) = (&item, vote) {
            self.node.answered_in(self.now.since(sent_at));
            return self.granted(item, sent_at);
        }
        if let Item::Extend(extension) = &item
            && extension.raise.is_some()
        {
            return self.vote(item, vote);
        }
        if let Item::Extend(extension) = &item {
            let (op, ttl_ms) = (&extension.op, &extension.ttl_ms);
            // DESIGN R6: an answer that comes when validity is over makes the loss final.
            if op.has_run_out(self.now) {
                op.lose(Lost::Expired);
            }
            if vote == Vote::Granted && !self.votes_count {
                return self.vote(item, Vote::Ineligible); // R5
            }
            if vote == Vote::Granted {
                let ttl = Duration::from_millis(*ttl_ms);
                op.raise_bound(self.node.index, sent_at, ttl, self.node.drift_ppm());
            } else if op.clear_bound(self.node.index) && op.extend_tally().phase() != Phase::Open {
                // Behind the decision, which counted on it: the validity may end sooner.
                self.node.doubt(op);
            }
        }
        self.vote(item, vote);
    }

    fn deleted(&mut self, item: Item, deleted: bool) {
        let Item::Release(owed) = item else { return };
        if deleted {
            self.released(owed, Vote::Granted);
        } else if self.now < owed.op.valid_until() {
            // It should have been ours: ask whether it is gone or another owner's.
            self.lanes.releases.push_front(Owed { ask: true, ..owed });
        } else {
            self.released(owed, Vote::Missing);
        }
    }
}

/// Of so many replies one tells how long it took.
const SAMPLED: u64 = 64;
