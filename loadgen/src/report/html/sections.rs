//! The parts of the page under the verdict, each with the figures and tables that belong together.

mod baseline;
mod contention;
mod machine;
mod witness;
mod workloads;

use super::head::{fencing_words, safety_tone, safety_words};
use super::table::{Cell, Kind, number, table};
use super::{escape, figure, figures, note, section};
use crate::clock::NS_PER_S;
use crate::document::Document;
use crate::num;
use crate::recorder::Metric;
use crate::report::contention::Pings;
use crate::report::format::{self, count, many, maybe_ns, ns};
use crate::report::rows::{ROWS, Trust, Values};
use crate::report::svg::put;
use crate::thresholds::Checked;

pub(super) use contention::contention;
pub(super) use machine::{environment, machines, quality, settings};
pub(super) use workloads::workloads;

pub(super) fn latency(out: &mut String, document: &Document, baseline: Option<&Document>) {
    let about = "Response counts from the planned arrival, service from the call: the difference \
                 is time spent waiting for a client, and belongs to what a user feels.";
    section(out, "latency-over-time", "Latency", about);
    latencies(out, document, baseline);
    let caption = "Every answer, by the instant of its grant and by its length; darker is more \
                   (brighter, on dark ground). Shaded: faults, from begin to heal. Triangles: the \
                   first grant after the longest gap of a fault; bars: stalls of the machine; \
                   diamonds: violations.";
    figure(out, figures::latency(document), caption);
    out.push_str(
        "<p class=\"note hint\" hidden=\"hidden\">Point at a figure for the values of an instant, \
         drag over it to look closer, press Esc or click twice for the whole run; click a legend \
         to hide a line.</p>\n",
    );
    let caption = "Every step to the right leaves a tenth of the answers. Dashed where fewer than \
                   10 lie above; each line ends at its longest.";
    figure(out, figures::percentiles(document, baseline), caption);
}

fn latencies(out: &mut String, document: &Document, baseline: Option<&Document>) {
    let percentiles = &document.config.percentiles;
    let mut headings = vec!["".to_owned()];
    headings.extend(percentiles.iter().map(|p| format!(">{}", format::percentile(*p))));
    headings.extend([">max", ">n", ""].map(ToOwned::to_owned));
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let unfinished = document.totals.unfinished;
    let attempts = document.attempts.contended_mean.map(|mean| format!("{mean:.2} attempts"));
    let mut rows = Vec::new();
    for (metric, name, about) in ROWS {
        if metric == Metric::Hold && !document.config.holds() {
            continue;
        }
        let values = Values::of(metric, unfinished, |metric| document.hist(metric));
        let Some(values) = values else { continue };
        let kind = if name.starts_with(' ') { Kind::Sub } else { Kind::Main };
        let mut row: Vec<Cell> = vec![(kind, name.trim().to_owned())];
        row.extend(percentiles.iter().map(|&p| {
            let (value, trust) = values.at_ns(p);
            let kind = if trust == Trust::Full { Kind::Number } else { Kind::Weak };
            (kind, format!("{}{}", trust.mark(), ns(value)))
        }));
        row.extend([number(values.max()), number(values.count())]);
        let about = match metric {
            Metric::Contended => attempts.clone().unwrap_or_default(),
            Metric::Response | Metric::Service if !document.config.is_open_loop() => String::new(),
            _ => about.to_owned(),
        };
        row.push((Kind::Text, about));
        rows.push(row);
        if let (Some(baseline), Metric::Response | Metric::Service) = (baseline, metric) {
            rows.extend(baseline::row(document, baseline, metric));
        }
    }
    if rows.is_empty() {
        note(out, "Nothing was acquired in the measured time.");
        return;
    }
    table(out, &headings, &rows);
    let mut words = "~ fewer than 10 samples lie above this value".to_owned();
    if unfinished > 0 {
        let arrivals = many(unfinished, "arrival", "arrivals");
        words.push_str(&format!("; ≥ at least: {arrivals} had no answer when the run ended"));
    }
    note(out, &words);
    if let Some(baseline) = baseline {
        note(out, &baseline::words(document, baseline));
    }
}

pub(super) fn throughput(out: &mut String, document: &Document) {
    let totals = &document.totals;
    let rate = |rate: Option<f64>| rate.map_or_else(|| "–".to_owned(), format::rate);
    let about = format!(
        "{} arrivals, {}/s; {} answered, {}/s; {} granted, {}/s.",
        count(totals.offered),
        rate(totals.offered_rate),
        count(totals.ok + totals.errors.busy + failed(document)),
        rate(totals.achieved_rate),
        count(totals.ok),
        rate(totals.ok_rate)
    );
    section(out, "throughput-over-time", "Throughput", &about);
    let caption = "Arrivals are counted when they are handed over, answers when they come. In \
                   flight is what waits for a client or for a lock, at the end of each interval.";
    figure(out, figures::throughput(document), caption);
    let errors = totals.errors;
    let kinds = [
        (errors.timeout, "timed out"),
        (errors.no_quorum, "no quorum of nodes answered"),
        (errors.quarantined, "too few nodes may vote"),
        (errors.other, "another error"),
        (errors.busy, "refused: held by another (an answer, no error)"),
        (errors.lost, "granted, and lost before the release"),
        (totals.release_unconfirmed, "released, and no quorum confirmed it"),
        (totals.unfinished, "unfinished when the run ended"),
    ];
    let rows: Vec<Vec<Cell>> = kinds
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| {
            let share = 100.0 * num::share(n, totals.offered);
            vec![(Kind::Text, what.to_owned()), number(count(n)), number(format!("{share:.3} %"))]
        })
        .collect();
    if !rows.is_empty() {
        table(out, &["what went otherwise", ">n", ">of arrivals"], &rows);
    }
    for text in totals.failure_texts.iter().take(8) {
        put!(out, "<pre>{}</pre>\n", escape(text));
    }
}

