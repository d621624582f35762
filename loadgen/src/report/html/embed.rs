//! The result inside the page: what `loadgen report report.html` reads, and what the script shows.
//!
//! It is the whole result as long as it fits. A long run has more intervals than a page has room
//! for: then neighbours are put together (counts are added, the longest stays the longest,
//! percentiles are given up, because those of parts say nothing about the whole), and the map of
//! responses becomes coarser. Totals and histograms of the run are always whole; of the workloads
//! of a mix, histograms are left out where they are too many.

use std::collections::BTreeMap;

use crate::document::{Document, NodeColumns, NodeSeries, ResponseSeries, Series};
use crate::recorder::Metric;

/// Intervals of the series at most.
const MOST_INTERVALS: usize = 400;

/// The element, at most `room` bytes long where that can be reached.
pub(super) fn script(document: &Document, room: usize) -> String {
    let mut small = document.clone();
    let together = document.series.t.len().div_ceil(MOST_INTERVALS);
    small.series = thinned(&document.series, together);
    let mut json = text(&small);
    let steps: [fn(&mut Document); 9] = [
        |small| small.series.nodes = thinned_nodes(&small.series.nodes, 100),
        |small| coarser(small, 4),
        |small| coarser(small, 2),
        |small| without_hists(small, Some(Metric::Response)),
        |small| small.events.truncate(200),
        |small| small.series.nodes = thinned_nodes(&small.series.nodes, 25),
        |small| small.series = thinned(&small.series, small.series.t.len().div_ceil(100)),
        |small| without_hists(small, None),
        |small| small.heatmap = None,
    ];
    for step in steps {
        if json.len() <= room {
            break;
        }
        step(&mut small);
        json = text(&small);
    }
    json
}

/// `<` cannot end the element inside a text of the result.
fn text(document: &Document) -> String {
    let json = serde_json::to_string(document).unwrap_or_else(|_| "null".to_owned());
    let json = json.replace('<', "\\u003c");
    format!("<script type=\"application/json\" id=\"result\">{json}</script>\n")
}

fn thinned(series: &Series, together: usize) -> Series {
    if together <= 1 {
        return series.clone();
    }
    let sums = |values: &[u64]| sums(values, together);
    let longest = |values: &[Option<u64>]| longest(values, together);
    let means = |values: &[u64]| -> Vec<u64> {
        let mean = |of: &[u64]| of.iter().sum::<u64>() / of.len().max(1) as u64;
        values.chunks(together).map(mean).collect()
    };
    let lost = |values: &[Option<u64>]| vec![None; values.chunks(together).len()];
    Series {
        interval_ns: series.interval_ns.saturating_mul(together as u64),
        t: series.t.iter().step_by(together).copied().collect(),
        ok: sums(&series.ok),
        errors: sums(&series.errors),
        in_flight: means(&series.in_flight),
        started: sums(&series.started),
        contended: sums(&series.contended),
        hiccup: longest(&series.hiccup),
        response: ResponseSeries {
            max: longest(&series.response.max),
            p50: lost(&series.response.p50),
            p99: lost(&series.response.p99),
        },
        nodes: series.nodes.clone(),
    }
}

/// Workloads without their histograms, but for those of `kept`.
fn without_hists(document: &mut Document, kept: Option<Metric>) {
    let kept = kept.map(Metric::name);
    for (name, latency) in document.workloads.iter_mut().flat_map(|of| &mut of.latency_ns) {
        if let Some(latency) = latency.as_mut().filter(|_| kept != Some(name.as_str())) {
            latency.hdr_v2_deflate_b64 = None;
        }
    }
}

/// At most `most` intervals: of round trips the longer ones stay, as where processes are put
/// together.
fn thinned_nodes(series: &NodeSeries, most: usize) -> NodeSeries {
    let long = series.by_node.iter().map(|of| of.commands.len()).max().unwrap_or(0);
    let together = long.div_ceil(most.max(1)).max(1);
    let node = |of: &NodeColumns| NodeColumns {
        commands: sums(&of.commands, together),
        writes: sums(&of.writes, together),
        rtt_p50: longest(&of.rtt_p50, together),
        rtt_p99: longest(&of.rtt_p99, together),
    };
    NodeSeries {
        interval_ns: series.interval_ns.saturating_mul(together as u64),
        by_node: series.by_node.iter().map(node).collect(),
    }
}

