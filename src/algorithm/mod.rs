//! Redlock itself, as functions of votes and time: no sockets, no clock, no RESP.

pub(crate) mod backoff;
pub(crate) mod mode;
pub(crate) mod node_clock;
pub(crate) mod script;
pub(crate) mod tally;
pub(crate) mod validity;
