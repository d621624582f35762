//! Intervals of several machines on one axis of time, which begins where the first machine's
//! measured time begins. The grain is that of `--interval`, to which clocks of machines agree well
//! enough.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::Source;
use crate::collect::{Hists, Interval};
use crate::document::{ResponseSeries, Series};
use crate::intervals;
use crate::recorder::{Counts, Hist, Metric, TICK_NS};
use crate::report::hlog;

/// No run is as long, in intervals: six hours of 100 ms.
const MOST_INTERVALS: u64 = 250_000;

#[derive(Debug)]
pub(super) struct Aligned {
    pub(super) started_ns: u64,
    pub(super) ended_ns: u64,
    pub(super) series: Series,
    /// Every machine's interval log was there.
    pub(super) has_logs: bool,
}

#[derive(Debug, Default)]
struct Sums {
    ok: u64,
    errors: u64,
    in_flight: u64,
}

/// Aligns all, and writes the merged interval log into `out` if every part has one.
pub(super) fn align(sources: &[Source], out: &Path) -> io::Result<Aligned> {
    let started_ns = sources.iter().map(|source| source.started_ns).min().unwrap_or(0);
    let ended_ns = sources.iter().map(Source::ended_ns).max().unwrap_or(started_ns);
    let interval_ns = sources.first().map_or(TICK_NS, |first| first.document.config.interval_ns);
    let interval_ns = interval_ns.max(TICK_NS);
    let index = |source: &Source, since_ns: u64| {
        let offset = source.started_ns.saturating_sub(started_ns).saturating_add(since_ns);
        (offset / interval_ns).min(MOST_INTERVALS)
    };
    let mut sums: BTreeMap<u64, Sums> = BTreeMap::new();
    for source in sources {
        // What was in flight is a state, not a flow: the last of each interval counts.
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        let series = &source.document.series;
        for (at, &since_ns) in series.t.iter().enumerate() {
            let of = |column: &[u64]| column.get(at).copied().unwrap_or(0);
            let at = index(source, since_ns);
            let sum = sums.entry(at).or_default();
            sum.ok += of(&series.ok);
            sum.errors += of(&series.errors);
            last.insert(at, of(&series.in_flight));
        }
        for (at, in_flight) in last {
            sums.entry(at).or_default().in_flight += in_flight;
        }
    }
    let logs = logs(sources, index);
    if let Some(logs) = &logs {
        write(out, started_ns, interval_ns, logs)?;
    }
    let rows = sums.last_key_value().map_or(0, |(last, _)| last + 1);
    let response = |pick: &dyn Fn(&Hist) -> u64| -> Vec<Option<u64>> {
        let of = |at: u64| {
            let hist = logs.as_ref()?.get(&at)?.get(Metric::Response)?;
            (!hist.is_empty()).then(|| pick(hist))
        };
        (0..rows).map(of).collect()
    };
    let column = |pick: fn(&Sums) -> u64| -> Vec<u64> {
        (0..rows).map(|at| sums.get(&at).map_or(0, pick)).collect()
    };
    // Through JSON, so that columns added to the series later are empty here, not in the way.
    let series = serde_json::json!({
        "interval_ns": interval_ns,
        "t": (0..rows).map(|at| at * interval_ns).collect::<Vec<u64>>(),
        "ok": column(|sum| sum.ok),
        "errors": column(|sum| sum.errors),
        "in_flight": column(|sum| sum.in_flight),
        "acquire.response": ResponseSeries {
            max: response(&Hist::max),
            p50: response(&|hist| hist.value_at_percentile(50.0)),
            p99: response(&|hist| hist.value_at_percentile(99.0)),
        },
    });
    let series = serde_json::from_value(series).map_err(io::Error::other)?;
    Ok(Aligned { started_ns, ended_ns, series, has_logs: logs.is_some() })
}

/// The histograms of all machines by interval; `None` if one has no log that can be read.
fn logs(sources: &[Source], index: impl Fn(&Source, u64) -> u64) -> Option<BTreeMap<u64, Hists>> {
    let mut all: BTreeMap<u64, Hists> = BTreeMap::new();
    for source in sources {
        let dir =
            if source.path.is_dir() { Some(source.path.as_path()) } else { source.path.parent() };
        let log = dir?.join("latency.hlog");
        intervals::read(&log, |metric, from_ns, hist| {
            all.entry(index(source, from_ns)).or_default().add(metric, hist);
        })
        .ok()?;
    }
    Some(all)
}

fn write(
    out: &Path,
    started_ns: u64,
    interval_ns: u64,
    logs: &BTreeMap<u64, Hists>,
) -> io::Result<()> {
    let mut log = BufWriter::new(File::create(out.join("latency.hlog"))?);
    hlog::begin(&mut log, started_ns)?;
    for (&at, hists) in logs {
        let mut copy = Hists::default();
        hists.iter().for_each(|(metric, hist)| copy.add(metric, hist));
        let interval = Interval {
            from_ns: at * interval_ns,
            length_ns: interval_ns,
            counts: Counts::default(),
            in_flight: 0,
            hists: copy,
        };
        hlog::append(&mut log, &interval)?;
    }
    log.flush()
}
