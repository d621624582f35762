//! Every node over time, one under the other over one axis: how long its round trips took, and how
//! many commands went to it in one write.

use crate::document::{Document, NodeColumns};
use crate::num;
use crate::report::svg::scale::{Scale, amount_label, latency_label, latency_ticks, round_ticks};
use crate::report::svg::time::{ACROSS, LEFT, Time};
use crate::report::svg::{Anchor, Figure, Key, legend, line, n, path, put, text};

/// More nodes are not drawn.
const MOST_NODES: usize = 12;
/// With every node this often two lines and an area, a page keeps its room for the result.
const MOST_COLUMNS: usize = 120;
/// Room for its name above what is drawn of a node.
const HEAD: f64 = 14.0;
const TRIPS_TALL: f64 = 44.0;
const BATCH_TALL: f64 = 24.0;
const GAP: f64 = 7.0;
const NODE_TALL: f64 = HEAD + TRIPS_TALL + GAP + BATCH_TALL + 5.0;

/// A round trip of a column.
type Trip = fn(&Column) -> Option<u64>;

/// What passed at one node in one column.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Column {
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    /// Commands per write; `None` where nothing was written.
    batch: Option<f64>,
}

pub(super) fn figure(document: &Document, time: &Time) -> Option<Figure> {
    let series = &document.series.nodes;
    let all: Vec<Vec<Column>> = series.by_node.iter().take(MOST_NODES).map(columns).collect();
    let entries = series.by_node.iter().map(|of| of.commands.len()).max()?;
    let width_ns = series.interval_ns.saturating_mul(together(entries) as u64);
    let trips = || all.iter().flatten().flat_map(|of| [of.p50_ns, of.p99_ns]).flatten();
    let batches = all.iter().flatten().filter_map(|of| of.batch);
    let most_batch = batches.reduce(f64::max)?;
    // Whole doublings, two at least, so that the axis has marks.
    let low = (trips().min().unwrap_or(1).max(1) as f64).log2().floor();
    let high = (trips().max().unwrap_or(1).max(1) as f64).log2().ceil().max(low + 2.0);
    let trips_y = Scale::log((low.exp2(), high.exp2()), (TRIPS_TALL, 0.0));
    // By ratio too: the one large batch after a node came back leaves the usual ones visible.
    let batch_most = round_ticks(most_batch, 1.0).last().copied().unwrap_or(2.0).max(2.0);
    let batch_y = Scale::log((1.0, batch_most), (BATCH_TALL, 0.0));
    let marks = marks(low.exp2(), high.exp2());

    let mut out = String::new();
    let keys = [
        Key { class: "p50", is_line: true, text: "round trip p50" },
        Key { class: "p99", is_line: true, text: "p99" },
        Key { class: "a-con", is_line: false, text: "commands per write" },
    ];
    legend(&mut out, LEFT, 14.0, &keys);
    let top = 26.0 + time.labels_height();
    let tall = all.len() as f64 * NODE_TALL;
    time.labels(&mut out, 26.0);
    time.open(&mut out, top, tall);
    for (at, columns) in all.iter().enumerate() {
        let y = at as f64 * NODE_TALL + HEAD;
        put!(out, "<g transform=\"translate(0 {})\">", n(y));
        for &mark in &marks {
            let y = trips_y.at(mark as f64);
            line(&mut out, (0.0, y), (ACROSS, y), "grid");
        }
        let point = |(at, value): (usize, Option<u64>)| {
            let middle = (at as f64 + 0.5) * width_ns as f64;
            value.map(|value| (time.x(middle), trips_y.at(value as f64)))
        };
        let lines: [(&str, Trip); 2] = [("p99", |of| of.p99_ns), ("p50", |of| of.p50_ns)];
        for (class, of) in lines {
            let points: Vec<_> = columns.iter().map(of).enumerate().map(point).collect();
            put!(out, "<path class=\"curve {class}\" d=\"{}\"/>", path(&points));
        }
        put!(out, "<g transform=\"translate(0 {})\">", n(TRIPS_TALL + GAP));
        let area = area(columns, |at| time.x(at as f64 * width_ns as f64), &batch_y);
        put!(out, "<path class=\"a-con\" d=\"{area}\"/>");
        line(&mut out, (0.0, BATCH_TALL), (ACROSS, BATCH_TALL), "grid");
        out.push_str("</g></g>");
    }
    time.edges(&mut out, 0.0, tall);
    Time::close(&mut out);
    for at in 0..all.len() {
        let y = top + at as f64 * NODE_TALL + HEAD;
        let name = format!("n{}", at + 1);
        text(&mut out, (LEFT - 6.0, y - 3.0), Anchor::End, "t strong", &name);
        for &mark in &marks {
            let y = y + trips_y.at(mark as f64) + 4.0;
            text(&mut out, (LEFT - 6.0, y), Anchor::End, "t", &latency_label(mark));
        }
        for of in [1.0, batch_most] {
            let y = y + TRIPS_TALL + GAP + batch_y.at(of) + 4.0;
            text(&mut out, (LEFT - 6.0, y), Anchor::End, "t", &amount_label(of));
        }
    }
    let bottom = top + tall;
    time.axis(&mut out, bottom);
    let more = series.by_node.len().saturating_sub(MOST_NODES);
    let more = if more > 0 { format!(" (the first {MOST_NODES})") } else { String::new() };
    let title = format!("Round trips and commands per write of every node over time{more}");
    Some(Figure { id: "nodes-over-time", title, height: bottom + 24.0, class: "time", body: out })
}

