//! A saved result as Markdown, as GitHub shows it in a job's summary or a comment.

use crate::clock::NS_PER_S;
use crate::document::Document;
use crate::recorder::Metric;
use crate::report::format::{self, count, many, maybe_ns, ns};
use crate::report::rows::{ROWS, Values};
use crate::report::svg::put;
use crate::report::{figures, words, workloads};
use crate::verdict::{Outcome, Safety};

/// Text that stays text: no markup of Markdown or HTML, one line.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => {
                out.push('\\');
                out.push(letter);
            }
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

/// The whole summary.
pub(crate) fn render(document: &Document) -> String {
    let mut out = String::new();
    let Document { run, verdict, config, environment, .. } = document;
    let sign = match verdict.outcome {
        Outcome::Pass => "✅",
        Outcome::Interrupted | Outcome::Invalid => "⚠️",
        _ => "❌",
    };
    let word = format!("{:?}", verdict.outcome).to_uppercase();
    put!(out, "### {sign} {word}: {} (exit {})\n\n", plain(&run.name), verdict.exit_code);
    let target = words::target(config, &environment.target, document.nodes.len());
    put!(out, "{}; {}\n\n", plain(&words::scenario(config)), plain(&target));
    for (word, texts) in [("Why", &verdict.reasons), ("Warning", &verdict.warnings)] {
        for text in texts {
            put!(out, "- **{word}:** {}\n", plain(text));
        }
        if !texts.is_empty() {
            out.push('\n');
        }
    }
    latencies(&mut out, document);
    mix(&mut out, document);
    thresholds(&mut out, document);
    faults(&mut out, document);
    totals(&mut out, document);
    out
}

fn latencies(out: &mut String, document: &Document) {
    let percentiles = &document.config.percentiles;
    out.push_str("| |");
    percentiles.iter().for_each(|p| put!(out, " {} |", format::percentile(*p)));
    out.push_str(" max | n |\n|:--|");
    out.push_str(&"--:|".repeat(percentiles.len() + 2));
    out.push('\n');
    for (metric, name, _) in ROWS {
        if metric == Metric::Hold && !document.config.holds() {
            continue;
        }
        let unfinished = document.totals.unfinished;
        let values = Values::of(metric, unfinished, |metric| document.hist(metric));
        let Some(values) = values else { continue };
        let indent = if name.starts_with(' ') { "&nbsp;&nbsp;" } else { "" };
        put!(out, "| {indent}{} |", plain(name.trim()));
        percentiles.iter().for_each(|&p| put!(out, " {} |", plain(&values.at(p))));
        put!(out, " {} | {} |\n", values.max(), values.count());
    }
    out.push('\n');
}

fn mix(out: &mut String, document: &Document) {
    if document.workloads.is_empty() {
        return;
    }
    out.push_str("| workload |");
    workloads::COLUMNS.iter().for_each(|(head, _)| put!(out, " {head} |"));
    out.push_str("\n|:--|");
    out.push_str(&"--:|".repeat(workloads::COLUMNS.len()));
    out.push('\n');
    for (name, texts) in workloads::rows(&document.workloads) {
        put!(out, "| {} |", plain(&name));
        texts.iter().for_each(|text| put!(out, " {} |", plain(text)));
        out.push('\n');
    }
    out.push('\n');
}

fn thresholds(out: &mut String, document: &Document) {
    if document.thresholds.is_empty() {
        return;
    }
    out.push_str("| threshold | | value | samples |\n|:--|:--|--:|--:|\n");
    for of in &document.thresholds {
        let mark = if of.ok { "✅" } else { "❌" };
        let (expr, shown) = (plain(&of.expr), plain(&of.shown));
        put!(out, "| {expr} | {mark} | {shown} | {} |\n", count(of.samples));
    }
    out.push('\n');
}

fn faults(out: &mut String, document: &Document) {
    if document.faults.is_empty() {
        return;
    }
    out.push_str(
        "| at | fault | detected | no grant (usual) | longest | failed | lost | recovered |\n\
         |--:|:--|--:|--:|--:|--:|--:|--:|\n",
    );
    for fault in &document.faults {
        let recovered = match fault.recovered_ns {
            None => "never".to_owned(),
            Some(0) => "at once".to_owned(),
            Some(value) => format!("+{}", ns(value)),
        };
        put!(
            out,
            "| {:.1}s | {} | {} | {} ({}) | {} | {} | {} | {recovered} |\n",
            fault.begin_ns as f64 / NS_PER_S as f64,
            plain(&figures::fault_label(fault)),
            maybe_ns(fault.detect_ns),
            ns(fault.gap_ns),
            ns(fault.usual_gap_ns),
            maybe_ns(fault.worst_ns),
            count(fault.failed),
            count(fault.lost)
        );
    }
    out.push('\n');
}

fn totals(out: &mut String, document: &Document) {
    let totals = &document.totals;
    let errors = totals.errors;
    let failed = errors.failed();
    let rate = totals.ok_rate.map_or_else(|| "–".to_owned(), format::rate);
    let word = match document.safety.verdict {
        Safety::Holds => "holds",
        Safety::Violated => "**violated**",
        Safety::Expected => "**broken as expected** of these faults",
        Safety::Unknown => "**unknown**",
    };
    put!(
        out,
        "{} locks granted, {rate}/s; {} failed, {} unfinished. Mutual exclusion {word}: {}, {}. \
         Seed {}.\n",
        count(totals.ok),
        count(failed),
        count(totals.unfinished),
        many(document.safety.violation_count, "violation", "violations"),
        many(document.safety.sections, "section", "sections"),
        document.run.seed
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::tests::document;
    use crate::thresholds::Checked;

    #[test]
    fn tables_have_as_many_cells_in_every_row() {
        let mut document = document();
        let expr = "acquire.response.p99<5ms".to_owned();
        document.thresholds = vec![Checked { expr, ok: true, ..Checked::default() }];
        document.run.name = "a|b <b> [x](y)\n# z".to_owned();
        let text = render(&document);
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let mut width = None;
        let mut tables = 0;
        for line in text.lines() {
            if !line.starts_with('|') {
                width = None;
                continue;
            }
            tables += usize::from(width.is_none());
            let here = cells(line);
            assert_eq!(*width.get_or_insert(here), here, "{line}");
        }
        assert_eq!(tables, 3, "{text}");
        let head = text.lines().next().unwrap();
        assert!(head.contains("a\\|b &lt;b> \\[x\\](y) \\# z"), "{head}");
        assert!(text.contains("| acquire response |"), "{text}");
        assert!(text.contains("≥"), "arrivals without an answer make bounds: {text}");
    }
}
