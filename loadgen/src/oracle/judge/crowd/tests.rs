//! The judge of crowded names on histories whose verdict is known.

use super::*;
use crate::config::RunConfig;
use crate::mode::{Claim, Mode};
use crate::oracle::judge::{Entry, Findings, Inside};
use crate::scratch::Scratch;

struct Court {
    oracle: Oracle,
    /// The same memory, as another process sees it.
    other: Oracle,
    _dir: Scratch,
}

fn court(mode: Mode) -> Court {
    let dir = Scratch::new("crowd").unwrap();
    let path = dir.path().join("cells");
    let config = RunConfig { mode, processes: 2, clients: 8, ..RunConfig::for_tests() };
    let oracle = Oracle::create(&path, &config).unwrap();
    Court { oracle, other: Oracle::open(&path, &config).unwrap(), _dir: dir }
}

impl Court {
    /// Client `client` of process `client % 2` has name 0 as `class`.
    fn enter(&self, class: Class, client: u32, generation: u64, at: (u64, u64)) -> Inside<'_> {
        self.claim(&[(0, class)], client, generation, at)
    }

    fn claim(
        &self,
        claims: &[(u32, Class)],
        client: u32,
        generation: u64,
        (begin_ns, end_ns): (u64, u64),
    ) -> Inside<'_> {
        let oracle = if client.is_multiple_of(2) { &self.oracle } else { &self.other };
        let claims: Vec<Claim> =
            claims.iter().map(|&(cell, class)| Claim { cell, class }).collect();
        let called_ns = begin_ns.saturating_sub(10);
        oracle.enter_all(
            &claims,
            0,
            Entry { client, generation, called_ns, contended: true, token: 0, begin_ns, end_ns },
        )
    }

    fn found(&self) -> Findings {
        self.oracle.findings()
    }

    fn violations(&self) -> u64 {
        self.found().violations
    }
}

use Class::{Exclusive, Intent, Permit, Shared};

#[test]
fn readers_share_and_a_writer_among_them_is_a_violation_wherever_it_runs() {
    let court = court(Mode::Shared(90.0));
    let a = court.enter(Shared, 0, 1, (10, 100));
    let b = court.enter(Shared, 1, 1, (20, 100));
    assert_eq!(court.violations(), 0);
    let writer = court.enter(Exclusive, 3, 1, (30, 100));
    let found = court.found();
    assert_eq!(found.violations, 1, "one section is wrong, however many it overlaps");
    assert_eq!(found.examples[0].granted.client, 3);
    assert_eq!(found.examples[0].classes, [Shared, Exclusive]);
    assert!(writer.leave(35, || true) & a.leave(40, || true) & b.leave(41, || true));
    assert_eq!(court.found().torn_reads, 2, "both readers saw the counter change");
    let reader = court.enter(Shared, 0, 2, (50, 100));
    assert!(reader.leave(60, || true));
    assert_eq!((court.violations(), court.found().torn_reads), (1, 2), "it came afterwards");
}

#[test]
fn lawful_turns_of_readers_and_writers_are_clean_and_counted_as_handovers() {
    let court = court(Mode::Shared(90.0));
    assert!(court.enter(Exclusive, 0, 1, (10, 100)).leave(20, || true));
    let a = court.enter(Shared, 1, 1, (22, 100));
    let handover = a.handover.unwrap();
    assert_eq!((handover.took_ns, handover.between_processes), (2, true));
    let b = court.enter(Shared, 3, 1, (24, 100));
    assert!(a.leave(30, || true) & b.leave(32, || true));
    let c = court.enter(Exclusive, 1, 2, (35, 100));
    let handover = c.handover.unwrap();
    assert_eq!((handover.took_ns, handover.between_processes), (3, false), "the last reader");
    assert!(c.leave(40, || true));
    let found = court.found();
    assert_eq!((found.violations, found.unresolved, found.overruns), (0, 0, 0));
    assert_eq!((found.lost_updates, found.torn_reads, found.sections), (0, 0, 4));
}

#[test]
fn a_writer_is_found_by_the_reader_that_comes_after_it_and_two_writers_find_each_other() {
    let court = court(Mode::Shared(50.0));
    let writer = court.enter(Exclusive, 0, 1, (10, 100));
    let reader = court.enter(Shared, 1, 1, (20, 100));
    assert_eq!(court.violations(), 1);
    drop((writer, reader));
    // Nobody dropped them before now.
    let late = crate::clock::now_ns() + 1_000;
    let a = court.enter(Exclusive, 2, 1, (late, late + 100));
    let b = court.enter(Exclusive, 3, 1, (late + 10, late + 100));
    assert_eq!(court.violations(), 2);
    assert!(a.leave(late + 20, || true) & b.leave(late + 30, || true));
    assert_eq!(court.found().lost_updates, 1);
}

