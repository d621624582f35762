//! Responses by time and by size: at most [`MOST_COLUMNS`] columns of time, each with counts in
//! steps of an eighth of a doubling, so that a plot of it and the percentiles of any column cost
//! the same for a run of a second as for one of six hours.
//!
//! Invariants:
//! 1. Every response of the measured time is in exactly one cell.
//! 2. When the columns are full, each two become one; none is ever dropped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::num;
use crate::recorder::{Hist, TICK_NS};

pub(crate) const MOST_COLUMNS: usize = 200;
/// Rows per doubling of latency: neighbours are 9 % apart.
pub(crate) const ROWS_PER_DOUBLING: u32 = 8;

type Column = BTreeMap<u16, u64>;

/// Gathers the map tick by tick.
#[derive(Clone, Debug)]
pub(crate) struct Heat {
    ticks_per_column: usize,
    columns: Vec<Column>,
}

impl Default for Heat {
    fn default() -> Self {
        Self { ticks_per_column: 1, columns: Vec::new() }
    }
}

impl Heat {
    /// Adds what was answered within tick `tick`; ticks without an answer count as time.
    pub(crate) fn add(&mut self, tick: usize, responses: Option<&Hist>) {
        while tick / self.ticks_per_column >= MOST_COLUMNS {
            self.fold();
        }
        let at = tick / self.ticks_per_column;
        if self.columns.len() <= at {
            self.columns.resize_with(at + 1, Column::new);
        }
        let (Some(column), Some(hist)) = (self.columns.get_mut(at), responses) else { return };
        for step in hist.iter_recorded() {
            let value = hist.lowest_equivalent(step.value_iterated_to());
            *column.entry(row_of(value)).or_default() += step.count_at_value();
        }
    }

    fn fold(&mut self) {
        let halves = std::mem::take(&mut self.columns);
        for (at, half) in halves.into_iter().enumerate() {
            match self.columns.last_mut().filter(|_| at % 2 == 1) {
                None => self.columns.push(half),
                Some(whole) => {
                    half.iter().for_each(|(&row, n)| *whole.entry(row).or_default() += n)
                }
            }
        }
        self.ticks_per_column *= 2;
    }

    /// Responses in all columns.
    pub(crate) fn total(&self) -> u64 {
        self.columns.iter().flat_map(Column::values).sum()
    }

    /// As it is written into files.
    pub(crate) fn map(&self, after_end: u64) -> HeatMap {
        let text = |column: &Column| {
            let cells: Vec<String> = column.iter().map(|(row, n)| format!("{row}:{n}")).collect();
            cells.join(" ")
        };
        HeatMap {
            metric: "acquire.response".to_owned(),
            dt_ns: self.ticks_per_column as u64 * TICK_NS,
            rows_per_doubling: ROWS_PER_DOUBLING,
            columns: self.columns.iter().map(text).collect(),
            after_end,
        }
    }
}

/// The row of a value: row `r` holds values from 2^(r/8) ns to below 2^((r+1)/8) ns.
fn row_of(value_ns: u64) -> u16 {
    let doublings = (value_ns.max(1) as f64).log2();
    let row = num::floor_u64(doublings * f64::from(ROWS_PER_DOUBLING));
    u16::try_from(row).unwrap_or(u16::MAX)
}

/// Responses by the instant of their grant and by their length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeatMap {
    pub(crate) metric: String,
    /// Time per column; the first begins with the measured time.
    pub(crate) dt_ns: u64,
    /// Row `r` holds values from 2^(r/this) ns to below 2^((r+1)/this) ns.
    pub(crate) rows_per_doubling: u32,
    /// `row:count` of the cells that are not empty, with blanks between.
    pub(crate) columns: Vec<String>,
    /// Responses that came after the measured time and are in no column.
    pub(crate) after_end: u64,
}

impl HeatMap {
    /// The cells of every column, by row. What is malformed is left out.
    pub(crate) fn cells(&self) -> Vec<Vec<(u32, u64)>> {
        let cell = |text: &str| {
            let (row, n) = text.split_once(':')?;
            // No value has more than 64 doublings.
            let row = row.parse().ok().filter(|&row| row <= 64 * self.rows_per_doubling);
            Some((row?, n.parse().ok()?))
        };
        let column = |text: &String| text.split(' ').filter_map(cell).collect();
        self.columns.iter().take(MOST_COLUMNS).map(column).collect()
    }

    /// The value where `row` begins.
    pub(crate) fn row_ns(&self, row: f64) -> f64 {
        (row / f64::from(self.rows_per_doubling.max(1))).exp2()
    }

    /// The value at `quantile` of a column, exact to its row; `None` of an empty one.
    pub(crate) fn quantile(&self, column: &[(u32, u64)], quantile: f64) -> Option<u64> {
        let all: u64 = column.iter().fold(0, |sum, (_, n)| sum.saturating_add(*n));
        let wanted = (quantile * all as f64).ceil().max(1.0);
        let mut passed = 0.0;
        column.iter().find_map(|&(row, n)| {
            passed += n as f64;
            let middle = f64::from(row) + 0.5;
            (passed >= wanted).then(|| num::floor_u64(self.row_ns(middle)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    fn total(map: &HeatMap) -> u64 {
        map.cells().iter().flatten().map(|(_, n)| n).sum()
    }

    #[test]
    fn every_response_is_in_one_cell_whatever_the_length_of_the_run() {
        for ticks in [1_usize, 199, 200, 201, 216_000] {
            let mut heat = Heat::default();
            let mut hist = histogram();
            hist.saturating_record(1_000);
            let is_answered = |tick: usize| tick % 1_000 < 50;
            for tick in 0..ticks {
                heat.add(tick, Some(&hist).filter(|_| is_answered(tick)));
            }
            let map = heat.map(3);
            let expected = (0..ticks).filter(|&tick| is_answered(tick)).count() as u64;
            assert_eq!((total(&map), map.after_end), (expected, 3), "{ticks} ticks");
            assert!(map.columns.len() <= MOST_COLUMNS && !map.columns.is_empty());
            let spanned = map.columns.len() as u64 * map.dt_ns;
            assert!(spanned >= ticks as u64 * TICK_NS, "{ticks} ticks in {spanned} ns");
            assert!(spanned < ticks as u64 * TICK_NS + map.dt_ns, "{ticks} ticks");
        }
    }

    #[test]
    fn rows_are_an_eighth_of_a_doubling_and_quantiles_lie_in_them() {
        assert_eq!([1, 2, 1_024, 1 << 20].map(row_of), [0, 8, 80, 160]);
        assert_eq!((row_of(0), row_of(u64::MAX)), (0, 512));
        let mut hist = histogram();
        (0..99).for_each(|_| hist.saturating_record(1_000_000));
        hist.saturating_record(50_000_000);
        let mut heat = Heat::default();
        heat.add(1, Some(&hist));
        let map = heat.map(0);
        let cells = map.cells();
        assert_eq!((cells.len(), cells[0].len()), (2, 0), "a tick without an answer is time");
        for (quantile, value) in [(0.5, 1e6), (0.99, 1e6), (1.0, 5e7)] {
            let got = map.quantile(&cells[1], quantile).unwrap() as f64;
            assert!((got / value - 1.0).abs() < 0.09, "{quantile}: {got}");
        }
        assert_eq!(map.quantile(&cells[0], 0.5), None);
        let bad = HeatMap { columns: vec!["7:x 9 9:1 99999:1".to_owned()], ..map };
        assert_eq!(bad.cells(), [[(9, 1)]]);
    }
}
