//! What is done to the data of a node: all of it forgotten, or the run's keys made to expire early.

use std::io;
use std::time::Duration;

use crate::clock::{NS_PER_MS, now_ns};
use crate::cluster::resp::{Connection, Reply, shown};
use crate::cluster::url::NodeUrl;

const LIMIT: Duration = Duration::from_secs(2);
/// One sweep at most; what it did not come to, the next one does.
const SWEEP_NS: u64 = 200 * NS_PER_MS;
const SCAN_COUNT: &str = "512";

/// FLUSHALL.
pub(crate) fn flush(url: &NodeUrl) -> io::Result<()> {
    match Connection::open(url, LIMIT)?.call(&["FLUSHALL"])? {
        Reply::Simple(_) => Ok(()),
        other => Err(io::Error::other(format!("the answer to FLUSHALL is {}", shown(&other)))),
    }
}

/// Cuts the time to live of every key that begins with `prefix` to so many thousandths; how many
/// keys that were. It ends after one walk or [`SWEEP_NS`].
pub(crate) fn shrink(url: &NodeUrl, prefix: &str, permille: u16) -> io::Result<u64> {
    let mut connection = Connection::open(url, LIMIT)?;
    let pattern = pattern(prefix);
    let end_ns = now_ns().saturating_add(SWEEP_NS);
    let (mut cursor, mut cut) = ("0".to_owned(), 0);
    loop {
        let scan = ["SCAN", &cursor, "MATCH", &pattern, "COUNT", SCAN_COUNT];
        let (next, keys) = match connection.call(&scan)? {
            Reply::Array(both) => match <[Reply; 2]>::try_from(both) {
                Ok([next, Reply::Array(keys)]) => (next.text().unwrap_or_default(), keys),
                _ => return Err(io::Error::other("the answer to SCAN has another form")),
            },
            other => {
                let text = format!("the answer to SCAN is {}", shown(&other));
                return Err(io::Error::other(text));
            }
        };
        for key in keys.iter().filter_map(Reply::text) {
            // Gone meanwhile, or without an end: not a lock.
            let Reply::Integer(left_ms @ 1..) = connection.call(&["PTTL", &key])? else { continue };
            let kept_ms = (left_ms.saturating_mul(permille.into()) / 1_000).max(1);
            let done = connection.call(&["PEXPIRE", &key, &kept_ms.to_string()])?;
            cut += u64::from(done == Reply::Integer(1));
        }
        if next == "0" || next.is_empty() || now_ns() >= end_ns {
            return Ok(cut);
        }
        cursor = next;
    }
}

/// A pattern of SCAN that means what begins with `prefix`, whatever characters that has.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for c in prefix.chars() {
        if "*?[]^-\\".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterOptions;
    use crate::cluster::local::tests::real_cluster;

    #[test]
    fn only_the_keys_of_the_run_are_cut_and_a_flush_forgets_all() {
        let options = ClusterOptions { nodes: 1, ..ClusterOptions::default() };
        let Some(cluster) = real_cluster(options) else { return };
        let url = cluster.urls()[0].clone();
        let mut connection = Connection::open(&url, LIMIT).unwrap();
        let mut call = |words: &[&str]| connection.call(words).unwrap();
        for n in 0..2_000 {
            call(&["SET", &format!("l*g:{n}"), "x", "PX", "100000"]);
        }
        call(&["SET", "log:1", "x", "PX", "100000"]);
        call(&["SET", "l*g:ever", "x"]);
        let mut cut = shrink(&url, "l*g:", 100).unwrap();
        // A slow machine may need several sweeps; no key is counted that was not cut.
        assert!((1..=2_000).contains(&cut), "{cut}");
        for _ in 0..100 {
            let Reply::Integer(left) = call(&["PTTL", "l*g:77"]) else { panic!() };
            if left <= 10_000 {
                break;
            }
            cut += shrink(&url, "l*g:", 100).unwrap();
        }
        let Reply::Integer(left) = call(&["PTTL", "l*g:77"]) else { panic!() };
        assert!((-2..=10_000).contains(&left), "{left} after {cut}");
        let Reply::Integer(other) = call(&["PTTL", "log:1"]) else { panic!() };
        assert!(other > 10_000, "{other}");
        assert_eq!(call(&["PTTL", "l*g:ever"]), Reply::Integer(-1));
        flush(&url).unwrap();
        assert_eq!(call(&["DBSIZE"]), Reply::Integer(0));
    }
}
