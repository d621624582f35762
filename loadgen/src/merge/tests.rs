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
    assert!(all.verdict.warnings.iter().any(|text| text.contains("no latency.hlog")));
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
    let early = [source("a", 1, 3_600 * NS_PER_S), source("b", 2, 0)];
    assert!(why(&early).contains("never at the same time"), "whichever comes first");
    assert_eq!(belong_together(&[source("a", 1, 0), source("b", 2, 0)]), Ok(()));
    // The same plan on another machine: a mistake, but one to warn of.
    let mut same_seed = [source("a", 1, 0), source("b", 1, 0)];
    same_seed[1].document.run.monotonic_start_ns += 1;
    assert_eq!(belong_together(&same_seed), Ok(()));
    let warns = |all: Document| all.verdict.warnings.iter().any(|text| text.contains("same seed"));
    assert!(warns(merged(&same_seed)));
    assert!(!warns(merged(&[source("a", 1, 0), source("b", 2, 0)])));
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

/// What the parts add up to, cell by cell, whatever their columns are.
fn cells(map: &crate::collect::heat::HeatMap) -> Vec<Vec<(u32, u64)>> {
    map.cells()
}

#[test]
fn the_map_of_responses_is_the_sum_of_the_parts_at_their_times() {
    let map = |dt_ms: u64, columns: &[&str]| crate::collect::heat::HeatMap {
        metric: "acquire.response".to_owned(),
        dt_ns: dt_ms * 1_000_000,
        rows_per_doubling: 8,
        columns: columns.iter().map(ToString::to_string).collect(),
        after_end: 3,
    };
    let (mut a, mut b) = (source("a", 1, 0), source("b", 2, 400_000_000));
    a.document.heatmap = Some(map(200, &["10:1", "", "10:2 12:5", "11:1"]));
    b.document.heatmap = Some(map(100, &["10:7", "12:1", "", "40:9"]));
    let all = merged(&[a, b]).heatmap.unwrap();
    assert_eq!((all.dt_ns, all.after_end), (200_000_000, 6));
    let expected: [&[(u32, u64)]; 4] =
        [&[(10, 1)], &[], &[(10, 2 + 7), (12, 5 + 1)], &[(11, 1), (40, 9)]];
    assert_eq!(cells(&all), expected);

    // A part that began much later: columns are doubled until all of them fit.
    let (mut a, mut b) = (source("a", 1, 0), source("b", 2, 60 * NS_PER_S));
    a.document.heatmap = Some(map(100, &["10:1"; 200]));
    b.document.heatmap = Some(map(100, &["10:1"; 200]));
    let all = merged(&[a, b]).heatmap.unwrap();
    let sum: u64 = cells(&all).iter().flatten().map(|(_, n)| n).sum();
    assert_eq!((sum, all.dt_ns, all.columns.len()), (400, 400_000_000, 200));

    let (mut a, b) = (source("a", 1, 0), source("b", 2, 0));
    a.document.heatmap = None;
    let all = merged(&[a, b]);
    assert_eq!(all.heatmap, None);
    assert!(all.verdict.warnings.iter().any(|text| text.contains("map of its responses")));
}

#[test]
fn what_passed_at_nodes_is_put_on_one_axis_node_by_node() {
    use crate::document::{NodeColumns, NodeSeries};
    let series = |interval_ms: u64, commands: &[u64]| NodeSeries {
        interval_ns: interval_ms * 1_000_000,
        by_node: vec![NodeColumns {
            commands: commands.to_vec(),
            writes: commands.iter().map(|n| n / 2).collect(),
            rtt_p50: commands.iter().map(|n| Some(*n).filter(|n| *n > 0)).collect(),
            rtt_p99: vec![None; commands.len()],
        }],
    };
    let (mut a, mut b) = (source("a", 1, 0), source("b", 2, NS_PER_S));
    a.document.series.nodes = series(1_000, &[4, 6]);
    b.document.series.nodes = series(500, &[30, 10, 0, 8]);
    let all = merged(&[a, b]);
    let nodes = &all.series.nodes;
    assert_eq!((nodes.interval_ns, nodes.by_node.len()), (NS_PER_S, all.nodes.len()));
    assert_eq!(nodes.by_node[0].commands, [4, 6, 0]);
    assert_eq!(nodes.by_node[1].commands, [0, 40, 8]);
    assert_eq!(nodes.by_node[1].writes, [0, 20, 4]);
    assert_eq!(nodes.by_node[1].rtt_p50, [None, Some(30), Some(8)]);

    let (mut a, b) = (source("a", 1, 0), source("b", 2, 0));
    a.document.series.nodes = series(1_000, &[4, 6]);
    let all = merged(&[a, b]);
    assert!(all.series.nodes.by_node.is_empty(), "one run does not tell");
    assert!(all.verdict.warnings.iter().any(|text| text.contains("passed at its nodes")));
}

