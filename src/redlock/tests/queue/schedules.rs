//! Clients that wait side by side, over nodes that fail.
//!
//! A seed is a schedule, as in [`faults`](super::super::faults); here callers wait: some in line
//! on the nodes, some to be told of a release, some for a time only. Messages get lost, queues are
//! deleted, holders vanish with what they hold. Nobody may hold what another holds; when all is
//! well again whoever still waits is served before long; and in the end nothing is left.
//!
//! One seed again: `REDLATCH_SEED=17 cargo test --lib schedules::no_schedule`.

use std::collections::HashMap;

use super::super::faults::is_quiet;
use super::super::net::{MS, Net, Station};
use super::super::rules::poll;
use super::super::*;
use super::{QUEUE, Request, line};
use crate::FencingToken;
use crate::config::Waiting;
use crate::engine::rng::Rng;

/// What a schedule may do.
#[derive(Clone, Copy, Debug)]
struct Plan {
    nodes: usize,
    clients: usize,
    resources: usize,
    /// Nothing fails, nobody vanishes.
    is_calm: bool,
    /// Nodes may forget.
    forgets: bool,
    ttl_ms: u32,
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

const RESOURCES: [&str; 2] = ["r", "s"];
const ERRORS: [&str; 4] = [
    "OOM command not allowed when used memory > 'maxmemory'.",
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script.",
    "ERR of no known kind",
];
const REQUESTS_MAX: usize = 12;

impl<'a> World<'a> {
    fn pick(&mut self, below: usize) -> usize {
        usize::try_from(self.rng.next() >> 33).unwrap() % below
    }

    fn coin(&mut self) -> bool {
        self.pick(2) == 0
    }

    fn span(&mut self, below: usize) -> Duration {
        MS * u32::try_from(self.pick(below)).unwrap()
    }

    async fn act(&mut self) -> Result<(), String> {
        let (node, client) = (self.pick(self.plan.nodes), self.pick(self.plan.clients));
        match self.pick(100) {
            0..22 if self.requests.len() < REQUESTS_MAX => self.request(client)?,
            0..38 => self.poll()?,
            38..42 if !self.requests.is_empty() => {
                let at = self.pick(self.requests.len());
                drop(self.requests.swap_remove(at));
            }
            42..58 => self.end_one(),
            58..64 => {
                let most = 1 + self.pick(3);
                self.net.at(node).serve_most(most, |_| true);
            }
            64..69 => self.net.serve_client(node, client),
            69..73 => settle().await,
            73..76 => {
                let span = self.span(20);
                self.net.advance(span).await;
            }
            76..92 => {
                let span = self.span(12);
                self.net.run(span).await;
            }
            _ if self.plan.is_calm => self.net.run(MS).await,
            92..94 => self.net.run_by(300 * MS, 5 * MS).await,
            _ => self.fault(node, client),
        }
        self.check()
    }

    fn request(&mut self, client: usize) -> Result<(), String> {
        let mut request = self.locks[client].acquire(RESOURCES[self.pick(self.plan.resources)]);
        if self.pick(4) == 0 {
            request = request.fenced();
        }
        match self.pick(4) {
            0 => request = request.renewal(Renewal::Off),
            1 => request = request.wait_for(self.span(60)),
            _ => {}
        }
        let mut future = Box::pin(request.into_future());
        match poll(&mut future) {
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
            match poll(&mut future) {
                Poll::Ready(Ok(guard)) => self.granted(client, guard)?,
                Poll::Ready(Err(_)) => {}
                Poll::Pending => self.requests.push((client, future)),
            }
        }
        Ok(())
    }

    fn granted(&mut self, client: usize, guard: Guard) -> Result<(), String> {
        if !guard.is_valid() {
            return Err(format!("granted without validity: {guard:?}"));
        }
        if let Some(token) = guard.fencing_token() {
            let last = self.tokens.insert(guard.resource().clone(), token);
            if last.is_some_and(|last| last >= token) {
                return Err(format!("fencing token {token} behind {last:?}"));
            }
        }
        self.held.push(Held { client, guard, was_lost: false });
        self.check()
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
            let _ = poll(&mut Box::pin(guard.release()));
        }
    }

