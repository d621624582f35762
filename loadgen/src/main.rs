//! Load generator for redlatch.

use std::process::ExitCode;

use clap::Parser;

mod clock;
#[allow(dead_code)]
mod cluster;
#[allow(dead_code)]
mod faults;
#[allow(dead_code)]
mod guard;

#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: cluster::cli::Command,
}

fn main() -> ExitCode {
    cluster::cli::run(Args::parse().command)
}
