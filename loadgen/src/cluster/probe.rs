//! What loadgen asks a node, its own or a foreign one, for the report: who it is, how it is
//! configured, what it has done so far, and how far away it is.
//!
//! Invariant: what a node refuses to tell (CONFIG under an ACL, fields of another server) is
//! `None`, never a guess and never an error.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::resp::{Connection, Reply, shown};
use super::server;
use super::url::NodeUrl;
use crate::clock::now_ns;

const LIMIT: Duration = Duration::from_secs(2);
const MAX_PINGS: usize = 100_000;

#[derive(Debug, thiserror::Error)]
#[error("cannot ask node {url}: {source}")]
pub(crate) struct ProbeError {
    url: NodeUrl,
    source: io::Error,
}

/// Counters of a node since its start; the difference of two of these is a run's share.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct NodeCounters {
    /// Differs between two readings when the node was restarted: their difference means nothing.
    pub(crate) run_id: Option<String>,
    /// Commands, over all kinds; with those inside scripts where the node tells kinds apart.
    pub(crate) commands: Option<u64>,
    /// The same by kind; empty where the node does not tell kinds apart.
    pub(crate) kinds: BTreeMap<String, u64>,
    pub(crate) cpu_system_s: Option<f64>,
    pub(crate) cpu_user_s: Option<f64>,
    pub(crate) reads: Option<u64>,
    pub(crate) writes: Option<u64>,
}

/// Who a node is and what it keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeFacts {
    /// `redis`, `valkey`, `test node`, or what the node calls itself.
    pub(crate) server: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) save: Option<String>,
    pub(crate) appendonly: Option<String>,
    pub(crate) maxmemory_policy: Option<String>,
}

/// Reads the counters of the node at `url`.
pub(crate) fn probe(url: &NodeUrl) -> Result<NodeCounters, ProbeError> {
    let read = || read_counters(&mut Connection::open(url, LIMIT)?);
    read().map_err(|source| ProbeError { url: url.clone(), source })
}

/// What [`read_counters`] asks, each an INFO of its own. The kinds of commands come last, so that
/// two readings on one connection are exactly as many of them apart.
const SECTIONS: [&str; 4] = ["server", "stats", "cpu", "commandstats"];

/// INFO commands of one reading.
pub(crate) const READING_INFOS: u64 = SECTIONS.len() as u64;

/// Reads the counters of the node at the other end.
pub(crate) fn read_counters(connection: &mut Connection) -> io::Result<NodeCounters> {
    let texts = SECTIONS.into_iter().map(|section| info(connection, section));
    Ok(counters(&texts.collect::<io::Result<Vec<_>>>()?.concat()))
}

/// Reads who the node at `url` is and how it is configured.
pub(crate) fn facts(url: &NodeUrl) -> Result<NodeFacts, ProbeError> {
    let read = || {
        let mut connection = Connection::open(url, LIMIT)?;
        let (server, version) = identity(&mut connection)?;
        Ok(NodeFacts {
            server,
            version,
            save: config(&mut connection, "save")?,
            appendonly: config(&mut connection, "appendonly")?,
            maxmemory_policy: config(&mut connection, "maxmemory-policy")?,
        })
    };
    read().map_err(|source| ProbeError { url: url.clone(), source })
}

/// Round-trip times of `count` PINGs one after the other on one connection: median and p99.
pub(crate) fn ping_rtt(url: &NodeUrl, count: usize) -> Result<(Duration, Duration), ProbeError> {
    let read = || {
        let mut connection = Connection::open(url, LIMIT)?;
        connection.ping()?;
        let mut times = Vec::with_capacity(count.clamp(1, MAX_PINGS));
        for _ in 0..count.clamp(1, MAX_PINGS) {
            let start = now_ns();
            connection.ping()?;
            times.push(now_ns().saturating_sub(start));
        }
        times.sort_unstable();
        Ok((percentile(&times, 50), percentile(&times, 99)))
    };
    read().map_err(|source| ProbeError { url: url.clone(), source })
}

/// Whether the node at `url` answers at all, within `limit`.
pub(crate) fn answers(url: &NodeUrl, limit: Duration) -> bool {
    Connection::open(url, limit).and_then(|mut connection| connection.ping()).is_ok()
}

/// The pid of the server at the other end.
pub(super) fn process_id(connection: &mut Connection) -> io::Result<i64> {
    let text = info(connection, "server")?;
    field(&text, "process_id").ok_or_else(|| io::Error::other("the node does not tell its pid"))
}