pub(super) fn thresholds(out: &mut String, document: &Document) {
    if document.thresholds.is_empty() {
        return;
    }
    let row = |of: &Checked| -> Vec<Cell> {
        let (kind, word) = if of.ok { (Kind::Good, "✔ kept") } else { (Kind::Bad, "✘ failed") };
        vec![
            (Kind::Main, of.expr.clone()),
            (kind, word.to_owned()),
            number(of.shown.clone()),
            number(if of.samples == 0 { "–".to_owned() } else { count(of.samples) }),
        ]
    };
    let rows: Vec<Vec<Cell>> = document.thresholds.iter().map(row).collect();
    table(out, &["threshold", "", ">value", ">samples"], &rows);
}

fn failed(document: &Document) -> u64 {
    let errors = document.totals.errors;
    errors.failed()
}

pub(super) fn faults(out: &mut String, document: &Document) {
    if document.faults.is_empty() {
        section(out, "faults", "Faults", "None were carried out.");
        return;
    }
    let about = "Detected: the first sign of the fault. No grant: the longest time without one \
                 that overlaps it, beside what is usual. Recovered: p99 as before, for 300 ms. \
                 Node back: connected again, after the heal.";
    section(out, "faults", "Faults", about);
    let second = |at: u64| format!("{:.1}s", at as f64 / NS_PER_S as f64);
    let after = |value: Option<u64>| match value {
        None => (Kind::WarnNumber, "never".to_owned()),
        Some(0) => number("at once"),
        Some(value) => number(format!("+{}", ns(value))),
    };
    let row = |fault: &crate::report::faults::FaultReport| -> Vec<Cell> {
        let lasted = fault.end_ns.map(|end| ns(end.saturating_sub(fault.begin_ns)));
        let sign = fault.detect_by.map(|sign| format!(" {sign:?}").to_lowercase());
        let bad = |n: u64| if n > 0 { Kind::BadNumber } else { Kind::Number };
        let (failed, lost) = (bad(fault.failed), bad(fault.lost));
        vec![
            number(second(fault.begin_ns)),
            (Kind::Main, figures::fault_label(fault)),
            number(lasted.unwrap_or_else(|| "to the end".to_owned())),
            number(format!("{}{}", maybe_ns(fault.detect_ns), sign.unwrap_or_default())),
            number(format!("{} ({})", ns(fault.gap_ns), ns(fault.usual_gap_ns))),
            number(maybe_ns(fault.worst_ns)),
            (failed, count(fault.failed)),
            (lost, count(fault.lost)),
            after(fault.recovered_ns),
            after(fault.node_back_ns),
        ]
    };
    let rows: Vec<Vec<Cell>> = document.faults.iter().map(row).collect();
    let headings = [
        ">at",
        "fault",
        ">for",
        ">detected",
        ">no grant (usual)",
        ">longest",
        ">failed",
        ">lost",
        ">recovered",
        ">node back",
    ];
    table(out, &headings, &rows);
    returns(out, document);
}

/// How nodes came back that may have forgotten locks.
fn returns(out: &mut String, document: &Document) {
    let second = |at: u64| format!("{:.1}s", at as f64 / NS_PER_S as f64);
    let maybe = |at: Option<u64>| at.map_or_else(|| "–".to_owned(), second);
    let nodes = document.faults.iter().flat_map(|fault| &fault.nodes);
    let rows: Vec<Vec<Cell>> = nodes
        .filter(|node| node.quarantined_ns.is_some())
        .map(|node| {
            vec![
                (Kind::Main, format!("n{}", node.node)),
                number(second(node.hit_ns)),
                number(maybe(node.back_ns)),
                number(maybe_ns(node.quarantined_ns)),
                number(maybe(node.votes_ns)),
            ]
        })
        .collect();
    if !rows.is_empty() {
        note(out, "Nodes that may have forgotten locks vote again when every older lock is over:");
        table(out, &["node", ">hit at", ">back at", ">quarantined for", ">votes again at"], &rows);
    }
}

