//! Attacks on a lock, one by one.

use super::net::{MS, Net};
use super::rules::{asked, granted, poll};
use super::*;
use crate::Lost;
use crate::engine::clock::Shift;

const TTL: Duration = Duration::from_secs(10);

async fn outcome(net: &Net, mut request: Pin<Box<AcquireFuture<'_>>>) -> AcquireError {
    net.run(Duration::ZERO).await;
    match poll(&mut request) {
        Poll::Ready(Err(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Others hold the keys of a majority: no wait for a ttl, and the one grant is taken back.
///
/// Scenario 1.
#[tokio::test(start_paused = true)]
async fn a_minority_of_grants_fails_at_once_and_leaves_nothing() {
    for grants_first in [true, false] {
        let net = Net::new(5);
        let locks = net.started(0, net.builder()).await;
        for node in 0..3 {
            net.at(node).command(&["SET", "r", "another's", "PX", "60000"]);
        }
        let request = asked(locks.try_acquire("r"));
        for node in if grants_first { 3..5 } else { 0..3 } {
            net.serve_node(node);
        }
        let error = outcome(&net, request).await;
        assert!(matches!(error, AcquireError::Busy { .. }), "{error}");
        net.run(Duration::ZERO).await;
        assert_eq!(net.holders("r"), 0b00111, "{grants_first}");
    }
}

/// Scenario 2.
#[tokio::test(start_paused = true)]
async fn a_quorum_is_enough_and_what_comes_late_joins_and_is_released() {
    let net = Net::new(5);
    let locks = net.started(0, net.builder().unresponsive_after(MS * 500)).await;
    (3..5).for_each(|node| net.at(node).is_stalled = true);
    let request = asked(locks.acquire("r").renewal(Renewal::Off));
    let guard = granted(&net, request).await;
    assert_eq!((guard.margin(), net.holders("r")), (0, 0b00111));
    net.run(100 * MS).await;
    (3..5).for_each(|node| net.at(node).is_stalled = false);
    net.run(MS).await;
    assert_eq!((guard.margin(), net.holders("r")), (2, 0b11111));
    drop(guard);
    net.run(MS).await;
    assert_eq!(net.holders("r"), 0);
}

/// A quorum grants, but so late that too little of the ttl is left, or nothing.
///
/// Scenarios 3, 4.
#[tokio::test(start_paused = true)]
async fn grants_that_come_too_late_are_no_lock() {
    for late in [93, 150] {
        let net = Net::new(3);
        let builder = net.builder().node_timeout(MS * 500).unresponsive_after(MS * 500);
        let locks = net.started(0, builder).await;
        let mut request = asked(locks.acquire("r").ttl(100 * MS).wait_for(MS * late));
        net.advance(MS * (late - 1)).await;
        net.run(Duration::ZERO).await;
        let Poll::Pending = poll(&mut request) else { panic!("granted after {late} ms") };
        net.run(4 * MS).await;
        match poll(&mut request) {
            Poll::Ready(Err(AcquireError::TooSlow { .. })) => {}
            other => panic!("after {late} ms: {other:?}"),
        }
        net.run(MS).await;
        assert_eq!((net.keys(), locks.stats().held), (0, 0));
    }
}

/// Scenario 5.
#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_waits_for_is_released_behind_itself() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder()).await;
    drop(asked(locks.acquire("r")));
    for node in 0..3 {
        net.at(node).serve_most(1, |_| true);
    }
    assert_eq!(net.holders("r"), 0b111);
    net.run(MS).await;
    assert_eq!(net.holders("r"), 0);
    let late = locks.nodes().iter().map(|node| node.late_grants_released).sum::<u64>();
    assert_eq!((late, locks.stats().held), (3, 0));
}

/// The machine sleeps: its timers stand still, its validity does not.
///
/// Scenario 36.
#[tokio::test(start_paused = true)]
async fn a_lease_that_outlived_a_suspend_is_lost_before_any_timer() {
    let (net, shift) = (Net::new(3), Shift::new());
    let locks = net.shifted(net.builder(), shift);
    net.run(2 * MS).await;
    let guard = granted(&net, asked(locks.acquire("r").ttl(TTL))).await;
    let mut lost = Box::pin(guard.lost());
    assert!(guard.is_valid() && poll(&mut lost).is_pending());
    shift.suspend(TTL);
    assert!(!guard.is_valid() && guard.remaining().is_zero());
    assert_eq!(guard.ensure_lost(), Lost::Expired);
    // Within a second its holder is told, too, though no timer of the lease is due for long.
    net.run_by(MS * 1_100, 50 * MS).await;
    assert!(
        poll(&mut lost).is_ready() && locks.engine().counters.suspends.load(Ordering::SeqCst) == 1
    );
}

/// A virtual machine stands still with its clocks: to it, all nodes' clocks step.
///
/// Scenario 37.
#[tokio::test(start_paused = true)]
async fn a_client_that_stood_still_loses_its_leases_and_blames_no_node() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder()).await;
    net.run(60 * MS).await;
    let guard = granted(&net, asked(locks.acquire("r").ttl(TTL))).await;
    let epochs = || -> Vec<_> { locks.nodes().iter().map(|node| node.epoch.clone()).collect() };
    let before = epochs();
    (0..3).for_each(|node| net.at(node).clock.advance(TTL * 2));
    net.run(60 * MS).await;
    assert!(!guard.is_valid());
    net.run(300 * MS).await;
    assert_eq!(epochs(), before);
    assert!(locks.node_states().iter().all(|state| *state == NodeState::Up));
    assert!(!guard.is_valid());
    drop(guard);
    drop(granted(&net, asked(locks.acquire("r"))).await);
}

/// A step is found, and then the link breaks: the next connection knows of it.
#[tokio::test(start_paused = true)]
async fn a_step_outlives_the_connection_that_found_it() {
    for is_seen in [true, false] {
        let net = Net::new(3);
        let locks = net.started(0, net.builder()).await;
        let guard = granted(&net, asked(locks.acquire("r").ttl(TTL))).await;
        net.run(60 * MS).await;
        let epoch = locks.nodes()[0].epoch.clone();
        if !is_seen {
            // It happens while nobody is connected; the greeting finds it.
            net.at(0).cut(false, |_| true);
        }
        net.at(0).clock.advance(TTL * 2);
        net.run(if is_seen { 55 * MS } else { 5 * MS }).await;
        assert_eq!((guard.margin(), guard.is_valid()), (0, true), "{is_seen}");
        net.at(0).cut(false, |_| true);
        net.run(25 * MS).await;
        assert_eq!(locks.nodes()[0].epoch, epoch, "not judged yet");
        assert_eq!(locks.node_states()[0], NodeState::Quarantined);
        net.run(200 * MS).await;
        assert_ne!(locks.nodes()[0].epoch, epoch);
        assert_eq!(locks.node_states()[0], NodeState::Quarantined);
    }
}

/// A minority answers the renewals.
///
/// Scenario 54.
#[tokio::test(start_paused = true)]
async fn extensions_of_a_minority_end_with_the_old_validity_and_revive_nothing() {
    let net = Net::new(3);
    let ttl = 300 * MS;
    let locks = net.started(0, net.builder().ttl(ttl)).await;
    let guard = granted(&net, asked(locks.acquire("r"))).await;
    let until = guard.valid_until();
    (0..2).for_each(|node| net.at(node).is_stalled = true);
    net.run(240 * MS).await;
    assert!(guard.is_valid() && guard.valid_until() == until);
    net.run(60 * MS).await;
    assert!(!guard.is_valid());
    (0..2).for_each(|node| net.at(node).heal());
    net.run(400 * MS).await;
    assert!(!guard.is_valid() && guard.ensure_lost() != Lost::Closed);
}

/// Scenario 56.
#[tokio::test(start_paused = true)]
async fn a_release_that_races_an_extension_leaves_no_key() {
    for node_first in 0..3 {
        let net = Net::new(3);
        let locks = net.started(0, net.builder()).await;
        let guard = granted(&net, asked(locks.acquire("r"))).await;
        {
            let mut extension = Box::pin(guard.extend(TTL));
            assert!(poll(&mut extension).is_pending());
        }
        net.serve_node(node_first);
        drop(guard);
        net.run(MS).await;
        assert_eq!((net.keys(), locks.stats().held), (0, 0));
    }
}

/// Scenario 57.
#[tokio::test(start_paused = true)]
async fn releases_that_come_late_or_twice_touch_nobody_elses_key() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder()).await;
    let other = net.client(1, 9, net.builder());
    net.run(2 * MS).await;
    let request = asked(locks.acquire("r").ttl(100 * MS).renewal(Renewal::Off));
    let guard = granted(&net, request).await;
    let (core, op) = (Arc::clone(locks.core()), Arc::clone(guard.lease().op()));
    net.run(110 * MS).await;
    assert!(!guard.is_valid());
    let theirs = granted(&net, asked(other.acquire("r").ttl(TTL))).await;
    let mut release = Box::pin(guard.release());
    assert!(poll(&mut release).is_pending());
    net.run(MS).await;
    // Another's key was found: whoever worked under this lock may not have been alone.
    assert!(matches!(poll(&mut release), Poll::Ready(Err(crate::ReleaseError::NotHeld { .. }))));
    let mut wakes = crate::engine::core::Wakes::default();
    assert!(!core.engine.let_go(&op, None, &mut wakes), "released twice");
    core.engine.wake(wakes);
    net.run(MS).await;
    assert!(theirs.is_valid() && net.holders("r") == 0b111);
}

