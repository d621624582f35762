//! What a caller asks of the engine, and how it went.

use std::time::Duration;

use crate::algorithm::tally::Tally;
use crate::config::Keep;
use crate::engine::core::Opening;
use crate::engine::op::Claims;
use crate::resource::Resource;

/// What the caller asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) resource: Resource,
    pub(crate) ttl: Duration,
    pub(crate) wait: Option<Duration>,
    pub(crate) keep: Keep,
    /// One attempt, no waiting.
    pub(crate) once: bool,
    /// With a fencing token.
    pub(crate) fenced: bool,
    /// No plain lock: what is taken instead of `resource` alone.
    pub(crate) claims: Option<Box<Claims>>,
}

/// How it went, for reports.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Course {
    pub(crate) attempts: u32,
    pub(crate) contended: bool,
    /// The lease was another caller's of this process, who handed it on.
    pub(crate) handed: bool,
    pub(crate) queued_ns: u64,
    pub(crate) waited_ns: u64,
    pub(crate) quorum_wait_ns: u64,
    pub(crate) tally: Option<Tally>,
}

impl Course {
    pub(crate) const NONE: Self = Self {
        attempts: 0,
        contended: false,
        handed: false,
        queued_ns: 0,
        waited_ns: 0,
        quorum_wait_ns: 0,
        tally: None,
    };
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Failure {
    Busy,
    Closed,
    NoQuorum,
    Overloaded,
    /// Too few nodes may vote.
    Quarantined(Opening),
    #[default]
    TimedOut,
    TooSlow(Duration),
}
