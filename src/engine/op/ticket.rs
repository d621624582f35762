//! How an op that waits for a lock of another process gets to it: by a place in the lock's queue
//! on the nodes, or by being told when to try.
//!
//! Losing any of it costs time. What makes the lock ours is the votes of the op that the ticket
//! belongs to (DESIGN R10).

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use crate::algorithm::script;
use crate::algorithm::tally::NODES_MAX;
use crate::engine::op::Op;
use crate::time::Timestamp;

/// What an op that waits does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It stands in line, with this number.
    Queue(u64),
    /// It asks for nothing: the nodes tell it when the lock may be free.
    Watch,
    /// It asks one node, and the others when that one has granted: of many who try in the same
    /// moment one gets through.
    Staged,
}

#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) way: Way,
    /// Its place in line: when the caller began to wait, in microseconds of the nodes' time. The
    /// same on every node, so that they agree on who is next.
    pub(crate) number: u64,
    /// The queue's key.
    pub(crate) queue: Vec<u8>,
    /// Per node, until when the lock lives there, as far as it said.
    ends: [AtomicU64; NODES_MAX],
    look_at: AtomicU64,
    is_out: AtomicBool,
    /// Nodes that have said that somebody else holds the lock there.
    taken: AtomicU16,
}

/// Beyond a deadline in whole milliseconds, the instant at which a server finds the key expired.
const EXPIRED_BY: Duration = Duration::from_millis(2);

impl Ticket {
    pub(super) fn new(key: &[u8], way: Way) -> Self {
        let (number, queue) = match way {
            Way::Queue(number) => (number, [script::QUEUE_PREFIX.as_bytes(), key].concat()),
            Way::Watch | Way::Staged => (0, Vec::new()),
        };
        let ends = [const { AtomicU64::new(0) }; NODES_MAX];
        let look_at = AtomicU64::new(u64::MAX);
        let (is_out, taken) = (AtomicBool::new(false), AtomicU16::new(0));
        Self { way, number, queue, ends, look_at, is_out, taken }
    }

    /// A staged op is about to ask the other nodes; `true` once.
    pub(crate) fn goes_out(&self) -> bool {
        !self.is_out.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_queued(&self) -> bool {
        matches!(self.way, Way::Queue(_))
    }

    /// It is shown to the nodes now, and again at `look_at` if nothing happens.
    pub(crate) fn shown(&self, look_at: Timestamp) {
        for end in &self.ends {
            end.store(0, Ordering::Relaxed);
        }
        self.look_at.store(look_at.as_nanos(), Ordering::Release);
    }

    /// When to show it again.
    pub(crate) fn look_at(&self) -> Timestamp {
        Timestamp::from_nanos(self.look_at.load(Ordering::Acquire))
    }

    fn note(&self, node: usize, end: Timestamp) {
        if let Some(slot) = self.ends.get(node) {
            slot.store(end.as_nanos(), Ordering::Relaxed);
            self.taken.fetch_or(1 << node, Ordering::Relaxed);
        }
    }

    /// Where somebody else holds the lock, as far as nodes have said, those left out that have
    /// come to be ours.
    pub(crate) fn taken(&self, ours: u16) -> u16 {
        self.taken.load(Ordering::Relaxed) & !ours
    }

    /// When enough nodes have let the lock expire for a quorum of `quorum`, if that many said.
    fn expired_at(&self, quorum: usize) -> Option<Timestamp> {
        let mut ends = [0u64; NODES_MAX];
        let mut known = 0;
        let told = self.ends.iter().map(|end| end.load(Ordering::Relaxed)).filter(|end| *end > 0);
        for (slot, end) in ends.iter_mut().zip(told) {
            *slot = end;
            known += 1;
        }
        let ends = ends.get_mut(..known)?;
        ends.sort_unstable();
        let end = ends.get(quorum.checked_sub(1)?)?;
        Some(Timestamp::from_nanos(*end).plus(EXPIRED_BY))
    }
}

impl Op {
    /// The node's lock lives until `end`: whoever waits looks when a quorum's has expired.
    pub(crate) fn note_place(&self, node: usize, end: Timestamp) {
        let Some(ticket) = &self.ticket else { return };
        ticket.note(node, end);
        if let Some(at) = ticket.expired_at(self.quorum()) {
            self.look_by(at);
        }
    }

    /// Whoever waits is to look at `at` at the latest.
    pub(crate) fn look_by(&self, at: Timestamp) {
        let Some(ticket) = &self.ticket else { return };
        if ticket.look_at.fetch_min(at.as_nanos(), Ordering::AcqRel) > at.as_nanos() {
            self.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::ZERO.plus(Duration::from_millis(ms))
    }

    #[test]
    fn the_lock_has_expired_when_it_has_at_a_quorum() {
        let ticket = Ticket::new(b"k", Way::Queue(7));
        assert_eq!(ticket.queue, b"redlatch:queue:k");
        for (node, end) in [(0, 50), (1, 10), (3, 30)] {
            assert_eq!(ticket.expired_at(3), None);
            ticket.note(node, ms(end));
        }
        assert_eq!(ticket.expired_at(3), Some(ms(52)));
        assert_eq!(ticket.expired_at(2), Some(ms(32)));
        ticket.note(4, ms(20));
        assert_eq!(ticket.expired_at(3), Some(ms(32)));
        ticket.shown(ms(100));
        assert_eq!((ticket.expired_at(1), ticket.look_at()), (None, ms(100)));
        // Shown again, it knows still who said no; what is ours by now is nobody else's.
        assert_eq!((ticket.taken(0), ticket.taken(0b1001)), (0b11011, 0b10010));
    }
}
