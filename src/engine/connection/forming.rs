//! How a connection's next write is formed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::algorithm::script;
use crate::algorithm::tally::{Phase, Vote};
use crate::engine::connection::Connection;
use crate::engine::dispatch::{Item, Reload};
use crate::engine::driver;
use crate::engine::node::{Extension, Node, TopUp, count};
use crate::engine::op::Op;
use crate::engine::op::ahead::{self, AHEAD};
use crate::engine::query;
use crate::engine::sealed::Proof;
use crate::resp::command::{self, Epoch};
use crate::session::answer::Kind;
use crate::session::handshake::NativeRelease;
use crate::session::pipeline::Pipeline;
use crate::session::stamp::Intent;
use crate::time::Timestamp;

mod claims;
mod queue;

/// Whether a write has reached its caps.
type Full<'a> = dyn Fn(&Vec<u8>, &Pipeline<Item>) -> bool + 'a;

impl<S> Connection<S> {
    /// Forms the next write out of what is staged, within the caps. `false`: nothing to send.
    pub(super) fn form_write(&mut self, node: &Node, now: Timestamp) -> bool {
        let is_sealed = self.proof == Proof::Seal;
        let (most, most_bytes) = node.settings.batching.caps(is_sealed);
        let before = self.pipeline.len();
        if self.write.capacity() == 0 && !self.staged.is_empty() {
            self.write = node.fleet.buffers.take();
        }
        if self.reload == Reload::Due {
            self.reload = Reload::Sent;
            // The stamp first: a process that was restarted unnoticed must not answer a script
            // before somebody has begun its epoch (DESIGN §3.2).
            let caller = driver::caller(node, &mut self.rng);
            caller.write_eval(&mut self.write, Intent::Greet);
            self.pipeline.push(Kind::StampAnew, 0);
            for script in script::ALL {
                command::script_load(&mut self.write, script.body);
                self.pipeline.push(Kind::Load, 0);
            }
            count(&node.counters.script_reloads, 1);
        }
        let full = |write: &Vec<u8>, pipeline: &Pipeline<Item>| {
            pipeline.len() - before >= most || write.len() >= most_bytes
        };
        let mut ahead = 0;
        while !self.staged.releases.is_empty() && !full(&self.write, &self.pipeline) {
            self.form_releases(node, now, &mut ahead);
        }
        while !self.staged.extensions.is_empty() && !full(&self.write, &self.pipeline) {
            self.form_extensions();
        }
        while !full(&self.write, &self.pipeline)
            && let Some(query) = self.staged.queries.pop_front()
        {
            self.write.extend_from_slice(&query.frame);
            for _ in 0..query::COMMANDS {
                self.pipeline.push_item(Item::Query(Arc::clone(&query)));
                self.pipeline.push(Kind::Query, 1);
            }
        }
        while !full(&self.write, &self.pipeline)
            && let Some(op) = self.staged.watches.pop_front()
        {
            self.form_watch(op, now);
        }
        self.form_queue(node, &full);
        // The seal's place in the caps is kept free for it; a write may always hold one SET.
        let (commands, bytes) = if is_sealed { (SEAL_COMMANDS, SEAL_BYTES) } else { (0, 0) };
        let sealed = |write: &Vec<u8>, pipeline: &Pipeline<Item>| {
            let formed = pipeline.len() - before;
            formed > 0 && (formed + commands >= most || write.len() + bytes >= most_bytes)
        };
        let (mut sets, mut ahead) = (0, 0);
        while !sealed(&self.write, &self.pipeline)
            && let Some(top_up) = self.staged.top_ups.pop_front()
        {
            sets += usize::from(self.form_top_up(top_up, node, now));
        }
        while !sealed(&self.write, &self.pipeline) {
            if ahead == 0 {
                let next = self.staged.acquires.iter().take(AHEAD);
                ahead = ahead::read(next, |op| op.for_forming());
            }
            let Some(op) = self.staged.acquires.pop_front() else { break };
            ahead -= 1;
            sets += usize::from(self.form_acquire(op, node, now));
        }
        if sets > 0 && is_sealed {
            // R9: the seal is the write's last command, and nothing joins this write behind it.
            self.write.extend_from_slice(&self.seal);
            self.pipeline.push(Kind::SealEpoch, 0);
            self.pipeline.push(Kind::SealScript, 0);
        }
        let formed = self.pipeline.len() - before;
        self.pipeline.end_write(now);
        count(&node.counters.commands, formed as u64);
        formed > 0
    }

