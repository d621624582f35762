//! `--witness`: what the nodes hold is looked at from outside, on real nodes, and a saboteur who
//! takes keys away under their holders is seen.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests; they wait on the test's own clock"
)]

mod schema;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use support::dir::Dir;
use support::process::need_server;

/// The exit code of a run, what it printed, and its result.
fn run(dir: &Dir, line: &str) -> (i32, String, Value) {
    let (code, text) = dir.run(&format!("{line} -q"));
    let result = if code == 2 { Value::Null } else { dir.result() };
    (code, text, result)
}

/// Three nodes that somebody else runs.
struct Nodes {
    owner: Child,
    urls: String,
}

impl Nodes {
    fn up() -> Self {
        need_server();
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(["nodes", "up", "--nodes", "3"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut owner = command.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(owner.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let urls = line.trim().strip_prefix("LOADGEN_NODES=").unwrap().to_owned();
        Self { owner, urls }
    }

    /// Does `commands` on the first two nodes, again and again, while `job` runs.
    fn sabotaged<T>(&self, commands: &str, job: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let saboteur = scope.spawn(|| {
                let nodes = self.urls.split(',').take(2);
                let addresses = nodes.map(|url| url.trim_start_matches("redis://"));
                let mut all: Vec<_> = addresses.map(|at| TcpStream::connect(at).unwrap()).collect();
                while !over.load(Ordering::Relaxed) {
                    for node in &mut all {
                        node.write_all(commands.as_bytes()).unwrap();
                        let _ = node.read(&mut [0; 256]).unwrap();
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let done = job();
            over.store(true, Ordering::Relaxed);
            saboteur.join().unwrap();
            done
        })
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.owner.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.owner.wait();
    }
}

fn count(result: &Value, what: &str) -> u64 {
    result["witness"][what].as_u64().unwrap()
}

#[test]
fn what_is_held_is_seen_to_be_held_in_every_mode() {
    need_server();
    let dir = Dir::new("clean");
    for mode in ["mutex", "shared:50", "all:2", "hierarchy:2", "permits:2"] {
        let (code, text, result) = run(
            &dir,
            &format!(
                "run --spawn 3 -c 8 -t 1 --processes 2 -k 4 -w 0s -d 1500ms --hold 30ms --witness \
             --mode {mode}"
            ),
        );
        assert_eq!(code, 0, "{mode}: {text}");
        let n = |what| count(&result, what);
        assert!(n("passes") >= 10 && n("backed") >= 10, "{mode}: {text}");
        assert_eq!((n("unbacked"), n("other_holder")), (0, 0), "{mode}: {text}");
        assert_eq!(n("judged"), n("backed") + n("unknown"), "{mode}: {text}");
        assert_eq!((n("processes_known"), &result["witness"]["verdict"]), (2, &"holds".into()));
        assert!(text.contains("nodes HOLD WHAT THEY SHOULD"), "{mode}: {text}");
        if mode == "all:2" {
            // Only the witness asks so, and what it asks is not the locks'.
            let kinds = &result["contention"]["commands"]["kinds_per_acquisition"];
            assert!(kinds.is_object() && kinds["mget"].is_null(), "{kinds}");
        }
    }
}

#[test]
fn keys_that_are_deleted_under_their_holder_are_missed() {
    let (dir, nodes) = (Dir::new("deleted"), Nodes::up());
    // One client: nobody is there to get the lock meanwhile, and the checker has nothing to see.
    let line = format!(
        "run --nodes {} -c 1 -t 1 -k 1 -w 0s -d 2s --hold 100ms --witness --key-prefix w:",
        nodes.urls
    );
    let (code, text, result) = nodes.sabotaged("DEL w:0\r\n", || run(&dir, &line));
    assert_eq!(code, 4, "{text}");
    assert_eq!(result["safety"]["verdict"], "holds", "{text}");
    assert_eq!(result["witness"]["verdict"], "violated", "{text}");
    assert!(count(&result, "unbacked") >= 5, "{text}");
    assert_eq!(count(&result, "other_holder"), 0, "{text}");
    let first = &result["witness"]["examples"][0];
    assert_eq!((&first["key"], &first["sight"]), (&"w:0".into(), &"unbacked".into()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    let published = command.arg("schema").output().unwrap().stdout;
    let published: Value = serde_json::from_slice(&published).unwrap();
    let errors = schema::errors(&published, &result);
    assert!(errors.is_empty(), "correct loadgen/schema: {errors:#?}");
    // A key may also go between the two looks.
    for example in result["witness"]["examples"].as_array().unwrap() {
        let sabotaged =
            |node: usize| ["missing", "once"].map(Value::from).contains(&example["nodes"][node]);
        assert!(sabotaged(0) && sabotaged(1), "{text}");
        assert_eq!(example["nodes"][2], "held", "{text}");
    }
    assert!(text.contains("that no quorum of nodes showed"), "{text}");
    let page = dir.text("out/report.html");
    assert!(page.contains("no quorum has the holder"));
}

#[test]
fn another_holder_on_a_quorum_is_a_violation() {
    let (dir, nodes) = (Dir::new("other"), Nodes::up());
    let line = format!(
        "run --nodes {} -c 1 -t 1 -k 1 -w 0s -d 2s --hold 1s --witness --key-prefix w:",
        nodes.urls
    );
    let intruder = "SET w:0 0123456789abcdef0123456789abcdef XX PX 20\r\n";
    let (code, text, result) = nodes.sabotaged(intruder, || run(&dir, &line));
    assert_eq!(code, 4, "{text}");
    assert!(count(&result, "other_holder") >= 3, "{text}");
    let reason = result["verdict"]["reasons"][0].as_str().unwrap();
    assert!(reason.contains("while a quorum had another holder"), "{text}");
}

#[test]
fn nodes_that_faults_made_forget_are_unknown_and_not_accused() {
    need_server();
    let dir = Dir::new("faults");
    let base = "run --spawn 3 -c 6 -t 1 -k 6 -w 0s -d 2s --hold 200ms --wait 1s --witness";
    let (_, text, result) = run(&dir, &format!("{base} --fault flush@500ms:majority"));
    assert!(count(&result, "unknown") >= 1, "{text}");
    assert_eq!((count(&result, "unbacked"), count(&result, "other_holder")), (0, 0), "{text}");
    let (code, text, result) = run(&dir, &format!("{base} --fault kill@500ms/300ms"));
    assert_eq!(code, 0, "{text}");
    assert!(count(&result, "backed") >= 10, "{text}");
    assert_eq!((count(&result, "unbacked"), count(&result, "other_holder")), (0, 0), "{text}");
}

#[test]
fn a_lock_without_nodes_has_nothing_to_look_at() {
    let (code, text, _) = run(&Dir::new("noop"), "run --backend broken --witness");
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("--witness needs nodes"), "{text}");
}
