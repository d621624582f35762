//! Clocks that step, slew and lie, of nodes and of this process. Servers live by a wall clock of
//! the test's; see `clock_shim`.
//!
//! Until a step is noticed (a heartbeat at most) the keys on that node may be gone while their
//! holder believes in them: that nobody else gets them in this time is assumption A3, and no test
//! here claims it. What is claimed is what follows from the moment of detection.

use std::time::Duration;

use redlatch::testing::Protection;
use redlatch::{AcquireError, Builder, Guard, Lost, NodeState, NodeStatus, Redlock, Renewal};

use crate::clock_shim::{ClockShim, server_time};
use crate::server::Server;
use crate::states::{allow, fill_memory, free_memory};
use crate::support::{all_up, builder, held_everywhere, ms, since_boot, until, within};

const BEAT: Duration = ms(200);
/// Of locks and quarantines that must outlive a test.
const LONG: Duration = Duration::from_secs(100);
/// Of quarantines that a test waits for.
const SHORT: Duration = ms(2_500);
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// Three nodes, the first one with a clock that the test moves.
struct Rig {
    /// Dropped behind the servers that look at it.
    servers: Vec<Server>,
    clock: ClockShim,
}

impl Rig {
    fn start() -> Self {
        let clock = ClockShim::new();
        let servers = vec![clock.start(&[]), Server::start(), Server::start()];
        Self { servers, clock }
    }

    fn builder(&self, max_ttl: Duration) -> Builder {
        let urls = self.servers.iter().map(Server::url);
        builder(urls).ttl(max_ttl).max_ttl(max_ttl).heartbeat_interval(BEAT)
    }

    async fn client(&self, max_ttl: Duration) -> Redlock {
        all_up(self.builder(max_ttl).connect().await.unwrap()).await
    }

    /// A client that takes no notice of clocks.
    async fn careless(&self, max_ttl: Duration) -> Redlock {
        let client = self.builder(max_ttl).without(Protection::Clock);
        all_up(client.connect().await.unwrap()).await
    }

    /// A lock on the first two nodes and not on the third, which is free again afterwards: no
    /// grant can be spared, and another client needs but one of these two.
    async fn hold_two(&self, locks: &Redlock) -> Guard {
        self.servers[2].command(&["SET", "r", "somebody"]);
        let guard = within(locks.try_acquire("r").renewal(Renewal::Off)).await.unwrap();
        until("all answers", || locks.stats().in_flight == 0).await;
        assert_eq!((guard.report().count(redlatch::Verdict::Granted), guard.margin()), (2, 0));
        self.servers[2].command(&["DEL", "r"]);
        guard
    }
}

fn first(locks: &Redlock) -> NodeStatus {
    locks.nodes().swap_remove(0)
}

/// Several heartbeats more, and what `always` says holds at each look.
async fn meanwhile(locks: &Redlock, beats: u64, what: &str, always: impl Fn() -> bool) {
    let target = first(locks).operations + beats;
    until("heartbeats", || {
        assert!(always(), "{what}: {:?}", first(locks));
        first(locks).operations >= target
    })
    .await;
}

/// Scenario 31. A node's clock steps a lock's whole life forward while the lock has not a vote to
/// spare: the holder loses it within about a heartbeat, the node gets a new epoch and votes for
/// nobody, so that from then on nobody else holds the lock beside a guard that is valid.
#[tokio::test]
async fn a_step_forward_ends_the_locks_of_that_node() {
    let rig = Rig::start();
    let (locks, other) = (rig.client(LONG).await, rig.client(LONG).await);
    let guard = rig.hold_two(&locks).await;
    let lost = guard.lost();
    rig.clock.step(200 * SECOND);
    let reason = within(lost).await;
    assert_eq!(reason, Lost::TakenOver, "not by its ttl, which is longer than this test");
    assert!(!guard.is_valid() && guard.remaining().is_zero());
    assert_eq!(rig.servers[0].get("r"), None, "the key has expired there");
    for client in [&locks, &other] {
        until("the new epoch", || first(client).epochs == 2).await;
        until("the quarantine", || first(client).state == NodeState::Quarantined).await;
    }
    assert!(first(&locks).clock_steps >= 1);
    // The node would grant it, and with the third that were a majority: but it has no vote.
    for client in [&other, &locks] {
        let error = within(client.try_acquire("r")).await.unwrap_err();
        assert!(matches!(&error, AcquireError::Busy { .. } | AcquireError::NoQuorum { .. }));
    }
    meanwhile(&other, 5, "one step is one epoch", || first(&other).epochs == 2).await;
    // The two that kept time go on.
    within(guard.release()).await.unwrap();
    within(within(other.acquire("r")).await.unwrap().release()).await.unwrap();
}

