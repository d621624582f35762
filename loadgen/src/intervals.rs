//! Reads a `latency.hlog` back, interval by interval: what [`crate::report::hlog`] writes.
//!
//! Bounded: [`MOST_BYTES`] in all and [`MOST_LINE`] per line; one histogram is in memory at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use crate::document::base64;
use crate::num;
use crate::recorder::{Hist, Metric};

const MOST_BYTES: u64 = 1 << 30;
const MOST_LINE: u64 = 1 << 20;

fn bad(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Gives every histogram of the log to `take`, with its metric and the instant since the measured
/// start at which its interval begins. Metrics of other versions are passed over.
pub(crate) fn read(path: &Path, mut take: impl FnMut(Metric, u64, &Hist)) -> io::Result<()> {
    let mut lines = BufReader::new(File::open(path)?.take(MOST_BYTES));
    let mut line = Vec::new();
    let mut deserializer = Deserializer::new();
    for number in 1_u64.. {
        line.clear();
        if lines.by_ref().take(MOST_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        // The legend, which the crate's reader does not know, and comments.
        if matches!(line.first(), Some(b'"' | b'#')) {
            continue;
        }
        let wrong = |what: &str| bad(format!("line {number} of `{}` {what}", path.display()));
        if line.last() != Some(&b'\n') {
            return Err(wrong("is cut short"));
        }
        let entry = IntervalLogIterator::new(&line).next();
        let Some(Ok(LogEntry::Interval(entry))) = entry else {
            return Err(wrong("is no interval"));
        };
        let tag = entry.tag().map(|tag| tag.as_str().to_owned());
        let metric = Metric::ALL.into_iter().find(|metric| tag.as_deref() == Some(metric.name()));
        let Some(metric) = metric else { continue };
        let bytes = base64::decode(entry.encoded_histogram());
        let bytes = bytes.ok_or_else(|| wrong("has no base64"))?;
        let hist: Hist = deserializer
            .deserialize(&mut bytes.as_slice())
            .map_err(|_| wrong("has a histogram that cannot be read"))?;
        let from = entry.start_timestamp().as_nanos();
        take(metric, num::u64_of(from), &hist);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::{Hists, Interval};
    use crate::recorder::{Counts, histogram, merge};
    use crate::report::hlog;

    #[test]
    fn what_was_written_is_read_back_and_a_cut_is_told() {
        let dir = crate::scratch::Scratch::new("intervals").unwrap();
        let path = dir.path().join("latency.hlog");
        let mut out = Vec::new();
        hlog::begin(&mut out, 1_795_438_143_000_000_000).unwrap();
        let mut all = histogram();
        for n in 0..3_u64 {
            let mut hist = histogram();
            hist.saturating_record(1_000_000 * (n + 1));
            merge(&mut all, &hist);
            let mut hists = Hists::default();
            hists.add(Metric::Response, &hist);
            let interval = Interval {
                from_ns: n * 1_000_000_000,
                length_ns: 1_000_000_000,
                counts: Counts::default(),
                in_flight: 0,
                hists,
            };
            hlog::append(&mut out, &interval).unwrap();
        }
        std::fs::write(&path, &out).unwrap();
        let (mut merged, mut starts) = (histogram(), Vec::new());
        read(&path, |metric, from_ns, hist| {
            assert_eq!(metric, Metric::Response);
            starts.push(from_ns);
            merge(&mut merged, hist);
        })
        .unwrap();
        assert_eq!(starts, [0, 1_000_000_000, 2_000_000_000]);
        assert_eq!(merged, all);
        std::fs::write(&path, &out[..out.len() - 9]).unwrap();
        let text = read(&path, |_, _, _| {}).unwrap_err().to_string();
        assert!(text.contains("line") && text.contains("cut short"), "{text}");
    }
}
