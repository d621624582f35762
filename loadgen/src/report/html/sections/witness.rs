//! What the nodes were seen to hold, beside what the checker says.

use super::super::head::{safety_tone, witness_words};
use super::super::note;
use super::super::table::{Cell, Kind, number, table};
use super::tone_kind;
use crate::clock::NS_PER_S;
use crate::document::Document;
use crate::report::format::ns;
use crate::witness::sight::{NodeSight, Sight};

pub(super) fn row(document: &Document) -> Option<Vec<Cell>> {
    let seen = document.witness.as_ref()?;
    let text = format!("{}; a pass took {} at most", seen.words(), ns(seen.longest_pass_ns));
    Some(vec![
        (Kind::Main, "witness".to_owned()),
        (tone_kind(safety_tone(seen.verdict)), witness_words(seen.verdict).to_owned()),
        (Kind::Text, text),
    ])
}

/// The first findings, node by node.
pub(super) fn examples(out: &mut String, document: &Document) {
    let Some(seen) = document.witness.as_ref().filter(|seen| !seen.examples.is_empty()) else {
        return;
    };
    note(out, "Holds that the nodes did not show, as the witness saw them:");
    let nodes = seen.examples.iter().map(|of| of.nodes.len()).max().unwrap_or(0);
    let names: Vec<String> = (1..=nodes).map(|node| format!("n{node}")).collect();
    let mut headings = vec![">at", "name", "held by", "what"];
    headings.extend(names.iter().map(String::as_str));
    let rows = seen.examples.iter().map(|of| {
        let what = match of.sight {
            Sight::OtherHolder => "a quorum has another holder",
            Sight::Unbacked => "no quorum has the holder",
            Sight::Backed | Sight::Unknown => "",
        };
        let mut row = vec![
            number(format!("{:.3}s", of.at_ns as f64 / NS_PER_S as f64)),
            (Kind::Main, of.key.clone()),
            (Kind::Text, format!("client {} of process {}", of.client, of.process)),
            (Kind::Bad, what.to_owned()),
        ];
        row.extend(of.nodes.iter().map(|node| match node {
            NodeSight::Held => (Kind::Good, "has it".to_owned()),
            NodeSight::Missing => (Kind::Bad, "nobody".to_owned()),
            NodeSight::Once => (Kind::Bad, "at one of two looks".to_owned()),
            NodeSight::Other => (Kind::Bad, "another".to_owned()),
            NodeSight::Unknown => (Kind::Warn, "unknown".to_owned()),
        }));
        row.resize(4 + nodes, (Kind::Text, String::new()));
        row
    });
    table(out, &headings, &rows.collect::<Vec<_>>());
}
