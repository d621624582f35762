//! The rigs that other tests stand on: clocks, hops, persistence and states of real servers do
//! what their names say. No engine is involved; a raw connection sees the server as it is.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock_shim::{ClockShim, server_time};
use crate::hop::{Flow, Hop, Lane};
use crate::persistence::{
    AOF_ALWAYS, AOF_EVERYSEC, aof_len, copy_rdb, cut_aof_tail, promote, put_rdb, replicate,
    restart_loaded, save_rdb, truncate_aof,
};
use crate::server::{Client, Reply, Server, poll_until};
use crate::states::{
    Busy, allow, break_saving, end_loading, error_code, evict_locks, fill_memory, flush_scripts,
    free_memory, kill_clients, mend_saving, need_replicas, start_loading, write_error,
};
use crate::support::ms;

fn set(server: &Server, key: &str, value: &str) {
    assert_eq!(server.command(&["SET", key, value]), ok());
}

fn set_px(server: &Server, key: &str, ms: &str) {
    assert_eq!(server.command(&["SET", key, "1", "PX", ms]), ok());
}

fn ok() -> Reply {
    Reply::Simple("OK".into())
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(Some(text.into()))
}

/// How far the server's wall clock is ahead of another one's.
fn ahead(server: &Server, of: &Server) -> f64 {
    server_time(server).as_secs_f64() - server_time(of).as_secs_f64()
}

#[test]
fn a_clock_steps_forward_and_back() {
    let shim = ClockShim::new();
    let (server, plain) = (shim.start(&[]), Server::start());
    let offset = ahead(&server, &plain);
    assert!(offset.abs() < 5.0, "an untouched clock is off by {offset} s");
    set_px(&server, "short", "10000");
    set_px(&server, "long", "300000");
    shim.set(60_000_000, 0);
    assert_eq!(server.get("short"), None);
    assert!(server.pttl("long") <= 240_000);
    let offset = ahead(&server, &plain);
    assert!((55.0..65.0).contains(&offset), "ahead by {offset} s, not by 60");

    set_px(&server, "kept", "10000");
    shim.set(-60_000_000, 0);
    let offset = ahead(&server, &plain);
    assert!((-65.0..-55.0).contains(&offset), "ahead by {offset} s, not by -60");
    // It was to live 10 s and was given two minutes more.
    assert!((100_000..=130_000).contains(&server.pttl("kept")));

    // A new process reads the same file.
    shim.step(-3_540_000_000);
    server.restart();
    let offset = ahead(&server, &plain);
    assert!((-3_605.0..-3_595.0).contains(&offset), "ahead by {offset} s, not by an hour less");
    let told: f64 = server.info("uptime_in_seconds").unwrap().parse().unwrap();
    assert!((0.0..60.0).contains(&told), "{told}");
}

/// A reading of a server's clock, and when it was taken at the earliest and the latest.
struct Reading {
    told: Duration,
    earliest: Instant,
    latest: Instant,
}

impl Reading {
    fn of(server: &Server) -> Self {
        let earliest = Instant::now();
        let told = server_time(server);
        Self { told, earliest, latest: Instant::now() }
    }

    /// The lowest and the highest rate that these two can come from, within 1 ms.
    fn rates_since(&self, first: &Self) -> (f64, f64) {
        let told = (self.told - first.told).as_secs_f64();
        let shortest = (self.earliest - first.latest).as_secs_f64() - 0.001;
        let longest = (self.latest - first.earliest).as_secs_f64() + 0.001;
        (told / longest, told / shortest)
    }
}

#[test]
fn a_clock_gains_at_its_rate() {
    let shim = ClockShim::new();
    let server = shim.start(&[]);
    for (rate_ppm, rate) in [(83_333, 1.083_333), (-83_333, 0.916_667), (1_000_000, 2.0)] {
        shim.set(0, rate_ppm);
        let first = Reading::of(&server);
        thread::sleep(ms(1_200));
        let (low, high) = Reading::of(&server).rates_since(&first);
        assert!(low <= rate && rate <= high, "{low} to {high} at {rate_ppm} ppm");
    }
    // What it gained is kept when the slew ends without a step.
    shim.set(0, 1_000_000);
    let gained = poll_until("a quarter of a second to be gained", || {
        Some(shim.offset_us()).filter(|offset| *offset > 250_000)
    });
    shim.set(gained, 0);
    assert_eq!(shim.offset_us(), gained);
}

