//! The harness itself: what its users rely on without seeing it.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::server::{Client, Cluster, Reply, Server, poll_until};

const HOLD: &str = "REDLATCH_TEST_HOLD_SERVER";

#[test]
fn a_restarted_server_has_its_port_and_has_lost_its_data() {
    let server = Server::start_virgin(&["hz 50"]);
    let (port, pid) = (server.port, server.pid());
    assert!((20_000..32_000).contains(&port), "port {port}");
    let run_id = server.info("run_id").unwrap();
    assert_eq!(server.command(&["SET", "a b", "1"]), Reply::Simple("OK".into()));
    assert_eq!(server.keys(), ["a b"]);
    assert_eq!((server.dbsize(), server.get("a b").as_deref()), (1, Some("1")));
    assert_eq!((server.get("none"), server.pttl("none"), server.pttl("a b")), (None, -2, -1));
    assert_eq!(server.calls("set"), 1);
    server.kill();
    assert!(server.try_command(&["PING"]).is_err(), "a killed server answers");
    server.restart();
    assert_eq!((server.port, server.dbsize()), (port, 0));
    assert_ne!(server.pid(), pid);
    assert_ne!(server.info("run_id").unwrap(), run_id);
    assert_eq!(server.info("configured_hz").as_deref(), Some("50"), "extra lines apply again");
}

#[test]
fn a_paused_server_answers_only_after_resume() {
    let server = Server::start();
    let mut client = Client::connect(server.addr()).unwrap();
    server.pause();
    client.send(b"*1\r\n$4\r\nPING\r\n").unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    assert!(stat.contains(") T "), "{stat}");
    server.resume();
    assert_eq!(client.reply().unwrap(), Reply::Simple("PONG".into()));
}

#[test]
fn a_cluster_has_distinct_nodes_that_end_with_it() {
    let cluster = Cluster::start(5);
    let urls: HashSet<String> = cluster.urls().into_iter().collect();
    assert_eq!(urls.len(), 5);
    let pids: Vec<u32> = cluster.iter().map(Server::pid).collect();
    cluster[2].pause();
    let socket = cluster[0].unix_path();
    assert!(socket.exists());
    drop(cluster);
    assert!(pids.iter().all(|pid| !runs(*pid)), "a server outlived its cluster");
    assert!(!socket.exists(), "a directory outlived its server");
}

#[test]
fn a_password_is_used_by_the_harness_itself() {
    let server = Server::start_with(&["requirepass s3cret"]);
    assert_eq!(server.dbsize(), 0);
    let refused = Client::connect(server.addr()).unwrap().command(&["DBSIZE"]).unwrap();
    assert_eq!(refused, Reply::Error("NOAUTH Authentication required.".into()));
}

/// Runs itself as a second process that holds a server, and kills that process.
#[test]
fn no_server_outlives_a_killed_process() {
    if std::env::var_os(HOLD).is_some() {
        let server = Server::start();
        println!("\nholding {} {}", server.pid(), server.unix_path().display());
        std::thread::park();
        return;
    }
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "harness::no_server_outlives_a_killed_process", "--nocapture"])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok);
    let held = lines.find_map(|line| line.strip_prefix("holding ").map(str::to_owned)).unwrap();
    let (pid, socket) = held.split_once(' ').unwrap();
    let pid: u32 = pid.parse().unwrap();
    assert!(runs(pid), "the holder's server runs");
    holder.kill().unwrap();
    holder.wait().unwrap();
    poll_until("the orphan to be killed", || (!runs(pid)).then_some(()));
    std::fs::remove_dir_all(Path::new(socket).parent().unwrap()).unwrap();
}

/// Whether a process exists and is no zombie: an orphan may stay unreaped where pid 1 never waits.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}
