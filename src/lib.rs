//! A distributed lock engine: Redlock over independent Redis or Valkey nodes.
#![forbid(unsafe_code)]

mod algorithm;
mod builder;
mod credentials;
mod endpoint;
mod engine;
mod error;
mod guard;
mod lease;
pub mod manual;
mod net;
mod redlock;
mod request;
mod resource;
mod resp;
mod session;
mod stats;
mod time;
mod token;

pub use algorithm::validity::Drift;
pub use builder::{Builder, Reconnect, Renewal, Retry};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{
    AcquireError, ConfigError, ConnectError, ExtendError, InspectError, Lost, NodeVote,
    ReleaseError, Report, ResumeError, RunError, Verdict,
};
pub use guard::Guard;
pub use lease::{Deadline, Inspection, Lease, NodeInspection};
pub use redlock::Redlock;
pub use request::{Acquire, AcquireFuture, TryAcquire};
pub use resource::Resource;
pub use session::batch::{Batching, Gather};
pub use stats::{NodeState, NodeStatus, Percentiles, Stats};
pub use token::Token;
