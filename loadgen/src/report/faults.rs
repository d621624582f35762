//! What each fault did to the locks.
//!
//! * *detect*: from the fault's begin to the first sign of it: a node the backend reports in
//!   trouble or without its memory (looked at every 10 ms), else the first 100 ms interval with a
//!   failed acquisition, else the first with p99 above twice that of before. No sign until the
//!   fault is over: none.
//! * *node back*: from the heal until every target is connected again. A node that may have
//!   forgotten locks is then *quarantined*: its votes do not count until every older lock has
//!   expired.
//! * *no grant*: the longest time without a grant, over all names, that overlaps the fault. *usual*
//!   is the same for a window as long that ends as the fault begins: what the load itself leaves
//!   empty.
//! * Of a fault of one instant, as a flush is, *detect* and *no grant* look at the second after it.
//! * *worst*, *failed*, *lost*: the longest response, the failures, and the locks that were no
//!   longer held when they were given back, of the 100 ms intervals from the begin to the heal, the
//!   recovery or the last target's vote, whichever is later.
//! * *recovered*: from the begin to the first of 3 consecutive 100 ms intervals with p99 at most
//!   1.5 times that of before; 0 if the interval of the begin is the first of them. "Before" is the
//!   median p99 of the 100 ms intervals of the 3 s before the begin, or their 9th decile if that is
//!   more than 1.5 medians: a noisy load is not a slow one.

pub(crate) mod table;

use serde::{Deserialize, Serialize};

use crate::backend::NodeView;
use crate::clock::NS_PER_S;
use crate::collect::Row;
use crate::driver::NodeNews;
use crate::num;
use crate::recorder::TICK_NS;

/// A fault as it was carried out; instants of the common clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FaultSpan {
    /// As `--fault` takes it.
    pub(crate) fault: String,
    pub(crate) kind: String,
    /// Nodes, from 0, in their order.
    pub(crate) targets: Vec<usize>,
    /// Processes of the load, from 0.
    pub(crate) processes: Vec<usize>,
    /// Locks that these held.
    pub(crate) held: Option<u64>,
    /// It has no length.
    pub(crate) instant: bool,
    pub(crate) begin_ns: u64,
    /// When it was healed; `None` if the run ended first.
    pub(crate) end_ns: Option<u64>,
}

/// What noticed a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sign {
    Node,
    Error,
    Latency,
}

/// One fault and its consequences. Instants count from the measured start, spans from the begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FaultReport {
    /// As `--fault` takes it.
    #[serde(default)]
    pub(crate) fault: String,
    pub(crate) kind: String,
    /// Nodes, from 1, as people count.
    pub(crate) targets: Vec<usize>,
    /// Processes of the load, from 1.
    #[serde(default)]
    pub(crate) processes: Vec<usize>,
    /// Locks that these held when they were hit.
    #[serde(default)]
    pub(crate) held: Option<u64>,
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: Option<u64>,
    pub(crate) detect_ns: Option<u64>,
    pub(crate) detect_by: Option<Sign>,
    pub(crate) gap_ns: u64,
    pub(crate) usual_gap_ns: u64,
    pub(crate) worst_ns: Option<u64>,
    pub(crate) failed: u64,
    /// Locks that were no longer held when they were given back.
    #[serde(default)]
    pub(crate) lost: u64,
    pub(crate) recovered_ns: Option<u64>,
    /// From the heal until every target was connected again.
    pub(crate) node_back_ns: Option<u64>,
    /// How each target came back.
    pub(crate) nodes: Vec<Return>,
}

/// How a node came back from a fault; instants count from the measured start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Return {
    /// From 1, as people count.
    pub(crate) node: usize,
    /// When the fault hit it.
    pub(crate) hit_ns: u64,
    /// When it was connected again; `None`: not until the end of the run, or it never was away.
    pub(crate) back_ns: Option<u64>,
    /// How long its votes did not count; `None`: it was not quarantined. Of a quarantine that the
    /// run did not see the end of, what it saw.
    pub(crate) quarantined_ns: Option<u64>,
    /// When its votes counted again.
    pub(crate) votes_ns: Option<u64>,
}

/// What a run knows for judging its faults.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) measured_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) rows: &'a [Row],
    pub(crate) news: &'a [NodeNews],
}

/// How long signs are those of a fault of one instant, or of a heal.
const MOMENT_NS: u64 = NS_PER_S;

