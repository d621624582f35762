//! One lock's shared state: the votes of its rounds, its ledger, and who waits for it.
//!
//! An [`Op`] is created (or recycled) for one attempt and one token, and becomes the lease's state
//! when the attempt wins. Node drivers write votes and expiry bounds; the caller reads them.
//! - I1 a bound `e_i` is stored before the vote that lets anybody count it.
//! - I2 loss is sticky: once set, [`Op::lost`] never clears, and the op is never valid again.
//! - I3 an op is recycled only when nobody else refers to it (`Arc::get_mut`).

pub(crate) mod ahead;
mod claim;
mod ending;
mod fencing;
mod ledger;
mod ticket;
mod watchers;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use atomic_waker::AtomicWaker;

use crate::algorithm::tally::{Decision, NODES_MAX, Phase, Rule, Tally, Vote};
use crate::config::{Drift, Keep};
use crate::engine::hold::Hold;
use crate::engine::op::claim::Claim;
use crate::engine::op::fencing::Fencing;
use crate::error::Lost;
use crate::resource::Resource;
use crate::resp::command;
use crate::time::{Timestamp, nanos};
use crate::token::Token;

mod pool;

pub(crate) use claim::Claims;
pub(crate) use pool::Pool;
pub(crate) use ticket::{Ticket, Way};

/// See the module's head.
///
/// In the order of how often it is touched: a node's driver passes over a hundred ops in a row,
/// once per command and once per reply, and each cache line it needs of one is a miss.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Op {
    acquire: AtomicU64,
    release: AtomicU64,
    /// `ttl` less the drift that is configured.
    share_ns: u64,
    /// From here on its keys must have expired, and no release is owed any more.
    owed_until: AtomicU64,
    /// Woken by the deciding vote of whichever round is awaited.
    pub(crate) waker: AtomicWaker,
    /// The acquire frame, encoded once, copied into each node's write.
    pub(crate) frame: Vec<u8>,
    /// Where in the frame the Redis key is.
    key_at: Range<u32>,
    pub(crate) fence: Option<Box<Fencing>>,
    /// Its place in line, if it queues up on the nodes instead of racing there.
    pub(crate) ticket: Option<Box<Ticket>>,
    /// Not a plain lock: what it takes, and in which modes.
    pub(crate) claim: Option<Box<Claim>>,
    /// The drift that `share_ns` allows for.
    share_ppm: u32,
    lost: AtomicU8,
    /// Who is done with it.
    done: AtomicU8,
    /// Whether this op still occupies its resource's local slot.
    pub(crate) has_slot: AtomicBool,
    /// Its releases hand the lock on to whoever waits for it on the nodes.
    pub(crate) hands_on: AtomicBool,
    decided_at: AtomicU64,
    bounds: [AtomicU64; NODES_MAX],
    pub(crate) ttl: Duration,
    /// Whose lease it is, once it is one.
    pub(crate) hold: Hold,
    /// The keeper's key of this lease plus one; zero while it is not kept.
    pub(crate) keeper_key: AtomicU64,
    /// The ttl that renewals ask for, in milliseconds.
    pub(crate) renew_ttl_ms: AtomicU64,
    /// No renewal extends the validity beyond this.
    renew_until: AtomicU64,
    pub(crate) resource: Resource,
    /// Nodes that were asked to hold the key after the attempt.
    topped_up: AtomicU16,
    /// Nodes that must not be asked to hold it any more: a release may still come there.
    barred: AtomicU16,
    /// Extension rounds begun: the next one's number.
    pub(crate) rounds: AtomicU32,
    pub(crate) token: Token,
    extend: AtomicU64,
    /// By how much the keys outlive the validity.
    lock_delay_ms: u64,
    pub(crate) drift: Drift,
    watchers: Mutex<Vec<Waker>>,
}

/// What an attempt needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Spec<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) prefix: &'a [u8],
    pub(crate) ttl: Duration,
    pub(crate) lock_delay: Duration,
    pub(crate) drift: Drift,
    pub(crate) nodes: usize,
    pub(crate) quorum: usize,
    /// The proposed fencing token of a fenced attempt.
    pub(crate) fencing: Option<u64>,
    /// How an attempt that waits for another process gets to the lock.
    pub(crate) ticket: Option<Way>,
    /// What an attempt takes that is no plain lock.
    pub(crate) claims: Option<&'a Claims>,
}

