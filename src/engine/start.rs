//! Starts an engine's tasks: the drivers' host, and the keeper.

use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;

use crate::config::Settings;
use crate::endpoint::Endpoint;
use crate::engine::clock::Clock;
use crate::engine::core::Engine;
use crate::engine::driver::Driver;
use crate::engine::fleet::Fleet;
use crate::engine::host::Host;
use crate::engine::hub::Hub;
use crate::engine::initialise::{Answer, greet_all};
use crate::engine::keeper::KeeperTask;
use crate::engine::node::{Node, NodeSettings};
use crate::engine::op::Pool;
use crate::engine::rng::Rng;
use crate::engine::rousing::Rousing;
use crate::engine::waiters::Waiters;
use crate::error::{ConfigError, InitError};
use crate::net::{Sockets, Transport};
use crate::session::stamp::Intent;

/// On the runtime of the caller, over real sockets and the system's clock.
pub(crate) fn on_current_runtime(
    endpoints: Vec<Endpoint>,
    settings: Settings,
    node_settings: &Arc<NodeSettings>,
) -> Result<Arc<Engine>, ConfigError> {
    let runtime = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
    let transport = Sockets { user_timeout: node_settings.unresponsive_after * 5 };
    let clock = Clock::system();
    start(&runtime, transport, clock, system_random, endpoints, settings, node_settings)
}

pub(crate) fn system_random() -> Result<u64, ConfigError> {
    getrandom::u64().map_err(|error| ConfigError::NoRandomness(error.to_string()))
}

/// On any runtime, transport, clock and source of random bits: a simulation starts here.
pub(crate) fn start<T: Transport + Clone>(
    runtime: &Handle,
    transport: T,
    clock: Clock,
    mut random: impl FnMut() -> Result<u64, ConfigError>,
    endpoints: Vec<Endpoint>,
    settings: Settings,
    node_settings: &Arc<NodeSettings>,
) -> Result<Arc<Engine>, ConfigError> {
    let changed = Arc::new(Notify::new());
    // Zero stands for nobody in a token.
    let (process, seed) = (random()?.max(1), random()?);
    let hub = Hub::new(process, &settings.key_prefix, Arc::new(Waiters::new()));
    let rousing = Rousing::new(runtime.runtime_flavor() != RuntimeFlavor::CurrentThread);
    let fleet = Fleet::new(
        &endpoints,
        settings.quorum,
        node_settings.quarantine_ms,
        hub,
        rousing,
        Pool::new(process),
    );
    let fleet = Arc::new(fleet);
    let node = |(index, endpoint)| {
        let (settings, fleet) = (Arc::clone(node_settings), Arc::clone(&fleet));
        Arc::new(Node::new(index, endpoint, settings, fleet, Arc::clone(&changed)))
    };
    let nodes: Box<[Arc<Node>]> = endpoints.into_iter().enumerate().map(node).collect();
    let changed = Arc::clone(&changed);
    let engine = Engine::new(nodes, fleet, settings, clock, changed, seed);
    let engine = Arc::new(engine);
    let mut drivers = Vec::new();
    for node in &engine.nodes {
        let rng = Rng::new(random()?);
        drivers.push(Driver::new(Arc::clone(node), transport.clone(), clock, rng));
    }
    runtime.spawn(Host::new(Arc::clone(&engine.fleet), drivers));
    runtime.spawn(KeeperTask::new(Arc::clone(&engine)));
    Ok(engine)
}

/// Opens a fleet: `Err` with what each node said unless all have been opened.
pub(crate) async fn initialise(
    endpoints: &[Endpoint],
    quorum: usize,
    settings: &NodeSettings,
) -> Result<(), InitError> {
    Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
    let transport = Sockets { user_timeout: settings.unresponsive_after * 5 };
    let seed = system_random()?;
    let greet = |intent| {
        let clock = Clock::system();
        greet_all(&transport, clock, endpoints, quorum, settings, seed, intent)
    };
    let seen = greet(Intent::Peek).await;
    let reasons = |answers: &[Answer]| {
        let failed = endpoints.iter().zip(answers).filter_map(|(endpoint, answer)| {
            answer.as_ref().err().map(|reason| format!("{endpoint}: {reason}"))
        });
        failed.collect::<Vec<_>>().join("; ")
    };
    if seen.iter().any(Result::is_err) {
        return Err(InitError::Unreachable { reasons: reasons(&seen) });
    }
    let has_epoch = |answer: &Answer| answer.as_ref().is_ok_and(|stamp| !stamp.id.is_empty());
    let stamped = endpoints.iter().zip(&seen).filter(|(_, answer)| has_epoch(answer));
    let nodes: Vec<String> = stamped.map(|(endpoint, _)| endpoint.to_string()).collect();
    if !nodes.is_empty() {
        return Err(InitError::AlreadyInitialised { nodes });
    }
    let mut run_ids: Vec<&str> = seen
        .iter()
        .flatten()
        .map(|stamp| stamp.run_id.as_str())
        .filter(|id| !id.is_empty())
        .collect();
    let count = run_ids.len();
    run_ids.sort_unstable();
    run_ids.dedup();
    if run_ids.len() < count {
        return Err(InitError::SameServer);
    }
    let opened = greet(Intent::Open).await;
    if opened.iter().any(Result::is_err) {
        return Err(InitError::Partly { reasons: reasons(&opened) });
    }
    Ok(())
}
