//! Views of a grant, and of what the nodes say.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::engine::op::Op;
use crate::error::Lost;
use crate::fencing::FencingToken;
use crate::redlock::Core;
use crate::resource::Resource;
use crate::time::Timestamp;
use crate::token::Token;

/// An instant on the clock that counts leases: it goes on while the machine is suspended, as
/// `std::time::Instant` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Timestamp);

impl Deadline {
    /// Time since the machine booted (on Linux, CLOCK_BOOTTIME), suspended time included: the
    /// same in every process of the machine, so deadlines can be compared between them.
    pub const fn since_boot(self) -> Duration {
        Duration::from_nanos(self.0.as_nanos())
    }
}

/// A view of a grant: cheap to clone, releases nothing when dropped.
///
/// It is a view of one holder's grant. When that holder lets go, every clone of it is released, for
/// good, also when the lock passed to the next caller of this process as it was.
#[derive(Clone)]
pub struct Lease {
    core: Arc<Core>,
    op: Arc<Op>,
    /// The hold that it is a view of (DESIGN R12).
    generation: u64,
}

impl Lease {
    /// Of the holder that there is: only it makes leases, and only it can pass the lock on.
    pub(crate) fn new(core: Arc<Core>, op: Arc<Op>) -> Self {
        let generation = op.hold.generation();
        Self { core, op, generation }
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    fn is_handed_on(&self) -> bool {
        self.op.hold.generation() != self.generation
    }

    pub(crate) const fn op(&self) -> &Arc<Op> {
        &self.op
    }

    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// What is locked.
    pub fn resource(&self) -> &Resource {
        &self.op.resource
    }

    /// The value stored on the nodes. Whoever knows it can release the lock, so a lock whose token
    /// was read is not handed to another caller of this process: it is released on the nodes.
    ///
    /// Of a lease that was handed on already: 32 zeros, a value that no node holds.
    pub fn token(&self) -> Token {
        if self.op.hold.expose(self.generation) { self.op.token } else { Token::NOBODY }
    }

    /// The fencing token, if the lock was asked for [`fenced`](crate::Acquire::fenced): larger
    /// than that of every earlier holder, the same for as long as this one holds.
    pub fn fencing_token(&self) -> Option<FencingToken> {
        FencingToken::try_from(self.op.fence.as_ref()?.chosen()).ok()
    }

    /// How many nodes may lose the lock before it is lost: those that hold it beyond the quorum.
    /// Renewals ask nodes that do not hold it to do so too.
    pub fn margin(&self) -> usize {
        let now = self.core.engine.clock.now();
        if !self.is_valid() {
            return 0;
        }
        (self.op.holding(now).count_ones() as usize).saturating_sub(self.op.quorum())
    }

    /// Up to when a quorum of nodes holds the lock, as far as is known now; renewals move it on.
    /// Long past once the lock was handed to another caller of this process.
    pub fn valid_until(&self) -> Deadline {
        let until = self.op.valid_until();
        Deadline(if self.is_handed_on() { Timestamp::ZERO } else { until })
    }

    /// Validity left; zero once the lease is lost or released.
    pub fn remaining(&self) -> Duration {
        let now = self.core.engine.clock.now();
        let left =
            if self.op.is_valid(now) { self.op.valid_until().since(now) } else { Duration::ZERO };
        if self.is_handed_on() { Duration::ZERO } else { left }
    }

    /// Whether the lock is held: a local reading, no round trip.
    pub fn is_valid(&self) -> bool {
        // In this order: then the lock was valid while it was ours.
        self.op.is_valid(self.core.engine.clock.now()) && !self.is_handed_on()
    }

    /// Why it is lost. One that was handed on was released in time, whatever became of it since.
    fn loss(&self) -> Option<Lost> {
        self.op.lost().filter(|_| !self.is_handed_on())
    }

    /// For `?` in the middle of the work.
    ///
    /// # Errors
    /// Why the lease is lost; [`Lost::Expired`] also when it was released.
    pub fn ensure_valid(&self) -> Result<(), Lost> {
        if self.is_valid() { Ok(()) } else { Err(self.loss().unwrap_or(Lost::Expired)) }
    }

    /// Completes when the lock can no longer be proven held, a little *before* its validity ends.
    /// Never completes for a lock that is released in time. `'static`: move it into any task.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + Sync + use<> + 'static {
        let (op, generation) = (Arc::clone(&self.op), self.generation);
        std::future::poll_fn(move |cx| {
            if op.lost().is_none() && op.hold.generation() == generation {
                op.watch(cx.waker());
            }
            // Handed on: released in time, and what became of it since is not its own.
            let loss = op.lost().filter(|_| op.hold.generation() == generation);
            loss.map_or(Poll::Pending, Poll::Ready)
        })
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("resource", self.resource())
            // Eight digits, which nobody can use: the token does not leave the engine.
            .field("token", &self.op.token)
            .field("remaining", &self.remaining())
            .field("lost", &self.loss())
            .finish_non_exhaustive()
    }
}

/// What the nodes say of a resource: out of date on arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// One entry per node, in the configured order.
    pub nodes: Vec<NodeInspection>,
    /// Grants that a holder needs.
    pub quorum: usize,
}

/// What one node says of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInspection {
    /// The node's address, without secrets.
    pub endpoint: String,
    /// Whether it answered.
    pub answered: bool,
    /// The value it holds under the key: a holder's token, ours or another library's. None where
    /// the resource is shared (see the [modes](crate::manual::modes) page): then only a ttl.
    pub value: Option<Vec<u8>>,
    /// How much longer the key lives there, where it has an expiry.
    pub ttl: Option<Duration>,
}

impl Inspection {
    /// The value that a quorum of nodes holds: that of the lock's holder.
    pub fn holder(&self) -> Option<&[u8]> {
        self.nodes.iter().filter_map(|node| node.value.as_deref()).find(|value| {
            let votes = self.nodes.iter().filter(|node| node.value.as_deref() == Some(value));
            votes.count() >= self.quorum
        })
    }

    /// How many nodes hold any value under the key.
    pub fn taken(&self) -> usize {
        self.nodes.iter().filter(|node| node.value.is_some()).count()
    }
}
