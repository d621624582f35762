//! Nodes that forget locks while one is held: no second holder until the first one's time is up.
//!
//! Each attack is the same: a holder with exactly three grants of five, of which one is forgotten,
//! and another client that asks throughout. With one protection switched off the same attack ends
//! with two holders at once, which shows that it is one, and what keeps it from succeeding.

use std::time::Duration;

use redlatch::testing::Protection;
use redlatch::{AcquireError, Builder, Guard, Lost, NodeState, Redlock, Renewal};

use crate::hop::Hop;
use crate::server::{Cluster, Server};
use crate::support::{all_up, builder, drained, ms, since_boot, until, within};

/// The node that forgets; clients reach it through a hop.
pub(crate) const WEAK: usize = 2;
/// Of locks whose end is waited for.
const SHORT: Duration = Duration::from_secs(2);
/// Of locks that must not end while they are attacked.
const LONG: Duration = Duration::from_secs(60);

/// When a client may believe that it holds a lock, on the machine's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

impl Hold {
    /// To be asked right behind the grant.
    pub(crate) fn of(guard: &Guard) -> Self {
        Self { from: since_boot(), until: guard.valid_until().since_boot() }
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.from < other.until && other.from < self.until
    }
}

/// Five servers, one of them behind a hop, if clients do not reach it directly too.
pub(crate) struct Rig {
    is_direct: bool,
    pub(crate) cluster: Cluster,
    pub(crate) hop: Hop,
}

impl Rig {
    pub(crate) fn start(config: &[&str]) -> Self {
        let cluster = Cluster::start_with(5, config);
        let hop = Hop::start(cluster[WEAK].addr());
        Self { is_direct: false, cluster, hop }
    }

    /// With nobody between any client and any node: connections are watched.
    pub(crate) fn start_direct(config: &[&str]) -> Self {
        Self { is_direct: true, ..Self::start(config) }
    }

    pub(crate) fn weak(&self) -> &Server {
        &self.cluster[WEAK]
    }

    /// A client whose longest lock lives for `ttl`. Its heartbeats are too rare to help.
    pub(crate) fn client(&self, ttl: Duration, off: Option<Protection>) -> Builder {
        let way = if self.is_direct { self.weak().url() } else { self.hop.url() };
        self.client_by(way, ttl, off)
    }

    /// Such a client with a way of its own to the weak node.
    pub(crate) fn client_over(&self, hop: &Hop, ttl: Duration, off: Option<Protection>) -> Builder {
        self.client_by(hop.url(), ttl, off)
    }

    fn client_by(&self, way: String, ttl: Duration, off: Option<Protection>) -> Builder {
        let mut urls = self.cluster.urls();
        urls[WEAK] = way;
        let client = builder(urls)
            .ttl(ttl)
            .max_ttl(ttl)
            .node_timeout(Duration::from_secs(5))
            .unresponsive_after(Duration::from_secs(10))
            .heartbeat_interval(LONG);
        match off {
            Some(protection) => client.without(protection),
            None => client,
        }
    }
}

/// Asks again and again until the lock is granted; also what every refusal said.
pub(crate) async fn besiege(locks: Redlock, key: &str) -> (Guard, Hold, Vec<AcquireError>) {
    let deadline = since_boot() + LONG;
    let mut refusals = Vec::new();
    loop {
        match within(locks.try_acquire(key).renewal(Renewal::Off)).await {
            Ok(guard) => {
                let hold = Hold::of(&guard);
                return (guard, hold, refusals);
            }
            Err(error) => refusals.push(error),
        }
        assert!(since_boot() < deadline, "never granted: {:?}", refusals.last());
        tokio::time::sleep(ms(3)).await;
    }
}

/// How a client took the lock over from another.
#[derive(Debug)]
pub(crate) struct Takeover {
    first: Hold,
    second: Hold,
    /// What the first one believed when the second one had the lock.
    first_was_valid: bool,
    refusals: Vec<AcquireError>,
    /// Epochs of the weak node that the second one saw.
    epochs: u64,
}

