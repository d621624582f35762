//! Redlock itself, as functions of votes and time: no sockets, no clock, no RESP.

pub(crate) mod script;
