//! The top of the page: the verdict with its reasons, the load in a sentence, the main numbers.

use super::escape;
use crate::document::Document;
use crate::num;
use crate::recorder::Metric;
use crate::report::format::{self, count, many};
use crate::report::rows::Values;
use crate::report::svg::put;
use crate::report::words;
use crate::verdict::{Outcome, Safety};

/// A class of the style sheet, and a sign for those who do not see its colour.
const fn tone(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Pass => ("good", "✔"),
        Outcome::Interrupted | Outcome::Invalid => ("warn", "!"),
        _ => ("bad", "✘"),
    }
}

pub(super) const fn safety_tone(safety: Safety) -> &'static str {
    match safety {
        Safety::Holds => "good",
        Safety::Violated => "bad",
        Safety::Expected | Safety::Unknown => "warn",
    }
}

pub(super) const fn safety_words(safety: Safety) -> &'static str {
    match safety {
        Safety::Holds => "mutual exclusion holds",
        Safety::Violated => "mutual exclusion VIOLATED",
        Safety::Expected => "mutual exclusion broken as expected",
        Safety::Unknown => "mutual exclusion unknown",
    }
}

pub(super) const fn witness_words(safety: Safety) -> &'static str {
    match safety {
        Safety::Holds => "nodes hold what they should",
        Safety::Violated => "nodes DO NOT HOLD what they should",
        Safety::Expected => "nodes have forgotten as expected",
        Safety::Unknown => "nodes unknown",
    }
}

pub(super) const fn fencing_words(safety: Safety) -> &'static str {
    match safety {
        Safety::Holds => "tokens increase",
        Safety::Violated => "tokens OUT OF ORDER",
        Safety::Expected => "tokens out of order as expected",
        Safety::Unknown => "tokens unknown",
    }
}

pub(super) fn banner(out: &mut String, document: &Document) {
    let Document { run, verdict, config, environment, .. } = document;
    let (class, sign) = tone(verdict.outcome);
    let word = format!("{:?}", verdict.outcome).to_uppercase();
    put!(
        out,
        "<header class=\"banner {class}\"><div class=\"row\"><span class=\"word\">{sign} \
         {word}</span><h1>{}</h1><span class=\"when\">{} · exit {}</span></div>\n",
        escape(&run.name),
        escape(&run.started_at),
        verdict.exit_code
    );
    let target = words::target(config, &environment.target, document.nodes.len());
    put!(
        out,
        "<p class=\"load\">{}</p><p class=\"soft\">{}; seed {}, plan {}</p>\n",
        escape(&words::scenario(config)),
        escape(&target),
        run.seed,
        escape(&run.plan_hash)
    );
    out.push_str("<div class=\"chips\">");
    let safety = document.safety.verdict;
    chip(out, safety_tone(safety), safety_words(safety));
    if let Some(fencing) = &document.fencing {
        chip(out, safety_tone(fencing.verdict), fencing_words(fencing.verdict));
    }
    if let Some(witness) = &document.witness {
        chip(out, safety_tone(witness.verdict), witness_words(witness.verdict));
    }
    let valid = document.quality.valid;
    let (class, text) =
        if valid { ("good", "valid measurement") } else { ("warn", "not a valid measurement") };
    chip(out, class, text);
    let thresholds = &document.thresholds;
    if !thresholds.is_empty() {
        let kept = thresholds.iter().filter(|of| of.ok).count();
        let class = if kept == thresholds.len() { "good" } else { "bad" };
        chip(out, class, &format!("{kept} of {} thresholds kept", thresholds.len()));
    }
    if run.interrupted {
        chip(out, "warn", "interrupted");
    }
    if environment.target.test_node {
        chip(out, "warn", "no real server: test nodes");
    }
    if environment.profile == "debug" {
        chip(out, "warn", "debug build");
    }
    for (name, value) in run.labels.iter().take(20) {
        chip(out, "plain", &format!("{name}={value}"));
    }
    out.push_str("</div>\n");
    why(out, document);
    out.push_str("</header>\n");
}

