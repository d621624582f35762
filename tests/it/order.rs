//! What R1' and R10' rest on: into a connection's stream the server puts replies and pushes in the
//! order in which it did what they tell of.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::server::{Client, Server};

/// What comes out of the stream, in microseconds of the server's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Of a TIME: when it was executed.
    Reply(u64),
    /// Of a message: when the script that sent it was.
    Message(u64),
}

fn lines(stream: &mut BufReader<TcpStream>, count: usize) -> Vec<String> {
    let mut line = || {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the server has hung up");
        line.trim_end().to_owned()
    };
    (0..count).map(|_| line()).collect()
}

fn micros(seconds: &str, micros: &str) -> u64 {
    seconds.parse::<u64>().unwrap() * 1_000_000 + micros.parse::<u64>().unwrap()
}

fn event(stream: &mut BufReader<TcpStream>) -> Event {
    match lines(stream, 1)[0].as_str() {
        "*2" => {
            let time = lines(stream, 4);
            Event::Reply(micros(&time[1], &time[3]))
        }
        ">3" => {
            let message = lines(stream, 6);
            assert_eq!(message[1], "message");
            let (seconds, rest) = message[5].split_once(' ').unwrap();
            Event::Message(micros(seconds, rest))
        }
        other => panic!("{other}"),
    }
}

const SCRIPT: &str = "local time = redis.call('TIME') \
    return redis.call('PUBLISH', 'order', time[1] .. ' ' .. time[2])";
const ROUNDS: usize = 2_000;
const IN_FLIGHT: usize = 8;

/// A message stands behind the replies to what was executed before it, and in front of the replies
/// to what was executed after it: so it was sent after the newest command that is answered in
/// front of it, which is all that R10' counts on.
/// With threads that write for the server, too.
#[test]
fn messages_stand_between_replies_where_they_were_sent() {
    for options in [&[][..], &["io-threads 4"]] {
        watch_the_order(&Server::start_with(options));
    }
}

fn watch_the_order(server: &Server) {
    let mut stream = BufReader::new(TcpStream::connect(server.addr()).unwrap());
    stream.get_mut().write_all(b"HELLO 3\r\nSUBSCRIBE order\r\nPING\r\n").unwrap();
    while lines(&mut stream, 1)[0] != "+PONG" {}
    let is_over = AtomicBool::new(false);
    let events = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut other = Client::connect(server.addr()).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                other.command(&["EVAL", SCRIPT, "0"]).unwrap();
            }
        });
        let mut events = Vec::new();
        for _ in 0..ROUNDS {
            stream.get_mut().write_all(&b"TIME\r\n".repeat(IN_FLIGHT)).unwrap();
            let mut replies = 0;
            while replies < IN_FLIGHT {
                events.push(event(&mut stream));
                replies += usize::from(matches!(events.last(), Some(Event::Reply(_))));
            }
        }
        is_over.store(true, Ordering::Relaxed);
        events
    });
    let (mut messages, mut newest) = (0, 0);
    for (at, event) in events.iter().enumerate() {
        let (Event::Reply(time) | Event::Message(time)) = *event;
        messages += usize::from(matches!(event, Event::Message(_)));
        assert!(newest <= time, "{:?}", &events[at.saturating_sub(3)..=at]);
        newest = time;
    }
    assert!(messages > 100, "{messages} messages between {} replies", ROUNDS * IN_FLIGHT);
}
