//! The address of one node, and every way in which it can be wrong.
//!
//! Parsing touches no network and resolves no name. Invariants:
//! 1. No `Display`, `Debug` or error of this module shows a password.
//! 2. An [`Endpoint`] is well formed: nothing after parsing has to check it again.
//! 3. The text of an endpoint without a password parses to an equal endpoint.

mod ends;
mod parse;
mod text;

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::credentials::Credentials;

pub(crate) use ends::Ends;

/// The address of one Redis or Valkey node.
///
/// | form | example |
/// |---|---|
/// | TCP | `redis://[user[:password]@]host[:port][/database]` |
/// | unix socket | `unix:///run/redis.sock`, `unix://user:password@/run/redis.sock?db=2` |
/// | bare | `host`, `host:port`, `[::1]:6379` |
///
/// The port is 6379 and the database 0 unless they are given. `redis+unix://` means `unix://`.
/// In a URL form, a user, a password and a path may hold any character as `%XX`; `@ : / ? #`
/// must be written so in a user or password. Parameters: `?db=N` (where the path is not the
/// database), `protocol=2` or `protocol=3` (default: 3 where the server can), `client_name=...`.
///
/// `Display` and `Debug` show the address with its password replaced by `***`.
///
/// ```
/// use redlatch::Endpoint;
///
/// let node: Endpoint = "redis://app:s3cret@node-1.example:7000/2".parse()?;
/// assert_eq!(node.to_string(), "redis://app:***@node-1.example:7000/2");
/// # Ok::<(), redlatch::EndpointError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    address: Address,
    credentials: Option<Credentials>,
    database: u32,
    protocol: Option<Protocol>,
    client_name: Option<String>,
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// A host name in lower case, or an IP address (version 6 without brackets), and a port.
    Tcp { host: String, port: u16 },
    /// An absolute path.
    Unix { path: PathBuf },
}

/// The version of RESP that an address insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Resp2,
    Resp3,
}

impl Endpoint {
    pub(crate) fn transport(&self) -> &Address {
        &self.address
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    pub(crate) fn database(&self) -> u32 {
        self.database
    }

    /// `None`: RESP3 where the server can, else RESP2.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// What CLIENT SETNAME is to say; `None` leaves it to the engine.
    pub(crate) fn client_name(&self) -> Option<&str> {
        self.client_name.as_deref()
    }

    /// Whether both addresses name one server, whatever user or database they name there: a
    /// server that voted twice would break the majority. Two names of one machine are not seen
    /// here, because nothing is resolved.
    pub(crate) fn same_server(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.address {
            Address::Tcp { .. } => "redis://",
            Address::Unix { .. } => "unix://",
        })?;
        if let Some(credentials) = &self.credentials {
            let username = credentials.username.as_deref().unwrap_or_default();
            write!(f, "{}:***@", text::Escaped(username))?;
        }
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}")?,
            Address::Tcp { host, port } => write!(f, "{host}:{port}")?,
            Address::Unix { path } => write_path(f, path)?,
        }
        let is_unix = matches!(self.address, Address::Unix { .. });
        if self.database != 0 && !is_unix {
            write!(f, "/{}", self.database)?;
        }
        let mut separator = '?';
        let mut parameter = |f: &mut fmt::Formatter<'_>, name: &str, value: &str| {
            let written = write!(f, "{separator}{name}={}", text::Escaped(value));
            separator = '&';
            written
        };
        if self.database != 0 && is_unix {
            parameter(f, "db", &self.database.to_string())?;
        }
        match self.protocol {
            Some(Protocol::Resp2) => parameter(f, "protocol", "2")?,
            Some(Protocol::Resp3) => parameter(f, "protocol", "3")?,
            None => {}
        }
        self.client_name.as_deref().map_or(Ok(()), |name| parameter(f, "client_name", name))
    }
}

