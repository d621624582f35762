//! Many callers on one lock: exclusion, order, fairness, and callers that leave.

use std::future::{Future, IntoFuture};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use redlatch::{AcquireError, Redlock, Verdict};

use crate::server::Cluster;
use crate::support::{connect, drained, ms, since_boot, until, within};

/// Seen by whoever is inside: never more than one, and no update gets lost.
#[derive(Default)]
struct Room {
    inside: AtomicUsize,
    /// Read, then written some time later: holds the number of visits only under exclusion.
    visits: AtomicU64,
}

impl Room {
    async fn visit(&self, hold: Duration) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
        let visits = self.visits.load(Ordering::SeqCst);
        if hold.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(hold).await;
        }
        self.visits.store(visits + 1, Ordering::SeqCst);
        assert_eq!(self.inside.fetch_sub(1, Ordering::SeqCst), 1, "two holders");
    }

    fn visits(&self) -> u64 {
        self.visits.load(Ordering::SeqCst)
    }
}

/// 1 when all counts are equal, 1/n when one has everything (Jain, Chiu and Hawe 1984).
fn jain(counts: &[u64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
    let (sum, squares, n) = (
        counts.iter().sum::<u64>() as f64,
        counts.iter().map(|count| count * count).sum::<u64>() as f64,
        counts.len() as f64,
    );
    sum * sum / (n * squares)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_tasks_share_one_lock_evenly() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    // Held until all are in line: none has a head start, however slowly tasks are started.
    let gate = within(locks.acquire("r")).await.unwrap();
    let room = Arc::new(Room::default());
    let counts: Arc<Vec<AtomicU64>> = Arc::new((0..64).map(|_| AtomicU64::new(0)).collect());
    let total = Arc::new(AtomicU64::new(0));
    let tasks = (0..64).map(|task| {
        let (locks, room) = (locks.clone(), Arc::clone(&room));
        let (counts, total) = (Arc::clone(&counts), Arc::clone(&total));
        tokio::spawn(async move {
            // One limit for all, so that the shares are the lock's doing.
            while total.fetch_add(1, Ordering::Relaxed) < 64 * 40 {
                let guard = locks.acquire("r").await.unwrap();
                room.visit(Duration::ZERO).await;
                counts[task].fetch_add(1, Ordering::Relaxed);
                drop(guard);
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    until("all to be in line", || locks.stats().waiting == 64).await;
    drop(gate);
    for task in tasks {
        within(task).await.unwrap();
    }
    let counts: Vec<u64> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    assert_eq!(counts.iter().sum::<u64>(), room.visits());
    assert_eq!(room.visits(), 64 * 40);
    assert!(counts.iter().all(|count| *count > 0), "somebody starved: {counts:?}");
    assert!(jain(&counts) >= 0.99, "Jain index {}: {counts:?}", jain(&counts));
    assert_eq!(locks.stats().lost, 0);
    drained(&cluster).await;
}

#[tokio::test]
async fn callers_of_one_process_are_served_in_order() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let first = within(locks.acquire("r")).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for task in 0..64 {
        let (locks, order) = (locks.clone(), Arc::clone(&order));
        let waiting = locks.stats().waiting;
        let shared = locks.clone();
        tasks.push(tokio::spawn(async move {
            let guard = shared.acquire("r").await.unwrap();
            order.lock().unwrap().push(task);
            drop(guard);
        }));
        until("the task to queue up", || locks.stats().waiting > waiting).await;
    }
    drop(first);
    for task in tasks {
        within(task).await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..64).collect::<Vec<_>>());
    drained(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_clients_with_sixteen_tasks_each_are_all_served() {
    const CYCLES: u64 = 6;
    let cluster = Cluster::start(3);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(connect(&cluster).await);
    }
    let room = Arc::new(Room::default());
    let mut tasks = Vec::new();
    for locks in clients.iter().flat_map(|locks| std::iter::repeat_n(locks, 16)) {
        let (locks, room) = (locks.clone(), Arc::clone(&room));
        tasks.push(tokio::spawn(async move {
            for _ in 0..CYCLES {
                let guard = locks.acquire("r").await.unwrap();
                room.visit(ms(1)).await;
                guard.release().await.unwrap();
            }
        }));
    }
    let began = since_boot();
    for task in tasks {
        within(task).await.unwrap();
    }
    println!("4 x 16 tasks, {CYCLES} cycles each: {:?}", since_boot() - began);
    assert_eq!(room.visits(), 64 * CYCLES);
    for locks in &clients {
        let stats = locks.stats();
        assert_eq!((stats.acquired, stats.failed, stats.lost), (16 * CYCLES, 0, 0));
    }
    drained(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_leave_take_nobodys_turn_along() {
    let cluster = Cluster::start(3);
    let clients = [connect(&cluster).await, connect(&cluster).await];
    let room = Arc::new(Room::default());
    let served = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for task in 0..48_u64 {
        let (locks, room) = (clients[(task % 2) as usize].clone(), Arc::clone(&room));
        let served = Arc::clone(&served);
        tasks.push(tokio::spawn(async move {
            for round in 0..12_u64 {
                let request = locks.acquire("r").into_future();
                if (task + round) % 3 == 0 {
                    let guard = request.await.unwrap();
                    room.visit(Duration::ZERO).await;
                    served.fetch_add(1, Ordering::Relaxed);
                    drop(guard);
                } else {
                    // Leaves after 0 to 3.7 ms, wherever it is then.
                    let patience = Duration::from_micros((task * 389 + round * 1_031) % 3_700);
                    if let Ok(guard) = tokio::time::timeout(patience, request).await {
                        room.visit(Duration::ZERO).await;
                        drop(guard.unwrap());
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }));
    }
    for task in tasks {
        within(task).await.unwrap();
    }
    assert_eq!(room.visits(), served.load(Ordering::Relaxed));
    assert!(room.visits() >= 48 * 4, "those who stayed were served");
    for locks in &clients {
        assert_eq!((locks.stats().waiting, locks.stats().held, locks.stats().lost), (0, 0, 0));
        within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
    }
    drained(&cluster).await;
}

#[tokio::test]
async fn a_queued_caller_gives_up_at_its_deadline() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    let guard = within(locks.acquire("r")).await.unwrap();
    let behind = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire("r").await }
    });
    until("a caller in the queue", || locks.stats().waiting == 1).await;
    let began = since_boot();
    let error = within(locks.acquire("r").wait_for(ms(120))).await.unwrap_err();
    let waited = since_boot() - began;
    assert!(matches!(&error, AcquireError::TimedOut { .. }), "{error}");
    assert!(waited >= ms(120), "gave up after {waited:?}");
    let report = error.report().unwrap();
    assert!(report.contended && report.waited >= ms(120));
    assert_eq!((report.attempts, report.count(Verdict::NotSent)), (0, 3), "{report}");
    assert_eq!(locks.stats().waiting, 1);
    drop(guard);
    within(within(behind).await.unwrap().unwrap().release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_locks_at_once_stay_apart() {
    async fn cycles(locks: Redlock, task: u64, rooms: Arc<Vec<Room>>) {
        for round in 0..30 {
            let at = usize::try_from((task * 7 + round * 13) % 50).unwrap();
            let guard = locks.acquire(format!("key:{at}")).await.unwrap();
            rooms[at].visit(Duration::ZERO).await;
            drop(guard);
        }
    }
    let cluster = Cluster::start(5);
    let clients = [connect(&cluster).await, connect(&cluster).await];
    let rooms: Arc<Vec<Room>> = Arc::new((0..50).map(|_| Room::default()).collect());
    let tasks = (0..100_u64).map(|task| {
        let locks = clients[(task % 2) as usize].clone();
        tokio::spawn(cycles(locks, task, Arc::clone(&rooms)))
    });
    for task in tasks.collect::<Vec<_>>() {
        within(task).await.unwrap();
    }
    assert_eq!(rooms.iter().map(Room::visits).sum::<u64>(), 100 * 30);
    drained(&cluster).await;
}

/// On several workers the callers whose answers came in one read wake each other. Some that are
/// never polled again, as in a `select!` that has gone on to something else, must not stop that:
/// else the others go on with the next answers that come for any reason, a few each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_are_not_polled_again_hold_up_nobody() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    // One limit for all rounds: a second is enough for them, and minutes are not where they stop.
    within(async {
        for round in 0..8 {
            beside_sleepers(&locks, round).await;
        }
    })
    .await;
    drained(&cluster).await;
}

async fn beside_sleepers(locks: &Redlock, round: usize) {
    let mut asleep = Vec::new();
    for at in 0..64 {
        let mut request = Box::pin(locks.acquire(format!("asleep{round}:{at}")).into_future());
        // One that has its lock already, so fast may the nodes be, is released where it stands.
        if request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            asleep.push(request);
        }
    }
    assert!(asleep.len() > 8, "{} of 64 wait", asleep.len());
    let awake = (0..64).map(|at| {
        let locks = locks.clone();
        tokio::spawn(async move {
            for _ in 0..4 {
                locks.acquire(format!("awake{at}")).await.unwrap().release().await.unwrap();
            }
        })
    });
    for task in awake.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    // They have their locks all the same.
    for request in asleep {
        request.await.unwrap().release().await.unwrap();
    }
}
