//! The handle that everything starts from.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use crate::algorithm::script::RESERVED;
use crate::builder::Builder;
use crate::config::{Settings, whole_millis};
use crate::endpoint::{Endpoint, EndpointError};
use crate::engine::core::Engine;
use crate::engine::driver::CLOSE_PATIENCE;
use crate::engine::node::{Health, Node, NodeSettings};
use crate::engine::op::Op;
use crate::engine::query::Query;
use crate::engine::start;
use crate::engine::wish::Course;
use crate::error::{
    AcquireError, ConfigError, ConnectError, InitError, InspectError, ResumeError, RunError,
};
use crate::guard::Guard;
use crate::lease::{Inspection, Lease, NodeInspection};
use crate::report::Report;
use crate::request::{Acquire, TryAcquire};
use crate::resource::Resource;
use crate::snapshot;
use crate::stats::{NodeState, NodeStatus, Percentiles, Stats};
use crate::token::Token;

/// A client of a fleet of lock nodes: cheap to clone, one connection per node for all clones.
///
/// The connections are driven by tasks on the runtime that the client was built on. While that
/// runtime lives, every guard that is dropped is released; when it is gone, keys expire by their
/// ttl, and every call answers that the client is closed.
#[derive(Clone)]
pub struct Redlock {
    core: Arc<Core>,
}

/// Shared by handles and guards; when the last of them goes, the tasks end.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) engine: Arc<Engine>,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.engine.end();
    }
}

impl Redlock {
    /// Starts setting a client up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Connects with default settings; returns once a quorum of nodes is up.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    ///
    /// # Cancel safety
    /// As [`Builder::connect`].
    pub async fn connect<I>(nodes: I) -> Result<Self, ConnectError>
    where
        I: IntoIterator,
        I::Item: TryInto<Endpoint>,
        <I::Item as TryInto<Endpoint>>::Error: Into<EndpointError>,
    {
        Self::builder().nodes(nodes).connect().await
    }

    /// Opens a new fleet with default settings; see [`Builder::init_fleet`].
    ///
    /// # Errors
    /// As [`Builder::init_fleet`].
    ///
    /// # Cancel safety
    /// As [`Builder::init_fleet`].
    pub async fn init_fleet<I>(nodes: I) -> Result<(), InitError>
    where
        I: IntoIterator,
        I::Item: TryInto<Endpoint>,
        <I::Item as TryInto<Endpoint>>::Error: Into<EndpointError>,
    {
        Self::builder().nodes(nodes).init_fleet().await
    }

