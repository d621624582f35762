//! The nodes under the locks, as a run sees them: their addresses, and faults carried out on them.
//!
//! The only file that knows how local nodes are started and broken.

use crate::args::RunArgs;
use crate::config::{BackendKind, RunConfig};
use crate::report::TargetAbout;
use crate::report::faults::FaultSpan;

/// The nodes of a run.
#[derive(Debug)]
pub(crate) enum Target {
    /// A lock without nodes.
    None,
    /// Nodes somebody else runs: never broken, never ended.
    Given(Vec<String>),
}

impl Target {
    /// Starts local nodes, or takes those that were given.
    pub(crate) fn bring_up(args: &RunArgs, config: &RunConfig) -> Result<Self, String> {
        if config.backend != BackendKind::Engine {
            return Ok(Self::None);
        }
        if !args.nodes.is_empty() {
            if !config.faults.is_empty() {
                return Err(
                    "--fault breaks nodes that this program spawned; leave --nodes out".into()
                );
            }
            return Ok(Self::Given(args.nodes.clone()));
        }
        Err("this build cannot spawn nodes; give --nodes".to_owned())
    }

    /// The addresses, in the order faults and reports number them.
    pub(crate) fn urls(&self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Given(urls) => urls.clone(),
        }
    }

    pub(crate) fn about(&self) -> TargetAbout {
        match self {
            Self::None => TargetAbout::default(),
            Self::Given(urls) => {
                let unix = urls.iter().any(|url| url.starts_with("unix:"));
                let transport = if unix { "unix" } else { "tcp" }.to_owned();
                let server = "given by --nodes".to_owned();
                TargetAbout { server, transport, ..TargetAbout::default() }
            }
        }
    }

    /// Starts the fault schedule; its instants count from `measured_ns`.
    pub(crate) fn start_faults(&mut self, _measured_ns: u64) -> Result<(), String> {
        match self {
            Self::None | Self::Given(_) => Ok(()),
        }
    }

    /// What the schedule did since the last call, in words.
    pub(crate) fn fault_news(&mut self) -> Vec<String> {
        match self {
            Self::None | Self::Given(_) => Vec::new(),
        }
    }

    /// Begins nothing more, heals everything, and tells what was done. Also says what could not be
    /// done.
    pub(crate) fn end_faults(&mut self) -> (Vec<FaultSpan>, Vec<String>) {
        match self {
            Self::None | Self::Given(_) => (Vec::new(), Vec::new()),
        }
    }
}
