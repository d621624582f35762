//! What is shown while a run lasts: a block that is redrawn in place on a terminal, a line per
//! interval elsewhere. Goes to standard error, so that standard output stays for results.
//!
//! Invariants:
//! 1. Nothing but the block's own lines is ever overwritten: what stood on the terminal before, and
//!    what follows, stays in its scrollback.
//! 2. A failure to show something is no failure of the run.

mod block;
mod line;
mod screen;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;

use crate::args::Progress;
use crate::backend::NodeView;
use crate::calibration::Calibration;
use crate::calibration::overload::Hottest;
use crate::clock::{NS_PER_S, now_ns};
use crate::cluster::node_name;
use crate::collect::{Collector, Interval};
use crate::config::RunConfig;
use crate::num;
use crate::oracle::judge::Oracle;
use crate::plan::curve::Curve;
use crate::prometheus::{Exporter, Values};
use crate::recorder::Counts;
use crate::report::format::{Paint, many};
use crate::run::RunError;
use screen::Screen;

/// Events kept for the block; older ones have been seen.
const MOST_EVENTS: usize = 64;
/// Intervals in the row of small bars.
const SPARKS: usize = 24;
/// Lines between two headings.
const HEADING_EVERY: usize = 20;

/// Shows a run.
#[derive(Debug)]
pub(crate) struct Live {
    how: Progress,
    title: String,
    calibration: Option<String>,
    total_ns: u64,
    warmup_ns: u64,
    /// The start of the measured time, on the clock.
    measured_ns: Option<u64>,
    curve: Option<Curve>,
    lines: usize,
    screen: Screen,
    recent_p99: Vec<Option<u64>>,
    events: Vec<String>,
    /// Since when each node is what it is, on the time of the run.
    nodes: Vec<(NodeView, u64)>,
    hiccup_max_ns: u64,
    counts: Counts,
    exporter: Option<Exporter>,
}

