//! Whether this server tells this connection, in time, when the node's epoch changes (R1').
//!
//! What that takes, all of it, and in doubt a connection is not watched and its writes are sealed:
//! - I1 the server is one whose pushes and replies were seen to come in the order in which it did
//!   what they tell of, for everything that takes a data set away;
//! - I2 nobody stands between us and its process, who could put another process in its place;
//! - I3 it tracks the epoch for this connection, since it was what the stamp said it is;
//! - I4 nothing was pushed about it since;
//! - I5 it does not evict. What our own commands do to a key is not pushed to us (NOLOOP), and a
//!   server counts what it evicts in front of a command as that command's doing.

use super::Capabilities;
use super::capabilities::info_field;
use crate::endpoint::Ends;
use crate::resp::Protocol;

/// What the answers of a handshake say of it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) client_info: Option<Vec<u8>>,
    /// CLIENT CACHING was taken, right in front of the GET.
    pub(super) is_armed: bool,
    pub(super) epoch: Option<Vec<u8>>,
    pub(super) keeps_all: bool,
    process_id: Option<String>,
    is_original: bool,
    has_ended: bool,
}

impl Watch {
    /// Something was pushed about the epoch.
    pub(super) const fn end(&mut self) {
        self.has_ended = true; // I4
    }

    /// Reads `INFO server`. Servers that only speak the protocol call themselves `redis` too, and
    /// give a version of their own besides the one that they imitate.
    pub(super) fn read_info_server(&mut self, text: &[u8]) {
        let process_id = info_field(text, b"process_id");
        self.process_id = process_id.and_then(|id| String::from_utf8(id.to_vec()).ok());
        let names =
            text.split(|&byte| byte == b'\n').filter_map(|line| line.split(|c| *c == b':').next());
        let mut versions = names.filter(|name| name.ends_with(b"_version"));
        self.is_original = self.process_id.is_some()
            && versions.all(|name| VERSIONS.iter().any(|known| known.as_bytes() == name));
    }

    /// Is the connection watched, now that all has been answered?
    pub(super) fn holds(&self, found: &Capabilities, ends: &Ends) -> bool {
        let Some(client_info) = &self.client_info else { return false };
        let Some(stamp) = &found.stamp else { return false };
        let tells = self.is_original && is_known(&found.server, &found.version);
        let is_direct = ends.are_those_of(client_info, self.process_id.as_deref());
        let is_tracked = found.protocol == Protocol::Resp3
            && found.tracks
            && self.is_armed
            && !stamp.id.is_empty()
            && self.epoch.as_deref() == Some(&*stamp.id);
        tells && is_direct && is_tracked && !self.has_ended && self.keeps_all
    }
}

/// I1: as measured with Redis 7.0 and 8.6, and Valkey 8.1 and 9.1; every Valkey has it from Redis
/// 7.2. Builds between releases give themselves the number 255.
fn is_known(server: &str, version: &str) -> bool {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    matches!(server, "redis" | "valkey") && major.is_some_and(|major| (7..255).contains(&major))
}

/// In `INFO server` of Redis and Valkey.
const VERSIONS: [&str; 3] = ["gcc_version", "redis_version", "valkey_version"];
