//! One node's process: from the command line to the first PONG, and its end.
//!
//! It knows nothing of the other nodes of a cluster.
//!
//! Invariants:
//! 1. A process runs its server only after it is in the registry and with the guard: until then it
//!    waits at a gate, and leaves when its parent is gone.
//! 2. A node is ready when *its own* process answers PING, not another server on that port.
//! 3. Whatever fails on the way, the process is killed and reaped.
//! 4. A node is opened after its first start alone: one that was started again may have forgotten
//!    locks, and must wait until they have expired.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use redlatch::testing::open_node_command;
use rustix::process::Signal;

use super::process::{self, ProcId, ProcState};
use super::registry::{NodeEntry, Registry};
use super::resp::{Connection, Reply, shown};
use super::server::{self, Server};
use super::url::NodeUrl;
use super::{ClusterError, Persist, Transport, probe};
use crate::clock::now_ns;
use crate::guard::Guardian;

pub(super) const GATE: u8 = b'g';
const READY_LIMIT_NS: u64 = 5_000_000_000;
const OPEN_LIMIT: Duration = Duration::from_secs(5);
const TERM_LIMIT: Duration = Duration::from_millis(500);
const LOG_LINES: usize = 20;
const LOG_BYTES: u64 = 16 << 10;

/// Who ends a node's process when loadgen is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// The kernel, with the process that started it.
    Owned,
    /// Nobody: the cluster is kept.
    Kept,
}

/// Everything that the nodes of one cluster have in common.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) cluster_id: String,
    pub(super) server: Server,
    pub(super) transport: Transport,
    pub(super) persist: Persist,
    pub(super) lifetime: Lifetime,
    pub(super) registry: Registry,
    pub(super) guardian: Arc<Guardian>,
}

/// A node's process; killed and reaped when dropped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    id: ProcId,
    guardian: Arc<Guardian>,
    detached: bool,
}

/// Why a node did not come up.
#[derive(Debug)]
pub(super) enum LaunchError {
    /// The process ended by itself: another port may help.
    Exited(ClusterError),
    Other(ClusterError),
}

impl From<LaunchError> for ClusterError {
    fn from(error: LaunchError) -> Self {
        match error {
            LaunchError::Exited(error) | LaunchError::Other(error) => error,
        }
    }
}

impl Launcher {
    pub(super) fn url(&self, entry: &NodeEntry) -> NodeUrl {
        Self::url_of(self.transport, entry)
    }

    pub(super) fn url_of(transport: Transport, entry: &NodeEntry) -> NodeUrl {
        match (transport, entry.port) {
            (Transport::Tcp, Some(port)) => NodeUrl::tcp(port),
            _ => NodeUrl::unix(&server::socket(&entry.dir)),
        }
    }

