//! Reads results back: a `result.json`, the directory it lies in, or a report that embeds it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hdrhistogram::serialization::Deserializer;

use super::{Document, Latency, SCHEMA, base64};
use crate::recorder::Hist;

/// No result is as large; a file that is one does not belong to this program.
const MOST_BYTES: u64 = 256 << 20;
/// What an HTML report wraps its result in.
const EMBEDDED: (&str, &str) = ("<script type=\"application/json\" id=\"result\">", "</script>");

/// Why a result could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(
        "cannot read `{path}`: {error}; give a run's directory, its result.json or report.html"
    )]
    Io { path: PathBuf, error: io::Error },
    #[error("`{0}` is larger than 256 MiB: that is no result of loadgen")]
    TooLarge(PathBuf),
    #[error("`{path}` is no result of loadgen: {error}")]
    Json { path: PathBuf, error: serde_json::Error },
    #[error("`{path}` has schema `{schema}`; this loadgen reads `{SCHEMA}`")]
    Schema { path: PathBuf, schema: String },
    #[error("`{0}` has no result in it; it is no report of loadgen")]
    NotEmbedded(PathBuf),
}

/// Reads the result at `path`: a directory, a `result.json`, or an HTML report.
pub(crate) fn load(path: &Path) -> Result<Document, ReadError> {
    let file = if path.is_dir() { path.join("result.json") } else { path.to_owned() };
    let failed = |error| ReadError::Io { path: file.clone(), error };
    let mut bytes = Vec::new();
    let source = File::open(&file).map_err(failed)?;
    source.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ReadError::TooLarge(file));
    }
    let is_html = file.extension().is_some_and(|extension| extension == "html");
    let json = if is_html {
        embedded(&bytes).ok_or_else(|| ReadError::NotEmbedded(file.clone()))?
    } else {
        bytes
    };
    parse(&json, &file)
}

fn parse(json: &[u8], path: &Path) -> Result<Document, ReadError> {
    let failed = |error| ReadError::Json { path: path.to_owned(), error };
    // The schema first: of another one, no field can be relied on.
    let value: serde_json::Value = serde_json::from_slice(json).map_err(failed)?;
    match value.get("schema").and_then(serde_json::Value::as_str) {
        Some(schema) if schema != SCHEMA => {
            let schema = schema.chars().take(100).collect();
            Err(ReadError::Schema { path: path.to_owned(), schema })
        }
        _ => serde_json::from_value(value).map_err(failed),
    }
}

/// The JSON inside a report, in which `<` is written `\u003c`.
fn embedded(html: &[u8]) -> Option<Vec<u8>> {
    let html = std::str::from_utf8(html).ok()?;
    let (_, rest) = html.split_once(EMBEDDED.0)?;
    let (json, _) = rest.split_once(EMBEDDED.1)?;
    Some(json.as_bytes().to_vec())
}

impl Latency {
    /// The histogram itself; `None` if what is stored cannot be read.
    pub(crate) fn hist(&self) -> Option<Hist> {
        let bytes = base64::decode(self.hdr_v2_deflate_b64.as_deref()?)?;
        Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_result_is_named() {
        let path = Path::new("x.json");
        let text = |json: &str| parse(json.as_bytes(), path).unwrap_err().to_string();
        assert!(text("{").contains("`x.json` is no result"), "{}", text("{"));
        let other = text("{\"schema\": \"loadgen.result/9\"}");
        assert!(other.contains("loadgen.result/9") && other.contains(SCHEMA), "{other}");
        assert!(text("{\"schema\": \"loadgen.result/1\"}").contains("missing field"));
        let missing = load(Path::new("/no/such/run")).unwrap_err().to_string();
        assert!(missing.contains("`/no/such/run`") && missing.contains("result.json"));
    }

    #[test]
    fn a_report_gives_its_result_back() {
        let html = format!("<p>x</p>{}{{\"a\": 1}}{}<p>", EMBEDDED.0, EMBEDDED.1);
        assert_eq!(embedded(html.as_bytes()).as_deref(), Some(b"{\"a\": 1}".as_slice()));
        assert_eq!(embedded(b"<p>nothing"), None);
    }
}