/// What tells this server process from its next.
pub(super) fn run_id(connection: &mut Connection) -> io::Result<Option<String>> {
    Ok(field(&info(connection, "server")?, "run_id"))
}

/// Nearest rank: the smallest value that at least `percent` per cent of all do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    Duration::from_nanos(sorted.get(rank).copied().unwrap_or(0))
}

fn info(connection: &mut Connection, section: &str) -> io::Result<String> {
    let reply = connection.call(&["INFO", section])?;
    match &reply {
        Reply::Bulk(_) => Ok(reply.text().unwrap_or_default()),
        // An unknown command or section, or no permission: nothing is told.
        Reply::Error(text) if !is_refusal(text) => Ok(String::new()),
        _ => Err(io::Error::other(format!("the answer to INFO is {}", shown(&reply)))),
    }
}

/// Errors that mean "this connection may ask nothing", unlike "there is no such command".
fn is_refusal(text: &str) -> bool {
    ["NOAUTH", "LOADING", "MASTERDOWN"].iter().any(|word| text.starts_with(word))
}

fn config(connection: &mut Connection, name: &str) -> io::Result<Option<String>> {
    match connection.call(&["CONFIG", "GET", name])? {
        Reply::Array(pair) => Ok(pair.get(1).and_then(Reply::text)),
        _ => Ok(None),
    }
}

/// By HELLO, which every server since Redis 6 has; Valkey's INFO calls itself a Redis as well.
fn identity(connection: &mut Connection) -> io::Result<(Option<String>, Option<String>)> {
    let text = info(connection, "server")?;
    if let Some(version) = field::<String>(&text, "valkey_version") {
        return Ok((Some("valkey".to_owned()), Some(version)));
    }
    if let Some(version) = field::<String>(&text, "redlatch_test_node") {
        return Ok((Some(server::TEST_NODE_NAME.to_owned()), Some(version)));
    }
    if let Reply::Array(fields) = connection.call(&["HELLO"])? {
        let value = |name: &str| {
            let mut pairs = fields.chunks_exact(2);
            pairs.find_map(|pair| match pair {
                [key, value] if key.text().as_deref() == Some(name) => value.text(),
                _ => None,
            })
        };
        return Ok((value("server"), value("version")));
    }
    let version: Option<String> = field(&text, "redis_version");
    Ok((version.as_ref().map(|_| "redis".to_owned()), version))
}

fn field<T: std::str::FromStr>(info: &str, name: &str) -> Option<T> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned);
    info.lines().find_map(value)?.trim().parse().ok()
}

fn counters(info: &str) -> NodeCounters {
    let calls = |line: &str| -> Option<(String, u64)> {
        let (kind, values) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((kind.to_owned(), values.split(',').next()?.trim().parse().ok()?))
    };
    let kinds: BTreeMap<String, u64> = info.lines().filter_map(calls).collect();
    let sum = kinds.values().copied().reduce(u64::saturating_add);
    NodeCounters {
        run_id: field(info, "run_id"),
        // The test node has the sum alone.
        commands: sum.or_else(|| field(info, "total_commands_processed")),
        kinds,
        cpu_system_s: field(info, "used_cpu_sys"),
        cpu_user_s: field(info, "used_cpu_user"),
        reads: field(info, "total_reads_processed"),
        writes: field(info, "total_writes_processed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_out_of_info_and_missing_ones_stay_unknown() {
        let info = "# Server\r\nrun_id:abc\r\nused_cpu_sys:1.5\r\nused_cpu_sys_children:9\r\n\
                    total_reads_processed:7\r\ncmdstat_set:calls=3,usec=1\r\n\
                    cmdstat_client|setname:calls=4,usec=1\r\ncmdstat_bad:calls=x\r\n";
        let read = counters(info);
        assert_eq!(read.run_id.as_deref(), Some("abc"));
        assert_eq!((read.commands, read.reads, read.writes), (Some(7), Some(7), None));
        assert_eq!(read.kinds.get("client|setname"), Some(&4));
        assert_eq!((read.cpu_system_s, read.cpu_user_s), (Some(1.5), None));
        assert_eq!(counters(""), NodeCounters::default());
        assert_eq!(counters("total_commands_processed:5\r\n").commands, Some(5));
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let times: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&times, 50).as_nanos(), 50);
        assert_eq!(percentile(&times, 99).as_nanos(), 99);
        assert_eq!(percentile(&[8], 99).as_nanos(), 8);
        assert_eq!(percentile(&[], 50).as_nanos(), 0);
    }
}
