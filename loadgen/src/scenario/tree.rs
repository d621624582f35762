//! A scenario file as it was written, every value with its place, and `--set` put into it.
//!
//! Bounded: a file is at most 1 MiB, and the parser refuses values nested beyond reason.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::Place;
use super::{shown, workloads};

const MOST_BYTES: u64 = 1 << 20;
/// Parts of a path of `--set`.
const MOST_PARTS: usize = 8;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spot {
    pub(super) node: Node,
    pub(super) place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// A text, a number or a date, as it was written.
    Text(String),
    Switch(bool),
    List(Vec<Spot>),
    /// Keys in the order of the file, where the tables are those of one file.
    Table(Vec<(Key, Spot)>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

impl Spot {
    pub(super) fn empty() -> Self {
        Self { node: Node::Table(Vec::new()), place: Place::Set(String::new()) }
    }

    /// What kind of value it is, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self.node {
            Node::Text(_) => "a single value",
            Node::Switch(_) => "true or false",
            Node::List(_) => "a list",
            Node::Table(_) => "a table",
        }
    }
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<Spot, String> {
    let name = shown(path);
    let failed = |error| format!("cannot read scenario `{name}`: {error}; give a TOML file");
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("scenario `{name}` is larger than 1 MiB: that is no scenario"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("{name}:{line}: a letter is not UTF-8; save the file as UTF-8")
    })?;
    parse(&name, &text)
}

/// Reads `text`, the contents of `file`.
pub(super) fn parse(file: &str, text: &str) -> Result<Spot, String> {
    let place = |span| Place::of(file, text, span);
    let root = DeTable::parse(text).map_err(|error| {
        let at = place(error.span().unwrap_or(0..0));
        format!("{at}: this is no TOML: {}", error.message().replace('\n', "; "))
    })?;
    let at = place(root.span());
    Ok(Spot { node: table(root.into_inner(), &place)?, place: at })
}

fn table(
    table: DeTable<'_>,
    place: &impl Fn(std::ops::Range<usize>) -> Place,
) -> Result<Node, String> {
    let mut keys = Vec::new();
    for (key, value) in table {
        let at = key.span();
        let name = key.into_inner().into_owned();
        keys.push((at.start, (Key { name, place: place(at) }, spot(value, place)?)));
    }
    keys.sort_by_key(|(start, _)| *start);
    Ok(Node::Table(keys.into_iter().map(|(_, entry)| entry).collect()))
}

fn spot(
    value: Spanned<DeValue<'_>>,
    place: &impl Fn(std::ops::Range<usize>) -> Place,
) -> Result<Spot, String> {
    let at = place(value.span());
    let node = match value.into_inner() {
        DeValue::String(text) => Node::Text(text.into_owned()),
        DeValue::Integer(number) if number.radix() != 10 => {
            return Err(format!("{at}: numbers are written in decimal here"));
        }
        DeValue::Integer(number) => Node::Text(number.as_str().to_owned()),
        DeValue::Float(number) => Node::Text(number.as_str().to_owned()),
        DeValue::Boolean(is) => Node::Switch(is),
        DeValue::Datetime(when) => Node::Text(when.to_string()),
        DeValue::Array(list) => {
            let list = list.into_iter().map(|value| spot(value, place));
            Node::List(list.collect::<Result<_, _>>()?)
        }
        DeValue::Table(keys) => table(keys, place)?,
    };
    Ok(Spot { node, place: at })
}

/// Puts `PATH=VALUE` into the tree. `VALUE` is TOML, or else a text without quotes; a number in
/// `PATH` counts entries of a list from 1, and one more than there are adds one.
pub(super) fn set(root: &mut Spot, text: &str) -> Result<(), String> {
    let place = Place::Set(text.chars().take(200).collect());
    let bad = || format!("{place}: write PATH=VALUE, as in load.rate=5k or fault.1.for=2s");
    let (path, value) = text.split_once('=').ok_or_else(bad)?;
    let parts: Vec<&str> = path.trim().split('.').collect();
    let plain = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    if parts.len() > MOST_PARTS || !parts.iter().all(plain) {
        return Err(bad());
    }
    let value = value.trim();
    let at = |_: std::ops::Range<usize>| place.clone();
    let value = match DeValue::parse(value) {
        Ok(toml) => spot(toml, &at)?,
        Err(error) if value.starts_with(['"', '\'', '[', '{']) => {
            return Err(format!("{place}: {}", error.message().replace('\n', "; ")));
        }
        Err(_) => Spot { node: Node::Text(value.to_owned()), place: place.clone() },
    };
    for path in workloads::paths(root, &parts, &place)? {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        *find(root, &path, &place)? = value.clone();
    }
    Ok(())
}

