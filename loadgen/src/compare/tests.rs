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

/// One response after another, evenly up to `highest_ns`.
fn spread(n: u64, highest_ns: u64) -> Document {
    let mut run = sample();
    let mut hist = histogram();
    (1..=n).for_each(|at| hist.saturating_record(at * highest_ns / n));
    run.totals = crate::collect::Hists::default();
    run.totals.add(Metric::Response, &hist);
    let mut document = json::document(&run);
    document.totals.ok_rate = Some(1_000.0);
    document.verdict = crate::document::VerdictReport::default();
    document
}

#[test]
fn an_interval_of_single_runs_has_also_what_each_varied_within() {
    let half = |document: Document| {
        let sides = ["A", "B"].map(|letter| Side::for_tests(letter, vec![document.clone()]));
        let [a, b] = sides;
        let ratio = row(&compared(a, b), "acquire.response.p50").ratio.unwrap();
        (ratio.high / ratio.low).ln() / 2.0
    };
    // Two runs of a build alone: 1.96 times the square root of 2 times 0.15.
    let (few, many) = (half(spread(40, 1_000_000_000)), half(spread(400_000, 1_000_000_000)));
    assert!((0.41..0.43).contains(&many), "{many}");
    assert!(few > 1.1 * many, "{few} of 40 samples, {many} of many");
}

#[test]
fn a_percentile_with_nothing_above_it_decides_nothing() {
    let one = |ns| Side::for_tests("B", vec![spread(50, ns)]);
    let of = compared(one(1_000_000), one(1_000_000_000));
    let p99 = row(&of, "acquire.response.p99");
    assert!(p99.weak && p99.word == Word::Unclear, "{p99:?}");
    assert_eq!((of.verdict, of.exit_code), (Word::Unclear, 0), "it has a value");
    assert!(of.reasons.concat().contains("too few samples"), "{:?}", of.reasons);
}

#[test]
fn the_worst_word_counts_and_an_unclear_one_before_a_better() {
    let all = [Word::Better, Word::NoDifference, Word::Unclear, Word::Worse];
    assert_eq!(overall(all.into_iter()), Word::Worse);
    assert_eq!(overall(all.into_iter().take(3)), Word::Unclear);
    assert_eq!(overall(all.into_iter().take(2)), Word::Better);
    assert_eq!(overall([].into_iter()), Word::NoDifference);
}

#[test]
fn the_middle_of_runs_is_the_geometric_one() {
    let of = compared(side("A", &[(1_000.0, 1), (4_000.0, 1)]), side("B", &THREE));
    let a = row(&of, "throughput").a.unwrap();
    assert!((a - 2_000.0).abs() < 1e-6, "{a}");
}

#[test]
fn violations_on_both_sides_are_no_regression() {
    let both = ["A", "B"].map(|letter| {
        let mut document = result(1_000.0, 1_000_000);
        document.verdict.outcome = crate::verdict::Outcome::Unsafe;
        Side::for_tests(letter, vec![document])
    });
    let [a, b] = both;
    assert_eq!(compared(a, b).verdict, Word::NoDifference);
}

#[test]
fn cautions_fit_what_was_compared() {
    let cautions = |a: &[(f64, u64)], b| compared(side("A", a), b).cautions.join("\n");
    let two = cautions(&THREE, side("B", &THREE[..2]));
    assert!(two.contains("two runs tell little") && !two.contains("single run"), "{two}");
    let three = cautions(&THREE, side("B", &THREE));
    assert!(!three.contains("tell little"), "{three}");
    let mut unknown = result(1_000.0, 1_000_000);
    unknown.safety.verdict = Safety::Unknown;
    let unknown = cautions(&THREE, Side::for_tests("B", vec![unknown]));
    assert!(unknown.contains("could not decide") && !three.contains("could not decide"));
    // Only of rows in which a change may have been missed.
    let one = [(1_000.0, 1_000_000)];
    let missed = cautions(&one, side("B", &one));
    assert!(missed.contains("% in acquire.response.p99"), "{missed}");
    let seen = cautions(&one, side("B", &[(1_000.0, 9_000_000)]));
    assert!(seen.contains("% in throughput") && !seen.contains("response.p99"), "{seen}");
}

#[test]
fn many_sides_are_refused() {
    let args = CompareArgs {
        runs: vec!["nowhere".to_owned(); 10],
        noise: 0.05,
        gate: "none".to_owned(),
        force: false,
        json: None,
        no_color: true,
    };
    let Err(RunError::Usage(text)) = run(&args) else { panic!("ten sides are compared") };
    assert!(text.contains("10 sides") && text.contains("at most 9"), "{text}");
}

