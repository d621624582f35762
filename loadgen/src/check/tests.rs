//! Made-up histories.

use super::*;
use crate::config::RunConfig;
use crate::history::{Head, Online, Record};
use crate::mode::{Class, Mode};
use crate::oracle::judge::Findings;

fn hold(cell: u32, client: u32, class: Class, begin_ns: u64, end_ns: u64) -> Record {
    let generation = begin_ns + 1;
    Record { cell, client, class, overran: false, generation, begin_ns, end_ns, token: 0 }
}

fn history(records: Vec<Record>, online: u64) -> History {
    let findings = Findings { violations: online, ..Findings::default() };
    let safety = if online > 0 { Safety::Violated } else { Safety::Holds };
    let config = RunConfig { history: Keep::Full, ..RunConfig::for_tests() };
    let online = Online { sections: records.len() as u64, ..Online::new(safety, None, &findings) };
    let head = Head { config, nodes: 5, measured_ns: 0, online };
    History { head, records, stopped_ns: None }
}

fn code(records: Vec<Record>, online: u64) -> (u8, u64) {
    let checked = check(history(records, online), false);
    (checked.exit_code, checked.violations)
}

#[test]
fn what_overlaps_and_excludes_is_found_in_any_order() {
    use Class::{Exclusive, Intent, Permit, Shared};
    let lawful = vec![hold(1, 1, Exclusive, 0, 10), hold(1, 2, Exclusive, 10, 20)];
    assert_eq!(code(lawful, 0), (0, 0));
    let apart = vec![hold(1, 1, Exclusive, 0, 10), hold(2, 2, Exclusive, 5, 20)];
    assert_eq!(code(apart, 0), (0, 0));
    let overlap = vec![hold(1, 2, Exclusive, 5, 20), hold(1, 1, Exclusive, 0, 10)];
    assert_eq!(code(overlap, 1), (4, 1));
    let readers =
        vec![hold(1, 1, Shared, 0, 10), hold(1, 2, Shared, 5, 15), hold(1, 3, Intent, 20, 30)];
    assert_eq!(code(readers.clone(), 0), (0, 0));
    let writer = [readers, vec![hold(1, 4, Exclusive, 9, 12)]].concat();
    assert_eq!(code(writer, 1), (4, 1));
    let permit = |client, begin| hold(1, client, Permit, begin, begin + 10);
    let mut three = history(vec![permit(1, 0), permit(2, 1), permit(3, 2)], 1);
    three.head.config.mode = Mode::Permits(2);
    assert_eq!(check(three, false).violations, 1);
    let mut two = history(vec![permit(1, 0), permit(2, 1), permit(3, 10)], 0);
    two.head.config.mode = Mode::Permits(2);
    assert_eq!(check(two, false).violations, 0);
}

#[test]
fn disagreement_with_the_run_is_told() {
    let lawful = || vec![hold(1, 1, Class::Exclusive, 0, 10)];
    let missed = check(history(lawful(), 3), false);
    assert_eq!((missed.exit_code, missed.verdict, missed.agrees), (5, Safety::Unknown, false));
    let overlap = [lawful(), vec![hold(1, 2, Class::Exclusive, 5, 9)]].concat();
    let new = check(history(overlap, 0), false);
    assert_eq!((new.exit_code, new.agrees), (4, false), "a violation counts all the same");
    let mut part = history(lawful(), 3);
    part.head.online.sections = 50;
    let part = check(part, false);
    assert_eq!((part.exit_code, part.left_out), (0, Some(49)), "it may be in the rest");
    assert!(part.reasons[0].contains("49 sections are not in the history"), "{:?}", part.reasons);
}

#[test]
fn a_broken_assumption_makes_a_violation_expected_unless_strict() {
    let overlap = || vec![hold(1, 1, Class::Exclusive, 0, 10), hold(1, 2, Class::Exclusive, 5, 9)];
    let run = |strict| {
        let mut history = history(overlap(), 1);
        history.head.config.faults = vec!["flush@1s:majority".to_owned()];
        check(history, strict)
    };
    assert_eq!((run(false).exit_code, run(false).verdict), (0, Safety::Expected));
    assert_eq!((run(true).exit_code, run(true).verdict), (4, Safety::Violated));
    let text = text(&run(false));
    assert!(text.contains("VIOLATED AS EXPECTED") && text.contains("3 of 5 nodes"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn tokens_grow_from_one_section_to_the_next() {
    let with = |tokens: [u64; 3]| {
        let records = tokens.into_iter().zip(0..).map(|(token, at)| Record {
            token,
            ..hold(1, at, Class::Exclusive, 10 * u64::from(at), 10 * u64::from(at) + 10)
        });
        let mut history = history(records.collect(), 0);
        history.head.online.fencing = Some(Safety::Violated);
        history.head.online.token_violations = 1;
        check(history, false).token_violations
    };
    assert_eq!((with([1, 2, 3]), with([1, 5, 4]), with([2, 2, 3])), (0, 1, 1));
}
