//! `[[fault]]` and `[[threshold]]` as the texts of their flags.

use super::place::Place;
use super::tree::{Key, Node, Spot};
use crate::near;

type Table = [(Key, Spot)];

/// The value of `key`, or what to write.
fn text<'a>(table: &'a Table, key: &str) -> Result<Option<&'a str>, String> {
    let Some((_, spot)) = table.iter().find(|(at, _)| at.name == key) else { return Ok(None) };
    match &spot.node {
        Node::Text(text) => Ok(Some(text)),
        _ => Err(format!(
            "{}: `{key}` is {}; write a text, as in {key} = \"..\"",
            spot.place,
            spot.kind()
        )),
    }
}

fn switch(table: &Table, key: &str) -> Result<bool, String> {
    match table.iter().find(|(at, _)| at.name == key).map(|(_, spot)| spot) {
        None => Ok(false),
        Some(Spot { node: Node::Switch(is), .. }) => Ok(*is),
        Some(spot) => Err(format!("{}: `{key}` is true or false, without quotes", spot.place)),
    }
}

fn known(table: &Table, of: &str, keys: &[&str]) -> Result<(), String> {
    match table.iter().find(|(key, _)| !keys.contains(&key.name.as_str())) {
        None => Ok(()),
        Some((key, _)) => {
            let hint = near::hint(&key.name, keys.iter().copied());
            let all = keys.join(", ");
            Err(format!(
                "{}: a [[{of}]] has no `{}`{hint}{}",
                key.place,
                key.name,
                if hint.is_empty() { format!("; it has {all}") } else { String::new() }
            ))
        }
    }
}

fn need<'a>(table: &'a Table, key: &str, of: &str, place: &Place) -> Result<&'a str, String> {
    let example = match key {
        "at" => "at = \"10s\"",
        "kind" => "kind = \"kill\"",
        _ => "expr = \"acquire.response.p99 < 5ms\"",
    };
    text(table, key)?.ok_or_else(|| format!("{place}: this [[{of}]] has no `{key}`; add {example}"))
}

/// `kill@10s/3s:node=2,delay=20ms`, from one `[[fault]]`.
pub(super) fn fault(spot: &Spot) -> Result<String, String> {
    let Node::Table(table) = &spot.node else {
        return Err(format!("{}: a fault is a table; write [[fault]]", spot.place));
    };
    known(table, "fault", &["at", "kind", "target", "for", "params"])?;
    let place = &spot.place;
    let (kind, at) = (need(table, "kind", "fault", place)?, need(table, "at", "fault", place)?);
    let mut line = format!("{kind}@{at}");
    if let Some(length) = text(table, "for")? {
        line.push_str(&format!("/{length}"));
    }
    if let Some(target) = target(table)? {
        line.push_str(&format!(":{target}"));
    }
    let params = table.iter().find(|(key, _)| key.name == "params").map(|(_, spot)| spot);
    match params.map(|spot| (&spot.node, &spot.place)) {
        None => {}
        Some((Node::Table(params), _)) => {
            for (key, _) in params {
                let value = text(params, &key.name)?.unwrap_or_default();
                line.push_str(&format!(",{}={value}", key.name));
            }
        }
        Some((_, place)) => {
            return Err(format!(
                "{place}: `params` is a table; write params = {{ delay = \"20ms\" }}"
            ));
        }
    }
    Ok(line)
}

/// `one`, `node=2`; a number is a node's, and a list has several.
fn target(table: &Table) -> Result<Option<String>, String> {
    let Some((_, spot)) = table.iter().find(|(key, _)| key.name == "target") else {
        return Ok(None);
    };
    let number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    match &spot.node {
        Node::Text(text) if number(text) => Ok(Some(format!("node={text}"))),
        Node::Text(text) => Ok(Some(text.clone())),
        Node::List(list) => {
            let nodes = list.iter().map(|spot| match &spot.node {
                Node::Text(text) if number(text) => Ok(text.as_str()),
                _ => Err(format!(
                    "{}: a list of targets has numbers of nodes, as in target = [1, 3]",
                    spot.place
                )),
            });
            Ok(Some(format!("node={}", nodes.collect::<Result<Vec<_>, _>>()?.join("+"))))
        }
        _ => Err(format!(
            "{}: `target` is {}; write one, minority, majority, all or the number of a node",
            spot.place,
            spot.kind()
        )),
    }
}

/// `errors.rate < 1% abort`, from one `[[threshold]]` or a text.
pub(super) fn threshold(spot: &Spot) -> Result<String, String> {
    let table = match &spot.node {
        Node::Text(text) => return Ok(text.clone()),
        Node::Table(table) => table,
        _ => return Err(format!("{}: a threshold is a text or a table", spot.place)),
    };
    known(table, "threshold", &["expr", "outside_faults", "abort"])?;
    let mut line = need(table, "expr", "threshold", &spot.place)?.trim().to_owned();
    for (key, words) in [("outside_faults", " outside faults"), ("abort", " abort")] {
        if switch(table, key)? {
            line.push_str(words);
        }
    }
    Ok(line)
}
