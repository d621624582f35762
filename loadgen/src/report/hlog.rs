//! `latency.hlog`: every interval's histograms as HdrHistogram's interval log, in nanoseconds, one
//! tag per metric.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::collect::Interval;

/// Starts a log whose instants count from `measured_wall_ns` after the Unix epoch.
pub(crate) fn begin(out: &mut impl Write, measured_wall_ns: u64) -> io::Result<()> {
    let start = SystemTime::UNIX_EPOCH + Duration::from_nanos(measured_wall_ns);
    IntervalLogWriterBuilder::new()
        .add_comment("[loadgen latencies in nanoseconds; one tag per metric]")
        .with_start_time(start)
        .with_base_time(start)
        .begin_log_with(out, &mut V2DeflateSerializer::new())?;
    writeln!(
        out,
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
    )
}

/// Appends one interval.
pub(crate) fn append(out: &mut impl Write, interval: &Interval) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new().begin_log_with(out, &mut serializer)?;
    for (metric, hist) in interval.hists.iter() {
        log.write_histogram(
            hist,
            Duration::from_nanos(interval.from_ns),
            Duration::from_nanos(interval.length_ns),
            Tag::new(metric.name()),
        )
        .map_err(|error| io::Error::other(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Hists;
    use crate::recorder::{Counts, Metric, histogram};
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn the_log_reads_back_with_tags_and_instants() {
        let mut hist = histogram();
        hist.saturating_record(1_500_000);
        let mut out = Vec::new();
        begin(&mut out, 1_795_438_143_000_000_000).unwrap();
        for n in 0..2_u64 {
            let mut hists = Hists::default();
            hists.add(Metric::Response, &hist);
            hists.add(Metric::Handoff, &hist);
            let interval = Interval {
                from_ns: n * 1_000_000_000,
                length_ns: 1_000_000_000,
                counts: Counts::default(),
                in_flight: 0,
                hists,
            };
            append(&mut out, &interval).unwrap();
        }
        let text = String::from_utf8(out.clone()).unwrap();
        assert!(text.contains("#[StartTime: 1795438143.000") && text.contains("#[BaseTime: "));
        // The crate's reader does not know the legend line that the Java tools write and skip.
        let body: String =
            text.lines().filter(|line| !line.starts_with('"')).flat_map(|l| [l, "\n"]).collect();
        let tags: Vec<(String, Duration)> = IntervalLogIterator::new(body.as_bytes())
            .map(Result::unwrap)
            .filter_map(|entry| match entry {
                LogEntry::Interval(at) => {
                    Some((at.tag().unwrap().as_str().to_owned(), at.start_timestamp()))
                }
                _ => None,
            })
            .collect();
        assert_eq!(tags.len(), 4);
        assert_eq!(tags[3], ("handoff".to_owned(), Duration::from_secs(1)));
    }
}
