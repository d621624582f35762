//! The command line: what it accepts, what it refuses, and what it then means.

use super::*;
use crate::config::{Gather, RunConfig};
use crate::faults::Fault;
use crate::values::Stage;
use std::time::Duration;

fn run(args: &[&str]) -> Result<RunConfig, String> {
    let full = ["loadgen", "run"].iter().chain(args).copied();
    match Cli::try_parse_from(full).map_err(|e| e.to_string())?.command {
        Some(Command::Run(args)) => args.resolve("t", 7),
        _ => Err("no run".to_owned()),
    }
}

#[test]
fn the_main_job_is_a_valid_command_line() {
    let job = main_job().unwrap().resolve("main", 1).unwrap();
    assert_eq!(job.faults.len(), 2);
    assert!(job.is_open_loop());
    assert!(job.keys > 1);
    // The killed node votes again before the pause begins, with a second to spare.
    let [kill, pause] = [0, 1].map(|at| job.faults[at].parse::<Fault>().unwrap());
    let votes = kill.at + kill.for_ + Duration::from_nanos(job.max_ttl_ns);
    assert!(votes + Duration::from_millis(500) <= pause.at, "{votes:?}");
}

#[test]
fn flags_reach_the_settings() {
    let config = run(&[
        "-c",
        "8",
        "-r",
        "5k",
        "-d",
        "3s",
        "--hold",
        "exp:1ms",
        "--seed",
        "9",
        "--batch-gather",
        "off",
        "--node-timeout",
        "40ms",
    ])
    .unwrap();
    assert_eq!((config.clients, config.duration_ns, config.seed), (8, 3_000_000_000, 9));
    assert_eq!(config.rate, Rate::PerSecond(5_000.0));
    assert_eq!(config.engine.batch_gather, Some(Gather::Off));
    assert_eq!(config.engine.node_timeout_ns, Some(40_000_000));
    let defaults = run(&[]).unwrap();
    assert_eq!((defaults.seed, defaults.max_ttl_ns), (7, 10_000_000_000));
    assert_eq!(run(&["--ttl", "1s"]).unwrap().max_ttl_ns, 3_000_000_000);
    let asked = run(&["--ttl", "1s", "--max-ttl", "2s", "--fenced"]).unwrap();
    assert_eq!((asked.max_ttl_ns, asked.fenced), (2_000_000_000, true));
    let named = run(&["--name", "mine", "--label", "a=1", "--label", "a=2", "--label", "b="]);
    let named = named.unwrap();
    let labels: Vec<_> = named.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!((named.name.as_str(), labels), ("mine", vec![("a", "2"), ("b", "")]));
    let stages = run(&["--stages", "1s:1k,2s:3k", "--arrival", "burst:9", "--catch-up", "2"]);
    let stages = stages.unwrap();
    assert_eq!(stages.stages[1], Stage { over_ns: 2_000_000_000, to_rate: 3_000.0 });
    assert_eq!((stages.rate, stages.catch_up), (Rate::PerSecond(3_000.0), Some(2.0)));
    assert_eq!((stages.arrival, defaults.catch_up), (Arrival::Burst(9), None));
    let pauses = run(&["--retry-base", "5ms", "--persist", "aof-always"]).unwrap();
    assert_eq!(
        (pauses.engine.retry_base_ns, pauses.persist),
        (Some(5_000_000), Persist::AofAlways)
    );
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (args, word) in [
        (&["-c", "2", "--processes", "3"][..], "--processes 3"),
        (&["--interval", "150ms"], "--interval"),
        (&["--backend", "noop", "--fault", "kill@1s"], "--fault"),
        (&["--rate", "0"], "`0`"),
        (&["--spawn", "10"], "10"),
        (&["--try", "--wait", "1s"], "--wait"),
        (&["-c", "5M"], "--clients"),
        (&["--mode", "rw:90"], "`rw:90` is no mode"),
        (&["--mode", "all:3", "-k", "2"], "all:3 needs"),
        (&["--mode", "shared:50", "--fenced"], "--fenced"),
        (&["--mode", "shared:50", "-k", "10M"], "too much to check"),
        (&["--retry-base", "21ms"], "--retry-cap"),
        (&["--arrival", "burst:5"], "--stages"),
        (&["--rate", "5", "--stages", "1s:5"], "--stages"),
        (&["--name", "a/b"], "--name"),
        (&["--ttl", "4s", "--max-ttl", "3999ms"], "--max-ttl"),
    ] {
        let error = run(args).unwrap_err();
        assert!(error.contains(word), "{args:?}: {error}");
    }
}

#[test]
fn help_fits_a_terminal_of_100_columns() {
    use clap::CommandFactory;
    let mut command = Cli::command();
    let run = command.find_subcommand_mut("run").unwrap();
    let help = run.render_long_help().to_string();
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    assert!(!help.contains("broken"), "the test backends stay out of the help");
}
