//! What waiting costs, on five local servers: hand-over between processes, the death of a holder,
//! the death of the next in line, a writer among readers.
//!
//! `cargo bench --bench contention [-- ROUNDS] [--current-thread]`. Needs a server: without one it
//! fails and says how to install it. Handovers per second under load, and fairness, are what
//! `loadgen` measures. With `-- --test` every part runs twice.

#![expect(clippy::expect_used, reason = "a bench whose set-up fails has nothing to measure")]
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the time")]

#[path = "../tests/support/server.rs"]
mod server;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redlatch::{Guard, Mode, Redlock};
use server::{Client, Cluster, Server};
use tokio::time::sleep;

const KEY: &str = "contended";
const QUEUE: &str = "redlatch:queue:contended";
/// Of the locks whose holder is killed.
const SHORT: Duration = Duration::from_millis(1_000);
const ROUNDS: usize = 200;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [child, urls, flavour] = args.as_slice()
        && child == "--child"
    {
        return block_on(flavour == CURRENT, be_the_other(urls));
    }
    let is_test = args.iter().any(|arg| arg == "--test");
    let rounds = args.iter().find_map(|arg| arg.parse().ok());
    let rounds = if is_test { 2 } else { rounds.unwrap_or(ROUNDS) };
    let is_current = args.iter().any(|arg| arg == CURRENT);
    block_on(is_current, measure(rounds, if is_current { CURRENT } else { "" }));
}

/// Both processes on current-thread runtimes, not on multi-thread ones of two workers.
const CURRENT: &str = "--current-thread";

fn block_on(is_current: bool, future: impl Future<Output = ()>) {
    let mut runtime = if is_current {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    runtime.worker_threads(2).enable_all().build().expect("a runtime").block_on(future);
}

/// Nanoseconds on the clock that all processes of this machine share.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

async fn connect(urls: &str) -> Redlock {
    let locks = Redlock::builder().nodes(urls.split(',')).ttl(SHORT).max_ttl(SHORT);
    let locks = locks.connect().await.expect("the servers are up");
    while locks.node_states().iter().any(|state| *state != redlatch::NodeState::Up) {
        sleep(Duration::from_millis(5)).await;
    }
    locks
}

/// Another process: takes the lock when it is told to, says when it had it, releases it when it is
/// told to.
async fn be_the_other(urls: &str) {
    let locks = connect(urls).await;
    println!("ready");
    let mut guard = None;
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match line.as_str() {
            "acquire" => {
                guard = Some(locks.acquire(KEY).await.expect("the lock"));
                println!("{}", now());
            }
            _ => drop(guard.take().map(Guard::release).expect("it is held").await),
        }
    }
}

