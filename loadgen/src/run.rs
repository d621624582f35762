//! One run from settings to files: nodes up, processes connected, start, gather, faults healed,
//! verdict, reports, nodes down.
//!
//! Invariants:
//! 1. Whatever ends the run early, faults are healed, nodes are ended and, once the run has begun,
//!    the report is written.
//! 2. The exit code is the verdict's; a run that could not be made at all ends with 1, one that was
//!    asked for wrongly with 2.

mod sums;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crate::agent::{Crew, Message};
use crate::args::{Progress, RunArgs};
use crate::backend::NodeView;
use crate::clock::{self, NS_PER_MS, NS_PER_S, Utc};
use crate::cluster::node_name;
use crate::collect::{Collector, Interval};
use crate::config::RunConfig;
use crate::driver::Event;
use crate::live::Live;
use crate::oracle::judge::Oracle;
use crate::plan;
use crate::recorder::Metric;
use crate::report::contention::{self, Contention};
use crate::report::cost::{self, Cost, ServerShare};
use crate::report::faults::{self as fault_report, Evidence, FaultSpan};
use crate::report::format::Paint;
use crate::report::machine::Look;
use crate::report::{self, RunResult, Timeline, hgrm, hlog, html, json, tabular, text};
use crate::scratch::Scratch;
use crate::target::{Faults, Target};
use crate::verdict::{self, Facts};
use crate::witness::{Seen, Witness};

use sums::{Sums, facts, lasted_ns, quality};

/// From the last process's "ready" to the start, so that all of them see it ahead.
const HEAD_START_NS: u64 = 100 * NS_PER_MS;
/// How long the processes may take to connect.
const CONNECT_LIMIT_NS: u64 = 30 * NS_PER_S;

/// Why there is no run.
#[derive(Debug)]
pub(crate) enum RunError {
    /// The command line makes no sense: exit 2.
    Usage(String),
    /// Something failed: exit 1.
    Tool(String),
    /// Interrupted before anything was measured: exit 130.
    Interrupted,
}

impl RunError {
    fn tool(what: &str) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| Self::Tool(format!("{what}: {error}"))
    }
}

/// Makes a run and gives back its exit code.
pub(crate) fn run(args: &RunArgs, name: &str) -> Result<u8, RunError> {
    let fresh_seed = u64::from(std::process::id()) << 32 ^ clock::wall_ns();
    let mut config = args.resolve(name, fresh_seed % 1_000_000_000).map_err(RunError::Usage)?;
    let paint = Paint(
        !args.no_color
            && std::env::var_os("NO_COLOR").is_none()
            && io::IsTerminal::is_terminal(&io::stdout()),
    );
    let mut target = Target::bring_up(args, &config)?;
    config.nodes = target.urls();
    let dir = run_dir(args, name)?;
    let progress = if args.quiet { Progress::None } else { args.progress };
    let mut live = Live::new(&config, progress, paint, config.nodes.len());
    let result = measure(&config, &mut target, &mut live, dir.clone()).inspect_err(|_| {
        // Nothing was measured; a directory with files in it stays.
        let _ = std::fs::remove_dir(&dir);
    })?;
    report(args, &result, paint)?;
    Ok(result.verdict.exit_code)
}

fn run_dir(args: &RunArgs, name: &str) -> Result<PathBuf, RunError> {
    let dir = args.out.clone().unwrap_or_else(|| {
        let stem = Utc::from_unix_ns(clock::wall_ns()).file_stem();
        let base = Path::new("loadgen-runs");
        // Two runs within a second must not write into each other's files.
        let names = (1..).map(|n| if n == 1 { String::new() } else { format!("-{n}") });
        let mut names = names.map(|suffix| base.join(format!("{stem}-{name}{suffix}")));
        names.find(|dir| !dir.exists()).unwrap_or_else(|| base.join(name))
    });
    let what = format!("cannot create the report directory `{}`", dir.display());
    std::fs::create_dir_all(&dir).map_err(RunError::tool(&what))?;
    Ok(dir)
}

/// The interval log of a run, written as intervals complete.
struct Log(BufWriter<File>);

impl Log {
    fn create(dir: &Path, measured_wall_ns: u64) -> io::Result<Self> {
        let mut log = BufWriter::new(File::create(dir.join("latency.hlog"))?);
        hlog::begin(&mut log, measured_wall_ns)?;
        Ok(Self(log))
    }

    fn append(&mut self, interval: &Interval) -> Result<(), RunError> {
        hlog::append(&mut self.0, interval).map_err(RunError::tool("cannot write latency.hlog"))
    }
}

/// A run under way, as the parent sees it.
struct Session<'a> {
    config: &'a RunConfig,
    target: &'a mut Target,
    live: &'a mut Live,
    oracle: Arc<Oracle>,
    crew: Crew,
    collector: Collector,
    machine: Look,
    interrupted: bool,
}

