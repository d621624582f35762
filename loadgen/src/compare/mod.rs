//! `loadgen compare A B [C..]`: what changed between runs, how sure that is, and a verdict that a
//! build server can act on.
//!
//! Invariants:
//! 1. A row is better or worse only if its 95 % interval excludes no change *and* the change is
//!    larger than the noise threshold.
//! 2. Runs that differ in more than what is under test are refused, not compared; what is under
//!    test (the engine's settings, the build) is named.
//! 3. A single run says nothing about the next one: its interval contains how much runs of one
//!    build differ, and the report says so.

mod differences;
mod names;
mod rows;
mod show;
mod side;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::metrics::Name;
use crate::report::format::Paint;
use crate::run::RunError;
use crate::statistics::judge::Word;
use crate::verdict::Safety;
pub(crate) use differences::settings;
use rows::Row;
pub(crate) use show::change;
use side::Side;

/// Sides of one comparison.
const MOST_SIDES: usize = 9;

#[derive(Debug, Args)]
#[command(after_help = "\
Several runs of one side: names joined by commas, or a directory whose subdirectories are runs (as \
`loadgen run --repeat` makes). With three or more each, the intervals come from the runs \
themselves; a single run is judged with the spread that runs usually have.

A row is better or worse if its 95 % interval excludes no change and the change is larger than \
--noise. `*` marks the rows of --gate.

Exit codes: 0 no gated row is worse, 1 tool or I/O error, 2 bad usage or runs that cannot be \
compared, 5 a gated row has no value, 6 a gated row is worse, or exclusion was violated.")]
pub(crate) struct CompareArgs {
    /// The baseline, then what is compared with it: a run's directory, its result.json or its
    /// report.html
    #[arg(required = true, num_args = 2.., value_name = "RUNS")]
    runs: Vec<String>,
    /// The smallest change that matters
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = percent)]
    noise: f64,
    /// Rows that decide about the exit code: METRIC.STAT as acquire.response.p99, or a number of
    /// the run as throughput; `none` for no row
    #[arg(
        long,
        value_name = "ROW,..",
        default_value = "acquire.response.p99,throughput,cpu.per_lock"
    )]
    gate: String,
    /// Compare also what should not be compared; the differences are still listed
    #[arg(long)]
    force: bool,
    /// Write the comparison as JSON to FILE as well, - for standard output (the table goes to
    /// stderr)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// No colours (NO_COLOR works as well)
    #[arg(long)]
    no_color: bool,
}

/// `5`, `5%`, `2.5 %` as a share.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let value = number.parse::<f64>().ok().filter(|value| (0.0..=100.0).contains(value));
    value
        .map(|value| value / 100.0)
        .ok_or_else(|| format!("`{text}` is no percentage from 0 to 100; write for example 5%"))
}

/// A whole comparison, as it is written to `--json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    schema: &'static str,
    verdict: Word,
    outcome: Outcome,
    exit_code: u8,
    /// Why the verdict is not "no difference".
    reasons: Vec<String>,
    cautions: Vec<String>,
    noise: f64,
    sides: Vec<side::About>,
    /// What should be equal and is not.
    differences: Vec<differences::Difference>,
    /// What is under test.
    under_test: Vec<differences::Difference>,
    against: Vec<Against>,
}

/// One side against the baseline.
#[derive(Clone, Debug, Serialize)]
struct Against {
    side: String,
    verdict: Word,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Pass,
    Regression,
    /// A gated row has no value.
    Invalid,
}

/// Compares, prints and gives back the exit code.
pub(crate) fn run(args: &CompareArgs) -> Result<u8, RunError> {
    let gate = gate(&args.gate).map_err(RunError::Usage)?;
    if args.runs.len() > MOST_SIDES {
        let text = format!("{} sides are too many; compare at most {MOST_SIDES}", args.runs.len());
        return Err(RunError::Usage(text));
    }
    let letters = ('A'..='Z').map(String::from);
    let sides = letters.zip(&args.runs).map(|(letter, given)| Side::load(letter, given));
    let sides = sides.collect::<Result<Vec<_>, _>>()?;
    let found = differences::find(&sides);
    if !found.differences.is_empty() && !args.force {
        return Err(RunError::Usage(differences::refusal(&found.differences)));
    }
    let comparison = compare(&sides, &gate, args.noise, found);
    let paint = !args.no_color
        && std::env::var_os("NO_COLOR").is_none()
        && std::io::IsTerminal::is_terminal(&std::io::stdout());
    write(args.json.as_deref(), &comparison, Paint(paint))?;
    Ok(comparison.exit_code)
}

fn gate(list: &str) -> Result<Vec<Name>, String> {
    if list == "none" {
        return Ok(Vec::new());
    }
    list.split(',')
        .map(|name| Name::parse(name.trim()).map_err(|e| format!("--gate: {e}")))
        .collect()
}

