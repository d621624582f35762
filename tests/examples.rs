//! The examples do what their head comments say, on servers of their own.
//!
//! Cargo builds the examples before it runs all tests; where this target is run alone, build them
//! first: `cargo build --examples`. One that is older than its source fails its test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests: a panic is a failure")]

#[path = "support/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, thread};

use server::{Cluster, Reply, Server, now};

/// Longer than any example takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Beside the directory that holds this test.
fn binary(example: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let binary = profile.join("examples").join(format!("{example}{}", env::consts::EXE_SUFFIX));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{example}.rs"));
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let is_fresh = changed(&binary).is_some_and(|built| Some(built) >= changed(&source));
    assert!(is_fresh, "no current {}: run `cargo build --examples`", binary.display());
    binary
}

/// What it prints; it must succeed.
fn run(example: &str, args: &[String]) -> String {
    let mut command = Command::new(binary(example));
    command.args(args).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        if now() > deadline {
            child.kill().unwrap();
            panic!("{example} is not done within {LIMIT:?}: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example}: {}\n{text}{errors}", output.status);
    text
}

/// The lines in this order, with others between them perhaps.
fn assert_tells(text: &str, lines: &[&str]) {
    let mut told = text.lines();
    for line in lines {
        assert!(told.any(|told| told.contains(line)), "no `{line}` where it should be in\n{text}");
    }
}

#[test]
fn a_lock_is_taken_shown_and_given_back() {
    let cluster = Cluster::start(3);
    let text = run("basic", &cluster.urls());
    assert_tells(&text, &["held for", "a second caller finds it busy", "free again: 0 nodes"]);
}

#[test]
fn a_job_runs_to_its_end() {
    let cluster = Cluster::start(3);
    assert_tells(&run("job", &cluster.urls()), &["step 1;", "step 3;", "done after 3 steps"]);
}

#[test]
fn a_hash_refuses_a_stale_holder() {
    let (store, cluster) = (Server::start(), Cluster::start(3));
    // Again and again: what an earlier run left behind has smaller tokens.
    for _ in 0..2 {
        let text = run("fenced_redis", &[vec![store.url()], cluster.urls()].concat());
        let lines = [
            "first holder, token",
            "second holder, token",
            "first holder again, token",
            "the balance is 250",
        ];
        assert_tells(&text, &lines);
        let written: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(written, ["true", "true", "false", "250"]);
    }
    assert_eq!(store.command(&["HLEN", "example:account"]), Reply::Int(2));
}

#[test]
fn a_row_refuses_a_stale_holder() {
    let cluster = Cluster::start(3);
    let text = run("fenced_sql", &cluster.urls());
    assert_tells(&text, &["first holder, token", "first holder again", "the balance is 250"]);
    let written: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(written, ["true", "true", "false", "250"]);
}

#[test]
fn a_stream_refuses_a_stale_holder() {
    let (store, cluster) = (Server::start(), Cluster::start(3));
    for events in [3, 6] {
        let text = run("fenced_stream", &[vec![store.url()], cluster.urls()].concat());
        let lines = ["opened: Some(", "-0\")", "paid out 50: Some(", "again: closed: None"];
        assert_tells(&text, &lines[..1]);
        assert_tells(&text, &lines[2..]);
        assert_tells(&text, &["paid in 100: Some(", &format!("the stream has {events} events")]);
        assert_eq!(store.command(&["XLEN", "example:audit"]), Reply::Int(events));
    }
}

#[test]
fn a_version_saves_an_update_that_the_lock_did_not() {
    let cluster = Cluster::start(3);
    let lines = [
        "first worker: 10 pieces, version 1",
        "second worker takes 3: true",
        "first worker takes 2, too late: false",
        "first worker takes 2, again: true",
        "5 pieces are left",
    ];
    assert_tells(&run("optimistic", &cluster.urls()), &lines);
}

#[test]
fn what_finds_the_lock_busy_is_put_off_or_told_so() {
    let (store, cluster) = (Server::start(), Cluster::start(3));
    let text = run("fallback", &[vec![store.url()], cluster.urls()].concat());
    let lines = [
        "somebody edits the account",
        "monthly statement: put off",
        "new address: put off",
        "a second user is told",
        "the editor is done",
        "done: monthly statement",
        "done: new address",
        "done: interest",
        "interest: at once",
    ];
    assert_tells(&text, &lines);
    assert_eq!(store.keys(), [] as [String; 0], "a job is left");
}
