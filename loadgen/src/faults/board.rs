//! When the faults of a run began and were over, for whoever asks while it lasts.
//!
//! Invariant: a fault is on the board before its first target is hit, and until all of them answer
//! again; one that could not be healed stays there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A fault in force, or what is left of it; instants of the common clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lasted {
    pub(crate) begin_ns: u64,
    /// `None`: it is still in force.
    pub(crate) over_ns: Option<u64>,
}

/// At most as many entries as the plan has faults.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<usize, Lasted>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Lasted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault of that number in the plan begins.
    pub(super) fn begin(&self, number: usize, begin_ns: u64) {
        self.lock().insert(number, Lasted { begin_ns, over_ns: None });
    }

    /// All its targets answer again.
    pub(super) fn over(&self, number: usize, over_ns: u64) {
        if let Some(lasted) = self.lock().get_mut(&number) {
            lasted.over_ns = Some(over_ns);
        }
    }

    /// Those that have begun.
    pub(crate) fn lasted(&self) -> Vec<Lasted> {
        self.lock().values().copied().collect()
    }
}
