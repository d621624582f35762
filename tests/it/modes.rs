//! Modes, permits, hierarchies and several resources at once, on real servers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redlatch::{AcquireError, ClaimError, Guard, Mode, Redlock, Resource};

use crate::server::{Cluster, Reply, Server};
use crate::support::{all_up, builder, connect, drained, ms, until, within};

mod keeping;

/// What is asked for, by one name for all kinds of request.
#[derive(Clone, Copy, Debug)]
enum Way {
    In(Mode),
    /// One of a thousand permits, so that two requests find two.
    Permit,
    /// Exclusively, together with a resource that nobody else wants.
    Together(&'static str),
}

const WAYS: [Way; 6] = [
    Way::In(Mode::Exclusive),
    Way::In(Mode::Shared),
    Way::In(Mode::IntentExclusive),
    Way::In(Mode::IntentShared),
    Way::Permit,
    Way::Together("other"),
];

async fn ask(locks: &Redlock, way: Way) -> Result<Guard, AcquireError> {
    match way {
        Way::In(mode) => within(locks.try_acquire("r").mode(mode)).await,
        Way::Permit => within(locks.try_acquire("r").permit_of(1_000)).await,
        Way::Together(other) => within(locks.acquire_all(["r", other]).once()).await,
    }
}

/// Gray's matrix, plus permits, which exclude every mode and not each other.
fn is_beside(one: Way, two: Way) -> bool {
    match (one, two) {
        (Way::In(one), Way::In(two)) => one.is_beside(two),
        (Way::Permit, Way::Permit) => true,
        _ => false,
    }
}

fn is_busy(error: &AcquireError) -> bool {
    matches!(error, AcquireError::Busy { .. } | AcquireError::TimedOut { .. })
}

/// `SET r foreign NX`, as any other library would.
fn foreign_takes(cluster: &Cluster, key: &str) -> usize {
    let set = |server: &&Server| {
        let reply = server.command(&["SET", key, "foreign", "NX", "PX", "600000"]);
        reply == Reply::Simple("OK".into())
    };
    cluster.iter().filter(set).count()
}

fn foreign_releases(cluster: &Cluster, key: &str) {
    for server in &**cluster {
        if server.try_command(&["GET", key]).ok().and_then(Reply::text).as_deref()
            == Some("foreign")
        {
            server.command(&["DEL", key]);
        }
    }
}

async fn settled(locks: &[&Redlock]) {
    for locks in locks {
        until("all answers", || locks.stats().in_flight == 0).await;
    }
}

#[tokio::test]
async fn every_cell_of_the_matrix_holds() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    for held in WAYS {
        for wanted in WAYS {
            for other in [&theirs, &ours] {
                let guard = ask(&ours, held).await.unwrap();
                // Every node holds it before anybody else asks.
                settled(&[&ours]).await;
                let wanted_other = match wanted {
                    Way::Together(_) => Way::Together("another"),
                    wanted => wanted,
                };
                match ask(other, wanted_other).await {
                    Ok(second) => {
                        assert!(is_beside(held, wanted), "{wanted:?} beside {held:?}");
                        within(second.release()).await.unwrap();
                    }
                    Err(error) => {
                        assert!(!is_beside(held, wanted), "{wanted:?} beside {held:?}: {error}");
                        assert!(is_busy(&error), "{error}");
                    }
                }
                settled(&[&ours, &theirs]).await;
                assert_eq!(foreign_takes(&cluster, "r"), 0, "a foreign client beside {held:?}");
                within(guard.release()).await.unwrap();
                drained(&cluster).await;
            }
        }
        assert_eq!(foreign_takes(&cluster, "r"), 3);
        let error = ask(&ours, held).await.unwrap_err();
        assert!(is_busy(&error), "{held:?} beside a foreign client: {error}");
        settled(&[&ours]).await;
        foreign_releases(&cluster, "r");
        drained(&cluster).await;
    }
    assert_eq!((ours.stats().held, theirs.stats().held), (0, 0));
}