fn write_path(f: &mut fmt::Formatter<'_>, path: &Path) -> fmt::Result {
    let path = path.to_string_lossy();
    path.split('/').skip(1).try_for_each(|part| write!(f, "/{}", text::Escaped(part)))
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(address: &str) -> Result<Self, EndpointError> {
        parse::parse(address)
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = EndpointError;

    fn try_from(address: &str) -> Result<Self, EndpointError> {
        parse::parse(address)
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(address: String) -> Result<Self, EndpointError> {
        parse::parse(&address)
    }
}

impl TryFrom<&String> for Endpoint {
    type Error = EndpointError;

    fn try_from(address: &String) -> Result<Self, EndpointError> {
        parse::parse(address)
    }
}

/// Lets what takes anything that becomes an [`Endpoint`] take an [`Endpoint`] itself.
impl From<Infallible> for EndpointError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Why a text is not a node's address.
///
/// Each variant but the first two carries the address as it was given, with everything that can
/// be a password replaced by `***`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The address is the empty text.
    #[error("the node address is empty; write for example redis://127.0.0.1:6379")]
    Empty,
    /// The address has this many bytes, more than any real one.
    #[error("the node address has {0} bytes; at most {max} are accepted", max = parse::BYTES_MAX)]
    TooLong(usize),
    /// A control character or white space.
    #[error("`{0}` contains a control character or white space; write it as %XX")]
    ControlCharacter(String),
    /// A scheme that is not known.
    #[error("`{0}` has an unknown scheme; redis:// and unix:// are accepted")]
    UnknownScheme(String),
    /// A scheme that asks for TLS.
    #[error("`{0}` asks for TLS, which this version does not have; use redis:// or a tunnel")]
    TlsUnsupported(String),
    /// A scheme that asks for Sentinel.
    #[error("`{0}` asks for Sentinel, which this version does not have; name the node itself")]
    SentinelUnsupported(String),
    /// More than `host:port` without a scheme.
    #[error("`{0}` is more than host:port; put redis:// or unix:// before it")]
    SchemeMissing(String),
    /// A character in a user or password that ends it before the `@`.
    #[error("`{0}` has an unescaped `/`, `?` or `#` before its `@`; write %2F, %3F or %23")]
    UnescapedUserInfo(String),
    /// A `%` that is not followed by two hexadecimal digits, or bytes that are not UTF-8.
    #[error("`{0}` has a bad escape; a `%` is written %25, and escapes must decode to UTF-8")]
    BadEscape(String),
    /// No host, or something that is none.
    #[error("`{0}` has no valid host; a name, an IPv4 address or an [IPv6 address] is accepted")]
    Host(String),
    /// An IPv6 address without brackets.
    #[error("`{0}` has a host with colons; put an IPv6 address in brackets, as in [::1]:6379")]
    BracketsMissing(String),
    /// A port that is none.
    #[error("`{0}` has no valid port; a number from 1 to 65535 is accepted")]
    Port(String),
    /// A database that is none, or something behind it.
    #[error("`{0}` has no valid database; a number from 0 to {max} is accepted",
        max = parse::DATABASE_MAX)]
    Database(String),
    /// A unix socket without an absolute path, or with one that no socket can have.
    #[error("`{0}` has no valid socket path; unix:///absolute/path of at most {max} bytes is \
        accepted", max = parse::SOCKET_PATH_BYTES_MAX)]
    SocketPath(String),
    /// A parameter that is not known.
    #[error("`{0}` has an unknown parameter; db, protocol and client_name are accepted")]
    UnknownParameter(String),
    /// A parameter given twice, or a database given both as the path and as `db`.
    #[error("`{0}` gives a parameter twice; give it once")]
    DuplicateParameter(String),
    /// A protocol other than 2 and 3.
    #[error("`{0}` asks for an unknown protocol; 2 and 3 are accepted")]
    Protocol(String),
    /// A client name that a server would refuse.
    #[error("`{0}` has no valid client_name; 1 to {max} printable ASCII characters are accepted",
        max = parse::CLIENT_NAME_BYTES_MAX)]
    ClientName(String),
}

#[cfg(test)]
mod tests;
