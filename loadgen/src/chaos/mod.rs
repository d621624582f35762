//! `loadgen chaos`: a run under a random but repeatable schedule of faults.
//!
//! It makes an ordinary list of faults out of a seed and hands it to an ordinary run: the printed
//! `--fault` lines, given to `loadgen run` with the same flags and seed, repeat it.

mod schedule;

use std::io::Write;
use std::time::Duration;

use crate::args::RunArgs;
use crate::cluster::server::Server;
use crate::config::RunConfig;
use crate::faults::FaultKind;
use crate::num;
use crate::run::{self, RunError};
use crate::values;
use schedule::{Aim, Wish};

/// What `loadgen chaos` sets where nothing else was typed: a load that is moderate for two cores,
/// and a ttl that lets a killed node vote again soon.
pub(crate) const DEFAULTS: &[(&str, &str)] = &[
    ("duration", "60s"),
    ("processes", "3"),
    ("threads", "1"),
    ("clients", "96"),
    ("rate", "300"),
    ("keys", "100"),
    ("hold", "exp:2ms"),
    ("ttl", "3s"),
    ("wait", "3s"),
];

/// Kinds without a choice, in no order; those that the nodes cannot have are left out. Those that
/// hit the load itself are for who asks for them: its own numbers suffer by them.
const KINDS: &[FaultKind] = &[
    FaultKind::Kill,
    FaultKind::Term,
    FaultKind::Pause,
    FaultKind::Partition,
    FaultKind::DropReplies,
    FaultKind::DropRequests,
    FaultKind::Latency,
    FaultKind::Bandwidth,
    FaultKind::Reset,
    FaultKind::Refuse,
    FaultKind::Flush,
    FaultKind::TtlShrink,
];

/// For the end of the help.
fn help() -> String {
    let defaults: Vec<String> =
        DEFAULTS.iter().map(|(flag, value)| format!("--{flag} {value}")).collect();
    format!(
        "What chaos sets where nothing else is typed: {}.\n\nThe schedule follows from --seed \
         alone: same seed, same faults. At most a minority of the nodes is in trouble at any time, \
         and a node that may have forgotten locks counts as such until all of these have expired \
         (--max-ttl). All is healed before the end. Kinds are taken in rounds, so that each has \
         its turn; client-pause and client-kill hit the load itself and are for who names them in \
         --kinds. The printed --fault lines repeat the run with 'loadgen run' and the same other \
         flags.\n\n{}",
        defaults.join(" "),
        crate::faults::help()
    )
}

#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(crate) struct ChaosArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Time between the starts of two faults, on average
    #[arg(long, value_name = "TIME", default_value = "5s", help_heading = "Chaos",
          value_parser = values::positive_duration)]
    every: u64,
    /// Kinds of faults, separated by commas [default: all that the nodes can have]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Chaos",
          value_parser = kind)]
    kinds: Vec<FaultKind>,
    /// How long a fault lasts
    #[arg(long = "for", value_name = "A..B", default_value = "1s..3s", help_heading = "Chaos",
          value_parser = range)]
    length: (u64, u64),
    /// How many nodes a fault hits; mixed: mostly one, sometimes a minority
    #[arg(long, value_name = "HOW", default_value = "mixed", help_heading = "Chaos")]
    target: Aim,
}

fn kind(text: &str) -> Result<FaultKind, String> {
    FaultKind::by_name(text)
        .ok_or_else(|| format!("there is no kind '{text}'; kinds are {}", FaultKind::names()))
}

/// `1s..3s`, or one length for all.
fn range(text: &str) -> Result<(u64, u64), String> {
    let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
    let both = (values::positive_duration(shortest)?, values::positive_duration(longest)?);
    if both.0 > both.1 {
        return Err(format!("`{text}` is the wrong way round; write {longest}..{shortest}"));
    }
    Ok(both)
}

