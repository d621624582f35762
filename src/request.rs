//! What a caller asks for, and the future that gets it.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::algorithm::mode::Mode;
use crate::config::{Renewal, whole_millis};
use crate::engine::acquire::Acquisition;
use crate::engine::op::Claims;
use crate::engine::wish::{Failure, Wish};
use crate::error::{AcquireError, ClaimError};
use crate::guard::Guard;
use crate::redlock::Redlock;
use crate::request::mode::{Way, claimed};
use crate::resource::Resource;

mod all;
mod mode;

pub use all::AcquireAll;

/// A request to wait for a lock: `.await` it, or refine it first.
#[derive(Clone, Debug)]
#[must_use = "an acquire request does nothing until awaited"]
pub struct Acquire<'a> {
    locks: &'a Redlock,
    resource: Resource,
    ttl: Duration,
    wait: Option<Duration>,
    renewal: Renewal,
    once: bool,
    fenced: bool,
    way: Way,
    hierarchical: bool,
}

impl<'a> Acquire<'a> {
    pub(crate) fn new(locks: &'a Redlock, resource: Resource) -> Self {
        let settings = locks.settings();
        let (ttl, renewal) = (settings.ttl, settings.renewal);
        Self {
            locks,
            resource,
            ttl,
            wait: None,
            renewal,
            once: false,
            fenced: false,
            way: Way::In(Mode::Exclusive),
            hierarchical: false,
        }
    }

    /// This lock's ttl, instead of the builder's. Whole milliseconds; the rest is cut off.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Upper bound on the wait, queue and retries included. Without it the request waits for as
    /// long as others hold the lock, and for one ttl while no quorum of nodes answers.
    pub const fn wait_for(mut self, most: Duration) -> Self {
        self.wait = Some(most);
        self
    }

    /// Whether this lock is renewed, instead of the builder's choice.
    pub const fn renewal(mut self, renewal: Renewal) -> Self {
        self.renewal = renewal;
        self
    }

    /// Also asks for a [`FencingToken`](crate::FencingToken), larger than that of every earlier
    /// holder: [`Guard::fencing_token`]. Hand it to whatever the lock protects and let that refuse
    /// smaller ones; then a holder that was suspended past its validity does no harm. Costs the
    /// nodes a script per lock, about three times the CPU of a plain one, and nearly always no
    /// further round trip. A fenced lock is never handed on within the process.
    pub const fn fenced(mut self) -> Self {
        self.fenced = true;
        self
    }

    /// What is to be taken, if it is no plain lock.
    fn claims(&self, asked: Option<Vec<Resource>>) -> Result<Option<Box<Claims>>, AcquireError> {
        let alone = std::slice::from_ref(&self.resource);
        self.check(asked.as_deref().unwrap_or(alone))?;
        let is_plain = matches!(self.way, Way::In(Mode::Exclusive)) && !self.hierarchical;
        if is_plain && asked.is_none() {
            return Ok(None);
        }
        let asked = asked.unwrap_or_else(|| vec![self.resource.clone()]);
        let claims = claimed(asked, self.way, self.hierarchical)?;
        // The counters belong to plain locks.
        if self.fenced && claims.is_some() { Err(ClaimError::Fenced)? } else { Ok(claims) }
    }

    fn check(&self, asked: &[Resource]) -> Result<(), AcquireError> {
        let settings = self.locks.settings();
        asked.iter().try_for_each(|resource| self.locks.check_name(resource))?;
        if !settings.is_usable_ttl(self.ttl) {
            let (ttl, min, max) = (self.ttl, settings.ttl_min(), settings.max_ttl);
            return Err(AcquireError::InvalidTtl { ttl, min, max });
        }
        Ok(())
    }

    /// Asks for all of `asked`, of which the request's resource is the first, or for that alone.
    fn future(self, asked: Option<Vec<Resource>>) -> AcquireFuture<'a> {
        let (claims, invalid) = match self.claims(asked) {
            Ok(claims) => (claims, None),
            Err(error) => (None, Some(Box::new(error))),
        };
        let wish = Wish {
            resource: self.resource,
            ttl: whole_millis(self.ttl),
            wait: self.wait,
            keep: self.locks.settings().keep(self.renewal),
            once: self.once,
            fenced: self.fenced,
            claims,
        };
        AcquireFuture { locks: self.locks, acquisition: Acquisition::new(wish), invalid }
    }
}