#[test]
fn busiest_names_are_those_that_every_machine_tells_of() {
    use crate::report::contention::HotKey;
    let key = |name: &str, n: u64, mean: f64, max: u64| HotKey {
        key: name.to_owned(),
        acquisitions: n,
        share: Some(0.5),
        wait_mean_ns: Some(mean),
        wait_p99_ns: Some(max),
        wait_max_ns: max,
    };
    let (mut a, mut b) = (source("a", 1, 0), source("b", 2, 0));
    // Ten names: there may be others. One name: there are none.
    let ten = (0..10).map(|n| key(&format!("k{n}"), 100 - n, 10.0, 7 + n));
    a.document.contention.hottest_keys = ten.collect();
    b.document.contention.hottest_keys = vec![key("k5", 285, 20.0, 50), key("other", 3, 1.0, 1)];
    (a.document.totals.ok, b.document.totals.ok) = (900, 300);
    let all = merged(&[a, b]);
    let keys = &all.contention.hottest_keys;
    let names: Vec<&str> = keys.iter().map(|of| of.key.as_str()).collect();
    assert_eq!(names, ["k5", "k0", "k1", "k2", "k3", "k4", "k6", "k7", "k8", "k9"]);
    let first = &keys[0];
    assert_eq!((first.acquisitions, first.wait_max_ns, first.wait_p99_ns), (95 + 285, 50, None));
    assert!((first.wait_mean_ns.unwrap() - 17.5).abs() < 1e-9, "weighed by acquisitions");
    assert!((first.share.unwrap() - 380.0 / 1_200.0).abs() < 1e-9);
    let warned = |text: &&String| text.contains("busiest of some machines only: 1;");
    assert!(all.verdict.warnings.iter().any(|text| warned(&text)), "{:?}", all.verdict.warnings);
}

/// A log with one interval a second, each with one response.
fn log(path: &Path, responses_ns: &[u64]) {
    let mut out = Vec::new();
    crate::report::hlog::begin(&mut out, START_NS).unwrap();
    for (from_s, &response_ns) in (0_u64..).zip(responses_ns) {
        let mut hist = histogram();
        hist.saturating_record(response_ns);
        let mut hists = crate::collect::Hists::default();
        hists.add(Metric::Response, &hist);
        let interval = crate::collect::Interval {
            from_ns: from_s * NS_PER_S,
            length_ns: NS_PER_S,
            counts: crate::recorder::Counts::default(),
            in_flight: 0,
            hists,
        };
        crate::report::hlog::append(&mut out, &interval).unwrap();
    }
    std::fs::write(path.join("latency.hlog"), out).unwrap();
}

#[test]
fn interval_logs_are_aligned_and_written_as_one() {
    let [a, b, out] =
        ["merge-a", "merge-b", "merge-out"].map(|name| crate::scratch::Scratch::new(name).unwrap());
    log(a.path(), &[1_000, 2_000, 3_000]);
    log(b.path(), &[9_000, 500]);
    let at = |dir: &Path, later_ns| {
        let mut source = source("", 1, later_ns);
        source.path = dir.to_owned();
        source.document.config.interval_ns = NS_PER_S;
        source.document.series.t = vec![0, NS_PER_S / 2, NS_PER_S, 3 * NS_PER_S / 2];
        source.document.series.ok = vec![1; 4];
        source.document.series.errors = vec![0; 4];
        source.document.series.in_flight = vec![5, 7, 2, 3];
        source
    };
    let sources = [at(a.path(), 0), at(b.path(), NS_PER_S)];
    let aligned = series::align(&sources, out.path()).unwrap();
    assert!(aligned.has_logs);
    let near =
        |got: Option<u64>, wanted: u64| got.is_some_and(|got| got.abs_diff(wanted) <= wanted / 500);
    let max = &aligned.series.response.max;
    assert!(near(max[0], 1_000) && near(max[1], 9_000) && near(max[2], 3_000), "{max:?}");
    assert_eq!(aligned.series.ok, [2, 4, 2]);
    assert_eq!(aligned.series.in_flight, [7, 3 + 7, 3], "the last of an interval, not its sum");
    let mut read = Vec::new();
    let path = out.path().join("latency.hlog");
    crate::intervals::read(&path, |_, from_ns, hist| read.push((from_ns, hist.len()))).unwrap();
    assert_eq!(read, [(0, 1), (NS_PER_S, 2), (2 * NS_PER_S, 2)]);
}

#[test]
fn every_rule_is_kept_where_machines_differ() {
    let [a, b] = [
        serde_json::json!({
            "run": {"interrupted": true},
            "totals": {"ok": 1, "offered": 5, "failure_texts": [1, 2, 3, 4, 5]},
            "contention": {"hold_mean_ns": 10.0, "handovers": null},
            "quality": {"valid": true, "sched_lag_max_ns": 7},
            "verdict": {"outcome": "pass"},
            "safety": {"verdict": "holds"},
            "environment": {"os": "x", "calibration": {"floor": 1, "wake": 2}},
        }),
        serde_json::json!({
            "run": {"interrupted": false},
            "totals": {"ok": 3, "offered": 6, "failure_texts": [6, 7, 8, 9, 10]},
            "contention": {"hold_mean_ns": 20.0, "handovers": 4},
            "quality": {"valid": false, "sched_lag_max_ns": 3},
            "verdict": {"outcome": "invalid"},
            "safety": {"verdict": "unheard of"},
            "environment": {"os": "y", "calibration": {"floor": 1, "wake": 3}},
        }),
    ];
    let all = rules::merge(&[a, b]);
    let of = |pointer: &str| all.pointer(pointer).cloned();
    for (pointer, wanted) in [
        ("/run/interrupted", serde_json::json!(true)),
        ("/quality/valid", serde_json::json!(false)),
        ("/totals/offered", serde_json::json!(11)),
        ("/contention/hold_mean_ns", serde_json::json!(17.5)),
        ("/quality/sched_lag_max_ns", serde_json::json!(7)),
        ("/totals/failure_texts", serde_json::json!([1, 2, 3, 4, 5, 6, 7, 8])),
        ("/verdict/outcome", serde_json::json!("invalid")),
        ("/safety/verdict", serde_json::json!("unheard of")),
        ("/environment/os", serde_json::json!("x + y")),
    ] {
        assert_eq!(of(pointer), Some(wanted), "{pointer}");
    }
    assert_eq!(of("/contention/handovers"), None, "a sum with an unknown part is unknown");
    assert_eq!(of("/environment/calibration"), None, "half of a calibration is none");
}
