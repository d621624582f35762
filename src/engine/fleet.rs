//! What the drivers of one fleet tell each other.
//!
//! - I1 the quarantine that this client asks for never shrinks: it is the longest that its own
//!   locks, or those of any client that left word on a node, need.
//! - I2 one server process votes once: a second address that leads to it is refused.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use atomic_waker::AtomicWaker;

use crate::endpoint::Endpoint;
use crate::engine::buffers::Buffers;
use crate::engine::hub::Hub;
use crate::engine::op::Pool;
use crate::engine::rousing::Rousing;
use crate::session::stamp::Stamp;
use crate::time::Timestamp;

#[derive(Debug)]
pub(crate) struct Fleet {
    /// Wakes the keeper: a node said something about leases that it held.
    pub(crate) alarm: AtomicWaker,
    /// What the nodes tell this process.
    pub(crate) hub: Hub,
    /// The callers that are to be woken.
    pub(crate) rousing: Rousing,
    pub(crate) buffers: Buffers,
    pub(crate) pool: Pool,
    /// When what any node held was last voided: one word to read instead of every node's.
    pub(crate) voided_at: AtomicU64,
    /// When each node's clock last stepped forward.
    stepped: Mutex<Vec<Option<Timestamp>>>,
    /// The end of the latest quarantine of any node, in its own microseconds.
    token_floor_us: AtomicI64,
    name: String,
    quarantine_ms: AtomicU64,
    /// The process behind each node, while it is connected.
    run_ids: Mutex<Vec<Option<String>>>,
}

impl Fleet {
    pub(crate) fn new(
        endpoints: &[Endpoint],
        quorum: usize,
        quarantine_ms: u64,
        hub: Hub,
        rousing: Rousing,
        pool: Pool,
    ) -> Self {
        Self {
            alarm: AtomicWaker::new(),
            hub,
            rousing,
            buffers: Buffers::default(),
            pool,
            voided_at: AtomicU64::new(0),
            stepped: Mutex::new(vec![None; endpoints.len()]),
            token_floor_us: AtomicI64::new(0),
            name: name(endpoints, quorum),
            quarantine_ms: AtomicU64::new(quarantine_ms),
            run_ids: Mutex::new(vec![None; endpoints.len()]),
        }
    }

    /// How the nodes are to know this fleet: its size, its quorum, a digest of its addresses.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The quarantine to ask for, in milliseconds.
    pub(crate) fn quarantine_ms(&self) -> u64 {
        self.quarantine_ms.load(Ordering::Acquire)
    }

    /// A node knows of a client with longer locks (I1), and when its own quarantine ends.
    pub(crate) fn learn(&self, stamp: &Stamp) {
        self.quarantine_ms.fetch_max(stamp.quarantine_ms, Ordering::AcqRel);
        self.token_floor_us.fetch_max(stamp.opens_us, Ordering::AcqRel);
    }

    /// Below it no fencing token is proposed: a node that forgot its counter votes again only
    /// behind it. `median_us` is what most nodes take for the time: an end that is farther off
    /// than a whole quarantine was told by a clock that is wrong, and must not carry the tokens
    /// away. When a node whose clock is less wrong than that votes again, the bound is behind it.
    pub(crate) fn token_floor_us(&self, median_us: i64) -> i64 {
        let quarantine_us = self.quarantine_ms().saturating_mul(1_000);
        let most = median_us.saturating_add_unsigned(quarantine_us);
        self.token_floor_us.load(Ordering::Acquire).min(most)
    }

    /// `node` leads to the process `run_id`. The node that leads there already, if any (I2).
    pub(crate) fn claim(&self, node: usize, run_id: Option<&str>) -> Option<usize> {
        let mut run_ids = self.run_ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run_id) = run_id {
            let known = |(at, known): (usize, &Option<String>)| {
                (at != node && known.as_deref() == Some(run_id)).then_some(at)
            };
            if let Some(other) = run_ids.iter().enumerate().find_map(known) {
                return Some(other);
            }
        }
        if let Some(slot) = run_ids.get_mut(node) {
            *slot = run_id.map(str::to_owned);
        }
        None
    }

    /// `node` leads nowhere any more.
    pub(crate) fn leave(&self, node: usize) {
        let mut run_ids = self.run_ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = run_ids.get_mut(node) {
            *slot = None;
        }
    }

    /// `node`'s clock stepped forward at `now`, as far as this client can tell.
    pub(crate) fn stepped(&self, node: usize, now: Timestamp) {
        let mut stepped = self.stepped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = stepped.get_mut(node) {
            *slot = Some(now);
        }
    }

    /// Whether most clocks seem to have stepped since `since`: then it was this process that
    /// stood still, with its clocks (a paused virtual machine), and the nodes are not to blame.
    pub(crate) fn stood_still(&self, since: Timestamp) -> bool {
        let stepped = self.stepped.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = stepped.iter().flatten().filter(|at| **at >= since).count();
        stepped.len() > 1 && recent * 2 > stepped.len()
    }

    /// What is wrong if a node takes itself for a part of the fleet `other`.
    pub(crate) fn mismatch(&self, other: &str) -> Option<String> {
        // A node that was opened by a tool, or stamped before fleets had names, says `-`.
        if other == self.name || other == "-" || other.is_empty() {
            return None;
        }
        Some(format!(
            "another client counts this node to the fleet {other} (nodes/quorum/addresses), this \
             one to {}: with different node lists or quorums two clients can hold one lock; give \
             all clients the same addresses, spelled alike, and the same quorum",
            self.name
        ))
    }
}

