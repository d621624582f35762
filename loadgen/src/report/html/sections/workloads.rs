//! The workloads of a mix.

use super::super::table::{Cell, Kind, number, table};
use super::super::{note, section};
use crate::document::Document;
use crate::report::workloads::{COLUMNS, LEGEND, rows};

/// A table of them; nothing of a run that is no mix.
pub(in super::super) fn workloads(out: &mut String, document: &Document) {
    if document.workloads.is_empty() {
        return;
    }
    let about = "What each of them asked for, and what came of it; everything else on this page is \
                 of all together.";
    section(out, "workloads", "Workloads", about);
    let mut headings = vec!["workload".to_owned()];
    headings.extend(COLUMNS.iter().map(|(head, _)| format!(">{head}")));
    headings.push("mode".to_owned());
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let all = rows(&document.workloads).into_iter().zip(&document.workloads);
    let row = |((name, texts), of): ((String, [String; 9]), &crate::document::WorkloadReport)| {
        let mut cells: Vec<Cell> = vec![(Kind::Main, name)];
        cells.extend(texts.into_iter().map(|text| {
            let is_weak = text.starts_with(['~', '≥']);
            if is_weak { (Kind::Weak, text) } else { number(text) }
        }));
        cells.push((Kind::Text, of.mode.clone()));
        cells
    };
    table(out, &headings, &all.map(row).collect::<Vec<_>>());
    note(out, LEGEND);
}
