//! `--find-max`: the highest rate at which a figure keeps a bound, by many short runs.
//!
//! Invariants:
//! 1. It ends within `--find-within` and the length of a probe, and says beforehand how long that
//!    is.
//! 2. A run that was unsafe ends the search.
//! 3. No probe is left out in silence: each is in the file, with its windows, with what the machine
//!    was like, and with the reason if it does not count.

mod estimate;
mod growth;
mod health;
mod ladder;
mod machine;
mod probe;
mod report;
mod search;
mod summary;
mod windows;

use serde::Serialize;

use crate::args::RunArgs;
use crate::clock::{NS_PER_MS, NS_PER_S, now_ns};
use crate::report::format::setting;
use crate::run::{self, RunError, files};
use crate::series::{self, Series};
use crate::sweep::SweepArgs;
use crate::sweep::words::{self, Setting};
use crate::thresholds::Threshold;
use crate::values::Rate;
pub(crate) use ladder::{level_of, rate_of};
pub(crate) use probe::failure;
use probe::{Probe, Prober};
use search::{Answer, FEWEST_PROBES, Search, Step};
use summary::Machine;

const SCHEMA: &str = "loadgen.findmax/2";

/// Length of a probe unless it is given. Thousands of arrivals at the rates of interest: a p99 of
/// fewer would be a matter of luck.
const PROBE_NS: u64 = 2 * NS_PER_S;
const PROBE_WARMUP_NS: u64 = 500 * NS_PER_MS;
/// What a probe takes besides its length, its warm-up and the pause, until it is known.
const OVERHEAD_NS: u64 = 700 * NS_PER_MS;
/// Where the search begins unless `--rate` says so.
const FIRST_RATE: f64 = 1_000.0;
/// Between two looks at a machine that is waited for.
const WAIT_NS: u64 = NS_PER_S;
/// The share of the time that may be spent so.
const MOST_WAITED: f64 = 0.4;

/// `findmax.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    schema: &'static str,
    argv: Vec<String>,
    bound: String,
    seed: u64,
    /// Time that a search might take.
    within_ns: u64,
    interrupted: bool,
    exit_code: u8,
    /// One for every combination of the other parameters.
    searches: Vec<Searched>,
}

/// One search.
#[derive(Debug, Serialize)]
struct Searched {
    settings: Vec<Setting>,
    answer: Option<Answer>,
    /// Why there is none.
    problem: Option<String>,
    elapsed_ns: u64,
    machine: Machine,
    probes: Vec<Probe>,
}

/// Reads what is bounded.
pub(crate) fn bound(text: &str) -> Result<Threshold, RunError> {
    let bound: Threshold =
        text.parse().map_err(|problem| RunError::Usage(format!("--find-max {problem}")))?;
    if bound.outside_faults || bound.abort {
        let text = format!("--find-max `{text}`: a bound alone is wanted, as in {EXAMPLE}");
        return Err(RunError::Usage(text));
    }
    Ok(bound)
}

const EXAMPLE: &str = "acquire.response.p99<5ms";

/// `loadgen run --find-max`.
pub(crate) fn run(args: &RunArgs, text: &str) -> Result<u8, RunError> {
    search_all(args, vec![Vec::new()], text)
}

/// `loadgen sweep --find-max`: a search at every point.
pub(crate) fn sweep(args: &SweepArgs, text: &str) -> Result<u8, RunError> {
    let points = crate::sweep::settings(&args.parameters, 1)?;
    if points.iter().flatten().any(|(name, _)| name == "rate" || name == "stages") {
        let text = "--find-max searches the rate; leave it out of the parameters";
        return Err(RunError::Usage(text.to_owned()));
    }
    search_all(&args.run, points, text)
}

/// How long a search may take, and its probes and rests.
#[derive(Clone, Copy, Debug)]
struct Times {
    within_ns: u64,
    probe_ns: u64,
    rest_ns: u64,
}

