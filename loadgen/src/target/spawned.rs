//! Local nodes of a run. They end with this value.

use std::sync::Arc;

use crate::args::RunArgs;
use crate::cluster::url::NodeUrl;
use crate::cluster::{Cluster, ClusterOptions};
use crate::guard::Guardian;
use crate::report::TargetAbout;
use crate::run::RunError;

const DEFAULT_NODES: u32 = 5;

#[derive(Debug)]
pub(super) struct Spawned {
    cluster: Arc<Cluster>,
    transport: String,
}

/// How many local nodes are asked for.
pub(super) fn count(args: &RunArgs) -> usize {
    usize::try_from(args.spawn.unwrap_or(DEFAULT_NODES)).unwrap_or(usize::MAX)
}

impl Spawned {
    pub(super) fn start(args: &RunArgs) -> Result<Self, RunError> {
        let options = ClusterOptions {
            nodes: count(args),
            server_bin: args.server_bin.clone(),
            transport: args.transport,
            persist: args.persist,
            ..ClusterOptions::default()
        };
        let guardian = Guardian::start()
            .map_err(|error| RunError::Tool(format!("cannot start the guard process: {error}")))?;
        let cluster = Cluster::start(&options, Arc::new(guardian))
            .map_err(|error| RunError::Tool(format!("cannot start local nodes: {error}")))?;
        let transport = format!("{:?}", args.transport).to_lowercase();
        Ok(Self { cluster: Arc::new(cluster), transport })
    }

    pub(super) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.cluster)
    }

    pub(super) fn urls(&self) -> Vec<NodeUrl> {
        self.cluster.urls()
    }

    pub(super) fn about(&self) -> TargetAbout {
        let server = self.cluster.server();
        TargetAbout {
            server: server.to_string(),
            test_node: server.is_test_node(),
            spawned: true,
            transport: self.transport.clone(),
        }
    }
}
