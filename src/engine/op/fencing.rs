//! The fencing side of an attempt: what the nodes counted, and whether a quorum agrees.
//!
//! Protocol F1: each node accepts `max(counter + 1, proposal)`, so it accepts a value at most
//! once. A value that a quorum returned alike is the token: any two quorums share a node, so no
//! other acquisition gets the same one, and a later one gets a larger one. Where the nodes
//! counted differently, the owner raises them to one value first. No timing is assumed.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::algorithm::script;
use crate::algorithm::tally::NODES_MAX;

#[derive(Debug)]
pub(crate) struct Fencing {
    /// The counter's key.
    pub(crate) key: Vec<u8>,
    pub(crate) proposal: u64,
    tokens: [AtomicU64; NODES_MAX],
    chosen: AtomicU64,
}

impl Fencing {
    pub(super) fn new(key: &[u8], proposal: u64) -> Self {
        let key = [script::FENCE_PREFIX.as_bytes(), key].concat();
        let tokens = [const { AtomicU64::new(0) }; NODES_MAX];
        Self { key, proposal, tokens, chosen: AtomicU64::new(0) }
    }

    /// What `node` accepted; stored before its vote, so that whoever counts the vote sees it.
    pub(super) fn note(&self, node: usize, token: u64) {
        if let Some(slot) = self.tokens.get(node) {
            slot.store(token, Ordering::Release);
        }
    }

    fn accepted(&self, nodes: u16) -> impl Iterator<Item = u64> + Clone + '_ {
        let granted = self.tokens.iter().enumerate().filter(move |(at, _)| nodes & (1 << at) != 0);
        granted.map(|(_, token)| token.load(Ordering::Acquire))
    }

    /// The value that at least `quorum` of `nodes` accepted alike.
    pub(crate) fn agreed(&self, nodes: u16, quorum: usize) -> Option<u64> {
        let accepted = self.accepted(nodes);
        let votes = |token: &u64| accepted.clone().filter(|other| other == token).count();
        accepted.clone().find(|token| *token > 0 && votes(token) >= quorum)
    }

    /// What the owner raises `nodes` to: beyond everything that any of them accepted.
    pub(crate) fn beyond(&self, nodes: u16) -> u64 {
        self.accepted(nodes).max().unwrap_or(0).max(self.proposal).saturating_add(1)
    }

    /// The token of the lease, once it is known.
    pub(crate) fn chosen(&self) -> u64 {
        self.chosen.load(Ordering::Acquire)
    }

    pub(crate) fn choose(&self, token: u64) {
        self.chosen.store(token, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(tokens: &[u64]) -> Fencing {
        let fencing = Fencing::new(b"k", 7);
        for (node, token) in tokens.iter().enumerate() {
            fencing.note(node, *token);
        }
        fencing
    }

    #[test]
    fn a_token_is_what_a_quorum_accepted_alike() {
        assert_eq!(accepted(&[9, 9, 9]).agreed(0b111, 2), Some(9));
        assert_eq!(accepted(&[9, 8, 9]).agreed(0b111, 2), Some(9));
        assert_eq!(accepted(&[9, 8, 7]).agreed(0b111, 2), None);
        // The largest is not enough: two owners could take the same one (model: 10 steps).
        assert_eq!(accepted(&[9, 8, 8, 0, 0]).agreed(0b00111, 3), None);
        // Only nodes whose grant was counted have a say.
        assert_eq!(accepted(&[9, 9, 9]).agreed(0b001, 2), None);
        assert_eq!(accepted(&[0, 0, 0]).agreed(0b111, 2), None);
        assert_eq!(accepted(&[5]).key, b"redlatch:fence:k");
    }

    #[test]
    fn a_raise_goes_beyond_everything_seen() {
        assert_eq!(accepted(&[9, 12, 8]).beyond(0b111), 13);
        assert_eq!(accepted(&[9, 12, 8]).beyond(0b101), 10);
        assert_eq!(accepted(&[1, 2, 3]).beyond(0b111), 8);
    }
}
