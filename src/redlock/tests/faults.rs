//! Independent clients over nodes that fail: no two of them may hold one lock, whatever happens.
//!
//! A seed is a schedule: requests, polls, drops, extensions; nodes served one line at a time, so
//! that they see things in any order; links that break while they hold bytes; nodes that are
//! flushed, restarted with or without their data, in sight or behind a proxy; scripts flushed;
//! roles changed; errors; stalls; wall clocks stepped. After every action no lock may have two
//! valid leases, and no lease may come back. In the end everything heals, and no key may be left.
//!
//! With one protection switched off the same schedules break a lock: that is what it is for.
//!
//! What the guarantees exclude is excluded here, by construction: between a forward step of a
//! node's clock and the second heartbeat behind it nobody is told that he holds a lock (the step
//! is found by the first, and judged by the second); fencing tokens are compared only where
//! counters are not lost *and* clocks stepped in one schedule.
//!
//! One seed again: `REDLATCH_SEED=17 cargo test --lib faults::no_schedule`.

use std::collections::HashMap;
use std::pin::pin;

use super::net::{MS, Net, Station};
use super::*;
use crate::FencingToken;
use crate::builder::Builder;
use crate::config::{Protection, Waiting};
use crate::engine::rng::Rng;

type Request<'a> = Pin<Box<AcquireFuture<'a>>>;

/// What a schedule may do.
#[derive(Clone, Copy, Debug)]
struct Plan {
    nodes: usize,
    clients: usize,
    /// Nodes may forget.
    forgets: bool,
    /// Clocks may step.
    steps: bool,
    /// Leases outlive the schedule, so that a key that is left over is seen.
    is_long: bool,
    actions: usize,
}

struct Held {
    client: usize,
    guard: Guard,
    was_lost: bool,
}

struct World<'a> {
    plan: Plan,
    net: Net,
    rng: Rng,
    locks: &'a [Redlock],
    requests: Vec<(usize, Request<'a>)>,
    held: Vec<Held>,
    past: Vec<Lease>,
    tokens: HashMap<Resource, FencingToken>,
}

const ERRORS: [&str; 7] = [
    "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY You can't write against a read only replica.",
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script.",
    "MISCONF Redis is configured to save RDB snapshots",
    "NOREPLICAS Not enough good replicas to write.",
    "ERR of no known kind",
];

fn violated<T>(what: impl Into<String>) -> Result<T, String> {
    Err(what.into())
}

impl<'a> World<'a> {
    fn pick(&mut self, below: usize) -> usize {
        usize::try_from(self.rng.next() >> 33).unwrap() % below
    }

    fn coin(&mut self) -> bool {
        self.pick(2) == 0
    }

    async fn act(&mut self) -> Result<(), String> {
        let (node, client) = (self.pick(self.plan.nodes), self.pick(self.plan.clients));
        match self.pick(100) {
            0..10 => self.request(client)?,
            10..24 => self.be_calm(client).await?,
            24..36 => self.poll()?,
            36..39 if !self.requests.is_empty() => {
                let at = self.pick(self.requests.len());
                drop(self.requests.swap_remove(at));
            }
            39..49 => self.end_one(),
            49..52 => self.extend_one(),
            52..60 => {
                let most = 1 + self.pick(3);
                let only = self.coin().then_some(client);
                let chosen = |client: usize| only.is_none_or(|only| only == client);
                self.net.at(node).serve_most(most, |line| chosen(line.client));
            }
            60..66 => self.net.serve_client(node, client),
            66..70 => self.net.serve_node(node),
            70..76 => settle().await,
            76..79 => {
                let span = self.pick(30);
                self.net.advance(MS * u32::try_from(span).unwrap()).await;
            }
            79..87 => {
                let span = self.pick(20);
                self.net.run(MS * u32::try_from(span).unwrap()).await;
            }
            87 => self.net.run_by(450 * MS, 5 * MS).await,
            88..91 => self.be_quick(client).await?,
            _ => {
                self.fault(node, client).await;
                self.check()?;
                if self.coin() {
                    self.be_quick(client).await?;
                } else {
                    self.be_calm(client).await?;
                }
            }
        }
        self.check()
    }

    /// One client asks, and everybody has the time to answer.
    async fn be_calm(&mut self, client: usize) -> Result<(), String> {
        self.net.run(3 * MS).await;
        self.request(client)?;
        self.net.run(3 * MS).await;
        self.poll()
    }

