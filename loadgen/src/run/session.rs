//! A run under way: processes connected, started and gathered from, faults begun and healed, and
//! what all of them reported put together.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::RunError;
use super::sums::{Sums, facts, lasted_ns, parts, quality};
use crate::agent::{Crew, Message};
use crate::backend::NodeView;
use crate::calibration::Calibration;
use crate::calibration::overload::Hottest;
use crate::clock::{self, NS_PER_MS, NS_PER_S};
use crate::cluster::node_name;
use crate::collect::{Collector, Interval};
use crate::config::RunConfig;
use crate::driver::Event;
use crate::history::{Files, Head, Keep};
use crate::live::Live;
use crate::oracle::judge::Oracle;
use crate::plan;
use crate::recorder::{Metric, TICK_NS};
use crate::report::contention::{self, Contention, MOST_HOT_KEYS, hottest_keys};
use crate::report::cost::{self, Cost, ServerShare};
use crate::report::faults::{self as fault_report, Evidence, FaultSpan};
use crate::report::machine::Look;
use crate::report::{self, Quality, RunResult, Timeline, hlog, json};
use crate::scratch::Scratch;
use crate::target::{Faults, Target};
use crate::thresholds::{self, SoFar, Watch};
use crate::verdict::{self, Facts};
use crate::witness::locks::Setup;
use crate::witness::report::WitnessReport;
use crate::witness::{Seen, Witness};

/// From the last process's "ready" to the start, so that all of them see it ahead.
const HEAD_START_NS: u64 = 100 * NS_PER_MS;
/// How long the processes may take to connect.
const CONNECT_LIMIT_NS: u64 = 30 * NS_PER_S;

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
    calibration: Calibration,
    hottest: Option<Hottest>,
    machine: Look,
    interrupted: bool,
    watch: Watch,
    /// The threshold that ended the run, and how it failed.
    ended_by: Option<String>,
}

/// Thresholds on a load that cannot be served say how long the run was, so they need a word that
/// this is meant; without them it is a warning.
fn refuse_overload(config: &RunConfig, hottest: Option<&Hottest>) -> Result<(), RunError> {
    let refused = !config.allow_overload && !config.thresholds.is_empty();
    match hottest.and_then(Hottest::overload).filter(|_| refused) {
        None => Ok(()),
        Some(text) => Err(RunError::Usage(text)),
    }
}

pub(super) fn measure(
    config: &RunConfig,
    target: &mut Target,
    live: &mut Live,
    dir: PathBuf,
) -> Result<RunResult, RunError> {
    live.stage("calibrating");
    let calibration = Calibration::measure(config, &target.node_urls());
    let hottest = Hottest::of(config, calibration.handoff_ns.unwrap_or(0));
    refuse_overload(config, hottest.as_ref())?;
    live.calibrated(&calibration, hottest.as_ref());
    live.stage("connecting");
    let scratch = Scratch::new("run").map_err(RunError::tool("cannot make a directory"))?;
    let cells = scratch.path().join("cells");
    let no_memory = "cannot make the checker's memory";
    let oracle = Oracle::create(&cells, config).map_err(RunError::tool(no_memory))?;
    let oracle = Arc::new(oracle);
    let crew = Crew::start(config, &cells).map_err(RunError::tool("cannot start the load"))?;
    let collector = Collector::new(config);
    let mut session = Session {
        config,
        target,
        live,
        oracle,
        crew,
        collector,
        calibration,
        hottest,
        machine: Look::before(),
        interrupted: false,
        watch: Watch::new(config),
        ended_by: None,
    };
    session.connect()?;
    let history = Files::open(scratch.path()).map_err(RunError::tool("cannot keep a history"))?;
    // Everybody has mapped it: from here on no end of this process can leave it behind.
    drop(scratch);

    let before = session.target.counters();
    let start_ns = clock::now_ns() + HEAD_START_NS;
    let measured_ns = start_ns + config.warmup_ns;
    let started_wall_ns = clock::wall_ns() + HEAD_START_NS + config.warmup_ns;
    let log = Log::create(&dir, started_wall_ns);
    let mut log = log.map_err(RunError::tool("cannot write latency.hlog"))?;
    session.oracle.start_at(measured_ns);
    session.start_faults(measured_ns)?;
    let witness = session.watch(measured_ns)?;
    session.crew.go(start_ns);
    session.live.start_at(measured_ns);
    session.collector.calm.start_at(measured_ns);
    session.gather(&mut log, measured_ns)?;
    session.know_faults();
    session.live.finish();
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
    let result = session.conclude(measured_ns, started_wall_ns, done, (&servers, &seen), dir);
    if config.history != Keep::None {
        let what = "cannot write history.bin";
        let head = Head::of(&result);
        history.write(&result.dir.join("history.bin"), &head).map_err(RunError::tool(what))?;
    }
    Ok(result)
}