#[test]
fn a_tiny_share_of_errors_and_an_unfair_lock_are_judged_by_their_own_rules() {
    let with = |quarantined| {
        let mut document = result(1_000.0, 1_000_000);
        (document.totals.ok, document.totals.errors.timeout) = (1_000_000_000, 0);
        document.totals.errors.no_quorum = 0;
        document.totals.errors.quarantined = quarantined;
        Side::for_tests("B", vec![document])
    };
    let errors = |n| row(&compared(with(0), with(n)), "errors.rate").clone();
    let tiny = errors(500_000);
    assert!(tiny.difference.unwrap().low > 0.0, "chance does not explain it: {tiny:?}");
    assert_eq!(tiny.word, Word::NoDifference, "but less than one in a thousand");
    assert_eq!(errors(50_000_000).word, Word::Worse, "quarantined ones are errors");
    let fair = |jain| {
        let mut document = result(1_000.0, 1_000_000);
        document.fairness.jain = Some(jain);
        Side::for_tests("B", vec![document])
    };
    let jain = |a, b| row(&compared(fair(a), fair(b)), "fairness.jain").word;
    assert_eq!((jain(0.9, 0.4), jain(0.4, 0.9)), (Word::Worse, Word::Better));
}

#[test]
fn builds_are_under_test_and_what_is_no_measurement_or_another_plan_is_told() {
    let found = |change: &dyn Fn(&mut Document)| {
        let mut other = result(1_000.0, 1_000_000);
        change(&mut other);
        let sides = [side("A", &[(1_000.0, 1_000_000)]), Side::for_tests("B", vec![other])];
        let found = differences::find(&sides);
        let names = |of: Vec<differences::Difference>| {
            of.into_iter().map(|difference| difference.what).collect::<Vec<_>>()
        };
        (names(found.differences), names(found.under_test))
    };
    let none: Vec<String> = Vec::new();
    let build = found(&|other| other.environment.loadgen = "9.9.9".to_owned());
    assert_eq!(build, (none, vec!["loadgen".to_owned()]));
    let interrupted = found(&|other| other.verdict.outcome = crate::verdict::Outcome::Interrupted);
    assert!(interrupted.0[0].contains("counts"), "{interrupted:?}");
    let plan = found(&|other| other.run.plan_hash = "another".to_owned());
    assert_eq!(plan.0, ["plan"], "of the same seed");
    let seeds = |letter, seeds: [u64; 2]| {
        let documents = seeds.map(|seed| {
            let mut document = result(1_000.0, 1_000_000);
            document.run.seed = seed;
            document
        });
        Side::for_tests(letter, documents.into())
    };
    let found = differences::find(&[seeds("A", [1, 2]), seeds("B", [2, 3])]);
    assert_eq!(found.differences[0].what, "seed", "each side has a plan of its own");
}

/// Ten seconds of two kinds: fast ones, and slow ones from second 5 on.
fn logged(dir: &Path) -> Document {
    let mut run = sample();
    run.totals = crate::collect::Hists::default();
    let mut out = Vec::new();
    crate::report::hlog::begin(&mut out, 1_795_438_143_000_000_000).unwrap();
    for second in 0..10_u64 {
        let mut hist = histogram();
        hist.saturating_record_n(if second < 5 { 1_000 } else { 100_000 }, 100);
        run.totals.add(Metric::Response, &hist);
        let mut hists = crate::collect::Hists::default();
        hists.add(Metric::Response, &hist);
        let interval = crate::collect::Interval {
            from_ns: second * crate::clock::NS_PER_S,
            length_ns: crate::clock::NS_PER_S,
            counts: crate::recorder::Counts::default(),
            in_flight: 0,
            hists,
        };
        crate::report::hlog::append(&mut out, &interval).unwrap();
    }
    std::fs::write(dir.join("latency.hlog"), out).unwrap();
    let mut document = json::document(&run);
    document.run.duration_ns = 10 * crate::clock::NS_PER_S;
    document.config.interval_ns = crate::clock::NS_PER_S;
    document
}

#[test]
fn a_single_runs_log_is_read_by_blocks_of_time_and_a_foreign_one_is_not() {
    let dir = crate::scratch::Scratch::new("side").unwrap();
    let mut document = logged(dir.path());
    let load = |document: &Document| {
        let json = serde_json::to_vec(document).unwrap();
        std::fs::write(dir.path().join("result.json"), json).unwrap();
        Side::load("A".to_owned(), &dir.path().display().to_string()).unwrap()
    };
    let side = load(&document);
    let blocks = side.runs[0].blocks(Metric::Response).unwrap();
    assert_eq!(blocks.len(), 10);
    let [fast, slow] = [0, 9].map(|at| {
        let times: Vec<u32> = (0..10).map(|block| u32::from(block == at)).collect();
        blocks.quantile(0.5, &times).unwrap()
    });
    assert!((990.0..1_010.0).contains(&fast) && slow > 99_000.0, "{fast} {slow}");
    let response = document.latency_ns.get_mut("acquire.response").unwrap();
    response.as_mut().unwrap().count += 1;
    assert!(!load(&document).runs[0].has_log(), "it counts other responses");
}

#[test]
fn a_longer_last_block_grants_no_more_per_second() {
    let mut document = result(1_000.0, 1_000_000);
    document.run.duration_ns = 125 * crate::clock::NS_PER_S;
    document.series.interval_ns = crate::clock::NS_PER_S;
    document.series.t = (0..125).map(|at| at * crate::clock::NS_PER_S).collect();
    document.series.ok = vec![70; 125];
    let granted = Side::for_tests("A", vec![document]).runs[0].granted();
    assert_eq!(granted, [70.0; 41], "blocks of 3 s, the last of 5");
}
