//! The test node on a socket, and the handles of its faults.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::options::{Options, Role};
use super::serve::{Listener, Shared, accept};
use super::{KeySnapshot, TestClock};

/// A lock node inside the test's own process.
///
/// Every switch takes effect before its method returns: no command that is executed later is
/// executed under the old setting. Replies already written may still be on their way.
///
/// | switch | the node is like |
/// |---|---|
/// | [`stall`](Self::stall) | a server stopped by SIGSTOP, or a network that delays |
/// | [`drop_replies`](Self::drop_replies) | a network that loses the answers alone |
/// | [`drop_connections`](Self::drop_connections) | a proxy or firewall that resets |
/// | [`refuse`](Self::refuse) | a server that takes no clients |
/// | [`forget`](Self::forget) | a server killed and started again without persistence |
/// | [`restart_keeping_data`](Self::restart_keeping_data) | one that was restarted with its data |
/// | [`flush`](Self::flush) | a server that somebody sent FLUSHALL |
/// | [`set_role`](Self::set_role) | a server that a failover demoted or promoted |
/// | [`fail_next`](Self::fail_next) | a server that is loading for a moment |
/// | [`fail_with`](Self::fail_with) | a server that is full or read-only |
/// | [`TestClock`] | a server whose clock was stepped |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use redlatch::testing::TestNode;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let node = TestNode::start().await?;
/// assert!(node.url().starts_with("redis://127.0.0.1:"));
///
/// // Your lock client connects here; the example speaks for itself.
/// let mut client = tokio::net::TcpStream::connect(node.addr().unwrap()).await?;
/// node.fail_next(1, "LOADING starting");
/// client.write_all(b"SET lock me NX PX 9000\r\nSET lock me NX PX 9000\r\n").await?;
/// let mut replies = [0; 24];
/// client.read_exact(&mut replies).await?;
/// assert_eq!(&replies, b"-LOADING starting\r\n+OK\r\n");
///
/// assert_eq!(node.snapshot()[0].key, b"lock");
/// assert_eq!(node.commands()["set"], 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestNode {
    shared: Arc<Shared>,
    addr: Option<SocketAddr>,
    url: String,
    /// The socket's file, if it is the node's to remove.
    file: Option<PathBuf>,
    /// The accepting task. Dropping it closes the listener and, through its own set, all
    /// connections.
    tasks: JoinSet<()>,
}

