//! A search as text: a line per probe while it lasts, a table of rates at its end.

use std::fmt::Write as _;

use super::{Found, Probe, Search, Searched};
use crate::report::format::{many, rate, wrapped};
use crate::series::Series;
use crate::series::figures::{Column, Kind, Spread};
use crate::sweep::words;

/// Columns of figures: head, kind, what.
const FIGURES: [Column; 6] = [
    ("achieved", Kind::Rate, |of| of.achieved),
    ("resp.p50", Kind::Time, |of| of.response_p50_ns),
    ("resp.p99", Kind::Time, |of| of.response_p99_ns),
    ("svc.p99", Kind::Time, |of| of.service_p99_ns),
    ("batch", Kind::Number, |of| of.batch),
    ("cpu", Kind::Share, |of| of.cpu_share),
];
/// Rates beside the answer that are worth a row; far ones were one probe each.
const ROWS_AROUND: usize = 8;

pub(super) fn probe_line(number: usize, label: &str, probe: &Probe, search: &Search) -> String {
    let word = if probe.passed { "pass" } else { "fail" };
    let reason = probe.reason.as_deref().map(|text| format!("  {text}")).unwrap_or_default();
    let line = format!(
        "[{number:>3}] {:<12} {label} {:>9}/s  {:>9}  {word}{reason}",
        search.doing(),
        rate(probe.rate),
        probe.value,
    );
    line.chars().take(crate::report::format::COLUMNS).collect()
}

pub(super) fn render(found: &Found, series: &Series) -> String {
    let mut text = format!("highest rate that keeps {}   seed {}\n", found.bound, found.seed);
    for searched in &found.searches {
        text.push('\n');
        if !searched.settings.is_empty() {
            let _ = writeln!(text, " {}", words::label(&searched.settings));
        }
        text.push_str(&table(searched));
        text.push_str(&answer(found, searched));
    }
    if found.interrupted {
        text.push_str("\n interrupted: what is above was measured until then\n");
    }
    let _ = writeln!(text, "\n files    {}", series.dir.display());
    text
}

/// The probes of one rate.
struct Rung<'a> {
    rate: f64,
    probes: Vec<&'a Probe>,
}

fn rungs(searched: &Searched) -> Vec<Rung<'_>> {
    let mut sorted: Vec<&Probe> = searched.probes.iter().collect();
    sorted.sort_by_key(|probe| probe.level);
    let mut rungs: Vec<Rung<'_>> = Vec::new();
    for probe in sorted {
        match rungs.last_mut().filter(|rung| rung.rate.total_cmp(&probe.rate).is_eq()) {
            Some(rung) => rung.probes.push(probe),
            None => rungs.push(Rung { rate: probe.rate, probes: vec![probe] }),
        }
    }
    rungs
}

fn table(searched: &Searched) -> String {
    let rungs = rungs(searched);
    let answer = searched.answer.as_ref().map(|answer| answer.rate);
    let is_answer =
        |rung: &&Rung<'_>| answer.is_some_and(|rate| rate.total_cmp(&rung.rate).is_eq());
    let middle = rungs.iter().position(|rung| is_answer(&rung)).unwrap_or(rungs.len());
    let from = middle.saturating_sub(ROWS_AROUND);
    let rows = rungs.get(from..rungs.len().min(middle + ROWS_AROUND)).unwrap_or_default();
    let mut text = format!(" {:>9}", "rate");
    for (name, ..) in FIGURES {
        let _ = write!(text, " {name:>9}");
    }
    text.push_str("  passed\n");
    for rung in rows {
        let _ = write!(text, " {:>9}", rate(rung.rate));
        for (_, kind, pick) in FIGURES {
            let spread = Spread::of(rung.probes.iter().map(|probe| pick(&probe.figures)));
            let _ = write!(text, " {:>9}", kind.text(spread.map(|spread| spread.median)));
        }
        let passed = rung.probes.iter().filter(|probe| probe.passed).count();
        let mark = if is_answer(&rung) { "  ← highest" } else { "" };
        let _ = writeln!(text, "  {passed} of {}{mark}", rung.probes.len());
    }
    text
}

fn answer(found: &Found, searched: &Searched) -> String {
    let probes = many(searched.probes.len() as u64, "probe", "probes");
    let Some(answer) = &searched.answer else {
        let problem = searched.problem.as_deref().unwrap_or("the search was not finished");
        let mut text = wrapped(" none     ", &format!("{problem} ({probes})"));
        text.push_str(&why(searched, 0.0));
        return text;
    };
    let rough = if answer.is_rough {
        "; this machine is not quiet enough to say it better, longer probes (--duration) may help"
    } else {
        ""
    };
    let mut text = wrapped(
        " found    ",
        &format!(
            "{}/s keeps {} in {} of {} probes; with 80 % certainty the limit lies between {} and \
             {} ({probes}{rough})",
            rate(answer.rate),
            found.bound,
            answer.passed,
            answer.probes,
            rate(answer.from),
            rate(answer.to)
        ),
    );
    text.push_str(&why(searched, answer.rate));
    text
}

/// Why probes above `above` failed, the most frequent reason first.
fn why(searched: &Searched, above: f64) -> String {
    let mut reasons: Vec<(&str, u32)> = Vec::new();
    for probe in searched.probes.iter().filter(|probe| probe.rate > above) {
        let Some(reason) = probe.reason.as_deref() else { continue };
        // Up to the colon: the numbers behind it differ from probe to probe.
        let kind = reason.split_once(": ").map_or(reason, |(kind, _)| kind);
        match reasons.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, n)) => *n += 1,
            None => reasons.push((kind, 1)),
        }
    }
    if reasons.is_empty() {
        return String::new();
    }
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let words: Vec<String> = reasons.iter().map(|(kind, n)| format!("{kind} ({n} ×)")).collect();
    wrapped(" above it ", &words.join(", "))
}
