//! One aligned line per interval, for logs: what `grep` and `awk` read.

use super::View;
use crate::backend::NodeView;
use crate::clock::NS_PER_S;
use crate::recorder::{Hist, Metric};
use crate::report::format::{self, maybe_ns};

/// The names of the columns, with the width of each.
const COLUMNS: [(&str, usize); 12] = [
    ("time", 8),
    ("offered", 9),
    ("achieved", 9),
    ("err", 6),
    ("resp.p50", 9),
    ("resp.p99", 9),
    ("max", 8),
    ("svc.p99", 8),
    ("handoff", 8),
    ("nodes", 6),
    ("lag.p99", 8),
    ("viol", 5),
];

pub(super) fn heading() -> String {
    let names = COLUMNS.map(|(name, width)| format!("{name:>width$}"));
    format!("{}  event\n", names.concat())
}

/// Events in one line.
pub(super) fn events(events: Vec<String>) -> String {
    events.join("; ")
}

/// A rate that stays one word.
fn rate(value: f64) -> String {
    format::rate(value).replace(' ', "")
}

pub(super) fn of(view: &View<'_>, news: Vec<String>) -> String {
    let interval = view.interval;
    let value = |metric, p| maybe_ns(interval.hists.at(metric, p));
    let second = (interval.from_ns + interval.length_ns) as f64 / NS_PER_S as f64;
    let looks = &view.all.looks;
    let up = looks.iter().filter(|look| look.view == NodeView::Up).count();
    let nodes = if looks.is_empty() { "–".to_owned() } else { format!("{up}/{}", looks.len()) };
    let values = [
        format!("{second:.1}s"),
        view.offered_per_s.map_or_else(|| "–".to_owned(), rate),
        rate(view.answered_per_s),
        interval.counts.errors().to_string(),
        value(Metric::Response, 50.0),
        value(Metric::Response, 99.0),
        maybe_ns(interval.hists.get(Metric::Response).map(Hist::max)),
        value(Metric::Service, 99.0),
        value(Metric::Handoff, 99.0),
        nodes,
        value(Metric::SchedLag, 99.0),
        view.violations.to_string(),
    ];
    let mut text = String::new();
    for (value, (_, width)) in values.iter().zip(COLUMNS) {
        // One blank stays between two columns, however long a value is.
        text.push_str(&format!(" {value:>rest$}", rest = width - 1));
    }
    let news = events(news);
    if !news.is_empty() {
        text.push_str("  ");
        text.push_str(&news);
    }
    text.push('\n');
    text
}
