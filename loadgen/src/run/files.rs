//! What a finished run leaves behind: its files, and its report on the screen.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::RunError;
use crate::args::RunArgs;
use crate::document::Document;
use crate::recorder::Metric;
use crate::report::format::Paint;
use crate::report::{RunResult, hgrm, html, json, tabular, text};

/// Writes every file of a run into its directory; gives back what is in `result.json`.
pub(crate) fn write(result: &RunResult) -> Result<Document, RunError> {
    let write = |name: &str, bytes: &[u8]| {
        let path = result.dir.join(name);
        let what = format!("cannot write `{}`", path.display());
        std::fs::write(&path, bytes).map_err(RunError::tool(&what))
    };
    let document = json::document(result);
    write("result.json", &json_text(&document)?)?;
    write("report.html", html::render(&document).as_bytes())?;
    write("series.csv", tabular::csv(&document).as_bytes())?;
    write("events.jsonl", tabular::events(&document).as_bytes())?;
    write("report.txt", text::render(result, Paint(false)).as_bytes())?;
    let mut table = Vec::new();
    if let Some(hist) = result.totals.get(Metric::Response) {
        hgrm::write(&mut table, hist).map_err(RunError::tool("cannot write acquire.hgrm"))?;
    }
    write("acquire.hgrm", &table)?;
    Ok(document)
}

/// `document` as it stands in a file.
pub(crate) fn json_text<T: Serialize>(document: &T) -> Result<Vec<u8>, RunError> {
    let mut json = serde_json::to_vec_pretty(document)
        .map_err(|error| RunError::Tool(format!("cannot write the result as JSON: {error}")))?;
    json.push(b'\n');
    Ok(json)
}

/// Prints a report, and its JSON where that was asked for.
pub(crate) fn show<T: Serialize>(args: &RunArgs, text: &str, document: &T) -> Result<(), RunError> {
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    // A reader that closed its end has seen enough; the files are written and the verdict stands.
    if to_stdout {
        let _ = io::stdout().write_all(&json_text(document)?);
        let _ = io::stderr().write_all(text.as_bytes());
    } else {
        if let Some(path) = &args.json {
            let what = format!("cannot write `{}`", path.display());
            std::fs::write(path, json_text(document)?).map_err(RunError::tool(&what))?;
        }
        let _ = io::stdout().write_all(text.as_bytes());
    }
    Ok(())
}
