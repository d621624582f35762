//! One connection without the socket: what is in flight, when a write leaves, the handshake.

pub(crate) mod answer;
pub(crate) mod batch;
pub(crate) mod handshake;
pub(crate) mod pipeline;
pub(crate) mod quarantine;
pub(crate) mod stamp;
