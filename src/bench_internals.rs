//! Thin public wrappers of the inside, for this repository's benches (feature `bench-internals`).
//!
//! Not part of the API: hidden from its documentation, and changed or removed without notice. It
//! adds no behaviour of its own, so that what a bench measures is what the engine runs.

use std::future::{poll_fn, ready};
use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

use crate::algorithm::script::RELEASE;
use crate::algorithm::tally::{Phase, Vote};
use crate::config::Keep;
use crate::engine::acquire::Acquisition;
use crate::engine::clock::Clock;
use crate::engine::node::Health;
use crate::engine::op::{Pool, Spec};
use crate::engine::start;
use crate::engine::waiters::{Claim, Waiter, Waiters};
use crate::engine::wheel::Wheel;
use crate::engine::wish::Wish;
use crate::net::{Dialing, Transport};
use crate::redlock::Core;
use crate::resp::decode::{Decoded, Decoder};
use crate::resp::limits::Limits;
use crate::resp::{Protocol, command};
use crate::time::Timestamp;
use crate::{Batching, Builder, Drift, Endpoint, Guard, Resource, Token};

/// Appends the frame of an acquisition.
pub fn encode_acquire(out: &mut Vec<u8>, key: &[u8], token: &Token, ttl_ms: u64) {
    command::set_nx_px(out, [key, b""], token.as_bytes(), ttl_ms);
}

/// A lock that was asked for, with the frame in which it was.
#[derive(Debug)]
pub struct Lock {
    frame: Vec<u8>,
    key: Range<usize>,
    token: Token,
}

impl Lock {
    /// As every attempt has it.
    pub fn asked_for(key: &[u8], token: Token, ttl_ms: u64) -> Self {
        let mut frame = Vec::new();
        let key = command::set_nx_px(&mut frame, [key, b""], token.as_bytes(), ttl_ms);
        Self { frame, key, token }
    }
}

/// Appends the call of the release script over some locks.
pub fn encode_release(out: &mut Vec<u8>, locks: &[Lock]) {
    let locks = locks
        .iter()
        .map(|Lock { frame, key, token }| command::bulks_of_set(frame, key, token.as_bytes()));
    command::evalsha_tokens(out, RELEASE.sha, locks);
}

/// A connection's decoder.
#[derive(Debug)]
pub struct Replies(Decoder);

impl Replies {
    /// As every connection has it.
    pub fn resp3() -> Self {
        Self(Decoder::new(Protocol::Resp3, Limits::DEFAULT))
    }

    /// Decodes all of `input`: how many whole replies it is, `None` if it is anything else.
    pub fn decode(&mut self, input: &[u8]) -> Option<usize> {
        let (mut at, mut count) = (0, 0);
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            let Ok(Decoded::Reply { reply, len }) = self.0.decode(rest) else { return None };
            black_box(reply);
            (at, count) = (at + len, count + 1);
        }
        Some(count)
    }
}

/// The shared state of attempts, without the nodes.
#[derive(Debug)]
pub struct Ops(Pool);

impl Ops {
    /// Nothing to recycle yet.
    pub fn empty() -> Self {
        Self(Pool::new(1))
    }

    /// One attempt that all nodes grant: an op from the pool, a bound and a vote per node, the
    /// caller's look at the outcome, back to the pool. Valid until which nanosecond, if won?
    pub fn cycle(&self, resource: &Resource, nodes: usize, attempt: u64) -> Option<u64> {
        let now = Timestamp::from_nanos(attempt);
        let op = self.0.take(&Spec {
            resource,
            prefix: b"",
            ttl: Duration::from_secs(10),
            lock_delay: Duration::ZERO,
            drift: Drift::default(),
            nodes,
            quorum: nodes / 2 + 1,
            fencing: None,
            ticket: None,
            claims: None,
        });
        for node in 0..nodes {
            op.raise_granted(node, now, 0);
            op.vote(node, Vote::Granted, now);
        }
        let is_won = op.acquire_tally().phase() == Phase::Won;
        let until = is_won.then(|| op.valid_until().as_nanos());
        self.0.put(op);
        until
    }
}

