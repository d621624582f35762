//! What gathering does: acquire+release cycles through the driver over in-memory streams, by
//! concurrent callers and gather mode, and the commands that shared a write.
//!
//! `cargo bench --bench batching`. One worker thread runs callers and driver, as one core of a
//! service would; the node is the test node's core on a thread of its own, so that a reply takes a
//! thread's wake-up as one over loopback does. Time is wall time per cycle and includes the node's
//! share: compare the modes with each other, not these figures with a real server's. A lone caller
//! has nothing to share (about one command per write in every mode); when gathering works,
//! `adaptive` stays near the better of the other two.

#![expect(clippy::expect_used, reason = "a bench whose set-up fails has nothing to measure")]
#![expect(clippy::print_stdout, reason = "the commands per write are half of the result")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use redlatch::bench_internals::Fleet;
use redlatch::testing::{NodeCore, Options};
use redlatch::{Batching, Gather, Resource};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

/// As a socket's buffers would: more than either side has under way.
const STREAM_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 16 << 10;
const MODES: [(&str, Gather); 3] =
    [("adaptive", Gather::Adaptive), ("always", Gather::Always), ("off", Gather::Off)];

/// Answers one connection until its peer is gone.
async fn serve(mut stream: DuplexStream) {
    let mut node = NodeCore::new(Options::new());
    let mut session = node.connect("memory:0");
    let mut input = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = stream.read(&mut input).await {
        let received = input.get(..count).expect("no more than the buffer was read");
        let replies = node.exchange(&mut session, received);
        if stream.write_all(&replies).await.is_err() {
            return;
        }
    }
}

fn dial(peers: &Handle) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
    peers.spawn(serve(theirs));
    ours
}

fn start(runtime: &Runtime, peers: &Handle, gather: Gather) -> Arc<Fleet> {
    let mut batching = Batching::default();
    batching.gather = gather;
    let starting = Fleet::start(runtime.handle(), batching, peers.clone(), dial);
    Arc::new(runtime.block_on(starting).expect("the settings are valid"))
}

/// `callers` tasks, each on a resource of its own, do `cycles` cycles in all.
#[expect(clippy::disallowed_methods, reason = "a bench reads the time")]
async fn cycles(fleet: Arc<Fleet>, resources: Arc<[Resource]>, cycles: u64) -> Duration {
    let callers = resources.len() as u64;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (caller, resource) in (0..callers).zip(resources.iter().cloned()) {
        let fleet = Arc::clone(&fleet);
        let share = cycles / callers + u64::from(caller < cycles % callers);
        tasks.spawn(async move {
            for _ in 0..share {
                let guard = fleet.acquire(&resource).await.expect("the lock is free");
                guard.release().await.expect("the lock is held");
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no caller panics");
    }
    began.elapsed()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let peers = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");

    let mut group = criterion.benchmark_group("batching");
    group.throughput(Throughput::Elements(1));
    for callers in [1_usize, 16, 128] {
        let resource = |caller| Resource::from(format!("orders:{caller:08}"));
        let resources: Arc<[Resource]> = (0..callers).map(resource).collect();
        for (name, gather) in MODES {
            let fleet = start(&runtime, peers.handle(), gather);
            let before = fleet.written();
            group.bench_function(format!("{name}/{callers}"), |bencher| {
                bencher.iter_custom(|count| {
                    let run = cycles(Arc::clone(&fleet), Arc::clone(&resources), count);
                    let task = runtime.spawn(run);
                    runtime.block_on(task).expect("the run does not panic")
                });
            });
            let (commands, writes) = fleet.written();
            let (commands, writes) = (commands - before.0, writes - before.1);
            if writes > 0 {
                let per_write = commands as f64 / writes as f64;
                println!("batching/{name}/{callers}: {per_write:.2} commands per write");
            }
        }
    }
    group.finish();
    criterion.final_summary();
}
