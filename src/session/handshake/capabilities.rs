//! What a server tells about itself, and whether that is a server to keep locks on.

use super::HandshakeError;
use crate::resp::Protocol;
use crate::resp::reply::Value;
use crate::session::stamp::Stamp;

/// What a handshake found out. Unknown where the server does not say or its rights forbid to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) protocol: Protocol,
    /// `redis`, `valkey` or what else HELLO says; empty if unknown.
    pub(crate) server: String,
    /// As the server writes it; empty if unknown.
    pub(crate) version: String,
    pub(crate) mode: Mode,
    pub(crate) role: Role,
    /// New at each start of the server process: tells a restart from a reconnect.
    pub(crate) run_id: Option<String>,
    /// The number of this connection at the server, for CLIENT KILL.
    pub(crate) client_id: Option<i64>,
    pub(crate) native_release: Option<NativeRelease>,
    /// Its epoch.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) fence: Fence,
    /// Whether it passes on what other processes say to ours.
    pub(crate) listens: bool,
    /// Whether it tells when a watched key changes.
    pub(crate) tracks: bool,
    /// Whether it tells this connection, in time, when the epoch changes: R1'.
    pub(crate) watches: bool,
}

/// Whether an earlier connection is known to be closed on the server's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fence {
    /// There was none, or its process is gone.
    #[default]
    NotNeeded,
    Done,
    /// The server would not close it, or does not say which process it is.
    Refused,
}

/// How the server is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    Cluster,
    Sentinel,
    Standalone,
    #[default]
    Unknown,
}

/// Whether the server takes writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    Master,
    Replica,
    #[default]
    Unknown,
}

/// The command that deletes a key only while it holds a given value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NativeRelease {
    /// `DELEX key IFEQ token`, Redis 8.4 and later.
    Delex,
    /// `DELIFEQ key token`, Valkey 9 and later.
    Delifeq,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            protocol: Protocol::Resp3,
            server: String::new(),
            version: String::new(),
            mode: Mode::Unknown,
            role: Role::Unknown,
            run_id: None,
            client_id: None,
            native_release: None,
            stamp: None,
            fence: Fence::NotNeeded,
            listens: false,
            tracks: false,
            watches: false,
        }
    }
}

impl Capabilities {
    /// In words, for status reports: `redis 7.0.15, RESP3`.
    pub(crate) fn describe(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Resp2 => "RESP2",
            Protocol::Resp3 => "RESP3",
        };
        let native = match self.native_release {
            None => "",
            Some(NativeRelease::Delex) => ", DELEX",
            Some(NativeRelease::Delifeq) => ", DELIFEQ",
        };
        let name = if self.server.is_empty() { "a server" } else { &self.server };
        let watched = if self.watches { ", watched" } else { "" };
        format!("{name} {}, {protocol}{native}{watched}", self.version)
    }

    /// The server's process, as the stamp script or INFO names it.
    pub(crate) fn run_id(&self) -> Option<&str> {
        let stamped = self.stamp.as_ref().map(|stamp| stamp.run_id.as_str());
        stamped.filter(|id| !id.is_empty()).or(self.run_id.as_deref())
    }

    /// The policy by which a server may drop locks, read from `INFO memory`.
    pub(super) fn eviction(text: &[u8]) -> Option<String> {
        let limit = info_field(text, b"maxmemory")?;
        let policy = info_field(text, b"maxmemory_policy")?;
        (limit != b"0" && policy != b"noeviction").then(|| short_text(policy))
    }

    /// Refuses the servers that cannot hold locks. An unknown mode or role passes: the first SET
    /// will tell.
    pub(super) fn check(&self) -> Result<(), HandshakeError> {
        match (self.mode, self.role) {
            (Mode::Sentinel, _) => Err(HandshakeError::Sentinel),
            (Mode::Cluster, _) => Err(HandshakeError::ClusterNode),
            (_, Role::Replica) => Err(HandshakeError::NotAMaster),
            (Mode::Standalone | Mode::Unknown, Role::Master | Role::Unknown) => Ok(()),
        }
    }

    /// Reads the fields of HELLO's reply. False if it is not a reply to HELLO 3.
    pub(super) fn read_hello(&mut self, fields: &Value) -> bool {
        if !matches!(fields.field(b"proto"), Some(Value::Integer(3))) {
            return false;
        }
        let text = |name: &[u8]| fields.field(name).and_then(Value::as_bytes);
        self.server = text(b"server").map(short_text).unwrap_or_default();
        self.version = text(b"version").map(short_text).unwrap_or_default();
        self.mode = text(b"mode").map(mode).unwrap_or_default();
        self.role = text(b"role").map(role).unwrap_or_default();
        if let Some(Value::Integer(id)) = fields.field(b"id") {
            self.client_id = Some(*id);
        }
        true
    }

    /// Reads `INFO server`. What HELLO said stands: Valkey's INFO names a version of Redis too.
    pub(super) fn read_info_server(&mut self, text: &[u8]) {
        self.run_id = info_field(text, b"run_id").map(short_text).filter(|id| !id.is_empty());
        if self.mode == Mode::Unknown {
            self.mode = info_field(text, b"server_mode")
                .or_else(|| info_field(text, b"redis_mode"))
                .map(mode)
                .unwrap_or_default();
        }
        if self.version.is_empty() {
            let (server, version) = match info_field(text, b"valkey_version") {
                Some(version) => ("valkey", Some(version)),
                None => ("redis", info_field(text, b"redis_version")),
            };
            if let Some(version) = version {
                self.server = server.to_owned();
                self.version = short_text(version);
            }
        }
    }

    /// Reads `INFO replication`.
    pub(super) fn read_info_replication(&mut self, text: &[u8]) {
        self.role = info_field(text, b"role").map(role).unwrap_or_default();
    }

    /// Reads `COMMAND INFO delifeq delex`. The entries are looked up by name: some servers leave
    /// unknown commands out instead of answering nil. False if it is no list.
    pub(super) fn read_command_info(&mut self, commands: &Value) -> bool {
        let Value::Array(entries) = commands else { return false };
        let knows = |name: &[u8]| {
            entries.iter().any(|entry| match entry {
                Value::Array(fields) => fields
                    .first()
                    .and_then(Value::as_bytes)
                    .is_some_and(|found| found.eq_ignore_ascii_case(name)),
                _ => false,
            })
        };
        self.native_release = if knows(b"delifeq") {
            Some(NativeRelease::Delifeq)
        } else if knows(b"delex") {
            Some(NativeRelease::Delex)
        } else {
            None
        };
        true
    }
}

fn mode(text: &[u8]) -> Mode {
    match text {
        b"cluster" => Mode::Cluster,
        b"sentinel" => Mode::Sentinel,
        b"standalone" => Mode::Standalone,
        _ => Mode::Unknown,
    }
}

fn role(text: &[u8]) -> Role {
    match text {
        b"master" | b"primary" => Role::Master,
        b"replica" | b"slave" => Role::Replica,
        _ => Role::Unknown,
    }
}

/// The value of a `name:value` line.
pub(super) fn info_field<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    text.split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(b":"))
        .map(<[u8]>::trim_ascii)
}

/// A name that a peer chose, made short and printable.
pub(super) fn short_text(text: &[u8]) -> String {
    let shown = text.get(..NAME_BYTES_MAX).unwrap_or(text);
    shown.escape_ascii().to_string()
}

/// A run id has 40 characters; names and versions have less.
const NAME_BYTES_MAX: usize = 64;
