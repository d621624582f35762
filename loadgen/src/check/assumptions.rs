//! What quorum locks assume, and which faults break it: no majority of the nodes may forget a lock,
//! or let it expire early, while somebody holds it. A run that does this on purpose shows what
//! happens then; that is expected, and no fault of the lock.
//!
//! Reads the faults by their texts, KIND@START..:TARGET, so that it knows no more of them than a
//! history or a result does. Nodes that restart are not among them: their votes do not count until
//! every lock they may have forgotten has expired.

use crate::config::RunConfig;
use crate::values;

/// Kinds of faults after which a node does not know its locks any more.
const FORGETTING: [(&str, &str); 2] =
    [("flush", "forget their locks"), ("ttl-shrink", "let locks expire early")];

/// What was broken, in words; empty if nothing was.
pub(crate) fn broken(config: &RunConfig, nodes: usize) -> Vec<String> {
    let majority = nodes / 2 + 1;
    let hits: Vec<Hit<'_>> =
        config.faults.iter().filter_map(|fault| Hit::of(fault, nodes)).collect();
    let mut broken: Vec<String> = Vec::new();
    for (at, hit) in hits.iter().enumerate() {
        // Locks that were held at the first can be held at all that follow within a ttl.
        let together = hits.iter().enumerate().filter(|(other, of)| {
            let after = of.at_ns.checked_sub(hit.at_ns);
            *other == at || after.is_some_and(|after| after <= config.max_ttl_ns && *other > at)
        });
        let mut named: Vec<&str> = Vec::new();
        let mut count = 0;
        for (_, of) in together {
            match of.node {
                Some(node) if named.contains(&node) => {}
                Some(node) => {
                    named.push(node);
                    count += of.count;
                }
                None => count += of.count,
            }
        }
        if nodes > 0 && count >= majority {
            let what = hit.what;
            broken.push(format!("{count} of {nodes} nodes {what} within one ttl (`{}`)", hit.text));
        }
    }
    broken.truncate(4);
    broken
}

/// One fault that makes nodes forget.
#[derive(Clone, Copy, Debug)]
struct Hit<'a> {
    text: &'a str,
    what: &'static str,
    at_ns: u64,
    count: usize,
    /// The one that was named.
    node: Option<&'a str>,
}

impl<'a> Hit<'a> {
    fn of(text: &'a str, nodes: usize) -> Option<Self> {
        let (kind, rest) = text.split_once('@')?;
        let (_, what) = FORGETTING.into_iter().find(|(known, _)| *known == kind)?;
        let when = rest.split(['/', ':', ',']).next()?;
        let target = rest.split_once(':').map_or("one", |(_, target)| target);
        let target = target.split(',').next().unwrap_or(target);
        let node = target.strip_prefix("node=");
        let count = match target {
            "all" => nodes,
            "majority" => nodes / 2 + 1,
            "minority" => nodes.saturating_sub(1) / 2,
            _ => 1,
        };
        let at_ns = values::duration(when).ok()?;
        Some(Self { text, what, at_ns, count, node })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken_by(faults: &[&str]) -> usize {
        let faults = faults.iter().map(|&fault| fault.to_owned()).collect();
        let config = RunConfig { faults, ..RunConfig::for_tests() };
        broken(&config, 5).len()
    }

    #[test]
    fn a_majority_that_forgets_breaks_the_assumption_and_a_minority_does_not() {
        assert_eq!(broken_by(&["flush@2s:majority"]), 1);
        assert_eq!(broken_by(&["flush@2s/1s:all"]), 1);
        assert_eq!(broken_by(&["ttl-shrink@2s/3s:majority,factor=0.1"]), 1);
        assert_eq!(broken_by(&["flush@2s", "flush@3s:minority", "pause@1s/1s:majority"]), 1);
        assert_eq!(broken_by(&["flush@2s:minority"]), 0);
        assert_eq!(broken_by(&["kill@2s/1s:majority", "nonsense"]), 0);
        // Of ttl 10 s, nothing is left after 11.
        assert_eq!(broken_by(&["flush@2s:minority", "flush@13s"]), 0);
        assert_eq!(broken_by(&["flush@2s:node=1", "flush@3s:node=1", "flush@4s:node=1"]), 0);
        assert_eq!(broken_by(&["flush@2s:node=1", "flush@3s:node=2", "flush@4s:node=3"]), 1);
    }
}
