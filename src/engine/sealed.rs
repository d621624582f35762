//! Grants that wait for the seal of their write.
//!
//! DESIGN's R1: a write's grants count only if its seal, executed behind all its SETs on the same
//! connection, finds the epoch that this connection was greeted in. Epoch ids never come back, so
//! such a seal proves that nothing was wiped between the SETs and itself; and the cache of scripts
//! dies with the process, where the epoch may survive in a dump.
//!
//! - I1 what waits here belongs to the write at the head of the FIFO: replies come in order, and
//!   its seal is its last command.

use crate::engine::dispatch::Item;
use crate::time::Timestamp;

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
