//! No process outlives loadgen, whatever ends it: the program itself is killed in every situation,
//! with each layer of the protection alone.
//!
//! A zombie counts as gone: the machine's first process may not reap.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group};

/// A world of its own: every process started in it has its directory as a mark.
struct World {
    dir: PathBuf,
}

impl World {
    /// `None`, with a word, where no server is installed; an error in CI.
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let found = ["valkey-server", "redis-server"]
            .iter()
            .any(|name| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok());
        if !found {
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

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(args).stdin(Stdio::null()).process_group(0);
        command.env("XDG_RUNTIME_DIR", self.dir.join("run")).env("TMPDIR", self.dir.join("tmp"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `nodes up` with three nodes, in the foreground, ready.
    fn up(&self, more: &[&str]) -> Child {
        let args = [&["nodes", "up", "--nodes", "3"], more].concat();
        let mut command = self.command(&args);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("LOADGEN_NODES=redis://127.0.0.1:"), "{line}");
        child
    }

    /// Every living process of this world, with its name.
    fn processes(&self) -> Vec<(i32, String)> {
        let mark = self.dir.as_os_str().as_encoded_bytes();
        let marked = |proc: &Path| {
            // A server overwrites its environment with its title, the guard leaves its directory.
            let cwd = fs::read_link(proc.join("cwd")).unwrap_or_default();
            let environment = fs::read(proc.join("environ")).unwrap_or_default();
            cwd.starts_with(&self.dir) || environment.windows(mark.len()).any(|part| part == mark)
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (_, rest) = stat.rsplit_once(')')?;
            let zombie = rest.trim_start().starts_with(['Z', 'X']);
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            (!zombie && marked(&entry.path())).then(|| (pid, name.trim().to_owned()))
        });
        processes.collect()
    }

    fn named(&self, part: &str) -> Vec<i32> {
        let all = self.processes().into_iter();
        all.filter(|(_, name)| name.contains(part)).map(|(pid, _)| pid).collect()
    }

    fn servers(&self) -> Vec<i32> {
        self.named("-server")
    }

    #[track_caller]
    fn assert_all_gone(&self) {
        wait("every process to be gone", || self.processes().is_empty());
    }

    #[track_caller]
    fn assert_no_files(&self) {
        assert_eq!(fs::read_dir(self.dir.join("tmp")).unwrap().count(), 0);
        assert!(self.entries().is_empty());
    }

    fn entries(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.dir.join("run/loadgen")).unwrap().flatten();
        let json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
        files.map(|file| file.path()).filter(json).collect()
    }
}

