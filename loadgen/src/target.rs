//! The nodes under the locks, as a run sees them: their addresses, and faults carried out on them.
//!
//! Where a fault is the network's, the load reaches the nodes through proxies; everybody else asks
//! the nodes themselves, so that a fault blinds nobody but the load.
//!
//! Invariant: faults are read, and refused where they cannot be, before any node starts.

mod given;
mod schedule;
mod spawned;

use std::sync::Arc;

use crate::args::RunArgs;
use crate::cluster::probe::{self, NodeCounters, NodeFacts};
use crate::cluster::process::ProcId;
use crate::cluster::url::NodeUrl;
use crate::config::{BackendKind, RunConfig};
use crate::faults::board::Lasted;
use crate::faults::means::{Client, Held, Means};
use crate::faults::plan::{Ground, Plan};
use crate::proxy::Proxies;
use crate::report::TargetAbout;
use crate::report::faults::FaultSpan;
use crate::run::RunError;

use given::Given;
use schedule::Schedule;
use spawned::Spawned;

/// Whose nodes a run has.
#[derive(Debug)]
enum Nodes {
    /// A lock without nodes.
    None,
    /// Nodes somebody else runs: their processes are never touched.
    Given(Given),
    Spawned(Spawned),
}

/// The nodes of a run.
#[derive(Debug)]
pub(crate) struct Target {
    nodes: Nodes,
    proxies: Option<Arc<Proxies>>,
    ground: Ground,
    plan: Plan,
    key_prefixes: Vec<String>,
    schedule: Option<Schedule>,
}

/// What was done to the nodes.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) spans: Vec<FaultSpan>,
    /// What could not be done, or undone.
    pub(crate) problems: Vec<String>,
}

/// Whether the settings go with the nodes they name, so far as that shows without any.
pub(crate) fn check(args: &RunArgs, config: &RunConfig) -> Result<(), RunError> {
    let ground = schedule::ground(args, config);
    schedule::plan(config, &ground).map(drop).map_err(RunError::Usage)
}

impl Target {
    /// Starts local nodes, or takes those that were given.
    pub(crate) fn bring_up(args: &RunArgs, config: &RunConfig) -> Result<Self, RunError> {
        let ground = schedule::ground(args, config);
        let plan = schedule::plan(config, &ground).map_err(RunError::Usage)?;
        let nodes = if config.backend != BackendKind::Engine {
            Nodes::None
        } else if args.nodes.is_empty() {
            Nodes::Spawned(Spawned::start(args)?)
        } else {
            Nodes::Given(Given::new(args)?)
        };
        let key_prefixes = config.key_prefixes();
        let mut target = Self { nodes, proxies: None, ground, plan, key_prefixes, schedule: None };
        target.put_proxies()?;
        Ok(target)
    }

    fn put_proxies(&mut self) -> Result<(), RunError> {
        if self.plan.needs_proxies() && self.proxies.is_none() {
            let proxies = Proxies::start(&self.node_urls());
            let proxies = proxies.map_err(|error| RunError::Tool(error.to_string()))?;
            self.proxies = Some(Arc::new(proxies));
        }
        Ok(())
    }

    /// Takes the fault schedule of the next run, where it is not that of the last one. Proxies stay
    /// once they are there; where it is the first to need them, [`Target::urls`] changes.
    pub(crate) fn plan_faults(&mut self, config: &RunConfig) -> Result<(), RunError> {
        let ground = schedule::for_run(&self.ground, config);
        self.plan = schedule::plan(config, &ground).map_err(RunError::Usage)?;
        self.key_prefixes = config.key_prefixes();
        self.put_proxies()
    }

    /// The addresses for the load, passwords included, in the order faults and reports number them.
    pub(crate) fn urls(&self) -> Vec<String> {
        match &self.proxies {
            Some(proxies) => proxies.urls().iter().map(NodeUrl::with_password).collect(),
            None => self.texts(),
        }
    }

    /// The nodes' own addresses, passwords included.
    fn texts(&self) -> Vec<String> {
        match &self.nodes {
            Nodes::None => Vec::new(),
            Nodes::Given(given) => given.texts.clone(),
            Nodes::Spawned(nodes) => nodes.urls().iter().map(NodeUrl::with_password).collect(),
        }
    }

    /// The nodes' own addresses without passwords, for every eye and file.
    pub(crate) fn shown(&self) -> Vec<String> {
        self.node_urls().iter().map(ToString::to_string).collect()
    }

    /// `text` with every node's address as it may be shown.
    pub(crate) fn hide(&self, text: String) -> String {
        let pairs = self.texts().into_iter().zip(self.shown());
        let text = pairs.fold(text, |text, (secret, shown)| text.replace(&secret, &shown));
        let proxies = self.proxies.iter().flat_map(|proxies| proxies.urls());
        proxies.fold(text, |text, url| text.replace(&url.with_password(), &url.to_string()))
    }

