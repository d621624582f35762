//! One of many workers that must not run at the same time: a job under a lock, stopped when the
//! lock is lost, and what to do when somebody else is at it.
//!
//! `cargo run --example job -- redis://127.0.0.1:6379 [more nodes]`, in two terminals.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use redlatch::{AcquireError, Redlock, RunError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut nodes: Vec<String> = std::env::args().skip(1).collect();
    if nodes.is_empty() {
        nodes.push("redis://127.0.0.1:6379".into());
    }
    let locks = Redlock::builder().nodes(nodes).ttl(Duration::from_secs(5)).connect().await?;

    let outcome = locks
        .run("example:job", async |lease| {
            for step in 1..=3 {
                tokio::time::sleep(Duration::from_millis(300)).await;
                // Right before anything that cannot be undone.
                if lease.ensure_valid().is_err() {
                    return step - 1;
                }
                println!("step {step}; the lock is ours for another {:?}", lease.remaining());
            }
            3
        })
        .await;
    match outcome {
        Ok(steps) => println!("done after {steps} steps"),
        Err(RunError::Lost(reason)) => println!("stopped in the middle: {reason}"),
        Err(RunError::Acquire(AcquireError::TimedOut { report, .. })) => {
            println!("somebody else is at it; try again later ({report})");
        }
        Err(error) => return Err(error.into()),
    }
    locks.close().await;
    Ok(())
}