/// Scenario 31, without the protection: the holder believes on while another client holds the
/// lock, for as long as the ttl.
#[tokio::test]
async fn without_looking_at_clocks_a_step_makes_two_holders() {
    let rig = Rig::start();
    let (locks, other) = (rig.careless(LONG).await, rig.careless(LONG).await);
    let guard = rig.hold_two(&locks).await;
    rig.clock.step(200 * SECOND);
    meanwhile(&locks, 5, "nobody looks", || guard.is_valid()).await;
    let second = within(other.try_acquire("r").renewal(Renewal::Off)).await.unwrap();
    assert!(guard.is_valid() && second.is_valid(), "two holders, or the rig shows nothing");
}

/// What the heartbeat of a node that takes no writes would like to write is refused, and what it
/// asks is answered all the same, so that a step is noticed. The new epoch has to be written: the
/// node has no vote until it could be.
async fn step_while_writes_are_refused(
    refuse: impl Fn(&Server),
    heal: impl Fn(&Server),
    keeps_connection: bool,
) {
    let rig = Rig::start();
    let locks = rig.client(SHORT).await;
    let server = &rig.servers[0];
    refuse(server);
    // The record of who named the fleet is refreshed when it is five seconds old.
    let refused = || server.info("total_error_replies").unwrap().parse::<u64>().unwrap();
    let before = refused();
    until("refreshes to be refused", || refused() >= before + 3).await;
    meanwhile(&locks, 3, "it is only a refresh", || {
        let node = first(&locks);
        (node.state, node.connects, node.reason) == (NodeState::Up, 1, None)
    })
    .await;
    rig.clock.step(200 * SECOND);
    until("the step to be noticed", || first(&locks).clock_steps == 1).await;
    meanwhile(&locks, 20, "it has forgotten, and says nothing", || {
        let node = first(&locks);
        let has_no_vote = node.state != NodeState::Up && node.epochs == 1;
        has_no_vote && (node.disconnects == 0 || !keeps_connection)
    })
    .await;
    heal(server);
    until("the new epoch", || {
        let node = first(&locks);
        assert!(node.epochs == 2 || node.state != NodeState::Up, "too early: {node:?}");
        node.epochs == 2
    })
    .await;
    all_up(locks).await;
}

/// Scenarios 29, 31. OOM.
#[tokio::test]
async fn a_step_of_a_full_node_is_noticed_and_judged() {
    step_while_writes_are_refused(fill_memory, free_memory, true).await;
}

/// Scenarios 29, 31. NOPERM.
#[tokio::test]
async fn a_step_of_a_node_that_forbids_writes_is_noticed_and_judged() {
    let forbid = |server: &Server| allow(server, &["-set"]);
    step_while_writes_are_refused(forbid, |server| allow(server, &["+set"]), false).await;
}

/// Scenarios 29, 31. NOPERM on what the heartbeat asks: a node that may not be asked what time it
/// is must not vote as if its clock were watched. It is greeted anew, which reads the clock by
/// other means, or is refused.
#[tokio::test]
async fn a_node_whose_clock_may_not_be_read_gives_nobody_the_held_lock() {
    for rule in ["-evalsha", "-time"] {
        let rig = Rig::start();
        let (locks, other) = (rig.client(LONG).await, rig.client(LONG).await);
        let guard = rig.hold_two(&locks).await;
        allow(&rig.servers[0], &[rule]);
        for client in [&locks, &other] {
            until("the refusal to be noticed", || first(client).disconnects >= 1).await;
        }
        rig.clock.step(200 * SECOND);
        for client in [&locks, &other] {
            until("the step, or that nobody can tell", || {
                let node = first(client);
                node.clock_steps >= 1 || node.state == NodeState::Down
            })
            .await;
        }
        assert_eq!(rig.servers[0].get("r"), None, "the key has expired there");
        for _ in 0..20 {
            let second = within(other.try_acquire("r").renewal(Renewal::Off)).await;
            assert!(second.is_err() || !guard.is_valid(), "{rule}: two holders");
            tokio::time::sleep(ms(20)).await;
        }
    }
}

