//! A merged result as text, at most 100 columns: all machines together, then each.

use std::fmt::Write as _;

use crate::document::Document;
use crate::recorder::{Hist, Metric};
use crate::report::contention::hottest_lines;
use crate::report::format::{self, count, maybe_ns, ns};
use crate::report::workloads;

/// Writing to a string cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

const METRICS: [(Metric, &str); 6] = [
    (Metric::Response, "acquire response"),
    (Metric::Service, "acquire service"),
    (Metric::Uncontended, "  uncontended"),
    (Metric::Contended, "  contended"),
    (Metric::Handoff, "handoff"),
    (Metric::Release, "release"),
];

pub(super) fn text(of: &Document) -> String {
    let mut out = String::new();
    let outcome = word(&of.verdict.outcome).to_uppercase();
    line!(
        out,
        " {} of {} machines: {outcome}, exit {}",
        of.run.name,
        of.machines.len(),
        of.verdict.exit_code
    );
    for reason in &of.verdict.reasons {
        out.push_str(&format::wrapped(" why       ", reason));
    }
    let rate = of.totals.ok_rate.map_or_else(|| "-".to_owned(), format::rate);
    let errors = of.totals.errors;
    let failed = errors.failed();
    line!(out, " achieved  {rate} locks/s, {} ok, {} failed", count(of.totals.ok), count(failed));
    line!(out, "");
    let heads = ["p50", "p99", "p99.9", "max", "n"];
    let [p50, p99, p999, max, n] = heads;
    line!(out, " {:<20}{p50:>10}{p99:>10}{p999:>10}{max:>10}{n:>14}", "all machines");
    for (metric, name) in METRICS {
        let Some(hist) = of.hist(metric) else { continue };
        let at = |p| ns(Hist::value_at_percentile(&hist, p));
        let (max, n) = (ns(hist.max()), count(hist.len()));
        let (p50, p99, p999) = (at(50.0), at(99.0), at(99.9));
        line!(out, " {name:<20}{p50:>10}{p99:>10}{p999:>10}{max:>10}{n:>14}");
    }
    line!(out, "");
    out.push_str(&workloads::text(&of.workloads));
    let heads = ["locks/s", "ok", "resp.p50", "resp.p99", "outcome", "exclusion"];
    let [rate, ok, p50, p99, outcome, safety] = heads;
    line!(out, " {:<34}{rate:>10}{ok:>13}{p50:>10}{p99:>10}  {outcome:<10}{safety}", "machine");
    for part in &of.machines {
        let name: String = part.run.as_deref().unwrap_or("-").chars().take(32).collect();
        let rate = part.ok_rate.map_or_else(|| "-".to_owned(), format::rate);
        let (p50, p99) = (maybe_ns(part.response_p50_ns), maybe_ns(part.response_p99_ns));
        let (outcome, safety) = (word(&part.outcome), word(&part.safety));
        let ok = count(part.ok);
        line!(out, " {name:<34}{rate:>10}{ok:>13}{p50:>10}{p99:>10}  {outcome:<10}{safety}");
    }
    line!(out, "");
    let busiest = hottest_lines(&of.contention.hottest_keys, of.config.names());
    for text in &busiest {
        line!(out, "{text}");
    }
    if !busiest.is_empty() {
        line!(out, "");
    }
    let safety = &of.safety;
    let text = format!(
        "exclusion {}: {} sections, {} violations, {} overruns",
        word(&safety.verdict),
        count(safety.sections),
        count(safety.violation_count),
        count(safety.overruns)
    );
    out.push_str(&format::wrapped(" safety    ", &text));
    for warning in &of.verdict.warnings {
        out.push_str(&format::wrapped(" warning   ", warning));
    }
    out
}

fn word(of: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(of).unwrap_or_default();
    value.as_str().unwrap_or("-").to_owned()
}
