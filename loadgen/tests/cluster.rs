//! No process outlives loadgen, whatever ends it: the program itself is killed in every situation,
//! with each layer of the protection alone.
//!
//! A zombie counts as gone: the machine's first process may not reap.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are tests")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Signal, getpgid, kill_process_group};
use support::process::{id, signal, until};
use support::world::{World, ended, sigkill};

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
            signal(next.id(), Signal::TERM);
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
        assert_eq!(getpgid(Some(id(pid))).unwrap(), id(pid), "{name}");
    }
    kill_process_group(id(owner.id()), Signal::KILL).unwrap();
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
            until("the moment has come", || {
                world.processes().len() >= moment
                    || owner.try_wait().unwrap().is_some()
                    || world.servers().len() == 4
            });
            sigkill(owner);
            until("the guard has ended", || world.named("guard").is_empty());
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
        signal(owner.id(), kind);
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
    signal(second.id(), Signal::INT);
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
    let real = entry["nodes"][0]["process"]["pid"].as_u64().unwrap();
    entry["nodes"][0]["process"]["pid"] = bystander.id().into();
    fs::write(&path, serde_json::to_vec(&entry).unwrap()).unwrap();
    world.ok(&["nodes", "down", "--all"]);
    assert!(bystander.try_wait().unwrap().is_none());
    assert_eq!(world.servers(), [u32::try_from(real).unwrap()]);
    sigkill(bystander);
}