impl Op {
    pub(crate) fn new(spec: &Spec<'_>, token: Token) -> Self {
        let mut op = Self {
            acquire: AtomicU64::new(0),
            release: AtomicU64::new(0),
            frame: Vec::new(),
            key_at: 0..0,
            share_ns: 0,
            share_ppm: 0,
            waker: AtomicWaker::new(),
            decided_at: AtomicU64::new(0),
            owed_until: AtomicU64::new(0),
            fence: None,
            ticket: None,
            claim: None,
            bounds: [const { AtomicU64::new(0) }; NODES_MAX],
            token,
            ttl: spec.ttl,
            hold: Hold::new(),
            keeper_key: AtomicU64::new(0),
            renew_ttl_ms: AtomicU64::new(0),
            renew_until: AtomicU64::new(0),
            resource: spec.resource.clone(),
            lost: AtomicU8::new(0),
            done: AtomicU8::new(0),
            has_slot: AtomicBool::new(false),
            hands_on: AtomicBool::new(false),
            topped_up: AtomicU16::new(0),
            barred: AtomicU16::new(0),
            rounds: AtomicU32::new(0),
            extend: AtomicU64::new(0),
            lock_delay_ms: 0,
            drift: spec.drift,
            watchers: Mutex::new(Vec::new()),
        };
        op.reset(spec, token);
        op
    }

    /// Makes a recycled op new (I3: `&mut self` proves that nobody else refers to it).
    pub(crate) fn reset(&mut self, spec: &Spec<'_>, token: Token) {
        self.resource = spec.resource.clone();
        self.token = token;
        let ttl_ms = millis(spec.ttl);
        self.lock_delay_ms = millis(spec.lock_delay);
        self.frame.clear();
        let px = self.key_ttl_ms(spec.ttl);
        let key = [spec.prefix, spec.resource.as_bytes()];
        let at = command::set_nx_px(&mut self.frame, key, token.as_bytes(), px);
        // A name is bounded.
        self.key_at = u32::try_from(at.start).unwrap_or(0)..u32::try_from(at.end).unwrap_or(0);
        self.fence = spec.fencing.map(|proposal| Box::new(Fencing::new(self.key(), proposal)));
        self.ticket = spec.ticket.map(|way| Box::new(Ticket::new(self.key(), way)));
        self.claim = spec.claims.map(|claims| Box::new(Claim::new(claims, spec.prefix)));
        *self.topped_up.get_mut() = 0;
        *self.barred.get_mut() = 0;
        self.ttl = spec.ttl;
        self.drift = spec.drift;
        self.share_ns = nanos(spec.drift.share(spec.ttl));
        self.share_ppm = spec.drift.parts_per_million;
        let word = Tally::new(spec.nodes, spec.quorum, 0).word();
        *self.acquire.get_mut() = word;
        *self.extend.get_mut() = word;
        *self.release.get_mut() = word;
        for bound in self.bounds.iter_mut().take(spec.nodes) {
            *bound.get_mut() = 0;
        }
        self.waker.take();
        *self.decided_at.get_mut() = 0;
        *self.owed_until.get_mut() = 0;
        *self.lost.get_mut() = 0;
        *self.done.get_mut() = 0;
        self.watchers.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.hold.reset();
        *self.has_slot.get_mut() = false;
        *self.hands_on.get_mut() = false;
        *self.keeper_key.get_mut() = 0;
        *self.renew_ttl_ms.get_mut() = ttl_ms;
        *self.renew_until.get_mut() = 0;
        *self.rounds.get_mut() = 0;
    }

    fn key_at(&self) -> Range<usize> {
        self.key_at.start as usize..self.key_at.end as usize
    }

    /// The Redis key: prefix and resource.
    pub(crate) fn key(&self) -> &[u8] {
        self.frame.get(self.key_at()).unwrap_or_default()
    }

    /// Key and token, as a release sends them.
    pub(crate) fn key_and_token(&self) -> (&[u8], &[u8]) {
        command::bulks_of_set(&self.frame, &self.key_at(), self.token.as_bytes())
    }

    pub(crate) fn acquire_tally(&self) -> Tally {
        Tally::from_word(self.acquire.load(Ordering::Acquire))
    }

    pub(crate) fn extend_tally(&self) -> Tally {
        Tally::from_word(self.extend.load(Ordering::Acquire))
    }

    /// Counts a vote on the acquisition; the caller releases what the decision says is owed.
    pub(crate) fn vote(&self, node: usize, vote: Vote, now: Timestamp) -> Option<Decision> {
        let decision = self.count_vote(node, vote, now)?;
        if decision.is_final() {
            self.waker.wake();
        }
        Some(decision)
    }

    /// As [`Op::vote`], but whoever waits for a decision is the caller's to wake.
    pub(crate) fn count_vote(&self, node: usize, vote: Vote, now: Timestamp) -> Option<Decision> {
        let decision = cast(&self.acquire, node, vote, Rule::Grants, None)?;
        if decision.is_final() {
            self.decided_at.store(now.as_nanos(), Ordering::Release);
        }
        Some(decision)
    }

    /// Counts a vote on extension round `round`; votes of earlier rounds do not count.
    pub(crate) fn vote_extend(&self, node: usize, vote: Vote, round: u8) {
        let decision = cast(&self.extend, node, vote, Rule::Grants, Some(round));
        if matches!(decision, Some(Decision::Won | Decision::Lost)) {
            self.wake_watchers();
        }
    }

