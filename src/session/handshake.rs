//! The first words on a connection: who we are, which server this is, whether it may hold locks.
//!
//! Pure: it appends commands to a buffer and is handed the replies and pushes in order. The caller
//! bounds the time, closes the connection on an error, writes nothing else before
//! [`Progress::Done`], and keeps its decoder on [`Handshake::protocol`].
//!
//! ```text
//!         start(): one write            last reply
//!   New ───────────────────► Greeting ─────────────────────────┬──────► Done
//!    │                          │ HELLO is refused: NOPROTO, unknown command
//!    │                          ▼          last reply: one more write
//!    │ RESP2 is preferred    Draining ───────────────► Legacy ──┤
//!    └────────────────────────────────────────────────────▲     │ an earlier connection to the
//!                                                               ▼ same process
//!                                                            Fencing ──► Done
//!   any state but Draining ── refusal, wrong reply ──► Err: close the connection
//! ```
//!
//! I1. One reply per command, matched in order; a reply too many or of a wrong type is an error.
//! I2. Done only if this is a master outside of a cluster, the database is selected and every
//!     script is loaded under the digest that the engine calls it by.
//! I3. The epoch is stamped before a script is loaded: a process that was restarted unnoticed
//!     answers NOSCRIPT until somebody has stamped it.
//! I4. No password, and no text of the server that may repeat it, is in an error or in Debug.
//! I5. Whether the connection is watched is decided at the end; in doubt it is not; see `watch`.

mod answers;
mod capabilities;
mod error;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::fmt;

pub(crate) use capabilities::{Capabilities, Fence, NativeRelease};
pub(crate) use error::HandshakeError;

use crate::algorithm::script::EPOCH_KEY;
use crate::endpoint::Ends;
use crate::resp::Protocol;
use crate::resp::command;
use crate::resp::push::Push;
use crate::resp::reply::{Reply, Value};
use crate::session::stamp::{Caller, Intent};

use watch::Watch;

/// What every connection to one node says.
#[derive(Clone)]
pub(crate) struct HandshakeConfig {
    /// `None` with a password is the user `default`.
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: u32,
    /// Shown by CLIENT LIST; empty for none.
    pub(crate) client_name: String,
    pub(crate) protocol: Preferred,
    pub(crate) scripts: Vec<ScriptText>,
    pub(crate) intent: Intent<'static>,
    pub(crate) caller: Caller,
    /// The connection before this one, if its end is to be made sure of.
    pub(crate) previous: Option<Previous>,
    /// Whether a server that may evict locks will do.
    pub(crate) allow_eviction: bool,
    /// The channel to listen on, if the protocol has pushes.
    pub(crate) channel: Option<String>,
    /// If they are known, the server is asked to tell when the epoch changes.
    pub(crate) ends: Ends,
}

/// An earlier connection of this client to the same node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    /// The process it led to. Client ids start anew with every process.
    pub(crate) run_id: String,
    /// Its number there.
    pub(crate) client_id: i64,
}

/// Which protocol to try first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Preferred {
    /// RESP2 without asking.
    Resp2Only,
    /// RESP3, and RESP2 where the server does not speak it.
    #[default]
    Resp3,
}

/// A script to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScriptText {
    /// What the server must answer: lower-case SHA-1 of the body.
    pub(crate) sha: &'static str,
    pub(crate) body: &'static str,
}

impl fmt::Debug for HandshakeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // I4: whether there is a password, never which.
        let password = if self.password.is_some() { "<hidden>" } else { "<none>" };
        f.debug_struct("HandshakeConfig")
            .field("user", &self.user)
            .field("password", &format_args!("{password}"))
            .field("database", &self.database)
            .field("client_name", &self.client_name)
            .field("protocol", &self.protocol)
            .field("scripts", &self.scripts.len())
            .finish()
    }
}

/// How far a handshake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More replies are to come. The buffer may have got a second round of commands.
    Continue,
    /// The connection may carry lock commands.
    Done(Capabilities),
}

