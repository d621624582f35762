//! `loadgen check`: judges a saved history again, by other code than the checker of the run, and
//! says whether the two agree.
//!
//! Classes: a *violation* is two must-hold intervals of one name that exclude each other and
//! overlap; an *overrun* is a client that worked on after its validity; a violation is *expected*
//! where the faults broke what quorum locks assume; *unknown* is what the history cannot tell.

pub(crate) mod assumptions;
mod judge;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::history::{self, History, Keep};
use crate::report::format::{self, count, many};
use crate::run::RunError;
use crate::verdict::Safety;
use judge::Found;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 exclusion held, 1 tool or I/O error, 2 no history, 4 exclusion or the order of \
tokens was violated, 5 the history cannot tell or disagrees with the run's own verdict.")]
pub(crate) struct CheckArgs {
    /// A run's directory (of `loadgen run --history full`), or its history.bin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Count a violation also where the faults broke what quorum locks assume
    #[arg(long)]
    strict: bool,
    /// Write what was found as JSON to FILE as well, - for standard output
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// What became of it.
#[derive(Clone, Debug, Serialize)]
struct Checked {
    schema: &'static str,
    verdict: Safety,
    exit_code: u8,
    /// The run's own checker found the same.
    agrees: bool,
    reasons: Vec<String>,
    /// Names held, sections of them.
    holds: u64,
    keys: u64,
    violations: u64,
    token_violations: u64,
    overruns: u64,
    /// What the faults broke.
    assumptions_broken: Vec<String>,
    /// Sections of the run that are not in the history.
    left_out: Option<u64>,
    online: history::Online,
    examples: Vec<judge::Example>,
}

/// Checks, prints and gives back the exit code.
pub(crate) fn run(args: &CheckArgs) -> Result<u8, RunError> {
    let file = if args.file.is_dir() { args.file.join("history.bin") } else { args.file.clone() };
    let history = history::read(&file).map_err(|error| {
        RunError::Usage(format!(
            "cannot check `{}`: {error}; a run keeps a history with --history full",
            file.display()
        ))
    })?;
    let checked = check(history, args.strict);
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = &args.json {
        let failed =
            |error: &dyn std::fmt::Display| RunError::Tool(format!("cannot write JSON: {error}"));
        let mut json = serde_json::to_vec_pretty(&checked).map_err(|error| failed(&error))?;
        json.push(b'\n');
        if to_stdout {
            let _ = std::io::stdout().write_all(&json);
        } else {
            std::fs::write(path, &json).map_err(|error| failed(&error))?;
        }
    }
    // A reader that closed its end has seen enough.
    let text = text(&checked);
    let _ = match to_stdout {
        true => std::io::stderr().write_all(text.as_bytes()),
        false => std::io::stdout().write_all(text.as_bytes()),
    };
    Ok(checked.exit_code)
}

fn check(history: History, strict: bool) -> Checked {
    let History { head, records, stopped_ns } = history;
    let permits = head.config.spaces().permits();
    let holds = records.len() as u64;
    let sections: std::collections::BTreeSet<_> =
        records.iter().map(|record| (record.client, record.generation)).collect();
    let sections = sections.len() as u64;
    let found = judge::judge(records, &permits);
    let broken = assumptions::broken(&head.config, head.nodes);
    let is_whole = head.config.history == Keep::Full && stopped_ns.is_none();
    let left_out =
        (head.config.history == Keep::Full).then(|| head.online.sections.saturating_sub(sections));
    let is_whole = is_whole && left_out == Some(0);
    let online = head.online;
    let mut reasons = Vec::new();
    let violated = found.violations > 0;
    let unordered = online.fencing.is_some() && found.token_violations > 0;
    if violated {
        let n = many(found.violations, "section", "sections");
        reasons.push(format!("{n} overlapped another that had to exclude it"));
    }
    if unordered {
        let n = many(found.token_violations, "token was", "tokens were");
        reasons.push(format!("{n} not above an earlier one of the same name"));
    }
    let agrees = agrees(&found, online, is_whole);
    if !agrees {
        reasons.push(format!(
            "the run's own checker said otherwise: {} and {}",
            many(online.violations, "violation", "violations"),
            many(online.token_violations, "token out of order", "tokens out of order")
        ));
    }
    if !is_whole {
        reasons
            .push(incomplete(stopped_ns.map(|at| at.saturating_sub(head.measured_ns)), left_out));
    }
    let is_expected = violated && !strict && !head.config.strict && !broken.is_empty();
    let verdict = match (violated, agrees) {
        (true, _) if is_expected => Safety::Expected,
        (true, _) => Safety::Violated,
        (false, false) => Safety::Unknown,
        (false, true) => Safety::Holds,
    };
    let exit_code = match verdict {
        Safety::Violated => 4,
        _ if unordered => 4,
        _ if !agrees => 5,
        _ => 0,
    };
    let Found { violations, token_violations, overruns, keys, examples } = found;
    Checked {
        schema: "loadgen.check/1",
        verdict,
        exit_code,
        agrees,
        reasons,
        holds,
        keys,
        violations,
        token_violations,
        overruns,
        assumptions_broken: broken,
        left_out,
        online,
        examples,
    }
}

/// Where all sections are there, both have to find something or nothing. In a part of them, what
/// was found was there to be found; what was not may be in the rest.
fn agrees(found: &Found, online: history::Online, is_whole: bool) -> bool {
    let pair = |offline: u64, online: u64| match (offline > 0, online > 0) {
        (true, false) => false,
        (false, true) => !is_whole,
        _ => true,
    };
    pair(found.violations, online.violations)
        && (online.fencing.is_none() || pair(found.token_violations, online.token_violations))
}

fn incomplete(stopped_ns: Option<u64>, left_out: Option<u64>) -> String {
    let end = match stopped_ns {
        Some(at) => format!("; a process had no room left {} into the run", format::ns(at)),
        None => String::new(),
    };
    match left_out {
        Some(n) => {
            format!("of the run, {} not in the history{end}", many(n, "section is", "sections are"))
        }
        None => format!(
            "the history is a sample: it can show violations, not that there were none{end}"
        ),
    }
}

fn text(of: &Checked) -> String {
    let mut out = String::new();
    let word = match of.verdict {
        Safety::Holds => "HOLDS",
        Safety::Violated => "VIOLATED",
        Safety::Expected => "VIOLATED AS EXPECTED",
        Safety::Unknown => "UNKNOWN",
    };
    let text = format!(
        "mutual exclusion {word}: {} on {}, {}, {} (exit {})",
        many(of.holds, "hold", "holds"),
        many(of.keys, "key", "keys"),
        many(of.violations, "violation", "violations"),
        many(of.overruns, "overrun", "overruns"),
        of.exit_code
    );
    out.push_str(&format::wrapped(" check     ", &text));
    for reason in &of.reasons {
        out.push_str(&format::wrapped(" why       ", reason));
    }
    for broken in &of.assumptions_broken {
        out.push_str(&format::wrapped(" assumption", &format!(" broken: {broken}")));
    }
    for example in &of.examples {
        let _ = writeln!(
            out,
            " key {:<8} client {} held it from {} to {}, client {} from {} to {} ns",
            example.cell,
            example.held.client,
            example.held.begin_ns,
            example.held.end_ns,
            example.granted.client,
            example.granted.begin_ns,
            example.granted.end_ns
        );
    }
    let run = format!(
        "the run's own checker {}: {} sections, {}",
        if of.agrees { "agrees" } else { "DISAGREES" },
        count(of.online.sections),
        many(of.online.violations, "violation", "violations")
    );
    out.push_str(&format::wrapped(" online    ", &run));
    out
}

#[cfg(test)]
mod tests;