impl Takeover {
    pub(crate) fn assert_apart(&self, what: &str) {
        assert!(!self.first.overlaps(self.second), "{what}: two holders: {self:?}");
        assert!(self.first.until <= self.second.from, "{what}: {self:?}");
        assert!(!self.first_was_valid, "{what}: {self:?}");
        assert!(!self.refusals.is_empty(), "{what}: nobody was in its way");
        for refusal in &self.refusals {
            let is_known = matches!(
                refusal,
                AcquireError::Busy { .. }
                    | AcquireError::NoQuorum { .. }
                    | AcquireError::Quarantined { .. }
            );
            assert!(is_known, "{what}: {refusal}");
        }
        assert!(self.epochs >= 2, "{what}: the node is still trusted: {self:?}");
    }

    pub(crate) fn assert_two_holders(&self, what: &str) {
        let two = self.first_was_valid && self.first.overlaps(self.second);
        assert!(two, "{what}: this attack does not need the protection: {self:?}");
    }
}

/// A lock is held with three grants, the weak node's among them; `event` makes that node forget
/// (it gets what `before` noted ahead of the grant, and what it returns is kept); another client
/// asks meanwhile, or, with `idle`, from right behind it on, over a connection that had nothing to
/// do.
pub(crate) async fn attack<T, U>(
    rig: &Rig,
    (ttl, off): (Duration, Option<Protection>),
    idle: bool,
    before: impl FnOnce(&Rig) -> T,
    event: impl FnOnce(&Rig, T) -> U,
) -> Takeover {
    // The first holder hears of nothing by itself: no pushes, no heartbeat.
    let first = rig.client(ttl, off).resp2_only().connect().await.unwrap();
    let first = all_up(first).await;
    let second = all_up(rig.client(ttl, off).connect().await.unwrap()).await;
    let noted = tokio::task::block_in_place(|| before(rig));
    for server in &rig.cluster[3..] {
        server.command(&["SET", "r", "foreign"]);
    }
    let guard = within(first.acquire("r").renewal(Renewal::Off)).await.unwrap();
    let first_hold = Hold::of(&guard);
    assert_eq!(guard.margin(), 0, "exactly three grants");
    for server in &rig.cluster[3..] {
        server.command(&["DEL", "r"]);
    }
    let siege = |locks: &Redlock| {
        let locks = locks.clone();
        tokio::spawn(async move { besiege(locks, "r").await })
    };
    let busy = (!idle).then(|| siege(&second));
    let _kept = tokio::task::block_in_place(|| event(rig, noted));
    let siege = busy.unwrap_or_else(|| siege(&second));
    let (_taken, second_hold, refusals) = siege.await.unwrap();
    if off.is_none() {
        // By the seal of the grant's own write, or when it is no replica any more.
        until("the new epoch", || second.nodes()[WEAK].epochs >= 2).await;
    }
    Takeover {
        first: first_hold,
        second: second_hold,
        first_was_valid: guard.is_valid(),
        refusals,
        epochs: second.nodes()[WEAK].epochs,
    }
}

/// The attack with everything on, and once with each of `needed` off.
pub(crate) async fn attack_with_and_without<T, U>(
    config: &[&str],
    needed: &[Protection],
    idle: bool,
    before: impl Fn(&Rig) -> T,
    event: impl Fn(&Rig, T) -> U,
) {
    attack_on(Rig::start, config, needed, idle, before, event).await;
}

/// The same on rigs that `start` sets up.
pub(crate) async fn attack_on<T, U>(
    start: impl Fn(&[&str]) -> Rig,
    config: &[&str],
    needed: &[Protection],
    idle: bool,
    before: impl Fn(&Rig) -> T,
    event: impl Fn(&Rig, T) -> U,
) {
    attack(&start(config), (SHORT, None), idle, &before, &event).await.assert_apart("on");
    for off in needed {
        let rig = start(config);
        let takeover = attack(&rig, (LONG, Some(*off)), idle, &before, &event).await;
        takeover.assert_two_holders(&format!("without {off:?}"));
    }
}

const QUARANTINE: &[Protection] = &[Protection::Quarantine];
const EITHER: &[Protection] = &[Protection::Quarantine, Protection::Seal];

/// Scenario 13. A node is killed while its grant is one of exactly three, and comes back empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_that_comes_back_empty_gives_nobody_the_held_lock() {
    attack_with_and_without(&[], QUARANTINE, false, |_| (), |rig, ()| rig.weak().restart()).await;
}

