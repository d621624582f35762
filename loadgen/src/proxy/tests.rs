//! Proxies in front of an echo server: each rule on live and on new connections, bytes that pass
//! whole, and buffers that end.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::clock::{NS_PER_MS, now_ns};

/// Long enough to say that something arrives, on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// Long enough to say that nothing arrives.
const QUIET: Duration = Duration::from_millis(150);

/// A node that answers with what it is sent, and counts that.
fn echo() -> (NodeUrl, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = NodeUrl::tcp(listener.local_addr().unwrap().port());
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            thread::spawn(move || {
                let mut stream = stream;
                let mut buffer = [0; 16 << 10];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    count.fetch_add(n as u64, Ordering::SeqCst);
                    if stream.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, seen)
}

fn connect(url: &NodeUrl) -> TcpStream {
    let Address::Tcp { host, port } = url.address() else { panic!("{url}") };
    let stream = TcpStream::connect((host.as_str(), *port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

struct Rig {
    proxies: Proxies,
    seen: Arc<AtomicU64>,
}

impl Rig {
    fn new() -> Self {
        let (node, seen) = echo();
        Self { proxies: Proxies::start(&[node]).unwrap(), seen }
    }

    fn connect(&self) -> TcpStream {
        connect(&self.proxies.urls()[0])
    }

    /// A connection that has proved to work.
    fn live(&self) -> TcpStream {
        let mut stream = self.connect();
        ask(&mut stream, b"hello").unwrap();
        stream
    }

    fn set(&self, rules: Rules) {
        self.proxies.set(0, rules).unwrap();
    }

    fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    fn sees(&self, bytes: u64) {
        let deadline = now_ns() + 20_000 * NS_PER_MS;
        while self.seen() < bytes {
            assert!(now_ns() < deadline, "{} of {bytes} bytes came", self.seen());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Sends `bytes` and waits for them to come back.
fn ask(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    answer(stream, bytes)
}

fn answer(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    assert_eq!(back, bytes);
    Ok(())
}

fn nothing_comes(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(QUIET)).unwrap();
    let read = stream.read(&mut [0]);
    let error = read.expect_err("something came");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    stream.set_read_timeout(Some(SOON)).unwrap();
}

/// Bytes without a pattern that a shift could hide in.
fn noise(length: usize) -> Vec<u8> {
    let mut random = crate::plan::rng::SplitMix::new(length as u64);
    (0..length.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).take(length).collect()
}

#[test]
fn megabytes_pass_byte_for_byte_in_both_directions_also_with_jitter() {
    let rig = Rig::new();
    let jitter = Rules { delay_ns: 3 * NS_PER_MS, jitter_ns: 3 * NS_PER_MS, ..Rules::default() };
    for (rules, length) in [(Rules::default(), 24 << 20), (jitter, 12 << 20)] {
        rig.set(rules);
        let bytes = noise(length);
        let mut stream = rig.connect();
        let mut sender = stream.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                sender.write_all(&bytes).unwrap();
                sender.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{} of {length} bytes, or others", back.len());
        });
    }
}

#[test]
fn what_is_held_waits_on_live_and_new_connections_and_arrives_afterwards() {
    let rig = Rig::new();
    let mut live = rig.live();
    let before = rig.seen();
    rig.set(Rules { requests: Flow::Hold, replies: Flow::Hold, ..Rules::default() });
    live.write_all(b"late").unwrap();
    let mut new = rig.connect();
    new.write_all(b"also").unwrap();
    nothing_comes(&mut live);
    nothing_comes(&mut new);
    assert_eq!(rig.seen(), before, "nothing reached the node");
    rig.set(Rules::default());
    answer(&mut live, b"late").unwrap();
    answer(&mut new, b"also").unwrap();
}

#[test]
fn dropped_replies_reach_nobody_though_the_node_did_its_work() {
    let rig = Rig::new();
    let (mut live, mut idle) = (rig.live(), rig.live());
    let before = rig.seen();
    rig.set(Rules { replies: Flow::Drop, ..Rules::default() });
    live.write_all(b"12345").unwrap();
    let mut new = rig.connect();
    new.write_all(b"678").unwrap();
    rig.sees(before + 8);
    nothing_comes(&mut live);
    nothing_comes(&mut new);
    rig.set(Rules::default());
    for stream in [&mut live, &mut new] {
        let error = stream.read(&mut [0]).expect_err("a stream with a hole was healed");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    ask(&mut idle, b"nothing of mine was lost").unwrap();
}

#[test]
fn dropped_requests_never_reach_the_node() {
    let rig = Rig::new();
    let mut live = rig.live();
    let before = rig.seen();
    rig.set(Rules { requests: Flow::Drop, ..Rules::default() });
    live.write_all(b"12345").unwrap();
    nothing_comes(&mut live);
    assert_eq!(rig.seen(), before);
    rig.set(Rules::default());
    let error = live.read(&mut [0]).expect_err("a stream with a hole was healed");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    rig.live();
}

#[test]
fn a_delay_is_added_each_way_and_requests_travel_side_by_side() {
    let rig = Rig::new();
    let mut live = rig.live();
    rig.set(Rules { delay_ns: 100 * NS_PER_MS, ..Rules::default() });
    for mut stream in [live.try_clone().unwrap(), rig.connect()] {
        let begin = now_ns();
        ask(&mut stream, b"x").unwrap();
        assert!(now_ns() - begin >= 200 * NS_PER_MS, "{}", now_ns() - begin);
    }
    // 100 of them one after the other would take 20 s.
    let begin = now_ns();
    for n in 0..100_u8 {
        live.write_all(&[n]).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    let all: Vec<u8> = (0..100).collect();
    answer(&mut live, &all).unwrap();
    assert!(now_ns() - begin < 5_000 * NS_PER_MS, "{}", now_ns() - begin);
    rig.set(Rules::default());
    ask(&mut live, b"quick again").unwrap();
}

#[test]
fn bandwidth_bounds_what_passes() {
    let rig = Rig::new();
    let mut live = rig.live();
    rig.set(Rules { bytes_per_s: Some(100_000), ..Rules::default() });
    let begin = now_ns();
    ask(&mut live, &noise(50_000)).unwrap();
    assert!(now_ns() - begin >= 450 * NS_PER_MS, "{}", now_ns() - begin);
    rig.set(Rules::default());
    ask(&mut live, &noise(200_000)).unwrap();
}

#[test]
fn resets_reach_live_and_new_connections() {
    let rig = Rig::new();
    let mut live = rig.live();
    rig.set(Rules { door: Door::Reset, ..Rules::default() });
    assert_eq!(live.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut new = rig.connect();
    assert_eq!(new.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    rig.set(Rules::default());
    let mut live = rig.live();
    rig.proxies.reset(0).unwrap();
    let mut new = rig.live();
    assert_eq!(live.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    ask(&mut new, b"made after it").unwrap();
}

#[test]
fn a_closed_door_refuses_and_opens_again_at_the_same_place() {
    let rig = Rig::new();
    for _ in 0..3 {
        let mut live = rig.live();
        rig.set(Rules { door: Door::Closed, ..Rules::default() });
        assert_eq!(live.read(&mut [0]).unwrap(), 0, "closed in order");
        let Address::Tcp { host, port } = rig.proxies.urls()[0].address() else { panic!() };
        let error = TcpStream::connect((host.as_str(), *port)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        rig.set(Rules::default());
    }
    rig.live();
}

#[test]
fn a_peer_that_does_not_read_makes_the_other_wait() {
    let rig = Rig::new();
    let stream = rig.connect();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (mut sender, chunk) = (stream.try_clone().unwrap(), noise(64 << 10));
    let mut sent = 0_usize;
    // The echo comes back to somebody who does not read: every buffer on the way fills up.
    while let Ok(n) = sender.write(&chunk) {
        sent += n;
        assert!(sent < 256 << 20, "there is no end to what is buffered");
    }
    assert!(sent > 1 << 20, "{sent}");
}

#[test]
fn the_end_of_a_node_is_passed_on_and_a_node_that_is_not_there_resets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = NodeUrl::tcp(listener.local_addr().unwrap().port());
    let proxies = Proxies::start(&[node]).unwrap();
    let mut stream = connect(&proxies.urls()[0]);
    drop(listener.accept().unwrap());
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    drop(listener);
    let mut stream = connect(&proxies.urls()[0]);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(proxies.set(1, Rules::default()).is_err(), "there is no second one");
}

#[test]
fn unix_sockets_are_proxied_as_well() {
    let dir = Scratch::new("echo").unwrap();
    let path = dir.path().join("node.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4];
            while stream.read_exact(&mut buffer).and_then(|()| stream.write_all(&buffer)).is_ok() {}
        }
    });
    let proxies = Proxies::start(&[NodeUrl::unix(&path)]).unwrap();
    let Address::Unix(at) = proxies.urls()[0].address().clone() else { panic!() };
    for _ in 0..2 {
        let mut stream = UnixStream::connect(&at).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"ping");
        proxies.set(0, Rules { door: Door::Closed, ..Rules::default() }).unwrap();
        assert_eq!(stream.read(&mut back).unwrap(), 0);
        assert!(UnixStream::connect(&at).is_err());
        proxies.heal_all().unwrap();
    }
}
