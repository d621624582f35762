//! A blocking RESP2 client for the few questions loadgen asks a node: PING, INFO, CONFIG GET.
//!
//! It is not on any measured path except [`Connection::ping`], and it does not pipeline.
//!
//! Invariants:
//! 1. Every call ends by its deadline, also against a peer that drips single bytes.
//! 2. A reply is bounded in bytes, elements and depth before memory is reserved for it.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::url::{Address, NodeUrl};
use crate::clock::now_ns;

const MAX_REPLY_BYTES: usize = 4 << 20;
const MAX_LINE_BYTES: usize = 64 << 10;
const MAX_ELEMENTS: usize = 4_096;
const MAX_DEPTH: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Self>),
}

impl Reply {
    /// The text of a simple or bulk string.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Simple(text) => Some(text.clone()),
            Self::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn set_timeout(&self, limit: Duration) -> io::Result<()> {
        // Zero would mean "for ever".
        let limit = Some(limit.max(Duration::from_micros(1)));
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(limit)?;
                stream.set_write_timeout(limit)
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(limit)?;
                stream.set_write_timeout(limit)
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}

/// One connection to one node.
pub(crate) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    at: usize,
    call_limit: Duration,
    deadline_ns: u64,
    reply_bytes_left: usize,
}

impl Connection {
    /// Connects and, if the url asks for it, authenticates and selects the database.
    pub(crate) fn open(url: &NodeUrl, limit: Duration) -> io::Result<Self> {
        let stream = match url.address() {
            Address::Tcp { host, port } => Stream::Tcp(connect_tcp(host, *port, limit)?),
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        let mut connection = Self {
            stream,
            buffer: Vec::with_capacity(4_096),
            at: 0,
            call_limit: limit,
            deadline_ns: 0,
            reply_bytes_left: 0,
        };
        if let Some(password) = url.password() {
            match url.user() {
                Some(user) => connection.expect_ok(&["AUTH", user, password])?,
                None => connection.expect_ok(&["AUTH", password])?,
            }
        }
        if url.database() != 0 {
            connection.expect_ok(&["SELECT", &url.database().to_string()])?;
        }
        Ok(connection)
    }

    /// Sends one command and reads its reply; an error reply is a value, not an `Err`.
    pub(crate) fn call(&mut self, command: &[&str]) -> io::Result<Reply> {
        self.send(&[command])?;
        self.answer()
    }

    /// Sends several commands in one piece; [`Connection::answer`] then reads a reply of each, all
    /// of them by one deadline.
    pub(crate) fn send(&mut self, commands: &[&[&str]]) -> io::Result<()> {
        self.start_call();
        let mut frame = Vec::new();
        for command in commands {
            frame.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for part in *command {
                frame.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
                frame.extend_from_slice(part.as_bytes());
                frame.extend_from_slice(b"\r\n");
            }
        }
        self.write(&frame)
    }

    /// The next reply to what was sent.
    pub(crate) fn answer(&mut self) -> io::Result<Reply> {
        self.reply(0)
    }

    /// One PING, encoded beforehand: what the round-trip time is measured with.
    pub(crate) fn ping(&mut self) -> io::Result<()> {
        self.start_call();
        self.write(b"*1\r\n$4\r\nPING\r\n")?;
        match self.reply(0)? {
            Reply::Simple(text) if text == "PONG" => Ok(()),
            other => Err(io::Error::other(format!("the answer to PING is {}", shown(&other)))),
        }
    }

    fn expect_ok(&mut self, command: &[&str]) -> io::Result<()> {
        match self.call(command)? {
            Reply::Simple(_) => Ok(()),
            other => {
                let name = command.first().copied().unwrap_or_default();
                Err(io::Error::other(format!("the answer to {name} is {}", shown(&other))))
            }
        }
    }

    fn start_call(&mut self) {
        let limit = u64::try_from(self.call_limit.as_nanos()).unwrap_or(u64::MAX);
        self.deadline_ns = now_ns().saturating_add(limit);
        self.reply_bytes_left = MAX_REPLY_BYTES;
    }

    fn arm(&self) -> io::Result<()> {
        let left = self.deadline_ns.saturating_sub(now_ns());
        if left == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        self.stream.set_timeout(Duration::from_nanos(left))
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.arm()?;
        self.stream.write_all(frame).map_err(plain_timeout)
    }

    fn fill(&mut self) -> io::Result<()> {
        self.arm()?;
        self.buffer.drain(..self.at);
        self.at = 0;
        let mut chunk = [0; 16 << 10];
        let count = self.stream.read(&mut chunk).map_err(plain_timeout)?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the node hung up"));
        }
        self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut seen = 0;
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            if let Some(found) = rest.iter().skip(seen).position(|&byte| byte == b'\n') {
                let end = seen + found;
                let line = rest.get(..end).unwrap_or_default();
                let Some(line) = line.strip_suffix(b"\r") else {
                    return Err(garbage("a line without CR"));
                };
                let text = String::from_utf8_lossy(line).into_owned();
                self.at += end + 1;
                return Ok(text);
            }
            seen = rest.len();
            if seen > MAX_LINE_BYTES {
                return Err(garbage("an endless line"));
            }
            self.fill()?;
        }
    }

    fn bulk(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let Some(left) = self.reply_bytes_left.checked_sub(length) else {
            return Err(garbage("a reply beyond 4 MiB"));
        };
        self.reply_bytes_left = left;
        while self.buffer.len() - self.at < length + 2 {
            self.fill()?;
        }
        let body = self.buffer.get(self.at..self.at + length).unwrap_or_default().to_vec();
        if self.buffer.get(self.at + length..self.at + length + 2) != Some(b"\r\n") {
            return Err(garbage("a bulk string without CRLF"));
        }
        self.at += length + 2;
        Ok(body)
    }

    fn reply(&mut self, depth: usize) -> io::Result<Reply> {
        let line = self.line()?;
        let Some((kind, rest)) = line.split_at_checked(1) else {
            return Err(garbage("an empty line"));
        };
        match kind {
            "+" => Ok(Reply::Simple(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Integer(rest.parse().map_err(|_| garbage("a bad integer"))?)),
            "$" | "*" if rest == "-1" => Ok(Reply::Null),
            "$" => {
                let length = rest.parse().map_err(|_| garbage("a bad length"))?;
                Ok(Reply::Bulk(self.bulk(length)?))
            }
            "*" => {
                let count: usize = rest.parse().map_err(|_| garbage("a bad length"))?;
                if count > MAX_ELEMENTS || depth >= MAX_DEPTH {
                    return Err(garbage("an array too large or too deep"));
                }
                (0..count)
                    .map(|_| self.reply(depth + 1))
                    .collect::<io::Result<_>>()
                    .map(Reply::Array)
            }
            _ => Err(garbage("something that is not RESP")),
        }
    }
}

