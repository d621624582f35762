//! Puts a real server into the states in which it refuses, forgets or interrupts, and back.
//!
//! Needs `server` as a sibling module. A function here returns when the server *is* in the state,
//! told by a reply or a field of INFO, never by a pause.
#![allow(dead_code, unreachable_pub, reason = "each including target uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: a failure here is the failure of the test"
)]

use std::fs;
use std::thread::{self, JoinHandle};

use super::persistence::save_rdb;
use super::server::{Client, Reply, Server, poll_until};

/// The first word of an error reply, `None` for any other.
pub fn error_code(reply: &Reply) -> Option<&str> {
    let Reply::Error(text) = reply else { return None };
    text.split(' ').next()
}

/// What a write is answered: `None` for yes, else the code of the error. Leaves no key.
pub fn write_error(server: &Server) -> Option<String> {
    let reply = server.command(&["SET", "states:probe", "1"]);
    let code = error_code(&reply).map(str::to_owned);
    if code.is_none() {
        server.command(&["DEL", "states:probe"]);
    }
    code
}

/// `BUSY` while it lives: a script that does not end runs on a connection of its own.
#[derive(Debug)]
pub struct Busy<'a> {
    server: &'a Server,
    script: Option<JoinHandle<Reply>>,
}

impl<'a> Busy<'a> {
    pub fn start(server: &'a Server) -> Self {
        server.config_set("lua-time-limit", "5");
        // No limit on its reply: the test ends it, or the server's end does.
        let mut client = Client::connect_patient(server.addr()).unwrap();
        let script = thread::spawn(move || {
            let reply = client.command(&["EVAL", "while true do end", "0"]);
            reply.unwrap_or_else(|error| Reply::Error(format!("LOST {error}")))
        });
        let busy = Self { server, script: Some(script) };
        poll_until("the server to be busy", || {
            let reply = server.command(&["PING"]);
            (error_code(&reply) == Some("BUSY")).then_some(())
        });
        busy
    }

    /// SCRIPT KILL; the server answers again when this returns. The script's own reply.
    pub fn end(mut self) -> Reply {
        self.kill().expect("it runs until it is ended")
    }

    fn kill(&mut self) -> Option<Reply> {
        let script = self.script.take()?;
        // Fails when the server was killed or somebody else was faster: it has ended then.
        let _ = self.server.try_command(&["SCRIPT", "KILL"]);
        Some(script.join().expect("the script's thread does not panic"))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes are refused with `OOM`; nothing is evicted.
pub fn fill_memory(server: &Server) {
    server.config_set("maxmemory-policy", "noeviction");
    server.config_set("maxmemory", "1");
}

/// Ends [`fill_memory`].
pub fn free_memory(server: &Server) {
    server.config_set("maxmemory", "0");
}

/// Evicts every key that has an expiry, as `volatile-lru` does when keys without one fill the
/// memory. All writes succeed meanwhile. The filler is gone and the limit lifted afterwards.
pub fn evict_locks(server: &Server) {
    let expiring = || server.info("db0").is_some_and(|db0| !db0.contains("expires=0"));
    let used: u64 = server.info("used_memory").unwrap().parse().unwrap();
    server.config_set("maxmemory-policy", "volatile-lru");
    server.config_set("maxmemory", &(used + FILLER_MAX / 2).to_string());
    let value = "x".repeat(FILLER_BYTES);
    let mut count = 0;
    while expiring() {
        assert!(count * (FILLER_BYTES as u64) < FILLER_MAX, "nothing was evicted");
        let reply = server.command(&["SET", &format!("states:filler:{count}"), &value]);
        // Refused once nothing is left to evict.
        assert!(matches!(error_code(&reply), None | Some("OOM")), "{reply:?}");
        count += 1;
    }
    server.config_set("maxmemory", "0");
    server.config_set("maxmemory-policy", "noeviction");
    for index in 0..count {
        server.command(&["DEL", &format!("states:filler:{index}")]);
    }
}

/// Writes are refused with `MISCONF`: a directory stands where the RDB file should go, which
/// stops even a server that root runs.
pub fn break_saving(server: &Server) {
    let path = server.dir().join("dump.rdb");
    let _ = fs::remove_file(&path);
    fs::create_dir_all(&path).unwrap();
    // A schedule that never comes true; without any, a failed save does not stop writes.
    server.config_set("save", "86400 1000000");
    save_in_background(server, "err");
}

/// Ends [`break_saving`].
pub fn mend_saving(server: &Server) {
    fs::remove_dir(server.dir().join("dump.rdb")).unwrap();
    save_in_background(server, "ok");
    server.config_set("save", "");
}

fn save_in_background(server: &Server, outcome: &str) {
    let reply = server.command(&["BGSAVE"]);
    assert!(matches!(reply, Reply::Simple(_)), "{reply:?}");
    poll_until("the background save to end", || {
        let is = |field, value| server.info(field).as_deref() == Some(value);
        (is("rdb_bgsave_in_progress", "0") && is("rdb_last_bgsave_status", outcome)).then_some(())
    });
}

/// Writes are refused with `NOREPLICAS` while `count` is more than the server has.
pub fn need_replicas(server: &Server, count: u32) {
    server.config_set("min-replicas-to-write", &count.to_string());
}

/// Restarts the server with `keys` more keys, which it loads so slowly that it answers `LOADING`
/// until [`end_loading`] is called (a minute at least, for 60_000 keys).
pub fn start_loading(server: &Server, keys: u32) {
    let reply = server.command(&["DEBUG", "POPULATE", &keys.to_string(), "states:load", "64"]);
    assert_eq!(reply, Reply::Simple("OK".into()));
    save_rdb(server);
    // The server looks at its sockets once for so many bytes that it loaded.
    server.restart_with(&["key-load-delay 1000", "loading-process-events-interval-bytes 1024"]);
    let reply = server.command(&["GET", "states:load:0"]);
    assert_eq!(error_code(&reply), Some("LOADING"), "{reply:?}");
}

/// Lets the server load the rest at once; loaded when this returns.
pub fn end_loading(server: &Server) {
    server.config_set("key-load-delay", "0");
    super::persistence::wait_loaded(server);
}

/// Changes what the default user may do, for instance `&["-set"]`: `NOPERM` on that command.
/// Connections that exist are under the new rules as well.
pub fn allow(server: &Server, rules: &[&str]) {
    let args: Vec<&str> = ["ACL", "SETUSER", "default"].iter().chain(rules).copied().collect();
    assert_eq!(server.command(&args), Reply::Simple("OK".into()), "{rules:?}");
}

/// The server forgets every script.
pub fn flush_scripts(server: &Server) {
    assert_eq!(server.command(&["SCRIPT", "FLUSH"]), Reply::Simple("OK".into()));
}

/// Closes the connection of every ordinary client, from the server's side; how many there were.
pub fn kill_clients(server: &Server) -> i64 {
    // A client that listens to a channel is of a type of its own.
    let kill = |kind| server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).int();
    kill("normal") + kill("pubsub")
}

const FILLER_BYTES: usize = 64 << 10;
const FILLER_MAX: u64 = 4 << 20;
