//! Fencing tokens on real servers: their order, their price, and what pushes the nodes' counters
//! apart. The order is judged by when a grant was asked for and when it was there, without regard
//! to who held the lock: that much holds with no assumption about time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use redlatch::{AcquireError, FenceGate, Guard, NodeState, Redlock, Renewal, Verdict};

use crate::hop::{Flow, Hop, Lane};
use crate::server::{Cluster, Reply, Server};
use crate::support::{all_up, builder, connect, drained, ms, until, within};

const COUNTER: &str = "redlatch:fence:r";
const DAY_MS: i64 = 86_400_000;

fn token(guard: &Guard) -> u64 {
    guard.fencing_token().expect("a fenced lock has a token").get()
}

fn set_counter(server: &Server, value: u64) {
    let day = DAY_MS.to_string();
    let reply = server.command(&["SET", COUNTER, &value.to_string(), "PX", &day]);
    assert_eq!(reply, Reply::Simple("OK".into()));
}

fn counter(server: &Server) -> Option<u64> {
    server.get(COUNTER).map(|value| value.parse().unwrap())
}

/// Beyond anything that a clock proposes in these tests.
fn far_ahead() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from((now + Duration::from_secs(3_600)).as_micros()).unwrap()
}

/// One grant: when it was asked for, when it was there, its token.
struct Grant {
    asked: Instant,
    got: Instant,
    token: u64,
}

/// The tokens that were given out, by whichever client.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Vec<Grant>>>);

impl Ledger {
    async fn acquire(&self, locks: &Redlock) -> Guard {
        let asked = Instant::now();
        let guard = within(locks.acquire("r").fenced()).await.unwrap();
        let grant = Grant { asked, got: Instant::now(), token: token(&guard) };
        self.0.lock().unwrap().push(grant);
        guard
    }

    async fn cycle(&self, locks: &Redlock) -> u64 {
        let guard = self.acquire(locks).await;
        let token = token(&guard);
        within(guard.release()).await.unwrap();
        token
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// A grant that was there before another was asked for has the smaller token; none is alike.
    fn check(&self) {
        let grants = self.0.lock().unwrap();
        for (at, one) in grants.iter().enumerate() {
            for other in &grants[at + 1..] {
                let (a, b) = (one.token, other.token);
                assert_ne!(a, b, "a token came twice");
                assert!(one.got >= other.asked || a < b, "{b} after {a}");
                assert!(other.got >= one.asked || b < a, "{a} after {b}");
            }
        }
    }
}

#[tokio::test]
async fn tokens_grow_over_the_grants_of_two_clients() {
    let cluster = Cluster::start(3);
    let clients = [connect(&cluster).await, connect(&cluster).await];
    let ledger = Ledger::default();
    for round in 0..60 {
        ledger.cycle(&clients[round % 2]).await;
    }
    // Each was asked for when the one before had been released.
    ledger.check();

    let task = |client: usize| {
        let (locks, ledger) = (clients[client].clone(), ledger.clone());
        tokio::spawn(async move {
            for _ in 0..20 {
                ledger.cycle(&locks).await;
            }
        })
    };
    for task in [0, 1, 0, 1].map(task) {
        within(task).await.unwrap();
    }
    assert_eq!(ledger.len(), 140);
    ledger.check();
    drained(&cluster).await;
}

#[test]
#[should_panic(expected = "1 after 2")]
fn a_token_out_of_order_is_seen() {
    let at = Instant::now();
    let grant =
        |ms_later, token| Grant { asked: at + ms(ms_later), got: at + ms(ms_later + 5), token };
    Ledger(Arc::new(Mutex::new(vec![grant(0, 2), grant(10, 1)]))).check();
}

#[tokio::test]
async fn an_uncontended_token_costs_one_round_trip() {
    let cluster = Cluster::start(5);
    let locks = connect(&cluster).await;
    let mut first_try = 0;
    for _ in 0..500 {
        let guard = within(locks.acquire("r").fenced()).await.unwrap();
        first_try += u32::from(guard.attempts() == 1);
        within(guard.release()).await.unwrap();
    }
    assert!(first_try >= 495, "{first_try} of 500");
    // All nodes count alike, and nothing but the counter stays behind.
    drained(&cluster).await;
    let counters: Vec<_> = cluster.iter().map(counter).collect();
    assert!(counters[0].is_some() && counters.iter().all(|c| *c == counters[0]), "{counters:?}");
}

#[tokio::test]
async fn a_token_stays_over_renewals_and_extensions() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let guard = within(locks.acquire("r").ttl(ms(4_500)).fenced()).await.unwrap();
    let lease = guard.lease().clone();
    let first = token(&guard);
    assert!(first > 1_600_000_000_000_000, "microseconds since 1970: {first}");
    for _ in 0..2 {
        let before = guard.valid_until();
        until("a renewal", || guard.valid_until() > before).await;
        assert_eq!(token(&guard), first);
    }
    within(guard.extend(Duration::from_secs(60))).await.unwrap();
    within(guard.verify()).await.unwrap();
    assert_eq!((token(&guard), lease.fencing_token().unwrap().get()), (first, first));
    assert!(cluster.iter().filter(|server| counter(server) == Some(first)).count() >= 2);
    within(guard.release()).await.unwrap();
    // A plain lock has none.
    let plain = within(locks.acquire("r")).await.unwrap();
    assert_eq!(plain.fencing_token(), None);
}