    /// `true`: a SET NX that a seal must cover. A fenced acquisition is a script, which
    /// checks the epoch itself.
    fn form_acquire(&mut self, op: Arc<Op>, node: &Node, now: Timestamp) -> bool {
        // I2: the round ended while this frame waited; it never leaves (R7).
        if !matches!(op.acquire_tally().phase(), Phase::Open | Phase::Won) {
            count(&node.counters.withdrawn, 1);
            op.vote(node.index, Vote::NotSent, now);
            return false;
        }
        if op.claim.is_some() {
            let px = op.key_ttl_ms(op.ttl);
            self.form_take(Item::Acquire(Arc::clone(&op)), &op, px);
            return false;
        }
        match &op.fence {
            None => {
                self.write.extend_from_slice(&op.frame);
                self.pipeline.push_item(Item::Acquire(op));
                self.pipeline.push(Kind::Acquire, 1);
                true
            }
            Some(fence) => {
                let (mut ttl, mut proposal) = (itoa::Buffer::new(), itoa::Buffer::new());
                let mut life = itoa::Buffer::new();
                let keys = [script::EPOCH_KEY.as_bytes(), op.key(), &fence.key];
                let args = [
                    self.quarantine.id(),
                    op.token.as_bytes(),
                    ttl.format(op.key_ttl_ms(op.ttl)).as_bytes(),
                    proposal.format(fence.proposal).as_bytes(),
                    life.format(script::FENCE_TTL_MS).as_bytes(),
                ];
                command::evalsha(&mut self.write, script::FENCED.sha, &keys, &args);
                self.pipeline.push_item(Item::Acquire(op));
                self.pipeline.push(Kind::Fenced, 1);
                false
            }
        }
    }

    /// Asks a node that does not hold a held lease's key to hold it too. `true`: by a SET NX that
    /// the write's seal must cover.
    fn form_top_up(&mut self, top_up: TopUp, node: &Node, now: Timestamp) -> bool {
        let TopUp { op, ttl_ms } = top_up;
        // R7, R8: nothing may create the key of a token that is released or about to be.
        if !op.may_ask(node.index, &[Phase::Won]) || !op.is_valid(now) {
            return false;
        }
        let ttl = std::time::Duration::from_millis(ttl_ms);
        let px = op.key_ttl_ms(ttl);
        if op.claim.is_some() {
            self.form_take(Item::TopUp(Box::new(TopUp { op: Arc::clone(&op), ttl_ms })), &op, px);
            return false;
        }
        command::set_nx_px(&mut self.write, [op.key(), b""], op.token.as_bytes(), px);
        self.pipeline.push_item(Item::TopUp(Box::new(TopUp { op, ttl_ms })));
        self.pipeline.push(Kind::TopUp, 1);
        true
    }

    /// Asks to be told when a held key changes: tracking watches what is read behind CACHING.
    fn form_watch(&mut self, op: Arc<Op>, now: Timestamp) {
        let waits = op.ticket.is_some() && op.acquire_tally().phase() == Phase::Open;
        // A claim's keys change whenever another owner comes or goes.
        if self.tracks && (waits || (op.claim.is_none() && op.is_valid(now))) {
            command::client_caching(&mut self.write);
            self.pipeline.push(Kind::Caching, 0);
            if waits {
                command::pttl(&mut self.write, op.key());
                self.pipeline.push_item(Item::Watch(op));
                self.pipeline.push(Kind::Look, 1);
            } else {
                command::get(&mut self.write, op.key());
                self.pipeline.push_item(Item::Watch(op));
                self.pipeline.push(Kind::Watch, 1);
            }
        }
    }

