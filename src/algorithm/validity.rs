//! How long a grant may be relied on: the vote ledger's q-th expiry.

use crate::algorithm::tally::NODES_MAX;

/// The ledger's rule: the q-th largest of the nodes' expiry bounds. At every instant before it, at
/// least `quorum` nodes hold our key. Zero when fewer than `quorum` bounds are set.
pub(crate) fn quorum_expiry(bounds: &[u64], quorum: usize) -> u64 {
    let mut sorted = [0u64; NODES_MAX];
    let count = bounds.len().min(NODES_MAX);
    for (slot, bound) in sorted.iter_mut().zip(bounds) {
        *slot = *bound;
    }
    let Some(sorted) = sorted.get_mut(..count) else { return 0 };
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    quorum.checked_sub(1).and_then(|at| sorted.get(at)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_is_the_qth_largest_bound() {
        assert_eq!(quorum_expiry(&[5, 9, 0, 7, 1], 3), 5);
        assert_eq!(quorum_expiry(&[5, 9, 0, 0, 0], 3), 0);
        assert_eq!(quorum_expiry(&[4], 1), 4);
        assert_eq!(quorum_expiry(&[4], 2), 0);
        assert_eq!(quorum_expiry(&[], 1), 0);
        assert_eq!(quorum_expiry(&[4, 4], 0), 0);
    }
}
