//! How a client is set up: every knob with its meaning, unit, default and reason.

mod check;

use std::time::Duration;

#[cfg(any(test, feature = "test-util"))]
use crate::config::Protection;
use crate::config::{Drift, Handoff, Protections, Reconnect, Renewal, Retry, Waiting};
use crate::endpoint::{Endpoint, EndpointError};
use crate::engine::start;
use crate::error::{ConfigError, ConnectError, InitError};
use crate::redlock::Redlock;
use crate::session::batch::Batching;

/// Sets a client up. Errors in any setting are reported by [`Builder::connect`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use redlatch::{Redlock, Retry};
///
/// let locks = Redlock::builder()
///     .nodes(["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"])
///     .ttl(Duration::from_secs(10))
///     .retry(Retry::default().attempts(20))
///     .connect()
///     .await?;
/// # drop(locks); Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct Builder {
    endpoints: Vec<Endpoint>,
    first_error: Option<EndpointError>,
    key_prefix: String,
    ttl: Duration,
    max_ttl: Option<Duration>,
    lock_delay: Duration,
    drift: Drift,
    min_validity: f64,
    quorum: Option<usize>,
    retry: Retry,
    renewal: Renewal,
    handoff: Handoff,
    waiting: Waiting,
    max_hold: Duration,
    batching: Batching,
    max_inflight: usize,
    max_queued_bytes: usize,
    node_timeout: Duration,
    connect_timeout: Duration,
    unresponsive_after: Duration,
    heartbeat_interval: Duration,
    reconnect: Reconnect,
    client_name: String,
    resp2_only: bool,
    allow_eviction: bool,
    protections: Protections,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            first_error: None,
            key_prefix: String::new(),
            ttl: Duration::from_secs(10),
            max_ttl: None,
            lock_delay: Duration::ZERO,
            drift: Drift::default(),
            min_validity: 0.1,
            quorum: None,
            retry: Retry::default(),
            renewal: Renewal::default(),
            handoff: Handoff::default(),
            waiting: Waiting::default(),
            max_hold: Duration::from_secs(3_600),
            batching: Batching::default(),
            max_inflight: 4_096,
            max_queued_bytes: 4 << 20,
            node_timeout: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            unresponsive_after: Duration::from_secs(1),
            heartbeat_interval: Duration::from_secs(1),
            reconnect: Reconnect::default(),
            client_name: "redlatch".into(),
            resp2_only: false,
            allow_eviction: false,
            protections: Protections::default(),
        }
    }
}

