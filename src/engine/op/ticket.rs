//! A place in a lock's queue on the nodes.
//!
//! Everything here is a hint: losing it, or being told wrong, costs time. What makes the lock ours
//! is the votes of the op that the ticket belongs to (DESIGN R10).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::algorithm::script;
use crate::algorithm::tally::NODES_MAX;
use crate::engine::op::Op;
use crate::time::Timestamp;

#[derive(Debug)]
pub(crate) struct Ticket {
    /// Its place in line: when the caller began to wait, in microseconds of the nodes' time. The
    /// same on every node, so that they agree on who is next.
    pub(crate) number: u64,
    /// The queue's key.
    pub(crate) queue: Vec<u8>,
    /// Per node, until when the lock lives there, as far as it said.
    ends: [AtomicU64; NODES_MAX],
    look_at: AtomicU64,
}

/// Beyond a deadline in whole milliseconds, the instant at which a server finds the key expired.
const EXPIRED_BY: Duration = Duration::from_millis(2);

impl Ticket {
    pub(super) fn new(key: &[u8], number: u64) -> Self {
        let queue = [script::QUEUE_PREFIX.as_bytes(), key].concat();
        let ends = [const { AtomicU64::new(0) }; NODES_MAX];
        Self { number, queue, ends, look_at: AtomicU64::new(u64::MAX) }
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
        }
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
        if let Some(at) = ticket.expired_at(self.quorum) {
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
        let ticket = Ticket::new(b"k", 7);
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
    }
}
