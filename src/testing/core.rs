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
use super::options::{Options, Role};
use super::reply::Reply;
use super::request::{Front, front};
use super::script::{self, Loaded};
use super::store::{DATABASES, Store};
use super::tracking::{Clients, Tracking};
use super::{KeySnapshot, TestClock};
use crate::algorithm::script::RESERVED;

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
    pub(super) clients: Clients,
    pub(super) role: Role,
    pub(super) port: u16,
    pub(super) started_us: i64,
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// How often the process was started anew.
    incarnation: u64,
    /// How often this incarnation became a master.
    promotions: u64,
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
    pub(super) tracking: Tracking,
    /// CLIENT CACHING was the last command.
    pub(super) caching: bool,
    input: Vec<u8>,
    broken: bool,
}

impl Session {
    /// A session that may nothing yet; number 0 is the node's own, which has no connection.
    pub(super) fn new(id: u64) -> Self {
        Self {
            id,
            resp3: false,
            db: 0,
            authenticated: false,
            tracking: Tracking::default(),
            caching: false,
            input: Vec::new(),
            broken: false,
        }
    }

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
    /// A node without locks; with an open epoch, unless the options say otherwise.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let (started_us, opened) = (options.clock.now_us(), options.opened.unwrap_or(true));
        let mut node = Self {
            options,
            store: Store::new(),
            scripts: Loaded::default(),
            clients: Clients::default(),
            role: Role::Master,
            port: 0,
            started_us,
            counts: BTreeMap::new(),
            incarnation: 0,
            promotions: 0,
            fail_next: (0, String::new()),
            fail_with: None,
        };
        if opened {
            let id = node.identity(3).chars().take(EPOCH_DIGITS).collect::<String>();
            for db in 0..DATABASES {
                script::open(&mut node, db, id.as_bytes());
            }
        }
        node
    }

    /// Opens a connection. `addr` is what CLIENT KILL ADDR names it by.
    pub fn connect(&mut self, addr: &str) -> Session {
        self.open(addr, None)
    }

    /// Opens a connection from `addr` to `own`, which CLIENT INFO tells; it is unknown otherwise.
    pub fn connect_to(&mut self, addr: &str, own: &str) -> Session {
        self.open(addr, Some(own))
    }

    fn open(&mut self, addr: &str, own: Option<&str>) -> Session {
        let authenticated = self.options.password.is_none();
        Session { authenticated, ..Session::new(self.clients.connect(addr, own)) }
    }

    /// Closes a connection. Idempotent.
    pub fn disconnect(&mut self, session: &Session) {
        self.clients.disconnect(session.id);
    }

    /// Closes every connection.
    pub fn disconnect_all(&mut self) {
        self.clients.clear();
    }

    /// Whether the connection is still open: CLIENT KILL and
    /// [`disconnect_all`](Self::disconnect_all) close it from outside.
    #[must_use]
    pub fn is_open(&self, session: &Session) -> bool {
        !session.broken && self.clients.is_open(session.id)
    }

    /// Executes the commands that the session has received and appends the replies to `output`,
    /// and the pushes that other sessions' commands caused.
    pub fn run(&mut self, session: &mut Session, output: &mut Vec<u8>) -> Progress {
        let mut input = std::mem::take(&mut session.input);
        let mut at = 0;
        let progress = loop {
            if !self.is_open(session) {
                break Progress::Closed;
            }
            self.clients.deliver(session.id, output);
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
    /// are gone, and it reports a new run id and replication id. The epoch is gone with the data
    /// and stays so, whatever [`Options::opened`] said: a real server would not open itself either.
    pub fn forget(&mut self) {
        self.store.clear_all();
        self.restart_keeping_data();
    }

    /// The node is killed and started again with all its data, as from an append-only file that
    /// lost nothing: scripts and connections are gone, run id and replication id are new.
    pub fn restart_keeping_data(&mut self) {
        self.incarnation += 1;
        self.promotions = 0;
        self.scripts.clear();
        self.clients.clear();
        self.store.watched = false;
        self.started_us = self.options.clock.now_us();
    }

    /// All data is gone while connections, scripts and ids stay, as after somebody's FLUSHALL.
    pub fn flush(&mut self) {
        self.store.clear_all();
        self.announce_flush();
    }

    /// Makes the node a replica whose master is gone, or a master with another replication id.
    ///
    /// A replica answers `READONLY` to what would write and still reads. Connections, scripts,
    /// data and run id stay. The role that the node has already changes nothing.
    pub fn set_role(&mut self, role: Role) {
        self.promotions += u64::from(self.role == Role::Replica && role == Role::Master);
        self.role = role;
    }

    /// [`set_role`](Self::set_role) to [`Role::Master`].
    pub fn promote(&mut self) {
        self.set_role(Role::Master);
    }

    /// [`set_role`](Self::set_role) to [`Role::Replica`].
    pub fn demote(&mut self) {
        self.set_role(Role::Replica);
    }

    /// The next `n` data commands answer the error `text` (`LOADING ...`) and do nothing else;
    /// reading and stamping the node's epoch are none. A later call replaces an earlier one.
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

    /// Every live key, sorted by database and key, but for those that begin with `redlatch:`: they
    /// are the engine's own records, not locks. DBSIZE, KEYS and INFO count them.
    pub fn snapshot(&mut self) -> Vec<KeySnapshot> {
        let now_ms = self.now_ms();
        let left = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        let locks = self.store.entries(now_ms);
        let locks = locks.filter(|(_, key, _)| !key.starts_with(RESERVED.as_bytes()));
        let entries = locks.map(|(db, key, entry)| KeySnapshot {
            db,
            key: key.to_vec(),
            value: entry.value.text().map(<[u8]>::to_vec).unwrap_or_default(),
            ttl: entry.ttl_ms(now_ms).map(left),
        });
        let mut keys: Vec<KeySnapshot> = entries.collect();
        keys.sort_unstable_by(|a, b| (a.db, &a.key).cmp(&(b.db, &b.key)));
        self.announce(None);
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

    /// The id of this history of the data, as INFO reports it: new after a restart or a promotion.
    #[must_use]
    pub fn replid(&self) -> String {
        self.identity(2 + (self.promotions << 8))
    }

    /// The history that the node continued when it became a master.
    pub(super) fn replid_before(&self) -> Option<String> {
        Some(self.identity(2 + (self.promotions.checked_sub(1)? << 8)))
    }

    /// Whether the data takes more memory than it may.
    pub(super) fn is_out_of_memory(&mut self) -> bool {
        if self.store.used_bytes() > self.options.max_memory {
            self.store.purge(self.now_ms());
        }
        self.store.used_bytes() > self.options.max_memory
    }

    /// The session has read this key: it hears when the key changes, if it wants to.
    pub(super) fn track(&mut self, session: &Session, key: Option<&[u8]>) {
        let tracking = session.tracking;
        let chosen = match (tracking.opt_in, tracking.opt_out) {
            (true, _) => session.caching,
            (false, true) => !session.caching,
            (false, false) => true,
        };
        if let Some(key) = key.filter(|_| tracking.on && !tracking.broadcast && chosen) {
            self.clients.track(session.id, key);
            self.store.watched = true;
        }
    }

    /// Tells those who read them what keys have changed; `by` is the client whose command it was.
    pub(super) fn announce(&mut self, by: Option<u64>) {
        if self.store.watched {
            for change in self.store.take_changes() {
                self.clients.announce(&change, by);
            }
            self.store.watched = self.clients.watch();
        }
    }

    pub(super) fn announce_flush(&mut self) {
        self.clients.announce_flush();
        self.store.watched = false;
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

/// The engine's epochs are 64 random bits.
pub(super) const EPOCH_DIGITS: usize = 16;
/// Enough for one large write; see invariant 3.
const OUTPUT_TARGET: usize = 256 << 10;