    fn fault(&mut self, node: usize, client: usize) {
        let (coin, choice) = (self.coin(), self.pick(18));
        let (other, error) = (self.pick(self.plan.nodes), ERRORS[self.pick(ERRORS.len())]);
        let times = self.pick(3) as u64 + 1;
        if matches!(choice, 7 | 8) {
            // One node at a time, or there is nothing to be had.
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
            9..11 => station.is_mute = !station.is_mute,
            11 => drop(station.command(&["DEL", QUEUE, "redlatch:queue:s"])),
            12 => {
                drop(station);
                self.net.lose(client);
            }
            13 => self.net.find_all(),
            14 if forgets => {
                station.core.flush();
                drop(station);
                if coin {
                    self.net.at(other).core.flush();
                }
            }
            15 if forgets => station.restart(coin),
            // Nothing stands between a watched connection and its process.
            16 if forgets && self.net.is_direct => station.restart(coin),
            16 if forgets => station.restart_unseen(coin),
            _ => {}
        }
    }

    fn check(&mut self) -> Result<(), String> {
        let mut valid: HashMap<&Resource, usize> = HashMap::new();
        for held in &mut self.held {
            let is_valid = held.guard.is_valid();
            if is_valid && held.was_lost {
                return Err(format!("a lost lease came back: {:?}", held.guard));
            }
            held.was_lost = !is_valid;
            if is_valid && let Some(other) = valid.insert(held.guard.resource(), held.client) {
                let (resource, client) = (held.guard.resource(), held.client);
                return Err(format!("{resource} is held by clients {other} and {client}"));
            }
        }
        match self.past.iter().find(|lease| lease.is_valid() || !lease.remaining().is_zero()) {
            Some(lease) => Err(format!("a released lease came back: {lease:?}")),
            None => Ok(()),
        }
    }

    /// All is well: whoever waits gets the lock in turn.
    async fn serve_all(&mut self) -> Result<(), String> {
        self.net.find_all();
        for node in 0..self.net.nodes() {
            let mut station = self.net.at(node);
            station.heal();
            station.core.fail_next(0, "");
            station.deliver();
        }
        // A few turns each; or else what was forgotten and a quarantine first, and a node that is
        // greeted again after two seconds.
        let turns_ms = u32::try_from(REQUESTS_MAX).unwrap() * 25;
        let faults_ms = if self.plan.is_calm { 0 } else { 2 * self.plan.ttl_ms + 2_500 };
        let bound_ms = turns_ms + faults_ms;
        let mut waited_ms = 0;
        while !self.requests.is_empty() || !self.held.is_empty() {
            if waited_ms > bound_ms {
                let (waiting, held) = (self.requests.len(), self.held.len());
                return Err(format!("{waiting} wait after {waited_ms} ms, {held} hold"));
            }
            self.net.run(2 * MS).await;
            waited_ms += 2;
            self.poll()?;
            self.check()?;
            if self.coin() {
                self.end_one();
            }
        }
        Ok(())
    }

    /// Nothing is left: no lock, nobody in line, nothing under way.
    async fn end(self) -> Result<(), String> {
        let left = |net: &Net| {
            let lines = |node| {
                let mut station = net.at(node);
                let empty = |queue| station.command(&["ZCARD", queue]) == b":0\r\n";
                [QUEUE, "redlatch:queue:s"].map(empty) == [true; 2]
            };
            net.keys() > 0 || !(0..net.nodes()).all(lines)
        };
        // Where nothing failed nothing is left to expire.
        let moments = if self.plan.is_calm { 10 } else { 1_200 };
        for _ in 0..moments {
            self.net.run_by(5 * MS, 5 * MS).await;
            if !left(&self.net) && self.locks.iter().all(is_quiet) {
                break;
            }
        }
        if left(&self.net) {
            let lines: Vec<_> = (0..self.net.nodes()).map(|node| line(&self.net, node)).collect();
            return Err(format!("{} keys are left, and in line {lines:?}", self.net.keys()));
        }
        if !self.locks.iter().all(is_quiet) {
            return Err("not all was answered".into());
        }
        for locks in self.locks {
            let stats = locks.stats();
            assert_eq!((stats.held, stats.waiting), (0, 0));
            assert!(locks.engine().fleet.pool.has_no_op_twice());
            assert!(locks.engine().fleet.hub.lists_nobody(), "an op stays behind");
        }
        (0..self.net.nodes()).try_for_each(|node| check_tokens(&self.net.at(node)))
    }
}

