//! `loadgen report`: a saved result shown again, in the format that is wanted.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{figures, hgrm, html, markdown, tabular};
use crate::document::{self, Document};
use crate::recorder::Metric;
use crate::run::RunError;

/// Results in one call at most.
const MOST_RESULTS: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The text report that was written with the run
    Text,
    /// The page with all figures
    Html,
    /// Tables for a job's summary: >> "$GITHUB_STEP_SUMMARY"
    Md,
    /// The series, one line per 100 ms
    Csv,
    /// Percentiles of the response, as HdrHistogram's tools read them
    Hgrm,
    /// Every figure as a file of its own, into the directory -o
    Svg,
}

/// Arguments of `loadgen report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Results: a run's directory, its result.json or its report.html
    #[arg(value_name = "RESULT", required = true)]
    results: Vec<PathBuf>,
    /// What to make of it
    #[arg(short, long, value_name = "FORMAT", default_value = "text",
          conflicts_with_all = ["md", "svg"])]
    format: Format,
    /// Where to write it [default: standard output]
    #[arg(short, long, value_name = "PATH", conflicts_with = "svg")]
    out: Option<PathBuf>,
    /// The same as --format md
    #[arg(long, conflicts_with = "svg")]
    md: bool,
    /// The same as --format svg -o DIR
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

/// Shows results again; the exit code is 0.
pub(crate) fn run(args: &ReportArgs) -> Result<u8, RunError> {
    let format = match (args.md, &args.svg) {
        (true, _) => Format::Md,
        (_, Some(_)) => Format::Svg,
        _ => args.format,
    };
    let out = args.svg.as_ref().or(args.out.as_ref());
    let is_one = args.results.len() == 1;
    if args.results.len() > MOST_RESULTS {
        let text = format!("{} results are too many; at most {MOST_RESULTS}", args.results.len());
        return Err(RunError::Usage(text));
    }
    if !is_one && !matches!(format, Format::Text | Format::Md) {
        let text = "this format is of one result; give one, or take --format text or md";
        return Err(RunError::Usage(text.to_owned()));
    }
    if format == Format::Svg {
        let Some(dir) = out else {
            let text = "--format svg makes several files; say where with -o DIR";
            return Err(RunError::Usage(text.to_owned()));
        };
        return args.results.iter().try_for_each(|path| drawings(&load(path)?, dir)).map(|()| 0);
    }
    let mut bytes = Vec::new();
    for (at, path) in args.results.iter().enumerate() {
        if at > 0 {
            bytes.push(b'\n');
        }
        bytes.extend(one(format, path)?);
    }
    match out {
        Some(path) => save(path, &bytes)?,
        // A reader that closed its end has seen enough.
        None => drop(io::stdout().write_all(&bytes)),
    }
    Ok(0)
}

fn load(path: &Path) -> Result<Document, RunError> {
    document::load(path).map_err(|error| RunError::Tool(error.to_string()))
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    std::fs::write(path, bytes)
        .map_err(|error| RunError::Tool(format!("cannot write `{}`: {error}", path.display())))
}

fn one(format: Format, path: &Path) -> Result<Vec<u8>, RunError> {
    Ok(match format {
        Format::Text => text(path)?,
        Format::Html => html::render(&load(path)?).into_bytes(),
        Format::Md => markdown::render(&load(path)?).into_bytes(),
        Format::Csv => tabular::csv(&load(path)?).into_bytes(),
        Format::Hgrm => percentiles(&load(path)?)?,
        Format::Svg => Vec::new(),
    })
}

/// The text report lies beside the result. It is checked that it belongs to a result.
fn text(path: &Path) -> Result<Vec<u8>, RunError> {
    load(path)?;
    let dir = if path.is_dir() { path } else { path.parent().unwrap_or_else(|| Path::new("")) };
    let file = dir.join("report.txt");
    std::fs::read(&file).map_err(|error| {
        RunError::Tool(format!(
            "cannot read the text report `{}`: {error}; --format md needs the result alone",
            file.display()
        ))
    })
}

fn percentiles(document: &Document) -> Result<Vec<u8>, RunError> {
    let hist = document.hist(Metric::Response).filter(|hist| !hist.is_empty());
    let hist = hist.ok_or_else(|| RunError::Tool("the result has no response in it".to_owned()))?;
    let mut table = Vec::new();
    hgrm::write(&mut table, &hist)
        .map_err(|error| RunError::Tool(format!("cannot write the percentiles: {error}")))?;
    Ok(table)
}

fn drawings(document: &Document, dir: &Path) -> Result<(), RunError> {
    std::fs::create_dir_all(dir).map_err(|error| {
        RunError::Tool(format!("cannot create the directory `{}`: {error}", dir.display()))
    })?;
    let figures = figures::all(document);
    if figures.is_empty() {
        return Err(RunError::Tool("the result has nothing to draw in it".to_owned()));
    }
    for figure in figures {
        save(&dir.join(format!("{}.svg", figure.id)), figure.alone().as_bytes())?;
    }
    Ok(())
}
