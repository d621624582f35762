//! The guard: a process that outlives loadgen by a moment and ends what loadgen left behind.
//!
//! loadgen holds the write end of a pipe whose read end is the guard's standard input. When it
//! ends, however it ends, the pipe closes: the guard kills every process that it was told to
//! watch, removes the directories and the registry entries that it was told of, and leaves.
//!
//! Invariants:
//! 1. Only processes whose start time still matches are signalled.
//! 2. The guard is in a process group of its own and holds no file of loadgen's: a terminal's
//!    Ctrl-C does not reach it, and a pipeline behind loadgen does not wait for it.
//! 3. A guard that was killed is replaced by the next message, with everything it knew.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitCode, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::process::{self, ProcId};
use crate::cluster::registry::{self, Owner, Registry};

/// Beyond every use: 9 nodes, some hundred restarts, some hundred worker processes.
const MAX_WATCHED: usize = 65_536;
const MAX_LINE_BYTES: u64 = 64 << 10;
const EXIT_LIMIT: Duration = Duration::from_secs(15);

/// One line of JSON on the pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    Watch(ProcId),
    Unwatch(ProcId),
    /// An entry of the registry: its processes, its directory, its file.
    Entry {
        registry: PathBuf,
        id: String,
    },
    ForgetEntry {
        id: String,
    },
}

/// What a guard has to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Watched {
    processes: Vec<ProcId>,
    entries: Vec<(PathBuf, String)>,
}

impl Watched {
    fn apply(&mut self, message: Message) {
        match message {
            Message::Watch(id) if self.processes.len() < MAX_WATCHED => self.processes.push(id),
            Message::Watch(_) => {}
            Message::Unwatch(id) => self.processes.retain(|watched| *watched != id),
            Message::Entry { registry, id } if self.entries.len() < MAX_WATCHED => {
                self.entries.push((registry, id));
            }
            Message::Entry { .. } => {}
            Message::ForgetEntry { id } => self.entries.retain(|(_, watched)| *watched != id),
        }
    }

    fn messages(&self) -> impl Iterator<Item = Message> {
        let entries = self.entries.iter().cloned();
        let entries = entries.map(|(registry, id)| Message::Entry { registry, id });
        self.processes.iter().copied().map(Message::Watch).chain(entries)
    }

    fn end(&self) {
        // Errors have no reader here; the registry's entry stays for the next start to reap.
        let _ = registry::end_all(&self.processes);
        for (dir, id) in &self.entries {
            let Ok(registry) = Registry::open_in(dir) else { continue };
            if let Some(entry) = registry.get(id).filter(|entry| entry.owner != Owner::Kept) {
                let _ = registry.take_down(&entry);
            }
        }
    }
}

/// loadgen's end of the pipe. Dropping it ends what is still watched and waits for that.
#[derive(Debug)]
pub(crate) struct Guardian {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    guard: Option<(Child, Option<ChildStdin>)>,
    watched: Watched,
    /// Tests of the other layers run without this one.
    disabled: bool,
}

impl Guardian {
    /// Starts the guard process.
    pub(crate) fn start() -> io::Result<Self> {
        let guard = Some(spawn_guard()?);
        let state = State { guard, watched: Watched::default(), disabled: false };
        Ok(Self { state: Mutex::new(state) })
    }

    /// A guardian without a guard process.
    pub(crate) fn disabled() -> Self {
        let state = State { guard: None, watched: Watched::default(), disabled: true };
        Self { state: Mutex::new(state) }
    }

    /// The pid of the guard process, if there is one.
    #[cfg(test)]
    pub(crate) fn pid(&self) -> Option<u32> {
        self.lock().guard.as_ref().map(|(child, _)| child.id())
    }

    /// `process` is to end with us.
    pub(crate) fn watch(&self, process: ProcId) -> io::Result<()> {
        self.lock().tell(Message::Watch(process))
    }

    /// `process` has ended.
    pub(crate) fn unwatch(&self, process: ProcId) -> io::Result<()> {
        self.lock().tell(Message::Unwatch(process))
    }

    /// The cluster `id` of the registry in `dir` is to end with us, unless it is kept by then.
    pub(crate) fn watch_entry(&self, dir: &Path, id: &str) -> io::Result<()> {
        self.lock().tell(Message::Entry { registry: dir.to_owned(), id: id.to_owned() })
    }

