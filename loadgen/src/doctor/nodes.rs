//! The nodes: whether they answer, how far away they are, what they keep, and what time they have.

use std::time::Duration;

use super::{Finding, Level};
use crate::clock::{self, NS_PER_MS, NS_PER_US};
use crate::cluster::node_name;
use crate::cluster::probe::{self, NodeFacts};
use crate::cluster::resp::{Connection, Reply};
use crate::cluster::url::NodeUrl;
use crate::num;
use crate::report::format::ns;

const PINGS: usize = 200;
const LIMIT: Duration = Duration::from_secs(2);
/// Clocks further apart than this are not kept by NTP.
const APART_NS: u64 = 100 * NS_PER_MS;

pub(super) fn look(urls: &[NodeUrl]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut offsets: Vec<i128> = Vec::new();
    for (at, url) in urls.iter().enumerate() {
        let name = node_name(at);
        match probe::facts(url) {
            Err(error) => findings.push(Finding::bad(
                &name,
                Level::Impossible,
                error.to_string(),
                "start the node, or correct its URL in --nodes",
            )),
            Ok(facts) => {
                findings.push(about(&name, &facts));
                findings.push(distance(&name, url));
                findings.extend(eviction(&name, url, &facts));
                findings.push(persistence(&name, &facts));
                offsets.extend(offset_ns(url));
            }
        }
    }
    if urls.len() > 1 && offsets.len() == urls.len() {
        findings.push(clocks(&offsets));
    }
    if urls.len() == 2 || urls.len() == 4 {
        findings.push(Finding::bad(
            "nodes",
            Level::Warning,
            format!("{}: an even number", urls.len()),
            "one node more tolerates one failure more; use 3 or 5",
        ));
    }
    findings
}

fn about(name: &str, facts: &NodeFacts) -> Finding {
    let text = |of: &Option<String>| of.clone().unwrap_or_else(|| "unknown".to_owned());
    Finding::good(name, format!("{} {}", text(&facts.server), text(&facts.version)))
}

fn distance(name: &str, url: &NodeUrl) -> Finding {
    let name = format!("{name} PING");
    match probe::ping_rtt(url, PINGS) {
        Err(_) => Finding::unknown(&name),
        Ok((p50, p99)) => {
            let [p50, p99] = [p50, p99].map(|of| num::u64_of(of.as_nanos()));
            let found = format!("{} p50, {} p99 of {PINGS}", ns(p50), ns(p99));
            let remedy = "single answers take many times the usual: the network or the node is \
                          busy; every lock needs a majority of such answers";
            let is_uneven = p99 > (10 * p50).max(2 * NS_PER_MS);
            Finding::warn_if(is_uneven, &name, found, remedy)
        }
    }
}

/// Only a node that may run out of memory evicts anything.
fn eviction(name: &str, url: &NodeUrl, facts: &NodeFacts) -> Option<Finding> {
    let policy = facts.maxmemory_policy.as_deref()?;
    let most = setting(url, "maxmemory");
    let name = format!("{name} memory");
    let found = format!("maxmemory {}, {policy}", most.as_deref().unwrap_or("unknown"));
    let can_evict = policy != "noeviction" && most.as_deref() != Some("0");
    let remedy = "a lock that is evicted is lost: `CONFIG SET maxmemory-policy noeviction`";
    Some(Finding::warn_if(can_evict, &name, found, remedy))
}

fn setting(url: &NodeUrl, name: &str) -> Option<String> {
    let mut connection = Connection::open(url, LIMIT).ok()?;
    match connection.call(&["CONFIG", "GET", name]).ok()? {
        Reply::Array(pair) => pair.get(1).and_then(Reply::text),
        _ => None,
    }
}

fn persistence(name: &str, facts: &NodeFacts) -> Finding {
    let name = format!("{name} keeps");
    let (Some(save), Some(log)) = (&facts.save, &facts.appendonly) else {
        return Finding::unknown(&name);
    };
    let found = match (save.is_empty(), log.as_str()) {
        (true, "no") => {
            "nothing: after a restart it votes again when all older locks have expired".to_owned()
        }
        (true, _) => format!("an append-only log ({log})"),
        (false, "no") => format!("snapshots ({save})"),
        (false, _) => format!("snapshots ({save}) and an append-only log"),
    };
    let remedy = "a fork for a snapshot stalls the node: `CONFIG SET save ''` while measuring";
    Finding::warn_if(!save.is_empty(), &name, found, remedy)
}

/// By how much the node's clock is ahead of this machine's, to half a round trip.
fn offset_ns(url: &NodeUrl) -> Option<i128> {
    let mut connection = Connection::open(url, LIMIT).ok()?;
    connection.ping().ok()?;
    let sent = i128::from(clock::wall_ns());
    let Reply::Array(parts) = connection.call(&["TIME"]).ok()? else { return None };
    let middle = (sent + i128::from(clock::wall_ns())) / 2;
    let number = |at: usize| parts.get(at).and_then(Reply::text)?.parse::<i128>().ok();
    let micros = number(0)?.checked_mul(1_000_000)?.checked_add(number(1)?)?;
    Some(micros.checked_mul(i128::from(NS_PER_US))? - middle)
}

fn clocks(offsets: &[i128]) -> Finding {
    let most = offsets.iter().max().copied().unwrap_or(0);
    let least = offsets.iter().min().copied().unwrap_or(0);
    let apart = u64::try_from(most - least).unwrap_or(u64::MAX);
    let found = format!("{} apart, by their TIME", ns(apart));
    let remedy = "locks do not need equal clocks, only equal seconds; but nothing keeps these \
                  right: run an NTP daemon on the nodes";
    Finding::warn_if(apart > APART_NS, "clocks of nodes", found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_told() {
        assert_eq!(clocks(&[5, -5, 0]).level, Level::Good);
        let far = clocks(&[3_000_000_000, -1_000_000_000]);
        assert_eq!((far.level, far.found.as_str()), (Level::Warning, "4.00s apart, by their TIME"));
    }

    #[test]
    fn what_a_node_keeps_is_put_into_words() {
        let keeps = |save: Option<&str>, log: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let facts = NodeFacts { save: own(save), appendonly: own(log), ..NodeFacts::default() };
            let finding = persistence("n1", &facts);
            (finding.level, finding.found)
        };
        assert!(keeps(Some(""), Some("no")).1.starts_with("nothing"));
        assert_eq!(keeps(Some(""), Some("yes")).0, Level::Good);
        assert_eq!(keeps(Some("3600 1"), Some("no")).0, Level::Warning);
        assert_eq!(keeps(None, Some("no")).0, Level::Unknown);
    }

    #[test]
    fn a_node_that_does_not_answer_makes_a_run_impossible() {
        let url: NodeUrl = "unix:///nowhere/redis.sock".parse().unwrap();
        let findings = look(&[url]);
        assert_eq!(findings[0].level, Level::Impossible);
        assert!(findings[0].found.contains("nowhere"), "{}", findings[0].found);
    }
}
