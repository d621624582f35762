//! Reports and statuses, taken from the engine's state.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::algorithm::tally::{Tally, Vote};
use crate::engine::node::{Health, Node, RUNS_WILD};
use crate::engine::wish::Course;
use crate::redlock::{Core, Redlock};
use crate::report::{NodeVote, Report, Verdict};
use crate::stats::{NodeState, NodeStatus, Percentiles};
use crate::time::Timestamp;

impl Core {
    pub(crate) fn report(&self, course: &Course) -> Report {
        Report {
            attempts: course.attempts,
            contended: course.contended,
            handed_over: course.handed,
            queued: Duration::from_nanos(course.queued_ns),
            waited: Duration::from_nanos(course.waited_ns),
            quorum_wait: Duration::from_nanos(course.quorum_wait_ns),
            quorum: self.engine.settings.quorum,
            votes: self.votes(course.tally),
        }
    }

    /// The votes of a round; without one, what the nodes' state would make of it.
    pub(crate) fn votes(&self, tally: Option<Tally>) -> Vec<NodeVote> {
        let vote = |node: &Arc<Node>| {
            let verdict = match tally {
                None => Verdict::NotSent,
                Some(tally) => match tally.vote(node.index) {
                    None => Verdict::Pending,
                    Some(Vote::Denied) => Verdict::Denied,
                    Some(Vote::Granted) => Verdict::Granted,
                    Some(Vote::Ineligible) => Verdict::Ineligible,
                    Some(Vote::Missing) => Verdict::Missing,
                    Some(Vote::NotSent) => Verdict::NotSent,
                    Some(Vote::Unknown) => Verdict::Unknown,
                },
            };
            let known = matches!(verdict, Verdict::Granted | Verdict::Denied | Verdict::Missing);
            let reason = if known { None } else { reason(node) };
            NodeVote { endpoint: node.endpoint.to_string(), verdict, reason }
        };
        self.engine.nodes.iter().map(vote).collect()
    }
}

impl Redlock {
    /// What is wrong with how the client and its nodes are set up, though it works: for a log at
    /// the start and now and then, and for whoever looks after the fleet. Empty if nothing is.
    ///
    /// - An even number of nodes, unless [`Builder::quorum`](crate::Builder::quorum) was called.
    /// - A ttl of which the drift allowance takes more than a fifth.
    /// - Each node's [`NodeStatus::warning`], with its address: another client counts it to a
    ///   different fleet, or its clock runs too wrong.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: redlatch::Redlock) {
    /// for warning in locks.warnings() {
    ///     eprintln!("{warning}");
    /// }
    /// # }
    /// ```
    pub fn warnings(&self) -> Vec<String> {
        let of_node = |node: &Arc<Node>| {
            let warning = node.about().warning.clone()?;
            Some(format!("{}: {warning}", node.endpoint))
        };
        let engine = self.engine();
        let settings = engine.settings.warnings.iter().cloned();
        settings.chain(engine.nodes.iter().filter_map(of_node)).collect()
    }
}

fn reason(node: &Node) -> Option<String> {
    node.about().reason.clone().or_else(|| match node.health() {
        Health::Connecting => Some("not connected yet".into()),
        Health::Suspect => Some("an answer is overdue".into()),
        Health::Quarantined if node.runs_wild() => Some(RUNS_WILD.into()),
        Health::Quarantined => Some("may have forgotten locks: its votes do not count yet".into()),
        Health::Up | Health::Down | Health::Closed => None,
    })
}

pub(crate) fn status(node: &Node, now: Timestamp) -> NodeStatus {
    let counters = &node.counters;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let about = node.about();
    let (reason, server) = (about.reason.clone(), about.server.clone());
    let (warning, epoch) = (about.warning.clone(), about.epoch.clone());
    let is_quarantined = node.health() == Health::Quarantined;
    let round_trip = Percentiles::new(about.round_trips.clone());
    drop(about);
    #[expect(clippy::cast_precision_loss, reason = "thousandths of a few commands")]
    let gather_gain = load(&counters.gather_gain_x1000) as f64 / 1_000.0;
    NodeStatus {
        endpoint: node.endpoint.to_string(),
        state: state(node),
        reason,
        warning,
        quarantine: is_quarantined.then(|| node.opens_at().since(now)),
        epoch,
        server,
        commands: load(&counters.commands),
        operations: load(&counters.operations),
        writes: load(&counters.writes),
        reads: load(&counters.reads),
        bytes_written: load(&counters.bytes_written),
        in_flight: node.in_flight.load(Ordering::Relaxed),
        timeouts: load(&counters.timeouts),
        connects: load(&counters.connects),
        disconnects: load(&counters.disconnects),
        late_grants_released: load(&counters.late_grants_released),
        withdrawn: load(&counters.withdrawn),
        releases_given_up: load(&counters.releases_given_up),
        releases_repeated: load(&counters.releases_repeated),
        unfenced: load(&counters.unfenced),
        epochs: load(&counters.epochs),
        seals_broken: load(&counters.seals_broken),
        topped_up: load(&counters.topped_up),
        clock_steps: load(&counters.clock_steps),
        clock_steps_back: load(&counters.clock_steps_back),
        drift_ppm: node.drift_ppm(),
        script_reloads: load(&counters.script_reloads),
        gather_gain,
        gather_delay: Duration::from_nanos(load(&counters.gather_delay_ns)),
        round_trip,
    }
}

pub(crate) fn state(node: &Node) -> NodeState {
    match node.health() {
        Health::Closed => NodeState::Closed,
        Health::Connecting => NodeState::Connecting,
        Health::Down => NodeState::Down,
        Health::Quarantined => NodeState::Quarantined,
        Health::Suspect => NodeState::Suspect,
        Health::Up => NodeState::Up,
    }
}
