//! The page in the Prometheus text format, version 0.0.4: base units, `_total` for counters, and
//! histograms whose buckets add up.
//!
//! No label holds the name of a lock: their number is the user's, not ours.

use std::fmt::Write as _;

use crate::backend::{NodeLook, NodeView};
use crate::clock::NS_PER_S;
use crate::cluster::node_name;
use crate::collect::Hists;
use crate::recorder::{Counts, Hist, Metric};

/// Upper bounds of buckets, in ns; the last one is infinite.
const BOUNDS_NS: [u64; 18] = [
    1_000,
    10_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// What a run has measured so far.
#[derive(Debug, Default)]
pub(crate) struct Values<'a> {
    pub(crate) counts: Counts,
    pub(crate) totals: Option<&'a Hists>,
    pub(crate) looks: &'a [NodeLook],
    pub(crate) in_flight: u64,
    pub(crate) measured_ns: u64,
    pub(crate) violations: u64,
    pub(crate) fencing_violations: u64,
    pub(crate) handovers: u64,
}

impl Values<'_> {
    pub(super) fn page(&self) -> String {
        let mut out = String::new();
        let counts = &self.counts;
        let about = "Acquisitions that were answered in the measured time, by how.";
        head(&mut out, "loadgen_acquisitions_total", "counter", about);
        for (outcome, n) in [
            ("ok", counts.ok),
            ("timeout", counts.timeout),
            ("no_quorum", counts.no_quorum),
            ("quarantined", counts.quarantined),
            ("busy", counts.busy),
            ("other", counts.other),
        ] {
            let _ = writeln!(out, "loadgen_acquisitions_total{{outcome=\"{outcome}\"}} {n}");
        }
        for (name, about, n) in [
            ("locks_lost", "Locks that were granted and lost before their release.", counts.lost),
            ("attempts", "Rounds in which nodes were asked.", counts.attempts),
            ("handovers", "Locks that passed to one who was waiting.", self.handovers),
            ("violations", "Sections that overlapped one they exclude.", self.violations),
            ("fencing_violations", "Fencing tokens out of order.", self.fencing_violations),
        ] {
            let name = format!("loadgen_{name}_total");
            head(&mut out, &name, "counter", about);
            let _ = writeln!(out, "{name} {n}");
        }
        for (name, about, metric) in [
            ("acquire_response", "From the planned arrival to the grant.", Metric::Response),
            ("acquire_service", "From the call to the grant.", Metric::Service),
            ("handoff", "From the release to the grant of who was waiting.", Metric::Handoff),
            ("schedule_lag", "From the planned arrival to its start.", Metric::SchedLag),
        ] {
            let name = format!("loadgen_{name}_seconds");
            histogram(&mut out, &name, about, self.totals.and_then(|totals| totals.get(metric)));
        }
        self.gauges(&mut out);
        out
    }

    fn gauges(&self, out: &mut String) {
        let name = "loadgen_in_flight";
        head(out, name, "gauge", "Arrivals under way or waiting for a client.");
        let _ = writeln!(out, "{name} {}", self.in_flight);
        let name = "loadgen_measured_seconds";
        head(out, name, "gauge", "How much of the measured time is over.");
        let _ = writeln!(out, "{name} {}", seconds(self.measured_ns));
        if self.looks.is_empty() {
            return;
        }
        let name = "loadgen_node_up";
        head(out, name, "gauge", "1: the node is connected and votes.");
        for (at, look) in self.looks.iter().enumerate() {
            let up = u8::from(look.view == NodeView::Up);
            let _ = writeln!(out, "{name}{{node=\"{}\"}} {up}", node_name(at));
        }
        let name = "loadgen_node_rtt_seconds";
        head(out, name, "gauge", "Median round trip to the node so far.");
        for (at, look) in self.looks.iter().enumerate() {
            if let Some(rtt_ns) = look.rtt_p50_ns {
                let _ = writeln!(out, "{name}{{node=\"{}\"}} {}", node_name(at), seconds(rtt_ns));
            }
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, about: &str) {
    let _ = writeln!(out, "# HELP {name} {about}\n# TYPE {name} {kind}");
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / NS_PER_S as f64
}

/// Counts are exact to the histogram's own buckets, a thousandth of the bound.
fn histogram(out: &mut String, name: &str, about: &str, hist: Option<&Hist>) {
    head(out, name, "histogram", about);
    // Ascending bounds, so one pass over the histogram does.
    let mut at_most = [0_u64; BOUNDS_NS.len()];
    for step in hist.into_iter().flat_map(|hist| hist.iter_recorded()) {
        let (value, n) = (step.value_iterated_to(), step.count_since_last_iteration());
        for (count, _) in at_most.iter_mut().zip(BOUNDS_NS).filter(|(_, bound)| value <= *bound) {
            *count += n;
        }
    }
    for (bound, count) in BOUNDS_NS.into_iter().zip(at_most) {
        let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {count}", seconds(bound));
    }
    let n = hist.map_or(0, Hist::len);
    let sum = hist.filter(|hist| !hist.is_empty()).map_or(0.0, |hist| hist.mean() * n as f64);
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {n}");
    let _ = writeln!(out, "{name}_sum {}", sum / NS_PER_S as f64);
    let _ = writeln!(out, "{name}_count {n}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder;
    use std::collections::{BTreeMap, BTreeSet};

    fn page() -> String {
        let mut totals = Hists::default();
        let mut hist = recorder::histogram();
        [500, 90_000, 700_000, 700_000, 3_000_000_000, 59_000_000_000]
            .into_iter()
            .for_each(|value| hist.saturating_record(value));
        totals.add(Metric::Response, &hist);
        let up = NodeLook { view: NodeView::Up, rtt_p50_ns: Some(203_000) };
        Values {
            counts: Counts { ok: 6, timeout: 2, lost: 1, ..Counts::default() },
            totals: Some(&totals),
            looks: &[up, NodeLook::default()],
            in_flight: 3,
            measured_ns: 2_500_000_000,
            violations: 0,
            fencing_violations: 0,
            handovers: 4,
        }
        .page()
    }

    /// Reads the format as its specification has it: every sample belongs to a family with HELP and
    /// TYPE before it, all of a family's lines are together, and no sample comes twice.
    fn parse(page: &str) -> BTreeMap<String, f64> {
        let (mut kinds, mut helped) = (BTreeMap::new(), BTreeSet::new());
        let (mut samples, mut current) = (BTreeMap::new(), String::new());
        assert!(page.ends_with('\n'));
        for line in page.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            if line.starts_with('#') {
                let [_, what, name, rest] = words[..] else { panic!("{line}") };
                match what {
                    "HELP" => assert!(helped.insert(name.to_owned()), "{line}"),
                    "TYPE" => {
                        assert!(helped.contains(name) && !kinds.contains_key(name), "{line}");
                        assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                        assert!(rest != "counter" || name.ends_with("_total"), "{line}");
                        kinds.insert(name.to_owned(), rest.to_owned());
                        current = name.to_owned();
                    }
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(is_name), "{line}");
            let of_histogram = kinds[&current] == "histogram"
                && ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| name == format!("{current}{end}"));
            assert!(of_histogram || name == current, "{line} below {current}");
            let value: f64 = value.parse().unwrap();
            assert!(value.is_finite(), "{line}");
            assert!(samples.insert(sample.to_owned(), value).is_none(), "twice: {line}");
        }
        samples
    }

    #[test]
    fn the_page_keeps_to_the_format_and_its_buckets_add_up() {
        let page = page();
        let samples = parse(&page);
        let at = |name: &str| samples[name];
        assert_eq!(at("loadgen_acquisitions_total{outcome=\"ok\"}"), 6.0);
        assert_eq!(at("loadgen_acquisitions_total{outcome=\"timeout\"}"), 2.0);
        assert_eq!(at("loadgen_node_up{node=\"n1\"}"), 1.0);
        assert_eq!(at("loadgen_node_up{node=\"n2\"}"), 0.0);
        assert_eq!(at("loadgen_node_rtt_seconds{node=\"n1\"}"), 0.000_203);
        assert!(!samples.contains_key("loadgen_node_rtt_seconds{node=\"n2\"}"), "not known");
        assert_eq!(at("loadgen_measured_seconds"), 2.5);
        let bucket =
            |le: &str| at(&format!("loadgen_acquire_response_seconds_bucket{{le=\"{le}\"}}"));
        let counts = ["0.000001", "0.0001", "0.001", "2.5", "5", "10", "+Inf"].map(bucket);
        assert_eq!(counts, [1.0, 2.0, 4.0, 4.0, 5.0, 5.0, 6.0]);
        assert_eq!(bucket("+Inf"), at("loadgen_acquire_response_seconds_count"));
        let sum = at("loadgen_acquire_response_seconds_sum");
        assert!((sum - 62.001_490_5).abs() < 0.07, "{sum}");
        for family in ["acquire_service", "handoff", "schedule_lag"] {
            assert_eq!(at(&format!("loadgen_{family}_seconds_count")), 0.0);
        }
    }
}