#[tokio::test]
async fn readers_share_and_a_writer_comes_after_them() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    let mut readers = Vec::new();
    for locks in [&ours, &theirs, &ours, &theirs, &ours] {
        readers.push(within(locks.acquire("r").mode(Mode::Shared)).await.unwrap());
    }
    assert!(readers.iter().all(Guard::is_valid));
    let writer = {
        let theirs = theirs.clone();
        tokio::spawn(async move { theirs.acquire("r").await.unwrap() })
    };
    let theirs_denied = || theirs.nodes().iter().map(|node| node.operations).sum::<u64>();
    let before = theirs_denied();
    until("the writer to have been denied", || theirs_denied() > before + 12).await;
    assert!(!writer.is_finished());
    for reader in readers {
        assert!(reader.is_valid());
        within(reader.release()).await.unwrap();
    }
    let writer = within(writer).await.unwrap();
    let error = within(ours.try_acquire("r").mode(Mode::Shared)).await.unwrap_err();
    assert!(is_busy(&error), "{error}");
    within(writer.release()).await.unwrap();
    drained(&cluster).await;
}

/// Who holds what: told by the holders themselves, who must never find anybody else there.
#[derive(Default)]
struct Oracle(Mutex<BTreeMap<Resource, usize>>);

impl Oracle {
    fn enter(&self, guard: &Guard, who: usize) {
        let mut held = self.0.lock().unwrap();
        for resource in guard.resources() {
            let before = held.insert(resource.clone(), who);
            assert_eq!(before, None, "{resource} is held by {before:?} and by {who}");
        }
    }

