//! The whole client over in-memory streams and paused time, under every order of events that a
//! generator comes up with: callers that leave, guards that go, nodes that stall, links that break.

use std::collections::HashSet;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::*;
use crate::algorithm::script;
use crate::engine::clock::Clock;
use crate::net::{Dialing, Transport};
use crate::request::AcquireFuture;
use crate::testing::{NodeCore, Options, Session, TestClock};
use crate::{Handoff, Renewal};

mod availability;
mod faults;
mod handoff;
mod net;
mod queue;
mod refusals;
mod rules;
mod scenarios;
mod watched;

/// One node: its data, its links, and every command in the order in which it was executed.
struct Peer {
    core: NodeCore,
    links: Vec<Link>,
    executed: Vec<Vec<Vec<u8>>>,
}

struct Link {
    stream: DuplexStream,
    session: Session,
    input: Vec<u8>,
    output: Vec<u8>,
}

#[derive(Clone)]
struct Memory(Arc<Vec<Mutex<Peer>>>, TestClock);

impl Memory {
    fn pump(&self) {
        self.0.iter().for_each(|peer| peer.lock().unwrap().pump());
    }

    /// The client's clock first: the nodes never run ahead of it.
    async fn advance(&self, span: Duration) {
        tokio::time::advance(span).await;
        self.1.advance(span);
    }

    /// Everybody does what there is to do, again and again, for `span`.
    async fn run(&self, span: Duration) {
        const STEP: Duration = Duration::from_millis(1);
        for _ in 0..=span.as_millis() {
            settle().await;
            self.pump();
            self.advance(STEP).await;
        }
        settle().await;
    }

    /// Commands of this name that the nodes have executed.
    fn executed(&self, name: &[u8]) -> usize {
        let count = |peer: &Mutex<Peer>| {
            let peer = peer.lock().unwrap();
            peer.executed.iter().filter(|command| command[0] == name).count()
        };
        self.0.iter().map(count).sum()
    }
}

impl Transport for Memory {
    type Stream = DuplexStream;

    fn dial(&self, endpoint: &Endpoint) -> Dialing<DuplexStream> {
        let node: usize = endpoint.to_string()["redis://node".len()..][..1].parse().unwrap();
        // Small, so that writes are cut anywhere, and a node that is not pumped blocks soon.
        let (ours, theirs) = tokio::io::duplex(400);
        let mut peer = self.0[node].lock().unwrap();
        let session = peer.core.connect("memory:0");
        let link = Link { stream: theirs, session, input: Vec::new(), output: Vec::new() };
        peer.links.push(link);
        Box::pin(async move { io::Result::Ok(ours) })
    }
}

impl Peer {
    /// Reads what is there, executes it, answers.
    fn pump(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for link in &mut self.links {
            let mut chunk = [0; 512];
            let mut buffer = ReadBuf::new(&mut chunk);
            if let Poll::Ready(Ok(())) = Pin::new(&mut link.stream).poll_read(&mut cx, &mut buffer)
            {
                link.input.extend_from_slice(buffer.filled());
                link.session.receive(buffer.filled());
            }
            while let Some((command, len)) = parse(&link.input) {
                link.input.drain(..len);
                self.executed.push(command);
            }
            self.core.run(&mut link.session, &mut link.output);
            while !link.output.is_empty() {
                match Pin::new(&mut link.stream).poll_write(&mut cx, &link.output) {
                    Poll::Ready(Ok(bytes)) => drop(link.output.drain(..bytes)),
                    _ => break,
                }
            }
        }
    }
}

/// The first command of `bytes`, and its length.
fn parse(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let number = |at: &mut usize| -> Option<usize> {
        let rest = bytes.get(*at..)?;
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let value = std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
        *at += end + 2;
        Some(value)
    };
    let count = number(&mut at)?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let len = number(&mut at)?;
        parts.push(bytes.get(at..at + len)?.to_vec());
        at += len + 2;
    }
    (at <= bytes.len()).then_some((parts, at))
}

fn client(memory: &Memory, handoff: Handoff) -> Redlock {
    let nodes = (0..memory.0.len()).map(|node| format!("redis://node{node}"));
    let builder = Redlock::builder().nodes(nodes).max_inflight(64).handoff(handoff);
    let (endpoints, settings, node_settings) = builder.check().unwrap();
    let engine = start::start(
        &tokio::runtime::Handle::current(),
        memory.clone(),
        Clock::runtime(),
        start::system_random,
        endpoints,
        settings,
        &node_settings,
    );
    Redlock { core: Arc::new(Core { engine: engine.unwrap() }) }
}

fn memory(nodes: usize) -> Memory {
    let clock = TestClock::manual(0);
    let peer = |node: usize| {
        // Each its own process: one that voted twice would be refused.
        let options = Options::new().clock(clock.clone()).seed(node as u64 + 1);
        let core = NodeCore::new(options);
        Mutex::new(Peer { core, links: Vec::new(), executed: Vec::new() })
    };
    Memory(Arc::new((0..nodes).map(peer).collect()), clock)
}

async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

/// A token's key may be set once, and never after a release that names the token.
fn check_order(executed: &[Vec<Vec<u8>>]) {
    let (mut set, mut released) = (HashSet::new(), HashSet::new());
    for command in executed {
        match command[0].as_slice() {
            b"SET" => {
                let token = &command[2];
                assert!(set.insert(token.clone()), "set twice");
                assert!(!released.contains(token), "a release overtook its own SET");
            }
            b"EVALSHA" if command[1] == script::RELEASE.sha.as_bytes() => {
                let keys: usize = std::str::from_utf8(&command[2]).unwrap().parse().unwrap();
                // Its SET may be missing: lost with a connection, and so owed a release.
                released.extend(command[3 + keys..].iter().cloned());
            }
            _ => {}
        }
    }
}

