//! Ports for local nodes, outside the range the kernel gives to outgoing connections.
//!
//! A killed node must get its own port back, and an outgoing connection could take one of the
//! ephemeral range meanwhile.
//!
//! Invariants:
//! 1. A leased port is locked against every other loadgen of this user until the lease is dropped.
//! 2. A port on which something listens is never leased.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FlockOperation, flock};

const FIRST: u16 = 20_000;
const COUNT: u32 = 12_000;

/// A port that is ours as long as this lives.
#[derive(Debug)]
pub(crate) struct PortLease {
    port: u16,
    _lock: File,
}

impl PortLease {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("port lock '{0}' cannot be used: {1}")]
    Lock(String, io::Error),
    #[error("every port from 20000 to 31999 is taken; use --transport unix, which needs none")]
    AllTaken,
}

/// Walks the ports once, from a place that differs between processes.
#[derive(Debug)]
pub(crate) struct PortSearch {
    start: u32,
    next: AtomicU32,
    ephemeral: RangeInclusive<u16>,
    taken: Vec<u16>,
}

impl PortSearch {
    /// `taken`: ports of clusters that are left running, whose locks nobody holds.
    pub(crate) fn new(taken: Vec<u16>) -> Self {
        // An odd multiplier far from the range's size spreads neighbouring pids.
        let start = std::process::id().wrapping_mul(2_654_435_761) % COUNT;
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let ephemeral = parse_range(&text.unwrap_or_default()).unwrap_or(32_768..=60_999);
        Self { start, next: AtomicU32::new(0), ephemeral, taken }
    }

    /// The next port that is free and could be locked under `dir`.
    pub(crate) fn lease(&self, dir: &Path) -> Result<PortLease, PortError> {
        fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
        loop {
            let step = self.next.fetch_add(1, Ordering::Relaxed);
            if step >= COUNT {
                return Err(PortError::AllTaken);
            }
            let offset = u16::try_from((self.start + step) % COUNT).unwrap_or(0);
            let port = FIRST + offset;
            if self.is_ephemeral(port) || self.taken.contains(&port) {
                continue;
            }
            if let Some(lock) = lock(&dir.join(port.to_string()))?
                && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            {
                return Ok(PortLease { port, _lock: lock });
            }
        }
    }

    /// False where the machine leaves no other port below 32000.
    fn is_ephemeral(&self, port: u16) -> bool {
        let all = *self.ephemeral.start() <= FIRST && *self.ephemeral.end() >= FIRST + 11_999;
        !all && self.ephemeral.contains(&port)
    }
}

fn lock(path: &Path) -> Result<Option<File>, PortError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|error| failed(path, error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(failed(path, error.into())),
    }
}

fn failed(path: &Path, error: io::Error) -> PortError {
    PortError::Lock(path.display().to_string(), error)
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_ascii_whitespace();
    let (first, last) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::local::tests::TempDir;

    #[test]
    fn two_leases_never_share_a_port_and_a_dropped_one_is_free_again() {
        let dir = TempDir::new("ports");
        let search = PortSearch::new(vec![]);
        let other = PortSearch::new(vec![]);
        let first = search.lease(dir.path()).unwrap();
        let second = other.lease(dir.path()).unwrap();
        assert_ne!(first.port(), second.port());
        let port = first.port();
        drop(first);
        assert!(lock(&dir.path().join(port.to_string())).unwrap().is_some());
        assert!(lock(&dir.path().join(second.port().to_string())).unwrap().is_none());
        assert_ne!(PortSearch::new(vec![port]).lease(dir.path()).unwrap().port(), port);
    }

    #[test]
    fn a_port_somebody_listens_on_is_passed_over() {
        let dir = TempDir::new("ports-busy");
        let port = PortSearch::new(vec![]).lease(dir.path()).unwrap().port();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(PortSearch::new(vec![]).lease(dir.path()).unwrap().port(), port);
    }

    #[test]
    fn ephemeral_ports_are_avoided_unless_there_is_no_other() {
        let mut search = PortSearch::new(vec![]);
        search.ephemeral = 25_000..=60_999;
        assert!(search.is_ephemeral(25_000) && !search.is_ephemeral(24_999));
        search.ephemeral = 1_024..=60_999;
        assert!(!search.is_ephemeral(25_000));
        assert_eq!(parse_range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(parse_range("32768"), None);
    }

    #[test]
    fn a_search_ends() {
        let dir = TempDir::new("ports-end");
        let search = PortSearch::new((FIRST..=31_999).collect());
        assert!(matches!(search.lease(dir.path()), Err(PortError::AllTaken)));
    }
}
