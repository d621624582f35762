//! A comparison as a table, at most 100 columns.

use std::fmt::Write as _;

use super::differences::Difference;
use super::rows::Row;
use super::{Against, Comparison};
use crate::metrics::Unit;
use crate::report::format::{self, Paint, many};
use crate::statistics::judge::Word;

/// Writing to a string cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

pub(crate) fn text(of: &Comparison, paint: Paint) -> String {
    let mut out = String::new();
    for side in &of.sides {
        let n = many(side.runs.len() as u64, "run", "runs");
        let when = side.started_at.first().map(String::as_str).unwrap_or_default();
        let lead = format!(" {}         ", side.side);
        out.push_str(&format::wrapped(&lead, &format!("{} ({n}, {when})", side.given)));
    }
    list(&mut out, " under test", &of.under_test, paint, false);
    list(&mut out, " differs   ", &of.differences, paint, true);
    for against in &of.against {
        line!(out, "");
        table(&mut out, against, paint);
    }
    line!(out, "");
    let word = of.verdict.text().to_uppercase();
    let reasons = of.reasons.join("; ");
    let gap = if reasons.is_empty() { "" } else { ": " };
    let text = format!("{word}{gap}{reasons} (exit {})", of.exit_code);
    out.push_str(&painted(of.verdict, &format::wrapped(" verdict   ", &text), paint));
    for caution in &of.cautions {
        out.push_str(&paint.warn(&format::wrapped(" caution   ", caution)));
    }
    out
}

fn list(out: &mut String, lead: &str, all: &[Difference], paint: Paint, warn: bool) {
    if all.is_empty() {
        return;
    }
    let one = |d: &Difference| format!("{} {} in A, {} in {}", d.what, d.a, d.b, d.side);
    let text = all.iter().map(one).collect::<Vec<_>>().join("; ");
    let text = format::wrapped(&format!("{lead} "), &text);
    out.push_str(&if warn { paint.warn(&text) } else { text });
}

fn table(out: &mut String, against: &Against, paint: Paint) {
    let (change, interval) = ("change", "95 % interval");
    let side = &against.side;
    line!(out, " {:<33}{:>11}{side:>11}{change:>10}{interval:>18}   verdict", "", "A");
    let mut about = None;
    for row in &against.rows {
        // Under the name of its workload: a line has no room for both.
        let (name, of) = match row.name.split_once("{workload=") {
            Some((name, of)) => (format!("  {name}"), Some(of.trim_end_matches('}'))),
            None => (row.name.clone(), None),
        };
        if of != about {
            line!(
                out,
                "  {}",
                of.map_or_else(|| "all workloads".to_owned(), |of| format!("workload {of}"))
            );
            about = of;
        }
        let (change, interval) = change_of(row);
        let mark = if row.gated { "*" } else { " " };
        let weak = if row.weak { "~" } else { "" };
        let (a, b) = (value(row.a, row.unit), value(row.b, row.unit));
        let name: String = name.chars().take(32).collect();
        let text = format!("{mark}{name:<33}{a:>11}{b:>11}{change:>10}{interval:>18}");
        let word = painted(row.word, row.word.text(), paint);
        line!(out, "{text} {weak:<1} {word}");
    }
}

fn painted(word: Word, text: &str, paint: Paint) -> String {
    match word {
        Word::Better => paint.good(text),
        Word::NoDifference => text.to_owned(),
        Word::Unclear => paint.warn(text),
        Word::Worse => paint.bad(text),
    }
}

fn change_of(row: &Row) -> (String, String) {
    if let Some(ratio) = row.ratio {
        let ends = format!("[{}, {}]", change(ratio.low), change(ratio.high));
        return (change(ratio.estimate), ends.replace(" %", "%"));
    }
    if let Some(points) = row.difference {
        let point = |x: f64| format!("{:+.2}", 100.0 * x);
        let ends = format!("[{}, {}]", point(points.low), point(points.high));
        return (format!("{} pt", point(points.estimate)), ends);
    }
    ("-".to_owned(), "-".to_owned())
}

/// A ratio as a change: `+20 %`, `-3.1 %`; from tenfold on as a multiple.
pub(crate) fn change(ratio: f64) -> String {
    let percent = 100.0 * (ratio - 1.0);
    match percent {
        _ if ratio >= 10.0 => format!("×{ratio:.0}"),
        p if p.abs() < 9.95 => format!("{p:+.1} %"),
        p => format!("{p:+.0} %"),
    }
}

fn value(value: Option<f64>, unit: Unit) -> String {
    match (value, unit) {
        (None, _) => "-".to_owned(),
        // Beside each other, shares are read with the same digits.
        (Some(value), Unit::Share) => format!("{:.2} %", 100.0 * value),
        (Some(value), unit) => unit.show(value),
    }
}
