//! `loadgen doctor`: whether this machine and these nodes are fit for a measurement, and what to do
//! where they are not.
//!
//! Invariants:
//! 1. Every line is something that was read or measured just now; what cannot be read is said to be
//!    unknown and counts for nothing.
//! 2. Every warning says what to do.
//! 3. Bounded: about 2 s for the machine, and per node as long as its answers may take.

mod machine;
mod nodes;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::cluster::url::NodeUrl;
use crate::report::format::{self, Paint, many};
use crate::run::RunError;
use crate::values;

const MOST_NODES: usize = 9;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 fit, or with warnings; 1 a run is not possible; 2 bad usage.")]
pub(crate) struct DoctorArgs {
    /// Nodes to look at as well: redis://HOST:PORT or unix:///PATH, separated by commas
    #[arg(long, value_name = "URL,..", value_delimiter = ',')]
    nodes: Vec<String>,
    /// Processes that are to run
    #[arg(long, value_name = "N", default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=64))]
    processes: u32,
    /// Lock users that are to run
    #[arg(short, long, value_name = "N", default_value = "64", value_parser = values::count_u32)]
    clients: u32,
    /// Write the findings as JSON to FILE as well, - for standard output (the list goes to stderr)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// No colours (NO_COLOR works as well)
    #[arg(long)]
    no_color: bool,
}

/// How a finding is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Good,
    /// It could not be read.
    Unknown,
    /// Results will be worse than they need be.
    Warning,
    /// No run is possible.
    Impossible,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    name: String,
    level: Level,
    found: String,
    remedy: Option<String>,
}

impl Finding {
    fn good(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), level: Level::Good, found: found.into(), remedy: None }
    }

    fn unknown(name: &str) -> Self {
        let found = "cannot be read here".to_owned();
        Self { name: name.to_owned(), level: Level::Unknown, found, remedy: None }
    }

    fn bad(name: &str, level: Level, found: impl Into<String>, remedy: &str) -> Self {
        let (name, found, remedy) = (name.to_owned(), found.into(), Some(remedy.to_owned()));
        Self { name, level, found, remedy }
    }

    /// A warning if `is_bad`.
    fn warn_if(is_bad: bool, name: &str, found: impl Into<String>, remedy: &str) -> Self {
        match is_bad {
            true => Self::bad(name, Level::Warning, found, remedy),
            false => Self::good(name, found),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Report {
    schema: &'static str,
    verdict: Level,
    exit_code: u8,
    findings: Vec<Finding>,
}

/// Looks, prints and gives back the exit code.
pub(crate) fn run(args: &DoctorArgs) -> Result<u8, RunError> {
    if args.nodes.len() > MOST_NODES {
        let text = format!("--nodes: at most {MOST_NODES} are supported");
        return Err(RunError::Usage(text));
    }
    // The error names the URL without its password.
    let urls = args.nodes.iter().map(|url| url.parse::<NodeUrl>());
    let urls: Vec<NodeUrl> = urls
        .collect::<Result<_, _>>()
        .map_err(|error| RunError::Usage(format!("--nodes: {error}")))?;
    let mut findings = machine::look(args.clients, args.processes);
    findings.extend(nodes::look(&urls));
    let verdict = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Good);
    let exit_code = u8::from(verdict == Level::Impossible);
    let report = Report { schema: "loadgen.doctor/1", verdict, exit_code, findings };
    let paint = !args.no_color
        && std::env::var_os("NO_COLOR").is_none()
        && std::io::IsTerminal::is_terminal(&std::io::stdout());
    let failed =
        |error: &dyn std::fmt::Display| RunError::Tool(format!("cannot write JSON: {error}"));
    let mut json = serde_json::to_vec_pretty(&report).map_err(|error| failed(&error))?;
    json.push(b'\n');
    // A reader that closed its end has seen enough.
    if args.json.as_deref() == Some(Path::new("-")) {
        let _ = std::io::stdout().write_all(&json);
        let _ = std::io::stderr().write_all(text(&report, Paint(false)).as_bytes());
    } else {
        if let Some(path) = &args.json {
            std::fs::write(path, &json).map_err(|error| failed(&error))?;
        }
        let _ = std::io::stdout().write_all(text(&report, Paint(paint)).as_bytes());
    }
    Ok(exit_code)
}

fn text(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let (mark, painted): (&str, fn(Paint, &str) -> String) = match finding.level {
            Level::Good => ("ok  ", Paint::good),
            Level::Unknown => ("?   ", Paint::dim),
            Level::Warning => ("warn", Paint::warn),
            Level::Impossible => ("BAD ", Paint::bad),
        };
        let line = format::wrapped(&format!(" {mark} {:<16} ", finding.name), &finding.found);
        let (head, rest) = line.split_at(1 + mark.len());
        let _ = write!(out, " {}{rest}", painted(paint, head.trim_start()));
        if let Some(remedy) = &finding.remedy {
            out.push_str(&format::wrapped(&format!("      {:<16} → ", ""), remedy));
        }
    }
    let of = |level| report.findings.iter().filter(|finding| finding.level == level).count() as u64;
    let warnings = many(of(Level::Warning), "warning", "warnings");
    let _ = match of(Level::Impossible) {
        0 => writeln!(out, "\n a run is possible, {warnings} (exit 0)"),
        n => writeln!(
            out,
            "\n a run is not possible: {}, {warnings} (exit 1)",
            many(n, "obstacle", "obstacles")
        ),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_fits_and_what_is_bad_says_what_to_do() {
        let findings = vec![
            Finding::good("load", "0.1 of 2 cores"),
            Finding::unknown("governor"),
            Finding::bad("steal", Level::Warning, "word ".repeat(40), &"remedy ".repeat(30)),
            Finding::bad("node n1", Level::Impossible, "no answer", "start it"),
        ];
        let report = Report { schema: "", verdict: Level::Impossible, exit_code: 1, findings };
        let text = text(&report, Paint(false));
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.contains(" BAD  node n1") && text.contains("→ start it"), "{text}");
        assert!(text.contains("1 obstacle, 1 warning"), "{text}");
        assert!(Level::Impossible > Level::Warning && Level::Warning > Level::Unknown);
        let fine = Finding::warn_if(false, "x", "y", "z");
        assert_eq!((fine.level, fine.remedy), (Level::Good, None));
    }
}
