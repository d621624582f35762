//! One proxy: its listener, its rules, its connections.

use std::io;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::link::carry;
use super::race::{First, first};
use super::socket::{Listener, Socket};
use super::{Door, Regime};
use crate::cluster::url::Address;

/// Connections through one proxy at once; beyond every use here.
const MOST_LINKS: usize = 4_096;
/// Attempts to listen again at a port of ours, and the pause between two: 2 s together.
const BIND_ATTEMPTS: usize = 100;
const BIND_PAUSE: Duration = Duration::from_millis(20);
/// After an accept that failed, as it does without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A change of rules, and whom to tell that it holds.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) regime: Regime,
    pub(super) done: SyncSender<io::Result<()>>,
}

#[derive(Debug)]
pub(super) struct Post {
    at: Address,
    node: Address,
    commands: mpsc::Receiver<Command>,
    listener: Option<Listener>,
    regime: watch::Sender<Regime>,
    links: JoinSet<()>,
    accepted: u64,
}

impl Post {
    pub(super) fn new(at: Address, node: Address, commands: mpsc::Receiver<Command>) -> Self {
        let regime = watch::Sender::new(Regime::default());
        let links = JoinSet::new();
        Self { at, node, commands, listener: None, regime, links, accepted: 0 }
    }

    /// Runs until nobody can command it any more; its connections end with it.
    pub(super) async fn run(mut self) {
        loop {
            let (listener, commands) = (&self.listener, &mut self.commands);
            let accept = async move {
                match listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            match first(commands.recv(), accept).await {
                First::Left(None) => return,
                First::Left(Some(Command { regime, done })) => {
                    let _ = done.send(self.apply(regime).await);
                }
                First::Right(Ok(socket)) => self.welcome(socket),
                First::Right(Err(_)) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
            while self.links.try_join_next().is_some() {}
        }
    }

    async fn apply(&mut self, regime: Regime) -> io::Result<()> {
        if regime.rules.door == Door::Closed {
            self.listener = None;
        }
        self.regime.send_replace(regime);
        if regime.rules.door == Door::Closed || self.listener.is_some() {
            return Ok(());
        }
        let mut bound = Listener::bind(&self.at).await;
        for _ in 1..BIND_ATTEMPTS {
            if bound.is_ok() {
                break;
            }
            tokio::time::sleep(BIND_PAUSE).await;
            bound = Listener::bind(&self.at).await;
        }
        self.listener = Some(bound?);
        Ok(())
    }

    fn welcome(&mut self, socket: Box<dyn Socket>) {
        let Regime { rules, generation } = *self.regime.borrow();
        if rules.door == Door::Reset || self.links.len() >= MOST_LINKS {
            return socket.abort();
        }
        self.accepted += 1;
        let (node, regime) = (self.node.clone(), self.regime.subscribe());
        self.links.spawn(carry(socket, node, regime, generation, self.accepted));
    }
}