    pub(crate) fn about(&self) -> TargetAbout {
        let mut about = match &self.nodes {
            Nodes::None => TargetAbout::default(),
            Nodes::Given(given) => given.about(),
            Nodes::Spawned(nodes) => nodes.about(),
        };
        if self.proxies.is_some() {
            about.transport.push_str(" through loadgen's proxies");
        }
        about
    }

    /// The nodes' own addresses, to be asked by [`probe`].
    pub(crate) fn node_urls(&self) -> Vec<NodeUrl> {
        match &self.nodes {
            Nodes::None => Vec::new(),
            Nodes::Given(given) => given.urls.clone(),
            Nodes::Spawned(nodes) => nodes.urls(),
        }
    }

    /// Who each node is; `None` where it does not answer.
    pub(crate) fn facts(&self) -> Vec<Option<NodeFacts>> {
        let urls = self.node_urls();
        // At once, as for the counters.
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                urls.iter().map(|url| scope.spawn(|| probe::facts(url).ok())).collect();
            asked.into_iter().map(|asked| asked.join().ok().flatten()).collect()
        })
    }

    /// What each node has counted since its start; `None` where it does not answer.
    pub(crate) fn counters(&self) -> Vec<Option<NodeCounters>> {
        let urls = self.node_urls();
        // At once: nodes that do not answer take their time only once.
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                urls.iter().map(|url| scope.spawn(|| probe::probe(url).ok())).collect();
            asked.into_iter().map(|asked| asked.join().ok().flatten()).collect()
        })
    }

    /// Starts the fault schedule; its instants count from `measured_ns`. `processes` are those of
    /// the load, where it has its own, and `held` tells how many locks one of them holds.
    pub(crate) fn start_faults(
        &mut self,
        measured_ns: u64,
        processes: &[ProcId],
        held: Held,
    ) -> Result<(), RunError> {
        if self.plan.faults.is_empty() {
            return Ok(());
        }
        let cluster = match &self.nodes {
            Nodes::Spawned(nodes) => Some(nodes.cluster()),
            Nodes::None | Nodes::Given(_) => None,
        };
        let clients: Arc<[Client]> = processes.iter().copied().map(Client::new).collect();
        let means = Means {
            cluster,
            nodes: self.node_urls(),
            proxies: self.proxies.clone(),
            clients: Arc::clone(&clients),
            key_prefixes: self.key_prefixes.clone(),
            held,
        };
        let started = Schedule::start(self.plan.clone(), means, clients, measured_ns);
        let what = "cannot start the fault schedule";
        self.schedule = Some(started.map_err(|error| RunError::Tool(format!("{what}: {error}")))?);
        Ok(())
    }

    /// Whether a fault ended this process of the load.
    pub(crate) fn has_killed(&self, process: u32) -> bool {
        self.schedule.as_ref().is_some_and(|schedule| schedule.has_killed(process))
    }

    /// What the schedule did since the last call, in words.
    pub(crate) fn fault_news(&self) -> Vec<String> {
        self.schedule.as_ref().map_or_else(Vec::new, Schedule::news)
    }

    /// The faults that have begun so far, and when they were over.
    pub(crate) fn lasted(&self) -> Vec<Lasted> {
        self.schedule.as_ref().map_or_else(Vec::new, Schedule::lasted)
    }

    /// Begins nothing more and heals everything, without waiting for that.
    pub(crate) fn stop_faults(&self) {
        if let Some(schedule) = &self.schedule {
            schedule.ask_to_stop();
        }
    }

    /// Begins nothing more, heals everything, and tells what was done.
    pub(crate) fn end_faults(&mut self) -> Faults {
        self.schedule.take().map_or_else(Faults::default, Schedule::end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_given_nodes_are_hidden_wherever_they_are_shown() {
        let texts = ["redis://:s3cret@127.0.0.1:1/2".to_owned(), "unix:///tmp/x".to_owned()];
        let urls: Vec<NodeUrl> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let proxies = Proxies::start(&urls).unwrap();
        let given = Given { texts: texts.to_vec(), urls, server: String::new() };
        let mut target = Target {
            nodes: Nodes::Given(given),
            proxies: None,
            ground: crate::faults::plan::tests::ground(2),
            plan: Plan::default(),
            key_prefixes: Vec::new(),
            schedule: None,
        };
        assert!(target.urls()[0].contains("s3cret"), "the engine needs it");
        assert!(!target.shown().concat().contains("s3cret"));
        let hidden = target.hide(format!("--nodes={}", texts.join(",")));
        assert_eq!(hidden, "--nodes=redis://:***@127.0.0.1:1/2,unix:///tmp/x");
        target.proxies = Some(Arc::new(proxies));
        let proxied = target.urls();
        assert!(proxied[0].contains("s3cret") && proxied[0] != texts[0], "{proxied:?}");
        assert!(!target.hide(proxied.concat()).contains("s3cret"));
        assert_eq!(target.shown()[0], "redis://:***@127.0.0.1:1/2", "the node, not its proxy");
    }
}
