//! How a contender of this process queues up on the nodes, behind those of other processes.
//!
//! ```text
//!               enter            reserved: confirm
//!   ticket ───────────► waiting ───────────────────► a vote of that node, as any other
//!                        │   ▲
//!                        └───┘ shown again: when the lock must have expired, when the head may be
//!                              dead, when a watched key changes, at least four times a second
//! ```
//! - I1 (DESIGN R11) a ticket's token is its own: never one that a SET NX round has used. Whoever
//!   gives it up releases it on every node that it was shown to.
//! - I2 a reservation, or being told of one, is no vote (R10).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::algorithm::backoff::between;
use crate::config::Waiting;
use crate::engine::core::{Engine, Unstartable, Wakes};
use crate::engine::op::Op;
use crate::resource::Resource;
use crate::time::Timestamp;

/// A ticket is shown again after at most this: so long a lost message can cost.
const LOOK_MAX: Duration = Duration::from_millis(250);
const LOOK_MIN: Duration = Duration::from_millis(150);

impl Engine {
    /// Can a contender queue up on the nodes now?
    pub(crate) fn may_queue(&self) -> bool {
        self.settings.waiting == Waiting::Queue && self.listening() >= self.settings.quorum
    }

    /// Nodes that would take a ticket.
    fn listening(&self) -> usize {
        self.nodes.iter().filter(|node| node.takes_tickets()).count()
    }

    /// Makes an attempt's op that queues up. Nothing is sent before [`Engine::show`].
    pub(crate) fn ticket(
        &self,
        resource: &Resource,
        ttl: Duration,
        fenced: bool,
        number: Option<u64>,
    ) -> Result<Arc<Op>, Unstartable> {
        let number = number.unwrap_or_else(|| self.next_number());
        let op = self.prepare(resource, ttl, fenced, Some(number))?;
        self.fleet.hub.enlist(&op);
        Ok(op)
    }

    fn next_number(&self) -> u64 {
        let now = self.clock.now();
        u64::try_from(self.median_time_us(now)).unwrap_or_default()
    }

    /// Shows the op's ticket to every node that takes it. `false`: to too few.
    pub(crate) fn show(&self, op: &Arc<Op>, wakes: &mut Wakes) -> bool {
        if let Some(ticket) = &op.ticket {
            let look_in = between(LOOK_MIN, LOOK_MAX, self.rng.next());
            ticket.shown(self.clock.now().plus(look_in));
        }
        let mut shown = 0;
        for node in self.nodes.iter().filter(|node| node.takes_tickets()) {
            if let Some(wake) = node.submit_enter(op) {
                wakes.add(node.index, wake);
                shown += 1;
            }
        }
        shown >= self.settings.quorum
    }

    /// Before releases of `op` are queued: they are to hand the lock on if anybody waits for it.
    pub(crate) fn decide_hand_on(&self, op: &Op) {
        if op.ticket.is_some() {
            self.fleet.hub.strike(op);
        }
        if op.ticket.is_some() || self.waiters.take_awaited(&op.resource) {
            op.hands_on.store(true, Ordering::Release);
        }
    }

    /// When what a minority of nodes keeps for us is to be given up for those who may use it.
    pub(crate) fn yield_at(&self, since: Timestamp) -> Timestamp {
        since.plus(between(YIELD_MIN, YIELD_MAX, self.rng.next()))
    }
}

/// Longer than the confirmations of one hand-off are apart; drawn at random, because contenders
/// that split the nodes between them must not all give up at once.
const YIELD_MIN: Duration = Duration::from_millis(5);
const YIELD_MAX: Duration = Duration::from_millis(20);