fn connect_tcp(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::other(format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()?.take(8) {
        match TcpStream::connect_timeout(&address, limit.max(Duration::from_millis(1))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A socket's timeout comes as `WouldBlock`, whose text sends a reader the wrong way.
fn plain_timeout(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
        }
        _ => error,
    }
}

fn garbage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the node answered {what}"))
}

/// A reply for an error text: an error's own words, else its kind; never a long body.
pub(crate) fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Error(text) | Reply::Simple(text) => {
            format!("'{}'", text.chars().take(120).collect::<String>())
        }
        Reply::Integer(number) => number.to_string(),
        Reply::Bulk(_) => "a bulk string".to_owned(),
        Reply::Null => "null".to_owned(),
        Reply::Array(_) => "an array".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A peer that answers whatever comes with `answer`, then holds the connection open.
    fn against(answer: &[u8], limit: Duration) -> io::Result<Reply> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap()).parse().unwrap();
        let answer = answer.to_vec();
        thread::scope(|scope| {
            let client = scope.spawn(move || {
                Connection::open(&url, limit).and_then(|mut connection| connection.call(&["PING"]))
            });
            let (mut peer, _) = listener.accept().unwrap();
            for byte in answer {
                if peer.write_all(&[byte]).is_err() {
                    break;
                }
            }
            client.join().unwrap()
        })
    }

    #[test]
    fn replies_are_read_byte_by_byte() {
        let limit = Duration::from_secs(20);
        let nested = b"*3\r\n$2\r\na\n\r\n:-7\r\n*2\r\n$-1\r\n-ERR no\r\n";
        assert_eq!(
            against(nested, limit).unwrap(),
            Reply::Array(vec![
                Reply::Bulk(b"a\n".to_vec()),
                Reply::Integer(-7),
                Reply::Array(vec![Reply::Null, Reply::Error("ERR no".into())]),
            ])
        );
    }

    #[test]
    fn hostile_answers_end_in_an_error() {
        let limit = Duration::from_secs(20);
        for answer in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"$99999999999\r\n",
            b"$-2\r\n",
            b"*100000\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
            b"$1\r\nabc",
            b"\r\n",
            b"+\n",
        ] {
            let error = against(answer, limit).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error} after {answer:?}");
        }
    }

    #[test]
    fn a_silent_peer_is_a_timeout() {
        let error = against(b"$3\r\nab", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "no answer in time");
    }
}
