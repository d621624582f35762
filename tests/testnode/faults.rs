//! Each fault switch of the test node, seen through a real socket.

use std::future::Future;
use std::time::Duration;

use redlatch::testing::{Options, TestClock, TestNode, serve};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::timeout;

use crate::wire::frame;

const RELEASE: &str = include_str!("../../src/algorithm/script/release.lua");

/// A client that counts bytes, not replies: tests say what they expect.
struct Client<S>(S);

impl Client<TcpStream> {
    async fn connect(node: &TestNode) -> Self {
        Self(TcpStream::connect(node.addr().unwrap()).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn send(&mut self, line: &str) {
        self.0.write_all(&frame(&line.split(' ').collect::<Vec<_>>())).await.unwrap();
    }

    /// Waits until as many bytes as `expected` has were received; they must be those.
    async fn expect(&mut self, expected: &str) {
        let mut received = vec![0; expected.len()];
        let all = within(self.0.read_exact(&mut received)).await;
        let received = String::from_utf8_lossy(&received).into_owned();
        assert!(all.is_ok(), "wanted {expected:?}, connection ended after {received:?}");
        assert_eq!(received, expected);
    }

    async fn ask(&mut self, line: &str, expected: &str) {
        self.send(line).await;
        self.expect(expected).await;
    }

    /// The connection ends and nothing comes before that.
    async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A reset is as good an end as a close.
        let _ = within(self.0.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"", "bytes before the end");
    }
}

/// Nothing here takes long; what does is stuck.
async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.expect("an answer within 10 s")
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..5_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("waited 10 s for {what}");
}

/// Gives a node that wrongly acts the time to do so; a right one does nothing meanwhile.
async fn chance_to_fail() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

/// The node's epoch.
async fn epoch<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>) -> String {
    client.ask("GET redlatch:epoch", "$16\r\n").await;
    let mut id = [0; 18];
    within(client.0.read_exact(&mut id)).await.unwrap();
    String::from_utf8(id[..16].to_vec()).unwrap()
}

fn keys(node: &TestNode) -> Vec<String> {
    node.snapshot().into_iter().map(|key| String::from_utf8(key.key).unwrap()).collect()
}

#[tokio::test]
async fn many_connections_share_the_data() {
    let node = TestNode::start().await.unwrap();
    assert_eq!(node.url(), format!("redis://{}", node.addr().unwrap()));
    let (mut one, mut two) = (Client::connect(&node).await, Client::connect(&node).await);
    // A pipeline whose last command arrives in two parts.
    one.0.write_all(b"SET a 1 NX PX 60000\r\nSET a 2 NX PX 60000\r\nGE").await.unwrap();
    one.expect("+OK\r\n$-1\r\n").await;
    one.0.write_all(b"T a\r\n").await.unwrap();
    one.expect("$1\r\n1\r\n").await;
    two.ask("GET a", "$1\r\n1\r\n").await;
    two.ask("SELECT 3", "+OK\r\n").await;
    two.ask("GET a", "$-1\r\n").await;
    two.ask("SET b 2", "+OK\r\n").await;
    let snapshot = node.snapshot();
    let shown: Vec<_> = snapshot.iter().map(|key| (key.db, &*key.key, &*key.value)).collect();
    assert_eq!(shown, [(0, b"a".as_slice(), b"1".as_slice()), (3, b"b", b"2")]);
    let left = snapshot[0].ttl.unwrap();
    assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(30), "{left:?}");
    assert_eq!(snapshot[1].ttl, None);
    let counts = node.commands();
    assert_eq!((counts["set"], counts["get"], counts.get("del")), (3, 3, None));
    assert_eq!(node.connections(), 2);
    drop(two);
    until("the node to notice the client's end", || node.connections() == 1).await;
}

#[tokio::test]
async fn a_stalled_node_executes_late_with_the_whole_ttl() {
    let node = TestNode::start().await.unwrap();
    let clock = TestClock::manual(1_000_000);
    node.set_clock(clock.clone());
    let mut client = Client::connect(&node).await;
    client.ask("SET early me PX 100", "+OK\r\n").await;
    node.stall(true);
    let mut late = Client::connect(&node).await;
    client.send("SET a me NX PX 100").await;
    late.send("SET b me NX PX 100").await;
    chance_to_fail().await;
    assert_eq!((keys(&node), node.commands()["set"]), (vec!["early".to_owned()], 1));
    clock.advance(Duration::from_secs(3_600));
    node.stall(false);
    client.expect("+OK\r\n").await;
    late.expect("+OK\r\n").await;
    let ttls: Vec<_> = node.snapshot().into_iter().map(|key| key.ttl.unwrap()).collect();
    assert_eq!((keys(&node).len(), ttls), (2, vec![Duration::from_millis(100); 2]));
}

