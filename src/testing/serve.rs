//! Puts a [`NodeCore`] behind sockets and applies the faults that concern them.
//!
//! Invariants:
//! 1. The state and the faults share one mutex: once a switch's method has returned, no command
//!    is executed under the old setting.
//! 2. A connection holds one read buffer, one incomplete command and one output at most.
//! 3. Tasks end with the listener's task: nothing outlives the owner.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::core::{NodeCore, Progress, Session};
use super::options::Options;

/// A bound socket for a test node to listen on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl Listener {
    /// The TCP address, if it has one.
    pub(super) fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The unix socket's path, as the server shows it for an address; empty without one.
    fn path(&self) -> String {
        let Self::Unix(listener) = self else { return String::new() };
        let addr = listener.local_addr().ok();
        let path = addr.as_ref().and_then(|addr| addr.as_pathname());
        path.map(|path| format!("{}:0", path.display())).unwrap_or_default()
    }

    /// What a client connects to.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Tcp(_) => self.addr().map(|addr| format!("redis://{addr}")).unwrap_or_default(),
            Self::Unix(listener) => {
                let addr = listener.local_addr().ok();
                let path = addr.as_ref().and_then(|addr| addr.as_pathname());
                path.map(|path| format!("unix://{}", path.display())).unwrap_or_default()
            }
        }
    }
}

/// Runs a test node until the future is dropped: a node as a process of its own.
///
/// It starts without an epoch, unless [`Options::opened`] says otherwise; whoever starts it for
/// the first time may open it by [`open_node_command`](super::open_node_command).
///
/// ```no_run
/// # async fn run() -> std::io::Result<()> {
/// use redlatch::testing::{Options, serve};
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:21001").await?;
/// serve(listener, Options::new()).await;
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// Dropping the future closes the listener and every connection; the data is gone.
pub async fn serve(listener: impl Into<Listener>, options: Options) -> Infallible {
    let listener = listener.into();
    let opened = options.opened.unwrap_or(false);
    let shared = Arc::new(Shared::new(&listener, options.opened(opened)));
    accept(listener, shared).await
}

/// The node and its switches, as all connections and the owner see them.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Ticks after every change that a waiting connection must look at.
    changes: watch::Sender<()>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: NodeCore,
    pub(super) stalled: bool,
    pub(super) refusing: bool,
    pub(super) dropping_replies: bool,
}

impl Shared {
    pub(super) fn new(listener: &Listener, mut options: Options) -> Self {
        if options.seed == 0 {
            let pid = u64::from(std::process::id());
            options.seed = getrandom::u64().unwrap_or(pid);
        }
        let mut core = NodeCore::new(options);
        core.port = listener.addr().map_or(0, |addr| addr.port());
        let state = State { core, stalled: false, refusing: false, dropping_replies: false };
        Self { state: Mutex::new(state), changes: watch::Sender::new(()) }
    }

    /// Looks at the state.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes every connection.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let out = change(&mut self.state());
        self.changes.send_replace(());
        out
    }

    /// `None` while connections are refused or too many are open.
    fn open(&self, addr: &str, own: &str) -> Option<Session> {
        let mut state = self.state();
        let room = state.core.clients.len() < CLIENTS_MAX;
        (room && !state.refusing).then(|| state.core.connect_to(addr, own))
    }

    /// Executes what the session has received.
    fn step(&self, session: &mut Session, output: &mut Vec<u8>, lossy: &mut bool) -> Step {
        let mut state = self.state();
        if !state.core.is_open(session) || (*lossy && !state.dropping_replies) {
            return Step::Close;
        }
        if state.stalled {
            return Step::Wait;
        }
        let open = state.core.clients.len();
        let progress = state.core.run(session, output);
        if state.dropping_replies && !output.is_empty() {
            *lossy = true;
            output.clear();
        }
        if state.core.clients.len() != open || state.core.clients.take_pushed() {
            // CLIENT KILL, or a push: the tasks of those clients must notice.
            self.changes.send_replace(());
        }
        match progress {
            Progress::Closed => Step::Close,
            Progress::NeedsInput => Step::Read,
            Progress::OutputFull => Step::Write,
        }
    }
}

/// What a connection does after its output is written.
enum Step {
    Close,
    Read,
    Wait,
    Write,
}

/// Accepts and serves connections for ever.
pub(super) async fn accept(listener: Listener, shared: Arc<Shared>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        let accepted = match &listener {
            Listener::Tcp(listener) => match listener.accept().await {
                Ok((stream, addr)) => {
                    let own = stream.set_nodelay(true).and_then(|()| stream.local_addr());
                    own.map(|own| {
                        let (addr, own) = (addr.to_string(), own.to_string());
                        spawn(&mut connections, &shared, stream, &addr, &own);
                    })
                }
                Err(error) => Err(error),
            },
            Listener::Unix(unix) => unix.accept().await.map(|(stream, _)| {
                let path = listener.path();
                spawn(&mut connections, &shared, stream, &path, &path);
            }),
        };
        if accepted.is_err() {
            // Out of file descriptors, or a client gone already: give it a moment.
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        while connections.try_join_next().is_some() {}
    }
}

fn spawn<S>(connections: &mut JoinSet<()>, shared: &Arc<Shared>, stream: S, addr: &str, own: &str)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // A refused connection is closed by dropping its stream here.
    if let Some(mut session) = shared.open(addr, own) {
        let shared = Arc::clone(shared);
        connections.spawn(async move {
            // The reason for the end is the client's; the node has no use for it.
            let _ = converse(stream, &mut session, &shared).await;
            shared.state().core.disconnect(&session);
        });
    }
}

async fn converse<S>(mut stream: S, session: &mut Session, shared: &Shared) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut changes = shared.changes.subscribe();
    let mut input = vec![0; READ_SIZE];
    let mut output = Vec::new();
    let mut lossy = false;
    loop {
        // Seen before the state is looked at: a change after that look ends the wait below.
        changes.mark_unchanged();
        let step = shared.step(session, &mut output, &mut lossy);
        let mut written = 0;
        while let Some(rest) = output.get(written..).filter(|rest| !rest.is_empty()) {
            match race(stream.write(rest), changes.changed()).await {
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count?,
                // A client that does not read must still be disconnectable.
                Err(_) if !shared.state().core.clients.is_open(session.id()) => {
                    return Ok(());
                }
                Err(_) => {}
            }
        }
        output.clear();
        match step {
            Step::Close => return Ok(()),
            Step::Write => {}
            Step::Wait => changes.changed().await.map_err(io::Error::other)?,
            Step::Read => {
                if let Ok(count) = race(stream.read(&mut input), changes.changed()).await {
                    match input.get(..count?) {
                        None | Some([]) => return Ok(()),
                        Some(received) => session.receive(received),
                    }
                }
            }
        }
    }
}

/// The first of two futures to end, `left` if both have.
async fn race<L: Future, R: Future>(left: L, right: R) -> Result<L::Output, R::Output> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(|context| {
        if let Poll::Ready(output) = left.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        right.as_mut().poll(context).map(Err)
    })
    .await
}

/// The server's default for `maxclients`.
const CLIENTS_MAX: usize = 10_000;
/// What the server reads from one client in one turn.
const READ_SIZE: usize = 16 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
