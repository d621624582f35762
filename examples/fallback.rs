//! What to do when a lock is busy: put the work off, or tell the user. Nobody waits.
//!
//! A job that can wait goes on a list first; only then its caller tries the lock. Whoever has the
//! lock works the list off, and looks once more after the release: so a job that came in between
//! is found by one or the other. A job leaves the list when it is done, not before, so the job of
//! a holder that died is done again by the next one. Somebody who sits in front of the screen is
//! told at once that it is busy.
//!
//! `cargo run --example fallback -- redis://STORE [redis://NODE ...]`
//!
//! STORE holds the list; NODEs hold the lock and must have been initialised. Each defaults to
//! redis://127.0.0.1:6379.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redlatch::{AcquireError, Guard, Redlock};

const ACCOUNT: &str = "example:account:7";
const LATER: &str = "example:account:7:later";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The lock, if nobody has it. A busy lock is an answer; nodes that cannot be reached are not.
async fn if_free(locks: &Redlock) -> Result<Option<Guard>, AcquireError> {
    match locks.try_acquire(ACCOUNT).await {
        Ok(guard) => Ok(Some(guard)),
        Err(AcquireError::Busy { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `false`: put off.
async fn submit(locks: &Redlock, store: &mut MultiplexedConnection, job: &str) -> Outcome<bool> {
    let () = redis::cmd("RPUSH").arg(LATER).arg(job).query_async(store).await?;
    work_off(locks, store).await
}

/// Does what is on the list; `false` if another has the lock, who will do it.
///
/// Two that try at one instant may both be refused. So call it now and then by a timer as well,
/// which also finds what a holder that died has left.
async fn work_off(locks: &Redlock, store: &mut MultiplexedConnection) -> Outcome<bool> {
    while redis::cmd("LLEN").arg(LATER).query_async::<u64>(store).await? > 0 {
        let Some(guard) = if_free(locks).await? else { return Ok(false) };
        while guard.is_valid() {
            let next = redis::cmd("LINDEX").arg(LATER).arg(0).query_async(store).await?;
            let Some(job) = next else { break };
            let job: String = job;
            println!("done: {job}");
            let () = redis::cmd("LREM").arg(LATER).arg(1).arg(&job).query_async(store).await?;
        }
        guard.release().await?;
    }
    Ok(true)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let store = args.next().unwrap_or_else(|| "redis://127.0.0.1:6379".into());
    let mut store = redis::Client::open(store)?.get_multiplexed_async_connection().await?;
    let mut nodes: Vec<String> = args.collect();
    if nodes.is_empty() {
        nodes.push("redis://127.0.0.1:6379".into());
    }
    let fleet = Redlock::builder().nodes(nodes);
    // Two processes in real life.
    let (one, two) = (fleet.clone().connect().await?, fleet.connect().await?);

    let editing = one.acquire(ACCOUNT).wait_for(Duration::from_secs(20)).await?;
    println!("somebody edits the account");
    for job in ["monthly statement", "new address"] {
        let is_done = submit(&two, &mut store, job).await?;
        println!("{job}: {}", if is_done { "at once" } else { "put off" });
    }
    if if_free(&two).await?.is_none() {
        println!("a second user is told: this account is being edited; try again in a moment");
    }
    editing.release().await?;

    println!("the editor is done, and does what has come in meanwhile");
    work_off(&one, &mut store).await?;
    let is_done = submit(&two, &mut store, "interest").await?;
    println!("interest: {}", if is_done { "at once" } else { "put off" });
    one.close().await;
    two.close().await;
    Ok(())
}
