//! `loadgen tune`: which settings of the engine serve an objective best, on these nodes and under
//! this load.
//!
//! Invariants:
//! 1. It ends within its budget: nothing is begun that does not fit.
//! 2. A setting is recommended only if it beats the control beyond the noise floor, with 95 %
//!    certainty, in runs that took turns with those of the control.
//! 3. A run that was unsafe ends it with 4, and nothing is recommended.

mod advice;
mod effects;
mod objective;
mod outcome;
mod plan;
mod race;
mod report;
mod space;
#[cfg(test)]
mod tests;

use clap::Args;

use crate::args::RunArgs;
use crate::clock::{self, NS_PER_MS};
use crate::config::{EngineKnobs, RunConfig};
use crate::document::Document;
use crate::findmax;
use crate::metrics;
use crate::report::format::wrapped;
use crate::run::{self, RunError, files};
use crate::series::figures::Figures;
use crate::series::{self, Series};
use crate::values::{self, Rate};
use crate::verdict::Outcome as RunOutcome;
use objective::{Objective, What};
use outcome::Advice;
use plan::Plan;
use race::{Machine, Measured, Race, Stop};

const SCHEMA: &str = "loadgen.tune/1";
/// Not recorded at the beginning of a run, unless --warmup says otherwise.
const WARMUP_NS: u64 = 300 * NS_PER_MS;
/// Between two runs, unless --settle says otherwise.
const SETTLE_NS: u64 = 100 * NS_PER_MS;
/// The run from which it is learned what runs take besides their length.
const PILOT_NS: u64 = 300 * NS_PER_MS;
/// What every run takes besides length, warm-up and pause, at least.
const LEAST_OVERHEAD_NS: u64 = 150 * NS_PER_MS;
/// What is added to that: runs of an overloaded engine end later.
const OVERHEAD_MARGIN: f64 = 1.2;
/// Probes of one figure where that is a rate, and their shortest length.
const PROBES: u64 = 5;
const SHORTEST_PROBE_NS: u64 = 400 * NS_PER_MS;
/// Rungs of the first step up or down; five halvings span twice as many.
const FIRST_STEP: i32 = 8;
const FIRST_RATE: f64 = 1_000.0;
const MOST_DOUBLINGS: u32 = 16;

const ABOUT: &str = "Objectives: 'min p99 @ 10k/s', 'min cpu @ 10k/s', 'max rate @ p99<5ms', 'max \
throughput'; any figure of a run by name, p99 meaning acquire.response.p99.\n\
Tuned are batch_gather, batch_max_commands, batch_gather_min_inflight, batch_max_bytes and \
max_inflight; what is given of these, as flags, in a scenario or by --start, is what the search \
begins with and is compared to. First the control runs several times, which shows how far equal \
runs differ; then many configurations run shortly, the better ones longer, and the best take \
turns with the control. Files: tune.json, tuned.toml for `-f`, and those of every run.";

/// The arguments of `loadgen tune`.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct TuneArgs {
    /// What is to be had: 'min p99 @ 10k/s', 'max rate @ p99<5ms', 'min cpu @ 10k/s'
    #[arg(long, value_name = "GOAL", help_heading = "Tune")]
    objective: String,
    /// Time for all of it; the plan is cut to fit
    #[arg(long, value_name = "TIME", default_value = "5m", help_heading = "Tune",
          value_parser = values::positive_duration)]
    budget: u64,
    /// Settings to begin with and to compare with, as in batch_max_commands=1,batch_gather=off
    /// [default: the engine's defaults]
    #[arg(long, value_name = "NAME=VALUE,..", help_heading = "Tune")]
    start: Option<String>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Nodes under a load, and a budget to use them.
