//! Drawings as SVG text: escaping, numbers, and a [`Figure`] that can stand in a page or alone.
//!
//! Invariants:
//! 1. Colours are classes: the style sheet of the page, or the same one inside a figure that stands
//!    alone, gives them for light and for dark surroundings.
//! 2. Every text goes through [`escape`]; what a user typed never becomes markup.
//! 3. A coordinate is a finite number of at most one decimal.

pub(crate) mod scale;
pub(crate) mod time;

/// Colours and strokes of figures, light and dark.
pub(crate) const STYLE: &str = include_str!("figure.css");

/// Units across every figure; one is a pixel where there is room.
pub(crate) const WIDTH: f64 = 960.0;

/// Writing to a string cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        use std::fmt::Write as _;
        let _ = write!($out, $($arg)*);
    }};
}
pub(crate) use put;

/// `text` as it may stand between tags and between quotes. Characters that XML forbids go.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}');
            }
            plain => out.push(plain),
        }
    }
    out
}

/// A coordinate: one decimal, none if it is whole.
pub(crate) fn n(value: f64) -> String {
    if !value.is_finite() {
        return "0".to_owned();
    }
    let text = format!("{:.1}", value.clamp(-1e6, 1e6));
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// About how wide a text of figures is, in their units.
pub(crate) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.6
}

/// Where a text is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A text at a place.
pub(crate) fn text(out: &mut String, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
    let anchor = match anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    let (x, y) = (n(at.0), n(at.1));
    put!(out, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\"{anchor}>{}</text>", escape(text));
}

/// A straight line.
pub(crate) fn line(out: &mut String, from: (f64, f64), to: (f64, f64), class: &str) {
    let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(n);
    put!(out, "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
}

/// A rectangle: place, size.
pub(crate) fn rect(out: &mut String, at: (f64, f64), size: (f64, f64), class: &str, title: &str) {
    let [x, y, w, h] = [at.0, at.1, size.0.max(0.0), size.1.max(0.0)].map(n);
    put!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\"");
    if title.is_empty() {
        out.push_str("/>");
    } else {
        put!(out, "><title>{}</title></rect>", escape(title));
    }
}

/// The data of a path through `points`, broken where there is none.
pub(crate) fn path(points: &[Option<(f64, f64)>]) -> String {
    let mut data = String::new();
    let mut drawn = false;
    for (at, point) in points.iter().enumerate() {
        let Some((x, y)) = point else {
            drawn = false;
            continue;
        };
        let (x_text, y_text) = (n(*x), n(*y));
        put!(data, "{}{x_text} {y_text}", if drawn { "L" } else { "M" });
        // A point without neighbours would not show.
        if !drawn && points.get(at + 1).is_none_or(Option::is_none) {
            data.push_str("h.1");
        }
        drawn = true;
    }
    data
}

/// A line of data twice: its shadow in the colour of the ground, then itself.
pub(crate) fn curve(out: &mut String, points: &[Option<(f64, f64)>], class: &str) {
    let data = path(points);
    if !data.is_empty() {
        put!(out, "<path class=\"curve halo\" d=\"{data}\"/>");
        put!(out, "<path class=\"curve {class}\" d=\"{data}\"/>");
    }
}

/// What a legend says of one kind of mark: its class, whether it is a line, its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) class: &'a str,
    pub(crate) is_line: bool,
    pub(crate) text: &'a str,
}

/// The keys of a figure in one row that begins at `x`.
pub(crate) fn legend(out: &mut String, x: f64, y: f64, keys: &[Key<'_>]) {
    let mut at = x;
    for key in keys {
        put!(out, "<g class=\"key\" data-key=\"{}\">", key.class);
        if key.is_line {
            line(out, (at, y - 4.0), (at + 18.0, y - 4.0), &format!("curve {}", key.class));
        } else {
            rect(out, (at + 3.0, y - 10.0), (12.0, 12.0), key.class, "");
        }
        text(out, (at + 23.0, y), Anchor::Start, "t", key.text);
        out.push_str("</g>");
        at += 23.0 + text_width(key.text) + 20.0;
    }
}

/// A drawing.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Unique within a page: its file name when it stands alone.
    pub(crate) id: &'static str,
    /// What it shows, for people who cannot see it.
    pub(crate) title: String,
    pub(crate) height: f64,
    /// Of the `<svg>` element; `time` where the horizontal axis is the run's time.
    pub(crate) class: &'static str,
    pub(crate) body: String,
}

impl Figure {
    fn element(&self, more: &str, style: &str) -> String {
        let Self { id, title, height, class, body } = self;
        let (w, h, title) = (n(WIDTH), n(*height), escape(title));
        format!(
            "<svg id=\"{id}\" class=\"fig {class}\" viewBox=\"0 0 {w} {h}\" role=\"img\" \
             aria-labelledby=\"{id}-title\"{more}><title id=\"{id}-title\">{title}</title>\
             {style}{body}</svg>"
        )
    }

    /// As a part of a page.
    pub(crate) fn inline(&self) -> String {
        self.element("", "")
    }

    /// As a file of its own.
    pub(crate) fn alone(&self) -> String {
        let (w, h) = (n(WIDTH), n(self.height));
        let more = format!(" xmlns=\"{NAMESPACE}\" width=\"{w}\" height=\"{h}\"");
        let ground = format!("<rect class=\"ground\" width=\"{w}\" height=\"{h}\"/>");
        self.element(&more, &format!("<style>{STYLE}</style>{ground}")) + "\n"
    }
}

const NAMESPACE: &str = "http://www.w3.org/2000/svg";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_type_never_becomes_markup() {
        let bad = "<script>alert(\"x\")</script> & 'y'\u{1}\n";
        let safe = escape(bad);
        assert!(!safe.contains(['<', '>', '"', '\'', '\u{1}', '\n']), "{safe}");
        assert!(safe.contains("&lt;script&gt;") && safe.contains(" &amp; "), "{safe}");
        let mut out = String::new();
        rect(&mut out, (0.0, 0.0), (1.0, 1.0), "x", bad);
        text(&mut out, (0.0, 0.0), Anchor::End, "t", bad);
        assert!(!out.contains("<script"), "{out}");
        let figure = Figure { id: "f", title: bad.into(), height: 1.0, class: "", body: out };
        assert!(!figure.alone().contains("<script"));
    }

    #[test]
    fn coordinates_are_short_and_finite() {
        for (value, text) in [
            (1.0, "1"),
            (1.26, "1.3"),
            (-0.01, "0"),
            (f64::NAN, "0"),
            (f64::INFINITY, "0"),
            (1e9, "1000000"),
        ] {
            assert_eq!(n(value), text);
        }
    }

    #[test]
    fn paths_break_where_nothing_is_known_and_single_points_show() {
        let points = [None, Some((1.0, 2.0)), Some((2.0, 3.5)), None, Some((4.0, 5.0)), None];
        assert_eq!(path(&points), "M1 2L2 3.5M4 5h.1");
        assert_eq!(path(&[]), "");
    }
}
