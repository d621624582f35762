//! Which server program local nodes run, and the configuration it gets.
//!
//! It starts nothing but `--version`.
//!
//! Invariants:
//! 1. A program that was asked for by name is used or is an error: no silent fallback.
//! 2. The configuration is one write below the pipe's atomic size.

use std::ffi::OsStr;
use std::fmt;
use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process;
use super::{Persist, Transport};

/// Asks for the library's own test node where a path to a server could stand.
pub(crate) const TEST_NODE: &str = "test-node";
/// What the library's test node is called in reports.
pub(crate) const TEST_NODE_NAME: &str = "test node";
const BIN_VARIABLE: &str = "LOADGEN_SERVER_BIN";
const VERSION_LIMIT: Duration = Duration::from_secs(5);

/// The program of the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// `None`: the library's test node, in processes of this program.
    path: Option<PathBuf>,
    /// `redis`, `valkey` or `test node`.
    name: String,
    version: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(
        "server program '{0}' cannot be run: {1}; give --server-bin a valkey-server or redis-server"
    )]
    CannotRun(PathBuf, String),
    #[error(
        "'{0} --version' says '{1}', which is neither Redis nor Valkey; give --server-bin another \
         program"
    )]
    Unknown(PathBuf, String),
    #[error("the test node {0}; install valkey-server or redis-server, or give --server-bin")]
    TestNodeCannot(&'static str),
}

impl Server {
    /// By flag, then by `LOADGEN_SERVER_BIN`, then `valkey-server` and `redis-server` on the path,
    /// else the test node.
    pub(crate) fn find(flag: Option<&Path>) -> Result<Self, ServerError> {
        let variable = std::env::var_os(BIN_VARIABLE).filter(|value| !value.is_empty());
        let search = std::env::var_os("PATH").unwrap_or_default();
        Self::find_in(flag, variable.as_deref(), &search)
    }

    fn find_in(
        flag: Option<&Path>,
        variable: Option<&OsStr>,
        search: &OsStr,
    ) -> Result<Self, ServerError> {
        if let Some(asked) = flag.or_else(|| variable.map(Path::new)) {
            if asked == Path::new(TEST_NODE) {
                return Ok(Self::test_node());
            }
            let path = match asked.components().count() {
                1 => on_path(asked, search),
                _ => Some(asked.to_owned()),
            };
            let none = || ServerError::CannotRun(asked.to_owned(), "it is not on PATH".to_owned());
            return Self::at(path.ok_or_else(none)?);
        }
        ["valkey-server", "redis-server"]
            .into_iter()
            .find_map(|name| on_path(Path::new(name), search))
            .map_or_else(|| Ok(Self::test_node()), Self::at)
    }

    fn test_node() -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { path: None, name: TEST_NODE_NAME.to_owned(), version }
    }

    fn at(path: PathBuf) -> Result<Self, ServerError> {
        // The node starts in a directory of its own: a relative path would not be found there.
        // Links stay: packages install one program that acts by the name it is called by.
        let path = std::path::absolute(&path).unwrap_or(path);
        let text = version_text(&path)?;
        match parse_version(&text) {
            Some((name, version)) => Ok(Self { path: Some(path), name, version }),
            None => {
                let start = text.lines().next().unwrap_or_default().chars().take(80).collect();
                Err(ServerError::Unknown(path, start))
            }
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(crate) fn is_test_node(&self) -> bool {
        self.path.is_none()
    }

    /// Whether this server can do what is asked for.
    pub(crate) fn check(&self, transport: Transport, persist: Persist) -> Result<(), ServerError> {
        if self.is_test_node() && transport == Transport::Unix {
            return Err(ServerError::TestNodeCannot("listens on TCP only"));
        }
        if self.is_test_node() && persist != Persist::None {
            return Err(ServerError::TestNodeCannot("keeps nothing on disk"));
        }
        Ok(())
    }

    /// What the server reads on standard input. `port` is `None` for a unix socket alone.
    pub(crate) fn config(&self, dir: &Path, port: Option<u16>, persist: Persist) -> String {
        let (appendonly, fsync) = match persist {
            Persist::None => ("no", "no"),
            Persist::AofEverysec => ("yes", "everysec"),
            Persist::AofAlways => ("yes", "always"),
        };
        let mut config = format!(
            "port {}\nbind 127.0.0.1\nprotected-mode yes\ndaemonize no\nsave \"\"\n\
             appendonly {appendonly}\nappendfsync {fsync}\nmaxmemory-policy noeviction\n",
            port.unwrap_or(0),
        );
        // A rewrite forks; the fork would not be in anybody's list of processes to end.
        config.push_str("auto-aof-rewrite-percentage 0\n");
        let mut paths = vec![("dir", dir.to_owned()), ("logfile", dir.join("log"))];
        if port.is_none() {
            config.push_str("unixsocketperm 700\n");
            paths.push(("unixsocket", socket(dir)));
        }
        for (key, path) in paths {
            let _ = writeln!(config, "{key} {}", quoted(&path));
        }
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major >= 7) {
            config.push_str("enable-debug-command local\n");
        }
        config
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// The unix socket of the node that lives in `dir`.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join("r.sock")
}

/// A path as one word of the server's configuration.
fn quoted(path: &Path) -> String {
    let mut word = String::from("\"");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'"' | b'\\' => word.extend(['\\', char::from(*byte)]),
            0x20..=0x7e => word.push(char::from(*byte)),
            _ => {
                let _ = write!(word, "\\x{byte:02x}");
            }
        }
    }
    word.push('"');
    word
}