fn measure(
    config: &RunConfig,
    target: &mut Target,
    live: &mut Live,
    dir: PathBuf,
) -> Result<RunResult, RunError> {
    live.stage("connecting");
    let scratch = Scratch::new("run").map_err(RunError::tool("cannot make a directory"))?;
    let cells = scratch.path().join("cells");
    let no_memory = "cannot make the checker's memory";
    let oracle = Oracle::create(&cells, config).map_err(RunError::tool(no_memory))?;
    let oracle = Arc::new(oracle);
    let crew = Crew::start(config, &cells).map_err(RunError::tool("cannot start the load"))?;
    let collector = Collector::new(config);
    let (machine, interrupted) = (Look::before(), false);
    let mut session =
        Session { config, target, live, oracle, crew, collector, machine, interrupted };
    session.connect()?;
    // Everybody has mapped it: from here on no end of this process can leave it behind.
    drop(scratch);

    let before = session.target.counters();
    let start_ns = clock::now_ns() + HEAD_START_NS;
    let measured_ns = start_ns + config.warmup_ns;
    let started_wall_ns = clock::wall_ns() + HEAD_START_NS + config.warmup_ns;
    let log = Log::create(&dir, started_wall_ns);
    let mut log = log.map_err(RunError::tool("cannot write latency.hlog"))?;
    session.oracle.start_at(measured_ns);
    session.target.start_faults(measured_ns)?;
    let witness = session.watch(measured_ns)?;
    session.crew.go(start_ns);
    session.live.stage("warming up");
    session.gather(&mut log, measured_ns)?;
    let seen = witness.end();
    let done = session.target.end_faults();
    let after = session.target.counters();
    for interval in session.collector.finish() {
        log.append(&interval)?;
    }
    log.0.flush().map_err(RunError::tool("cannot write latency.hlog"))?;
    let share =
        |(before, after): (&Option<_>, &Option<_>)| cost::share(before.as_ref(), after.as_ref());
    let servers: Vec<_> = before.iter().zip(&after).map(share).collect();
    Ok(session.conclude(measured_ns, started_wall_ns, done, (&servers, &seen), dir))
}