fn compare(sides: &[Side], gate: &[Name], noise: f64, found: differences::Found) -> Comparison {
    let mut names = names::usual();
    let first = sides.first().and_then(|side| side.runs.first());
    names.extend(first.map(|run| names::of_workloads(&run.document)).unwrap_or_default());
    let more: Vec<Name> = gate.iter().filter(|name| !names.contains(name)).copied().collect();
    names.extend(more);
    let (base, others) = match sides.split_first() {
        Some((base, others)) => (Some(base), others),
        None => (None, &[][..]),
    };
    let mut reasons = Vec::new();
    let mut is_blind = false;
    let mut against = Vec::new();
    for (base, other) in others.iter().filter_map(|other| Some((base?, other))) {
        let row = |name: &Name| Row::of(*name, base, other, gate.contains(name), noise);
        let rows: Vec<Row> = names.iter().filter_map(row).collect();
        let mut verdict = of_rows(&rows);
        for row in rows.iter().filter(|row| row.gated && row.word != Word::NoDifference) {
            reasons.push(format!("{}: {}", other.letter, row.says()));
            is_blind |= row.has_no_value();
        }
        if other.violates() && !base.violates() {
            verdict = Word::Worse;
            reasons.push(format!("{}: mutual exclusion was violated", other.letter));
        }
        against.push(Against { side: other.letter.clone(), verdict, rows });
    }
    let verdict = overall(against.iter().map(|one| one.verdict));
    let (outcome, exit_code) = match verdict {
        Word::Worse => (Outcome::Regression, 6),
        _ if is_blind => (Outcome::Invalid, 5),
        _ => (Outcome::Pass, 0),
    };
    Comparison {
        schema: "loadgen.compare/1",
        verdict,
        outcome,
        exit_code,
        reasons,
        cautions: cautions(sides, &against),
        noise,
        sides: sides.iter().map(Side::about).collect(),
        differences: found.differences,
        under_test: found.under_test,
        against,
    }
}

/// The worst of the gated rows; where none is worse, the best.
fn of_rows(rows: &[Row]) -> Word {
    overall(rows.iter().filter(|row| row.gated).map(|row| row.word))
}

fn overall(words: impl Iterator<Item = Word>) -> Word {
    let words: Vec<Word> = words.collect();
    let any = |word| words.contains(&word);
    [Word::Worse, Word::Unclear, Word::Better]
        .into_iter()
        .find(|&word| any(word))
        .unwrap_or(Word::NoDifference)
}

fn cautions(sides: &[Side], against: &[Against]) -> Vec<String> {
    let mut cautions = Vec::new();
    let fewest = sides.iter().map(|side| side.runs.len()).min().unwrap_or(0);
    if fewest == 1 {
        cautions.push(format!(
            "a side is a single run: its intervals assume that runs of one build differ by {}; \
             make several with `loadgen run --repeat 5` to measure that instead",
            rows::floors()
        ));
    } else if fewest == 2 {
        cautions.push(
            "two runs tell little about a third one, so the intervals are wide; use \
             `loadgen run --repeat 5`"
                .to_owned(),
        );
    }
    if sides.iter().flat_map(|side| &side.runs).any(|run| fewest == 1 && !run.has_log()) {
        cautions.push(
            "a run has no latency.hlog beside its result: how much it varied within itself is \
             estimated from its totals"
                .to_owned(),
        );
    }
    let rows = against.iter().flat_map(|one| &one.rows).filter(|row| row.gated);
    let hidden: Vec<String> = rows
        .filter_map(|row| Some((row, row.hidden().filter(|hidden| *hidden > 0.1)?)))
        .map(|(row, hidden)| format!("{:.0} % in {}", 100.0 * hidden, row.name))
        .collect();
    if !hidden.is_empty() {
        cautions.push(format!(
            "smaller changes than these would not have shown: {}; more runs see smaller ones",
            hidden.join(", ")
        ));
    }
    if sides.iter().any(|side| side.safety() == Safety::Unknown) {
        let text = "of a run, the checker could not decide whether exclusion held; see its report";
        cautions.push(text.to_owned());
    }
    cautions
}

fn write(to: Option<&Path>, comparison: &Comparison, paint: Paint) -> Result<(), RunError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        RunError::Tool(format!("cannot write {what}: {error}"))
    };
    let json = || {
        let mut json = serde_json::to_vec_pretty(comparison)
            .map_err(|error| failed("the comparison as JSON", &error))?;
        json.push(b'\n');
        Ok(json)
    };
    // A reader that closed its end has seen enough; the exit code says the rest.
    match to {
        Some(path) if path == Path::new("-") => {
            let _ = std::io::stdout().write_all(&json()?);
            let _ = std::io::stderr().write_all(show::text(comparison, Paint(false)).as_bytes());
            return Ok(());
        }
        Some(path) => {
            let what = format!("`{}`", path.display());
            std::fs::write(path, json()?).map_err(|error| failed(&what, &error))?;
        }
        None => {}
    }
    let _ = std::io::stdout().write_all(show::text(comparison, paint).as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests;
