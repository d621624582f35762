//! What a merged result keeps beside sums: the map of responses, what passed at the nodes over
//! time, and the busiest names.
//!
//! Every count of the parts is in the whole exactly once; what is coarser is time: a column of a
//! part goes into the column in which it begins. What cannot be merged is left out and named.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;
use crate::collect::heat::{HeatMap, MOST_COLUMNS};
use crate::collect::nodes::MOST_COLUMNS as MOST_NODE_COLUMNS;
use crate::document::{NodeColumns, NodeSeries};
use crate::num;
use crate::recorder::TICK_NS;
use crate::report::contention::{HotKey, MOST_HOT_KEYS};

/// What was kept, and in words what was not.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) heat: Option<HeatMap>,
    pub(super) nodes: NodeSeries,
    pub(super) hottest_keys: Vec<HotKey>,
    pub(super) left_out: Vec<String>,
}

/// A part's columns of time, as they are to be put on one axis.
struct Span {
    offset_ns: u64,
    dt_ns: u64,
    columns: usize,
}

impl Kept {
    /// Of parts on an axis of time that begins at `started_ns`.
    pub(super) fn of(sources: &[Source], started_ns: u64) -> Self {
        let mut kept = Self::default();
        match heat(sources, started_ns) {
            Ok(map) => kept.heat = map,
            Err(why) => kept.left_out.push(why),
        }
        match nodes(sources, started_ns) {
            Ok(series) => kept.nodes = series,
            Err(why) => kept.left_out.push(why),
        }
        let (keys, partly) = hottest_keys(sources);
        kept.hottest_keys = keys;
        if partly > 0 {
            kept.left_out.push(format!(
                "names among the busiest of some machines only: {partly}; how often the others \
                 granted them is not known, so they are not among the busiest of all"
            ));
        }
        kept
    }
}

/// The shortest step that no part is coarser than, doubled until all fits `most` columns.
fn step(spans: &[Span], most: usize) -> u64 {
    let mut dt_ns = spans.iter().map(|span| span.dt_ns).max().unwrap_or(TICK_NS).max(1);
    let last = |span: &Span| {
        let columns = (span.columns as u64).saturating_sub(1);
        span.offset_ns.saturating_add(columns.saturating_mul(span.dt_ns))
    };
    let end_ns = spans.iter().map(last).max().unwrap_or(0);
    while end_ns / dt_ns >= most as u64 {
        dt_ns = dt_ns.saturating_mul(2);
    }
    dt_ns
}

fn offset_ns(source: &Source, started_ns: u64) -> u64 {
    source.started_ns.saturating_sub(started_ns)
}

fn heat(sources: &[Source], started_ns: u64) -> Result<Option<HeatMap>, String> {
    let maps: Vec<(&Source, &HeatMap)> = sources
        .iter()
        .filter_map(|source| Some((source, source.document.heatmap.as_ref()?)))
        .collect();
    let Some((_, first)) = maps.first() else { return Ok(None) };
    if maps.len() < sources.len() {
        return Err("a run has no map of its responses: that of all is left out".to_owned());
    }
    let same = |of: &HeatMap| {
        (&of.metric, of.rows_per_doubling) == (&first.metric, first.rows_per_doubling)
    };
    if !maps.iter().all(|(_, map)| same(map)) {
        let text = "the maps of responses have different rows: that of all is left out";
        return Err(text.to_owned());
    }
    let span = |(source, map): &(&Source, &HeatMap)| {
        let offset_ns = offset_ns(source, started_ns);
        Span { offset_ns, dt_ns: map.dt_ns.max(1), columns: map.columns.len() }
    };
    let spans: Vec<Span> = maps.iter().map(span).collect();
    let dt_ns = step(&spans, MOST_COLUMNS);
    let mut columns: Vec<BTreeMap<u32, u64>> = Vec::new();
    for (span, (_, map)) in spans.iter().zip(&maps) {
        for (n, cells) in map.cells().into_iter().enumerate() {
            let at = num::usize_of((span.offset_ns + n as u64 * span.dt_ns) / dt_ns);
            if columns.len() <= at {
                columns.resize_with(at + 1, BTreeMap::new);
            }
            let Some(column) = columns.get_mut(at) else { continue };
            for (row, count) in cells {
                let cell = column.entry(row).or_default();
                *cell = cell.saturating_add(count);
            }
        }
    }
    let text = |column: &BTreeMap<u32, u64>| {
        let cells: Vec<String> = column.iter().map(|(row, n)| format!("{row}:{n}")).collect();
        cells.join(" ")
    };
    Ok(Some(HeatMap {
        dt_ns,
        columns: columns.iter().map(text).collect(),
        after_end: maps.iter().map(|(_, map)| map.after_end).fold(0, u64::saturating_add),
        ..(*first).clone()
    }))
}

