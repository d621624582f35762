//! `loadgen nodes init`: opens a fleet on its operator's word that nobody holds a lock on it.
//!
//! It acts on nodes that loadgen does not own, and does nothing to them that the library would not
//! do: a node that has an epoch is left as it is.

use std::process::ExitCode;
use std::time::Duration;

use redlatch::{Endpoint, InitError, Redlock};

use super::cli::{say, tell};
use crate::values;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const IN_USE: u8 = 3;

const ADVICE: &str = "\
Nodes that have never been used look like nodes that have just lost everything. So the first \
client of a new fleet waits for the longest ttl before any lock can be had; 'init' saves that \
time, once in the life of the fleet, on your word that nobody holds a lock on any of these \
nodes. It opens all of them or none: every node must answer, and none may have been used.

Never clear a node's 'redlatch:' keys to get past a quarantine: it is there because a lock that \
the node has forgotten may still be held.

Exit codes: 0 opened, 1 not opened (a node does not answer, or failed), 2 bad usage, 3 not \
opened because a node is in use already (no error in a deployment that is repeated).";

#[derive(Debug, clap::Args)]
#[command(after_help = ADVICE)]
pub(crate) struct InitArgs {
    /// All nodes of the fleet: redis://HOST:PORT or unix:///PATH, separated by commas
    #[arg(long, value_name = "URL,..", value_delimiter = ',', required = true)]
    nodes: Vec<String>,
    /// Longest ttl that any client of the fleet will use
    #[arg(long, value_name = "TIME", default_value = "30s",
          value_parser = values::positive_duration)]
    max_ttl: u64,
}

/// Opens the fleet, says what came of it; the exit code.
pub(super) fn run(args: &InitArgs) -> ExitCode {
    let nodes: Result<Vec<Endpoint>, _> = args.nodes.iter().map(|url| url.parse()).collect();
    let nodes = match nodes {
        Ok(nodes) => nodes,
        Err(error) => return refused(USAGE, &format!("error: {error}")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let opened = match runtime {
        Ok(runtime) => runtime.block_on(
            Redlock::builder()
                .nodes(nodes.clone())
                .max_ttl(Duration::from_nanos(args.max_ttl))
                .client_name("loadgen")
                .init_fleet(),
        ),
        Err(error) => return refused(FAILED, &format!("error: cannot start a runtime: {error}")),
    };
    match opened {
        Ok(()) => {
            for node in &nodes {
                tell(format_args!("opened  {node}"));
            }
            say(format_args!("locks can be had at once"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let (code, advice) = what_to_do(&error);
            refused(code, &format!("{error}{advice}"))
        }
    }
}

fn what_to_do(error: &InitError) -> (u8, &'static str) {
    match error {
        InitError::Config(_) | InitError::SameServer => (USAGE, "; name every node once"),
        InitError::AlreadyInitialised { .. } => {
            (IN_USE, "; they vote, or will when every older lock has expired: leave them so")
        }
        InitError::Partly { .. } => {
            (FAILED, "; the others are open, and these vote when their quarantine ends")
        }
        _ => (FAILED, "; see to these nodes and run this again"),
    }
}

fn refused(code: u8, text: &str) -> ExitCode {
    say(format_args!("{text}"));
    ExitCode::from(code)
}