#[tokio::test]
async fn a_fenced_lock_is_not_handed_on() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let ledger = Ledger::default();
    let first = ledger.acquire(&locks).await;
    let waiter = || {
        let (locks, ledger) = (locks.clone(), ledger.clone());
        tokio::spawn(async move {
            let guard = ledger.acquire(&locks).await;
            let asked = guard.attempts();
            within(guard.release()).await.unwrap();
            asked
        })
    };
    let waiters = [waiter(), waiter(), waiter(), waiter()];
    until("all to wait", || locks.stats().waiting == 4).await;
    within(first.release()).await.unwrap();
    for waiter in waiters {
        assert!(within(waiter).await.unwrap() >= 1, "the nodes were not asked");
    }
    // In the order of the queue.
    let tokens: Vec<u64> = ledger.0.lock().unwrap().iter().map(|grant| grant.token).collect();
    assert!(tokens.is_sorted(), "{tokens:?}");
    ledger.check();
    // Nor from a fenced holder to a plain one, nor the other way round.
    for fenced_first in [true, false] {
        let one = locks.acquire("r");
        let one = if fenced_first { one.fenced() } else { one };
        let guard = within(one).await.unwrap();
        let other = locks.clone();
        let next = tokio::spawn(async move {
            let request = other.acquire("r");
            let request = if fenced_first { request } else { request.fenced() };
            within(request).await.unwrap()
        });
        until("one to wait", || locks.stats().waiting == 1).await;
        within(guard.release()).await.unwrap();
        let next = within(next).await.unwrap();
        assert_eq!(next.fencing_token().is_some(), !fenced_first);
        within(next.release()).await.unwrap();
    }
    assert_eq!(locks.stats().handed_on, 0);
}

#[tokio::test]
async fn plain_and_fenced_locks_exclude_each_other() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    let fenced = within(ours.acquire("r").fenced()).await.unwrap();
    let error = within(theirs.try_acquire("r")).await.unwrap_err();
    assert!(matches!(error, AcquireError::Busy { .. }), "{error}");
    within(fenced.release()).await.unwrap();
    drained(&cluster).await;

    let plain = within(ours.acquire("r")).await.unwrap();
    let error = within(theirs.try_acquire("r").fenced()).await.unwrap_err();
    assert!(matches!(error, AcquireError::Busy { .. }), "{error}");
    assert!(error.report().unwrap().count(Verdict::Denied) >= 2, "{error}");
    within(plain.release()).await.unwrap();
    drained(&cluster).await;
}

/// Scenario 61.
#[tokio::test]
async fn counters_that_were_pushed_apart_are_raised_to_one_token() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let far = far_ahead();
    // What is left of others' grants on a minority each: all three differ, so no two agree.
    for (server, more) in cluster.iter().zip([1_000, 5_000, 9_000]) {
        set_counter(server, far + more);
    }
    let guard = within(locks.acquire("r").fenced()).await.unwrap();
    let first = token(&guard);
    assert_eq!(guard.attempts(), 2, "one trip to take it, one to raise");
    let accepted = cluster.iter().filter(|server| counter(server) == Some(first)).count();
    assert!(accepted >= 2, "{first}: {:?}", cluster.iter().map(counter).collect::<Vec<_>>());
    assert!([5_002, 9_002].contains(&(first - far)), "beyond what its majority had: {first}");
    within(guard.release()).await.unwrap();
    drained(&cluster).await;

    // Only one ran ahead: the other two agree, but a majority with the one in it may come first.
    set_counter(&cluster[0], far + 50_000);
    let guard = within(locks.acquire("r").fenced()).await.unwrap();
    let second = token(&guard);
    assert!(second > first, "{second} after {first}");
    within(guard.release()).await.unwrap();
    for _ in 0..5 {
        let guard = within(locks.acquire("r").fenced()).await.unwrap();
        assert!(token(&guard) > second);
        within(guard.release()).await.unwrap();
    }
}

