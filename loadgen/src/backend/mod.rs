//! The lock under load, as the workers see it: an enum, so that no call is dynamic and no future is
//! boxed.
//!
//! Only `engine` knows the library.

mod engine;
mod local;

use std::sync::Arc;

use crate::config::{BackendKind, RunConfig};
use crate::mode::Claim;
use crate::recorder::FailureKind;
use crate::timer::Timer;
pub(crate) use engine::LastLook;
use local::{Local, LocalHeld};

/// A lock that was granted.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) held: Held,
    pub(crate) attempts: u32,
    /// Whether anybody else held or wanted the lock meanwhile.
    pub(crate) contended: bool,
    /// When its validity ends: what was left of it, counted from before that was asked. A process
    /// that is stopped in between then takes its lock for shorter than it is, not for longer.
    pub(crate) valid_until_ns: u64,
    /// The fencing token, in a fenced run.
    pub(crate) token: Option<u64>,
}

/// A lock that was not granted.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) attempts: u32,
    /// For people; empty when the kind says it all.
    pub(crate) text: String,
}

impl Failure {
    /// A name that no plan can ask for.
    fn outside() -> Self {
        let text = "a name outside the plan was asked for".to_owned();
        Self { kind: FailureKind::Other, attempts: 0, text }
    }
}

/// How a release ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    Yes,
    /// Another owner was found: exclusion may have been broken.
    NotHeld,
    /// No quorum confirmed it; the lock runs out by itself.
    Unconfirmed,
}

/// What a node is to the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum NodeView {
    /// Not connected, or silent.
    #[default]
    Away,
    /// Connected, but it may have forgotten locks: its votes do not count yet.
    Quarantined,
    Up,
}

/// What the backend knows about one node now.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct NodeSample {
    pub(crate) endpoint: String,
    pub(crate) up: bool,
    pub(crate) state: String,
    pub(crate) commands: u64,
    pub(crate) writes: u64,
    pub(crate) reconnects: u64,
    pub(crate) timeouts: u64,
    /// Epochs seen: one, and one more each time the node may have forgotten locks.
    pub(crate) epochs: u64,
    /// How much longer its votes do not count.
    pub(crate) quarantine_ns: Option<u64>,
    pub(crate) rtt_p50_ns: Option<u64>,
    pub(crate) rtt_p99_ns: Option<u64>,
}

/// A node at a glance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct NodeLook {
    pub(crate) view: NodeView,
    /// Since it is known.
    pub(crate) rtt_p50_ns: Option<u64>,
    pub(crate) since: NodePassed,
}

/// What passed between a node and the backend since the look before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct NodePassed {
    pub(crate) commands: u64,
    pub(crate) writes: u64,
    /// Of the round trips that were measured: the library takes one in 64.
    pub(crate) rtt_p50_ns: Option<u64>,
    pub(crate) rtt_p99_ns: Option<u64>,
}

impl NodePassed {
    /// With what another process, or a time beside it, saw: counts add up, and of round trips the
    /// longer ones stay, since percentiles of parts do not give those of the whole.
    pub(crate) fn add(&mut self, other: &Self) {
        self.commands = self.commands.saturating_add(other.commands);
        self.writes = self.writes.saturating_add(other.writes);
        self.rtt_p50_ns = self.rtt_p50_ns.max(other.rtt_p50_ns);
        self.rtt_p99_ns = self.rtt_p99_ns.max(other.rtt_p99_ns);
    }
}

/// The lock under load.
#[derive(Debug)]
pub(crate) enum Backend {
    Local(Local),
    Engine(engine::Engine),
}

/// A granted lock of any backend. Dropping it gives the lock back.
#[derive(Debug)]
pub(crate) enum Held {
    Local(LocalHeld),
    Engine(engine::EngineHeld),
}

impl Backend {
    /// Builds the backend and, for the engine, waits until a quorum of nodes has answered.
    pub(crate) async fn connect(config: &RunConfig, timer: Arc<Timer>) -> Result<Self, String> {
        match config.backend {
            BackendKind::Engine => engine::Engine::connect(config).await.map(Self::Engine),
            BackendKind::Noop
            | BackendKind::Broken
            | BackendKind::BrokenModes
            | BackendKind::BrokenTokens
            | BackendKind::Late
            | BackendKind::Stall => Ok(Self::Local(Local::new(config, timer))),
        }
    }

    /// Asks for all of `claims` as one lock, with the ttl and the wait of their workload.
    pub(crate) async fn acquire(&self, workload: u8, claims: &[Claim]) -> Result<Grant, Failure> {
        match self {
            Self::Local(local) => local.acquire(workload, claims).await,
            Self::Engine(engine) => engine.acquire(workload, claims).await,
        }
    }

    /// Tells the backend when the measured time begins.
    pub(crate) fn start_at(&self, measured_ns: u64) {
        match self {
            Self::Local(local) => local.start_at(measured_ns),
            Self::Engine(_) => {}
        }
    }

    /// What each node is, in the order they were given: cheap enough to ask often.
    pub(crate) fn node_views(&self) -> Vec<NodeView> {
        match self {
            Self::Local(_) => Vec::new(),
            Self::Engine(engine) => engine.node_views(),
        }
    }

    /// The nodes, in the order they were given; none for locks without nodes.
    pub(crate) fn nodes(&self) -> Vec<NodeSample> {
        match self {
            Self::Local(_) => Vec::new(),
            Self::Engine(engine) => engine.nodes(),
        }
    }

    /// The nodes at a glance since `last`, in the order they were given.
    pub(crate) fn looks(&self, last: &mut LastLook) -> Vec<NodeLook> {
        match self {
            Self::Local(_) => Vec::new(),
            Self::Engine(engine) => engine.looks(last),
        }
    }

    /// What the tokens of this process begin with, where that was learned.
    pub(crate) fn owner(&self) -> Option<&str> {
        match self {
            Self::Local(_) => None,
            Self::Engine(engine) => engine.owner(),
        }
    }

    /// Gives back what is held and closes connections.
    pub(crate) async fn close(&self) {
        match self {
            Self::Local(_) => {}
            Self::Engine(engine) => engine.close().await,
        }
    }
}

impl Held {
    /// Whether the lock is still provably held.
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Engine(held) => held.is_valid(),
        }
    }

    pub(crate) async fn release(self) -> Released {
        match self {
            Self::Local(held) => {
                drop(held);
                Released::Yes
            }
            Self::Engine(held) => held.release().await,
        }
    }
}
