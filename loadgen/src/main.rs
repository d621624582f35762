//! Load generator for redlatch: acquisition latency under contention and while nodes die, with a
//! verdict on mutual exclusion.

mod agent;
mod args;
mod backend;
mod clock;
#[allow(dead_code, reason = "counters and the like are for reports to come")]
mod cluster;
mod collect;
mod config;
#[allow(dead_code, unused_imports, reason = "reading is for commands to come")]
mod document;
mod driver;
#[allow(dead_code, reason = "as for the cluster")]
mod faults;
mod frames;
#[allow(dead_code, reason = "as for the cluster")]
mod guard;
mod live;
mod mode;
mod num;
mod oracle;
mod pacer;
mod plan;
mod queue;
mod recorder;
mod report;
mod run;
mod scratch;
mod target;
mod timer;
mod values;
mod verdict;
mod witness;
mod worker;

use std::io::Write;
use std::process::ExitCode;

use args::Command;
use run::RunError;

/// Tells why there is no result; a closed standard error changes nothing about the exit code.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "loadgen: {text}");
}

fn main() -> ExitCode {
    let line = args::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let outcome = match line.command {
        Some(Command::Cluster(command)) => return cluster::cli::run(command),
        Some(Command::Agent) => agent::run_agent()
            .map(|()| 0)
            .map_err(|error| RunError::Tool(format!("worker process: {error}"))),
        Some(Command::Report(args)) => report::command::run(&args),
        Some(Command::Run(args)) => run::run(&args, "run"),
        None => match args::main_job() {
            Ok(args) => run::run(&args, "main-job"),
            Err(error) => Err(RunError::Tool(error.to_string())),
        },
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(RunError::Tool(text)) => {
            complain(&text);
            ExitCode::from(1)
        }
        Err(RunError::Usage(text)) => {
            complain(&text);
            ExitCode::from(2)
        }
        Err(RunError::Interrupted) => ExitCode::from(130),
    }
}