impl Times {
    fn of(args: &RunArgs, duration_ns: u64, warmup_ns: u64) -> Result<Self, RunError> {
        let (within_ns, rest_ns) = (args.series.find_within, args.series.settle);
        let probe_ns = duration_ns.saturating_add(warmup_ns + rest_ns + OVERHEAD_NS);
        let least_ns =
            probe_ns.saturating_mul(u64::from(FEWEST_PROBES)).div_ceil(NS_PER_S) * NS_PER_S;
        if within_ns < least_ns {
            return Err(RunError::Usage(format!(
                "--find-within {}: {FEWEST_PROBES} probes of this length take {}; give that much \
                 at least, or shorten --duration",
                setting(within_ns),
                setting(least_ns)
            )));
        }
        Ok(Self { within_ns, probe_ns, rest_ns })
    }
}

fn search_all(args: &RunArgs, points: Vec<Vec<Setting>>, text: &str) -> Result<u8, RunError> {
    let bound = bound(text)?;
    if args.requests.is_some() || args.stages.is_some() {
        let text = "--find-max makes runs of its own rates and length; leave --requests and \
                    --stages out";
        return Err(RunError::Usage(text.to_owned()));
    }
    let seed = args.seed.unwrap_or_else(run::fresh_seed);
    let was_typed = |flag: &str| series::was_typed(args, flag);
    let duration_ns = if was_typed("duration") { args.duration } else { PROBE_NS };
    let warmup_ns = if was_typed("warmup") { args.warmup } else { PROBE_WARMUP_NS };
    let times = Times::of(args, duration_ns, warmup_ns)?;
    let first_rate = match args.rate {
        Rate::Max => FIRST_RATE,
        Rate::PerSecond(rate) => rate,
    };
    let not_rate = |word: &&std::ffi::OsString| !series::is_flag(word, "rate");
    let typed: Vec<_> = args.series.typed.iter().filter(not_rate).cloned().collect();
    let prober =
        |settings| Prober { bound: &bound, typed: &typed, settings, seed, duration_ns, warmup_ns };
    let configs = points.iter().map(|settings| prober(settings).config(first_rate));
    let configs = configs.collect::<Result<Vec<_>, _>>()?;
    let Some(first) = configs.first() else { return Ok(0) };
    let mut series = Series::open(args, first, "find-max")?;
    series.progress(&report::plan(times.within_ns, times.probe_ns, points.len()));
    let mut searches = Vec::new();
    let mut failed = None;
    for settings in &points {
        let place = ladder::place_of(first_rate);
        let mut search = Search::new(place, seed);
        if !args.nodes.is_empty() {
            search = search.of_nodes_elsewhere();
        }
        let (searched, error) = finish(&mut series, &prober(settings), search, times);
        let is_unsafe = searched.probes.iter().any(|probe| probe.exit_code == 4);
        searches.push(searched);
        failed = error;
        if failed.is_some() || is_unsafe || series.interrupted() {
            break;
        }
    }
    let measured = searches.iter().any(|searched| !searched.probes.is_empty());
    match failed {
        Some(error) if !measured => return Err(error),
        Some(RunError::Interrupted) | None => {}
        Some(error) => {
            conclude(args, &series, searches, &bound, seed)?;
            return Err(error);
        }
    }
    conclude(args, &series, searches, &bound, seed)
}

/// A search under way.
struct Under<'a> {
    series: &'a mut Series,
    prober: &'a Prober<'a>,
    times: Times,
    began_ns: u64,
    search: Search,
    probes: Vec<Probe>,
    machine: Machine,
    label: String,
}

/// A search to its end, or as far as it came and what ended it.
fn finish(
    series: &mut Series,
    prober: &Prober<'_>,
    search: Search,
    times: Times,
) -> (Searched, Option<RunError>) {
    let mut under = Under {
        series,
        prober,
        times,
        began_ns: now_ns(),
        search,
        probes: Vec::new(),
        machine: Machine::default(),
        label: words::label(prober.settings),
    };
    let outcome = under.finish();
    let Under { search, mut probes, mut machine, began_ns, .. } = under;
    let disturbances = search.disturbances();
    machine.count(&disturbances);
    for (probe, disturbance) in probes.iter_mut().zip(disturbances) {
        probe.disturbed = disturbance.map(|disturbance| disturbance.words());
    }
    let (answer, problem, error) = match outcome {
        Ok(Ok(answer)) => (Some(answer), None, None),
        Ok(Err(problem)) => (None, Some(problem), None),
        Err(error) => (None, Some("the search was not finished".to_owned()), Some(error)),
    };
    let elapsed_ns = now_ns().saturating_sub(began_ns);
    let settings = prober.settings.to_vec();
    (Searched { settings, answer, problem, elapsed_ns, machine, probes }, error)
}

