//! Addresses of nodes as a user writes them: `redis://[user:password@]host:port[/db]` and
//! `unix:///path`.
//!
//! What the library itself accepts is its own matter; this is for loadgen's questions to a node.
//! Invariant: neither `Display` nor `Debug` shows a password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// A node's address with its credentials.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NodeUrl {
    address: Address,
    user: Option<String>,
    password: Option<String>,
    database: u32,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "node address '{shown}' {problem}; write redis://[user:password@]host:port[/db] or unix:///path"
)]
pub(crate) struct UrlError {
    shown: String,
    problem: &'static str,
}

impl NodeUrl {
    pub(crate) fn tcp(port: u16) -> Self {
        Self::plain(Address::Tcp { host: "127.0.0.1".to_owned(), port })
    }

    pub(crate) fn unix(path: &Path) -> Self {
        Self::plain(Address::Unix(path.to_owned()))
    }

    fn plain(address: Address) -> Self {
        Self { address, user: None, password: None, database: 0 }
    }

    /// The same login and database at another address.
    pub(crate) fn at(&self, address: Address) -> Self {
        Self { address, ..self.clone() }
    }

    /// The address with its password: for the lock engine alone, never for an eye or a file. A
    /// login has no place in the address of a unix socket.
    pub(crate) fn with_password(&self) -> String {
        let shown = self.to_string();
        let Some(password) = &self.password else { return shown };
        let user = self.user.as_deref().unwrap_or_default();
        let (hidden, login) =
            (format!("{user}:***@"), format!("{}:{}@", encode(user), encode(password)));
        shown.replacen(&hidden, &login, 1)
    }

    /// Whether the node runs on this machine for certain: its address is one of this machine's own.
    pub(crate) fn is_on_this_machine(&self) -> bool {
        match &self.address {
            Address::Unix(_) => true,
            // Only an address of one's own can be bound to.
            Address::Tcp { host, .. } => {
                std::net::UdpSocket::bind((host.trim_matches(['[', ']']), 0)).is_ok()
            }
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    pub(crate) fn database(&self) -> u32 {
        self.database
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = match (&self.user, &self.password) {
            (None, None) => String::new(),
            (user, _) => format!("{}:***@", user.as_deref().unwrap_or_default()),
        };
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => {
                write!(f, "redis://{login}[{host}]:{port}")?;
                if self.database == 0 { Ok(()) } else { write!(f, "/{}", self.database) }
            }
            Address::Tcp { host, port } => {
                write!(f, "redis://{login}{host}:{port}")?;
                if self.database == 0 { Ok(()) } else { write!(f, "/{}", self.database) }
            }
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Debug for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let wrong = |problem| UrlError { shown: without_login(text), problem };
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(wrong("has no absolute path"));
            }
            if path.len() > 107 {
                return Err(wrong("has a path beyond 107 bytes"));
            }
            return Ok(Self::unix(Path::new(path)));
        }
        let Some(rest) = text.strip_prefix("redis://") else {
            return Err(wrong(if text.starts_with("rediss://") {
                "asks for TLS, which loadgen's own questions do not speak yet"
            } else {
                "has no known scheme"
            }));
        };
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let (host_port, database) = match place.split_once('/') {
            Some((host_port, "")) => (host_port, 0),
            Some((host_port, database)) => {
                (host_port, database.parse().map_err(|_| wrong("has a bad database number"))?)
            }
            None => (place, 0),
        };
        let (host, port) = match host_port.strip_prefix('[') {
            Some(v6) => v6.split_once("]:").ok_or_else(|| wrong("has no port"))?,
            None => host_port.rsplit_once(':').ok_or_else(|| wrong("has no port"))?,
        };
        if host.is_empty() {
            return Err(wrong("has no host"));
        }
        let port = port.parse().ok().filter(|&port| port != 0);
        let port = port.ok_or_else(|| wrong("has a bad port"))?;
        let mut url = Self::plain(Address::Tcp { host: host.to_owned(), port });
        url.database = database;
        if let Some(login) = login {
            let (user, password) = login.split_once(':').unwrap_or(("", login));
            let decode = |part: &str| decode(part).ok_or_else(|| wrong("has a bad % escape"));
            url.user = Some(decode(user)?).filter(|user| !user.is_empty());
            url.password = Some(decode(password)?);
        }
        Ok(url)
    }
}

/// `text` for an error: whatever stands before an `@` may be a password.
fn without_login(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => {
            format!("{scheme}://***@{}", place.chars().take(200).collect::<String>())
        }
        (None, Some((_, place))) => format!("***@{}", place.chars().take(200).collect::<String>()),
        _ => short,
    }
}

/// Everything but letters and digits by its bytes.
fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_here_if_its_address_is_ours() {
        let is_here = |text: &str| text.parse::<NodeUrl>().unwrap().is_on_this_machine();
        assert!(is_here("redis://127.0.0.1:6379") && is_here("unix:///tmp/x.sock"));
        // Set aside for documentation, RFC 5737.
        assert!(!is_here("redis://192.0.2.7:6379"));
    }

    #[test]
    fn urls_are_read_and_shown_without_the_password() {
        let url: NodeUrl = "redis://me:p%40ss@db.local:6380/3".parse().unwrap();
        assert_eq!(url.address(), &Address::Tcp { host: "db.local".into(), port: 6380 });
        assert_eq!((url.user(), url.password(), url.database()), (Some("me"), Some("p@ss"), 3));
        assert_eq!(url.to_string(), "redis://me:***@db.local:6380/3");
        assert_eq!(format!("{url:?}"), url.to_string());
        let url: NodeUrl = "redis://:pw@[::1]:6379".parse().unwrap();
        assert_eq!((url.user(), url.password()), (None, Some("pw")));
        assert_eq!(url.to_string(), "redis://:***@[::1]:6379");
        let url: NodeUrl = "unix:///run/r.sock".parse().unwrap();
        assert_eq!(url.to_string(), "unix:///run/r.sock");
    }

    #[test]
    fn another_address_keeps_the_login() {
        for text in ["redis://me:p%40s%3As@h:1/3", "redis://:pw@h:1", "redis://h:1", "unix:///x"] {
            let url: NodeUrl = text.parse().unwrap();
            assert_eq!(url.with_password(), text);
            let moved = url.at(Address::Tcp { host: "127.0.0.1".into(), port: 9 });
            assert_eq!((moved.password(), moved.database()), (url.password(), url.database()));
            let again: NodeUrl = moved.with_password().parse().unwrap();
            assert_eq!(again, moved);
        }
    }

    #[test]
    fn bad_urls_are_refused_by_name_and_without_the_password() {
        for (text, problem) in [
            ("127.0.0.1:6379", "no known scheme"),
            ("redis://host", "no port"),
            ("redis://:6379", "no host"),
            ("redis://host:0", "bad port"),
            ("redis://host:65536", "bad port"),
            ("redis://host:1/x", "bad database"),
            ("redis://u:%zz@host:1", "bad % escape"),
            ("rediss://host:1", "TLS"),
            ("unix://relative", "absolute path"),
        ] {
            let error = text.parse::<NodeUrl>().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        let error = "redis://me:secret@host".parse::<NodeUrl>().unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("host"), "{error}");
        assert!("unix:///".to_owned().parse::<NodeUrl>().is_ok());
        let long = format!("unix:///{}", "x".repeat(107));
        assert!(long.parse::<NodeUrl>().is_err());
    }
}
