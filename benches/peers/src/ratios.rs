//! The rates of one run divided by each other.

use std::fmt::Write;

use crate::peer::{Flavour, Library, Peer};
use crate::report::{Report, Row};

/// Each peer against the ceiling.
pub(crate) fn over_probe(rows: &[Row]) -> String {
    let mut text =
        String::from("Against the probe (rate: share of its; p50, client CPU: times its)\n");
    let _ = writeln!(
        text,
        "{:>5} {:>5} {:<11} {:>6} {:>8} {:>8}",
        "nodes", "tasks", "peer", "rate", "acq p50", "cli CPU"
    );
    let mut is_empty = true;
    for row in rows.iter().filter(|row| row.peer != Peer::PROBE) {
        let Some(probe) = find(rows, row, Peer::PROBE) else { continue };
        is_empty = false;
        let (one, probe) = (&row.median, &probe.median);
        let _ = writeln!(
            text,
            "{:>5} {:>5} {:<11} {:>6.2} {:>8.2} {:>8.1}",
            row.nodes,
            row.tasks,
            row.peer,
            one.cycles_per_s / probe.cycles_per_s,
            one.acquire_p50_us / probe.acquire_p50_us,
            one.client_cpu_us / probe.client_cpu_us
        );
    }
    text.push('\n');
    if is_empty { String::new() } else { text }
}

/// redlatch against each peer on the same runtime, and the faster flavour of both.
pub(crate) fn over_peers(report: &Report, rows: &[Row]) -> String {
    let mut text = String::from(
        "redlatch over each peer: ratio of the median rates (lowest to highest inside one \
         repetition)\n",
    );
    let _ = writeln!(
        text,
        "{:>5} {:>5} {:<8} {:<20} {:<20} {:<20}",
        "nodes", "tasks", "peer", "both -mt", "both -ct", "faster flavours"
    );
    let mut is_empty = true;
    for cell in cells(rows) {
        for library in [Library::Rslock, Library::Redisrs, Library::Fred] {
            let ratio = |ours: Option<&Row>, theirs: Option<&Row>| match (ours, theirs) {
                (Some(ours), Some(theirs)) => {
                    is_empty = false;
                    ratio(report, ours, theirs)
                }
                _ => "-".to_owned(),
            };
            let of = |library, flavour| in_cell(rows, cell, Peer { library, flavour });
            let columns = [
                (of(Library::Redlatch, Flavour::MultiThread), of(library, Flavour::MultiThread)),
                (
                    of(Library::Redlatch, Flavour::CurrentThread),
                    of(library, Flavour::CurrentThread),
                ),
                (faster(rows, cell, Library::Redlatch), faster(rows, cell, library)),
            ];
            if columns.iter().all(|(ours, theirs)| ours.is_none() || theirs.is_none()) {
                continue;
            }
            let [both_mt, both_ct, best] = columns;
            let mut ratio = ratio;
            let (both_mt, both_ct, best) =
                (ratio(both_mt.0, both_mt.1), ratio(both_ct.0, both_ct.1), ratio(best.0, best.1));
            let _ = writeln!(
                text,
                "{:>5} {:>5} {:<8} {both_mt:<20} {both_ct:<20} {best:<20}",
                cell.0,
                cell.1,
                library.name()
            );
        }
    }
    text.push('\n');
    if is_empty { String::new() } else { text }
}

/// The ratio of the medians, and the range of the ratios of neighbours in time.
fn ratio(report: &Report, ours: &Row, theirs: &Row) -> String {
    let their_rates = report.rates(theirs.nodes, theirs.tasks, theirs.peer);
    let paired: Vec<f64> = report
        .rates(ours.nodes, ours.tasks, ours.peer)
        .into_iter()
        .filter_map(|(rep, rate)| {
            let (_, their) = their_rates.iter().find(|(their_rep, _)| *their_rep == rep)?;
            (*their > 0.0).then_some(rate / their)
        })
        .collect();
    let lowest = paired.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = paired.iter().copied().fold(0.0, f64::max);
    let of_medians = ours.median.cycles_per_s / theirs.median.cycles_per_s;
    format!("{of_medians:.2} ({lowest:.2}-{highest:.2})")
}

fn cells(rows: &[Row]) -> Vec<(usize, usize)> {
    let mut cells: Vec<_> = rows.iter().map(|row| (row.nodes, row.tasks)).collect();
    cells.dedup();
    cells
}

fn in_cell(rows: &[Row], cell: (usize, usize), peer: Peer) -> Option<&Row> {
    rows.iter().find(|row| (row.nodes, row.tasks) == cell && row.peer == peer)
}

fn find<'a>(rows: &'a [Row], same: &Row, peer: Peer) -> Option<&'a Row> {
    in_cell(rows, (same.nodes, same.tasks), peer)
}

fn faster(rows: &[Row], cell: (usize, usize), library: Library) -> Option<&Row> {
    rows.iter()
        .filter(|row| (row.nodes, row.tasks) == cell && row.peer.library == library)
        .max_by(|one, other| one.median.cycles_per_s.total_cmp(&other.median.cycles_per_s))
}
