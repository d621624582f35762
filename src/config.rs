//! What a client is set to: the values behind the builder, each default with its reason.

use std::time::Duration;

use crate::resource::Resource;

/// Allowance for clocks that run at different rates: a share of the ttl and a constant.
///
/// Redlock: `validity = ttl - elapsed - drift`. The share covers the nodes' clocks running fast
/// against ours, the constant the 1 ms grain of the servers' expiry (doubled).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drift {
    /// Clock-rate error between a node and this process, in parts per million of the ttl.
    /// Default 10 000 (1 %), as node-redlock and redsync. Raise it where node clocks are slewed
    /// fast (chrony's default allows 83 333 ppm); lowering it below 1 000 is not advised.
    pub parts_per_million: u32,
    /// Constant allowance. Default 2 ms: twice the 1 ms grain of the servers' expiry.
    pub constant: Duration,
}

impl Default for Drift {
    fn default() -> Self {
        Self { parts_per_million: 10_000, constant: Duration::from_millis(2) }
    }
}

impl Drift {
    /// What remains of `ttl` after the allowance; zero when the allowance eats it up.
    pub(crate) fn share(self, ttl: Duration) -> Duration {
        let ppm = self.parts_per_million.min(1_000_000);
        let rate = u64::from(1_000_000 - ppm);
        let nanos = ttl.as_nanos().saturating_mul(u128::from(rate)) / 1_000_000;
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos).saturating_sub(self.constant)
    }
}

/// What happens between attempts.
///
/// A round that others won is followed by a pause drawn uniformly from zero to
/// `min(cap, base * 2^n)`, n being the rounds lost in a row ("full jitter").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// Attempts at most; `None` (the default) leaves the end to the request's `wait_for`. With a
    /// bound nobody stands in line: whatever [`Waiting`] says, there are pauses between attempts.
    pub attempts: Option<u32>,
    /// Default 2 ms: a few round trips in a data centre. Raise it for far-away nodes; below
    /// 1 ms it is lost in the timers' grain.
    pub base: Duration,
    /// Default 20 ms. Lower: sooner noticed releases, more commands while waiting. Raise it when
    /// hundreds of processes wait for one lock that is held for seconds.
    pub cap: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: None, base: Duration::from_millis(2), cap: Duration::from_millis(20) }
    }
}

impl Retry {
    /// At most this many attempts.
    #[must_use]
    pub const fn attempts(mut self, most: u32) -> Self {
        self.attempts = Some(most);
        self
    }

    /// The bound of the first pause, and what it doubles to at most.
    #[must_use]
    pub const fn pause(mut self, base: Duration, cap: Duration) -> Self {
        self.base = base;
        self.cap = cap;
        self
    }
}

/// How a caller waits for a lock that another process holds.
///
/// In every case the callers of one process queue up among themselves, first come first served,
/// and one of them at a time contends on the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Waiting {
    /// A queue on the nodes, in order of arrival: whoever releases the lock hands it to the next
    /// in line, and the nodes tell that process. The default. Where fewer than a quorum of nodes
    /// can do it (RESP2, no right to subscribe), as [`Waiting::Race`].
    #[default]
    Queue,
    /// The nodes tell of every release, by whatever library; whoever is first has it. Where the
    /// nodes cannot tell either, as [`Waiting::Backoff`].
    Race,
    /// Attempts with pauses between them, see [`Retry`]. Nothing is asked of the nodes but the
    /// lock itself. Choose it when locks are nearly always free, or for servers behind proxies
    /// that confuse pushes.
    Backoff,
}

/// How far a lock is handed on inside the process before the nodes are asked again.
///
/// When a lock is released while another caller of the same process waits for it, the lease can
/// pass to that caller as it is: no command, no round trip. Meanwhile other processes wait, so
/// such a chain is bounded, in number and in time from when this process got the lock of the
/// nodes; after that, the lock is released there and asked for again.
///
/// A lease is not handed on when it was extended to another ttl than the waiter asks for, when
/// less than two thirds of its validity are left, or when its token was read
/// ([`Guard::token`](crate::Guard::token), [`Lease::token`](crate::Lease::token)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handoff {
    /// Hand-offs in a row. Default 1 024; 0 asks the nodes for every caller. Raise both bounds
    /// where one process alone uses a lock: each chain costs it a round trip or two. Where
    /// processes do not stand in line ([`Waiting`]), one makes short pauses beyond 1 024 and 10 ms
    /// besides, at first, see [`Handoff::within`]. Lower it where other processes should get the
    /// lock after a few of this one's callers.
    pub most: u32,
    /// Time from the nodes' grant to the last hand-off. Default 10 ms, which is also the shortest
    /// turn after which a process that is in no line leaves a pause of 1.5 to 3 ms for others
    /// (turns grow to 160 ms and 16 384 callers while nobody makes use of the pauses). Raise it as
    /// `most`; lower it to shorten what other processes wait. Never used: more than a third of
    /// the ttl.
    pub within: Duration,
}

impl Default for Handoff {
    fn default() -> Self {
        Self { most: 1_024, within: Duration::from_millis(10) }
    }
}

impl Handoff {
    /// No hand-off: the nodes are asked for every caller.
    #[must_use]
    pub const fn off() -> Self {
        Self { most: 0, within: Duration::ZERO }
    }

    /// At most so many in a row, within `within` of the nodes' grant.
    #[must_use]
    pub const fn bound(mut self, most: u32, within: Duration) -> Self {
        self.most = most;
        self.within = within;
        self
    }
}

