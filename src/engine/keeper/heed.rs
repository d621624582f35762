//! What nodes say of leases without being asked, and what the machine slept through.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::core::Engine;
use crate::engine::keeper::{Keeper, KeeperTask, Timed, loss_margin};
use crate::engine::op::Op;
use crate::engine::wheel::Key;
use crate::error::Lost;
use crate::time::Timestamp;

/// Below it the two clocks' readings may differ by being taken one after the other.
const SUSPEND_MIN: Duration = Duration::from_millis(50);

impl KeeperTask {
    /// Takes out of the ledgers what a node was found to have lost, and asks again about keys
    /// that are said to have changed.
    pub(super) fn heed_nodes(&mut self) {
        let engine = Arc::clone(&self.engine);
        let now = engine.clock.now();
        for (node, heeded) in engine.nodes.iter().zip(&mut self.heeded) {
            let voided_at = node.voided_at();
            if voided_at > *heeded {
                *heeded = voided_at;
                for op in engine.keeper.held() {
                    let _ = op.clear_bound(node.index);
                    if engine.keeper.moved_nearer(&op, now) {
                        op.keeper_key.store(0, Ordering::Release);
                        engine.lose(&op, Lost::TakenOver);
                    }
                }
            }
            let told = node.take_told();
            if told.overflowed || !told.keys.is_empty() {
                for op in engine.keeper.held() {
                    if told.overflowed || told.keys.iter().any(|key| key == op.key()) {
                        engine.keeper.doubt(&op, now);
                    }
                }
            }
        }
    }

    /// CLOCK_BOOTTIME goes on while the machine is suspended and CLOCK_MONOTONIC does not. Leases
    /// are judged by the former, so they are over already where they are; this counts it.
    pub(super) fn notice_suspend(&mut self) {
        let suspended = self.engine.clock.suspended();
        if suspended >= self.suspended.saturating_add(SUSPEND_MIN) {
            self.engine.counters.suspends.fetch_add(1, Ordering::Relaxed);
        }
        self.suspended = suspended;
    }
}

impl Engine {
    /// What a node held of an attempt that began before it was voided does not count.
    pub(crate) fn drop_voided(&self, op: &Op, began: Timestamp) {
        if self.fleet.voided_at.load(Ordering::Acquire) < began.as_nanos() {
            return;
        }
        for node in &self.nodes {
            if node.voided_at() >= began {
                let _ = op.clear_bound(node.index);
            }
        }
    }
}

impl Keeper {
    /// A lease's validity may end sooner than was thought. `true`: it has ended, and the lease is
    /// taken out.
    fn moved_nearer(&self, op: &Op, now: Timestamp) -> bool {
        let mut state = self.state();
        let Some(key) = Key::from_word(op.keeper_key.load(Ordering::Acquire)) else { return false };
        let end = op.valid_until().minus(loss_margin(op.ttl));
        let Some((due, Timed::Lease(_))) = state.wheel.get(key) else { return false };
        if end <= now {
            state.wheel.remove(key);
            state.leases = state.leases.saturating_sub(1);
            return true;
        }
        if end < due {
            state.wheel.reschedule(key, end);
            self.arm(state, end);
        }
        false
    }

    /// A lease's key may have changed on a node: it is asked about at once.
    fn doubt(&self, op: &Op, now: Timestamp) {
        let mut state = self.state();
        let Some(key) = Key::from_word(op.keeper_key.load(Ordering::Acquire)) else { return };
        if let Some(Timed::Lease(lease)) = state.wheel.get_mut(key) {
            lease.is_doubtful = true;
            lease.renew_at = lease.renew_at.min(now);
            state.wheel.reschedule(key, now);
            self.arm(state, now);
        }
    }
}
