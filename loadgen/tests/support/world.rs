//! A world of nodes of its own: every process started in it has its directory as a mark.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, kill_process};

use super::process::{self, until};

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dir: PathBuf,
}

impl World {
    /// `None`, with a word, where no server is installed; an error in CI.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !process::has_server() {
            assert!(std::env::var_os("CI").is_none(), "CI needs valkey-server or redis-server");
            eprintln!("skipped: no valkey-server or redis-server installed");
            return None;
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lg-orphan-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("run/loadgen")).unwrap();
        fs::create_dir_all(dir.join("tmp")).unwrap();
        Some(Self { dir })
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(args).stdin(Stdio::null()).process_group(0);
        command.env("XDG_RUNTIME_DIR", self.dir.join("run")).env("TMPDIR", self.dir.join("tmp"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `nodes up` with three nodes, in the foreground, ready.
    pub(crate) fn up(&self, more: &[&str]) -> Child {
        let args = [&["nodes", "up", "--nodes", "3"], more].concat();
        let mut command = self.command(&args);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let nodes = addresses(&mut child);
        assert!(nodes.starts_with("redis://127.0.0.1:"), "{nodes}");
        child
    }

    /// Every living process of this world, with its name.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let mark = self.dir.as_os_str().as_encoded_bytes();
        let marked = |proc: &Path| {
            // A server overwrites its environment with its title, the guard leaves its directory.
            let cwd = fs::read_link(proc.join("cwd")).unwrap_or_default();
            let environment = fs::read(proc.join("environ")).unwrap_or_default();
            cwd.starts_with(&self.dir) || environment.windows(mark.len()).any(|part| part == mark)
        };
        let processes = process::all().filter_map(|pid| {
            let proc = PathBuf::from(format!("/proc/{pid}"));
            let name = fs::read_to_string(proc.join("comm")).ok()?;
            (!process::is_gone(pid) && marked(&proc)).then(|| (pid, name.trim().to_owned()))
        });
        processes.collect()
    }

    pub(crate) fn named(&self, part: &str) -> Vec<u32> {
        let all = self.processes().into_iter();
        all.filter(|(_, name)| name.contains(part)).map(|(pid, _)| pid).collect()
    }

    pub(crate) fn servers(&self) -> Vec<u32> {
        self.named("-server")
    }

    #[track_caller]
    pub(crate) fn assert_all_gone(&self) {
        until("every process is gone", || self.processes().is_empty());
    }

    #[track_caller]
    pub(crate) fn assert_no_files(&self) {
        assert_eq!(fs::read_dir(self.dir.join("tmp")).unwrap().count(), 0);
        assert!(self.entries().is_empty());
    }

    pub(crate) fn entries(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.dir.join("run/loadgen")).unwrap().flatten();
        let json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
        files.map(|file| file.path()).filter(json).collect()
    }
}

impl Drop for World {
    /// A failed test must not leave what it tests for.
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            let _ = kill_process(process::id(pid), Signal::KILL);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The addresses that `nodes up` prints when its nodes are ready, as --nodes takes them.
pub(crate) fn addresses(up: &mut Child) -> String {
    let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap_or_else(|| panic!("`nodes up` ended without its addresses"));
    let line = line.unwrap();
    let nodes = line.strip_prefix("LOADGEN_NODES=").unwrap_or_else(|| panic!("{line}"));
    nodes.trim_matches('\'').to_owned()
}

pub(crate) fn sigkill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

pub(crate) fn ended(mut child: Child) -> ExitStatus {
    let mut status = None;
    until("loadgen ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}
