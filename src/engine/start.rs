//! Starts an engine's tasks: the drivers' host, and the keeper.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::config::Settings;
use crate::endpoint::Endpoint;
use crate::engine::clock::Clock;
use crate::engine::core::Engine;
use crate::engine::driver::Driver;
use crate::engine::host::Host;
use crate::engine::keeper::KeeperTask;
use crate::engine::node::{Node, NodeSettings};
use crate::engine::rng::Rng;
use crate::error::ConfigError;
use crate::net::{Sockets, Transport};

/// On the runtime of the caller, over real sockets and the system's clock.
pub(crate) fn on_current_runtime(
    endpoints: Vec<Endpoint>,
    settings: Settings,
    node_settings: &Arc<NodeSettings>,
) -> Result<Arc<Engine>, ConfigError> {
    let runtime = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
    let transport = Sockets { user_timeout: node_settings.unresponsive_after * 5 };
    start(&runtime, transport, Clock::system(), endpoints, settings, node_settings)
}

/// On any runtime, transport and clock: a simulation starts here.
pub(crate) fn start<T: Transport + Clone>(
    runtime: &Handle,
    transport: T,
    clock: Clock,
    endpoints: Vec<Endpoint>,
    settings: Settings,
    node_settings: &Arc<NodeSettings>,
) -> Result<Arc<Engine>, ConfigError> {
    let random = || getrandom::u64().map_err(|error| ConfigError::NoRandomness(error.to_string()));
    let changed = Arc::new(Notify::new());
    let node = |(index, endpoint)| {
        let settings = Arc::clone(node_settings);
        Arc::new(Node::new(index, endpoint, settings, Arc::clone(&changed)))
    };
    let nodes: Box<[Arc<Node>]> = endpoints.into_iter().enumerate().map(node).collect();
    // Zero stands for nobody in a token.
    let (process, seed) = (random()?.max(1), random()?);
    let engine = Engine::new(nodes, settings, clock, Arc::clone(&changed), process, seed);
    let engine = Arc::new(engine);
    let mut drivers = Vec::new();
    for node in &engine.nodes {
        let rng = Rng::new(random()?);
        drivers.push(Driver::new(Arc::clone(node), transport.clone(), clock, rng));
    }
    runtime.spawn(Host::new(drivers));
    runtime.spawn(KeeperTask::new(Arc::clone(&engine)));
    Ok(engine)
}
