//! A validator for the keywords of JSON Schema that the published schemas of loadgen use. A keyword
//! it does not know is an error, so that none is passed over.

use serde_json::{Map, Value};

/// What only describes.
const WORDS: [&str; 5] = ["$schema", "$id", "title", "description", "$defs"];

/// Every place where `value` is not what `schema` says.
pub(crate) fn errors(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let schema = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return found.push(format!("{at}: nothing may be here")),
        Value::Object(schema) => schema,
        other => return found.push(format!("{at}: {other} is no schema")),
    };
    for (keyword, of) in schema {
        match keyword.as_str() {
            "$ref" => match of.as_str().and_then(|to| root.pointer(to.trim_start_matches('#'))) {
                Some(to) => check(root, to, value, at, found),
                None => found.push(format!("{at}: {of} leads nowhere")),
            },
            "anyOf" => any_of(root, of, value, at, found),
            "const" if of != value => found.push(format!("{at}: {value} is not {of}")),
            "enum" if !of.as_array().is_some_and(|all| all.contains(value)) => {
                found.push(format!("{at}: {value} is none of {of}"));
            }
            "type" if !is_of(of, value) => {
                let value: String = value.to_string().chars().take(60).collect();
                found.push(format!("{at}: {value} is no {of}"));
            }
            "minimum" if value.as_f64() < of.as_f64() && value.is_number() => {
                found.push(format!("{at}: {value} is below {of}"));
            }
            "minItems" if length(value).is_some_and(|n| Some(n) < of.as_u64()) => {
                found.push(format!("{at}: fewer than {of}"));
            }
            "maxItems" if length(value).is_some_and(|n| Some(n) > of.as_u64()) => {
                found.push(format!("{at}: more than {of}"));
            }
            "required" => {
                let names = of.as_array().into_iter().flatten().filter_map(Value::as_str);
                let missing = names.filter(|name| value.is_object() && value.get(name).is_none());
                found.extend(missing.map(|name| format!("{at}: `{name}` is missing")));
            }
            "properties"
            | "additionalProperties"
            | "prefixItems"
            | "items"
            | "const"
            | "enum"
            | "type"
            | "minimum"
            | "minItems"
            | "maxItems" => {}
            word if WORDS.contains(&word) => {}
            other => found.push(format!("{at}: this validator does not know `{other}`")),
        }
    }
    inside(root, schema, value, at, found);
}

fn length(value: &Value) -> Option<u64> {
    value.as_array().map(|all| all.len() as u64)
}

fn any_of(root: &Value, of: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let all = of.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut best: Option<Vec<String>> = None;
    for one in all {
        let mut these = Vec::new();
        check(root, one, value, at, &mut these);
        if best.as_ref().is_none_or(|best| these.len() < best.len()) {
            best = Some(these);
        }
    }
    found.extend(best.unwrap_or_else(|| vec![format!("{at}: an empty anyOf")]));
}

fn is_of(of: &Value, value: &Value) -> bool {
    let is = |kind: &str| match kind {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        _ => false,
    };
    match of {
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(is),
        _ => false,
    }
}

fn inside(
    root: &Value,
    schema: &Map<String, Value>,
    value: &Value,
    at: &str,
    found: &mut Vec<String>,
) {
    if let Value::Object(fields) = value {
        for (name, field) in fields {
            let known = schema.get("properties").and_then(|all| all.get(name));
            let other = schema.get("additionalProperties");
            match (known.or(other), other) {
                (Some(Value::Bool(false)), _) => found.push(format!("{at}: `{name}` is unknown")),
                (Some(of), _) => check(root, of, field, &format!("{at}/{name}"), found),
                (None, _) => {}
            }
        }
    }
    if let Value::Array(items) = value {
        let first = schema.get("prefixItems").and_then(Value::as_array);
        let first = first.map(Vec::as_slice).unwrap_or_default();
        for (n, item) in items.iter().enumerate() {
            if let Some(of) = first.get(n).or_else(|| schema.get("items")) {
                check(root, of, item, &format!("{at}/{n}"), found);
            }
        }
    }
}
