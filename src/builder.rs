//! How a client is set up: every knob with its meaning, unit, default and reason.

use std::sync::Arc;
use std::time::Duration;

use crate::algorithm::tally::NODES_MAX;
use crate::config::{Drift, Handoff, Reconnect, Renewal, Retry, Settings, TTL_MAX};
use crate::endpoint::{Endpoint, EndpointError};
use crate::engine::node::NodeSettings;
use crate::error::{ConfigError, ConnectError};
use crate::redlock::Redlock;
use crate::resource::Resource;
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
    drift: Drift,
    min_validity: f64,
    quorum: Option<usize>,
    retry: Retry,
    renewal: Renewal,
    handoff: Handoff,
    max_hold: Duration,
    batching: Batching,
    max_inflight: usize,
    max_queued_bytes: usize,
    node_timeout: Duration,
    connect_timeout: Duration,
    unresponsive_after: Duration,
    ping_interval: Duration,
    reconnect: Reconnect,
    client_name: String,
    resp2_only: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            first_error: None,
            key_prefix: String::new(),
            ttl: Duration::from_secs(10),
            drift: Drift::default(),
            min_validity: 0.1,
            quorum: None,
            retry: Retry::default(),
            renewal: Renewal::default(),
            handoff: Handoff::default(),
            max_hold: Duration::from_secs(3_600),
            batching: Batching::default(),
            max_inflight: 4_096,
            max_queued_bytes: 4 << 20,
            node_timeout: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            unresponsive_after: Duration::from_secs(1),
            ping_interval: Duration::from_secs(1),
            reconnect: Reconnect::default(),
            client_name: "redlatch".into(),
            resp2_only: false,
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
    /// failures than one node less.
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

    /// Grants needed. Default: the majority, N/2 + 1. More than that tolerates nodes that forget
    /// (2q - N - 1 of them) at the price of fewer that may be down.
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

    /// How often an idle connection is pinged. Default 1 s.
    pub const fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
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

    pub(crate) fn check(
        mut self,
    ) -> Result<(Vec<Endpoint>, Settings, Arc<NodeSettings>), ConfigError> {
        if let Some(error) = self.first_error.take() {
            return Err(error.into());
        }
        let count = self.endpoints.len();
        if count == 0 {
            return Err(ConfigError::NoNodes);
        }
        if count > NODES_MAX {
            return Err(ConfigError::TooManyNodes { count, max: NODES_MAX });
        }
        for (at, first) in self.endpoints.iter().enumerate() {
            for second in self.endpoints.iter().skip(at + 1) {
                if first.same_server(second) {
                    let (first, second) = (first.to_string(), second.to_string());
                    return Err(ConfigError::DuplicateNode { first, second });
                }
            }
        }
        let majority = count / 2 + 1;
        let quorum = self.quorum.unwrap_or(majority);
        in_range("quorum", quorum, majority, count)?;
        in_range("max_inflight", self.max_inflight, 16, 1 << 20)?;
        in_range("max_queued_bytes", self.max_queued_bytes, 16 * 1024, 1 << 30)?;
        in_range("batch.max_commands", self.batching.max_commands, 1, 65_536)?;
        in_range("batch.max_bytes", self.batching.max_bytes, 256, 16 << 20)?;
        in_range("batch.gather_min_inflight", self.batching.gather_min_inflight, 1, 65_536)?;
        in_range("key_prefix's length", self.key_prefix.len(), 0, Resource::LEN_MAX - 1)?;
        if !(0.0..=0.9).contains(&self.min_validity) {
            let value = self.min_validity.to_string();
            let expected = "a share from 0 to 0.9".into();
            return Err(ConfigError::OutOfRange { name: "min_validity", value, expected });
        }
        let hour = Duration::from_secs(3_600);
        let ms = Duration::from_millis(1);
        for (name, value, least) in [
            ("node_timeout", self.node_timeout, ms),
            ("connect_timeout", self.connect_timeout, ms),
            ("unresponsive_after", self.unresponsive_after, self.node_timeout),
            ("ping_interval", self.ping_interval, ms),
            ("reconnect.base", self.reconnect.base, ms),
            ("reconnect.cap", self.reconnect.cap, self.reconnect.base),
            ("handoff.within", self.handoff.within, Duration::ZERO),
            ("retry.cap", self.retry.cap, self.retry.base),
        ] {
            if value < least || value > hour {
                let expected = format!("between {least:?} and {hour:?}");
                let value = format!("{value:?}");
                return Err(ConfigError::OutOfRange { name, value, expected });
            }
        }
        if self.client_name.bytes().any(|byte| !byte.is_ascii_graphic()) {
            let (value, expected) = (self.client_name, "printable, without spaces".into());
            return Err(ConfigError::OutOfRange { name: "client_name", value, expected });
        }
        let settings = Settings {
            key_prefix: self.key_prefix,
            ttl: self.ttl,
            drift: self.drift,
            quorum,
            retry: self.retry,
            renewal: self.renewal,
            handoff: self.handoff,
            node_timeout: self.node_timeout,
            connect_timeout: self.connect_timeout,
            min_validity: self.min_validity,
            max_hold: self.max_hold,
        };
        if !settings.is_usable_ttl(self.ttl) {
            let value = format!("{:?}", self.ttl);
            let expected = format!("between {:?} and {TTL_MAX:?}", settings.ttl_min());
            return Err(ConfigError::OutOfRange { name: "ttl", value, expected });
        }
        let node_settings = Arc::new(NodeSettings {
            batching: self.batching,
            max_inflight: self.max_inflight,
            max_queued_bytes: self.max_queued_bytes,
            node_timeout: self.node_timeout,
            connect_timeout: self.connect_timeout,
            unresponsive_after: self.unresponsive_after,
            ping_interval: self.ping_interval,
            reconnect_base: self.reconnect.base,
            reconnect_cap: self.reconnect.cap,
            client_name: self.client_name,
            resp2_only: self.resp2_only,
        });
        Ok((self.endpoints, settings, node_settings))
    }
}

fn in_range(
    name: &'static str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let expected = format!("between {least} and {most}");
    Err(ConfigError::OutOfRange { name, value: value.to_string(), expected })
}
