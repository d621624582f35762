//! What to do with a configuration: as settings of a scenario file, and as code that sets the
//! library up that way.

use std::fmt::Write as _;

use super::space::{Knob, Value};
use crate::config::{EngineKnobs, Gather};

/// A scenario file with these settings, and where they come from as comments.
pub(super) fn toml(knobs: &EngineKnobs, comments: &[String]) -> String {
    let mut text = String::new();
    for comment in comments {
        let _ = writeln!(text, "# {comment}");
    }
    if let Some(most) = Knob::MaxInflight.get(knobs) {
        let _ = writeln!(text, "\n[engine]\nmax_inflight = {most}");
    }
    let batch = [
        (Knob::Gather, "gather"),
        (Knob::MaxCommands, "max_commands"),
        (Knob::MinInflight, "gather_min_inflight"),
        (Knob::MaxBytes, "max_bytes"),
    ];
    let batch = batch.into_iter().filter_map(|(knob, name)| Some((name, knob.get(knobs)?)));
    for (at, (name, value)) in batch.enumerate() {
        if at == 0 {
            text.push_str("\n[engine.batch]\n");
        }
        let _ = match value {
            Value::Number(number) => writeln!(text, "{name} = {number}"),
            Value::Gather(_) => writeln!(text, "{name} = \"{value}\""),
        };
    }
    text
}

/// Code that sets the library up with these settings; `nodes` stands for the reader's own.
pub(super) fn rust(knobs: &EngineKnobs) -> String {
    let mut batch = String::new();
    let fields = [
        (Knob::Gather, "gather"),
        (Knob::MaxCommands, "max_commands"),
        (Knob::MinInflight, "gather_min_inflight"),
        (Knob::MaxBytes, "max_bytes"),
    ];
    for (knob, field) in fields {
        let _ = match knob.get(knobs) {
            None => continue,
            Some(Value::Number(number)) => writeln!(batch, "batching.{field} = {number};"),
            Some(Value::Gather(gather)) => writeln!(
                batch,
                "batching.{field} = redlatch::Gather::{};",
                match gather {
                    Gather::Adaptive => "Adaptive",
                    Gather::Always => "Always",
                    Gather::Off => "Off",
                }
            ),
        };
    }
    let mut text = String::new();
    if !batch.is_empty() {
        text.push_str("let mut batching = redlatch::Batching::default();\n");
        text.push_str(&batch);
    }
    text.push_str("let locks = redlatch::Redlock::builder().nodes(nodes)");
    if !batch.is_empty() {
        text.push_str(".batching(batching)");
    }
    if let Some(most) = Knob::MaxInflight.get(knobs) {
        let _ = write!(text, ".max_inflight({most})");
    }
    text.push_str(".connect().await?;\n");
    text
}

#[cfg(test)]
mod example;

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> EngineKnobs {
        EngineKnobs {
            batch_max_commands: Some(64),
            batch_max_bytes: Some(4_096),
            batch_gather: Some(Gather::Always),
            batch_gather_min_inflight: Some(2),
            max_inflight: Some(1_024),
            ..EngineKnobs::default()
        }
    }

    #[test]
    fn the_code_is_that_of_an_example_that_compiles() {
        let example = include_str!("advice/example.rs");
        let between = example
            .split_once("// begin\n")
            .and_then(|(_, rest)| Some(rest.split_once("    // end")?.0));
        let lines = between.unwrap().lines().map(str::trim);
        // The formatter breaks the chain of calls over lines; white space is not what is said.
        let said = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(said(&rust(&all())), said(&lines.collect::<String>()));
        let plain = rust(&EngineKnobs::default());
        assert_eq!(
            plain,
            "let locks = redlatch::Redlock::builder().nodes(nodes).connect().await?;\n"
        );
    }

    #[test]
    fn the_file_has_the_settings_of_a_scenario() {
        let text = toml(&all(), &["by hand".to_owned()]);
        assert_eq!(
            text,
            "# by hand\n\n[engine]\nmax_inflight = 1024\n\n[engine.batch]\ngather = \"always\"\n\
             max_commands = 64\ngather_min_inflight = 2\nmax_bytes = 4096\n"
        );
        assert_eq!(toml(&EngineKnobs::default(), &[]), "");
    }
}
