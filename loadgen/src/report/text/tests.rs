//! The text report on a made-up run.

use super::*;
use crate::args::preset::Preset;
use crate::calibration::Calibration;
use crate::collect::Hists;
use crate::config::RunConfig;
use crate::mode::Class;
use crate::oracle::judge::{Findings, Span, Tokens, Violation};
use crate::recorder::{Counts, histogram};
use crate::report::contention::{Contention, Fairness, HotKey};
use crate::report::cost::Cost;
use crate::report::faults::{FaultReport, Return, Sign};
use crate::report::machine::Machine;
use crate::report::{NodeReport, Quality, TargetAbout, Timeline};
use crate::values::{KeyDist, Rate};
use crate::verdict::Verdict;
use crate::witness::report::WitnessReport;

pub(crate) fn sample() -> RunResult {
    let mut totals = Hists::default();
    for metric in Metric::ALL.into_iter().filter(|&metric| metric != Metric::Unanswered) {
        let mut hist = histogram();
        (1..=5_000_u64).for_each(|n| hist.saturating_record(n * 10_000_000));
        totals.add(metric, &hist);
    }
    let mut ages = histogram();
    ages.record_n(49_000_000_000, 60).unwrap();
    totals.add(Metric::Unanswered, &ages);
    let config = RunConfig {
        rate: Rate::PerSecond(123_456.0),
        key_dist: KeyDist::Hot { keys: 0.001, load: 0.1 },
        percentiles: vec![50.0, 90.0, 99.0, 99.9, 99.99],
        keys: 1_000_000,
        preset: Some(Preset::HotKey),
        fenced: true,
        ..RunConfig::for_tests()
    };
    let node = NodeReport {
        id: 1,
        url: "redis://a-host-with-a-very-long-name.example:6379".to_owned(),
        state: "down: connection refused by the peer at 127.0.0.1".to_owned(),
        commands: 123_456_789,
        writes: 1_000_000,
        quarantine_ns: Some(2_500_000_000),
        rtt_p50_ns: Some(203_000),
        rtt_p99_ns: Some(690_000),
        ..NodeReport::default()
    };
    let fault = FaultReport {
        fault: "kill@15s/10s:all".to_owned(),
        kind: "kill".to_owned(),
        targets: vec![1, 2, 3, 4, 5],
        processes: Vec::new(),
        held: None,
        begin_ns: 15_000_000_000,
        end_ns: None,
        detect_ns: Some(123_000_000),
        detect_by: Some(Sign::Latency),
        gap_ns: 51_200_000,
        usual_gap_ns: 12_500_000,
        worst_ns: None,
        failed: 1_234_567,
        lost: 3,
        recovered_ns: None,
        node_back_ns: Some(10_100_000_000),
        nodes: vec![
            Return { node: 1, hit_ns: 0, back_ns: None, quarantined_ns: None, votes_ns: None },
            Return {
                node: 2,
                hit_ns: 15_000_000_000,
                back_ns: Some(25_100_000_000),
                quarantined_ns: Some(3_020_000_000),
                votes_ns: Some(28_120_000_000),
            },
        ],
    };
    let span = |client| Span { client, begin_ns: 1_500_000_000, end_ns: 1_600_000_000 };
    let classes = [Class::Exclusive; 2];
    let violation = Violation { key: 3, held: span(1), granted: span(2), classes };
    RunResult {
        argv: Vec::new(),
        started_wall_ns: 0,
        measured_ns: 1_000_000_000,
        lasted_ns: 300_000_000,
        plan_hash: "7f3a91c2".to_owned(),
        interrupted: false,
        about: TargetAbout {
            test_node: true,
            spawned: true,
            server: "test node".into(),
            transport: "tcp".into(),
        },
        totals,
        workloads: Vec::new(),
        counts: Counts { ok: 5_000, ..Counts::default() },
        all_counts: Counts {
            ok: 5_000,
            timeout: 4,
            busy: 3,
            lost: 2,
            other: 1,
            quarantined: 6,
            raised: 1,
            ..Counts::default()
        },
        offered: 5_200,
        unfinished: 60,
        not_started: 0,
        oldest_unfinished_ns: 900_000_000,
        rows: Vec::new(),
        timeline: Timeline::default(),
        machine: Machine::default(),
        nodes: vec![node],
        cost: Cost::of(1_000, 85_200_000, &[None]),
        faults: vec![fault],
        contention: Contention {
            handovers: 4_321,
            handovers_between_processes: 2_160,
            attempts_per_acquisition: Some(1.25),
            hold_mean_ns: Some(1_080_000.0),
            ping_p50_ns: Some(85_000),
            hottest_keys: vec![HotKey {
                key: "lg:<0>".to_owned(),
                acquisitions: 1_234,
                share: Some(0.246_8),
                wait_mean_ns: Some(1_500_000.0),
                wait_p99_ns: Some(66_000_000),
                wait_max_ns: 77_000_000,
            }],
            ..Contention::default()
        },
        fairness: Fairness {
            clients: 4,
            jain: Some(0.99),
            longest_wait_ns: 5,
            ..Fairness::default()
        },
        findings: Findings {
            violations: 1,
            tokens: Tokens { checked: 5_060, violations: 7, highest: 1 << 53 },
            examples: vec![violation],
            ..Findings::default()
        },
        quality: Quality { mean_burst: Some(1.9), ..Quality::default() },
        calibration: Calibration::default(),
        failure_texts: vec!["no quorum of nodes answered ".repeat(9)],
        thresholds: Vec::new(),
        witness: Some(WitnessReport { judged: 9, unbacked: 9, ..WitnessReport::default() }),
        verdict: Verdict {
            reasons: vec!["because ".repeat(30)],
            warnings: vec!["do this ".repeat(30)],
            fencing: Some(Safety::Violated),
            witness: Some(Safety::Violated),
            ..Verdict::default()
        },
        dir: std::path::PathBuf::from("loadgen-runs/x"),
        has_scenario: true,
        config,
    }
}

