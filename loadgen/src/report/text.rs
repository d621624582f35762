//! The report people read: at most 100 columns, the sample count beside every row of percentiles,
//! `~` where fewer than 10 samples lie above one, and something to do after every warning.

use std::fmt::Write as _;

use super::RunResult;
use super::contention::hottest_lines;
use super::faults;
use super::format::{self, COLUMNS, Paint, count, many, maybe_ns, ns};
use super::json::key_name;
use super::{words, workloads};
use crate::clock::NS_PER_S;
use crate::history::Keep;
use crate::num;
use crate::recorder::{Hist, Metric};
use crate::verdict::{Outcome, Safety};

/// The whole report.
pub(crate) fn render(run: &RunResult, paint: Paint) -> String {
    let mut out = String::new();
    banner(&mut out, run, paint);
    load(&mut out, run, paint);
    latency::table(&mut out, run);
    out.push_str(&workloads::text(&workloads::reports(run)));
    contention(&mut out, run);
    busiest(&mut out, run);
    nodes(&mut out, run);
    out.push_str(&faults::table::render(&run.faults));
    safety(&mut out, run, paint);
    quality(&mut out, run, paint);
    thresholds::lines(&mut out, &run.thresholds, paint);
    files(&mut out, run);
    out
}

/// Writing to a string cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

// Below the macro, which it uses.
mod latency;
mod thresholds;
mod witness;

fn banner(out: &mut String, run: &RunResult, paint: Paint) {
    let word = match run.verdict.outcome {
        Outcome::Pass => "PASS",
        Outcome::Unsafe => "UNSAFE",
        Outcome::Invalid => "INVALID",
        Outcome::Threshold => "FAIL",
        Outcome::Interrupted => "INTERRUPTED",
    };
    let right = format!("{word} ═ exit {}", run.verdict.exit_code);
    let name: String = run.config.name.chars().take(40).collect();
    let used = 6 + name.chars().count() + 1 + right.chars().count() + 4;
    let rule = "═".repeat(COLUMNS.saturating_sub(used));
    let painted = match run.verdict.outcome {
        Outcome::Pass => paint.good(&right),
        _ => paint.bad(&right),
    };
    line!(out, "════ {name} {rule} {painted} ══");
    for reason in &run.verdict.reasons {
        out.push_str(&paint.bad(&format::wrapped(" why       ", reason)));
    }
    line!(out, "");
}

fn load(out: &mut String, run: &RunResult, paint: Paint) {
    let text = words::scenario(&run.config);
    out.push_str(&format::wrapped(" load      ", &text));
    let target = words::target(&run.config, &run.about, run.nodes.len());
    out.push_str(&format::wrapped(" on        ", &target));
    if run.about.test_node {
        let text = "NO REAL SERVER: these are redlatch's own test nodes, one process each. Install \
                    valkey-server or redis-server to measure a server.";
        out.push_str(&paint.warn(&format::wrapped(" test node ", text)));
    }
    out.push_str(&format::wrapped(" achieved  ", &achieved(run)));
    line!(out, "");
}

fn achieved(run: &RunResult) -> String {
    let all = &run.all_counts;
    let share = if run.config.is_open_loop() && run.offered > 0 {
        format!(" ({:.1} %)", 100.0 * num::share(run.counts.finished(), run.offered))
    } else {
        String::new()
    };
    let mut text = format!("{}/s{share}, {} ok", format::rate(run.achieved_rate()), count(all.ok));
    for (n, what) in [
        (all.timeout, ["timeout", "timeouts"]),
        (all.no_quorum, ["no quorum"; 2]),
        (all.quarantined, ["quarantined"; 2]),
        (all.busy, ["busy"; 2]),
        (all.lost, ["lost"; 2]),
        (all.other, ["other error", "other errors"]),
        (all.release_unconfirmed, ["release unconfirmed", "releases unconfirmed"]),
    ] {
        if n > 0 {
            let [one, more] = what;
            let _ = write!(text, ", {}", many(n, one, more));
        }
    }
    let _ = write!(text, ", {} unfinished", count(run.unfinished));
    if run.unfinished > 0 && run.oldest_unfinished_ns > 0 {
        let _ = write!(text, " (oldest {})", ns(run.oldest_unfinished_ns));
    }
    let _ = write!(text, "; plan {}, seed {}", run.plan_hash, run.config.seed);
    text
}