fn chip(out: &mut String, class: &str, text: &str) {
    put!(out, "<span class=\"chip {class}\">{}</span>", escape(text));
}

fn why(out: &mut String, document: &Document) {
    let verdict = &document.verdict;
    if verdict.reasons.is_empty() && verdict.warnings.is_empty() {
        return;
    }
    let (class, _) = tone(verdict.outcome);
    let reasons = verdict.reasons.iter().map(|text| (class, "Why", text));
    let warnings = verdict.warnings.iter().map(|text| ("warn", "Warning", text));
    out.push_str("<ul class=\"why\">\n");
    for (class, word, text) in reasons.chain(warnings) {
        put!(out, "<li class=\"{class}\"><b>{word}</b> {}</li>\n", escape(text));
    }
    out.push_str("</ul>\n");
}

pub(super) fn tiles(out: &mut String, document: &Document) {
    let totals = &document.totals;
    let of = |metric| Values::of(metric, totals.unfinished, |metric| document.hist(metric));
    let (response, service) = (of(Metric::Response), of(Metric::Service));
    let value = |values: &Option<Values>, p| {
        values.as_ref().map_or_else(|| "–".to_owned(), |values| values.at(p))
    };
    let longest = response.as_ref().map_or_else(|| "–".to_owned(), Values::max);
    let errors = totals.errors;
    let failed = errors.failed();
    let violations = document.safety.violation_count;
    let rate = totals.ok_rate.map_or_else(|| "–".to_owned(), format::rate);
    let share = match totals.offered {
        0 => "locks granted per second".to_owned(),
        offered if document.config.is_open_loop() => format!(
            "granted per second, {:.1} % of arrivals",
            100.0 * num::share(totals.ok, offered)
        ),
        _ => "granted per second, closed loop".to_owned(),
    };
    out.push_str("<div class=\"tiles\">\n");
    tile(out, "", &rate, &share);
    let open = document.config.is_open_loop();
    let from = if open { "response p50, from the planned arrival" } else { "response p50" };
    tile(out, "", &value(&response, 50.0), from);
    tile(out, "", &value(&response, 99.0), "response p99");
    tile(out, "", &longest, "longest response");
    tile(out, "", &value(&service, 99.0), "service p99, from the call");
    let class = if failed > 0 { "bad" } else { "" };
    let lost = match (totals.unfinished, errors.lost) {
        (0, 0) => "acquisitions failed".to_owned(),
        (0, lost) => format!("failed; {} after the grant", many(lost, "lock lost", "locks lost")),
        (n, 0) => format!("failed; {} unfinished", count(n)),
        (n, lost) => format!("failed; {} unfinished, {} lost", count(n), count(lost)),
    };
    tile(out, class, &count(failed), &lost);
    let class = if violations > 0 { "bad" } else { "good" };
    let sections = many(document.safety.sections, "section", "sections");
    tile(out, class, &count(violations), &format!("violations in {sections}"));
    out.push_str("</div>\n");
}

fn tile(out: &mut String, class: &str, value: &str, what: &str) {
    put!(
        out,
        "<div class=\"tile {class}\"><div class=\"v\">{}</div><div class=\"k\">{}</div></div>\n",
        escape(&whole_numbers(value)),
        escape(&whole_numbers(what))
    );
}

/// A number of several groups stays in one line.
fn whole_numbers(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let is_digit =
        |at: Option<usize>| at.and_then(|at| letters.get(at)).is_some_and(char::is_ascii_digit);
    let blank = |at: usize| is_digit(at.checked_sub(1)) && is_digit(at.checked_add(1));
    let letter = |(at, &of): (usize, &char)| if of == ' ' && blank(at) { '\u{a0}' } else { of };
    letters.iter().enumerate().map(letter).collect()
}