#[tokio::test]
async fn dropped_replies_belong_to_executed_commands() {
    let node = TestNode::start().await.unwrap();
    let (mut client, mut idle) = (Client::connect(&node).await, Client::connect(&node).await);
    client.ask("PING", "+PONG\r\n").await;
    idle.ask("PING", "+PONG\r\n").await;
    node.drop_replies(true);
    client.send("SET a me NX PX 60000").await;
    until("the SET to be executed", || keys(&node) == ["a"]).await;
    chance_to_fail().await;
    node.drop_replies(false);
    // Its next reply would be taken for the lost one.
    client.expect_end().await;
    idle.ask("GET a", "$2\r\nme\r\n").await;
}

#[tokio::test]
async fn dropped_connections_end_and_new_ones_work() {
    let node = TestNode::start().await.unwrap();
    let (mut client, mut idle) = (Client::connect(&node).await, Client::connect(&node).await);
    client.ask("SET a me", "+OK\r\n").await;
    idle.ask("PING", "+PONG\r\n").await;
    node.stall(true);
    client.send("SET never me").await;
    node.drop_connections();
    assert_eq!(node.connections(), 0);
    node.stall(false);
    client.expect_end().await;
    idle.expect_end().await;
    Client::connect(&node).await.ask("GET a", "$2\r\nme\r\n").await;
    assert_eq!(keys(&node), ["a"], "what was not executed never is");
}

#[tokio::test]
async fn a_client_that_does_not_read_can_be_dropped_and_holds_little() {
    let node = TestNode::start().await.unwrap();
    let mut client = Client::connect(&node).await;
    let value = "x".repeat(100_000);
    client.ask(&format!("SET a {value}"), "+OK\r\n").await;
    // 400 MB of replies: far more than the sockets' buffers.
    let asks = frame(&["GET", "a"]).repeat(4_000);
    client.0.write_all(&asks).await.unwrap();
    until("the first replies", || node.commands().contains_key("get")).await;
    chance_to_fail().await;
    assert!(node.commands()["get"] < 400, "{} executed ahead", node.commands()["get"]);
    node.drop_connections();
    // Still without reading: the node's writing must not wait for that.
    within(async { while client.0.write_all(&asks).await.is_ok() {} }).await;
}

#[tokio::test]
async fn a_refusing_node_keeps_its_clients_and_takes_no_others() {
    let node = TestNode::start().await.unwrap();
    let mut client = Client::connect(&node).await;
    client.ask("PING", "+PONG\r\n").await;
    node.refuse(true);
    let mut refused = Client::connect(&node).await;
    refused.expect_end().await;
    client.ask("PING", "+PONG\r\n").await;
    node.refuse(false);
    Client::connect(&node).await.ask("PING", "+PONG\r\n").await;
}

#[tokio::test]
async fn amnesia_takes_data_scripts_and_connections() {
    let node = TestNode::start().await.unwrap();
    let mut client = Client::connect(&node).await;
    client.ask("SET a me", "+OK\r\n").await;
    client.0.write_all(&frame(&["SCRIPT", "LOAD", RELEASE])).await.unwrap();
    let mut digest = [0; 47];
    within(client.0.read_exact(&mut digest)).await.unwrap();
    let digest = std::str::from_utf8(&digest[5..45]).unwrap();
    client.ask(&format!("EVALSHA {digest} 1 none me"), "$1\r\nm\r\n").await;
    let run_id = node.run_id();
    assert_eq!(run_id.len(), 40);
    assert_ne!(TestNode::start().await.unwrap().run_id(), run_id, "two nodes are two servers");
    node.forget();
    client.expect_end().await;
    let mut client = Client::connect(&node).await;
    client.ask("DBSIZE", ":0\r\n").await;
    let no_script = "-NOSCRIPT No matching script. Please use EVAL.\r\n";
    client.ask(&format!("EVALSHA {digest} 1 none me"), no_script).await;
    assert_ne!(node.run_id(), run_id);
    client.send("INFO server").await;
    let mut text = vec![0; 300];
    let count = within(client.0.read(&mut text)).await.unwrap();
    let text = String::from_utf8_lossy(&text[..count]).into_owned();
    assert!(text.contains(&format!("run_id:{}\r\n", node.run_id())), "{text}");
}

