//! Comparisons of made-up results.

use super::*;
use crate::document::Document;
use crate::recorder::{Metric, histogram};
use crate::report::json;
use crate::report::text::tests::sample;

/// A result with so much throughput and all responses around `response_ns`.
fn result(ok_rate: f64, response_ns: u64) -> Document {
    let mut run = sample();
    let mut hist = histogram();
    (0..20_000).for_each(|n| hist.saturating_record(response_ns + n));
    run.totals = crate::collect::Hists::default();
    run.totals.add(Metric::Response, &hist);
    let mut document = json::document(&run);
    document.totals.ok_rate = Some(ok_rate);
    document.verdict = crate::document::VerdictReport::default();
    document.safety.verdict = Safety::Holds;
    document
}

fn side(letter: &str, runs: &[(f64, u64)]) -> Side {
    let documents = runs.iter().map(|&(rate, ns)| result(rate, ns)).collect();
    Side::for_tests(letter, documents)
}

fn compared(a: Side, b: Side) -> Comparison {
    let gate = gate("acquire.response.p99,throughput").unwrap();
    let sides = [a, b];
    let found = differences::find(&sides);
    compare(&sides, &gate, 0.05, found)
}

fn row<'a>(of: &'a Comparison, name: &str) -> &'a Row {
    of.against[0].rows.iter().find(|row| row.name == name).unwrap()
}

const THREE: [(f64, u64); 3] = [(1_000.0, 1_000_000), (1_010.0, 1_010_000), (990.0, 1_005_000)];

#[test]
fn a_slower_build_is_worse_and_a_faster_one_better() {
    let slower = THREE.map(|(rate, ns)| (rate * 0.8, ns * 3 / 2));
    let of = compared(side("A", &THREE), side("B", &slower));
    assert_eq!((of.exit_code, of.verdict, of.outcome), (6, Word::Worse, Outcome::Regression));
    assert!(row(&of, "throughput").gated && of.reasons.len() == 2, "{:?}", of.reasons);
    assert!(of.reasons[1].contains("acquire.response.p99 worse, +49 %"), "{:?}", of.reasons);
    let of = compared(side("A", &slower), side("B", &THREE));
    assert_eq!((of.exit_code, of.verdict), (0, Word::Better));
    let of = compared(side("A", &THREE), side("B", &THREE));
    assert_eq!((of.exit_code, of.verdict), (0, Word::NoDifference));
    assert!(of.reasons.is_empty(), "{:?}", of.reasons);
}

#[test]
fn single_runs_are_judged_with_the_spread_between_runs() {
    let one = |rate, ns| side("B", &[(rate, ns)]);
    let of = compared(side("A", &[(1_000.0, 1_000_000)]), one(900.0, 1_200_000));
    assert_eq!((of.exit_code, of.verdict), (0, Word::NoDifference), "{:?}", of.reasons);
    assert!(of.cautions.iter().any(|text| text.contains("--repeat")), "{:?}", of.cautions);
    let of = compared(side("A", &[(1_000.0, 1_000_000)]), one(500.0, 3_000_000));
    assert_eq!((of.exit_code, of.verdict), (6, Word::Worse), "{:?}", of.reasons);
}

#[test]
fn what_has_no_value_does_not_pass_and_nothing_granted_is_worse() {
    let mut nothing = result(0.0, 1_000_000);
    nothing.latency_ns.insert("acquire.response".to_owned(), None);
    let of = compared(side("A", &[(1_000.0, 1_000_000)]), Side::for_tests("B", vec![nothing]));
    assert_eq!((of.exit_code, row(&of, "throughput").word), (6, Word::Worse));
    let mut blind = result(1_000.0, 1_000_000);
    blind.latency_ns.insert("acquire.response".to_owned(), None);
    let of = compared(side("A", &[(1_000.0, 1_000_000)]), Side::for_tests("B", vec![blind]));
    assert_eq!((of.exit_code, of.outcome), (5, Outcome::Invalid), "{:?}", of.reasons);
}

