//! The tables of figures; 150 columns at most.

use std::fmt::Write;

use crate::report::{Report, Row};

pub(crate) fn cycles(rows: &[Row]) -> String {
    let mut text = String::from(
        "Acquire+release on a key per task: medians; latencies and CPU in us; commands, reads and \
         writes per cycle, all nodes\n",
    );
    let _ = writeln!(
        text,
        "{:>5} {:>5} {:<11} {:>9} {:>6} | {:>8} {:>8} {:>8} {:>8} | {:>7} {:>7} | {:>6} {:>6} \
         {:>6} {:>6} | {:>6} {:>5}",
        "nodes",
        "tasks",
        "peer",
        "cycles/s",
        "spread",
        "acq p50",
        "acq p99",
        "p99.9",
        "cyc p50",
        "cli CPU",
        "srv CPU",
        "cmds",
        "reads",
        "writes",
        "cmd/rd",
        "other%",
        "err"
    );
    let mut previous = None;
    for row in rows {
        separate(&mut text, &mut previous, row);
        let one = &row.median;
        let _ = writeln!(
            text,
            "{:>5} {:>5} {:<11} {:>9.0} {:>5.0}% | {:>8} {:>8} {:>8} {:>8} | {:>7.1} {:>7.1} | \
             {:>6.2} {:>6.2} {:>6.2} {:>6.1} | {:>6.0} {:>5}",
            row.nodes,
            row.tasks,
            row.peer,
            one.cycles_per_s,
            row.spread_percent,
            duration(one.acquire_p50_us),
            duration(one.acquire_p99_us),
            duration(one.acquire_p999_us),
            duration(one.cycle_p50_us),
            one.client_cpu_us,
            one.server_cpu_us,
            one.commands,
            one.reads,
            one.writes,
            commands_per_read(row),
            one.others_cpu_percent.max(0.0),
            one.errors
        );
    }
    text.push('\n');
    text
}

pub(crate) fn handovers(report: &Report, rows: &[Row]) -> String {
    let processes = match report.processes {
        1 => "one process".to_owned(),
        count => format!("{count} processes"),
    };
    let mut text = format!(
        "All tasks on one key, in {processes}, hold {}: medians; starved tasks and broken \
         exclusion as sums over the repetitions\n",
        if report.hold_us > 0.0 { unit(report.hold_us) } else { "0".to_owned() }
    );
    let _ = writeln!(
        text,
        "{:>5} {:>5} {:<11} {:>10} {:>6} {:>6} {:>6} | {:>7} {:>8} {:>7} {:>7} | {:>5} {:>7} \
         {:>6} | {:>7} {:>7} {:>7} | {:>6} {:>5}",
        "nodes",
        "tasks",
        "peer",
        "handover/s",
        "spread",
        "pass %",
        "cross%",
        "hold",
        "wait p50",
        "p99",
        "max",
        "Jain",
        "starved",
        "broken",
        "cmds",
        "cli CPU",
        "srv CPU",
        "other%",
        "err"
    );
    let mut previous = None;
    for row in rows {
        separate(&mut text, &mut previous, row);
        let one = &row.median;
        let contended = one.handover.clone().unwrap_or_default();
        let _ = writeln!(
            text,
            "{:>5} {:>5} {:<11} {:>10.0} {:>5.0}% {:>6.1} {:>6.1} | {:>7} {:>8} {:>7} {:>7} | \
             {:>5.3} {:>7} {:>6} | {:>7.1} {:>7.1} {:>7.1} | {:>6.0} {:>5}",
            row.nodes,
            row.tasks,
            row.peer,
            one.cycles_per_s,
            row.spread_percent,
            100.0 * contended.passed_on,
            100.0 * contended.crossed,
            duration(contended.hold_us),
            duration(one.acquire_p50_us),
            duration(one.acquire_p99_us),
            duration(1e3 * contended.max_wait_ms),
            contended.jain,
            contended.starved,
            contended.violations,
            one.commands,
            one.client_cpu_us,
            one.server_cpu_us,
            one.others_cpu_percent.max(0.0),
            one.errors
        );
    }
    text.push('\n');
    text
}

/// What went wrong, by cell; nothing where nothing did.
pub(crate) fn errors(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let one = &row.median;
        let violations = one.handover.as_ref().map_or(0, |contended| contended.violations);
        if one.errors == 0 && one.keys_left == 0 && violations == 0 {
            continue;
        }
        let first = one.first_error.as_deref().unwrap_or("-");
        let _ = writeln!(
            text,
            "NOT CLEAN: {} nodes, {} tasks, {}: {} errors (first: {first}), {} keys left, {} \
             times two holders",
            row.nodes, row.tasks, row.peer, one.errors, one.keys_left, violations
        );
    }
    if text.is_empty() {
        text.push_str("No errors, no keys left behind, every peer's lock seen from outside.\n");
    }
    text
}

pub(crate) fn commands_per_read(row: &Row) -> f64 {
    if row.median.reads > 0.0 { row.median.commands / row.median.reads } else { 0.0 }
}

/// A blank line between cells.
fn separate(text: &mut String, previous: &mut Option<(usize, usize)>, row: &Row) {
    let cell = (row.nodes, row.tasks);
    if previous.replace(cell).is_some_and(|previous| previous != cell) {
        text.push('\n');
    }
}

/// For a sentence, with its unit.
fn unit(us: f64) -> String {
    if us < 1e3 { format!("{us} us") } else { format!("{} ms", us / 1e3) }
}

/// Microseconds, `m` for milliseconds, `s` for seconds: three digits are worth printing.
fn duration(us: f64) -> String {
    match us {
        us if us < 100.0 => format!("{us:.1}"),
        us if us < 10_000.0 => format!("{us:.0}"),
        us if us < 1e6 => format!("{:.1}m", us / 1e3),
        us => format!("{:.2}s", us / 1e6),
    }
}
