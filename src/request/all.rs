//! Several resources at once.

use std::future::IntoFuture;
use std::time::Duration;

use crate::algorithm::mode::Mode;
use crate::config::Renewal;
use crate::error::AcquireError;
use crate::guard::Guard;
use crate::redlock::Redlock;
use crate::request::mode::Way;
use crate::request::{Acquire, AcquireFuture};
use crate::resource::Resource;

/// A request for several resources at once: `.await` it, or refine it first.
///
/// See [`Redlock::acquire_all`].
#[derive(Clone, Debug)]
#[must_use = "an acquire request does nothing until awaited"]
pub struct AcquireAll<'a> {
    request: Acquire<'a>,
    asked: Vec<Resource>,
}

impl Redlock {
    /// Asks for several resources at once, up to 64, and waits until all of them are free: the
    /// guard holds all, or the request none. Each node grants them in one step, so that a request
    /// costs one round trip like any other, and nobody holds one resource while waiting for
    /// another: two such requests cannot wait for each other, whatever order they name theirs in.
    ///
    /// A resource that is named twice is taken once. Callers of one process do not queue for it;
    /// each asks the nodes, and tries again after a pause. Never ask for more while holding a
    /// guard: that is what deadlocks are made of.
    ///
    /// # Errors
    /// [`AcquireError`], of which those that name a resource name the first of these.
    ///
    /// # Cancel safety
    /// See [`AcquireFuture`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: redlatch::Redlock) -> Result<(), Box<dyn std::error::Error>> {
    /// let both = locks.acquire_all(["account:1", "account:2"]).await?;
    /// assert_eq!(both.resources().len(), 2);
    /// both.release().await?;
    /// # Ok(()) }
    /// ```
    pub fn acquire_all<I>(&self, resources: I) -> AcquireAll<'_>
    where
        I: IntoIterator,
        I::Item: Into<Resource>,
    {
        let mut asked: Vec<Resource> = resources.into_iter().map(Into::into).collect();
        asked.sort();
        let first = asked.first().cloned();
        let first = first.unwrap_or_else(|| Resource::from(""));
        AcquireAll { request: Acquire::new(self, first), asked }
    }
}

impl AcquireAll<'_> {
    /// As [`Acquire::ttl`].
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.request.ttl = ttl;
        self
    }

    /// As [`Acquire::wait_for`].
    pub const fn wait_for(mut self, most: Duration) -> Self {
        self.request.wait = Some(most);
        self
    }

    /// Asks in one attempt, without waiting, as [`Redlock::try_acquire`] does.
    pub const fn once(mut self) -> Self {
        self.request.once = true;
        self
    }

    /// As [`Acquire::renewal`].
    pub const fn renewal(mut self, renewal: Renewal) -> Self {
        self.request.renewal = renewal;
        self
    }

    /// Takes all of them in this mode: as [`Acquire::mode`].
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.request.way = Way::In(mode);
        self
    }

    /// Every name is a path: as [`Acquire::hierarchical`]. What is named itself and lies above
    /// another one is taken in the weakest mode that excludes what both would.
    pub const fn hierarchical(mut self) -> Self {
        self.request.hierarchical = true;
        self
    }
}

impl<'a> IntoFuture for AcquireAll<'a> {
    type Output = Result<Guard, AcquireError>;
    type IntoFuture = AcquireFuture<'a>;

    fn into_future(self) -> AcquireFuture<'a> {
        self.request.future(Some(self.asked))
    }
}
