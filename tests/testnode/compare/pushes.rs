//! Tracked keys: two clients of the server and two of the node, the same commands, the same pushes.

use std::io::{BufReader, Write};
use std::net::TcpStream;

use redlatch::testing::{NodeCore, Options, Session};

use super::{SCRIPTS, connect, words};
use crate::server::Server;
use crate::wire::{frame, read_message};

/// A client of either side.
struct Two {
    stream: BufReader<TcpStream>,
    session: Session,
    last: String,
}

impl Two {
    fn new(server: &Server, core: &mut NodeCore) -> Self {
        Self { stream: connect(server), session: core.connect("test:1"), last: String::new() }
    }

    /// Everything that both receive until the answer to a mark, which is behind all pushes that
    /// were caused before.
    fn ask(&mut self, core: &mut NodeCore, args: &[&str]) -> Vec<String> {
        let input = [frame(args), frame(&["PING", "mark"])].concat();
        self.stream.get_mut().write_all(&input).unwrap();
        let mut node = &*core.exchange(&mut self.session, &input);
        let (mut shown, mut wanted) = (Vec::new(), Vec::new());
        loop {
            let message = read_message(&mut self.stream).unwrap();
            if message == b"$4\r\nmark\r\n" {
                break;
            }
            wanted.push(message.escape_ascii().to_string());
        }
        while !node.is_empty() {
            shown.push(read_message(&mut node).unwrap().escape_ascii().to_string());
        }
        assert_eq!(shown.pop().as_deref(), Some(r"$4\r\nmark\r\n"));
        if args[0] != "HELLO" {
            assert_eq!(wanted, shown, "{args:?}: the server, then the node; {:?}", self.last);
        }
        wanted.into_iter().filter(|message| message.starts_with('>')).collect()
    }
}

#[test]
fn tracked_keys_are_pushed_as_by_the_real_server() {
    let server = Server::start_virgin(&[]);
    let mut core = NodeCore::new(Options::new().opened(false));
    let mut reader = Two::new(&server, &mut core);
    let mut other = Two::new(&server, &mut core);
    let extend = SCRIPTS[0].1;
    let modes = ["OPTIN NOLOOP", "OPTIN", "OPTOUT", "NOLOOP", "", "RESP2"];
    let changes: [&[&'static str]; 13] = [
        &["SET", "k", "v"],
        &["SET", "k", "v", "NX"],
        &["SET", "k", "w", "PX", "60000"],
        &["EVAL", extend, "2", "e", "k", "i", "w", "200000"],
        &["EVAL", extend, "2", "e", "k", "i", "w", "90000"],
        &["EVAL", extend, "2", "e", "k", "i", "w", "0"],
        &["DEL", "k"],
        &["DEL", "k"],
        &["SET", "none", "v", "GET"],
        &["DEL", "none"],
        &["FLUSHALL"],
        &["SET", "e", "i"],
        &["FLUSHDB"],
    ];
    let (mut pushes, mut ttl_ms) = (Vec::new(), 200_000);
    for mode in modes {
        other.ask(&mut core, &["FLUSHALL"]);
        other.ask(&mut core, &["SET", "e", "i"]);
        reader.ask(&mut core, &["HELLO", if mode == "RESP2" { "2" } else { "3" }]);
        reader.ask(&mut core, &["CLIENT", "TRACKING", "OFF"]);
        let mode = mode.split(' ').filter(|word| !word.is_empty() && *word != "RESP2");
        let on: Vec<&str> = ["CLIENT", "TRACKING", "ON"].into_iter().chain(mode).collect();
        reader.ask(&mut core, &on);
        for by_itself in [false, true] {
            for change in changes {
                // In turn: asked for and read, asked for and read too late, only read.
                for armed in 0..3 {
                    if armed < 2 {
                        let yes = if on.contains(&"OPTOUT") { "NO" } else { "YES" };
                        reader.ask_all(&mut core, yes, armed == 1);
                    }
                    reader.last = format!("{on:?} {change:?} {armed} {by_itself}");
                    reader.ask(&mut core, &["PTTL", "none"]);
                    // An extension extends, however little time has passed since the one before.
                    ttl_ms += 1_000;
                    let ttl_ms = ttl_ms.to_string();
                    let longer = |word: &&'static str| match *word {
                        "200000" => ttl_ms.clone(),
                        word => word.to_owned(),
                    };
                    let change: Vec<String> = change.iter().map(longer).collect();
                    let change: Vec<&str> = change.iter().map(String::as_str).collect();
                    pushes.extend(if by_itself {
                        reader.ask(&mut core, &change)
                    } else {
                        other.ask(&mut core, &change);
                        reader.ask(&mut core, &["CLIENT", "NO-EVICT", "OFF"])
                    });
                    // Once only.
                    pushes.extend(other.ask(&mut core, &change));
                    reader.ask(&mut core, &["CLIENT", "NO-EVICT", "OFF"]);
                }
            }
        }
    }
    assert!(pushes.len() > 50, "{} pushes", pushes.len());
    assert!(pushes.iter().any(|push| push.ends_with(r"_\r\n")), "no flush among {pushes:?}");
}

impl Two {
    /// CLIENT CACHING and the read behind it in one write: a mark between them would disarm it.
    fn ask_all(&mut self, core: &mut NodeCore, caching: &str, late: bool) {
        let mut commands = vec![words(&["CLIENT", "CACHING", caching])];
        if late {
            commands.push(words(&["PING"]));
        }
        commands.push(words(&["CLIENT", "NO-EVICT", "OFF"]));
        commands.push(words(&["GET", "k"]));
        commands.push(words(&["GET", "none"]));
        let input: Vec<u8> = commands.iter().flat_map(|args| frame(args)).collect();
        self.stream.get_mut().write_all(&input).unwrap();
        let mut node = &*core.exchange(&mut self.session, &input);
        for args in &commands {
            let real = read_message(&mut self.stream).unwrap();
            let node = read_message(&mut node).unwrap();
            assert_eq!(
                real.escape_ascii().to_string(),
                node.escape_ascii().to_string(),
                "{args:?}"
            );
        }
        assert!(node.is_empty());
    }
}
