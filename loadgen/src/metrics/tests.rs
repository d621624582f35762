//! Numbers by name, from a result whose numbers are known.

use super::*;
use crate::config::RunConfig;
use crate::document::{
    Attempts, AttemptsOf, Document, Environment, Errors, QualityReport, Run, SCHEMA, SafetyReport,
    Series, Totals, VerdictReport, WorkloadReport,
};
use crate::document::{Fencing, Latency};
use crate::report::contention::{Commands, Contention, Fairness};
use crate::report::cost::Cost;
use crate::report::faults::FaultReport;
use crate::verdict::Safety;

fn fault(detect_ns: Option<u64>, gap_ns: u64, recovered_ns: Option<u64>) -> FaultReport {
    serde_json::from_value(serde_json::json!({
        "kind": "kill", "targets": [1], "begin_ns": 0, "end_ns": 9, "detect_ns": detect_ns,
        "detect_by": null, "gap_ns": gap_ns, "usual_gap_ns": 0, "worst_ns": null, "failed": 3,
        "lost": 2, "recovered_ns": recovered_ns, "node_back_ns": null, "nodes": [],
    }))
    .unwrap()
}

fn packed(samples: &[u64]) -> Option<Latency> {
    let mut hist = histogram();
    samples.iter().for_each(|&ns| hist.saturating_record(ns));
    Some(crate::report::json::latency(&hist, &[50.0]))
}

/// A fenced run of 90 grants in 10 s, with two faults and failures of every kind.
fn document() -> Document {
    let latency_ns = [("acquire.response", packed(&[1_000, 2_000, 3_000])), ("handoff", None)];
    Document {
        schema: SCHEMA.to_owned(),
        machines: Vec::new(),
        run: serde_json::from_value::<Run>(serde_json::json!({
            "id": null, "name": "t", "started_at": "", "monotonic_start_ns": 0, "duration_ns": 0,
            "warmup_ns": 0, "seed": 1, "plan_hash": "", "argv": [], "interrupted": false,
        }))
        .unwrap(),
        config: RunConfig::for_tests(),
        mode: "mutex".to_owned(),
        environment: Environment::default(),
        totals: Totals {
            offered: 110,
            ok: 90,
            ok_in_time: 88,
            unfinished: 11,
            errors: Errors {
                timeout: 4,
                no_quorum: 3,
                quarantined: 2,
                busy: 10,
                lost: 5,
                other: 1,
            },
            ok_rate: Some(8.8),
            achieved_rate: Some(10.0),
            offered_rate: None,
            ..Totals::default()
        },
        workloads: Vec::new(),
        latency_ns: latency_ns.map(|(name, latency)| (name.to_owned(), latency)).into(),
        attempts: Attempts {
            contended: Some(AttemptsOf { count: 7, mean: Some(1.5), p50: 1, p99: 4, max: 5 }),
            ..Attempts::default()
        },
        contention: Contention {
            handovers: 12,
            commands: Some(Commands { per_handover: Some(16.5), ..Commands::default() }),
            ..Contention::default()
        },
        fairness: Fairness { clients: 4, jain: Some(0.9), ..Fairness::default() },
        series: Series::default(),
        heatmap: None,
        events: Vec::new(),
        events_left_out: 0,
        nodes: Vec::new(),
        cost_per_acquisition: Cost {
            acquisitions: 90,
            client_cpu_ns: Some(20_000.0),
            ..Cost::default()
        },
        faults: vec![fault(Some(500), 4_000, Some(9_000)), fault(None, 7_000, Some(8_000))],
        safety: SafetyReport { sections: 90, lost_updates: 2, ..SafetyReport::default() },
        witness: None,
        fencing: Some(Fencing {
            verdict: Safety::Holds,
            checked: 90,
            violation_count: 0,
            highest_token: 90,
            uncontended: 1,
            second_round_trips: 0,
            one_round_trip_share: None,
        }),
        quality: QualityReport::default(),
        thresholds: Vec::new(),
        verdict: VerdictReport::default(),
    }
}

fn of(document: &Document, name: &str) -> Option<(f64, u64)> {
    let name = Name::parse(name).unwrap();
    let sample = value(document, &name)?;
    assert_eq!(sample.unit, name.unit(), "{name}");
    Some((sample.value, sample.samples))
}

