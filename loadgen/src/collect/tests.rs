//! What the collection takes and what it waits for.

use super::*;
use crate::recorder::Snapshot;

fn tick(index: Option<u32>, value: u64) -> Event {
    let mut hist = histogram();
    hist.saturating_record(value);
    let counts = Counts { ok: 1, ..Counts::default() };
    let hists = vec![(Metric::Response, hist)];
    let snapshot = Snapshot { hists, counts, ..Snapshot::default() };
    Event::Tick(Tick { index, snapshot, in_flight: 1, started: 1 })
}

fn two() -> Collector {
    let config = RunConfig { processes: 2, interval_ns: 200_000_000, ..RunConfig::for_tests() };
    Collector::new(&config)
}

#[test]
fn a_tick_waits_for_every_process_and_intervals_hold_their_ticks() {
    let mut all = two();
    assert!(all.take(Message::From(0, tick(Some(0), 10))).is_empty());
    assert!(all.rows.is_empty(), "process 1 has not sent it");
    all.take(Message::From(1, tick(Some(0), 30)));
    assert_eq!((all.rows.len(), all.rows[0].counts.ok, all.rows[0].max_ns), (1, 2, Some(30)));
    all.take(Message::From(0, tick(Some(1), 50)));
    let intervals = all.take(Message::From(1, tick(Some(1), 70)));
    assert_eq!(intervals.len(), 1);
    assert_eq!((intervals[0].counts.ok, intervals[0].length_ns), (4, 200_000_000));
    all.take(Message::From(0, tick(None, 90)));
    all.finish();
    assert_eq!(all.totals.get(Metric::Response).unwrap().len(), 5);
    assert_eq!((all.counts.ok, all.all_counts().ok), (4, 5));
    assert_eq!((all.heat.total(), all.late_responses(), all.rows[1].started), (4, 1, 2));
}

#[test]
fn a_process_that_dies_is_reported_and_holds_nobody_up() {
    let mut all = two();
    all.take(Message::From(0, Event::Ready(None)));
    assert!(!all.all_ready());
    all.take(Message::From(0, tick(Some(0), 10)));
    all.take(Message::Gone(1, "it ended".to_owned()));
    assert_eq!(all.rows.len(), 1);
    assert!(all.all_ready() && all.trouble[0].contains("process 1"));
    all.take(Message::From(0, Event::Final(Box::default())));
    all.take(Message::Gone(0, "it ended".to_owned()));
    assert!(all.all_done());
    assert_eq!(all.trouble.len(), 1, "an end after the final report is no trouble");
}

#[test]
fn a_process_that_a_fault_ends_is_no_trouble_and_what_it_did_counts() {
    let mut all = two();
    all.take(Message::From(1, tick(Some(0), 30)));
    all.take(Message::From(0, tick(Some(0), 10)));
    all.take(Message::From(0, tick(Some(1), 10)));
    assert_eq!(all.rows.len(), 1, "process 1 is waited for");
    all.take(Message::Killed(1));
    assert_eq!((all.rows.len(), all.counts.ok), (2, 3));
    assert!(all.trouble.is_empty());
    assert_eq!(all.killed, [(1, 1)], "one arrival was told of");
    all.take(Message::From(0, Event::Final(Box::default())));
    assert!(all.all_done());
}
