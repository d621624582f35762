//! Arrivals against answers over time, and what is under way, in one figure over one axis.

use super::per_column;
use crate::clock::NS_PER_S;
use crate::document::Document;
use crate::report::svg::scale::{Scale, amount_label, round_ticks};
use crate::report::svg::time::{ACROSS, LEFT, Time};
use crate::report::svg::{Anchor, Figure, Key, curve, legend, line, n, put, text, text_width};

const TALL: f64 = 170.0;
const FLIGHT_TALL: f64 = 64.0;
const GAP: f64 = 26.0;

/// Where a layer ends in a column.
type Height = fn(&Column) -> f64;

/// One column: per second, but for what is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Column {
    uncontended: f64,
    contended: f64,
    errors: f64,
    offered: Option<f64>,
    in_flight: f64,
}

pub(super) fn figure(document: &Document, time: &Time) -> Option<Figure> {
    let (columns, width_ns) = columns(document);
    if columns.is_empty() {
        return None;
    }
    let mut out = String::new();
    keys(&mut out);
    let top = 26.0 + time.labels_height();
    let bottom = top + TALL;
    let most = columns.iter().map(|of| (of.answers() + of.errors).max(of.offered.unwrap_or(0.0)));
    let ticks = round_ticks(most.fold(0.0, f64::max), 4.0);
    let y = Scale::linear((0.0, last(&ticks)), (TALL, 0.0));
    time.labels(&mut out, 26.0);
    time.open(&mut out, top, TALL);
    for &tick in &ticks {
        line(&mut out, (0.0, y.at(tick)), (ACROSS, y.at(tick)), "grid");
    }
    let x = |at: usize| time.x(at as f64 * width_ns as f64);
    let layers: [(&str, Height, Height); 3] = [
        ("a-ok", |_| 0.0, |of| of.uncontended),
        ("a-con", |of| of.uncontended, Column::answers),
        ("a-err", Column::answers, |of| of.answers() + of.errors),
    ];
    for (class, from, to) in layers {
        let data = steps(&columns, x, |of| y.at(from(of)), |of| y.at(to(of)));
        put!(out, "<path class=\"{class}\" d=\"{data}\"/>");
    }
    time.edges(&mut out, 0.0, TALL);
    let middle = |at: usize| time.x((at as f64 + 0.5) * width_ns as f64);
    let offered = columns.iter().enumerate();
    let offered: Vec<_> = offered.map(|(at, of)| Some((middle(at), y.at(of.offered?)))).collect();
    curve(&mut out, &offered, "offered");
    Time::close(&mut out);
    side(&mut out, top, &ticks, &y, "per second");

    let flight_top = bottom + GAP;
    let flight_bottom = flight_top + FLIGHT_TALL;
    let most = columns.iter().map(|of| of.in_flight).fold(0.0, f64::max);
    let ticks = round_ticks(most, 2.0);
    let y = Scale::linear((0.0, last(&ticks)), (FLIGHT_TALL, 0.0));
    time.open(&mut out, flight_top, FLIGHT_TALL);
    for &tick in &ticks {
        line(&mut out, (0.0, y.at(tick)), (ACROSS, y.at(tick)), "grid");
    }
    time.edges(&mut out, 0.0, FLIGHT_TALL);
    let flight: Vec<_> =
        columns.iter().enumerate().map(|(at, of)| Some((middle(at), y.at(of.in_flight)))).collect();
    curve(&mut out, &flight, "flight");
    Time::close(&mut out);
    side(&mut out, flight_top, &ticks, &y, "in flight");
    time.axis(&mut out, flight_bottom);
    let title = "Arrivals, answers and errors per second, and acquisitions under way".to_owned();
    let height = flight_bottom + 24.0;
    Some(Figure { id: "throughput", title, height, class: "time", body: out })
}

fn keys(out: &mut String) {
    let areas = [
        Key { class: "a-ok", is_line: false, text: "granted at once" },
        Key { class: "a-con", is_line: false, text: "granted after others" },
        Key { class: "a-err", is_line: false, text: "errors" },
        Key { class: "offered", is_line: true, text: "arrivals" },
    ];
    legend(out, LEFT, 14.0, &areas);
}

fn last(ticks: &[f64]) -> f64 {
    ticks.last().copied().unwrap_or(1.0)
}

