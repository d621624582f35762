//! Addresses at which something else answers, and nodes behind something that damages answers:
//! that node is down and says why, the others go on.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redlatch::testing::TestNode;
use redlatch::{AcquireError, ConnectError, NodeState, Redlock, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::server::Cluster;
use crate::support::{all_up, builder, emptied, ms, test_nodes, until, urls, within};

/// Serves every connection to a port of its own until it is dropped.
struct Fake {
    addr: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Fake {
    async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let served = serve(stream);
                // How a conversation with a client that hangs up ends is nobody's business.
                connections.spawn(async move { drop(served.await) });
            }
        });
        Self { addr, _tasks: tasks }
    }

    /// Answers whatever comes first with these bytes, then closes or falls silent.
    async fn answering(bytes: &'static [u8], closes: bool) -> Self {
        Self::start(move |mut stream| async move {
            let mut input = [0; 4_096];
            let _ = stream.read(&mut input).await?;
            stream.write_all(bytes).await?;
            while !closes && stream.read(&mut input).await? > 0 {}
            Ok(())
        })
        .await
    }
}

/// Two good nodes, the address of a third, and what its reason must say.
async fn is_down_and_told(addr: SocketAddr, told: &[&str]) {
    let nodes = test_nodes(2).await;
    let mut all = urls(&nodes);
    all.insert(1, format!("redis://{addr}"));
    let locks = builder(all).connect_timeout(ms(250)).connect().await.unwrap();
    until("the node to be down", || locks.nodes()[1].state == NodeState::Down).await;
    until("its reason", || locks.nodes()[1].reason.is_some()).await;
    let reason = locks.nodes()[1].reason.clone().unwrap();
    assert!(told.iter().any(|part| reason.contains(part)), "{told:?} not in: {reason}");
    for _ in 0..10 {
        let guard = within(locks.acquire("r")).await.unwrap();
        let vote = &guard.report().votes[1];
        assert_eq!(vote.verdict, Verdict::NotSent);
        within(guard.release()).await.unwrap();
    }
    // The error's report names it as well.
    let others = all_up(builder(urls(&nodes)).connect().await.unwrap()).await;
    let guard = within(others.acquire("r")).await.unwrap();
    until("both grants", || nodes.iter().all(|node| !node.snapshot().is_empty())).await;
    let error = within(locks.try_acquire("r")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Busy { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("redis://{addr}: not sent (")), "{text}");
    assert!(told.iter().any(|part| text.contains(part)), "{told:?} not in: {text}");
    drop(guard);
    emptied(&nodes).await;
    assert_eq!(locks.nodes()[1].connects, 0);
}

#[tokio::test]
async fn an_http_server() {
    let page = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let fake = Fake::answering(page, true).await;
    is_down_and_told(fake.addr, &["speaks HTTP"]).await;
}

#[tokio::test]
async fn a_tls_server() {
    // A fatal alert: protocol version.
    let fake = Fake::answering(b"\x15\x03\x01\x00\x02\x02\x46", true).await;
    is_down_and_told(fake.addr, &["speaks TLS"]).await;
}

#[tokio::test]
async fn a_server_of_garbage() {
    let fake = Fake::answering(b"\xde\xad\xbe\xef\r\n\x00\x01\x02", false).await;
    is_down_and_told(fake.addr, &["no RESP type starts with"]).await;
    let fake = Fake::answering(b"*1000000000\r\n", false).await;
    is_down_and_told(fake.addr, &["1000000000 exceeds the limit"]).await;
    let fake = Fake::answering(b"$99999999999\r\n", false).await;
    is_down_and_told(fake.addr, &["99999999999 exceeds the limit"]).await;
    let fake = Fake::answering(b":not a number\r\n", false).await;
    is_down_and_told(fake.addr, &["a number without digits"]).await;
}

#[tokio::test]
async fn half_a_reply() {
    let fake = Fake::answering(b"%7\r\n$6\r\nserver\r\n$5\r\nre", false).await;
    is_down_and_told(fake.addr, &["no answer to the handshake in time"]).await;
    let fake = Fake::answering(b"%7\r\n$6\r\nserver\r\n$5\r\nre", true).await;
    is_down_and_told(fake.addr, &["closed the connection", "Connection reset"]).await;
}

#[tokio::test]
async fn a_server_that_never_answers_or_hangs_up() {
    let fake = Fake::answering(b"", false).await;
    is_down_and_told(fake.addr, &["no answer to the handshake in time"]).await;
    let fake = Fake::answering(b"", true).await;
    is_down_and_told(fake.addr, &["closed the connection", "Connection reset"]).await;
}

#[tokio::test]
async fn a_server_that_says_ok_to_everything() {
    let fake = Fake::start(|mut stream| async move {
        let mut input = [0; 4_096];
        while stream.read(&mut input).await? > 0 {
            stream.write_all(&b"+OK\r\n".repeat(20)).await?;
        }
        Ok(())
    })
    .await;
    is_down_and_told(fake.addr, &["no Redis server"]).await;
}

