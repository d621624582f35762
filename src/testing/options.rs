//! What a test node is configured with.

use super::TestClock;

/// How a test node is set up. The default is a redis-server 7.0.15 without password.
///
/// ```
/// use redlatch::testing::Options;
///
/// let options = Options::new().password("s3cret").user("locks", "pw").delifeq(true);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(super) clock: TestClock,
    pub(super) password: Option<String>,
    pub(super) users: Vec<(String, String)>,
    pub(super) delifeq: bool,
    pub(super) delex: bool,
    pub(super) max_memory: usize,
    pub(super) max_memory_policy: String,
    pub(super) opened: Option<bool>,
    pub(super) seed: u64,
}

impl Options {
    /// The default set-up.
    pub fn new() -> Self {
        Self {
            clock: TestClock::real(),
            password: None,
            users: Vec::new(),
            delifeq: false,
            delex: false,
            max_memory: MAX_MEMORY_DEFAULT,
            max_memory_policy: "noeviction".to_owned(),
            opened: None,
            seed: 0,
        }
    }

    /// The clock that keys expire by. Default: the machine's.
    pub fn clock(mut self, clock: TestClock) -> Self {
        self.clock = clock;
        self
    }

    /// The default user's password (`requirepass`). Default: none is asked for.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Adds an ACL user, who may do everything.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// Whether the node has `DELIFEQ key value`, as Valkey 9 does. Default: no.
    pub fn delifeq(mut self, on: bool) -> Self {
        self.delifeq = on;
        self
    }

    /// Whether the node has `DELEX key IFEQ value`, as Redis 8.4 does. Default: no.
    pub fn delex(mut self, on: bool) -> Self {
        self.delex = on;
        self
    }

    /// Bytes of keys and values above which SET answers `OOM`, and what INFO reports as
    /// `maxmemory`. The engine's own keys count. Default: 256 MiB.
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.max_memory = bytes;
        self
    }

    /// What INFO reports as `maxmemory_policy`. The node never evicts, whatever it says: a client
    /// is to be warned by the word alone. Default: `noeviction`.
    pub fn max_memory_policy(mut self, policy: &str) -> Self {
        policy.clone_into(&mut self.max_memory_policy);
        self
    }

    /// Whether the node starts with an epoch that is open already, in every database, as
    /// [`open_node_command`](super::open_node_command) with a quarantine of 0 would leave it:
    /// clients need not wait, for a node that never ran has forgotten no lock. Without it the
    /// first client begins an epoch and waits out its quarantine.
    ///
    /// Default: yes; no for [`serve`](super::serve), whose process may be one that was started
    /// again and has forgotten the locks of the one before.
    pub fn opened(mut self, on: bool) -> Self {
        self.opened = Some(on);
        self
    }

    /// Where the node's ids (`run_id`) come from: equal seeds, equal ids. A socket node whose
    /// seed is 0, the default, draws one, so that no two nodes look like the same server.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether these credentials are right.
    pub(super) fn admits(&self, user: &[u8], password: &[u8]) -> bool {
        match (user, &self.password) {
            (b"default", None) => true,
            (b"default", Some(right)) => right.as_bytes() == password,
            _ => self
                .users
                .iter()
                .any(|(name, right)| name.as_bytes() == user && right.as_bytes() == password),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// What a node is in a replication of Redis's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Master,
    /// It answers `READONLY` to writes; its master is unreachable.
    Replica,
}

/// Two million locks: far more than a test holds, far less than a machine has.
const MAX_MEMORY_DEFAULT: usize = 256 << 20;
