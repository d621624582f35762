//! The figures of a run, each from its [`Document`] alone: the same for the page that is written
//! with a run and for one made later from a saved result.

mod latency;
mod overlap;
mod percentiles;
mod spread;
mod throughput;

use crate::document::{Document, Event, State, What};
use crate::num;
use crate::recorder::Metric;
use crate::report::faults::FaultReport;
use crate::report::svg::Figure;
use crate::report::svg::time::{Band, Lane, Stay, Time};

/// More nodes are not drawn.
const MOST_LANES: usize = 32;
/// Pieces of all lanes together; with more, a lane is drawn in equal parts.
const MOST_STAYS: usize = 400;
/// Columns of figures over time at most.
const MOST_COLUMNS: usize = 200;

/// Every figure that there is data for.
pub(crate) fn all(document: &Document) -> Vec<Figure> {
    let figures = [
        latency(document),
        throughput(document),
        percentiles(document),
        handoff(document),
        attempts_spread(document),
        violations(document),
    ];
    figures.into_iter().flatten().collect()
}

/// Latency over time; `None` of a run that was never measured.
pub(crate) fn latency(document: &Document) -> Option<Figure> {
    latency::figure(document, &time(document)?)
}

/// Arrivals and answers over time.
pub(crate) fn throughput(document: &Document) -> Option<Figure> {
    throughput::figure(document, &time(document)?)
}

/// Latency by percentile.
pub(crate) fn percentiles(document: &Document) -> Option<Figure> {
    percentiles::figure(document)
}

/// How long locks took from one holder to the next.
pub(crate) fn handoff(document: &Document) -> Option<Figure> {
    let hist = document.hist(Metric::Handoff).filter(|hist| !hist.is_empty())?;
    Some(spread::figure("handoff", "Hand-offs by length, from a release to the next grant", &hist))
}

/// How long acquisitions took that somebody was in the way of.
pub(crate) fn attempts_spread(document: &Document) -> Option<Figure> {
    let hist = document.hist(Metric::Contended).filter(|hist| !hist.is_empty())?;
    Some(spread::figure("contended", "Contended acquisitions by length", &hist))
}

/// Sections that overlapped.
pub(crate) fn violations(document: &Document) -> Option<Figure> {
    overlap::figure(&document.safety.violations)
}

/// The class of a kind of fault: the colours that Jepsen's plots made known.
pub(crate) fn fault_class(kind: &str) -> &'static str {
    const CLASSES: [(&str, &str); 16] = [
        ("client-kill", "f-kill"),
        ("kill", "f-kill"),
        ("term", "f-kill"),
        ("client-pause", "f-pause"),
        ("pause", "f-pause"),
        ("partition", "f-part"),
        ("drop", "f-part"),
        ("refuse", "f-part"),
        ("reset", "f-part"),
        ("latency", "f-net"),
        ("bandwidth", "f-net"),
        ("slow", "f-net"),
        ("throttle", "f-net"),
        ("flush", "f-clock"),
        ("ttl", "f-clock"),
        ("clock", "f-clock"),
    ];
    let known = CLASSES.iter().find(|(prefix, _)| kind.starts_with(prefix));
    known.map_or("f-other", |(_, class)| class)
}

/// `kill n3`, `client-pause p1`.
pub(crate) fn fault_label(fault: &FaultReport) -> String {
    let nodes = fault.targets.iter().take(9).map(|node| format!("n{node}"));
    let processes = fault.processes.iter().take(9).map(|process| format!("p{process}"));
    let targets: Vec<String> = nodes.chain(processes).collect();
    let kind: String = fault.kind.chars().take(24).collect();
    format!("{kind} {}", targets.join(",")).trim_end().to_owned()
}

/// How long each node was away.
pub(crate) fn away_ns(document: &Document) -> Vec<u64> {
    let away = |at: usize| {
        let stays = stays(document, at + 1, document.run.duration_ns);
        let away = stays.iter().filter(|stay| stay.what.starts_with("away"));
        away.map(|stay| stay.end_ns - stay.begin_ns).sum()
    };
    (0..document.nodes.len()).map(away).collect()
}

