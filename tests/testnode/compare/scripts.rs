//! Every script where random cases seldom come: at the edges of its arguments, on a replica, and
//! where memory has run out.

use redlatch::testing::Options;

use super::states::{QUARANTINES, RECORDS};
use super::{Args, FENCED, Pair, STAMP, difference, generate, words};
use crate::server::Server;

const STATE: &[&str] = &["k", "none", "l", "c"];

/// Commands of one write: a round trip each would make up most of a test's time.
#[derive(Default)]
struct Batch(Vec<Args>);

impl Batch {
    fn add(&mut self, lines: &[&[&str]]) {
        self.0.extend(lines.iter().map(|line| words(line)));
    }

    fn call(&mut self, digest: &[u8], rest: &[&str]) {
        self.0.push([words(&["EVALSHA"]), vec![digest.to_vec()], words(rest)].concat());
    }

    /// Asks for what is held.
    fn add_data(&mut self) {
        for key in STATE {
            self.add(&[&["GET", key], &["PTTL", key]]);
        }
    }

    /// The equal replies to all.
    fn ask(self, pair: &mut Pair) -> Vec<Vec<u8>> {
        let replies = self.0.iter().zip(pair.ask(&self.0));
        let equal = replies.map(|(args, (real, node))| {
            assert!(real == node, "{}", difference(args, &real, &node));
            real
        });
        equal.collect()
    }
}

impl Pair {
    fn all_equal(&mut self, lines: &[&[&str]]) {
        let mut batch = Batch::default();
        batch.add(lines);
        batch.ask(self);
    }
}

/// Locks without, with and with another's value, for arguments that Lua and the commands behind it
/// treat in their own ways. The epoch is the first key, which RELEASE takes for a lock.
#[test]
fn scripts_at_their_edges_get_the_real_servers_answers() {
    let server = Server::start_virgin(&[]);
    let mut pair = Pair::new(&server, Options::new());
    for (script, digest) in pair.digests().into_iter().enumerate() {
        for number in generate::SCRIPT_NUMBERS {
            // A quarantine that is over at once on the server, and never where time stands still.
            if script == STAMP && number == "1.5" {
                continue;
            }
            for (token, ttl) in [("t", None), ("t", Some("100000")), ("u", None)] {
                for counter in [None, Some("60000"), Some("9007199254740992"), Some("x")] {
                    let mut batch = Batch::default();
                    batch.add(&[&["DEL", "l", "c"], &["SET", "k", token]]);
                    batch.add(&[&["SET", "l", token]]);
                    if let Some(ttl) = ttl {
                        batch.add(&[&["SET", "l", token, "PX", ttl]]);
                    }
                    if let Some(counter) = counter {
                        batch.add(&[&["SET", "c", counter]]);
                    }
                    for keys in [["k", "l", "c"], ["k", "none", "c"], ["none", "l", "k"]] {
                        let rest = [&["3"], keys.as_slice(), &["t", "t", number, number, number]];
                        batch.call(&digest, &rest.concat());
                        let rest =
                            [&["3"], keys.as_slice(), &["t", "t", "60000", number, "100000"]];
                        batch.call(&digest, &rest.concat());
                        batch.add_data();
                        batch.add(&[&["DEL", "none"]]);
                    }
                    batch.ask(&mut pair);
                }
            }
        }
    }
}

/// Too few keys and too few arguments: Lua's nil in every place.
#[test]
fn scripts_without_all_arguments_get_the_real_servers_answers() {
    let server = Server::start_virgin(&[]);
    let mut pair = Pair::new(&server, Options::new());
    for digest in pair.digests() {
        for keys in 0..=3 {
            for argc in 0..=5 {
                for lock in ["t", "u"] {
                    let mut batch = Batch::default();
                    batch.add(&[&["SET", "k", "t"], &["SET", "l", lock], &["SET", "c", "4"]]);
                    for names in [["k", "l", "c"], ["k", "none", "c"], ["none", "k", "c"]] {
                        let argv = &["t", "t", "60000", "60000", "60000"][..argc];
                        let count = keys.to_string();
                        let rest = [&[count.as_str()], &names[..keys], argv].concat();
                        batch.call(&digest, &rest);
                        batch.add_data();
                        batch.add(&[&["DEL", "none"]]);
                    }
                    batch.ask(&mut pair);
                }
            }
        }
    }
}

/// Every mode on every record of an epoch, with and without the epoch itself.
#[test]
fn stamps_get_the_real_servers_answers() {
    let server = Server::start_virgin(&[]);
    let mut pair = Pair::new(&server, Options::new());
    let digest = pair.digests().swap_remove(STAMP);
    let mut shapes = std::collections::BTreeSet::new();
    for (resp3, record) in RECORDS.map(Some).into_iter().chain([None]).enumerate() {
        pair.ask_equal(words(&["HELLO", if resp3 % 2 == 0 { "3" } else { "2" }]));
        for id in [Some("t"), Some("other"), None] {
            for mode in ["greet", "void", "open", "peek"] {
                for asked in QUARANTINES {
                    let mut batch = Batch::default();
                    batch.add(&[&["DEL", "e", "s"]]);
                    id.inspect(|id| batch.add(&[&["SET", "e", id]]));
                    record.inspect(|record| batch.add(&[&["SET", "s", record]]));
                    for fleet in ["f", "g", "a b", ""] {
                        let rest = ["2", "e", "s", mode, "fresh", asked, fleet, "t"];
                        batch.call(&digest, &rest);
                        batch.add(&[&["GET", "e"], &["GET", "s"], &["PTTL", "e"]]);
                    }
                    for reply in batch.ask(&mut pair) {
                        shapes.insert((mode, reply[..reply.len().min(14)].to_vec()));
                    }
                }
            }
        }
    }
    // greet, void and peek find an epoch or none; open refuses where there is one.
    assert!(shapes.len() >= 10, "{shapes:?}");
}

