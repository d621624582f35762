//! Bytes to replies and commands to bytes: RESP2 and RESP3, pure.
//!
//! No sockets, no clock, no tasks: [`command`] appends requests to a buffer, [`decode`] takes one
//! frame off the front of another. `redis_protocol` is named in this module only.
//!
//! I1. No input panics, recurses without bound or grows memory beyond [`limits::Limits`].
//! I2. A frame is consumed only when all of it is there and each of its terminators was seen.
//! I3. Cutting the stream anywhere changes neither the frames nor the error that ends them.

pub(crate) mod command;
pub(crate) mod decode;
pub(crate) mod error;
pub(crate) mod limits;
pub(crate) mod push;
pub(crate) mod reply;
mod scan;
mod token;
mod tree;

#[cfg(test)]
mod tests;

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Redis before 6, and proxies: no pushes, no maps.
    Resp2,
    /// Everything of RESP2, plus pushes, maps and the other rich types.
    Resp3,
}
