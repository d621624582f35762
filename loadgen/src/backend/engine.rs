//! redlatch under load: the one backend that knows the library.
//!
//! Failures are sorted by what the caller can do about them; the text of the first few of a kind is
//! kept for the report. Names are built once and reused, as a latency-sensitive user would.

mod votes;

use std::future::IntoFuture;
use std::time::Duration;

use redlatch::{
    AcquireError, AcquireFuture, Batching, Guard, NodeState, NodeStatus, Percentiles, Redlock,
    ReleaseError, Resource, Retry,
};

use super::{Failure, Grant, Held, NodeLook, NodePassed, NodeSample, NodeView, Released};
use crate::clock::now_ns;
use crate::config::{EngineKnobs, Gather, RunConfig, Waiting};
use crate::mode::{Claim, Class, Mode};
use crate::recorder::FailureKind;
use crate::workload::Workload;

#[derive(Debug)]
pub(crate) struct Engine {
    locks: Redlock,
    names: Vec<Resource>,
    workloads: Vec<Asks>,
    /// What all tokens of this process begin with, where a witness wants to know.
    owner: Option<String>,
}

/// How a workload asks.
#[derive(Debug)]
struct Asks {
    mode: Mode,
    ttl: Duration,
    /// `None`: do not wait.
    wait: Option<Duration>,
    fenced: bool,
}

#[derive(Debug)]
pub(crate) struct EngineHeld(Guard);

/// The nodes when they were looked at last.
#[derive(Debug, Default)]
pub(crate) struct LastLook(Vec<NodeStatus>);

/// Of a token, the part that is the same for all of one process.
const OWNER_DIGITS: usize = 16;

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn size(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// The engine's defaults, with what the run sets.
fn batching(knobs: &EngineKnobs) -> Batching {
    let mut batching = Batching::default();
    if let Some(gather) = knobs.batch_gather {
        batching.gather = match gather {
            Gather::Adaptive => redlatch::Gather::Adaptive,
            Gather::Always => redlatch::Gather::Always,
            Gather::Off => redlatch::Gather::Off,
        };
    }
    if let Some(least) = knobs.batch_gather_min_inflight {
        batching.gather_min_inflight = size(least);
    }
    if let Some(most) = knobs.batch_max_commands {
        batching.max_commands = size(most);
    }
    if let Some(most) = knobs.batch_max_bytes {
        batching.max_bytes = size(most);
    }
    batching
}

/// The engine's default pauses, with what the run sets.
fn retry(knobs: &EngineKnobs) -> Retry {
    let usual = Retry::default();
    let span = |ns: Option<u64>, usual| ns.map_or(usual, Duration::from_nanos);
    usual.pause(span(knobs.retry_base_ns, usual.base), span(knobs.retry_cap_ns, usual.cap))
}

const fn waiting(how: Waiting) -> redlatch::Waiting {
    match how {
        Waiting::Queue => redlatch::Waiting::Queue,
        Waiting::Race => redlatch::Waiting::Race,
        Waiting::Backoff => redlatch::Waiting::Backoff,
    }
}

impl Engine {
    pub(crate) async fn connect(config: &RunConfig) -> Result<Self, String> {
        let ttl = Duration::from_nanos(config.longest_ttl_ns());
        let knobs = &config.engine;
        let mut builder = Redlock::builder()
            .nodes(config.nodes.iter().map(String::as_str))
            .ttl(ttl)
            .max_ttl(Duration::from_nanos(config.max_ttl_ns))
            .client_name("loadgen")
            .waiting(waiting(config.waiting))
            .retry(retry(knobs))
            .batching(batching(knobs));
        if let Some(most) = knobs.max_inflight {
            builder = builder.max_inflight(size(most));
        }
        if let Some(timeout_ns) = knobs.node_timeout_ns {
            builder = builder.node_timeout(Duration::from_nanos(timeout_ns));
        }
        let locks = builder.connect().await.map_err(|error| error.to_string())?;
        votes::wait_for(&locks, &config.nodes).await?;
        let owner = match config.witness {
            true => learn_owner(&locks, &config.key_prefix).await,
            false => None,
        };
        let spaces = config.spaces();
        let asks = |of: &Workload| Asks {
            mode: of.mode,
            ttl: Duration::from_nanos(of.ttl_ns),
            wait: (!of.try_only).then(|| Duration::from_nanos(of.wait_ns)),
            fenced: of.fenced,
        };
        Ok(Self {
            locks,
            names: (0..spaces.cells()).map(|cell| spaces.name(cell).as_str().into()).collect(),
            workloads: config.parts().iter().map(asks).collect(),
            owner,
        })
    }

    pub(crate) async fn acquire(&self, workload: u8, claims: &[Claim]) -> Result<Grant, Failure> {
        let asks = self.workloads.get(usize::from(workload));
        let Some(request) = asks.and_then(|asks| self.request(asks, claims)) else {
            return Err(Failure::outside());
        };
        let outcome = request.await;
        let guard = outcome.map_err(|error| failure(&error))?;
        let asked_ns = now_ns();
        Ok(Grant {
            valid_until_ns: asked_ns.saturating_add(nanos(guard.remaining())),
            attempts: guard.attempts(),
            contended: guard.was_contended(),
            token: guard.fencing_token().map(u64::from),
            held: Held::Engine(EngineHeld(guard)),
        })
    }

    /// What is asked for `claims`, as a user of the library asks for it.
    fn request(&self, asks: &Asks, claims: &[Claim]) -> Option<AcquireFuture<'_>> {
        let name = |claim: &Claim| self.names.get(size(claim.cell)).cloned();
        if let Mode::All(_) = asks.mode {
            let names: Vec<Resource> = claims.iter().filter_map(name).collect();
            let request = self.locks.acquire_all(names).ttl(asks.ttl);
            let request = match asks.wait {
                Some(wait) => request.wait_for(wait),
                None => request.once(),
            };
            return Some(request.into_future());
        }
        // What is locked is the end of a path, or the only name.
        let last = claims.last()?;
        let name = name(last)?;
        macro_rules! refined {
            ($request:expr) => {
                match (asks.mode, last.class) {
                    (Mode::Shared(_), Class::Shared) => $request.mode(redlatch::Mode::Shared),
                    (Mode::Hierarchy(_), _) => $request.hierarchical(),
                    (Mode::Permits(k), _) => $request.permit_of(k),
                    _ if asks.fenced => $request.fenced(),
                    _ => $request,
                }
                .ttl(asks.ttl)
            };
        }
        Some(match asks.wait {
            Some(wait) => refined!(self.locks.acquire(name)).wait_for(wait).into_future(),
            None => refined!(self.locks.try_acquire(name)).into_future(),
        })
    }

    pub(crate) fn node_views(&self) -> Vec<NodeView> {
        self.locks.node_states().into_iter().map(view).collect()
    }

    /// What passed at each node since `last`, which becomes this look.
    pub(crate) fn looks(&self, last: &mut LastLook) -> Vec<NodeLook> {
        let before = std::mem::replace(&mut last.0, self.locks.nodes());
        let look = |(at, node): (usize, &NodeStatus)| {
            let before = before.get(at);
            let all = &node.round_trip;
            let trips = before.map_or_else(|| all.clone(), |last| all.since(&last.round_trip));
            let known = |trips: &Percentiles, p| (trips.count() > 0).then(|| nanos(trips.at(p)));
            let passed = |of: fn(&NodeStatus) -> u64| of(node).saturating_sub(before.map_or(0, of));
            let since = NodePassed {
                commands: passed(|node| node.commands),
                writes: passed(|node| node.writes),
                rtt_p50_ns: known(&trips, 50.0),
                rtt_p99_ns: known(&trips, 99.0),
            };
            NodeLook { view: view(node.state), rtt_p50_ns: known(all, 50.0), since }
        };
        last.0.iter().enumerate().map(look).collect()
    }

    pub(crate) fn nodes(&self) -> Vec<NodeSample> {
        let sample = |node: NodeStatus| {
            let reason = node.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let measured = node.round_trip.count() > 0;
            NodeSample {
                endpoint: node.endpoint,
                up: node.state == NodeState::Up,
                state: format!("{}{reason}", node.state),
                commands: node.commands,
                writes: node.writes,
                reconnects: node.connects.saturating_sub(1),
                timeouts: node.timeouts,
                epochs: node.epochs,
                quarantine_ns: node.quarantine.map(nanos),
                rtt_p50_ns: measured.then(|| nanos(node.round_trip.at(50.0))),
                rtt_p99_ns: measured.then(|| nanos(node.round_trip.at(99.0))),
            }
        };
        self.locks.nodes().into_iter().map(sample).collect()
    }

    pub(crate) fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    pub(crate) async fn close(&self) {
        self.locks.close().await;
    }
}