async fn play(seed: u64) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let mut pick = |below: usize| usize::try_from(rng.next() >> 33).unwrap() % below;
    let plan = Plan {
        nodes: [3, 3, 5][pick(3)],
        clients: [2, 3, 3, 4][pick(4)],
        resources: 1 + pick(2),
        is_calm: pick(4) == 0,
        forgets: pick(2) == 0,
        ttl_ms: [300, 300, 2_000][pick(3)],
        actions: 30 + pick(80),
    };
    // Every other one with watched connections, where a node's word is a vote (R10').
    let net = Net::that_is(seed % 2 == 1, plan.nodes);
    if pick(4) == 0 {
        net.narrow(200);
    }
    let locks: Vec<Redlock> = (0..plan.clients)
        .map(|client| {
            let waiting = [Waiting::Queue, Waiting::Queue, Waiting::Race][pick(3)];
            let most = [0, 0, 3][pick(3)];
            let ttl = MS * plan.ttl_ms;
            let builder = net.builder().ttl(ttl).max_ttl(ttl).waiting(waiting);
            net.client(client, seed, builder.handoff(Handoff::default().bound(most, 5 * MS)))
        })
        .collect();
    net.run_by(4 * MS, MS).await;
    let (requests, held, past, tokens) = Default::default();
    let mut world = World { plan, net, rng, locks: &locks, requests, held, past, tokens };
    for action in 0..plan.actions {
        let at = |what| format!("action {action} of {plan:?}: {what}");
        world.act().await.map_err(at)?;
    }
    let after = |what| format!("after {plan:?}: {what}");
    world.serve_all().await.map_err(after)?;
    world.end().await.map_err(after)
}

fn run(seed: u64) -> Result<(), String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(play(seed))
}

#[test]
fn no_schedule_breaks_a_lock_or_strands_a_waiter() {
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let first = number("REDLATCH_SEED");
    let count = number("REDLATCH_SCHEDULES").unwrap_or_else(|| first.map_or(SCHEDULES, |_| 1));
    let first = first.unwrap_or(0);
    for seed in first..first + count {
        if let Err(what) = run(seed) {
            panic!("{what}; again: REDLATCH_SEED={seed} cargo test --lib schedules::no_schedule");
        }
    }
}

/// More in one run: `REDLATCH_SCHEDULES=10000`.
const SCHEDULES: u64 = 150;

/// R8, R11: a ticket's token is not one of a round before, and nothing that can give it the lock
/// comes behind its release.
fn check_tokens(station: &Station) -> Result<(), String> {
    let (mut released, mut rounds) = (HashSet::new(), HashSet::new());
    for command in &station.executed {
        let sha = command.get(1).map(|sha| String::from_utf8_lossy(sha)).unwrap_or_default();
        let is_call = command[0] == b"EVALSHA";
        let (sets, enters) = match command[0].as_slice() {
            b"SET" => (Some(&command[2]), None),
            _ if is_call && sha == script::FENCED.sha => (Some(&command[7]), None),
            _ if is_call && sha == script::ENTER.sha => (None, Some(&command[8])),
            _ => (None, None),
        };
        if let Some(token) = sets.or(enters).filter(|token| released.contains(*token)) {
            let token = String::from_utf8_lossy(token).into_owned();
            return Err(format!("{token} asks for the lock behind its release"));
        }
        if let Some(token) = enters.filter(|token| rounds.contains(*token)) {
            let token = String::from_utf8_lossy(token).into_owned();
            return Err(format!("{token} is a ticket behind its SET"));
        }
        rounds.extend(sets.cloned());
        if is_call && sha == script::LEAVE.sha {
            released.insert(command[5].clone());
        } else if is_call && sha == script::RELEASE.sha {
            let keys: usize = std::str::from_utf8(&command[2]).unwrap().parse().unwrap();
            released.extend(command[3 + keys..].iter().cloned());
        }
    }
    Ok(())
}
