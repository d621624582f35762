//! A saved result as tables that other programs read: the series as CSV, the events as JSON lines.

use crate::document::Document;
use crate::report::svg::put;

/// `series.csv`: one line per interval, empty where nothing is known.
pub(crate) fn csv(document: &Document) -> String {
    let series = &document.series;
    let response = &series.response;
    let mut out = String::from(
        "t_ns,started,ok,contended,errors,in_flight,response_p50_ns,response_p99_ns,\
         response_max_ns,hiccup_ns\n",
    );
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
        put!(out, "{t},{counts},{in_flight},{times}\n");
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
    use crate::document::{Event, State, What};
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
