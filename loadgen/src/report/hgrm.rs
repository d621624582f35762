//! `.hgrm`: the percentile table that HdrHistogram's tools and plotters read, in milliseconds.
//!
//! Layout of `outputPercentileDistribution` with 5 ticks per half distance; the last line has `inf`
//! in its fourth column, which plotters skip.

use std::io::{self, Write};

use crate::clock::NS_PER_MS;
use crate::recorder::Hist;

/// Writes `hist`, recorded in ns.
pub(crate) fn write(out: &mut impl Write, hist: &Hist) -> io::Result<()> {
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let ms = |ns: u64| ns as f64 / NS_PER_MS as f64;
    let mut total = 0;
    for step in hist.iter_quantiles(5) {
        total += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let value = ms(step.value_iterated_to());
        if quantile < 1.0 {
            let inverse = 1.0 / (1.0 - quantile);
            writeln!(out, "{value:12.6} {quantile:14.12} {total:10} {inverse:14.2}")?;
        } else {
            writeln!(out, "{value:12.6} {quantile:14.12} {total:10} {:>14}", "inf")?;
        }
    }
    let (mean, deviation) = (hist.mean() / NS_PER_MS as f64, hist.stdev() / NS_PER_MS as f64);
    writeln!(out, "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]")?;
    let (max, count) = (ms(hist.max()), hist.len());
    writeln!(out, "#[Max     = {max:12.6}, Total count    = {count:12}]")?;
    // The crate keeps its bucket counts to itself; they follow from the bounds.
    writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]", hist.buckets(), 2_048)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    #[test]
    fn the_table_has_four_columns_rises_and_ends_in_inf() {
        let mut hist = histogram();
        (1..=1_000_u64).for_each(|n| hist.saturating_record(n * 1_000_000));
        let mut out = Vec::new();
        write(&mut out, &hist).unwrap();
        let text = String::from_utf8(out).unwrap();
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        assert_eq!(lines.next(), Some(""));
        let rows: Vec<Vec<&str>> = lines
            .clone()
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert!(rows.iter().all(|row| row.len() == 4));
        let number = |at: usize| rows.iter().map(move |row| row[at].parse::<f64>().unwrap());
        for column in [0, 1, 2] {
            let all: Vec<f64> = number(column).collect();
            assert!(all.windows(2).all(|pair| pair[0] <= pair[1]), "column {column}");
        }
        let half = rows.iter().find(|row| row[1].starts_with("0.5000")).unwrap();
        let value: f64 = half[0].parse().unwrap();
        assert!((value - 500.0).abs() < 1.0, "{value}");
        assert_eq!(half[3], "2.00");
        let last = rows.last().unwrap();
        assert_eq!((last[2], last[3]), ("1000", "inf"));
        assert!(
            text.contains("#[Mean    =   500.5") && text.contains("Total count    =         1000")
        );
    }
}
