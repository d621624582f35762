//! What a caller holds.

use std::fmt;
use std::future::Future;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use crate::algorithm::tally::{Phase, Tally, Vote};
use crate::config::whole_millis;
use crate::engine::core::Wakes;
use crate::engine::handoff::Ended;
use crate::engine::op::{Op, millis};
use crate::engine::wish::Course;
use crate::error::{ExtendError, Lost, ReleaseError};
use crate::fencing::FencingToken;
use crate::lease::{Deadline, Lease};
use crate::redlock::Core;
use crate::report::Report;
use crate::resource::Resource;
use crate::time::nanos;
use crate::token::Token;

/// A held lock. Dropping it releases the lock in the background: that never blocks, never waits
/// and works in any thread. Use [`Guard::release`] to know that it was released.
///
/// While another caller of this process waits for the lock, a release may hand it over as it is,
/// without asking the nodes; see [`Handoff`](crate::Handoff).
#[must_use = "if unused the lock is released at once"]
#[clippy::has_significant_drop]
pub struct Guard {
    lease: Lease,
    course: Course,
    disarmed: bool,
}

impl Guard {
    pub(crate) fn new(core: &Arc<Core>, op: Arc<Op>, course: Course) -> Self {
        Self { lease: Lease::new(Arc::clone(core), op), course, disarmed: false }
    }

    const fn op(&self) -> &Arc<Op> {
        self.lease.op()
    }

    const fn core(&self) -> &Arc<Core> {
        self.lease.core()
    }

    /// A view of the grant to hand to the work: it cannot release.
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Everything that was asked for, each once, in the order of the names' bytes; what was locked
    /// above it on its behalf is not listed.
    pub fn resources(&self) -> &[Resource] {
        let op = self.op();
        match &op.claim {
            Some(claim) => &claim.asked,
            None => std::slice::from_ref(&op.resource),
        }
    }

    /// What is locked; of several resources the first.
    pub fn resource(&self) -> &Resource {
        self.lease.resource()
    }

    /// As [`Lease::token`]: from then on, the lock is not handed to another caller of this process.
    pub fn token(&self) -> Token {
        self.lease.token()
    }

    /// As [`Lease::fencing_token`].
    pub fn fencing_token(&self) -> Option<FencingToken> {
        self.lease.fencing_token()
    }

    /// As [`Lease::margin`].
    pub fn margin(&self) -> usize {
        self.lease.margin()
    }

    /// As [`Lease::valid_until`].
    pub fn valid_until(&self) -> Deadline {
        self.lease.valid_until()
    }

    /// Validity left; zero once the lock is lost.
    pub fn remaining(&self) -> Duration {
        self.lease.remaining()
    }

