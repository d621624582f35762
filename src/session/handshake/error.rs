//! Why a handshake failed, in words that say what to do.

use crate::resp::reply::{ErrorClass, ErrorReply};

/// Why this connection cannot carry locks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the server requires a password: add one to the address of this node")]
    AuthRequired,
    #[error("a script has been blocking the server: SCRIPT KILL ends it")]
    Busy,
    #[error("the server is a cluster node: give the address of a standalone server")]
    ClusterNode,
    #[error("the server refused database {database} ({text}): give one that it has")]
    DatabaseRefused { database: u32, text: String },
    #[error(
        "the server evicts keys by `{policy}` when its memory is full, locks too: set \
         maxmemory-policy noeviction, or allow it with `allow_eviction`"
    )]
    Evicts { policy: String },
    #[error("the node has an epoch: only a fleet without any can be initialised")]
    Initialised,
    #[error("the server is loading its data")]
    Loading,
    #[error("the server is a replica that lost its master")]
    MasterDown,
    #[error("the user has no permission for {command}: grant it with ACL SETUSER")]
    NoPermission { command: &'static str },
    #[error("the server is a replica, which takes no locks: give the address of its master")]
    NotAMaster,
    #[error("the server refused {command}: {text}")]
    Refused { command: &'static str, class: ErrorClass, text: String },
    #[error("SCRIPT LOAD did not answer {expected}: something between changes what is sent")]
    ScriptMismatch { expected: &'static str },
    #[error("the server is a Sentinel, which holds no keys: give the address of a master")]
    Sentinel,
    #[error("{found} arrived without a command: the peer is no Redis server")]
    UnaskedReply { found: &'static str },
    #[error("{command} was answered with {found}: the peer is no Redis server")]
    UnexpectedReply { command: &'static str, found: &'static str },
    #[error("the server refused user and password: check both in the address of this node")]
    WrongPassword,
}

impl HandshakeError {
    /// Whether another try can succeed only after somebody changed something. Such a node is
    /// tried again all the same, but slowly.
    pub(crate) fn is_permanent(&self) -> bool {
        match self {
            Self::Busy | Self::Loading | Self::MasterDown => false,
            Self::Refused { class, .. } => !matches!(
                class,
                ErrorClass::ClusterDown
                    | ErrorClass::Misconf
                    | ErrorClass::NoReplicas
                    | ErrorClass::Oom
                    | ErrorClass::ReadOnly
            ),
            Self::AuthRequired
            | Self::ClusterNode
            | Self::DatabaseRefused { .. }
            | Self::Evicts { .. }
            | Self::Initialised
            | Self::NoPermission { .. }
            | Self::NotAMaster
            | Self::ScriptMismatch { .. }
            | Self::Sentinel
            | Self::UnaskedReply { .. }
            | Self::UnexpectedReply { .. }
            | Self::WrongPassword => true,
        }
    }

    /// The error for `command`, which the server answered with `error`.
    pub(super) fn of_refusal(
        command: &'static str,
        error: ErrorReply<'_>,
        password: Option<&str>,
    ) -> Self {
        match error.class() {
            ErrorClass::Busy => Self::Busy,
            ErrorClass::Loading => Self::Loading,
            ErrorClass::MasterDown => Self::MasterDown,
            ErrorClass::NoAuth => Self::AuthRequired,
            ErrorClass::NoPerm => Self::NoPermission { command },
            ErrorClass::WrongPass => Self::WrongPassword,
            class => Self::Refused { command, class, text: harmless_text(error, password) },
        }
    }
}

/// The server's text, unless it may repeat the password: servers quote the arguments of commands
/// that they do not know, and cut them at a length of their own.
fn harmless_text(error: ErrorReply<'_>, password: Option<&str>) -> String {
    let start = password.map(str::as_bytes).unwrap_or_default();
    let start = start.get(..SECRET_PREFIX_BYTES).unwrap_or(start);
    let repeats = !start.is_empty() && error.as_bytes().windows(start.len()).any(|w| w == start);
    if repeats {
        return "its text is withheld, it may contain the password".to_owned();
    }
    error.text()
}

/// So much of a password in a text makes the text secret. Less would be no help to anybody who
/// reads it, and would withhold harmless texts.
const SECRET_PREFIX_BYTES: usize = 4;
