//! What is shown while a run lasts: a block that is redrawn on a terminal, a line per interval
//! elsewhere. Goes to standard error, so that standard output stays for results.

use std::io::{IsTerminal, Write};

use crate::args::Progress;
use crate::calibration::Calibration;
use crate::calibration::overload::Hottest;
use crate::clock::NS_PER_S;
use crate::collect::{Collector, Interval};
use crate::config::RunConfig;
use crate::recorder::{Hist, Metric};
use crate::report::format::{self, Paint, many, maybe_ns};

/// Shows a run.
#[derive(Debug)]
pub(crate) struct Live {
    how: Progress,
    paint: Paint,
    title: String,
    total_ns: u64,
    headed: bool,
    drawn: usize,
    recent_p99: Vec<Option<u64>>,
    events: Vec<String>,
}

impl Live {
    pub(crate) fn new(config: &RunConfig, wanted: Progress, paint: Paint, nodes: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let how = match wanted {
            Progress::Auto if terminal => Progress::Block,
            Progress::Auto => Progress::Lines,
            other => other,
        };
        let title = format!(
            "loadgen  {}   seed {}   {}   {}, {} × {}",
            config.name,
            config.seed,
            many(nodes as u64, "node", "nodes"),
            many(config.clients.into(), "client", "clients"),
            config.processes,
            many(config.threads.into(), "thread", "threads")
        );
        Self {
            how,
            paint,
            title,
            total_ns: config.duration_ns,
            headed: false,
            drawn: 0,
            recent_p99: Vec::new(),
            events: Vec::new(),
        }
    }

    /// One word on what the run is doing before it measures.
    pub(crate) fn stage(&mut self, text: &str) {
        if self.how == Progress::Block {
            let lines = vec![self.title.clone(), format!(" {text}")];
            self.redraw(&lines);
        }
    }

    /// What the generator costs by itself, and what the load asks of its busiest name.
    pub(crate) fn calibrated(&mut self, found: &Calibration, hottest: Option<&Hottest>) {
        if let Some(words) = found.words() {
            self.title.push_str(&format!("\n {words}"));
        }
        self.events.extend(hottest.and_then(Hottest::overload));
    }

    /// A fault began or ended, a process died.
    pub(crate) fn event(&mut self, text: String) {
        self.events.push(text);
    }

    /// An interval is complete.
    pub(crate) fn interval(&mut self, interval: &Interval, all: &Collector, violations: u64) {
        match self.how {
            Progress::None | Progress::Auto => {}
            Progress::Lines => self.line(interval, violations),
            Progress::Block => self.block(interval, all, violations),
        }
    }

    fn line(&mut self, interval: &Interval, violations: u64) {
        let mut text = String::new();
        if !self.headed {
            self.headed = true;
            text.push_str(&format!(
                "{:>7} {:>8} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>5}  event\n",
                "time",
                "ok/s",
                "err",
                "resp.p50",
                "resp.p99",
                "max",
                "svc.p99",
                "handoff",
                "lag.p99",
                "viol"
            ));
        }
        let value = |metric, p| maybe_ns(interval.hists.at(metric, p));
        let max = maybe_ns(interval.hists.get(Metric::Response).map(Hist::max));
        let events = std::mem::take(&mut self.events).join("; ");
        text.push_str(&format!(
            "{:>6.1}s {:>8} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>5}  {events}\n",
            (interval.from_ns + interval.length_ns) as f64 / NS_PER_S as f64,
            format::rate(per_second(interval.counts.ok, interval.length_ns)),
            interval.counts.errors(),
            value(Metric::Response, 50.0),
            value(Metric::Response, 99.0),
            max,
            value(Metric::Service, 99.0),
            value(Metric::Handoff, 99.0),
            value(Metric::SchedLag, 99.0),
            violations,
        ));
        write_all(&text);
    }

    fn block(&mut self, interval: &Interval, all: &Collector, violations: u64) {
        let done_ns = interval.from_ns + interval.length_ns;
        let share = done_ns as f64 / self.total_ns.max(1) as f64;
        let filled = crate::num::usize_of(crate::num::floor_u64(40.0 * share.min(1.0)));
        let bar = format!("{}{}", "━".repeat(filled), "╌".repeat(40 - filled.min(40)));
        self.recent_p99.push(interval.hists.at(Metric::Response, 99.0));
        if self.recent_p99.len() > 24 {
            self.recent_p99.remove(0);
        }
        let counts = all.counts;
        let safe = match violations {
            0 => self.paint.good("0 violations"),
            n => self.paint.bad(&format!("{n} VIOLATIONS")),
        };
        let mut lines = vec![
            self.title.clone(),
            format!(
                " {:>5.0}s / {:.0}s {bar} {:3.0}%   {}/s   in flight {}",
                done_ns as f64 / NS_PER_S as f64,
                self.total_ns as f64 / NS_PER_S as f64,
                100.0 * share.min(1.0),
                format::rate(per_second(interval.counts.ok, interval.length_ns)),
                interval.in_flight
            ),
        ];
        for (metric, label) in [
            (Metric::Response, "acquire (response)"),
            (Metric::Service, "acquire (service)"),
            (Metric::Handoff, "handoff"),
        ] {
            let value = |p| maybe_ns(interval.hists.at(metric, p));
            let spark =
                if metric == Metric::Response { sparks(&self.recent_p99) } else { String::new() };
            let max = maybe_ns(interval.hists.get(metric).map(Hist::max));
            lines.push(format!(
                " {label:<19} p50 {:<8} p99 {:<8} max {max:<8} {spark}",
                value(50.0),
                value(99.0)
            ));
        }
        lines.push(format!(
            " ok {}   timeout {}   no quorum {}   quarantined {}   lost {}   {safe}",
            format::count(counts.ok),
            counts.timeout,
            counts.no_quorum,
            counts.quarantined,
            counts.lost
        ));
        let from = self.events.len().saturating_sub(4);
        lines.extend(self.events.get(from..).unwrap_or_default().iter().map(|e| format!(" {e}")));
        self.redraw(&lines);
    }

    fn redraw(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\x1b[J", self.drawn));
        }
        for line in lines {
            // A wrapped line would throw the count of lines off; sequences for colour are short.
            text.extend(line.chars().take(format::COLUMNS + 10));
            text.push('\n');
        }
        self.drawn = lines.len();
        write_all(&text);
    }
}

fn per_second(n: u64, span_ns: u64) -> f64 {
    if span_ns == 0 { 0.0 } else { n as f64 * NS_PER_S as f64 / span_ns as f64 }
}

/// A failure to show something is no failure of the run.
fn write_all(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Small bars on a logarithmic scale, the lowest value of the row at the bottom.
fn sparks(values: &[Option<u64>]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let lowest = values.iter().flatten().min().copied().unwrap_or(1).max(1);
    let bar = |value: &Option<u64>| match value {
        None => ' ',
        Some(value) => {
            let doublings = ((*value).max(1) as f64 / lowest as f64).log2();
            let at = crate::num::usize_of(crate::num::floor_u64(doublings * 1.5)).min(7);
            BARS.get(at).copied().unwrap_or('█')
        }
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparks_rise_with_the_value_and_leave_gaps() {
        assert_eq!(sparks(&[Some(100), Some(100), None, Some(400), Some(u64::MAX)]), "▁▁ ▄█");
        assert_eq!(sparks(&[]), "");
    }
}
