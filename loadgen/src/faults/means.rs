//! What the faults of a run are carried out with: its nodes' processes, the proxies in front of
//! them, the nodes' data, and the processes of the load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use super::execute::Breakable;
use super::shrink::{flush, shrink};
use super::{Degree, Fault, FaultKind};
use crate::cluster::process::{ProcId, ProcState, poll_until};
use crate::cluster::url::NodeUrl;
use crate::cluster::{Cluster, probe};
use crate::proxy::{Door, Flow, Proxies, Rules};

const PING_LIMIT: Duration = Duration::from_secs(5);
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// A process is hit while it holds locks; one that holds none is tried again so often.
const HOLDING_ATTEMPTS: usize = 100;
const HOLDING_PAUSE: Duration = Duration::from_millis(3);

/// Tells how many locks a process of the load holds.
pub(crate) type Held = Box<dyn Fn(usize) -> u64 + Send + Sync>;

/// A process of the load.
#[derive(Debug)]
pub(crate) struct Client {
    id: ProcId,
    killed: AtomicBool,
}

impl Client {
    pub(crate) fn new(id: ProcId) -> Self {
        Self { id, killed: AtomicBool::new(false) }
    }

    /// Whether a fault ended it.
    pub(crate) fn was_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }
}

pub(crate) struct Means {
    /// `None`: the nodes are not ours.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// The nodes themselves, never their proxies.
    pub(crate) nodes: Vec<NodeUrl>,
    /// There if the plan has a fault for them.
    pub(crate) proxies: Option<Arc<Proxies>>,
    pub(crate) clients: Arc<[Client]>,
    pub(crate) key_prefixes: Vec<String>,
    pub(crate) held: Held,
}

impl Means {
    fn cluster(&self) -> Result<&Cluster, String> {
        self.cluster.as_deref().ok_or_else(|| "the nodes are not loadgen's own".to_owned())
    }

    fn proxies(&self) -> Result<&Proxies, String> {
        self.proxies.as_deref().ok_or_else(|| "there is no proxy in front of the nodes".to_owned())
    }

    fn node(&self, index: usize) -> Result<&NodeUrl, String> {
        self.nodes.get(index).ok_or_else(|| "there is no such node".to_owned())
    }

    fn client(&self, index: usize) -> Result<&Client, String> {
        self.clients.get(index).ok_or_else(|| "there is no such process".to_owned())
    }

    /// SIGSTOP while it holds locks, if that can be had within a moment; how many it holds.
    fn stop_client(&self, index: usize) -> Result<u64, String> {
        let client = self.client(index)?;
        let mut held = 0;
        for attempt in 1..=HOLDING_ATTEMPTS {
            signal(client.id, Signal::STOP)?;
            if !client.id.wait_for(ProcState::Stopped, STOP_LIMIT) {
                let _ = client.id.signal(Signal::CONT);
                return Err("the process does not stop".to_owned());
            }
            held = (self.held)(index);
            if held > 0 || attempt == HOLDING_ATTEMPTS {
                break;
            }
            signal(client.id, Signal::CONT)?;
            std::thread::sleep(HOLDING_PAUSE);
        }
        Ok(held)
    }

    fn shrink(&self, fault: &Fault, index: usize) -> Result<(), String> {
        let Degree::Keep(permille) = fault.degree else { return Ok(()) };
        let node = self.node(index)?;
        let mut cuts = self.key_prefixes.iter().map(|prefix| shrink(node, prefix, permille));
        cuts.try_for_each(|cut| cut.map(drop)).map_err(|error| error.to_string())
    }
}