/// The value at `path`, made where there is none.
fn find<'a>(root: &'a mut Spot, path: &[&str], place: &Place) -> Result<&'a mut Spot, String> {
    let new = || Spot { node: Node::Table(Vec::new()), place: place.clone() };
    let mut spot = root;
    for part in path {
        // One workload may be written as a list of one.
        let is_key = part.parse::<usize>().is_err();
        if is_key && matches!(&spot.node, Node::List(list) if list.len() == 1) {
            spot = match &mut spot.node {
                Node::List(list) => list.first_mut(),
                _ => None,
            }
            .ok_or_else(|| format!("{place}: nothing is there"))?;
        }
        let absent_list = part.parse::<usize>() == Ok(1)
            && matches!(&spot.node, Node::Table(keys) if keys.is_empty());
        if absent_list {
            spot.node = Node::List(Vec::new());
        }
        spot = match &mut spot.node {
            Node::Table(keys) => {
                let at = keys.iter().position(|(key, _)| key.name == *part);
                let at = at.unwrap_or_else(|| {
                    let key = Key { name: (*part).to_owned(), place: place.clone() };
                    keys.push((key, new()));
                    keys.len() - 1
                });
                keys.get_mut(at).map(|(_, spot)| spot)
            }
            Node::List(list) => {
                let count = list.len();
                let at = part.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
                let at = at.filter(|&at| at <= count).ok_or_else(|| {
                    let range =
                        if count == 0 { "1".to_owned() } else { format!("1 to {}", count + 1) };
                    format!("{place}: `{part}` is no entry of the list; use {range}")
                })?;
                if at == count {
                    list.push(new());
                }
                list.get_mut(at)
            }
            Node::Text(_) | Node::Switch(_) => {
                return Err(format!("{place}: there is nothing below a single value"));
            }
        }
        .ok_or_else(|| format!("{place}: nothing is there"))?;
    }
    Ok(spot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(spot: &Spot) -> String {
        match &spot.node {
            Node::Text(text) => text.clone(),
            Node::Switch(is) => is.to_string(),
            Node::List(list) => {
                format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(" "))
            }
            Node::Table(keys) => {
                let keys = keys.iter().map(|(key, value)| format!("{}:{}", key.name, text(value)));
                format!("{{{}}}", keys.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn values_keep_the_order_and_the_words_of_the_file() {
        let file = "b = 1.50\na = \"x\"\n[t]\nz = true\nl = [1, 'two']\n";
        let root = parse("f", file).unwrap();
        assert_eq!(text(&root), "{b:1.50 a:x t:{z:true l:[1 two]}}");
        for (bad, word) in [
            ("a = ", "f:1:"),
            ("a = 1\na = 2", "f:2:1"),
            ("a = 0x10", "f:1:5: numbers are written in decimal"),
            ("x = [1,\n", "no TOML"),
        ] {
            let error = parse("f", bad).unwrap_err();
            assert!(error.contains(word), "{bad}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let deep = format!("a = {}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(parse("f", &deep).unwrap_err().contains("no TOML"));
    }

    #[test]
    fn set_changes_adds_and_clears() {
        let file = "[load]\nrate = 5\n[[fault]]\nat = \"1s\"\n[[fault]]\nat = \"2s\"\n";
        let mut root = parse("f", file).unwrap();
        for text in [
            "load.rate=7k",
            "load.duration=\"3s\"",
            "engine.batch.max_commands=64",
            "fault.2.at=4s",
            "fault.3.kind=pause",
            "output.percentiles=[50, 99]",
        ] {
            set(&mut root, text).unwrap();
        }
        let expected = "{load:{rate:7k duration:3s} fault:[{at:1s} {at:4s} {kind:pause}] \
                        engine:{batch:{max_commands:64}} output:{percentiles:[50 99]}}";
        assert_eq!(text(&root), expected);
        set(&mut root, "fault=[]").unwrap();
        assert!(text(&root).contains("fault:[]"));
        let mut new = Spot::empty();
        set(&mut new, "fault.1.at=1s").unwrap();
        assert_eq!(text(&new), "{fault:[{at:1s}]}");
        let mut one = parse("f", "[[workload]]\nkeys = 1\n").unwrap();
        set(&mut one, "workload.keys=9").unwrap();
        assert_eq!(text(&one), "{workload:[{keys:9}]}");
    }

    #[test]
    fn a_set_that_leads_nowhere_is_told() {
        for (text, word) in [
            ("load.rate", "write PATH=VALUE"),
            ("=5", "write PATH=VALUE"),
            ("load..rate=5", "write PATH=VALUE"),
            ("a.b.c.d.e.f.g.h.i=5", "write PATH=VALUE"),
            ("name.first=x", "nothing below a single value"),
            ("fault.3.at=1s", "use 1 to 2"),
            ("fault.0.at=1s", "use 1 to 2"),
            ("load.percentiles=[50,", "--set load.percentiles=[50,"),
        ] {
            let mut root = parse("f", "name = \"n\"\n[[fault]]\nat = \"1s\"\n").unwrap();
            let error = set(&mut root, text).unwrap_err();
            assert!(error.contains(word) && error.starts_with("--set "), "{text}: {error}");
        }
    }
}
