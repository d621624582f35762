//! How a fenced acquisition gets its token, once a quorum has granted the lock.
//!
//! Nearly always a quorum counted alike, and the token is known with the grant. Where the nodes
//! counted differently (the rounds of others left their marks on some) the owner raises them to
//! one value: one more round trip, owner-checked on each node.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::algorithm::tally::{Phase, Tally, Vote};
use crate::engine::acquire::Acquisition;
use crate::engine::core::Engine;
use crate::engine::op::Op;
use crate::engine::wish::Failure;

impl Acquisition {
    pub(super) fn poll_token(
        &mut self,
        engine: &Engine,
        op: &Arc<Op>,
        tally: Tally,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        let Some(fence) = &op.fence else { return Poll::Ready(Ok(())) };
        let granted = tally.set(Vote::Granted);
        let Some((round, value)) = self.late().raise else {
            if let Some(token) = fence.agreed(granted, op.quorum()) {
                fence.choose(token);
                return Poll::Ready(Ok(()));
            }
            let value = fence.beyond(granted);
            let round = engine.raise(op, granted, value);
            self.late().raise = Some((round, value));
            self.course.attempts = self.course.attempts.saturating_add(1);
            return self.poll_token(engine, op, tally, cx);
        };
        op.watch(cx.waker());
        let votes = op.extend_tally();
        match votes.phase() {
            Phase::Open if votes.round() == round => Poll::Pending,
            Phase::Won if votes.round() == round => {
                self.late().raise = None;
                fence.choose(value);
                Poll::Ready(Ok(()))
            }
            // Somebody was granted the lock meanwhile, or too few nodes answered.
            _ => {
                self.late().raise = None;
                let taken = votes.count(Vote::Denied) > 0;
                Poll::Ready(Err(if taken { Failure::Busy } else { Failure::NoQuorum }))
            }
        }
    }
}