/// Scenario 32. A step right after a restart: `uptime` lies, the quarantine does not depend on it.
#[tokio::test]
async fn a_step_after_a_restart_does_not_shorten_the_quarantine() {
    let rig = Rig::start();
    let locks = rig.client(SHORT).await;
    rig.servers[0].restart();
    let restarted = since_boot();
    until("the epoch", || first(&locks).epochs == 2).await;
    rig.clock.step(60 * SECOND);
    let uptime: u64 = rig.servers[0].info("uptime_in_seconds").unwrap().parse().unwrap();
    assert!(uptime >= 59, "it lies: {uptime}");
    // The step was noticed and made an epoch of its own.
    until("the step", || first(&locks).epochs == 3).await;
    let late = rig.builder(SHORT).connect().await.unwrap();
    until("a client that comes now", || first(&late).connects == 1).await;
    let until_open = first(&late).quarantine;
    assert!(until_open.is_some(), "{:?}", first(&late));
    for client in [locks, late] {
        let client = all_up(client).await;
        assert!(since_boot() >= restarted + SHORT, "it voted too early");
        assert_eq!(first(&client).reason, None);
    }
}

/// Scenario 32, without the protection: a client that comes after the step takes the node for one
/// whose quarantine is over, long before it is.
#[tokio::test]
async fn without_looking_at_clocks_a_step_ends_a_quarantine() {
    let rig = Rig::start();
    let locks = rig.careless(LONG).await;
    rig.servers[0].restart();
    until("the quarantine", || first(&locks).state == NodeState::Quarantined).await;
    rig.clock.step(200 * SECOND);
    let late = rig.careless(LONG).await;
    assert_eq!(first(&late).state, NodeState::Up, "too early");
    assert_eq!(first(&locks).state, NodeState::Quarantined, "who saw the stamp knows better");
}

/// Scenario 33. A step back by an hour: locks live longer and nothing else changes; a quarantine
/// that runs gets neither shorter nor an hour longer.
#[tokio::test]
async fn a_step_back_is_counted_and_changes_nothing() {
    let rig = Rig::start();
    let locks = rig.client(LONG).await;
    let guard = rig.hold_two(&locks).await;
    rig.clock.step(-HOUR);
    until("the step", || first(&locks).clock_steps_back == 1).await;
    let is_calm = || {
        let node = first(&locks);
        guard.is_valid() && node.state == NodeState::Up && node.epochs == 1 && node.connects == 1
    };
    meanwhile(&locks, 5, "a step back is harmless", is_calm).await;
    within(guard.verify()).await.unwrap();
    assert!(rig.servers[0].pttl("r") > 3_000_000, "it lives an hour longer there");
    assert_eq!((first(&locks).clock_steps, first(&locks).clock_steps_back), (0, 1));
    within(guard.release()).await.unwrap();
    drop(locks);

    let rig = Rig::start();
    let locks = rig.client(SHORT).await;
    rig.servers[0].restart();
    let restarted = since_boot();
    until("the epoch", || first(&locks).epochs == 2).await;
    rig.clock.step(-HOUR);
    let late = rig.builder(SHORT).connect().await.unwrap();
    until("a client that comes now", || first(&late).connects == 1).await;
    for client in [locks, late] {
        let left = first(&client).quarantine;
        assert!(left.is_none_or(|left| left <= SHORT * 2), "{left:?}");
        all_up(client).await;
        assert!(since_boot() >= restarted + SHORT, "it voted too early");
    }
}

/// A single node with a clock of its own, and a client of it.
async fn single(clock: &ClockShim, max_ttl: Duration, looks: bool) -> (Server, Redlock) {
    let server = clock.start(&[]);
    let client = builder([server.url()]).ttl(max_ttl).max_ttl(max_ttl).heartbeat_interval(BEAT);
    let client = if looks { client } else { client.without(Protection::Clock) };
    let locks = all_up(client.connect().await.unwrap()).await;
    (server, locks)
}

/// Between which times the key of `r` expires, on the leases' clock, if its server's clock is so
/// many times as fast.
fn expiry(server: &Server, rate: f64) -> (Duration, Duration) {
    let before = since_boot();
    let left = server.pttl("r");
    let after = since_boot();
    // A server counts whole milliseconds, and a key that is gone has none left.
    let span = |ms: i64| Duration::from_secs_f64(ms.max(0) as f64 / 1_000.0 / rate);
    (before + span(left - 2), after + span(left + 2))
}

