//! What a run is held against: the figures of an earlier one, and how far it is from them. Whether
//! a difference means anything is for `loadgen compare` to say.

use super::super::table::{Cell, Kind, number};
use crate::compare::{change, settings};
use crate::document::Document;
use crate::recorder::Metric;
use crate::report::format;
use crate::report::rows::{Trust, Values};

/// Settings that differ and are named.
const MOST_NAMED: usize = 6;

/// The baseline's row under the run's own; `None` where it has no such samples.
pub(super) fn row(document: &Document, baseline: &Document, metric: Metric) -> Option<Vec<Cell>> {
    let of = |of: &Document| Values::of(metric, of.totals.unfinished, |metric| of.hist(metric));
    let (now, before) = (of(document)?, of(baseline)?);
    let mut row: Vec<Cell> = vec![(Kind::Sub, "baseline".to_owned())];
    row.extend(document.config.percentiles.iter().map(|&p| {
        let (value, trust) = before.at_ns(p);
        let kind = if trust == Trust::Full { Kind::Number } else { Kind::Weak };
        (kind, format!("{}{}", trust.mark(), format::ns(value)))
    }));
    row.extend([number(before.max()), number(before.count())]);
    let changes = [50.0, 99.0].into_iter().filter_map(|p| {
        let (now, before) = (now.at_ns(p).0, before.at_ns(p).0);
        let ratio = (before > 0).then(|| now as f64 / before as f64)?;
        Some(format!("{} {}", format::percentile(p), change(ratio)))
    });
    row.push((Kind::Text, changes.collect::<Vec<_>>().join(", ")));
    Some(row)
}

/// Which run the baseline is, and in what the two were not the same.
pub(super) fn words(document: &Document, baseline: &Document) -> String {
    let run = &baseline.run;
    let mut words = format!("Baseline: {}, {}", run.name, run.started_at);
    if let (Some(now), Some(before)) = (document.totals.ok_rate, baseline.totals.ok_rate) {
        words.push_str(&format!(", {} granted per second", format::rate(before)));
        if before > 0.0 {
            words.push_str(&format!(" (since then {})", change(now / before)));
        }
    }
    let (mine, theirs) = (settings(document), settings(baseline));
    let names: std::collections::BTreeSet<&String> = mine.keys().chain(theirs.keys()).collect();
    let differ: Vec<&str> = names
        .into_iter()
        .filter(|name| mine.get(*name) != theirs.get(*name))
        .map(String::as_str)
        .collect();
    if !differ.is_empty() {
        let named = differ.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = differ.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        words.push_str(&format!("; its settings differ in {named}{more}"));
    }
    words + ". Which differences mean something, loadgen compare says."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::tests::document;
    use crate::report::json::latency;

    #[test]
    fn a_baseline_tells_its_values_and_how_far_the_run_is_from_them() {
        let mut before = document();
        let mut hist = crate::recorder::histogram();
        (1..=5_000_u64).for_each(|n| hist.saturating_record(n * 5_000_000));
        let half = latency(&hist, &[50.0]);
        before.latency_ns.insert(Metric::Response.name().to_owned(), Some(half));
        before.totals.unfinished = 0;
        before.latency_ns.insert(Metric::Unanswered.name().to_owned(), None);
        before.run.name = "before".to_owned();
        before.config.keys += 1;
        let row = row(&document(), &before, Metric::Response).unwrap();
        assert_eq!(row.len(), document().config.percentiles.len() + 4);
        assert_eq!((row[1].1.as_str(), row[row.len() - 2].1.as_str()), ("12.5s", "5 000"));
        let changes = &row.last().unwrap().1;
        assert!(changes.starts_with("p50 +1") && changes.contains("p99 +"), "{changes}");
        let words = words(&document(), &before);
        assert!(
            words.starts_with("Baseline: before, ") && words.contains("differ in keys."),
            "{words}"
        );
        before.latency_ns.clear();
        assert_eq!(super::row(&document(), &before, Metric::Response), None);
    }
}
