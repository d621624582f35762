//! The load of one process: builds the runtime and the clients, runs them from the common start to
//! the end, and reports every tick.
//!
//! The same code runs in the parent when there is one process and in every worker process when
//! there are more; only where its [`Event`]s go differs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::backend::{Backend, LastLook, NodeLook, NodeSample, NodeView};
use crate::calibration::threads::{self, Workers};
use crate::clock::{self, NS_PER_MS};
use crate::config::RunConfig;
use crate::num;
use crate::oracle::judge::Oracle;
use crate::pacer::{self, Paced};
use crate::plan::Schedule;
use crate::plan::claims::Claims;
use crate::queue::Queue;
use crate::recorder::{Metric, Recorder, Snapshot, Snapshots, TICK_NS, histogram};
use crate::timer::Timer;
use crate::worker::{self, Shared, Tally, Times};

/// Nodes are looked at this often when faults are to be seen.
const NODE_POLL_NS: u64 = 10 * NS_PER_MS;

/// What every tick sends, beside all counts; everything else comes once per interval.
const OF_EVERY_TICK: &[Metric] = &[Metric::Response, Metric::Contended, Metric::Hiccup];

/// One tick of measurements.
#[derive(Debug, Default)]
pub(crate) struct Tick {
    /// Which interval of [`TICK_NS`] since the measured start; `None` for what finished after the
    /// end.
    pub(crate) index: Option<u32>,
    pub(crate) snapshot: Snapshot,
    pub(crate) in_flight: u64,
    /// Arrivals handed over since the tick before; in a closed loop, calls.
    pub(crate) started: u64,
}

/// A change the backend noticed at a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeNews {
    pub(crate) at_ns: u64,
    /// From 0, in the order the nodes were given.
    pub(crate) node: usize,
    pub(crate) was: NodeView,
    pub(crate) now: NodeView,
}

/// What one client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientReport {
    pub(crate) id: u32,
    pub(crate) asked: u64,
    pub(crate) granted: u64,
    pub(crate) longest_ns: u64,
}

/// The end of a process's load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Final {
    pub(crate) offered: u64,
    pub(crate) not_started: u64,
    pub(crate) wakes: u64,
    pub(crate) started: u64,
    /// Ages of arrivals that got no answer, in or before a client.
    pub(crate) unfinished: u64,
    pub(crate) oldest_unfinished_ns: u64,
    /// The same by workload.
    pub(crate) left: Vec<Left>,
    pub(crate) clients: Vec<ClientReport>,
    pub(crate) nodes: Vec<NodeSample>,
    pub(crate) texts: Vec<String>,
    pub(crate) cpu_ns: u64,
    /// CPU time from the start of the load on, warm-up and end included.
    pub(crate) cpu_whole_ns: u64,
    /// How long that was.
    pub(crate) wall_whole_ns: u64,
    pub(crate) cpu_wall_ns: u64,
    /// CPU time of the busiest worker thread within the measured time, where the kernel tells.
    pub(crate) busiest_worker_ns: Option<u64>,
}

/// Arrivals of a workload that got no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    /// Those that did not start among them.
    pub(crate) unfinished: u64,
    pub(crate) oldest_unfinished_ns: u64,
    pub(crate) not_started: u64,
}

/// What a process tells while it runs.
#[derive(Debug)]
pub(crate) enum Event {
    /// Connected; waits for the start. With what the tokens of this process begin with, where a
    /// witness wants to know and it could be learned.
    Ready(Option<String>),
    Tick(Tick),
    Nodes(Vec<NodeNews>),
    /// What the nodes look like and what passed at them, before the last tick of an interval.
    Looks(Vec<NodeLook>),
    Final(Box<Final>),
    Failed(String),
}

/// A process's load, connected and ready to start.
#[derive(Debug)]
pub(crate) struct Load {
    runtime: Runtime,
    shared: Arc<Shared>,
}

impl Load {
    /// Builds everything and connects; blocks until a quorum of nodes has answered.
    pub(crate) fn prepare(config: RunConfig, process: u32, oracle: Oracle) -> Result<Self, String> {
        let threads = num::usize_of(config.threads.max(1).into());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(threads::WORKERS)
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start {threads} worker threads: {error}"))?;
        let timer = Timer::start().map_err(|error| format!("cannot start the timer: {error}"))?;
        let timer = Arc::new(timer);
        let backend = runtime.block_on(Backend::connect(&config, Arc::clone(&timer)))?;
        let clients = config.clients_of(process).count();
        let shared = Arc::new(Shared {
            process,
            backend,
            claims: Claims::new(&config),
            workloads: config.parts().into_owned(),
            own_names: if config.private_keys() { config.names() } else { 0 },
            oracle,
            // Workers, the pacer and the hiccup meter; a client may also run on a blocked-on
            // thread.
            recorder: Recorder::new(threads + 3, config.workloads.len()),
            timer,
            queue: Queue::new(config.catch_up),
            tallies: (0..clients).map(|_| Tally::default()).collect(),
            stop: AtomicBool::new(false),
            texts: Mutex::new(Vec::new()),
            config,
        });
        Ok(Self { runtime, shared })
    }

