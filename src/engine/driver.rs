//! One node's task: dials, greets, drives the connection, reconnects.
//!
//! ```text
//!   Waiting ──due──► Dialing ──connected──► Greeting ──done──► Up
//!      ▲                │ failed, too long     │ refused         │ fault
//!      └────────────────┴──────────────────────┴─────────────────┘
//! ```
//! - I1 nothing of a caller's is written before the handshake is complete.
//! - I2 the first retry after a healthy connection is immediate; then full-jitter backoff.
//! - I3 when the task ends, for whatever reason, nobody waits for it any more.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::algorithm::backoff::full_jitter;
use crate::algorithm::script;
use crate::algorithm::tally::Vote;
use crate::endpoint;
use crate::engine::clock::{Clock, Timer};
use crate::engine::connection::{Connection, Fault, Flush, READ_BYTES};
use crate::engine::dispatch::Dispatch;
use crate::engine::node::{Health, Lanes, Node, count};
use crate::engine::rng::Rng;
use crate::net::{Dialing, Transport};
use crate::resp::decode::{Decoded, Decoder};
use crate::resp::limits::Limits;
use crate::session::handshake::{
    Capabilities, Handshake, HandshakeConfig, Preferred, Progress, ScriptText,
};
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
}

enum Link<S> {
    Waiting { until: Timestamp },
    Dialing { dialing: Dialing<S>, deadline: Timestamp },
    Greeting { greeting: Box<Greeting<S>>, deadline: Timestamp },
    Up(Arc<Mutex<Connection<S>>>),
}

struct Greeting<S> {
    stream: S,
    handshake: Handshake,
    decoder: Decoder,
    read: Vec<u8>,
    filled: usize,
    write: Vec<u8>,
}

/// A refusal that a retry will not change (a password, a role) is tried again this rarely.
const PERMANENT_RETRY: Duration = Duration::from_secs(2);
/// A connection that lived this long was healthy: the next failure starts the backoff anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);
/// How long a closing driver tries to send what is owed.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

struct Setback {
    reason: String,
    permanent: bool,
}

impl From<Fault> for Setback {
    fn from(fault: Fault) -> Self {
        Self { reason: fault.0, permanent: false }
    }
}

impl From<io::Error> for Setback {
    fn from(error: io::Error) -> Self {
        Self { reason: error.to_string(), permanent: false }
    }
}

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
                    let greeting = Box::new(Greeting::new(connected?, &self.node));
                    self.link = Link::Greeting { greeting, deadline };
                    return Poll::Ready(Ok(()));
                }
                wait_until(*deadline, now, &mut self.timer, cx, "no connection")
            }
            Link::Greeting { greeting, deadline } => {
                if let Poll::Ready(done) = greeting.poll(cx) {
                    let capabilities = done?;
                    self.up(&capabilities, now);
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

    fn up(&mut self, capabilities: &Capabilities, now: Timestamp) {
        let waiting = Link::Waiting { until: now };
        let Link::Greeting { greeting, .. } = std::mem::replace(&mut self.link, waiting) else {
            return;
        };
        let Greeting { stream, decoder, read, filled, .. } = *greeting;
        let leftover = read.get(..filled).unwrap_or_default();
        let connection = Connection::new(stream, decoder, leftover, capabilities, &self.node, now);
        let connection = Arc::new(Mutex::new(connection));
        let shortcut: Arc<dyn Flush> = Arc::<Mutex<_>>::clone(&connection);
        self.link = Link::Up(connection);
        self.node.outbox().shortcut = Some(shortcut);
        let mut about = self.node.about();
        about.reason = None;
        about.server = Some(capabilities.describe());
        about.run_id.clone_from(&capabilities.run_id);
        if about.round_trips.is_none() {
            about.round_trips = hdrhistogram::Histogram::new_with_max(60_000_000_000, 3).ok();
        }
        drop(about);
        count(&self.node.counters.connects, 1);
        self.node.set_health(Health::Up);
        self.node.fleet_changed();
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
        let link = std::mem::replace(&mut self.link, Link::Waiting { until: now });
        let mut owed = std::collections::VecDeque::new();
        if let Link::Up(connection) = link {
            let mut connection = lock(&connection);
            count(&self.node.counters.disconnects, 1);
            if now.since(connection.since) >= HEALTHY_AFTER {
                self.failures = 0;
            }
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

/// I3: also when the runtime is gone and drops the task.
impl<T: Transport> Drop for Driver<T> {
    fn drop(&mut self) {
        if self.node.health() != Health::Closed {
            self.end();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Greeting<S> {
    fn new(stream: S, node: &Node) -> Self {
        let endpoint = &node.endpoint;
        let credentials = endpoint.credentials();
        let resp2 =
            node.settings.resp2_only || endpoint.protocol() == Some(endpoint::Protocol::Resp2);
        let mut handshake = Handshake::new(&HandshakeConfig {
            user: credentials.and_then(|known| known.username.clone()),
            password: credentials.map(|known| known.password.expose().to_owned()),
            database: endpoint.database(),
            client_name: endpoint.client_name().unwrap_or(&node.settings.client_name).to_owned(),
            protocol: if resp2 { Preferred::Resp2Only } else { Preferred::Resp3 },
            scripts: script::ALL
                .iter()
                .map(|script| ScriptText { sha: script.sha, body: script.body })
                .collect(),
        });
        let mut write = Vec::new();
        handshake.start(&mut write);
        let decoder = Decoder::new(handshake.protocol(), Limits::DEFAULT);
        Self { stream, handshake, decoder, read: vec![0; READ_BYTES], filled: 0, write }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Capabilities, Setback>> {
        loop {
            while !self.write.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, &self.write) {
                    Poll::Pending => break,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Ready(Ok(bytes)) => drop(self.write.drain(..bytes)),
                }
            }
            if self.filled == self.read.len() {
                self.read.resize(self.read.len() * 2, 0);
            }
            let Some(space) = self.read.get_mut(self.filled..) else { return Poll::Pending };
            let mut buffer = ReadBuf::new(space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(())) => {}
            }
            let bytes = buffer.filled().len();
            if bytes == 0 {
                let reason = "the server closed the connection during the handshake".into();
                return Poll::Ready(Err(Setback { reason, permanent: false }));
            }
            self.filled += bytes;
            if let Some(capabilities) = self.parse()? {
                return Poll::Ready(Ok(capabilities));
            }
        }
    }

    fn parse(&mut self) -> Result<Option<Capabilities>, Setback> {
        let mut at = 0;
        let mut done = None;
        while let Some(input) = self.read.get(at..self.filled).filter(|input| !input.is_empty()) {
            let reply = match self.decoder.decode(input).map_err(Fault::from)? {
                Decoded::Incomplete => break,
                Decoded::Push { len, .. } => {
                    at += len;
                    continue;
                }
                Decoded::Reply { reply, len } => {
                    at += len;
                    reply
                }
            };
            let progress =
                self.handshake.handle_reply(&reply, &mut self.write).map_err(|error| Setback {
                    reason: error.to_string(),
                    permanent: error.is_permanent(),
                })?;
            self.decoder.set_protocol(self.handshake.protocol());
            if let Progress::Done(capabilities) = progress {
                done = Some(capabilities);
                break;
            }
        }
        self.read.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(done)
    }
}
