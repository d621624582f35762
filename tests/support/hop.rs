//! A TCP hop between a client and a server, which a test makes slow, deaf, forgetful or broken.
//!
//! Needs `server` as a sibling module. Each connection has two lanes, requests and replies; each
//! lane reads into a queue and writes from it when its [`Flow`] lets it.
//!
//! Invariants:
//! 1. Bytes of a lane arrive in order and without a gap, as TCP has it: a lane that once dropped
//!    something passes nothing more, end of stream included, until its connection is cut.
//! 2. What a client wrote before its connection ended is still delivered: held requests outlive
//!    the client, and the server sees the end of the stream only behind them.
//! 3. A lane queues `QUEUE_MAX` bytes and then stops reading; a hop has `LINKS_MAX` connections.
//! 4. With [`Hop::hide_restarts`] a client keeps its connection over the loss of the server's, but
//!    only when no request lacks its reply: otherwise later replies would answer the wrong ones.
//! 5. Nothing of a hop is left when its value is dropped: no thread, no socket, no claim.
#![allow(dead_code, unreachable_pub, reason = "each including target uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: a failure here is the failure of the test"
)]

#[path = "hop/frames.rs"]
mod frames;
#[path = "hop/relay.rs"]
mod relay;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use super::server::{claim_port, poll_until};
use relay::{Hub, Link, PATIENCE, State, abort, accept_all};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Replies,
}

/// What a lane does with its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Swallows them (invariant 1).
    Drop,
    /// Keeps them until it passes again.
    Hold,
    Pass,
}

/// A listening port in front of a server. A connection counts as present when it was taken, which
/// is certain once a reply came through it and told by [`Hop::accepted`] otherwise.
#[derive(Debug)]
pub struct Hop {
    addr: SocketAddr,
    hub: Arc<Hub>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
    /// Holds the port's flock.
    _claim: File,
}

