//! The faults of a run: read before anything starts, carried out beside the load, told in words.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{Faults, spawned};
use crate::args::RunArgs;
use crate::cluster::node_name;
use crate::cluster::server::Server;
use crate::config::{BackendKind, RunConfig};
use crate::faults::board::Lasted;
use crate::faults::execute::{self, FaultEvent, FaultRecord, Outcome, Phase, Runner};
use crate::faults::means::{Client, Means};
use crate::faults::plan::{Ground, Plan, Rights};
use crate::faults::{Fault, FaultError};
use crate::num;
use crate::report::faults::FaultSpan;
use crate::report::format::many;

#[derive(Debug)]
pub(super) struct Schedule {
    runner: Runner,
    events: Receiver<FaultEvent>,
    clients: Arc<[Client]>,
}

/// What a run's faults can break.
pub(super) fn ground(args: &RunArgs, config: &RunConfig) -> Ground {
    let are_given = !args.nodes.is_empty();
    let found = if are_given { None } else { Server::find(args.server_bin.as_deref()).ok() };
    let ground = Ground {
        nodes: if are_given { args.nodes.len() } else { spawned::count(args) },
        processes: 0,
        end: Duration::ZERO,
        rights: match (are_given, args.i_own_these_nodes) {
            (false, _) => Rights::Ours,
            (true, false) => Rights::Foreign,
            (true, true) => Rights::ForeignOwned,
        },
        // No server at all is the start's matter.
        test_nodes: found.is_some_and(|server| server.is_test_node()),
    };
    for_run(&ground, config)
}

/// The same nodes with the processes and the length of another run.
pub(super) fn for_run(ground: &Ground, config: &RunConfig) -> Ground {
    let processes = num::usize_of(config.processes.into());
    Ground { processes, end: Duration::from_nanos(config.duration_ns), ..*ground }
}

/// The faults that a run is asked for, with their targets, or what is wrong with them.
pub(super) fn plan(config: &RunConfig, ground: &Ground) -> Result<Plan, String> {
    let faults = config.faults.iter().map(|text| text.parse::<Fault>());
    let faults = faults.collect::<Result<Vec<_>, FaultError>>();
    let faults = faults.map_err(|error| error.to_string())?;
    if config.backend != BackendKind::Engine && !faults.is_empty() {
        return Err("--fault needs nodes; this backend has none".to_owned());
    }
    Plan::new(&faults, ground, config.seed).map_err(|error| error.to_string())
}

impl Schedule {
    pub(super) fn start(
        plan: Plan,
        means: Means,
        clients: Arc<[Client]>,
        measured_ns: u64,
    ) -> io::Result<Self> {
        let (sender, events) = channel();
        let runner = execute::start(plan, Arc::new(means), measured_ns, sender)?;
        Ok(Self { runner, events, clients })
    }

    pub(super) fn has_killed(&self, process: u32) -> bool {
        self.clients.get(num::usize_of(process.into())).is_some_and(Client::was_killed)
    }

    pub(super) fn news(&self) -> Vec<String> {
        self.events.try_iter().filter_map(|event| words(&event)).collect()
    }

    pub(super) fn lasted(&self) -> Vec<Lasted> {
        self.runner.lasted()
    }

    pub(super) fn ask_to_stop(&self) {
        self.runner.ask_to_stop();
    }

    pub(super) fn end(self) -> Faults {
        let Outcome { records, healed } = self.runner.stop();
        let mut problems: Vec<String> = records
            .iter()
            .filter_map(|record| Some(format!("{}: {}", name(record), record.error.as_ref()?)))
            .collect();
        problems.extend(healed.err().map(|error| format!("a node could not be healed: {error}")));
        Faults { spans: records.into_iter().map(span).collect(), problems }
    }
}

/// `kill n2`, `client-pause p1`.
fn name(record: &FaultRecord) -> String {
    let of_clients = record.fault.kind.hits_clients();
    let short = |index: &usize| match of_clients {
        true => format!("p{}", index.saturating_add(1)),
        false => node_name(*index),
    };
    let targets: Vec<String> = record.targets.iter().map(short).collect();
    format!("{} {}", record.fault.kind.name(), targets.join(","))
}

fn words(event: &FaultEvent) -> Option<String> {
    let FaultEvent { phase, record } = event;
    let name = name(record);
    match (phase, &record.error) {
        (Phase::Ending, _) => None,
        (_, Some(error)) => Some(format!("{name}: {error}")),
        (Phase::InForce, None) => Some(match record.held {
            Some(held) => format!("{name}, which holds {}", many(held, "lock", "locks")),
            None => name,
        }),
        // What happens at one instant has nothing to be healed from.
        (Phase::Over, None) if record.fault.for_.is_zero() => None,
        (Phase::Over, None) => Some(format!("{name} healed")),
    }
}

fn span(record: FaultRecord) -> FaultSpan {
    let of_clients = record.fault.kind.hits_clients();
    let (targets, processes) =
        if of_clients { (Vec::new(), record.targets) } else { (record.targets, Vec::new()) };
    FaultSpan {
        fault: record.fault.to_string(),
        kind: record.fault.kind.name().to_owned(),
        targets,
        processes,
        held: record.held,
        instant: record.fault.for_.is_zero(),
        begin_ns: record.begin_ns,
        end_ns: record.end_ns,
    }
}