fn row_of(offset_ns: u64) -> usize {
    num::usize_of(offset_ns / TICK_NS)
}

/// The p99 that counts as recovered, from the intervals before the fault.
fn recovered_below(before: &[Row]) -> Option<u64> {
    let mut seen: Vec<u64> = before.iter().filter_map(|row| row.p99_ns).collect();
    seen.sort_unstable();
    let decile = |n: usize| seen.get((seen.len().saturating_sub(1)) * n / 10).copied();
    let median = decile(5)?;
    Some(decile(9)?.max(median + median / 2))
}

/// Judges one fault; `gap` answers for the longest time without a grant in a window.
pub(crate) fn judge(
    span: &FaultSpan,
    evidence: &Evidence<'_>,
    gap: impl Fn(u64, u64) -> u64,
) -> FaultReport {
    let Evidence { measured_ns, end_ns, rows, news } = *evidence;
    let begin = span.begin_ns.saturating_sub(measured_ns);
    let healed_ns = span.end_ns.unwrap_or(end_ns).max(span.begin_ns);
    // Until when signs and gaps are this fault's.
    let moment_ns = if span.instant { MOMENT_NS } else { 0 };
    let until_ns = healed_ns.max(span.begin_ns + moment_ns);
    let first = row_of(begin);
    let before = rows.get(first.saturating_sub(30)..first.min(rows.len())).unwrap_or_default();
    let limit = recovered_below(before);
    let after = rows.get(first.min(rows.len())..).unwrap_or_default();
    let calm = limit.and_then(|limit| {
        after.windows(3).position(|three| {
            three.iter().all(|row| row.p99_ns.is_some_and(|p99_ns| p99_ns <= limit))
        })
    });
    let recovered_ns = calm.map(|n| ((first + n) as u64 * TICK_NS).saturating_sub(begin));
    let healed_row = row_of(healed_ns.saturating_sub(measured_ns));
    let nodes: Vec<Return> =
        span.targets.iter().map(|&target| returned(span, target, evidence)).collect();
    let voting_row = nodes.iter().map(|node| match node.votes_ns {
        None if node.quarantined_ns.is_some() => rows.len(),
        at_ns => at_ns.map_or(healed_row, row_of),
    });
    let over = voting_row.chain(calm.map(|n| first + n)).fold(healed_row, usize::max);
    let last = over.min(rows.len());
    let window = rows.get(first.min(last)..(last + 1).min(rows.len())).unwrap_or_default();
    // A process that was stopped within an interval tells of it, and of its locks, when it goes on:
    // what it lost stands in the interval that it was stopped in, or in that of its next word.
    let told = usize::from(!span.processes.is_empty());
    let bereft = first.min(last).saturating_sub(told)..(last + 1 + told).min(rows.len());
    let detected = detect(span, evidence, until_ns, limit);
    FaultReport {
        fault: span.fault.clone(),
        kind: span.kind.clone(),
        targets: span.targets.iter().map(|target| target + 1).collect(),
        processes: span.processes.iter().map(|process| process + 1).collect(),
        held: span.held,
        begin_ns: begin,
        end_ns: span.end_ns.map(|end| end.saturating_sub(measured_ns)),
        detect_ns: detected.map(|(at_ns, _)| at_ns.saturating_sub(span.begin_ns)),
        detect_by: detected.map(|(_, sign)| sign),
        gap_ns: gap(span.begin_ns, until_ns),
        usual_gap_ns: gap(
            measured_ns.max(span.begin_ns.saturating_sub(until_ns - span.begin_ns)),
            span.begin_ns,
        ),
        worst_ns: window.iter().filter_map(|row| row.max_ns).max(),
        failed: window.iter().map(|row| row.counts.errors()).sum(),
        lost: rows.get(bereft).unwrap_or_default().iter().map(|row| row.counts.lost).sum(),
        recovered_ns,
        node_back_ns: span.end_ns.and_then(|end| node_back(span, news, end)),
        nodes,
    }
}

