//! One node's task: dials, greets, drives the connection, reconnects.
//!
//! ```text
//!   Waiting ──due──► Dialing ──connected──► Greeting ──done──► Up
//!      ▲                │ failed, too long     │ refused         │ fault
//!      └────────────────┴──────────────────────┴─────────────────┘
//! ```
//! - I1 nothing of a caller's is written before the handshake is complete.
//! - I2 the first retry after a healthy connection is immediate; then full-jitter backoff.
//! - I3 what a connection owed is sent on the next one only behind the connection fence, or again
//!   and again until the keys must have expired.
//! - I4 when the task ends, for whatever reason, nobody waits for it any more.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::algorithm::backoff::full_jitter;
use crate::algorithm::tally::Vote;
use crate::endpoint::Ends;
use crate::engine::clock::{Clock, Timer};
use crate::engine::connection::{Connection, Flush, Step, Welcome};
use crate::engine::dispatch::Dispatch;
use crate::engine::greeting::{Greeting, Setback, Stamping};
use crate::engine::node::{Health, Lanes, Node, count};
use crate::engine::rng::Rng;
use crate::net::{Dialing, Transport};
use crate::session::handshake::{Capabilities, Fence, Previous};
use crate::session::quarantine::Quarantine;
use crate::session::stamp::{Caller, Intent};
use crate::time::Timestamp;

/// The task of one node; see the module's head.
pub(crate) struct Driver<T: Transport> {
    node: Arc<Node>,
    transport: T,
    clock: Clock,
    timer: Timer,
    rng: Rng,
    link: Link<T::Stream>,
    /// Failed attempts in a row.
    failures: u32,
    close_by: Option<Timestamp>,
    /// The last connection that was up, and the epoch as far as it was known then.
    previous: Option<Previous>,
    quarantine: Quarantine,
    /// Of the node's clock, not judged when the last connection ended.
    step: Option<Step>,
    /// The last connection ended because the server said that the epoch is over, or may be.
    was_told: bool,
    /// How often it was not, since it last was.
    false_alarms: u32,
}

enum Link<S> {
    Waiting { until: Timestamp },
    Dialing { dialing: Dialing<S>, deadline: Timestamp },
    Greeting { greeting: Box<Greeting<S>>, began: Timestamp, deadline: Timestamp },
    Up(Arc<Mutex<Connection<S>>>),
}

/// A refusal that a retry will not change (a password, a role) is tried again this rarely.
const PERMANENT_RETRY: Duration = Duration::from_secs(2);
/// A server whose other databases are flushed all the time, or whose table of tracked keys is too
/// small, ends watched connections for nothing: behind so many the next one is sealed.
const FALSE_ALARMS_MAX: u32 = 3;
/// A connection that lived this long was healthy: the next failure starts the backoff anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);
/// How long a closing driver tries to send what is owed.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

