//! Faults on a timeline: which, on which nodes, when, for how long.
//!
//! [`Fault`] is what a user writes, [`plan::Plan`] has its targets chosen, [`execute`] carries it
//! out. What a fault did to latency is the report's matter.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

pub(crate) mod execute;
pub(crate) mod plan;

/// More than this is a mistake in a script.
pub(crate) const MAX_FAULTS: usize = 256;
const MAX_SPAN: Duration = Duration::from_secs(7 * 24 * 3_600);
const SYNTAX: &str = "write KIND@START/LENGTH[:TARGET], where KIND is kill or pause and TARGET is \
                      one (default), minority, majority or node=N: kill@10s/3s, \
                      pause@15s/500ms:node=2";

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultKind {
    /// SIGKILL; healed by a start on the same port and directory.
    Kill,
    /// SIGSTOP; healed by SIGCONT.
    Pause,
}

/// On which nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// One, chosen by the seed.
    One,
    /// This one, counted from 0 (people write it from 1).
    Index(usize),
    /// As many as leave a quorum, chosen by the seed.
    Minority,
    /// As few as leave no quorum, chosen by the seed.
    Majority,
}

/// One fault of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) target: Target,
    /// From the start of the run.
    pub(crate) at: Duration,
    pub(crate) for_: Duration,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FaultError {
    #[error("fault '{shown}' {problem}; {SYNTAX}")]
    Syntax { shown: String, problem: &'static str },
    #[error("{0} faults asked for; at most {MAX_FAULTS} fit into a run")]
    TooMany(usize),
    #[error(
        "fault '{0}' would hit nodes given by --nodes, which loadgen does not own; leave --nodes \
         out to break local nodes"
    )]
    Foreign(Fault),
    #[error("fault '{fault}': there is no node {node}; the cluster has n1 to n{last}")]
    NoSuchNode { fault: Fault, node: String, last: usize },
    #[error("fault '{0}': a cluster of {1} has no minority that could fail; use 3 or more nodes")]
    NoMinority(Fault, usize),
    #[error(
        "fault '{fault}' needs {needed} nodes without another fault at that time, {free} are; \
         move it or name other nodes"
    )]
    Overlap { fault: Fault, needed: usize, free: usize },
}

impl FaultKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:?}/{:?}", self.kind.name(), self.at, self.for_)?;
        match self.target {
            Target::One => Ok(()),
            Target::Index(index) => write!(f, ":node={}", index.saturating_add(1)),
            Target::Minority => f.write_str(":minority"),
            Target::Majority => f.write_str(":majority"),
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let wrong =
            |problem| FaultError::Syntax { shown: text.chars().take(100).collect(), problem };
        let (kind, rest) = text.split_once('@').ok_or_else(|| wrong("has no '@'"))?;
        let kind = match kind {
            "kill" => FaultKind::Kill,
            "pause" => FaultKind::Pause,
            _ => return Err(wrong("has an unknown kind")),
        };
        let (times, target) = match rest.split_once(':') {
            Some((times, target)) => (times, Some(target)),
            None => (rest, None),
        };
        let (at, for_) = times.split_once('/').ok_or_else(|| wrong("has no '/' and length"))?;
        let at = parse_span(at).ok_or_else(|| wrong("has a bad start"))?;
        let for_ = parse_span(for_).filter(|span| !span.is_zero());
        let for_ = for_.ok_or_else(|| wrong("has a bad length"))?;
        let target = match target {
            None | Some("one") => Target::One,
            Some("minority") => Target::Minority,
            Some("majority") => Target::Majority,
            Some(other) => {
                let number = other.strip_prefix("node=");
                let number = number.ok_or_else(|| wrong("has an unknown target"))?;
                let index = crate::cluster::cli::parse_node(number);
                Target::Index(index.map_err(|_| wrong("has a bad node number"))?)
            }
        };
        Ok(Self { kind, target, at, for_ })
    }
}

/// `500us`, `20ms`, `1.5s`, `2m`, up to seven days.
fn parse_span(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let unit_ns: u128 = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || whole.len() > 18 || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let units = whole.parse::<u128>().ok()? * scale + fraction.parse::<u128>().ok()?;
    let span = Duration::from_nanos(u64::try_from(units.checked_mul(unit_ns)? / scale).ok()?);
    (span <= MAX_SPAN).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn faults_are_read_as_written() {
        let (at, for_) = (Duration::from_secs(10), Duration::from_millis(1_500));
        let kill = Fault { kind: FaultKind::Kill, target: Target::One, at, for_ };
        assert_eq!(fault("kill@10s/1.5s"), kill);
        assert_eq!(fault("kill@10s/1500ms:one"), kill);
        let pause = fault("pause@0s/250us:node=2");
        assert_eq!((pause.kind, pause.target), (FaultKind::Pause, Target::Index(1)));
        assert_eq!((pause.at, pause.for_), (Duration::ZERO, Duration::from_micros(250)));
        assert_eq!(fault("pause@2m/1h:majority").target, Target::Majority);
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["kill@10s/3s", "pause@1.5s/20ms:node=9", "kill@0s/1us:minority"] {
            let read = fault(text);
            assert_eq!(fault(&read.to_string()), read, "{read}");
        }
    }

    #[test]
    fn bad_faults_are_named_with_the_syntax() {
        for (text, problem) in [
            ("", "no '@'"),
            ("kill", "no '@'"),
            ("melt@1s/1s", "unknown kind"),
            ("kill@1s", "length"),
            ("kill@/1s", "bad start"),
            ("kill@-1s/1s", "bad start"),
            ("kill@1/1s", "bad start"),
            ("kill@.5s/1s", "bad start"),
            ("kill@999999999999999999h/1s", "bad start"),
            ("kill@169h/1s", "bad start"),
            ("kill@1s/0s", "bad length"),
            ("kill@1s/1s1s", "bad length"),
            ("kill@1s/1s:", "unknown target"),
            ("kill@1s/1s:all", "unknown target"),
            ("kill@1s/1s:node=0", "bad node"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(&format!("fault '{text}'")), "{error}");
            assert!(error.contains(problem) && error.contains("kill@10s/3s"), "{error}");
        }
    }
}
