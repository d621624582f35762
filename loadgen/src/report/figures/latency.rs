//! Responses over time: how many were how long, with p50, p99 and the longest as lines, the faults
//! behind them and the nodes above.

use super::{MOST_COLUMNS, lanes, per_column};
use crate::collect::heat::HeatMap;
use crate::document::{Document, What};
use crate::num;
use crate::report::format;
use crate::report::svg::scale::{Scale, latency_label, latency_ticks};
use crate::report::svg::time::{ACROSS, LEFT, Lane, Time, lanes_height, moved};
use crate::report::svg::{
    Anchor, Figure, Key, WIDTH, curve, legend, line, n, put, rect, text, text_width,
};

const TALL: f64 = 270.0;
const LEVELS: u64 = 7;
/// Rows of the map that are drawn as one.
const ROWS_TOGETHER: u32 = 4;
/// Intervals drawn one by one where there is no map.
const MOST_POINTS: usize = 2_000;
/// Marks of one kind at most.
const MOST_MARKS: usize = 100;

/// From what to what the vertical axis goes.
#[derive(Clone, Copy, Debug)]
struct Range {
    low_ns: f64,
    high_ns: f64,
}

pub(super) fn figure(document: &Document, time: &Time) -> Option<Figure> {
    let map = document.heatmap.clone().unwrap_or_default();
    let cells = map.cells();
    let range = range(document, &map, &cells)?;
    let lanes = lanes(document, time.span_ns);
    let mut out = String::new();
    hatch(&mut out);
    keys(&mut out, document, &lanes);
    let top = 26.0;
    let marks = top + lanes_height(&lanes) + time.labels_height();
    let plot = marks + 14.0;
    let bottom = plot + TALL;
    let y = Scale::log((range.low_ns, range.high_ns), (TALL, 0.0));

    time.open(&mut out, top, bottom - top);
    time.lanes(&mut out, &lanes);
    put!(out, "<g transform=\"translate(0 {})\">", n(plot - top));
    let ticks = latency_ticks(range.low_ns, range.high_ns);
    for &tick in &ticks {
        let at = y.at(tick as f64);
        line(&mut out, (0.0, at), (ACROSS, at), "grid");
    }
    heat(&mut out, &map, &cells, time, range);
    time.edges(&mut out, top - plot, TALL);
    curves(&mut out, document, (&map, &cells), time, &y);
    out.push_str("</g>");
    Time::close(&mut out);

    Time::lane_names(&mut out, top, &lanes);
    time.labels(&mut out, top + lanes_height(&lanes));
    for &tick in &ticks {
        let at = (LEFT - 6.0, plot + y.at(tick as f64) + 4.0);
        text(&mut out, at, Anchor::End, "t", &latency_label(tick));
    }
    events(&mut out, document, time, marks);
    time.axis(&mut out, bottom);
    let title = "Responses by time and by length, with the faults of the run and its nodes";
    let height = bottom + 24.0;
    Some(Figure { id: "latency", title: title.to_owned(), height, class: "time", body: out })
}

fn hatch(out: &mut String) {
    out.push_str(
        "<defs><pattern id=\"quarantine\" width=\"6\" height=\"6\" patternTransform=\"rotate(45)\" \
         patternUnits=\"userSpaceOnUse\"><line class=\"hatch\" x1=\"1.5\" y1=\"0\" x2=\"1.5\" \
         y2=\"6\"/></pattern></defs>",
    );
}

fn keys(out: &mut String, document: &Document, lanes: &[Lane]) {
    let lines = [
        Key { class: "p50", is_line: true, text: "p50" },
        Key { class: "p99", is_line: true, text: "p99" },
        Key { class: "max", is_line: true, text: "longest" },
    ];
    legend(out, LEFT, 14.0, &lines);
    let mut at = LEFT + 240.0;
    text(out, (at, 14.0), Anchor::Start, "t", "responses: few");
    at += text_width("responses: few") + 2.0;
    for level in 1..=LEVELS {
        rect(out, (at, 4.0), (14.0, 12.0), &format!("k{level}"), "");
        at += 14.0;
    }
    text(out, (at + 5.0, 14.0), Anchor::Start, "t", "many");
    at += text_width("many") + 28.0;
    let classes = || lanes.iter().flat_map(|lane| &lane.stays).map(|stay| stay.class);
    let nodes = [("up", "node up"), ("quarantined", "up, no vote yet"), ("away", "away")];
    for (class, what) in nodes {
        if classes().any(|of| of == class) && at + text_width(what) < WIDTH - 120.0 {
            rect(out, (at, 5.0), (14.0, 10.0), &format!("stay {class}"), "");
            text(out, (at + 19.0, 14.0), Anchor::Start, "t", what);
            at += 19.0 + text_width(what) + 16.0;
        }
    }
    if document.events.iter().any(|event| matches!(event.what, What::GrantsAgain { .. })) {
        put!(out, "<path class=\"m-grant\" d=\"M{} 5l4.5 8h-9z\"/>", n(at + 5.0));
        text(out, (at + 14.0, 14.0), Anchor::Start, "t", "granted again");
    }
}

