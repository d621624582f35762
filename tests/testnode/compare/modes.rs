//! Locks in modes, case by case: every mode beside every other one, at every edge of time.

use std::time::Duration;

use redlatch::testing::Options;

use super::{Args, DROP, KEEP, Pair, TAKE, words};
use crate::server::{Server, poll_until};

const MODES: [&str; 7] = ["X", "S", "IX", "IS", "P0", "P1", "P2"];

struct Scripts {
    take: Vec<u8>,
    keep: Vec<u8>,
    drop: Vec<u8>,
}

impl Scripts {
    fn of(pair: &mut Pair) -> Self {
        let digests: Args = pair.digests();
        let digest = |place: usize| digests[place].clone();
        Self { take: digest(TAKE), keep: digest(KEEP), drop: digest(DROP) }
    }

    fn call(digest: &[u8], rest: &[&str]) -> Args {
        [words(&["EVALSHA"]), vec![digest.to_vec()], words(rest)].concat()
    }

    /// Takes `key` in `mode`, one of three permits where it is one.
    fn take(&self, key: &str, token: &str, ttl: &str, mode: &str) -> Args {
        Self::call(&self.take, &["2", "e", key, "id", token, ttl, mode, "3"])
    }

    fn keep(&self, key: &str, token: &str, ttl: &str) -> Args {
        Self::call(&self.keep, &["2", "e", key, "id", token, ttl])
    }

    fn drop(&self, key: &str, token: &str) -> Args {
        Self::call(&self.drop, &["1", key, token, "50"])
    }
}

fn pair(server: &Server, options: Options) -> (Pair, Scripts) {
    let mut pair = Pair::new(server, options);
    let scripts = Scripts::of(&mut pair);
    pair.ask_equal(words(&["SET", "e", "id"]));
    (pair, scripts)
}

#[test]
fn every_mode_beside_every_other_gets_the_real_servers_answers() {
    let server = Server::start_virgin(&[]);
    let (mut pair, scripts) = pair(&server, Options::new());
    let (mut granted, mut elsewhere) = (0, 0);
    for held in MODES {
        for wanted in MODES {
            pair.ask_equal(words(&["DEL", "l"]));
            assert_eq!(pair.ask_equal(scripts.take("l", "t", "60000", held)), b":1\r\n");
            let answer = pair.ask_equal(scripts.take("l", "u", "100000", wanted));
            granted += usize::from(answer == b":1\r\n");
            elsewhere += usize::from(answer.starts_with(b":") && answer != b":1\r\n");
            // Asking again for what is held lengthens it, and never shortens.
            for ttl in ["20000", "200000"] {
                pair.ask_equal(scripts.take("l", "t", ttl, held));
                pair.ask_equal(words(&["PTTL", "l"]));
                pair.ask_equal(words(&["HGETALL", "l"]));
            }
            for key in ["l", "none"] {
                for (token, ttl) in [("t", "0"), ("t", "300000"), ("u", "20000"), ("v", "0")] {
                    pair.ask_equal(scripts.keep(key, token, ttl));
                    pair.ask_equal(words(&["PTTL", key]));
                }
            }
            for command in [words(&["SET", "l", "x", "NX"]), words(&["GET", "l"])] {
                pair.ask_equal(command);
            }
            for token in ["t", "t", "u"] {
                pair.ask_equal(scripts.drop("l", token));
                pair.ask_equal(words(&["PTTL", "l"]));
                pair.ask_equal(words(&["HGETALL", "l"]));
            }
        }
    }
    // S, IX and IS in their seven ways, and every permit beside two others; where it is taken,
    // the next one is named.
    assert_eq!((granted, elsewhere), (7 + 6, 3));
}

/// An owner whose time is over is in nobody's way, cannot be lengthened and is swept out.
#[test]
fn ended_owners_get_the_real_servers_answers() {
    let server = Server::start_virgin(&[]);
    let (mut pair, scripts) = pair(&server, Options::new());
    for wanted in MODES {
        pair.ask_equal(words(&["DEL", "l"]));
        // The other owner keeps the key where it is: a hash, with one entry that has ended. It
        // comes first, or on a slow machine it would sweep that one out already.
        pair.ask_equal(scripts.take("l", "stays", "60000", "IS"));
        pair.ask_equal(scripts.take("l", "brief", "1", "IX"));
        let is_over = |pair: &mut Pair| pair.ask(&[scripts.keep("l", "brief", "0")]).remove(0).0;
        poll_until("the entry to end", || (is_over(&mut pair) == b"$1\r\nm\r\n").then_some(()));
        pair.clock.advance(Duration::from_millis(2));
        assert_eq!(pair.ask_equal(scripts.keep("l", "brief", "60000")), b"$1\r\nm\r\n");
        pair.ask_equal(scripts.take("l", "new", "60000", wanted));
        pair.ask_equal(words(&["HGETALL", "l"]));
        pair.ask_equal(words(&["PTTL", "l"]));
        pair.ask_equal(scripts.drop("l", "stays"));
        pair.ask_equal(words(&["HGETALL", "l"]));
        pair.ask_equal(words(&["PTTL", "l"]));
    }
}