/// The time of a run with its faults; `None` if it lasted for no time.
fn time(document: &Document) -> Option<Time> {
    let series = document.series.t.len() as u64 * document.series.interval_ns;
    let span_ns = document.run.duration_ns.max(series);
    let band = |fault: &FaultReport| Band {
        class: fault_class(&fault.kind),
        label: fault_label(fault),
        begin_ns: fault.begin_ns.min(span_ns),
        end_ns: fault.end_ns.unwrap_or(span_ns).min(span_ns),
    };
    (span_ns > 0).then(|| Time::new(span_ns, document.faults.iter().map(band).collect()))
}

/// What each node was, from the events of the run.
fn lanes(document: &Document, span_ns: u64) -> Vec<Lane> {
    let lane =
        |at: usize| Lane { name: format!("n{}", at + 1), stays: stays(document, at + 1, span_ns) };
    let mut lanes: Vec<Lane> = (0..document.nodes.len().min(MOST_LANES)).map(lane).collect();
    if lanes.iter().map(|lane| lane.stays.len()).sum::<usize>() > MOST_STAYS {
        let parts = (MOST_STAYS / lanes.len().max(1)).max(1) as u64;
        lanes.iter_mut().for_each(|lane| lane.stays = worst(&lane.stays, span_ns, parts));
    }
    lanes
}

/// So many equal parts of the run, each shown as the worst that the node was in it.
fn worst(stays: &[Stay], span_ns: u64, parts: u64) -> Vec<Stay> {
    let badness = |stay: &Stay| match stay.class {
        "up" => 0,
        "quarantined" => 1,
        _ => 2,
    };
    let step_ns = span_ns.div_ceil(parts).max(1);
    let mut coarse: Vec<Stay> = Vec::new();
    let mut from = 0;
    for begin_ns in (0..span_ns).step_by(num::usize_of(step_ns)) {
        let end_ns = (begin_ns + step_ns).min(span_ns);
        while stays.get(from).is_some_and(|stay| stay.end_ns <= begin_ns) {
            from += 1;
        }
        let here = stays.iter().skip(from).take_while(|stay| stay.begin_ns < end_ns);
        let Some(stay) = here.max_by_key(|stay| badness(stay)) else { continue };
        match coarse.last_mut().filter(|last| last.class == stay.class) {
            Some(last) => last.end_ns = end_ns,
            None => coarse.push(Stay { begin_ns, end_ns, ..stay.clone() }),
        }
    }
    coarse
}

fn stays(document: &Document, node: usize, span_ns: u64) -> Vec<Stay> {
    let changes: Vec<(u64, State, State)> =
        document.events.iter().filter_map(|event| change(event, node)).collect();
    let mut now = changes.first().map_or(State::Up, |(_, was, _)| *was);
    let mut from_ns = 0;
    let mut stays = Vec::new();
    let ends = changes.into_iter().map(|(at_ns, _, now)| (at_ns.min(span_ns), Some(now)));
    for (at_ns, next) in ends.chain([(span_ns, None)]) {
        if at_ns > from_ns {
            let (class, what) = match now {
                State::Up => ("up", "up".to_owned()),
                State::Quarantined => ("quarantined", "connected, votes do not count".to_owned()),
                State::Away => away(document, node, from_ns, at_ns),
            };
            stays.push(Stay { class, what, begin_ns: from_ns, end_ns: at_ns });
        }
        from_ns = from_ns.max(at_ns);
        now = next.unwrap_or(now);
    }
    stays
}

/// Changes in the warm-up are those of the start.
fn change(event: &Event, node: usize) -> Option<(u64, State, State)> {
    match event.what {
        What::Node { node: of, was, now } if of == node => {
            Some((u64::try_from(event.at_ns).unwrap_or(0), was, now))
        }
        _ => None,
    }
}