impl Builder {
    /// Adds a node. Each must be an independent server: Redlock's majority is worth nothing among
    /// replicas of one another.
    pub fn node<E>(mut self, endpoint: E) -> Self
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        match endpoint.try_into() {
            Ok(endpoint) => self.endpoints.push(endpoint),
            Err(error) => self.first_error = self.first_error.or_else(|| Some(error.into())),
        }
        self
    }

    /// Adds nodes: 1, 3, 5 or 7 of them make sense. An even number works, but tolerates no more
    /// failures than one node less, and [`Redlock::warnings`] says so. It does help against a node
    /// that forgets: see [`Builder::quorum`], which silences the warning.
    pub fn nodes<I>(mut self, endpoints: I) -> Self
    where
        I: IntoIterator,
        I::Item: TryInto<Endpoint>,
        <I::Item as TryInto<Endpoint>>::Error: Into<EndpointError>,
    {
        for endpoint in endpoints {
            self = self.node(endpoint);
        }
        self
    }

    /// Put in front of every resource's name to make its key. Default: nothing, as the other
    /// Redlock libraries have it.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// How long a lock outlives its holder's last sign of life. Default 10 s. Choose at least two
    /// to three times the expected work: shorter loses locks in mid-work when a renewal fails,
    /// longer makes others wait after a crash. A request may name its own.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The longest ttl of any lock of this fleet, over all clients: a node that may have forgotten
    /// locks is not counted for this long (and a little), because until then an older lock may be
    /// valid. Default: 30 s, or the builder's ttl and lock delay if they are longer. The nodes
    /// pass the largest of all clients on; give all the same. Lower it for a fleet whose locks
    /// are short: a restarted node is back sooner. A request for more is refused.
    pub const fn max_ttl(mut self, most: Duration) -> Self {
        self.max_ttl = Some(most);
        self
    }

    /// By how much the keys outlive the validity. Default zero. A lock whose holder died or
    /// stalled then stays taken that much longer, which gives work that ran past its validity
    /// time to end, where the resource does not check fencing tokens (Consul's lock-delay).
    /// A release ends both at once.
    pub const fn lock_delay(mut self, delay: Duration) -> Self {
        self.lock_delay = delay;
        self
    }

    /// Allowance for clocks that run at different rates; see [`Drift`].
    pub const fn drift(mut self, drift: Drift) -> Self {
        self.drift = drift;
        self
    }

    /// The share of the ttl that must be left as validity when a lock is granted, 0 to 0.9.
    /// Default 0.1: a lock that arrives with less is given back and reported as too slow.
    pub const fn min_validity(mut self, share: f64) -> Self {
        self.min_validity = share;
        self
    }

    /// Grants needed. Default: the majority, N/2 + 1. 2q - N - 1 nodes may forget a lock without
    /// anybody's noticing: none of 3 or 5 nodes with the default, one of 4, two of 5 with a quorum
    /// of 4. More than the majority costs nodes that may be down: N - q of them.
    pub const fn quorum(mut self, quorum: usize) -> Self {
        self.quorum = Some(quorum);
        self
    }

    /// Pauses and bounds between attempts; see [`Retry`].
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Whether held locks are renewed; see [`Renewal`]. A request may choose for itself.
    pub const fn renewal(mut self, renewal: Renewal) -> Self {
        self.renewal = renewal;
        self
    }

    /// How callers wait for a lock that another process holds; see [`Waiting`].
    pub const fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// How far a lock passes from caller to caller of this process without asking the nodes; see
    /// [`Handoff`].
    pub const fn handoff(mut self, handoff: Handoff) -> Self {
        self.handoff = handoff;
        self
    }

    /// No lock is renewed for longer than this, whatever its guard says: a guard that leaks, or a
    /// task that hangs, ends here. Default 1 h.
    pub const fn max_hold(mut self, most: Duration) -> Self {
        self.max_hold = most;
        self
    }

    /// How commands share writes; see [`Batching`].
    pub const fn batching(mut self, batching: Batching) -> Self {
        self.batching = batching;
        self
    }

    /// Commands in flight per node at most. Default 4 096, the memory of a second at a few
    /// thousand locks/s. Raise it for more than 2 000 concurrent callers; lower it to shed load
    /// sooner when a node slows down. A tenth is reserved for releases and renewals.
    pub const fn max_inflight(mut self, commands: usize) -> Self {
        self.max_inflight = commands;
        self
    }

    /// Bytes of acquisitions waiting to be written per node at most. Default 4 MiB.
    pub const fn max_queued_bytes(mut self, bytes: usize) -> Self {
        self.max_queued_bytes = bytes;
        self
    }

    /// How long a node may take to answer before it counts as *unknown*. Default 50 ms: Redlock
    /// asks for "5-50 ms" with a ttl of 10 s. Raise it above the worst round trip of your network;
    /// lowering it makes a stalled quorum fail sooner.
    pub const fn node_timeout(mut self, timeout: Duration) -> Self {
        self.node_timeout = timeout;
        self
    }

    /// Connecting and handshake together, per attempt. Default 1 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// A connection that is owed an answer and stays silent this long is given up. Default 1 s.
    pub const fn unresponsive_after(mut self, timeout: Duration) -> Self {
        self.unresponsive_after = timeout;
        self
    }

    /// How often each node is asked for its time, its epoch and which process it is. Default 1 s:
    /// a clock that steps, or a node that is replaced behind one address, is noticed within it.
    /// Costs a node about 20 us of CPU each time; raise it with hundreds of clients.
    pub const fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// Pauses between attempts to reconnect; see [`Reconnect`].
    pub const fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// The name that the servers' CLIENT LIST shows. Default `redlatch`.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = name.into();
        self
    }

    /// Speaks RESP2 without trying RESP3 first, for proxies that mishandle HELLO.
    pub const fn resp2_only(mut self) -> Self {
        self.resp2_only = true;
        self
    }

    /// Accepts servers that may evict keys when their memory is full (`maxmemory` with a policy
    /// other than `noeviction`). Such a server may drop a lock that is held.
    pub const fn allow_eviction(mut self) -> Self {
        self.allow_eviction = true;
        self
    }

    /// Switches one check off, for tests that show what it is good for. Never in production.
    #[cfg(any(test, feature = "test-util"))]
    pub const fn without(mut self, protection: Protection) -> Self {
        match protection {
            Protection::Seal => self.protections.seal = false,
            Protection::Quarantine => self.protections.quarantine = false,
            Protection::Fence => self.protections.fence = false,
            Protection::Clock => self.protections.clock = false,
        }
        self
    }

    /// Opens a new fleet, once, on your word that **nobody holds a lock on it**: its nodes may
    /// vote from now on. Without it the first client waits for `max_ttl`, because nodes that have
    /// never been used look like nodes that were just flushed.
    ///
    /// It opens nothing unless every node answers and none has been used; so a step that sets a
    /// fleet up may be repeated, and take [`InitError::AlreadyInitialised`] for success. Never
    /// call it to get rid of a quarantine, nor where all nodes may just have come back empty:
    /// they look unused, and locks of before may still be held.
    ///
    /// # Errors
    /// [`InitError`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave some nodes open and some not; those wait for `max_ttl`.
    pub async fn init_fleet(self) -> Result<(), InitError> {
        let (endpoints, settings, node_settings) = self.check()?;
        start::initialise(&endpoints, settings.quorum, &node_settings).await
    }

    /// Connects, and returns once a quorum of nodes is up.
    ///
    /// # Errors
    /// [`ConnectError::Config`] before anything is sent; [`ConnectError::NoQuorum`] after
    /// `connect_timeout` with the reason of each node that is not up.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connections that were opened.
    pub async fn connect(self) -> Result<Redlock, ConnectError> {
        let locks = self.connect_lazy()?;
        locks.wait_for_quorum().await?;
        Ok(locks)
    }

    /// Returns at once; the nodes connect in the background, and requests that come before a
    /// quorum is up wait for it as they would for nodes that went down.
    ///
    /// # Errors
    /// [`ConfigError`]: a setting cannot be used, or there is no tokio runtime to run on.
    pub fn connect_lazy(self) -> Result<Redlock, ConfigError> {
        let (endpoints, settings, node_settings) = self.check()?;
        Redlock::start(endpoints, settings, &node_settings)
    }
}