fn signal(id: ProcId, signal: Signal) -> Result<(), String> {
    match id.signal(signal) {
        Ok(true) => Ok(()),
        Ok(false) => Err("the process is gone".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// How a proxy does `fault`; `None`: it is not the network's.
fn rules(fault: &Fault) -> Option<Rules> {
    let open = Rules::default();
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Some(match (fault.kind, fault.degree) {
        (FaultKind::Partition, _) => Rules { requests: Flow::Hold, replies: Flow::Hold, ..open },
        (FaultKind::DropReplies, _) => Rules { replies: Flow::Drop, ..open },
        (FaultKind::DropRequests, _) => Rules { requests: Flow::Drop, ..open },
        (FaultKind::Latency, Degree::Latency { delay, jitter }) => {
            Rules { delay_ns: nanos(delay), jitter_ns: nanos(jitter), ..open }
        }
        (FaultKind::Bandwidth, Degree::Bandwidth(rate)) => {
            Rules { bytes_per_s: Some(rate), ..open }
        }
        (FaultKind::Reset, _) => Rules { door: Door::Reset, ..open },
        (FaultKind::Refuse, _) => Rules { door: Door::Closed, ..open },
        _ => return None,
    })
}

impl Breakable for Means {
    fn hit(&self, fault: &Fault, index: usize) -> Result<Option<u64>, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        match fault.kind {
            FaultKind::Kill => self.cluster()?.kill(index).map_err(|error| said(&error))?,
            FaultKind::Term => self.cluster()?.terminate(index).map_err(|error| said(&error))?,
            FaultKind::Pause => self.cluster()?.pause(index).map_err(|error| said(&error))?,
            FaultKind::Flush => flush(self.node(index)?).map_err(|error| said(&error))?,
            FaultKind::TtlShrink => self.shrink(fault, index)?,
            FaultKind::ClientPause => return self.stop_client(index).map(Some),
            FaultKind::ClientKill => {
                let held = self.stop_client(index)?;
                let client = self.client(index)?;
                // Before it dies: whoever hears of its end must know why.
                client.killed.store(true, Ordering::Release);
                signal(client.id, Signal::KILL)?;
                return Ok(Some(held));
            }
            FaultKind::Reset if fault.for_.is_zero() => {
                self.proxies()?.reset(index).map_err(|error| said(&error))?;
            }
            FaultKind::Partition
            | FaultKind::DropReplies
            | FaultKind::DropRequests
            | FaultKind::Latency
            | FaultKind::Bandwidth
            | FaultKind::Reset
            | FaultKind::Refuse => {
                let rules = rules(fault).ok_or_else(|| "it has no rules".to_owned())?;
                self.proxies()?.set(index, rules).map_err(|error| said(&error))?;
            }
        }
        Ok(None)
    }

    fn keep_up(&self, fault: &Fault, index: usize) -> Result<(), String> {
        self.shrink(fault, index)
    }

    fn heal(&self, fault: &Fault, index: usize) -> Result<(), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        match fault.kind {
            FaultKind::Kill | FaultKind::Term => {
                self.cluster()?.restart(index).map_err(|error| said(&error))
            }
            FaultKind::Pause => self.cluster()?.resume(index).map_err(|error| said(&error)),
            FaultKind::ClientPause => signal(self.client(index)?.id, Signal::CONT),
            FaultKind::Flush | FaultKind::TtlShrink | FaultKind::ClientKill => Ok(()),
            _ => self.proxies()?.set(index, Rules::default()).map_err(|error| said(&error)),
        }
    }

    fn answers(&self, fault: &Fault, index: usize) -> bool {
        let limit = Duration::from_millis(500);
        match (fault.kind, self.clients.get(index), self.nodes.get(index)) {
            (FaultKind::ClientKill, ..) => true,
            (FaultKind::ClientPause, Some(client), _) => {
                poll_until(STOP_LIMIT, || client.id.state() != ProcState::Stopped)
            }
            (FaultKind::ClientPause, ..) | (.., None) => false,
            (.., Some(url)) => poll_until(PING_LIMIT, || probe::answers(url, limit)),
        }
    }

    fn heal_all(&self) -> Result<(), String> {
        for client in self.clients.iter().filter(|client| !client.was_killed()) {
            // One that ended by itself is the run's matter.
            let _ = client.id.signal(Signal::CONT);
        }
        let proxies = self.proxies.as_ref().map_or(Ok(()), |proxies| proxies.heal_all());
        let nodes = self.cluster.as_ref().map_or(Ok(()), |cluster| cluster.heal_all());
        let proxies = proxies.map_err(|error| error.to_string());
        nodes.map_err(|error| error.to_string()).and(proxies)
    }
}
