//! The shortcut past the driver: a submitter writes by itself while the connection is idle.
//!
//! - I1 the connection's lock is tried, never waited for; whoever fails wakes the driver instead.
//! - I2 nothing is written that the driver would not find overdue in time: its alarm must stand.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, TryLockError};
use std::task::{Context, Wake};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::engine::clock::Clock;
use crate::engine::connection::Connection;
use crate::engine::dispatch::Reload;
use crate::engine::node::Node;

/// A way past the driver for a submitter that finds the connection idle.
pub(crate) trait Flush: Send + Sync {
    /// Writes what is queued, on the caller's thread, if hardly anything is in flight: then there
    /// is nobody to share the write with, and the detour over the driver's task would only add a
    /// task switch, and often a wake-up of another thread. `false`: the driver must be woken.
    fn flush(&self, node: &Node, clock: Clock) -> bool;
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Flush for Mutex<Connection<S>> {
    fn flush(&self, node: &Node, clock: Clock) -> bool {
        match self.try_lock() {
            Ok(mut connection) => connection.flush(node, clock),
            Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => false,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn flush(&mut self, node: &Node, clock: Clock) -> bool {
        let expected = self.pipeline.len().max(self.handed_out);
        let is_idle = self.write.is_empty() && self.staged.is_empty() && self.reload != Reload::Due;
        if self.is_dead || !is_idle || self.gate.is_deferred() {
            return false;
        }
        if expected >= node.settings.batching.gather_min_inflight {
            return false;
        }
        let now = clock.now();
        // The driver must look again in time to find these commands overdue.
        if self.armed > now.plus(node.settings.node_timeout) {
            return false;
        }
        self.take_lanes(node, now);
        if !self.form_write(node, now) {
            return self.staged.is_empty();
        }
        let driver = self.driver.clone();
        let mut cx = Context::from_waker(&driver);
        // A failed write is the driver's to find: its next one fails too.
        let wrote = self.poll_write(&mut cx, node).is_ok();
        node.in_flight.store(self.pipeline.len() + self.staged.len(), Ordering::Relaxed);
        wrote && self.write.is_empty() && self.staged.is_empty()
    }
}

impl std::fmt::Debug for dyn Flush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flush")
    }
}

#[derive(Debug)]
pub(super) struct WakeDriver(pub(super) Arc<Node>);

impl Wake for WakeDriver {
    fn wake(self: Arc<Self>) {
        self.0.waker.wake();
    }
}
