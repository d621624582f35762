//! One error per operation, each with what the nodes said.

use std::time::Duration;

use crate::endpoint::EndpointError;
use crate::report::Report;
use crate::resource::Resource;

mod claim;

pub use claim::ClaimError;

/// Why a lock was not acquired.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// Another owner holds it: an ordinary outcome, not a fault.
    #[error("`{resource}` is held by another owner ({report})")]
    Busy {
        /// What was asked for.
        resource: Resource,
        /// How it went.
        report: Box<Report>,
    },
    /// The lock client was closed, or the runtime that it ran on is gone.
    #[error("the lock client is closed")]
    Closed,
    /// Modes, permits or several resources were asked for as cannot be.
    #[error(transparent)]
    InvalidClaim(#[from] ClaimError),
    /// The name is empty or longer than [`Resource::LEN_MAX`] bytes, prefix included.
    #[error("`{resource}` cannot be locked: a key has 1 to {max} bytes, this one {len}")]
    InvalidResource {
        /// What was asked for.
        resource: Resource,
        /// Length of the key in bytes.
        len: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// The ttl leaves no validity behind the drift allowance, or is beyond the client's `max_ttl`.
    #[error("a ttl of {ttl:?} cannot be used: it must lie between {min:?} and {max:?}")]
    InvalidTtl {
        /// What was asked for.
        ttl: Duration,
        /// The least that is allowed with the configured drift.
        min: Duration,
        /// The most that is allowed.
        max: Duration,
    },
    /// Too few nodes answered to decide either way.
    #[error("no quorum of nodes answered for `{resource}` ({report}); check the nodes named here")]
    NoQuorum {
        /// What was asked for.
        resource: Resource,
        /// How it went.
        report: Box<Report>,
    },
    /// The nodes are up, but this process has as much in flight to them as it may have.
    #[error(
        "too much in flight to acquire `{resource}` ({report}); raise `max_inflight` or ask less"
    )]
    Overloaded {
        /// What was asked for.
        resource: Resource,
        /// How it went.
        report: Box<Report>,
    },
    /// Too few nodes may vote: the others were started, flushed or replaced a short while ago and
    /// may have forgotten locks that are still valid.
    ///
    /// At once, if no quorum can come about before the wait is over (or without one, within a ttl),
    /// whichever nodes come back meanwhile; otherwise at the end of the wait.
    #[error(
        "too few nodes may vote on `{resource}` for another {remaining:?}, the others may have \
         forgotten locks ({report}); a fleet on which nobody holds a lock can be opened at once: \
         `Redlock::init_fleet`"
    )]
    Quarantined {
        /// What was asked for.
        resource: Resource,
        /// When enough of them may vote again. Sooner, if others come back that do not answer now.
        remaining: Duration,
        /// How it went.
        report: Box<Report>,
    },
    /// The name is kept for the engine's own keys.
    #[error("`{resource}` cannot be locked: names that begin with `redlatch:` are the engine's")]
    ReservedResource {
        /// What was asked for.
        resource: Resource,
    },
    /// The wait is over and somebody else still has it.
    #[error("gave up waiting for `{resource}` ({report})")]
    TimedOut {
        /// What was asked for.
        resource: Resource,
        /// How it went.
        report: Box<Report>,
    },
    /// A quorum granted it, but so late that too little validity was left; it was released.
    #[error("`{resource}` was granted with only {validity:?} of validity left ({report})")]
    TooSlow {
        /// What was asked for.
        resource: Resource,
        /// What was left.
        validity: Duration,
        /// How it went.
        report: Box<Report>,
    },
}

impl AcquireError {
    /// How the acquisition went, where it went anywhere.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::Busy { report, .. }
            | Self::NoQuorum { report, .. }
            | Self::Overloaded { report, .. }
            | Self::Quarantined { report, .. }
            | Self::TimedOut { report, .. }
            | Self::TooSlow { report, .. } => Some(report),
            Self::Closed
            | Self::InvalidClaim(_)
            | Self::InvalidResource { .. }
            | Self::InvalidTtl { .. }
            | Self::ReservedResource { .. } => None,
        }
    }
}

/// Why a lease is lost. Once lost, it stays lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The client was closed and released every lock it held.
    #[error("the lock client was closed")]
    Closed,
    /// The validity ran out: renewal was off, or had reached its bound.
    #[error("the validity ran out")]
    Expired,
    /// Too few nodes still hold this owner's token.
    #[error("a quorum of nodes no longer holds this owner's token")]
    TakenOver,
    /// No quorum answered the renewals in time.
    #[error("no quorum of nodes could be reached to renew it")]
    Unreachable,
}

impl Lost {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Closed => 1,
            Self::Expired => 2,
            Self::TakenOver => 3,
            Self::Unreachable => 4,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Closed),
            2 => Some(Self::Expired),
            3 => Some(Self::TakenOver),
            4 => Some(Self::Unreachable),
            _ => None,
        }
    }
}

