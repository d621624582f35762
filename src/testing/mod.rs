//! An in-process lock node for tests, with switches for its faults (feature `test-util`).
//!
//! [`TestNode`] listens on a socket and speaks RESP2 and RESP3 like a redis-server 7.0.15, as
//! far as this crate's engine needs one: string keys with expiry, the engine's scripts and what
//! they work on, and channels. It is compared with a real server, reply for reply. [`NodeCore`] is
//! the same node without sockets, for simulations.
//!
//! It is not a Redis: no persistence, replication, cluster, patterns, Lua or other data types;
//! an unknown command answers the server's error for one. Tracked keys are pushed when they are
//! changed or found expired, not when their time comes; broadcast tracking is accepted and
//! pushes flushes alone.

mod admin;
mod channels;
mod clock;
mod command;
mod connection;
mod core;
mod data;
mod node;
mod open;
mod options;
mod reply;
mod request;
mod script;
mod serve;
mod sorted;
mod store;
mod tracking;

use std::time::Duration;

pub use self::clock::TestClock;
pub use self::core::{NodeCore, Progress, Session};
pub use self::node::TestNode;
pub use self::open::open_node_command;
pub use self::options::{Options, Role};
pub use self::serve::{Listener, serve};
pub use crate::config::Protection;

/// One live key of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeySnapshot {
    /// The database that holds it.
    pub db: usize,
    /// The key.
    pub key: Vec<u8>,
    /// Its value; empty for one that is no string: a lock whose mode others may share.
    pub value: Vec<u8>,
    /// What is left of its life; `None` without an expiry.
    pub ttl: Option<Duration>,
}