fn detect(
    span: &FaultSpan,
    evidence: &Evidence<'_>,
    until_ns: u64,
    limit: Option<u64>,
) -> Option<(u64, Sign)> {
    let seen = evidence.news.iter().find(|news| {
        // A node that forgot its locks may do so without ever going away.
        let forgot = (news.was, news.now) == (NodeView::Up, NodeView::Quarantined);
        (news.now == NodeView::Away || forgot)
            && span.targets.contains(&news.node)
            && (span.begin_ns..=until_ns).contains(&news.at_ns)
    });
    if let Some(news) = seen {
        return Some((news.at_ns, Sign::Node));
    }
    let first = row_of(span.begin_ns.saturating_sub(evidence.measured_ns));
    let last = row_of(until_ns.saturating_sub(evidence.measured_ns));
    let during = || {
        let rows = evidence.rows.iter().enumerate().skip(first + 1);
        rows.take_while(move |(at, _)| *at <= last)
    };
    let end_of = |at: usize| evidence.measured_ns + (at as u64 + 1) * TICK_NS;
    let failed = during().find(|(_, row)| row.counts.errors() > 0);
    let slow = during().find(|(_, row)| {
        limit.zip(row.p99_ns).is_some_and(|(limit, p99_ns)| p99_ns > limit / 3 * 4)
    });
    failed
        .map(|(at, _)| (end_of(at), Sign::Error))
        .or_else(|| slow.map(|(at, _)| (end_of(at), Sign::Latency)))
}

/// Whether `target` had something to come back from when the fault was healed: by the last that was
/// seen of it before, or by what was seen in the moment after, since a node that lost its
/// connections or its memory then is noticed a little later. Later signs are another fault's.
fn was_hit(span: &FaultSpan, target: usize, news: &[NodeNews], healed_ns: u64) -> bool {
    let mine = || news.iter().filter(|news| news.node == target && news.at_ns >= span.begin_ns);
    let before = mine().take_while(|news| news.at_ns < healed_ns).last();
    let mut after = mine().filter(|news| news.at_ns >= healed_ns);
    let is_trouble = |news: &NodeNews| news.now != NodeView::Up && news.was == NodeView::Up;
    before.is_some_and(|news| news.now != NodeView::Up)
        || after.any(|news| news.at_ns <= healed_ns + MOMENT_NS && is_trouble(news))
}

fn node_back(span: &FaultSpan, news: &[NodeNews], healed_ns: u64) -> Option<u64> {
    let back = |&target: &usize| {
        let mut mine = news.iter().filter(|news| news.node == target && news.at_ns >= healed_ns);
        if was_hit(span, target, news, healed_ns) {
            mine.find(|news| news.now != NodeView::Away).map(|news| news.at_ns)
        } else {
            Some(healed_ns)
        }
    };
    let all: Option<Vec<u64>> = span.targets.iter().map(back).collect();
    all.and_then(|all| all.into_iter().max()).map(|at_ns| at_ns.saturating_sub(healed_ns))
}

/// How `target` came back from the fault, up to the next time that it went away. Several processes
/// notice the same, one after the other: the first to do so counts.
fn returned(span: &FaultSpan, target: usize, evidence: &Evidence<'_>) -> Return {
    let since = |at_ns: u64| at_ns.saturating_sub(evidence.measured_ns);
    let healed_ns = span.end_ns.unwrap_or(evidence.end_ns);
    let hit = was_hit(span, target, evidence.news, healed_ns);
    let mine = evidence.news.iter().filter(|news| news.node == target && news.at_ns >= healed_ns);
    let (mut back_ns, mut quarantined_from, mut votes_ns) = (None, None, None);
    for news in mine.take_while(|_| hit) {
        match news.now {
            // What is quarantined still has to come back. Soon after a return, another process
            // notices the same; later, the node is hit by something else.
            NodeView::Away
                if quarantined_from.is_none()
                    && back_ns.is_some_and(|at_ns| news.at_ns > at_ns + MOMENT_NS) =>
            {
                break;
            }
            NodeView::Away => continue,
            NodeView::Quarantined => quarantined_from = quarantined_from.or(Some(news.at_ns)),
            NodeView::Up => votes_ns = Some(news.at_ns),
        }
        back_ns = back_ns.or(Some(news.at_ns));
        if votes_ns.is_some() {
            break;
        }
    }
    let until_ns = votes_ns.unwrap_or(evidence.end_ns);
    Return {
        node: target + 1,
        hit_ns: since(span.begin_ns),
        back_ns: back_ns.map(since),
        quarantined_ns: quarantined_from.map(|from| until_ns.saturating_sub(from)),
        votes_ns: votes_ns.map(since),
    }
}

#[cfg(test)]
mod tests;
