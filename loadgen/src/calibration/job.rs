//! A fixed piece of work, by whose length it is seen how fast this machine is at the moment.
//!
//! A virtual machine is slower for minutes while its neighbours on the host are busy; nothing in
//! /proc says so, but the same work takes longer. Arithmetic and a walk through a small table feel
//! a slower clock and a shared core. Every core works at the same time, as it does under load.
//!
//! Invariant: it takes [`LENGTH_NS`] and a few ms more, whatever a piece takes.

use std::hint::black_box;

use crate::clock::{NS_PER_MS, now_ns};

const LENGTH_NS: u64 = 40 * NS_PER_MS;
/// Steps of a piece: about 0.2 ms.
const STEPS: u32 = 60_000;
/// Words of the table, a power of two: 32 KiB, no more than the cache next to a core has. A larger
/// one takes a quarter longer from one look to the next on a machine that does nothing else.
const WORDS: usize = 1 << 12;
/// Cores that work at the same time, at most.
const MOST_THREADS: usize = 16;
/// Pieces of a thread at most; a machine on which one takes 2 µs has been seen by nobody.
const MOST_PIECES: usize = 20_000;
/// At the beginning, while the table comes into the cache.
const NOT_COUNTED: usize = 2;

/// How long a piece takes, by the median over all cores, which no stall of one can move.
pub(crate) fn job_ns() -> Option<f64> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let until_ns = now_ns() + LENGTH_NS;
    let mut all: Vec<u64> = std::thread::scope(|scope| {
        let threads = (0..cores.min(MOST_THREADS)).map(|_| {
            let thread = std::thread::Builder::new().name("calibration".to_owned());
            thread.spawn_scoped(scope, move || pieces(until_ns)).ok()
        });
        // All of them are started before the first one is waited for.
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flatten().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    all.sort_unstable();
    all.get(all.len() / 2).map(|&ns| ns as f64)
}

fn pieces(until_ns: u64) -> Vec<u64> {
    let mut table = vec![1_u64; WORDS];
    let mut lengths = Vec::new();
    let mut begin = now_ns();
    // One at least, so that a machine that is very slow is known to be.
    while (begin < until_ns || lengths.len() <= NOT_COUNTED) && lengths.len() < MOST_PIECES {
        black_box(piece(black_box(&mut table)));
        let end = now_ns();
        lengths.push(end.saturating_sub(begin));
        begin = end;
    }
    lengths.split_off(NOT_COUNTED.min(lengths.len()))
}

/// Marsaglia's xorshift64 picks words of the table, each of which says where the next one is.
fn piece(table: &mut [u64]) -> u64 {
    let (mut state, mut sum) = (0x2545_F491_4F6C_DD1D_u64, 0_u64);
    let mask = table.len().saturating_sub(1) as u64;
    for _ in 0..STEPS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = crate::num::usize_of((state ^ sum) & mask);
        if let Some(word) = table.get_mut(at) {
            sum = sum.wrapping_add(*word);
            *word = state;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_takes_a_while_and_all_of_them_no_longer_than_they_may() {
        let begin = now_ns();
        let found = job_ns().unwrap();
        let took = now_ns() - begin;
        assert!((10_000.0..1e9).contains(&found), "{found}");
        assert!((LENGTH_NS..100 * LENGTH_NS).contains(&took), "{took}");
    }

    #[test]
    fn the_same_table_gives_the_same_sum_and_another_one_another() {
        let sum = |first: u64| piece(&mut vec![first; WORDS]);
        assert_eq!(sum(1), sum(1));
        assert_ne!(sum(1), sum(2), "the work is not optimised away");
    }
}
