//! A stale holder is refused by a stream: an audit trail or event log that Redis itself fences.
//!
//! The ids of a stream only grow. With the fencing token as the first half of the id, `XADD audit
//! <token>-*` appends in the order of the lock's holders, and Redis refuses an event of a holder
//! that a later one has replaced: no script, nothing to remember. A holder's events count on: -0,
//! -1, -2. Needs Redis 7.0 or Valkey.
//!
//! `cargo run --example fenced_stream -- redis://STORE [redis://NODE ...]`
//!
//! STORE holds the stream; NODEs hold the lock and must have been initialised. Each defaults to
//! redis://127.0.0.1:6379.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redlatch::{FencingToken, Redlock, Renewal};

const STREAM: &str = "example:audit";

/// The event's id; nothing if it is fenced off.
async fn append(
    store: &mut MultiplexedConnection,
    token: FencingToken,
    event: &str,
) -> redis::RedisResult<Option<String>> {
    let mut command = redis::cmd("XADD");
    command.arg(STREAM).arg(format!("{token}-*")).arg("event").arg(event);
    match command.query_async(store).await {
        Ok(id) => Ok(Some(id)),
        // "The ID specified in XADD is equal or smaller than the target stream top item".
        Err(error) if error.to_string().contains("equal or smaller") => Ok(None),
        Err(error) => Err(error),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
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

    let patience = Duration::from_secs(20);
    let short = Duration::from_secs(1);
    let lock = one.acquire(STREAM).ttl(short).renewal(Renewal::Off);
    let first = lock.fenced().wait_for(patience).await?;
    let stale = first.fencing_token().ok_or("a fenced lock has a token")?;
    for event in ["opened", "paid in 100"] {
        println!("first holder: {event}: {:?}", append(&mut store, stale, event).await?);
    }

    while first.is_valid() {
        tokio::time::sleep(Duration::from_millis(20)).await; // the stall
    }
    let second = two.acquire(STREAM).fenced().wait_for(patience).await?;
    let token = second.fencing_token().ok_or("a fenced lock has a token")?;
    println!("second holder: paid out 50: {:?}", append(&mut store, token, "paid out 50").await?);

    let late = append(&mut store, stale, "closed").await?;
    println!("first holder again: closed: {late:?}");
    let length: u64 = redis::cmd("XLEN").arg(STREAM).query_async(&mut store).await?;
    println!("the stream has {length} events");
    second.release().await?;
    if late.is_some() { Err("a stale holder has written".into()) } else { Ok(()) }
}
