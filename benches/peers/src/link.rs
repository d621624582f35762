//! The probe's sockets: non-blocking, one outbox and one queue of awaited replies each.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::time::Timespec;

use crate::Result;

const READ_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Set,
    Delete,
}

/// A frame whose reply is awaited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) verb: Verb,
}

#[derive(Debug)]
struct Link {
    stream: TcpStream,
    outbox: Vec<u8>,
    written: usize,
    inbox: Vec<u8>,
    /// Bytes of `inbox` that were received.
    filled: usize,
    pending: VecDeque<Pending>,
    is_blocked: bool,
}

pub(crate) struct Links {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    links: Vec<Link>,
}

impl Links {
    pub(crate) fn connect(ports: &[u16]) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut links = Vec::with_capacity(ports.len());
        for (index, port) in ports.iter().enumerate() {
            let stream = TcpStream::connect(("127.0.0.1", *port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
            links.push(Link {
                stream,
                outbox: Vec::with_capacity(READ_BYTES),
                written: 0,
                inbox: vec![0; READ_BYTES],
                filled: 0,
                pending: VecDeque::new(),
                is_blocked: false,
            });
        }
        Ok(Self { epoll, events: Vec::with_capacity(16), links })
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether every frame was written and answered.
    pub(crate) fn is_drained(&self) -> bool {
        self.links.iter().all(|link| link.pending.is_empty())
    }

    /// Queues `frame` for every node.
    pub(crate) fn push_all(&mut self, frame: &[u8], pending: Pending) {
        for link in &mut self.links {
            link.outbox.extend_from_slice(frame);
            link.pending.push_back(pending);
        }
    }

    /// Writes what is queued, one write per socket unless the socket is full.
    pub(crate) fn flush(&mut self) -> Result<()> {
        for (index, link) in self.links.iter_mut().enumerate() {
            if link.outbox.is_empty() || link.is_blocked {
                continue;
            }
            let rest = link.outbox.get(link.written..).unwrap_or_default();
            match link.stream.write(rest) {
                Ok(count) => link.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => (),
                Err(error) => return Err(error.into()),
            }
            let is_done = link.written == link.outbox.len();
            if is_done {
                link.outbox.clear();
                link.written = 0;
            } else {
                link.is_blocked = true;
                let flags = EventFlags::IN | EventFlags::OUT;
                epoll::modify(&self.epoll, &link.stream, EventData::new_u64(index as u64), flags)?;
            }
        }
        Ok(())
    }

    /// Waits for sockets to read, 50 ms at most; unblocks those that can be written again.
    pub(crate) fn wait(&mut self) -> Result<Readable> {
        let limit = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            Some(&limit),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
        let mut readable = Readable::default();
        for event in &self.events {
            // The kernel packs this struct: copy before use.
            let (data, flags) = (event.data, event.flags);
            let index = data.u64() as usize;
            let Some(link) = self.links.get_mut(index) else { continue };
            if flags.contains(EventFlags::OUT) {
                link.is_blocked = false;
                epoll::modify(&self.epoll, &link.stream, data, EventFlags::IN)?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                readable.0 |= 1 << index;
            }
        }
        Ok(readable)
    }

    /// Reads one socket once and appends the complete replies with what they answer.
    pub(crate) fn read(
        &mut self,
        index: usize,
        replies: &mut Vec<(Pending, Result<bool, String>)>,
    ) -> Result<()> {
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        let space = link.inbox.get_mut(link.filled..).unwrap_or_default();
        match link.stream.read(space) {
            Ok(0) => return Err(format!("node {index} closed the connection").into()),
            Ok(count) => link.filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut at = 0;
        while let Some((reply, length)) = parse(link.inbox.get(at..link.filled).unwrap_or_default())
        {
            let pending = link.pending.pop_front().ok_or("a reply that nothing asked for")?;
            replies.push((pending, reply));
            at += length;
        }
        link.inbox.copy_within(at..link.filled, 0);
        link.filled -= at;
        Ok(())
    }
}

/// Indices of sockets to read, lowest first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readable(u32);

impl Iterator for Readable {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let index = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(index as usize)
    }
}

/// One reply and its length in bytes: all that SET NX and the release script answer is one line.
fn parse(bytes: &[u8]) -> Option<(Result<bool, String>, usize)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes.get(..end.checked_sub(1)?)?;
    let reply = match line {
        b"+OK" | b":1" => Ok(true),
        b"$-1" | b"_" | b":0" => Ok(false),
        other => Err(String::from_utf8_lossy(other).into_owned()),
    };
    Some((reply, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_parsed_only_when_complete() {
        let stream = b"+OK\r\n:1\r\n$-1\r\n:0\r\n-ERR no\r\n";
        for cut in 0..stream.len() {
            let (mut at, mut seen) = (0, Vec::new());
            for end in [cut, stream.len()] {
                while let Some((reply, length)) = parse(&stream[at..end]) {
                    at += length;
                    seen.push(reply);
                }
            }
            let expected = [Ok(true), Ok(true), Ok(false), Ok(false), Err("-ERR no".to_owned())];
            assert_eq!(seen, expected, "cut at {cut}");
        }
    }

    #[test]
    fn readable_lists_each_socket_once() {
        assert_eq!(Readable(0b1011).collect::<Vec<_>>(), [0, 1, 3]);
    }
}
