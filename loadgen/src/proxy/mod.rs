//! TCP and unix-socket proxies, one in front of each node, which disturb what passes through them:
//! the network faults of a run.
//!
//! All of them run on one thread with a runtime of its own. They know bytes and connections, not
//! what a node or a lock is.
//!
//! Invariants:
//! 1. When [`Proxies::set`] returns, the new rules hold for every live and every new connection:
//!    they are changed on the thread that moves the bytes, and looked at before each move.
//! 2. What passes, passes whole and in order. A connection that lost bytes is never healed: it is
//!    reset, because its stream has a hole.
//! 3. Every buffer is bounded; a peer that does not read makes the other one wait.

mod door;
mod line;
mod link;
mod race;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cluster::ports::{PortError, PortLease, PortSearch};
use crate::cluster::registry::{Registry, RegistryError};
use crate::cluster::url::{Address, NodeUrl};
use crate::scratch::Scratch;
use door::{Command, Post};

/// Changes of one proxy that may wait for it.
const MOST_COMMANDS: usize = 4;
/// How long a proxy may take to change its rules; a port that it gets back late is in it.
const SET_LIMIT: Duration = Duration::from_secs(5);

/// What becomes of the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    #[default]
    Pass,
    /// They wait, and so does their sender.
    Hold,
    /// They are lost.
    Drop,
}

/// What becomes of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Door {
    #[default]
    Open,
    /// Live and new ones are reset.
    Reset,
    /// Live ones are closed; nobody listens for new ones.
    Closed,
}

/// How a proxy treats what passes through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Towards the node.
    pub(crate) requests: Flow,
    /// From the node.
    pub(crate) replies: Flow,
    /// Added in each direction.
    pub(crate) delay_ns: u64,
    /// How much longer or shorter than that at most.
    pub(crate) jitter_ns: u64,
    /// In each direction of each connection; `None`: as many as can be.
    pub(crate) bytes_per_s: Option<u64>,
    pub(crate) door: Door,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("cannot start a proxy in front of a node: {0}")]
    Start(#[from] io::Error),
}

/// What one proxy's connections go by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Regime {
    rules: Rules,
    /// Connections that were accepted under another number are reset.
    generation: u64,
}

/// Proxies in front of nodes; ended when dropped.
#[derive(Debug)]
pub(crate) struct Proxies {
    urls: Vec<NodeUrl>,
    posts: Vec<mpsc::Sender<Command>>,
    regimes: Mutex<Vec<Regime>>,
    thread: Option<JoinHandle<()>>,
    /// Of TCP proxies: ports that nobody else takes while a proxy does not listen.
    _leases: Vec<PortLease>,
    /// Of unix proxies: their sockets.
    _sockets: Scratch,
}

impl Proxies {
    /// Puts a proxy in front of each of `nodes`, each of the kind of its node.
    pub(crate) fn start(nodes: &[NodeUrl]) -> Result<Self, ProxyError> {
        let registry = Registry::open()?;
        let taken = registry.list()?;
        let taken = taken.iter().flat_map(|entry| &entry.nodes).filter_map(|node| node.port);
        let search = PortSearch::new(taken.collect());
        let sockets = Scratch::new("proxy")?;
        let (mut urls, mut posts, mut leases) = (Vec::new(), Vec::new(), Vec::new());
        let mut doors = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let at = match node.address() {
                Address::Tcp { .. } => {
                    let lease = search.lease(&registry.ports_dir())?;
                    let port = lease.port();
                    leases.push(lease);
                    Address::Tcp { host: "127.0.0.1".to_owned(), port }
                }
                Address::Unix(_) => Address::Unix(sockets.path().join(format!("p{index}.sock"))),
            };
            urls.push(node.at(at.clone()));
            let (sender, commands) = mpsc::channel(MOST_COMMANDS);
            posts.push(sender);
            doors.push(Post::new(at, node.address().clone(), commands));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            runtime.block_on(async {
                let mut all = JoinSet::new();
                doors.into_iter().for_each(|door| drop(all.spawn(door.run())));
                while all.join_next().await.is_some() {}
            });
        };
        let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(run)?;
        let regimes = Mutex::new(vec![Regime::default(); nodes.len()]);
        let proxies =
            Self { urls, posts, regimes, thread: Some(thread), _leases: leases, _sockets: sockets };
        for index in 0..nodes.len() {
            proxies.set(index, Rules::default())?;
        }
        Ok(proxies)
    }

    /// Where the nodes are reached through the proxies, with their nodes' credentials.
    pub(crate) fn urls(&self) -> &[NodeUrl] {
        &self.urls
    }

    /// Changes the rules of one proxy; they hold on return.
    pub(crate) fn set(&self, index: usize, rules: Rules) -> io::Result<()> {
        self.change(index, |regime| regime.rules = rules)
    }

    /// Resets every live connection of one proxy.
    pub(crate) fn reset(&self, index: usize) -> io::Result<()> {
        self.change(index, |regime| regime.generation += 1)
    }

    /// All proxies pass everything; the first error, after trying all.
    pub(crate) fn heal_all(&self) -> io::Result<()> {
        let heal = |index| self.set(index, Rules::default());
        (0..self.posts.len()).map(heal).fold(Ok(()), Result::and)
    }

    fn change(&self, index: usize, how: impl FnOnce(&mut Regime)) -> io::Result<()> {
        let mut regimes = self.regimes();
        let nobody = || io::Error::other("there is no such proxy");
        let regime = regimes.get_mut(index).ok_or_else(nobody)?;
        how(regime);
        let (done, answer) = sync_channel(1);
        let command = Command { regime: *regime, done };
        drop(regimes);
        let post = self.posts.get(index).ok_or_else(nobody)?;
        post.try_send(command).map_err(|_| io::Error::other("the proxy does not answer"))?;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the proxy does not answer");
        answer.recv_timeout(SET_LIMIT).map_err(late)?
    }

    fn regimes(&self) -> MutexGuard<'_, Vec<Regime>> {
        self.regimes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.posts.clear();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its own thread.
            let _ = thread.join();
        }
    }
}