#[tokio::test]
async fn a_wrong_password_or_none() {
    let cluster = Cluster::start_with(1, &["requirepass s3cret"]);
    is_down_and_told(cluster[0].addr(), &["requires a password"]).await;

    let nodes = test_nodes(2).await;
    let mut all = urls(&nodes);
    all.push(format!("redis://:hunter2hunter2@{}", cluster[0].addr()));
    let locks = builder(all).connect().await.unwrap();
    until("the refusal", || locks.nodes()[2].state == NodeState::Down).await;
    let reason = locks.nodes()[2].reason.clone().unwrap();
    assert!(reason.contains("refused user and password"), "{reason}");
    nodes[0].refuse(true);
    nodes[0].drop_connections();
    until("the second to be down", || locks.nodes()[0].state == NodeState::Down).await;
    let error = within(locks.try_acquire("r")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::NoQuorum { .. }), "{error}");
    let text = format!("{error} {error:?} {locks:?} {:?}", locks.nodes());
    assert!(text.contains("refused user and password"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_fleet_of_strangers_is_no_fleet() {
    let page = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    let fakes = [Fake::answering(page, true).await, Fake::answering(b"", false).await];
    let all = fakes.iter().map(|fake| format!("redis://{}", fake.addr));
    let error = builder(all).connect_timeout(ms(250)).connect().await.map(drop).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ConnectError::NoQuorum { up: 0, .. }), "{text}");
    assert!(fakes.iter().all(|fake| text.contains(&fake.addr.to_string())), "{text}");
}

/// What happens to the next bytes of a node's answers.
#[derive(Clone, Copy)]
enum Damage {
    /// These bytes are put behind them.
    Append(&'static [u8]),
    /// They become these.
    Replace(&'static [u8]),
    /// Only so many of them get through, then the connection ends.
    Cut(usize),
}

/// A proxy before `node` that damages answers once each time it is told to.
async fn damaging(node: &TestNode, next: &Arc<Mutex<Option<Damage>>>) -> Fake {
    let (upstream, next) = (node.addr().unwrap(), Arc::clone(next));
    Fake::start(move |mut client| {
        let next = Arc::clone(&next);
        async move {
            let mut server = TcpStream::connect(upstream).await?;
            server.set_nodelay(true)?;
            client.set_nodelay(true)?;
            let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
            loop {
                tokio::select! {
                    count = client.read(&mut up) => match count? {
                        0 => return Ok(()),
                        count => server.write_all(&up[..count]).await?,
                    },
                    count = server.read(&mut down) => {
                        let count = count?;
                        let damage = next.lock().unwrap().take();
                        match damage {
                            _ if count == 0 => return Ok(()),
                            None => client.write_all(&down[..count]).await?,
                            Some(Damage::Append(bytes)) => {
                                client.write_all(&[&down[..count], bytes].concat()).await?;
                            }
                            Some(Damage::Replace(bytes)) => client.write_all(bytes).await?,
                            Some(Damage::Cut(most)) => {
                                client.write_all(&down[..most.min(count)]).await?;
                                return Ok(());
                            }
                        }
                    }
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn damaged_answers_poison_the_connection_and_grant_nothing() {
    let nodes = test_nodes(3).await;
    let next = Arc::new(Mutex::new(None));
    let proxy = damaging(&nodes[0], &next).await;
    let mut all = urls(&nodes);
    all[0] = format!("redis://{}", proxy.addr);
    // Without heartbeats, whose answers could be the next ones, or end an array that never ends.
    let minute = Duration::from_secs(60);
    let locks = builder(all).heartbeat_interval(minute).connect().await.unwrap();
    let locks = all_up(locks).await;
    for (damage, told) in [
        (Damage::Append(b"+OK\r\n"), "without a command"),
        (Damage::Append(b"$-1\r\n"), "without a command"),
        (Damage::Replace(b":1\r\n"), "in answer to"),
        (Damage::Replace(b"+PONG\r\n"), "in answer to"),
        (Damage::Replace(b"$2\r\nOK\r\n"), "in answer to"),
        // A grant whose seal shows nothing, another epoch, no script.
        (Damage::Replace(b"+OK\r\n$-1\r\n*1\r\n:1\r\n"), "epoch"),
        (Damage::Replace(b"+OK\r\n$16\r\n0123456789abcdef\r\n*1\r\n:1\r\n"), "epoch"),
        (Damage::Replace(b"\x00\x01\x02\r\n"), ""),
        (Damage::Replace(b"*3\r\n"), ""),
        (Damage::Cut(2), "closed the connection"),
        (Damage::Cut(0), "closed the connection"),
    ] {
        // Nothing on its way: the next answer is the one to the SET.
        until("silence", || locks.stats().in_flight == 0).await;
        let before = locks.nodes()[0].clone();
        *next.lock().unwrap() = Some(damage);
        let guard = within(locks.acquire("r").ttl(Duration::from_secs(60))).await.unwrap();
        assert!(guard.is_valid());
        let is_silent = matches!(damage, Damage::Replace(b"*3\r\n"));
        let reason = told_reason(&locks, before.disconnects).await;
        if is_silent {
            // An array that never ends: given up when no answer came.
            assert!(reason.is_none_or(|reason| reason.contains("no answer")));
        } else if let Some(reason) = reason {
            assert!(reason.contains(told), "{told}: {reason}");
        }
        assert!(next.lock().unwrap().is_none(), "the damage was done");
        // Whatever the damaged answer was: the key goes, on that node too.
        within(guard.release()).await.unwrap();
        until("the node to be back", || {
            let node = &locks.nodes()[0];
            node.state == NodeState::Up && node.connects > before.connects
        })
        .await;
        emptied(&nodes).await;
    }
}

/// Waits for a disconnect: its reason, unless the node is back already.
async fn told_reason(locks: &Redlock, before: u64) -> Option<String> {
    until("the connection to be given up", || locks.nodes()[0].disconnects > before).await;
    locks.nodes()[0].reason.clone()
}