fn sums(values: &[u64], together: usize) -> Vec<u64> {
    values
        .chunks(together)
        .map(|of| of.iter().fold(0, |sum: u64, n| sum.saturating_add(*n)))
        .collect()
}

fn longest(values: &[Option<u64>], together: usize) -> Vec<Option<u64>> {
    values.chunks(together).map(|of| of.iter().flatten().max().copied()).collect()
}

/// The map with `rows` per doubling.
fn coarser(document: &mut Document, rows: u32) {
    let Some(map) = &mut document.heatmap else { return };
    let by = map.rows_per_doubling / rows.max(1);
    if by <= 1 {
        return;
    }
    let together = |cells: Vec<(u32, u64)>| {
        let mut column: BTreeMap<u32, u64> = BTreeMap::new();
        for (row, count) in cells {
            *column.entry(row / by).or_default() += count;
        }
        let cells: Vec<String> = column.iter().map(|(row, n)| format!("{row}:{n}")).collect();
        cells.join(" ")
    };
    map.columns = map.cells().into_iter().map(together).collect();
    map.rows_per_doubling /= by;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::heat::HeatMap;
    use crate::report::figures::tests::document;

    #[test]
    fn thinning_keeps_every_count_and_the_longest() {
        let series = Series {
            interval_ns: 100,
            t: (0..7).map(|at| at * 100).collect(),
            ok: vec![1, 2, 3, 4, 5, 6, 7],
            in_flight: vec![2, 4, 6, 8, 1, 3, 5],
            response: ResponseSeries {
                max: vec![Some(5), None, Some(9), None, None, None, Some(1)],
                p50: vec![Some(1); 7],
                p99: vec![Some(2); 7],
            },
            ..Series::default()
        };
        let thin = thinned(&series, 3);
        assert_eq!((thin.interval_ns, thin.t), (300, vec![0, 300, 600]));
        assert_eq!((thin.ok, thin.in_flight), (vec![6, 15, 7], vec![4, 4, 5]));
        assert_eq!(thin.response.max, [Some(9), None, Some(1)]);
        assert_eq!(thin.response.p99, [None; 3]);
        assert!(thin.started.is_empty(), "what an older result lacks stays away");
    }

    #[test]
    fn fewer_intervals_of_nodes_hold_as_many_commands() {
        let columns = NodeColumns {
            commands: (1..=10).collect(),
            writes: vec![1; 10],
            rtt_p50: vec![Some(3); 10],
            rtt_p99: (0..10).map(|at| (at != 9).then_some(at)).collect(),
        };
        let series = NodeSeries { interval_ns: 100, by_node: vec![columns] };
        assert_eq!(thinned_nodes(&series, 10), series, "it has no more");
        let thin = thinned_nodes(&series, 4);
        let of = &thin.by_node[0];
        assert_eq!(
            (thin.interval_ns, &of.commands[..], &of.writes[..]),
            (300, &[6, 15, 24, 10][..], &[3, 3, 3, 1][..])
        );
        assert_eq!(of.rtt_p99, [Some(2), Some(5), Some(8), None]);
        assert_eq!(thinned_nodes(&NodeSeries::default(), 4), NodeSeries::default());
    }

    #[test]
    fn a_coarser_map_holds_as_many() {
        let mut document = document();
        document.heatmap = Some(HeatMap {
            rows_per_doubling: 8,
            columns: vec!["8:1 9:2 12:3 16:4".to_owned(), String::new()],
            ..HeatMap::default()
        });
        coarser(&mut document, 2);
        let map = document.heatmap.unwrap();
        assert_eq!(
            (map.rows_per_doubling, map.columns),
            (2, vec!["2:3 3:3 4:4".into(), "".into()])
        );
    }

    #[test]
    fn nothing_in_a_result_ends_the_element() {
        let mut document = document();
        document.run.name = "</script><script>alert(1)</script>".to_owned();
        let script = script(&document, usize::MAX);
        assert_eq!(script.matches("</script>").count(), 1, "{script}");
        assert!(script.contains("\\u003c/script>"));
    }
}