/// Scenario 34. A clock that is slewed as fast as chrony may: known after ten seconds of samples,
/// and the node has no vote. At 3 % it has one, and the validity is shortened by twice that; a
/// client that does not look believes in a key that has expired.
#[tokio::test]
async fn a_clock_that_is_slewed_is_measured() {
    let clocks: [ClockShim; 3] = std::array::from_fn(|_| ClockShim::new());
    let [wild, fast, unseen] = &clocks;
    let ttl = Duration::from_secs(4);
    let (_wild_server, on_wild) = single(wild, SHORT, true).await;
    let (fast_server, on_fast) = single(fast, ttl, true).await;
    let (unseen_server, careless) = single(unseen, ttl, false).await;
    wild.set(0, 83_333);
    fast.set(0, 30_000);
    unseen.set(0, 83_333);

    // Nothing is measured yet, or ever, by whoever does not look.
    let guard = within(careless.acquire("r").renewal(Renewal::Off)).await.unwrap();
    let valid_until = guard.valid_until().since_boot();
    until("the key to be seen to die too early", || {
        let (_, latest) = expiry(&unseen_server, 1.083_333);
        latest < valid_until
    })
    .await;
    assert_eq!(first(&careless).drift_ppm, 10_000);
    drop(guard);

    until("the slew to be measured", || first(&on_wild).drift_ppm > 150_000).await;
    until("the node to be told", || first(&on_wild).warning.is_some()).await;
    let warning = on_wild.warnings().swap_remove(0);
    assert!(warning.contains("clock runs more than 5 %"), "{warning}");
    let (epochs, began) = (first(&on_wild).epochs, since_boot());
    until("the node to stay without a vote", || {
        let node = first(&on_wild);
        assert_ne!(node.state, NodeState::Up, "{node:?}");
        // Its quarantine is over by then, and a known slew makes no more of them.
        since_boot() > began + SHORT * 3 / 2
    })
    .await;
    assert!(first(&on_wild).epochs <= epochs + 1, "{:?}", first(&on_wild));
    let error = within(on_wild.try_acquire("r")).await.unwrap_err();
    assert!(error.to_string().contains("clock runs more than 5 %"), "{error}");

    until("the rate to be measured", || first(&on_fast).drift_ppm >= 58_000).await;
    assert!(first(&on_fast).drift_ppm < 70_000, "{:?}", first(&on_fast));
    let guard = within(on_fast.acquire("r").renewal(Renewal::Off)).await.unwrap();
    assert!(guard.remaining() < ttl.mul_f64(0.943), "{:?} of {ttl:?}", guard.remaining());
    let (earliest, _) = expiry(&fast_server, 1.03);
    assert!(earliest > guard.valid_until().since_boot(), "it may end before its lock");
    within(guard.release()).await.unwrap();
}

/// Scenario 40. A second forward and back again, as a leap second done badly: one epoch more, and
/// no flapping.
#[tokio::test]
async fn a_double_step_makes_one_epoch() {
    let rig = Rig::start();
    let locks = rig.client(SHORT).await;
    rig.clock.step(SECOND);
    until("the step", || first(&locks).clock_steps == 1).await;
    rig.clock.step(-SECOND);
    until("the step back", || first(&locks).clock_steps_back == 1).await;
    until("the new epoch", || first(&locks).epochs == 2).await;
    let locks = all_up(locks).await;
    let is_calm = || {
        let node = first(&locks);
        (node.state, node.epochs, node.connects) == (NodeState::Up, 2, 2)
    };
    meanwhile(&locks, 8, "it flaps", is_calm).await;
    assert_eq!((first(&locks).clock_steps, first(&locks).clock_steps_back), (1, 1));
    within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

/// Takes the lock with each of the clients in turn; the tokens.
async fn tokens(clients: &[Redlock]) -> Vec<u64> {
    let mut tokens = Vec::new();
    for _ in 0..6 {
        for client in clients {
            let guard = within(client.acquire("r").fenced()).await.unwrap();
            tokens.push(guard.fencing_token().unwrap().get());
            within(guard.release()).await.unwrap();
        }
    }
    tokens
}

/// Five servers with these offsets, from before their first epochs or from just behind, and two
/// clients of them.
async fn five(
    offsets: [i64; 5],
    opened_right: bool,
) -> (Vec<Server>, Vec<ClockShim>, Vec<Redlock>) {
    let clocks: Vec<ClockShim> = offsets.iter().map(|_| ClockShim::new()).collect();
    let set = || clocks.iter().zip(offsets).for_each(|(clock, offset)| clock.set(offset, 0));
    if !opened_right {
        set();
    }
    let servers: Vec<Server> = clocks.iter().map(|clock| clock.start(&[])).collect();
    set();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let client = builder(servers.iter().map(Server::url)).connect().await.unwrap();
        clients.push(all_up(client).await);
    }
    (servers, clocks, clients)
}

const MINUTES: u64 = 10 * 60 * 1_000_000;

