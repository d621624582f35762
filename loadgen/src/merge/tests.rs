//! Merging made-up results.

use super::*;
use crate::plan::rng::SplitMix;
use crate::report::json;
use crate::report::text::tests::sample;
use crate::verdict::{Outcome, Safety};

const START_NS: u64 = 1_795_438_143_000_000_000;

fn samples(seed: u64) -> Hist {
    let mut rng = SplitMix::new(seed);
    let mut hist = histogram();
    (0..3_000).for_each(|_| hist.saturating_record(rng.next() >> 34));
    hist
}

fn source(name: &str, seed: u64, later_ns: u64) -> Source {
    let mut run = sample();
    run.totals = crate::collect::Hists::default();
    run.totals.add(Metric::Response, &samples(seed));
    run.started_wall_ns = START_NS + later_ns;
    run.config.seed = seed;
    let document = json::document(&run);
    Source { path: PathBuf::from(name), started_ns: run.started_wall_ns, document }
}

fn merged(sources: &[Source]) -> Document {
    let dir = crate::scratch::Scratch::new("merge").unwrap();
    let aligned = series::align(sources, dir.path()).unwrap();
    merge_all(sources, Path::new("both"), aligned).unwrap()
}

#[test]
fn histograms_are_added_bit_for_bit_and_counts_are_sums() {
    let sources = [source("a", 1, 0), source("b", 2, 0), source("c", 3, 0)];
    let all = merged(&sources);
    let mut exact = histogram();
    (1..=3).for_each(|seed| merge(&mut exact, &samples(seed)));
    assert_eq!(all.hist(Metric::Response), Some(exact));
    assert_eq!(all.latency(Metric::Response).unwrap().count, 9_000);
    let one = &sources[0].document;
    assert_eq!(all.totals.ok, 3 * one.totals.ok);
    assert_eq!(all.totals.errors.timeout, 3 * one.totals.errors.timeout);
    let (rate, each) = (all.totals.ok_rate.unwrap(), one.totals.ok_rate.unwrap());
    assert!((rate - 3.0 * each).abs() < 1e-6 * rate);
    assert_eq!(all.safety.sections, 3 * one.safety.sections);
    assert_eq!(all.nodes.len(), 3 * one.nodes.len());
    assert_eq!(all.nodes.last().map(|node| node.id), Some(all.nodes.len()));
    assert_eq!(all.fairness.jain, None, "not known of all");
    assert_eq!(all.cost_per_acquisition.client_cpu_ns, one.cost_per_acquisition.client_cpu_ns);
    assert_eq!(all.machines.len(), 3);
    assert_eq!(all.machines[1].seed, 2);
    assert_eq!(all.machines[1].response_p99_ns, Some(samples(2).value_at_percentile(99.0)));
}

#[test]
fn the_worst_verdict_counts_and_says_whose_it_is() {
    let mut bad = source("b", 2, 0);
    bad.document.verdict.outcome = Outcome::Unsafe;
    bad.document.verdict.exit_code = 4;
    bad.document.verdict.reasons = vec!["overlap".to_owned()];
    bad.document.safety.verdict = Safety::Violated;
    let mut invalid = source("c", 3, 0);
    invalid.document.verdict.outcome = Outcome::Invalid;
    invalid.document.verdict.exit_code = 5;
    let all = merged(&[source("a", 1, 0), bad, invalid]);
    assert_eq!((all.verdict.outcome, all.verdict.exit_code), (Outcome::Unsafe, 4));
    assert_eq!(all.safety.verdict, Safety::Violated);
    assert!(all.verdict.reasons.contains(&"machine 2: overlap".to_owned()));
    assert!(all.verdict.warnings.iter().any(|text| text.contains("its own clients only")));
}

#[test]
fn intervals_are_aligned_by_their_starts() {
    let tick = |document: &mut Document, ok: &[u64]| {
        document.config.interval_ns = NS_PER_S;
        document.run.duration_ns = ok.len() as u64 * NS_PER_S;
        document.series.t = (0..ok.len() as u64).map(|at| at * NS_PER_S).collect();
        document.series.ok = ok.to_vec();
        document.series.errors = vec![0; ok.len()];
        document.series.in_flight = vec![1; ok.len()];
    };
    let (mut a, mut b) = (source("a", 1, 0), source("b", 2, 2 * NS_PER_S));
    tick(&mut a.document, &[10, 20, 30]);
    tick(&mut b.document, &[1, 2, 3]);
    let all = merged(&[b, a]);
    assert_eq!(all.series.ok, [10, 20, 31, 2, 3]);
    assert_eq!(all.series.in_flight, [1, 1, 2, 1, 1]);
    assert_eq!(all.run.duration_ns, 5 * NS_PER_S);
    assert_eq!(all.run.started_at, Utc::from_unix_ns(START_NS).iso());
    assert_eq!(all.series.response.p99, [None; 5], "without logs nothing is known");
    assert!(all.verdict.warnings.iter().any(|text| text.contains("2.0 s apart")));
}

#[test]
fn runs_that_are_no_parts_of_one_load_are_refused() {
    let why = |sources: &[Source]| belong_together(sources).unwrap_err();
    let twice = why(&[source("a", 1, 0), source("b", 1, 0)]);
    assert!(twice.contains("`a` and `b` are the same run"), "{twice}");
    let mut other = source("b", 2, 0);
    other.document.config.clients += 1;
    let text = why(&[source("a", 1, 0), other]);
    assert!(text.contains("clients: ") && text.contains("in `b`"), "{text}");
    let late = source("b", 2, 3_600 * NS_PER_S);
    assert!(why(&[source("a", 1, 0), late]).contains("never at the same time"));
    assert_eq!(belong_together(&[source("a", 1, 0), source("b", 2, 0)]), Ok(()));
}

#[test]
fn dates_are_read_back() {
    for ns in [0, START_NS, START_NS + 120_000_000, 951_782_400_000_000_000] {
        assert_eq!(Utc::parse_iso(&Utc::from_unix_ns(ns).iso()), Some(ns));
    }
    for wrong in ["", "2026-11-23", "2026-13-23T12:49:03.120Z", "2026-11-23T12:49:03.120"] {
        assert_eq!(Utc::parse_iso(wrong), None, "{wrong}");
    }
}
