//! How commands end that get no answer: overdue, withdrawn, or lost with their connection.

use std::collections::VecDeque;

use crate::algorithm::tally::{Phase, Vote};
use crate::engine::dispatch::{Dispatch, Item, OWED_GRACE};
use crate::engine::node::{Lanes, Node, Owed, count};
use crate::engine::sealed::Sealed;
use crate::session::pipeline::Pipeline;
use crate::time::Timestamp;

impl Dispatch<'_> {
    /// Commands whose answer is overdue vote *unknown*; they stay in the FIFO. How many expired.
    pub(crate) fn expire(
        pipeline: &mut Pipeline<Item>,
        sealed: &Sealed,
        node: &Node,
        now: Timestamp,
    ) -> u64 {
        let mut expired = 0;
        pipeline.expire(now, node.settings.node_timeout, |_, item| {
            expired += 1;
            // A release races against nothing: it stays awaited until its reply, or until the
            // connection is given up.
            if !matches!(item, Item::Release(_)) {
                unknown(item, node, now);
            }
        });
        if pipeline.overdue() > 0 {
            // What waits for the seal at the head: granted perhaps, but not answered in time.
            sealed.items().for_each(|item| unknown(item, node, now));
        }
        expired
    }

    /// Staged and queued commands that could not leave in time: they certainly did nothing.
    pub(crate) fn withdraw(staged: &mut Lanes, node: &Node, now: Timestamp) {
        let mut outbox = node.outbox();
        let queued = &mut outbox.lanes;
        let mut acquires = std::mem::take(&mut queued.acquires);
        let mut extensions = std::mem::take(&mut queued.extensions);
        let mut queries = std::mem::take(&mut queued.queries);
        for lanes in [&mut *queued, &mut *staged] {
            // Nobody waits for these: the next renewal asks again.
            lanes.top_ups.clear();
            lanes.watches.clear();
            // Whoever waits in line looks again by itself.
            lanes.confirms.clear();
            lanes.enters.clear();
            lanes.pokes.clear();
        }
        let left = queued.len();
        outbox.bytes = 0;
        node.queued.store(left, std::sync::atomic::Ordering::Relaxed);
        drop(outbox);
        acquires.append(&mut staged.acquires);
        extensions.append(&mut staged.extensions);
        queries.append(&mut staged.queries);
        count(&node.counters.withdrawn, acquires.len() as u64);
        for op in acquires {
            op.vote(node.index, Vote::NotSent, now);
        }
        for extension in extensions {
            extension.op.vote_extend(node.index, Vote::NotSent, extension.round);
        }
        for query in queries {
            query.fail(node.index);
        }
    }

    /// The connection died: every command in flight is *unknown*; what is owed comes back.
    pub(crate) fn bury(
        pipeline: &mut Pipeline<Item>,
        sealed: &mut Sealed,
        node: &Node,
        now: Timestamp,
    ) -> VecDeque<Owed> {
        let mut owed = VecDeque::new();
        let mut bury = |item: Item| {
            unknown(&item, node, now);
            match item {
                // Whoever ends an open or a won round covers its unknown nodes; an ended one
                // has nobody left to do it.
                // A ticket's release goes to every node that it was shown to, whatever they said.
                Item::Confirm(_) | Item::Enter(_) => {}
                Item::Acquire(op) => {
                    let phase = op.acquire_tally().phase();
                    if matches!(phase, Phase::Lost | Phase::Abandoned) {
                        op.owe_until(now.plus(op.ttl).plus(OWED_GRACE));
                        owed.push_back(Owed::new(op));
                    }
                }
                Item::TopUp(top_up) => {
                    let op = top_up.op;
                    if op.acquire_tally().phase() == Phase::Released {
                        op.owe_until(now.plus(op.ttl).plus(OWED_GRACE));
                        owed.push_back(Owed::new(op));
                    }
                }
                Item::Release(release) => owed.push_back(release),
                Item::Extend(_) | Item::Query(_) | Item::Watch(_) => {}
            }
        };
        // Granted, but without a seal: that is no answer.
        while let Some((item, _)) = sealed.pop() {
            bury(item);
        }
        pipeline.drain(|_, item| bury(item));
        owed
    }
}

fn unknown(item: &Item, node: &Node, now: Timestamp) {
    match item {
        Item::Acquire(op) | Item::Confirm(op) => {
            op.vote(node.index, Vote::Unknown, now);
            if op.ticket.is_some() {
                op.waker.wake();
            }
        }
        Item::Extend(extension) => {
            extension.op.vote_extend(node.index, Vote::Unknown, extension.round);
        }
        Item::Query(query) => query.fail(node.index),
        Item::Release(owed) => owed.op.vote_release(node.index, Vote::Unknown),
        // It may have got its place: it keeps waiting, and is shown again.
        Item::Enter(_) | Item::TopUp(_) | Item::Watch(_) => {}
    }
}