impl Session<'_> {
    /// Watches the nodes from outside while the load is measured.
    fn watch(&self, measured_ns: u64) -> Result<Witness, RunError> {
        let (urls, oracle) = (self.target.node_urls(), Arc::clone(&self.oracle));
        let end_ns = measured_ns + self.config.duration_ns;
        // Without a warm-up everything that is ever granted belongs to the window.
        let early_ns = if self.config.warmup_ns == 0 { HEAD_START_NS / 2 } else { 0 };
        let witness = Witness::start(urls, oracle, measured_ns - early_ns, end_ns);
        witness.map_err(RunError::tool("cannot watch the nodes"))
    }

    /// Waits until every process has its locks connected.
    fn connect(&mut self) -> Result<(), RunError> {
        let limit_ns = clock::now_ns() + CONNECT_LIMIT_NS;
        while !self.collector.all_ready() || self.collector.all_done() {
            if let Some(why) = self.collector.trouble.first() {
                return Err(RunError::Tool(format!("cannot start the load: {why}")));
            }
            let left_ns = limit_ns.saturating_sub(clock::now_ns());
            if left_ns == 0 {
                let text =
                    "the processes did not connect within 30 s; see whether the nodes answer";
                return Err(RunError::Tool(text.to_owned()));
            }
            match self.crew.messages().recv_timeout(Duration::from_nanos(left_ns)) {
                Ok(Message::Interrupted) => return Err(RunError::Interrupted),
                Ok(message) => drop(self.collector.take(message)),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Takes messages in until every process has given its final report.
    fn gather(&mut self, log: &mut Log, measured_ns: u64) -> Result<(), RunError> {
        // Beyond any planned end, a process that says nothing hangs.
        let planned_ns = measured_ns + self.config.duration_ns + self.config.grace_ns();
        let limit_ns = planned_ns + 30 * NS_PER_S;
        while !self.collector.all_done() {
            match self.crew.messages().recv_timeout(Duration::from_millis(100)) {
                Ok(Message::Interrupted) => {
                    self.interrupted = true;
                    self.live.event("interrupted: stopping and healing".to_owned());
                    self.crew.stop();
                }
                Ok(message) => {
                    for text in returns(&message) {
                        self.live.event(text);
                    }
                    let known = self.collector.trouble.len();
                    let intervals = self.collector.take(message);
                    for text in self.target.fault_news() {
                        self.live.event(text);
                    }
                    for text in self.collector.trouble.get(known..).unwrap_or_default() {
                        self.live.event(text.clone());
                    }
                    for interval in intervals {
                        log.append(&interval)?;
                        let violations = self.oracle.violations() + self.oracle.tokens().violations;
                        self.live.interval(&interval, &self.collector, violations);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if clock::now_ns() > limit_ns {
                        let text = "a process hung after its end";
                        self.collector.trouble.push(text.to_owned());
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }

    fn conclude(
        self,
        measured_ns: u64,
        started_wall_ns: u64,
        done: Faults,
        (servers, seen): (&[Option<ServerShare>], &Seen),
        dir: PathBuf,
    ) -> RunResult {
        let Self { config, target, oracle, crew, collector, machine, interrupted, .. } = self;
        let machine = machine.after();
        drop(crew);
        let shown = target.shown();
        let lasted_ns = lasted_ns(config, &collector);
        let end_ns = measured_ns + lasted_ns;
        let evidence =
            Evidence { measured_ns, end_ns, rows: &collector.rows, news: &collector.news };
        let gap = |from, to| oracle.longest_gap_ns(from, to, end_ns);
        let faults =
            done.spans.iter().map(|span| fault_report::judge(span, &evidence, gap)).collect();
        let gap = |span: &FaultSpan| {
            oracle.longest_gap(span.begin_ns, span.end_ns.unwrap_or(end_ns), end_ns)
        };
        let timeline = Timeline {
            heat: collector.heat.map(collector.late_responses()),
            gaps: done.spans.iter().map(gap).collect(),
            node_facts: target.facts(),
            news: collector.first_news.clone(),
        };
        let findings = oracle.findings();
        let quality = quality(config, &collector);
        let sums = Sums::of(config, &collector);
        let facts = facts(config, &collector, &sums, &quality);
        let facts = Facts { interrupted, fault_problems: done.problems, ..facts };
        let verdict = verdict::judge(config, &facts, &findings);
        let mut failure_texts: Vec<String> = Vec::new();
        for text in collector.finals.iter().flat_map(|(_, last)| &last.texts) {
            if failure_texts.len() < 8 && !failure_texts.contains(text) {
                failure_texts.push(text.clone());
            }
        }
        let clients: Vec<_> =
            collector.finals.iter().flat_map(|(_, last)| last.clients.iter().copied()).collect();
        let counts = collector.all_counts();
        RunResult {
            argv: std::env::args().map(|argument| target.hide(argument)).collect(),
            started_wall_ns,
            measured_ns,
            lasted_ns,
            plan_hash: plan::hash(config),
            interrupted,
            about: target.about(),
            counts: collector.counts,
            all_counts: counts,
            offered: sums.offered,
            unfinished: sums.unfinished,
            not_started: sums.not_started,
            oldest_unfinished_ns: sums.oldest_unfinished_ns,
            nodes: report::nodes(&collector, &shown, servers),
            cost: Cost::of(findings.sections, sums.cpu_whole_ns, servers),
            faults,
            contention: Contention::of(seen, &counts, collector.totals.get(Metric::Hold)),
            fairness: contention::fairness(&clients, config.processes, sums.oldest_unfinished_ns),
            findings,
            quality,
            failure_texts,
            verdict,
            timeline,
            machine,
            dir,
            config: RunConfig { nodes: shown, ..config.clone() },
            totals: collector.totals,
            rows: collector.rows,
        }
    }
}

/// How nodes come back, in words; all processes see the same, one is enough.
fn returns(message: &Message) -> Vec<String> {
    let Message::From(0, Event::Nodes(news)) = message else { return Vec::new() };
    let words = news.iter().filter_map(|news| match (news.was, news.now) {
        (_, NodeView::Quarantined) => Some(format!("{} quarantined", node_name(news.node))),
        (NodeView::Quarantined, NodeView::Up) => Some(format!("{} votes", node_name(news.node))),
        _ => None,
    });
    words.collect()
}

/// Writes every file and prints the report.
fn report(args: &RunArgs, result: &RunResult, paint: Paint) -> Result<(), RunError> {
    let write = |name: &str, bytes: &[u8]| {
        let path = result.dir.join(name);
        let what = format!("cannot write `{}`", path.display());
        std::fs::write(&path, bytes).map_err(RunError::tool(&what))
    };
    let document = json::document(result);
    let mut json = serde_json::to_vec_pretty(&document)
        .map_err(|error| RunError::Tool(format!("cannot write the result as JSON: {error}")))?;
    json.push(b'\n');
    write("result.json", &json)?;
    write("report.html", html::render(&document).as_bytes())?;
    write("series.csv", tabular::csv(&document).as_bytes())?;
    write("events.jsonl", tabular::events(&document).as_bytes())?;
    write("report.txt", text::render(result, Paint(false)).as_bytes())?;
    let mut table = Vec::new();
    if let Some(hist) = result.totals.get(Metric::Response) {
        hgrm::write(&mut table, hist).map_err(RunError::tool("cannot write acquire.hgrm"))?;
    }
    write("acquire.hgrm", &table)?;

    let text = text::render(result, paint);
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    // A reader that closed its end has seen enough; the files are written and the verdict stands.
    if to_stdout {
        let _ = io::stdout().write_all(&json);
        let _ = io::stderr().write_all(text.as_bytes());
    } else {
        if let Some(path) = &args.json {
            let what = format!("cannot write `{}`", path.display());
            std::fs::write(path, &json).map_err(RunError::tool(&what))?;
        }
        let _ = io::stdout().write_all(text.as_bytes());
    }
    Ok(())
}
