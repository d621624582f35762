//! The open clients, what they track and listen to, and the pushes that wait for them.
//!
//! The server's default mode: a key that a client read is pushed to it once, when it is written,
//! removed or found expired. Broadcast mode is accepted and pushes nothing but flushes. Keys of
//! different databases are one key here, as on the server.
//!
//! Invariants:
//! 1. At most [`KEYS_MAX`] keys are tracked; the first makes room for another, with a push.
//! 2. At most [`PENDING_MAX`] bytes wait for a client; one with more is closed.

use std::collections::{BTreeMap, BTreeSet};

use super::reply::Reply;
use super::store::Change;

/// What CLIENT TRACKING was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tracking {
    pub(super) on: bool,
    pub(super) broadcast: bool,
    pub(super) no_loop: bool,
    pub(super) opt_in: bool,
    pub(super) opt_out: bool,
}

/// One open connection, as the others see it.
#[derive(Debug, Default)]
pub(super) struct Client {
    addr: String,
    /// The node's end, if that is known.
    laddr: Option<String>,
    pub(super) resp3: bool,
    pub(super) tracking: Tracking,
    /// What it listens to.
    pub(super) channels: BTreeSet<Box<[u8]>>,
    pending: Vec<u8>,
    /// Messages of its own command, in front of that command's reply.
    own: Vec<u8>,
}

/// Every open connection, and who read which key.
#[derive(Debug, Default)]
pub(super) struct Clients {
    open: BTreeMap<u64, Client>,
    ever: u64,
    readers: BTreeMap<Box<[u8]>, BTreeSet<u64>>,
    /// Whether a push was queued since it was last asked.
    pushed: bool,
}

impl Clients {
    pub(super) fn connect(&mut self, addr: &str, own: Option<&str>) -> u64 {
        self.ever += 1;
        let (addr, laddr) = (addr.to_owned(), own.map(str::to_owned));
        let client = Client { addr, laddr, ..Client::default() };
        self.open.insert(self.ever, client);
        self.ever
    }

    /// Both ends of the connection, if they are known.
    pub(super) fn ends(&self, id: u64) -> Option<(&str, &str)> {
        self.open.get(&id).and_then(|client| Some((&*client.addr, client.laddr.as_deref()?)))
    }