/// `5/3/1f0c..`: the order of the addresses does not matter, their spelling does.
pub(crate) fn name(endpoints: &[Endpoint], quorum: usize) -> String {
    let address = |endpoint: &Endpoint| {
        let (server, database) = (endpoint.transport(), endpoint.database());
        format!("{server:?} {database}")
    };
    let mut addresses: Vec<String> = endpoints.iter().map(address).collect();
    addresses.sort_unstable();
    // FNV-1a: stable between versions and processes, and nobody gains by a collision.
    let digest = addresses.join("\n").bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut name = String::new();
    // Writing to a `String` cannot fail.
    let _ = write!(name, "{}/{quorum}/{digest:016x}", endpoints.len());
    name
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::waiters::Waiters;

    fn fleet(urls: &[&str], quorum: usize) -> Fleet {
        let endpoints: Vec<Endpoint> =
            urls.iter().map(|url| Endpoint::try_from(*url).unwrap()).collect();
        Fleet::new(
            &endpoints,
            quorum,
            10,
            Hub::new(1, "", Arc::new(Waiters::new())),
            Rousing::new(true),
            Pool::new(1),
        )
    }

    #[test]
    fn a_fleet_is_named_by_its_addresses_in_any_order_and_its_quorum() {
        let one = fleet(&["redis://a", "redis://b:7000", "redis://c"], 2);
        let same = fleet(&["redis://c:6379", "redis://user:pass@a", "redis://b:7000"], 2);
        assert_eq!(one.name(), same.name());
        assert_eq!(one.mismatch(same.name()), None);
        assert!(!one.name().contains("pass") && one.name().is_ascii());
        for other in [
            fleet(&["redis://a", "redis://b:7000", "redis://d"], 2),
            fleet(&["redis://a", "redis://b:7000", "redis://c"], 3),
            fleet(&["redis://a", "redis://b:7000"], 2),
            fleet(&["redis://a/1", "redis://b:7000", "redis://c"], 2),
        ] {
            let warning = one.mismatch(other.name()).unwrap();
            assert!(warning.contains(one.name()) && warning.contains(other.name()));
        }
        assert_eq!(one.mismatch("-"), None);
    }

    #[test]
    fn i2_a_process_is_claimed_by_one_node_at_a_time() {
        let fleet = fleet(&["redis://a", "redis://b"], 2);
        assert_eq!(fleet.claim(0, Some("x")), None);
        assert_eq!(fleet.claim(0, Some("x")), None, "a reconnect");
        assert_eq!(fleet.claim(1, Some("x")), Some(0));
        assert_eq!(fleet.claim(1, None), None, "a server without a name passes");
        fleet.leave(0);
        assert_eq!(fleet.claim(1, Some("x")), None);
    }

    #[test]
    fn one_clock_that_steps_is_the_nodes_most_of_them_are_ours() {
        let at = Timestamp::from_nanos;
        let single = fleet(&["redis://a"], 1);
        let fleet = fleet(&["redis://a", "redis://b", "redis://c"], 2);
        fleet.stepped(0, at(50));
        assert!(!fleet.stood_still(at(10)));
        fleet.stepped(2, at(60));
        assert!(fleet.stood_still(at(10)));
        assert!(!fleet.stood_still(at(55)), "the first was long before");
        single.stepped(0, at(50));
        assert!(!single.stood_still(at(10)), "of one clock nobody can tell");
    }

    #[test]
    fn i1_the_quarantine_only_grows() {
        let fleet = fleet(&["redis://a"], 1);
        let stamp = |quarantine_ms, opens_us| Stamp {
            id: (*b"e").into(),
            run_id: "r".into(),
            now_us: 0,
            opens_us,
            quarantine_ms,
            fleet: "-".into(),
        };
        fleet.learn(&stamp(30, 5));
        fleet.learn(&stamp(20, 7));
        assert_eq!((fleet.quarantine_ms(), fleet.token_floor_us(0)), (30, 7));
        // One clock that is an hour ahead.
        fleet.learn(&stamp(30, 3_600_000_000));
        assert_eq!(fleet.token_floor_us(1_000_000), 1_030_000);
        assert_eq!(fleet.token_floor_us(3_599_990_000), 3_600_000_000);
    }
}
