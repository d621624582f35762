//! The commands of claims: each a script call of its own, over all keys of one token.

use std::time::Duration;

use crate::algorithm::script;
use crate::engine::connection::Connection;
use crate::engine::dispatch::Item;
use crate::engine::node::{Extension, Node, Owed};
use crate::engine::op::Op;
use crate::resp::command::{self, Bulks};
use crate::session::answer::Kind;

impl<S> Connection<S> {
    /// Takes what `op` claims, for `px` milliseconds. The script checks the epoch itself (R1).
    pub(super) fn form_take(&mut self, item: Item, op: &Op, px: u64) {
        let Some(claim) = &op.claim else { return };
        let mut ttl = itoa::Buffer::new();
        let head = [self.quarantine.id(), op.token.as_bytes(), ttl.format(px).as_bytes()];
        let (keys, args) = ((EPOCH, &claim.keys), (head.as_slice(), &claim.modes));
        command::evalsha_bulks(&mut self.write, script::TAKE.sha, keys, args);
        self.pipeline.push_item(item);
        self.pipeline.push(Kind::Take, 1);
    }

    pub(super) fn form_keep(&mut self, extension: Extension) {
        let op = &extension.op;
        let Some(claim) = &op.claim else { return };
        let px = match extension.ttl_ms {
            0 => 0,
            ms => op.key_ttl_ms(Duration::from_millis(ms)),
        };
        let mut ttl = itoa::Buffer::new();
        let head = [self.quarantine.id(), op.token.as_bytes(), ttl.format(px).as_bytes()];
        let (keys, args) = ((EPOCH, &claim.keys), (head.as_slice(), &Bulks::default()));
        command::evalsha_bulks(&mut self.write, script::KEEP.sha, keys, args);
        self.pipeline.push_item(Item::Extend(Box::new(extension)));
        self.pipeline.push(Kind::Keep, 1);
    }

    pub(super) fn form_drop(&mut self, node: &Node, owed: Owed) {
        let Some(claim) = &owed.op.claim else { return };
        let mut reserved = itoa::Buffer::new();
        let reserved = reserved.format(node.reservation_ms());
        let head = [owed.op.token.as_bytes().as_slice(), reserved.as_bytes()];
        let (keys, args) = ((NO_PARTS, &claim.keys), (head.as_slice(), &Bulks::default()));
        command::evalsha_bulks(&mut self.write, script::DROP.sha, keys, args);
        self.pipeline.push_item(Item::Release(owed));
        self.pipeline.push(Kind::Drop, 1);
    }
}

const EPOCH: &[&[u8]] = &[script::EPOCH_KEY.as_bytes()];
const NO_PARTS: &[&[u8]] = &[];
