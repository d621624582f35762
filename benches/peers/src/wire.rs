//! A blocking client of one node for everything around a measurement: INFO, FLUSHALL, checks.
//! It is never used inside a measured cycle.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Simple(String),
    Integer(i64),
    Bulk(Option<String>),
}

#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn command(&mut self, args: &[&str]) -> io::Result<Reply> {
        let mut frame = format!("*{}\r\n", args.len());
        for arg in args {
            frame.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
        }
        self.stream.get_mut().write_all(frame.as_bytes())?;
        self.reply()
    }

    /// A reply that is text, of either kind.
    pub(crate) fn text(&mut self, args: &[&str]) -> io::Result<String> {
        match self.command(args)? {
            Reply::Simple(text) | Reply::Bulk(Some(text)) => Ok(text),
            other => Err(io::Error::other(format!("{args:?} answered {other:?}"))),
        }
    }

    pub(crate) fn integer(&mut self, args: &[&str]) -> io::Result<i64> {
        match self.command(args)? {
            Reply::Integer(value) => Ok(value),
            other => Err(io::Error::other(format!("{args:?} answered {other:?}"))),
        }
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.trim_end_matches("\r\n");
        let bad = || io::Error::other(format!("unexpected reply line {line:?}"));
        let (kind, rest) = line.split_at_checked(1).ok_or_else(bad)?;
        match kind {
            "+" => Ok(Reply::Simple(rest.to_owned())),
            "-" => Err(io::Error::other(rest.to_owned())),
            ":" => rest.parse().map(Reply::Integer).map_err(|_| bad()),
            "$" if rest == "-1" => Ok(Reply::Bulk(None)),
            "$" => {
                let length: usize = rest.parse().map_err(|_| bad())?;
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Ok(Reply::Bulk(Some(String::from_utf8_lossy(&bytes).into_owned())))
            }
            _ => Err(bad()),
        }
    }
}

/// One field of an INFO text.
pub(crate) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}
