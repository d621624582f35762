//! The published JSON Schema (draft 2020-12) of `result.json`, as `loadgen schema` prints it.
//!
//! Written by hand in `loadgen/schema/`; `tests/compare.rs` keeps it true, by validating results of
//! every kind of run against it. It is closed: a field that it does not name is an error, so a new
//! field of `document` is a new line there.

use std::io::Write;

const TEXT: &str = include_str!("../../schema/result.schema.json");

/// Prints it; a reader that closed its end has seen enough.
pub(crate) fn print() -> u8 {
    let _ = std::io::stdout().write_all(TEXT.as_bytes());
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_schema_of_the_results_that_are_written() {
        let schema: serde_json::Value = serde_json::from_str(TEXT).unwrap();
        assert_eq!(schema["properties"]["schema"]["const"], crate::document::SCHEMA);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}