#[test]
fn every_number_is_that_of_the_result_with_what_it_was_made_from() {
    let document = document();
    for (name, value, samples) in [
        ("acquire.response.p50", 2_000.0, 3),
        ("acquire.response.max", 3_000.0, 3),
        ("acquire.response.mean", 2_000.0, 3),
        ("acquire.response.count", 3.0, 3),
        ("attempts.mean", 1.5, 7),
        ("attempts.p99", 4.0, 7),
        ("throughput", 8.8, 88),
        ("achieved", 10.0, 110),
        ("errors.rate", 10.0 / 110.0, 110),
        ("errors.count", 10.0, 110),
        ("timeouts.rate", 4.0 / 110.0, 110),
        ("unfinished.rate", 0.1, 110),
        ("safety.violations", 2.0, 90),
        ("fencing.violations", 0.0, 90),
        ("fault.detect.max", 500.0, 1),
        ("fault.gap.max", 7_000.0, 2),
        ("fault.recovered.max", 9_000.0, 2),
        ("fault.failed.sum", 6.0, 2),
        ("fault.lost.sum", 4.0, 2),
        ("fairness.jain", 0.9, 4),
        ("cpu.per_lock", 20_000.0, 90),
        ("contention.commands_per_handover", 16.5, 12),
    ] {
        let (found, of_how_many) = of(&document, name).unwrap_or_else(|| panic!("{name}"));
        // Histograms keep three digits.
        assert!((found - value).abs() < 1e-3 * value.max(1e-3), "{name}: {found}");
        assert_eq!(of_how_many, samples, "{name}");
    }
}

#[test]
fn what_was_not_measured_has_no_value() {
    let mut bare = document();
    assert_eq!(of(&bare, "offered"), None);
    assert_eq!(of(&bare, "handoff.p99"), None);
    assert_eq!(of(&bare, "sched.lag.p99"), None);
    bare.faults.clear();
    bare.fencing = None;
    bare.totals.errors = Errors::default();
    bare.totals.ok = 0;
    bare.safety.sections = 0;
    for name in [
        "fault.gap.max",
        "fault.recovered.max",
        "fault.failed.sum",
        "fencing.violations",
        "safety.violations",
        "errors.rate",
        "errors.count",
    ] {
        assert_eq!(of(&bare, name), None, "{name}");
    }
}

#[test]
fn a_fault_that_was_not_recovered_from_is_infinitely_long() {
    let mut document = document();
    document.faults.push(fault(Some(1), 1, None));
    assert_eq!(of(&document, "fault.recovered.max"), Some((f64::INFINITY, 3)));
}

#[test]
fn arrivals_without_an_answer_make_a_response_a_lower_bound() {
    let mut document = document();
    let name = Name::parse("acquire.response.p99").unwrap();
    assert!(!value(&document, &name).unwrap().at_least);
    document.latency_ns.insert("acquire.unanswered".to_owned(), packed(&[9_000_000]));
    let late = value(&document, &name).unwrap();
    assert!(late.at_least && late.value > 8_000_000.0, "{late:?}");
    assert_eq!(late.samples, 3, "answers");
    let median = value(&document, &Name::parse("acquire.response.p50").unwrap()).unwrap();
    assert!(!median.at_least, "below the youngest of them nothing is missing");
}

#[test]
fn a_workload_has_its_own_numbers_and_one_that_is_not_there_has_none() {
    let mut document = document();
    let mut latency_ns = std::collections::BTreeMap::new();
    latency_ns.insert("acquire.response".to_owned(), packed(&[7_000, 7_000, 7_000]));
    latency_ns.insert("acquire.unanswered".to_owned(), packed(&[9_000_000]));
    let errors = Errors { timeout: 1, busy: 2, ..Errors::default() };
    let totals = Totals { ok: 7, errors, offered: 11, unfinished: 1, ..Totals::default() };
    let name = "slow".to_owned();
    document.workloads = vec![WorkloadReport { name, totals, latency_ns, ..Default::default() }];
    let of = |text: &str| value(&document, &Name::parse(text).unwrap());
    let p50 = of("acquire.response.p50{workload=slow}").unwrap();
    // To the three digits of a histogram.
    assert!((7_000.0..7_007.0).contains(&p50.value), "{p50:?}");
    assert_eq!((p50.samples, p50.at_least), (3, false));
    let p99 = of("acquire.response.p99{workload=slow}").unwrap();
    assert!(p99.at_least && p99.value > 8_900_000.0, "who still waits counts: {p99:?}");
    let share = of("errors.rate{workload=slow}").unwrap();
    assert_eq!((share.value, share.samples, share.unit), (0.1, 10, Unit::Share));
    assert_eq!(of("unfinished.rate{workload=slow}").unwrap().value, 1.0 / 11.0);
    assert!(of("acquire.service.p50{workload=slow}").is_none(), "nothing was recorded");
    assert!(of("throughput{workload=slow}").is_none(), "no rate is known");
    assert!(of("errors.rate{workload=fast}").is_none());
    assert!(of("acquire.response.p50{workload=fast}").is_none());
}