    /// Waits until extension round `round` is decided, or another one has taken its place.
    pub(crate) async fn extended(&self, round: u8) -> Tally {
        std::future::poll_fn(|cx| {
            let is_open = |tally: Tally| tally.round() == round && tally.phase() == Phase::Open;
            if is_open(self.extend_tally()) {
                self.watch(cx.waker());
            }
            let tally = self.extend_tally();
            if is_open(tally) { Poll::Pending } else { Poll::Ready(tally) }
        })
        .await
    }

    /// The caller is gone: ends an open round. `false`: it was decided already.
    pub(crate) fn abandon(&self) -> Option<Tally> {
        step(&self.acquire, Tally::abandon)
    }

    /// `holder`, or whoever holds it, lets go: the word as it was at that instant. `None`: not
    /// held any more. From here on nothing is handed on (DESIGN R12).
    pub(crate) fn let_go(&self, holder: Option<u64>) -> Option<Tally> {
        if !self.hold.end(holder) {
            return None;
        }
        step(&self.acquire, Tally::release)
    }

    /// From `now` on the lease is kept so, for the holder that there is or is about to be.
    pub(crate) fn keep(&self, keep: Keep, now: Timestamp) {
        let until = if keep.renew { now.plus(keep.max_hold) } else { Timestamp::ZERO };
        self.renew_until.store(until.as_nanos(), Ordering::Release);
    }

    /// The ttl that renewals ask for.
    pub(crate) fn renew_ttl(&self) -> Duration {
        Duration::from_millis(self.renew_ttl_ms.load(Ordering::Acquire))
    }

    /// Whether a renewal at `now` stays within what its holder wants.
    pub(crate) fn may_renew(&self, now: Timestamp) -> bool {
        now.plus(self.renew_ttl()).as_nanos() <= self.renew_until.load(Ordering::Acquire)
    }

    /// Begins extension round `round` among `nodes`: all others have no say in it.
    pub(crate) fn begin_extend(&self, nodes: u16) -> u8 {
        let round = (self.rounds.fetch_add(1, Ordering::AcqRel) & 0xf) as u8;
        let mut tally = Tally::new(self.nodes(), self.quorum(), round);
        for node in (0..self.nodes()).filter(|node| nodes & (1 << node) == 0) {
            tally = tally.apply(node, Vote::NotSent, Rule::Grants).map_or(tally, |next| next.0);
        }
        self.extend.store(tally.word(), Ordering::Release);
        // Whoever waits for an earlier round learns that it was overtaken.
        self.wake_watchers();
        round
    }

    /// Takes over a key that another op of ours, or another process, set with this token: every
    /// node may hold it, none is counted before it has answered an extension.
    pub(crate) fn adopt(&self) {
        let mut tally = Tally::new(self.nodes(), self.quorum(), 0);
        for node in 0..self.nodes() {
            tally = tally.apply(node, Vote::Unknown, Rule::Grants).map_or(tally, |next| next.0);
        }
        self.acquire.store(tally.adopted().word(), Ordering::Release);
        // Its token came from outside.
        self.hold.expose(0);
    }

    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        self.lost().is_none()
            && self.acquire_tally().phase() == Phase::Won
            && now < self.valid_until()
    }

    /// When the deciding vote of the acquisition was counted.
    pub(crate) fn decided_at(&self) -> Timestamp {
        Timestamp::from_nanos(self.decided_at.load(Ordering::Acquire))
    }

    /// Why the lease is lost, if it is (I2).
    pub(crate) fn lost(&self) -> Option<Lost> {
        Lost::from_code(self.lost.load(Ordering::Acquire))
    }

    /// Marks the lease lost, once, and tells everybody who asked. `false`: it was lost already.
    pub(crate) fn lose(&self, reason: Lost) -> bool {
        let first = self
            .lost
            .compare_exchange(0, reason.code(), Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if first {
            self.wake_watchers();
        }
        first
    }
}

/// A ttl as the servers take it; the builder has bounded it.
pub(crate) fn millis(ttl: Duration) -> u64 {
    nanos(ttl) / 1_000_000
}

fn cast(
    word: &AtomicU64,
    node: usize,
    vote: Vote,
    rule: Rule,
    round: Option<u8>,
) -> Option<Decision> {
    let mut current = word.load(Ordering::Acquire);
    loop {
        let tally = Tally::from_word(current);
        if round.is_some_and(|round| round != tally.round()) {
            return None;
        }
        let (next, decision) = tally.apply(node, vote, rule)?;
        match word.compare_exchange_weak(current, next.word(), Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => return Some(decision),
            Err(now) => current = now,
        }
    }
}

fn step(word: &AtomicU64, change: fn(Tally) -> Option<Tally>) -> Option<Tally> {
    let mut current = word.load(Ordering::Acquire);
    loop {
        let tally = Tally::from_word(current);
        let next = change(tally)?.word();
        match word.compare_exchange_weak(current, next, Ordering::SeqCst, Ordering::Acquire) {
            Ok(_) => return Some(tally),
            Err(now) => current = now,
        }
    }
}