/// Scenario 62.
#[tokio::test]
async fn a_raise_that_comes_when_the_lock_is_gone_gives_no_token() {
    for is_released in [false, true] {
        let cluster = Cluster::start(3);
        let hops: Vec<Hop> = cluster.iter().map(|server| Hop::start(server.addr())).collect();
        let slow = builder(hops.iter().map(Hop::url))
            // No heartbeat in between, and no answer is overdue.
            .heartbeat_interval(Duration::from_secs(3_600))
            .node_timeout(Duration::from_secs(15))
            .unresponsive_after(Duration::from_secs(16));
        let stalled = all_up(slow.connect().await.unwrap()).await;
        let other = connect(&cluster).await;
        for (server, more) in cluster.iter().zip([1_000, 5_000, 9_000]) {
            set_counter(server, far_ahead() + more);
        }
        // The grants are on their way back when the client's side stalls.
        hops.iter().for_each(|hop| hop.set(Lane::Replies, Flow::Hold));
        let attempt = {
            let stalled = stalled.clone();
            tokio::spawn(async move { stalled.try_acquire("r").fenced().await })
        };
        let granted = || cluster.iter().all(|server| server.get("r").is_some());
        until("every node to grant", granted).await;
        hops.iter().for_each(|hop| hop.set(Lane::Requests, Flow::Hold));
        hops.iter().for_each(|hop| hop.set(Lane::Replies, Flow::Pass));
        let raises = || hops.iter().filter(|hop| hop.queued(Lane::Requests) > 0).count() >= 2;
        until("the raise to be under way", raises).await;

        // The keys expire, and somebody else is granted the lock.
        for server in &*cluster {
            assert_eq!(server.command(&["DEL", "r"]), Reply::Int(1));
        }
        let mut later = Some(within(other.acquire("r").fenced()).await.unwrap());
        let newer = token(later.as_ref().unwrap());
        if is_released {
            within(later.take().unwrap().release()).await.unwrap();
            drained(&cluster).await;
        }
        hops.iter().for_each(|hop| hop.set(Lane::Requests, Flow::Pass));
        let error = within(attempt).await.unwrap().unwrap_err();
        if is_released {
            assert!(matches!(error, AcquireError::NoQuorum { .. }), "{error}");
        } else {
            assert!(matches!(error, AcquireError::Busy { .. }), "{error}");
        }
        let counters: Vec<_> = cluster.iter().map(counter).collect();
        assert!(counters.iter().filter(|c| **c == Some(newer)).count() >= 2, "{counters:?}");
        if let Some(guard) = later {
            assert!(guard.is_valid());
            within(guard.verify()).await.unwrap();
            within(guard.release()).await.unwrap();
        }
        drained(&cluster).await;
    }
}

/// Scenario 63.
#[tokio::test]
async fn a_deleted_counter_does_not_turn_the_order_round() {
    let cluster = Cluster::start(3);
    let clients = [connect(&cluster).await, connect(&cluster).await];
    let ledger = Ledger::default();
    for round in 0..30 {
        ledger.cycle(&clients[round % 2]).await;
        server_forgets(&cluster[round % 3]);
    }
    // All at once: the proposal follows the nodes' clocks, and so did every token. The two clients
    // read these clocks as well as their round trips allow, which on a busy machine is not well.
    for round in 0..5 {
        tokio::time::sleep(ms(40)).await;
        ledger.cycle(&clients[round % 2]).await;
        cluster.iter().for_each(server_forgets);
    }
    ledger.check();
    // Counters that are ahead of every clock: a majority still has them.
    cluster.iter().for_each(|server| set_counter(server, far_ahead()));
    for round in 0..15 {
        ledger.cycle(&clients[round % 2]).await;
        let forgetful = &cluster[round % 3];
        server_forgets(forgetful);
        // Back in step before the next one forgets.
        let newest = cluster.iter().filter_map(counter).max().unwrap();
        set_counter(forgetful, newest);
    }
    ledger.check();
    assert!(ledger.cycle(&clients[0]).await > far_ahead() - 3_600_000_000);
}

fn server_forgets(server: &Server) {
    let _ = server.command(&["DEL", COUNTER]);
}