/// One handshake, from the first byte to the verdict.
#[derive(Debug)]
pub(crate) struct Handshake {
    config: HandshakeConfig,
    state: State,
    /// Commands that were written and not yet answered, oldest first.
    awaited: VecDeque<Step>,
    found: Capabilities,
    watch: Watch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Greeting,
    Draining,
    Legacy,
    Fencing,
    Done,
}

/// A command whose reply is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Auth,
    Caching,
    ClientId,
    ClientInfo,
    CommandInfo,
    /// What the node's epoch is, to be told from here on when it changes.
    Epoch,
    Fence,
    Hello,
    /// Any reply will do, a refusal too.
    Ignored,
    InfoMemory,
    InfoReplication,
    InfoServer,
    ScriptExists,
    ScriptLoad(ScriptText),
    Select,
    Stamp,
    /// Answered by a push; only a refusal is a reply.
    Subscribe,
    Tracking,
}

impl Step {
    fn command(self) -> &'static str {
        match self {
            Self::Auth => "AUTH",
            Self::ClientId | Self::Ignored => "CLIENT",
            Self::Caching => "CLIENT CACHING",
            Self::ClientInfo => "CLIENT INFO",
            Self::Epoch => "GET",
            Self::Fence => "CLIENT KILL",
            Self::Tracking => "CLIENT TRACKING",
            Self::CommandInfo => "COMMAND INFO",
            Self::Hello => "HELLO",
            Self::InfoMemory | Self::InfoReplication | Self::InfoServer => "INFO",
            Self::ScriptExists => "SCRIPT EXISTS",
            Self::ScriptLoad(_) => "SCRIPT LOAD",
            Self::Select => "SELECT",
            Self::Stamp => "EVAL",
            Self::Subscribe => "SUBSCRIBE",
        }
    }
}

impl Handshake {
    pub(crate) fn new(config: &HandshakeConfig) -> Self {
        Self {
            config: config.clone(),
            state: State::New,
            awaited: VecDeque::new(),
            found: Capabilities::default(),
            watch: Watch::default(),
        }
    }

    /// The protocol to decode the next bytes with. It changes once, when RESP3 was refused.
    pub(crate) fn protocol(&self) -> Protocol {
        match (self.state, self.config.protocol) {
            (State::New, Preferred::Resp2Only) | (State::Legacy, _) => Protocol::Resp2,
            (State::Done | State::Fencing, _) => self.found.protocol,
            // Until HELLO is answered: the decoder of RESP3 takes every reply of RESP2 as well.
            _ => Protocol::Resp3,
        }
    }

    /// Appends the first round of commands. Called once.
    pub(crate) fn start(&mut self, out: &mut Vec<u8>) {
        match self.config.protocol {
            Preferred::Resp3 => self.write_greeting(out),
            Preferred::Resp2Only => self.write_legacy(out),
        }
    }

