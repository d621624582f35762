//! How a connection's next write is formed.

use std::sync::Arc;

use crate::algorithm::script;
use crate::algorithm::tally::{Phase, Vote};
use crate::engine::connection::Connection;
use crate::engine::dispatch::Item;
use crate::engine::node::{Node, count};
use crate::engine::op::Op;
use crate::engine::query;
use crate::resp::command;
use crate::session::handshake::NativeRelease;
use crate::session::pipeline::{Kind, Pipeline};
use crate::time::Timestamp;

impl<S> Connection<S> {
    /// Forms the next write out of what is staged, within the caps. `false`: nothing to send.
    pub(super) fn form_write(&mut self, node: &Node, now: Timestamp) -> bool {
        let batching = &node.settings.batching;
        let before = self.pipeline.len();
        if std::mem::take(&mut self.reload) {
            for script in script::ALL {
                command::script_load(&mut self.write, script.body);
                self.pipeline.push(Kind::Load, 0);
            }
            count(&node.counters.script_reloads, 1);
        }
        let full = |write: &Vec<u8>, pipeline: &Pipeline<Item>| {
            pipeline.len() - before >= batching.max_commands || write.len() >= batching.max_bytes
        };
        while !self.staged.releases.is_empty() && !full(&self.write, &self.pipeline) {
            self.form_releases(node, now);
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
            && let Some(op) = self.staged.acquires.pop_front()
        {
            self.form_acquire(op, node, now);
        }
        let formed = self.pipeline.len() - before;
        self.pipeline.end_write(now);
        count(&node.counters.commands, formed as u64);
        formed > 0
    }

    fn form_acquire(&mut self, op: Arc<Op>, node: &Node, now: Timestamp) {
        // I2: the round ended while this frame waited; it never leaves.
        if !matches!(op.acquire_tally().phase(), Phase::Open | Phase::Won) {
            count(&node.counters.withdrawn, 1);
            op.vote(node.index, Vote::NotSent, now);
            return;
        }
        self.write.extend_from_slice(&op.frame);
        self.pipeline.push_item(Item::Acquire(op));
        self.pipeline.push(Kind::Acquire, 1);
    }

    /// One native release, or one script call over as many releases as it takes.
    fn form_releases(&mut self, node: &Node, now: Timestamp) {
        let mut bytes = 0;
        while let Some(owed) = self.staged.releases.pop_front() {
            if owed.until <= now {
                owed.op.vote_release(node.index, Vote::Missing);
                continue;
            }
            if let (Some(native), false) = (self.native, owed.ask) {
                let (key, token) = (&owed.op.key, owed.op.token.as_bytes());
                match native {
                    NativeRelease::Delex => command::delex_ifeq(&mut self.write, key, token),
                    NativeRelease::Delifeq => command::delifeq(&mut self.write, key, token),
                }
                self.pipeline.push_item(Item::Release(owed));
                self.pipeline.push(Kind::ReleaseNative, 1);
                break;
            }
            bytes += owed.op.key.len() + owed.op.token.as_bytes().len() + FRAME_OVERHEAD;
            self.script.push(owed);
            if self.script.len() == script::KEYS_MAX || bytes >= node.settings.batching.max_bytes {
                break;
            }
        }
        if self.script.is_empty() {
            return;
        }
        let items = self.script.len();
        let locks = self.script.iter().map(|owed| {
            let op = &owed.op;
            (op.key.as_slice(), op.token.as_bytes().as_slice())
        });
        command::evalsha_tokens(&mut self.write, script::RELEASE.sha, locks);
        for owed in self.script.drain(..) {
            self.pipeline.push_item(Item::Release(owed));
        }
        self.pipeline.push(Kind::Release, u16::try_from(items).unwrap_or(u16::MAX));
    }

    fn form_extensions(&mut self) {
        let items = self.staged.extensions.len().min(script::KEYS_MAX);
        let leases = self.staged.extensions.iter().take(items).map(|extension| {
            let op = &extension.op;
            (op.key.as_slice(), op.token.as_bytes().as_slice(), extension.ttl_ms)
        });
        command::evalsha_leases(&mut self.write, script::EXTEND.sha, leases);
        for extension in self.staged.extensions.drain(..items) {
            self.pipeline.push_item(Item::Extend(extension));
        }
        self.pipeline.push(Kind::Extend, u16::try_from(items).unwrap_or(u16::MAX));
    }
}

/// Bytes of `$<len>\r\n` and `\r\n` around a key and a token in a script call.
const FRAME_OVERHEAD: usize = 16;
