//! How often each name was granted within the measured time, and how long it was waited for.
//!
//! Three words per name, apart from what the judge keeps of it: a count, a sum, and the longest. A
//! percentile of each name would need a histogram of each, which a million names have no room for;
//! the first names have one, see [`lengths`](super::lengths).

use std::sync::atomic::{AtomicU64, Ordering};

use super::{CELL_WORDS, HEADER, Oracle, RECORD_WORDS, RECORDS, SLOT_WORDS};
use crate::mode::{Claim, Class};
use crate::num;

/// Words per name, behind everything else.
pub(super) const WAIT_WORDS: usize = 3;

const GRANTED: usize = 0;
const WAITED_NS: usize = 1;
const LONGEST_NS: usize = 2;

/// What became of the wishes for one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    pub(crate) cell: u64,
    pub(crate) granted: u64,
    /// From the planned arrival to the grant, all together.
    pub(crate) waited_ns: u64,
    pub(crate) longest_ns: u64,
    /// `None` beyond the first names.
    pub(crate) p99_ns: Option<u64>,
}

impl Oracle {
    fn wait_word(&self, key: u64, field: usize) -> &AtomicU64 {
        let slots = HEADER + RECORDS * RECORD_WORDS + self.map_words + self.keys * CELL_WORDS;
        let crowd = self.keys / self.names * self.crowded * self.clients;
        let key = num::usize_of(key).min(self.keys.saturating_sub(1));
        self.word(slots + self.clients * SLOT_WORDS + crowd + key * WAIT_WORDS + field)
    }

    /// A grant within the measured time. Names that are only passed on the way to the one that is
    /// locked do not count.
    pub(crate) fn count_waits(&self, claims: &[Claim], first: u64, waited_ns: u64) {
        for claim in claims.iter().filter(|claim| claim.class != Class::Intent) {
            let key = first + u64::from(claim.cell);
            self.count_length(key, waited_ns);
            let word = |field| self.wait_word(key, field);
            word(GRANTED).fetch_add(1, Ordering::Relaxed);
            word(WAITED_NS).fetch_add(waited_ns, Ordering::Relaxed);
            word(LONGEST_NS).fetch_max(waited_ns, Ordering::Relaxed);
        }
    }

    /// The names that were granted most often, the first of them first; those that never were are
    /// not among them.
    pub(crate) fn most_granted(&self, most: usize) -> Vec<Waits> {
        let mut first: Vec<Waits> = Vec::with_capacity(most.saturating_add(1));
        for cell in 0..self.keys as u64 {
            let word = |field| self.wait_word(cell, field).load(Ordering::Relaxed);
            let granted = word(GRANTED);
            let least = first.last().filter(|_| first.len() >= most).map_or(0, |of| of.granted);
            if granted > least {
                let waits = Waits {
                    cell,
                    granted,
                    waited_ns: word(WAITED_NS),
                    longest_ns: word(LONGEST_NS),
                    p99_ns: None,
                };
                let at = first.partition_point(|of| of.granted >= granted);
                first.insert(at, waits);
                first.truncate(most);
            }
        }
        for waits in &mut first {
            let p99_ns = self.wait_at(waits.cell, 99.0);
            waits.p99_ns = p99_ns.map(|p99_ns| p99_ns.min(waits.longest_ns));
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use crate::mode::Mode;
    use crate::scratch::Scratch;

    #[test]
    fn names_are_counted_apart_from_what_the_judge_keeps_of_them() {
        for mode in [Mode::Mutex, Mode::Shared(50.0), Mode::Permits(2), Mode::Hierarchy(2)] {
            let dir = Scratch::new("waits").unwrap();
            let config = RunConfig { mode, keys: 100, ..RunConfig::for_tests() };
            let oracle = Oracle::create(&dir.path().join("cells"), &config).unwrap();
            let cells = oracle.keys as u64;
            let class = if mode == Mode::Mutex { Class::Exclusive } else { Class::Shared };
            // Name 7 once, name 8 twice .. name 20 14 times, the last one 50 times.
            let counts = (7..=20_u64).map(|cell| (cell, cell - 6)).chain([(cells - 1, 50)]);
            for (cell, times) in counts {
                let cell = u32::try_from(cell).unwrap();
                let way = Claim { cell: 0, class: Class::Intent };
                for wait in 1..=times {
                    oracle.count_waits(&[way, Claim { cell, class }], 0, wait * 10);
                }
            }
            let first = oracle.most_granted(10);
            let named: Vec<(u64, u64)> = first.iter().map(|of| (of.cell, of.granted)).collect();
            let expected = (11..=20_u64).rev().map(|cell| (cell, cell - 6)).take(9);
            let expected: Vec<(u64, u64)> = [(cells - 1, 50)].into_iter().chain(expected).collect();
            assert_eq!(named, expected, "{mode}");
            assert_eq!((first[0].waited_ns, first[0].longest_ns), (12_750, 500), "{mode}");
            assert_eq!(first[0].p99_ns, Some(500), "{mode}: never above the longest");
            assert!(oracle.most_granted(1_000).len() == 15, "{mode}: those never granted are not");
            // What the judge counts is not touched, nor are its slots.
            let findings = oracle.findings();
            assert_eq!((findings.lost_updates, findings.torn_reads), (0, 0), "{mode}");
            let entry = super::super::Entry {
                client: 3,
                generation: 1,
                called_ns: 5,
                contended: true,
                token: 0,
                begin_ns: 10,
                end_ns: 20,
            };
            let claim = Claim { cell: 20, class };
            assert!(oracle.enter_all(&[claim], 0, entry).leave(15, || true));
            assert_eq!(oracle.most_granted(10), first, "{mode}: nor the other way round");
        }
    }
}
