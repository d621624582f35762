//! A distributed lock for tokio services: Redlock over independent Redis or Valkey nodes.
//!
//! Each node is driven by one task over one connection that all callers share; an acquisition
//! costs one round trip to the node that completes the majority, whatever slower or dead nodes
//! do. A node that was restarted, flushed or replaced votes again only when every lock that it
//! may have forgotten has ended; a new fleet is opened once, by [`Redlock::init_fleet`]. A lock
//! can carry a [`FencingToken`], by which a store refuses a holder that stalled.
//!
//! Locks can be shared ([`Acquire::mode`]), taken together ([`Redlock::acquire_all`]), below one
//! another ([`Acquire::hierarchical`]), or counted ([`Acquire::permit_of`]).
//!
//! What it does not do: no TLS, Sentinel or Cluster. What a lock
//! promises, and on which assumptions, is in [`manual::safety`].
//!
//! # Do you need a distributed lock?
//! When the work is in one database, its own locks are better; when a duplicate does no harm, one
//! Redis node is enough. [`manual::alternatives`] helps to choose.
//!
//! # Quick start
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use redlatch::{InitError, Redlock};
//!
//! let nodes = ["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"];
//! // Once in the life of a fleet; without it, new nodes may vote after `max_ttl`, 30 s.
//! match Redlock::init_fleet(nodes).await {
//!     Ok(()) | Err(InitError::AlreadyInitialised { .. }) => {}
//!     Err(error) => return Err(error.into()),
//! }
//! let locks = Redlock::connect(nodes).await?;
//!
//! let guard = locks.acquire("orders:42").wait_for(Duration::from_secs(2)).await?;
//! // ... the work; the lease renews itself meanwhile ...
//! guard.release().await?;
//!
//! // Or: renewed while the closure runs, cancelled if the lock is lost, released afterwards.
//! let answer = locks.run("orders:42", async |lease| lease.is_valid()).await?;
//! # drop(answer); Ok(())
//! # }
//! ```
//!
//! # Cancel safety
//! Every future may be dropped at any await, every guard anywhere: while the runtime that the
//! client was built on lives, every key that may have been set is released.
//!
//! # Features
//! - `test-util`: [`testing`], a node in the process for tests without a server.
//!
//! # Stability
//! Key layout and scripts are API: processes of different versions may share a fleet. Defaults may
//! change in minor versions. MSRV 1.88.
#![forbid(unsafe_code)]

mod algorithm;
#[doc(hidden)]
#[cfg(feature = "bench-internals")]
pub mod bench_internals;
mod builder;
mod config;
mod credentials;
mod endpoint;
mod engine;
mod error;
mod fence;
mod fencing;
mod guard;
mod lease;
pub mod manual;
mod net;
mod redlock;
mod report;
mod request;
mod resource;
mod resp;
mod session;
mod snapshot;
mod stats;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod time;
mod token;

pub use algorithm::mode::Mode;
pub use builder::Builder;
pub use config::{Drift, Handoff, Reconnect, Renewal, Retry, Waiting};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{
    AcquireError, ClaimError, ConfigError, ConnectError, ExtendError, InitError, InspectError,
    Lost, ReleaseError, ResumeError, RunError,
};
pub use fence::{FenceGate, StaleToken};
pub use fencing::{FencingToken, FencingTokenError};
pub use guard::Guard;
pub use lease::{Deadline, Inspection, Lease, NodeInspection};
pub use redlock::Redlock;
pub use report::{NodeVote, Report, Verdict};
pub use request::{Acquire, AcquireAll, AcquireFuture, TryAcquire};
pub use resource::Resource;
pub use session::batch::{Batching, Gather};
pub use stats::{NodeState, NodeStatus, Percentiles, Stats};
pub use token::Token;

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
