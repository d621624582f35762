//! Local nodes of a run, and its faults on them. They end with this value.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::Faults;
use crate::args::RunArgs;
use crate::cluster::url::NodeUrl;
use crate::cluster::{Cluster, ClusterOptions, node_name};
use crate::config::RunConfig;
use crate::faults::execute::{self, FaultEvent, FaultRecord, Outcome, Phase, Runner};
use crate::faults::plan::Plan;
use crate::faults::{Fault, FaultError};
use crate::guard::Guardian;
use crate::report::TargetAbout;
use crate::report::faults::FaultSpan;
use crate::run::RunError;

const DEFAULT_NODES: u32 = 5;

#[derive(Debug)]
pub(crate) struct Spawned {
    cluster: Arc<Cluster>,
    transport: String,
    plan: Plan,
    runner: Option<Runner>,
    events: Option<Receiver<FaultEvent>>,
}

impl Spawned {
    /// Reads the faults, then starts the nodes: a mistake in a fault starts nothing.
    pub(crate) fn start(args: &RunArgs, config: &RunConfig) -> Result<Self, RunError> {
        let nodes = usize::try_from(args.spawn.unwrap_or(DEFAULT_NODES)).unwrap_or(usize::MAX);
        let plan = plan(config, nodes).map_err(RunError::Usage)?;
        let options = ClusterOptions {
            nodes,
            server_bin: args.server_bin.clone(),
            transport: args.transport,
            persist: config.persist,
            ..ClusterOptions::default()
        };
        let guardian = Guardian::start()
            .map_err(|error| RunError::Tool(format!("cannot start the guard process: {error}")))?;
        let cluster = Cluster::start(&options, Arc::new(guardian))
            .map_err(|error| RunError::Tool(format!("cannot start local nodes: {error}")))?;
        Ok(Self {
            cluster: Arc::new(cluster),
            transport: format!("{:?}", args.transport).to_lowercase(),
            plan,
            runner: None,
            events: None,
        })
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.cluster.urls().iter().map(ToString::to_string).collect()
    }

    pub(crate) fn node_urls(&self) -> Vec<NodeUrl> {
        self.cluster.urls()
    }

    pub(crate) fn about(&self) -> TargetAbout {
        let server = self.cluster.server();
        TargetAbout {
            server: server.to_string(),
            test_node: server.is_test_node(),
            spawned: true,
            transport: self.transport.clone(),
        }
    }

    pub(crate) fn plan_faults(&mut self, config: &RunConfig) -> Result<(), RunError> {
        self.plan = plan(config, self.cluster.len()).map_err(RunError::Usage)?;
        Ok(())
    }

    pub(crate) fn start_faults(&mut self, measured_ns: u64) -> Result<(), RunError> {
        if self.plan.faults.is_empty() {
            return Ok(());
        }
        let (sender, events) = channel();
        let plan = self.plan.clone();
        let runner = execute::start(plan, Arc::clone(&self.cluster), measured_ns, sender);
        let what = "cannot start the fault schedule";
        self.runner = Some(runner.map_err(|error| RunError::Tool(format!("{what}: {error}")))?);
        self.events = Some(events);
        Ok(())
    }

    pub(crate) fn fault_news(&self) -> Vec<String> {
        let events = self.events.iter().flat_map(Receiver::try_iter);
        events.filter_map(|event| words(&event)).collect()
    }

    pub(crate) fn end_faults(&mut self) -> Faults {
        let Some(runner) = self.runner.take() else { return Faults::default() };
        let Outcome { records, healed } = runner.stop();
        let mut problems: Vec<String> = records
            .iter()
            .filter_map(|record| Some(format!("{}: {}", name(record), record.error.as_ref()?)))
            .collect();
        problems.extend(healed.err().map(|error| format!("a node could not be healed: {error}")));
        Faults { spans: records.into_iter().map(span).collect(), problems }
    }
}

fn plan(config: &RunConfig, nodes: usize) -> Result<Plan, String> {
    let faults = config.faults.iter().map(|text| text.parse::<Fault>());
    let faults = faults.collect::<Result<Vec<_>, FaultError>>();
    let faults = faults.map_err(|error| error.to_string())?;
    let end = Duration::from_nanos(config.duration_ns);
    if let Some(late) = faults.iter().find(|fault| fault.at >= end) {
        return Err(format!("fault '{late}' begins after the end of the run; raise --duration"));
    }
    Plan::new(&faults, nodes, config.seed).map_err(|error| error.to_string())
}

fn name(record: &FaultRecord) -> String {
    let targets: Vec<String> = record.targets.iter().map(|&target| node_name(target)).collect();
    format!("{} {}", record.kind.name(), targets.join(","))
}

fn words(event: &FaultEvent) -> Option<String> {
    let name = name(&event.record);
    match (event.phase, &event.record.error) {
        (_, Some(error)) => Some(format!("{name}: {error}")),
        (Phase::InForce, None) => Some(name),
        (Phase::Ending, None) => None,
        (Phase::Over, None) => Some(format!("{name} healed")),
    }
}

fn span(record: FaultRecord) -> FaultSpan {
    FaultSpan {
        kind: record.kind.name().to_owned(),
        targets: record.targets,
        begin_ns: record.begin_ns,
        end_ns: record.end_ns,
    }
}