fn contention(out: &mut String, run: &RunResult) {
    let attempts = run.totals.get(Metric::Attempts);
    let mut lead = " contention";
    for text in run.contention.words(run.nodes.len(), attempts) {
        out.push_str(&format::wrapped(&format!("{lead:<12}"), &text));
        lead = "";
    }
    if let Some(text) = run.fairness.words(run.config.processes) {
        out.push_str(&format::wrapped(" fairness   ", &text));
        line!(out, "");
    }
}

fn busiest(out: &mut String, run: &RunResult) {
    let lines = hottest_lines(&run.contention.hottest_keys, run.config.names());
    for text in &lines {
        line!(out, "{text}");
    }
    if !lines.is_empty() {
        line!(out, "");
    }
}

fn nodes(out: &mut String, run: &RunResult) {
    if run.nodes.is_empty() {
        return;
    }
    line!(
        out,
        " {:<6}{:<26}{:>16}{:>12}{:>8}{:>10}{:>12}",
        "node",
        "address",
        "rtt p50/p99",
        "commands",
        "batch",
        "timeouts",
        "reconnects"
    );
    for node in &run.nodes {
        let address: String = node.url.chars().take(25).collect();
        let rtt = format!("{}/{}", maybe_ns(node.rtt_p50_ns), maybe_ns(node.rtt_p99_ns));
        let batch = if node.writes == 0 {
            "–".to_owned()
        } else {
            format!("{:.1}", num::share(node.commands, node.writes))
        };
        let text = format!(
            " {:<6}{address:<26}{rtt:>16}{:>12}{batch:>8}{:>10}{:>12}",
            format!("n{}", node.id),
            count(node.commands),
            node.timeouts,
            node.reconnects
        );
        line!(out, "{}", text.chars().take(COLUMNS).collect::<String>());
        if !node.up {
            let votes = node.quarantine_ns.map(|left| format!(", votes in {}", ns(left)));
            let state = format!("{}{} at the end", node.state, votes.unwrap_or_default());
            out.push_str(&format::wrapped("       ", &state));
        }
    }
    if let Some(text) = run.cost.words(run.nodes.len()) {
        out.push_str(&format::wrapped(" cost      ", &text));
    }
    line!(out, "");
}

fn safety(out: &mut String, run: &RunResult, paint: Paint) {
    let findings = &run.findings;
    let word = match run.verdict.safety {
        Safety::Holds => paint.good("mutual exclusion HOLDS"),
        Safety::Violated => paint.bad("mutual exclusion VIOLATED"),
        Safety::Expected => paint.warn("mutual exclusion VIOLATED AS EXPECTED"),
        Safety::Unknown => paint.warn("mutual exclusion UNKNOWN"),
    };
    let counters = match (findings.lost_updates, findings.torn_reads) {
        (0, 0) => "counters exact".to_owned(),
        (0, n) => many(n, "counter changed under a reader", "counters changed under readers"),
        (n, _) => format!("{} lost", many(n, "counter update", "counter updates")),
    };
    line!(
        out,
        " safety    {word}   {} on {}",
        many(findings.sections, "section", "sections"),
        many(run.config.names(), "key", "keys")
    );
    line!(
        out,
        "           {}, {}, {} unresolved, {counters}",
        many(findings.violations, "violation", "violations"),
        many(findings.overruns, "overrun", "overruns"),
        findings.unresolved
    );
    if let Some(order) = run.verdict.fencing {
        fencing(out, run, order, paint);
    }
    if let (Some(seen), Some(verdict)) = (&run.witness, run.verdict.witness) {
        out.push_str(&witness::lines(seen, verdict, paint));
    }
    // Before the measured start, in the warm-up, instants are negative.
    let second = |at: u64| (at as f64 - run.measured_ns as f64) / NS_PER_S as f64;
    let processes = run.config.processes.max(1);
    for violation in findings.examples.iter().take(5) {
        let (held, granted) = (violation.held, violation.granted);
        let word = |at: usize| match violation.classes.get(at) {
            Some(class) if run.config.spaces().crowded_cells() > 0 => format!(" {}", class.word()),
            _ => String::new(),
        };
        let text = format!(
            "`{}` held{} by client {} of process {} from {:.6}s, and granted{} to client {} of \
             process {} at {:.6}s",
            key_name(&run.config, violation.key),
            word(0),
            held.client,
            held.client % processes,
            second(held.begin_ns),
            word(1),
            granted.client,
            granted.client % processes,
            second(granted.begin_ns)
        );
        out.push_str(&format::wrapped("           ", &text));
    }
}

