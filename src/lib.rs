//! A distributed lock engine: Redlock over independent Redis or Valkey nodes.
#![forbid(unsafe_code)]

mod algorithm;
mod builder;
mod config;
mod credentials;
mod endpoint;
mod engine;
mod error;
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

pub use builder::Builder;
pub use config::{Drift, Reconnect, Renewal, Retry};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{
    AcquireError, ConfigError, ConnectError, ExtendError, InspectError, Lost, ReleaseError,
    ResumeError, RunError,
};
pub use guard::Guard;
pub use lease::{Deadline, Inspection, Lease, NodeInspection};
pub use redlock::Redlock;
pub use report::{NodeVote, Report, Verdict};
pub use request::{Acquire, AcquireFuture, TryAcquire};
pub use resource::Resource;
pub use session::batch::{Batching, Gather};
pub use stats::{NodeState, NodeStatus, Percentiles, Stats};
pub use token::Token;
