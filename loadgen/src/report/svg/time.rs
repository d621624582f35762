//! What figures over the run's time share: the axis, the shading of faults, and the lanes of nodes.
//!
//! Data lie in an inner drawing, `Plot`, whose horizontal unit is one of the outer; a page may
//! show a part of it by its `viewBox`, and moves what carries `data-x` along.

use super::scale::{Scale, time_label, time_ticks};
use super::{Anchor, WIDTH, line, n, put, rect, text, text_width};

pub(crate) const LEFT: f64 = 62.0;
pub(crate) const RIGHT: f64 = 14.0;
/// Units across the data.
pub(crate) const ACROSS: f64 = WIDTH - LEFT - RIGHT;
/// A row of labels of faults.
const LABEL_ROW: f64 = 15.0;
const MOST_LABEL_ROWS: usize = 3;
const LANE: f64 = 10.0;
const LANE_STEP: f64 = 15.0;

/// A fault to be shaded; instants count from the measured start.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Band {
    /// A class of the style sheet.
    pub(crate) class: &'static str,
    pub(crate) label: String,
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
}

/// What a node was for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stay {
    pub(crate) class: &'static str,
    pub(crate) what: String,
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
}

/// A node and what it was when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) name: String,
    pub(crate) stays: Vec<Stay>,
}

/// Time over the width of a figure, with the faults of the run.
#[derive(Clone, Debug)]
pub(crate) struct Time {
    pub(crate) span_ns: u64,
    pub(crate) bands: Vec<Band>,
    x: Scale,
}

impl Time {
    pub(crate) fn new(span_ns: u64, bands: Vec<Band>) -> Self {
        let x = Scale::linear((0.0, span_ns.max(1) as f64), (0.0, ACROSS));
        Self { span_ns, bands, x }
    }

    /// Where an instant lies, from the left of the data.
    pub(crate) fn x(&self, at_ns: f64) -> f64 {
        self.x.at(at_ns)
    }

    fn x_ns(&self, at_ns: u64) -> f64 {
        self.x(at_ns as f64)
    }

    /// Opens the inner drawing from `top` on; its faults are shaded over its whole height.
    pub(crate) fn open(&self, out: &mut String, top: f64, height: f64) {
        let (x, y, w, h) = (n(LEFT), n(top), n(ACROSS), n(height));
        put!(
            out,
            "<svg class=\"plot\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" \
             viewBox=\"0 0 {w} {h}\" preserveAspectRatio=\"none\">"
        );
        for band in &self.bands {
            let (from, to) = (self.x_ns(band.begin_ns), self.x_ns(band.end_ns));
            // A fault of no length shows as well.
            let size = ((to - from).max(1.5), height);
            rect(out, (from, 0.0), size, &format!("band {}", band.class), &band.label);
        }
    }

    pub(crate) fn close(out: &mut String) {
        out.push_str("</svg>");
    }

    /// The edges of faults, over the data.
    pub(crate) fn edges(&self, out: &mut String, top: f64, bottom: f64) {
        for band in &self.bands {
            for at in [band.begin_ns, band.end_ns] {
                let x = self.x_ns(at);
                line(out, (x, top), (x, bottom), "edge");
            }
        }
    }

    /// Rows that the labels of faults need.
    fn label_rows(&self) -> Vec<Option<(usize, f64)>> {
        let mut free_from = [0.0_f64; MOST_LABEL_ROWS];
        let mut placed = Vec::new();
        for band in &self.bands {
            let width = text_width(&band.label) + 8.0;
            let middle = (self.x_ns(band.begin_ns) + self.x_ns(band.end_ns)) / 2.0;
            let from = (middle - width / 2.0).clamp(0.0, (ACROSS - width).max(0.0));
            let row = free_from.iter().position(|&free| free <= from);
            placed.push(row.map(|row| (row, from + width / 2.0)));
            if let Some(free) = row.and_then(|row| free_from.get_mut(row)) {
                *free = from + width;
            }
        }
        placed
    }

    /// How much the labels of faults need.
    pub(crate) fn labels_height(&self) -> f64 {
        let rows = self.label_rows().into_iter().flatten().map(|(row, _)| row + 1).max();
        rows.unwrap_or(0) as f64 * LABEL_ROW
    }

