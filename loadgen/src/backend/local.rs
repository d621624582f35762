//! Locks without nodes, for judging the generator and the checker themselves.
//!
//! * `noop`: one fair mutex per name inside the process. Excludes properly, never expires, ignores
//!   `--wait` (no timers); with several processes every process has names of its own. Uncontended
//!   it is the floor of the generator.
//! * `broken`: the same, but every tenth request that finds the lock held is granted all the same.
//! * `broken-modes`: every tenth lock is of another kind than was asked for.
//! * `broken-tokens`: excludes, but every tenth grant repeats the token of the one before.
//! * `late`: as `noop`; it is the pacer that is at fault.
//! * `stall`: every acquisition takes 100 us, and the first one after the middle of the measured
//!   time a tenth of it: the known answer for response against service time.
//!
//! Names with several holders, and several names at once, are in [`modes`].

mod modes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Failure, Grant, Held};
use crate::clock::{NS_PER_US, now_ns};
use crate::config::{BackendKind, RunConfig};
use crate::mode::Claim;
use crate::recorder::FailureKind;
use crate::timer::Timer;
use crate::workload::Workload;
use modes::{Names, Taken};

/// A wrong grant of `broken` and a wrong token of `broken-tokens` come after nine right ones.
const WRONG_GRANT_EVERY: u64 = 10;
const SERVICE_NS: u64 = 100 * NS_PER_US;

#[derive(Debug)]
struct Stall {
    timer: Arc<Timer>,
    duration_ns: u64,
    at_ns: AtomicU64,
    done: AtomicBool,
}

/// One lock: who holds it, and the token of its last grant.
#[derive(Debug, Default)]
struct Name {
    lock: Arc<Mutex<()>>,
    token: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Local {
    names: Vec<Name>,
    /// Instead of `names`, where these have several holders or are locked together.
    crowd: Arc<Names>,
    workloads: Vec<Asks>,
    broken: bool,
    broken_modes: bool,
    broken_tokens: bool,
    grants: AtomicU64,
    contended: AtomicU64,
    stall: Option<Stall>,
}

/// How a workload asks.
#[derive(Clone, Copy, Debug)]
struct Asks {
    /// Each of its locks is one name's and has one holder.
    is_plain: bool,
    ttl_ns: u64,
    try_only: bool,
    fenced: bool,
}

/// What is held.
#[derive(Debug)]
pub(crate) enum LocalHeld {
    /// `None`: granted although another holds it.
    Name {
        _lock: Option<OwnedMutexGuard<()>>,
    },
    Claims {
        _taken: Taken,
    },
}

impl Local {
    pub(crate) fn new(config: &RunConfig, timer: Arc<Timer>) -> Self {
        let stall = Stall {
            timer,
            duration_ns: config.duration_ns,
            at_ns: AtomicU64::new(u64::MAX),
            done: AtomicBool::new(false),
        };
        let spaces = config.spaces();
        let asks = |(at, of): (usize, &Workload)| Asks {
            is_plain: spaces.is_plain(at),
            ttl_ns: of.ttl_ns,
            try_only: of.try_only,
            fenced: of.fenced,
        };
        let workloads: Vec<Asks> = config.parts().iter().enumerate().map(asks).collect();
        // Neither table has room for what is never in it.
        let room = |is_plain| match workloads.iter().any(|asks| asks.is_plain == is_plain) {
            true => spaces.cells(),
            false => 0,
        };
        Self {
            names: (0..room(true)).map(|_| Name::default()).collect(),
            crowd: Names::new(&spaces, room(false)),
            workloads,
            broken: config.backend == BackendKind::Broken,
            broken_modes: config.backend == BackendKind::BrokenModes,
            broken_tokens: config.backend == BackendKind::BrokenTokens,
            grants: AtomicU64::new(0),
            contended: AtomicU64::new(0),
            stall: (config.backend == BackendKind::Stall).then_some(stall),
        }
    }

