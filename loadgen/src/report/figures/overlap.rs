//! Violations as swim-lanes: who held a lock from when to when, and who was granted it meanwhile.

use crate::document::{HeldSpan, Overlap};
use crate::report::format;
use crate::report::svg::scale::Scale;
use crate::report::svg::{Anchor, Figure, WIDTH, line, rect, text};

/// Violations that are drawn.
pub(crate) const MOST_DRAWN: usize = 5;
const LEFT: f64 = 170.0;
const ACROSS: f64 = WIDTH - LEFT - 20.0;
const LANE: f64 = 16.0;
const EACH: f64 = 96.0;
/// What is drawn of a violation at least, if it lasted as long.
const LEAST_WINDOW_NS: u64 = 100_000;

pub(super) fn figure(violations: &[Overlap]) -> Option<Figure> {
    if violations.is_empty() {
        return None;
    }
    let mut out = String::new();
    let shown = violations.iter().take(MOST_DRAWN);
    for (at, violation) in shown.clone().enumerate() {
        one(&mut out, at as f64 * EACH, violation);
    }
    let title = "Sections of one lock that overlapped".to_owned();
    let height = shown.len() as f64 * EACH;
    Some(Figure { id: "violations", title, height, class: "", body: out })
}

/// The window shows where the second grant fell; a section that goes on beyond it has an arrow.
fn one(out: &mut String, top: f64, violation: &Overlap) {
    let Overlap { key, held, granted, .. } = violation;
    let begin = held.begin_ns.min(granted.begin_ns);
    let whole = span(begin, held.end_ns.max(granted.end_ns)).max(1);
    let apart = span(begin, held.begin_ns.max(granted.begin_ns));
    let window = apart.saturating_mul(3).max(LEAST_WINDOW_NS).min(whole);
    let x = Scale::linear((0.0, window as f64), (LEFT, LEFT + ACROSS));
    let name: String = key.chars().take(60).collect();
    let second = begin as f64 / crate::clock::NS_PER_S as f64;
    text(out, (4.0, top + 15.0), Anchor::Start, "t strong", &name);
    let words = format!(
        "from {second:.6}s on; granted again {} later, {} before the end of the first",
        format::ns(apart),
        format::ns(span(granted.begin_ns.max(begin), held.end_ns))
    );
    text(out, (LEFT + ACROSS, top + 15.0), Anchor::End, "t", &words);
    let until = span(begin, held.end_ns.min(granted.end_ns));
    let (from, to) = (x.at(apart as f64), x.at(until as f64));
    let size = ((to - from).max(2.0), 2.0 * LANE + 13.0);
    rect(out, (from, top + 18.0), size, "clash", "both at once");
    for (at, (of, class)) in [(held, "held"), (granted, "granted")].into_iter().enumerate() {
        lane(out, top + 22.0 + at as f64 * (LANE + 5.0), of, class, (&x, begin, window));
    }
    let bottom = top + 22.0 + 2.0 * LANE + 10.0;
    line(out, (LEFT, bottom), (LEFT + ACROSS, bottom), "axis");
    text(out, (LEFT, bottom + 15.0), Anchor::Start, "t", "0");
    let label = format!("+{}", format::ns(window));
    text(out, (LEFT + ACROSS, bottom + 15.0), Anchor::End, "t", &label);
}

fn span(from_ns: i64, to_ns: i64) -> u64 {
    u64::try_from(to_ns.saturating_sub(from_ns)).unwrap_or(0)
}

fn lane(
    out: &mut String,
    y: f64,
    of: &HeldSpan,
    class: &str,
    (x, begin, window): (&Scale, i64, u64),
) {
    let who = format!("client {} (process {})", of.client, of.process);
    text(out, (LEFT - 8.0, y + 12.0), Anchor::End, "t", &who);
    let (from, until) = (span(begin, of.begin_ns), span(begin, of.end_ns));
    let (left, right) = (x.at(from as f64), x.at(until as f64));
    let title = format!("{class} for {}", format::ns(span(of.begin_ns, of.end_ns)));
    rect(out, (left, y), ((right - left).max(2.0), LANE), class, &title);
    if until > window {
        let label = format!("until +{} →", format::ns(until));
        text(out, (right - 6.0, y + 12.0), Anchor::End, "on", &label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::Class;

    #[test]
    fn both_lanes_and_their_overlap_are_on_one_scale() {
        let span = |client, begin_ns, end_ns| HeldSpan { client, process: 0, begin_ns, end_ns };
        let violation = Overlap {
            key: "<b>lg:1".to_owned(),
            held: span(1, 0, 600_000),
            granted: span(2, 400_000, 1_000_000),
            held_as: Class::Exclusive,
            granted_as: Class::Exclusive,
        };
        let body = figure(&[violation]).unwrap().body;
        assert!(body.contains("&lt;b&gt;lg:1") && !body.contains("<b>"));
        assert!(body.contains("again 400µs later, 200µs before the end of"), "{body}");
        assert!(body.contains(">+1.00ms<") && !body.contains('→'), "{body}");
        let at = |share: f64| crate::report::svg::n(LEFT + share * ACROSS);
        let clash = format!("<rect class=\"clash\" x=\"{}\"", at(0.4));
        assert!(body.contains(&clash), "{clash}: {body}");
        assert!(figure(&[]).is_none());
    }

    #[test]
    fn sections_that_go_on_and_on_do_not_hide_where_they_met() {
        let span = |client, begin_ns| HeldSpan { client, process: 0, begin_ns, end_ns: 1 << 33 };
        let (held, granted) = (span(1, 0), span(2, 200_000));
        let classes = Class::Exclusive;
        let key = "k".to_owned();
        let violation = Overlap { key, held, granted, held_as: classes, granted_as: classes };
        let body = figure(&[violation]).unwrap().body;
        assert!(body.contains(">+600µs<") && body.contains("until +8.59s →"), "{body}");
    }
}
