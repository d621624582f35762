//! Other libraries' locks and ours exclude each other on the same key.
//!
//! redis-py (one node) and node-redlock (three nodes) run in processes of their own, driven line
//! by line; nothing of theirs is imitated here. `.ci/interop` installs both below the build
//! directory, in the versions of `requirements.txt` and `package.json` beside this file, and runs
//! these tests. They need Python 3.10 and Node.js 18 or later and the two package registries, so
//! they are no part of a plain `cargo test`; where a library is missing, they fail and say so.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests: a panic is a failure")]

#[path = "../support/server.rs"]
mod server;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use redlatch::{AcquireError, Mode, Redlock, ReleaseError};
use server::{Cluster, Server};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Longer than anything here takes on a slow machine; what takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(60);
/// No lock here expires, unless its test says so.
const TTL: Duration = Duration::from_secs(120);
const KEY: &str = "orders:42";

/// The script of another library, running.
struct Peer {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn redis_py(node: &Server) -> Self {
        let python = installed().join("venv/bin/python");
        Self::start(&python, &installed().join("venv"), "redis_py.py", &[node.url()])
    }

    fn node_redlock(urls: &[String]) -> Self {
        let modules = installed().join("node_modules");
        Self::start("node".as_ref(), &modules.join("redlock"), "node_redlock.cjs", urls)
    }

    fn start(program: &Path, library: &Path, script: &str, urls: &[String]) -> Self {
        assert!(library.exists(), "no {}: install it by `.ci/interop`", library.display());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(script);
        let mut child = Command::new(program)
            .arg(script)
            .args(urls)
            .env("NODE_PATH", installed().join("node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()));
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, input, output }
    }

    async fn ask(&mut self, command: &str) -> String {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let answer = within(self.output.next_line()).await.unwrap();
        answer.unwrap_or_else(|| panic!("`{command}`: the script ended"))
    }

    async fn acquire(&mut self, ttl: Duration) -> String {
        self.ask(&format!("acquire {KEY} {}", ttl.as_millis())).await
    }

    /// Takes the lock once: it runs and is connected by then.
    async fn warm_up(&mut self) {
        assert_eq!(self.acquire(TTL).await, "yes");
        assert_eq!(self.ask("release").await, "released");
    }

    async fn count(&mut self) -> String {
        self.ask(&format!("count {KEY} counter {ROUNDS}")).await
    }
}

/// Where `.ci/interop` puts the libraries.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop")
}

/// Fails instead of hanging.
async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("not done within {LIMIT:?}"))
}

async fn connect(urls: &[String]) -> Redlock {
    within(Redlock::builder().nodes(urls.to_vec()).ttl(TTL).connect()).await.unwrap()
}

/// Each keeps the other out for as long as it holds the lock, and for no longer.
async fn exclude_each_other(peer: &mut Peer, servers: &[Server], urls: &[String]) {
    let locks = connect(urls).await;

    assert_eq!(peer.acquire(TTL).await, "yes");
    let refused = within(async { locks.try_acquire(KEY).await }).await;
    assert!(matches!(refused, Err(AcquireError::Busy { .. })), "{refused:?}");
    assert_eq!(peer.ask("release").await, "released");

    let ours = within(async { locks.try_acquire(KEY).await }).await.unwrap();
    assert_eq!(peer.acquire(TTL).await, "no");
    within(ours.release()).await.unwrap();

    // Theirs is released while we wait, and then expires while we wait.
    for (ttl, releases) in [(TTL, true), (Duration::from_millis(700), false)] {
        assert_eq!(peer.acquire(ttl).await, "yes");
        let waits = async { locks.acquire(KEY).await };
        let releases = async {
            if releases {
                // A moment, so that we are likely to wait by then; it is right either way.
                tokio::time::sleep(Duration::from_millis(50)).await;
                assert_eq!(peer.ask("release").await, "released");
            }
        };
        let (ours, ()) = within(async { tokio::join!(waits, releases) }).await;
        within(ours.unwrap().release()).await.unwrap();
    }
    // What expired is ours again, and theirs to find lost.
    let ours = within(async { locks.acquire(KEY).await }).await.unwrap();
    assert_eq!(peer.ask("release").await, "lost");
    assert!(ours.is_valid());
    assert_eq!(peer.acquire(TTL).await, "no");
    within(ours.release()).await.unwrap();

    // The same the other way round: keys that are theirs by now are not released by us.
    let stale = within(async { locks.acquire(KEY).await }).await.unwrap();
    for server in servers {
        assert_eq!(server.command(&["DEL", KEY]).int(), 1);
    }
    assert_eq!(peer.acquire(TTL).await, "yes");
    let released = within(stale.release()).await;
    assert!(matches!(released, Err(ReleaseError::NotHeld { .. })), "{released:?}");
    assert_eq!(peer.ask("release").await, "released");
    within(locks.close()).await;
}

/// Adds one so many times, by a read and then a write under the lock.
async fn count(locks: &Redlock, server: &Server) {
    for _ in 0..ROUNDS {
        let guard = locks.acquire(KEY).await.unwrap();
        let seen: u32 = server.get("counter").map_or(0, |text| text.parse().unwrap());
        tokio::time::sleep(Duration::from_millis(1)).await;
        server.command(&["SET", "counter", &(seen + 1).to_string()]);
        guard.release().await.unwrap();
    }
}

