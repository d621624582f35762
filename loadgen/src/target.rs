//! The nodes under the locks, as a run sees them: their addresses, and faults carried out on them.
//!
//! Only `spawned` knows how local nodes are started and broken.

// Enabled when local nodes are merged:
// mod spawned;

use crate::args::RunArgs;
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
    Given(Vec<String>),
    // Spawned(spawned::Spawned),
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
            // return spawned::Spawned::start(args, config).map(Self::Spawned);
            return Err(RunError::Tool("this build cannot spawn nodes; give --nodes".to_owned()));
        }
        if !config.faults.is_empty() {
            let text = "--fault breaks nodes that loadgen spawned itself; leave --nodes out";
            return Err(RunError::Usage(text.to_owned()));
        }
        Ok(Self::Given(args.nodes.clone()))
    }

    /// The addresses, in the order faults and reports number them.
    pub(crate) fn urls(&self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Given(urls) => urls.clone(),
            // Self::Spawned(nodes) => nodes.urls(),
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
            } // Self::Spawned(nodes) => nodes.about(),
        }
    }

    /// Starts the fault schedule; its instants count from `measured_ns`.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "spawned nodes change here")]
    pub(crate) fn start_faults(&mut self, _measured_ns: u64) -> Result<(), RunError> {
        match self {
            Self::None | Self::Given(_) => Ok(()),
            // Self::Spawned(nodes) => nodes.start_faults(measured_ns),
        }
    }

    /// What the schedule did since the last call, in words.
    pub(crate) fn fault_news(&self) -> Vec<String> {
        match self {
            Self::None | Self::Given(_) => Vec::new(),
            // Self::Spawned(nodes) => nodes.fault_news(),
        }
    }

    /// Begins nothing more, heals everything, and tells what was done.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "spawned nodes change here")]
    pub(crate) fn end_faults(&mut self) -> Faults {
        match self {
            Self::None | Self::Given(_) => Faults::default(),
            // Self::Spawned(nodes) => nodes.end_faults(),
        }
    }
}