    /// What [`Event::Ready`] tells.
    pub(crate) fn owner(&self) -> Option<String> {
        self.shared.backend.owner().map(ToOwned::to_owned)
    }

    /// Runs from `start_ns` to the end, or until `stop` says so.
    pub(crate) fn run(self, start_ns: u64, stop: &AtomicBool, mut emit: impl FnMut(Event)) {
        let Self { runtime, shared } = self;
        let times = Times::new(&shared.config, start_ns);
        shared.backend.start_at(times.measured_ns);
        clock::sleep_until(start_ns);
        let cpu_before_ns = clock::cpu_ns();
        let mut clients = tokio::task::JoinSet::new();
        for (place, id) in shared.config.clients_of(shared.process).enumerate() {
            let client = worker::run(Arc::clone(&shared), place, id, times);
            clients.spawn_on(client, runtime.handle());
        }
        let over = AtomicBool::new(false);
        let mut last = Final::default();
        std::thread::scope(|scope| {
            scope.spawn(|| hiccups(&shared, times, &over));
            let pacer = shared.config.is_open_loop().then(|| {
                let ids = shared.config.clients_of(shared.process);
                let schedule = Schedule::new(&shared.config, ids);
                scope.spawn(|| pacer::run(&shared, schedule, times))
            });
            let mut ticker = Ticker::new(&shared, times);
            ticker.until_end(stop, &mut clients, &mut emit);
            last.cpu_ns = clock::cpu_ns().saturating_sub(ticker.cpu_at_start_ns);
            last.busiest_worker_ns = Workers::now().busiest_since(&ticker.workers_at_start);
            last.cpu_wall_ns = clock::now_ns().saturating_sub(times.measured_ns);
            if stop.load(Ordering::Relaxed) {
                shared.stop.store(true, Ordering::Relaxed);
                shared.queue.close();
            }
            let paced = pacer.and_then(|pacer| pacer.join().ok()).unwrap_or_default();
            ticker.drain(stop, &mut clients, &mut emit);
            last.cpu_whole_ns = clock::cpu_ns().saturating_sub(cpu_before_ns);
            last.wall_whole_ns = clock::now_ns().saturating_sub(start_ns);
            conclude(&shared, times, paced, &mut last);
            // What came late, and what never came.
            ticker.tick(None, true, &mut emit);
            over.store(true, Ordering::Relaxed);
        });
        // What is still under way is dropped here, which gives its locks back.
        runtime.block_on(async {
            clients.shutdown().await;
            let closing = shared.backend.close();
            let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
        });
        runtime.shutdown_timeout(Duration::from_secs(2));
        shared.oracle.flush_history();
        emit(Event::Final(Box::new(last)));
    }
}

/// Counts what is left and adds up the clients.
fn conclude(shared: &Shared, times: Times, paced: Paced, last: &mut Final) {
    shared.stop.store(true, Ordering::Relaxed);
    shared.queue.close();
    let now = clock::now_ns();
    let queue = shared.queue.left_over().into_iter();
    let queued = queue.map(|of| (of.workload, times.start_ns + of.intended_ns));
    let asking =
        |tally: &Tally| Some((tally.asking_of.load(Ordering::Relaxed), tally.asking_ns()?));
    let open = shared.tallies.iter().filter_map(asking).chain(queued);
    let mut left = vec![(Left::default(), histogram()); shared.workloads.len()];
    for (workload, since) in open.filter(|&(_, since)| since >= times.measured_ns) {
        let age_ns = now.saturating_sub(since);
        let Some((of, ages)) = left.get_mut(usize::from(workload)) else { continue };
        ages.saturating_record(age_ns);
        of.unfinished += 1;
        of.oldest_unfinished_ns = of.oldest_unfinished_ns.max(age_ns);
    }
    for (at, (mut of, ages)) in (0..).zip(left) {
        shared.recorder.with_of(at, |to| to.add(Metric::Unanswered, &ages));
        of.not_started = paced.not_started_of.get(usize::from(at)).copied().unwrap_or(0);
        of.unfinished += of.not_started;
        last.unfinished += of.unfinished;
        last.oldest_unfinished_ns = last.oldest_unfinished_ns.max(of.oldest_unfinished_ns);
        last.left.push(of);
    }
    last.offered = paced.offered;
    last.not_started = paced.not_started;
    last.wakes = paced.wakes;
    last.started = paced.started;
    last.nodes = shared.backend.nodes();
    last.texts = std::mem::take(&mut *shared.texts.lock().unwrap_or_else(PoisonError::into_inner));
    let ids = shared.config.clients_of(shared.process);
    last.clients = ids
        .zip(&shared.tallies)
        .map(|(id, tally)| ClientReport {
            id,
            asked: tally.asked.load(Ordering::Relaxed),
            granted: tally.granted.load(Ordering::Relaxed),
            longest_ns: tally.longest_ns.load(Ordering::Relaxed),
        })
        .collect();
}