#[tokio::test]
async fn a_fresh_node_has_an_open_epoch_that_amnesia_and_flushes_take() {
    let node = TestNode::start().await.unwrap();
    let mut client = Client::connect(&node).await;
    let first = epoch(&mut client).await;
    client.ask("SELECT 7", "+OK\r\n").await;
    assert_eq!(epoch(&mut client).await, first, "open in every database");
    client.ask("DBSIZE", ":2\r\n").await;
    assert_eq!(keys(&node), [""; 0], "the engine's records are no locks");
    let other = TestNode::start().await.unwrap();
    assert_ne!(epoch(&mut Client::connect(&other).await).await, first);

    client.ask("SET a me", "+OK\r\n").await;
    let ids = (node.run_id(), node.replid());
    node.restart_keeping_data();
    client.expect_end().await;
    assert!(node.run_id() != ids.0 && node.replid() != ids.1);
    assert_eq!(keys(&node), ["a"]);
    let mut client = Client::connect(&node).await;
    assert_eq!(epoch(&mut client).await, first);

    let ids = (node.run_id(), node.replid());
    node.demote();
    client.ask("SET a me", "-READONLY You can't write against a read only replica.\r\n").await;
    node.promote();
    client.ask("SET a me", "+OK\r\n").await;
    assert!(node.run_id() == ids.0 && node.replid() != ids.1, "a new history of the same process");

    node.flush();
    client.ask("GET redlatch:epoch", "$-1\r\n").await;
    other.forget();
    Client::connect(&other).await.ask("GET redlatch:epoch", "$-1\r\n").await;
}

#[tokio::test]
async fn messages_reach_a_client_that_waits() {
    let node = TestNode::start().await.unwrap();
    let (mut waiting, mut other) = (Client::connect(&node).await, Client::connect(&node).await);
    waiting.ask("SUBSCRIBE c", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n").await;
    other.ask("PUBLISH c hello", ":1\r\n").await;
    waiting.expect("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n").await;
    drop(waiting);
    until("the node to notice the client's end", || node.connections() == 1).await;
    other.ask("PUBLISH c hello", ":0\r\n").await;
}

#[tokio::test]
async fn pushes_reach_a_client_that_waits() {
    let node = TestNode::start().await.unwrap();
    let clock = TestClock::manual(0);
    node.set_clock(clock.clone());
    let (mut waiting, mut other) = (Client::connect(&node).await, Client::connect(&node).await);
    let hello = b"HELLO 3\r\nCLIENT TRACKING ON OPTIN NOLOOP\r\nPING ready\r\n";
    waiting.0.write_all(hello).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"$5\r\nready\r\n") {
        seen.push(within(waiting.0.read_u8()).await.unwrap());
    }
    other.ask("SET a you PX 100", "+OK\r\n").await;
    let pushed = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";
    for change in ["DEL a", "SET a me PX 100", "PTTL a"] {
        waiting.ask("CLIENT CACHING YES", "+OK\r\n").await;
        waiting.send("PTTL a").await;
        let mut answer = [0; 4];
        within(waiting.0.read_exact(&mut answer)).await.unwrap();
        if answer == *b":100" {
            waiting.expect("\r\n").await;
        } else {
            assert_eq!(&answer, b":-2\r");
            waiting.expect("\n").await;
        }
        if change == "PTTL a" {
            clock.advance(Duration::from_millis(101));
        }
        other.send(change).await;
        waiting.expect(pushed).await;
    }
    node.flush();
    waiting.expect(">2\r\n$10\r\ninvalidate\r\n_\r\n").await;
}

#[tokio::test]
async fn error_faults_hit_data_commands_alone_and_do_nothing_else() {
    let node = TestNode::start().await.unwrap();
    let mut client = Client::connect(&node).await;
    node.fail_next(2, "LOADING wait\r\n+OK");
    client.ask("PING", "+PONG\r\n").await;
    client.ask("SET a me", "-LOADING wait  +OK\r\n").await;
    assert_eq!(epoch(&mut client).await.len(), 16, "the faults are for locks");
    client.ask("EVALSHA x 0", "-LOADING wait  +OK\r\n").await;
    assert_eq!(keys(&node), [""; 0]);
    node.fail_with(Some("-OOM full"));
    client.ask("SET a me", "-OOM full\r\n").await;
    client.ask("SET a", "-ERR wrong number of arguments for 'set' command\r\n").await;
    node.fail_with(None);
    client.ask("SET a me", "+OK\r\n").await;
    assert_eq!(node.commands()["set"], 3);
}

