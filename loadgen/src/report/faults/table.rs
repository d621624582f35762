//! The faults of a run as a table for people: one line each, whatever their number, and one more
//! for every node that came back without its memory.

use std::fmt::Write as _;

use super::{FaultReport, Return, Sign};
use crate::clock::NS_PER_S;
use crate::report::format::{self, maybe_ns, ns};

/// One column beyond the longest kind on two nodes, `drop-requests n2,n4`; what stands behind it
/// has one to spare.
const WHAT_COLUMNS: usize = 20;

/// Empty without faults.
pub(crate) fn render(faults: &[FaultReport]) -> String {
    let mut out = String::new();
    if faults.is_empty() {
        return out;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        " {:>6}  {:<WHAT_COLUMNS$}{:>12}{:>9}{:>9}{:>8}{:>8}{:>5}{:>10}{:>10}",
        "fault",
        "what",
        "detect",
        "no grant",
        "(usual)",
        "worst",
        "failed",
        "lost",
        "recovered",
        "node back"
    );
    for fault in faults {
        row(&mut out, fault);
        for node in fault.nodes.iter().filter(|node| node.quarantined_ns.is_some()) {
            out.push_str(&format::wrapped("           ", &returned(node)));
        }
    }
    out.push('\n');
    out
}

fn row(out: &mut String, fault: &FaultReport) {
    let at = fault.begin_ns as f64 / NS_PER_S as f64;
    let at = if at < 1e3 { format!("{at:.1}s") } else { format!("{at:.0}s") };
    let sign = match fault.detect_by {
        Some(Sign::Node) => " node",
        Some(Sign::Error) => " error",
        Some(Sign::Latency) => " slow",
        None => "",
    };
    let after = |value: Option<u64>| match value {
        None => "never".to_owned(),
        Some(0) => "at once".to_owned(),
        Some(value) => format!("+{}", ns(value)),
    };
    // A process of the load is no node.
    let back = if fault.targets.is_empty() { "–".to_owned() } else { after(fault.node_back_ns) };
    let _ = writeln!(
        out,
        " {at:>6}  {:<WHAT_COLUMNS$}{:>12}{:>9}{:>9}{:>8}{:>8}{:>5}{:>10}{back:>10}",
        what(fault),
        format!("{}{sign}", maybe_ns(fault.detect_ns)),
        ns(fault.gap_ns),
        format!("({})", ns(fault.usual_gap_ns)),
        maybe_ns(fault.worst_ns),
        fault.failed,
        fault.lost,
        after(fault.recovered_ns),
    );
}

/// `kill n2`, `latency n1,n4`, `client-pause p2 (3)`, 3 being the locks that the process held; less
/// where that is too long.
fn what(fault: &FaultReport) -> String {
    let nodes = fault.targets.iter().map(|node| format!("n{node}"));
    let all: Vec<String> =
        nodes.chain(fault.processes.iter().map(|process| format!("p{process}"))).collect();
    let held = fault.held.map(|held| format!(" ({held})")).unwrap_or_default();
    let named = format!("{} {}", fault.kind, all.join(","));
    let counted = format!("{} {} of them", fault.kind, all.len());
    let fits = |text: &String| text.chars().count() <= WHAT_COLUMNS;
    let all = [format!("{named}{held}"), named, counted];
    all.into_iter().find(fits).unwrap_or_else(|| fault.kind.chars().take(WHAT_COLUMNS).collect())
}

/// How a node came back that may have forgotten locks.
fn returned(node: &Return) -> String {
    let second = |at: u64| format!("{:.1}s", at as f64 / NS_PER_S as f64);
    let maybe = |at: Option<u64>| at.map_or_else(|| "–".to_owned(), second);
    let votes = match node.votes_ns {
        Some(at) => format!("votes again at {}", second(at)),
        None => "not voting at the end".to_owned(),
    };
    format!(
        "n{} hit at {}, back at {}, quarantined for {}, {votes}",
        node.node,
        second(node.hit_ns),
        maybe(node.back_ns),
        maybe_ns(node.quarantined_ns)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: &str, targets: &[usize], processes: &[usize]) -> FaultReport {
        FaultReport {
            fault: String::new(),
            kind: kind.to_owned(),
            targets: targets.to_vec(),
            processes: processes.to_vec(),
            held: (!processes.is_empty()).then_some(12),
            begin_ns: 1_234 * NS_PER_S,
            end_ns: Some(1_240 * NS_PER_S),
            detect_ns: Some(123_456_789),
            detect_by: Some(Sign::Error),
            gap_ns: 123_456_789,
            usual_gap_ns: 123_456_789,
            worst_ns: Some(12_345_678_901),
            failed: 1_234_567,
            lost: 1_234,
            recovered_ns: Some(12_345_678_901),
            node_back_ns: None,
            nodes: vec![Return {
                node: 3,
                hit_ns: 1,
                back_ns: None,
                quarantined_ns: Some(3 * NS_PER_S),
                votes_ns: None,
            }],
        }
    }

    #[test]
    fn the_widest_rows_fit_and_every_fault_has_its_own() {
        let kinds = crate::faults::FaultKind::ALL.map(crate::faults::FaultKind::name);
        let mut faults: Vec<_> = kinds.iter().map(|kind| report(kind, &[2, 4], &[])).collect();
        faults.push(report("latency", &[1, 2, 3, 4, 5, 6, 7, 8, 9], &[]));
        faults.push(report("client-pause", &[], &[2]));
        let text = render(&faults);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
        assert!(text.contains("drop-requests n2,n4 "), "{text}");
        assert!(text.contains("latency 9 of them "), "{text}");
        assert!(text.contains("client-pause p2 (12)"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("  1234s ")).count(), faults.len());
        assert_eq!(render(&[]), "");
    }
}
