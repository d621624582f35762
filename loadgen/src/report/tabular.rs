//! A saved result as tables that other programs read: the series as CSV, the events as JSON lines.

use crate::document::Document;
use crate::num;
use crate::report::svg::put;

/// `series.csv`: one line per interval, empty where nothing is known. What passed at the nodes
/// stands in the line in which its longer interval begins.
pub(crate) fn csv(document: &Document) -> String {
    let series = &document.series;
    let response = &series.response;
    let mut out = String::from(
        "t_ns,started,ok,contended,errors,in_flight,response_p50_ns,response_p99_ns,\
         response_max_ns,hiccup_ns",
    );
    for node in 1..=series.nodes.by_node.len() {
        for name in ["commands", "writes", "rtt_p50_ns", "rtt_p99_ns"] {
            put!(out, ",n{node}_{name}");
        }
    }
    out.push('\n');
    let known = |values: &[u64], at: usize| values.get(at).map(u64::to_string).unwrap_or_default();
    let maybe = |values: &[Option<u64>], at: usize| {
        values.get(at).copied().flatten().map(|value| value.to_string()).unwrap_or_default()
    };
    for (at, t) in series.t.iter().enumerate() {
        let counts = [&series.started, &series.ok, &series.contended, &series.errors];
        let counts = counts.map(|values| known(values, at)).join(",");
        let in_flight = known(&series.in_flight, at);
        let times = [&response.p50, &response.p99, &response.max, &series.hiccup];
        let times = times.map(|values| maybe(values, at)).join(",");
        put!(out, "{t},{counts},{in_flight},{times}");
        let long_ns = series.nodes.interval_ns.max(1);
        let place = t.is_multiple_of(long_ns).then(|| num::usize_of(t / long_ns));
        for node in &series.nodes.by_node {
            let place = place.unwrap_or(usize::MAX);
            let counts = [&node.commands, &node.writes].map(|values| known(values, place));
            let trips = [&node.rtt_p50, &node.rtt_p99].map(|values| maybe(values, place));
            put!(out, ",{},{}", counts.join(","), trips.join(","));
        }
        out.push('\n');
    }
    out
}

/// `events.jsonl`: one object per line, in the order of time.
pub(crate) fn events(document: &Document) -> String {
    let mut out = String::new();
    for event in &document.events {
        if let Ok(line) = serde_json::to_string(event) {
            put!(out, "{line}\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Event, NodeColumns, NodeSeries, State, What};
    use crate::report::figures::tests::document;

    #[test]
    fn every_interval_is_a_line_and_the_unknown_is_empty() {
        let mut document = document();
        document.series.t = vec![0, 100_000_000];
        document.series.ok = vec![5, 0];
        document.series.errors = vec![0, 2];
        document.series.in_flight = vec![1, 3];
        document.series.response.p50 = vec![Some(7), None];
        document.series.response.max = vec![Some(9), None];
        let text = csv(&document);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let fields = lines[0].split(',').count();
        assert!(lines.iter().all(|line| line.split(',').count() == fields), "{text}");
        assert_eq!(lines[1], "0,,5,,0,1,7,,9,");
        assert_eq!(lines[2], "100000000,,0,,2,3,,,,");
    }

    #[test]
    fn what_passed_at_nodes_stands_where_its_interval_begins() {
        let mut document = document();
        document.series = crate::document::Series {
            t: vec![0, 100_000_000, 200_000_000],
            ..crate::document::Series::default()
        };
        let (commands, writes) = (vec![40, 6], vec![10, 3]);
        let (rtt_p50, rtt_p99) = (vec![Some(7), None], vec![Some(9), None]);
        document.series.nodes = NodeSeries {
            interval_ns: 200_000_000,
            by_node: vec![NodeColumns { commands, writes, rtt_p50, rtt_p99 }],
        };
        let text = csv(&document);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with(",hiccup_ns,n1_commands,n1_writes,n1_rtt_p50_ns,n1_rtt_p99_ns"));
        let fields = lines[0].split(',').count();
        assert!(lines.iter().all(|line| line.split(',').count() == fields), "{text}");
        let ends: Vec<bool> = lines[1..]
            .iter()
            .zip([",40,10,7,9", ",,,,", ",6,3,,"])
            .map(|(line, end)| line.ends_with(end))
            .collect();
        assert_eq!(ends, [true; 3], "{text}");
    }

    #[test]
    fn events_are_lines_that_read_back() {
        let mut document = document();
        let what = What::Node { node: 3, was: State::Up, now: State::Away };
        document.events = vec![Event { at_ns: -5, what }];
        let key = "a\nb".to_owned();
        let what = What::Violation { key, held_by: 1, granted_to: 2 };
        document.events.push(Event { at_ns: 7, what });
        let text = events(&document);
        assert!(text.starts_with("{\"at_ns\":-5,\"event\":\"node\",\"node\":3,"), "{text}");
        let read: Vec<Event> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, document.events);
    }
}