#[test]
fn a_section_that_was_entered_late_is_judged_by_its_interval_and_not_by_its_turn() {
    let court = court(Mode::Shared(50.0));
    // Granted at 10, stopped, entered after another one was lawfully in and out.
    assert!(court.enter(Exclusive, 0, 1, (120, 200)).leave(130, || true));
    let stale = court.enter(Exclusive, 1, 1, (10, 100));
    assert_eq!(court.violations(), 0);
    assert!(!stale.leave(140, || false), "an overrun");
    // Granted inside the other's time, entered after that had ended.
    assert!(court.enter(Exclusive, 0, 2, (220, 300)).leave(240, || true));
    drop(court.enter(Shared, 1, 2, (230, 300)));
    assert_eq!((court.violations(), court.found().overruns), (1, 1));
}

#[test]
fn a_renewed_section_finds_who_came_when_it_seemed_to_be_over() {
    let court = court(Mode::Shared(50.0));
    let renewed = court.enter(Exclusive, 0, 1, (10, 100));
    let reader = court.enter(Shared, 1, 1, (150, 250));
    assert_eq!(court.violations(), 0, "the first one had run out, for all that is known");
    assert!(renewed.leave(200, || true));
    assert_eq!(court.violations(), 1);
    drop(reader);
    let ended = court.enter(Shared, 2, 1, (300, 400));
    let writer = court.enter(Exclusive, 3, 1, (400, 500));
    assert!(!ended.leave(450, || false), "not renewed: an overrun");
    assert_eq!(court.violations(), 1);
    drop(writer);
}

#[test]
fn who_locks_a_name_excludes_what_is_below_it_and_nothing_beside_it() {
    let court = court(Mode::Hierarchy(2));
    // Name 0 has 1 and 2 below it, name 3 is beside it.
    let one = court.claim(&[(0, Intent), (1, Exclusive)], 0, 1, (10, 100));
    let two = court.claim(&[(0, Intent), (2, Exclusive)], 1, 1, (10, 100));
    let beside = court.claim(&[(3, Exclusive)], 2, 1, (10, 100));
    assert_eq!(court.violations(), 0);
    let whole = court.claim(&[(0, Exclusive)], 3, 1, (20, 100));
    assert_eq!(court.violations(), 1);
    assert_eq!(court.found().examples[0].classes, [Intent, Exclusive]);
    assert!(whole.leave(30, || true));
    assert!(one.leave(40, || true) & two.leave(41, || true) & beside.leave(42, || true));
    assert_eq!(court.found().torn_reads, 2, "what is below saw the whole change");
    let below = court.claim(&[(0, Intent), (1, Exclusive)], 0, 2, (50, 100));
    assert!(below.leave(60, || true));
    assert_eq!((court.violations(), court.found().overruns), (1, 0));
}

#[test]
fn one_permit_too_many_is_found_and_as_many_as_allowed_are_not() {
    let court = court(Mode::Permits(2));
    let a = court.enter(Permit, 0, 1, (10, 100));
    let b = court.enter(Permit, 1, 1, (20, 100));
    assert!(a.leave(30, || true));
    let c = court.enter(Permit, 2, 1, (35, 100));
    assert_eq!(c.handover.unwrap().took_ns, 5);
    assert_eq!(court.violations(), 0);
    let d = court.enter(Permit, 3, 1, (40, 100));
    assert_eq!(court.violations(), 1);
    assert!(b.leave(50, || true) & c.leave(51, || true) & d.leave(52, || true));
    // Two at once, one after the other ended: three begin within one validity, never three inside.
    let e = court.enter(Permit, 4, 1, (60, 70));
    let f = court.enter(Permit, 5, 1, (65, 100));
    let g = court.enter(Permit, 6, 1, (70, 100));
    assert_eq!(court.violations(), 1);
    drop((e, f, g));
}

#[test]
fn a_permit_that_is_entered_late_is_counted_where_it_began() {
    let court = court(Mode::Permits(2));
    let _a = court.enter(Permit, 0, 1, (10, 100));
    let _c = court.enter(Permit, 2, 1, (40, 100));
    let _b = court.enter(Permit, 1, 1, (20, 100));
    assert_eq!(court.violations(), 1, "three were inside from 40 on");
    assert_eq!(court.found().examples[0].granted.client, 2, "the last to begin");
}

#[test]
fn a_reader_beside_a_write_that_ended_too_late_is_not_judged() {
    let court = court(Mode::Shared(50.0));
    let asked = std::cell::Cell::new(0);
    let once = || asked.replace(asked.get() + 1) == 0;
    let writer = court.enter(Exclusive, 0, 1, (10, 100));
    let reader = court.enter(Shared, 1, 1, (100, 200));
    assert!(writer.leave(99, once), "its validity ended while it wrote");
    assert!(reader.leave(150, || true));
    let found = court.found();
    assert_eq!((found.violations, found.torn_reads, found.unjudged_keys), (0, 0, 1));
}
