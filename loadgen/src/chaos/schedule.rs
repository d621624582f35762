//! A schedule of faults out of a seed. Pure: the same wish and seed give the same faults, on every
//! machine.
//!
//! Invariants:
//! 1. At most a minority of the nodes is in trouble at any time: from the begin of a fault until
//!    [`SETTLE`] after its heal and, where the node may have forgotten locks, until these have
//!    expired besides.
//! 2. No fault lasts into the last [`CALM_END`] of the run.
//! 3. Each kind has its turn before any has another.

use std::time::Duration;

use crate::faults::{Fault, FaultKind, Length, NodeSet, Target};
use crate::plan::rng::Xoshiro;

/// Before the first fault: what "before" means in its numbers.
const CALM_START: Duration = Duration::from_secs(3);
/// After the last heal.
const CALM_END: Duration = Duration::from_secs(1);
/// From a heal until its node is connected and used again, at most, on a busy machine.
const SETTLE: Duration = Duration::from_millis(1_500);
/// Steps in which a fault is put off while too many nodes are in trouble.
const STEP: Duration = Duration::from_millis(100);
/// Instants are written in these.
const GRAIN_MS: u64 = 10;

/// How many nodes a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Aim {
    One,
    Minority,
    Mixed,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) every: Duration,
    pub(super) shortest: Duration,
    pub(super) longest: Duration,
    pub(super) kinds: Vec<FaultKind>,
    pub(super) aim: Aim,
    pub(super) nodes: usize,
    pub(super) processes: usize,
    pub(super) duration: Duration,
    pub(super) ttl: Duration,
    pub(super) max_ttl: Duration,
}

/// A target in trouble.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    on_client: bool,
    index: usize,
    from: Duration,
    to: Duration,
}

struct Maker<'a> {
    wish: &'a Wish,
    random: Xoshiro,
    deck: Vec<FaultKind>,
    trouble: Vec<Trouble>,
}

/// Makes the schedule, or says why there is none.
pub(super) fn make(wish: &Wish, seed: u64) -> Result<Vec<Fault>, String> {
    if wish.nodes < 3 {
        return Err(format!(
            "chaos hits at most a minority, and {} nodes have none; use 3 or more",
            wish.nodes
        ));
    }
    let random = Xoshiro::for_client(seed, u32::MAX);
    let mut maker = Maker { wish, random, deck: Vec::new(), trouble: Vec::new() };
    let last_end = wish.duration.saturating_sub(CALM_END);
    let mut faults: Vec<Fault> = Vec::new();
    let mut slot = CALM_START;
    while slot < last_end && faults.len() < crate::faults::MAX_FAULTS {
        let early = wish.every.mul_f64(0.2);
        let at = slot + maker.between(Duration::ZERO, early * 2);
        let at = at.saturating_sub(early).max(CALM_START);
        let at = faults.last().map_or(at, |before| at.max(before.at + STEP));
        if let Some(fault) = maker.place(at, last_end) {
            faults.push(fault);
        }
        slot += wish.every;
    }
    if faults.is_empty() {
        let least = CALM_START + wish.longest + CALM_END + wish.every;
        return Err(format!(
            "no fault fits into --duration {:?}; use {least:?} or more, or a shorter --for",
            wish.duration
        ));
    }
    Ok(faults)
}

impl Maker<'_> {
    /// The next fault from `at` on that ends before `last_end`; the kinds in their turn, one that
    /// does not fit any more is passed over.
    fn place(&mut self, at: Duration, last_end: Duration) -> Option<Fault> {
        for _ in 0..self.wish.kinds.len() {
            let kind = self.next_kind();
            let for_ = self.length(kind);
            let wanted = self.wanted();
            let mut at = at;
            while at + for_ <= last_end {
                if let Some((target, hit)) = self.free(kind, at, for_, wanted) {
                    let fault = Fault { kind, target, at, for_, degree: kind.default_degree() };
                    hit.into_iter().for_each(|index| self.note(&fault, index));
                    return Some(fault);
                }
                at += STEP;
            }
        }
        None
    }

    fn next_kind(&mut self) -> FaultKind {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.wish.kinds);
            let mut deck = std::mem::take(&mut self.deck);
            self.shuffle(&mut deck);
            self.deck = deck;
        }
        self.deck.pop().unwrap_or(FaultKind::Pause)
    }

    fn length(&mut self, kind: FaultKind) -> Duration {
        let drawn = self.between(self.wish.shortest, self.wish.longest);
        match kind.length() {
            Length::None => Duration::ZERO,
            // Shorter than that it would do nothing to a lock.
            _ if kind == FaultKind::ClientPause => self.wish.ttl + drawn,
            _ => drawn,
        }
    }

    /// How many nodes the next fault is to hit.
    fn wanted(&mut self) -> usize {
        let minority = (self.wish.nodes - 1) / 2;
        match self.wish.aim {
            Aim::One => 1,
            Aim::Minority => minority,
            Aim::Mixed if self.random.below(4) == 0 => minority,
            Aim::Mixed => 1,
        }
    }

    /// Targets for a fault at that time, fewer than `wanted` where not so many may be hit.
    fn free(
        &mut self,
        kind: FaultKind,
        at: Duration,
        for_: Duration,
        wanted: usize,
    ) -> Option<(Target, Vec<usize>)> {
        let on_client = kind.hits_clients();
        let there = if on_client { self.wish.processes } else { self.wish.nodes };
        let until = self.over(kind, at + for_);
        let busy: Vec<usize> = (0..there)
            .filter(|index| {
                self.trouble.iter().any(|trouble| {
                    trouble.on_client == on_client
                        && trouble.index == *index
                        && trouble.from <= until
                        && at <= trouble.to
                })
            })
            .collect();
        // Of the load's processes one has to go on.
        let most = if on_client { there - 1 } else { (there - 1) / 2 };
        let wanted = if on_client { 1 } else { wanted };
        let count = wanted.min(most.saturating_sub(busy.len()));
        let mut free: Vec<usize> = (0..there).filter(|index| !busy.contains(index)).collect();
        self.shuffle(&mut free);
        free.truncate(count);
        free.sort_unstable();
        let target = match (on_client, free.as_slice()) {
            (_, []) => return None,
            (true, [one, ..]) => Target::Process(*one),
            (false, all) => Target::Nodes(NodeSet::new(all.iter().copied())?),
        };
        Some((target, free))
    }

    /// When a target of a fault that is healed at `heal` is out of trouble.
    fn over(&self, kind: FaultKind, heal: Duration) -> Duration {
        let memory = if kind.forgets() { self.wish.max_ttl } else { Duration::ZERO };
        match kind {
            FaultKind::ClientKill => Duration::MAX,
            _ => heal + SETTLE + memory,
        }
    }

    fn note(&mut self, fault: &Fault, index: usize) {
        let (on_client, to) = (fault.kind.hits_clients(), self.over(fault.kind, fault.end()));
        self.trouble.push(Trouble { on_client, index, from: fault.at, to });
    }

    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let (least_ms, most_ms) = (ms(least), ms(most));
        let steps = most_ms.saturating_sub(least_ms) / GRAIN_MS + 1;
        // A length below a millisecond is kept as it is.
        least + Duration::from_millis(self.random.below(steps) * GRAIN_MS)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let bound = u64::try_from(last).unwrap_or(u64::MAX).saturating_add(1);
            items.swap(last, usize::try_from(self.random.below(bound)).unwrap_or(last));
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