    /// One native release, or one script call over as many releases as it takes. `ahead`: of those
    /// in front, how many have been read ahead.
    fn form_releases(&mut self, node: &Node, now: Timestamp, ahead: &mut usize) {
        let mut bytes = 0;
        loop {
            if *ahead == 0 {
                let next = self.staged.releases.iter().take(AHEAD);
                *ahead = ahead::read(next, |owed| owed.op.for_forming());
            }
            let Some(owed) = self.staged.releases.pop_front() else { break };
            *ahead -= 1;
            if owed.op.owed_until() <= now {
                owed.op.vote_release(node.index, Vote::Missing);
                continue;
            }
            if owed.op.claim.is_some() {
                if self.script.is_empty() {
                    return self.form_drop(node, owed);
                }
                self.staged.releases.push_front(owed);
                *ahead += 1;
                break;
            }
            if owed.op.hands_on.load(Ordering::Acquire) {
                self.form_leave(node, owed);
                break;
            }
            if let (Some(native), false) = (self.native, owed.ask) {
                let (key, token) = (owed.op.key(), owed.op.token.as_bytes());
                match native {
                    NativeRelease::Delex => command::delex_ifeq(&mut self.write, key, token),
                    NativeRelease::Delifeq => command::delifeq(&mut self.write, key, token),
                }
                self.pipeline.push_item(Item::Release(owed));
                self.pipeline.push(Kind::ReleaseNative, 1);
                break;
            }
            bytes += owed.op.key().len() + owed.op.token.as_bytes().len() + FRAME_OVERHEAD;
            self.script.push(owed);
            if self.script.len() == script::KEYS_MAX || bytes >= node.settings.batching.max_bytes {
                break;
            }
        }
        self.form_script();
    }

    /// The script call over the releases collected so far, if there are any.
    fn form_script(&mut self) {
        if self.script.is_empty() {
            return;
        }
        let items = self.script.len();
        let locks = self.script.iter().map(|owed| owed.op.key_and_token());
        command::evalsha_tokens(&mut self.write, script::RELEASE.sha, locks);
        for owed in self.script.drain(..) {
            self.pipeline.push_item(Item::Release(owed));
        }
        self.pipeline.push(Kind::Release, u16::try_from(items).unwrap_or(u16::MAX));
    }

    /// One script call over as many extensions as it takes, or a raise.
    fn form_extensions(&mut self) {
        let plain = |next: &&Extension| next.raise.is_none() && next.op.claim.is_none();
        let front = self.staged.extensions.front();
        if front.is_some_and(|next| !plain(&next))
            && let Some(next) = self.staged.extensions.pop_front()
        {
            return if next.raise.is_some() { self.form_raise(next) } else { self.form_keep(next) };
        }
        let ready = self.staged.extensions.iter().take(script::KEYS_MAX).take_while(plain);
        let items = ready.count();
        let leases = self.staged.extensions.range(..items).map(|extension| {
            let op = &extension.op;
            let px = match extension.ttl_ms {
                0 => 0,
                ms => op.key_ttl_ms(std::time::Duration::from_millis(ms)),
            };
            (op.key(), op.token.as_bytes().as_slice(), px)
        });
        let epoch = Epoch { key: script::EPOCH_KEY.as_bytes(), id: self.quarantine.id() };
        command::evalsha_leases(&mut self.write, script::EXTEND.sha, epoch, leases);
        for extension in self.staged.extensions.drain(..items) {
            self.pipeline.push_item(Item::Extend(Box::new(extension)));
        }
        self.pipeline.push(Kind::Extend, u16::try_from(items).unwrap_or(u16::MAX));
    }

    fn form_raise(&mut self, raise: Extension) {
        let (mut token, mut life) = (itoa::Buffer::new(), itoa::Buffer::new());
        let op = &raise.op;
        let counter = op.fence.as_ref().map(|fence| fence.key.as_slice()).unwrap_or_default();
        let keys = [script::EPOCH_KEY.as_bytes(), op.key(), counter];
        let args = [
            self.quarantine.id(),
            op.token.as_bytes(),
            token.format(raise.raise.unwrap_or_default()).as_bytes(),
            life.format(script::FENCE_TTL_MS).as_bytes(),
        ];
        command::evalsha(&mut self.write, script::RAISE.sha, &keys, &args);
        self.pipeline.push_item(Item::Extend(Box::new(raise)));
        self.pipeline.push(Kind::Raise, 1);
    }
}

/// Bytes of `$<len>\r\n` and `\r\n` around a key and a token in a script call.
const FRAME_OVERHEAD: usize = 16;

/// The seal: GET, SCRIPT EXISTS.
const SEAL_COMMANDS: usize = 2;
/// Of a seal on the wire: 35 for GET and its key, 76 for SCRIPT EXISTS and its digest.
const SEAL_BYTES: usize = 128;