#[test]
fn the_report_fits_the_page_and_says_what_matters() {
    let text = render(&sample(), Paint(false));
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{} columns: {line}", line.chars().count());
    }
    for words in [
        "NO REAL SERVER",
        "acquire response",
        "from plan",
        "never",
        "`lg:3` held by client 1 of process 0 from 0.500000s",
        "60 unfinished (oldest 900ms)",
        "loadgen-runs/x/",
        "per acquisition: client CPU 85.2µs",
        "n2 hit at 15.0s, back at 25.1s, quarantined for 3.02s, votes again at 28.1s",
        "6 quarantined",
        "down: connection refused by the peer at 127.0.0.1, votes in 2.50s at the end",
        "fenced, wait 1s (queue)",
        "hot-key: open loop",
        "contention 4 321 handovers, 50 % between processes; 1.25 attempts per acquisition",
        "held 1.08ms on average, PING p50 85.0µs meanwhile",
        "fairness Jain index 0.990 over 4 clients",
        "tokens OUT OF ORDER 5 060 grants checked, 7 violations, highest 9007199254740992",
        "99.98 % of 5 000 uncontended acquisitions took one round trip",
    ] {
        let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flowing.contains(words), "{words} is missing:\n{text}");
    }
}

#[test]
fn percentiles_without_enough_samples_are_marked_and_censored_ones_are_bounds() {
    let text = render(&sample(), Paint(false));
    let of = |label: &str| text.lines().find(|line| line.contains(label)).unwrap().to_owned();
    // 60 of 5060 arrivals waited for 49 s without an answer: what is below that is exact.
    let response = of("acquire response");
    assert!(response.contains("≥49.5s") && response.contains("≥50.0s"), "{response}");
    assert!(response.contains(" 45.6s ") && response.contains(" 25.3s "), "{response}");
    let service = of("acquire service");
    assert!(service.contains("≥49.5s") && !service.contains("≥45"), "{service}");
    let release = of("release  ");
    assert!(release.contains("~50.0s") && !release.contains("~49.5s"), "{release}");
}

#[test]
fn colours_are_only_painted_when_asked_for() {
    assert!(!render(&sample(), Paint(false)).contains('\x1b'));
    assert!(render(&sample(), Paint(true)).contains('\x1b'));
}

#[test]
fn a_run_without_any_answer_still_says_how_long_the_least_wait_was() {
    let mut run = sample();
    let mut ages = histogram();
    (1..=3_000_u64).for_each(|n| ages.saturating_record(n * 1_000_000));
    run.totals = Hists::default();
    run.totals.add(Metric::Unanswered, &ages);
    run.unfinished = 3_000;
    let text = render(&run, Paint(false));
    let row = text.lines().find(|line| line.contains("acquire response")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[2..5], ["≥1.50s", "≥2.70s", "≥2.97s"], "{row}");
    assert_eq!(words[7..9], ["≥3.00s", "0"], "{row}");
    assert!(text.contains("3 000 arrivals had no answer"), "{text}");
}