    /// One client asks, instead of all that it waited for, and the nodes hear it before they hear
    /// anybody else.
    async fn be_quick(&mut self, client: usize) -> Result<(), String> {
        self.requests.retain(|(owner, _)| *owner != client);
        for turn in 0..4 {
            (0..self.plan.nodes).for_each(|node| self.net.serve_client(node, client));
            settle().await;
            if turn == 0 {
                self.net.advance(MS).await;
                self.request(client)?;
            }
        }
        self.poll()
    }

    fn request(&mut self, client: usize) -> Result<(), String> {
        let is_fenced = self.pick(4) == 0;
        let key = if is_fenced { "fenced" } else { "plain" };
        let mut request = self.locks[client].acquire(key);
        if is_fenced {
            request = request.fenced();
        }
        if !self.plan.is_long {
            request = request.ttl(MS * [100, 150, 300][self.pick(3)]);
        }
        match self.pick(4) {
            0 => request = request.renewal(Renewal::Off),
            1 => request = request.wait_for(10 * MS),
            _ => {}
        }
        let mut future = Box::pin(request.into_future());
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(guard)) => self.granted(client, guard),
            Poll::Ready(Err(_)) => Ok(()),
            Poll::Pending => {
                self.requests.push((client, future));
                Ok(())
            }
        }
    }

    fn poll(&mut self) -> Result<(), String> {
        for (client, mut future) in std::mem::take(&mut self.requests) {
            match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(guard)) => self.granted(client, guard)?,
                Poll::Ready(Err(_)) => {}
                Poll::Pending => self.requests.push((client, future)),
            }
        }
        Ok(())
    }

    fn granted(&mut self, client: usize, guard: Guard) -> Result<(), String> {
        if !guard.is_valid() {
            return violated(format!("granted without validity: {guard:?}"));
        }
        let comparable = !(self.plan.forgets && self.plan.steps);
        if let Some(token) = guard.fencing_token().filter(|_| comparable) {
            let last = self.tokens.insert(guard.resource().clone(), token);
            if last.is_some_and(|last| last >= token) {
                return violated(format!("fencing token {token} behind {last:?}"));
            }
        }
        self.held.push(Held { client, guard, was_lost: false });
        Ok(())
    }

    fn end_one(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.pick(self.held.len());
        let Held { guard, .. } = self.held.swap_remove(at);
        self.past.push(guard.lease().clone());
        if self.coin() {
            // Waited for or not.
            let _ = pin!(guard.release()).poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn extend_one(&mut self) {
        if !self.held.is_empty() {
            let (at, ms) = (self.pick(self.held.len()), self.pick(400));
            let ttl = MS * u32::try_from(ms).unwrap();
            let extension = pin!(self.held[at].guard.extend(ttl));
            let _ = extension.poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    async fn fault(&mut self, node: usize, client: usize) {
        let (coin, choice) = (self.coin(), self.pick(20));
        let (other, error) = (self.pick(self.plan.nodes), ERRORS[self.pick(ERRORS.len())]);
        let times = self.pick(3) as u64 + 1;
        if matches!(choice, 7..11) {
            // One such fault at a time: with more there is nothing to be had.
            (0..self.plan.nodes).for_each(|node| self.net.at(node).heal());
        }
        let mut station = self.net.at(node);
        let forgets = self.plan.forgets;
        match choice {
            0..3 => station.cut(coin, |line| line.client == client),
            3 => station.cut(coin, |_| true),
            4 => station.deliver(),
            5 => drop(station.command(&["SCRIPT", "FLUSH"])),
            6 => station.core.fail_next(times, error),
            7 => station.is_stalled = true,
            8 => station.is_away = true,
            9 if coin => station.core.demote(),
            9 | 10 => {}
            11 if forgets => drop(station.command(&["FLUSHALL"])),
            12 if forgets => {
                station.core.flush();
                drop(station);
                self.net.at(other).core.flush();
            }
            13 if forgets => station.restart(coin),
            // With nobody in between who could hide it, a restart ends connections.
            14 if forgets && self.net.is_direct => station.restart(coin),
            14 if forgets => station.restart_unseen(coin),
            15 if forgets => {
                station.restart(false);
                drop(station);
                self.net.at(other).restart(false);
            }
            16 if self.plan.steps => station.clock.rewind(MS * 1_500),
            17.. if self.plan.steps => {
                drop(station);
                self.step_forward(node).await;
                if coin {
                    self.step_forward(other).await;
                }
            }
            _ => {}
        }
    }

    /// A node's clock steps forward while somebody is connected who can tell; until it is judged,
    /// nobody asks whether he holds a lock.
    async fn step_forward(&mut self, node: usize) {
        let by = [30, 120, 1_000, 20_000, 20_000, 20_000][self.pick(6)];
        {
            let mut station = self.net.at(node);
            (station.is_stalled, station.is_away) = (false, false);
            station.deliver();
        }
        self.net.run_by(110 * MS, 2 * MS).await;
        let is_seen = |locks: &Redlock| {
            matches!(locks.node_states()[node], NodeState::Up | NodeState::Quarantined)
        };
        if self.locks.iter().any(is_seen) {
            self.net.at(node).clock.advance(by * MS);
            self.net.run_by(260 * MS, 2 * MS).await;
        }
    }

    fn check(&mut self) -> Result<(), String> {
        let mut valid: HashMap<&Resource, usize> = HashMap::new();
        for held in &mut self.held {
            let is_valid = held.guard.is_valid();
            if is_valid && held.was_lost {
                return violated(format!("a lost lease came back: {:?}", held.guard));
            }
            held.was_lost = !is_valid;
            if is_valid && let Some(other) = valid.insert(held.guard.resource(), held.client) {
                let (resource, client) = (held.guard.resource(), held.client);
                return violated(format!("{resource} is held by clients {other} and {client}"));
            }
        }
        match self.past.iter().find(|lease| lease.is_valid() || !lease.remaining().is_zero()) {
            Some(lease) => violated(format!("a released lease came back: {lease:?}")),
            None => Ok(()),
        }
    }

    /// Everything heals, everybody lets go: nothing is left.
    async fn heal(mut self) -> Result<(), String> {
        self.requests.clear();
        self.held.clear();
        for node in 0..self.net.nodes() {
            let mut station = self.net.at(node);
            station.heal();
            station.core.fail_next(0, "");
            station.deliver();
        }
        // A node that refused for good is greeted again after two seconds.
        for _ in 0..60 {
            self.net.run_by(50 * MS, 5 * MS).await;
            if self.net.keys() == 0 && self.locks.iter().all(is_quiet) {
                break;
            }
        }
        self.net.run_by(20 * MS, 5 * MS).await;
        if let keys @ 1.. = self.net.keys() {
            return violated(format!("{keys} keys are left"));
        }
        if let Some(locks) = self.locks.iter().find(|locks| !is_quiet(locks)) {
            let nodes = locks.nodes().into_iter().map(|node| (node.state, node.reason));
            return violated(format!("not all was answered: {:?}", nodes.collect::<Vec<_>>()));
        }
        for locks in self.locks {
            let stats = locks.stats();
            assert_eq!((stats.held, stats.waiting), (0, 0));
            assert!(locks.engine().fleet.pool.has_no_op_twice());
        }
        (0..self.net.nodes()).try_for_each(|node| check_order(&self.net.at(node)))
    }
}

pub(super) fn is_quiet(locks: &Redlock) -> bool {
    let queued = |node: &Arc<Node>| node.queued.load(Ordering::Relaxed);
    let is_up = |node: &Arc<Node>| matches!(node.health(), Health::Up | Health::Quarantined);
    let nodes = &locks.engine().nodes;
    nodes.iter().all(|node| is_up(node) && queued(node) == 0)
}

/// R7, R8: no command that can create a token's key comes behind a release of the token, whatever
/// connections they came on.
fn check_order(station: &Station) -> Result<(), String> {
    let mut released = HashSet::new();
    for command in &station.executed {
        let is_script = |sha: &str| command.get(1).is_some_and(|arg| arg == sha.as_bytes());
        let sets = match command[0].as_slice() {
            b"SET" => Some(&command[2]),
            b"EVALSHA" if is_script(script::FENCED.sha) => Some(&command[7]),
            b"EVALSHA" if is_script(script::RELEASE.sha) => {
                let keys: usize = std::str::from_utf8(&command[2]).unwrap().parse().unwrap();
                released.extend(command[3 + keys..].iter().cloned());
                None
            }
            _ => None,
        };
        if let Some(token) = sets.filter(|token| released.contains(*token)) {
            let names = |command: &&Vec<Vec<u8>>| command.contains(token);
            let text = |command: &Vec<Vec<u8>>| command.concat().escape_ascii().to_string();
            let story: Vec<String> = station.executed.iter().filter(names).map(text).collect();
            return violated(format!("a token is set behind its release: {story:#?}"));
        }
    }
    Ok(())
}

/// Which faults a schedule has; with a focus, those that this protection is against.
fn plan(pick: &mut impl FnMut(usize) -> usize, focus: Option<Protection>) -> Plan {
    let plan = Plan {
        nodes: [3, 3, 3, 5][pick(4)],
        clients: [2, 2, 3][pick(3)],
        forgets: pick(4) > 0,
        steps: pick(2) == 0,
        is_long: pick(2) == 0,
        actions: 40 + pick(100),
    };
    match focus {
        Some(Protection::Clock) => {
            Plan { nodes: 3, forgets: false, steps: true, is_long: true, ..plan }
        }
        Some(Protection::Quarantine | Protection::Seal) => {
            Plan { nodes: 3, forgets: true, steps: false, ..plan }
        }
        _ => plan,
    }
}

async fn play(
    seed: u64,
    focus: Option<Protection>,
    without: Option<Protection>,
) -> Result<(), String> {
    let is_direct = is_direct(seed);
    let mut rng = Rng::new(seed);
    let mut pick = |below: usize| usize::try_from(rng.next() >> 33).unwrap() % below;
    let plan = plan(&mut pick, focus);
    let net = Net::that_is(is_direct, plan.nodes);
    if pick(3) == 0 {
        net.narrow(150);
    }
    let (ttl, max_ttl) = if plan.is_long { (8_000, 8_000) } else { (300, 400) };
    let build = || -> Builder {
        let builder = net.builder().ttl(MS * ttl).max_ttl(MS * max_ttl);
        without.into_iter().fold(builder, Builder::without)
    };
    let locks: Vec<Redlock> = (0..plan.clients)
        .map(|client| {
            let way = usize::try_from(seed % 4).unwrap() + client;
            let ways = [Waiting::Queue, Waiting::Queue, Waiting::Race, Waiting::Backoff];
            net.client(client, seed, build().waiting(ways[way % 4]))
        })
        .collect();
    net.run_by(4 * MS, MS).await;
    let (requests, held, past, tokens) = Default::default();
    let mut world = World { plan, net, rng, locks: &locks, requests, held, past, tokens };
    for action in 0..plan.actions {
        let at = |what| format!("action {action} of {plan:?}: {what}");
        world.act().await.map_err(at)?;
    }
    world.heal().await.map_err(|what| format!("after {plan:?}: {what}"))
}

/// In every other four schedules, so that each way of waiting is in both, connections are watched.
const fn is_direct(seed: u64) -> bool {
    seed / 4 % 2 == 1
}

/// The schedule of `seed`: `Err` says what it broke.
fn run(seed: u64, focus: Option<Protection>, without: Option<Protection>) -> Result<(), String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play(seed, focus, without))
}

#[test]
fn no_schedule_breaks_a_lock() {
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let first = number("REDLATCH_SEED");
    let count = number("REDLATCH_SCHEDULES").unwrap_or_else(|| first.map_or(SCHEDULES, |_| 1));
    let first = first.unwrap_or(0);
    for seed in first..first + count {
        if let Err(what) = run(seed, None, None) {
            panic!("{what}; again: REDLATCH_SEED={seed} cargo test --lib faults::no_schedule");
        }
    }
}

/// More in one run: `REDLATCH_SCHEDULES=10000`.
const SCHEDULES: u64 = 150;
/// Schedules in which a missing protection must show.
const TRIES: u64 = 300;

/// What the first schedule breaks that breaks something without this protection, and nothing
/// with it.
fn broken(protection: Protection, tried: impl Fn(&u64) -> bool) -> String {
    let focus = Some(protection);
    let breaks = |seed| Some((seed, run(seed, focus, focus).err()?));
    let (seed, what) = (0..TRIES).filter(tried).find_map(breaks).expect("nothing was broken");
    assert_eq!(run(seed, focus, None), Ok(()), "schedule {seed}");
    what
}

#[test]
fn r1_without_seals_a_schedule_breaks_a_lock() {
    let what = broken(Protection::Seal, |seed| !is_direct(*seed));
    assert!(what.contains("is held by clients"), "{what}");
}

#[test]
fn r1_without_the_watch_a_schedule_breaks_a_lock() {
    let what = broken(Protection::Seal, |seed| is_direct(*seed));
    assert!(what.contains("is held by clients"), "{what}");
}

#[test]
fn r2_without_quarantine_a_schedule_breaks_a_lock() {
    let what = broken(Protection::Quarantine, |_| true);
    assert!(what.contains("is held by clients"), "{what}");
}

#[test]
fn without_clock_samples_a_schedule_breaks_a_lock() {
    let what = broken(Protection::Clock, |_| true);
    assert!(what.contains("is held by clients"), "{what}");
}

#[test]
fn r7_without_the_connection_fence_a_schedule_leaves_a_key() {
    let what = broken(Protection::Fence, |_| true);
    assert!(what.contains("behind its release") || what.contains("are left"), "{what}");
}
