//! The commands of the queue between processes: enter, confirm, leave.

use std::sync::Arc;

use super::Full;
use crate::algorithm::script;
use crate::algorithm::tally::Phase;
use crate::engine::connection::Connection;
use crate::engine::dispatch::Item;
use crate::engine::node::{Node, Owed};
use crate::engine::op::Op;
use crate::resp::command::{self, Epoch};
use crate::session::answer::Kind;
use crate::token::Token;

impl<S> Connection<S> {
    /// Confirmations first: a reservation does not live long.
    pub(super) fn form_queue(&mut self, node: &Node, full: &Full<'_>) {
        while !full(&self.write, &self.pipeline)
            && let Some(op) = self.staged.confirms.pop_front()
        {
            self.form_confirm(op);
        }
        while !full(&self.write, &self.pipeline)
            && let Some(op) = self.staged.enters.pop_front()
        {
            self.form_enter(op, node);
        }
        while !full(&self.write, &self.pipeline)
            && let Some(key) = self.staged.pokes.pop_front()
        {
            self.form_poke(node, &key);
        }
    }

    /// An owner-checked extension, or for a fenced op what counts its token up as well: its answer
    /// is a vote of the attempt (R10).
    fn form_confirm(&mut self, op: Arc<Op>) {
        if !matches!(op.acquire_tally().phase(), Phase::Open | Phase::Won) {
            return; // R8; its release is under way.
        }
        let (id, px) = (self.quarantine.id(), op.key_ttl_ms(op.ttl));
        let token = op.token.as_bytes();
        if let Some(fence) = &op.fence {
            let (mut ttl, mut proposal) = (itoa::Buffer::new(), itoa::Buffer::new());
            let mut life = itoa::Buffer::new();
            let keys = [script::EPOCH_KEY.as_bytes(), op.key(), &fence.key];
            let args = [
                id,
                token,
                ttl.format(px).as_bytes(),
                proposal.format(fence.proposal).as_bytes(),
                life.format(script::FENCE_TTL_MS).as_bytes(),
            ];
            command::evalsha(&mut self.write, script::CONFIRM.sha, &keys, &args);
            self.pipeline.push_item(Item::Confirm(op));
            self.pipeline.push(Kind::Fenced, 1);
        } else {
            let epoch = Epoch { key: script::EPOCH_KEY.as_bytes(), id };
            let lease = [(op.key(), token.as_slice(), px)].into_iter();
            command::evalsha_leases(&mut self.write, script::EXTEND.sha, epoch, lease);
            self.pipeline.push_item(Item::Confirm(op));
            self.pipeline.push(Kind::Confirm, 1);
        }
    }

    fn form_enter(&mut self, op: Arc<Op>, node: &Node) {
        let Some(ticket) = &op.ticket else { return };
        // R7, R8, R11: once it is won or given up, it is not shown again.
        if !op.may_ask(node.index, &[Phase::Open]) {
            return;
        }
        let (mut number, mut ttl) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (mut reserved, mut life) = (itoa::Buffer::new(), itoa::Buffer::new());
        let keys = [script::EPOCH_KEY.as_bytes(), op.key(), &ticket.queue];
        let args = [
            self.quarantine.id(),
            number.format(ticket.number).as_bytes(),
            op.token.as_bytes(),
            ttl.format(op.key_ttl_ms(op.ttl)).as_bytes(),
            reserved.format(node.reservation_ms()).as_bytes(),
            life.format(script::QUEUE_TTL_MS).as_bytes(),
        ];
        command::evalsha(&mut self.write, script::ENTER.sha, &keys, &args);
        self.pipeline.push_item(Item::Enter(op));
        self.pipeline.push(Kind::Enter, 1);
    }

    /// A release that hands the lock on.
    pub(super) fn form_leave(&mut self, node: &Node, owed: Owed) {
        // In the order in which they were queued.
        self.form_script();
        let op = &owed.op;
        self.leave(node, op.key(), op.token.as_bytes(), op.key_ttl_ms(op.ttl));
        self.pipeline.push_item(Item::Release(owed));
        self.pipeline.push(Kind::Leave, 1);
    }

    /// Somebody waits for a lock that we hold no more: where it is free, it goes to the next.
    fn form_poke(&mut self, node: &Node, key: &[u8]) {
        self.leave(node, key, Token::NOBODY.as_bytes(), 0);
        self.pipeline.push(Kind::Leave, 0);
    }

    fn leave(&mut self, node: &Node, key: &[u8], token: &[u8], ttl_ms: u64) {
        let queue = [script::QUEUE_PREFIX.as_bytes(), key].concat();
        let (mut reserved, mut ttl) = (itoa::Buffer::new(), itoa::Buffer::new());
        let reserved = reserved.format(node.reservation_ms());
        let args = [token, reserved.as_bytes(), ttl.format(ttl_ms).as_bytes()];
        command::evalsha(&mut self.write, script::LEAVE.sha, &[key, &queue], &args);
    }
}
