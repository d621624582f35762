//! Finds where a frame ends, for all frames that are not one scalar.
//!
//! I1. Iterative and without allocation: one counter per level, [`DEPTH_MAX`] levels.
//! I2. Resumable: each element is looked at once, however many reads a frame takes. Only the last,
//!     unfinished token is looked at again, and that costs at most one line.
//! I3. What passes is valid and within [`Limits`], so that tree decoders may recurse over it.

use super::Protocol;
use super::error::Fault;
use super::limits::{DEPTH_MAX, Limits};
use super::token::{Aggregate, Token, token};

/// The state of a scan between two reads. Idle while `next_at` is 0.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// Elements still to come per open level. Level 0 holds the frame itself.
    missing: [usize; DEPTH_MAX + 1],
    /// Open levels.
    levels: usize,
    /// Where the first token starts that was not yet accepted.
    next_at: usize,
    /// Where the reply starts: 0, or behind the attributes in front of it.
    reply_at: usize,
    elements: usize,
    by_hand: bool,
}

/// A complete frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes of the frame, attributes included.
    pub(super) len: usize,
    /// Where its reply starts.
    pub(super) reply_at: usize,
    /// Whether `redis_protocol` would refuse the reply, or lose its order or part of it.
    pub(super) by_hand: bool,
}

impl Scan {
    pub(super) const IDLE: Self = Self {
        missing: [0; DEPTH_MAX + 1],
        levels: 0,
        next_at: 0,
        reply_at: 0,
        elements: 0,
        by_hand: false,
    };

    /// Continues over `input`, which starts with the same bytes as at the last call. `None` while
    /// bytes are missing; after anything else the scan is idle again.
    pub(super) fn advance(
        &mut self,
        input: &[u8],
        protocol: Protocol,
        limits: &Limits,
    ) -> Result<Option<Shape>, Fault> {
        if self.next_at == 0 {
            *self = Self::IDLE;
            self.open(1, limits)?;
        }
        let result = self.run(input, protocol, limits);
        if !matches!(result, Ok(None)) {
            *self = Self::IDLE;
        }
        result
    }

    fn run(
        &mut self,
        input: &[u8],
        protocol: Protocol,
        limits: &Limits,
    ) -> Result<Option<Shape>, Fault> {
        while self.close_finished() {
            if self.levels == 1 {
                // Level 0 still misses its one element: what was read so far are attributes.
                self.reply_at = self.next_at;
                self.by_hand = false;
            }
            let Some((token, next_at)) = token(input, self.next_at, protocol, limits)? else {
                return Ok(None);
            };
            self.accept(&token, protocol, limits)?;
            self.next_at = next_at;
            if next_at > limits.frame_bytes {
                return Err(Fault::limit("a frame", next_at as u64, limits.frame_bytes, 0));
            }
        }
        let (len, reply_at, by_hand) = (self.next_at, self.reply_at, self.by_hand);
        Ok(Some(Shape { len, reply_at, by_hand }))
    }

    /// Books one token into its level.
    fn accept(
        &mut self,
        token: &Token<'_>,
        protocol: Protocol,
        limits: &Limits,
    ) -> Result<(), Fault> {
        self.elements += 1;
        if self.elements > limits.elements {
            let elements = self.elements as u64;
            return Err(Fault::limit("a count of elements", elements, limits.elements, 0));
        }
        match *token {
            // An attribute stands in front of an element; it is none of its level's elements.
            Token::Aggregate(Aggregate::Attribute, pairs) => {
                self.by_hand = true;
                return self.open(pairs.saturating_mul(2), limits);
            }
            Token::Aggregate(kind, len) => {
                if kind == Aggregate::Push && self.levels > 1 {
                    return Err(Fault::malformed("a push inside a reply", self.next_at));
                }
                self.count_one();
                let len = if kind == Aggregate::Map { len.saturating_mul(2) } else { len };
                // Maps and sets become hash tables there: order and duplicates are lost.
                self.by_hand |= matches!(kind, Aggregate::Map | Aggregate::Set);
                return self.open(len, limits);
            }
            Token::NullLength => self.by_hand |= protocol == Protocol::Resp3,
            Token::Verbatim(_, standard_format) => self.by_hand |= !standard_format,
            _ => {}
        }
        self.count_one();
        Ok(())
    }

    fn open(&mut self, len: usize, limits: &Limits) -> Result<(), Fault> {
        if len > limits.elements {
            let what = "a count of elements";
            return Err(Fault::limit(what, len as u64, limits.elements, self.next_at));
        }
        // Level 0 is the frame, not an aggregate.
        let slot =
            if self.levels > limits.depth { None } else { self.missing.get_mut(self.levels) };
        let Some(slot) = slot else {
            return Err(Fault::limit("a depth", self.levels as u64, limits.depth, self.next_at));
        };
        *slot = len;
        self.levels += 1;
        Ok(())
    }

    fn count_one(&mut self) {
        if let Some(missing) = self.levels.checked_sub(1).and_then(|top| self.missing.get_mut(top))
        {
            *missing = missing.saturating_sub(1);
        }
    }

    /// Leaves the levels that are complete. False once the frame is.
    fn close_finished(&mut self) -> bool {
        while let Some(top) = self.levels.checked_sub(1) {
            if self.missing.get(top).is_some_and(|&missing| missing > 0) {
                return true;
            }
            self.levels = top;
        }
        false
    }
}