    pub(super) fn disconnect(&mut self, id: u64) {
        self.open.remove(&id);
    }

    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.readers.clear();
    }

    pub(super) fn is_open(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Closes the clients that `keep` refuses, by their ids and addresses.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(u64, &str) -> bool) {
        self.open.retain(|id, client| keep(*id, &client.addr));
    }

    pub(super) fn update(&mut self, id: u64, change: impl FnOnce(&mut Client)) {
        if let Some(client) = self.open.get_mut(&id) {
            change(client);
        }
    }

    /// Moves the client's pushes to its output.
    pub(super) fn deliver(&mut self, id: u64, output: &mut Vec<u8>) {
        if let Some(client) = self.open.get_mut(&id) {
            output.append(&mut client.pending);
        }
    }

    /// Puts the messages of the client's own command in front of its reply, which begins at `at`.
    pub(super) fn deliver_own(&mut self, id: u64, output: &mut Vec<u8>, at: usize) {
        if let Some(client) = self.open.get_mut(&id).filter(|client| !client.own.is_empty()) {
            output.splice(at..at, client.own.drain(..));
        }
    }

    pub(super) fn channels_of(&mut self, id: u64) -> Option<&mut BTreeSet<Box<[u8]>>> {
        self.open.get_mut(&id).map(|client| &mut client.channels)
    }

    /// Whether the client may do nothing but listen.
    pub(super) fn is_all_ears(&self, id: u64) -> bool {
        self.open.get(&id).is_some_and(|client| !client.resp3 && !client.channels.is_empty())
    }

    /// Tells every client what `word` has for it; `by` is whose command it is.
    pub(super) fn deliver_to<W: FnOnce(&mut Reply<'_>)>(
        &mut self,
        by: u64,
        mut word: impl FnMut(&Client) -> Option<W>,
    ) {
        for (id, client) in &mut self.open {
            if let Some(write) = word(client) {
                let out = if *id == by { &mut client.own } else { &mut client.pending };
                write(&mut Reply::new(out, client.resp3));
                self.pushed |= *id != by;
            }
        }
        self.close_the_overfull();
    }

    /// Whether a push was queued since the last call.
    pub(super) fn take_pushed(&mut self) -> bool {
        std::mem::take(&mut self.pushed)
    }

    /// The client has read this key.
    pub(super) fn track(&mut self, id: u64, key: &[u8]) {
        if !self.readers.contains_key(key) && self.readers.len() >= KEYS_MAX {
            // Invariant 1.
            if let Some((first, readers)) = self.readers.pop_first() {
                self.push(readers, &first, None);
            }
        }
        self.readers.entry(key.into()).or_default().insert(id);
    }

    /// Whether any key is tracked.
    pub(super) fn watch(&self) -> bool {
        !self.readers.is_empty()
    }

    /// Pushes a changed key to those who read it; `by` is who changed it.
    pub(super) fn announce(&mut self, change: &Change, by: Option<u64>) {
        if let Some(readers) = self.readers.remove(&change.key) {
            self.push(readers, &change.key, by.filter(|_| !change.expired));
        }
    }

    /// Pushes to all who track anything that every key is gone.
    pub(super) fn announce_flush(&mut self) {
        self.readers.clear();
        for client in self.open.values_mut().filter(|client| client.tracking.on) {
            self.pushed |= client.push(None);
        }
        self.close_the_overfull();
    }

    fn push(&mut self, readers: BTreeSet<u64>, key: &[u8], by: Option<u64>) {
        for id in readers {
            let Some(client) = self.open.get_mut(&id) else { continue };
            let tracking = client.tracking;
            let wanted = tracking.on && !tracking.broadcast;
            if wanted && !(tracking.no_loop && by == Some(id)) {
                self.pushed |= client.push(Some(key));
            }
        }
        self.close_the_overfull();
    }

    // Invariant 2.
    fn close_the_overfull(&mut self) {
        let waiting = |client: &Client| client.pending.len() + client.own.len();
        self.open.retain(|_, client| waiting(client) <= PENDING_MAX);
    }
}

#[cfg(test)]
impl super::NodeCore {
    /// Who read what is forgotten, and nobody is told.
    pub(crate) fn forget_tracked(&mut self) {
        self.clients.readers.clear();
    }
}

impl Client {
    /// Whether there is something to send: RESP2 has no pushes.
    fn push(&mut self, key: Option<&[u8]>) -> bool {
        if self.resp3 {
            let mut reply = Reply::new(&mut self.pending, true);
            reply.push(2);
            reply.bulk("invalidate");
            match key {
                Some(key) => {
                    reply.array(1);
                    reply.bulk(key);
                }
                None => reply.null(),
            }
        }
        self.resp3
    }
}

/// The server's default for `tracking-table-max-keys`.
const KEYS_MAX: usize = 1_000_000;
const PENDING_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use crate::testing::{NodeCore, Options};

    #[test]
    fn a_client_that_never_reads_its_pushes_is_closed() {
        let mut node = NodeCore::new(Options::new());
        let (mut deaf, mut other) = (node.connect("deaf:1"), node.connect("other:1"));
        node.exchange(&mut deaf, b"HELLO 3\r\nCLIENT TRACKING ON\r\n");
        let flushes = b"FLUSHALL\r\n".repeat(1_000);
        for round in 0..500 {
            node.exchange(&mut other, &flushes);
            if !node.is_open(&deaf) {
                assert!(round > 50, "closed after {round} thousand pushes");
                return;
            }
        }
        panic!("half a million pushes are kept");
    }
}
