//! Faults judged from series whose answers are known.

use super::*;
use crate::recorder::Counts;
use NodeView::{Away, Quarantined, Up};

const MS: u64 = 1_000_000;

fn row(p99_ms: u64, failed: u64) -> Row {
    let counts = Counts { ok: 100, timeout: failed, lost: failed * 2, ..Counts::default() };
    let p99_ns = (p99_ms > 0).then_some(p99_ms * MS);
    Row { counts, p50_ns: p99_ns, p99_ns, max_ns: p99_ns, in_flight: 1, ..Row::default() }
}

fn fault() -> FaultSpan {
    FaultSpan {
        fault: "kill@550ms/400ms:node=3".to_owned(),
        kind: "kill".to_owned(),
        targets: vec![2],
        processes: Vec::new(),
        held: None,
        instant: false,
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
    assert_eq!((report.worst_ns, report.failed, report.lost), (Some(40 * MS), 3, 6));
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
    let report = judged(&[(2, 0), (2, 0), (2, 0), (2, 0), (2, 0), (50, 0), (0, 0), (50, 0)], &[]);
    assert_eq!(report.recovered_ns, None, "an interval without grants is not calm");
    assert_eq!(report.detect_by, Some(Sign::Latency));
    let nothing = judged(&[], &[]);
    assert_eq!((nothing.detect_ns, nothing.recovered_ns, nothing.worst_ns), (None, None, None));
    assert_eq!(nothing.failed, 0);
}

#[test]
fn a_flush_shows_in_the_second_after_it_and_by_the_quarantine() {
    let at_once = FaultSpan { instant: true, end_ns: Some(1_551 * MS), ..fault() };
    let rows: Vec<Row> = [2, 2, 2, 2, 2, 2, 2, 9, 9, 2, 2, 2].map(|p99| row(p99, 0)).to_vec();
    let judged = |news: &[NodeNews]| {
        let evidence = Evidence { measured_ns: 1_000 * MS, end_ns: 3_000 * MS, rows: &rows, news };
        judge(&at_once, &evidence, |from, to| to - from)
    };
    let forgot = judged(&[news(1_600, 2, Up, Quarantined)]);
    assert_eq!((forgot.detect_ns, forgot.detect_by), (Some(50 * MS), Some(Sign::Node)));
    assert_eq!(forgot.gap_ns, 1_000 * MS, "a second is looked at");
    assert_eq!(judged(&[]).detect_by, Some(Sign::Latency));
    let back = judged(&[news(1_600, 2, Away, Quarantined)]);
    assert_eq!(back.detect_by, Some(Sign::Latency), "a return is no sign");
}

#[test]
fn what_a_later_fault_does_to_the_node_is_not_this_ones() {
    // Away and up again meanwhile, as under a delay; much later somebody kills it.
    let all = [
        news(1_600, 2, Up, Away),
        news(1_700, 2, Away, Up),
        news(2_960, 2, Up, Away),
        news(2_970, 2, Away, Quarantined),
    ];
    let report = judged(&[(2, 0); 12], &all);
    assert_eq!(report.node_back_ns, Some(0), "it was up when the fault was healed");
    let Return { back_ns, quarantined_ns, votes_ns, .. } = report.nodes[0];
    assert_eq!((back_ns, quarantined_ns, votes_ns), (None, None, None));
}

#[test]
fn processes_that_notice_the_same_one_after_the_other_are_one_return() {
    let all = [
        news(1_955, 2, Up, Quarantined),
        news(1_960, 2, Up, Away),
        news(1_970, 2, Away, Quarantined),
        news(2_400, 2, Quarantined, Up),
    ];
    let back = judged(&[(2, 0); 20], &all).nodes[0];
    assert_eq!((back.back_ns, back.votes_ns), (Some(955 * MS), Some(1_400 * MS)));
    assert_eq!(back.quarantined_ns, Some(445 * MS));
    // Away once more while it is quarantined: it votes only afterwards.
    let again = [all[0].clone(), news(2_958, 2, Quarantined, Away), news(2_990, 2, Away, Up)];
    let back = judged(&[(2, 0); 20], &again).nodes[0];
    assert_eq!((back.back_ns, back.votes_ns), (Some(955 * MS), Some(1_990 * MS)));
}