/// Scenario 13. The same node again and again: each time a new quarantine begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_keeps_dying_gives_nobody_the_held_lock() {
    let rig = Rig::start(&[]);
    let takeover = attack(
        &rig,
        (SHORT, None),
        false,
        |_| (),
        |rig, ()| {
            (0..4).for_each(|_| rig.weak().restart());
        },
    );
    takeover.await.assert_apart("on");
}

/// Scenario 14. Killed and restarted node by node around the ring.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_restarted_one_after_the_other_give_nobody_the_held_lock() {
    let around = |rig: &Rig, ()| rig.cluster.iter().for_each(Server::restart);
    attack_with_and_without(&[], QUARANTINE, false, |_| (), around).await;
}

/// One node after the other is restarted, twice around, one every `pause`, while two clients want
/// one lock all the time and hold it as long as they may: when each held it, so many times each.
async fn roll(
    pause: Duration,
    (ttl, off): (Duration, Option<Protection>),
    times: usize,
) -> Vec<Hold> {
    let rig = Rig::start(&[]);
    let mut callers = Vec::new();
    for _ in 0..2 {
        let settings = rig.client(ttl, off).heartbeat_interval(ms(100));
        let locks = all_up(settings.connect().await.unwrap()).await;
        callers.push(tokio::spawn(async move {
            let mut holds = Vec::new();
            loop {
                let (guard, hold, _) = besiege(locks.clone(), "r").await;
                holds.push(hold);
                if holds.len() == times {
                    return (holds, guard);
                }
                // To the end, whatever becomes of the nodes meanwhile.
                tokio::time::sleep(hold.until.saturating_sub(since_boot())).await;
            }
        }));
    }
    for server in rig.cluster.iter().cycle().take(10) {
        tokio::task::block_in_place(|| server.restart());
        tokio::time::sleep(pause).await;
    }
    let (mut holds, mut last) = (Vec::new(), Vec::new());
    for caller in callers {
        let (of_one, guard) = tokio::time::timeout(LONG, caller).await.unwrap().unwrap();
        holds.extend(of_one);
        last.push(guard);
    }
    holds.sort_unstable_by_key(|hold| hold.from);
    holds
}

/// Scenario 14. One node every half quarantine, or so fast that a majority restarts within one
/// lock's life: holds never overlap. Without the quarantine the second client has the lock as soon
/// as a majority was restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_never_makes_two_holders() {
    let ttl = ms(1_000);
    for pause in [ttl / 2, ttl / 5] {
        for pair in roll(pause, (ttl, None), 5).await.windows(2) {
            assert!(!pair[0].overlaps(pair[1]), "two holders, {pause:?}: {pair:?}");
        }
    }
    let holds = roll(ttl / 5, (LONG, Some(Protection::Quarantine)), 1).await;
    assert!(holds[0].overlaps(holds[1]), "this does not need the quarantine: {holds:?}");
}

/// All of these servers at once lose what they had.
fn restart_all(servers: &[Server]) {
    servers.iter().for_each(Server::kill);
    servers.iter().for_each(Server::restart);
}

