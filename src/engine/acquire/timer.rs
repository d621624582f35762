//! A caller's one timer, on the keeper's wheel.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::Acquisition;
use crate::engine::core::Engine;
use crate::engine::waiters::Waiter;
use crate::time::Timestamp;

impl Acquisition {
    /// Waits until `until` on the keeper's wheel.
    pub(super) fn wait(
        &mut self,
        engine: &Engine,
        until: Timestamp,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if engine.clock.now() >= until {
            self.cancel_timer(engine);
            return Poll::Ready(());
        }
        let (ttl, keep, fenced) = (self.wish.ttl, self.wish.keep, self.wish.fenced);
        let waiter = self.waiter.get_or_insert_with(|| Arc::new(Waiter::new(ttl, keep, fenced)));
        waiter.waker.register(cx.waker());
        if self.timer.is_none() {
            self.timer = Some(engine.keeper.wake_at(until, waiter));
            self.armed_for = until;
        }
        Poll::Pending
    }

    /// As [`Acquisition::wait`], where the instant to wait for changes.
    pub(super) fn wait_anew(
        &mut self,
        engine: &Engine,
        until: Timestamp,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.armed_for != until {
            self.cancel_timer(engine);
        }
        self.wait(engine, until, cx)
    }

    pub(super) fn cancel_timer(&mut self, engine: &Engine) {
        if let Some(key) = self.timer.take() {
            engine.keeper.cancel(key);
        }
    }
}
