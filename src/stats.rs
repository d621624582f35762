//! Snapshots of how the client and its nodes are doing.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// A client's state and its counters since it was built.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Locks held now.
    pub held: usize,
    /// Callers waiting in this process's queues now.
    pub waiting: usize,
    /// Commands in flight now, over all nodes.
    pub in_flight: usize,
    /// Acquisitions that succeeded.
    pub acquired: u64,
    /// Of these, how many found somebody in their way.
    pub contended: u64,
    /// Acquisitions that failed, for whatever reason.
    pub failed: u64,
    /// Locks released on the nodes.
    pub released: u64,
    /// Locks that passed to the next caller of this process as they were; see
    /// [`Handoff`](crate::Handoff).
    pub handed_on: u64,
    /// Leases lost.
    pub lost: u64,
    /// Time from request to grant, of the acquisitions that succeeded.
    pub acquire: Percentiles,
}

/// Percentiles of a set of times.
#[derive(Clone)]
pub struct Percentiles(Option<Histogram<u64>>);

impl Percentiles {
    pub(crate) const fn new(histogram: Option<Histogram<u64>>) -> Self {
        Self(histogram)
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The time that `percent` of the recorded ones do not exceed, to three digits; zero while
    /// nothing is recorded.
    pub fn at(&self, percent: f64) -> Duration {
        let nanos = self.0.as_ref().map_or(0, |times| {
            if times.is_empty() { 0 } else { times.value_at_percentile(percent) }
        });
        Duration::from_nanos(nanos)
    }

    /// The longest time recorded.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.as_ref().map_or(0, Histogram::max))
    }

    /// The times recorded since `earlier`, an older snapshot of the same counters: how it was in
    /// between. None if `earlier` is not one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let (Some(times), Some(before)) = (&self.0, &earlier.0) else { return self.clone() };
        let mut between = times.clone();
        Self(between.subtract(before).is_ok().then_some(between))
    }
}

impl fmt::Debug for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Percentiles")
            .field("count", &self.count())
            .field("p50", &self.at(50.0))
            .field("p99", &self.at(99.0))
            .field("max", &self.max())
            .finish()
    }
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeState {
    /// The client is closed.
    Closed,
    /// Not connected yet, for the first time.
    Connecting,
    /// Connected, but it may have forgotten locks: its votes do not count yet.
    Quarantined,
    /// Not connected; the reason says why.
    Down,
    /// Connected, but an answer is overdue: it is asked nothing new until it answers.
    Suspect,
    /// Connected and answering.
    Up,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Connecting => "connecting",
            Self::Down => "down",
            Self::Quarantined => "quarantined",
            Self::Suspect => "suspect",
            Self::Up => "up",
        })
    }
}

/// A node's state and its counters since the client was built.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Its address, without secrets.
    pub endpoint: String,
    /// How it is.
    pub state: NodeState,
    /// Why it is down, or what it refused last.
    pub reason: Option<String>,
    /// What is wrong with how it is set up, though it works: act on it.
    pub warning: Option<String>,
    /// How much longer its votes do not count, while it is [`NodeState::Quarantined`].
    pub quarantine: Option<Duration>,
    /// The epoch it is in: a new one begins whenever it may have forgotten locks.
    pub epoch: Option<String>,
    /// What it says it is: server, version, protocol.
    pub server: Option<String>,
    /// Commands written.
    pub commands: u64,
    /// Operations answered: one command may release many locks.
    pub operations: u64,
    /// Writes: `commands / writes` is how well commands are batched.
    pub writes: u64,
    /// Reads that returned bytes.
    pub reads: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Commands in flight now.
    pub in_flight: usize,
    /// Operations whose answer was overdue.
    pub timeouts: u64,
    /// Connections that completed their handshake.
    pub connects: u64,
    /// Connections lost.
    pub disconnects: u64,
    /// Grants that came when nobody wanted them any more, and were released.
    pub late_grants_released: u64,
    /// Acquisitions taken back before they left.
    pub withdrawn: u64,
    /// Releases left to the keys' expiry.
    pub releases_given_up: u64,
    /// Releases sent again because an earlier connection's bytes may still be executed: the
    /// server's ACL forbids `CLIENT KILL`.
    pub releases_repeated: u64,
    /// Connections of which the server would not close the one before.
    pub unfenced: u64,
    /// Epochs seen: one, and one more each time the node may have forgotten locks.
    pub epochs: u64,
    /// Writes whose grants did not count because another epoch had begun, and connections that were
    /// given up because the node told of that by itself.
    pub seals_broken: u64,
    /// Held leases that this node was asked to hold too, later than the others.
    pub topped_up: u64,
    /// Forward steps of its clock: each voids what the node held, as its keys may have expired.
    pub clock_steps: u64,
    /// Backward steps of its clock. Its keys live longer: harmless, but a sign of a bad clock.
    pub clock_steps_back: u64,
    /// The allowance for its clock running fast, in parts per million of a ttl: the configured
    /// one ([`Drift`](crate::Drift)), or twice what was measured over 10 s or more.
    pub drift_ppm: u32,
    /// Times the scripts had to be loaded again.
    pub script_reloads: u64,
    /// Commands that one gathering turn gained, smoothed.
    pub gather_gain: f64,
    /// Delay of one gathering turn, smoothed.
    pub gather_delay: Duration,
    /// Round trips, one in 64 recorded, from the bytes leaving to the reply's parsing.
    pub round_trip: Percentiles,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_between_two_snapshots_stands_alone() {
        let mut times = Histogram::new_with_max(60_000_000_000, 3).expect("a histogram");
        let snapshot = |times: &Histogram<u64>| Percentiles::new(Some(times.clone()));
        let none = snapshot(&times);
        times.record_n(1_000, 99).expect("within its range");
        let first = snapshot(&times);
        times.record_n(5_000_000, 3).expect("within its range");
        let both = snapshot(&times);
        let between = both.since(&first);
        assert_eq!((both.count(), between.count()), (102, 3));
        let median = |of: &Percentiles| of.at(50.0).as_nanos();
        assert_eq!((median(&both), median(&between) / 10_000), (1_000, 500));
        assert_eq!(first.since(&none).count(), 99);
        assert_eq!(first.since(&Percentiles::new(None)).count(), 99);
        assert_eq!(both.since(&both).count(), 0);
        assert_eq!(both.since(&both).at(99.0), Duration::ZERO);
        assert_eq!(first.since(&both).count(), 0, "that one is not older");
    }
}
