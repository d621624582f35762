//! The cycle as tokio tasks, the same for every library; only [`Locker`] differs.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use crate::Result;
use crate::cell::{CellSpec, Observer};
use crate::gate::{self, Moment};
use crate::hold::Hold;
use crate::peer::{Flavour, Library};
use crate::window::Window;
use crate::{fred, redisrs, rslock, witness};

/// A library's lock by majority, as its documentation would have one use it.
pub(crate) trait Locker: Clone + Send + Sync + 'static {
    /// What a task prepares once for its key.
    type Key: Send + Sync + 'static;
    type Held: Send + 'static;

    fn key(name: String) -> Self::Key;

    /// Returns when a majority granted the lock; waits while others hold it.
    fn acquire(&self, key: &Self::Key) -> impl Future<Output = Result<Self::Held>> + Send;

    /// Returns when a majority confirmed the release.
    fn release(&self, key: &Self::Key, held: Self::Held)
    -> impl Future<Output = Result<()>> + Send;

    fn close(self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

pub(crate) fn run<O>(spec: &CellSpec, window: &Arc<Window>, observer: O) -> Result<Observer>
where
    O: FnOnce(Moment) -> Observer,
{
    let runtime = runtime(spec.peer.flavour)?;
    let result = runtime.block_on(async {
        match spec.peer.library {
            Library::Rslock => drive(rslock::connect(spec), spec, window, observer).await,
            Library::Redisrs => drive(redisrs::connect(spec).await?, spec, window, observer).await,
            Library::Fred => drive(fred::connect(spec).await?, spec, window, observer).await,
            #[cfg(feature = "redlatch")]
            Library::Redlatch | Library::Unsealed => {
                let sealed = spec.peer.library == Library::Redlatch;
                drive(crate::redlatch::connect(spec, sealed).await?, spec, window, observer).await
            }
            other => Err(format!("{} is not in this build", other.name()).into()),
        }
    });
    // A stuck task has been reported; it must not keep the process.
    runtime.shutdown_background();
    result
}

fn runtime(flavour: Flavour) -> Result<Runtime> {
    let mut builder = match flavour {
        Flavour::CurrentThread => Builder::new_current_thread(),
        Flavour::MultiThread | Flavour::Raw => Builder::new_multi_thread(),
    };
    Ok(builder.worker_threads(2).enable_all().build()?)
}

async fn drive<L, O>(
    locker: L,
    spec: &CellSpec,
    window: &Arc<Window>,
    observer: O,
) -> Result<Observer>
where
    L: Locker,
    O: FnOnce(Moment) -> Observer,
{
    let checked = timeout(Duration::from_secs(20), check(&locker, spec)).await;
    checked.map_err(|_| "the peer could not acquire and release one free lock in 20 s")??;
    // Off the runtime's thread: the peer's connections stay alive while other processes start.
    let begin = spawn_blocking(gate::pass).await??;
    let mut running = JoinSet::new();
    for task in 0..spec.tasks {
        let (locker, window) = (locker.clone(), Arc::clone(window));
        let key = L::key(spec.key(task));
        let one_key = spec.one_key;
        let hold = Hold::new(spec.hold)?;
        running.spawn(async move {
            while !window.is_stopped() {
                if let Err(error) =
                    cycle(&locker, &key, task, one_key.then_some(&hold), &window).await
                {
                    window.error(|| error.to_string());
                    // A peer that fails at once must not turn into a busy loop.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
    }
    let observer = observer(begin);
    let limit = Duration::from_secs_f64(spec.warmup_s + spec.seconds + 20.0);
    let all = async { while running.join_next().await.is_some() {} };
    if timeout(limit, all).await.is_err() {
        window.error(|| format!("{} tasks are stuck", running.len()));
    }
    locker.close().await;
    Ok(observer)
}

async fn cycle<L: Locker>(
    locker: &L,
    key: &L::Key,
    task: usize,
    one_key: Option<&Hold>,
    window: &Window,
) -> Result<()> {
    let begin = Instant::now();
    if one_key.is_some() {
        window.wait_begins(task, begin);
    }
    let held = locker.acquire(key).await?;
    let acquired = Instant::now();
    let mut hold_time = Duration::ZERO;
    let mut hold_result = Ok(());
    if let Some(hold) = one_key {
        window.wait_ends(task, acquired);
        window.enters(task);
        hold_result = hold.wait().await;
        hold_time = acquired.elapsed();
        window.leaves();
    }
    locker.release(key, held).await?;
    hold_result?;
    window.record(acquired - begin, hold_time, begin.elapsed());
    if let Some(counters) = window.tasks.get(task) {
        counters.add_cycle();
    }
    Ok(())
}

async fn check<L: Locker>(locker: &L, spec: &CellSpec) -> Result<()> {
    let key = L::key(witness::KEY.to_owned());
    let held = locker.acquire(&key).await?;
    // Off the runtime's thread: the peer may still have frames to write.
    let copy = spec.clone();
    spawn_blocking(move || witness::is_held(&copy)).await??;
    locker.release(&key, held).await?;
    let copy = spec.clone();
    spawn_blocking(move || witness::is_free(&copy)).await?
}
