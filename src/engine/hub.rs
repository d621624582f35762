//! What the nodes tell this process about its tickets and its locks.
//!
//! Each process listens on a channel of its own. A message is a letter, a token and a lock's key:
//! - `G` the lock is that ticket's, for the ttl that it asks for: a vote of the node that says so,
//!   where the connection proves it (R10', see [`told`](crate::engine::dispatch)), else as `g`;
//! - `g` the lock is reserved for that ticket: confirm it on the node that says so;
//! - `n` that ticket is next behind the one that has just been called: look soon, it may be dead;
//! - `w` somebody waits for a lock of ours: when it is released, it is to be handed on.
//!
//! All but the first is hints (DESIGN §4): a message that is lost, late or made up costs time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;

use crate::algorithm::script;
use crate::engine::node::Lanes;
use crate::engine::op::Op;
use crate::engine::waiters::Waiters;
use crate::time::Timestamp;
use crate::token::Token;

#[derive(Debug)]
pub(crate) struct Hub {
    channel: String,
    key_prefix: String,
    waiters: Arc<Waiters>,
    /// Tickets under way, and leases that came of one, by the lock's key: one per resource.
    tickets: Mutex<HashMap<Vec<u8>, Arc<Op>, RandomState>>,
}

/// How long after it the next in line looks whether the head has confirmed.
const HEAD_GRACE: Duration = Duration::from_millis(script::RESERVATION_MS + 2);

/// Keys of strangers' locks that one node is asked about between two writes.
const POKES_MAX: usize = 64;

impl Hub {
    pub(crate) fn new(process: u64, key_prefix: &str, waiters: Arc<Waiters>) -> Self {
        Self {
            channel: format!("{}{process:016x}", script::CHANNEL_PREFIX),
            key_prefix: key_prefix.to_owned(),
            waiters,
            tickets: Mutex::default(),
        }
    }

    /// This process's channel.
    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// The queues of this process's callers.
    pub(crate) const fn waiters(&self) -> &Arc<Waiters> {
        &self.waiters
    }

    fn tickets(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Arc<Op>, RandomState>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The op's ticket is about to be shown.
    pub(crate) fn enlist(&self, op: &Arc<Op>) {
        self.tickets().insert(op.key().to_vec(), Arc::clone(op));
    }

    /// The op is let go: what is reserved for it from here on is only released (R11).
    pub(crate) fn strike(&self, op: &Op) {
        let mut tickets = self.tickets();
        if tickets.get(op.key()).is_some_and(|known| known.token == op.token) {
            tickets.remove(op.key());
        }
    }

    fn find(&self, key: &[u8], token: &[u8]) -> Option<Arc<Op>> {
        self.tickets().get(key).filter(|op| op.token.as_bytes() == token).map(Arc::clone)
    }

    /// A node sent a message over our channel: what it is to be answered with joins `lanes`. The
    /// ticket whose lock it says to be, if it says so.
    pub(crate) fn hear(
        &self,
        message: &[u8],
        now: Timestamp,
        lanes: &mut Lanes,
    ) -> Option<Arc<Op>> {
        let (letter, rest) = message.split_first()?;
        let (token, key) = rest.split_at_checked(Token::LEN)?;
        match letter {
            b'G' => return self.find(key, token),
            b'g' => lanes.confirm(self.find(key, token)?),
            b'n' => {
                if let Some(op) = self.find(key, token) {
                    op.look_by(now.plus(HEAD_GRACE));
                }
            }
            b'w' => {
                let name = key.strip_prefix(self.key_prefix.as_bytes()).unwrap_or(key);
                // Released in this very moment, by a command that handed nothing on.
                if !self.waiters.is_awaited(name) && lanes.pokes.len() < POKES_MAX {
                    lanes.pokes.push_back(key.to_vec());
                }
            }
            _ => {}
        }
        None
    }

    /// Keys that are waited for may have been released on a node: tickets are shown to it again, in
    /// its next write; who only watches looks for himself.
    pub(crate) fn changed<'a>(
        &self,
        keys: impl Iterator<Item = &'a [u8]>,
        now: Timestamp,
        lanes: &mut Lanes,
    ) {
        let tickets = self.tickets();
        for op in keys.filter_map(|key| tickets.get(key)) {
            if !op.ticket.as_ref().is_some_and(|ticket| ticket.is_queued()) {
                op.look_by(now);
            } else if !lanes.enters.iter().any(|staged| Arc::ptr_eq(staged, op)) {
                lanes.enters.push_back(Arc::clone(op));
            }
        }
    }

    /// A command of ours has released these keys, and handed them on to whom the node knows to be
    /// in line: who only watches looks for himself.
    pub(crate) fn freed<'a>(&self, keys: impl Iterator<Item = &'a [u8]>, now: Timestamp) {
        let tickets = self.tickets();
        let watches = |op: &&Arc<Op>| !op.ticket.as_ref().is_some_and(|ticket| ticket.is_queued());
        keys.filter_map(|key| tickets.get(key)).filter(watches).for_each(|op| op.look_by(now));
    }

    #[cfg(test)]
    pub(crate) fn ticket_for(&self, key: &str) -> Option<Arc<Op>> {
        self.tickets().get(key.as_bytes()).map(Arc::clone)
    }

    #[cfg(test)]
    pub(crate) fn lists_nobody(&self) -> bool {
        self.tickets().is_empty()
    }

    /// Whatever was on a node is gone: everybody looks.
    pub(crate) fn flushed(&self, now: Timestamp) {
        self.tickets().values().for_each(|op| op.look_by(now));
    }
}
