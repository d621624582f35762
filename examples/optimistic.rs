//! A lock that saves work, and a version that keeps the data right.
//!
//! Where the data has a version, the lock need not be trusted at all. Each writer reads a row with
//! its version, works, and writes on condition that the version is still the same. The lock only
//! spares the others work that the condition would throw away. Here a worker stalls past its lease
//! in the middle: its write finds another version, changes nothing, and the work is done again.
//!
//! `cargo run --example optimistic -- [redis://NODE ...]`
//!
//! NODEs hold the lock and must have been initialised; without any, redis://127.0.0.1:6379. The
//! database is SQLite, in memory. `fenced_sql` needs no read before the write, and no second try.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use redlatch::{Redlock, Renewal};
use rusqlite::{Connection, params};

const CREATE: &str = "
    CREATE TABLE stock (id INTEGER PRIMARY KEY, pieces INTEGER NOT NULL, version INTEGER NOT NULL);
    INSERT INTO stock VALUES (42, 10, 1);";

struct Row {
    pieces: i64,
    version: i64,
}

fn read(database: &Connection) -> rusqlite::Result<Row> {
    database.query_row("SELECT pieces, version FROM stock WHERE id = 42", [], |row| {
        Ok(Row { pieces: row.get(0)?, version: row.get(1)? })
    })
}

/// `false`: somebody has written since `read`.
fn write(database: &Connection, read: &Row, pieces: i64) -> rusqlite::Result<bool> {
    let statement = "UPDATE stock SET pieces = ?1, version = version + 1
        WHERE id = 42 AND version = ?2";
    Ok(database.execute(statement, params![pieces, read.version])? == 1)
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

    let short = one.acquire("example:stock").ttl(Duration::from_secs(1)).renewal(Renewal::Off);
    let first = short.wait_for(patience).await?;
    let seen = read(&database)?;
    println!("first worker: {} pieces, version {}", seen.pieces, seen.version);
    while first.is_valid() {
        tokio::time::sleep(Duration::from_millis(20)).await; // the stall
    }

    let second = two.acquire("example:stock").wait_for(patience).await?;
    let row = read(&database)?;
    println!("second worker takes 3: {}", write(&database, &row, row.pieces - 3)?);
    second.release().await?;

    let written = write(&database, &seen, seen.pieces - 2)?;
    println!("first worker takes 2, too late: {written}");
    drop(first);
    if !written {
        let again = one.acquire("example:stock").wait_for(patience).await?;
        let row = read(&database)?;
        println!("first worker takes 2, again: {}", write(&database, &row, row.pieces - 2)?);
        again.release().await?;
    }
    let left = read(&database)?.pieces;
    println!("{left} pieces are left");
    if left == 5 { Ok(()) } else { Err("an update was lost".into()) }
}
