//! `--find-max`: the highest rate at which a figure keeps a bound, by many short runs.
//!
//! Invariants:
//! 1. A probe passes only if its run is valid, keeps the bound, and the arrivals under way do not
//!    grow in number meanwhile: whoever falls behind slowly is beyond the limit, too.
//! 2. A run that was unsafe ends the search.
//! 3. The rate that is named was measured, and passed in two of three probes at least.

mod estimate;
mod growth;
mod report;
mod search;

use std::ffi::OsString;

use serde::Serialize;

use crate::args::RunArgs;
use crate::clock::{NS_PER_MS, NS_PER_S};
use crate::config::RunConfig;
use crate::document::Document;
use crate::run::{self, RunError, files};
use crate::series::figures::Figures;
use crate::series::{self, Series};
use crate::sweep::SweepArgs;
use crate::sweep::words::{self, Setting};
use crate::thresholds::{self, Threshold};
use crate::values::Rate;
use crate::verdict::Outcome;
pub(crate) use search::{Answer, Search, Step, level_of, rate_of};

const SCHEMA: &str = "loadgen.findmax/1";

/// Length of a probe unless it is given. Thousands of arrivals at the rates of interest: a p99 of
/// fewer would be a matter of luck.
const PROBE_NS: u64 = 2 * NS_PER_S;
const PROBE_WARMUP_NS: u64 = 500 * NS_PER_MS;
/// Where the search begins unless `--rate` says so.
const FIRST_RATE: f64 = 1_000.0;

/// `findmax.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    schema: &'static str,
    argv: Vec<String>,
    bound: String,
    seed: u64,
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
    probes: Vec<Probe>,
}

/// One run of a search.
#[derive(Debug, Serialize)]
pub(crate) struct Probe {
    rate: f64,
    #[serde(skip)]
    level: i32,
    dir: String,
    pub(crate) passed: bool,
    /// Why it did not.
    reason: Option<String>,
    /// The figure that is bounded, as it is shown.
    value: String,
    outcome: Outcome,
    pub(crate) exit_code: u8,
    figures: Figures,
}

/// What a search needs to make its runs.
pub(crate) struct Prober<'a> {
    pub(crate) bound: &'a Threshold,
    pub(crate) typed: &'a [OsString],
    pub(crate) settings: &'a [Setting],
    pub(crate) seed: u64,
    pub(crate) duration_ns: u64,
    pub(crate) warmup_ns: u64,
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