/// A client whose nodes are all up.
async fn started(memory: &Memory, handoff: Handoff) -> Redlock {
    let locks = client(memory, handoff);
    for _ in 0..400 {
        settle().await;
        memory.pump();
    }
    let up = locks.nodes().iter().filter(|node| node.state == NodeState::Up).count();
    assert_eq!(up, memory.0.len());
    locks
}

/// At most one valid lease of each resource; none whose guard has gone, whatever follows.
fn check_leases(guards: &[Guard], past: &[Lease]) {
    let mut held = HashSet::new();
    for guard in guards.iter().filter(|guard| guard.is_valid()) {
        assert!(held.insert(guard.resource().clone()), "two valid leases of {}", guard.resource());
    }
    for lease in past {
        assert!(!lease.is_valid() && lease.remaining().is_zero(), "{lease:?} came back");
        assert!(lease.ensure_valid().is_err());
    }
}

async fn play(actions: &[(u8, u8)]) {
    let memory = memory(3);
    // So few that chains end in every way.
    let locks = started(&memory, Handoff::default().bound(3, Duration::from_millis(40))).await;
    let mut cx = Context::from_waker(Waker::noop());
    let mut futures: Vec<Pin<Box<AcquireFuture<'_>>>> = Vec::new();
    let mut guards: Vec<Guard> = Vec::new();
    let mut past: Vec<Lease> = Vec::new();
    for (action, argument) in actions.iter().copied() {
        let node = usize::from(argument) % 3;
        match action % 15 {
            0 | 1 => {
                let key = format!("key{}", argument % 4);
                let mut request = locks.acquire(key);
                if argument & 16 != 0 {
                    // Less than the nodes' timeout: the deadline cuts rounds short.
                    request = request.wait_for(Duration::from_millis(20));
                }
                if argument & 32 != 0 {
                    request = request.ttl(Duration::from_millis(100));
                }
                if argument & 64 != 0 {
                    request = request.renewal(Renewal::Off);
                }
                let mut future = Box::pin(request.into_future());
                if let Poll::Ready(outcome) = future.as_mut().poll(&mut cx) {
                    guards.extend(outcome);
                } else {
                    futures.push(future);
                }
            }
            2 | 3 => {
                let mut open = Vec::new();
                for mut future in futures.drain(..) {
                    match future.as_mut().poll(&mut cx) {
                        Poll::Ready(outcome) => guards.extend(outcome),
                        Poll::Pending => open.push(future),
                    }
                }
                futures = open;
            }
            4 if !futures.is_empty() => {
                drop(futures.swap_remove(usize::from(argument) % futures.len()));
            }
            5 | 12 if !guards.is_empty() => {
                let guard = guards.swap_remove(usize::from(argument) % guards.len());
                past.push(guard.lease().clone());
                drop(guard);
            }
            6 | 7 => memory.0[node].lock().unwrap().pump(),
            8 | 9 => settle().await,
            10 => memory.advance(Duration::from_millis(u64::from(argument % 64))).await,
            11 if argument % 4 == 0 => memory.0[node].lock().unwrap().links.clear(),
            13 if !guards.is_empty() => {
                let guard = &guards[usize::from(argument) % guards.len()];
                let handed = locks.stats().handed_on;
                let (resource, shown) = (guard.resource().clone(), guard.token());
                assert_ne!(shown, Token::NOBODY);
                if argument & 128 != 0 {
                    let at = guards.iter().position(|guard| guard.token() == shown).unwrap();
                    past.push(guards[at].lease().clone());
                    drop(guards.swap_remove(at));
                    assert_eq!(locks.stats().handed_on, handed, "{resource}: token known outside");
                }
            }
            14 if !guards.is_empty() => {
                let mut release = Box::pin({
                    let guard = guards.swap_remove(usize::from(argument) % guards.len());
                    past.push(guard.lease().clone());
                    guard.release()
                });
                // Waited for or not.
                let _ = release.as_mut().poll(&mut cx);
            }
            _ => {}
        }
        check_leases(&guards, &past);
    }
    past.clear();
    drop(futures);
    drop(guards);
    for _ in 0..400 {
        settle().await;
        memory.pump();
        memory.advance(Duration::from_millis(5)).await;
    }
    for (node, peer) in memory.0.iter().enumerate() {
        let mut peer = peer.lock().unwrap();
        let left = peer.core.snapshot();
        assert!(left.is_empty(), "node {node} still holds {} keys", left.len());
        check_order(&peer.executed);
    }
    let stats = locks.stats();
    assert_eq!((stats.held, stats.waiting), (0, 0));
    assert!(
        locks.engine().fleet.pool.has_no_op_twice(),
        "an op that is in the pool twice is never free"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// DESIGN rules R7, R8 and R12, and the invariant of §3.1: one holder, and no key is left,
    /// whatever happened.
    #[test]
    fn a_release_never_overtakes_its_set_and_no_key_is_left(
        actions in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(&actions));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_granted_over_memory() {
    let memory = memory(3);
    let locks = client(&memory, Handoff::default());
    let mut request = Box::pin(locks.acquire("r").into_future());
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..400 {
        if let Poll::Ready(outcome) = request.as_mut().poll(&mut cx) {
            assert!(outcome.unwrap().is_valid());
            return;
        }
        settle().await;
        memory.pump();
        memory.advance(Duration::from_millis(1)).await;
    }
    panic!("not granted: {:?}", locks.nodes());
}