pub(super) fn safety(out: &mut String, document: &Document) {
    let safety = &document.safety;
    let about = "Every section is checked against every other of its name: two that exclude each \
                 other and overlap, from the return of the guard to its release or the end of its \
                 validity, are a violation. A counter behind every lock checks the checker.";
    section(out, "safety", "Safety", about);
    let good = |is_good: bool| if is_good { Kind::Good } else { Kind::Bad };
    let counters = match (safety.lost_updates, safety.torn_reads) {
        (0, 0) => "exact".to_owned(),
        (lost, torn) => format!("{} lost, {} torn", count(lost), count(torn)),
    };
    let mut rows = vec![
        vec![
            (Kind::Main, "mutual exclusion".to_owned()),
            (tone_kind(safety_tone(safety.verdict)), safety_words(safety.verdict).to_owned()),
            (
                Kind::Text,
                format!(
                    "{}, {} on {}",
                    many(safety.violation_count, "violation", "violations"),
                    many(safety.sections, "section", "sections"),
                    many(safety.keys, "name", "names")
                ),
            ),
        ],
        vec![
            (Kind::Main, "guarded counters".to_owned()),
            (good(safety.counter_exact), counters),
            (Kind::Text, format!("{} not judged", many(safety.unjudged_keys, "name", "names"))),
        ],
        vec![
            (Kind::Main, "overruns".to_owned()),
            (Kind::Text, count(safety.overruns)),
            (Kind::Text, "grants that came back with no validity left".to_owned()),
        ],
        vec![
            (Kind::Main, "unresolved".to_owned()),
            (Kind::Text, count(safety.unresolved)),
            (Kind::Text, "overlaps whose sections could not be read back".to_owned()),
        ],
    ];
    if let Some(fencing) = &document.fencing {
        let once = fencing.one_round_trip_share;
        let once = once.map(|share| format!("; {:.2} % in one round trip", 100.0 * share));
        rows.push(vec![
            (Kind::Main, "fencing".to_owned()),
            (tone_kind(safety_tone(fencing.verdict)), fencing_words(fencing.verdict).to_owned()),
            (
                Kind::Text,
                format!(
                    "{} checked, highest {}{}",
                    many(fencing.checked, "token", "tokens"),
                    fencing.highest_token,
                    once.unwrap_or_default()
                ),
            ),
        ]);
    }
    rows.extend(witness::row(document));
    table(out, &["check", "verdict", ""], &rows);
    witness::examples(out, document);
    let caption = "Blue: who held it. Orange: who was granted it meanwhile. Red: both at once.";
    figure(out, figures::violations(document), caption);
}

fn tone_kind(tone: &str) -> Kind {
    match tone {
        "good" => Kind::Good,
        "bad" => Kind::Bad,
        _ => Kind::Warn,
    }
}

pub(super) fn nodes(out: &mut String, document: &Document) {
    if document.nodes.is_empty() {
        section(out, "nodes", "Nodes", "This lock has none.");
        return;
    }
    let about = "Round trips as the slowest process saw them; PING by the node's own connection, \
                 every 25 ms, without the library. Commands per write is the batch: how many \
                 commands went to the node in one piece.";
    section(out, "nodes", "Nodes and batching", about);
    let away = figures::away_ns(document);
    // Older results have the median alone.
    let contention = &document.contention;
    let ping = |at: usize, of: fn(&Pings) -> u64| {
        number(maybe_ns(contention.ping_ns_by_node.get(at).copied().flatten().as_ref().map(of)))
    };
    let median = |at: usize| contention.ping_p50_ns_by_node.get(at).copied().flatten();
    let row = |(at, node): (usize, &crate::report::NodeReport)| -> Vec<Cell> {
        let batch = match node.writes {
            0 => "–".to_owned(),
            writes => format!("{:.1}", num::share(node.commands, writes)),
        };
        let away = away.get(at).copied().filter(|&away| away > 0);
        let state = if node.up { Kind::Good } else { Kind::Warn };
        vec![
            (Kind::Main, format!("n{}", node.id)),
            (Kind::Address, node.url.clone()),
            (state, node.state.clone()),
            number(maybe_ns(node.rtt_p50_ns)),
            number(maybe_ns(node.rtt_p99_ns)),
            number(maybe_ns(median(at))),
            ping(at, |of| of.p90),
            ping(at, |of| of.p99),
            ping(at, |of| of.max),
            number(count(node.commands)),
            number(batch),
            number(count(node.timeouts)),
            number(count(node.reconnects)),
            number(maybe_ns(away)),
        ]
    };
    let rows: Vec<Vec<Cell>> = document.nodes.iter().enumerate().map(row).collect();
    let headings = [
        "node",
        "address",
        "at the end",
        ">rtt p50",
        ">p99",
        ">ping p50",
        ">p90",
        ">p99",
        ">max",
        ">commands",
        ">batch",
        ">timeouts",
        ">reconnects",
        ">away",
    ];
    table(out, &headings, &rows);
    let caption = "Round trips as the slowest process saw them, of one in 64: where there were \
                   few, p99 is the longest. The area is the mean \
                   batch, by ratio: its bottom is one command per write.";
    figure(out, figures::nodes(document), caption);
    if let Some(text) = document.cost_per_acquisition.words(document.nodes.len()) {
        note(out, &text);
    }
}