impl Hop {
    /// Passes everything to `backend`, which need not listen yet.
    pub fn start(backend: SocketAddr) -> Self {
        let (port, claim) = claim_port();
        let state = State {
            backend,
            hides: false,
            last: None,
            flows: [Flow::Pass; 2],
            links: BTreeMap::new(),
            accepted: 0,
            hidden: 0,
        };
        let hub = Arc::new(Hub { state: Mutex::new(state), changed: Condvar::new() });
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let hop = Self { addr, hub, acceptor: Mutex::new(None), _claim: claim };
        hop.accept();
        hop
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `redis://127.0.0.1:port`, without credentials.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// For every connection, those that come later included.
    pub fn set(&self, lane: Lane, flow: Flow) {
        self.hub.lock().flows[lane as usize] = flow;
        self.set_present(lane, flow);
    }

    /// For the connections that exist now. Bytes held and then passed reach the server even when
    /// the client is gone (invariant 2); bytes held and then dropped are lost.
    pub fn set_present(&self, lane: Lane, flow: Flow) {
        let mut state = self.hub.lock();
        for link in state.links.values_mut() {
            link.lanes[lane as usize].set(flow);
        }
        self.hub.changed.notify_all();
    }

    /// Bytes that wait in a lane, over all connections.
    pub fn queued(&self, lane: Lane) -> usize {
        self.hub.lock().links.values().map(|link| link.lanes[lane as usize].bytes.len()).sum()
    }

    /// Requests that were sent and lack their reply, over all connections.
    pub fn pending(&self) -> u64 {
        self.hub.lock().links.values().map(|link| link.pending).sum()
    }

    /// Connections that still have an end, or bytes to deliver.
    pub fn connections(&self) -> usize {
        self.hub.lock().links.len()
    }

    /// Connections taken since the start.
    pub fn accepted(&self) -> u64 {
        self.hub.lock().accepted
    }

    /// Resets both ends of every connection; what is queued is lost. Done when this returns.
    pub fn cut(&self) {
        let mut state = self.hub.lock();
        for link in state.links.values_mut() {
            link.cut();
        }
        let ids: Vec<u64> = state.links.keys().copied().collect();
        drop(state);
        self.hub.changed.notify_all();
        poll_until("the connections to be cut", || {
            let state = self.hub.lock();
            (!ids.iter().any(|id| state.links.contains_key(id))).then_some(())
        });
    }

    /// Resets the clients' ends only: requests that were read are still delivered, now or when
    /// they are no longer held; replies go nowhere.
    pub fn cut_clients(&self) {
        let mut ends = Vec::new();
        for link in self.hub.lock().links.values_mut() {
            if let Some(client) = link.client.take() {
                abort(&client);
                ends.push(Arc::downgrade(&client));
            }
        }
        // Threads that have hold of an end let go of it; the last one to do so resets it.
        poll_until("the clients' ends to close", || {
            ends.iter().all(|end| end.strong_count() == 0).then_some(())
        });
    }

    /// Resets the servers' ends only, as a backend that dies does; does not wait for it.
    pub fn cut_servers(&self) {
        for link in self.hub.lock().links.values() {
            link.server.iter().for_each(|server| abort(server));
        }
    }

    /// Refuses new connections: nothing listens on the port when this returns.
    pub fn refuse(&self) {
        let acceptor = self.acceptor.lock().unwrap().take();
        if let Some(acceptor) = acceptor {
            // Wakes it; those who connected before are served first.
            let mut state = self.hub.lock();
            let last = TcpStream::connect_timeout(&self.addr, PATIENCE).unwrap();
            state.last = Some(last.local_addr().unwrap());
            drop(state);
            acceptor.join().expect("the acceptor does not panic");
        }
    }

    /// Takes connections again after [`Hop::refuse`].
    pub fn accept(&self) {
        let mut acceptor = self.acceptor.lock().unwrap();
        if acceptor.is_none() {
            let listener = TcpListener::bind(self.addr);
            let listener = listener.unwrap_or_else(|error| panic!("bind {}: {error}", self.addr));
            self.hub.lock().last = None;
            let hub = Arc::clone(&self.hub);
            *acceptor = Some(thread::spawn(move || accept_all(&hub, &listener)));
        }
    }

    /// New connections, and those whose server is lost behind the client's back, go there.
    pub fn redirect(&self, backend: SocketAddr) {
        self.hub.lock().backend = backend;
    }

    /// Whether clients keep their connections when the server's end is lost (invariant 4).
    pub fn hide_restarts(&self, hides: bool) {
        self.hub.lock().hides = hides;
    }

    /// How often a connection got another server without its client's knowledge; a restart may
    /// count more than once, because a dying server's port still takes connections for a moment.
    pub fn hidden(&self) -> u64 {
        self.hub.lock().hidden
    }

    /// Runs `change` (which kills, restarts or redirects) so that no client can tell: holds new
    /// requests, waits for the replies to the old ones, and passes on when every connection has a
    /// server again. Panics if a connection is lost or a server does not answer.
    /// Clients see a silence as long as `change` takes, so their timeouts must allow for it.
    pub fn behind_their_backs(&self, change: impl FnOnce()) {
        self.hide_restarts(true);
        self.set(Lane::Requests, Flow::Hold);
        let is_idle = |state: &State| state.links.values().all(Link::is_idle);
        poll_until("every reply to come", || is_idle(&self.hub.lock()).then_some(()));
        change();
        // Whatever they have by now: it may be the old server still, or the backlog of its port.
        let mut epochs = BTreeMap::new();
        for (id, link) in &self.hub.lock().links {
            link.server.iter().for_each(|server| abort(server));
            epochs.insert(*id, link.epoch);
        }
        poll_until("every connection to have a server again", || {
            let state = self.hub.lock();
            let renewed = epochs.iter().all(|(id, epoch)| {
                let link = state.links.get(id).expect("no client closed its connection meanwhile");
                link.epoch > *epoch && link.server.is_some()
            });
            renewed.then_some(())
        });
        self.set(Lane::Requests, Flow::Pass);
        self.hide_restarts(false);
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.refuse();
        self.hide_restarts(false);
        self.cut();
    }
}
