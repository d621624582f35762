//! The side of a node that callers see: its outbox, its health, its counters.
//!
//! - I1 the outbox is appended to under a short mutex and swapped out whole by the driver.
//! - I2 a node that is down or suspect takes no acquisition, and never makes anybody wait; releases
//!   owed to it wait in its outbox until they are sent or the keys must have expired.
//! - I3 every queue is bounded; what does not fit is refused with a vote, never dropped in silence.

mod clock;
mod facts;
mod lanes;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::sync::Notify;

use crate::algorithm::node_clock::NodeClock;
use crate::algorithm::script;
use crate::algorithm::tally::Vote;
use crate::config::Protections;
use crate::endpoint::Endpoint;
use crate::engine::clock::Clock;
use crate::engine::connection::Flush;
use crate::engine::fleet::Fleet;
use crate::engine::op::Op;
use crate::engine::query::Query;
use crate::session::batch::Batching;
use crate::time::{Timestamp, nanos};

pub(crate) use clock::RUNS_WILD;
pub(crate) use facts::{About, Counters, count};
pub(crate) use lanes::{Extension, Lanes, Owed, TopUp};

use clock::Told;

/// What a driver needs to know; one per engine.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    pub(crate) batching: Batching,
    pub(crate) max_inflight: usize,
    pub(crate) max_queued_bytes: usize,
    pub(crate) node_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) unresponsive_after: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) reconnect_base: Duration,
    pub(crate) reconnect_cap: Duration,
    pub(crate) client_name: String,
    pub(crate) resp2_only: bool,
    pub(crate) allow_eviction: bool,
    pub(crate) drift_ppm: u32,
    /// Of a ttl, how old a node's word that the lock is ours may be to count (R10').
    pub(crate) word_age: f64,
    /// The quarantine that this client's locks need.
    pub(crate) quarantine_ms: u64,
    pub(crate) protections: Protections,
}

/// A node's health, as admission sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Health {
    Connecting = 0,
    Up = 1,
    /// Connected, but an answer is overdue.
    Suspect = 2,
    Down = 3,
    Closed = 4,
    /// Connected, but it may have forgotten locks: its votes do not count yet.
    Quarantined = 5,
}

impl Health {
    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Connecting,
            1 => Self::Up,
            2 => Self::Suspect,
            3 => Self::Down,
            5 => Self::Quarantined,
            _ => Self::Closed,
        }
    }

    /// Whether there is a connection that carries commands.
    pub(crate) const fn is_connected(self) -> bool {
        matches!(self, Self::Up | Self::Suspect | Self::Quarantined)
    }
}

#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Outbox {
    /// The driver has been woken and has not looked yet.
    pub(crate) notified: bool,
    pub(crate) bytes: usize,
    pub(crate) lanes: Lanes,
    /// The live connection, for submitters that find it idle.
    pub(crate) shortcut: Option<Arc<dyn Flush>>,
}

/// One node, shared by its driver and all callers. What every command touches stands first, and
/// together: all threads write to these cache lines.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Node {
    pub(crate) in_flight: AtomicUsize,
    pub(crate) queued: AtomicUsize,
    health: AtomicU8,
    /// With so much queued and in flight, no acquisition is taken any more.
    admitted: usize,
    outbox: Mutex<Outbox>,
    pub(crate) index: usize,
    pub(crate) endpoint: Endpoint,
    pub(crate) settings: Arc<NodeSettings>,
    pub(crate) waker: AtomicWaker,
    /// While it is quarantined: from when on its votes count, in nanoseconds.
    opens_at: AtomicU64,
    pub(crate) fleet: Arc<Fleet>,
    wall_clock: Mutex<NodeClock>,
    drift_ppm: AtomicU32,
    runs_wild: AtomicBool,
    /// Its connection tells when a watched key changes.
    pub(crate) tracks: AtomicBool,
    /// Its connection listens on this process's channel.
    pub(crate) has_ears: AtomicBool,
    /// How long it takes to answer lately, in nanoseconds.
    round_trip: AtomicU64,
    voided_at: AtomicU64,
    told: Mutex<Told>,
    pub(crate) closing: AtomicBool,
    pub(crate) about: Mutex<About>,
    pub(crate) counters: Counters,
    changed: Arc<Notify>,
}

