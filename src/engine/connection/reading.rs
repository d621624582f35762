//! How a connection reads: replies and pushes, each at its place in the stream.
//!
//! - I1 what a push or a heartbeat's answer says of the node is acted on before anything behind it
//!   is looked at, in the same read too. No grant behind it may count by what was known before:
//!   on a watched connection nothing comes after it that would show it wrong (R1').
//! - I2 whatever stands in front of it counts: the server had done that before.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::algorithm::script;
use crate::engine::connection::{Connection, Fault, READ_BYTES};
use crate::engine::dispatch::{Dispatch, grants};
use crate::engine::node::{Lanes, Node, count};
use crate::engine::op::Op;
use crate::engine::sealed::Proof;
use crate::resp::decode::Decoded;
use crate::resp::push::Push;
use crate::time::Timestamp;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        node: &Node,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let Some(space) = self.read.get_mut(self.filled..) else { return Ok(false) };
        let mut buffer = ReadBuf::new(space);
        let bytes = match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            // What came in behind the handshake waits for no readiness.
            Poll::Pending if std::mem::take(&mut self.has_leftover) => 0,
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(error)) => return Err(error.into()),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                return Err(Fault("the server closed the connection".into()));
            }
            Poll::Ready(Ok(())) => buffer.filled().len(),
        };
        self.filled += bytes;
        if bytes > 0 {
            count(&node.counters.reads, 1);
            self.last_activity = now;
        }
        let before = self.replies;
        let parsed = self.parse(node, now);
        count(&node.counters.operations, self.replies - before);
        node.fleet.rousing.rouse(&mut self.calls);
        parsed?;
        Ok(bytes > 0)
    }

    fn parse(&mut self, node: &Node, now: Timestamp) -> Result<(), Fault> {
        let mut at = 0;
        self.parse_some(&mut at, node, now)?;
        while let Some((stamp, sent_at)) = self.stamped.take() {
            self.on_stamp(node, &stamp, sent_at, now)?;
            self.parse_some(&mut at, node, now)?;
        }
        self.read.copy_within(at..self.filled, 0);
        self.filled -= at;
        if self.filled == self.read.len() {
            // The decoder bounds a frame; it fails before this grows past its limit.
            self.read.resize(self.read.len() * 2, 0);
        } else if self.filled == 0 && self.read.len() > READ_BYTES {
            self.read.truncate(READ_BYTES);
        }
        Ok(())
    }

    /// Goes through what was read from `at` on, up to its end, or through a heartbeat's answer.
    fn parse_some(&mut self, at: &mut usize, node: &Node, now: Timestamp) -> Result<(), Fault> {
        let votes_count = self.votes_count(node, now);
        let mut dispatch = Dispatch {
            node,
            now,
            epoch: self.quarantine.id(),
            votes_count,
            is_fenced: self.is_fenced,
            proof: self.proof,
            native: &mut self.native,
            lanes: &mut self.staged,
            sealed: &mut self.sealed,
            answered: &mut self.answered,
            stamped: &mut self.stamped,
            refused: &mut self.refused,
            calls: &mut self.calls,
            reload: &mut self.reload,
            reloads_left: &mut self.reloads_left,
            ahead: 0,
            replies: &mut self.replies,
        };
        while let Some(input) = self.read.get(*at..self.filled).filter(|input| !input.is_empty()) {
            let sets = dispatch.sets(&mut self.pipeline, input);
            if sets > 0 {
                *at += sets * grants::OK.len();
                self.handed_out += sets;
                continue;
            }
            match self.decoder.decode(input)? {
                Decoded::Incomplete => break,
                Decoded::Push { push, len } => {
                    *at += len;
                    match hear(push, self.proof, node, now, dispatch.lanes) {
                        Heard::EpochOver => {
                            self.was_told = true;
                            return Err(Fault::epoch());
                        }
                        Heard::Given(op) => dispatch.told(op),
                        Heard::Else => {}
                    }
                }
                Decoded::Reply { reply, len } => {
                    *at += len;
                    dispatch.reply(&mut self.pipeline, &reply)?;
                    self.handed_out += 1;
                    if dispatch.stamped.is_some() {
                        break; // I1
                    }
                }
            }
        }
        Ok(())
    }
}

/// What there is to do about what a node has told.
enum Heard {
    /// The epoch of a watched connection is over.
    EpochOver,
    /// The lock has been given to this ticket.
    Given(Arc<Op>),
    /// Nothing that the connection's state is needed for.
    Else,
}

/// What a node tells without being asked.
fn hear(push: Push, proof: Proof, node: &Node, now: Timestamp, lanes: &mut Lanes) -> Heard {
    // R1': this epoch is over, or may be. It is not looked at again to go on with it: whatever is
    // in flight was formed in it, and becomes unknown with the connection.
    let is_over = proof == Proof::Watch && push.is_about(script::EPOCH_KEY.as_bytes());
    let mut given = None;
    match push {
        // Flushed: nothing that it held for us is there any more.
        Push::InvalidateAll => {
            node.void(now);
            node.fleet.hub.flushed(now);
        }
        Push::InvalidateKeys(keys) => {
            node.fleet.hub.changed(keys.iter().map(Vec::as_slice), now, lanes);
            node.tell(keys);
        }
        Push::Message { channel, payload } => {
            if channel == node.fleet.hub.channel().as_bytes() {
                given = node.fleet.hub.hear(&payload, now, lanes);
            }
        }
        Push::Other(_) => {}
    }
    if is_over {
        count(&node.counters.seals_broken, 1);
        return Heard::EpochOver;
    }
    given.map_or(Heard::Else, Heard::Given)
}
