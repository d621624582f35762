//! What the engine asks of the nodes for a lock that it holds or is about to hold: extensions,
//! tops-up, watches, fencing counters, and the time.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::core::{Engine, Wakes};
use crate::engine::node::{Extension, TopUp};
use crate::engine::op::{Op, millis};
use crate::fencing::FencingToken;
use crate::time::Timestamp;

impl Engine {
    /// The fencing token to propose: the median of the nodes' clocks in microseconds, so that no
    /// single clock, ours least of all, can carry the tokens away; and beyond the end of every
    /// quarantine, because a node that forgot its counter may have accepted up to there.
    pub(super) fn propose(&self) -> u64 {
        let median = self.median_time_us(self.clock.now());
        let floor = self.fleet.token_floor_us(median);
        u64::try_from(median.max(floor.saturating_add(1)))
            .unwrap_or(1)
            .min(FencingToken::MAX.get() / 2)
    }

    /// What most nodes take for the time, in microseconds since 1970.
    pub(crate) fn median_time_us(&self, now: Timestamp) -> i64 {
        let mut times: Vec<i64> =
            self.nodes.iter().filter_map(|node| node.wall_time_us(now)).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(0)
    }

    /// Raises the fencing counters of `nodes` to `value`; the round's number.
    pub(crate) fn raise(&self, op: &Arc<Op>, nodes: u16, value: u64) -> u8 {
        self.ask(op, nodes, 0, Some(value))
    }

    /// Asks the nodes that do not hold a held lease's key to hold it too (R6: called only when a
    /// quorum has just answered that they hold it).
    pub(crate) fn top_up(&self, op: &Arc<Op>, ttl: Duration, now: Timestamp) {
        let holding = op.holding(now);
        let mut wakes = Wakes::default();
        for node in self.nodes.iter().filter(|node| holding & (1 << node.index) == 0) {
            if !op.is_barred(node.index) {
                let top_up = TopUp { op: Arc::clone(op), ttl_ms: millis(ttl) };
                wakes.add(node.index, node.submit_top_up(top_up));
            }
        }
        self.wake(wakes);
    }

    /// Asks every node that holds the key to tell when it changes.
    pub(crate) fn watch(&self, op: &Arc<Op>, now: Timestamp) {
        let holding = op.holding(now);
        let mut wakes = Wakes::default();
        for node in self.nodes.iter().filter(|node| holding & (1 << node.index) != 0) {
            wakes.add(node.index, node.submit_watch(op));
        }
        self.wake(wakes);
    }

    /// Begins an extension round at every node that may hold the key; its number. A ttl of zero
    /// only asks whether they do.
    pub(crate) fn extend(&self, op: &Arc<Op>, ttl: Duration) -> u8 {
        let holders = op.holders(op.acquire_tally());
        self.ask(op, holders, millis(ttl), None)
    }

    fn ask(&self, op: &Arc<Op>, nodes: u16, ttl_ms: u64, raise: Option<u64>) -> u8 {
        let round = op.begin_extend(nodes);
        let mut wakes = Wakes::default();
        for node in self.nodes.iter().filter(|node| nodes & (1 << node.index) != 0) {
            let extension = Extension { op: Arc::clone(op), round, ttl_ms, raise };
            wakes.add(node.index, node.submit_extension(extension));
        }
        self.wake(wakes);
        round
    }
}