/// Whether a held lock is renewed in the background, at a third of its ttl.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Renewal {
    /// Renewed until it is released, at most for the builder's `max_hold`. The default.
    #[default]
    On,
    /// Never: the lock ends with its ttl.
    Off,
    /// Renewed so that it is held for at most this long.
    AtMost(Duration),
}

/// Pauses between attempts to reconnect to a node: full jitter; the first retry is immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconnect {
    /// Default 10 ms.
    pub base: Duration,
    /// Default 500 ms: a node that returns is used again within half a second. Raise it for
    /// fleets of thousands of clients.
    pub cap: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { base: Duration::from_millis(10), cap: Duration::from_millis(500) }
    }
}

/// The checks that tests switch off one at a time, to see that they are what keeps a lock safe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protections {
    /// Grants count only behind the seal of their write, or in front of the epoch's end (R1).
    pub(crate) seal: bool,
    /// Nodes that may have forgotten locks do not vote (R2, R4).
    pub(crate) quarantine: bool,
    /// The server closes an earlier connection before what it owed is released.
    pub(crate) fence: bool,
    /// A node whose clock steps forward loses its votes.
    pub(crate) clock: bool,
}

impl Default for Protections {
    fn default() -> Self {
        Self { seal: true, quarantine: true, fence: true, clock: true }
    }
}

/// One of the checks that keep a lock safe, to be switched off by a test: feature `test-util`.
#[cfg(any(test, feature = "test-util"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protection {
    /// Grants count only behind the seal of their write, or, where a node tells of its epoch's end,
    /// in front of that.
    Seal,
    /// Nodes that may have forgotten locks do not vote.
    Quarantine,
    /// The server closes an earlier connection before what it owed is released.
    Fence,
    /// A node whose clock steps forward loses its votes.
    Clock,
}

/// Checked settings of one client.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) key_prefix: String,
    pub(crate) ttl: Duration,
    /// The longest ttl of any lock, which the nodes' quarantine covers.
    pub(crate) max_ttl: Duration,
    pub(crate) lock_delay: Duration,
    pub(crate) drift: Drift,
    pub(crate) quorum: usize,
    pub(crate) retry: Retry,
    pub(crate) renewal: Renewal,
    pub(crate) handoff: Handoff,
    pub(crate) waiting: Waiting,
    pub(crate) node_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) min_validity: f64,
    pub(crate) max_hold: Duration,
    /// What is wrong with these settings, though they can be used.
    pub(crate) warnings: Vec<String>,
}

/// The longest ttl: 2^41 ms, 69 years. The quarantine that covers it (R2) is counted in
/// microseconds on the nodes, which a server's Lua keeps exact up to 2^53.
pub(crate) const TTL_MAX: Duration = Duration::from_millis(1 << 41);
/// 146 years, a quarter of what a timestamp can count.
const VALIDITY_MIN_MAX: Duration = Duration::from_nanos(1 << 62);

impl Settings {
    /// The validity that a grant must have left.
    pub(crate) fn min_validity(&self, ttl: Duration) -> Duration {
        // The fraction was checked to lie in 0..=1. Validity counts in 64 bits of nanoseconds: of
        // a ttl beyond these, no share that they cannot hold may be asked for.
        ttl.mul_f64(self.min_validity).clamp(Duration::from_nanos(1), VALIDITY_MIN_MAX)
    }

    pub(crate) fn keep(&self, renewal: Renewal) -> Keep {
        match renewal {
            Renewal::On => Keep { renew: true, max_hold: self.max_hold },
            Renewal::Off => Keep { renew: false, max_hold: self.max_hold },
            Renewal::AtMost(most) => Keep { renew: true, max_hold: most.min(self.max_hold) },
        }
    }

    /// The shortest ttl that leaves any validity, in whole milliseconds.
    pub(crate) fn ttl_min(&self) -> Duration {
        let mut ttl = self.drift.constant.max(Duration::from_millis(1));
        while self.drift.share(ttl).is_zero() && ttl < TTL_MAX {
            ttl += Duration::from_millis(1).max(ttl / 64);
        }
        ttl
    }

    pub(crate) fn is_usable_ttl(&self, ttl: Duration) -> bool {
        ttl <= self.max_ttl && ttl.as_millis() > 0 && !self.drift.share(whole_millis(ttl)).is_zero()
    }

    pub(crate) fn key_len(&self, resource: &Resource) -> Result<(), usize> {
        let len = self.key_prefix.len().saturating_add(resource.as_bytes().len());
        let fits = !resource.as_bytes().is_empty() && len <= Resource::LEN_MAX;
        if fits { Ok(()) } else { Err(len) }
    }
}

/// A ttl as it is sent: servers count whole milliseconds.
pub(crate) fn whole_millis(ttl: Duration) -> Duration {
    Duration::from_millis(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
}

/// How a lease is to be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    pub(crate) renew: bool,
    pub(crate) max_hold: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_takes_a_share_and_a_constant() {
        let drift = Drift::default();
        assert_eq!(drift.share(Duration::from_secs(10)), Duration::from_millis(9_898));
        assert_eq!(drift.share(Duration::from_millis(2)), Duration::ZERO);
        assert_eq!(drift.share(Duration::ZERO), Duration::ZERO);
        let all = Drift { parts_per_million: 2_000_000, constant: Duration::ZERO };
        assert_eq!(all.share(Duration::from_secs(1)), Duration::ZERO);
        assert!(drift.share(Duration::MAX) > Duration::from_secs(1 << 30));
    }
}
