//! One connection without the socket: what is in flight, when a write leaves, the handshake.

pub(crate) mod batch;
pub(crate) mod handshake;
pub(crate) mod pipeline;