impl<T: Transport> Driver<T> {
    pub(crate) fn new(node: Arc<Node>, transport: T, clock: Clock, rng: Rng) -> Self {
        Self {
            node,
            transport,
            clock,
            timer: Timer::new(clock),
            rng,
            link: Link::Waiting { until: Timestamp::ZERO },
            failures: 0,
            close_by: None,
            previous: None,
            quarantine: Quarantine::default(),
            step: None,
            was_told: false,
            false_alarms: 0,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Setback>> {
        let now = self.clock.now();
        match &mut self.link {
            Link::Waiting { until } => {
                if *until > now {
                    self.timer.alarm(*until, cx);
                    while self.timer.poll_fired(cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
                self.link = Link::Dialing {
                    dialing: self.transport.dial(&self.node.endpoint),
                    deadline: now.plus(self.node.settings.connect_timeout),
                };
                Poll::Ready(Ok(()))
            }
            Link::Dialing { dialing, deadline } => {
                if let Poll::Ready(connected) = dialing.as_mut().poll(cx) {
                    let deadline = *deadline;
                    let stream = connected?;
                    let stamping = self.stamping(self.transport.ends(&stream));
                    let (endpoint, settings) = (&self.node.endpoint, &self.node.settings);
                    let greeting = Box::new(Greeting::new(stream, endpoint, settings, stamping));
                    self.link = Link::Greeting { greeting, began: now, deadline };
                    return Poll::Ready(Ok(()));
                }
                wait_until(*deadline, now, &mut self.timer, cx, "no connection")
            }
            Link::Greeting { greeting, deadline, .. } => {
                if let Poll::Ready(done) = greeting.poll(cx) {
                    let capabilities = done?;
                    self.up(&capabilities, now)?;
                    return Poll::Ready(Ok(()));
                }
                wait_until(*deadline, now, &mut self.timer, cx, "no answer to the handshake")
            }
            Link::Up(connection) => {
                let mut connection = lock(connection);
                match connection.poll(cx, &self.node, self.clock, &mut self.timer) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(fault) => Poll::Ready(Err(fault.into())),
                }
            }
        }
    }

    fn stamping(&mut self, ends: Ends) -> Stamping {
        let previous = self.previous.clone().filter(|_| self.node.settings.protections.fence);
        let caller = caller(&self.node, &mut self.rng);
        let channel = Some(self.node.fleet.hub.channel().to_owned());
        let ends = if self.false_alarms < FALSE_ALARMS_MAX { ends } else { Ends::Unknown };
        Stamping { intent: Intent::Greet, caller, previous, channel, ends }
    }

    fn up(&mut self, capabilities: &Capabilities, now: Timestamp) -> Result<(), Setback> {
        let node = &self.node;
        if let Some(other) = node.fleet.claim(node.index, capabilities.run_id()) {
            let reason = format!(
                "this address leads to the same server process as node {other}, which would vote \
                 twice: give each node an address of its own"
            );
            return Err(Setback { reason, permanent: true });
        }
        let waiting = Link::Waiting { until: now };
        let Link::Greeting { greeting, began: greeting_began, .. } =
            std::mem::replace(&mut self.link, waiting)
        else {
            return Ok(());
        };
        let Greeting { stream, decoder, read, filled, .. } = *greeting;
        let leftover = read.get(..filled).unwrap_or_default();
        if self.previous.as_ref().map(|known| known.run_id.as_str()) != capabilities.run_id() {
            node.forget_clock();
        }
        let (mut quarantine, is_fenced) = (self.quarantine.clone(), self.is_fenced(capabilities));
        let is_strange =
            capabilities.stamp.as_ref().is_some_and(|stamp| quarantine.is_strange(stamp));
        let mut has_stepped = false;
        if let Some(stamp) = &capabilities.stamp {
            node.fleet.learn(stamp);
            has_stepped = node.read_clock(greeting_began, now, stamp.now_us);
            let was_told = std::mem::take(&mut self.was_told);
            self.false_alarms += u32::from(was_told);
            if quarantine.note(stamp, now, node.settings.drift_ppm) {
                self.false_alarms = 0;
                count(&node.counters.epochs, 1);
                // What a step would have called for has been done.
                self.step = None;
            }
        }
        let (opens_at, epoch) = (quarantine.opens_at(), quarantine.id().escape_ascii().to_string());
        let (rng, step) = (Rng::new(self.rng.next()), self.step.take());
        let welcome =
            Welcome { capabilities, leftover, quarantine, is_fenced, is_strange, step, rng };
        let mut connection = Connection::new(stream, decoder, welcome, node, now);
        if has_stepped {
            // While nobody of ours was connected.
            connection.on_step(node, now);
        }
        let health = connection.health(node, now);
        let connection = Arc::new(Mutex::new(connection));
        let shortcut: Arc<dyn Flush> = Arc::<Mutex<_>>::clone(&connection);
        self.link = Link::Up(connection);
        node.outbox().shortcut = Some(shortcut);
        let mut about = node.about();
        about.reason = None;
        about.server = Some(capabilities.describe());
        about.run_id = capabilities.run_id().map(str::to_owned);
        about.epoch = Some(epoch);
        about.warning =
            capabilities.stamp.as_ref().and_then(|stamp| node.fleet.mismatch(&stamp.fleet));
        if about.round_trips.is_none() {
            about.round_trips = hdrhistogram::Histogram::new_with_max(60_000_000_000, 3).ok();
        }
        drop(about);
        self.previous = match (capabilities.run_id(), capabilities.client_id) {
            (Some(run_id), Some(client_id)) => {
                Some(Previous { run_id: run_id.to_owned(), client_id })
            }
            _ => None,
        };
        count(&node.counters.connects, 1);
        node.tracks.store(capabilities.tracks, Ordering::Release);
        node.has_ears.store(capabilities.listens, Ordering::Release);
        node.set_opens_at(opens_at);
        node.set_health(health);
        node.fleet_changed();
        Ok(())
    }

    /// I3: can nothing of an earlier connection be executed any more?
    fn is_fenced(&self, capabilities: &Capabilities) -> bool {
        let is_first = self.node.counters.connects.load(Ordering::Relaxed) == 0;
        let known = self.previous.is_some() && capabilities.run_id().is_some();
        let is_fenced = is_first || (known && capabilities.fence != Fence::Refused);
        if !is_fenced {
            count(&self.node.counters.unfenced, 1);
        }
        is_fenced || !self.node.settings.protections.fence
    }

    /// The link is gone: reports why, frees everybody who waits, plans the next attempt.
    fn set_back(&mut self, setback: Setback) {
        let now = self.clock.now();
        {
            // Under the outbox lock, so that no acquisition slips in behind the withdrawal.
            let mut outbox = self.node.outbox();
            outbox.shortcut = None;
            self.node.set_health(Health::Down);
        }
        self.node.about().reason = Some(setback.reason);
        self.node.fleet.leave(self.node.index);
        let link = std::mem::replace(&mut self.link, Link::Waiting { until: now });
        let mut owed = std::collections::VecDeque::new();
        if let Link::Up(connection) = link {
            let mut connection = lock(&connection);
            count(&self.node.counters.disconnects, 1);
            if now.since(connection.since) >= HEALTHY_AFTER {
                self.failures = 0;
            }
            if let Some(known) = connection.quarantine() {
                self.quarantine = known.clone();
            }
            self.step = connection.step();
            self.was_told = connection.was_told();
            owed = connection.bury(&self.node, now);
        }
        Dispatch::withdraw(&mut Lanes::default(), &self.node, now);
        self.node.owe_again(owed);
        self.node.in_flight.store(0, Ordering::Relaxed);
        let settings = &self.node.settings;
        let delay = if setback.permanent {
            PERMANENT_RETRY
        } else if self.failures == 0 {
            Duration::ZERO
        } else {
            let (base, cap) = (settings.reconnect_base, settings.reconnect_cap);
            full_jitter(base, cap, self.failures, self.rng.next())
        };
        self.failures = self.failures.saturating_add(1);
        self.link = Link::Waiting { until: now.plus(delay) };
        self.node.fleet_changed();
    }

    fn may_end(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.node.closing.load(Ordering::Acquire) {
            return false;
        }
        let now = self.clock.now();
        let close_by = *self.close_by.get_or_insert_with(|| now.plus(CLOSE_PATIENCE));
        let drained = match &self.link {
            Link::Up(connection) => lock(connection).is_drained(),
            _ => self.node.outbox().lanes.releases.is_empty(),
        };
        if now >= close_by || (drained && self.node.queued.load(Ordering::Relaxed) == 0) {
            return true;
        }
        self.timer.alarm(close_by, cx);
        false
    }

    fn end(&mut self) {
        let now = self.clock.now();
        {
            let mut outbox = self.node.outbox();
            outbox.shortcut = None;
            self.node.set_health(Health::Closed);
        }
        let link = std::mem::replace(&mut self.link, Link::Waiting { until: now });
        let owed = match link {
            Link::Up(connection) => lock(&connection).bury(&self.node, now).len(),
            _ => 0,
        };
        Dispatch::withdraw(&mut Lanes::default(), &self.node, now);
        let releases = std::mem::take(&mut self.node.outbox().lanes.releases);
        count(&self.node.counters.releases_given_up, (owed + releases.len()) as u64);
        for release in releases {
            release.op.vote_release(self.node.index, Vote::Unknown);
        }
        self.node.fleet_changed();
    }
}

fn lock<S>(connection: &Mutex<Connection<S>>) -> MutexGuard<'_, Connection<S>> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What this client says with every stamp, with a fresh id for the epoch that it may begin (R2).
pub(crate) fn caller(node: &Node, rng: &mut Rng) -> Caller {
    Caller {
        fresh: format!("{:016x}{:016x}", rng.next(), rng.next()),
        quarantine_ms: node.fleet.quarantine_ms(),
        fleet: node.fleet.name().to_owned(),
    }
}

fn wait_until(
    deadline: Timestamp,
    now: Timestamp,
    timer: &mut Timer,
    cx: &mut Context<'_>,
    what: &str,
) -> Poll<Result<(), Setback>> {
    if deadline <= now {
        return Poll::Ready(Err(Setback { reason: format!("{what} in time"), permanent: false }));
    }
    timer.alarm(deadline, cx);
    while timer.poll_fired(cx).is_ready() {
        cx.waker().wake_by_ref();
    }
    Poll::Pending
}

impl<T: Transport> Future for Driver<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.node.waker.register(cx.waker());
        loop {
            match this.step(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(setback)) => this.set_back(setback),
            }
            if this.may_end(cx) {
                break;
            }
        }
        if this.may_end(cx) {
            this.end();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// I4: also when the runtime is gone and drops the task.
impl<T: Transport> Drop for Driver<T> {
    fn drop(&mut self) {
        if self.node.health() != Health::Closed {
            self.end();
        }
    }
}