impl Session<'_> {
    /// Watches the nodes from outside while the load is measured.
    fn watch(&self, measured_ns: u64) -> Result<Witness, RunError> {
        let (urls, oracle) = (self.target.node_urls(), Arc::clone(&self.oracle));
        let end_ns = measured_ns + self.config.duration_ns;
        // Without a warm-up everything that is ever granted belongs to the window.
        let early_ns = if self.config.warmup_ns == 0 { HEAD_START_NS / 2 } else { 0 };
        let owners = &self.collector.owners;
        let locks = self.config.witness.then(|| Setup {
            config: self.config.clone(),
            owners: (0..self.config.processes).map(|of| owners.get(&of).cloned()).collect(),
        });
        let witness = Witness::start(urls, oracle, measured_ns - early_ns, end_ns, locks);
        witness.map_err(RunError::tool("cannot watch the nodes"))
    }

    fn start_faults(&mut self, measured_ns: u64) -> Result<(), RunError> {
        let processes = self.crew.processes();
        let processes = processes.map_err(RunError::tool("cannot find the load's processes"))?;
        let oracle = Arc::clone(&self.oracle);
        let held = move |process| oracle.held_by(process, clock::now_ns());
        self.target.start_faults(measured_ns, &processes, Box::new(held))
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
                    // First, because a process that a fault has stopped hears of nothing.
                    self.target.stop_faults();
                    self.crew.stop();
                }
                Ok(message) => {
                    let message = match message {
                        Message::Gone(process, _) if self.target.has_killed(process) => {
                            Message::Killed(process)
                        }
                        other => other,
                    };
                    for text in returns(&message) {
                        self.live.event(text);
                    }
                    self.know_faults();
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
                        self.judge_meanwhile();
                        self.live.interval(&interval, &self.collector, &self.oracle);
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

    /// Tells those who ask for what was outside faults of these.
    fn know_faults(&mut self) {
        if self.collector.calm.is_wanted() {
            self.collector.calm.know(self.target.lasted());
        }
    }

    /// Ends the run if a threshold that was asked to does not hold.
    fn judge_meanwhile(&mut self) {
        if self.interrupted || self.ended_by.is_some() {
            return;
        }
        let now = SoFar {
            elapsed_ns: self.collector.rows.len() as u64 * TICK_NS,
            counts: &self.collector.counts,
            totals: &self.collector.totals,
            parts: &self.collector.parts,
            calm: self.collector.calm.hist(),
            violations: self.oracle.violations(),
            token_violations: self.oracle.tokens().violations,
        };
        if let Some(why) = self.watch.failed(&now) {
            self.live.event(why.clone());
            self.ended_by = Some(why);
            self.target.stop_faults();
            self.crew.stop();
        }
    }

    fn conclude(
        self,
        measured_ns: u64,
        started_wall_ns: u64,
        done: Faults,
        (servers, seen): (&[Option<ServerShare>], &Seen),
        dir: PathBuf,
    ) -> RunResult {
        let Self { config, target, oracle, crew, mut collector, interrupted, ended_by, .. } = self;
        let (calibration, hottest) = (self.calibration, self.hottest);
        let machine = self.machine.after();
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
            nodes: collector.node_times.series(),
            gaps: done.spans.iter().map(gap).collect(),
            node_facts: target.facts(),
            news: collector.first_news.clone(),
        };
        let findings = oracle.findings();
        let quality = Quality { hottest, ..quality(config, &collector) };
        let sums = Sums::of(config, &collector);
        let facts = facts(config, &collector, &sums, &quality);
        let hit_clients = done.spans.iter().any(|span| !span.processes.is_empty());
        let fault_problems = done.problems;
        let witness = seen.locks.as_ref();
        let witness = witness.map(|of| WitnessReport::of(of, config, &done.spans, measured_ns));
        let facts = Facts { interrupted, ended_by, fault_problems, hit_clients, witness, ..facts };
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
        let mut result = RunResult {
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
            contention: Contention {
                hottest_keys: hottest_keys(config, &oracle.most_granted(MOST_HOT_KEYS), counts.ok),
                ..Contention::of(seen, &counts, collector.totals.get(Metric::Hold))
            },
            fairness: contention::fairness(&clients, config.processes, sums.oldest_unfinished_ns),
            findings,
            witness: facts.witness,
            quality,
            calibration,
            failure_texts,
            thresholds: Vec::new(),
            verdict,
            timeline,
            machine,
            dir,
            has_scenario: false,
            config: RunConfig { nodes: shown, ..config.clone() },
            workloads: parts(config, &mut collector),
            totals: collector.totals,
            rows: collector.rows,
        };
        if !config.thresholds.is_empty() {
            let document = json::document(&result);
            let calm = collector.calm.hist();
            result.thresholds = thresholds::check(&config.thresholds, &document, calm);
            result.verdict.judge_thresholds(&result.thresholds);
        }
        result
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