    pub(crate) fn start_at(&self, measured_ns: u64) {
        if let Some(stall) = &self.stall {
            stall.at_ns.store(measured_ns + stall.duration_ns / 2, Ordering::Relaxed);
        }
    }

    pub(crate) async fn acquire(&self, workload: u8, claims: &[Claim]) -> Result<Grant, Failure> {
        if let Some(stall) = &self.stall {
            stall.serve().await;
        }
        let asks = self.workloads.get(usize::from(workload)).copied();
        match (asks, claims) {
            (Some(asks), claims) if !asks.is_plain => self.take(asks, claims).await,
            (Some(asks), [claim]) => self.lock(asks, claim.cell).await,
            _ => Err(Failure::outside()),
        }
    }

    /// All of `claims`; their names may have several holders.
    async fn take(&self, asks: Asks, claims: &[Claim]) -> Result<Grant, Failure> {
        let crowd = &self.crowd;
        let grant = |taken, contended| Grant {
            held: Held::Local(LocalHeld::Claims { _taken: taken }),
            attempts: 1,
            contended,
            valid_until_ns: now_ns().saturating_add(asks.ttl_ns),
            token: None,
        };
        let nth = self.grants.fetch_add(1, Ordering::Relaxed);
        if self.broken_modes
            && nth % WRONG_GRANT_EVERY == WRONG_GRANT_EVERY - 1
            && let Some(taken) = crowd.mistake(claims)
        {
            return Ok(grant(taken, true));
        }
        if let Some(taken) = crowd.try_take(claims) {
            return Ok(grant(taken, false));
        }
        if self.is_wrong() {
            return Ok(grant(crowd.nothing(), true));
        }
        if asks.try_only {
            return Err(Failure { kind: FailureKind::Busy, attempts: 1, text: String::new() });
        }
        Ok(grant(crowd.take(claims).await, true))
    }

    /// Whether this request, which found its lock held, is granted all the same.
    fn is_wrong(&self) -> bool {
        let nth = self.contended.fetch_add(1, Ordering::Relaxed);
        self.broken && nth % WRONG_GRANT_EVERY == WRONG_GRANT_EVERY - 1
    }

    async fn lock(&self, asks: Asks, key: u32) -> Result<Grant, Failure> {
        let name = usize::try_from(key).ok().and_then(|key| self.names.get(key));
        let Some(name) = name else { return Err(Failure::outside()) };
        if let Ok(guard) = Arc::clone(&name.lock).try_lock_owned() {
            return Ok(self.grant(asks, name, Some(guard), false));
        }
        if self.is_wrong() {
            return Ok(self.grant(asks, name, None, true));
        }
        if asks.try_only {
            return Err(Failure { kind: FailureKind::Busy, attempts: 1, text: String::new() });
        }
        let guard = Arc::clone(&name.lock).lock_owned().await;
        Ok(self.grant(asks, name, Some(guard), true))
    }

    /// A wrong grant has no mutex guard, and the token of the one that it should have waited for.
    fn grant(
        &self,
        asks: Asks,
        name: &Name,
        guard: Option<OwnedMutexGuard<()>>,
        contended: bool,
    ) -> Grant {
        let nth = self.grants.fetch_add(1, Ordering::Relaxed);
        let repeats = self.broken_tokens && nth % WRONG_GRANT_EVERY == WRONG_GRANT_EVERY - 1;
        let more = u64::from(guard.is_some() && !repeats);
        let token = name.token.fetch_add(more, Ordering::Relaxed) + more;
        Grant {
            held: Held::Local(LocalHeld::Name { _lock: guard }),
            attempts: 1,
            contended,
            valid_until_ns: now_ns().saturating_add(asks.ttl_ns),
            token: asks.fenced.then_some(token),
        }
    }
}

impl Stall {
    async fn serve(&self) {
        let now = now_ns();
        let stalls =
            now >= self.at_ns.load(Ordering::Relaxed) && !self.done.swap(true, Ordering::Relaxed);
        let service_ns = if stalls { self.duration_ns / 10 } else { SERVICE_NS };
        self.timer.until(now + service_ns).await;
    }
}
