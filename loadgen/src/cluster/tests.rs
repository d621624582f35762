//! Clusters of the real server, in this process; without one installed they say so and pass, unless
//! `CI` is set.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use std::time::Duration;

use super::super::resp::{self, Connection};
use super::super::{Persist, probe, process, url};
use super::*;

/// A directory of a test, removed at its end.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("loadgen-test-{name}-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A cluster of real servers, or `None` with a word where none is installed.
pub(crate) fn real_cluster(options: ClusterOptions) -> Option<Cluster> {
    if Server::find(None).unwrap().is_test_node() {
        assert!(std::env::var_os("CI").is_none(), "CI needs valkey-server or redis-server");
        eprintln!("skipped: no valkey-server or redis-server installed");
        return None;
    }
    let guardian = Arc::new(Guardian::start().unwrap());
    Some(Cluster::start(&options, guardian).unwrap())
}

fn nodes(nodes: usize) -> ClusterOptions {
    ClusterOptions { nodes, ..ClusterOptions::default() }
}

fn pid(cluster: &Cluster, index: usize) -> ProcId {
    lock(&cluster.nodes[index].slot).running.as_ref().unwrap().id()
}

fn call(cluster: &Cluster, index: usize, command: &[&str]) -> resp::Reply {
    let url = &cluster.urls()[index];
    Connection::open(url, Duration::from_secs(10)).unwrap().call(command).unwrap()
}

#[test]
fn nodes_start_apart_and_leave_nothing_behind() {
    let Some(cluster) = real_cluster(nodes(5)) else { return };
    let mut urls: Vec<_> = cluster.urls().iter().map(ToString::to_string).collect();
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 5);
    for info in cluster.nodes() {
        let url::Address::Tcp { port, .. } = info.url.address() else { panic!("{info:?}") };
        assert!((20_000..32_000).contains(port));
        assert!(cluster.entry.dir.is_dir());
        assert!(probe::answers(&info.url, Duration::from_secs(10)));
    }
    let pids: Vec<_> = (0..5).map(|index| pid(&cluster, index)).collect();
    let (registry, id, dir) =
        (cluster.launcher.registry.clone(), cluster.id().to_owned(), cluster.entry.dir.clone());
    let listed = registry.get(&id).unwrap();
    assert_eq!(listed.nodes.iter().filter_map(|node| node.process).collect::<Vec<_>>(), pids);
    cluster.stop().unwrap();
    assert!(pids.iter().all(|pid| pid.is_gone()));
    assert!(registry.get(&id).is_none() && !dir.exists());
    let late = cluster.restart(0).unwrap_err().to_string();
    assert!(late.contains("was ended"), "{late}");
}

#[test]
fn a_dropped_cluster_is_taken_down_without_the_guard() {
    if Server::find(None).unwrap().is_test_node() {
        return;
    }
    let cluster = Cluster::start(&nodes(2), Arc::new(Guardian::disabled())).unwrap();
    let (registry, id) = (cluster.launcher.registry.clone(), cluster.id().to_owned());
    let (dir, process) = (cluster.entry.dir.clone(), pid(&cluster, 1));
    drop(cluster);
    assert!(process.is_gone() && registry.get(&id).is_none() && !dir.exists());
}

#[test]
fn a_killed_node_comes_back_on_its_own_port_without_its_memory() {
    let Some(cluster) = real_cluster(nodes(2)) else { return };
    call(&cluster, 1, &["SET", "k", "v"]);
    let (before, urls) = (pid(&cluster, 1), cluster.urls());
    cluster.kill(1).unwrap();
    assert!(before.is_gone());
    assert_eq!(cluster.state(1).unwrap(), NodeState::Down);
    assert_eq!(cluster.state(0).unwrap(), NodeState::Running);
    assert!(!probe::answers(&urls[1], Duration::from_secs(10)));
    cluster.kill(1).unwrap();
    cluster.restart(1).unwrap();
    assert_ne!(pid(&cluster, 1), before);
    assert_eq!(cluster.urls(), urls);
    assert_eq!(call(&cluster, 1, &["GET", "k"]), resp::Reply::Null);
    let missing = cluster.kill(2).unwrap_err().to_string();
    assert_eq!(missing, "there is no node n3; the cluster has n1 to n2");
}

#[test]
fn an_append_only_node_keeps_its_memory_over_sigkill() {
    let options = ClusterOptions { persist: Persist::AofAlways, ..nodes(1) };
    let Some(cluster) = real_cluster(options) else { return };
    call(&cluster, 0, &["SET", "k", "v"]);
    cluster.kill(0).unwrap();
    cluster.restart(0).unwrap();
    assert_eq!(call(&cluster, 0, &["GET", "k"]), resp::Reply::Bulk(b"v".to_vec()));
    let facts = probe::facts(&cluster.urls()[0]).unwrap();
    assert_eq!(facts.appendonly.as_deref(), Some("yes"));
}

#[test]
fn a_paused_node_stands_still_until_it_is_resumed_and_is_stopped_all_the_same() {
    let Some(cluster) = real_cluster(nodes(2)) else { return };
    cluster.pause(0).unwrap();
    assert_eq!(pid(&cluster, 0).state(), process::ProcState::Stopped);
    assert_eq!(cluster.state(0).unwrap(), NodeState::Paused);
    cluster.resume(0).unwrap();
    assert!(probe::answers(&cluster.urls()[0], Duration::from_secs(10)));
    cluster.pause(0).unwrap();
    cluster.kill(1).unwrap();
    assert!(cluster.pause(1).is_err() && cluster.resume(1).is_err());
    cluster.heal_all().unwrap();
    for url in cluster.urls() {
        assert!(probe::answers(&url, Duration::from_secs(10)));
    }
    cluster.pause(1).unwrap();
    let paused = pid(&cluster, 1);
    cluster.stop().unwrap();
    assert!(paused.is_gone());
}