/// A replica reads, and refuses what would write.
#[test]
fn a_replica_gives_the_real_servers_answers() {
    let server = Server::start_virgin(&[]);
    let mut pair = Pair::new(&server, Options::new());
    let before = pair.views();
    let digests = pair.digests();
    pair.all_equal(&[&["SET", "k", "t"], &["SET", "l", "t", "PX", "100000"]]);
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    pair.core.demote();
    let lines: [&[&str]; 14] = [
        &["HELLO"],
        &["HELLO", "3"],
        &["SET", "k"],
        &["SET", "k", "t"],
        &["SET", "k", "t", "NX"],
        &["DEL", "none"],
        &["GET", "k"],
        &["PTTL", "l"],
        &["FLUSHALL"],
        &["FLUSHDB"],
        &["SCRIPT", "EXISTS", "x"],
        &["INFO", "replication"],
        &["DBSIZE"],
        &["KEYS", "*"],
    ];
    pair.all_equal(&lines);
    assert_eq!(server.info("role").as_deref(), Some("slave"));
    let role = pair.ask_equal(words(&["ROLE"]));
    assert!(role.starts_with(b"*5\r\n$5\r\nslave"), "{}", role.escape_ascii());
    call_all(&mut pair, &digests);
    server.command(&["REPLICAOF", "NO", "ONE"]);
    pair.core.promote();
    // Both continue under another replication id: an epoch of before is void.
    let run_id = pair.itself.run_id.clone();
    pair.itself = super::Identity::of(&server);
    assert_eq!(pair.itself.run_id, run_id);
    for (before, now) in before.iter().zip(pair.views()) {
        assert_ne!(before.incarnation(), now.incarnation());
    }
    call_all(&mut pair, &digests);
    pair.all_equal(&[&["ROLE"], &["HELLO", "2"], &["SET", "k", "u", "GET"]]);
}

/// A script's first write is refused where memory has run out, later ones are not.
#[test]
fn a_full_node_gives_the_real_servers_answers() {
    let server = Server::start_virgin(&[]);
    let mut pair = Pair::new(&server, Options::new().max_memory(600));
    let digests = pair.digests();
    pair.all_equal(&[&["SET", "k", "t"], &["SET", "fill", &"x".repeat(450)]]);
    // The lock goes beyond the node's limit, and the counter is written all the same.
    let mut batch = Batch::default();
    batch.call(&digests[FENCED], &["3", "k", "l", "c", "t", "t", "60000", "7", "100000"]);
    batch.add(&[&["DEL", "l", "c", "fill"]]);
    assert_eq!(batch.ask(&mut pair), [b":7\r\n", b":3\r\n"]);
    // An epoch that has not changed, one whose quarantine is to grow, and one to be seen anew.
    pair.all_equal(&[
        &["SET", "e", "t"],
        &["SET", "s", RECORDS[2]],
        &["SET", "keep", &"x".repeat(400)],
    ]);
    server.config_set("maxmemory", "1");
    pair.all_equal(&[
        &["SET", "k"],
        &["SET", "k", "t"],
        &["SET", "k", "t", "FOO"],
        &["SET", "none", "t", "PX", "x"],
        &["GET", "k"],
        &["DEL", "none"],
    ]);
    let mut batch = Batch::default();
    for (asked, fleet) in [("0", "f"), ("0", "g"), ("200000", "f")] {
        batch.call(&digests[STAMP], &["2", "e", "s", "greet", "fresh", asked, fleet, ""]);
        batch.add(&[&["GET", "s"]]);
    }
    let replies = batch.ask(&mut pair);
    let refused: Vec<bool> = replies.iter().map(|reply| reply[0] == b'-').collect();
    assert_eq!(refused, [false, false, false, false, true, false]);
    call_all(&mut pair, &digests);
}

fn call_all(pair: &mut Pair, digests: &Args) {
    let mut batch = Batch::default();
    for digest in digests {
        for keys in [["k", "l", "c"], ["k", "none", "c"], ["none", "l", "c"]] {
            for (token, ttl) in [("t", "200000"), ("u", "0"), ("t", "x")] {
                let rest =
                    [&["3"], keys.as_slice(), &["t", token, ttl, "70000", "100000"]].concat();
                batch.call(digest, &rest);
                batch.add_data();
            }
        }
        let rest = ["2", "k", "none", "greet", "id", "60000", "f", ""];
        batch.call(digest, &rest);
        batch.add_data();
    }
    batch.ask(pair);
}
