//! A cluster seen from another process: found in the registry, acted on by pid and start time.
//!
//! It never takes over a cluster: who owns it, ends it.

use std::io;
use std::sync::Arc;

use rustix::process::Signal;

use super::node::{self, Launcher, Lifetime};
use super::process::ProcState;
use super::registry::{Entry, NodeEntry, Owner, Registry, end_all};
use super::{ClusterError, NodeState, node_name};
use crate::guard::Guardian;

/// A cluster of the registry.
#[derive(Debug)]
pub(crate) struct Attached {
    registry: Registry,
    entry: Entry,
}

impl Attached {
    /// The cluster `id`, or the only one there is.
    pub(crate) fn find(registry: &Registry, id: Option<&str>) -> Result<Self, ClusterError> {
        let mut entries = registry.list()?;
        entries.retain(|entry| match id {
            Some(id) => entry.id == id,
            None => !entry.is_orphan(),
        });
        let ids = entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>().join(", ");
        match (entries.pop(), entries.is_empty(), id) {
            (Some(entry), true, _) => Ok(Self { registry: registry.clone(), entry }),
            (Some(_), false, _) => Err(ClusterError::Choice(format!(
                "several clusters are up: {ids}; choose one with --cluster"
            ))),
            (None, _, Some(id)) => Err(ClusterError::Choice(format!(
                "there is no cluster '{id}'; 'loadgen nodes ps' lists them"
            ))),
            (None, _, None) => Err(ClusterError::Choice(
                "no cluster is up; start one with 'loadgen nodes up'".to_owned(),
            )),
        }
    }

    pub(crate) fn kill(&self, index: usize) -> Result<(), ClusterError> {
        let node = self.node(index)?;
        node.process.map_or(Ok(()), |process| end_all(&[process])).map_err(failed(index, "kill"))
    }

    pub(crate) fn pause(&self, index: usize) -> Result<(), ClusterError> {
        let process = self.node(index)?.process;
        process.map_or_else(not_running, node::pause).map_err(failed(index, "pause"))
    }

    pub(crate) fn resume(&self, index: usize) -> Result<(), ClusterError> {
        let process = self.node(index)?.process;
        process.map_or_else(not_running, node::resume).map_err(failed(index, "resume"))
    }

    /// On its own port and directory. The new process is nobody's child; its cluster's owner ends
    /// it all the same, because it is in the registry.
    pub(crate) fn restart(&self, index: usize) -> Result<(), ClusterError> {
        self.kill(index)?;
        let guardian = Arc::new(Guardian::start().map_err(ClusterError::Guard)?);
        let launcher = Launcher {
            cluster_id: self.entry.id.clone(),
            server: self.entry.server.clone(),
            transport: self.entry.transport,
            persist: self.entry.persist,
            lifetime: Lifetime::Kept,
            registry: self.registry.clone(),
            guardian,
        };
        launcher.launch(self.node(index)?)?.detach();
        Ok(())
    }

    /// Ends the cluster; refused while the process that owns it lives.
    pub(crate) fn down(&self) -> Result<(), ClusterError> {
        if let Owner::Process(owner) = self.entry.owner
            && !owner.is_gone()
        {
            return Err(ClusterError::Choice(format!(
                "cluster {} belongs to pid {}, which runs; end that instead",
                self.entry.id,
                owner.pid()
            )));
        }
        for process in self.entry.nodes.iter().filter_map(|node| node.process) {
            // A chance to write what it has; the take-down kills.
            let _ = process.signal(Signal::CONT);
            let _ = process.signal(Signal::TERM);
        }
        for process in self.entry.nodes.iter().filter_map(|node| node.process) {
            process.wait_for(ProcState::Gone, std::time::Duration::from_millis(500));
        }
        Ok(self.registry.take_down(&self.entry)?)
    }

    fn node(&self, index: usize) -> Result<&NodeEntry, ClusterError> {
        let missing =
            || ClusterError::NoSuchNode { asked: node_name(index), last: self.entry.nodes.len() };
        self.entry.nodes.iter().find(|node| node.index == index).ok_or_else(missing)
    }
}

/// The state of a node by its process.
pub(crate) fn state_of(node: &NodeEntry) -> NodeState {
    match node.process.map(super::process::ProcId::state) {
        Some(ProcState::Running) => NodeState::Running,
        Some(ProcState::Stopped) => NodeState::Paused,
        Some(ProcState::Gone) | None => NodeState::Down,
    }
}

fn not_running() -> io::Result<()> {
    Err(io::Error::other("it is not running"))
}

fn failed(index: usize, doing: &'static str) -> impl Fn(io::Error) -> ClusterError {
    move |source| ClusterError::Io { node: node_name(index), doing, source }
}