    fn leave(&self, guard: &Guard, who: usize) {
        let mut held = self.0.lock().unwrap();
        for resource in guard.resources() {
            assert_eq!(held.remove(resource), Some(who));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_resources_are_had_together_in_any_order_and_nobody_waits_for_ever() {
    const ROUNDS: usize = 12;
    let cluster = Cluster::start(3);
    let clients = [connect(&cluster).await, connect(&cluster).await];
    let oracle = Arc::new(Oracle::default());
    let orders: [&[&str]; 6] =
        [&["a", "b"], &["b", "a"], &["c", "a", "b"], &["b", "c"], &["c", "b"], &["a"]];
    let mut tasks = Vec::new();
    for who in 0..12 {
        let (locks, oracle) = (clients[who % 2].clone(), Arc::clone(&oracle));
        let names = orders[who % orders.len()];
        tasks.push(tokio::spawn(async move {
            for _ in 0..ROUNDS {
                let guard = locks.acquire_all(names.iter().copied()).await.unwrap();
                let mut expected = names.to_vec();
                expected.sort_unstable();
                let named: Vec<_> = guard.resources().iter().map(Resource::as_bytes).collect();
                assert_eq!(named, expected.iter().map(|name| name.as_bytes()).collect::<Vec<_>>());
                oracle.enter(&guard, who);
                tokio::time::sleep(Duration::from_micros(300)).await;
                assert!(guard.is_valid());
                oracle.leave(&guard, who);
                drop(guard.release().await);
            }
        }));
    }
    for task in tasks {
        within(task).await.unwrap();
    }
    settled(&[&clients[0], &clients[1]]).await;
    drained(&cluster).await;
    assert_eq!(clients.map(|locks| locks.stats().lost), [0, 0]);
}

#[tokio::test]
async fn what_is_held_together_is_denied_as_a_whole() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    let held = within(theirs.acquire("b")).await.unwrap();
    settled(&[&theirs]).await;
    let error = within(ours.acquire_all(["a", "b", "c"]).once()).await.unwrap_err();
    assert!(is_busy(&error), "{error}");
    assert_eq!(error.report().unwrap().attempts, 1);
    settled(&[&ours]).await;
    for server in &*cluster {
        assert_eq!(server.keys(), ["b"], "part of it was left");
    }
    let error = within(ours.acquire_all(["a", "b"]).wait_for(ms(100))).await.unwrap_err();
    assert!(matches!(&error, AcquireError::TimedOut { .. }), "{error}");
    within(held.release()).await.unwrap();
    // Everywhere: a node that still has it would have no part in the next one.
    settled(&[&theirs]).await;
    let all = within(ours.acquire_all(["c", "b", "a", "b"])).await.unwrap();
    assert_eq!(all.resources(), [Resource::from("a"), Resource::from("b"), Resource::from("c")]);
    assert_eq!(all.resource(), &Resource::from("a"));
    settled(&[&ours]).await;
    for key in ["a", "b", "c"] {
        assert!(is_busy(&within(theirs.try_acquire(key)).await.unwrap_err()), "{key}");
        // As any library sees it: the plain string of SET NX.
        let value = cluster[0].get(key).unwrap();
        assert_eq!(value, all.token().to_hex());
    }
    within(all.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn what_lies_below_conflicts_with_what_lies_above_and_not_beside() {
    let cluster = Cluster::start(3);
    let (ours, theirs) = (connect(&cluster).await, connect(&cluster).await);
    let (exclusive, shared) = (Mode::Exclusive, Mode::Shared);
    for (held, below, reads) in
        [("orders/42/items", exclusive, false), ("orders/42/items", shared, true)]
    {
        let guard = within(ours.acquire(held).hierarchical().mode(below)).await.unwrap();
        assert_eq!(guard.resources(), [Resource::from(held)]);
        for name in ["orders/42/items", "orders/42", "orders"] {
            assert!(path(&theirs, name, exclusive).await.is_err(), "{name} whole");
            settled(&[&ours, &theirs]).await;
            assert_eq!(path(&theirs, name, shared).await.is_ok(), reads, "{name} read");
            settled(&[&ours, &theirs]).await;
            // A plain lock of the whole is excluded too.
            assert!(is_busy(&within(theirs.try_acquire(name)).await.unwrap_err()), "{name}");
            settled(&[&ours, &theirs]).await;
        }
        for name in ["orders/43", "orders/42/notes", "orders/4", "order", "orders/42/items/1"] {
            let expected = name != "orders/42/items/1";
            assert_eq!(path(&theirs, name, exclusive).await.is_ok(), expected, "{name}");
            settled(&[&ours, &theirs]).await;
        }
        within(guard.release()).await.unwrap();
        drained(&cluster).await;
    }
    let whole = within(ours.acquire("orders")).await.unwrap();
    for name in ["orders/42", "orders/42/items"] {
        assert!(path(&theirs, name, shared).await.is_err(), "{name} below a held whole");
        // Whoever does not ask hierarchically does not see what lies above.
        drop(within(theirs.try_acquire(name)).await.unwrap());
    }
    within(whole.release()).await.unwrap();
    drained(&cluster).await;
}

async fn path(locks: &Redlock, path: &str, mode: Mode) -> Result<(), ()> {
    let outcome = within(locks.try_acquire(path).hierarchical().mode(mode)).await;
    outcome.map(drop).map_err(|error| assert!(is_busy(&error), "{error}"))
}

/// Counts holders of permits, and the most there ever were.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn every_permit_can_be_had_and_no_more() {
    let cluster = Cluster::start(3);
    let clients = [connect(&cluster).await, connect(&cluster).await];
    let mut held = Vec::new();
    for n in 0..7 {
        // Found in one go, however many are taken: the nodes say which one is free.
        held.push(within(clients[n % 2].try_acquire("r").permit_of(7)).await.unwrap());
        settled(&[&clients[0], &clients[1]]).await;
    }
    for locks in &clients {
        let error = within(locks.try_acquire("r").permit_of(7)).await.unwrap_err();
        assert!(is_busy(&error), "{error}");
    }
    settled(&[&clients[0], &clients[1]]).await;
    within(held.remove(3).release()).await.unwrap();
    drop(within(clients[0].try_acquire("r").permit_of(7)).await.unwrap());
    drop(held);
    drained(&cluster).await;
}

/// A node that is killed under load and comes back empty must not give a permit away twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_more_holders_than_permits_with_a_node_killed_and_restarted() {
    const PERMITS: u16 = 3;
    let cluster = Cluster::start(3);
    // So long that no stall of the machine ends a lease under the holders' eyes.
    let ttl = ms(2_500);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let settings = builder(cluster.urls()).ttl(ttl).max_ttl(ttl);
        clients.push(all_up(settings.connect().await.unwrap()).await);
    }
    let gauge = Arc::new(Gauge::default());
    let rounds = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut tasks = Vec::new();
    for who in 0..10 {
        let (locks, gauge) = (clients[who % 2].clone(), Arc::clone(&gauge));
        let (rounds, done) = (Arc::clone(&rounds), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                let request =
                    locks.acquire("r").permit_of(PERMITS).wait_for(Duration::from_secs(5));
                let Ok(guard) = request.await else { continue };
                gauge.enter();
                tokio::time::sleep(ms(3)).await;
                let was_valid = guard.is_valid();
                gauge.leave();
                assert!(was_valid, "a permit was lost in 3 ms");
                rounds.fetch_add(1, Ordering::SeqCst);
                drop(guard.release().await);
            }
        }));
    }
    let more = |count: usize| {
        let (rounds, goal) = (&rounds, rounds.load(Ordering::SeqCst) + count);
        move || rounds.load(Ordering::SeqCst) >= goal
    };
    until("permits", more(30)).await;
    cluster[0].kill();
    until("permits of two nodes", more(30)).await;
    cluster[0].restart();
    until("the node to vote again", || {
        clients.iter().all(|locks| locks.nodes()[0].state == redlatch::NodeState::Up)
    })
    .await;
    until("permits of three nodes", more(30)).await;
    done.store(true, Ordering::SeqCst);
    for task in tasks {
        within(task).await.unwrap();
    }
    assert_eq!(gauge.most.load(Ordering::SeqCst), usize::from(PERMITS));
    settled(&[&clients[0], &clients[1]]).await;
    drained(&cluster).await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_and_nothing_is_sent() {
    let cluster = Cluster::start(1);
    let locks = connect(&cluster).await;
    let calls = cluster[0].calls("evalsha");
    let refused = |error: AcquireError| match error {
        AcquireError::InvalidClaim(error) => error,
        other => panic!("{other}"),
    };
    let error = within(locks.acquire("r").mode(Mode::Shared).fenced()).await.unwrap_err();
    assert_eq!(refused(error), ClaimError::Fenced);
    let error = within(locks.acquire_all([""; 0])).await.unwrap_err();
    assert_eq!(refused(error), ClaimError::Empty);
    let many = (0..65).map(|n| format!("r{n}"));
    let error = within(locks.acquire_all(many)).await.unwrap_err();
    assert_eq!(refused(error), ClaimError::TooMany { count: 65, max: 64 });
    let error = within(locks.acquire("r").permit_of(0)).await.unwrap_err();
    assert_eq!(refused(error), ClaimError::Permits { count: 0, max: 1_024 });
    let error = within(locks.acquire_all(["r", "redlatch:x"])).await.unwrap_err();
    assert!(matches!(error, AcquireError::ReservedResource { .. }), "{error}");
    let error = within(locks.acquire_all(["r", ""])).await.unwrap_err();
    assert!(matches!(error, AcquireError::InvalidResource { .. }), "{error}");
    // The most that is possible is possible.
    let most = within(locks.acquire_all((0..64).map(|n| format!("r{n}")))).await.unwrap();
    assert_eq!(cluster[0].dbsize(), 64);
    within(most.release()).await.unwrap();
    assert!(cluster[0].calls("evalsha") >= calls + 2);
    // A path of one part, exclusively, is a plain lock: it can be fenced.
    let plain = within(locks.acquire("r").hierarchical().fenced()).await.unwrap();
    assert!(plain.fencing_token().is_some());
    drop(plain);
    drained(&cluster).await;
}

/// Readers do not starve a writer that waits on the nodes; whoever reads already goes on reading.
#[tokio::test]
async fn readers_wait_behind_a_queue() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let reader = within(locks.acquire("r").mode(Mode::Shared)).await.unwrap();
    settled(&[&locks]).await;
    cluster.iter().for_each(|server| {
        server.command(&["ZADD", "redlatch:queue:r", "1", "ticket"]);
    });
    let error = within(locks.try_acquire("r").mode(Mode::Shared)).await.unwrap_err();
    assert!(is_busy(&error), "{error}");
    assert!(within(reader.extend(ms(100_000))).await.is_ok());
    cluster.iter().for_each(|server| drop(server.command(&["DEL", "redlatch:queue:r"])));
    let second = within(locks.acquire("r").mode(Mode::Shared)).await.unwrap();
    drop((reader, second));
    drained(&cluster).await;
}
