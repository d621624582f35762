//! What a server remembers over a restart: RDB and AOF, old copies, power cuts, replicas.
//!
//! Needs `server` as a sibling module. A power cut is a file cut short after a SIGKILL: what the
//! server wrote but had not synced may be gone after one, and how much is the test's choice.
//! Files are changed only while the server is killed; the calls that do so panic otherwise.
#![allow(dead_code, unreachable_pub, reason = "each including target uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: a failure here is the failure of the test"
)]

use std::fs::{self, File};
use std::path::PathBuf;

use super::server::{Reply, Server, poll_until};

/// Configuration of a server that syncs its AOF before each reply.
pub const AOF_ALWAYS: &[&str] = &["appendonly yes", "appendfsync always"];
/// Configuration of a server that syncs its AOF once a second.
pub const AOF_EVERYSEC: &[&str] = &["appendonly yes", "appendfsync everysec"];

/// An RDB file as it was at one time.
#[derive(Clone, Debug)]
pub struct RdbCopy(Vec<u8>);

/// [`Server::restart`], and the data set is loaded when this returns.
pub fn restart_loaded(server: &Server) {
    server.restart();
    wait_loaded(server);
}

pub fn wait_loaded(server: &Server) {
    poll_until("the data set to load", || {
        (server.info("loading").as_deref() == Some("0")).then_some(())
    });
}

/// Writes the RDB file now; every later start loads it, unless the server keeps an AOF.
pub fn save_rdb(server: &Server) {
    assert_eq!(server.command(&["SAVE"]), Reply::Simple("OK".into()));
}

/// [`save_rdb`], and keeps what it wrote.
pub fn copy_rdb(server: &Server) -> RdbCopy {
    save_rdb(server);
    RdbCopy(fs::read(rdb_path(server)).unwrap())
}

/// Puts an older RDB back, as a backup or a snapshot of the disk does.
pub fn put_rdb(server: &Server, copy: &RdbCopy) {
    assert_killed(server);
    fs::write(rdb_path(server), &copy.0).unwrap();
}

/// Bytes of the AOF that is being appended to. Nothing must be writing: what a command appended
/// is counted once its reply came.
pub fn aof_len(server: &Server) -> u64 {
    fs::metadata(aof_path(server)).unwrap().len()
}

/// Simulated power cut: the AOF ends at a length that [`aof_len`] told earlier.
pub fn truncate_aof(server: &Server, len: u64) {
    assert_killed(server);
    let had = aof_len(server);
    assert!(len <= had, "the AOF has only {had} bytes, not {len}; was it rewritten?");
    File::options().write(true).open(aof_path(server)).unwrap().set_len(len).unwrap();
}

/// Simulated power cut: the last `count` bytes of the AOF are gone.
pub fn cut_aof_tail(server: &Server, count: u64) {
    let len = aof_len(server).checked_sub(count).expect("the AOF is shorter than that");
    truncate_aof(server, len);
}

/// Makes `server` a replica of `of`, and waits until the link is up; its own data is gone then.
pub fn replicate(server: &Server, of: &Server) {
    // Else the first copy waits seconds for other replicas.
    of.config_set("repl-diskless-sync-delay", "0");
    let reply = server.command(&["REPLICAOF", "127.0.0.1", &of.port.to_string()]);
    assert_eq!(reply, Reply::Simple("OK".into()));
    poll_until("the replica's link to be up", || {
        let is = |field, value| server.info(field).as_deref() == Some(value);
        (is("role", "slave") && is("master_link_status", "up")).then_some(())
    });
}

/// Makes a replica a master again; it keeps the data that it copied.
pub fn promote(server: &Server) {
    assert_eq!(server.command(&["REPLICAOF", "NO", "ONE"]), Reply::Simple("OK".into()));
    poll_until("the replica to be a master", || {
        (server.info("role").as_deref() == Some("master")).then_some(())
    });
}

fn rdb_path(server: &Server) -> PathBuf {
    server.dir().join("dump.rdb")
}

/// The last increment of a multi-part AOF; the one file that servers before 7.0 keep.
fn aof_path(server: &Server) -> PathBuf {
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".incr.aof")?.to_owned();
        name.rsplit_once('.')?.1.parse::<u64>().ok()
    };
    let entries = fs::read_dir(server.dir().join("appendonlydir"));
    let entries = entries.into_iter().flatten().map(|entry| entry.unwrap().path());
    let last = entries.filter(|path| number(path).is_some()).max_by_key(number);
    last.unwrap_or_else(|| server.dir().join("appendonly.aof"))
}

fn assert_killed(server: &Server) {
    assert!(!server.is_running(), "the server would write over it: kill it first");
}
