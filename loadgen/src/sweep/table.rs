//! A sweep as a table for the terminal.

use std::fmt::Write as _;

use super::{Point, Sweep};
use crate::report::format::{COLUMNS, Paint, many, wrapped};
use crate::series::figures::{Column, Kind};

/// Columns of figures: head, kind, what.
const FIGURES: [Column; 6] = [
    ("ok/s", Kind::Rate, |of| of.throughput),
    ("resp.p50", Kind::Time, |of| of.response_p50_ns),
    ("resp.p99", Kind::Time, |of| of.response_p99_ns),
    ("svc.p99", Kind::Time, |of| of.service_p99_ns),
    ("batch", Kind::Number, |of| of.batch),
    ("cpu", Kind::Share, |of| of.cpu_share),
];

pub(super) fn render(sweep: &Sweep, paint: Paint) -> String {
    let names: Vec<&str> = sweep
        .points
        .first()
        .map(|point| point.settings.iter().map(|(name, _)| name.as_str()).collect())
        .unwrap_or_default();
    let width = |at: usize, name: &str| {
        let cells = sweep.points.iter().filter_map(|point| point.settings.get(at));
        let widest = cells.map(|(_, value)| value.chars().count()).max().unwrap_or(0);
        widest.max(name.chars().count()).min(24)
    };
    let widths: Vec<usize> = names.iter().enumerate().map(|(at, name)| width(at, name)).collect();
    let mut text = String::new();
    let points = many(sweep.points.len() as u64, "point", "points");
    let rounds = many(sweep.rounds.into(), "round", "rounds");
    let _ = writeln!(text, "sweep of {points} in {rounds}   seed {}\n", sweep.seed);
    let mut head = String::new();
    for (name, width) in names.iter().zip(&widths) {
        let _ = write!(head, " {name:>width$}");
    }
    for (name, ..) in FIGURES {
        let _ = write!(head, " {name:>9}");
    }
    head.push_str("  p99 ±  ok?");
    text.push_str(&paint.dim(&clip(&head)));
    text.push('\n');
    let mut notes: Vec<String> = Vec::new();
    for point in &sweep.points {
        let mut line = String::new();
        for ((_, value), width) in point.settings.iter().zip(&widths) {
            let _ = write!(line, " {:>width$}", value.chars().take(24).collect::<String>());
        }
        for (_, kind, pick) in FIGURES {
            let _ = write!(line, " {:>9}", kind.text(pick(&point.figures)));
        }
        let _ = write!(line, " {:>6}  ", around(point));
        let line = clip(&line);
        let word = word(point, &mut notes);
        let word = if point.valid { paint.good(&word) } else { paint.bad(&word) };
        let _ = writeln!(text, "{line}{word}{}", knee_mark(sweep, point));
    }
    for (number, note) in notes.iter().enumerate() {
        if number == 0 {
            text.push('\n');
        }
        text.push_str(&wrapped(&format!(" ({})  ", number + 1), note));
    }
    text.push_str(&knees(sweep));
    if sweep.interrupted {
        text.push_str("\n interrupted: what is above was measured until then\n");
    }
    text
}

/// Half the distance between the rounds of a point, of their median.
fn around(point: &Point) -> String {
    let spread = point.spread.iter().find(|(name, _)| *name == "acquire.response.p99");
    let width = spread.and_then(|(_, spread)| *spread).and_then(|spread| spread.width());
    match width {
        Some(width) if point.runs.len() > 1 => format!("{:.0}%", 50.0 * width),
        _ => "-".to_owned(),
    }
}

fn word(point: &Point, notes: &mut Vec<String>) -> String {
    if point.runs.is_empty() {
        return "not measured".to_owned();
    }
    if point.valid && point.reasons.is_empty() {
        return "✔".to_owned();
    }
    let reason = point.reasons.join("; ");
    // The same reason with other numbers is worth a note of its own.
    let number = match notes.iter().position(|note| *note == reason) {
        Some(at) => at + 1,
        None => {
            notes.push(reason);
            notes.len()
        }
    };
    let bad = point.runs.iter().filter(|one| one.exit_code != 0).count();
    let runs = point.runs.len();
    let of = if runs > 1 { format!(" {bad} of {runs}") } else { String::new() };
    let is_unsafe = point.runs.iter().any(|one| one.exit_code == 4);
    match (is_unsafe, point.valid) {
        (true, _) => format!("✘ UNSAFE{of} ({number})"),
        (false, true) => format!("✔ but{of} ({number})"),
        (false, false) => format!("✘{of} ({number})"),
    }
}

fn knee_mark(sweep: &Sweep, point: &Point) -> &'static str {
    let is_knee = |settings: &Vec<_>| *settings == point.settings;
    let knees = sweep.knees.iter().filter_map(|knee| knee.settings.as_ref());
    if knees.into_iter().any(is_knee) { "  ← knee" } else { "" }
}

fn knees(sweep: &Sweep) -> String {
    let mut text = String::new();
    let (bent, straight): (Vec<_>, Vec<_>) =
        sweep.knees.iter().partition(|knee| knee.settings.is_some());
    if !bent.is_empty() {
        text.push_str(&wrapped(
            "\n knee     ",
            "beyond it, more load costs more latency than it brings throughput (highest locks per \
             second over p99)",
        ));
    }
    if bent.is_empty() && !straight.is_empty() {
        text.push_str("\n no knee between these points\n");
    }
    text
}

fn clip(line: &str) -> String {
    line.chars().take(COLUMNS - 4).collect()
}