impl TestNode {
    /// Starts a node on a free port of 127.0.0.1, in the calling task's runtime.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts a node on this address.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    pub async fn start_on(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self::start_with(TcpListener::bind(addr).await?, Options::new()))
    }

    /// Starts a node on a unix socket, whose file is removed when the node is dropped.
    ///
    /// Must be called inside a runtime.
    ///
    /// # Errors
    ///
    /// If the path cannot be bound: it exists already, or is longer than about 100 bytes.
    pub fn start_unix(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut node = Self::start_with(UnixListener::bind(&path)?, Options::new());
        node.file = Some(path.as_ref().to_owned());
        Ok(node)
    }

    /// Starts a node with options of its own on a bound socket.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start_with(listener: impl Into<Listener>, options: Options) -> Self {
        let listener = listener.into();
        let (addr, url) = (listener.addr(), listener.url());
        let shared = Arc::new(Shared::new(&listener, options));
        let mut tasks = JoinSet::new();
        let accepting = accept(listener, Arc::clone(&shared));
        tasks.spawn(async move { match accepting.await {} });
        Self { shared, addr, url, file: None, tasks }
    }

    /// Closes the listener before it returns, so that the address can be bound again. Dropping
    /// the node does the same, some time after.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// The TCP address; `None` on a unix socket.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// `redis://127.0.0.1:port` or `unix:///path`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// While on, the node neither reads nor executes nor answers, like a process stopped by
    /// SIGSTOP. Connections stay and are still accepted by the kernel. When switched off, it
    /// executes what has been sent meanwhile: a delayed acquire takes effect late.
    pub fn stall(&self, on: bool) {
        self.shared.change(|state| state.stalled = on);
    }

    /// While on, commands are executed and their replies thrown away. When switched off, the
    /// connections that lost a reply are closed, for their replies would no longer match.
    pub fn drop_replies(&self, on: bool) {
        self.shared.change(|state| state.dropping_replies = on);
    }

    /// Closes every connection. What was sent and not yet executed never is.
    pub fn drop_connections(&self) {
        self.shared.change(|state| state.core.disconnect_all());
    }

    /// While on, new connections are closed as soon as they are made. Open ones stay.
    pub fn refuse(&self, on: bool) {
        self.shared.change(|state| state.refusing = on);
    }

    /// Amnesia: data, scripts and connections are gone, run id and replication id are new, as after
    /// a restart without persistence. The epoch is gone with the data and stays so, whatever
    /// [`Options::opened`] said.
    pub fn forget(&self) {
        self.shared.change(|state| state.core.forget());
    }

    /// A restart that loses no key: scripts and connections are gone, run id and replication id
    /// are new.
    pub fn restart_keeping_data(&self) {
        self.shared.change(|state| state.core.restart_keeping_data());
    }

    /// All data is gone while connections, scripts and ids stay, as after somebody's FLUSHALL.
    pub fn flush(&self) {
        self.shared.change(|state| state.core.flush());
    }

    /// Makes the node a replica whose master is gone, or a master with another replication id.
    /// Connections, scripts, data and run id stay.
    pub fn set_role(&self, role: Role) {
        self.shared.change(|state| state.core.set_role(role));
    }

    /// [`set_role`](Self::set_role) to [`Role::Master`].
    pub fn promote(&self) {
        self.set_role(Role::Master);
    }

    /// [`set_role`](Self::set_role) to [`Role::Replica`].
    pub fn demote(&self) {
        self.set_role(Role::Replica);
    }

    /// The next `n` data commands (SET, GET, PTTL, DEL, scripts) answer the error `text`, such as
    /// `LOADING Redis is loading the dataset in memory`, and do nothing else. The handshake's
    /// commands are no data commands, nor are reading and stamping the node's epoch. A later call
    /// replaces an earlier one.
    pub fn fail_next(&self, n: u64, text: &str) {
        self.shared.change(|state| state.core.fail_next(n, text));
    }

    /// While `Some`, every data command answers this error and does nothing else.
    pub fn fail_with(&self, text: Option<&str>) {
        self.shared.change(|state| state.core.fail_with(text));
    }

    /// Every live key, sorted by database and key, but for those that begin with `redlatch:`: they
    /// are the engine's own records, not locks. DBSIZE, KEYS and INFO count them.
    #[must_use]
    pub fn snapshot(&self) -> Vec<KeySnapshot> {
        self.shared.state().core.snapshot()
    }

    /// How often each command was executed or failed by a switch, by lower-case name (`set`,
    /// `client|setname`). Unknown commands and wrong numbers of arguments do not count.
    #[must_use]
    pub fn commands(&self) -> BTreeMap<String, u64> {
        self.shared.state().core.commands()
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state().core.clients.len()
    }

    /// The id of this incarnation, as INFO reports it.
    #[must_use]
    pub fn run_id(&self) -> String {
        self.shared.state().core.run_id()
    }

    /// The id of this history of the data, as INFO reports it: new after a restart or a promotion.
    #[must_use]
    pub fn replid(&self) -> String {
        self.shared.state().core.replid()
    }

    /// Gives the node another clock. Deadlines already set stay points on the old one.
    pub fn set_clock(&self, clock: TestClock) {
        self.shared.change(|state| state.core.set_clock(clock));
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // Already gone is as good.
            let _ = std::fs::remove_file(file);
        }
    }
}
