//! The judge on histories whose verdict is known.

use super::*;
use crate::mode::Claim;
use crate::scratch::Scratch;

impl Oracle {
    /// A grant of one name to one holder.
    pub(super) fn enter(
        &self,
        key: u32,
        client: u32,
        generation: u64,
        called_ns: u64,
        (begin_ns, end_ns): (u64, u64),
    ) -> Inside<'_> {
        let claim = Claim { cell: key, class: Class::Exclusive };
        self.enter_all(
            &[claim],
            0,
            Entry { client, generation, called_ns, contended: true, token: 0, begin_ns, end_ns },
        )
    }
}

struct Court {
    oracle: Oracle,
    _dir: Scratch,
}

fn court() -> Court {
    let dir = Scratch::new("judge").unwrap();
    let oracle = Oracle::create(&dir.path().join("cells"), &RunConfig::for_tests()).unwrap();
    Court { oracle, _dir: dir }
}

#[test]
fn lawful_histories_are_clean() {
    let court = court();
    let oracle = &court.oracle;
    let a = oracle.enter(0, 0, 1, 5, (10, 100));
    assert!(a.leave(20, || true));
    let b = oracle.enter(0, 1, 1, 15, (25, 100));
    let handover = Handover { took_ns: 5, between_processes: false };
    assert_eq!(b.handover, Some(handover), "it was waiting when the release was called");
    assert!(b.leave(30, || true));
    let c = oracle.enter(0, 2, 1, 40, (50, 100));
    assert_eq!(c.handover, None, "nobody waited");
    // c never releases; its validity ends at 100 and the name is taken over lawfully.
    let d = oracle.enter(0, 3, 1, 60, (100, 200));
    assert!(!c.leave(150, || false), "too late is an overrun, not a violation");
    assert!(d.leave(160, || true));
    let found = oracle.findings();
    assert_eq!((found.sections, found.violations, found.overruns), (4, 0, 1));
    assert_eq!((found.lost_updates, found.unresolved), (0, 0));
}

#[test]
fn handovers_are_counted_and_told_apart_by_process() {
    let dir = Scratch::new("handovers").unwrap();
    let config = RunConfig { processes: 2, ..RunConfig::for_tests() };
    let oracle = Oracle::create(&dir.path().join("cells"), &config).unwrap();
    assert!(oracle.enter(0, 0, 1, 5, (10, 100)).leave(20, || true));
    let before = oracle.grants();
    // Clients 0 and 2 belong to process 0, client 1 to process 1.
    let inside = oracle.enter(0, 2, 1, 15, (25, 100));
    assert!(!inside.handover.unwrap().between_processes);
    assert!(inside.leave(30, || true));
    let across = oracle.enter(0, 1, 1, 15, (35, 100));
    assert!(across.handover.unwrap().between_processes);
    assert!(across.leave(40, || true));
    assert!(oracle.enter(0, 0, 2, 50, (60, 100)).leave(70, || true), "waited for nobody");
    let seen = oracle.grants().since(before);
    assert_eq!(seen, Grants { all: 3, handovers: 2, between_processes: 1 });
}

#[test]
fn a_grant_inside_a_valid_section_is_a_violation_with_both_holders_counted_once() {
    let court = court();
    let a = court.oracle.enter(3, 0, 1, 5, (10, 100));
    let b = court.oracle.enter(3, 1, 1, 15, (20, 110));
    assert!(a.leave(30, || true));
    assert!(b.leave(40, || true));
    let found = court.oracle.findings();
    assert_eq!(found.violations, 1);
    assert_eq!(
        found.examples,
        [Violation {
            key: 3,
            held: Span { client: 0, begin_ns: 10, end_ns: 100 },
            granted: Span { client: 1, begin_ns: 20, end_ns: 110 },
            classes: [Class::Exclusive; 2],
        }]
    );
    assert_eq!(found.lost_updates, 1, "the counter noticed by itself");
}

