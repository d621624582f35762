//! Load generator for redlatch: acquisition latency under contention and while nodes die, with a
//! verdict on mutual exclusion.

mod agent;
mod args;
mod backend;
mod calibration;
mod chaos;
mod check;
mod clock;
mod cluster;
mod collect;
mod compare;
mod config;
mod doctor;
mod document;
mod driver;
mod faults;
mod findmax;
mod frames;
mod guard;
mod history;
mod interrupt;
mod intervals;
mod live;
mod merge;
mod metrics;
mod mode;
mod near;
mod num;
mod oracle;
mod pacer;
mod plan;
mod prometheus;
mod proxy;
mod queue;
mod recorder;
mod report;
mod run;
mod scenario;
mod schema;
mod scratch;
mod series;
mod statistics;
mod sweep;
mod target;
mod thresholds;
mod timer;
mod tune;
mod values;
mod verdict;
mod witness;
mod worker;
mod workload;

use std::io::Write;
use std::process::ExitCode;

use args::{Command, Refusal};
use run::RunError;
use scenario::Origin;

/// Tells why there is no result; a closed standard error changes nothing about the exit code.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "loadgen: {text}");
}

fn main() -> ExitCode {
    let mut line = match args::parse(std::env::args_os()) {
        Ok(line) => line,
        Err(Refusal::Clap(error)) => error.exit(),
        Err(Refusal::Scenario(text)) => {
            complain(&text);
            return ExitCode::from(2);
        }
    };
    let origins = line.command.as_mut().map(Command::origins).unwrap_or_default();
    let outcome = match line.command {
        Some(Command::Cluster(command)) => return cluster::cli::run(command),
        Some(Command::Agent) => agent::run_agent()
            .map(|()| 0)
            .map_err(|error| RunError::Tool(format!("worker process: {error}"))),
        Some(Command::Report(args)) => report::command::run(&args),
        Some(Command::Completions { shell }) => {
            args::completions(shell, &mut std::io::stdout());
            Ok(0)
        }
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::Merge(args)) => merge::run(&args),
        Some(Command::Schema) => Ok(schema::print()),
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Run(args)) => {
            scenario::preview(&args, "run").unwrap_or_else(|| run::run(&args, "run"))
        }
        Some(Command::Chaos(args)) => {
            scenario::preview(&args.run, "chaos").unwrap_or_else(|| chaos::run(*args))
        }
        Some(Command::Sweep(args)) => {
            scenario::preview(&args.run, "sweep").unwrap_or_else(|| sweep::run(&args))
        }
        Some(Command::Tune(args)) => {
            scenario::preview(&args.run, "tune").unwrap_or_else(|| tune::run(&args))
        }
        None => match args::main_job() {
            Ok(args) => run::run(&args, "main-job"),
            Err(text) => Err(RunError::Tool(text)),
        },
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(RunError::Tool(text)) => {
            complain(&text);
            ExitCode::from(1)
        }
        Err(RunError::Usage(text)) => {
            complain(&Origin::locate(&text, &origins));
            ExitCode::from(2)
        }
        Err(RunError::Interrupted) => ExitCode::from(130),
    }
}