#[tokio::test]
async fn tokens_grow_while_nodes_restart_empty() {
    let cluster = Cluster::start(3);
    let client = || builder(cluster.urls()).ttl(ms(2_000)).max_ttl(ms(2_000)).connect_lazy();
    let clients = [client().unwrap(), client().unwrap()];
    let clients = [all_up(clients[0].clone()).await, all_up(clients[1].clone()).await];
    let ledger = Ledger::default();
    let work = |client: usize| {
        let (locks, ledger) = (clients[client].clone(), ledger.clone());
        tokio::spawn(async move {
            loop {
                let asked = Instant::now();
                // A round may meet too few nodes: a restarted one, and one that is suspect.
                let Ok(guard) = locks.acquire("r").fenced().await else { continue };
                let grant = Grant { asked, got: Instant::now(), token: token(&guard) };
                ledger.0.lock().unwrap().push(grant);
                drop(guard.release().await);
                tokio::time::sleep(ms(10)).await;
            }
        })
    };
    let work = [work(0), work(1)];
    // One at a time; then two, when the third, which has the last counter, is gone: from there on
    // the order rests on the clocks and on the quarantine.
    for restarted in [&[0][..], &[1], &[2], &[0, 1]] {
        let before: Vec<Vec<u64>> = clients.iter().map(epochs).collect();
        if restarted.len() > 1 {
            cluster[2].kill();
        }
        restarted.iter().for_each(|at| cluster[*at].restart());
        let is_new = |(locks, before): (&Redlock, &Vec<u64>)| {
            let now = epochs(locks);
            restarted.iter().all(|at| now[*at] > before[*at])
        };
        until("the new epochs", || clients.iter().zip(&before).all(is_new)).await;
        let is_up =
            |locks: &Redlock| restarted.iter().all(|at| locks.node_states()[*at] == NodeState::Up);
        until("the quarantine to end", || clients.iter().all(is_up)).await;
        let before = ledger.len();
        until("more grants", || ledger.len() >= before + 6).await;
    }
    work.iter().for_each(tokio::task::JoinHandle::abort);
    ledger.check();
}

fn epochs(locks: &Redlock) -> Vec<u64> {
    locks.nodes().iter().map(|node| node.epochs).collect()
}

/// Scenario 35.
#[tokio::test]
async fn a_holder_that_slept_past_its_lease_is_stopped_at_the_gate() {
    let cluster = Cluster::start(3);
    let (one, two) = (connect(&cluster).await, connect(&cluster).await);
    let gate = FenceGate::<String>::new(100);
    let short = one.acquire("r").ttl(ms(1_500)).renewal(Renewal::Off);
    let stale = within(short.fenced()).await.unwrap();
    let old = stale.fencing_token().unwrap();
    gate.admit("r", old).unwrap();
    // It checks nothing meanwhile, as a process that is stopped.
    let fresh = within(two.acquire("r").fenced()).await.unwrap();
    let new = fresh.fencing_token().unwrap();
    assert!(new > old);
    gate.admit("r", new).unwrap();
    let refused = gate.admit("r", old).unwrap_err();
    assert_eq!((refused.token, refused.latest), (old, new));
    assert!(!stale.is_valid() && fresh.is_valid(), "the lease says so, too");
    assert_eq!(stale.fencing_token(), Some(old), "what it was, for the log");
    gate.admit("r", new).unwrap();
    within(stale.release()).await.unwrap_err();
    within(fresh.release()).await.unwrap();
}

#[tokio::test]
async fn a_grant_gives_the_counter_a_day_again() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let lives = || cluster.iter().map(|server| server.pttl(COUNTER)).collect::<Vec<_>>();
    for _ in 0..2 {
        within(within(locks.acquire("r").fenced()).await.unwrap().release()).await.unwrap();
        drained(&cluster).await;
        let is_fresh = |life: &i64| (DAY_MS - 600_000..=DAY_MS).contains(life);
        assert!(lives().iter().all(is_fresh), "{:?}", lives());
        for server in &*cluster {
            assert_eq!(server.command(&["PEXPIRE", COUNTER, "1000000"]), Reply::Int(1));
        }
        assert!(lives().iter().all(|life| *life <= 1_000_000));
    }
}

#[tokio::test]
async fn a_counter_of_another_type_is_no_grant() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let push = |server: &Server| {
        server_forgets(server);
        assert_eq!(server.command(&["LPUSH", COUNTER, "x"]), Reply::Int(1));
    };
    // One of three: the others grant, and the lock that it took before it failed is given back.
    push(&cluster[0]);
    let guard = within(locks.acquire("r").fenced()).await.unwrap();
    until("its refusal", || locks.nodes()[0].reason.is_some()).await;
    let reason = locks.nodes()[0].reason.clone().unwrap();
    assert!(reason.contains("WRONGTYPE"), "{reason}");
    assert_eq!(guard.margin(), 0, "{}", guard.report());
    within(guard.release()).await.unwrap();
    drained(&cluster).await;

    push(&cluster[1]);
    let error = within(locks.try_acquire("r").fenced()).await.unwrap_err();
    assert!(matches!(error, AcquireError::NoQuorum { .. }), "{error}");
    let votes = &error.report().unwrap().votes;
    assert!(votes.iter().filter(|vote| vote.verdict == Verdict::Granted).count() < 2, "{error}");
    drained(&cluster).await;
    // Who needs no token is not affected.
    within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
}