#[test]
fn of_several_names_each_is_judged_and_a_section_once() {
    let court = court();
    let oracle = &court.oracle;
    let all = |cells: &[u32]| -> Vec<Claim> {
        cells.iter().map(|&cell| Claim { cell, class: Class::Exclusive }).collect()
    };
    let entry = |client, begin_ns| Entry {
        token: 0,
        client,
        generation: 1,
        called_ns: 5,
        contended: true,
        begin_ns,
        end_ns: 1_000,
    };
    let a = oracle.enter_all(&all(&[0, 1, 2]), 0, entry(0, 10));
    let b = oracle.enter_all(&all(&[3, 4]), 0, entry(1, 20));
    assert_eq!(oracle.findings().violations, 0, "no name in common");
    let c = oracle.enter_all(&all(&[5, 2, 1]), 0, entry(2, 30));
    let found = oracle.findings();
    assert_eq!((found.sections, found.violations), (3, 1), "two names, one pair of sections");
    assert_eq!(found.examples[0].key, 2);
    assert!(a.leave(40, || true) & b.leave(41, || true) & c.leave(42, || true));
    let d = oracle.enter_all(&all(&[0, 3]), 0, Entry { called_ns: 35, ..entry(3, 50) });
    assert_eq!(d.handover.unwrap().took_ns, 9, "the last release is what it waited for");
    assert_eq!(oracle.findings().lost_updates, 2, "of both names, once each");
}

#[test]
fn a_renewed_section_that_was_replaced_is_found_when_it_ends() {
    let court = court();
    let a = court.oracle.enter(0, 0, 1, 5, (10, 100));
    // Renewed meanwhile, which the cell does not know: valid until 300.
    let b = court.oracle.enter(0, 1, 1, 15, (150, 250));
    assert_eq!(court.oracle.findings().violations, 0);
    assert!(a.leave(200, || true));
    assert_eq!(court.oracle.findings().violations, 1);
    drop(b);
}

#[test]
fn a_client_that_was_stopped_between_grant_and_entry_raises_no_false_alarm() {
    let court = court();
    // Granted at 10, stopped, and entered only after its validity and another's lawful grant.
    let lawful = court.oracle.enter(0, 1, 1, 5, (120, 220));
    let stale = court.oracle.enter(0, 0, 1, 5, (10, 100));
    assert!(lawful.leave(130, || true), "still inside its own validity");
    assert!(!stale.leave(140, || false));
    let found = court.oracle.findings();
    assert_eq!((found.violations, found.unresolved), (0, 0));
}

#[test]
fn a_replaced_section_whose_intruder_is_forgotten_is_unresolved() {
    let court = court();
    let a = court.oracle.enter(0, 0, 1, 5, (10, 100));
    court.oracle.enter(0, 1, 1, 15, (100, 101)).leave(100, || true);
    for generation in 2..=9 {
        court.oracle.enter(1, 1, generation, 15, (200, 300)).leave(210, || true);
    }
    assert!(a.leave(400, || true));
    assert_eq!(court.oracle.findings().unresolved, 1);
}

#[test]
fn an_abandoned_section_counts_as_released() {
    let court = court();
    drop(court.oracle.enter(0, 0, 1, 5, (10, u64::MAX)));
    court.oracle.enter(0, 1, 1, 5, (crate::clock::now_ns(), u64::MAX)).leave(u64::MAX, || true);
    assert_eq!(court.oracle.findings().violations, 0);
}

#[test]
fn a_counter_written_as_validity_ended_is_not_judged() {
    let court = court();
    let asked = std::cell::Cell::new(0);
    let once = || asked.replace(asked.get() + 1) == 0;
    assert!(court.oracle.enter(0, 0, 1, 5, (10, 100)).leave(20, once));
    let found = court.oracle.findings();
    assert_eq!((found.unjudged_keys, found.lost_updates), (1, 0));
}

#[test]
fn gaps_are_found_around_a_fault() {
    let court = court();
    let base = 1_000_000_000;
    court.oracle.start_at(base);
    let ms = 1_000_000;
    for (n, at_ms) in [1, 2, 3, 40, 41, 42, 100].into_iter().enumerate() {
        let begin = base + at_ms * ms;
        let entered = court.oracle.enter(0, 0, n as u64 + 1, begin, (begin, begin + 10));
        entered.leave(begin + 1, || true);
    }
    let gap =
        |from, to| court.oracle.longest_gap_ns(base + from * ms, base + to * ms, base + 200 * ms);
    assert_eq!(gap(10, 20), 37 * ms, "the gap that surrounds the window counts whole");
    assert_eq!(gap(41, 42), ms);
    assert_eq!(gap(150, 160), 100 * ms, "no grant until the end of the run");
}
