//! What a node's clock and its pushes mean for the leases that it holds.
//!
//! Servers expire keys by their wall clock (redis#416, valkey#2651): a step forward ends locks
//! early, and a clock that runs fast ends them a little early.
//! - I1 a bound that rests on a clock reading from before a step does not count behind it.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::algorithm::node_clock::{NodeClock, Reading, Sample};
use crate::engine::node::{Node, count};
use crate::engine::op::Op;
use crate::time::Timestamp;

/// What a node told about the keys that this client watches there.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// These may have changed.
    pub(crate) keys: Vec<Vec<u8>>,
    /// Too many to list: any may have changed.
    pub(crate) overflowed: bool,
}

/// Why a node whose clock runs wild does not vote.
pub(crate) const RUNS_WILD: &str = "its clock runs more than 5 % too fast or too slow against \
    ours: its votes do not count, see to its time service";

/// More changed keys than this between two looks are not told apart.
const TOLD_MAX: usize = 1_024;

impl Node {
    /// A reading of the node's wall clock; `true`: it has stepped forward.
    pub(crate) fn read_clock(&self, sent: Timestamp, received: Timestamp, node_us: i64) -> bool {
        let mut clock = self.wall_clock.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = clock.sample(Sample { sent, received, node_us });
        let ppm = clock.drift_ppm(self.settings.drift_ppm);
        let is_suspect = clock.is_suspect();
        drop(clock);
        if !self.settings.protections.clock {
            return false;
        }
        self.drift_ppm.store(ppm, Ordering::Release);
        self.runs_wild.store(is_suspect, Ordering::Release);
        match reading {
            Reading::First | Reading::Steady => false,
            Reading::SteppedBack(_) => {
                // Locks live longer there: nothing to do.
                count(&self.counters.clock_steps_back, 1);
                false
            }
            Reading::SteppedForward(_) => {
                count(&self.counters.clock_steps, 1);
                true
            }
        }
    }

    /// Another process answers: its clock has nothing to do with the one before.
    pub(crate) fn forget_clock(&self) {
        *self.wall_clock.lock().unwrap_or_else(PoisonError::into_inner) = NodeClock::default();
    }

    /// The node's wall clock at `now`, in microseconds since 1970, if it was read.
    pub(crate) fn wall_time_us(&self, now: Timestamp) -> Option<i64> {
        self.wall_clock.lock().unwrap_or_else(PoisonError::into_inner).estimate_us(now)
    }

    /// The allowance for the node's clock running faster than ours: what is configured, or more
    /// where more was measured.
    pub(crate) fn drift_ppm(&self) -> u32 {
        self.drift_ppm.load(Ordering::Acquire)
    }

    /// Its clock runs so wrong that no allowance helps: it must not vote.
    pub(crate) fn runs_wild(&self) -> bool {
        self.runs_wild.load(Ordering::Acquire)
    }

    /// What the node held for us up to now cannot be relied on any more (I1).
    pub(crate) fn void(&self, now: Timestamp) {
        self.voided_at.fetch_max(now.as_nanos(), Ordering::AcqRel);
        self.fleet.voided_at.fetch_max(now.as_nanos(), Ordering::AcqRel);
        // Whoever missed both words is known to the keeper by now.
        self.fleet.alarm.wake();
    }

    /// When what it held was last voided.
    pub(crate) fn voided_at(&self) -> Timestamp {
        Timestamp::from_nanos(self.voided_at.load(Ordering::Acquire))
    }

    /// Watched keys may have changed.
    pub(crate) fn tell(&self, keys: Vec<Vec<u8>>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.keys.len().saturating_add(keys.len()) > TOLD_MAX {
            told.keys.clear();
            told.overflowed = true;
        }
        if !told.overflowed {
            told.keys.extend(keys);
        }
        drop(told);
        self.fleet.alarm.wake();
    }

    /// A lease is not what it was thought to be: the keeper asks about it.
    pub(crate) fn doubt(&self, op: &Op) {
        self.tell(vec![op.key().to_vec()]);
    }

    /// What was told since the last look.
    pub(crate) fn take_told(&self) -> Told {
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
