//! Processes named by pid *and* start time, the thread that spawns them, and how a child dies with
//! its parent.
//!
//! It does not know what runs in a process.
//!
//! Invariants:
//! 1. A signal reaches only the process whose start time was recorded: the pid is opened as a pidfd
//!    first and its start time compared afterwards, so that a reused pid is never hit.
//! 2. Every child is spawned by one thread that lives as long as the program: the kernel sends the
//!    parent-death signal when the spawning *thread* ends, not the process.
//! 3. A process whose threads are all zombies counts as gone.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::clock::now_ns;

/// A process, told apart from a later one with the same pid by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ProcId {
    pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks between boot and the start.
    start_ticks: u64,
}

/// What the kernel says about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcState {
    /// No such process, a zombie, or another process with the same pid.
    Gone,
    /// Every thread is stopped by a signal.
    Stopped,
    Running,
}

impl ProcId {
    /// The process that has `pid` now.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        let (_, start_ticks) = read_stat(&format!("/proc/{pid}/stat"))?;
        Ok(Self { pid, start_ticks })
    }

    pub(crate) fn current() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    pub(crate) fn pid(self) -> i32 {
        self.pid
    }

    pub(crate) fn start_ticks(self) -> u64 {
        self.start_ticks
    }

    pub(crate) fn state(self) -> ProcState {
        match read_stat(&format!("/proc/{}/stat", self.pid)) {
            // A killed leader may be a zombie while another thread still holds port and files.
            Ok((_, ticks)) if ticks == self.start_ticks && !self.all_threads_in("ZX") => {
                if self.all_threads_in("Tt") { ProcState::Stopped } else { ProcState::Running }
            }
            Ok(_) | Err(_) => ProcState::Gone,
        }
    }

    pub(crate) fn is_gone(self) -> bool {
        self.state() == ProcState::Gone
    }

    /// Sends `signal`; false if the process is gone already.
    pub(crate) fn signal(self, signal: Signal) -> io::Result<bool> {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        // Pid 1 is the machine's, 0 and below are groups.
        let allowed = self.pid > 1 && self.pid != own;
        let Some(target) = allowed.then(|| Pid::from_raw(self.pid)).flatten() else {
            return Err(io::Error::other(format!("refusing to signal pid {}", self.pid)));
        };
        let handle = match rustix::process::pidfd_open(target, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if self.is_gone() {
            return Ok(false);
        }
        match rustix::process::pidfd_send_signal(&handle, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Polls until the process is in `wanted`, at most `limit`; true if it got there.
    pub(crate) fn wait_for(self, wanted: ProcState, limit: Duration) -> bool {
        poll_until(limit, || self.state() == wanted)
    }

    /// Whether every thread is in one of `states`: a stopped or dead leader is not enough, another
    /// thread may still answer a command.
    fn all_threads_in(self, states: &str) -> bool {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return true };
        tasks.flatten().all(|task| {
            let stat = task.path().join("stat");
            read_stat(&stat.to_string_lossy()).map_or(true, |(state, _)| states.contains(state))
        })
    }
}

/// Calls `done` every 0.2 to 2 ms until it is true or `limit` is over; its last answer.
pub(crate) fn poll_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = now_ns().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
    let mut pause = Duration::from_micros(200);
    loop {
        if done() {
            return true;
        }
        if now_ns() >= deadline {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(2));
    }
}

/// State and start time out of a stat file. The command name may hold spaces and brackets: what
/// counts starts after the last one.
fn read_stat(path: &str) -> io::Result<(char, u64)> {
    let text = fs::read_to_string(path)?;
    parse_stat(&text).ok_or_else(|| io::Error::other(format!("{path} has an unknown form")))
}

fn parse_stat(text: &str) -> Option<(char, u64)> {
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

struct Job {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

/// Spawns on the one thread whose end is the end of this program.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Option<Sender<Job>>> = OnceLock::new();
    let gone = || io::Error::other("the spawner thread could not be started");
    let spawner = SPAWNER.get_or_init(start_spawner).as_ref().ok_or_else(gone)?;
    let (reply, answer) = mpsc::sync_channel(1);
    spawner.send(Job { command, reply }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn start_spawner() -> Option<Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let run = move || {
        // The sender is in a static: this loop never ends.
        for mut job in jobs {
            let _ = job.reply.send(job.command.spawn());
        }
    };
    thread::Builder::new().name("spawner".into()).spawn(run).ok().map(|_| sender)
}

/// For a child, before anything else: the kernel kills it when the process `parent` ends. False if
/// `parent` was gone before that was in place: the child should leave at once.
pub(crate) fn die_with_parent(parent: u32) -> bool {
    if rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        return false;
    }
    let now = rustix::process::getppid().map(Pid::as_raw_pid);
    now.is_some() && now == i32::try_from(parent).ok()
}

/// This program again, with other arguments; also when its file was replaced meanwhile.
#[cfg(not(test))]
pub(crate) fn self_command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("loadgen").args(args);
    command
}

/// A test binary has no `main` of ours: one of its tests plays it, see [`crate::cluster::cli`].
#[cfg(test)]
pub(crate) fn self_command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Command {
    let joined: Vec<_> =
        args.into_iter().map(|arg| arg.as_ref().to_string_lossy().into_owned()).collect();
    let mut command = Command::new("/proc/self/exe");
    command.arg0("loadgen").args(["cluster::cli::tests::play_main", "--exact", "--nocapture"]);
    command.arg("--test-threads=1").env("LOADGEN_TEST_ARGS", joined.join("\u{1f}"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn sleeper() -> Child {
        let mut command = Command::new("sleep");
        command.arg("60").stdin(Stdio::null()).stdout(Stdio::null());
        spawn(command).unwrap()
    }

    #[test]
    fn stat_is_read_behind_the_last_bracket() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_stat(&format!("7 (a) R 1) {tail}")), Some(('S', 4242)));
        assert_eq!(parse_stat("7 (cut) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_stopped_process_is_seen_as_stopped_and_a_killed_one_as_gone() {
        let mut child = sleeper();
        let id = ProcId::of(child.id()).unwrap();
        assert_eq!(id.state(), ProcState::Running);
        assert!(id.signal(Signal::STOP).unwrap());
        assert!(id.wait_for(ProcState::Stopped, Duration::from_secs(5)));
        assert!(id.signal(Signal::CONT).unwrap());
        assert!(id.wait_for(ProcState::Running, Duration::from_secs(5)));
        assert!(id.signal(Signal::KILL).unwrap());
        // Not reaped yet: a zombie is gone.
        assert!(id.wait_for(ProcState::Gone, Duration::from_secs(5)));
        child.wait().unwrap();
        assert!(!id.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn a_process_with_another_start_time_is_not_signalled() {
        let mut child = sleeper();
        let id = ProcId::of(child.id()).unwrap();
        let older = ProcId { start_ticks: id.start_ticks - 1, ..id };
        assert_eq!(older.state(), ProcState::Gone);
        assert!(!older.signal(Signal::KILL).unwrap());
        assert_eq!(id.state(), ProcState::Running);
        id.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn pid_1_and_groups_and_ourselves_are_never_signalled() {
        let own = ProcId::current().unwrap();
        assert!(own.signal(Signal::CONT).is_err());
        for pid in [1, 0, -1, i32::MIN] {
            assert!(ProcId { pid, start_ticks: 0 }.signal(Signal::CONT).is_err(), "{pid}");
        }
    }
}
