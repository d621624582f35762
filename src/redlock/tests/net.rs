//! Nodes that break, and the links to them: what the simulations of faults run on.
//!
//! Every node has a wall clock of its own; every client has links of its own, served one at a
//! time, so that a test says in which order nodes see what. A link that a client believes broken
//! may still hold bytes: the node reads them when it comes to it, unless the link was killed.

use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::builder::Builder;
use crate::endpoint::Ends;
use crate::engine::clock::Shift;

pub(super) const MS: Duration = Duration::from_millis(1);
/// Of each node: far more than a test holds that does not mean to fill it.
pub(super) const MEMORY: usize = 1 << 20;

/// A stream that its client can be told is broken, while the node still reads what was sent.
#[derive(Debug)]
pub(super) struct Wire {
    stream: DuplexStream,
    cut: Arc<Cut>,
    ends: Ends,
}

#[derive(Debug, Default)]
pub(super) struct Cut {
    is_cut: AtomicBool,
    client: Mutex<Option<Waker>>,
}

impl Cut {
    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        if let Some(waker) = self.client.lock().unwrap().take() {
            waker.wake();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        *self.cut.client.lock().unwrap() = Some(cx.waker().clone());
        if self.cut.is_cut.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

pub(super) struct Line {
    pub(super) client: usize,
    stream: DuplexStream,
    session: Session,
    cut: Arc<Cut>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Its client has given it up, and the network delivers what it holds later.
    pub(super) lingers: bool,
}

/// One node: its data, its lines, and every command in the order in which it was executed.
pub(super) struct Station {
    pub(super) core: NodeCore,
    pub(super) clock: TestClock,
    pub(super) lines: Vec<Line>,
    pub(super) executed: Vec<Vec<Vec<u8>>>,
    /// Nothing reaches it, nothing leaves it.
    pub(super) is_stalled: bool,
    /// Dialing it fails.
    pub(super) is_away: bool,
    /// What is published reaches nobody.
    pub(super) is_mute: bool,
}

#[derive(Clone)]
pub(super) struct Net {
    stations: Arc<Vec<Mutex<Station>>>,
    /// Bytes that fit into a pipe.
    pipe: Arc<AtomicUsize>,
    /// Clients that reach no node, as a bit set.
    lost: Arc<AtomicUsize>,
    /// Nobody stands between a client and a node: both see the same ends, and connections are
    /// watched instead of writes sealed.
    pub(super) is_direct: bool,
}

/// One client's way to the nodes.
#[derive(Clone)]
struct Dialer(Net, usize);

impl Net {
    pub(super) fn new(nodes: usize) -> Self {
        Self::with(nodes, |options| options)
    }

    /// Nodes that the clients reach directly, or that they do not.
    pub(super) fn that_is(is_direct: bool, nodes: usize) -> Self {
        Self { is_direct, ..Self::new(nodes) }
    }

    /// Nodes with more options than they have by default.
    pub(super) fn with(nodes: usize, more: impl Fn(Options) -> Options) -> Self {
        let station = |node: usize| {
            let clock = TestClock::manual(1_000_000);
            let options = Options::new().max_memory(MEMORY).seed(node as u64 + 1);
            let core = NodeCore::new(more(options.clock(clock.clone())));
            let (lines, executed) = (Vec::new(), Vec::new());
            let (is_stalled, is_away, is_mute) = (false, false, false);
            Mutex::new(Station { core, clock, lines, executed, is_stalled, is_away, is_mute })
        };
        let stations = Arc::new((0..nodes).map(station).collect());
        let pipe = Arc::new(AtomicUsize::new(16 << 10));
        Self { stations, pipe, lost: Arc::default(), is_direct: false }
    }

    /// So small a pipe cuts writes anywhere, and a node that is not served blocks soon.
    pub(super) fn narrow(&self, bytes: usize) {
        self.pipe.store(bytes, Ordering::Relaxed);
    }

    /// The client's links break, and it reaches no node until everybody is found again.
    pub(super) fn lose(&self, client: usize) {
        self.lost.fetch_or(1 << client, Ordering::Relaxed);
        (0..self.nodes()).for_each(|node| self.at(node).cut(false, |line| line.client == client));
    }

    pub(super) fn find_all(&self) {
        self.lost.store(0, Ordering::Relaxed);
    }

    pub(super) fn nodes(&self) -> usize {
        self.stations.len()
    }

    pub(super) fn at(&self, node: usize) -> MutexGuard<'_, Station> {
        self.stations[node].lock().unwrap()
    }

    /// A builder that knows the nodes, with a heartbeat that fits a test of milliseconds.
    pub(super) fn builder(&self) -> Builder {
        let nodes = (0..self.nodes()).map(|node| format!("redis://node{node}"));
        Redlock::builder()
            .nodes(nodes)
            .max_inflight(64)
            .node_timeout(20 * MS)
            .unresponsive_after(60 * MS)
            .connect_timeout(100 * MS)
            .heartbeat_interval(50 * MS)
            .reconnect(crate::Reconnect { base: MS, cap: 20 * MS })
    }

    /// Client number `client`; everything random in it comes from `seed`.
    pub(super) fn client(&self, client: usize, seed: u64, builder: Builder) -> Redlock {
        self.client_by(client, seed, builder, Clock::runtime())
    }

    /// A client whose clock runs ahead of its timers as `shift` says.
    pub(super) fn shifted(&self, builder: Builder, shift: Shift) -> Redlock {
        self.client_by(0, 1, builder, Clock::shifted(shift))
    }

    fn client_by(&self, client: usize, seed: u64, builder: Builder, clock: Clock) -> Redlock {
        let (endpoints, settings, node_settings) = builder.check().unwrap();
        let mut random = crate::engine::rng::Rng::new(seed ^ (client as u64 + 1) << 32);
        let engine = start::start(
            &tokio::runtime::Handle::current(),
            Dialer(self.clone(), client),
            clock,
            || Ok(random.next()),
            endpoints,
            settings,
            &node_settings,
        );
        Redlock { core: Arc::new(Core { engine: engine.unwrap() }) }
    }

    /// Every node does everything that has reached it. `false`: that was nothing.
    pub(super) fn serve(&self) -> bool {
        let serve = |station: &Mutex<Station>| station.lock().unwrap().serve(|_| true);
        self.stations.iter().map(serve).fold(false, |any, one| any | one)
    }

    /// One node does everything that has reached it from `client`, on its newest line.
    pub(super) fn serve_client(&self, node: usize, client: usize) {
        let mut station = self.at(node);
        let last = station.lines.iter().rposition(|line| line.client == client);
        let mut lines = 0..;
        station.serve(|_| lines.next() == last);
    }

    /// One node does everything that has reached it.
    pub(super) fn serve_node(&self, node: usize) {
        self.at(node).serve(|_| true);
    }

    /// Everybody does what there is to do, again and again, for `span` in steps of `step`.
    pub(super) async fn run_by(&self, span: Duration, step: Duration) {
        let mut passed = Duration::ZERO;
        loop {
            settle().await;
            // Until all is answered, or somebody never stops.
            for _ in 0..100 {
                if !self.serve() {
                    break;
                }
                settle().await;
            }
            if passed >= span {
                return;
            }
            self.advance(step).await;
            passed += step;
        }
    }

    /// [`Net::run_by`] one millisecond after the other.
    pub(super) async fn run(&self, span: Duration) {
        self.run_by(span, MS).await;
    }

    /// The clients' clock first: the nodes never run ahead of it.
    pub(super) async fn advance(&self, span: Duration) {
        tokio::time::advance(span).await;
        self.stations.iter().for_each(|station| station.lock().unwrap().clock.advance(span));
    }

    /// A client of nodes that are all up.
    pub(super) async fn started(&self, client: usize, builder: Builder) -> Redlock {
        let locks = self.client(client, 7, builder);
        self.run(2 * MS).await;
        for node in locks.nodes() {
            assert!(node.state == NodeState::Up, "{node:?}");
        }
        locks
    }

    /// The nodes that hold `key`, as a bit set.
    pub(super) fn holders(&self, key: &str) -> usize {
        let holds = |node: usize| {
            self.at(node).core.snapshot().iter().any(|entry| entry.key == key.as_bytes())
        };
        (0..self.nodes()).filter(|node| holds(*node)).fold(0, |all, node| all | 1 << node)
    }

    /// Locks' keys over all nodes.
    pub(super) fn keys(&self) -> usize {
        (0..self.nodes()).map(|node| self.at(node).core.snapshot().len()).sum()
    }
}

impl Transport for Dialer {
    type Stream = Wire;