/// Releases owed to one node at most. Beyond it the keys are left to expire, and counted.
const OWED_MAX: usize = 65_536;

/// Why an acquisition was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Down, suspect or still connecting.
    Unavailable,
    /// Its caps are reached.
    Overloaded,
    /// It may have forgotten locks.
    Quarantined,
}

impl Node {
    pub(crate) fn new(
        index: usize,
        endpoint: Endpoint,
        settings: Arc<NodeSettings>,
        fleet: Arc<Fleet>,
        changed: Arc<Notify>,
    ) -> Self {
        // A tenth of the window stays free for releases and extensions: under overload, held
        // locks end before new ones begin.
        let admitted = settings.max_inflight - settings.max_inflight / 10;
        Self {
            index,
            admitted,
            endpoint,
            outbox: Mutex::new(Outbox::default()),
            waker: AtomicWaker::new(),
            health: AtomicU8::new(Health::Connecting as u8),
            opens_at: AtomicU64::new(0),
            fleet,
            wall_clock: Mutex::new(NodeClock::default()),
            drift_ppm: AtomicU32::new(settings.drift_ppm),
            runs_wild: AtomicBool::new(false),
            tracks: AtomicBool::new(false),
            has_ears: AtomicBool::new(false),
            round_trip: AtomicU64::new(0),
            voided_at: AtomicU64::new(0),
            told: Mutex::new(Told::default()),
            settings,
            in_flight: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            about: Mutex::new(About::default()),
            counters: Counters::default(),
            changed,
        }
    }

    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn about(&self) -> MutexGuard<'_, About> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn health(&self) -> Health {
        Health::from_code(self.health.load(Ordering::Acquire))
    }

    /// Set by the driver only; under the outbox lock when acquisitions must stop coming.
    pub(crate) fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Release);
    }

    /// When the node's quarantine ends, for as long as it is [`Health::Quarantined`].
    pub(crate) fn opens_at(&self) -> Timestamp {
        Timestamp::from_nanos(self.opens_at.load(Ordering::Acquire))
    }

    pub(crate) fn set_opens_at(&self, at: Timestamp) {
        self.opens_at.store(at.as_nanos(), Ordering::Release);
    }

    /// Would an acquisition be taken now?
    pub(crate) fn admits(&self) -> Result<(), Refusal> {
        match self.health() {
            Health::Up => {}
            Health::Quarantined => return Err(Refusal::Quarantined),
            _ => return Err(Refusal::Unavailable),
        }
        let load = self.in_flight.load(Ordering::Relaxed) + self.queued.load(Ordering::Relaxed);
        if load >= self.admitted { Err(Refusal::Overloaded) } else { Ok(()) }
    }

    /// Queues an acquisition. `Ok(true)`: the driver must be woken.
    pub(crate) fn submit_acquire(&self, op: &Arc<Op>) -> Result<bool, Refusal> {
        let mut outbox = self.outbox();
        self.admits()?;
        if outbox.bytes.saturating_add(op.acquire_len()) > self.settings.max_queued_bytes {
            return Err(Refusal::Overloaded);
        }
        outbox.bytes += op.acquire_len();
        outbox.lanes.acquires.push_back(Arc::clone(op));
        Ok(self.queue_grew(&mut outbox))
    }

    /// Queues a release. `true`: the driver must be woken.
    pub(crate) fn submit_release(&self, op: &Arc<Op>) -> bool {
        let mut outbox = self.outbox();
        let health = self.health();
        if health == Health::Closed || outbox.lanes.releases.len() >= OWED_MAX {
            drop(outbox);
            count(&self.counters.releases_given_up, 1);
            op.vote_release(self.index, Vote::Unknown);
            return false;
        }
        outbox.lanes.releases.push_back(Owed::new(Arc::clone(op)));
        let wake = self.queue_grew(&mut outbox);
        drop(outbox);
        if !health.is_connected() {
            // It stays owed, but nobody should wait for it.
            op.vote_release(self.index, Vote::Unknown);
        }
        wake
    }

    /// Whether a ticket would be taken now, and its owner told when it is called.
    pub(crate) fn takes_tickets(&self) -> bool {
        self.has_ears.load(Ordering::Acquire) && self.admits().is_ok()
    }

    /// It answered after `span`. Its driver alone says so.
    pub(crate) fn answered_in(&self, span: Duration) {
        let last = self.round_trip.load(Ordering::Relaxed);
        let span = nanos(span.min(self.settings.node_timeout));
        self.round_trip.store(span.max(last - last / 16), Ordering::Relaxed);
    }

    /// The longest round trip of late; never more than the node's timeout.
    pub(crate) fn round_trip(&self) -> Duration {
        Duration::from_nanos(self.round_trip.load(Ordering::Relaxed))
    }

    /// How long it is to reserve a lock for the next in line, in ms: the message and the
    /// confirmation take a round trip, of a process that may be farther away than this one.
    pub(crate) fn reservation_ms(&self) -> u64 {
        script::RESERVATION_MS + nanos(self.round_trip() * 2) / 1_000_000
    }

    /// Queues a ticket to be shown. `Some(true)`: the driver must be woken.
    pub(crate) fn submit_enter(&self, op: &Arc<Op>) -> Option<bool> {
        let mut outbox = self.outbox();
        self.admits().ok()?;
        outbox.lanes.enters.push_back(Arc::clone(op));
        Some(self.queue_grew(&mut outbox))
    }

    /// Queues an extension. `true`: the driver must be woken.
    pub(crate) fn submit_extension(&self, extension: Extension) -> bool {
        let mut outbox = self.outbox();
        if !matches!(self.health(), Health::Up | Health::Suspect)
            || outbox.lanes.extensions.len() >= self.settings.max_inflight
        {
            drop(outbox);
            extension.op.vote_extend(self.index, Vote::NotSent, extension.round);
            return false;
        }
        outbox.lanes.extensions.push_back(extension);
        self.queue_grew(&mut outbox)
    }

    /// Queues a top-up, if the node's vote would count. `true`: the driver must be woken.
    pub(crate) fn submit_top_up(&self, top_up: TopUp) -> bool {
        let mut outbox = self.outbox();
        if self.admits().is_err() {
            return false;
        }
        outbox.lanes.top_ups.push_back(top_up);
        self.queue_grew(&mut outbox)
    }

    /// Asks to be told when the key of a held lease changes, if that is easily done: it is a hint.
    pub(crate) fn submit_watch(&self, op: &Arc<Op>) -> bool {
        let mut outbox = self.outbox();
        if self.admits().is_err() {
            return false;
        }
        outbox.lanes.watches.push_back(Arc::clone(op));
        self.queue_grew(&mut outbox)
    }

    /// Queues a query. `true`: the driver must be woken.
    pub(crate) fn submit_query(&self, query: &Arc<Query>) -> bool {
        let mut outbox = self.outbox();
        let answers = matches!(self.health(), Health::Up | Health::Quarantined);
        if !answers || outbox.lanes.queries.len() >= QUERIES_MAX {
            drop(outbox);
            query.fail(self.index);
            return false;
        }
        outbox.lanes.queries.push_back(Arc::clone(query));
        self.queue_grew(&mut outbox)
    }

    /// Commands were queued: writes them here and now if the connection is idle, or wakes the
    /// driver.
    pub(crate) fn flush_or_wake(&self, clock: Clock) {
        let shortcut = self.outbox().shortcut.clone();
        if !shortcut.is_some_and(|connection| connection.flush(self, clock)) {
            self.waker.wake();
        }
    }

    /// Tells whoever waits for the fleet that this node's health changed.
    pub(crate) fn fleet_changed(&self) {
        self.changed.notify_waiters();
    }

    /// Queues releases that a dead connection owed, ahead of nothing and behind nothing: there is
    /// no connection for them to overtake anything on.
    pub(crate) fn owe_again(&self, owed: VecDeque<Owed>) {
        let mut outbox = self.outbox();
        let room = OWED_MAX.saturating_sub(outbox.lanes.releases.len());
        count(&self.counters.releases_given_up, owed.len().saturating_sub(room) as u64);
        outbox.lanes.releases.extend(owed.into_iter().take(room));
        self.queued.store(outbox.lanes.len(), Ordering::Relaxed);
    }

    /// By one command. The lock on the outbox orders whoever writes to the number.
    fn queue_grew(&self, outbox: &mut Outbox) -> bool {
        self.queued.store(self.queued.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        !std::mem::replace(&mut outbox.notified, true)
    }
}

const QUERIES_MAX: usize = 1_024;