    /// The cluster `id` is taken down, or kept.
    pub(crate) fn forget_entry(&self, id: &str) -> io::Result<()> {
        self.lock().tell(Message::ForgetEntry { id: id.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, message: Message) -> io::Result<()> {
        self.watched.apply(message.clone());
        if self.disabled {
            return Ok(());
        }
        if let Some((_, Some(pipe))) = &mut self.guard
            && send(pipe, &message).is_ok()
        {
            return Ok(());
        }
        // Somebody ended the guard: a new one learns everything.
        if let Some((mut dead, pipe)) = self.guard.take() {
            drop(pipe);
            let _ = dead.kill();
            let _ = dead.wait();
        }
        let (child, mut pipe) = spawn_guard()?;
        let told = match &mut pipe {
            Some(pipe) => self.watched.messages().try_for_each(|message| send(pipe, &message)),
            None => Err(io::Error::other("the guard has no standard input")),
        };
        self.guard = Some((child, pipe));
        told
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let Some((mut guard, pipe)) = self.lock().guard.take() else { return };
        drop(pipe);
        if !process::poll_until(EXIT_LIMIT, || !matches!(guard.try_wait(), Ok(None))) {
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

fn spawn_guard() -> io::Result<(Child, Option<ChildStdin>)> {
    let mut command = process::self_command(["__guard"]);
    command.process_group(0).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = process::spawn(command)?;
    let pipe = child.stdin.take();
    Ok((child, pipe))
}

fn send(pipe: &mut ChildStdin, message: &Message) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::from)?;
    line.push(b'\n');
    pipe.write_all(&line)
}

/// The guard process itself (`loadgen __guard`).
pub(crate) fn run() -> ExitCode {
    let _ = rustix::thread::set_name(c"loadgen-guard");
    watch(BufReader::new(io::stdin().lock())).end();
    ExitCode::SUCCESS
}

/// Everything told until the pipe closed.
fn watch(mut pipe: impl BufRead) -> Watched {
    let mut watched = Watched::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        match pipe.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) => return watched,
            Ok(_) => {
                // A line cut short by our parent's death tells nothing.
                if let Ok(message) = serde_json::from_slice(&line) {
                    watched.apply(message);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return watched,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::process::ProcState;
    use std::process::Command;

    fn sleeper() -> (Child, ProcId) {
        let mut command = Command::new("sleep");
        command.arg("60").stdin(Stdio::null()).stdout(Stdio::null());
        let child = process::spawn(command).unwrap();
        let id = ProcId::of(child.id()).unwrap();
        (child, id)
    }

    #[test]
    fn what_is_watched_ends_with_the_guardian_and_what_is_not_goes_on() {
        let (mut watched, watched_id) = sleeper();
        let (mut released, released_id) = sleeper();
        let guardian = Guardian::start().unwrap();
        guardian.watch(watched_id).unwrap();
        guardian.watch(released_id).unwrap();
        guardian.unwatch(released_id).unwrap();
        watched_id.signal(rustix::process::Signal::STOP).unwrap();
        drop(guardian);
        assert!(watched_id.is_gone());
        assert_eq!(released_id.state(), ProcState::Running);
        released.kill().unwrap();
        released.wait().unwrap();
        watched.wait().unwrap();
    }

    #[test]
    fn a_killed_guard_is_replaced_with_all_it_knew() {
        let (mut first, first_id) = sleeper();
        let (mut second, second_id) = sleeper();
        let guardian = Guardian::start().unwrap();
        guardian.watch(first_id).unwrap();
        let pid = guardian.pid().unwrap();
        let guard = ProcId::of(pid).unwrap();
        guard.signal(rustix::process::Signal::KILL).unwrap();
        assert!(guard.wait_for(ProcState::Gone, Duration::from_secs(5)));
        guardian.watch(second_id).unwrap();
        assert_ne!(guardian.pid().unwrap(), pid);
        drop(guardian);
        assert!(first_id.is_gone() && second_id.is_gone());
        first.wait().unwrap();
        second.wait().unwrap();
    }

    #[test]
    fn messages_survive_the_pipe_and_half_a_line_is_ignored() {
        let id = ProcId::current().unwrap();
        let mut told = Watched::default();
        told.apply(Message::Watch(id));
        told.apply(Message::Entry { registry: "/a\nb".into(), id: "x".into() });
        let mut bytes = Vec::new();
        for message in told.messages() {
            bytes.extend(serde_json::to_vec(&message).unwrap());
            bytes.push(b'\n');
        }
        bytes.extend(b"garbage\n{\"watch\":{\"pid\":1");
        assert_eq!(watch(&bytes[..]), told);
        told.apply(Message::Unwatch(id));
        told.apply(Message::ForgetEntry { id: "x".into() });
        assert_eq!(told, Watched::default());
    }
}
