//! How samples spread over lengths: bars of a quarter of a doubling each, with p50 and p99 marked.

use std::collections::BTreeMap;

use crate::num;
use crate::recorder::Hist;
use crate::report::format;
use crate::report::json::is_weak;
use crate::report::svg::scale::{Scale, latency_label, latency_ticks};
use crate::report::svg::{Anchor, Figure, WIDTH, line, rect, text, text_width};

const LEFT: f64 = 62.0;
const ACROSS: f64 = WIDTH - LEFT - 14.0;
const TOP: f64 = 26.0;
const TALL: f64 = 110.0;
const BARS_PER_DOUBLING: f64 = 4.0;

/// Of a histogram that is not empty.
pub(super) fn figure(id: &'static str, title: &str, hist: &Hist) -> Figure {
    let mut bars: BTreeMap<u64, u64> = BTreeMap::new();
    for step in hist.iter_recorded() {
        let value = hist.lowest_equivalent(step.value_iterated_to());
        *bars.entry(bar_of(value)).or_default() += step.count_at_value();
    }
    let first = bars.keys().next().copied().unwrap_or(0);
    let last = bars.keys().next_back().copied().unwrap_or(0);
    // An octave of room, so that a single bar is no wall.
    let (low, high) = (first.saturating_sub(2), last + 3);
    let ns = |bar: u64| (bar as f64 / BARS_PER_DOUBLING).exp2();
    let x = Scale::log((ns(low), ns(high)), (LEFT, LEFT + ACROSS));
    let most = bars.values().copied().max().unwrap_or(1);
    let y = Scale::linear((0.0, most as f64), (TOP + TALL, TOP));

    let mut out = String::new();
    for (&bar, &count) in &bars {
        let (from, to) = (x.at(ns(bar)), x.at(ns(bar + 1)));
        let high = y.at(count as f64).min(TOP + TALL - 1.0);
        let share = 100.0 * num::share(count, hist.len());
        let (low_ns, high_ns) = (num::floor_u64(ns(bar)), num::floor_u64(ns(bar + 1)));
        let title = format!(
            "{} to {}: {} ({share:.1} %)",
            format::ns(low_ns),
            format::ns(high_ns),
            format::count(count)
        );
        let size = ((to - from - 1.0).max(1.0), TOP + TALL - high);
        rect(&mut out, (from + 0.5, high), size, "bar", &title);
    }
    let mut free = 0.0_f64;
    for p in [50.0, 99.0] {
        let value = hist.value_at_percentile(p);
        let at = x.at(value as f64);
        line(&mut out, (at, TOP - 6.0), (at, TOP + TALL), "edge");
        let weak = if is_weak(p, hist.len()) { "~" } else { "" };
        let label = format!("p{p} {weak}{}", format::ns(value));
        let from = (at - text_width(&label) / 2.0).max(free).min(WIDTH - text_width(&label));
        text(&mut out, (from, TOP - 11.0), Anchor::Start, "t strong", &label);
        free = from + text_width(&label) + 10.0;
    }
    line(&mut out, (LEFT, TOP + TALL), (LEFT + ACROSS, TOP + TALL), "axis");
    let mut free = 0.0_f64;
    for tick in latency_ticks(ns(low), ns(high)) {
        let (at, label) = (x.at(tick as f64), latency_label(tick));
        line(&mut out, (at, TOP + TALL), (at, TOP + TALL + 4.0), "axis");
        if at - text_width(&label) / 2.0 >= free && at + text_width(&label) / 2.0 < WIDTH {
            text(&mut out, (at, TOP + TALL + 17.0), Anchor::Middle, "t", &label);
            free = at + text_width(&label) / 2.0 + 8.0;
        }
    }
    text(&mut out, (LEFT - 6.0, TOP + 8.0), Anchor::End, "t", &format::count(most));
    text(&mut out, (LEFT - 6.0, TOP + TALL), Anchor::End, "t", "0");
    Figure { id, title: title.to_owned(), height: TOP + TALL + 24.0, class: "", body: out }
}

fn bar_of(value_ns: u64) -> u64 {
    num::floor_u64((value_ns.max(1) as f64).log2() * BARS_PER_DOUBLING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    #[test]
    fn bars_hold_every_sample() {
        let mut hist = histogram();
        (1..=1_000_u64).for_each(|n| hist.saturating_record(n * 10_000));
        let drawn = figure("x", "x", &hist);
        let counts = drawn.body.split("<title>").skip(1).map(|rest| {
            let count = rest.split(": ").nth(1).unwrap().split(" (").next().unwrap();
            count.replace(' ', "").parse::<u64>().unwrap()
        });
        assert_eq!(counts.sum::<u64>(), 1_000);
        assert!(drawn.body.contains("p50 5.00ms") && drawn.body.contains("p99 9.90ms"));
        let mut one = histogram();
        one.saturating_record(0);
        assert!(!figure("x", "x", &one).body.contains("NaN"));
    }
}
