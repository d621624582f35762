//! Who waits for a lease's end or for the outcome of an extension.

use std::sync::PoisonError;
use std::task::Waker;

use crate::engine::op::Op;

impl Op {
    pub(super) fn wake_watchers(&self) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let wakers = std::mem::take(&mut *watchers);
        drop(watchers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Asks to be woken when the lease is lost or an extension is decided. The caller looks again
    /// afterwards: what it waits for may just have happened.
    pub(crate) fn watch(&self, waker: &Waker) {
        let mut wakers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            // Bounded: futures that were dropped leave their waker behind until the next sweep.
            if wakers.len() >= WATCHERS_MAX {
                for waker in wakers.drain(..) {
                    waker.wake();
                }
            }
            wakers.push(waker.clone());
        }
    }
}

const WATCHERS_MAX: usize = 256;
