//! One live connection: forms writes from what is staged, reads replies, watches deadlines.
//!
//! - I1 reading and writing always advance together (a peer that stops reading must not stop us
//!   from reading: redis-rs#1955).
//! - I2 bytes leave in the order releases, extensions, queries, acquisitions; an acquisition whose
//!   round is over is cut out here and votes *not sent*, so no release can overtake its own SET: it
//!   is queued only for nodes whose SET has left.
//! - I3 a grant counts only by what proves that its node forgot nothing before it; see `sealed`.
//! - I4 whatever ends the connection, every command in flight becomes *unknown*, none is replayed.

mod flush;
mod forming;
mod reading;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::algorithm::script;
use crate::algorithm::tally::Vote;
use crate::engine::clock::{Clock, Timer};
use crate::engine::connection::flush::WakeDriver;
use crate::engine::dispatch::{Dispatch, Item, RELOADS_MAX, Reload};
use crate::engine::node::{Lanes, Node, Owed, count};
use crate::engine::rng::Rng;
use crate::engine::sealed::{Proof, Sealed};
use crate::resp::command;
use crate::resp::decode::Decoder;
use crate::session::batch::Gate;
use crate::session::handshake::{Capabilities, NativeRelease};
use crate::session::pipeline::Pipeline;
use crate::session::quarantine::Quarantine;
use crate::session::stamp::Stamp;
use crate::time::Timestamp;

pub(crate) use flush::Flush;
pub(crate) use watch::Step;

/// Turns of the loop before the task lets others run.
const TURNS_MAX: usize = 32;
/// The read buffer; a longer frame makes it grow, up to the decoder's limit.
pub(crate) const READ_BYTES: usize = 32 * 1024;

/// Why a connection ended.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) String);

impl Fault {
    /// The node is not in the epoch that this connection greeted it in: it may have forgotten
    /// locks, and is greeted anew before it votes again (R1).
    pub(crate) fn epoch() -> Self {
        Self("another epoch has begun: the node was flushed, restarted or replaced".into())
    }
}

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: S,
    decoder: Decoder,
    read: Vec<u8>,
    filled: usize,
    write: Vec<u8>,
    written: usize,
    pipeline: Pipeline<Item>,
    staged: Lanes,
    /// Releases the node refused for now.
    refused: VecDeque<Owed>,
    script: Vec<Owed>,
    gate: Gate,
    native: Option<NativeRelease>,
    reload: Reload,
    reloads_left: u32,
    /// Replies that it has brought.
    replies: u64,
    /// Replies handed out since the last write: their callers are about to come back.
    handed_out: usize,
    /// Of callers whose answers the last read brought.
    calls: Vec<Waker>,
    blocked_since: Option<Timestamp>,
    last_activity: Timestamp,
    has_leftover: bool,
    retry_at: Timestamp,
    /// By when the driver looks again by itself.
    armed: Timestamp,
    is_dead: bool,
    proof: Proof,
    /// The server said that the epoch is over, or may be.
    was_told: bool,
    /// What every write that sets locks ends in where it is sealed, encoded once.
    seal: Vec<u8>,
    sealed: Sealed,
    /// When the newest command that has been answered was sent.
    answered: Timestamp,
    quarantine: Quarantine,
    /// A heartbeat's answer, until it is acted on.
    stamped: Option<(Stamp, Timestamp)>,
    beat_at: Timestamp,
    step: Option<Step>,
    tracks: bool,
    /// Nothing of an earlier connection can be executed any more.
    is_fenced: bool,
    /// Another server than before answers here: none of its votes counts, a new epoch is begun.
    is_strange: bool,
    rng: Rng,
    /// Wakes the driver, whoever polls the stream.
    driver: Waker,
    pub(crate) since: Timestamp,
}

