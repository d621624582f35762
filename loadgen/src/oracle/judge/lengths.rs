//! Waits by their length, for the percentiles of single names.
//!
//! Counts in steps of a sixteenth of a doubling, from a microsecond on: a percentile is exact to
//! 6 %. Bounded: the first [`MOST_NAMED`] names have them, 3 KiB each, of which only what is
//! counted is ever touched. These are the ones that skewed loads ask for most.

use std::sync::atomic::{AtomicU64, Ordering};

use super::waits::WAIT_WORDS;
use super::{CELL_WORDS, HEADER, Oracle, RECORD_WORDS, RECORDS, SLOT_WORDS};
use crate::num;

/// Names whose waits are counted by length.
const MOST_NAMED: usize = 2_048;
/// Shorter waits are one step.
const LEAST_DOUBLING: u32 = 10;
const MOST_DOUBLING: u32 = 36;
const STEPS_PER_DOUBLING: usize = 16;
const STEPS: usize = 1 + (MOST_DOUBLING - LEAST_DOUBLING) as usize * STEPS_PER_DOUBLING;

/// Words for `keys` names.
pub(super) fn words(keys: usize) -> usize {
    keys.min(MOST_NAMED) * STEPS
}

fn step_of(wait_ns: u64) -> usize {
    let doubling = wait_ns.max(1).ilog2();
    if doubling < LEAST_DOUBLING {
        return 0;
    }
    let part = num::usize_of(wait_ns >> (doubling - 4)) % STEPS_PER_DOUBLING;
    let whole = num::usize_of((doubling - LEAST_DOUBLING).into()) * STEPS_PER_DOUBLING;
    (1 + whole + part).min(STEPS - 1)
}

/// The longest wait of a step.
fn longest_ns(step: usize) -> u64 {
    let Some(step) = step.checked_sub(1) else { return (1 << LEAST_DOUBLING) - 1 };
    let doubling = LEAST_DOUBLING + num::u32_of((step / STEPS_PER_DOUBLING) as u64);
    let part = (step % STEPS_PER_DOUBLING + 1) as u64;
    (1 << doubling) + (part << (doubling - 4)) - 1
}

impl Oracle {
    fn length_word(&self, key: usize, step: usize) -> &AtomicU64 {
        let slots = HEADER + RECORDS * RECORD_WORDS + self.map_words + self.keys * CELL_WORDS;
        let crowd = self.keys / self.names * self.crowded * self.clients;
        let waits = slots + self.clients * SLOT_WORDS + crowd;
        self.word(waits + self.keys * WAIT_WORDS + key * STEPS + step)
    }

    pub(super) fn count_length(&self, key: u64, wait_ns: u64) {
        let key = num::usize_of(key);
        if key < self.keys.min(MOST_NAMED) {
            self.length_word(key, step_of(wait_ns)).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The wait at percentile `p`; `None` of a name without waits, or without counts of them.
    pub(super) fn wait_at(&self, key: u64, p: f64) -> Option<u64> {
        let key = num::usize_of(key);
        if key >= self.keys.min(MOST_NAMED) {
            return None;
        }
        let counts: Vec<u64> =
            (0..STEPS).map(|step| self.length_word(key, step).load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let wanted = (p / 100.0 * all as f64).ceil().max(1.0);
        let mut passed = 0.0;
        counts.iter().enumerate().find_map(|(step, &n)| {
            passed += n as f64;
            (n > 0 && passed >= wanted).then(|| longest_ns(step))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use crate::scratch::Scratch;

    #[test]
    fn steps_follow_each_other_and_are_a_sixteenth_of_a_doubling() {
        for step in 0..STEPS - 1 {
            let (last, next) = (longest_ns(step), longest_ns(step) + 1);
            assert_eq!((step_of(last), step_of(next)), (step, step + 1), "{last}");
        }
        assert_eq!((step_of(0), step_of(u64::MAX)), (0, STEPS - 1));
        assert!(longest_ns(STEPS - 1) > 60_000_000_000, "the longest wait that is told apart");
    }

    #[test]
    fn percentiles_of_a_name_are_its_own_and_names_beyond_the_first_have_none() {
        let dir = Scratch::new("lengths").unwrap();
        let config = RunConfig { keys: 3_000, ..RunConfig::for_tests() };
        let oracle = Oracle::create(&dir.path().join("cells"), &config).unwrap();
        (1..=1_000_u64).for_each(|n| oracle.count_length(7, n * 1_000_000));
        (1..=100_u64).for_each(|_| oracle.count_length(8, 5_000_000));
        oracle.count_length(2_999, 5);
        for (key, p, expected) in [(7, 50.0, 5e8), (7, 99.0, 9.9e8), (8, 99.0, 5e6)] {
            let got = oracle.wait_at(key, p).unwrap() as f64;
            assert!((1.0..1.07).contains(&(got / expected)), "{key} p{p}: {got}");
        }
        assert_eq!((oracle.wait_at(9, 99.0), oracle.wait_at(2_999, 99.0)), (None, None));
        // Nothing else of the memory is touched.
        assert!(oracle.most_granted(9).is_empty() && oracle.findings().lost_updates == 0);
    }
}