    fn dial(&self, endpoint: &Endpoint) -> Dialing<Wire> {
        let node: usize = endpoint.to_string()["redis://node".len()..][..1].parse().unwrap();
        let mut station = self.0.at(node);
        if station.is_away || self.0.lost.load(Ordering::Relaxed) & (1 << self.1) != 0 {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        let (ours, stream) = tokio::io::duplex(self.0.pipe.load(Ordering::Relaxed));
        let (session, ends) = if self.0.is_direct {
            let (ours, theirs) =
                (format!("127.0.0.1:{}", 9 + self.1), format!("[::1]:{}", 7 + node));
            let session = station.core.connect_to(&ours, &theirs);
            let ends = Ends::Tcp { ours: ours.parse().unwrap(), theirs: theirs.parse().unwrap() };
            (session, ends)
        } else {
            (station.core.connect("memory:0"), Ends::Unknown)
        };
        let cut = Arc::new(Cut::default());
        let (input, output, lingers) = (Vec::new(), Vec::new(), false);
        let (client, wire) = (self.1, Wire { stream: ours, cut: Arc::clone(&cut), ends });
        station.lines.push(Line { client, stream, session, cut, input, output, lingers });
        Box::pin(async move { io::Result::Ok(wire) })
    }

    fn ends(&self, wire: &Wire) -> Ends {
        wire.ends.clone()
    }
}

impl Station {
    /// Does everything that has reached the lines that `which` names.
    pub(super) fn serve(&mut self, which: impl FnMut(&Line) -> bool) -> bool {
        self.serve_most(usize::MAX, which)
    }

