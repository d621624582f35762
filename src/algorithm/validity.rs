//! How long a grant may be relied on: drift, a node's share, and the vote ledger's q-th expiry.

use std::time::Duration;

use crate::algorithm::tally::NODES_MAX;

/// Allowance for clocks that run at different rates: a share of the ttl and a constant.
///
/// Redlock: `validity = ttl - elapsed - drift`. The share covers the nodes' clocks running fast
/// against ours, the constant the 1 ms grain of the servers' expiry (doubled).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drift {
    /// Clock-rate error between a node and this process, in parts per million of the ttl.
    /// Default 10 000 (1 %), as node-redlock and redsync. Raise it where node clocks are slewed
    /// fast (chrony's default allows 83 333 ppm); lowering it below 1 000 is not advised.
    pub parts_per_million: u32,
    /// Constant allowance. Default 2 ms: twice the 1 ms grain of the servers' expiry.
    pub constant: Duration,
}

impl Default for Drift {
    fn default() -> Self {
        Self { parts_per_million: 10_000, constant: Duration::from_millis(2) }
    }
}

impl Drift {
    /// What remains of `ttl` after the allowance; zero when the allowance eats it up.
    pub(crate) fn share(self, ttl: Duration) -> Duration {
        let ppm = self.parts_per_million.min(1_000_000);
        let rate = u64::from(1_000_000 - ppm);
        let nanos = ttl.as_nanos().saturating_mul(u128::from(rate)) / 1_000_000;
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos).saturating_sub(self.constant)
    }
}

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
    fn drift_takes_a_share_and_a_constant() {
        let drift = Drift::default();
        assert_eq!(drift.share(Duration::from_secs(10)), Duration::from_millis(9_898));
        assert_eq!(drift.share(Duration::from_millis(2)), Duration::ZERO);
        assert_eq!(drift.share(Duration::ZERO), Duration::ZERO);
        let all = Drift { parts_per_million: 2_000_000, constant: Duration::ZERO };
        assert_eq!(all.share(Duration::from_secs(1)), Duration::ZERO);
        assert!(drift.share(Duration::MAX) > Duration::from_secs(1 << 30));
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
