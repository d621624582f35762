//! How a contender of this process queues up on the nodes, behind those of other processes.
//!
//! ```text
//!               enter            reserved: confirm
//!   ticket ───────────► waiting ───────────────────► a vote of that node, as any other
//!                        │   ▲ │                       ▲
//!                        │   │ └───────────────────────┘ given, on a watched connection
//!                        │   │
//!                        └───┘ shown again: when the lock must have expired, when the head may be
//!                              dead, when a watched key changes, at least four times a second
//! ```
//! - I1 (DESIGN R11) a ticket's token is its own: never one that a SET NX round has used. Whoever
//!   gives it up releases it on every node that it was shown to.
//! - I2 a reservation, or being told of one, is no vote (R10). Being told that the lock is given,
//!   for the whole ttl, is one where the connection proves it (R10', see [`Dispatch::told`]).
//! - I3 a minority of nodes is not kept from a holder that has the others: whoever has given it up
//!   in vain does not ask for it again before a quorum can be had. A holder's lock spreads to nodes
//!   that come back only where its key is free (R6).
//!
//! [`Dispatch::told`]: crate::engine::dispatch::Dispatch::told

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::algorithm::backoff::between;
use crate::algorithm::tally::Vote;
use crate::config::Waiting;
use crate::engine::core::{Engine, Unstartable, Wakes};
use crate::engine::node::Node;
use crate::engine::op::{Op, Ticket, Way};
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
        let op = self.prepare(resource, ttl, fenced, Some(Way::Queue(number)))?;
        self.fleet.hub.enlist(&op);
        Ok(op)
    }

    /// Is a contender told of releases, and does it want to be?
    pub(crate) fn may_watch(&self) -> bool {
        let tracking = self.nodes.iter().filter(|node| node.tracks.load(Ordering::Acquire));
        self.settings.waiting != Waiting::Backoff && tracking.count() >= self.settings.quorum
    }

    /// An op that only waits to be told that the lock may be free.
    pub(crate) fn watch_for(
        &self,
        resource: &Resource,
        ttl: Duration,
    ) -> Result<Arc<Op>, Unstartable> {
        let op = self.prepare(resource, ttl, false, Some(Way::Watch))?;
        let look_in = between(LOOK_MIN, LOOK_MAX, self.rng.next());
        if let Some(ticket) = &op.ticket {
            ticket.shown(self.clock.now().plus(look_in));
        }
        self.fleet.hub.enlist(&op);
        let mut wakes = Wakes::default();
        for node in self.nodes.iter().filter(|node| node.tracks.load(Ordering::Acquire)) {
            wakes.add(node.index, node.submit_watch(&op));
        }
        self.wake(wakes);
        Ok(op)
    }

    /// Watching is over.
    pub(crate) fn unwatch(&self, op: Arc<Op>) {
        self.fleet.hub.strike(&op);
        self.fleet.pool.put(op);
    }

    /// The node that whoever wants this resource asks first: the same for every process.
    fn first_asked(&self, resource: &Resource) -> Option<&Arc<Node>> {
        let count = self.nodes.len();
        let start = usize::try_from(fnv1a(resource.as_bytes()) % count.max(1) as u64).ok()?;
        let ranked = self.nodes.iter().cycle().skip(start).take(count);
        ranked.into_iter().find(|node| node.admits().is_ok())
    }

    /// Begins a staged round: asks one node.
    pub(crate) fn submit_first(&self, op: &Arc<Op>, wakes: &mut Wakes) {
        match self.first_asked(&op.resource).map(|node| (node, node.submit_acquire(op))) {
            Some((node, Ok(wake))) => wakes.add(node.index, wake),
            _ => self.submit_rest(op, wakes),
        }
    }

    /// Asks all nodes that were not asked yet.
    pub(crate) fn submit_rest(&self, op: &Arc<Op>, wakes: &mut Wakes) {
        let first = op.acquire_tally();
        if op.ticket.as_ref().is_some_and(|ticket| ticket.goes_out()) {
            let missing = |node: &&Arc<Node>| first.vote(node.index).is_none();
            self.submit_to(self.nodes.iter().filter(missing), op, wakes);
        }
    }

    fn next_number(&self) -> u64 {
        let now = self.clock.now();
        u64::try_from(self.median_time_us(now)).unwrap_or_default()
    }

    /// Shows the op's ticket to every node that takes it, but not to those of `spared`. `false`:
    /// too few take it.
    pub(crate) fn show(&self, op: &Arc<Op>, spared: u16, wakes: &mut Wakes) -> bool {
        if let Some(ticket) = &op.ticket {
            let look_in = between(LOOK_MIN, LOOK_MAX, self.rng.next());
            ticket.shown(self.clock.now().plus(look_in));
        }
        let mut taking = 0;
        for node in self.nodes.iter().filter(|node| node.takes_tickets()) {
            if spared & (1 << node.index) != 0 {
                taking += 1;
            } else if let Some(wake) = node.submit_enter(op) {
                wakes.add(node.index, wake);
                taking += 1;
            }
        }
        taking >= self.settings.quorum
    }

    /// Has the op's ticket no prospect of a quorum while others keep what they hold?
    pub(crate) fn is_hopeless(&self, op: &Op) -> bool {
        let Some(ticket) = &op.ticket else { return false };
        let taken = ticket.taken(op.acquire_tally().set(Vote::Granted));
        let holds = |node: &&Arc<Node>| taken & (1 << node.index) != 0 && node.takes_tickets();
        self.nodes.iter().filter(holds).count() > self.nodes.len() - self.settings.quorum
    }

    /// Before releases of an op with a ticket are queued: those of one that stands in line take it
    /// out, and hand the lock on if somebody waits for it.
    pub(crate) fn decide_hand_on(&self, op: &Op, ticket: &Ticket) {
        self.fleet.hub.strike(op);
        let is_awaited = self.waiters.take_awaited(&op.resource);
        op.hands_on.store(ticket.is_queued() || is_awaited, Ordering::Release);
    }

    /// When what a minority of nodes keeps for us is to be given up for those who may use it: the
    /// lock's release has a way to go to the other nodes, and our confirmation there and back. It
    /// takes longer each time: where the nodes are split, once is enough.
    pub(crate) fn yield_at(&self, since: Timestamp, yields: u32) -> Timestamp {
        let far = self.quorum_round_trip();
        let patience = between(YIELD_MIN + far * 2, YIELD_MAX + far * 3, self.rng.next());
        since.plus(patience * 2u32.pow(yields.min(YIELD_DOUBLINGS)))
    }

    /// In what time enough nodes answer for a quorum.
    fn quorum_round_trip(&self) -> Duration {
        let ears = self.nodes.iter().filter(|node| node.takes_tickets());
        let mut trips: Vec<Duration> = ears.map(|node| node.round_trip()).collect();
        trips.sort_unstable();
        trips.get(self.settings.quorum.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// A hash that is the same in every process (Fowler, Noll and Vo's FNV-1a, 64 bits).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Longer than the confirmations of one hand-off are apart on near nodes, or the ends of one
/// reader's lock; drawn at random, because contenders that split the nodes between them must not
/// all give up at once.
const YIELD_MIN: Duration = Duration::from_millis(10);
const YIELD_MAX: Duration = Duration::from_millis(30);
/// Up to a quarter of a second.
const YIELD_DOUBLINGS: u32 = 3;