/// The nodes of all parts follow each other, as they do in the list of nodes.
fn nodes(sources: &[Source], started_ns: u64) -> Result<NodeSeries, String> {
    let series = |source: &Source| source.document.series.nodes.clone();
    if sources.iter().all(|source| series(source).by_node.is_empty()) {
        return Ok(NodeSeries::default());
    }
    let fits = |source: &Source| series(source).by_node.len() == source.document.nodes.len();
    if !sources.iter().all(fits) {
        let text = "a run does not tell what passed at its nodes over time: that is left out";
        return Err(text.to_owned());
    }
    let all: Vec<NodeSeries> = sources.iter().map(series).collect();
    let spans: Vec<Span> = sources
        .iter()
        .zip(&all)
        .map(|(source, of)| Span {
            offset_ns: offset_ns(source, started_ns),
            dt_ns: of.interval_ns.max(1),
            columns: of.by_node.iter().map(|node| node.commands.len()).max().unwrap_or(0),
        })
        .collect();
    let interval_ns = step(&spans, MOST_NODE_COLUMNS);
    let place = |span: &Span, n: usize| {
        num::usize_of((span.offset_ns + n as u64 * span.dt_ns) / interval_ns)
    };
    let ends = spans.iter().filter(|span| span.columns > 0);
    let length = ends.map(|span| place(span, span.columns - 1) + 1).max().unwrap_or(0);
    let mut by_node = Vec::new();
    for (span, of) in spans.iter().zip(&all) {
        for node in &of.by_node {
            by_node.push(aligned(node, length, |n| place(span, n)));
        }
    }
    Ok(NodeSeries { interval_ns, by_node })
}

/// A node's columns at their places: counts add up, the longest round trip stays.
fn aligned(node: &NodeColumns, length: usize, place: impl Fn(usize) -> usize) -> NodeColumns {
    let sums = |column: &[u64]| {
        let mut all = vec![0_u64; length];
        for (n, more) in column.iter().enumerate() {
            if let Some(sum) = all.get_mut(place(n)) {
                *sum = sum.saturating_add(*more);
            }
        }
        all
    };
    let longest = |column: &[Option<u64>]| {
        let mut all = vec![None; length];
        for (n, of) in column.iter().enumerate() {
            if let Some(longest) = all.get_mut(place(n)) {
                *longest = (*longest).max(*of);
            }
        }
        all
    };
    NodeColumns {
        commands: sums(&node.commands),
        writes: sums(&node.writes),
        rtt_p50: longest(&node.rtt_p50),
        rtt_p99: longest(&node.rtt_p99),
    }
}

/// Names of which every part tells how often it granted them, and how many others there are. A
/// part that lists fewer names than it could has granted no other.
fn hottest_keys(sources: &[Source]) -> (Vec<HotKey>, usize) {
    let lists: Vec<&[HotKey]> =
        sources.iter().map(|of| of.document.contention.hottest_keys.as_slice()).collect();
    let granted_all: u64 = sources.iter().map(|of| of.document.totals.ok).sum();
    let names: BTreeSet<&str> = lists.iter().flat_map(|keys| keys.iter()).map(name).collect();
    let mut all = Vec::new();
    let mut partly = 0;
    'names: for wanted in names {
        let mut sum = HotKey { key: wanted.to_owned(), ..HotKey::default() };
        let mut waited_ns = Some(0.0);
        for keys in &lists {
            let Some(of) = keys.iter().find(|of| of.key == wanted) else {
                if keys.len() < MOST_HOT_KEYS {
                    continue;
                }
                partly += 1;
                continue 'names;
            };
            sum.acquisitions += of.acquisitions;
            sum.wait_max_ns = sum.wait_max_ns.max(of.wait_max_ns);
            let theirs = of.wait_mean_ns.map(|mean| mean * of.acquisitions as f64);
            waited_ns = waited_ns.zip(theirs).map(|(all, more)| all + more);
        }
        let mean = waited_ns.map(|waited_ns| waited_ns / sum.acquisitions as f64);
        sum.wait_mean_ns = mean.and_then(num::finite);
        sum.share = (granted_all > 0).then(|| num::share(sum.acquisitions, granted_all));
        all.push(sum);
    }
    all.sort_by_key(|of| std::cmp::Reverse(of.acquisitions));
    all.truncate(MOST_HOT_KEYS);
    (all, partly)
}

fn name(key: &HotKey) -> &str {
    &key.key
}
