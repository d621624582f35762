//! `latency.hlog`: every interval's histograms as HdrHistogram's interval log, in nanoseconds, one
//! tag per metric.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::collect::Interval;
use crate::document::base64;
use crate::recorder::{Hist, Metric};

/// Of a log that is read back.
const MOST_BYTES: u64 = 64 << 20;

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

/// The histograms of `metric` in the log at `path`, with the beginnings of their intervals.
pub(crate) fn read(path: &Path, metric: Metric) -> io::Result<Vec<(Duration, Hist)>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    // The crate's reader does not know the legend line that the Java tools write and skip.
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let body = lines.filter(|line| !line.starts_with(b"\"")).collect::<Vec<_>>().concat();
    let no_log = || io::Error::other("it is no interval log");
    let mut all = Vec::new();
    for entry in IntervalLogIterator::new(&body) {
        let LogEntry::Interval(interval) = entry.map_err(|_| no_log())? else { continue };
        if interval.tag().is_some_and(|tag| tag.as_str() == metric.name()) {
            let packed = base64::decode(interval.encoded_histogram()).ok_or_else(no_log)?;
            let hist = Deserializer::new().deserialize(&mut packed.as_slice());
            all.push((interval.start_timestamp(), hist.map_err(|_| no_log())?));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Hists;
    use crate::recorder::{Counts, histogram};

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
        let dir = crate::scratch::Scratch::new("hlog").unwrap();
        let path = dir.path().join("latency.hlog");
        std::fs::write(&path, &out).unwrap();
        let handoffs = read(&path, Metric::Handoff).unwrap();
        let begins: Vec<u64> = handoffs.iter().map(|(begin, _)| begin.as_secs()).collect();
        assert_eq!(begins, [0, 1]);
        assert!(handoffs.iter().all(|(_, read)| *read == hist));
        assert!(read(&path, Metric::Hold).unwrap().is_empty());
        std::fs::write(&path, "x,y\n").unwrap();
        assert!(read(&path, Metric::Hold).unwrap_err().to_string().contains("no interval log"));
    }
}