#[test]
fn a_violation_is_worse_whatever_the_rows_say() {
    let mut unsafe_one = result(1_000.0, 1_000_000);
    unsafe_one.verdict.outcome = crate::verdict::Outcome::Unsafe;
    let of = compared(side("A", &[(1_000.0, 1_000_000)]), Side::for_tests("B", vec![unsafe_one]));
    assert_eq!((of.exit_code, of.verdict), (6, Word::Worse));
    assert!(of.reasons.concat().contains("exclusion"), "{:?}", of.reasons);
}

#[test]
fn errors_are_compared_by_their_shares() {
    let with = |timeout| {
        let mut document = result(1_000.0, 1_000_000);
        (document.totals.ok, document.totals.errors.timeout) = (100_000, timeout);
        document.totals.errors.no_quorum = 0;
        Side::for_tests("B", vec![document])
    };
    let word = |a, b| row(&compared(with(a), with(b)), "errors.rate").word;
    assert_eq!(word(0, 0), Word::NoDifference);
    assert_eq!(word(0, 20), Word::NoDifference, "less than one in a thousand");
    assert_eq!(word(0, 5_000), Word::Worse);
    assert_eq!(word(5_000, 0), Word::Better);
    assert_eq!(word(5_000, 6_000), Word::NoDifference);
}

#[test]
fn what_differs_is_listed_and_what_is_under_test_is_not_refused() {
    let a = || side("A", &[(1_000.0, 1_000_000)]);
    let mut other = result(1_000.0, 1_000_000);
    other.environment.cores = Some(64);
    other.config.clients += 1;
    other.config.engine.max_inflight = Some(7);
    other.run.seed += 1;
    // One of several runs on the same nodes: as good as the prefix itself.
    other.config.key_prefix.push_str("r000002:");
    let found = differences::find(&[a(), Side::for_tests("B", vec![other])]);
    let names: Vec<&str> = found.differences.iter().map(|d| d.what.as_str()).collect();
    assert_eq!(names, ["clients", "cores", "seed"]);
    let text = differences::refusal(&found.differences);
    assert!(
        text.contains("cores: ") && text.contains("64 in B") && text.contains("--seed"),
        "{text}"
    );
    assert_eq!(found.under_test[0].what, "engine.max_inflight");
    assert_eq!((found.under_test[0].a.as_str(), found.under_test[0].b.as_str()), ("default", "7"));
    let mut elsewhere = result(1_000.0, 1_000_000);
    elsewhere.config.key_prefix = "x:r000002:".to_owned();
    let found = differences::find(&[a(), Side::for_tests("B", vec![elsewhere])]);
    assert_eq!(found.differences[0].what, "key_prefix");
    let mut void = result(1_000.0, 1_000_000);
    void.verdict.outcome = crate::verdict::Outcome::Invalid;
    let found = differences::find(&[a(), Side::for_tests("B", vec![void])]);
    assert!(found.differences[0].what.contains("counts"), "{:?}", found.differences);
    let more = Side::for_tests("B", vec![result(1.0, 1), result(1.0, 1)]);
    assert!(differences::find(&[a(), more]).differences.is_empty());
}

#[test]
fn the_table_keeps_to_100_columns() {
    let slower = THREE.map(|(rate, ns)| (rate * 0.8, ns * 300));
    let of = compared(side("A", &THREE), side("B", &slower));
    let text = show::text(&of, Paint(false));
    let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(longest <= 100, "{longest}\n{text}");
    assert!(text.contains("*acquire.response.p99") && text.contains("WORSE"), "{text}");
    let json = serde_json::to_value(&of).unwrap();
    assert_eq!(json["verdict"], "worse");
    assert_eq!(json["against"][0]["rows"][0]["name"], "throughput");
}

#[test]
fn percentages() {
    assert!((percent("5%").unwrap() - 0.05).abs() < 1e-12);
    assert!((percent("2.5 %").unwrap() - 0.025).abs() < 1e-12);
    for wrong in ["", "x", "-1", "101", "NaN"] {
        assert!(percent(wrong).unwrap_err().contains("for example 5%"), "{wrong}");
    }
}
