//! Makes a run's [`Document`], which is `result.json`.

use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use super::totals::{latencies, totals};
use super::{RunResult, contention, events, workloads};
use crate::clock::Utc;
use crate::collect::Row;
use crate::config::RunConfig;
use crate::document::{
    Attempts, Document, Environment, Fencing, HeldSpan, Latency, Overlap, Percentile,
    QualityReport, ResponseSeries, Run, SCHEMA, SafetyReport, Series, Summary, VerdictReport,
    base64,
};
use crate::num;
use crate::oracle::judge::{Span, Violation};
use crate::recorder::{HIGHEST_NS, Hist, Metric, TICK_NS};
use crate::witness::report::WitnessReport;

/// Samples above a percentile below which it is called weak.
pub(crate) const FEWEST_ABOVE: f64 = 10.0;

/// Whether fewer than 10 samples lie above percentile `p` of `n`.
pub(crate) fn is_weak(p: f64, n: u64) -> bool {
    n as f64 * (1.0 - p / 100.0) < FEWEST_ABOVE - 1e-9
}

/// The whole result.
pub(crate) fn document(run: &RunResult) -> Document {
    let safety = safety(run);
    let (events, events_left_out) = events::all(run, &safety.violations);
    let metrics: Vec<Metric> =
        Metric::ALL.into_iter().filter(|&metric| metric != Metric::Attempts).collect();
    Document {
        schema: SCHEMA.to_owned(),
        run: Run {
            id: run.dir.file_name().map(|name| name.to_string_lossy().into_owned()),
            name: run.config.name.clone(),
            labels: run.config.labels.clone(),
            started_at: Utc::from_unix_ns(run.started_wall_ns).iso(),
            monotonic_start_ns: run.measured_ns,
            duration_ns: run.lasted_ns,
            warmup_ns: run.config.warmup_ns,
            seed: run.config.seed,
            plan_hash: run.plan_hash.clone(),
            argv: run.argv.clone(),
            interrupted: run.interrupted,
        },
        config: run.config.clone(),
        mode: run.config.modes(),
        environment: environment(run),
        totals: totals(&run.tallied(), run.lasted_s(), run.failure_texts.clone()),
        latency_ns: latencies(&run.tallied(), &run.config.percentiles, &metrics),
        workloads: workloads::reports(run),
        attempts: Attempts {
            per_acquisition: run.contention.attempts_per_acquisition,
            contended_mean: run.mean_attempts().and_then(num::finite),
            contended: contention::attempts(run.totals.get(Metric::Attempts)),
        },
        contention: run.contention.clone(),
        fairness: run.fairness,
        series: Series { nodes: run.timeline.nodes.clone(), ..series(&run.rows) },
        heatmap: Some(run.timeline.heat.clone()),
        events,
        events_left_out,
        nodes: run.nodes.clone(),
        cost_per_acquisition: run.cost,
        faults: run.faults.clone(),
        safety,
        fencing: fencing(run),
        witness: witness(run),
        quality: quality(run),
        thresholds: run.thresholds.clone(),
        verdict: VerdictReport {
            outcome: run.verdict.outcome,
            exit_code: run.verdict.exit_code,
            reasons: run.verdict.reasons.clone(),
            warnings: run.verdict.warnings.clone(),
        },
        machines: Vec::new(),
    }
}

