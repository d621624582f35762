//! The test node without sockets: bytes in, bytes out, at the time its clock shows.
//!
//! Invariants:
//! 1. Same options, same clock readings, same bytes: same answers. Nothing here is random.
//! 2. A closed client's commands are not executed, whatever it had sent.
//! 3. Output grows past [`OUTPUT_TARGET`] by at most one reply; memory of the data is bounded by
//!    [`Options::max_memory`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::command;
use super::options::Options;
use super::reply::Reply;
use super::request::{Front, front};
use super::script::Loaded;
use super::store::Store;
use super::{KeySnapshot, TestClock};

/// A test node without sockets, for simulations and for tests that own time.
///
/// ```
/// use redlatch::testing::{NodeCore, Options, TestClock};
/// use std::time::Duration;
///
/// let clock = TestClock::manual(0);
/// let mut node = NodeCore::new(Options::new().clock(clock.clone()));
/// let mut session = node.connect("test:1");
/// assert_eq!(node.exchange(&mut session, b"SET lock me NX PX 100\r\n"), b"+OK\r\n");
/// assert_eq!(node.exchange(&mut session, b"SET lock you NX PX 100\r\n"), b"$-1\r\n");
/// clock.advance(Duration::from_millis(101));
/// assert_eq!(node.exchange(&mut session, b"GET lock\r\n"), b"$-1\r\n");
/// ```
#[derive(Debug)]
pub struct NodeCore {
    pub(super) options: Options,
    pub(super) store: Store,
    pub(super) scripts: Loaded,
    /// Every open client and its address.
    pub(super) clients: BTreeMap<u64, String>,
    pub(super) port: u16,
    pub(super) started_us: i64,
    pub(super) counts: BTreeMap<&'static str, u64>,
    clients_ever: u64,
    /// How often the node lost its memory.
    incarnation: u64,
    fail_next: (u64, String),
    fail_with: Option<String>,
}

/// One client's connection to a [`NodeCore`].
#[derive(Debug)]
pub struct Session {
    pub(super) id: u64,
    pub(super) resp3: bool,
    pub(super) db: usize,
    pub(super) authenticated: bool,
    pub(super) tracking: command::Tracking,
    input: Vec<u8>,
    broken: bool,
}

impl Session {
    /// The client's id, as CLIENT ID answers it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Appends what the client sent; [`NodeCore::run`] acts on it.
    ///
    /// Before more is appended, `run` should have answered [`Progress::NeedsInput`]: then what is
    /// held is at most one incomplete command.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }
}

/// Why [`NodeCore::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The connection is to be closed once the output is written.
    Closed,
    /// Every complete command was executed.
    NeedsInput,
    /// There is output enough to write; call `run` again after.
    OutputFull,
}