/// Makes the schedule and the run.
pub(crate) fn run(mut args: ChaosArgs) -> Result<u8, RunError> {
    if !args.run.faults.is_empty() {
        let text = "--fault goes with 'loadgen run'; chaos makes its own schedule from --seed";
        return Err(RunError::Usage(text.to_owned()));
    }
    let seed = *args.run.seed.get_or_insert_with(run::fresh_seed);
    let config = args.run.resolve("chaos", seed).map_err(RunError::Usage)?;
    let wish = args.wish(&config).map_err(RunError::Usage)?;
    let faults = schedule::make(&wish, seed).map_err(RunError::Usage)?;
    let kinds: std::collections::BTreeSet<_> = faults.iter().map(|fault| fault.kind).collect();
    args.run.faults = faults.iter().map(ToString::to_string).collect();
    if !args.run.quiet {
        let mut text =
            format!("chaos: --seed {seed}, {} faults of {} kinds:\n", faults.len(), kinds.len());
        args.run.faults.iter().for_each(|fault| text.push_str(&format!("  --fault {fault}\n")));
        // A closed standard error changes nothing about the run.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    run::run(&args.run, "chaos")
}

impl ChaosArgs {
    fn wish(&self, config: &RunConfig) -> Result<Wish, String> {
        let span = Duration::from_nanos;
        let nodes = match (self.run.nodes.len(), self.run.spawn) {
            (0, spawn) => num::usize_of(spawn.unwrap_or(5).into()),
            (given, _) => given,
        };
        let processes = num::usize_of(config.processes.into());
        let kinds = match self.kinds.as_slice() {
            [] => KINDS.iter().copied().filter(|kind| self.can_have(*kind, processes)).collect(),
            chosen => chosen.to_vec(),
        };
        if kinds.contains(&FaultKind::ClientPause) && processes < 2 {
            return Err(
                "kind client-pause needs worker processes of their own; add --processes 2 \
                        or more"
                    .to_owned(),
            );
        }
        Ok(Wish {
            every: span(self.every),
            shortest: span(self.length.0),
            longest: span(self.length.1),
            kinds,
            aim: self.target,
            nodes,
            processes,
            duration: span(config.duration_ns),
            ttl: span(config.longest_ttl_ns()),
            max_ttl: span(config.max_ttl_ns),
        })
    }

    /// Whether this run's nodes and processes can have `kind` at all.
    fn can_have(&self, kind: FaultKind, processes: usize) -> bool {
        let on_data = matches!(kind, FaultKind::Flush | FaultKind::TtlShrink);
        let on_process = matches!(kind, FaultKind::Kill | FaultKind::Term | FaultKind::Pause);
        if kind.hits_clients() {
            return processes >= 2;
        }
        if !self.run.nodes.is_empty() {
            return !on_process && (!on_data || self.run.i_own_these_nodes);
        }
        let test_node = || {
            let server = Server::find(self.run.server_bin.as_deref());
            server.is_ok_and(|server| server.is_test_node())
        };
        !on_data || !test_node()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, parse};
    use crate::clock::NS_PER_S;
    use crate::values::Rate;

    fn args(words: &str) -> ChaosArgs {
        let line = format!("loadgen chaos {words}");
        match parse(line.split_whitespace().map(Into::into)).unwrap().command {
            Some(Command::Chaos(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn chaos_has_defaults_of_its_own_and_what_is_typed_or_preset_wins() {
        let ours = args("").run.resolve("chaos", 1).unwrap();
        assert_eq!((ours.processes, ours.clients, ours.ttl_ns), (3, 96, 3 * NS_PER_S));
        assert_eq!((ours.rate, ours.duration_ns), (Rate::PerSecond(300.0), 60 * NS_PER_S));
        let typed = args("-r 5k -d 20s --processes=2 --try").run.resolve("chaos", 1).unwrap();
        assert_eq!((typed.rate, typed.duration_ns), (Rate::PerSecond(5_000.0), 20 * NS_PER_S));
        assert!(typed.processes == 2 && typed.try_only, "{typed:?}");
        let preset = args("--preset hot-key").run.resolve("chaos", 1).unwrap();
        assert_eq!((preset.keys, preset.clients, preset.ttl_ns), (1, 64, 3 * NS_PER_S));
    }

    #[test]
    fn kinds_without_a_choice_are_those_that_the_nodes_can_have() {
        let kinds = |words: &str| {
            let args = args(words);
            let config = args.run.resolve("chaos", 1).unwrap();
            args.wish(&config).map(|wish| wish.kinds)
        };
        let test_nodes = kinds("--server-bin test-node").unwrap();
        assert_eq!(test_nodes.len(), KINDS.len() - 2);
        assert!(!test_nodes.contains(&FaultKind::Flush));
        let given = "--nodes redis://h:1,redis://h:2,redis://h:3";
        let foreign = kinds(given).unwrap();
        assert!(foreign.contains(&FaultKind::Latency) && !foreign.contains(&FaultKind::Kill));
        assert!(!foreign.contains(&FaultKind::Flush));
        let owned = kinds(&format!("{given} --i-own-these-nodes")).unwrap();
        assert_eq!(owned.len(), foreign.len() + 2);
        assert_eq!(kinds("--kinds kill,latency").unwrap().len(), 2);
        let error = kinds("--kinds client-pause --processes 1").unwrap_err();
        assert!(error.contains("--processes 2"), "{error}");
    }

    #[test]
    fn lengths_and_kinds_are_read_or_refused_with_advice() {
        assert_eq!(range("1s..3s"), Ok((NS_PER_S, 3 * NS_PER_S)));
        assert_eq!(range("2s"), Ok((2 * NS_PER_S, 2 * NS_PER_S)));
        assert!(range("3s..1s").unwrap_err().contains("write 1s..3s"));
        assert!(range("0..1s").is_err() && range("1..2").is_err() && range("..").is_err());
        assert_eq!(kind("drop-replies"), Ok(FaultKind::DropReplies));
        let error = kind("melt").unwrap_err();
        assert!(error.contains("'melt'") && error.contains("partition"), "{error}");
    }
}