#[test]
fn keys_of_a_fast_clock_die_early() {
    let shim = ClockShim::new();
    let server = shim.start(&[]);
    shim.set(0, 83_333);
    let first = Reading::of(&server);
    set_px(&server, "k", "3000");
    poll_until("the key to expire", || server.get("k").is_none().then_some(()));
    let last = Reading::of(&server);
    // 3 s by the server's clock, which were 2.77 s.
    assert!(last.told - first.told >= ms(3_000));
    let (low, high) = last.rates_since(&first);
    assert!(low <= 1.083_333 && 1.083_333 <= high, "{low} to {high}");
}

fn through(hop: &Hop) -> Client {
    Client::connect(hop.addr()).unwrap()
}

#[test]
fn a_held_request_arrives_after_its_client_reconnected() {
    let server = Server::start();
    let hop = Hop::start(server.addr());
    let mut old = through(&hop);
    assert_eq!(old.command(&["SET", "k", "old"]).unwrap(), ok());
    hop.set_present(Lane::Requests, Flow::Hold);
    old.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\nlate\r\n").unwrap();
    poll_until("the request to wait", || (hop.queued(Lane::Requests) > 0).then_some(()));
    drop(old);
    let mut new = through(&hop);
    assert_eq!(new.command(&["DEL", "k"]).unwrap(), Reply::Int(1));
    assert_eq!(new.command(&["GET", "k"]).unwrap(), Reply::Bulk(None));
    hop.set_present(Lane::Requests, Flow::Pass);
    poll_until("the late request", || (server.get("k")? == "late").then_some(()));
    poll_until("the old connection to end", || (hop.connections() == 1).then_some(()));
}