    /// Writes the names of the faults; one that finds no room is told by its shading alone.
    pub(crate) fn labels(&self, out: &mut String, top: f64) {
        for (band, place) in self.bands.iter().zip(self.label_rows()) {
            if let Some((row, x)) = place {
                let y = top + row as f64 * LABEL_ROW + 11.0;
                moved(out, x, |out| text(out, (0.0, y), Anchor::Middle, "t strong", &band.label));
            }
        }
    }

    /// Marks and their labels under the data.
    pub(crate) fn axis(&self, out: &mut String, bottom: f64) {
        line(out, (LEFT, bottom), (LEFT + ACROSS, bottom), "axis");
        put!(out, "<g class=\"xticks\" data-y=\"{}\">", n(bottom));
        for at in time_ticks(self.span_ns) {
            let x = LEFT + self.x_ns(at);
            line(out, (x, bottom), (x, bottom + 4.0), "axis");
            let label = time_label(at);
            let beyond = x + text_width(&label) / 2.0 > WIDTH - 2.0;
            let anchor = if beyond { Anchor::End } else { Anchor::Middle };
            let x = if beyond { WIDTH - 2.0 } else { x };
            text(out, (x, bottom + 17.0), anchor, "t", &label);
        }
        out.push_str("</g>");
    }

    /// Draws `lanes` inside the inner drawing.
    pub(crate) fn lanes(&self, out: &mut String, lanes: &[Lane]) {
        for (at, lane) in lanes.iter().enumerate() {
            let y = at as f64 * LANE_STEP + 2.0;
            for stay in &lane.stays {
                let (from, to) = (self.x_ns(stay.begin_ns), self.x_ns(stay.end_ns));
                let title = format!("{} {}", lane.name, stay.what);
                let size = ((to - from).max(1.0), LANE);
                rect(out, (from, y), size, &format!("stay {}", stay.class), &title);
            }
        }
    }

    /// Names the lanes beside them.
    pub(crate) fn lane_names(out: &mut String, top: f64, lanes: &[Lane]) {
        for (at, lane) in lanes.iter().enumerate() {
            let y = top + at as f64 * LANE_STEP + 11.0;
            text(out, (LEFT - 6.0, y), Anchor::End, "t", &lane.name);
        }
    }
}

/// How much lanes need.
pub(crate) fn lanes_height(lanes: &[Lane]) -> f64 {
    lanes.len() as f64 * LANE_STEP
}

/// Something that goes along with the time under it: drawn around 0, put to `x` of the data.
pub(crate) fn moved(out: &mut String, x: f64, draw: impl FnOnce(&mut String)) {
    put!(out, "<g data-x=\"{}\" transform=\"translate({} 0)\">", n(x), n(LEFT + x));
    draw(out);
    out.push_str("</g>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band(begin_s: u64, end_s: u64) -> Band {
        let label = format!("kill n{begin_s}");
        let ns = 1_000_000_000;
        Band { class: "f-kill", label, begin_ns: begin_s * ns, end_ns: end_s * ns }
    }

    #[test]
    fn labels_of_faults_do_not_overlap_and_give_up_after_three_rows() {
        let time = Time::new(100_000_000_000, vec![band(1, 2), band(50, 60)]);
        assert!((time.labels_height() - LABEL_ROW).abs() < 1e-9, "side by side");
        let crowd: Vec<Band> = (1..=9).map(|at| band(at, at + 1)).collect();
        let rows = Time::new(100_000_000_000, crowd).label_rows();
        let shown: Vec<(usize, f64)> = rows.iter().flatten().copied().collect();
        assert!(shown.len() < 9 && shown.len() >= 3, "{rows:?}");
        for (at, (row, x)) in shown.iter().enumerate() {
            for (other, y) in &shown[at + 1..] {
                assert!(row != other || (x - y).abs() >= text_width("kill n1"), "{rows:?}");
            }
        }
        assert!(Time::new(1, Vec::new()).labels_height().abs() < 1e-9);
    }

    #[test]
    fn bands_begin_and_end_where_the_axis_says() {
        let time = Time::new(10_000_000_000, vec![band(2, 4)]);
        let mut out = String::new();
        time.open(&mut out, 0.0, 50.0);
        let (x, width) = (n(ACROSS * 0.2), n(ACROSS * 0.2));
        assert!(
            out.contains(&format!("x=\"{x}\" y=\"0\" width=\"{width}\" height=\"50\"")),
            "{out}"
        );
    }
}
