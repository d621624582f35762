//! `report.html`: one file that needs nothing else, readable without scripts, on paper, in light
//! and in dark.
//!
//! Invariants:
//! 1. It loads nothing: no address in it is fetched.
//! 2. It is a function of the [`Document`] alone, and carries it (see [`embed`]); a baseline that
//!    it was made with is drawn, and not carried.
//! 3. Every text of a user or of a server goes through [`escape`].
//! 4. At most [`MOST_BYTES`] long, however long the run was.

mod embed;
mod head;
mod sections;
mod table;

use crate::document::Document;
use crate::report::figures;
use crate::report::svg::{self, Figure, escape, put};

/// What a report may weigh.
pub(crate) const MOST_BYTES: usize = 300_000;

/// The whole page.
pub(crate) fn render(document: &Document) -> String {
    render_against(document, None)
}

/// The whole page, with what it was before: the response of `baseline` beside that of the run.
pub(crate) fn render_against(document: &Document, baseline: Option<&Document>) -> String {
    let mut body = String::new();
    head::banner(&mut body, document);
    head::tiles(&mut body, document);
    sections::thresholds(&mut body, document);
    sections::machines(&mut body, document);
    contents(&mut body);
    sections::latency(&mut body, document, baseline);
    sections::workloads(&mut body, document);
    sections::throughput(&mut body, document);
    sections::faults(&mut body, document);
    sections::safety(&mut body, document);
    sections::contention(&mut body, document);
    sections::nodes(&mut body, document);
    sections::quality(&mut body, document);
    sections::environment(&mut body, document);
    sections::settings(&mut body, document);
    footer(&mut body, document);
    let title = escape(&format!("{} – loadgen", document.run.name));
    let head = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <meta name=\"color-scheme\" content=\"light dark\"/><title>{title}</title>\
         <style>{}{}</style></head>\n<body>\n",
        svg::STYLE,
        include_str!("page.css")
    );
    let script = include_str!("page.js");
    let tail = format!("<div id=\"tip\"></div>\n<script>{script}</script>\n</body></html>\n");
    // The script reads the result, so the result comes before it.
    let room = MOST_BYTES.saturating_sub(head.len() + body.len() + tail.len());
    format!("{head}{body}{}{tail}", embed::script(document, room))
}

fn contents(out: &mut String) {
    const PLACES: [(&str, &str); 9] = [
        ("latency-over-time", "Latency"),
        ("throughput-over-time", "Throughput"),
        ("faults", "Faults"),
        ("safety", "Safety"),
        ("contention", "Contention"),
        ("nodes", "Nodes"),
        ("quality", "Quality"),
        ("environment", "Environment"),
        ("settings", "Settings"),
    ];
    out.push_str("<nav>");
    for (id, name) in PLACES {
        put!(out, "<a href=\"#{id}\">{name}</a>");
    }
    out.push_str("</nav>\n");
}

fn footer(out: &mut String, document: &Document) {
    let version = escape(&document.environment.loadgen);
    put!(
        out,
        "<footer>Written by loadgen {version}. This page needs no network, and carries the result: \
         <code>loadgen report report.html</code> reads it back.</footer>\n"
    );
}

/// The beginning of a part of the page.
fn section(out: &mut String, id: &str, title: &str, about: &str) {
    put!(out, "<h2 id=\"{id}\">{}</h2>\n", escape(title));
    if !about.is_empty() {
        put!(out, "<p class=\"about\">{}</p>\n", escape(about));
    }
}

/// A figure with what is to be said about it.
fn figure(out: &mut String, figure: Option<Figure>, caption: &str) {
    if let Some(figure) = figure {
        put!(
            out,
            "<figure><div class=\"scroll\">{}</div><figcaption>{}</figcaption></figure>\n",
            figure.inline(),
            escape(caption)
        );
    }
}

fn note(out: &mut String, text: &str) {
    put!(out, "<p class=\"note\">{}</p>\n", escape(text));
}

#[cfg(test)]
mod tests;
