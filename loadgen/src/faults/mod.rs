//! Faults on a timeline: which, on what, when, for how long.
//!
//! [`Fault`] is what a user writes, [`plan::Plan`] has its targets chosen, [`execute`] carries it
//! out by the [`means`] of a run. What a fault did to latency is the report's matter.

use std::fmt;
use std::time::Duration;

pub(crate) mod board;
pub(crate) mod execute;
mod kind;
pub(crate) mod means;
mod parse;
pub(crate) mod plan;
pub(crate) mod shrink;

pub(crate) use kind::{FaultKind, Length};

/// More than this is a mistake in a script.
pub(crate) const MAX_FAULTS: usize = 256;
/// Nodes that can be told apart in a [`NodeSet`].
const MOST_NODES: usize = 64;

/// Nodes by name: bit 0 is n1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeSet(u64);

impl NodeSet {
    /// `None`: no nodes, or one beyond [`MOST_NODES`].
    pub(crate) fn new(indices: impl IntoIterator<Item = usize>) -> Option<Self> {
        let mut set = 0_u64;
        for index in indices {
            set |= 1_u64.checked_shl(u32::try_from(index).ok()?)?;
        }
        (set != 0).then_some(Self(set))
    }

    /// From 0, ascending.
    pub(crate) fn indices(self) -> impl Iterator<Item = usize> {
        (0..MOST_NODES).filter(move |index| self.0 >> index & 1 == 1)
    }
}

/// On what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// One node or process, chosen by the seed.
    One,
    /// These nodes (people write them from 1).
    Nodes(NodeSet),
    /// As many nodes as leave a quorum, chosen by the seed.
    Minority,
    /// As few nodes as leave no quorum, chosen by the seed.
    Majority,
    /// Every node.
    All,
    /// This process of the load, counted from 0 (people write it from 1).
    Process(usize),
}

/// How hard, for the kinds that come in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Degree {
    None,
    /// Added in each direction, more or less by the jitter.
    Latency {
        delay: Duration,
        jitter: Duration,
    },
    /// Bytes per second, in each direction of each connection.
    Bandwidth(u64),
    /// Thousandths of its time to live that a key keeps.
    Keep(u16),
}

/// One fault of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) target: Target,
    /// From the start of the measured time.
    pub(crate) at: Duration,
    /// Zero for what happens at one instant.
    pub(crate) for_: Duration,
    pub(crate) degree: Degree,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FaultError {
    #[error("fault '{shown}' {problem}")]
    Syntax { shown: String, problem: String },
    #[error("{0} faults asked for; at most {MAX_FAULTS} fit into a run")]
    TooMany(usize),
    #[error("fault '{0}' begins after the end of the run; raise --duration")]
    Late(Fault),
    #[error(
        "fault '{0}' needs the processes of its nodes, and those of --nodes are not loadgen's; \
         leave --nodes out to break local nodes"
    )]
    ForeignProcess(Fault),
    #[error(
        "fault '{0}' changes what the nodes of --nodes hold; leave --nodes out, or add \
         --i-own-these-nodes if nobody else uses them"
    )]
    ForeignData(Fault),
    #[error("fault '{0}' needs a real server, the test node cannot do it; see --server-bin")]
    TestNode(Fault),
    #[error("fault '{fault}': there is no node {node}; the cluster has n1 to n{last}")]
    NoSuchNode { fault: Fault, node: String, last: usize },
    #[error("fault '{fault}': there is no process {process}; this run has 1 to {last}")]
    NoSuchProcess { fault: Fault, process: usize, last: usize },
    #[error("fault '{0}' needs worker processes of their own; add --processes 2 or more")]
    OneProcess(Fault),
    #[error("fault '{0}' would leave no process to measure with; add --processes")]
    NoneLeft(Fault),
    #[error("fault '{0}': a cluster of {1} has no minority that could fail; use 3 or more nodes")]
    NoMinority(Fault, usize),
    #[error(
        "fault '{fault}' needs {needed} {what} without another fault at that time, {free} are; \
         move it or name others"
    )]
    Overlap { fault: Fault, what: &'static str, needed: usize, free: usize },
}

impl Fault {
    /// When it is to be healed.
    pub(crate) fn end(&self) -> Duration {
        self.at.saturating_add(self.for_)
    }
}

/// `kill`, `term` and so on; then what [`Fault::from_str`](std::str::FromStr) reads as the same.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:?}", self.kind.name(), self.at)?;
        if !self.for_.is_zero() {
            write!(f, "/{:?}", self.for_)?;
        }
        match self.target {
            Target::One => {}
            Target::Nodes(set) => {
                let names: Vec<String> =
                    set.indices().map(|index| index.saturating_add(1).to_string()).collect();
                write!(f, ":node={}", names.join("+"))?;
            }
            Target::Minority => f.write_str(":minority")?,
            Target::Majority => f.write_str(":majority")?,
            Target::All => f.write_str(":all")?,
            Target::Process(index) => write!(f, ":process={}", index.saturating_add(1))?,
        }
        match self.degree {
            Degree::None => Ok(()),
            Degree::Latency { delay, jitter } => write!(f, ",delay={delay:?},jitter={jitter:?}"),
            Degree::Bandwidth(rate) if rate.is_multiple_of(1 << 20) => {
                write!(f, ",rate={}MiB", rate >> 20)
            }
            Degree::Bandwidth(rate) if rate.is_multiple_of(1 << 10) => {
                write!(f, ",rate={}KiB", rate >> 10)
            }
            Degree::Bandwidth(rate) => write!(f, ",rate={rate}B"),
            Degree::Keep(permille) => {
                let digits = format!("{permille:03}");
                write!(f, ",fraction=0.{}", digits.trim_end_matches('0'))
            }
        }
    }
}

/// The kinds, a line each, for the end of the help.
pub(crate) fn help() -> String {
    let mut text = String::from("Faults:\n");
    for kind in FaultKind::ALL {
        text.push_str(&crate::report::format::wrapped(
            &format!("  {:<17}", kind.name()),
            kind.about(),
        ));
    }
    text.push_str(
        "TARGET is one (default), minority, majority, all or node=N (node=1+3: both); of \
         client faults one or process=N.",
    );
    text
}
