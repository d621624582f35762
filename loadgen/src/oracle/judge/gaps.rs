//! The map of grants: one bit per 250 us, over all names and processes, so that the longest time
//! without a grant can be told for any window.

use std::sync::atomic::Ordering;

use super::{HEADER, Oracle, RECORD_WORDS, RECORDS};
use crate::num;

/// The grain of the map.
pub(crate) const GRAIN_NS: u64 = 250_000;

/// Word of the header.
const MAP_BASE_NS: usize = 4;

impl Oracle {
    /// Sets the instant from which grants are mapped.
    pub(crate) fn start_at(&self, base_ns: u64) {
        self.word(MAP_BASE_NS).store(base_ns, Ordering::Release);
    }

    /// The instant from which grants are mapped: the start of the measured time.
    pub(super) fn base_ns(&self) -> u64 {
        self.word(MAP_BASE_NS).load(Ordering::Relaxed)
    }

    pub(super) fn mark_grant(&self, at_ns: u64) {
        let base = self.base_ns();
        let Some(since) = at_ns.checked_sub(base) else { return };
        let bucket = since / GRAIN_NS;
        let (word, bit) = (num::usize_of(bucket / 64), 1 << (bucket % 64));
        if word < self.map_words {
            let word = self.word(HEADER + RECORDS * RECORD_WORDS + word);
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    fn granted_in(&self, bucket: u64) -> bool {
        let word = num::usize_of(bucket / 64);
        word < self.map_words
            && self.word(HEADER + RECORDS * RECORD_WORDS + word).load(Ordering::Relaxed)
                & (1 << (bucket % 64))
                != 0
    }

    /// The longest time without a grant that overlaps `[from_ns, to_ns)`, within a run that lasted
    /// until `end_ns`; exact to [`GRAIN_NS`].
    pub(crate) fn longest_gap_ns(&self, from_ns: u64, to_ns: u64, end_ns: u64) -> u64 {
        let (from_ns, to_ns) = self.longest_gap(from_ns, to_ns, end_ns);
        to_ns - from_ns
    }

    /// The same as its begin and end.
    pub(crate) fn longest_gap(&self, from_ns: u64, to_ns: u64, end_ns: u64) -> (u64, u64) {
        let base = self.base_ns();
        let bucket = |at_ns: u64| at_ns.saturating_sub(base) / GRAIN_NS;
        let (from, to, end) = (bucket(from_ns), bucket(to_ns), bucket(end_ns));
        let mut last = (0..=from).rev().find(|&at| self.granted_in(at)).unwrap_or(0);
        let mut longest = (last, last);
        for at in last + 1..=end {
            let granted = self.granted_in(at);
            if granted || at == end {
                if at - last > longest.1 - longest.0 {
                    longest = (last, at);
                }
                last = at;
                if at >= to {
                    break;
                }
            }
        }
        (base + longest.0 * GRAIN_NS, base + longest.1 * GRAIN_NS)
    }
}
