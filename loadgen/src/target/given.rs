//! Nodes that were named on the command line.

use crate::args::RunArgs;
use crate::cluster::probe;
use crate::cluster::server::TEST_NODE_NAME;
use crate::cluster::url::{Address, NodeUrl};
use crate::report::TargetAbout;
use crate::run::RunError;

/// Nodes that somebody else runs.
#[derive(Debug)]
pub(super) struct Given {
    /// As they were written, passwords included.
    pub(super) texts: Vec<String>,
    pub(super) urls: Vec<NodeUrl>,
    pub(super) server: String,
}

impl Given {
    pub(super) fn new(args: &RunArgs) -> Result<Self, RunError> {
        let urls = args.nodes.iter().map(|url| url.parse()).collect::<Result<Vec<NodeUrl>, _>>();
        let urls = urls.map_err(|error| RunError::Usage(error.to_string()))?;
        let server = servers(&urls);
        Ok(Self { texts: args.nodes.clone(), urls, server })
    }

    pub(super) fn about(&self) -> TargetAbout {
        let is_unix = |url: &NodeUrl| matches!(url.address(), Address::Unix(_));
        let unix = self.urls.iter().any(is_unix);
        let transport = if unix { "unix" } else { "tcp" }.to_owned();
        let server = self.server.clone();
        let test_node = server.contains(TEST_NODE_NAME);
        TargetAbout { server, test_node, transport, ..TargetAbout::default() }
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