/// A whole hash of ended entries, which is what a key of no owner may be for a moment, is free.
#[test]
fn several_keys_are_taken_together_or_not_at_all() {
    let server = Server::start_virgin(&[]);
    let (mut pair, scripts) = pair(&server, Options::new());
    let take = |token: &str, modes: [&str; 2]| {
        let rest = ["3", "e", "a", "b", "id", token, "60000", modes[0], modes[1]];
        Scripts::call(&scripts.take, &rest)
    };
    for first in ["X", "S", "IX"] {
        for second in ["X", "S", "IX"] {
            pair.ask_equal(words(&["DEL", "a", "b"]));
            assert_eq!(pair.ask_equal(scripts.take("b", "other", "60000", "S")), b":1\r\n");
            let answer = pair.ask_equal(take("t", [first, second]));
            assert_eq!(answer == b":1\r\n", second == "S");
            for key in ["a", "b"] {
                pair.ask_equal(words(&["PTTL", key]));
                pair.ask_equal(words(&["HGETALL", key]));
            }
            let both = |digest: &[u8], rest: &[&str]| Scripts::call(digest, rest);
            for token in ["t", "other"] {
                pair.ask_equal(both(&scripts.keep, &["3", "e", "a", "b", "id", token, "80000"]));
                pair.ask_equal(both(&scripts.drop, &["2", "a", "b", token, "50"]));
                pair.ask_equal(words(&["PTTL", "a"]));
                pair.ask_equal(words(&["PTTL", "b"]));
            }
        }
    }
}

/// Readers wait behind a writer that waits; whoever reads already goes on.
#[test]
fn a_queue_gets_the_real_servers_answers() {
    let server = Server::start_virgin(&[]);
    let (mut pair, scripts) = pair(&server, Options::new());
    pair.ask_equal(scripts.take("l", "reads", "60000", "S"));
    pair.ask_equal(words(&["SET", "redlatch:queue:l", "ticket"]));
    let denied: [&[u8]; 2] = [b"$-1\r\n", b"_\r\n"];
    assert!(denied.contains(&&*pair.ask_equal(scripts.take("l", "new", "60000", "S"))));
    assert_eq!(pair.ask_equal(scripts.take("l", "reads", "80000", "S")), b":1\r\n");
    assert_eq!(pair.ask_equal(scripts.take("l", "new", "60000", "IS")), b":1\r\n");
}

/// A server without memory takes no new owner, and lengthens and releases those that there are.
#[test]
fn a_full_node_keeps_what_is_held() {
    let server = Server::start_virgin(&[]);
    let (mut pair, scripts) = pair(&server, Options::new().max_memory(600));
    pair.ask_equal(scripts.take("l", "t", "60000", "S"));
    pair.ask_equal(scripts.take("l", "u", "200000", "S"));
    pair.ask_equal(words(&["SET", "fill", &"x".repeat(400)]));
    server.config_set("maxmemory", "1");
    for mode in ["S", "X"] {
        let refused = pair.ask_equal(scripts.take("none", "t", "60000", mode));
        assert!(refused.starts_with(b"-OOM"), "{}", refused.escape_ascii());
    }
    assert!(pair.ask_equal(scripts.take("l", "v", "60000", "S")).starts_with(b"-OOM"));
    for token in ["t", "u"] {
        for ttl in ["80000", "300000"] {
            assert_eq!(pair.ask_equal(scripts.keep("l", token, ttl)), b"$1\r\ne\r\n");
            pair.ask_equal(words(&["HGETALL", "l"]));
            pair.ask_equal(words(&["PTTL", "l"]));
        }
    }
    for token in ["t", "u"] {
        assert_eq!(pair.ask_equal(scripts.drop("l", token)), b"$1\r\nd\r\n");
    }
}

