//! The same acquire+release cycle through redlatch, its peers and a raw probe, interleaved in one
//! run. See README.md for what each column means.
//!
//! It measures rates, latencies and CPU on servers of its own. It does not measure faults.

#![forbid(unsafe_code)]

mod args;
mod cell;
mod children;
mod counters;
mod fleet;
mod fred;
mod gate;
mod group;
mod hold;
mod ledger;
mod link;
mod machine;
mod peer;
mod plan;
mod probe;
mod probe_frames;
mod ratios;
mod redisrs;
#[cfg(feature = "redlatch")]
mod redlatch;
mod redlock;
mod report;
mod rslock;
mod spin;
mod tables;
mod tasks;
mod window;
mod wire;
mod witness;

use std::env;
use std::fs::File;
use std::process::ExitCode;

use args::{Args, USAGE};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let result = match words.first().map(String::as_str) {
        Some("cell") => cell(words.get(1)),
        Some("spin") => spin::spin(),
        _ => run(&words),
    };
    children::end();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(2)
        }
    }
}

/// The hidden command that a run gives to its children.
fn cell(spec: Option<&String>) -> Result<bool> {
    let spec = serde_json::from_str(spec.ok_or("cell needs its description")?)?;
    println!("{}", serde_json::to_string(&cell::run(spec)?)?);
    Ok(true)
}

/// False where a peer made an error or left a key behind.
fn run(words: &[String]) -> Result<bool> {
    let Some(args) = Args::parse(words)? else {
        print!("{USAGE}");
        return Ok(true);
    };
    // Opened first: a path that cannot be written should not cost a whole run.
    let json = args.json.as_ref().map(|path| {
        File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))
    });
    let json = json.transpose()?;
    children::end_on_signal()?;
    let report = plan::run(&args)?;
    print!("{}", report.text());
    if let Some(json) = json {
        serde_json::to_writer_pretty(json, &report)?;
    }
    Ok(report.is_clean())
}