impl NodeCore {
    /// An empty node.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let started_us = options.clock.now_us();
        Self {
            options,
            store: Store::new(),
            scripts: Loaded::default(),
            clients: BTreeMap::new(),
            port: 0,
            started_us,
            counts: BTreeMap::new(),
            clients_ever: 0,
            incarnation: 0,
            fail_next: (0, String::new()),
            fail_with: None,
        }
    }

    /// Opens a connection. `addr` is what CLIENT KILL ADDR names it by.
    pub fn connect(&mut self, addr: &str) -> Session {
        self.clients_ever += 1;
        self.clients.insert(self.clients_ever, addr.to_owned());
        Session {
            id: self.clients_ever,
            resp3: false,
            db: 0,
            authenticated: self.options.password.is_none(),
            tracking: command::Tracking::default(),
            input: Vec::new(),
            broken: false,
        }
    }

    /// Closes a connection. Idempotent.
    pub fn disconnect(&mut self, session: &Session) {
        self.clients.remove(&session.id);
    }

    /// Closes every connection.
    pub fn disconnect_all(&mut self) {
        self.clients.clear();
    }

    /// Whether the connection is still open: CLIENT KILL and
    /// [`disconnect_all`](Self::disconnect_all) close it from outside.
    #[must_use]
    pub fn is_open(&self, session: &Session) -> bool {
        !session.broken && self.clients.contains_key(&session.id)
    }

    /// Executes the commands that the session has received and appends the replies to `output`.
    pub fn run(&mut self, session: &mut Session, output: &mut Vec<u8>) -> Progress {
        let mut input = std::mem::take(&mut session.input);
        let mut at = 0;
        let progress = loop {
            if !self.is_open(session) {
                break Progress::Closed;
            }
            if output.len() >= OUTPUT_TARGET {
                break Progress::OutputFull;
            }
            let rest = input.get(at..).unwrap_or_default();
            match front(rest, session.authenticated) {
                Front::Incomplete => break Progress::NeedsInput,
                Front::Nothing { consumed } => at += consumed,
                Front::Command { consumed, args } => {
                    at += consumed;
                    let args: Vec<&[u8]> = args.into_iter().filter_map(|a| rest.get(a)).collect();
                    command::execute(self, session, &args, output);
                }
                Front::Broken(text) => {
                    Reply::new(output, session.resp3).error(text);
                    session.broken = true;
                }
            }
        };
        if progress != Progress::Closed {
            input.drain(..at);
            session.input = input;
        }
        progress
    }

    /// [`Session::receive`] and [`run`](Self::run) in one: all replies to `input`.
    pub fn exchange(&mut self, session: &mut Session, input: &[u8]) -> Vec<u8> {
        session.receive(input);
        let mut replies = Vec::new();
        let mut output = Vec::new();
        while self.run(session, &mut output) == Progress::OutputFull {
            replies.append(&mut output);
        }
        replies.append(&mut output);
        replies
    }

    /// The node is killed and started again without persistence: data, scripts and connections
    /// are gone, and it reports a new run id.
    pub fn forget(&mut self) {
        self.incarnation += 1;
        self.store.clear_all();
        self.scripts.clear();
        self.clients.clear();
        self.started_us = self.options.clock.now_us();
    }

    /// The next `n` data commands answer the error `text` (`LOADING ...`) and do nothing else.
    /// A later call replaces an earlier one.
    pub fn fail_next(&mut self, n: u64, text: &str) {
        self.fail_next = (n, error_text(text));
    }

    /// While `Some`, every data command answers this error and does nothing else.
    pub fn fail_with(&mut self, text: Option<&str>) {
        self.fail_with = text.map(error_text);
    }

    /// How often each command was received with a right number of arguments by a client that may
    /// use it, by lower-case name (`set`, `client|setname`).
    #[must_use]
    pub fn commands(&self) -> BTreeMap<String, u64> {
        self.counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    /// Every live key, sorted by database and key.
    pub fn snapshot(&mut self) -> Vec<KeySnapshot> {
        let now_ms = self.now_ms();
        let left = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        let entries = self.store.entries(now_ms).map(|(db, key, entry)| KeySnapshot {
            db,
            key: key.to_vec(),
            value: entry.value.to_vec(),
            ttl: entry.ttl_ms(now_ms).map(left),
        });
        let mut keys: Vec<KeySnapshot> = entries.collect();
        keys.sort_unstable_by(|a, b| (a.db, &a.key).cmp(&(b.db, &b.key)));
        keys
    }

    /// The clock that keys expire by.
    #[must_use]
    pub fn clock(&self) -> &TestClock {
        &self.options.clock
    }

    /// Gives the node another clock. Deadlines already set stay points on the old one.
    pub fn set_clock(&mut self, clock: TestClock) {
        self.options.clock = clock;
    }

    /// The id of this incarnation, as INFO reports it.
    #[must_use]
    pub fn run_id(&self) -> String {
        self.identity(1)
    }

    /// A 40-digit id: one per node, incarnation and purpose.
    pub(super) fn identity(&self, purpose: u64) -> String {
        let mut state = self.options.seed ^ self.incarnation.rotate_left(32) ^ purpose;
        let words: String =
            std::iter::repeat_with(|| format!("{:016x}", splitmix(&mut state))).take(3).collect();
        words.chars().take(40).collect()
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.options.clock.now_ms()
    }

    /// The error that this data command must answer, if a fault is set.
    pub(super) fn take_fault(&mut self) -> Option<String> {
        if self.fail_next.0 > 0 {
            self.fail_next.0 -= 1;
            return Some(self.fail_next.1.clone());
        }
        self.fail_with.clone()
    }
}

/// The text after the reply's `-`, which callers may write or leave out.
fn error_text(text: &str) -> String {
    text.strip_prefix('-').unwrap_or(text).to_owned()
}

/// One step of SplitMix64: spreads neighbouring seeds over unrelated ids.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Enough for one large write; see invariant 3.
const OUTPUT_TARGET: usize = 256 << 10;