struct Bench {
    series: Series,
    base: RunConfig,
    what: What,
    began_ns: u64,
    budget_ns: u64,
    /// What a run takes besides its length: the longest seen.
    overhead_ns: u64,
    made: u32,
    /// The length of runs of the last round.
    final_ns: u64,
    /// Figures of runs of the last round.
    finals: Vec<(EngineKnobs, Figures)>,
    /// Where the search of a rate begins, by configuration.
    rungs: Vec<(EngineKnobs, i32)>,
}

/// Tunes and gives back the exit code.
pub(crate) fn run(args: &TuneArgs) -> Result<u8, RunError> {
    let began_ns = clock::now_ns();
    let objective = Objective::parse(&args.objective).map_err(RunError::Usage)?;
    let base = base(args, &objective)?;
    let control = match &args.start {
        Some(text) => space::start(text, &base.engine).map_err(RunError::Usage)?,
        None => space::plain(&base.engine),
    };
    let mut race = Race::new(&control, objective.good(), base.seed);
    let overhead_ns = base.warmup_ns + SETTLE_NS + LEAST_OVERHEAD_NS;
    // A budget that is too short is told before nodes are started.
    plan(&objective.what, args.budget, overhead_ns, &race)?;
    let mut series = Series::open(&args.run, &base, "tune")?;
    if !series::was_typed(&args.run, "settle") {
        series.set_settle(SETTLE_NS);
    }
    let mut bench = Bench {
        series,
        base,
        what: objective.what.clone(),
        began_ns,
        budget_ns: args.budget,
        overhead_ns: 0,
        made: 0,
        final_ns: u64::MAX,
        finals: Vec::new(),
        rungs: Vec::new(),
    };
    let ready = bench.pilot(&control);
    let overhead_ns = crate::num::floor_u64(bench.overhead_ns as f64 * OVERHEAD_MARGIN);
    let (plan, ended) = match ready {
        Err(stop) => (None, Err(stop)),
        Ok(()) => {
            let plan = plan(&objective.what, bench.left_ns(), overhead_ns, &race);
            let plan = plan.unwrap_or_else(|_| Plan::smallest());
            bench.final_ns = plan.last_ns;
            bench.series.progress(&format!("plan: {}", plan.words(args.budget)));
            let ended = race.run(&plan, &mut bench);
            (Some(plan), ended)
        }
    };
    let Some(plan) = plan else {
        return match ended {
            Err(Stop::Error(error)) => Err(error),
            _ => Ok(4),
        };
    };
    let error = match ended {
        Err(Stop::Error(RunError::Interrupted)) | Ok(()) => None,
        Err(Stop::Unsafe) => {
            let dir = bench.series.dir.display();
            bench.series.progress(&format!("a run violated mutual exclusion; see {dir}"));
            return Ok(4);
        }
        Err(Stop::Error(error)) => Some(error),
    };
    let code = conclude(args, &bench, &objective, &race, &plan)?;
    error.map_or(Ok(code), Err)
}

/// The settings that all runs have in common.
fn base(args: &TuneArgs, objective: &Objective) -> Result<RunConfig, RunError> {
    let usage = |text: &str| Err(RunError::Usage(text.to_owned()));
    let run = &args.run;
    if run.series.repeat > 1 || run.series.find_max.is_some() {
        return usage("tune makes runs of its own; leave --repeat and --find-max out");
    }
    if run.requests.is_some() || run.stages.is_some() {
        return usage("tune makes runs of its own length; leave --requests and --stages out");
    }
    if !run.faults.is_empty() {
        return usage(
            "tune compares short runs, and a fault in them is no part of a comparison; \
                      leave --fault out",
        );
    }
    let base = run.resolve("tune", run::fresh_seed()).map_err(RunError::Usage)?;
    let rate = match &objective.what {
        What::Figure { rate, .. } => *rate,
        What::Rate { .. } => match base.rate {
            Rate::Max => Rate::PerSecond(FIRST_RATE),
            rate => rate,
        },
    };
    if series::was_typed(run, "rate") && matches!(objective.what, What::Figure { .. }) {
        return usage("the objective says the rate; leave --rate out");
    }
    let warmup_ns = if series::was_typed(run, "warmup") { base.warmup_ns } else { WARMUP_NS };
    Ok(RunConfig { rate, warmup_ns, thresholds: Vec::new(), ..base })
}

