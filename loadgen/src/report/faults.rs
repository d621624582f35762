//! What each fault did to the locks.
//!
//! * *detect*: from the fault's begin to the first sign of it: a node the backend reports in
//!   trouble (looked at every 10 ms), else the first 100 ms interval with a failed acquisition,
//!   else the first with p99 above twice that of before. No sign until the fault is over: none.
//! * *node back*: from the heal until every target is connected again. A node that may have
//!   forgotten locks is then *quarantined*: its votes do not count until every older lock has
//!   expired.
//! * *no grant*: the longest time without a grant, over all names, that overlaps the fault. *usual*
//!   is the same for a window as long that ends as the fault begins: what the load itself leaves
//!   empty.
//! * *worst*, *failed*: the longest response and the failures of the 100 ms intervals from the
//!   begin to the heal, the recovery or the last target's vote, whichever is later.
//! * *recovered*: from the begin to the first of 3 consecutive 100 ms intervals with p99 at most
//!   1.5 times that of before; 0 if the interval of the begin is the first of them. "Before" is the
//!   median p99 of the 100 ms intervals of the 3 s before the begin, or their 9th decile if that is
//!   more than 1.5 medians: a noisy load is not a slow one.

use serde::{Deserialize, Serialize};

use crate::backend::NodeView;
use crate::collect::Row;
use crate::driver::NodeNews;
use crate::num;
use crate::recorder::TICK_NS;

/// A fault as it was carried out; instants of the common clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FaultSpan {
    pub(crate) kind: String,
    /// From 0, in the order of the nodes.
    pub(crate) targets: Vec<usize>,
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
    pub(crate) kind: String,
    /// From 1, as people count.
    pub(crate) targets: Vec<usize>,
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: Option<u64>,
    pub(crate) detect_ns: Option<u64>,
    pub(crate) detect_by: Option<Sign>,
    pub(crate) gap_ns: u64,
    pub(crate) usual_gap_ns: u64,
    pub(crate) worst_ns: Option<u64>,
    pub(crate) failed: u64,
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
    let detected = detect(span, evidence, healed_ns, limit);
    FaultReport {
        kind: span.kind.clone(),
        targets: span.targets.iter().map(|target| target + 1).collect(),
        begin_ns: begin,
        end_ns: span.end_ns.map(|end| end.saturating_sub(measured_ns)),
        detect_ns: detected.map(|(at_ns, _)| at_ns.saturating_sub(span.begin_ns)),
        detect_by: detected.map(|(_, sign)| sign),
        gap_ns: gap(span.begin_ns, healed_ns),
        usual_gap_ns: gap(
            measured_ns.max(span.begin_ns.saturating_sub(healed_ns - span.begin_ns)),
            span.begin_ns,
        ),
        worst_ns: window.iter().filter_map(|row| row.max_ns).max(),
        failed: window.iter().map(|row| row.counts.errors()).sum(),
        recovered_ns,
        node_back_ns: span.end_ns.and_then(|end| node_back(span, news, end)),
        nodes,
    }
}