/// Scenario 39. Two of five clocks an hour ahead, or behind: the tokens follow the median, and
/// increase over both clients; a node whose clock is then put right does not change that. It makes
/// no difference whether an epoch, whose end no token may lie below, was begun by a wrong clock.
#[tokio::test]
async fn two_clocks_of_five_that_are_off_do_not_move_the_tokens() {
    // Not an epoch that seems to begin an hour from now: its node would be in quarantine.
    for (off, opened_right) in [(HOUR, true), (HOUR, false), (-HOUR, false)] {
        let (servers, clocks, clients) = five([off, 0, off, 0, 0], opened_right).await;
        let mut all = tokens(&clients).await;
        let truth = micros(server_time(&servers[1]));
        assert!(all.iter().all(|token| truth.abs_diff(*token) < MINUTES), "{all:?} {truth}");
        clocks[0].set(0, 0);
        all.extend(tokens(&clients).await);
        assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
    }
}

/// Scenario 38. This client's clock is a year ahead of every node's, or behind: the tokens follow
/// the nodes' clocks.
#[tokio::test]
async fn a_client_that_is_a_year_off_does_not_move_the_tokens() {
    for off in [-365 * 24 * HOUR, 365 * 24 * HOUR] {
        let (servers, _clocks, clients) = five([off; 5], false).await;
        let all = tokens(&clients).await;
        let truth = micros(server_time(&servers[1]));
        assert!(all.iter().all(|token| truth.abs_diff(*token) < MINUTES), "{all:?} {truth}");
        assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
    }
}

/// Scenario 35. The process stands still for longer than the ttl between the grant and its use,
/// and nothing of the engine runs: the very first look says that the lock is over. Fencing tokens
/// are for the use that began before.
#[tokio::test]
async fn a_process_that_stood_still_knows_at_the_first_look() {
    let server = Server::start();
    let locks = all_up(builder([server.url()]).connect().await.unwrap()).await;
    let ttl = ms(1_000);
    let guard = within(locks.acquire("r").ttl(ttl).renewal(Renewal::Off)).await.unwrap();
    let lease = guard.lease().clone();
    assert!(guard.valid_until().since_boot() <= since_boot() + ttl);
    // This runtime has one thread, and this is it.
    std::thread::sleep(ttl * 13 / 10);
    assert!(!guard.is_valid() && !lease.is_valid());
    assert_eq!((guard.remaining(), guard.margin()), (Duration::ZERO, 0));
    assert_eq!(lease.ensure_valid(), Err(Lost::Expired));
    let sent = server.calls("evalsha");
    let error = guard.verify().await.unwrap_err();
    assert!(matches!(&error, redlatch::ExtendError::Lost { .. }), "{error}");
    let error = guard.extend(LONG).await.unwrap_err();
    assert!(matches!(&error, redlatch::ExtendError::Lost { .. }), "{error}");
    assert_eq!(server.calls("evalsha"), sent, "there was nothing to ask about");
}

/// Scenario 59. The watchdog itself is starved for three ttls: the lock is lost, for good; it is
/// not extended in silence when the runtime comes back, nor when others hold it by then.
#[tokio::test]
async fn a_starved_watchdog_loses_the_lock_and_revives_nothing() {
    for taken in [false, true] {
        let servers: Vec<Server> = (0..3).map(|_| Server::start()).collect();
        let urls = servers.iter().map(Server::url);
        let locks = all_up(builder(urls).heartbeat_interval(BEAT).connect().await.unwrap()).await;
        let ttl = ms(1_500);
        let guard = within(locks.acquire("r").ttl(ttl)).await.unwrap();
        held_everywhere(&servers, "r", &guard.token().to_hex()).await;
        let renewed = guard.valid_until();
        until("a renewal", || guard.valid_until() > renewed).await;
        let lost = guard.lost();
        std::thread::sleep(ttl * 3);
        assert!(!guard.is_valid());
        assert!(servers.iter().all(|server| server.get("r").is_none()));
        if taken {
            for server in &servers {
                server.command(&["SET", "r", "another", "PX", "60000"]);
            }
        }
        let reason = within(lost).await;
        assert!(matches!(reason, Lost::Expired | Lost::Unreachable), "{reason}");
        // What the engine had still to do, it has done now.
        meanwhile(&locks, 10, "it came back", || !guard.is_valid()).await;
        let left = taken.then(|| "another".to_owned());
        assert!(servers.iter().all(|server| server.get("r") == left));
        assert_eq!(locks.stats().lost, 1);
        drop(guard);
        meanwhile(&locks, 3, "its release", || true).await;
        assert!(servers.iter().all(|server| server.get("r") == left), "another's key stays");
    }
}