impl<'a> IntoFuture for Acquire<'a> {
    type Output = Result<Guard, AcquireError>;
    type IntoFuture = AcquireFuture<'a>;

    fn into_future(self) -> AcquireFuture<'a> {
        self.future(None)
    }
}

/// A request for a lock in one attempt, without waiting.
#[derive(Clone, Debug)]
#[must_use = "an acquire request does nothing until awaited"]
pub struct TryAcquire<'a>(Acquire<'a>);

impl<'a> TryAcquire<'a> {
    pub(crate) fn new(locks: &'a Redlock, resource: Resource) -> Self {
        let mut request = Acquire::new(locks, resource);
        request.once = true;
        Self(request)
    }

    /// As [`Acquire::ttl`].
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.0.ttl = ttl;
        self
    }

    /// As [`Acquire::fenced`].
    pub const fn fenced(mut self) -> Self {
        self.0.fenced = true;
        self
    }

    /// As [`Acquire::renewal`].
    pub const fn renewal(mut self, renewal: Renewal) -> Self {
        self.0.renewal = renewal;
        self
    }
}

impl<'a> IntoFuture for TryAcquire<'a> {
    type Output = Result<Guard, AcquireError>;
    type IntoFuture = AcquireFuture<'a>;

    fn into_future(self) -> AcquireFuture<'a> {
        self.0.into_future()
    }
}

/// The future of [`Acquire`] and [`TryAcquire`].
///
/// # Cancel safety
/// Dropping it before completion withdraws the request: the place in this process's queue is
/// lost, and every node that was asked and may hold the key is sent a release, so a grant that is
/// already on its way is undone without waiting for its ttl.
#[must_use = "futures do nothing unless polled"]
pub struct AcquireFuture<'a> {
    locks: &'a Redlock,
    invalid: Option<Box<AcquireError>>,
    acquisition: Acquisition,
}

impl Future for AcquireFuture<'_> {
    type Output = Result<Guard, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.invalid.is_some()
            && let Some(error) = this.invalid.take()
        {
            return Poll::Ready(Err(*error));
        }
        let engine = this.locks.engine();
        let mut polled = this.acquisition.poll(engine, cx);
        if polled.is_pending() && engine.is_closed() {
            // Closing wakes whoever waits by then; who began to wait in that moment looks again.
            polled = this.acquisition.poll(engine, cx);
        }
        match polled {
            Poll::Pending => {
                engine.fleet.rousing.help();
                Poll::Pending
            }
            Poll::Ready(Ok(op)) => {
                let course = *this.acquisition.course();
                Poll::Ready(Ok(Guard::new(this.locks.core(), op, course)))
            }
            Poll::Ready(Err(failure)) => Poll::Ready(Err(this.error(failure))),
        }
    }
}

impl AcquireFuture<'_> {
    fn error(&self, failure: Failure) -> AcquireError {
        let resource = self.acquisition.resource().clone();
        let report = || Box::new(self.locks.report(self.acquisition.course()));
        match failure {
            Failure::Busy => AcquireError::Busy { resource, report: report() },
            Failure::Closed => AcquireError::Closed,
            Failure::NoQuorum => AcquireError::NoQuorum { resource, report: report() },
            Failure::Quarantined(opening) => {
                let remaining = opening.at.since(self.locks.engine().clock.now());
                AcquireError::Quarantined { resource, remaining, report: report() }
            }
            Failure::Overloaded => AcquireError::Overloaded { resource, report: report() },
            Failure::TimedOut => AcquireError::TimedOut { resource, report: report() },
            Failure::TooSlow(validity) => {
                AcquireError::TooSlow { resource, validity, report: report() }
            }
        }
    }
}

/// What is asked for and how far it is; nothing that a token could be read from.
impl fmt::Debug for AcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let course = self.acquisition.course();
        f.debug_struct("AcquireFuture")
            .field("locks", self.locks)
            .field("resource", self.acquisition.resource())
            .field("attempts", &course.attempts)
            .field("contended", &course.contended)
            .finish_non_exhaustive()
    }
}

impl Drop for AcquireFuture<'_> {
    fn drop(&mut self) {
        self.acquisition.leave(self.locks.engine());
    }
}