#[test]
fn a_held_request_arrives_after_its_client_was_cut() {
    let server = Server::start();
    let hop = Hop::start(server.addr());
    let mut old = through(&hop);
    assert_eq!(old.command(&["PING"]).unwrap(), Reply::Simple("PONG".into()));
    hop.set_present(Lane::Requests, Flow::Hold);
    old.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\nlate\r\n").unwrap();
    poll_until("the request to wait", || (hop.queued(Lane::Requests) > 0).then_some(()));
    hop.cut_clients();
    assert_eq!(old.reply().unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut new = through(&hop);
    assert_eq!(new.command(&["GET", "k"]).unwrap(), Reply::Bulk(None));
    hop.set_present(Lane::Requests, Flow::Pass);
    poll_until("the late request", || (server.get("k")? == "late").then_some(()));
}

#[test]
fn dropped_requests_and_replies_are_gone_until_the_cut() {
    let server = Server::start();
    let hop = Hop::start(server.addr());
    let mut client = through(&hop);
    let ping = b"*1\r\n$4\r\nPING\r\n";
    let incr = b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n";
    assert_eq!(client.command(&["INCR", "n"]).unwrap(), Reply::Int(1));
    // The reply is lost, the effect is not.
    hop.set(Lane::Replies, Flow::Drop);
    client.send(incr).unwrap();
    poll_until("the request to be served", || (server.get("n")? == "2").then_some(()));
    client.limit(ms(50)).unwrap();
    assert!(matches!(client.reply().unwrap_err().kind(), ErrorKind::WouldBlock));
    // A stream with a hole stays shut.
    hop.set(Lane::Replies, Flow::Pass);
    client.send(ping).unwrap();
    assert!(matches!(client.reply().unwrap_err().kind(), ErrorKind::WouldBlock));
    hop.cut();
    assert_eq!(client.reply().unwrap_err().kind(), ErrorKind::ConnectionReset);

    let mut client = through(&hop);
    assert_eq!(client.command(&["GET", "n"]).unwrap(), bulk("2"));
    hop.set(Lane::Requests, Flow::Drop);
    client.send(incr).unwrap();
    client.limit(ms(50)).unwrap();
    assert!(matches!(client.reply().unwrap_err().kind(), ErrorKind::WouldBlock));
    assert_eq!(server.get("n").unwrap(), "2");
    // A connection under it does not reach the server either, and one after it does.
    let mut late = through(&hop);
    late.send(incr).unwrap();
    poll_until("the connection to be taken", || (hop.accepted() == 3).then_some(()));
    hop.cut();
    hop.set(Lane::Requests, Flow::Pass);
    assert_eq!(through(&hop).command(&["INCR", "n"]).unwrap(), Reply::Int(3));
}

#[test]
fn held_replies_come_in_order() {
    let server = Server::start();
    let hop = Hop::start(server.addr());
    let mut client = through(&hop);
    hop.set(Lane::Replies, Flow::Hold);
    client.send(b"*2\r\n$4\r\nECHO\r\n$1\r\na\r\n*2\r\n$4\r\nECHO\r\n$1\r\nb\r\n").unwrap();
    poll_until("both replies to wait", || (hop.queued(Lane::Replies) == 14).then_some(()));
    hop.set(Lane::Replies, Flow::Pass);
    assert_eq!((client.reply().unwrap(), client.reply().unwrap()), (bulk("a"), bulk("b")));
}

#[test]
fn a_hop_refuses_and_accepts() {
    let server = Server::start();
    let hop = Hop::start(server.addr());
    let mut kept = through(&hop);
    hop.refuse();
    let refused = Client::connect(hop.addr()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(kept.command(&["ECHO", "x"]).unwrap(), bulk("x"));
    hop.accept();
    assert_eq!(through(&hop).command(&["ECHO", "y"]).unwrap(), bulk("y"));
    let addr = hop.addr();
    drop(hop);
    assert!(kept.command(&["PING"]).is_err());
    assert_eq!(Client::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_hop_shows_the_loss_of_its_server() {
    let server = Server::start();
    let hop = Hop::start(server.addr());
    let mut client = through(&hop);
    assert_eq!(client.command(&["ECHO", "x"]).unwrap(), bulk("x"));
    server.kill();
    assert!(client.reply().is_err(), "the connection ends with the server's");
    assert!(through(&hop).command(&["PING"]).is_err());
    server.restart();
    assert_eq!(through(&hop).command(&["ECHO", "x"]).unwrap(), bulk("x"));
    hop.cut_servers();
    poll_until("the connections to end", || (hop.connections() == 0).then_some(()));
}

#[test]
fn a_hop_hides_a_restart_and_a_move() {
    let (server, other) = (Server::start(), Server::start());
    set(&other, "who", "other");
    let hop = Hop::start(server.addr());
    let mut client = through(&hop);
    assert_eq!(client.command(&["SET", "who", "first"]).unwrap(), ok());
    // The client writes while the server is away.
    hop.behind_their_backs(|| {
        client.send(b"*2\r\n$3\r\nGET\r\n$3\r\nwho\r\n").unwrap();
        server.restart();
    });
    assert_eq!(client.reply().unwrap(), Reply::Bulk(None));
    hop.behind_their_backs(|| hop.redirect(other.addr()));
    assert_eq!(client.command(&["GET", "who"]).unwrap(), bulk("other"));
    assert!(hop.accepted() == 1 && hop.hidden() >= 2);
}

#[test]
fn a_hop_cannot_hide_a_lost_reply() {
    let server = Server::start();
    let hop = Hop::start(server.addr());
    hop.hide_restarts(true);
    let (mut idle, mut asking) = (through(&hop), through(&hop));
    for client in [&mut idle, &mut asking] {
        assert_eq!(client.command(&["ECHO", "x"]).unwrap(), bulk("x"));
    }
    server.pause();
    asking.send(b"*2\r\n$4\r\nECHO\r\n$1\r\ny\r\n").unwrap();
    // Sent, not only read: nothing waits in the hop any more.
    poll_until("the request to be sent", || (hop.pending() == 1).then_some(()));
    server.restart();
    assert!(asking.reply().is_err(), "it would wait for a reply that never comes");
    assert_eq!(idle.command(&["ECHO", "z"]).unwrap(), bulk("z"));
    assert!(hop.connections() == 1 && hop.hidden() >= 1);
}

#[test]
fn an_aof_survives_a_kill_and_loses_its_tail() {
    for config in [AOF_ALWAYS, AOF_EVERYSEC] {
        let server = Server::start_with(config);
        set(&server, "a", "1");
        let len = aof_len(&server);
        set(&server, "b", "1");
        set(&server, "c", "1");
        assert!(aof_len(&server) > len);
        restart_loaded(&server);
        assert_eq!(server.keys(), ["a", "b", "c"]);
        server.kill();
        // In the middle of the last command.
        cut_aof_tail(&server, 3);
        restart_loaded(&server);
        assert_eq!(server.keys(), ["a", "b"]);
        server.kill();
        truncate_aof(&server, len);
        restart_loaded(&server);
        assert_eq!(server.keys(), ["a"]);
    }
}

#[test]
fn an_rdb_is_loaded_and_an_older_one_put_back() {
    let server = Server::start();
    set(&server, "a", "1");
    let old = copy_rdb(&server);
    set(&server, "b", "1");
    save_rdb(&server);
    set(&server, "c", "1");
    restart_loaded(&server);
    assert_eq!(server.keys(), ["a", "b"]);
    server.kill();
    put_rdb(&server, &old);
    restart_loaded(&server);
    assert_eq!(server.keys(), ["a"]);
}

#[test]
fn a_replica_is_read_only_until_it_is_promoted() {
    let (server, other) = (Server::start(), Server::start());
    set(&server, "own", "1");
    set(&other, "theirs", "1");
    replicate(&server, &other);
    assert_eq!(write_error(&server).as_deref(), Some("READONLY"));
    assert_eq!(server.keys(), ["theirs"]);
    need_replicas(&other, 1);
    poll_until("the replica to be counted", || write_error(&other).is_none().then_some(()));
    need_replicas(&other, 2);
    assert_eq!(write_error(&other).as_deref(), Some("NOREPLICAS"));
    need_replicas(&other, 0);
    promote(&server);
    assert_eq!((write_error(&server), write_error(&other)), (None, None));
    assert_eq!(server.get("theirs").as_deref(), Some("1"));
}

#[test]
fn a_busy_server_answers_busy_until_the_script_is_killed() {
    let server = Server::start();
    let busy = Busy::start(&server);
    assert_eq!(write_error(&server).as_deref(), Some("BUSY"));
    let reply = busy.end();
    assert!(matches!(&reply, Reply::Error(text) if text.contains("SCRIPT KILL")), "{reply:?}");
    assert_eq!(write_error(&server), None);
    // A server that dies under it takes it along.
    let busy = Busy::start(&server);
    server.kill();
    assert!(matches!(&busy.end(), Reply::Error(text) if text.starts_with("LOST")));
}

#[test]
fn a_full_server_refuses_or_evicts() {
    let server = Server::start();
    set_px(&server, "lock", "600000");
    fill_memory(&server);
    assert_eq!(write_error(&server).as_deref(), Some("OOM"));
    assert!(server.get("lock").is_some());
    free_memory(&server);
    assert_eq!(write_error(&server), None);
    set(&server, "plain", "1");
    set_px(&server, "lock2", "600000");
    evict_locks(&server);
    assert_eq!(server.keys(), ["plain"]);
    let evicted: u64 = server.info("evicted_keys").unwrap().parse().unwrap();
    assert_eq!((evicted, write_error(&server)), (2, None));
}

#[test]
fn a_server_that_cannot_save_refuses_writes() {
    let server = Server::start();
    break_saving(&server);
    assert_eq!(write_error(&server).as_deref(), Some("MISCONF"));
    mend_saving(&server);
    assert_eq!(write_error(&server), None);
}

#[test]
fn a_loading_server_says_so() {
    let server = Server::start();
    set(&server, "k", "1");
    start_loading(&server, 20_000);
    // Not only in passing: 20 s at the least, unless it is ended.
    thread::sleep(ms(700));
    assert_eq!(write_error(&server).as_deref(), Some("LOADING"));
    end_loading(&server);
    assert_eq!(write_error(&server), None);
    assert_eq!((server.get("k").as_deref(), server.dbsize()), (Some("1"), 20_001));
}

#[test]
fn a_forbidden_command_is_noperm() {
    let server = Server::start();
    let mut old = Client::connect(server.addr()).unwrap();
    allow(&server, &["-set"]);
    assert_eq!(write_error(&server).as_deref(), Some("NOPERM"));
    assert_eq!(error_code(&old.command(&["SET", "k", "v"]).unwrap()), Some("NOPERM"));
    allow(&server, &["+@all"]);
    assert_eq!(old.command(&["SET", "k", "v"]).unwrap(), ok());
}

#[test]
fn scripts_are_forgotten_and_clients_killed() {
    let server = Server::start();
    let mut client = Client::connect(server.addr()).unwrap();
    let sha = client.command(&["SCRIPT", "LOAD", "return 7"]).unwrap().text().unwrap();
    assert_eq!(client.command(&["EVALSHA", &sha, "0"]).unwrap(), Reply::Int(7));
    flush_scripts(&server);
    let reply = client.command(&["EVALSHA", &sha, "0"]).unwrap();
    assert_eq!(error_code(&reply), Some("NOSCRIPT"));
    assert_eq!(kill_clients(&server), 1);
    assert!(client.reply().is_err());
    assert!(Client::connect(server.addr()).unwrap().command(&["PING"]).is_ok());
}
