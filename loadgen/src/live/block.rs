//! The block on a terminal: 14 lines at most, whatever happens.

use super::screen::Size;
use super::{Live, View, node, sparks};
use crate::clock::NS_PER_S;
use crate::num;
use crate::recorder::{Hist, Metric};
use crate::report::format::{self, count, many, maybe_ns, ns};

/// Lines of a block.
pub(super) const MOST_LINES: usize = 14;
/// Lines for nodes: nine of them at 80 columns.
const NODE_LINES: usize = 2;

pub(super) fn lines(live: &Live, view: &View<'_>, size: Size) -> Vec<String> {
    let mut lines: Vec<String> = live.head().collect();
    lines.push(progress(live, view, size));
    latencies(live, view, &mut lines);
    nodes(live, view, size, &mut lines);
    lines.push(outcomes(live, view));
    lines.push(generator(live, view));
    // The last events, in what room there is.
    let room = MOST_LINES.saturating_sub(lines.len());
    let from = live.events.len().saturating_sub(room);
    let events = live.events.get(from..).unwrap_or_default();
    lines.extend(events.iter().map(|event| format!(" {event}")));
    lines
}

fn progress(live: &Live, view: &View<'_>, size: Size) -> String {
    let done_ns = view.interval.from_ns + view.interval.length_ns;
    let share = (done_ns as f64 / live.total_ns.max(1) as f64).min(1.0);
    let second = |ns: u64| ns.div_ceil(NS_PER_S);
    let offered = view
        .offered_per_s
        .map(|rate| format!("   offered {}/s", format::rate(rate)))
        .unwrap_or_default();
    let behind = format!(
        " {:3.0} %{offered}   achieved {}/s   in flight {}",
        100.0 * share,
        format::rate(view.answered_per_s),
        view.interval.in_flight
    );
    let before = format!(" {:>4}s / {}s ", second(done_ns), second(live.total_ns));
    // The bar has what is left, so that a narrow terminal loses that first.
    let used = before.chars().count() + behind.chars().count();
    let room = size.width().saturating_sub(used).min(24);
    let filled = num::usize_of(num::floor_u64(room as f64 * share));
    format!("{before}{}{}{behind}", "━".repeat(filled), "╌".repeat(room - filled))
}

fn latencies(live: &Live, view: &View<'_>, lines: &mut Vec<String>) {
    let hists = &view.interval.hists;
    let contended = hists.get(Metric::Contended).map_or(0, Hist::len);
    let all = contended + hists.get(Metric::Uncontended).map_or(0, Hist::len);
    let contended = if all == 0 {
        String::new()
    } else {
        format!("contended {:.0} %", 100.0 * num::share(contended, all))
    };
    for (metric, label, note) in [
        (Metric::Response, "response", format!("p99 {}", sparks(&live.recent_p99))),
        (Metric::Service, "service", String::new()),
        (Metric::Handoff, "handoff", contended),
    ] {
        let value = |p| maybe_ns(hists.at(metric, p));
        let max = maybe_ns(hists.get(metric).map(Hist::max));
        let text = format!(
            " {label:<9} p50 {:<7} p99 {:<7} p99.9 {:<7} max {max:<7}",
            value(50.0),
            value(99.0),
            value(99.9)
        );
        lines.push(format!("{text}  {note}").trim_end().to_owned());
    }
}

fn nodes(live: &Live, view: &View<'_>, size: Size, lines: &mut Vec<String>) {
    let now_ns = view.interval.from_ns + view.interval.length_ns;
    let looks = view.all.looks.iter().zip(&live.nodes).enumerate();
    let words = looks.map(|(at, (look, &(state, since_ns)))| {
        node(at, state, &maybe_ns(look.rtt_p50_ns), now_ns.saturating_sub(since_ns))
    });
    let mut rows: Vec<String> = Vec::new();
    for word in words {
        match rows.last_mut() {
            Some(row) if row.chars().count() + 3 + word.chars().count() <= size.width() => {
                row.push_str("   ");
                row.push_str(&word);
            }
            _ => rows.push(format!(" {word}")),
        }
    }
    lines.extend(rows.into_iter().take(NODE_LINES));
}

fn outcomes(live: &Live, view: &View<'_>) -> String {
    let counts = live.counts;
    let mut text = format!(
        " ok {}   timeout {}   no quorum {}",
        count(counts.ok),
        counts.timeout,
        counts.no_quorum
    );
    for (n, word) in
        [(counts.quarantined, "quarantined"), (counts.busy, "busy"), (counts.other, "other")]
    {
        if n > 0 {
            text.push_str(&format!("   {word} {}", count(n)));
        }
    }
    let paint = live.screen.paint;
    let safe = match view.violations {
        0 => paint.good("0 violations"),
        n => paint.bad(&many(n, "VIOLATION", "VIOLATIONS")),
    };
    format!("{text}   lost {}   {safe}", counts.lost)
}

fn generator(live: &Live, view: &View<'_>) -> String {
    let lag = maybe_ns(view.interval.hists.at(Metric::SchedLag, 99.0));
    format!(" lag p99 {lag}   longest stall of the machine {}", ns(live.hiccup_max_ns))
}