/// However often one owner lengthens its lock, another's lives as long as it was told. A script
/// reads the server's clock several times, and each time it may be a millisecond later.
#[test]
fn an_owner_that_renews_all_the_time_takes_nothing_off_the_others() {
    let server = Server::start_virgin(&[]);
    let (mut pair, scripts) = pair(&server, Options::new());
    assert_eq!(pair.ask_equal(scripts.take("l", "t", "60000", "S")), b":1\r\n");
    assert_eq!(pair.ask_equal(scripts.take("l", "u", "9999", "S")), b":1\r\n");
    // Only what lengthens a lock is written.
    for round in 0..40_u32 {
        let renewals: Vec<Args> = (1..=500)
            .map(|step| scripts.keep("l", "u", &(10_000 + round * 500 + step).to_string()))
            .collect();
        let answers = pair.ask(&renewals);
        assert!(answers.iter().all(|(real, _)| real == b"$1\r\ne\r\n"), "{answers:?}");
    }
    let entry = server.command(&["HGET", "l", "t"]).text().unwrap();
    let ends: i64 = entry.strip_prefix("S ").unwrap().parse().unwrap();
    let until = server.command(&["PEXPIRETIME", "l"]).int();
    assert!(until >= ends, "the key ends at {until}, and its owner's lock at {ends}");
}

/// Who comes again when its time is over is an owner like any other, and is not swept out with
/// those that do not.
#[test]
fn an_owner_that_comes_again_too_late_is_a_new_one() {
    let server = Server::start_virgin(&[]);
    let (mut pair, scripts) = pair(&server, Options::new());
    for mode in ["S", "IS", "IX", "P1"] {
        pair.ask_equal(words(&["DEL", "l"]));
        let stays = if mode == "P1" { "P0" } else { "IS" };
        pair.ask_equal(scripts.take("l", "stays", "60000", stays));
        pair.ask_equal(scripts.take("l", "late", "1", mode));
        let is_over = |pair: &mut Pair| pair.ask(&[scripts.keep("l", "late", "0")]).remove(0).0;
        poll_until("the entry to end", || (is_over(&mut pair) == b"$1\r\nm\r\n").then_some(()));
        pair.clock.advance(Duration::from_millis(2));
        assert_eq!(pair.ask_equal(scripts.take("l", "late", "50000", mode)), b":1\r\n", "{mode}");
        assert_eq!(pair.ask_equal(scripts.keep("l", "late", "0")), b"$1\r\ne\r\n", "{mode}");
        pair.ask_equal(words(&["HGETALL", "l"]));
        // Behind a writer that waits it is one, too.
        pair.ask_equal(scripts.take("l", "brief", "1", mode));
        let is_over = |pair: &mut Pair| pair.ask(&[scripts.keep("l", "brief", "0")]).remove(0).0;
        poll_until("the entry to end", || (is_over(&mut pair) == b"$1\r\nm\r\n").then_some(()));
        pair.clock.advance(Duration::from_millis(2));
        pair.ask_equal(words(&["SET", "redlatch:queue:l", "ticket"]));
        let again = pair.ask_equal(scripts.take("l", "brief", "50000", mode));
        assert_eq!(again == b":1\r\n", matches!(mode, "IS" | "IX"), "{mode}");
        pair.ask_equal(words(&["DEL", "redlatch:queue:l"]));
    }
}

/// The one that came first is looked at, and where it has ended all of them are.
#[test]
fn who_joins_others_sweeps_the_ended_out_when_the_first_one_has() {
    let server = Server::start_virgin(&[]);
    let (mut pair, scripts) = pair(&server, Options::new());
    poll_until("two owners before the first one ends", || {
        pair.ask_equal(words(&["DEL", "l"]));
        pair.ask(&[
            scripts.take("l", "brief", "20", "S"),
            scripts.take("l", "stays", "60000", "S"),
        ]);
        (server.command(&["HLEN", "l"]).int() == 2).then_some(())
    });
    let is_over = |pair: &mut Pair| pair.ask(&[scripts.keep("l", "brief", "0")]).remove(0).0;
    poll_until("the entry to end", || (is_over(&mut pair) == b"$1\r\nm\r\n").then_some(()));
    pair.clock.advance(Duration::from_millis(25));
    assert_eq!(pair.ask_equal(scripts.take("l", "new", "50000", "S")), b":1\r\n");
    assert_eq!(server.command(&["HLEN", "l"]).int(), 2, "the ended one is still there");
    pair.ask_equal(words(&["HGETALL", "l"]));
    pair.ask_equal(words(&["PTTL", "l"]));
    // In one go beside those that all stay; and who ends before others goes without a look at them.
    let looks = || ["hvals", "hgetall"].map(|name| server.calls(name));
    let before = looks();
    assert_eq!(pair.ask_equal(scripts.take("l", "more", "70000", "S")), b":1\r\n");
    let joined = looks();
    assert_eq!((joined[0] - before[0], joined[1] - before[1]), (1, 0));
    assert_eq!(pair.ask_equal(scripts.drop("l", "new")), b"$1\r\nd\r\n");
    assert_eq!(looks(), joined);
    assert_eq!(pair.ask_equal(scripts.drop("l", "more")), b"$1\r\nd\r\n");
    assert_eq!(looks()[0] - joined[0], 1);
    pair.ask_equal(words(&["PTTL", "l"]));
}
