//! What a node says of a ticket.
//!
//! R10': *a node's word that it has given the lock to our ticket, for the ttl that the ticket asks
//! for, is its vote, from the time at which the newest command was sent that the node had answered
//! in front of that word; on a watched connection only.* The node executed that command before it
//! gave the lock away, for it puts into the stream what it does in the order in which it does it;
//! so the key lives at least that ttl from then on, as if a SET had been sent at that time. And the
//! watch proves of the word what it proves of a reply in the same place (R1').

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::algorithm::tally::Vote;
use crate::engine::dispatch::{Dispatch, Item};
use crate::engine::op::Op;
use crate::engine::sealed::Proof;
use crate::session::answer::Place;
use crate::time::Timestamp;

impl Dispatch<'_> {
    pub(super) fn placed(&mut self, item: Item, place: Place, sent_at: Timestamp) {
        let Item::Enter(op) = item else { return };
        self.node.answered_in(self.now.since(sent_at));
        match place {
            // A fenced op's token is counted by the confirmation.
            Place::Taken if op.fence.is_none() => self.granted(Item::Confirm(op), sent_at),
            Place::Taken | Place::Reserved => self.lanes.confirm(op),
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

    /// The lock is our ticket's, says a word that stands behind what was answered so far (R10').
    pub(crate) fn told(&mut self, op: Arc<Op>) {
        let sent_at = *self.answered;
        let age = self.now.since(sent_at);
        // A fenced op's token is counted by the confirmation.
        let is_young = age <= op.ttl.mul_f64(self.node.settings.word_age);
        let is_vote = self.proof == Proof::Watch && op.fence.is_none() && is_young;
        if !is_vote || age > op.ttl / 32 {
            // The rest of the ttl, a moment later; or without R10' the vote.
            self.lanes.confirm(Arc::clone(&op));
        }
        if is_vote {
            self.granted(Item::Confirm(op), sent_at);
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
