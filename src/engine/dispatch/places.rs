//! What a node says of a ticket.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::algorithm::tally::Vote;
use crate::engine::dispatch::{Dispatch, Item};
use crate::engine::op::Op;
use crate::session::answer::Place;
use crate::time::Timestamp;

impl Dispatch<'_> {
    pub(super) fn placed(&mut self, item: Item, place: Place, sent_at: Timestamp) {
        let Item::Enter(op) = item else { return };
        self.node.answered_in(self.now.since(sent_at));
        match place {
            // A fenced op's token is counted by the confirmation.
            Place::Taken if op.fence.is_none() => self.granted(Item::Confirm(op), sent_at),
            Place::Taken | Place::Reserved => self.lanes.confirms.push_back(op),
            Place::Waiting { is_deaf, ttl_ms } => {
                if let Some(ttl_ms) = ttl_ms {
                    let end = self.now.plus(Duration::from_millis(ttl_ms));
                    op.note_place(self.node.index, end);
                }
                if is_deaf {
                    self.lanes.watches.push_back(op);
                }
            }
        }
    }

    /// A watched lock lives for `ms` from now on; -2: it is gone already, -1: it does not expire.
    pub(super) fn lives(&self, item: Item, ms: i64) {
        let Item::Watch(op) = item else { return };
        match u64::try_from(ms) {
            Ok(ms) => op.note_place(self.node.index, self.now.plus(Duration::from_millis(ms))),
            Err(_) if ms == -2 => op.look_by(self.now),
            Err(_) => {}
        }
    }

    /// The node refused the ticket: its holder looks for itself what to do without it.
    pub(super) fn no_place(&mut self, op: &Arc<Op>, vote: Vote) {
        if vote == Vote::Ineligible {
            // A right is missing, or memory: it is not asked again on this connection.
            self.node.has_ears.store(false, Ordering::Release);
            op.vote(self.node.index, vote, self.now);
        }
    }
}
