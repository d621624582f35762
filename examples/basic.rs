//! Takes a lock, shows who holds it, gives it back.
//!
//! `cargo run --example basic -- redis://127.0.0.1:6379 [more nodes]`

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use redlatch::{AcquireError, Redlock};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut nodes: Vec<String> = std::env::args().skip(1).collect();
    if nodes.is_empty() {
        nodes.push("redis://127.0.0.1:6379".into());
    }
    let locks = Redlock::connect(nodes).await?;

    let guard = locks.acquire("example:basic").wait_for(Duration::from_secs(2)).await?;
    println!("held for {:?} at least; {}", guard.remaining(), guard.report());
    match locks.try_acquire("example:basic").await {
        Err(AcquireError::Busy { .. }) => println!("a second caller finds it busy"),
        other => println!("unexpected: {other:?}"),
    }
    guard.release().await?;
    println!("free again: {} nodes hold it", locks.inspect("example:basic").await?.taken());
    locks.close().await;
    Ok(())
}
