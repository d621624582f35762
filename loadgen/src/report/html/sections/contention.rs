//! How locks passed from one to the next, and which names were wanted most.

use super::super::table::{Cell, Kind, number, table};
use super::super::{escape, figure, figures, note, section};
use crate::document::Document;
use crate::recorder::{Hist, Metric};
use crate::report::contention::{HotKey, MOST_HOT_KEYS};
use crate::report::format::{self, count, ns};
use crate::report::json::is_weak;
use crate::report::svg::put;

pub(in super::super) fn contention(out: &mut String, document: &Document) {
    section(out, "contention", "Contention", "");
    let attempts: Option<Hist> = document.hist(Metric::Attempts);
    let mut lines = document.contention.words(document.nodes.len(), attempts.as_ref());
    if let Some(of) = document.attempts.contended.filter(|_| attempts.is_none()) {
        let text = format!("attempts of contended ones: p50 {}, p99 {}", of.p50, of.p99);
        lines.push(format!("{text}, at most {}", of.max));
    }
    lines.extend(document.fairness.words(document.config.processes));
    if lines.is_empty() {
        lines.push("Nobody waited for anybody.".to_owned());
    }
    out.push_str("<ul class=\"lines\">\n");
    for text in lines {
        put!(out, "<li>{}</li>\n", escape(&text));
    }
    out.push_str("</ul>\n");
    hottest_keys(out, document);
    let caption = "Hand-offs by length: from one holder's call of release to the next one's grant.";
    figure(out, figures::handoff(document), caption);
    let caption = "Acquisitions that somebody else was in the way of, from call to grant.";
    figure(out, figures::attempts_spread(document), caption);
}

/// What the busiest names were asked for and what they gave.
fn hottest_keys(out: &mut String, document: &Document) {
    let keys = &document.contention.hottest_keys;
    if keys.is_empty() {
        return;
    }
    let row = |of: &HotKey| -> Vec<Cell> {
        let is_weak = of.wait_p99_ns.is_some() && is_weak(99.0, of.acquisitions);
        let p99 = (if is_weak { Kind::Weak } else { Kind::Number }, of.p99());
        vec![
            (Kind::Main, of.key.clone()),
            number(count(of.acquisitions)),
            number(of.share()),
            number(of.mean()),
            p99,
            number(ns(of.wait_max_ns)),
        ]
    };
    let rows: Vec<Vec<Cell>> = keys.iter().take(MOST_HOT_KEYS).map(row).collect();
    out.push_str("<h3>Names that were granted most often</h3>\n");
    table(out, &["name", ">acquisitions", ">of all", ">mean wait", ">p99", ">longest"], &rows);
    let asked = document.quality.hottest_key.as_ref().map(|of| {
        let (asked, hold) = (format::rate(of.requests_per_s), format::setting(of.hold_mean_ns));
        let (key, handoff, rho) = (&of.key, ns(of.handoff_ns), of.rho);
        format!(
            "Planned: {key} is asked for {asked} times per second at the most, each hold {hold} \
             and hand-off {handoff}: {rho:.2} s of lock time per second. From 1 on waits grow for \
             as long as the run lasts."
        )
    });
    note(
        out,
        "Waits count from the planned arrival to the grant; their p99 is exact to 6 %, and known \
         of the first 2 048 names of one machine.",
    );
    asked.iter().for_each(|text| note(out, text));
}