/// By one lock that nobody else asks for: whoever reads the token of a lock that others wait for
/// keeps it from being handed to them, which no lock of the load shall suffer.
async fn learn_owner(locks: &Redlock, prefix: &str) -> Option<String> {
    let name = format!("{prefix}witness:{}", std::process::id());
    let guard = locks.try_acquire(name.as_str()).await.ok()?;
    let owner = guard.token().to_hex().get(..OWNER_DIGITS).map(ToOwned::to_owned);
    // Not the run's matter: it runs out by itself.
    let _ = guard.release().await;
    owner
}

const fn view(state: NodeState) -> NodeView {
    match state {
        NodeState::Up => NodeView::Up,
        NodeState::Quarantined => NodeView::Quarantined,
        _ => NodeView::Away,
    }
}

impl EngineHeld {
    pub(crate) fn is_valid(&self) -> bool {
        self.0.is_valid()
    }

    pub(crate) async fn release(self) -> Released {
        match self.0.release().await {
            Ok(()) => Released::Yes,
            Err(ReleaseError::NotHeld { .. }) => Released::NotHeld,
            Err(_) => Released::Unconfirmed,
        }
    }
}

fn failure(error: &AcquireError) -> Failure {
    let kind = match error {
        AcquireError::Busy { .. } => FailureKind::Busy,
        AcquireError::Quarantined { .. } => FailureKind::Quarantined,
        AcquireError::NoQuorum { .. } => FailureKind::NoQuorum,
        AcquireError::TimedOut { .. } => FailureKind::Timeout,
        _ => FailureKind::Other,
    };
    // A refusal says everything by its kind, and under --try there are very many.
    let text = if kind == FailureKind::Busy { String::new() } else { error.to_string() };
    let attempts = error.report().map_or(0, |report| report.attempts);
    Failure { kind, attempts, text }
}
