//! A stale holder is refused by what it writes to: fencing tokens and a hash in Redis.
//!
//! A worker takes the lock and writes. Then it stalls for longer than its lease lasts: a long
//! garbage collection, a suspended machine. Another worker takes the lock and writes. When the
//! first one goes on, its next write is on its way before it looks at any clock, and no lock
//! service can stop that write. The data can: the script that writes compares tokens.
//!
//! `cargo run --example fenced_redis -- redis://STORE [redis://NODE ...]`
//!
//! STORE holds the data; NODEs hold the lock and must have been initialised. Each defaults to
//! redis://127.0.0.1:6379.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redlatch::{FencingToken, Redlock, Renewal};

/// Check and write are one step. Equal tokens pass, so that one holder can write many times.
const WRITE: &str = "
    local latest = redis.call('HGET', KEYS[1], 'fence')
    if latest and tonumber(latest) > tonumber(ARGV[1]) then
      return redis.error_reply('FENCED the holder of ' .. latest .. ' has written')
    end
    redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'balance', ARGV[2])
    return redis.status_reply('OK')";

/// `false`: fenced off.
async fn write(
    store: &mut MultiplexedConnection,
    token: FencingToken,
    balance: u32,
) -> redis::RedisResult<bool> {
    let script = redis::Script::new(WRITE);
    let mut call = script.key("example:account");
    match call.arg(token.get()).arg(balance).invoke_async::<()>(store).await {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Some("FENCED") => Ok(false),
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
    let lock = one.acquire("example:account").ttl(short).renewal(Renewal::Off);
    let first = lock.fenced().wait_for(patience).await?;
    let stale = first.fencing_token().ok_or("a fenced lock has a token")?;
    println!("first holder, token {stale}: written {}", write(&mut store, stale, 100).await?);

    while first.is_valid() {
        tokio::time::sleep(Duration::from_millis(20)).await; // the stall
    }
    let second = two.acquire("example:account").fenced().wait_for(patience).await?;
    let token = second.fencing_token().ok_or("a fenced lock has a token")?;
    println!("second holder, token {token}: written {}", write(&mut store, token, 250).await?);

    let passed = write(&mut store, stale, 101).await?;
    println!("first holder again, token {stale}: written {passed}");
    let balance: u32 =
        redis::cmd("HGET").arg(&["example:account", "balance"]).query_async(&mut store).await?;
    println!("the balance is {balance}");
    second.release().await?;
    if passed { Err("a stale holder has written".into()) } else { Ok(()) }
}
