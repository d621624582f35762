//! What waits for a node's driver, by kind.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::op::Op;
use crate::engine::query::Query;

/// A release waiting to be sent, until its op says that nothing is owed any more.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) op: Arc<Op>,
    /// A native release said "not yours" of a lock that looked held: ask the script why.
    pub(crate) ask: bool,
    /// Its SET went out on an earlier connection, of which the server may still have bytes.
    pub(crate) unsure: bool,
}

impl Owed {
    pub(crate) const fn new(op: Arc<Op>) -> Self {
        Self { op, ask: false, unsure: false }
    }
}

/// An extension waiting to be sent.
#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) op: Arc<Op>,
    pub(crate) round: u8,
    /// What to lengthen it to; 0 asks only whether it is held.
    pub(crate) ttl_ms: u64,
    /// Instead of lengthening it: raise its fencing counter to this.
    pub(crate) raise: Option<u64>,
}

/// A node that does not hold a held lease's key is to hold it too.
#[derive(Debug)]
pub(crate) struct TopUp {
    pub(crate) op: Arc<Op>,
    pub(crate) ttl_ms: u64,
}

/// Commands by lane. Releases and extensions are the priority lane: they leave first. What every
/// lock needs stands first.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Lanes {
    pub(crate) acquires: VecDeque<Arc<Op>>,
    pub(crate) releases: VecDeque<Owed>,
    pub(crate) extensions: VecDeque<Extension>,
    pub(crate) queries: VecDeque<Arc<Query>>,
    pub(crate) top_ups: VecDeque<TopUp>,
    pub(crate) watches: VecDeque<Arc<Op>>,
    /// Locks that are reserved for us.
    pub(crate) confirms: VecDeque<Arc<Op>>,
    /// Tickets to be shown.
    pub(crate) enters: VecDeque<Arc<Op>>,
    /// Keys of locks that we do not hold, and somebody waits for.
    pub(crate) pokes: VecDeque<Vec<u8>>,
}

/// Confirmations that wait for one node at a time. What is beyond them is found at the next look.
const CONFIRMS_MAX: usize = 4_096;

impl Lanes {
    /// A lock is reserved for us, or has been given to us.
    pub(crate) fn confirm(&mut self, op: Arc<Op>) {
        if self.confirms.len() < CONFIRMS_MAX {
            self.confirms.push_back(op);
        }
    }

    /// Where nothing is left, the queues of every lock's commands begin at their first place again.
    /// A queue that goes round in all of its room, which the largest batch of all times has made,
    /// stays in no cache.
    pub(crate) fn rewind(&mut self) {
        if self.is_empty() {
            self.acquires.clear();
            self.releases.clear();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.releases.len()
            + self.extensions.len()
            + self.queries.len()
            + self.top_ups.len()
            + self.watches.len()
            + self.confirms.len()
            + self.enters.len()
            + self.pokes.len()
            + self.acquires.len()
    }
}