/// What a handshake found out and left behind.
pub(crate) struct Welcome<'a> {
    pub(crate) capabilities: &'a Capabilities,
    /// Bytes read behind the handshake's last reply.
    pub(crate) leftover: &'a [u8],
    pub(crate) quarantine: Quarantine,
    pub(crate) is_fenced: bool,
    pub(crate) is_strange: bool,
    pub(crate) step: Option<Step>,
    pub(crate) rng: Rng,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(
        stream: S,
        decoder: Decoder,
        welcome: Welcome<'_>,
        node: &Arc<Node>,
        now: Timestamp,
    ) -> Self {
        let Welcome { capabilities, leftover, quarantine, is_fenced, is_strange, step, rng } =
            welcome;
        let beat_in = if is_strange { Duration::ZERO } else { node.settings.heartbeat_interval };
        let mut read = vec![0; READ_BYTES.max(leftover.len())];
        for (to, from) in read.iter_mut().zip(leftover) {
            *to = *from;
        }
        let mut seal = Vec::new();
        command::seal(&mut seal, script::EPOCH_KEY, script::RELEASE.sha);
        Self {
            stream,
            decoder,
            read,
            filled: leftover.len(),
            write: Vec::new(),
            written: 0,
            pipeline: Pipeline::new(),
            staged: Lanes::default(),
            refused: VecDeque::new(),
            script: Vec::new(),
            gate: Gate::new(&node.settings.batching),
            native: capabilities.native_release,
            reload: Reload::Done,
            reloads_left: RELOADS_MAX,
            replies: 0,
            handed_out: 0,
            calls: Vec::new(),
            blocked_since: None,
            last_activity: now,
            has_leftover: !leftover.is_empty(),
            retry_at: now,
            armed: Timestamp::MAX,
            is_dead: false,
            proof: Proof::of(node.settings.protections.seal, capabilities.watches),
            was_told: false,
            seal,
            sealed: Sealed::new(),
            answered: Timestamp::ZERO,
            quarantine,
            stamped: None,
            beat_at: now.plus(beat_in),
            step,
            tracks: capabilities.tracks,
            is_fenced,
            is_strange,
            rng,
            driver: Waker::from(Arc::new(WakeDriver(Arc::clone(node)))),
            since: now,
        }
    }

    /// Advances reads and writes as far as they go. Ready: the connection is to be dropped.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        node: &Node,
        clock: Clock,
        timer: &mut Timer,
    ) -> Poll<Fault> {
        let mut now = clock.now();
        let mut may_defer = true;
        for turn in 0.. {
            if turn == TURNS_MAX {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let advanced = match self.advance(cx, node, now, &mut may_defer) {
                Ok(advanced) => advanced,
                Err(fault) => return Poll::Ready(fault),
            };
            if !advanced {
                break;
            }
            now = clock.now();
        }
        if let Err(fault) = self.watch(cx, node, now, timer) {
            return Poll::Ready(fault);
        }
        node.in_flight.store(self.pipeline.len() + self.staged.len(), Ordering::Relaxed);
        Poll::Pending
    }

    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        node: &Node,
        now: Timestamp,
        may_defer: &mut bool,
    ) -> Result<bool, Fault> {
        let read = self.poll_read(cx, node, now)?;
        let mut wrote = self.poll_write(cx, node)?;
        if self.write.is_empty() {
            if self.staged.is_empty() && node.queued.load(Ordering::Relaxed) > 0 {
                *may_defer = *may_defer && self.take_outbox(cx, node, now, *may_defer);
            }
            if self.form_write(node, now) {
                self.poll_write(cx, node)?;
                wrote = true;
            }
        }
        Ok(read || wrote)
    }

    /// Swaps the outbox in, or defers that to the back of the run queue. `false`: deferred.
    fn take_outbox(
        &mut self,
        cx: &mut Context<'_>,
        node: &Node,
        now: Timestamp,
        may_defer: bool,
    ) -> bool {
        let queued = node.queued.load(Ordering::Relaxed);
        let expected = self.pipeline.len().max(self.handed_out);
        if may_defer && self.gate.defer(now, queued, expected) {
            cx.waker().wake_by_ref();
            return false;
        }
        if !may_defer && self.gate.is_deferred() {
            return false;
        }
        self.take_lanes(node, now);
        true
    }

    fn take_lanes(&mut self, node: &Node, now: Timestamp) {
        self.handed_out = 0;
        self.staged.rewind();
        let mut outbox = node.outbox();
        std::mem::swap(&mut self.staged, &mut outbox.lanes);
        outbox.bytes = 0;
        outbox.notified = false;
        node.queued.store(0, Ordering::Relaxed);
        drop(outbox);
        self.gate.wrote(now, self.staged.len());
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, node: &Node) -> Result<bool, Fault> {
        let mut wrote = false;
        while let Some(rest) = self.write.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Pending => return Ok(wrote),
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Ready(Ok(0)) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Poll::Ready(Ok(bytes)) => {
                    self.written += bytes;
                    count(&node.counters.writes, 1);
                    count(&node.counters.bytes_written, bytes as u64);
                    wrote = true;
                }
            }
        }
        if self.written > 0 {
            node.fleet.buffers.give(std::mem::take(&mut self.write));
            self.written = 0;
        }
        Ok(wrote)
    }

    /// Is nothing owed and nothing in flight?
    pub(crate) fn is_drained(&self) -> bool {
        self.pipeline.is_empty() && self.staged.is_empty() && self.write.is_empty()
    }

    /// The connection is gone: hands back what it owed (I4).
    pub(crate) fn bury(&mut self, node: &Node, now: Timestamp) -> VecDeque<Owed> {
        self.is_dead = true;
        let mut owed = Dispatch::bury(&mut self.pipeline, &mut self.sealed, node, now);
        Dispatch::withdraw(&mut self.staged, node, now);
        for release in self.staged.releases.drain(..).chain(self.refused.drain(..)) {
            release.op.vote_release(node.index, Vote::Unknown);
            owed.push_back(release);
        }
        owed.iter_mut().for_each(|release| release.unsure = true);
        owed
    }

    /// What is known of the node's epoch; nothing yet of a strange one.
    pub(crate) fn quarantine(&self) -> Option<&Quarantine> {
        (!self.is_strange).then_some(&self.quarantine)
    }

    /// Did it end because the server said that the epoch is over, or may be?
    pub(crate) const fn was_told(&self) -> bool {
        self.was_told
    }

    /// A step of the node's clock that nobody has judged yet.
    pub(crate) const fn step(&self) -> Option<Step> {
        self.step
    }
}