    /// Executes `most` commands at most on each line that `which` names, and answers.
    pub(super) fn serve_most(&mut self, most: usize, mut which: impl FnMut(&Line) -> bool) -> bool {
        if self.is_stalled {
            return false;
        }
        let mut moved = false;
        let (core, executed, is_mute) = (&mut self.core, &mut self.executed, self.is_mute);
        self.lines.retain_mut(|line| {
            if !which(line) || line.lingers {
                return true;
            }
            let mut cx = Context::from_waker(Waker::noop());
            let before = line.input.len();
            let is_over = line.read(&mut cx);
            moved |= line.input.len() > before;
            for _ in 0..most {
                let Some((command, len)) = parse(&line.input) else { break };
                if !core.is_open(&line.session) {
                    break;
                }
                let bytes: Vec<u8> = line.input.drain(..len).collect();
                line.session.receive(&bytes);
                line.run(core, is_mute);
                executed.push(command);
            }
            // What others caused: pushes.
            line.run(core, is_mute);
            while !line.output.is_empty() {
                match Pin::new(&mut line.stream).poll_write(&mut cx, &line.output) {
                    Poll::Ready(Ok(bytes)) if bytes > 0 => {
                        moved = true;
                        line.output.drain(..bytes);
                    }
                    _ => break,
                }
            }
            let is_served = parse(&line.input).is_none();
            let is_open = core.is_open(&line.session) && !(is_over && is_served);
            if !is_open {
                core.disconnect(&line.session);
                moved = true;
            }
            is_open
        });
        moved
    }

    /// The links break: each client sees it at once. What they had sent is lost, or comes later.
    pub(super) fn cut(&mut self, comes_later: bool, which: impl Fn(&Line) -> bool) {
        for line in self.lines.iter_mut().filter(|line| which(line)) {
            line.cut.cut();
            line.lingers = comes_later;
        }
        if !comes_later {
            let core = &mut self.core;
            self.lines.retain(|line| {
                let stays = !which(line);
                if !stays {
                    core.disconnect(&line.session);
                }
                stays
            });
        }
    }

    /// What broken links still hold arrives with the next turn.
    pub(super) fn deliver(&mut self) {
        self.lines.iter_mut().for_each(|line| line.lingers = false);
    }

    /// The process dies and another starts: with its data, or without.
    pub(super) fn restart(&mut self, keeps_data: bool) {
        if keeps_data {
            self.core.restart_keeping_data()
        } else {
            self.core.forget()
        }
        self.lines.clear();
    }

    /// The same behind a proxy that keeps the clients' connections and dials anew. What it held
    /// of broken ones it forgets: else an old SET reaches the new process, which no fence stops.
    pub(super) fn restart_unseen(&mut self, keeps_data: bool) {
        let mut cx = Context::from_waker(Waker::noop());
        self.lines.retain_mut(|line| !line.lingers && !line.read(&mut cx));
        if keeps_data {
            self.core.restart_keeping_data()
        } else {
            self.core.forget()
        }
        for line in &mut self.lines {
            line.session = self.core.connect("proxy:0");
        }
    }

    /// It answers and takes writes again.
    pub(super) fn heal(&mut self) {
        (self.is_stalled, self.is_away, self.is_mute) = (false, false, false);
        self.core.promote();
    }

    /// As an operator would send it.
    pub(super) fn command(&mut self, words: &[&str]) -> Vec<u8> {
        let mut session = self.core.connect("operator:0");
        let mut line = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| line += &format!("${}\r\n{word}\r\n", word.len()));
        let reply = self.core.exchange(&mut session, line.as_bytes());
        self.core.disconnect(&session);
        reply
    }
}

impl Line {
    /// The node acts on what has come in, and answers.
    fn run(&mut self, core: &mut NodeCore, is_mute: bool) {
        let mut output = Vec::new();
        core.run(&mut self.session, &mut output);
        while is_mute && let Some((at, len)) = message(&output) {
            output.drain(at..at + len);
        }
        self.output.append(&mut output);
    }

    /// `true`: the client has closed it.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let mut chunk = [0; 4_096];
            let mut buffer = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.input.extend_from_slice(buffer.filled());
                }
                Poll::Ready(_) => return true,
            }
        }
    }
}

/// Where in `output` the first message of a channel is, and its length.
fn message(output: &[u8]) -> Option<(usize, usize)> {
    const HEAD: &[u8] = b">3\r\n$7\r\nmessage\r\n";
    let at = output.windows(HEAD.len()).position(|bytes| bytes == HEAD)?;
    // As a command is framed.
    let frame = [b"*3", &output[at + 2..]].concat();
    Some((at, parse(&frame)?.1))
}