/// Measures the machine itself: how much longer than 1 ms a sleep of 1 ms takes.
fn hiccups(shared: &Shared, times: Times, over: &AtomicBool) {
    clock::sharpen_timers();
    while !over.load(Ordering::Relaxed) {
        let before = clock::now_ns();
        std::thread::sleep(Duration::from_nanos(NS_PER_MS));
        let late = clock::now_ns().saturating_sub(before + NS_PER_MS);
        if before >= times.measured_ns {
            shared.recorder.with(|shard| shard.record(Metric::Hiccup, late));
        }
    }
}

type Clients = tokio::task::JoinSet<()>;

/// The tick loop of one process.
struct Ticker<'a> {
    shared: &'a Shared,
    times: Times,
    snapshots: Snapshots,
    /// What each node was at the last look.
    seen: Vec<NodeView>,
    cpu_at_start_ns: u64,
    workers_at_start: Workers,
    poll_ns: u64,
    /// Arrivals handed over up to the last tick.
    started: u64,
    last_look: LastLook,
}

impl<'a> Ticker<'a> {
    fn new(shared: &'a Shared, times: Times) -> Self {
        let seen = shared.backend.node_views();
        let poll_ns = if shared.config.faults.is_empty() { TICK_NS } else { NODE_POLL_NS };
        Self {
            shared,
            times,
            snapshots: Snapshots::new(),
            seen,
            cpu_at_start_ns: 0,
            workers_at_start: Workers::default(),
            poll_ns,
            started: 0,
            last_look: LastLook::default(),
        }
    }

    /// Sleeps to `deadline_ns`, watching the nodes and the clients. False: stopped, or all done.
    fn watch(
        &mut self,
        deadline_ns: u64,
        stop: &AtomicBool,
        clients: &mut Clients,
        emit: &mut impl FnMut(Event),
    ) -> bool {
        loop {
            while clients.try_join_next().is_some() {}
            if stop.load(Ordering::Relaxed) || clients.is_empty() {
                return false;
            }
            let news = self.node_news();
            if !news.is_empty() {
                emit(Event::Nodes(news));
            }
            let now = clock::now_ns();
            if now >= deadline_ns {
                return true;
            }
            clock::sleep_until(deadline_ns.min(now + self.poll_ns));
        }
    }

    fn node_news(&mut self) -> Vec<NodeNews> {
        let at_ns = clock::now_ns();
        let current = self.shared.backend.node_views();
        let changed = |&(_, (before, now)): &(usize, (&NodeView, &NodeView))| before != now;
        let both = self.seen.iter().zip(&current).enumerate().filter(changed);
        let news = both.map(|(node, (&was, &now))| NodeNews { at_ns, node, was, now }).collect();
        self.seen = current;
        news
    }

    fn until_end(
        &mut self,
        stop: &AtomicBool,
        clients: &mut Clients,
        emit: &mut impl FnMut(Event),
    ) {
        if !self.watch(self.times.measured_ns, stop, clients, emit) {
            return;
        }
        self.cpu_at_start_ns = clock::cpu_ns();
        self.workers_at_start = Workers::now();
        // Without a warm-up everything belongs to the first tick, however late this is.
        let is_warm = self.shared.config.warmup_ns > 0;
        self.started = if is_warm { self.shared.started() } else { 0 };
        drop(self.shared.backend.looks(&mut self.last_look));
        let ticks_per_interval = (self.shared.config.interval_ns / TICK_NS).max(1);
        for index in 0..self.shared.config.ticks() {
            let end_ns = self.times.measured_ns + u64::from(index + 1) * TICK_NS;
            let going = self.watch(end_ns.min(self.times.end_ns), stop, clients, emit);
            let full = !going || u64::from(index + 1) % ticks_per_interval == 0;
            self.tick(Some(index), full, emit);
            if !going {
                return;
            }
        }
    }

    /// Sends what was recorded since the last tick: what the series shows always, the rest once per
    /// interval.
    fn tick(&mut self, index: Option<u32>, full: bool, emit: &mut impl FnMut(Event)) {
        if full {
            emit(Event::Looks(self.shared.backend.looks(&mut self.last_look)));
        }
        let (metrics, of_parts): (&[Metric], &[Metric]) =
            if full { (&Metric::ALL, &Metric::OF_WORKLOAD) } else { (OF_EVERY_TICK, &[]) };
        let snapshot = self.snapshots.take(&self.shared.recorder, metrics, of_parts);
        let (started, in_flight) = (self.shared.started(), self.shared.in_flight());
        let since = started.saturating_sub(std::mem::replace(&mut self.started, started));
        emit(Event::Tick(Tick { index, snapshot, in_flight, started: since }));
    }

    /// After the end: lets sections under way finish for a while.
    fn drain(&mut self, stop: &AtomicBool, clients: &mut Clients, emit: &mut impl FnMut(Event)) {
        let interrupted = stop.load(Ordering::Relaxed);
        let grace_ns = if interrupted { 500 * NS_PER_MS } else { self.shared.config.grace_ns() };
        let never = AtomicBool::new(false);
        let deadline_ns = clock::now_ns() + grace_ns;
        let stop = if interrupted { &never } else { stop };
        self.watch(deadline_ns, stop, clients, emit);
    }
}
