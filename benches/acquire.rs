//! Acquire and release against real servers on this machine: one caller, one resource, by number
//! of nodes and kind of runtime. Latency of the whole way, servers and sockets included.
//!
//! `cargo bench --bench acquire`. Needs a server: without one it fails and says how to install it
//! (`REDLATCH_TEST_SERVER` names another one). Throughput under many callers is what `loadgen` and
//! the peers bench measure.

#![expect(clippy::expect_used, reason = "a bench whose set-up fails has nothing to measure")]

#[path = "../tests/support/server.rs"]
mod server;

use std::time::{Duration, Instant};

use criterion::Criterion;
use redlatch::{Redlock, Resource};
use tokio::runtime::{Builder, Runtime};

use server::Cluster;

/// `count` cycles in one task of the runtime, as a service would run them.
#[expect(clippy::disallowed_methods, reason = "a bench reads the time")]
async fn cycles(locks: Redlock, resource: Resource, count: u64) -> Duration {
    let began = Instant::now();
    for _ in 0..count {
        let guard = locks.acquire(&resource).await.expect("the lock is free");
        guard.release().await.expect("the lock is held");
    }
    began.elapsed()
}

fn runtimes() -> [(&'static str, Runtime); 2] {
    let current_thread = Builder::new_current_thread().enable_all().build();
    let multi_thread = Builder::new_multi_thread().enable_all().build();
    [
        ("current_thread", current_thread.expect("a runtime")),
        ("multi_thread", multi_thread.expect("a runtime")),
    ]
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let resource = Resource::from("orders:00000042");
    for nodes in [1, 5] {
        let cluster = Cluster::start(nodes);
        for (name, runtime) in runtimes() {
            let locks = runtime.block_on(Redlock::connect(cluster.urls()));
            let locks = locks.expect("the servers are up");
            criterion.bench_function(&format!("acquire/{nodes}_nodes/{name}"), |bencher| {
                bencher.iter_custom(|count| {
                    let task = runtime.spawn(cycles(locks.clone(), resource.clone(), count));
                    runtime.block_on(task).expect("the run does not panic")
                });
            });
        }
        for server in cluster.iter() {
            // A release returns at its quorum; the other nodes follow.
            server::poll_until("the last keys to go", || (server.dbsize() == 0).then_some(()));
        }
    }
    criterion.final_summary();
}