#[tokio::test]
async fn keys_expire_by_the_nodes_own_clock() {
    let node = TestNode::start().await.unwrap();
    let clock = TestClock::manual(0);
    node.set_clock(clock.clone());
    let mut client = Client::connect(&node).await;
    client.ask("SET a me PX 100", "+OK\r\n").await;
    clock.advance(Duration::from_millis(100));
    client.ask("PTTL a", ":0\r\n").await;
    client.ask("SET a you NX PX 100", "$-1\r\n").await;
    clock.rewind(Duration::from_millis(40));
    client.ask("PTTL a", ":40\r\n").await;
    clock.advance(Duration::from_millis(41));
    client.ask("SET a you NX PX 100", "+OK\r\n").await;
    client.ask("TIME", "*2\r\n$1\r\n0\r\n$6\r\n101000\r\n").await;
}

#[tokio::test]
async fn client_kill_closes_the_other_connection() {
    let node = TestNode::start().await.unwrap();
    let (mut old, mut new) = (Client::connect(&node).await, Client::connect(&node).await);
    old.ask("CLIENT ID", ":1\r\n").await;
    new.ask("CLIENT ID", ":2\r\n").await;
    let wrong_addr = "CLIENT KILL ID 1 ADDR 127.0.0.1:1";
    new.ask(wrong_addr, ":0\r\n").await;
    let addr = old.0.local_addr().unwrap();
    new.ask(&format!("CLIENT KILL ID 1 ADDR {addr}"), ":1\r\n").await;
    old.expect_end().await;
    new.ask("CLIENT KILL ID 2 SKIPME yes", ":0\r\n").await;
    new.ask("CLIENT KILL ID 2 SKIPME no", ":1\r\n").await;
    new.expect_end().await;
}

#[tokio::test]
async fn a_stopped_nodes_address_can_be_bound_again() {
    let node = TestNode::start().await.unwrap();
    let addr = node.addr().unwrap();
    let mut client = Client::connect(&node).await;
    client.ask("SET a me", "+OK\r\n").await;
    node.stop().await;
    let node = TestNode::start_on(addr).await.unwrap();
    client.expect_end().await;
    Client::connect(&node).await.ask("GET a", "$-1\r\n").await;
}

#[tokio::test]
async fn a_unix_node_removes_its_socket() {
    let path = std::env::temp_dir().join(format!("redlatch-testnode-{}.sock", std::process::id()));
    let node = TestNode::start_unix(&path).unwrap();
    assert_eq!((node.url(), node.addr()), (format!("unix://{}", path.display()), None));
    let mut client = Client(UnixStream::connect(&path).await.unwrap());
    client.ask("PING", "+PONG\r\n").await;
    drop(node);
    client.expect_end().await;
    assert!(!path.exists());
}

/// `serve` as the body of a process: options apply, and dropping it ends the connections.
#[tokio::test]
async fn a_served_node_has_its_options() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let options = Options::new().password("pw").delifeq(true).delex(true).max_memory(100);
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(serve(listener, options));
    let mut client = Client(TcpStream::connect(addr).await.unwrap());
    client.ask("GET a", "-NOAUTH Authentication required.\r\n").await;
    client.ask("AUTH pw", "+OK\r\n").await;
    client.ask("SET a me", "+OK\r\n").await;
    client.ask("SET b me", "+OK\r\n").await;
    let out_of_memory = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    client.ask("SET c me", out_of_memory).await;
    client.ask("DELIFEQ a you", ":0\r\n").await;
    client.ask("DELIFEQ a me", ":1\r\n").await;
    client.ask("DELIFEQ a me", ":0\r\n").await;
    client.ask("DELEX b IFEQ you", ":0\r\n").await;
    client.ask("DELEX b IFEQ me", ":1\r\n").await;
    client.ask("SET c me", "+OK\r\n").await;
    client.ask("COMMAND INFO msetex", "*1\r\n$-1\r\n").await;
    client.ask("COMMAND INFO delex", "*1\r\n*10\r\n$5\r\ndelex\r\n").await;
    serving.shutdown().await;
    let mut rest = Vec::new();
    let _ = within(client.0.read_to_end(&mut rest)).await;
    assert!(TcpStream::connect(addr).await.is_err());
}

/// Bytes of another protocol, or of none, end the connection and nothing else.
#[tokio::test]
async fn garbage_ends_only_its_own_connection() {
    let node = TestNode::start().await.unwrap();
    let mut good = Client::connect(&node).await;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..50 {
        let mut bad = Client::connect(&node).await;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .take(4_000)
        .collect();
        // The node may hang up before it has read everything.
        let _ = bad.0.write_all(&noise).await;
        let _ = bad.0.write_all(b"\r\n*1\r\nGET / HTTP/1.1\r\n").await;
        let mut rest = Vec::new();
        let _ = within(bad.0.read_to_end(&mut rest)).await;
        good.ask("PING", "+PONG\r\n").await;
    }
    assert_eq!(keys(&node), [""; 0]);
}
