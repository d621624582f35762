//! What happened when, put together from what the parts of a run noticed.
//!
//! Invariant: events are in the order of time, at most [`MOST_EVENTS`]; where there are more, nodes
//! and stalls give way to faults and violations, and the number of those left out is told.

use super::RunResult;
use crate::clock::NS_PER_MS;
use crate::document::{Event, MOST_EVENTS, Overlap, What};
use crate::recorder::TICK_NS;

/// Shorter stalls of the machine are its daily life.
const LEAST_STALL_NS: u64 = 5 * NS_PER_MS;

/// All events, and how many are left out.
pub(super) fn all(run: &RunResult, violations: &[Overlap]) -> (Vec<Event>, u64) {
    let mut events = faults(run);
    events.extend(violations.iter().map(|violation| Event {
        at_ns: violation.granted.begin_ns,
        what: What::Violation {
            key: violation.key.clone(),
            held_by: violation.held.client,
            granted_to: violation.granted.client,
        },
    }));
    events.extend(run.timeline.news.iter().map(|news| Event {
        at_ns: since(run, news.at_ns),
        what: What::Node { node: news.node + 1, was: news.was.into(), now: news.now.into() },
    }));
    let stalls = run.rows.iter().enumerate().filter_map(|(at, row)| {
        let stall_ns = row.hiccup_ns.filter(|&stall_ns| stall_ns >= LEAST_STALL_NS)?;
        let at_ns = i64::try_from(at as u64 * TICK_NS).unwrap_or(i64::MAX);
        Some(Event { at_ns, what: What::Hiccup { stall_ns } })
    });
    events.extend(stalls);
    let left_out = events.len().saturating_sub(MOST_EVENTS) as u64;
    events.truncate(MOST_EVENTS);
    events.sort_by_key(|event| event.at_ns);
    (events, left_out)
}

fn since(run: &RunResult, at_ns: u64) -> i64 {
    let offset = i128::from(at_ns) - i128::from(run.measured_ns);
    i64::try_from(offset).unwrap_or(i64::MAX)
}

fn faults(run: &RunResult) -> Vec<Event> {
    let signed = |at_ns: u64| i64::try_from(at_ns).unwrap_or(i64::MAX);
    let mut events = Vec::new();
    for (at, fault) in run.faults.iter().enumerate() {
        let n = at + 1;
        let (kind, nodes) = (fault.kind.clone(), fault.targets.clone());
        let processes = fault.processes.clone();
        let begins = What::FaultBegins { fault: n, kind, nodes, processes };
        let (kind, nodes) = (fault.kind.clone(), fault.targets.clone());
        let processes = fault.processes.clone();
        let healed = What::FaultHealed { fault: n, kind, nodes, processes };
        events.push(Event { at_ns: signed(fault.begin_ns), what: begins });
        events.extend(fault.end_ns.map(|end| Event { at_ns: signed(end), what: healed }));
        if let Some(&(from_ns, to_ns)) = run.timeline.gaps.get(at)
            && to_ns > from_ns
        {
            let what = What::GrantsAgain { fault: n, gap_ns: to_ns - from_ns };
            events.push(Event { at_ns: since(run, to_ns), what });
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::NodeView;
    use crate::collect::Row;
    use crate::driver::NodeNews;
    use crate::report::text::tests::sample;

    #[test]
    fn events_are_in_order_bounded_and_faults_stay() {
        let mut run = sample();
        let news = |n: u64| NodeNews {
            at_ns: run.measured_ns + n,
            node: 0,
            was: NodeView::Up,
            now: NodeView::Away,
        };
        run.timeline.news = (0..5_000).map(news).collect();
        run.timeline.gaps = vec![(run.measured_ns, run.measured_ns + 7_000_000)];
        run.rows = vec![Row { hiccup_ns: Some(LEAST_STALL_NS), ..Row::default() }];
        let (events, left_out) = all(&run, &[]);
        assert_eq!((events.len(), left_out), (MOST_EVENTS, 5_003 - MOST_EVENTS as u64));
        assert!(events.windows(2).all(|pair| pair[0].at_ns <= pair[1].at_ns));
        let again = What::GrantsAgain { fault: 1, gap_ns: 7_000_000 };
        assert!(events.contains(&Event { at_ns: 7_000_000, what: again }));
        assert!(events.iter().any(|event| matches!(event.what, What::FaultBegins { .. })));
        run.timeline.news.truncate(1);
        let (events, _) = all(&run, &[]);
        let last = &events[1];
        assert_eq!(last.what, What::Hiccup { stall_ns: LEAST_STALL_NS }, "{events:?}");
    }
}