    /// Whether the lock is held: a local reading, no round trip.
    pub fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    /// As [`Lease::lost`].
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + Sync + use<> + 'static {
        self.lease.lost()
    }

    /// Rounds that it took to get the lock, none if another caller of this process handed it over;
    /// [`Guard::report`] tells more.
    pub const fn attempts(&self) -> u32 {
        self.course.attempts
    }

    /// Whether anybody else was in the way: another round was needed, or a place in the queue.
    pub const fn was_contended(&self) -> bool {
        self.course.contended
    }

    /// How the lock was got: attempts, times, votes. Builds the votes anew at each call.
    pub fn report(&self) -> Report {
        self.core().report(&self.course)
    }

    /// Has every node hold the lock for `ttl` from now on, where that is longer than what is
    /// left: an extension never shortens. Renewals ask for `ttl` too from here on.
    ///
    /// # Errors
    /// [`ExtendError`]: the ttl cannot be used, the lease is lost (it is never revived), or too
    /// few nodes confirmed, in which case it stays valid for what was left.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the extension back.
    pub async fn extend(&self, ttl: Duration) -> Result<Deadline, ExtendError> {
        let engine = &self.core().engine;
        let op = self.op();
        if !engine.settings.is_usable_ttl(ttl) {
            let (min, max) = (engine.settings.ttl_min(), engine.settings.max_ttl);
            return Err(ExtendError::InvalidTtl { ttl, min, max });
        }
        let ttl = whole_millis(ttl);
        self.ensure_held()?;
        op.renew_ttl_ms.store(millis(ttl), Ordering::Release);
        let until = self.ask(ttl).await?;
        engine.top_up(op, ttl, engine.clock.now());
        Ok(until)
    }

    /// Rounds of extension, until one is decided: a ttl of zero only asks.
    async fn ask(&self, ttl: Duration) -> Result<Deadline, ExtendError> {
        let (engine, op) = (&self.core().engine, self.op());
        let began = engine.clock.now();
        let mut tally = op.extend_tally();
        // Another extension of the same lease may overtake this one: a few rounds settle it.
        for _ in 0..EXTEND_ROUNDS {
            let round = engine.extend(op, ttl);
            tally = op.extended(round).await;
            self.ensure_held()?;
            if tally.round() == round && tally.phase() == Phase::Won {
                return Ok(self.valid_until());
            }
            if tally.round() == round {
                break;
            }
        }
        let waited = engine.clock.now().since(began);
        let waited_ns = nanos(waited);
        let course = Course { attempts: 1, waited_ns, tally: Some(tally), ..Course::default() };
        Err(ExtendError::Unconfirmed {
            resource: self.resource().clone(),
            remaining: self.remaining(),
            report: Box::new(self.core().report(&course)),
        })
    }

    /// Asks the nodes whether a quorum still holds this lock: one round trip, nothing is changed.
    /// For a moment that must not rest on local knowledge alone: after a pause of the process, or
    /// before a step that cannot be undone. It proves that the lock was held when they answered;
    /// what happens later only a fencing token can fence off.
    ///
    /// # Errors
    /// [`ExtendError::Lost`], or [`ExtendError::Unconfirmed`] if too few nodes answered.
    ///
    /// # Cancel safety
    /// Safe: nothing is changed.
    pub async fn verify(&self) -> Result<Deadline, ExtendError> {
        self.ensure_held()?;
        self.ask(Duration::ZERO).await
    }

    fn ensure_held(&self) -> Result<(), ExtendError> {
        self.lease
            .ensure_valid()
            .map_err(|reason| ExtendError::Lost { resource: self.resource().clone(), reason })
    }

    /// Releases the lock and waits until a quorum of nodes has confirmed. Returns at once when the
    /// lock passes to another caller of this process: for this one, it is released.
    ///
    /// # Errors
    /// [`ReleaseError`]. Releasing a lock that has expired is no error; finding another owner's
    /// token is.
    ///
    /// # Cancel safety
    /// The releases are on their way from the first poll on; dropping the future stops the
    /// waiting only. Dropped before that, it releases as the guard's drop does.
    pub async fn release(mut self) -> Result<(), ReleaseError> {
        self.disarmed = true;
        let engine = &self.core().engine;
        let op = self.op();
        let mut wakes = Wakes::default();
        let ended = engine.end_hold(op, self.lease.generation(), &mut wakes);
        engine.wake(wakes);
        if ended != Ended::Releasing {
            return Ok(());
        }
        let tally = std::future::poll_fn(|cx| {
            let is_open = |tally: Tally| tally.phase() == Phase::Open;
            let mut tally = op.release_tally();
            if is_open(tally) {
                op.waker.register(cx.waker());
                tally = op.release_tally();
            }
            if is_open(tally) {
                engine.fleet.rousing.help();
                Poll::Pending
            } else {
                Poll::Ready(tally)
            }
        })
        .await;
        let outcome =
            if tally.phase() == Phase::Won { Ok(()) } else { Err(self.unreleased(tally)) };
        if op.caller_is_done() {
            engine.fleet.pool.put_free(Arc::clone(op));
        }
        outcome
    }

    fn unreleased(&self, tally: Tally) -> ReleaseError {
        let resource = self.resource().clone();
        let course = Course { attempts: 1, tally: Some(tally), ..Course::default() };
        let report = Box::new(self.core().report(&course));
        let op = self.op();
        // A node that never granted this lock may well hold another contender's key.
        let granted = op.acquire_tally().set(Vote::Granted);
        if tally.set(Vote::Denied) & granted != 0 {
            return ReleaseError::NotHeld { resource, report };
        }
        let ttl = op.renew_ttl().max(op.ttl);
        ReleaseError::Unconfirmed { resource, within: ttl, report }
    }

    /// Keeps the lock until its ttl, without a guard: nothing renews or releases it any more, and
    /// nothing watches the nodes for it: that a node lost its key, [`Lease::is_valid`] no longer
    /// notices.
    /// [`Redlock::resume`](crate::Redlock::resume) takes a plain lock up again, from
    /// [`Lease::resource`] and [`Lease::token`], here or in another process.
    pub fn into_lease(mut self) -> Lease {
        self.disarmed = true;
        let engine = &self.core().engine;
        // Whoever holds the lease without a guard will want its token.
        self.op().hold.expose(self.lease.generation());
        engine.keeper.drop_lease(self.op());
        engine.fleet.hub.strike(self.op());
        let mut wakes = Wakes::default();
        engine.give_slot_up(self.op(), &mut wakes);
        engine.wake(wakes);
        self.lease.clone()
    }
}

/// Rounds of one `extend` call at most.
const EXTEND_ROUNDS: usize = 4;

impl Drop for Guard {
    fn drop(&mut self) {
        if mem::replace(&mut self.disarmed, true) {
            return;
        }
        let engine = &self.core().engine;
        let op = self.op();
        let mut wakes = Wakes::default();
        let ended = engine.end_hold(op, self.lease.generation(), &mut wakes);
        engine.wake(wakes);
        if ended != Ended::HandedOn && op.caller_is_done() {
            engine.fleet.pool.put_free(Arc::clone(op));
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("lease", &self.lease).finish_non_exhaustive()
    }
}

const _: () = {
    const fn assert_shareable<T: Send + Sync + 'static>() {}
    assert_shareable::<Guard>();
    assert_shareable::<Lease>();
    assert_shareable::<crate::Redlock>();
};