/// Scenario 15. And the recovery from it: all nodes, or just a majority of them, lose everything
/// at once. Nobody gets a lock before the last one that was granted must be over, everybody is
/// told how long that takes, and then locks are granted again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_that_returns_empty_grants_again_after_its_quarantine() {
    for count in [3, 5] {
        let cluster = Cluster::start(5);
        let settings = || builder(cluster.urls()).ttl(SHORT).max_ttl(SHORT);
        let first = all_up(settings().resp2_only().connect().await.unwrap()).await;
        let second = all_up(settings().connect().await.unwrap()).await;
        let guard = within(first.acquire("r").renewal(Renewal::Off)).await.unwrap();
        let first_hold = Hold::of(&guard);
        tokio::task::block_in_place(|| restart_all(&cluster[..count]));
        let restarted = since_boot();
        let (taken, second_hold, refusals) = besiege(second.clone(), "r").await;
        let granted_after = second_hold.from - restarted;
        assert!(first_hold.until <= second_hold.from, "{first_hold:?} {second_hold:?}");
        assert!(!guard.is_valid());
        // Until the nodes are greeted again they are down; from then on it is the quarantine.
        let is_quarantined =
            |error: &AcquireError| matches!(error, AcquireError::Quarantined { .. });
        let since = refusals.iter().position(is_quarantined).expect("a quarantine was told");
        let (down, refused) = refusals.split_at(since);
        assert!(down.iter().all(|error| matches!(error, AcquireError::NoQuorum { .. })));
        let mut last = Duration::MAX;
        for error in refused {
            let AcquireError::Quarantined { remaining, .. } = error else {
                panic!("{count}: {error} after a quarantine was told")
            };
            assert!(*remaining <= last, "{count}: {remaining:?} after {last:?}");
            assert!(error.to_string().contains("init_fleet"), "{error}");
            last = *remaining;
        }
        assert!(last < ms(1_000), "{count}: it runs out: {last:?}");
        println!(
            "{count} of five returned empty: granted after {granted_after:?}, {} refusals, with \
             locks of {SHORT:?} at most",
            refusals.len()
        );
        drop((guard, taken));
        let second = all_up(second).await;
        within(within(second.acquire("q")).await.unwrap().release()).await.unwrap();
        drained(&cluster).await;
    }
}

/// Scenario 15. What makes the wait necessary: without it there are two holders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_all_lose_a_lock_at_once_give_it_to_nobody_else() {
    let all = |rig: &Rig, ()| restart_all(&rig.cluster);
    attack_with_and_without(&[], QUARANTINE, false, |_| (), all).await;
}

/// A lock of a client; then, so long after its grant, all nodes lose it at once, and a client
/// that asks all the time gets it: when each of them held it.
async fn crash_after(gap: Duration, ttl: Duration, off: Option<Protection>) -> [Hold; 2] {
    let cluster = Cluster::start(3);
    // New clients, so that nothing is known from a round before.
    let client = async || {
        let settings = builder(cluster.urls()).ttl(ttl).max_ttl(ttl);
        let settings = off.into_iter().fold(settings, Builder::without);
        settings.resp2_only().connect().await.unwrap()
    };
    let (first, second) = (client().await, client().await);
    let (_guard, first_hold, _) = besiege(first, "r").await;
    tokio::time::sleep(gap).await;
    tokio::task::block_in_place(|| restart_all(&cluster));
    let (_taken, second_hold, _) = besiege(second, "r").await;
    [first_hold, second_hold]
}

/// Scenario 26. Quarantine and lock end at nearly the same time, the lock first: swept over the
/// time from the grant to the crash. Without the quarantine there are two holders each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_never_ends_before_the_lock_that_it_is_for() {
    for gap in [0, 1, 5, 20, 60].map(ms) {
        let [first, second] = crash_after(gap, ms(600), None).await;
        let apart = second.from.checked_sub(first.until);
        assert!(apart.is_some(), "two holders: {first:?} {second:?}");
        println!("{gap:?} from the grant to the crash: {apart:?} between the holders");
        let [first, second] = crash_after(gap, LONG, Some(Protection::Quarantine)).await;
        assert!(first.overlaps(second), "this does not need the quarantine: {first:?} {second:?}");
    }
}

/// Scenario 19. One node is flushed on a live connection, and the others ask it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_node_gives_nobody_the_held_lock() {
    for idle in [false, true] {
        let flush = |rig: &Rig, ()| rig.weak().flushall();
        attack_with_and_without(&[], EITHER, idle, |_| (), flush).await;
    }
}

/// Scenario 20. All nodes are flushed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_is_flushed_gives_nobody_the_held_lock() {
    let flush = |rig: &Rig, ()| rig.cluster.iter().for_each(Server::flushall);
    attack_with_and_without(&[], EITHER, false, |_| (), flush).await;
}

