//! Draws a block of lines in place of the one before, on any terminal that knows two sequences:
//! cursor up, and clear to the end.
//!
//! Invariants:
//! 1. No line reaches the last column, and no block the height of the terminal, so none wraps or
//!    scrolls away, and going up as many lines as were drawn reaches the block's first one.
//! 2. After the terminal became narrower, the lines of the old block may have been broken up, in a
//!    way that differs from terminal to terminal: the next block is drawn below it, over nothing.

use crate::report::format::{COLUMNS, Paint};

/// Of terminals that do not tell.
const DEFAULT: Size = Size { columns: 80, rows: 24 };

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Size {
    /// Of the terminal behind standard error.
    fn now() -> Self {
        let size = rustix::termios::tcgetwinsize(std::io::stderr());
        let told = size.ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        told.map_or(DEFAULT, |size| Self {
            columns: usize::from(size.ws_col),
            rows: usize::from(size.ws_row),
        })
    }

    /// What a line may fill.
    pub(super) fn width(self) -> usize {
        self.columns.saturating_sub(1).min(COLUMNS)
    }
}

/// What stands on the terminal.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) paint: Paint,
    /// Lines of the last block, and the columns it was drawn for.
    drawn: Option<(usize, usize)>,
    /// Instead of the terminal's own, in tests.
    fixed: Option<Size>,
}

impl Screen {
    pub(super) const fn new(paint: Paint) -> Self {
        Self { paint, drawn: None, fixed: None }
    }

    #[cfg(test)]
    pub(super) fn resize(&mut self, columns: usize, rows: usize) {
        self.fixed = Some(Size { columns, rows });
    }

    pub(super) fn size(&self) -> Size {
        self.fixed.unwrap_or_else(Size::now)
    }

    /// What to write so that `lines` stand where the last block stood.
    pub(super) fn redraw(&mut self, lines: &[String]) -> String {
        let size = self.size();
        let mut text = String::new();
        if let Some((drawn, columns)) = self.drawn
            && columns <= size.columns
            && drawn < size.rows
            && drawn > 0
        {
            text.push_str(&format!("\x1b[{drawn}A\x1b[J"));
        }
        let fitting = lines.len().min(size.rows.saturating_sub(1)).max(1);
        for line in lines.iter().take(fitting) {
            text.push_str(&cut(line, size.width()));
            text.push('\n');
        }
        self.drawn = Some((fitting.min(lines.len()), size.columns));
        text
    }
}

/// As much of `line` as fits, sequences for colour not counted and not cut apart.
fn cut(line: &str, width: usize) -> String {
    let (mut text, mut columns, mut in_sequence, mut coloured) = (String::new(), 0, false, false);
    for c in line.chars() {
        if in_sequence || c == '\x1b' {
            in_sequence = c == '\x1b' || !c.is_ascii_alphabetic();
            coloured = true;
        } else if columns >= width || c.is_control() {
            continue;
        } else {
            columns += 1;
        }
        text.push(c);
    }
    if coloured && in_sequence {
        text.push('m');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room_and_are_closed_where_a_line_is_cut() {
        assert_eq!(cut("\x1b[1;32mgood\x1b[0m and more", 6), "\x1b[1;32mgood\x1b[0m a");
        assert_eq!(cut("\x1b[31m0123456789\x1b[0m", 3), "\x1b[31m012\x1b[0m");
        assert_eq!(cut("tab\tand\nline", 80), "tabandline");
        assert_eq!(cut("●●●", 2), "●●");
    }
}
