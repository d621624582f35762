//! The two ends of a connection, and whether it leads straight to the server's process.
//!
//! Between two sockets that name each other there is nobody who ends one connection and begins
//! another: when the process goes, the connection goes. A proxy, and a translated address, show by
//! an end that the server names otherwise.
//!
//! - I1 in doubt it is not direct: an end that is not known, or that does not parse.
//! - I2 both ends count. A proxy on the client's own machine dials from the same address, and one
//!   port in some ten thousand by chance; but it is not what listens where the server does.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What a transport knows of a connection's ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Whatever carries it does not say.
    #[default]
    Unknown,
    /// Where we dialled from, and to.
    Tcp { ours: SocketAddr, theirs: SocketAddr },
    /// The socket's path, and the process that the system says is listening there. The number
    /// alone proves little: a container counts its processes anew.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are none"))]
    Unix { path: PathBuf, process: u32 },
}

impl Ends {
    /// Is what the server says of this connection, in CLIENT INFO and as its own `process_id`, what
    /// we see of it?
    pub(crate) fn are_those_of(&self, client_info: &[u8], process_id: Option<&str>) -> bool {
        let Ok(text) = std::str::from_utf8(client_info) else { return false };
        let field = |name: &str| text.split_ascii_whitespace().find_map(|f| f.strip_prefix(name));
        let (Some(ours), Some(theirs)) = (field("addr="), field("laddr=")) else { return false };
        match self {
            Self::Unknown => false,
            Self::Tcp { ours: here, theirs: there } => is(ours, here) && is(theirs, there),
            Self::Unix { path, process } => {
                let Some(path) = path.to_str() else { return false };
                // As the server was told it; Valkey 9 takes it for an address and frames it twice.
                let names = [format!("{path}:0"), format!("[{path}:0]:0")];
                names.iter().any(|name| name == ours)
                    && process_id.and_then(|id| id.parse().ok()) == Some(*process)
            }
        }
    }
}

/// An address of version 4 may be shown as one of version 6.
fn is(text: &str, address: &SocketAddr) -> bool {
    let parsed = text.parse::<SocketAddr>();
    let canonical = |address: &SocketAddr| (address.ip().to_canonical(), address.port());
    parsed.is_ok_and(|parsed| canonical(&parsed) == canonical(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(ours: &str, theirs: &str) -> Ends {
        Ends::Tcp { ours: ours.parse().unwrap(), theirs: theirs.parse().unwrap() }
    }

    #[test]
    fn i2_a_direct_connection_has_the_same_two_ends_for_both_sides() {
        let ends = tcp("10.0.0.9:40112", "10.0.0.1:6379");
        let info = |addr: &str, laddr: &str| format!("id=7 addr={addr} laddr={laddr} fd=8 name=x");
        for (addr, laddr, is_direct) in [
            ("10.0.0.9:40112", "10.0.0.1:6379", true),
            ("[::ffff:10.0.0.9]:40112", "[::ffff:10.0.0.1]:6379", true),
            // A proxy beside us, with our port by chance; a proxy elsewhere; a translated end.
            ("10.0.0.9:40112", "10.0.0.2:6379", false),
            ("10.0.0.9:40113", "10.0.0.1:6379", false),
            ("10.0.0.8:40112", "10.0.0.1:6379", false),
            ("10.0.0.9:40112", "172.17.0.2:6379", false),
            ("/run/redis.sock:0", "/run/redis.sock:0", false),
            ("", "", false),
        ] {
            let info = info(addr, laddr);
            assert_eq!(ends.are_those_of(info.as_bytes(), None), is_direct, "{info}");
            assert!(!Ends::Unknown.are_those_of(info.as_bytes(), Some("1")), "{info}");
        }
        let six = tcp("[fd00::9]:40112", "[fd00::1]:6379");
        assert!(six.are_those_of(info("[fd00::9]:40112", "[fd00::1]:6379").as_bytes(), None));
        // Before 6.2 a server does not name its own end.
        assert!(!ends.are_those_of(b"id=7 addr=10.0.0.9:40112 fd=8", None));
        let named = b"name=addr=10.0.0.9:40112 addr=1.2.3.4:5 laddr=10.0.0.1:6379";
        assert!(!ends.are_those_of(named, None), "a name is no address");
        assert!(!ends.are_those_of(b"addr=\xff laddr=\xff", None));
    }

    #[test]
    fn a_unix_socket_is_direct_if_the_server_itself_listens_on_it() {
        let ends = Ends::Unix { path: "/run/redis.sock".into(), process: 71 };
        for (addr, process, is_direct) in [
            ("/run/redis.sock:0", Some("71"), true),
            ("[/run/redis.sock:0]:0", Some("71"), true),
            ("/run/redis.sock:0", Some("72"), false),
            ("/run/redis.sock:0", None, false),
            // Another container's process of the same number, behind a proxy.
            ("10.0.0.9:40112", Some("71"), false),
            ("/run/other.sock:0", Some("71"), false),
        ] {
            let info = format!("id=7 addr={addr} laddr={addr} flags=U");
            assert_eq!(
                ends.are_those_of(info.as_bytes(), process),
                is_direct,
                "{addr} {process:?}"
            );
        }
    }
}
