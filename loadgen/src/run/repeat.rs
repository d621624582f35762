//! `--repeat`: the same run several times on the same nodes, and how far its figures lie apart.

use serde::Serialize;

use super::RunError;
use super::files;
use crate::args::RunArgs;
use crate::config::RunConfig;
use crate::document::Document;
use crate::report::format::wrapped;
use crate::series::figures::{Figures, Spread};
use crate::series::{self, Series};
use crate::verdict::Outcome;

const SCHEMA: &str = "loadgen.repeat/1";

/// `repeat.json`.
#[derive(Debug, Serialize)]
struct Repeated {
    schema: &'static str,
    argv: Vec<String>,
    interrupted: bool,
    exit_code: u8,
    runs: Vec<One>,
    spread: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct One {
    dir: String,
    outcome: Outcome,
    exit_code: u8,
    reasons: Vec<String>,
    figures: Figures,
}

#[derive(Debug, Serialize)]
struct Row {
    figure: &'static str,
    /// `null`: no run measured it.
    spread: Option<Spread>,
}

impl One {
    fn of(dir: String, document: &Document) -> Self {
        Self {
            dir,
            outcome: document.verdict.outcome,
            exit_code: document.verdict.exit_code,
            reasons: document.verdict.reasons.clone(),
            figures: Figures::of(document),
        }
    }
}

/// Makes the runs; gives back the exit code of the worst one.
pub(super) fn run(args: &RunArgs, config: &RunConfig, name: &str) -> Result<u8, RunError> {
    let mut series = Series::open(args, config, name)?;
    let runs = args.series.repeat;
    let mut done: Vec<One> = Vec::new();
    for number in 1..=runs {
        let (made, left) = (u64::from(number - 1), u64::from(runs - number + 1));
        let left_ns = series::time_left_ns(config, made, left, series.elapsed_ns());
        series.progress(&format!("run {number} of {runs}   {} left", series::about(left_ns)));
        let place = format!("run-{number}");
        match series.run(config, &place) {
            Ok(document) => done.push(One::of(place, &document)),
            // What was measured before is worth a report.
            Err(RunError::Interrupted) if !done.is_empty() => {}
            Err(error) => return Err(error),
        }
        if series.interrupted() {
            break;
        }
    }
    let interrupted = series.interrupted();
    let exit_code = series::worst_exit(done.iter().map(|one| one.exit_code), interrupted);
    let spread = Figures::NAMES.map(|(figure, _, pick)| Row {
        figure,
        spread: Spread::of(done.iter().map(|one| pick(&one.figures))),
    });
    let repeated = Repeated {
        schema: SCHEMA,
        argv: series.argv(),
        interrupted,
        exit_code,
        runs: done,
        spread: spread.into(),
    };
    series.write("repeat.json", &files::json_text(&repeated)?)?;
    let text = render(&repeated, runs, &series);
    files::show(args, &text, &repeated)?;
    Ok(exit_code)
}

fn render(repeated: &Repeated, planned: u32, series: &Series) -> String {
    let made = repeated.runs.len();
    let of =
        if made as u64 == u64::from(planned) { String::new() } else { format!(" of {planned}") };
    let mut text = format!("{made}{of} runs on the same nodes\n\n");
    text.push_str(&format!(
        " {:<22} {:>10} {:>10} {:>10}   apart\n",
        "figure", "median", "lowest", "highest"
    ));
    let kinds = Figures::NAMES.map(|(_, kind, _)| kind);
    for (row, kind) in repeated.spread.iter().zip(kinds) {
        let Some(spread) = row.spread else { continue };
        let cell = |value| kind.text(Some(value));
        let apart =
            spread.width().map_or_else(|| "-".to_owned(), |width| format!("{:.0}%", 100.0 * width));
        let (median, min, max) = (cell(spread.median), cell(spread.min), cell(spread.max));
        let figure = row.figure;
        text.push_str(&format!(" {figure:<22} {median:>10} {min:>10} {max:>10}   {apart:>5}\n"));
    }
    text.push('\n');
    for one in &repeated.runs {
        let word = format!("{:?}", one.outcome).to_uppercase();
        let reasons = one.reasons.join("; ");
        text.push_str(&wrapped(&format!(" {:<8} {word:<12}", one.dir), &reasons));
    }
    text.push_str(&format!(" files    {}\n", series.dir.display()));
    text
}
