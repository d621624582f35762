//! Local nodes: started, killed, paused, restarted and ended by loadgen.
//!
//! It does not load the nodes and knows nothing of locks.
//!
//! Invariants:
//! 1. Each node has a process, a port and a directory of its own, and keeps port and directory over
//!    restarts.
//! 2. No process outlives loadgen, however it ends, unless the cluster was kept on purpose. Three
//!    layers see to that: the kernel ([`process::die_with_parent`]), the guard process
//!    ([`crate::guard`]) and the registry ([`registry`]).
//! 3. Operations on one node are serialised; on different nodes they run in parallel.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

use url::NodeUrl;

pub(crate) use local::Cluster;

pub(crate) mod attached;
pub(crate) mod cli;
pub(crate) mod epoch;
mod init;
pub(crate) mod local;
mod node;
pub(crate) mod ports;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod registry;
pub(crate) mod resp;
pub(crate) mod server;
mod testnode;
pub(crate) mod url;

/// More than any quorum that makes sense on one machine.
pub(crate) const MAX_NODES: usize = 9;

/// How clients reach local nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    #[default]
    Tcp,
    Unix,
}

/// What local nodes keep on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Persist {
    #[default]
    None,
    AofEverysec,
    AofAlways,
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct ClusterOptions {
    pub(crate) nodes: usize,
    pub(crate) server_bin: Option<PathBuf>,
    pub(crate) transport: Transport,
    pub(crate) persist: Persist,
    /// Whether the kernel ends the nodes with us. Off only for a cluster that is to be kept and for
    /// tests of the other layers.
    pub(crate) die_with_us: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        let (transport, persist) = (Transport::Tcp, Persist::None);
        Self { nodes: 5, server_bin: None, transport, persist, die_with_us: true }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("a cluster of {0} was asked for; a local cluster has 1 to {MAX_NODES} nodes")]
    Count(usize),
    #[error("there is no node {asked}; the cluster has n1 to n{last}")]
    NoSuchNode { asked: String, last: usize },
    #[error(transparent)]
    Server(#[from] server::ServerError),
    #[error(transparent)]
    Port(#[from] ports::PortError),
    #[error(transparent)]
    Registry(#[from] registry::RegistryError),
    #[error("the unix socket path '{0}' is beyond 107 bytes; set TMPDIR to a shorter directory")]
    SocketPath(PathBuf),
    #[error("cannot create the cluster's directory: {0}")]
    Directory(#[source] io::Error),
    #[error("cannot start the guard process: {0}")]
    Guard(#[source] io::Error),
    #[error("cannot {doing} node {node}: {source}")]
    Io { node: String, doing: &'static str, source: io::Error },
    #[error("node {node} ended at its start ({status}); the end of its log:\n{log}")]
    Exited { node: String, status: ExitStatus, log: String },
    #[error("node {node} did not answer PING within 5 s; the end of its log:\n{log}")]
    NotReady { node: String, log: String },
    #[error("node {node} {problem}")]
    State { node: String, problem: &'static str },
    #[error("{0}")]
    Choice(String),
}

/// `n1` for index 0: people count nodes from 1.
pub(crate) fn node_name(index: usize) -> String {
    format!("n{}", index.saturating_add(1))
}

/// What loadgen did to a node last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    Running,
    Paused,
    /// Killed by us, or ended by itself.
    Down,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Down => "down",
        })
    }
}

/// A node as others need to know it.
#[derive(Clone, Debug)]
pub(crate) struct NodeInfo {
    pub(crate) url: NodeUrl,
}