impl Guard {
    fn ensure_lost(&self) -> Lost {
        self.lease().ensure_valid().unwrap_err()
    }
}

/// A thousand guards on the runtime's nodes, all granted.
fn thousand(runtime: &tokio::runtime::Runtime) -> (Redlock, Vec<Guard>) {
    runtime.block_on(async {
        let net = Net::new(1);
        let locks = net.started(0, net.builder().max_inflight(4_096)).await;
        let mut guards = Vec::new();
        for at in 0..1_000 {
            let mut request = asked(locks.acquire(format!("{at}")));
            settle().await;
            net.serve();
            settle().await;
            let Poll::Ready(guard) = poll(&mut request) else { panic!("not granted") };
            guards.push(guard.unwrap());
        }
        (locks, guards)
    })
}

fn paused() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// Scenario 69.
#[test]
fn a_runtime_that_ends_under_a_thousand_guards_harms_nobody() {
    let runtime = paused();
    let (locks, guards) = thousand(&runtime);
    drop(runtime);
    assert!(guards.iter().all(|guard| guard.ensure_lost() == Lost::Closed));
    drop(guards);
    let refused = poll(&mut Box::pin(locks.acquire("r").into_future()));
    assert!(matches!(refused, Poll::Ready(Err(AcquireError::Closed))));
    assert_eq!(locks.stats().held, 0);
}

thread_local! {
    static LAST: std::cell::RefCell<Vec<Guard>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// In a thread without a runtime; while that thread unwinds; when its locals go.
///
/// Scenario 70.
#[test]
fn guards_may_be_dropped_anywhere() {
    let runtime = paused();
    let (net, locks, guards) = runtime.block_on(async {
        let net = Net::new(3);
        let locks = net.started(0, net.builder()).await;
        let mut guards = Vec::new();
        for key in ["plain", "unwind", "local"] {
            guards.push(granted(&net, asked(locks.acquire(key))).await);
        }
        (net, locks, guards)
    });
    let [plain, unwind, local] = <[Guard; 3]>::try_from(guards).unwrap();
    std::thread::spawn(move || drop(plain)).join().unwrap();
    let unwound = std::thread::spawn(move || {
        let _guard = unwind;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(unwound.join().is_err());
    std::thread::spawn(move || LAST.with_borrow_mut(|last| last.push(local))).join().unwrap();
    runtime.block_on(net.run(2 * MS));
    assert_eq!((net.keys(), locks.stats().held, locks.stats().released), (0, 0, 3));
}
