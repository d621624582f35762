//! What cannot be asked for.

/// Why a request for modes, permits or several resources cannot be served. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// No resource was named.
    #[error("no resource was named: name at least one")]
    Empty,
    /// Fencing tokens are counted for plain locks.
    #[error(
        "a fencing token comes with a plain exclusive lock only: acquire one of those, fenced, \
         besides"
    )]
    Fenced,
    /// A resource has at least one permit, and a bounded number of them.
    #[error("{count} permits cannot be shared out: there must be 1 to {max}")]
    Permits {
        /// How many were asked for.
        count: u16,
        /// The most that is allowed.
        max: u16,
    },
    /// One request takes more resources, intention locks included, than a node takes in one step.
    #[error("at least {count} resources at once, at most {max} are possible: lock what lies above")]
    TooMany {
        /// How many would be taken.
        count: usize,
        /// How many may be.
        max: usize,
    },
}