/// Scenario 19. The holder is told: its margin shrinks with the first flushed node, and with the
/// third it has lost the lock, long before it would have run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_learns_of_flushed_nodes() {
    let cluster = Cluster::start(5);
    let locks = all_up(builder(cluster.urls()).connect().await.unwrap()).await;
    let guard = within(locks.acquire("r").renewal(Renewal::Off)).await.unwrap();
    until("all grants", || guard.margin() == 2).await;
    let until_then = guard.valid_until();
    for (server, margin) in cluster.iter().zip([1, 0]) {
        server.flushall();
        until("the margin to shrink", || guard.margin() == margin).await;
        assert!(guard.is_valid(), "{margin}");
    }
    let lost = tokio::spawn(guard.lost());
    cluster[2].flushall();
    let reason = within(lost).await.unwrap();
    assert!(!guard.is_valid(), "{reason}");
    assert!(since_boot() < until_then.since_boot());
    assert_eq!(locks.stats().lost, 1);
    until("the epochs", || locks.nodes()[..3].iter().all(|node| node.epochs == 2)).await;
    assert!(locks.nodes()[..3].iter().all(|node| node.state == NodeState::Quarantined));
}

/// Scenario 28. An operator deletes keys: the margin says so, renewals repair it, and a lock whose
/// keys are gone from a majority is lost without waiting for its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_learns_of_deleted_keys_and_repairs_what_it_can() {
    lose_keys(|server| _ = server.command(&["DEL", "r"])).await;
}

/// Scenario 27. Where eviction was allowed, an evicted key is as good as a deleted one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_learns_of_evicted_keys_and_repairs_what_it_can() {
    lose_keys(crate::states::evict_locks).await;
}

async fn lose_keys(lose: impl Fn(&Server)) {
    let cluster = Cluster::start(5);
    let ttl = ms(4_500);
    let settings = builder(cluster.urls()).ttl(ttl).max_ttl(LONG).allow_eviction();
    let locks = all_up(settings.connect().await.unwrap()).await;
    let guard = within(locks.acquire("r")).await.unwrap();
    until("all grants", || guard.margin() == 2).await;
    // Keys are watched from the first renewal on, the epoch from the handshake.
    let is_watched = |server: &Server| server.info("tracking_total_keys").as_deref() == Some("2");
    until("the keys to be watched", || cluster.iter().all(is_watched)).await;
    tokio::task::block_in_place(|| lose(&cluster[0]));
    until("the loss, or its repair", || guard.margin() == 1 || locks.nodes()[0].topped_up == 1)
        .await;
    until("the repair", || locks.nodes()[0].topped_up >= 1 && guard.margin() == 2).await;
    assert_eq!(cluster[0].get("r"), Some(guard.token().to_hex()));
    assert!(guard.is_valid());
    assert!(locks.nodes().iter().all(|node| node.epochs == 1), "nothing else was forgotten");

    within(guard.release()).await.unwrap();
    drained(&cluster).await;

    // Renewed for five seconds, and never again: nothing is repaired, and only pushes can tell.
    let bound = Renewal::AtMost(Duration::from_secs(14));
    let request = locks.acquire("r").ttl(Duration::from_secs(9)).renewal(bound);
    let guard = within(request).await.unwrap();
    tokio::time::sleep(ms(5_100)).await;
    until("the keys to be watched", || cluster.iter().all(is_watched)).await;
    assert_eq!(guard.margin(), 2);
    let until_then = guard.valid_until();
    let lost = tokio::spawn(guard.lost());
    tokio::task::block_in_place(|| cluster[..3].iter().for_each(lose));
    let reason = within(lost).await.unwrap();
    assert!(since_boot() < until_then.since_boot(), "not told before its end: {reason}");
    assert_eq!(reason, Lost::TakenOver);
}

/// Scenario 27. Without being allowed, a node that may evict locks is none.
#[tokio::test]
async fn a_node_that_may_evict_locks_is_refused() {
    let cluster = Cluster::start(3);
    cluster[0].config_set("maxmemory", "100mb");
    cluster[0].config_set("maxmemory-policy", "volatile-lru");
    let locks = builder(cluster.urls()).connect().await.unwrap();
    until("the refusal", || locks.nodes()[0].state == NodeState::Down).await;
    until("its reason", || {
        locks.nodes()[0].reason.as_deref().is_some_and(|reason| reason.contains("evict"))
    })
    .await;
    let allowed = builder(cluster.urls()).allow_eviction().connect().await.unwrap();
    all_up(allowed).await;
}
