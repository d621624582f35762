//! What is under way in one direction of one connection: bytes with the instants at which they may
//! arrive.
//!
//! It is a line, not a pause per piece: pieces travel side by side, so a delay takes nothing from
//! the throughput. Pure: it is told the time.
//!
//! Invariants:
//! 1. Pieces leave in the order they came, whatever the jitter.
//! 2. It takes more only below [`MOST_BYTES`] and [`MOST_PIECES`].

use std::collections::VecDeque;

use super::Rules;
use crate::clock::{NS_PER_MS, NS_PER_S};
use crate::num;
use crate::plan::rng::Xoshiro;

const MOST_BYTES: usize = 1 << 20;
const MOST_PIECES: usize = 8_192;
/// A late wake-up may be made up for within so long; longer stalls are not.
const CATCH_UP_NS: u64 = 10 * NS_PER_MS;

#[derive(Debug)]
struct Piece {
    due_ns: u64,
    bytes: Vec<u8>,
    sent: usize,
}

#[derive(Debug)]
pub(super) struct Line {
    pieces: VecDeque<Piece>,
    bytes: usize,
    last_due_ns: u64,
    /// When the next byte may leave, by the bandwidth.
    free_ns: u64,
    random: Xoshiro,
}

impl Line {
    pub(super) fn new(seed: u64) -> Self {
        let random = Xoshiro::for_client(seed, 0);
        Self { pieces: VecDeque::new(), bytes: 0, last_due_ns: 0, free_ns: 0, random }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes < MOST_BYTES && self.pieces.len() < MOST_PIECES
    }

    /// `bytes` came in at `now_ns`.
    pub(super) fn push(&mut self, bytes: &[u8], now_ns: u64, rules: &Rules) {
        let span_ns = rules.jitter_ns.saturating_mul(2).saturating_add(1);
        let spread_ns = if rules.jitter_ns == 0 { 0 } else { self.random.below(span_ns) };
        let due_ns = now_ns.saturating_add(rules.delay_ns).saturating_add(spread_ns);
        let due_ns = due_ns.saturating_sub(rules.jitter_ns).max(now_ns).max(self.last_due_ns);
        self.last_due_ns = due_ns;
        self.bytes += bytes.len();
        self.pieces.push_back(Piece { due_ns, bytes: bytes.to_vec(), sent: 0 });
    }

    /// When the next byte may leave.
    pub(super) fn due_ns(&self, rules: &Rules) -> u64 {
        let due_ns = self.pieces.front().map_or(0, |piece| piece.due_ns);
        if rules.bytes_per_s.is_some() { due_ns.max(self.free_ns) } else { due_ns }
    }

    /// What may leave then: no more than a hundredth of a second's share of the bandwidth.
    pub(super) fn head(&self, rules: &Rules) -> &[u8] {
        let Some(piece) = self.pieces.front() else { return &[] };
        let left = piece.bytes.get(piece.sent..).unwrap_or_default();
        let most = rules.bytes_per_s.map_or(usize::MAX, |rate| num::usize_of(rate / 100).max(1));
        left.get(..most.min(left.len())).unwrap_or_default()
    }

    /// `count` bytes of the head left at `now_ns`.
    pub(super) fn sent(&mut self, count: usize, now_ns: u64, rules: &Rules) {
        if let Some(rate) = rules.bytes_per_s {
            let took_ns = (count as u64).saturating_mul(NS_PER_S) / rate.max(1);
            let from_ns = self.free_ns.max(now_ns.saturating_sub(CATCH_UP_NS));
            self.free_ns = from_ns.saturating_add(took_ns);
        }
        self.bytes = self.bytes.saturating_sub(count);
        if let Some(piece) = self.pieces.front_mut() {
            piece.sent += count;
            if piece.sent >= piece.bytes.len() {
                self.pieces.pop_front();
            }
        }
    }

    /// Loses everything; whether there was anything.
    pub(super) fn lose(&mut self) -> bool {
        self.bytes = 0;
        let lost = !self.pieces.is_empty();
        self.pieces.clear();
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_never_changes_the_order_and_stays_within_its_bounds() {
        let rules = Rules { delay_ns: 1_000, jitter_ns: 400, ..Rules::default() };
        let mut line = Line::new(7);
        for n in 0..200_u8 {
            line.push(&[n], u64::from(n) * 50, &rules);
        }
        let (mut last_ns, mut early, mut late) = (0, 0, 0);
        for n in 0..200_u8 {
            let due_ns = line.due_ns(&rules);
            assert!(due_ns >= last_ns, "{n}");
            let took_ns = due_ns - u64::from(n) * 50;
            assert!((600..=1_400).contains(&took_ns), "{n}: {took_ns}");
            (early, late) = (early + u32::from(took_ns < 900), late + u32::from(took_ns > 1_100));
            assert_eq!(line.head(&rules), [n]);
            last_ns = due_ns;
            line.sent(1, due_ns, &rules);
        }
        assert!(line.is_empty() && late > 20, "{early} {late}");
    }

    #[test]
    fn a_delay_takes_nothing_from_the_throughput() {
        let rules = Rules { delay_ns: NS_PER_S, ..Rules::default() };
        let mut line = Line::new(1);
        (0..100).for_each(|at| line.push(b"x", at, &rules));
        let due: Vec<u64> = std::iter::from_fn(|| {
            let due_ns = (!line.is_empty()).then(|| line.due_ns(&rules))?;
            line.sent(1, due_ns, &rules);
            Some(due_ns)
        })
        .collect();
        assert_eq!(due, (0..100).map(|at| NS_PER_S + at).collect::<Vec<_>>());
    }

    #[test]
    fn bandwidth_spreads_bytes_over_time() {
        let rules = Rules { bytes_per_s: Some(10_000), ..Rules::default() };
        let mut line = Line::new(1);
        line.push(&[0; 5_000], NS_PER_S, &rules);
        let mut now_ns = NS_PER_S;
        while !line.is_empty() {
            now_ns = now_ns.max(line.due_ns(&rules));
            let count = line.head(&rules).len();
            assert!((1..=100).contains(&count));
            line.sent(count, now_ns, &rules);
        }
        let took_ns = now_ns - NS_PER_S;
        assert!((470 * NS_PER_MS..=500 * NS_PER_MS).contains(&took_ns), "{took_ns}");
    }

    #[test]
    fn it_is_full_at_its_bounds_and_tells_whether_it_lost_anything() {
        let rules = Rules::default();
        let mut line = Line::new(1);
        assert!(!line.lose());
        while line.has_room() {
            line.push(&[0; 16 << 10], 0, &rules);
        }
        assert_eq!(line.bytes, MOST_BYTES);
        assert!(line.lose() && line.has_room());
        while line.has_room() {
            line.push(&[0], 0, &rules);
        }
        assert_eq!(line.pieces.len(), MOST_PIECES);
    }
}
