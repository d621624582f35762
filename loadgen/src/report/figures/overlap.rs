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

fn one(out: &mut String, top: f64, violation: &Overlap) {
    let Overlap { key, held, granted, .. } = violation;
    let begin = held.begin_ns.min(granted.begin_ns);
    let end = held.end_ns.max(granted.end_ns).max(begin + 1);
    let since = |at_ns: i64| at_ns.saturating_sub(begin) as f64;
    let x = Scale::linear((0.0, since(end)), (LEFT, LEFT + ACROSS));
    let name: String = key.chars().take(60).collect();
    let second = begin as f64 / crate::clock::NS_PER_S as f64;
    text(out, (4.0, top + 15.0), Anchor::Start, "t strong", &name);
    let both = held.begin_ns.max(granted.begin_ns);
    let apart = held.end_ns.min(granted.end_ns);
    let lasted = u64::try_from(apart.saturating_sub(both)).unwrap_or(0);
    let words = format!("from {second:.6}s on; held by both for {}", format::ns(lasted));
    text(out, (WIDTH - 20.0, top + 15.0), Anchor::End, "t", &words);
    for (at, (span, class)) in [(held, "held"), (granted, "granted")].into_iter().enumerate() {
        lane(out, top + 22.0 + at as f64 * (LANE + 5.0), span, class, &x, begin);
    }
    let (from, to) = (x.at(since(both)), x.at(since(apart)));
    let size = ((to - from).max(2.0), 2.0 * LANE + 5.0);
    rect(out, (from, top + 22.0), size, "clash", "both at once");
    let bottom = top + 22.0 + 2.0 * LANE + 9.0;
    line(out, (LEFT, bottom), (LEFT + ACROSS, bottom), "axis");
    text(out, (LEFT, bottom + 15.0), Anchor::Start, "t", "0");
    let whole = u64::try_from(end.saturating_sub(begin)).unwrap_or(0);
    let label = format!("+{}", format::ns(whole));
    text(out, (LEFT + ACROSS, bottom + 15.0), Anchor::End, "t", &label);
}

fn lane(out: &mut String, y: f64, span: &HeldSpan, class: &str, x: &Scale, begin: i64) {
    let who = format!("client {} (process {})", span.client, span.process);
    text(out, (LEFT - 8.0, y + 12.0), Anchor::End, "t", &who);
    let (from, to) = (span.begin_ns.saturating_sub(begin), span.end_ns.saturating_sub(begin));
    let (from, to) = (x.at(from as f64), x.at(to as f64));
    let lasted = u64::try_from(span.end_ns.saturating_sub(span.begin_ns)).unwrap_or(0);
    let title = format!("{class} for {}", format::ns(lasted));
    rect(out, (from, y), ((to - from).max(2.0), LANE), class, &title);
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
        assert!(body.contains("held by both for 200µs") && body.contains("+1.00ms"), "{body}");
        let at = |share: f64| crate::report::svg::n(LEFT + share * ACROSS);
        let clash = format!("<rect class=\"clash\" x=\"{}\"", at(0.4));
        assert!(body.contains(&clash), "{clash}: {body}");
        assert!(figure(&[]).is_none());
    }
}
