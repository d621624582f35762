//! The lock engine over real time and real streams: tasks, queues, futures.

pub(crate) mod acquire;
mod asking;
pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod core;
pub(crate) mod dispatch;
pub(crate) mod driver;
pub(crate) mod fleet;
pub(crate) mod greeting;
pub(crate) mod handoff;
pub(crate) mod hold;
pub(crate) mod host;
pub(crate) mod hub;
pub(crate) mod initialise;
pub(crate) mod keeper;
pub(crate) mod lately;
pub(crate) mod node;
pub(crate) mod op;
pub(crate) mod query;
pub(crate) mod queue;
pub(crate) mod rng;
pub(crate) mod rousing;
pub(crate) mod sealed;
pub(crate) mod start;
pub(crate) mod waiters;
pub(crate) mod wheel;
pub(crate) mod wish;