/// What fits into `left_ns`.
fn plan(what: &What, left_ns: u64, overhead_ns: u64, race: &Race) -> Result<Plan, RunError> {
    let overhead_ns = match what {
        What::Figure { .. } => overhead_ns,
        // The length of a measurement is that of its probes together, but no probe is too short.
        What::Rate { .. } => PROBES * (overhead_ns + SHORTEST_PROBE_NS),
    };
    Plan::fit(left_ns, overhead_ns, race.references()).map_err(RunError::Usage)
}

fn conclude(
    args: &TuneArgs,
    bench: &Bench,
    objective: &Objective,
    race: &Race,
    plan: &Plan,
) -> Result<u8, RunError> {
    let outcome = outcome::outcome(race, objective.good(), bench.base.seed);
    // Without one valid run of the control there is nothing to compare with.
    let is_void = outcome.rows.iter().all(|row| !row.valid);
    let codes = [if is_void { 5 } else { 0 }];
    let exit_code = series::worst_exit(codes, bench.series.interrupted());
    let document = report::document(bench, objective, race, plan, &outcome, exit_code);
    bench.series.write("tune.json", &files::json_text(&document)?)?;
    let comments = [
        format!("loadgen tune --objective '{}'", objective.text),
        match &outcome.advice {
            Advice::Change { .. } => "valid for this machine, these nodes and this load only",
            Advice::Keep => "nothing beat what it began with: no settings but those",
            Advice::Defaults => "the engine's defaults did best: no settings",
            Advice::Unknown => "not finished: no settings are recommended",
        }
        .to_owned(),
    ];
    let knobs = outcome.advice.settings(&race.control.knobs);
    let toml = advice::toml(&knobs, &comments);
    let file = bench.series.write("tuned.toml", toml.as_bytes())?;
    let mut text = report::render(bench, objective, race, plan, &outcome);
    text.push_str(&wrapped(
        " valid    ",
        "for this machine, these nodes and this load only; on yours, run it again, as it was or \
         with -f and the file below to begin there",
    ));
    text.push_str(&format!(
        " settings {}\n files    {}\n",
        file.display(),
        bench.series.dir.display()
    ));
    files::show(&args.run, &text, &document)?;
    Ok(exit_code)
}

impl Bench {
    fn elapsed_ns(&self) -> u64 {
        clock::now_ns().saturating_sub(self.began_ns)
    }

    fn seed(&self) -> u64 {
        self.base.seed
    }

    /// A run that only tells what runs take, and where rates are to be looked for.
    fn pilot(&mut self, control: &EngineKnobs) -> Result<(), Stop> {
        let rate = self.base.rate;
        self.made(control, rate, PILOT_NS)?;
        let What::Rate { bound } = self.what.clone() else { return Ok(()) };
        let Rate::PerSecond(rate) = rate else { return Ok(()) };
        let mut level = findmax::level_of(rate);
        let mut step = 2 * FIRST_STEP;
        for number in 0..MOST_DOUBLINGS {
            let at = Rate::PerSecond(findmax::rate_of(level));
            let document = self.made(control, at, SHORTEST_PROBE_NS)?;
            let passes = findmax::failure(&document, &bound).is_none();
            // The first answer gives the direction, the first other one the place.
            if number == 0 && !passes {
                step = -step;
            }
            if number > 0 && passes == (step < 0) {
                break;
            }
            level = level.saturating_add(step);
        }
        self.rungs.push((control.clone(), level));
        Ok(())
    }