/// Two or three values of the axis of round trips that are far enough apart to be read: powers of
/// ten where there are as many.
fn marks(low_ns: f64, high_ns: f64) -> Vec<u64> {
    let mut all = latency_ticks(low_ns, high_ns);
    let powers: Vec<u64> =
        all.iter().copied().filter(|mark| 10_u64.pow(mark.ilog10()) == *mark).collect();
    if powers.len() >= 2 {
        all = powers;
    }
    let every = all.len().div_ceil(3).max(1);
    all.into_iter().step_by(every).collect()
}

fn together(entries: usize) -> usize {
    entries.div_ceil(MOST_COLUMNS).max(1)
}

/// A node's intervals in as many columns as are drawn.
fn columns(of: &NodeColumns) -> Vec<Column> {
    let entries = of.commands.len();
    let together = together(entries);
    let sum = |values: &[u64], from: usize| -> u64 {
        values.iter().skip(from).take(together).fold(0, |sum, n| sum.saturating_add(*n))
    };
    let longest = |values: &[Option<u64>], from: usize| {
        values.iter().skip(from).take(together).flatten().max().copied()
    };
    let column = |from: usize| {
        let writes = sum(&of.writes, from);
        Column {
            p50_ns: longest(&of.rtt_p50, from),
            p99_ns: longest(&of.rtt_p99, from),
            batch: (writes > 0).then(|| num::share(sum(&of.commands, from), writes)),
        }
    };
    (0..entries).step_by(together).map(column).collect()
}

/// The batches as steps from the bottom, which is one command per write; where one was written, it
/// shows.
fn area(columns: &[Column], x: impl Fn(usize) -> f64, y: &Scale) -> String {
    let mut data = format!("M0 {}", n(BATCH_TALL));
    let mut last = String::new();
    for (at, column) in columns.iter().enumerate() {
        let height = column.batch.map_or(BATCH_TALL, |of| y.at(of).min(BATCH_TALL - 1.0));
        let height = n(height);
        if height != last {
            put!(data, "H{}V{height}", n(x(at)));
            last = height;
        }
    }
    put!(data, "H{}V{}z", n(x(columns.len())), n(BATCH_TALL));
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::NodeSeries;
    use crate::report::figures::tests::document;
    use crate::report::figures::time;

    fn with(nodes: usize, entries: usize) -> Document {
        let mut document = document();
        let node = |node: usize| NodeColumns {
            commands: vec![60 * (node as u64 + 1); entries],
            writes: (0..entries).map(|at| if at == 3 { 0 } else { 20 }).collect(),
            rtt_p50: (0..entries).map(|at| (at != 5).then_some(200_000)).collect(),
            rtt_p99: vec![Some(900_000); entries],
        };
        document.series.nodes = NodeSeries {
            interval_ns: 10_000_000_000 / entries.max(1) as u64,
            by_node: (0..nodes).map(node).collect(),
        };
        document
    }

    #[test]
    fn every_node_has_its_lines_and_its_batches() {
        let document = with(3, 10);
        let drawn = figure(&document, &time(&document).unwrap()).unwrap();
        for name in ["n1", "n2", "n3"] {
            assert_eq!(drawn.body.matches(&format!(">{name}</text>")).count(), 1, "{name}");
        }
        for class in ["curve p50", "curve p99", "a-con"] {
            assert_eq!(drawn.body.matches(&format!("<path class=\"{class}\"")).count(), 3);
        }
        // Where a median is not known the line is broken; where nothing was written is no batch.
        let p50 = drawn.body.split("curve p50\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(p50.matches('M').count(), 2, "{p50}");
        let of = columns(&document.series.nodes.by_node[2]);
        assert_eq!((of[0].batch, of[3].batch, of[5].p50_ns), (Some(9.0), None, None));
        let area = drawn.body.split("a-con\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(area.starts_with("M0 24H0V") && area.matches("V24").count() == 2, "{area}");
        assert!(drawn.body.contains("band f-kill"), "faults are shaded here too");
        assert_eq!(marks(1e5, 3e7), [100_000, 1_000_000, 10_000_000]);
        assert_eq!(marks(2e5, 8e5), [200_000, 500_000]);
        assert!(!drawn.body.contains("NaN"));
    }

    #[test]
    fn many_intervals_and_many_nodes_are_bounded_and_keep_the_slowest() {
        let mut document = with(40, 1_000);
        document.series.nodes.by_node[0].rtt_p99[777] = Some(70_000_000);
        let columns = columns(&document.series.nodes.by_node[0]);
        assert!(columns.len() <= MOST_COLUMNS);
        assert_eq!(columns.iter().filter_map(|of| of.p99_ns).max(), Some(70_000_000));
        let drawn = figure(&document, &time(&document).unwrap()).unwrap();
        assert!(drawn.body.contains(">n12</text>") && !drawn.body.contains(">n13</text>"));
        assert!(drawn.title.contains("the first 12"));
    }

    #[test]
    fn a_lock_without_nodes_and_an_older_result_have_no_such_figure() {
        for document in [with(0, 10), with(2, 0), document()] {
            assert!(figure(&document, &time(&document).unwrap()).is_none());
        }
    }
}