/// A node that is away has the colour of the fault that hit it last, if one did.
fn away(document: &Document, node: usize, from_ns: u64, to_ns: u64) -> (&'static str, String) {
    let hit = document.faults.iter().rev().find(|fault| {
        let is_over = fault.end_ns.is_some_and(|end| end < from_ns);
        fault.targets.contains(&node) && fault.begin_ns <= to_ns && !is_over
    });
    match hit {
        Some(fault) => (fault_class(&fault.kind), format!("away ({})", fault.kind)),
        None => ("away", "away".to_owned()),
    }
}

/// How many entries of the series make one column of a figure.
fn per_column(entries: usize) -> usize {
    entries.div_ceil(MOST_COLUMNS).max(1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::report::json;
    use crate::report::text::tests::sample;

    const S: u64 = 1_000_000_000;

    /// The made-up run of the text report's tests, with a course of 10 s.
    pub(crate) fn document() -> Document {
        let mut document = json::document(&sample());
        document.run.duration_ns = 10 * S;
        document.faults[0].begin_ns = 2 * S;
        document.faults[0].end_ns = Some(5 * S);
        document.faults[0].targets = vec![1];
        document
    }

    fn node(at_s: i64, was: State, now: State) -> Event {
        Event { at_ns: at_s * 1_000_000_000, what: What::Node { node: 1, was, now } }
    }

    #[test]
    fn a_lane_tells_what_a_node_was_from_the_begin_to_the_end() {
        let mut document = document();
        document.events = vec![
            node(-1, State::Away, State::Up),
            node(2, State::Up, State::Away),
            node(5, State::Away, State::Quarantined),
            node(8, State::Quarantined, State::Up),
            node(9, State::Up, State::Away),
        ];
        let lanes = lanes(&document, 10 * S);
        assert_eq!(lanes.len(), 1);
        let stays: Vec<(&str, u64, u64)> = lanes[0]
            .stays
            .iter()
            .map(|stay| (stay.class, stay.begin_ns / S, stay.end_ns / S))
            .collect();
        assert_eq!(
            stays,
            [("up", 0, 2), ("f-kill", 2, 5), ("quarantined", 5, 8), ("up", 8, 9), ("away", 9, 10)]
        );
        document.events.clear();
        let quiet = super::lanes(&document, 10 * S);
        assert_eq!((quiet[0].stays.len(), quiet[0].stays[0].class), (1, "up"));
    }

    #[test]
    fn a_node_that_never_settles_is_drawn_in_parts_that_show_the_worst() {
        let mut document = document();
        let change = |at: i64| {
            let states = [(State::Up, State::Away), (State::Away, State::Up)];
            let (was, now) = states[usize::try_from(at % 2).unwrap()];
            Event { at_ns: at * 1_000_000, what: What::Node { node: 1, was, now } }
        };
        document.events = (0..1_000).map(change).collect();
        let lanes = lanes(&document, 10 * S);
        let stays = &lanes[0].stays;
        assert!(stays.len() <= MOST_STAYS, "{}", stays.len());
        assert_eq!((stays[0].class, stays.last().unwrap().class), ("away", "up"));
        assert!(stays.windows(2).all(|pair| pair[0].end_ns == pair[1].begin_ns));
        assert_eq!(stays.last().unwrap().end_ns, 10 * S);
    }

    #[test]
    fn every_kind_of_fault_has_a_colour() {
        let classes = ["kill", "pause", "drop-replies", "latency", "flush", "new"].map(fault_class);
        assert_eq!(classes, ["f-kill", "f-pause", "f-part", "f-net", "f-clock", "f-other"]);
        let mut fault = document().faults[0].clone();
        (fault.targets, fault.processes) = (vec![1, 3], Vec::new());
        assert_eq!(fault_label(&fault), "kill n1,n3");
        (fault.targets, fault.processes) = (Vec::new(), vec![2]);
        assert_eq!(fault_label(&fault), "kill p2");
    }
}