#[test]
fn unix_sockets_need_no_port() {
    let options = ClusterOptions { transport: Transport::Unix, ..nodes(3) };
    let Some(cluster) = real_cluster(options) else { return };
    for url in cluster.urls() {
        assert!(url.to_string().starts_with("unix:///"), "{url}");
        let facts = probe::facts(&url).unwrap();
        assert_eq!(facts.save.as_deref(), Some(""));
        assert_eq!(facts.appendonly.as_deref(), Some("no"));
        assert_eq!(facts.maxmemory_policy.as_deref(), Some("noeviction"));
        let shown = format!("{} {}", facts.server.unwrap(), facts.version.unwrap());
        assert_eq!(shown, cluster.server().to_string());
    }
}

#[test]
fn counters_count_what_a_client_does() {
    let Some(cluster) = real_cluster(nodes(1)) else { return };
    let url = &cluster.urls()[0];
    let before = probe::probe(url).unwrap();
    let (p50, p99) = probe::ping_rtt(url, 100).unwrap();
    let after = probe::probe(url).unwrap();
    assert!(after.commands.unwrap() >= before.commands.unwrap() + 101);
    assert!(after.reads.unwrap() >= before.reads.unwrap() + 101);
    assert!(after.writes.unwrap() >= before.writes.unwrap() + 101);
    assert!(after.cpu_user_s.unwrap() >= before.cpu_user_s.unwrap());
    assert_eq!(after.run_id, before.run_id);
    assert!(!p50.is_zero() && p50 <= p99);
}

#[test]
fn probing_a_node_that_is_not_there_or_needs_a_password_is_an_error_with_its_address() {
    let Some(cluster) = real_cluster(nodes(1)) else { return };
    call(&cluster, 0, &["CONFIG", "SET", "requirepass", "secret"]);
    let plain = &cluster.urls()[0];
    let refused = probe::probe(plain).unwrap_err();
    let source = std::error::Error::source(&refused).unwrap().to_string();
    assert!(source.contains("NOAUTH"), "{source}");
    let place = plain.to_string().replace("redis://", "");
    let url = format!("redis://:secret@{place}/1").parse().unwrap();
    assert!(probe::probe(&url).unwrap().commands.is_some());
    let wrong = format!("redis://:wrong@{place}").parse().unwrap();
    let error = probe::ping_rtt(&wrong, 1).unwrap_err().to_string();
    assert!(error.contains("WRONGPASS") && !error.contains(":wrong@"), "{error}");
    cluster.kill(0).unwrap();
    let error = probe::facts(plain).unwrap_err().to_string();
    assert!(error.contains(&plain.to_string()) && error.contains("refused"), "{error}");
}

/// A program for `--server-bin` that says it is Redis and does what `body` says.
fn script(dir: &TempDir, body: &str) -> PathBuf {
    let path = dir.path().join("server");
    let version = "[ \"$1\" = --version ] && echo 'Redis server v=9.9.9 sha=0' && exit 0";
    std::fs::write(&path, format!("#!/bin/sh\n{version}\n{body}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    path
}

#[test]
fn a_readiness_answer_of_another_process_does_not_count() {
    let Some(cluster) = real_cluster(nodes(2)) else { return };
    let url = &cluster.urls()[0];
    assert!(cluster.launcher.answers(url, pid(&cluster, 0)));
    assert!(!cluster.launcher.answers(url, pid(&cluster, 1)));
}

#[test]
fn a_node_that_ends_early_is_started_again_on_another_port() {
    let Some(real) = Server::find(None).unwrap().path().map(Path::to_owned) else { return };
    let dir = TempDir::new("flaky-server");
    let tried = dir.path().join("tried");
    let body = format!(
        "[ -e {tried} ] || {{ cat > {tried}; exit 1; }}\nexec {real} \"$@\"",
        tried = tried.display(),
        real = real.display(),
    );
    let options = ClusterOptions { server_bin: Some(script(&dir, &body)), ..nodes(1) };
    let guardian = Arc::new(Guardian::start().unwrap());
    let cluster = Cluster::start(&options, guardian).unwrap();
    let first = std::fs::read_to_string(&tried).unwrap();
    let url::Address::Tcp { port, .. } = cluster.urls()[0].address().clone() else { panic!() };
    assert!(first.starts_with("port 2") || first.starts_with("port 3"), "{first}");
    assert!(!first.starts_with(&format!("port {port}\n")), "{first}");
}

#[test]
fn a_server_that_ends_at_once_is_reported_with_its_log() {
    let dir = TempDir::new("bad-server");
    let script = script(&dir, "for i in $(seq 40); do echo \"line $i\" >&2; done; exit 3");
    let options = ClusterOptions { server_bin: Some(script), ..nodes(1) };
    let guardian = Arc::new(Guardian::start().unwrap());
    let error = Cluster::start(&options, guardian).unwrap_err();
    assert!(matches!(error, ClusterError::Exited { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("n1") && text.contains("status: 3") && text.ends_with("line 40"),
        "{text}"
    );
    assert!(text.contains("line 21\n") && !text.contains("line 20\n"), "{text}");
}

#[test]
fn a_count_out_of_range_starts_nothing() {
    for count in [0, 10, usize::MAX] {
        let guardian = Arc::new(Guardian::disabled());
        let error = Cluster::start(&nodes(count), guardian).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("a cluster of {count} was asked for; a local cluster has 1 to 9 nodes")
        );
    }
}
