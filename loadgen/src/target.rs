//! The nodes under the locks, as a run sees them: their addresses, and faults carried out on them.
//!
//! Only `spawned` knows how local nodes are started and broken.

mod spawned;

use crate::args::RunArgs;
use crate::cluster::probe::{self, NodeCounters, NodeFacts};
use crate::cluster::server::TEST_NODE_NAME;
use crate::cluster::url::{Address, NodeUrl};
use crate::config::{BackendKind, RunConfig};
use crate::report::TargetAbout;
use crate::report::faults::FaultSpan;
use crate::run::RunError;

/// The nodes of a run.
#[derive(Debug)]
pub(crate) enum Target {
    /// A lock without nodes.
    None,
    /// Nodes somebody else runs: never broken, never ended.
    Given(Given),
    Spawned(spawned::Spawned),
}

/// Nodes that were named on the command line.
#[derive(Debug)]
pub(crate) struct Given {
    /// As they were written, passwords included.
    texts: Vec<String>,
    urls: Vec<NodeUrl>,
    server: String,
}

impl Given {
    fn new(args: &RunArgs) -> Result<Self, RunError> {
        let urls = args.nodes.iter().map(|url| url.parse()).collect::<Result<Vec<NodeUrl>, _>>();
        let urls = urls.map_err(|error| RunError::Usage(error.to_string()))?;
        let server = servers(&urls);
        Ok(Self { texts: args.nodes.clone(), urls, server })
    }
}

/// What the nodes say they are, each answer once; a node that does not answer is the run's matter.
fn servers(urls: &[NodeUrl]) -> String {
    let mut seen = Vec::new();
    for facts in urls.iter().filter_map(|url| probe::facts(url).ok()) {
        let words = [facts.server, facts.version].into_iter().flatten().collect::<Vec<_>>();
        let text = words.join(" ");
        if !text.is_empty() && !seen.contains(&text) {
            seen.push(text);
        }
    }
    if seen.is_empty() { "unknown server".to_owned() } else { seen.join(" and ") }
}

/// What was done to the nodes.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) spans: Vec<FaultSpan>,
    /// What could not be done, or undone.
    pub(crate) problems: Vec<String>,
}

impl Target {
    /// Starts local nodes, or takes those that were given.
    pub(crate) fn bring_up(args: &RunArgs, config: &RunConfig) -> Result<Self, RunError> {
        if config.backend != BackendKind::Engine {
            return Ok(Self::None);
        }
        if args.nodes.is_empty() {
            return spawned::Spawned::start(args, config).map(Self::Spawned);
        }
        if !config.faults.is_empty() {
            let text = "--fault breaks nodes that loadgen spawned itself; leave --nodes out";
            return Err(RunError::Usage(text.to_owned()));
        }
        Given::new(args).map(Self::Given)
    }

    /// The addresses, passwords included, in the order faults and reports number them.
    pub(crate) fn urls(&self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Given(given) => given.texts.clone(),
            Self::Spawned(nodes) => nodes.urls(),
        }
    }

    /// The same addresses without passwords, for every eye and file.
    pub(crate) fn shown(&self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Given(given) => given.urls.iter().map(ToString::to_string).collect(),
            Self::Spawned(nodes) => nodes.urls(),
        }
    }

    /// `text` with every node's address as it may be shown.
    pub(crate) fn hide(&self, text: String) -> String {
        let pairs = self.urls().into_iter().zip(self.shown());
        pairs.fold(text, |text, (secret, shown)| text.replace(&secret, &shown))
    }

    pub(crate) fn about(&self) -> TargetAbout {
        match self {
            Self::None => TargetAbout::default(),
            Self::Given(given) => {
                let is_unix = |url: &NodeUrl| matches!(url.address(), Address::Unix(_));
                let unix = given.urls.iter().any(is_unix);
                let transport = if unix { "unix" } else { "tcp" }.to_owned();
                let server = given.server.clone();
                let test_node = server.contains(TEST_NODE_NAME);
                TargetAbout { server, test_node, transport, ..TargetAbout::default() }
            }
            Self::Spawned(nodes) => nodes.about(),
        }
    }

    /// The addresses, to be asked by [`probe`].
    pub(crate) fn node_urls(&self) -> Vec<NodeUrl> {
        match self {
            Self::None => Vec::new(),
            Self::Given(given) => given.urls.clone(),
            Self::Spawned(nodes) => nodes.node_urls(),
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

    /// Takes the fault schedule of the next run, where it is not that of the last one.
    pub(crate) fn plan_faults(&mut self, config: &RunConfig) -> Result<(), RunError> {
        match self {
            Self::None | Self::Given(_) => Ok(()),
            Self::Spawned(nodes) => nodes.plan_faults(config),
        }
    }

    /// Starts the fault schedule; its instants count from `measured_ns`.
    pub(crate) fn start_faults(&mut self, measured_ns: u64) -> Result<(), RunError> {
        match self {
            Self::None | Self::Given(_) => Ok(()),
            Self::Spawned(nodes) => nodes.start_faults(measured_ns),
        }
    }

    /// What the schedule did since the last call, in words.
    pub(crate) fn fault_news(&self) -> Vec<String> {
        match self {
            Self::None | Self::Given(_) => Vec::new(),
            Self::Spawned(nodes) => nodes.fault_news(),
        }
    }

    /// Begins nothing more, heals everything, and tells what was done.
    pub(crate) fn end_faults(&mut self) -> Faults {
        match self {
            Self::None | Self::Given(_) => Faults::default(),
            Self::Spawned(nodes) => nodes.end_faults(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_given_nodes_are_hidden_wherever_they_are_shown() {
        let texts = ["redis://:s3cret@127.0.0.1:1/2".to_owned(), "unix:///tmp/x".to_owned()];
        let urls = texts.iter().map(|text| text.parse().unwrap()).collect();
        let given = Given { texts: texts.to_vec(), urls, server: String::new() };
        let target = Target::Given(given);
        assert!(target.urls()[0].contains("s3cret"), "the engine needs it");
        assert!(!target.shown().concat().contains("s3cret"));
        let hidden = target.hide(format!("--nodes={}", texts.join(",")));
        assert_eq!(hidden, "--nodes=redis://:***@127.0.0.1:1/2,unix:///tmp/x");
    }
}
