//! Whether a lock can be had at all, asked before anything is measured: nodes that may have
//! forgotten locks are connected, but do not vote yet.

use std::time::Duration;

use redlatch::{NodeState, Redlock};

/// For nodes that were slower to connect than a quorum of the others.
const PATIENCE: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_millis(10);

/// Returns once enough nodes may vote, or says why that takes longer and what to do.
pub(super) async fn wait_for(locks: &Redlock, urls: &[String]) -> Result<(), String> {
    let look = || {
        let nodes = locks.nodes();
        Votes::of(&nodes.iter().map(|node| (node.state, node.quarantine)).collect::<Vec<_>>())
    };
    let wait = async {
        while look() == Votes::Unknown {
            tokio::time::sleep(EVERY).await;
        }
    };
    // Whoever is silent for that long is the run's matter, as it would be later.
    let _ = tokio::time::timeout(PATIENCE, wait).await;
    match look() {
        Votes::Enough | Votes::Unknown => Ok(()),
        Votes::NotBefore(left) => {
            let mut waiting = locks.nodes();
            waiting.retain(|node| node.state == NodeState::Quarantined);
            let waiting: Vec<String> = waiting.into_iter().map(|node| node.endpoint).collect();
            Err(advice(&waiting, left, urls))
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Votes {
    Enough,
    /// Some nodes are not connected, and what they will be decides.
    Unknown,
    /// Too many nodes do not vote yet; by then enough of them will.
    NotBefore(Duration),
}

impl Votes {
    /// From every node's state, and how much longer its votes do not count.
    fn of(nodes: &[(NodeState, Option<Duration>)]) -> Self {
        let quorum = nodes.len() / 2 + 1;
        let up = nodes.iter().filter(|(state, _)| *state == NodeState::Up).count();
        if up >= quorum {
            return Self::Enough;
        }
        let held_back = nodes.iter().filter(|(state, _)| *state == NodeState::Quarantined);
        let mut left: Vec<Duration> = held_back.map(|(_, left)| left.unwrap_or_default()).collect();
        // With a quorum beside them they are not needed.
        if nodes.len() - left.len() >= quorum {
            return Self::Unknown;
        }
        left.sort_unstable();
        let enough = left.get(quorum - up - 1).or_else(|| left.last());
        Self::NotBefore(enough.copied().unwrap_or_default())
    }
}

fn advice(waiting: &[String], left: Duration, urls: &[String]) -> String {
    let hidden = |url: &str| match url.rsplit_once('@') {
        Some((secret, address)) => {
            let scheme = secret.split_once("://").map_or("redis", |(scheme, _)| scheme);
            format!("{scheme}://…@{address}")
        }
        None => url.to_owned(),
    };
    let urls: Vec<String> = urls.iter().map(|url| hidden(url)).collect();
    format!(
        "no lock can be had for another {left:.1?}, because {} may have forgotten locks that are \
         still valid; run again after that. Only if this fleet is new and nobody holds a lock on \
         it, open it before its first use:\n  loadgen nodes init --nodes {}",
        waiting.join(", "),
        urls.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use NodeState::{Connecting, Down, Quarantined, Up};

    #[test]
    fn what_the_nodes_say_decides_or_how_long_it_takes_until_enough_of_them_vote() {
        let of = |states: &[NodeState]| {
            let left = |at| Some(Duration::from_secs(at));
            let nodes = states.iter().zip(1..);
            let nodes =
                nodes.map(|(&state, at)| (state, left(at).filter(|_| state == Quarantined)));
            Votes::of(&nodes.collect::<Vec<_>>())
        };
        let not_before = |seconds| Votes::NotBefore(Duration::from_secs(seconds));
        assert_eq!(of(&[Up, Up, Quarantined]), Votes::Enough);
        assert_eq!(of(&[Up, Connecting, Quarantined]), Votes::Unknown);
        assert_eq!(of(&[Up, Quarantined, Quarantined]), not_before(2), "one more is enough");
        assert_eq!(of(&[Down, Quarantined, Quarantined]), not_before(3), "both are needed");
        assert_eq!(of(&[Quarantined; 5]), not_before(3));
        assert_eq!(of(&[Down, Down, Quarantined]), Votes::Unknown);
    }

    #[test]
    fn the_advice_names_nodes_time_and_command_and_no_password() {
        let waiting = ["redis://10.0.0.1:6379".to_owned()];
        let urls = ["redis://me:s3cret@10.0.0.1:6379".to_owned(), "unix:///tmp/x".to_owned()];
        let text = advice(&waiting, Duration::from_millis(9_840), &urls);
        let nodes = "loadgen nodes init --nodes redis://…@10.0.0.1:6379,unix:///tmp/x";
        assert!(text.contains("another 9.8s") && text.contains(nodes), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}
