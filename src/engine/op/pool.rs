//! Ops between uses.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Op, Spec};

/// Ops between uses. First in, first out: the oldest is the likeliest to be nobody's.
#[derive(Debug)]
pub(crate) struct Pool {
    free: Mutex<VecDeque<Arc<Op>>>,
}

/// More idle ops than this are dropped; each takes about 500 bytes.
const POOL_MAX: usize = 8_192;
/// How many still referred-to ops a caller passes over before it allocates: a node that lags behind
/// the quorum refers to the latest ones for a while.
const PASSES_MAX: usize = 32;

impl Pool {
    pub(crate) fn new() -> Self {
        Self { free: Mutex::new(VecDeque::new()) }
    }

    pub(crate) fn take(&self, spec: &Spec<'_>) -> Arc<Op> {
        for _ in 0..PASSES_MAX {
            let next = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(mut op) = next else { break };
            if let Some(free) = Arc::get_mut(&mut op) {
                free.reset(spec);
                return op;
            }
            self.put(op);
        }
        Arc::new(Op::new(spec))
    }

    pub(crate) fn put(&self, op: Arc<Op>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < POOL_MAX {
            free.push_back(op);
        }
    }

    #[cfg(test)]
    pub(crate) fn has_no_op_twice(&self) -> bool {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let distinct: std::collections::HashSet<_> = free.iter().map(Arc::as_ptr).collect();
        distinct.len() == free.len()
    }
}