    /// Takes the next reply; may append a second round of commands.
    ///
    /// # Errors
    /// The server cannot serve locks, or does not answer as one would: close the connection.
    pub(crate) fn handle_reply(
        &mut self,
        reply: &Reply<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Progress, HandshakeError> {
        let Some(step) = self.awaited.pop_front() else {
            return Err(HandshakeError::UnaskedReply { found: reply.kind() }); // I1
        };
        if self.state != State::Draining {
            self.apply(step, reply)?;
        }
        if !self.awaited.is_empty() {
            return Ok(Progress::Continue);
        }
        if self.state == State::Draining {
            self.write_legacy(out);
            return Ok(Progress::Continue);
        }
        if self.state != State::Fencing && self.fence(out) {
            return Ok(Progress::Continue);
        }
        self.state = State::Done;
        self.found.watches = self.watch.holds(&self.found, &self.config.ends);
        Ok(Progress::Done(self.found.clone()))
    }

    /// Takes a push. SUBSCRIBE is confirmed by one, at its place among the replies; the epoch may
    /// change already; whatever else comes is not the handshake's business.
    pub(crate) fn handle_push(&mut self, push: &Push) {
        if push.is_about(EPOCH_KEY.as_bytes()) {
            self.watch.end();
        }
        let Push::Other(items) = push else { return };
        let kind = items.first().and_then(Value::as_bytes);
        if kind == Some(b"subscribe") && self.awaited.front() == Some(&Step::Subscribe) {
            self.awaited.pop_front();
            self.found.listens = true;
        }
    }

    /// DESIGN §6, the connection fence: what the earlier connection had sent may still be executed,
    /// behind whatever this one sends, until the server has closed it. `true`: that is under way.
    fn fence(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(previous) = &self.config.previous else { return false };
        match self.found.run_id() {
            // Gone with its process; and its number may be a stranger's now.
            Some(run_id) if run_id != previous.run_id => false,
            Some(_) => {
                self.state = State::Fencing;
                command::client_kill_id(out, previous.client_id);
                self.awaited.push_back(Step::Fence);
                true
            }
            None => {
                self.found.fence = Fence::Refused;
                false
            }
        }
    }

    fn write_greeting(&mut self, out: &mut Vec<u8>) {
        self.state = State::Greeting;
        self.found.protocol = Protocol::Resp3;
        let name = self.config.client_name.as_str();
        let name = (!name.is_empty()).then_some(name);
        command::hello(out, Protocol::Resp3, self.credentials(), name);
        self.awaited.push_back(Step::Hello);
        command::info(out, "server");
        self.awaited.push_back(Step::InfoServer);
        self.write_common(out);
    }

    fn write_legacy(&mut self, out: &mut Vec<u8>) {
        self.state = State::Legacy;
        self.found.protocol = Protocol::Resp2;
        if let Some((user, password)) = self.credentials() {
            // The long form is unknown before version 6, where there is only one user.
            let user = self.config.user.is_some().then_some(user);
            command::auth(out, user, password);
            self.awaited.push_back(Step::Auth);
        }
        command::info(out, "server");
        self.awaited.push_back(Step::InfoServer);
        command::info(out, "replication");
        self.awaited.push_back(Step::InfoReplication);
        if !self.config.client_name.is_empty() {
            command::client_setname(out, &self.config.client_name);
            self.awaited.push_back(Step::Ignored);
        }
        command::client_id(out);
        self.awaited.push_back(Step::ClientId);
        self.write_common(out);
    }

    fn write_common(&mut self, out: &mut Vec<u8>) {
        command::client_setinfo(out, "LIB-NAME", env!("CARGO_PKG_NAME"));
        command::client_setinfo(out, "LIB-VER", env!("CARGO_PKG_VERSION"));
        command::client_no_evict(out);
        self.awaited.extend([Step::Ignored; 3]);
        if self.config.database != 0 {
            command::select(out, self.config.database);
            self.awaited.push_back(Step::Select);
        }
        self.config.caller.write_eval(out, self.config.intent); // I3
        self.awaited.push_back(Step::Stamp);
        for script in &self.config.scripts {
            command::script_load(out, script.body);
            self.awaited.push_back(Step::ScriptLoad(*script));
        }
        // Every write's seal asks this: a right that is missing must show here, not there.
        if let Some(script) = self.config.scripts.first() {
            command::command(out, &[b"SCRIPT", b"EXISTS", script.sha.as_bytes()]);
            self.awaited.push_back(Step::ScriptExists);
        }
        command::info(out, "memory");
        self.awaited.push_back(Step::InfoMemory);
        if self.found.protocol == Protocol::Resp3 {
            command::client_tracking(out);
            self.awaited.push_back(Step::Tracking);
            if let Some(channel) = &self.config.channel {
                command::command(out, &[b"SUBSCRIBE", channel.as_bytes()]);
                self.awaited.push_back(Step::Subscribe);
            }
        }
        command::command_info(out, &["delifeq", "delex"]);
        self.awaited.push_back(Step::CommandInfo);
        if self.found.protocol == Protocol::Resp3 && self.config.ends != Ends::Unknown {
            command::command(out, &[b"CLIENT", b"INFO"]);
            command::client_caching(out);
            command::get(out, EPOCH_KEY.as_bytes());
            self.awaited.extend([Step::ClientInfo, Step::Caching, Step::Epoch]);
        }
    }

    fn credentials(&self) -> Option<(&str, &str)> {
        match (self.config.user.as_deref(), self.config.password.as_deref()) {
            (None, None) => None,
            (user, password) => Some((user.unwrap_or("default"), password.unwrap_or_default())),
        }
    }
}
