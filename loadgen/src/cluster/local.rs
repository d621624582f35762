//! A cluster that this process started and ends.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::node::{self, LaunchError, Launcher, Lifetime, Running};
use super::ports::{PortLease, PortSearch};
use super::process::ProcId;
use super::registry::{self, Entry, NodeEntry, Owner, Registry, Scope};
use super::server::{self, Server};
use super::url::NodeUrl;
use super::{ClusterError, ClusterOptions, MAX_NODES, NodeInfo, NodeState, Transport, node_name};
use crate::guard::Guardian;

const START_ATTEMPTS: usize = 5;

/// A local cluster; taken down when dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    launcher: Launcher,
    entry: Entry,
    nodes: Vec<Node>,
    /// Once set, nothing starts any more.
    stopped: AtomicBool,
}

#[derive(Debug)]
struct Node {
    info: NodeInfo,
    slot: Mutex<Slot>,
}

#[derive(Debug)]
struct Slot {
    entry: NodeEntry,
    running: Option<Running>,
    paused: bool,
    /// Keeps the port ours while the node is down.
    _lease: Option<PortLease>,
}

impl Cluster {
    /// Reaps what earlier runs left behind, then starts the nodes in parallel and waits until each
    /// answers.
    pub(crate) fn start(
        options: &ClusterOptions,
        guardian: Arc<Guardian>,
    ) -> Result<Self, ClusterError> {
        if !(1..=MAX_NODES).contains(&options.nodes) {
            return Err(ClusterError::Count(options.nodes));
        }
        let server = Server::find(options.server_bin.as_deref())?;
        server.check(options.transport, options.persist)?;
        let registry = Registry::open()?;
        registry.reap()?;
        let mut cluster = Self::register(options, server, registry, guardian)?;
        cluster.start_nodes(options.nodes)?;
        Ok(cluster)
    }

    /// From here on the drop cleans up.
    fn register(
        options: &ClusterOptions,
        server: Server,
        registry: Registry,
        guardian: Arc<Guardian>,
    ) -> Result<Self, ClusterError> {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let owner = ProcId::current().map_err(ClusterError::Directory)?;
        let count = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{:x}-{count}", owner.pid(), owner.start_ticks());
        let dir = registry::create_cluster_dir(&id).map_err(ClusterError::Directory)?;
        let (transport, persist) = (options.transport, options.persist);
        let entry = Entry {
            id: id.clone(),
            scope: Scope::here(),
            owner: Owner::Process(owner),
            dir,
            server: server.clone(),
            transport,
            persist,
            nodes: Vec::new(),
        };
        let lifetime = if options.die_with_us { Lifetime::Owned } else { Lifetime::Kept };
        let launcher =
            Launcher { cluster_id: id, server, transport, persist, lifetime, registry, guardian };
        let stopped = AtomicBool::new(false);
        let mut cluster = Self { launcher, entry, nodes: Vec::new(), stopped };
        let nodes = (0..options.nodes).map(|index| NodeEntry {
            index,
            dir: cluster.entry.dir.join(node_name(index)),
            port: None,
            process: None,
        });
        cluster.entry.nodes = nodes.collect();
        cluster.launcher.registry.insert(&cluster.entry)?;
        let watched =
            cluster.launcher.guardian.watch_entry(cluster.launcher.registry.dir(), cluster.id());
        watched.map_err(ClusterError::Guard)?;
        Ok(cluster)
    }

