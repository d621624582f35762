//! The kinds of faults: what each is called, what it acts on, and what a client sees of it.

use super::Degree;
use std::time::Duration;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    /// SIGKILL to the node; healed by a start on the same port and directory.
    Kill,
    /// SIGTERM to the node; healed as a kill is.
    Term,
    /// SIGSTOP to the node; healed by SIGCONT. It then does what was asked of it meanwhile.
    Pause,
    /// Nothing passes either way; what was under way arrives after the heal.
    Partition,
    /// Requests reach the node, its replies are lost.
    DropReplies,
    /// Requests are lost.
    DropRequests,
    /// Everything arrives later, in order.
    Latency,
    /// Few bytes per second.
    Bandwidth,
    /// Connections are reset: the live ones, and while it lasts new ones too.
    Reset,
    /// Connections are closed and new ones refused.
    Refuse,
    /// FLUSHALL: the node forgets everything and goes on.
    Flush,
    /// The run's keys on the node expire too early, as by a clock that runs fast.
    TtlShrink,
    /// SIGSTOP to a process of the load that holds locks; healed by SIGCONT.
    ClientPause,
    /// SIGKILL to a process of the load that holds locks; it does not come back.
    ClientKill,
}

/// Whether a kind has a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Needed,
    /// Without one it happens once.
    Optional,
    None,
}

/// What a kind acts on, and so what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The node's process.
    Process,
    /// What is between the clients and the node.
    Network,
    /// What the node holds.
    Data,
    /// A process of the load.
    Client,
}

impl FaultKind {
    pub(crate) const ALL: [Self; 14] = [
        Self::Kill,
        Self::Term,
        Self::Pause,
        Self::Partition,
        Self::DropReplies,
        Self::DropRequests,
        Self::Latency,
        Self::Bandwidth,
        Self::Reset,
        Self::Refuse,
        Self::Flush,
        Self::TtlShrink,
        Self::ClientPause,
        Self::ClientKill,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Term => "term",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::DropReplies => "drop-replies",
            Self::DropRequests => "drop-requests",
            Self::Latency => "latency",
            Self::Bandwidth => "bandwidth",
            Self::Reset => "reset",
            Self::Refuse => "refuse",
            Self::Flush => "flush",
            Self::TtlShrink => "ttl-shrink",
            Self::ClientPause => "client-pause",
            Self::ClientKill => "client-kill",
        }
    }

    /// For the help.
    pub(super) const fn about(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL to the node, then a start: kill@10s/3s",
            Self::Term => "SIGTERM to the node, then a start",
            Self::Pause => "SIGSTOP to the node: it hangs, and does later what was asked meanwhile",
            Self::Partition => "nothing passes; what was under way arrives afterwards",
            Self::DropReplies => "requests reach the node, its replies are lost",
            Self::DropRequests => "requests are lost",
            Self::Latency => "later by delay=20ms, more or less by jitter=4ms, each way",
            Self::Bandwidth => "no more than rate=64KiB per second, each way of each connection",
            Self::Reset => "live connections are reset, new ones too for its length: reset@5s",
            Self::Refuse => "connections are closed, new ones refused",
            Self::Flush => "FLUSHALL: flush@20s",
            Self::TtlShrink => "our keys keep fraction=0.1 of their ttl: a clock that runs fast",
            Self::ClientPause => "SIGSTOP to a process of the load that holds locks",
            Self::ClientKill => "SIGKILL to one: client-kill@20s",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// All names, for people.
    pub(crate) fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    pub(crate) const fn length(self) -> Length {
        match self {
            Self::Flush | Self::ClientKill => Length::None,
            Self::Reset | Self::TtlShrink => Length::Optional,
            _ => Length::Needed,
        }
    }

    pub(crate) const fn reach(self) -> Reach {
        match self {
            Self::Kill | Self::Term | Self::Pause => Reach::Process,
            Self::Flush | Self::TtlShrink => Reach::Data,
            Self::ClientPause | Self::ClientKill => Reach::Client,
            _ => Reach::Network,
        }
    }

    pub(crate) fn hits_clients(self) -> bool {
        self.reach() == Reach::Client
    }

    /// Whether a node may forget locks by it. Its votes then do not count, or should not be relied
    /// on, until all of these have expired.
    pub(crate) const fn forgets(self) -> bool {
        matches!(self, Self::Kill | Self::Term | Self::Flush | Self::TtlShrink)
    }

    /// What is done where nothing else is asked for.
    pub(crate) const fn default_degree(self) -> Degree {
        match self {
            // Twice that is just below the engine's own limit for an answer.
            Self::Latency => Degree::Latency {
                delay: Duration::from_millis(20),
                jitter: Duration::from_millis(4),
            },
            Self::Bandwidth => Degree::Bandwidth(64 << 10),
            Self::TtlShrink => Degree::Keep(100),
            _ => Degree::None,
        }
    }
}
