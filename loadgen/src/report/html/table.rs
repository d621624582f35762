//! Tables: what is in a cell is text, what it looks like is its kind.

use crate::report::svg::{escape, put};

/// How a cell looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Text in one line, cut where it is too long.
    Address,
    /// The name of a row.
    Main,
    /// The name of a row that is a part of the one above.
    Sub,
    Number,
    /// A number with too few samples behind it.
    Weak,
    BadNumber,
    WarnNumber,
    Good,
    Bad,
    Warn,
}

impl Kind {
    const fn class(self) -> &'static str {
        match self {
            Self::Text => "wrap",
            Self::Address => "address",
            Self::Main => "main",
            Self::Sub => "sub",
            Self::Number => "num",
            Self::Weak => "num weak",
            Self::BadNumber => "num tone bad",
            Self::WarnNumber => "num tone warn",
            Self::Good => "tone good",
            Self::Bad => "tone bad",
            Self::Warn => "tone warn",
        }
    }
}

pub(super) type Cell = (Kind, String);

pub(super) fn number(text: impl Into<String>) -> Cell {
    (Kind::Number, text.into())
}

/// A table; a heading that begins with `>` stands to the right, over numbers.
pub(super) fn table(out: &mut String, headings: &[&str], rows: &[Vec<Cell>]) {
    out.push_str("<div class=\"scroll\"><table><thead><tr>");
    for heading in headings {
        match heading.strip_prefix('>') {
            Some(heading) => put!(out, "<th class=\"num\">{}</th>", escape(heading)),
            None => put!(out, "<th>{}</th>", escape(heading)),
        }
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (kind, text) in row {
            put!(out, "<td class=\"{}\">{}</td>", kind.class(), escape(text));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

/// Names and values; a value that is not known is a dash.
pub(super) fn pairs(out: &mut String, rows: &[(String, Option<String>)]) {
    out.push_str("<table class=\"pairs\"><tbody>\n");
    for (name, value) in rows {
        let value = value.as_deref().unwrap_or("–");
        put!(out, "<tr><th>{}</th><td>{}</td></tr>\n", escape(name), escape(value));
    }
    out.push_str("</tbody></table>\n");
}
