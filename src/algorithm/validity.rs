//! How long a grant may be relied on: the vote ledger's q-th expiry.

/// The ledger's rule: the q-th largest of the nodes' expiry bounds. At every instant before it, at
/// least `quorum` nodes hold our key. Zero when fewer than `quorum` bounds are set.
pub(crate) fn quorum_expiry(bounds: &[u64], quorum: usize) -> u64 {
    // The largest that so many reach: for a handful of nodes that is less work than sorting.
    let reaches = |bound: u64| bounds.iter().filter(|other| **other >= bound).count();
    let held = bounds.iter().copied().filter(|bound| reaches(*bound) >= quorum);
    if quorum == 0 { 0 } else { held.max().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_sorting_finds() {
        let mut bits = 1_u64;
        for round in 0..2_000 {
            let count = round % 16;
            let mut bounds: Vec<u64> = Vec::new();
            for _ in 0..count {
                bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Few values, so that many are alike.
                bounds.push((bits >> 33) % 7);
            }
            let mut sorted = bounds.clone();
            sorted.sort_unstable();
            sorted.reverse();
            for quorum in 1..=17 {
                let expected = sorted.get(quorum - 1).copied().unwrap_or(0);
                assert_eq!(quorum_expiry(&bounds, quorum), expected, "{bounds:?}, {quorum}");
            }
        }
    }

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
