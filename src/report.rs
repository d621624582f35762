//! How an acquisition went: attempts, times and each node's vote.

use std::fmt;
use std::time::Duration;

/// What one node's answer, or its absence, said in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Another owner holds the key there.
    Denied,
    /// The node did what was asked.
    Granted,
    /// The node refused to act (an error reply): it certainly did nothing.
    Ineligible,
    /// The node holds no such key.
    Missing,
    /// The command never left: the node is down, suspect or over its caps.
    NotSent,
    /// The round was decided before this node answered.
    Pending,
    /// Sent, no answer in time: the node may have acted. It is released.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "held by another owner",
            Self::Granted => "granted",
            Self::Ineligible => "refused",
            Self::Missing => "missing",
            Self::NotSent => "not sent",
            Self::Pending => "not awaited",
            Self::Unknown => "no answer",
        })
    }
}

/// One node's part in a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeVote {
    /// The node's address, without secrets.
    pub endpoint: String,
    /// What it said.
    pub verdict: Verdict,
    /// Why the node is down or what it refused, where known.
    pub reason: Option<String>,
}

/// How an acquisition went: attempts, times and each node's vote in its last round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Rounds in which at least one node was asked; none, if the lock was handed over.
    pub attempts: u32,
    /// Whether anybody else was in the way: the first attempt did not win, or the request had
    /// to queue behind another of this process.
    pub contended: bool,
    /// Whether another caller of this process handed its lease over, so that no node was asked:
    /// the votes are those of the round that the lease was won in.
    pub handed_over: bool,
    /// Time spent in the queue of this process.
    pub queued: Duration,
    /// Time from the request to its outcome, everything included.
    pub waited: Duration,
    /// Time from the last round's start to the vote that decided it.
    pub quorum_wait: Duration,
    /// Grants needed.
    pub quorum: usize,
    /// The last round's votes, in the order in which the nodes were configured.
    pub votes: Vec<NodeVote>,
}

impl Report {
    /// How many nodes said so in the last round.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.votes.iter().filter(|vote| vote.verdict == verdict).count()
    }
}

/// `1 of 3 granted, 2 needed; redis://b:6379: no answer; ... ; 4 attempts, waited 1.2s`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.handed_over {
            return write!(f, "handed over by another caller here; waited {:.1?}", self.waited);
        }
        if self.attempts == 0 && self.contended {
            return write!(f, "another caller of this process has it; waited {:.1?}", self.waited);
        }
        let (granted, nodes) = (self.count(Verdict::Granted), self.votes.len());
        write!(f, "{granted} of {nodes} granted, {} needed", self.quorum)?;
        for vote in &self.votes {
            if !matches!(vote.verdict, Verdict::Granted | Verdict::Pending) {
                write!(f, "; {}: {}", vote.endpoint, vote.verdict)?;
                if let Some(reason) = &vote.reason {
                    write!(f, " ({reason})")?;
                }
            }
        }
        let s = if self.attempts == 1 { "" } else { "s" };
        write!(f, "; {} attempt{s}, waited {:.1?}", self.attempts, self.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(endpoint: &str, verdict: Verdict, reason: Option<&str>) -> NodeVote {
        NodeVote { endpoint: endpoint.into(), verdict, reason: reason.map(Into::into) }
    }

    #[test]
    fn a_report_names_every_node_that_did_not_grant_and_why() {
        let report = Report {
            attempts: 4,
            waited: Duration::from_millis(1_240),
            quorum: 2,
            votes: vec![
                vote("redis://a", Verdict::Granted, None),
                vote("redis://b", Verdict::Denied, None),
                vote("redis://c", Verdict::NotSent, Some("connection refused")),
            ],
            ..Report::default()
        };
        assert_eq!(
            report.to_string(),
            "1 of 3 granted, 2 needed; redis://b: held by another owner; \
             redis://c: not sent (connection refused); 4 attempts, waited 1.2s"
        );
    }

    #[test]
    fn a_caller_that_never_left_its_process_is_told_so() {
        let report = Report { contended: true, ..Report::default() };
        let text = report.to_string();
        assert!(text.starts_with("another caller of this process has it"), "{text}");
        let report = Report { contended: true, handed_over: true, ..Report::default() };
        let text = report.to_string();
        assert!(text.starts_with("handed over by another caller"), "{text}");
    }
}
