//! The workloads of a mix in a report: what came of each, and the table of them that every format
//! has.

use super::RunResult;
use super::format::{self, count};
use super::rows::Values;
use super::totals::{PartResult, latencies, totals};
use crate::document::WorkloadReport;
use crate::recorder::Metric;
use crate::workload::Workload;

/// The columns of the table: what they are called, and how wide they are in a text.
pub(crate) const COLUMNS: [(&str, usize); 9] = [
    ("share", 7),
    ("arrivals", 11),
    ("ok", 11),
    ("failed", 8),
    ("open", 6),
    ("resp.p50", 9),
    ("resp.p99", 9),
    ("max", 9),
    ("svc.p99", 9),
];

/// What the columns mean that do not say it themselves.
pub(crate) const LEGEND: &str = "share: of all arrivals, as planned; failed: no lock, timeouts \
                                 and refusals included; open: no answer when the run ended";

/// Every workload of a mix, in the order of its settings; none of a run that is no mix.
pub(crate) fn reports(run: &RunResult) -> Vec<WorkloadReport> {
    let parts = run.config.workloads.iter().zip(run.config.shares()).zip(&run.workloads);
    let report = |((of, share), part): ((&Workload, f64), &PartResult)| WorkloadReport {
        name: of.name.clone(),
        weight: of.weight,
        share,
        mode: of.mode.to_string(),
        totals: totals(&part.tallied(), run.lasted_s(), Vec::new()),
        latency_ns: latencies(&part.tallied(), &run.config.percentiles, &Metric::OF_WORKLOAD),
    };
    parts.map(report).collect()
}

/// The rows of the table: the name of a workload and a text for each of [`COLUMNS`].
pub(crate) fn rows(all: &[WorkloadReport]) -> Vec<(String, [String; 9])> {
    all.iter().map(row).collect()
}

fn row(of: &WorkloadReport) -> (String, [String; 9]) {
    let totals = &of.totals;
    let values = |metric| Values::of(metric, totals.unfinished, |metric| of.hist(metric));
    let (response, service) = (values(Metric::Response), values(Metric::Service));
    let none = || "-".to_owned();
    let at = |values: &Option<Values>, p| values.as_ref().map_or_else(none, |of| of.at(p));
    let texts = [
        format!("{:.1} %", 100.0 * of.share),
        count(totals.offered),
        count(totals.ok),
        count(totals.errors.failed() + totals.errors.busy),
        count(totals.unfinished),
        at(&response, 50.0),
        at(&response, 99.0),
        response.as_ref().map_or_else(none, Values::max),
        at(&service, 99.0),
    ];
    (of.name.clone(), texts)
}

/// The table as text, at most 100 columns.
pub(crate) fn text(all: &[WorkloadReport]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let line = |name: &str, texts: &[String; 9]| {
        let cells = texts.iter().zip(COLUMNS).map(|(text, (_, width))| format!("{text:>width$}"));
        let name: String = name.chars().take(NAME).collect();
        format!(" {name:<NAME$}{}\n", cells.collect::<String>())
    };
    let mut out = line("workload", &COLUMNS.map(|(head, _)| head.to_owned()));
    for (name, texts) in rows(all) {
        out.push_str(&line(&name, &texts));
    }
    out.push_str(&format::wrapped(" ", LEGEND));
    out.push('\n');
    out
}

const NAME: usize = 20;
