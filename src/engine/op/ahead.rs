//! Reading ahead: what a driver is about to need of many ops, fetched at once.
//!
//! A driver goes through a hundred ops in a row, to form their commands or to count their votes.
//! Each was last touched elsewhere, so that its first cache line is a miss, and the atomic
//! operation of a vote lets nothing behind it begin before that miss is over. Where a little of the
//! next ops is read first, with nothing in between, the processor fetches them side by side. Of
//! 1 024 callers on two workers, forming and voting took 2.0 us of a lock's CPU, and 1.1 us since.

use std::hint::black_box;
use std::sync::atomic::Ordering;

use super::Op;

/// So many at a time: enough to overlap, few enough to stay in the innermost cache meanwhile.
pub(crate) const AHEAD: usize = 24;

/// Reads `what` of each of `items`. How many there were.
pub(crate) fn read<T>(items: impl Iterator<Item = T>, what: impl Fn(T) -> u64) -> usize {
    let (mut count, mut sum) = (0, 0);
    for item in items {
        sum ^= what(item);
        count += 1;
    }
    // Else nothing would have to be read.
    black_box(sum);
    count
}

/// A word of each cache line that is needed.
impl Op {
    /// To count a vote on the acquisition.
    pub(crate) fn for_vote(&self) -> u64 {
        self.acquire.load(Ordering::Relaxed)
            ^ u64::from(self.share_ppm)
            ^ self.decided_at.load(Ordering::Relaxed)
    }

    /// To count a vote on the release.
    pub(crate) fn for_release(&self) -> u64 {
        self.release.load(Ordering::Relaxed) ^ u64::from(self.share_ppm)
    }

    /// To form a command.
    pub(crate) fn for_forming(&self) -> u64 {
        let byte = |at: usize| self.frame.get(at).copied().map_or(0, u64::from);
        self.acquire.load(Ordering::Relaxed) ^ byte(0) ^ byte(64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn every_item_is_read_once() {
        let seen = Cell::new(0);
        let one = |item: u64| {
            seen.set(seen.get() * 10 + item);
            item
        };
        assert_eq!((read([1, 2, 3].into_iter(), one), seen.get()), (3, 123));
        assert_eq!(read(std::iter::empty(), one), 0);
    }
}
