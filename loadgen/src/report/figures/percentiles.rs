//! Latency by percentile, on the axis on which HdrHistogram's plots have it: every step to the
//! right leaves a tenth of the samples.

use crate::document::Document;
use crate::num;
use crate::recorder::{Hist, Metric};
use crate::report::format;
use crate::report::json::FEWEST_ABOVE;
use crate::report::svg::scale::{Scale, latency_label, latency_ticks};
use crate::report::svg::{Anchor, Figure, Key, WIDTH, curve, legend, line, put, text, text_width};
use crate::thresholds::{Checked, Threshold};

const LEFT: f64 = 62.0;
/// Room for the names of the lines.
const RIGHT: f64 = 150.0;
const ACROSS: f64 = WIDTH - LEFT - RIGHT;
const TOP: f64 = 30.0;
const TALL: f64 = 280.0;
/// Thresholds that are drawn.
const MOST_LIMITS: usize = 8;
/// Points of a line per tenfold fewer samples.
const POINTS: u32 = 24;
const MARKS: [(f64, &str); 8] = [
    (0.0, "0 %"),
    (1.0, "90 %"),
    (2.0, "99 %"),
    (3.0, "99.9 %"),
    (4.0, "99.99 %"),
    (5.0, "99.999 %"),
    (6.0, "99.9999 %"),
    (7.0, "99.99999 %"),
];

const LINES: [(Metric, &str, &str); 5] = [
    (Metric::Response, "response", "response"),
    (Metric::Service, "service", "service"),
    (Metric::Uncontended, "uncontended", "uncontended"),
    (Metric::Contended, "contended", "contended"),
    (Metric::Handoff, "handoff", "hand-off"),
];

/// A limit on a percentile.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limit {
    pub(crate) percentile: f64,
    pub(crate) ns: f64,
    pub(crate) text: String,
}

pub(super) fn figure(document: &Document) -> Option<Figure> {
    let known = |&(metric, class, name): &(Metric, &'static str, &'static str)| {
        let hist = document.hist(metric).filter(|hist| !hist.is_empty())?;
        Some((hist, class, name))
    };
    let lines: Vec<(Hist, &str, &str)> = LINES.iter().filter_map(known).collect();
    let limits = limits(document);
    let most = lines.iter().map(|(hist, ..)| hist.len()).max()?;
    let decades = (most as f64).log10().clamp(1.0, 7.0);
    let lows = lines.iter().map(|(hist, ..)| hist.min().max(1) as f64);
    let highs = lines.iter().map(|(hist, ..)| hist.max().max(2) as f64);
    let low = lows.chain(limits.iter().map(|of| of.ns)).reduce(f64::min)?;
    let high = highs.chain(limits.iter().map(|of| of.ns)).reduce(f64::max)?;
    let (low, high) = (low.log2().floor().exp2().max(1.0), high.log2().ceil().exp2());
    let x = Scale::linear((0.0, decades), (LEFT, LEFT + ACROSS));
    let y = Scale::log((low, high.max(low * 4.0)), (TOP + TALL, TOP));

    let mut out = String::new();
    let keys: Vec<Key<'_>> =
        lines.iter().map(|(_, class, text)| Key { class, is_line: true, text }).collect();
    legend(&mut out, LEFT, 14.0, &keys);
    for tick in latency_ticks(low, high) {
        let at = y.at(tick as f64);
        line(&mut out, (LEFT, at), (LEFT + ACROSS, at), "grid");
        text(&mut out, (LEFT - 6.0, at + 4.0), Anchor::End, "t", &latency_label(tick));
    }
    for (at, label) in MARKS.iter().filter(|(at, _)| *at <= decades + 1e-9) {
        let at = x.at(*at);
        line(&mut out, (at, TOP), (at, TOP + TALL), "grid");
        text(&mut out, (at, TOP + TALL + 17.0), Anchor::Middle, "t", label);
    }
    let corner = [(LEFT, TOP), (LEFT, TOP + TALL), (LEFT + ACROSS, TOP + TALL)];
    line(&mut out, corner[0], corner[1], "axis");
    line(&mut out, corner[1], corner[2], "axis");
    let mut ends = Vec::new();
    // The widest first, under the others: where nothing waits for a client they are the same.
    let (below, above): (Vec<_>, Vec<_>) =
        lines.iter().partition(|(_, class, _)| *class == "service");
    for (hist, class, name) in below.into_iter().chain(above) {
        let end = draw(&mut out, hist, class, &x, &y);
        ends.push((end, format!("{name} {}", format::ns(hist.max()))));
    }
    for limit in &limits {
        draw_limit(&mut out, limit, decades, &x, &y);
    }
    names(&mut out, ends);
    let title = "Latency by percentile; dashed where fewer than 10 samples lie above".to_owned();
    let height = TOP + TALL + 24.0;
    Some(Figure { id: "percentiles", title, height, class: "", body: out })
}