    /// Starts the node that `entry` describes and waits until it answers.
    pub(super) fn launch(&self, entry: &NodeEntry) -> Result<Running, LaunchError> {
        let name = super::node_name(entry.index);
        let other = |doing: &'static str| {
            let name = name.clone();
            move |source| LaunchError::Other(ClusterError::Io { node: name, doing, source })
        };
        let child = self.spawn(entry).map_err(other("start"))?;
        let mut running = self.adopt(child).map_err(other("watch"))?;
        let recorded = self.registry.update(&self.cluster_id, |cluster| {
            if let Some(node) = cluster.nodes.iter_mut().find(|node| node.index == entry.index) {
                *node = NodeEntry { process: Some(running.id), ..entry.clone() };
            }
        });
        recorded.map_err(|error| LaunchError::Other(error.into()))?;
        let config = self.server.config(&entry.dir, entry.port, self.persist);
        if let Some(mut stdin) = running.child.stdin.take() {
            // A process that ended early is reported with its log, below.
            let _ = stdin.write_all(&[&[GATE], config.as_bytes()].concat());
        }
        self.wait_ready(&mut running, entry, name)?;
        Ok(running)
    }

    fn spawn(&self, entry: &NodeEntry) -> io::Result<Child> {
        let mut args = vec!["__node".to_owned()];
        if self.lifetime == Lifetime::Owned {
            args.extend(["--parent".to_owned(), std::process::id().to_string()]);
        }
        if self.server.is_test_node() {
            args.extend(["--port".to_owned(), entry.port.unwrap_or(0).to_string()]);
        }
        let mut command = process::self_command(self.with_server(args));
        let log = OpenOptions::new().create(true).append(true).open(entry.dir.join("log"))?;
        command.process_group(0).current_dir(&entry.dir);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        process::spawn(command)
    }

    fn with_server(&self, mut args: Vec<String>) -> Vec<std::ffi::OsString> {
        if self.server.path().is_some() {
            args.push("--exec".to_owned());
        }
        let path = self.server.path().map(|path| path.as_os_str().to_owned());
        args.into_iter().map(Into::into).chain(path).collect()
    }

    fn adopt(&self, mut child: Child) -> io::Result<Running> {
        let watched = ProcId::of(child.id()).and_then(|id| {
            self.guardian.watch(id)?;
            Ok(id)
        });
        match watched {
            Ok(id) => Ok(Running { child, id, guardian: self.guardian.clone(), detached: false }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn wait_ready(
        &self,
        running: &mut Running,
        entry: &NodeEntry,
        node: String,
    ) -> Result<(), LaunchError> {
        let url = self.url(entry);
        let deadline = now_ns().saturating_add(READY_LIMIT_NS);
        let mut pause = Duration::from_micros(500);
        loop {
            match running.child.try_wait() {
                Ok(Some(status)) => {
                    let log = last_lines(&entry.dir);
                    return Err(LaunchError::Exited(ClusterError::Exited { node, status, log }));
                }
                Ok(None) => {}
                Err(source) => {
                    let doing = "wait for";
                    return Err(LaunchError::Other(ClusterError::Io { node, doing, source }));
                }
            }
            if self.answers(&url, running.id) {
                return Ok(());
            }
            if now_ns() >= deadline {
                let log = last_lines(&entry.dir);
                return Err(LaunchError::Other(ClusterError::NotReady { node, log }));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// Opens a node that has just been started for the first time, before any client sees it.
    /// How long it is to hold back after a restart is what its clients publish.
    pub(super) fn open(&self, entry: &NodeEntry) -> Result<(), ClusterError> {
        let opened = Connection::open(&self.url(entry), OPEN_LIMIT).and_then(|mut connection| {
            let words = open_node_command(Duration::ZERO);
            let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
            let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
            match connection.call(&words)? {
                Reply::Array(_) => Ok(()),
                other => Err(io::Error::other(format!("it answers {}", shown(&other)))),
            }
        });
        let node = super::node_name(entry.index);
        opened.map_err(|source| ClusterError::Io { node, doing: "open", source })
    }

    /// Whether the server at `url` answers and is the process `id`.
    pub(super) fn answers(&self, url: &NodeUrl, id: ProcId) -> bool {
        let limit = Duration::from_millis(250);
        let Ok(mut connection) = Connection::open(url, limit) else { return false };
        if connection.ping().is_err() {
            return false;
        }
        probe::process_id(&mut connection).is_ok_and(|pid| pid == i64::from(id.pid()))
    }
}

impl Running {
    pub(super) fn id(&self) -> ProcId {
        self.id
    }

    /// SIGKILL, and reaped on return.
    pub(super) fn kill(mut self) -> io::Result<()> {
        self.id.signal(Signal::KILL)?;
        self.child.wait()?;
        Ok(())
    }

    pub(super) fn ask_to_stop(&self) {
        // A paused process takes SIGTERM only after it goes on.
        let _ = self.id.signal(Signal::CONT);
        let _ = self.id.signal(Signal::TERM);
    }

    /// After [`Running::ask_to_stop`]: waits, then kills.
    pub(super) fn finish(mut self) {
        let child = &mut self.child;
        process::poll_until(TERM_LIMIT, || !matches!(child.try_wait(), Ok(None)));
        // The drop kills what is left.
    }

    /// Leaves the process running for good.
    pub(super) fn detach(mut self) {
        self.detached = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.detached {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = self.guardian.unwatch(self.id);
    }
}

/// SIGSTOP, and every thread stopped on return.
pub(super) fn pause(id: ProcId) -> io::Result<()> {
    let there = id.signal(Signal::STOP)?;
    if there && id.wait_for(ProcState::Stopped, Duration::from_secs(2)) {
        return Ok(());
    }
    Err(io::Error::other(if there { "it does not stop" } else { "it is not running" }))
}

/// SIGCONT.
pub(super) fn resume(id: ProcId) -> io::Result<()> {
    if id.signal(Signal::CONT)? { Ok(()) } else { Err(io::Error::other("it is not running")) }
}

/// The node process itself (`loadgen __node`): waits at the gate, then becomes the server.
/// Returns only with the reason why it could not.
pub(super) fn run(parent: Option<u32>, port: Option<u16>, server: Option<&Path>) -> String {
    if parent.is_some_and(|parent| !process::die_with_parent(parent)) {
        return "the parent process is gone".to_owned();
    }
    // Unbuffered: the rest of the input is the server's.
    let mut gate = [0; 1];
    match rustix::io::read(io::stdin(), &mut gate) {
        Ok(1) if gate == [GATE] => {}
        _ => return "the parent process went away before the node was registered".to_owned(),
    }
    match (server, port) {
        (Some(server), _) => {
            let error = Command::new(server).arg("-").exec();
            format!("cannot run '{}': {error}", server.display())
        }
        (None, Some(port)) => super::testnode::serve(port),
        (None, None) => "a node needs --exec or --port".to_owned(),
    }
}

/// The end of a node's log, for an error.
fn last_lines(dir: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = fs::File::open(dir.join("log"))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        Ok(last.join("\n"))
    };
    match read() {
        Ok(text) if !text.is_empty() => text,
        _ => "(its log is empty)".to_owned(),
    }
}
