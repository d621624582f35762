//! A connection without its socket: what is said on it, and in which order.

pub(crate) mod handshake;
