//! Every process this run starts, and the promise that none outlives it.
//!
//! Invariants:
//! 1. A child is registered before anybody can wait for it, and it is killed by its own id.
//! 2. However the run ends, its children end: `Owned` kills on drop (return, panic), a thread
//!    kills on SIGINT, SIGTERM and SIGHUP, and `setpriv --pdeathsig`, where it is installed,
//!    covers SIGKILL. The kernel ties that signal to the spawning *thread*, so children are
//!    spawned by the main thread only.
//! 3. Once a signal arrived nothing new starts: the handler never gives the registry back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::{fs, io, process, thread};

use std::os::unix::process::CommandExt;

#[derive(Default)]
struct Registry {
    children: BTreeMap<u32, Child>,
    directories: Vec<PathBuf>,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { children: BTreeMap::new(), directories: Vec::new() });

fn registry() -> MutexGuard<'static, Registry> {
    // The registry is a list of what to kill: after a panic it is needed more than ever.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    fn end(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill();
        }
        for child in self.children.values_mut() {
            let _ = child.wait();
        }
        self.children.clear();
        for directory in self.directories.drain(..) {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// A child that is killed when this value goes.
#[derive(Debug)]
pub(crate) struct Owned {
    pid: u32,
}

impl Owned {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let child = registry().children.remove(&self.pid);
        if let Some(mut child) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether `setpriv --pdeathsig` works here; asked once.
pub(crate) fn has_setpriv() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| works("setpriv", &["--pdeathsig", "KILL", "--", "true"]))
}

/// Whether `program` with `args` runs and exits with success.
pub(crate) fn works(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Starts `program` in a process group of its own, tied to this process.
///
/// The group keeps a terminal's Ctrl-C from reaching the child before this process handles it.
pub(crate) fn spawn(program: &Path, args: &[String]) -> io::Result<Owned> {
    Ok(start(program, args, Stdio::null)?.0)
}

/// The same for a child that is talked to: its standard input and output.
pub(crate) fn spawn_piped(
    program: &Path,
    args: &[String],
) -> io::Result<(Owned, ChildStdin, ChildStdout)> {
    match start(program, args, Stdio::piped)? {
        (child, Some(input), Some(output)) => Ok((child, input, output)),
        _ => Err(io::Error::other("a child has no pipes")),
    }
}

type Started = (Owned, Option<ChildStdin>, Option<ChildStdout>);

fn start(program: &Path, args: &[String], end: fn() -> Stdio) -> io::Result<Started> {
    let mut command = if has_setpriv() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(args).stdin(end()).stdout(end()).process_group(0);
    let mut registry = registry();
    let mut child = command.spawn()?;
    let (pid, input, output) = (child.id(), child.stdin.take(), child.stdout.take());
    registry.children.insert(pid, child);
    Ok((Owned { pid }, input, output))
}

/// Makes a directory that goes with the run.
pub(crate) fn directory(path: PathBuf) -> io::Result<PathBuf> {
    fs::create_dir_all(&path)?;
    registry().directories.push(path.clone());
    Ok(path)
}

/// Ends what is left: the last line of an orderly run.
pub(crate) fn end() {
    registry().end();
}

/// Kills every child and exits with 130 once SIGINT, SIGTERM or SIGHUP arrives.
pub(crate) fn end_on_signal() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
                signal(SignalKind::hangup()),
            ) else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
                _ = hangup.recv() => (),
            }
            let mut registry = registry();
            registry.end();
            process::exit(130);
        });
    })?;
    Ok(())
}