impl Drop for World {
    /// A failed test must not leave what it tests for.
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            signal(pid, Signal::KILL);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

fn sigkill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[track_caller]
fn wait(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..4_000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("waited 20 s for {what}");
}

fn ended(mut child: Child) -> ExitStatus {
    let mut status = None;
    wait("loadgen to end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// The situations in which loadgen is killed.
const SITUATIONS: [fn(&World); 4] = [
    |_| {},
    |world| {
        for node in ["1", "2", "3"] {
            world.ok(&["nodes", "pause", node]);
        }
    },
    |world| {
        world.ok(&["nodes", "kill", "n2"]);
    },
    |world| {
        // The new process is no child of the owner.
        world.ok(&["nodes", "restart", "2"]);
        world.ok(&["nodes", "pause", "2"]);
    },
];

#[test]
fn sigkill_leaves_neither_process_nor_file() {
    for prepare in SITUATIONS {
        let Some(world) = World::new() else { return };
        let owner = world.up(&[]);
        assert_eq!(world.servers().len(), 3);
        assert_eq!(world.named("loadgen-guard").len(), 1);
        prepare(&world);
        sigkill(owner);
        world.assert_all_gone();
        world.assert_no_files();
    }
}

#[test]
fn the_guard_alone_is_enough() {
    for prepare in SITUATIONS {
        let Some(world) = World::new() else { return };
        let owner = world.up(&["--without", "kernel"]);
        prepare(&world);
        sigkill(owner);
        world.assert_all_gone();
        world.assert_no_files();
    }
}

#[test]
fn the_kernel_alone_is_enough_for_the_processes() {
    // A restart from a second terminal is the guard's and the registry's to end.
    for prepare in SITUATIONS.into_iter().take(3) {
        let Some(world) = World::new() else { return };
        let owner = world.up(&["--without", "guard"]);
        assert!(world.named("loadgen-guard").is_empty());
        prepare(&world);
        sigkill(owner);
        world.assert_all_gone();
        assert_eq!(world.entries().len(), 1);
        assert!(world.ok(&["nodes", "ps"]).contains("orphaned"));
        world.ok(&["nodes", "down", "--all"]);
        world.assert_no_files();
    }
}

#[test]
fn the_registry_alone_is_enough_at_the_next_command() {
    for (number, prepare) in SITUATIONS.into_iter().enumerate() {
        let Some(world) = World::new() else { return };
        let owner = world.up(&["--without", "kernel", "--without", "guard"]);
        prepare(&world);
        let servers = world.servers();
        sigkill(owner);
        assert_eq!(world.servers(), servers);
        if number % 2 == 0 {
            world.ok(&["nodes", "down", "--all"]);
        } else {
            let next = world.up(&[]);
            assert!(servers.iter().all(|pid| !world.servers().contains(pid)));
            assert_eq!(world.servers().len(), 3);
            signal(pid(&next), Signal::TERM);
            assert!(ended(next).success());
        }
        world.assert_all_gone();
        world.assert_no_files();
    }
}

#[test]
fn a_guard_killed_first_does_not_save_the_nodes() {
    let Some(world) = World::new() else { return };
    let owner = world.up(&[]);
    world.ok(&["nodes", "pause", "1"]);
    for guard in world.named("loadgen-guard") {
        signal(guard, Signal::KILL);
    }
    sigkill(owner);
    world.assert_all_gone();
}

#[test]
fn a_signal_to_the_whole_group_reaches_loadgen_only() {
    let Some(world) = World::new() else { return };
    let owner = world.up(&[]);
    for (pid, name) in world.processes() {
        let group = getpgid(Pid::from_raw(pid)).unwrap();
        assert_eq!(group.as_raw_pid(), pid, "{name}");
    }
    kill_process_group(Pid::from_raw(pid(&owner)).unwrap(), Signal::KILL).unwrap();
    ended(owner);
    world.assert_all_gone();
    world.assert_no_files();
}

#[test]
fn a_start_killed_at_any_moment_leaves_nothing() {
    for flags in [&[][..], &["--keep"], &["--without", "kernel"], &["--without", "guard"]] {
        for moment in 1..=6 {
            let Some(world) = World::new() else { return };
            let args = [&["nodes", "up", "--nodes", "4"], flags].concat();
            let mut command = world.command(&args);
            let mut owner = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // The owner, the guard, then one node after the other; or the end of a quick start.
            wait("the moment", || {
                world.processes().len() >= moment
                    || owner.try_wait().unwrap().is_some()
                    || world.servers().len() == 4
            });
            sigkill(owner);
            wait("the guard to end", || world.named("guard").is_empty());
            if flags == ["--keep"] && world.entries().iter().any(is_kept) {
                // It was quicker than we were: the nodes are meant to live.
                world.ok(&["nodes", "down"]);
            }
            world.assert_all_gone();
        }
    }
}

fn is_kept(entry: &PathBuf) -> bool {
    let entry: serde_json::Value = serde_json::from_slice(&fs::read(entry).unwrap()).unwrap();
    entry["owner"] == "kept"
}

#[test]
fn a_node_without_its_parent_never_becomes_a_server() {
    let Some(world) = World::new() else { return };
    let own = std::process::id().to_string();
    for (parent, reason) in [("1", "parent process is gone"), (own.as_str(), "went away")] {
        // Nothing comes on standard input: the parent died before it opened the gate.
        let output = world.run(&["__node", "--parent", parent, "--exec", "/bin/cat"]);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(reason), "{errors}");
    }
}

#[test]
fn ctrl_c_and_its_like_end_everything_in_order() {
    for kind in [Signal::INT, Signal::TERM, Signal::HUP] {
        let Some(world) = World::new() else { return };
        let owner = world.up(&[]);
        world.ok(&["nodes", "pause", "3"]);
        signal(pid(&owner), kind);
        assert!(ended(owner).success(), "{kind:?}");
        // In order: by the time loadgen ends, all else has ended.
        assert_eq!(world.processes(), []);
        world.assert_no_files();
    }
}

#[test]
fn a_kept_cluster_lives_until_it_is_taken_down() {
    let Some(world) = World::new() else { return };
    let line = world.ok(&["nodes", "up", "--nodes", "3", "--keep"]);
    assert_eq!(line.matches("redis://127.0.0.1:").count(), 3, "{line}");
    let servers = world.servers();
    assert_eq!((servers.len(), world.processes().len()), (3, 3));
    // Neither another start nor the reaper takes it for an orphan.
    let second = world.up(&[]);
    let choice = world.run(&["nodes", "kill", "1"]);
    assert!(String::from_utf8_lossy(&choice.stderr).contains("choose one with --cluster"));
    signal(pid(&second), Signal::INT);
    assert!(ended(second).success());
    assert_eq!(world.servers(), servers);

    world.ok(&["nodes", "pause", "1"]);
    world.ok(&["nodes", "kill", "2"]);
    let listing = world.ok(&["nodes", "ps"]);
    for line in ["n1  paused", "n2  down", "n3  running"] {
        assert!(listing.contains(line), "{listing}");
    }
    world.ok(&["nodes", "resume", "1"]);
    world.ok(&["nodes", "restart", "2"]);
    assert_eq!(world.ok(&["nodes", "ps"]).matches("  running ").count(), 3);
    let missing = world.run(&["nodes", "kill", "4"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no node n4"));

    world.ok(&["nodes", "pause", "3"]);
    world.ok(&["nodes", "down"]);
    assert_eq!(world.processes(), []);
    world.assert_no_files();
}

/// Nodes that were started again have lost everything: a run on them says so and how long it takes,
/// `init` opens them while no client has used them, and leaves them alone ever after.
#[test]
fn init_opens_a_new_fleet_once_and_a_run_on_a_quarantined_one_is_refused() {
    let Some(world) = World::new() else { return };
    let line = world.ok(&["nodes", "up", "--nodes", "3", "--keep"]);
    let urls = line.trim().strip_prefix("LOADGEN_NODES=").unwrap().to_owned();
    let listing = || world.ok(&["nodes", "ps"]);
    assert_eq!(listing().matches(" open").count(), 3, "spawned nodes vote: {}", listing());
    let restart = || {
        for node in ["1", "2", "3"] {
            world.ok(&["nodes", "restart", node]);
        }
        assert_eq!(listing().matches("no epoch yet").count(), 3, "{}", listing());
    };
    let code_and_text = |args: &[&str]| {
        let mut command = world.command(args);
        let output = command.current_dir(world.dir.join("tmp")).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let init = |urls: &str| code_and_text(&["nodes", "init", "--nodes", urls]);
    let run = || {
        let size = ["-c", "4", "-d", "500ms", "-w", "0", "-q", "--ttl", "20s"];
        code_and_text(&[&["run", "--nodes", &urls][..], &size].concat())
    };

    restart();
    let (code, text) = run();
    assert_eq!(code, Some(1), "{text}");
    let advice = format!("loadgen nodes init --nodes {urls}");
    assert!(text.contains("no lock can be had for another ") && text.contains(&advice), "{text}");
    assert_eq!(listing().matches(" quarantined for ").count(), 3, "{}", listing());
    let (code, text) = init(&urls);
    assert_eq!(code, Some(3), "a quarantine is not cut short: {text}");
    let first = urls.split(',').next().unwrap();
    assert!(text.contains("nothing was opened") && text.contains(first), "{text}");

    restart();
    let unreachable = format!("{urls},redis://127.0.0.1:1");
    let (code, text) = init(&unreachable);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("nothing was opened") && text.contains("127.0.0.1:1"), "{text}");
    assert_eq!(listing().matches("no epoch yet").count(), 3, "all or none: {}", listing());
    for wrong in ["http://127.0.0.1:1", &format!("{urls},{first}")] {
        let (code, text) = init(wrong);
        assert_eq!(code, Some(2), "{text}");
    }
    let (code, text) = init(&urls);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("opened  redis://127.0.0.1:").count(), 3, "{text}");
    assert_eq!(init(&urls).0, Some(3), "once in the life of a fleet");
    let (code, text) = run();
    assert_eq!(code, Some(0), "{text}");
    world.ok(&["nodes", "down"]);
}

#[test]
fn a_living_owner_keeps_its_cluster() {
    let Some(world) = World::new() else { return };
    let owner = world.up(&[]);
    let refused = world.run(&["nodes", "down"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("end that instead"));
    world.ok(&["nodes", "down", "--all"]);
    assert_eq!(world.servers().len(), 3);
    sigkill(owner);
    world.assert_all_gone();
}

#[test]
fn a_reused_pid_is_not_killed() {
    let Some(world) = World::new() else { return };
    let owner = world.up(&["--without", "kernel", "--without", "guard"]);
    sigkill(owner);
    // It ends with its input, so also when this test fails.
    let mut bystander = Command::new("cat");
    bystander.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut bystander = bystander.spawn().unwrap();
    // Node 1's entry now names the bystander's pid with the start time of the node.
    let path = world.entries().remove(0);
    let mut entry: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let real = entry["nodes"][0]["process"]["pid"].as_i64().unwrap();
    entry["nodes"][0]["process"]["pid"] = bystander.id().into();
    fs::write(&path, serde_json::to_vec(&entry).unwrap()).unwrap();
    world.ok(&["nodes", "down", "--all"]);
    assert!(bystander.try_wait().unwrap().is_none());
    assert_eq!(world.servers(), [i32::try_from(real).unwrap()]);
    sigkill(bystander);
}
