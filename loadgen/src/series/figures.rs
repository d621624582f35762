//! The figures that tables of several runs show, and their spread over repetitions.
//!
//! Invariant: what a run did not measure is `None`, and the spread of nothing is nothing.

use serde::Serialize;

use crate::document::Document;
use crate::metrics::{self, Name, Stat};
use crate::recorder::Metric;
use crate::report::format;

/// What a row of a table is made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// Arrivals planned per second; in a closed loop, those that were made.
    pub(crate) offered: Option<f64>,
    /// Answers per second.
    pub(crate) achieved: Option<f64>,
    /// Locks granted per second.
    pub(crate) throughput: Option<f64>,
    pub(crate) response_p50_ns: Option<f64>,
    pub(crate) response_p99_ns: Option<f64>,
    pub(crate) response_max_ns: Option<f64>,
    pub(crate) service_p99_ns: Option<f64>,
    /// Commands per write, over all nodes.
    pub(crate) batch: Option<f64>,
    /// CPU time of the generator, the library in it, over what its threads could use.
    pub(crate) cpu_share: Option<f64>,
    pub(crate) cpu_per_lock_ns: Option<f64>,
}

impl Figures {
    pub(crate) fn of(document: &Document) -> Self {
        let value = |metric, stat| {
            metrics::value(document, &Name::Latency(metric, stat)).map(|sample| sample.value)
        };
        let commands: u64 = document.nodes.iter().map(|node| node.commands).sum();
        let writes: u64 = document.nodes.iter().map(|node| node.writes).sum();
        Self {
            offered: document.totals.offered_rate,
            achieved: document.totals.achieved_rate,
            throughput: document.totals.ok_rate,
            response_p50_ns: value(Metric::Response, Stat::Percentile(50.0)),
            response_p99_ns: value(Metric::Response, Stat::Percentile(99.0)),
            response_max_ns: value(Metric::Response, Stat::Max),
            service_p99_ns: value(Metric::Service, Stat::Percentile(99.0)),
            batch: (writes > 0).then(|| crate::num::share(commands, writes)),
            cpu_share: document.quality.cpu_share,
            cpu_per_lock_ns: document.cost_per_acquisition.client_cpu_ns,
        }
    }

    /// Figures of which each is what `of` makes of it.
    pub(crate) fn from_each(of: impl Fn(fn(&Self) -> Option<f64>) -> Option<f64>) -> Self {
        Self {
            offered: of(|figures| figures.offered),
            achieved: of(|figures| figures.achieved),
            throughput: of(|figures| figures.throughput),
            response_p50_ns: of(|figures| figures.response_p50_ns),
            response_p99_ns: of(|figures| figures.response_p99_ns),
            response_max_ns: of(|figures| figures.response_max_ns),
            service_p99_ns: of(|figures| figures.service_p99_ns),
            batch: of(|figures| figures.batch),
            cpu_share: of(|figures| figures.cpu_share),
            cpu_per_lock_ns: of(|figures| figures.cpu_per_lock_ns),
        }
    }

    /// Their names in files, with what each is.
    pub(crate) const NAMES: [Column; 10] = [
        ("offered", Kind::Rate, |of| of.offered),
        ("achieved", Kind::Rate, |of| of.achieved),
        ("throughput", Kind::Rate, |of| of.throughput),
        ("acquire.response.p50", Kind::Time, |of| of.response_p50_ns),
        ("acquire.response.p99", Kind::Time, |of| of.response_p99_ns),
        ("acquire.response.max", Kind::Time, |of| of.response_max_ns),
        ("acquire.service.p99", Kind::Time, |of| of.service_p99_ns),
        ("batch", Kind::Number, |of| of.batch),
        ("cpu", Kind::Share, |of| of.cpu_share),
        ("cpu.per_lock", Kind::Time, |of| of.cpu_per_lock_ns),
    ];
}

/// A figure of a table: its name, how it is written, and which it is.
pub(crate) type Column = (&'static str, Kind, fn(&Figures) -> Option<f64>);

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Per second.
    Rate,
    /// In ns.
    Time,
    Share,
    Number,
}

impl Kind {
    pub(crate) fn text(self, value: Option<f64>) -> String {
        let Some(value) = value.and_then(crate::num::finite) else { return "-".to_owned() };
        match self {
            Self::Rate => format::rate(value),
            Self::Time => format::ns(crate::num::floor_u64(value.round())),
            Self::Share => format!("{:.0}%", 100.0 * value),
            Self::Number => format!("{value:.1}"),
        }
    }
}

/// Of one figure over several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` without values.
    pub(crate) fn of(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let values = values.into_iter().flatten().filter(|value| value.is_finite());
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }

    /// How far the runs lie apart, as a share of the median.
    pub(crate) fn width(&self) -> Option<f64> {
        (self.median > 0.0).then(|| (self.max - self.min) / self.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_median_in_its_middle_and_is_nothing_of_nothing() {
        let spread = Spread::of([Some(3.0), None, Some(1.0), Some(8.0)]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (3.0, 1.0, 8.0));
        assert!((spread.width().unwrap() - 7.0 / 3.0).abs() < 1e-12);
        let even = Spread::of([Some(3.0), Some(1.0), Some(8.0), Some(4.0)]).unwrap();
        assert!((even.median - 3.5).abs() < 1e-12);
        assert_eq!(Spread::of([None, Some(f64::NAN)]), None);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn unknown_figures_are_a_dash() {
        assert_eq!(Kind::Time.text(None), "-");
        assert_eq!(Kind::Rate.text(Some(f64::NAN)), "-");
        assert_eq!(Kind::Time.text(Some(1_500_000.0)), "1.50ms");
        assert_eq!(Kind::Share.text(Some(0.345)), "34%");
        assert_eq!(Kind::Rate.text(Some(17_489.6)), "17 490");
    }
}