    /// One run.
    fn made(
        &mut self,
        knobs: &EngineKnobs,
        rate: Rate,
        duration_ns: u64,
    ) -> Result<Document, Stop> {
        self.made += 1;
        let config = RunConfig { engine: knobs.clone(), rate, duration_ns, ..self.base.clone() };
        let began_ns = clock::now_ns();
        let dir = format!("runs/{:03}-{}", self.made, crate::sweep::dir_name(&space::label(knobs)));
        let document = self.series.run(&config, &dir).map_err(Stop::Error)?;
        let took_ns = clock::now_ns().saturating_sub(began_ns);
        self.overhead_ns = self.overhead_ns.max(took_ns.saturating_sub(duration_ns));
        match document.verdict.exit_code {
            4 => Err(Stop::Unsafe),
            _ if document.run.interrupted => Err(Stop::Error(RunError::Interrupted)),
            _ => Ok(document),
        }
    }

    /// The highest rate of `knobs` that keeps `bound`, by halving steps around where it was last
    /// seen.
    fn rate(
        &mut self,
        knobs: &EngineKnobs,
        bound: &crate::thresholds::Threshold,
        probe_ns: u64,
    ) -> Result<Measured, Stop> {
        let known = self.rungs.iter().find(|(of, _)| of == knobs).or_else(|| self.rungs.first());
        let mut level = known.map_or_else(|| findmax::level_of(FIRST_RATE), |(_, level)| *level);
        let mut step = FIRST_STEP;
        let mut passed = None;
        for _ in 0..PROBES {
            let document = self.made(knobs, Rate::PerSecond(findmax::rate_of(level)), probe_ns)?;
            let passes = findmax::failure(&document, bound).is_none();
            if passes {
                passed = passed.max(Some(level));
            }
            level += if passes { step } else { -step };
            step = (step / 2).max(1);
        }
        self.rungs.retain(|(of, _)| of != knobs);
        self.rungs.push((knobs.clone(), level));
        let value = passed.map(|_| findmax::rate_of(level));
        Ok(Measured { value, valid: passed.is_some() })
    }
}

impl Machine for Bench {
    fn measure(
        &mut self,
        knobs: &EngineKnobs,
        length_ns: u64,
        doing: &str,
    ) -> Result<Measured, Stop> {
        if self.series.interrupted() {
            return Err(Stop::Error(RunError::Interrupted));
        }
        let measured = match self.what.clone() {
            What::Figure { name, rate, .. } => {
                let document = self.made(knobs, rate, length_ns)?;
                if length_ns == self.final_ns && doing.starts_with("final") {
                    self.finals.push((knobs.clone(), Figures::of(&document)));
                }
                let value = metrics::value(&document, &name).map(|sample| sample.value);
                Measured { value, valid: document.verdict.outcome == RunOutcome::Pass }
            }
            What::Rate { bound } => {
                let probe_ns = (length_ns / PROBES / (100 * NS_PER_MS)) * (100 * NS_PER_MS);
                self.rate(knobs, &bound, probe_ns.max(SHORTEST_PROBE_NS))?
            }
        };
        let unit = match &self.what {
            What::Figure { name, .. } => name.unit(),
            What::Rate { .. } => metrics::Unit::PerSecond,
        };
        let value = measured.value.map_or_else(|| "-".to_owned(), |value| unit.show(value));
        let word = if measured.valid { "" } else { "  not valid" };
        let left = series::about(self.left_ns());
        let label = space::label(knobs);
        let left = left.trim_start_matches("about ");
        let line = format!("[{doing:<20}] {left:>6} left  {value:>9}{word}  {label}");
        self.series.progress(&line);
        Ok(measured)
    }

    fn left_ns(&self) -> u64 {
        self.budget_ns.saturating_sub(self.elapsed_ns())
    }

    fn cost_ns(&self, length_ns: u64) -> u64 {
        match self.what {
            What::Figure { .. } => length_ns + self.overhead_ns,
            What::Rate { .. } => {
                PROBES * (self.overhead_ns + (length_ns / PROBES).max(SHORTEST_PROBE_NS))
            }
        }
    }
}