/// What is shown of one interval.
#[derive(Debug)]
struct View<'a> {
    interval: &'a Interval,
    all: &'a Collector,
    violations: u64,
    /// Arrivals planned per second; `None` in a closed loop.
    offered_per_s: Option<f64>,
    answered_per_s: f64,
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
            many(config.processes.into(), "process", "processes"),
            many(config.threads.into(), "thread", "threads")
        );
        Self {
            how,
            title,
            calibration: None,
            total_ns: config.duration_ns,
            warmup_ns: config.warmup_ns,
            measured_ns: None,
            curve: config.curve(),
            lines: 0,
            screen: Screen::new(paint),
            recent_p99: Vec::new(),
            events: Vec::new(),
            nodes: Vec::new(),
            hiccup_max_ns: 0,
            counts: Counts::default(),
            exporter: None,
        }
    }

    /// Serves the values of every interval as well, at `--prometheus`.
    pub(crate) fn serve(&mut self, at: Option<SocketAddr>) -> Result<(), RunError> {
        let Some(at) = at else { return Ok(()) };
        let what = format!("cannot serve --prometheus at {at}");
        let exporter = Exporter::start(at).map_err(RunError::tool(&what))?;
        let text = format!("serving http://{}/metrics", exporter.at());
        match self.how {
            Progress::Lines => write_all(&format!("# {text}\n")),
            _ => self.event(text),
        }
        exporter.set(&Values::default());
        self.exporter = Some(exporter);
        Ok(())
    }

    /// One word on what the run is doing before it measures.
    pub(crate) fn stage(&mut self, text: &str) {
        if self.how == Progress::Block {
            let lines = self.head().chain([format!(" {text}")]).collect();
            self.draw(lines);
        }
    }

    /// What the generator costs by itself, and what the load asks of its busiest name.
    pub(crate) fn calibrated(&mut self, found: &Calibration, hottest: Option<&Hottest>) {
        self.calibration = found.words();
        if let Some(text) = hottest.and_then(Hottest::overload) {
            self.event(text);
        }
    }

    /// The load starts; its measured time begins at `measured_ns`.
    pub(crate) fn start_at(&mut self, measured_ns: u64) {
        self.measured_ns = Some(measured_ns);
        self.stage("warming up");
    }

    /// A fault began or ended, a process died.
    pub(crate) fn event(&mut self, text: String) {
        if self.events.len() >= MOST_EVENTS {
            self.events.remove(0);
        }
        match self.how {
            Progress::None => {}
            // A line has the time of its interval.
            Progress::Lines | Progress::Auto => self.events.push(text),
            Progress::Block => {
                let since = self.measured_ns.and_then(|at| now_ns().checked_sub(at));
                let second = |ns: u64| format!("{:.1}s ", ns as f64 / NS_PER_S as f64);
                self.events.push(format!("{}{text}", since.map(second).unwrap_or_default()));
            }
        }
    }

    /// An interval is complete.
    pub(crate) fn interval(&mut self, interval: &Interval, all: &Collector, oracle: &Oracle) {
        self.counts.add(&interval.counts);
        let (overlaps, tokens) = (oracle.violations(), oracle.tokens().violations);
        if let Some(exporter) = &self.exporter {
            exporter.set(&Values {
                counts: self.counts,
                totals: Some(&all.totals),
                looks: &all.looks,
                in_flight: interval.in_flight,
                measured_ns: interval.from_ns + interval.length_ns,
                violations: overlaps,
                fencing_violations: tokens,
                handovers: oracle.grants().handovers,
            });
        }
        let per_second = |n: f64| match interval.length_ns {
            0 => 0.0,
            span_ns => n * NS_PER_S as f64 / span_ns as f64,
        };
        let from_ns = self.warmup_ns + interval.from_ns;
        let offered =
            self.curve.as_ref().map(|curve| curve.arrivals(from_ns, from_ns + interval.length_ns));
        let view = View {
            interval,
            all,
            violations: overlaps + tokens,
            offered_per_s: offered.map(per_second),
            answered_per_s: per_second(interval.counts.finished() as f64),
        };
        match self.how {
            Progress::None | Progress::Auto => {}
            Progress::Lines => self.line(&view),
            Progress::Block => self.block(&view),
        }
    }

    /// The run is over; what was not shown yet is.
    pub(crate) fn finish(&mut self) {
        if self.how == Progress::Lines && !self.events.is_empty() {
            let text = format!("{}\n", line::events(std::mem::take(&mut self.events)));
            write_all(&text);
        }
    }

    fn line(&mut self, view: &View<'_>) {
        let mut text = String::new();
        if self.lines == 0 {
            text.extend(self.calibration.iter().map(|words| format!("# {words}\n")));
        }
        if self.lines.is_multiple_of(HEADING_EVERY) {
            text.push_str(&line::heading());
        }
        self.lines += 1;
        text.push_str(&line::of(view, std::mem::take(&mut self.events)));
        write_all(&text);
    }

    fn block(&mut self, view: &View<'_>) {
        let now_ns = view.interval.from_ns + view.interval.length_ns;
        self.recent_p99.push(view.interval.hists.at(crate::recorder::Metric::Response, 99.0));
        if self.recent_p99.len() > SPARKS {
            self.recent_p99.remove(0);
        }
        self.look(view.all, now_ns);
        let hiccups = view.interval.hists.get(crate::recorder::Metric::Hiccup);
        self.hiccup_max_ns = self.hiccup_max_ns.max(hiccups.map_or(0, crate::recorder::Hist::max));
        let lines = block::lines(self, view, self.screen.size());
        self.draw(lines);
    }

    /// Notes which nodes are something else than before.
    fn look(&mut self, all: &Collector, now_ns: u64) {
        for (at, look) in all.looks.iter().enumerate() {
            match self.nodes.get_mut(at) {
                None => self.nodes.push((look.view, now_ns)),
                Some(known) if known.0 != look.view => *known = (look.view, now_ns),
                Some(_) => {}
            }
        }
    }

    /// What every block begins with.
    fn head(&self) -> impl Iterator<Item = String> + use<> {
        let words = self.calibration.as_ref().map(|words| format!(" {words}"));
        std::iter::once(self.title.clone()).chain(words)
    }

    fn draw(&mut self, lines: Vec<String>) {
        let text = self.screen.redraw(&lines);
        write_all(&text);
    }
}

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
            let at = num::usize_of(num::floor_u64(doublings * 1.5)).min(7);
            BARS.get(at).copied().unwrap_or('█')
        }
    };
    values.iter().map(bar).collect()
}

/// `n3 ✖ away 8s`, `n1 ● 203µs`.
fn node(at: usize, view: NodeView, rtt: &str, for_ns: u64) -> String {
    let name = node_name(at);
    let seconds = for_ns / NS_PER_S;
    match view {
        NodeView::Up => format!("{name} ● {rtt}"),
        NodeView::Quarantined => format!("{name} ◐ quarantined {seconds}s"),
        NodeView::Away => format!("{name} ✖ away {seconds}s"),
    }
}

#[cfg(test)]
mod tests;