/// Enough that all are at it at a time, even if one began some rounds earlier.
const ROUNDS: u32 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_py_and_we_exclude_each_other() {
    let cluster = Cluster::start(1);
    let mut peer = Peer::redis_py(&cluster[0]);
    exclude_each_other(&mut peer, &cluster, &cluster.urls()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_redlock_and_we_exclude_each_other() {
    let cluster = Cluster::start(3);
    let urls = cluster.urls();
    let mut peer = Peer::node_redlock(&urls);
    exclude_each_other(&mut peer, &cluster, &urls).await;
}

/// Whatever our modes hold keeps a plain lock of theirs out, and the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_and_redis_py_exclude_each_other() {
    let cluster = Cluster::start(1);
    let urls = cluster.urls();
    let mut peer = Peer::redis_py(&cluster[0]);
    let locks = connect(&urls).await;
    let below = format!("{KEY}/items");
    let both = || locks.acquire_all([KEY, "orders:43"]).once();
    for mode in [Mode::Shared, Mode::IntentShared, Mode::IntentExclusive, Mode::Exclusive] {
        let take = || async { locks.try_acquire(KEY).mode(mode).await };
        excludes(&mut peer, take).await;
    }
    excludes(&mut peer, || async { locks.try_acquire(KEY).permit_of(3).await }).await;
    // Their lock on what is above, and on one of several.
    excludes(&mut peer, || async { locks.try_acquire(below.as_str()).hierarchical().await }).await;
    excludes(&mut peer, || async { both().await }).await;
    within(locks.close()).await;
}

async fn excludes<F>(peer: &mut Peer, take: impl Fn() -> F)
where
    F: Future<Output = Result<redlatch::Guard, AcquireError>>,
{
    assert_eq!(peer.acquire(TTL).await, "yes");
    let refused = within(take()).await;
    assert!(matches!(refused, Err(AcquireError::Busy { .. })), "{refused:?}");
    assert_eq!(peer.ask("release").await, "released");
    let ours = within(take()).await.unwrap();
    assert_eq!(peer.acquire(TTL).await, "no");
    within(ours.release()).await.unwrap();
}

/// An update that is lost is one that two made at a time. Two of us, so that we also hand the lock
/// to each other while the others ask for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_between_three_libraries() {
    let cluster = Cluster::start(1);
    let urls = cluster.urls();
    let mut python = Peer::redis_py(&cluster[0]);
    let mut node = Peer::node_redlock(&urls);
    let (one, two) = (connect(&urls).await, connect(&urls).await);
    python.warm_up().await;
    node.warm_up().await;
    let all = async {
        tokio::join!(
            python.count(),
            node.count(),
            count(&one, &cluster[0]),
            count(&two, &cluster[0])
        )
    };
    let (python, node, (), ()) = within(all).await;
    assert_eq!((python.as_str(), node.as_str()), ("done", "done"));
    assert_eq!(cluster[0].get("counter"), Some((4 * ROUNDS).to_string()));
}

/// The same over three nodes, where an attempt can win some and lose others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_on_three_nodes() {
    let cluster = Cluster::start(3);
    let urls = cluster.urls();
    let mut node = Peer::node_redlock(&urls);
    let (one, two) = (connect(&urls).await, connect(&urls).await);
    node.warm_up().await;
    let all =
        async { tokio::join!(node.count(), count(&one, &cluster[0]), count(&two, &cluster[0])) };
    let (node, (), ()) = within(all).await;
    assert_eq!(node, "done");
    assert_eq!(cluster[0].get("counter"), Some((3 * ROUNDS).to_string()));
}

/// Waits behind the other library's lock, so many times; how long after its release began we had
/// it, the time of the release itself included.
async fn wakes(peer: &mut Peer, servers: &[Server], urls: &[String]) -> Vec<Duration> {
    let locks = connect(urls).await;
    let mut spans = Vec::new();
    for _ in 0..RELEASES {
        assert_eq!(peer.acquire(TTL).await, "yes");
        let waits = async {
            let guard = locks.acquire(KEY).await.unwrap();
            (server::now(), guard)
        };
        let releases = async {
            let stands = |server: &Server| server.command(&["ZCARD", QUEUE]).int() == 1;
            while servers.iter().filter(|server| stands(server)).count() * 2 < servers.len() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
            let began = server::now();
            assert_eq!(peer.ask("release").await, "released");
            began
        };
        let ((granted, guard), began) = within(async { tokio::join!(waits, releases) }).await;
        spans.push(granted.duration_since(began));
        within(guard.release()).await.unwrap();
    }
    spans.sort_unstable();
    spans
}

const QUEUE: &str = "redlatch:queue:orders:42";
const RELEASES: usize = 200;

/// Whoever waits behind another library is told of its release: none of these waits ends with a
/// look at the clock. The figures are printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_is_woken_by_the_release_of_another_library() {
    let (one, three) = (Cluster::start(1), Cluster::start(3));
    let python = wakes(&mut Peer::redis_py(&one[0]), &one, &one.urls()).await;
    let node = wakes(&mut Peer::node_redlock(&three.urls()), &three, &three.urls()).await;
    for (library, spans) in [("redis-py", python), ("node-redlock", node)] {
        let at = |share: usize| spans[(spans.len() - 1) * share / 100];
        println!("{library}: p50 {:?}, p95 {:?}, max {:?}", at(50), at(95), at(100));
        assert_eq!(spans.len(), RELEASES);
        // A look at the clock comes after 150 to 250 ms.
        assert!(at(50) < Duration::from_millis(100), "half of all were not told");
    }
}