fn environment(run: &RunResult) -> Environment {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    Environment {
        loadgen: env!("CARGO_PKG_VERSION").to_owned(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        os: read("/proc/sys/kernel/osrelease").map(|release| format!("Linux {release}")),
        cores: std::thread::available_parallelism().ok().map(std::num::NonZeroUsize::get),
        loadavg: read("/proc/loadavg"),
        calibration: Some(run.calibration),
        target: run.about.clone(),
        machine: run.machine.clone(),
        nodes: run.timeline.node_facts.clone(),
    }
}

pub(crate) fn latency(hist: &Hist, percentiles: &[f64]) -> Latency {
    let n = hist.len();
    let percentile = |&p: &f64| {
        let ns = hist.value_at_percentile(p);
        Percentile { p, ns, weak: is_weak(p, n), at_least: false }
    };
    let mut bytes = Vec::new();
    let packed = V2DeflateSerializer::new().serialize(hist, &mut bytes);
    Latency {
        count: n,
        min: hist.min(),
        mean: num::finite(hist.mean()),
        stddev: num::finite(hist.stdev()),
        sum: num::finite(hist.mean() * n as f64),
        max: hist.max(),
        saturated: hist.count_between(HIGHEST_NS, u64::MAX),
        percentiles: percentiles.iter().map(percentile).collect(),
        hdr_v2_deflate_b64: packed.ok().map(|_| base64::encode(&bytes)),
    }
}

fn series(rows: &[Row]) -> Series {
    Series {
        interval_ns: TICK_NS,
        t: (0..rows.len() as u64).map(|at| at * TICK_NS).collect(),
        ok: rows.iter().map(|row| row.counts.ok).collect(),
        errors: rows.iter().map(|row| row.counts.errors()).collect(),
        in_flight: rows.iter().map(|row| row.in_flight).collect(),
        started: rows.iter().map(|row| row.started).collect(),
        contended: rows.iter().map(|row| row.contended).collect(),
        hiccup: rows.iter().map(|row| row.hiccup_ns).collect(),
        response: ResponseSeries {
            max: rows.iter().map(|row| row.max_ns).collect(),
            p50: rows.iter().map(|row| row.p50_ns).collect(),
            p99: rows.iter().map(|row| row.p99_ns).collect(),
        },
        ..Series::default()
    }
}

fn safety(run: &RunResult) -> SafetyReport {
    let findings = &run.findings;
    // Before the measured start, in the warm-up, instants are negative.
    let since = |at_ns: u64| i128::from(at_ns) - i128::from(run.measured_ns);
    let since = |at_ns: u64| i64::try_from(since(at_ns)).unwrap_or(i64::MAX);
    let span = |span: Span| HeldSpan {
        client: span.client,
        process: span.client % run.config.processes.max(1),
        begin_ns: since(span.begin_ns),
        end_ns: since(span.end_ns),
    };
    let example = |violation: &Violation| {
        let [held_as, granted_as] = violation.classes;
        Overlap {
            key: key_name(&run.config, violation.key),
            held: span(violation.held),
            granted: span(violation.granted),
            held_as,
            granted_as,
        }
    };
    SafetyReport {
        verdict: run.verdict.safety,
        sections: findings.sections,
        keys: run.config.names(),
        violation_count: findings.violations,
        violations: findings.examples.iter().map(example).collect(),
        overruns: findings.overruns,
        unresolved: findings.unresolved,
        counter_exact: findings.lost_updates == 0 && findings.torn_reads == 0,
        lost_updates: findings.lost_updates,
        torn_reads: findings.torn_reads,
        unjudged_keys: findings.unjudged_keys,
    }
}

/// `None` unless the run was fenced.
fn fencing(run: &RunResult) -> Option<Fencing> {
    let tokens = run.findings.tokens;
    Some(Fencing {
        verdict: run.verdict.fencing?,
        checked: tokens.checked,
        violation_count: tokens.violations,
        highest_token: tokens.highest,
        uncontended: run.uncontended(),
        second_round_trips: run.all_counts.raised,
        one_round_trip_share: run.one_trip_share().and_then(num::finite),
    })
}

/// With the verdict of the run, which may excuse what was seen.
fn witness(run: &RunResult) -> Option<WitnessReport> {
    let report = run.witness.clone()?;
    Some(WitnessReport { verdict: run.verdict.witness?, ..report })
}

/// The lock name behind a cell of the checker.
pub(crate) fn key_name(config: &RunConfig, cell: u64) -> String {
    config.spaces().name(cell)
}

fn quality(run: &RunResult) -> QualityReport {
    let summary = |metric: Metric| Summary {
        p50: run.totals.at(metric, 50.0),
        p99: run.totals.at(metric, 99.0),
        max: run.totals.get(metric).map(Hist::max),
    };
    QualityReport {
        valid: run.verdict.exit_code != 5,
        sched_lag_ns: summary(Metric::SchedLag),
        hiccup_ns: summary(Metric::Hiccup),
        hold_late_ns: summary(Metric::HoldLate),
        cpu_pct: num::finite(run.quality.cpu_pct),
        cpu_share: num::finite(run.quality.cpu_share),
        busiest_worker: run.quality.busiest_worker.and_then(num::finite),
        mean_burst: run.quality.mean_burst.and_then(num::finite),
        hottest_key: run.quality.hottest.clone(),
        processes_lost: run.quality.agents_lost.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    #[test]
    fn sums_counts_and_means_agree() {
        let mut hist = histogram();
        (1..=2_000_u64).for_each(|n| hist.saturating_record(n * 1_000));
        let value = latency(&hist, &[50.0, 99.0, 99.9]);
        let (sum, mean) = (value.sum.unwrap(), value.mean.unwrap());
        assert!((sum / value.count as f64 - mean).abs() < 1e-6);
        assert_eq!(value.count, 2_000);
        assert!((mean / 1_000_500.0 - 1.0).abs() < 1e-3);
        let weak: Vec<bool> = value.percentiles.iter().map(|of| of.weak).collect();
        assert_eq!(weak, [false, false, true], "2 samples lie above p99.9");
        assert_eq!(latency(&histogram(), &[50.0]).mean, Some(0.0));
    }

    #[test]
    fn a_whole_result_is_read_back_as_it_was_written() {
        let written = document(&crate::report::text::tests::sample());
        let json = serde_json::to_string(&written).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&json).unwrap(), written);
    }

    #[test]
    fn a_histogram_is_read_back_bit_for_bit_through_json() {
        let mut hist = histogram();
        (1..=5_000_u64).for_each(|n| hist.saturating_record(n * n * 977));
        let written = latency(&hist, &[50.0, 99.9]);
        let json = serde_json::to_string(&written).unwrap();
        let read: Latency = serde_json::from_str(&json).unwrap();
        assert_eq!(read, written);
        assert_eq!(read.hist(), Some(hist));
        let torn = Latency { hdr_v2_deflate_b64: Some("AAAA".to_owned()), ..read };
        assert_eq!(torn.hist(), None);
    }
}