impl Under<'_> {
    fn finish(&mut self) -> Result<Result<Answer, String>, RunError> {
        let folder = crate::sweep::dir_name(&self.label);
        let dash = if folder.is_empty() { "" } else { "-" };
        self.look(self.times.rest_ns)?;
        loop {
            self.wait()?;
            let place = match self.search.next_step(self.left()) {
                Step::Probe(place) => place,
                Step::Done(outcome) => return Ok(outcome),
            };
            let doing = self.search.doing();
            let number = self.probes.len() + 1;
            let dir = format!("probes/{folder}{dash}{number:03}");
            let mut probe = self.prober.probe(self.series, place, &dir)?;
            let before = self.machine.last_job_ns();
            let after = self.look(self.times.rest_ns);
            probe.health.job_ns = health::around(before, self.machine.last_job_ns());
            self.search.record(place, probe.passed, probe.health);
            let disturbance = self.search.disturbances().pop().flatten();
            let line = report::probe_line(number, doing, &self.label, &probe, disturbance);
            self.series.progress(&line);
            let is_unsafe = probe.exit_code == 4;
            self.probes.push(probe);
            if is_unsafe {
                let text = "a probe violated mutual exclusion; see its report";
                return Ok(Err(text.to_owned()));
            }
            after?;
        }
    }

    fn look(&mut self, rest_ns: u64) -> Result<(), RunError> {
        let health = machine::look(self.series, rest_ns)?;
        self.search.look(health);
        self.machine.look(health);
        Ok(())
    }

    /// Waits for a machine that is as usual, no longer than may be.
    fn wait(&mut self) -> Result<(), RunError> {
        let most_ns = crate::num::floor_u64(MOST_WAITED * self.times.within_ns as f64);
        while let Some(unrest) = self.machine.last().and_then(|last| self.search.unrest(&last)) {
            if self.machine.waited_ns() >= most_ns || self.left() <= search::CHECKS {
                break;
            }
            if self.machine.is_calm() {
                self.series.progress(&report::wait_line(&unrest));
            }
            let began_ns = now_ns();
            self.look(WAIT_NS)?;
            self.machine.wait(now_ns().saturating_sub(began_ns));
        }
        self.machine.calm();
        Ok(())
    }

    /// Probes for which there is time.
    fn left(&self) -> u32 {
        let elapsed_ns = now_ns().saturating_sub(self.began_ns);
        let made = self.probes.len() as u64;
        let each_ns = elapsed_ns.saturating_sub(self.machine.waited_ns()).checked_div(made);
        let left_ns = self.times.within_ns.saturating_sub(elapsed_ns);
        let each_ns = each_ns.unwrap_or(self.times.probe_ns).max(1);
        crate::num::u32_of(left_ns / each_ns)
    }
}

fn conclude(
    args: &RunArgs,
    series: &Series,
    searches: Vec<Searched>,
    bound: &Threshold,
    seed: u64,
) -> Result<u8, RunError> {
    let interrupted = series.interrupted();
    let is_unsafe =
        searches.iter().flat_map(|searched| &searched.probes).any(|probe| probe.exit_code == 4);
    // No rate at all keeps the bound: as a threshold that failed.
    let none = searches.iter().all(|searched| searched.answer.is_none());
    let codes = [if is_unsafe { 4 } else { 0 }, if none { 3 } else { 0 }];
    let found = Found {
        schema: SCHEMA,
        argv: series.argv(),
        bound: bound.to_string(),
        seed,
        within_ns: args.series.find_within,
        interrupted,
        exit_code: series::worst_exit(codes, interrupted),
        searches,
    };
    series.write("findmax.json", &files::json_text(&found)?)?;
    let text = report::render(&found, &series.dir);
    files::show(args, &text, &found)?;
    Ok(found.exit_code)
}