/// `None` where nothing was answered.
fn range(document: &Document, map: &HeatMap, cells: &[Vec<(u32, u64)>]) -> Option<Range> {
    let response = &document.series.response;
    let rows = || cells.iter().flatten().map(|(row, _)| *row);
    let rows_ns = rows().min().zip(rows().max()).map(|(low, high)| {
        (map.row_ns(f64::from(low)), map.row_ns(f64::from(high.saturating_add(1))))
    });
    let lines = || response.p50.iter().chain(&response.max).flatten();
    let lines_ns = lines().min().zip(lines().max()).map(|(low, high)| (*low as f64, *high as f64));
    let ends = [rows_ns, lines_ns];
    let low = ends.iter().flatten().map(|(low, _)| *low).reduce(f64::min)?;
    let high = ends.iter().flatten().map(|(_, high)| *high).reduce(f64::max)?;
    // Whole doublings, two at least, so that the axis has marks.
    let low = low.max(1.0).log2().floor();
    let high = high.max(1.0).log2().ceil().max(low + 2.0);
    Some(Range { low_ns: low.exp2(), high_ns: high.exp2() })
}

/// One path per level: its runs of equal cells are strokes of a cell's height.
fn heat(out: &mut String, map: &HeatMap, cells: &[Vec<(u32, u64)>], time: &Time, range: Range) {
    let per = map.rows_per_doubling.max(1);
    let together = ROWS_TOGETHER.min(per);
    let (from, to) = (range.low_ns.log2(), range.high_ns.log2());
    let first = num::floor_u64(from * f64::from(per)) / u64::from(together);
    let rows =
        num::usize_of(num::floor_u64(((to - from) * f64::from(per) / f64::from(together)).ceil()));
    let mut grid = vec![[0_u64; MOST_COLUMNS]; rows.min(256)];
    for (column, cells) in cells.iter().enumerate().take(MOST_COLUMNS) {
        for &(row, count) in cells {
            let row = num::usize_of(u64::from(row / together).saturating_sub(first));
            if let Some(cell) = grid.get_mut(row).and_then(|row| row.get_mut(column)) {
                *cell = cell.saturating_add(count);
            }
        }
    }
    let most = grid.iter().flatten().copied().max().unwrap_or(0);
    let mut paths: Vec<String> = (0..=LEVELS).map(|_| String::new()).collect();
    for (row, counts) in grid.iter().enumerate() {
        let mut run: Option<(u64, usize)> = None;
        let levels = counts.iter().map(|&count| level(count, most)).chain([0]);
        for (at, level) in levels.enumerate() {
            match run {
                Some((of, _)) if of == level => {}
                _ => {
                    if let Some((of, from)) = run.filter(|(of, _)| *of > 0)
                        && let Some(path) = paths.get_mut(num::usize_of(of))
                    {
                        put!(path, "M{from} {row}h{}", at - from);
                    }
                    run = Some((level, at));
                }
            }
        }
    }
    let wide = time.x(map.dt_ns as f64);
    let tall = TALL / rows.max(1) as f64;
    put!(
        out,
        "<g class=\"h\" shape-rendering=\"crispEdges\" transform=\"translate(0 {}) \
         scale({wide:.5} {:.5})\">",
        n(TALL - tall / 2.0),
        -tall
    );
    for (level, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        put!(out, "<path class=\"h{level}\" d=\"{path}\"/>");
    }
    out.push_str("</g>");
}

/// 1 to [`LEVELS`] by about the root of the count, 0 of none: a single answer shows, and the bulk
/// still has a shape.
fn level(count: u64, most: u64) -> u64 {
    if count == 0 {
        return 0;
    }
    let share = num::share(count, most).powf(0.45);
    1 + num::floor_u64(share * (LEVELS - 1) as f64).min(LEVELS - 1)
}

/// From the series where a column of the map is one of its intervals, else from the map: the
/// percentiles of parts do not give those of the whole.
fn curves(
    out: &mut String,
    document: &Document,
    (map, cells): (&HeatMap, &[Vec<(u32, u64)>]),
    time: &Time,
    y: &Scale,
) {
    let series = &document.series;
    let response = &series.response;
    let place = |at: usize, per: u64, value: Option<u64>| {
        let middle = (at as f64 + 0.5) * per as f64;
        value.map(|value| (time.x(middle), y.at(value as f64)))
    };
    let exact = |values: &[Option<u64>]| -> Vec<Option<(f64, f64)>> {
        let values = values.iter().enumerate();
        values.map(|(at, value)| place(at, series.interval_ns, *value)).collect()
    };
    let coarse = |quantile: f64| -> Vec<Option<(f64, f64)>> {
        let columns = cells.iter().enumerate();
        columns.map(|(at, column)| place(at, map.dt_ns, map.quantile(column, quantile))).collect()
    };
    let together = per_column(response.max.len());
    let span_ns = series.interval_ns.saturating_mul(together as u64);
    let max: Vec<Option<(f64, f64)>> = response
        .max
        .chunks(together)
        .enumerate()
        .map(|(at, values)| place(at, span_ns, values.iter().flatten().max().copied()))
        .collect();
    curve(out, &max, "max");
    // Results of several machines have no map.
    let has_map = cells.iter().any(|column| !column.is_empty());
    let most = if has_map { MOST_COLUMNS } else { MOST_POINTS };
    if response.p50.len() <= most {
        curve(out, &exact(&response.p99), "p99");
        curve(out, &exact(&response.p50), "p50");
    } else {
        curve(out, &coarse(0.99), "p99");
        curve(out, &coarse(0.5), "p50");
    }
}

