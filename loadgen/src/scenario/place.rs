//! Where a setting was written: what a message about it begins with.

use std::fmt;
use std::ops::Range;

use crate::faults::Fault;

/// A place that a user can go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Line and column count from 1.
    File {
        file: String,
        line: usize,
        column: usize,
    },
    /// The whole argument of a `--set`.
    Set(String),
    Preset,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Set(text) => write!(f, "--set {text}"),
            Self::Preset => f.write_str("the preset"),
        }
    }
}

impl Place {
    /// The place in `file`, whose contents are `text`, where `span` begins.
    pub(crate) fn of(file: &str, text: &str, span: Range<usize>) -> Self {
        let before = text.get(..span.start.min(text.len())).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        Self::File { file: file.to_owned(), line, column }
    }
}

/// A flag that was put into the command line, and where its value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    flag: String,
    path: String,
    place: String,
    /// How messages show the value, where it is one of several of its flag.
    shown: Option<String>,
}

impl Origin {
    pub(super) fn new(flag: &str, path: &str, text: &str, place: &Place) -> Self {
        let shown = match flag {
            "fault" => text.parse::<Fault>().ok().map(|fault| format!("'{fault}'")),
            "threshold" => Some(format!("`{text}`")),
            "workload" => super::workloads::name_in(text).map(|name| format!("workload `{name}`")),
            _ => None,
        };
        let (flag, path, place) = (format!("--{flag}"), path.to_owned(), place.to_string());
        Self { flag, path, place, shown }
    }

    /// `text`, a message about flags, with the places of those it names that were written
    /// elsewhere.
    pub(crate) fn locate(text: &str, origins: &[Self]) -> String {
        let named = |origin: &&Self| {
            if let Some(value) = &origin.shown {
                return text.contains(value);
            }
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
            text.match_indices(&origin.flag).any(|(at, flag)| {
                let after = text.get(at + flag.len()..).unwrap_or_default();
                !after.starts_with(is_part)
            })
        };
        let places = origins.iter().filter(named);
        let places: Vec<String> = places
            .map(|origin| match origin.shown {
                Some(_) => origin.place.clone(),
                None => format!("{} is `{}` at {}", origin.flag, origin.path, origin.place),
            })
            .collect();
        if places.is_empty() { text.to_owned() } else { format!("{text} ({})", places.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_letters_from_one() {
        let text = "a = 1\nb = \"ü\" # x\nc = 2";
        let at = |needle: &str| {
            let start = text.find(needle).unwrap();
            Place::of("f.toml", text, start..start + 1).to_string()
        };
        assert_eq!(at("a"), "f.toml:1:1");
        assert_eq!(at("b"), "f.toml:2:1");
        assert_eq!(at("#"), "f.toml:2:9");
        assert_eq!(at("2"), "f.toml:3:5");
        assert_eq!(Place::of("f.toml", text, 999..1_000).to_string(), "f.toml:3:6");
    }

    #[test]
    fn a_message_about_a_flag_gets_the_place_it_came_from() {
        let place = Place::File { file: "s.toml".to_owned(), line: 3, column: 5 };
        let origins = [
            Origin::new("key", "workload.key", "3", &place),
            Origin::new("keys", "workload.keys", "3", &place),
            Origin::new("fault", "fault", "kill@1s/1s", &place),
            Origin::new("fault", "fault", "pause@9s/1000ms", &place),
        ];
        let text = "--keys 3 is too few";
        let located = Origin::locate(text, &origins);
        assert_eq!(located, "--keys 3 is too few (--keys is `workload.keys` at s.toml:3:5)");
        let fault = Origin::locate("fault 'pause@9s/1s' begins too late", &origins);
        assert_eq!(fault, "fault 'pause@9s/1s' begins too late (s.toml:3:5)");
        assert_eq!(Origin::locate("all is well", &origins), "all is well");
    }
}
