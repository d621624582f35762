//! A stale holder is refused by what it writes to: fencing tokens and a row of a table.
//!
//! As `fenced_redis`, with a database: the row remembers the largest token that has written it, and
//! the UPDATE names its own. No row updated: fenced off. One statement checks and writes, so this
//! needs no transaction and works alike in SQLite, PostgreSQL and MySQL.
//!
//! `cargo run --example fenced_sql -- [redis://NODE ...]`
//!
//! NODEs hold the lock and must have been initialised; without any, redis://127.0.0.1:6379. The
//! database is SQLite, in memory.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use redlatch::{FencingToken, Redlock, Renewal};
use rusqlite::{Connection, params};

const CREATE: &str = "
    CREATE TABLE account (
        id INTEGER PRIMARY KEY,
        balance INTEGER NOT NULL,
        fence INTEGER NOT NULL DEFAULT 0
    );
    INSERT INTO account (id, balance) VALUES (42, 0);";

/// `<=`, not `<`: one holder can write many times.
const WRITE: &str = "UPDATE account SET balance = ?1, fence = ?2 WHERE id = 42 AND fence <= ?2";

/// `false`: fenced off.
fn write(database: &Connection, token: FencingToken, balance: i64) -> Result<bool, Box<dyn Error>> {
    // Tokens end at 2^53: every integer column of 64 bits holds them.
    let token = i64::try_from(token.get())?;
    Ok(database.execute(WRITE, params![balance, token])? == 1)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut nodes: Vec<String> = std::env::args().skip(1).collect();
    if nodes.is_empty() {
        nodes.push("redis://127.0.0.1:6379".into());
    }
    let database = Connection::open_in_memory()?;
    database.execute_batch(CREATE)?;
    let fleet = Redlock::builder().nodes(nodes);
    // Two processes in real life.
    let (one, two) = (fleet.clone().connect().await?, fleet.connect().await?);

    let patience = Duration::from_secs(20);
    let short = Duration::from_secs(1);
    let lock = one.acquire("example:row").ttl(short).renewal(Renewal::Off);
    let first = lock.fenced().wait_for(patience).await?;
    let stale = first.fencing_token().ok_or("a fenced lock has a token")?;
    println!("first holder, token {stale}: written {}", write(&database, stale, 100)?);

    while first.is_valid() {
        tokio::time::sleep(Duration::from_millis(20)).await; // the stall
    }
    let second = two.acquire("example:row").fenced().wait_for(patience).await?;
    let token = second.fencing_token().ok_or("a fenced lock has a token")?;
    println!("second holder, token {token}: written {}", write(&database, token, 250)?);

    let passed = write(&database, stale, 101)?;
    println!("first holder again, token {stale}: written {passed}");
    let row = "SELECT balance FROM account WHERE id = 42";
    let balance: i64 = database.query_row(row, [], |row| row.get(0))?;
    println!("the balance is {balance}");
    second.release().await?;
    if passed { Err("a stale holder has written".into()) } else { Ok(()) }
}