fn search_all(args: &RunArgs, points: Vec<Vec<Setting>>, text: &str) -> Result<u8, RunError> {
    let bound = bound(text)?;
    if args.requests.is_some() || args.stages.is_some() {
        let text = "--find-max makes runs of its own rates and length; leave --requests and \
                    --stages out";
        return Err(RunError::Usage(text.to_owned()));
    }
    let seed = args.seed.unwrap_or_else(run::fresh_seed);
    let typed = &args.series.typed;
    let was_typed = |flag: &str| series::was_typed(args, flag);
    let duration_ns = if was_typed("duration") { args.duration } else { PROBE_NS };
    let warmup_ns = if was_typed("warmup") { args.warmup } else { PROBE_WARMUP_NS };
    let first_rate = match args.rate {
        Rate::Max => FIRST_RATE,
        Rate::PerSecond(rate) => rate,
    };
    let typed: Vec<OsString> =
        typed.iter().filter(|word| !series::is_flag(word, "rate")).cloned().collect();
    let prober =
        |settings| Prober { bound: &bound, typed: &typed, settings, seed, duration_ns, warmup_ns };
    let configs = points.iter().map(|settings| prober(settings).config(first_rate));
    let configs = configs.collect::<Result<Vec<_>, _>>()?;
    let Some(first) = configs.first() else { return Ok(0) };
    let mut series = Series::open(args, first, "find-max")?;
    let mut searches = Vec::new();
    let mut failed = None;
    for settings in &points {
        let (searched, error) = search(&mut series, &prober(settings), first_rate);
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

/// Why a probe failed; `None` if it passed.
pub(crate) fn failure(document: &Document, bound: &Threshold) -> Option<String> {
    if document.verdict.outcome != Outcome::Pass {
        let reasons = &document.verdict.reasons;
        return Some(reasons.first().cloned().unwrap_or_else(|| "not valid".to_owned()));
    }
    let checked = thresholds::check(std::slice::from_ref(bound), document, None);
    if !checked.iter().all(|checked| checked.ok) {
        return Some(format!("{bound} not kept"));
    }
    growth::grows(document)
        .then(|| "arrivals under way grew in number: the rate is not sustained".to_owned())
}

impl Prober<'_> {
    /// The settings of a probe at `rate`.
    fn config(&self, rate: f64) -> Result<RunConfig, RunError> {
        let mut settings = self.settings.to_vec();
        settings.push(("rate".to_owned(), format!("{rate}")));
        let args = words::run_args(self.typed, &settings)?;
        let config = args.resolve("find-max", self.seed).map_err(RunError::Usage)?;
        // Thresholds of the run are judged by whoever looks at one; here the bound alone decides.
        let (duration_ns, warmup_ns) = (self.duration_ns, self.warmup_ns);
        Ok(RunConfig { duration_ns, warmup_ns, thresholds: Vec::new(), ..config })
    }

    /// One probe at the rate of `level`; its files go to `dir`.
    pub(crate) fn probe(
        &self,
        series: &mut Series,
        level: i32,
        dir: &str,
    ) -> Result<Probe, RunError> {
        let rate = rate_of(level);
        let document = series.run(&self.config(rate)?, dir)?;
        if document.run.interrupted {
            return Err(RunError::Interrupted);
        }
        let checked = thresholds::check(std::slice::from_ref(self.bound), &document, None);
        let checked = checked.into_iter().next().unwrap_or_default();
        let reason = failure(&document, self.bound);
        Ok(Probe {
            rate,
            level,
            dir: dir.to_owned(),
            passed: reason.is_none(),
            reason,
            value: checked.shown,
            outcome: document.verdict.outcome,
            exit_code: document.verdict.exit_code,
            figures: Figures::of(&document),
        })
    }
}

/// A search to its end, or as far as it came and what ended it.
fn search(series: &mut Series, prober: &Prober<'_>, first: f64) -> (Searched, Option<RunError>) {
    let mut search = Search::new(level_of(first), prober.seed);
    let mut probes: Vec<Probe> = Vec::new();
    let label = words::label(prober.settings);
    let folder = crate::sweep::dir_name(&label);
    let outcome = loop {
        let level = match search.next_step() {
            Step::Probe(level) => level,
            Step::Done(outcome) => break outcome,
        };
        let number = probes.len() + 1;
        let dir = format!("probes/{folder}{}{number:03}", if folder.is_empty() { "" } else { "-" });
        let probe = match prober.probe(series, level, &dir) {
            Ok(probe) => probe,
            Err(error) => {
                let problem = Some("the search was not finished".to_owned());
                let settings = prober.settings.to_vec();
                return (Searched { settings, answer: None, problem, probes }, Some(error));
            }
        };
        series.progress(&report::probe_line(number, &label, &probe, &search));
        search.record(level, probe.passed);
        let is_unsafe = probe.exit_code == 4;
        probes.push(probe);
        if is_unsafe {
            break Err("a probe violated mutual exclusion; see its report".to_owned());
        }
    };
    let settings = prober.settings.to_vec();
    let searched = match outcome {
        Ok(answer) => Searched { settings, answer: Some(answer), problem: None, probes },
        Err(problem) => Searched { settings, answer: None, problem: Some(problem), probes },
    };
    (searched, None)
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
        interrupted,
        exit_code: series::worst_exit(codes, interrupted),
        searches,
    };
    series.write("findmax.json", &files::json_text(&found)?)?;
    let text = report::render(&found, series);
    files::show(args, &text, &found)?;
    Ok(found.exit_code)
}