fn fencing(out: &mut String, run: &RunResult, order: Safety, paint: Paint) {
    let tokens = run.findings.tokens;
    let word = match order {
        Safety::Holds => paint.good("tokens INCREASE"),
        Safety::Violated => paint.bad("tokens OUT OF ORDER"),
        Safety::Expected => paint.warn("tokens OUT OF ORDER AS EXPECTED"),
        Safety::Unknown => paint.warn("tokens UNKNOWN"),
    };
    line!(
        out,
        " fencing   {word}   {} checked, {}, highest {}",
        many(tokens.checked, "grant", "grants"),
        many(tokens.violations, "violation", "violations"),
        tokens.highest
    );
    if let Some(share) = run.one_trip_share() {
        let uncontended = run.uncontended();
        line!(
            out,
            "           {:.2} % of {} took one round trip",
            100.0 * share,
            many(uncontended, "uncontended acquisition", "uncontended acquisitions")
        );
    }
}

fn quality(out: &mut String, run: &RunResult, paint: Paint) {
    let lag = run.totals.at(Metric::SchedLag, 99.0);
    let lag = lag.map(|lag| format!("lag p99 {}, ", ns(lag))).unwrap_or_default();
    let burst = run.quality.mean_burst;
    let burst = burst.map(|burst| format!("{burst:.1} arrivals per wake, ")).unwrap_or_default();
    let late = run.totals.at(Metric::HoldLate, 50.0);
    let late = late.map(|late| format!("holds {} too long at p50, ", ns(late))).unwrap_or_default();
    let hiccup = maybe_ns(run.totals.get(Metric::Hiccup).map(Hist::max));
    let text = format!(
        "{lag}{burst}{late}cpu {:.0} %, longest stall of the machine {hiccup}",
        run.quality.cpu_pct
    );
    out.push_str(&format::wrapped(" quality   ", &text));
    out.extend(run.calibration.words().map(|text| format::wrapped("           ", &text)));
    for warning in &run.verdict.warnings {
        out.push_str(&paint.warn(&format::wrapped(" warning   ", warning)));
    }
    for text in run.failure_texts.iter().take(3) {
        out.push_str(&paint.dim(&format::wrapped(" error     ", text)));
    }
}

fn files(out: &mut String, run: &RunResult) {
    let history = if run.config.history == Keep::None { "" } else { "  history.bin" };
    let scenario = if run.has_scenario { "  scenario.toml" } else { "" };
    // Not wrapped: a path must stay in one piece to be copied.
    line!(out, " files     {}/", run.dir.display());
    line!(out, "           report.html  report.txt  result.json  series.csv  events.jsonl");
    line!(out, "           acquire.hgrm  latency.hlog{scenario}{history}");
}

#[cfg(test)]
pub(crate) mod tests;
