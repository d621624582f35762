//! The processes of a test: which there are, what state they are in, and signals to them.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// State and parent of a process.
pub(crate) fn stat(pid: u32) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Every process there is.
pub(crate) fn all() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Those whose parent is `parent`.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    all().filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

/// A zombie counts as gone: the machine's first process may not reap.
pub(crate) fn is_gone(pid: u32) -> bool {
    stat(pid).is_none_or(|(state, _)| state == "Z" || state == "X")
}

pub(crate) fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state == "T")
}

#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "waited 30 s until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn id(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// To a process that is known to be there.
#[track_caller]
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(id(pid), signal).unwrap();
}

pub(crate) fn has_server() -> bool {
    let found = |name| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
    found("valkey-server") || found("redis-server")
}

#[track_caller]
pub(crate) fn need_server() {
    assert!(has_server(), "no server; install one: apt-get install -y redis-server");
}