/// The engine's timing wheel.
#[derive(Debug)]
pub struct Timers(Wheel<u64>);

impl Timers {
    /// A wheel with one entry per given deadline.
    pub fn new(dues_ns: impl Iterator<Item = u64>) -> Self {
        let mut timers = Self(Wheel::new(Timestamp::ZERO));
        dues_ns.for_each(|due| _ = timers.0.insert(Timestamp::from_nanos(due), due));
        timers
    }

    /// Adds an entry and takes it out again, as every lock that is released in time does.
    pub fn insert_remove(&mut self, due_ns: u64) -> Option<u64> {
        let key = self.0.insert(Timestamp::from_nanos(due_ns), due_ns);
        self.0.remove(black_box(key))
    }
}

/// The queues in front of resources.
#[derive(Debug)]
pub struct Slots(Waiters);

impl Slots {
    /// None is taken.
    pub fn free() -> Self {
        Self(Waiters::new())
    }

    /// Takes a slot. `None`: it was free. `Some(true)`: the caller queued up.
    pub fn claim(&self, resource: &Resource) -> Option<bool> {
        let ttl = Duration::from_secs(10);
        let keep = Keep { renew: false, max_hold: ttl };
        let waiter = || Some(Waiter::new(ttl, keep, false));
        match self.0.claim(resource, Timestamp::ZERO, waiter) {
            Claim::Taken => None,
            Claim::Occupied => Some(false),
            Claim::Queued(_) => Some(true),
        }
    }

    /// Gives a slot up. Whether there was a caller to take it.
    pub fn pass(&self, resource: &Resource) -> bool {
        self.0.pass(resource, || Timestamp::ZERO, || 0).is_some()
    }
}

#[derive(Clone)]
struct Dialer<D>(D, Handle);

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for Dialer<fn(&Handle) -> S> {
    type Stream = S;

    fn dial(&self, _endpoint: &Endpoint) -> Dialing<S> {
        Box::pin(ready(io::Result::Ok((self.0)(&self.1))))
    }
}

/// An engine over streams of the caller's making; when it goes, its tasks end.
#[derive(Debug)]
pub struct Fleet(Arc<Core>);

impl Fleet {
    /// Starts an engine of one node on `runtime` and waits until that is up. `dial` opens the
    /// stream to it, and serves the other end on `peers`. `None`: the settings cannot be used.
    pub async fn start<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        runtime: &Handle,
        batching: Batching,
        peers: Handle,
        dial: fn(&Handle) -> S,
    ) -> Option<Self> {
        let builder = Builder::default().node("redis://node").batching(batching);
        let (endpoints, settings, node_settings) = builder.check().ok()?;
        let (dialer, clock) = (Dialer(dial, peers), Clock::system());
        let started = {
            let random = start::system_random;
            start::start(runtime, dialer, clock, random, endpoints, settings, &node_settings)
        };
        let engine = started.ok()?;
        loop {
            let changed = engine.changed.notified();
            if engine.nodes.iter().all(|node| node.health() == Health::Up) {
                break;
            }
            changed.await;
        }
        Some(Self(Arc::new(Core { engine })))
    }

    /// As the public one, but to be run to its end, never dropped. `None`: it failed.
    pub async fn acquire(&self, resource: &Resource) -> Option<Guard> {
        let settings = &self.0.engine.settings;
        let (resource, ttl) = (resource.clone(), settings.ttl);
        let keep = settings.keep(settings.renewal);
        let mut way = Acquisition::new(Wish {
            resource,
            ttl,
            wait: None,
            keep,
            once: false,
            fenced: false,
            claims: None,
        });
        let op = poll_fn(|cx| way.poll(&self.0.engine, cx)).await.ok()?;
        Some(Guard::new(&self.0, op, *way.course()))
    }

    /// Commands and writes so far, over all nodes.
    pub fn written(&self) -> (u64, u64) {
        let now = self.0.engine.clock.now();
        let nodes = self.0.engine.nodes.iter().map(|node| crate::snapshot::status(node, now));
        nodes.fold((0, 0), |sum, node| (sum.0 + node.commands, sum.1 + node.writes))
    }
}
