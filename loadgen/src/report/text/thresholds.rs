//! The thresholds of a run and what became of them, a line each.

use std::fmt::Write as _;

use crate::report::format::{COLUMNS, Paint, many};
use crate::thresholds::Checked;

/// Room for an expression, so that the values stand below each other.
const WIDTH: usize = 44;

pub(super) fn lines(out: &mut String, all: &[Checked], paint: Paint) {
    for (at, checked) in all.iter().enumerate() {
        let lead = if at == 0 { " threshold " } else { "           " };
        let value = match checked.samples {
            0 => checked.shown.clone(),
            n => format!("{}  of {}", checked.shown, many(n, "sample", "samples")),
        };
        let room = COLUMNS.saturating_sub(lead.len() + 2);
        let text: String = format!("{:<WIDTH$} {value}", checked.expr).chars().take(room).collect();
        let mark = if checked.ok { paint.good("✔") } else { paint.bad("✘") };
        let _ = writeln!(out, "{lead}{mark} {text}");
    }
}
