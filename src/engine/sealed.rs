//! What makes a grant count: a proof that its node had not forgotten anything before it (R1).
//!
//! A connection knows the epoch in which it was greeted. Epoch ids never come back, so a lock that
//! was granted while the node was still in that epoch was granted by a node that knew of every
//! lock before it. There are two ways to know; a connection uses one of them for all its life.
//!
//! **The seal** needs nothing of the server. A write that sets locks ends in two reads: the epoch,
//! and whether our scripts are cached. Its grants wait for them, and count only if both are as they
//! were: executed behind all the SETs on the same connection, they show that nothing was wiped
//! between the SETs and themselves; and the cache of scripts dies with the process, where the epoch
//! may survive in a dump.
//!
//! **The watch** needs a server that tracks the epoch for this very connection (see
//! [`Capabilities::watches`](crate::session::handshake::Capabilities)): it pushes an invalidation
//! when the epoch or the whole data set changes, into the same stream as the replies, in the order
//! in which it does things. R1': *a grant counts if and only if its reply stands in front of every
//! invalidation of the epoch.* A SET that was executed behind a wipe is answered behind its
//! invalidation. Nothing of our own can bring the epoch's end about unseen (NOLOOP): only the stamp
//! writes it, whose own answer carries the new id and is compared before anything behind it counts;
//! and where a server may evict, connections are sealed. And as nobody stands between us and the
//! process, it cannot be replaced under the connection: there is nothing for a script to prove.
//!
//! - I1 what waits here belongs to the write at the head of the FIFO: replies come in order, and
//!   its seal is its last command.
//! - I2 on a watched connection nothing waits here.

use crate::engine::dispatch::Item;
use crate::time::Timestamp;

/// How a connection knows that its grants count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By the last commands of each write.
    Seal,
    /// By silence: the server would have said that the epoch is over.
    Watch,
    /// It does not: for tests that show what a proof is good for.
    None,
}

impl Proof {
    /// The proof on a connection that is `watched`; none at all where the `protection` is off.
    pub(crate) const fn of(protection: bool, watched: bool) -> Self {
        match (protection, watched) {
            (false, _) => Self::None,
            (true, true) => Self::Watch,
            (true, false) => Self::Seal,
        }
    }
}

/// Grants that wait for the seal of their write.
#[derive(Debug)]
pub(crate) struct Sealed {
    grants: Vec<(Item, Timestamp)>,
    in_epoch: bool,
}

/// What a seal says of its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Intact,
    /// The node has begun another epoch.
    OtherEpoch,
    /// The epoch is the same, but the scripts are gone: flushed, or the process was replaced
    /// behind a proxy and nobody has stamped it yet.
    NoScript,
}

impl Sealed {
    pub(crate) fn new() -> Self {
        Self { grants: Vec::with_capacity(CAPACITY), in_epoch: false }
    }

    /// A grant of the write at the head of the FIFO.
    pub(crate) fn hold(&mut self, item: Item, sent_at: Timestamp) {
        self.grants.push((item, sent_at));
    }

    /// The seal's first half.
    pub(crate) const fn epoch(&mut self, is_ours: bool) {
        self.in_epoch = is_ours;
    }

    /// The seal's second half.
    pub(crate) fn verdict(&mut self, is_cached: bool) -> Verdict {
        match (std::mem::take(&mut self.in_epoch), is_cached) {
            (false, _) => Verdict::OtherEpoch,
            (true, false) => Verdict::NoScript,
            (true, true) => Verdict::Intact,
        }
    }

    /// The next grant that waits, in order of no importance.
    pub(crate) fn pop(&mut self) -> Option<(Item, Timestamp)> {
        self.grants.pop()
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        self.grants.iter().map(|(item, _)| item)
    }
}

/// Grants of one write: the default cap on commands.
const CAPACITY: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r1_only_the_known_epoch_with_its_scripts_is_intact() {
        let mut sealed = Sealed::new();
        for (epoch, cached, verdict) in [
            (true, true, Verdict::Intact),
            (true, false, Verdict::NoScript),
            (false, true, Verdict::OtherEpoch),
            (false, false, Verdict::OtherEpoch),
        ] {
            sealed.epoch(epoch);
            assert_eq!(sealed.verdict(cached), verdict);
            // Half a seal does not carry over to the next write.
            assert_eq!(sealed.verdict(true), Verdict::OtherEpoch);
        }
    }
}