fn on_path(name: &Path, search: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search).map(|dir| dir.join(name)).find(|path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

fn version_text(path: &Path) -> Result<String, ServerError> {
    let failed = |why: String| ServerError::CannotRun(path.to_owned(), why);
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = process::spawn(command).map_err(|error| failed(error.to_string()))?;
    let ended = process::poll_until(VERSION_LIMIT, || !matches!(child.try_wait(), Ok(None)));
    if !ended {
        let _ = child.kill();
    }
    let _ = child.wait();
    if !ended {
        return Err(failed("--version did not end within 5 s".to_owned()));
    }
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = stdout.take(4_096).read_to_end(&mut text);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// `Redis server v=7.0.15 sha=...` and `Valkey server v=8.0.1 sha=...`.
fn parse_version(text: &str) -> Option<(String, String)> {
    let (name, rest) = text.split_once(" server v=")?;
    let name = name.trim().to_ascii_lowercase();
    let version = rest.split_ascii_whitespace().next()?;
    let plain = version.starts_with(|c: char| c.is_ascii_digit()) && version.len() <= 40;
    (plain && (name == "redis" || name == "valkey")).then(|| (name, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_families_are_read() {
        let read = |text| parse_version(text).map(|(name, version)| format!("{name} {version}"));
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64\n";
        assert_eq!(read(redis).as_deref(), Some("redis 7.0.15"));
        assert_eq!(read("Valkey server v=9.0.0 sha=0\n").as_deref(), Some("valkey 9.0.0"));
        assert_eq!(read("cat (GNU coreutils) 9.1"), None);
        assert_eq!(read("Redis server v= sha"), None);
    }

    #[test]
    fn a_program_asked_for_is_never_replaced_by_another() {
        let search = std::env::var_os("PATH").unwrap();
        let find = |flag: &str| Server::find_in(Some(Path::new(flag)), None, &search);
        let missing = find("no-such-server").unwrap_err().to_string();
        assert!(missing.contains("'no-such-server'") && missing.contains("PATH"), "{missing}");
        let missing = find("/no/such/server").unwrap_err().to_string();
        assert!(missing.contains("'/no/such/server'"), "{missing}");
        let other = find("cat").unwrap_err().to_string();
        assert!(other.contains("neither Redis nor Valkey"), "{other}");
        assert!(find(TEST_NODE).unwrap().is_test_node());
        let by_variable = Server::find_in(None, Some(OsStr::new("no-such")), &search);
        assert!(by_variable.unwrap_err().to_string().contains("no-such"));
    }

    #[test]
    fn without_any_server_the_test_node_is_taken_and_refuses_what_it_cannot_do() {
        let server = Server::find_in(None, None, OsStr::new("/nowhere")).unwrap();
        assert!(server.is_test_node());
        assert!(server.to_string().starts_with("test node "), "{server}");
        assert!(server.check(Transport::Tcp, Persist::None).is_ok());
        assert!(server.check(Transport::Unix, Persist::None).is_err());
        assert!(server.check(Transport::Tcp, Persist::AofAlways).is_err());
    }

    #[test]
    fn odd_directories_stay_one_word() {
        assert_eq!(quoted(Path::new("/a b/\"c\\\n")), r#""/a b/\"c\\\x0a""#);
        let version = "6.2.1".to_owned();
        let server = Server { path: Some("/x".into()), name: "redis".into(), version };
        let config = server.config(Path::new("/t m"), None, Persist::AofEverysec);
        assert!(config.contains("port 0\n") && config.contains("dir \"/t m\"\n"), "{config}");
        assert!(config.contains("appendonly yes\nappendfsync everysec\n"), "{config}");
        assert!(config.contains("unixsocket \"/t m/r.sock\"\n"), "{config}");
        assert!(!config.contains("enable-debug-command"), "{config}");
    }
}