/// The marks of a vertical axis and what they count.
fn side(out: &mut String, top: f64, ticks: &[f64], y: &Scale, what: &str) {
    for &tick in ticks {
        let at = (LEFT - 6.0, top + y.at(tick) + 4.0);
        text(out, at, Anchor::End, "t", &amount_label(tick));
    }
    let across = LEFT + ACROSS - text_width(what) / 2.0;
    text(out, (across, top - 5.0), Anchor::Middle, "t", what);
}

/// The area between two heights of every column.
fn steps(
    columns: &[Column],
    x: impl Fn(usize) -> f64,
    low: impl Fn(&Column) -> f64,
    high: impl Fn(&Column) -> f64,
) -> String {
    let mut data = String::new();
    for (at, column) in columns.iter().enumerate() {
        put!(data, "{}{} {}", if at == 0 { "M" } else { "L" }, n(x(at)), n(high(column)));
        put!(data, "H{}", n(x(at + 1)));
    }
    for (at, column) in columns.iter().enumerate().rev() {
        put!(data, "L{} {}H{}", n(x(at + 1)), n(low(column)), n(x(at)));
    }
    data.push('z');
    data
}

impl Column {
    fn answers(&self) -> f64 {
        self.uncontended + self.contended
    }
}

/// The series in as many columns as a figure has, and how long one is.
fn columns(document: &Document) -> (Vec<Column>, u64) {
    let series = &document.series;
    let entries = series.t.len();
    let together = per_column(entries);
    let width_ns = series.interval_ns.saturating_mul(together as u64);
    let sum =
        |values: &[u64], from: usize| -> u64 { values.iter().skip(from).take(together).sum() };
    let column = |from: usize| {
        // The last column may be shorter: in entries, and in time where the run ended within one.
        let until = (from + together).min(entries) as u64 * series.interval_ns;
        let until = until.min(document.run.duration_ns.max(from as u64 * series.interval_ns));
        let span_ns = until - from as u64 * series.interval_ns;
        let span_s = span_ns.max(series.interval_ns / 10).max(1) as f64 / NS_PER_S as f64;
        let ok = sum(&series.ok, from);
        let contended = sum(&series.contended, from).min(ok);
        let here = (from + together).min(entries) - from;
        Column {
            uncontended: (ok - contended) as f64 / span_s,
            contended: contended as f64 / span_s,
            errors: sum(&series.errors, from) as f64 / span_s,
            offered: (!series.started.is_empty())
                .then(|| sum(&series.started, from) as f64 / span_s),
            in_flight: sum(&series.in_flight, from) as f64 / here.max(1) as f64,
        }
    };
    ((0..entries).step_by(together).map(column).collect(), width_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::tests::document;
    use crate::report::figures::time;

    fn with(entries: u64) -> Document {
        let mut document = document();
        let series = &mut document.series;
        series.interval_ns = 100_000_000;
        series.t = (0..entries).map(|at| at * 100_000_000).collect();
        series.ok = vec![200; series.t.len()];
        series.contended = vec![50; series.t.len()];
        series.errors = vec![10; series.t.len()];
        series.started = vec![220; series.t.len()];
        series.in_flight = vec![7; series.t.len()];
        document.run.duration_ns = entries * 100_000_000;
        document
    }

    #[test]
    fn columns_hold_every_answer_as_a_rate() {
        for entries in [1, 100, 200, 201, 1_234] {
            let (columns, width_ns) = columns(&with(entries));
            assert!(columns.len() <= 200 && !columns.is_empty());
            let expected = Column {
                uncontended: 1_500.0,
                contended: 500.0,
                errors: 100.0,
                offered: Some(2_200.0),
                in_flight: 7.0,
            };
            for (at, of) in columns.iter().enumerate() {
                assert!((of.uncontended - expected.uncontended).abs() < 1e-6, "{entries} {at}");
                assert!((of.offered.unwrap() - 2_200.0).abs() < 1e-6, "{entries} {at}");
                assert!((of.in_flight - 7.0).abs() < 1e-6, "{entries} {at}");
            }
            assert!(columns.len() as u64 * width_ns >= entries * 100_000_000);
        }
    }

    #[test]
    fn an_older_result_without_arrivals_is_drawn_without_them() {
        let mut document = with(100);
        document.series.started.clear();
        document.series.contended.clear();
        let drawn = figure(&document, &time(&document).unwrap()).unwrap();
        assert!(!drawn.body.contains("class=\"curve offered\" d="), "no line of arrivals");
        assert!(drawn.body.contains("class=\"a-ok\" d=\"M0 "));
        document.series.t.clear();
        assert!(figure(&document, &time(&document).unwrap()).is_none());
    }
}