fn detect(
    span: &FaultSpan,
    evidence: &Evidence<'_>,
    healed_ns: u64,
    limit: Option<u64>,
) -> Option<(u64, Sign)> {
    let seen = evidence.news.iter().find(|news| {
        news.now == NodeView::Away
            && span.targets.contains(&news.node)
            && (span.begin_ns..=healed_ns).contains(&news.at_ns)
    });
    if let Some(news) = seen {
        return Some((news.at_ns, Sign::Node));
    }
    let first = row_of(span.begin_ns.saturating_sub(evidence.measured_ns));
    let last = row_of(healed_ns.saturating_sub(evidence.measured_ns));
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

fn node_back(span: &FaultSpan, news: &[NodeNews], healed_ns: u64) -> Option<u64> {
    let back = |target: &usize| {
        // Up when healed and never seen down after the begin: nothing to come back from.
        let mine = || news.iter().filter(|news| news.node == *target);
        let down = mine().any(|news| news.at_ns >= span.begin_ns && news.now == NodeView::Away);
        let back = mine().find(|news| news.at_ns >= healed_ns && news.now != NodeView::Away);
        if down { back.map(|news| news.at_ns) } else { Some(healed_ns) }
    };
    let all: Option<Vec<u64>> = span.targets.iter().map(back).collect();
    all.and_then(|all| all.into_iter().max()).map(|at_ns| at_ns.saturating_sub(healed_ns))
}

/// How `target` came back from the fault, up to the next time that it went away. Several processes
/// notice the same, one after the other: the first to do so counts.
fn returned(span: &FaultSpan, target: usize, evidence: &Evidence<'_>) -> Return {
    let since = |at_ns: u64| at_ns.saturating_sub(evidence.measured_ns);
    let healed_ns = span.end_ns.unwrap_or(evidence.end_ns);
    let mine = evidence.news.iter().filter(|news| news.node == target && news.at_ns >= healed_ns);
    let (mut back_ns, mut quarantined_from, mut votes_ns) = (None, None, None);
    for news in mine {
        match news.now {
            NodeView::Away if back_ns.is_some() => break,
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
mod tests {
    use super::*;
    use crate::recorder::Counts;
    use NodeView::{Away, Quarantined, Up};

    const MS: u64 = 1_000_000;

    fn row(p99_ms: u64, failed: u64) -> Row {
        let counts = Counts { ok: 100, timeout: failed, ..Counts::default() };
        let p99_ns = (p99_ms > 0).then_some(p99_ms * MS);
        Row { counts, p50_ns: p99_ns, p99_ns, max_ns: p99_ns, in_flight: 1, ..Row::default() }
    }

    fn fault() -> FaultSpan {
        FaultSpan {
            kind: "kill".to_owned(),
            targets: vec![2],
            begin_ns: 1_000 * MS + 550 * MS,
            end_ns: Some(1_000 * MS + 950 * MS),
        }
    }

    fn judged(p99s: &[(u64, u64)], news: &[NodeNews]) -> FaultReport {
        let rows: Vec<Row> = p99s.iter().map(|&(p99, failed)| row(p99, failed)).collect();
        let evidence = Evidence { measured_ns: 1_000 * MS, end_ns: 3_000 * MS, rows: &rows, news };
        judge(&fault(), &evidence, |from, _| if from < fault().begin_ns { MS } else { 7 * MS })
    }

    #[test]
    fn a_fault_is_detected_measured_and_recovered_from() {
        let p99s = [
            (2, 0),
            (2, 0),
            (2, 0),
            (2, 0),
            (2, 0),
            (40, 1),
            (30, 2),
            (2, 0),
            (9, 0),
            (3, 0),
            (3, 0),
            (3, 0),
            (2, 0),
        ];
        let report = judged(&p99s, &[]);
        assert_eq!(report.recovered_ns, Some(350 * MS), "row 9 begins three calm intervals");
        assert_eq!((report.worst_ns, report.failed), (Some(40 * MS), 3));
        assert_eq!(report.detect_by, Some(Sign::Error));
        assert_eq!(report.detect_ns, Some(150 * MS), "the end of the interval that shows it");
        assert_eq!((report.gap_ns, report.targets.as_slice()), (7 * MS, &[3][..]));
        assert_eq!((report.begin_ns, report.end_ns), (550 * MS, Some(950 * MS)));
    }

    #[test]
    fn the_backend_knows_first_and_knows_when_the_node_is_back() {
        let all = [news(1_555, 1, Up, Away), news(1_560, 2, Up, Away), news(1_990, 2, Away, Up)];
        let report = judged(&[(2, 0); 12], &all);
        assert_eq!((report.detect_ns, report.detect_by), (Some(10 * MS), Some(Sign::Node)));
        assert_eq!(report.node_back_ns, Some(40 * MS));
        assert_eq!((report.recovered_ns, report.usual_gap_ns), (Some(0), MS), "never slow");
        let [back] = report.nodes.as_slice() else { panic!("{report:?}") };
        assert_eq!((back.node, back.hit_ns, back.quarantined_ns), (3, 550 * MS, None));
        assert_eq!((back.back_ns, back.votes_ns), (Some(990 * MS), Some(990 * MS)));
    }

    #[test]
    fn a_node_that_may_have_forgotten_locks_is_back_before_it_votes() {
        let all = [
            news(1_560, 2, Up, Away),
            news(1_561, 2, Up, Away),
            news(1_990, 2, Away, Quarantined),
            news(1_995, 2, Away, Quarantined),
            news(2_000, 1, Away, Up),
            news(2_490, 2, Quarantined, Up),
            news(2_500, 2, Quarantined, Up),
        ];
        let back = |all: &[NodeNews]| judged(&[(2, 0); 12], all).nodes[0];
        let whole = back(&all);
        assert_eq!((whole.back_ns, whole.votes_ns), (Some(990 * MS), Some(1_490 * MS)));
        assert_eq!(whole.quarantined_ns, Some(500 * MS));
        assert_eq!(judged(&[(2, 0); 12], &all).node_back_ns, Some(40 * MS));
        let cut = back(&all[..4]);
        assert_eq!((cut.votes_ns, cut.quarantined_ns), (None, Some(1_010 * MS)), "until the end");
        let away = back(&all[..2]);
        assert_eq!((away.back_ns, away.votes_ns, away.quarantined_ns), (None, None, None));
    }

    fn news(at_ms: u64, node: usize, was: NodeView, now: NodeView) -> NodeNews {
        NodeNews { at_ns: at_ms * MS, node, was, now }
    }

    #[test]
    fn what_cannot_be_said_is_absent() {
        let report =
            judged(&[(2, 0), (2, 0), (2, 0), (2, 0), (2, 0), (50, 0), (0, 0), (50, 0)], &[]);
        assert_eq!(report.recovered_ns, None, "an interval without grants is not calm");
        assert_eq!(report.detect_by, Some(Sign::Latency));
        let nothing = judged(&[], &[]);
        assert_eq!((nothing.detect_ns, nothing.recovered_ns, nothing.worst_ns), (None, None, None));
        assert_eq!(nothing.failed, 0);
    }
}