/// Why a lease was not extended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtendError {
    /// As [`AcquireError::InvalidTtl`].
    #[error("a ttl of {ttl:?} cannot be used: it must lie between {min:?} and {max:?}")]
    InvalidTtl {
        /// What was asked for.
        ttl: Duration,
        /// The least that is allowed with the configured drift.
        min: Duration,
        /// The most that is allowed.
        max: Duration,
    },
    /// The lease is lost; it is never revived.
    #[error("the lease of `{resource}` is lost: {reason}")]
    Lost {
        /// What was held.
        resource: Resource,
        /// Why it is lost.
        reason: Lost,
    },
    /// Too few nodes confirmed; the lease is still valid for `remaining`.
    #[error("too few nodes extended `{resource}` ({report}); it stays valid for {remaining:?}")]
    Unconfirmed {
        /// What is held.
        resource: Resource,
        /// For how long it still is.
        remaining: Duration,
        /// What each node said.
        report: Box<Report>,
    },
}

/// Why a release was not confirmed. The lock is given up either way.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Another owner's token was found where ours should have been: exclusivity may have been
    /// broken before this call. Worth an alert, not a shrug.
    #[error("`{resource}` was not held any more ({report}); exclusivity may have been broken")]
    NotHeld {
        /// What was released.
        resource: Resource,
        /// What each node said.
        report: Box<Report>,
    },
    /// Too few nodes confirmed in time. The release is repeated in the background; the keys
    /// expire within `within` in any case.
    #[error(
        "too few nodes confirmed the release of `{resource}` ({report}); it expires in {within:?}"
    )]
    Unconfirmed {
        /// What was released.
        resource: Resource,
        /// When the last key must have expired.
        within: Duration,
        /// What each node said.
        report: Box<Report>,
    },
}

/// Why [`Redlock::run`](crate::Redlock::run) did not return the closure's value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The lock was not acquired; the closure did not run.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The lock was lost while the closure ran; it was cancelled.
    #[error("lock lost while running: {0}")]
    Lost(#[from] Lost),
}

/// Why a lease was not taken over.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The lock client is closed.
    #[error("the lock client is closed")]
    Closed,
    /// As [`AcquireError::InvalidResource`] or [`AcquireError::InvalidTtl`].
    #[error(transparent)]
    Invalid(AcquireError),
    /// Too few nodes hold that token: the lease ended, or was never this one.
    #[error("`{resource}` is not held with that token ({report})")]
    NotHeld {
        /// What was asked for.
        resource: Resource,
        /// What each node said.
        report: Box<Report>,
    },
}

/// Why an inspection failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The lock client is closed.
    #[error("the lock client is closed")]
    Closed,
    /// As [`AcquireError::InvalidResource`].
    #[error(transparent)]
    Invalid(AcquireError),
    /// Fewer than a quorum of nodes answered.
    #[error("{answered} of {nodes} nodes answered, {quorum} needed")]
    NoQuorum {
        /// Nodes that answered.
        answered: usize,
        /// Nodes that were asked.
        nodes: usize,
        /// Answers needed.
        quorum: usize,
    },
}

/// Why the settings cannot be used. Nothing was connected.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two addresses name one server: it would vote twice.
    #[error("`{first}` and `{second}` are the same server: each node may vote only once")]
    DuplicateNode {
        /// One address.
        first: String,
        /// The other.
        second: String,
    },
    /// An address cannot be read.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Called outside a tokio runtime.
    #[error("no tokio runtime: build the client inside the runtime that is to drive it")]
    NoRuntime,
    /// No address at all.
    #[error("no node was given: add at least one, and three or five for a fleet")]
    NoNodes,
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    NoRandomness(String),
    /// A value out of its range.
    #[error("`{name}` is {value}, but must be {expected}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// More addresses than a fleet can have.
    #[error("{count} nodes were given, at most {max} are supported")]
    TooManyNodes {
        /// How many were given.
        count: usize,
        /// How many there may be.
        max: usize,
    },
}

/// Why no connection to a quorum came about.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Fewer than a quorum of nodes answered in time.
    #[error("{up} of {nodes} nodes up within {within:?}, {quorum} needed: {reasons}")]
    NoQuorum {
        /// Nodes that are up.
        up: usize,
        /// Nodes configured.
        nodes: usize,
        /// Nodes needed.
        quorum: usize,
        /// How long was waited.
        within: Duration,
        /// The nodes that are not up, with their reasons.
        reasons: String,
    },
}

/// Why a fleet was not opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Not every node answered. None was opened.
    #[error("nothing was opened, because not every node answered: {reasons}")]
    Unreachable {
        /// The nodes that did not, and why.
        reasons: String,
    },
    /// Some nodes are in use already. None was opened: clients wait until their quarantine ends.
    #[error("nothing was opened: {} in use already", nodes.join(", "))]
    AlreadyInitialised {
        /// These nodes.
        nodes: Vec<String>,
    },
    /// Two addresses lead to one server process. None was opened.
    #[error("nothing was opened: two of the addresses lead to the same server process")]
    SameServer,
    /// Some nodes failed, or were stamped by a client, while they were opened; the others are
    /// open, and these are counted when their quarantine ends.
    #[error("some nodes were not opened: {reasons}")]
    Partly {
        /// The nodes that were not, and why.
        reasons: String,
    },
}