    fn start_nodes(&mut self, count: usize) -> Result<(), ClusterError> {
        let listed = self.launcher.registry.list()?;
        let taken = listed.iter().flat_map(|entry| &entry.nodes).filter_map(|node| node.port);
        let search = PortSearch::new(taken.collect());
        let launcher = &self.launcher;
        // Leased in order, so that ports usually count up with the nodes.
        let leases = (0..count).map(|_| lease(launcher, &search)).collect::<Result<Vec<_>, _>>()?;
        let started: Vec<_> = thread::scope(|scope| {
            let nodes = self.entry.nodes.iter().zip(leases);
            let threads: Vec<_> = nodes
                .map(|(entry, lease)| {
                    let search = &search;
                    scope.spawn(move || start_node(launcher, entry, lease, search))
                })
                .collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        for node in started {
            match node {
                Ok(node) => self.nodes.push(node?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    }

    pub(crate) fn id(&self) -> &str {
        &self.launcher.cluster_id
    }

    pub(crate) fn server(&self) -> &Server {
        &self.launcher.server
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.iter().map(|node| &node.info)
    }

    pub(crate) fn urls(&self) -> Vec<NodeUrl> {
        self.nodes().map(|node| node.url.clone()).collect()
    }

    /// The state of node `index`; also notices a node that ended by itself. Waits for an operation
    /// on that node that is under way.
    pub(crate) fn state(&self, index: usize) -> Result<NodeState, ClusterError> {
        let slot = self.slot(index)?;
        Ok(match &slot.running {
            Some(running) if running.id().is_gone() => NodeState::Down,
            Some(_) if slot.paused => NodeState::Paused,
            Some(_) => NodeState::Running,
            None => NodeState::Down,
        })
    }

    /// SIGKILL; the process is gone on return. A node that is down stays down.
    pub(crate) fn kill(&self, index: usize) -> Result<(), ClusterError> {
        let mut slot = self.slot(index)?;
        slot.paused = false;
        slot.running.take().map_or(Ok(()), Running::kill).map_err(node_error(index, "kill"))
    }

    /// SIGTERM, and SIGKILL where that is not obeyed at once; the process is gone on return.
    pub(crate) fn terminate(&self, index: usize) -> Result<(), ClusterError> {
        let mut slot = self.slot(index)?;
        slot.paused = false;
        if let Some(running) = slot.running.take() {
            running.ask_to_stop();
            running.finish();
        }
        Ok(())
    }

    /// SIGSTOP; the process stands still on return.
    pub(crate) fn pause(&self, index: usize) -> Result<(), ClusterError> {
        let mut slot = self.slot(index)?;
        let Some(running) = &slot.running else {
            return Err(ClusterError::State { node: node_name(index), problem: "is down" });
        };
        node::pause(running.id()).map_err(node_error(index, "pause"))?;
        slot.paused = true;
        Ok(())
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, index: usize) -> Result<(), ClusterError> {
        let mut slot = self.slot(index)?;
        let Some(running) = &slot.running else {
            return Err(ClusterError::State { node: node_name(index), problem: "is down" });
        };
        node::resume(running.id()).map_err(node_error(index, "resume"))?;
        slot.paused = false;
        Ok(())
    }

    /// Kills the node if it runs, then starts it on its own port and directory; it answers on
    /// return.
    pub(crate) fn restart(&self, index: usize) -> Result<(), ClusterError> {
        let mut slot = self.slot(index)?;
        slot.paused = false;
        if let Some(running) = slot.running.take() {
            running.kill().map_err(node_error(index, "kill"))?;
        }
        if self.stopped.load(Ordering::SeqCst) {
            let problem = "belongs to a cluster that was ended";
            return Err(ClusterError::State { node: node_name(index), problem });
        }
        let mut attempt = 1;
        slot.running = loop {
            match self.launcher.launch(&slot.entry) {
                Ok(running) => break Some(running),
                Err(LaunchError::Exited(_)) if attempt < START_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        };
        Ok(())
    }

    /// Resumes what is paused and restarts what is down; the first error, after trying all.
    pub(crate) fn heal_all(&self) -> Result<(), ClusterError> {
        let heal = |index| match self.state(index)? {
            NodeState::Running => Ok(()),
            NodeState::Paused => self.resume(index),
            NodeState::Down => self.restart(index),
        };
        (0..self.len()).map(heal).fold(Ok(()), Result::and)
    }

    /// Ends all nodes and removes every trace of the cluster. No node starts afterwards.
    pub(crate) fn stop(&self) -> Result<(), ClusterError> {
        self.stopped.store(true, Ordering::SeqCst);
        let running: Vec<_> =
            self.nodes.iter().filter_map(|node| lock(&node.slot).running.take()).collect();
        running.iter().for_each(Running::ask_to_stop);
        running.into_iter().for_each(Running::finish);
        // Also ends what a second terminal restarted meanwhile.
        self.launcher.registry.take_down(&self.entry)?;
        self.launcher.guardian.forget_entry(self.id()).map_err(ClusterError::Guard)
    }

    /// Leaves the nodes running after us, to be found in the registry.
    pub(crate) fn keep(mut self) -> Result<(), ClusterError> {
        if self.launcher.lifetime == Lifetime::Owned {
            let text = "these nodes die with their owner; they cannot be kept".to_owned();
            return Err(ClusterError::Choice(text));
        }
        // First the owner, then the watch: in between the cluster is simply kept.
        self.launcher.registry.update(self.id(), |entry| entry.owner = Owner::Kept)?;
        let forgotten = self.launcher.guardian.forget_entry(self.id());
        forgotten.map_err(ClusterError::Guard)?;
        self.entry.owner = Owner::Kept;
        for node in &self.nodes {
            if let Some(running) = lock(&node.slot).running.take() {
                running.detach();
            }
        }
        Ok(())
    }

    fn slot(&self, index: usize) -> Result<MutexGuard<'_, Slot>, ClusterError> {
        let missing =
            || ClusterError::NoSuchNode { asked: node_name(index), last: self.nodes.len() };
        Ok(lock(&self.nodes.get(index).ok_or_else(missing)?.slot))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.entry.owner != Owner::Kept {
            // The guard and the registry's next reader try again.
            let _ = self.stop();
        }
    }
}

fn lease(launcher: &Launcher, search: &PortSearch) -> Result<Option<PortLease>, ClusterError> {
    match launcher.transport {
        Transport::Tcp => Ok(Some(search.lease(&launcher.registry.ports_dir())?)),
        Transport::Unix => Ok(None),
    }
}

fn start_node(
    launcher: &Launcher,
    entry: &NodeEntry,
    mut port: Option<PortLease>,
    search: &PortSearch,
) -> Result<Node, ClusterError> {
    let index = entry.index;
    std::fs::create_dir(&entry.dir).map_err(node_error(index, "create the directory of"))?;
    let socket = server::socket(&entry.dir);
    if launcher.transport == Transport::Unix && socket.as_os_str().len() > 107 {
        return Err(ClusterError::SocketPath(socket));
    }
    let mut attempt = 1;
    loop {
        let entry = NodeEntry { port: port.as_ref().map(PortLease::port), ..entry.clone() };
        match launcher.launch(&entry) {
            Ok(running) => {
                launcher.open(&entry)?;
                let url = launcher.url(&entry);
                let info = NodeInfo { url };
                let slot = Slot { entry, running: Some(running), paused: false, _lease: port };
                return Ok(Node { info, slot: Mutex::new(slot) });
            }
            Err(LaunchError::Exited(_)) if attempt < START_ATTEMPTS => {
                attempt += 1;
                port = lease(launcher, search)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn node_error(index: usize, doing: &'static str) -> impl Fn(io::Error) -> ClusterError {
    move |source| ClusterError::Io { node: node_name(index), doing, source }
}

/// A panic elsewhere must not keep the nodes from being ended.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