struct Other {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(urls: &str, flavour: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["--child", urls, flavour])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut other = Self { child, input, output };
        other.line();
        other
    }

    fn say(&mut self, word: &str) {
        writeln!(self.input, "{word}").expect("it listens");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        line
    }

    fn granted_at(&mut self) -> u64 {
        self.line().trim().parse().expect("a time")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until so many tickets are in line on a majority of the servers.
async fn in_line(cluster: &Cluster, count: i64) {
    let stands = |server: &&Server| server.command(&["ZCARD", QUEUE]).int() >= count;
    while cluster.iter().filter(stands).count() * 2 < cluster.len() {
        sleep(Duration::from_millis(1)).await;
    }
}

fn show(what: &str, bound: &str, mut spans: Vec<Duration>) {
    spans.sort_unstable();
    let at = |share: usize| spans.get((spans.len() - 1) * share / 100).copied().unwrap_or_default();
    let (p50, p95, max) = (at(50), at(95), at(100));
    let count = spans.len();
    println!("{what:46} p50 {p50:>9.1?}  p95 {p95:>9.1?}  max {max:>9.1?}  n {count}  ({bound})");
}

async fn measure(rounds: usize, flavour: &str) {
    let cluster = Cluster::start(5);
    let urls = cluster.urls().join(",");
    let locks = connect(&urls).await;
    let mut other = Other::start(&urls, flavour);

    let [first, ..] = &*cluster else { return };
    // Interleaved: the round trip of one command, that of a lock's command to a quorum, hand-overs.
    let mut ping = Client::connect(first.addr()).expect("a connection");
    let connect_to = |server: &Server| Client::connect(server.addr()).expect("a connection");
    let mut all: Vec<Client> = cluster.iter().map(connect_to).collect();
    let mut pings_to_all = Vec::new();
    let (mut pings, mut trips, mut handovers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let guard = locks.acquire(KEY).await.expect("the lock is free");
        other.say("acquire");
        in_line(&cluster, 1).await;
        sleep(Duration::from_millis(2)).await;
        let began = Instant::now();
        ping.command(&["PING"]).expect("an answer");
        pings.push(began.elapsed());
        let began = Instant::now();
        for client in &mut all {
            client.send(b"PING\r\n").expect("sent");
        }
        for client in &mut all {
            client.reply().expect("an answer");
        }
        pings_to_all.push(began.elapsed());
        let began = Instant::now();
        guard.verify().await.expect("it is held");
        trips.push(began.elapsed());
        sleep(Duration::from_millis(2)).await;
        let released_at = now();
        guard.release().await.expect("it is held");
        let granted_at = other.granted_at();
        handovers.push(Duration::from_nanos(granted_at.saturating_sub(released_at)));
        other.say("release");
        drop(locks.acquire(KEY).await.expect("the lock comes back"));
    }
    show("PING to one server", "for comparison", pings);
    show("PING to all five at once", "for comparison", pings_to_all);
    show("one round trip to a quorum of five", "for comparison", trips.clone());
    trips.sort_unstable();
    let bound = trips.get(trips.len() / 2).copied().unwrap_or_default() * 3;
    show("hand-over to another process", &format!("p50 within 3 trips: {bound:.1?}"), handovers);

    // The holder is killed: its keys live for a ttl from their last renewal.
    let mut spans = Vec::new();
    for _ in 0..rounds.min(10) {
        let mut holder = Other::start(&urls, flavour);
        holder.say("acquire");
        holder.granted_at();
        let waits = locks.acquire(KEY);
        let kill = async {
            in_line(&cluster, 1).await;
            drop(holder);
            now()
        };
        let (guard, killed_at) = tokio::join!(async { waits.await.expect("the lock") }, kill);
        spans.push(Duration::from_nanos(now() - killed_at));
        guard.release().await.expect("it is held");
    }
    let bound = SHORT + Duration::from_millis(50);
    show("killed holder to next grant, ttl 1 s", &format!("max within {bound:?}"), spans);

    // The next in line is killed: the one behind it gets the lock.
    let mut spans = Vec::new();
    for _ in 0..rounds.min(20) {
        let guard = locks.acquire(KEY).await.expect("the lock is free");
        let mut head = Other::start(&urls, flavour);
        head.say("acquire");
        in_line(&cluster, 1).await;
        other.say("acquire");
        in_line(&cluster, 2).await;
        drop(head);
        let released_at = now();
        guard.release().await.expect("it is held");
        spans.push(Duration::from_nanos(other.granted_at().saturating_sub(released_at)));
        other.say("release");
        drop(locks.acquire(KEY).await.expect("the lock comes back"));
    }
    show("release past a killed head", "max within 100 ms", spans);
    drop(other);
    readers_and_a_writer(&locks, rounds.min(100)).await;
}

const READERS: usize = 64;
const READING: Duration = Duration::from_millis(5);

/// 64 tasks read all the time; a writer comes now and then.
async fn readers_and_a_writer(locks: &Redlock, rounds: usize) {
    let is_over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (locks, is_over) = (locks.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut sections = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let guard = locks.acquire("read").mode(Mode::Shared).await.expect("a place");
                    let granted = Instant::now();
                    sleep(READING).await;
                    guard.release().await.expect("it is held");
                    sections.push((granted, Instant::now()));
                }
                sections
            })
        })
        .collect();
    // What a round trip takes meanwhile.
    let beside = locks.acquire("beside").await.expect("the lock is free");
    let trips = tokio::spawn({
        let is_over = Arc::clone(&is_over);
        async move {
            let mut trips = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                beside.verify().await.expect("it is held");
                trips.push((began, Instant::now()));
                sleep(Duration::from_millis(1)).await;
            }
            trips
        }
    });
    let mut waits = Vec::new();
    for _ in 0..rounds {
        sleep(READING * 4).await;
        let began = Instant::now();
        let guard = locks.acquire("read").await.expect("the lock");
        waits.push((began, Instant::now()));
        guard.release().await.expect("it is held");
    }
    is_over.store(true, Ordering::Relaxed);
    let mut sections = Vec::new();
    for reader in readers {
        sections.append(&mut reader.await.expect("a reader"));
    }
    let trips = trips.await.expect("the trips");
    let mut lengths = spans(&trips);
    show("one round trip meanwhile", "for comparison", lengths.clone());
    lengths.sort_unstable();
    let trip = lengths.get(lengths.len() / 2).copied().unwrap_or_default();
    let bound = spans(&sections).into_iter().max().unwrap_or_default() + trip * 3;
    let bound = format!("max within the longest reader and 3 trips: {bound:.1?}");
    show("writer among 64 readers", &bound, spans(&waits));
    // The machine is busy, and not evenly: each against what there was while it waited.
    let late = waits.iter().filter_map(|wait| {
        let bound = longest_beside(&sections, wait) + longest_beside(&trips, wait) * 3;
        (wait.1 - wait.0).checked_sub(bound)
    });
    let late: Vec<Duration> = late.collect();
    let worst = late.iter().max().copied().unwrap_or_default();
    let (late, all) = (late.len(), waits.len());
    println!(
        "over the longest reader and 3 trips of its own time: {late} of {all}, by {worst:.1?}"
    );
}

/// From when to when something took place.
type Span = (Instant, Instant);

fn spans(all: &[Span]) -> Vec<Duration> {
    all.iter().map(|(began, ended)| *ended - *began).collect()
}

/// The longest of those that overlap with `span`.
fn longest_beside(all: &[Span], span: &Span) -> Duration {
    let beside = all.iter().filter(|(began, ended)| *began < span.1 && *ended > span.0);
    beside.map(|(began, ended)| *ended - *began).max().unwrap_or_default()
}