/// Marks above the plot: grants after a fault, stalls of the machine, violations.
fn events(out: &mut String, document: &Document, time: &Time, top: f64) {
    let mut left = [MOST_MARKS; 3];
    for event in &document.events {
        let (kind, class, shape, title) = match &event.what {
            What::GrantsAgain { fault, gap_ns } => {
                let gap = format::ns(*gap_ns);
                let title = format!("granted again after {gap} without a grant (fault {fault})");
                (0, "m-grant", "l4.5 8h-9z", title)
            }
            What::Hiccup { stall_ns } => {
                let title = format!("the machine stalled for {}", format::ns(*stall_ns));
                (1, "m-hic", "m-1 0h2v8h-2z", title)
            }
            What::Violation { key, held_by, granted_to } => {
                let title = format!("`{key}` held by {held_by} and granted to {granted_to}");
                (2, "m-viol", "m-4 0l4 4 4-4v4l-4 4-4-4z", title)
            }
            _ => continue,
        };
        let Some(left) = left.get_mut(kind).filter(|left| **left > 0) else { continue };
        *left -= 1;
        let at_ns = u64::try_from(event.at_ns).unwrap_or(0).min(time.span_ns);
        let second = at_ns as f64 / crate::clock::NS_PER_S as f64;
        moved(out, time.x(at_ns as f64), |out| {
            let (title, y) = (crate::report::svg::escape(&title), n(top + 3.0));
            put!(
                out,
                "<path class=\"mark {class}\" d=\"M0 {y}{shape}\"><title>{second:.3}s: \
                 {title}</title></path>"
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::heat::Heat;
    use crate::document::Event;
    use crate::recorder::histogram;
    use crate::report::figures::tests::document;
    use crate::report::figures::time;

    fn filled() -> Document {
        let mut document = document();
        let mut heat = Heat::default();
        for tick in 0..100 {
            let mut hist = histogram();
            (1..=20).for_each(|n| hist.saturating_record(n * 300_000));
            heat.add(tick, Some(&hist).filter(|_| tick != 30));
        }
        document.heatmap = Some(heat.map(0));
        let column = |value: u64| -> Vec<Option<u64>> {
            (0..100).map(|at| Some(value).filter(|_| at != 30)).collect()
        };
        document.series.interval_ns = 100_000_000;
        document.series.t = (0..100).map(|at| at * 100_000_000).collect();
        document.series.response.p50 = column(3_000_000);
        document.series.response.p99 = column(6_000_000);
        document.series.response.max = column(6_000_000);
        document
    }

    #[test]
    fn faults_are_shaded_from_begin_to_heal_over_the_whole_height() {
        let mut document = filled();
        let what = What::GrantsAgain { fault: 1, gap_ns: 7_000_000 };
        document.events.push(Event { at_ns: 2_500_000_000, what });
        let drawn = figure(&document, &time(&document).unwrap()).unwrap();
        let (x, w) = (n(ACROSS * 0.2), n(ACROSS * 0.3));
        let band = format!("<rect class=\"band f-kill\" x=\"{x}\" y=\"0\" width=\"{w}\"");
        assert!(drawn.body.contains(&band), "{band}");
        assert!(drawn.body.contains(">kill n1</text>"));
        let mark = format!("data-x=\"{}\"", n(ACROSS * 0.25));
        assert!(drawn.body.contains(&mark) && drawn.body.contains("granted again after 7.00ms"));
        // 30 is empty: every row and every line is broken there.
        assert!(drawn.body.contains("M0 ") && drawn.body.contains("M31 "));
        assert_eq!(drawn.body.matches("class=\"curve p99\" d=\"M").count(), 1);
    }

    #[test]
    fn a_run_without_an_answer_has_no_figure_of_latency() {
        let mut document = document();
        assert!(figure(&document, &time(&document).unwrap()).is_none());
        document.run.duration_ns = 0;
        assert!(time(&document).is_none());
    }

    #[test]
    fn levels_rise_with_the_count_and_stay_inside() {
        assert_eq!([0, 1, 10, 50, 100].map(|count| level(count, 100)), [0, 1, 3, 5, 7]);
        assert_eq!((level(1, 1), level(1, 1_000_000), level(u64::MAX, 1)), (7, 1, 7));
    }
}