/// Draws a line, dashed where few samples are above; tells where it ends.
fn draw(out: &mut String, hist: &Hist, class: &str, x: &Scale, y: &Scale) -> (f64, f64) {
    let n = hist.len() as f64;
    let last = n.log10().clamp(0.0, 7.0);
    let weak_from = (n / FEWEST_ABOVE).log10();
    let steps = num::u32_of(num::floor_u64(last * f64::from(POINTS)));
    let at = |decades: f64| {
        let value = hist.value_at_quantile(1.0 - 10_f64.powf(-decades));
        (x.at(decades), y.at(value as f64))
    };
    let places = (0..=steps).map(|step| f64::from(step) / f64::from(POINTS)).chain([last]);
    let places: Vec<f64> = places.collect();
    let strong = places.iter().copied().filter(|&place| place <= weak_from);
    let strong: Vec<_> = strong.map(|place| Some(at(place))).collect();
    let weak = places.iter().copied().filter(|&place| place > weak_from);
    let mut weak: Vec<_> = weak.map(|place| Some(at(place))).collect();
    // The longest one is the end, whatever the step before it rounds to.
    let end = (x.at(last), y.at(hist.max() as f64));
    weak.push(Some(end));
    let joint = strong.last().copied().flatten();
    put!(out, "<g class=\"line\" data-key=\"{class}\">");
    curve(out, &strong, class);
    let weak: Vec<_> = joint.map(Some).into_iter().chain(weak).collect();
    curve(out, &weak, &format!("{class} weak"));
    out.push_str("</g>");
    end
}

fn draw_limit(out: &mut String, limit: &Limit, decades: f64, x: &Scale, y: &Scale) {
    let place = -(1.0 - limit.percentile / 100.0).max(1e-9).log10();
    let (at_x, at_y) = (x.at(place.min(decades)), y.at(limit.ns));
    line(out, (LEFT, at_y), (at_x, at_y), "limit");
    line(out, (at_x, at_y), (at_x, (at_y - 14.0).max(TOP)), "limit");
    let beyond = at_x + text_width(&limit.text) > WIDTH - 6.0;
    let anchor = if beyond { Anchor::End } else { Anchor::Start };
    text(
        out,
        (at_x + if beyond { -5.0 } else { 5.0 }, at_y - 5.0),
        anchor,
        "t strong name",
        &limit.text,
    );
}

/// Names the lines at their ends, apart from each other.
fn names(out: &mut String, mut ends: Vec<((f64, f64), String)>) {
    const APART: f64 = 14.0;
    ends.sort_by(|a, b| a.0.1.total_cmp(&b.0.1));
    let mut free = TOP;
    for ((x, y), name) in ends {
        let at = (y + 4.0).max(free);
        free = at + APART;
        text(out, (x + 7.0, at), Anchor::Start, "t name", &name);
    }
}

/// Thresholds on percentiles of what is drawn.
fn limits(document: &Document) -> Vec<Limit> {
    let limit = |checked: &Checked| {
        let threshold = checked.expr.parse::<Threshold>().ok()?;
        let (metric, percentile, ns) = threshold.latency_limit()?;
        let is_drawn = LINES.iter().any(|(of, ..)| *of == metric) && ns > 0.0;
        let mark = if checked.ok { "✔" } else { "✘" };
        let text = format!("{mark} {}", checked.expr);
        is_drawn.then(|| Limit { percentile, ns, text: text.chars().take(40).collect() })
    };
    document.thresholds.iter().filter_map(limit).take(MOST_LIMITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::tests::document;

    #[test]
    fn every_line_ends_at_its_longest_sample_and_is_dashed_where_samples_are_few() {
        let drawn = figure(&document()).unwrap();
        for name in ["response", "service", "uncontended", "contended", "handoff"] {
            assert!(drawn.body.contains(&format!("class=\"curve {name}\"")), "{name}");
            assert!(drawn.body.contains(&format!("class=\"curve {name} weak\"")), "{name}");
        }
        assert!(drawn.body.contains("response 50.0s"), "5 000 samples, 10 ms apart");
        assert!(drawn.body.contains(">99.9 %<") && !drawn.body.contains(">99.99 %<"));
    }

    #[test]
    fn limits_on_percentiles_are_drawn_where_they_bind() {
        let mut document = document();
        let checked = |expr: &str, ok: bool| {
            let expr = expr.to_owned();
            Checked { expr, ok, ..Checked::default() }
        };
        document.thresholds = vec![
            checked("acquire.response.p99<5s", false),
            checked("throughput>5", true),
            checked("release.p99<5ms", true),
            checked("<script>", true),
        ];
        let body = figure(&document).unwrap().body;
        assert_eq!(body.matches("class=\"limit\"").count(), 2, "its level, and where it binds");
        assert!(body.contains("✘ acquire.response.p99&lt;5s") && !body.contains("release"));
    }

    #[test]
    fn one_sample_and_none_are_no_trouble() {
        let mut document = document();
        document.latency_ns.clear();
        assert!(figure(&document).is_none());
        let mut hist = crate::recorder::histogram();
        hist.saturating_record(5);
        let mut out = String::new();
        let x = Scale::linear((0.0, 1.0), (0.0, 100.0));
        let y = Scale::log((1.0, 10.0), (100.0, 0.0));
        let end = draw(&mut out, &hist, "response", &x, &y);
        assert!(end.0.abs() < 1e-9 && end.1.is_finite() && !out.contains("NaN"), "{out}");
    }
}