    pub(crate) fn start(
        endpoints: Vec<Endpoint>,
        settings: Settings,
        node_settings: &Arc<NodeSettings>,
    ) -> Result<Self, ConfigError> {
        let engine = start::on_current_runtime(endpoints, settings, node_settings)?;
        Ok(Self { core: Arc::new(Core { engine }) })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.core.engine
    }

    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.core.engine.settings
    }

    pub(crate) async fn wait_for_quorum(&self) -> Result<(), ConnectError> {
        let engine = self.engine();
        let within = engine.settings.connect_timeout;
        let is_up = |node: &&Arc<Node>| matches!(node.health(), Health::Up | Health::Quarantined);
        let quorum = engine.settings.quorum;
        let ready = async {
            loop {
                let changed = engine.changed.notified();
                if engine.nodes.iter().filter(is_up).count() >= quorum {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(within, ready).await.is_ok() {
            return Ok(());
        }
        let down = engine.nodes.iter().filter(|node| !is_up(node)).map(|node| {
            let reason = node.about().reason.clone();
            let reason = reason.unwrap_or_else(|| "no connection in time".into());
            format!("{}: {reason}", node.endpoint)
        });
        let reasons = down.collect::<Vec<_>>().join("; ");
        let up = engine.nodes.iter().filter(is_up).count();
        Err(ConnectError::NoQuorum { up, nodes: engine.nodes.len(), quorum, within, reasons })
    }

    /// Asks for a lock and waits until it is free: `.await` the request, or refine it first.
    ///
    /// Callers of one process queue up first come, first served, and only the first of them
    /// contends with other processes. A lock is not re-entrant: a task that asks for a lock it
    /// holds waits for itself (see the manual's page on safety for why).
    ///
    /// # Errors
    /// [`AcquireError`]: each says what the nodes said.
    ///
    /// # Cancel safety
    /// See [`AcquireFuture`](crate::AcquireFuture).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: redlatch::Redlock) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let guard = locks.acquire("orders:42").wait_for(Duration::from_secs(2)).await?;
    /// // ... work ...
    /// guard.release().await?;
    /// # Ok(()) }
    /// ```
    pub fn acquire(&self, resource: impl Into<Resource>) -> Acquire<'_> {
        Acquire::new(self, resource.into())
    }

    /// Asks for a lock once, without waiting: [`AcquireError::Busy`] is an ordinary outcome.
    ///
    /// # Errors
    /// [`AcquireError`].
    ///
    /// # Cancel safety
    /// See [`AcquireFuture`](crate::AcquireFuture).
    pub fn try_acquire(&self, resource: impl Into<Resource>) -> TryAcquire<'_> {
        TryAcquire::new(self, resource.into())
    }

    /// Runs `work` under the lock, renewing it meanwhile, and releases it afterwards. If the lock
    /// is lost, `work` is cancelled where it stands and `run` returns at once.
    ///
    /// # Errors
    /// [`RunError`]: not acquired, or lost. A release that is not confirmed is no error: it is
    /// repeated in the background.
    ///
    /// # Cancel safety
    /// Dropping the future drops `work` and releases the lock.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: redlatch::Redlock) -> Result<(), redlatch::RunError> {
    /// let total = locks.run("orders:42", async |lease| {
    ///     // ... work; `lease.ensure_valid()` before what cannot be undone ...
    ///     lease.remaining()
    /// }).await?;
    /// # drop(total); Ok(()) }
    /// ```
    pub async fn run<F, T>(&self, resource: impl Into<Resource>, work: F) -> Result<T, RunError>
    where
        F: AsyncFnOnce(&Lease) -> T,
    {
        let guard = self.acquire(resource).await?;
        let lease = guard.lease().clone();
        let output = {
            let mut lost = std::pin::pin!(guard.lost());
            let mut work = std::pin::pin!(work(&lease));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(reason) = lost.as_mut().poll(cx) {
                    return Poll::Ready(Err(reason));
                }
                work.as_mut().poll(cx).map(Ok)
            })
            .await
        };
        match output {
            Ok(output) => {
                drop(guard.release().await);
                Ok(output)
            }
            Err(reason) => Err(RunError::Lost(reason)),
        }
    }

    /// Takes over a lease that [`Guard::into_lease`] handed on, in this process or another: a
    /// quorum of nodes must confirm that they hold its token, and is asked to hold it for the
    /// builder's ttl from now on.
    ///
    /// # Errors
    /// [`ResumeError::NotHeld`]: it ended, or was never this one.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the lease extended; it ends with its ttl.
    pub async fn resume(
        &self,
        resource: impl Into<Resource>,
        token: Token,
    ) -> Result<Guard, ResumeError> {
        let resource = resource.into();
        let engine = self.engine();
        if engine.is_closed() {
            return Err(ResumeError::Closed);
        }
        self.check_name(&resource).map_err(ResumeError::Invalid)?;
        let ttl = whole_millis(engine.settings.ttl);
        let began = engine.clock.now();
        let op = Arc::new(Op::new(&engine.spec(&resource, ttl), token));
        op.adopt();
        let tally = op.extended(engine.extend(&op, ttl)).await;
        let now = engine.clock.now();
        engine.drop_voided(&op, began);
        let waited_ns = crate::time::nanos(now.since(began));
        let course = Course {
            attempts: 1,
            waited_ns,
            quorum_wait_ns: waited_ns,
            tally: Some(tally),
            ..Course::default()
        };
        if !op.is_valid(now) {
            return Err(ResumeError::NotHeld { resource, report: self.report(&course).into() });
        }
        let keep = engine.settings.keep(engine.settings.renewal);
        engine.keeper.keep(&op, keep, (now, op.valid_until()), waited_ns);
        Ok(Guard::new(&self.core, op, course))
    }

    /// What the nodes say of a resource now: advisory, out of date on arrival.
    ///
    /// # Errors
    /// [`InspectError`].
    ///
    /// # Cancel safety
    /// Safe: nothing is changed.
    pub async fn inspect(&self, resource: impl Into<Resource>) -> Result<Inspection, InspectError> {
        let engine = self.engine();
        if engine.is_closed() {
            return Err(InspectError::Closed);
        }
        let resource = resource.into();
        self.check_name(&resource).map_err(InspectError::Invalid)?;
        let mut key = engine.settings.key_prefix.clone().into_bytes();
        key.extend_from_slice(resource.as_bytes());
        let query = Arc::new(Query::new(&key, engine.nodes.len()));
        for node in &engine.nodes {
            if node.submit_query(&query) {
                node.waker.wake();
            }
        }
        let answers = std::future::poll_fn(|cx| {
            query.waker.register(cx.waker());
            query.finished().map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        let quorum = engine.settings.quorum;
        let nodes: Vec<_> = engine
            .nodes
            .iter()
            .zip(answers)
            .map(|(node, answer)| NodeInspection {
                endpoint: node.endpoint.to_string(),
                answered: answer.is_complete(),
                value: answer.value,
                ttl: answer.ttl_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
            })
            .collect();
        let answered = nodes.iter().filter(|node| node.answered).count();
        if answered < quorum {
            return Err(InspectError::NoQuorum { answered, nodes: nodes.len(), quorum });
        }
        Ok(Inspection { nodes, quorum })
    }

    /// Stops new acquisitions, releases every lock that is held and waits, for a second at most,
    /// until the nodes have confirmed. Guards that still exist are lost.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting only.
    pub async fn close(&self) {
        let engine = self.engine();
        engine.close();
        engine.release_all();
        engine.end();
        let ended = async {
            loop {
                let changed = engine.changed.notified();
                if engine.has_ended() {
                    return;
                }
                changed.await;
            }
        };
        drop(tokio::time::timeout(CLOSE_PATIENCE * 2, ended).await);
    }

    /// How the client is doing.
    pub fn stats(&self) -> Stats {
        let engine = self.engine();
        let counters = &engine.counters;
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let in_flight = |node: &Arc<Node>| node.in_flight.load(Ordering::Relaxed);
        Stats {
            held: engine.keeper.leases(),
            waiting: engine.waiters.waiting(),
            in_flight: engine.nodes.iter().map(in_flight).sum(),
            acquired: load(&counters.acquired),
            contended: load(&counters.contended),
            failed: load(&counters.failed),
            released: load(&counters.released),
            handed_on: load(&counters.handed_on),
            lost: load(&counters.lost),
            acquire: Percentiles::new(engine.keeper.acquire_latency()),
        }
    }

    /// Whether each node is up, in the order in which they were configured: cheap enough to ask
    /// a hundred times a second.
    pub fn node_states(&self) -> Vec<NodeState> {
        self.engine().nodes.iter().map(|node| snapshot::state(node)).collect()
    }

    /// How the nodes are doing, in the order in which they were configured.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.engine()
            .nodes
            .iter()
            .map(|node| snapshot::status(node, self.engine().clock.now()))
            .collect()
    }

    /// May this be locked? Asked before anything is sent.
    pub(crate) fn check_name(&self, resource: &Resource) -> Result<(), AcquireError> {
        let settings = self.settings();
        settings.key_len(resource).map_err(|len| {
            let (resource, max) = (resource.clone(), Resource::LEN_MAX);
            AcquireError::InvalidResource { resource, len, max }
        })?;
        let key = settings.key_prefix.bytes().chain(resource.as_bytes().iter().copied());
        if key.take(RESERVED.len()).eq(RESERVED.bytes()) {
            return Err(AcquireError::ReservedResource { resource: resource.clone() });
        }
        Ok(())
    }

    pub(crate) fn report(&self, course: &Course) -> Report {
        self.core.report(course)
    }
}

impl fmt::Debug for Redlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = self
            .engine()
            .nodes
            .iter()
            .map(|node| format!("{} {:?}", node.endpoint, node.health()))
            .collect();
        f.debug_struct("Redlock").field("nodes", &nodes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
