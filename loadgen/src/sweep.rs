//! `loadgen sweep`: the same load at many settings, on the same nodes, in shuffled rounds.
//!
//! Invariants:
//! 1. Every point is read and checked before the first one is measured.
//! 2. A point that is no measurement is shown with its reason and is in no curve.
//! 3. An interrupt keeps what was measured.

pub(crate) mod chart;
pub(crate) mod grid;
mod knee;
mod table;
pub(crate) mod words;

use clap::Args;
use serde::Serialize;

use crate::args::RunArgs;
use crate::config::RunConfig;
use crate::document::Document;
use crate::report::TargetAbout;
use crate::run::{self, RunError, files};
use crate::series::figures::{Figures, Spread};
use crate::series::{self, Series};
use crate::verdict::Outcome;
use grid::Axis;
use knee::Knee;
use words::Setting;

pub(crate) const SCHEMA: &str = "loadgen.sweep/1";

const ABOUT: &str = "Parameters are flags of `loadgen run` by name, each with its values:\n  \
rate=1k..40k:x2            twice as much each time, and the end\n  \
clients=10..50:+10         10 more each time\n  \
keys=1,100 waiting=queue,race,backoff\n\
Every combination is measured once in each of --repeat rounds, in a shuffled order, so that a \
machine that changes meanwhile changes all points alike. With --find-max the highest rate is \
searched at every combination. Files: sweep.json, sweep.html with the curve, and those of every \
run.\n\
Exit codes: as those of `loadgen run`; points that are not valid are told and do not count as a \
failure unless all are.";

/// The arguments of `loadgen sweep`.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct SweepArgs {
    /// What is varied, as in rate=1k..40k:x2 keys=1,100
    #[arg(value_name = "NAME=VALUES")]
    pub(crate) parameters: Vec<String>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// `sweep.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Sweep {
    schema: &'static str,
    argv: Vec<String>,
    seed: u64,
    target: TargetAbout,
    interrupted: bool,
    exit_code: u8,
    rounds: u32,
    parameters: Vec<String>,
    /// Where more load begins to cost more than it brings.
    knees: Vec<Knee>,
    points: Vec<Point>,
}

/// A combination of values and what was measured of it.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    /// In the order of the parameters.
    settings: Vec<Setting>,
    valid: bool,
    /// Why it is not.
    reasons: Vec<String>,
    /// Medians over the runs that are valid, or over all if none is.
    figures: Figures,
    spread: Vec<(&'static str, Option<Spread>)>,
    runs: Vec<One>,
    #[serde(skip)]
    config: RunConfig,
}

/// One run of a point.
#[derive(Debug, Serialize)]
struct One {
    dir: String,
    round: u32,
    /// How many runs were made before it.
    place: usize,
    outcome: Outcome,
    exit_code: u8,
    reasons: Vec<String>,
    figures: Figures,
}

impl Point {
    fn new(settings: Vec<Setting>, config: RunConfig) -> Self {
        Self {
            settings,
            valid: false,
            reasons: Vec::new(),
            figures: Figures::default(),
            spread: Vec::new(),
            runs: Vec::new(),
            config,
        }
    }

    fn add(&mut self, one: One) {
        self.runs.push(one);
        let good: Vec<&One> = self.runs.iter().filter(|one| one.outcome == Outcome::Pass).collect();
        // A majority: one disturbed round of three does not make a point useless.
        self.valid = 2 * good.len() > self.runs.len();
        let counted: Vec<&One> = if self.valid { good } else { self.runs.iter().collect() };
        let spread = |pick: fn(&Figures) -> Option<f64>| {
            Spread::of(counted.iter().map(|one| pick(&one.figures)))
        };
        self.figures = Figures::from_each(|pick| spread(pick).map(|spread| spread.median));
        self.spread = Figures::NAMES.map(|(name, _, pick)| (name, spread(pick))).into();
        self.reasons.clear();
        for reason in self.runs.iter().flat_map(|one| &one.reasons) {
            if !self.reasons.contains(reason) {
                self.reasons.push(reason.clone());
            }
        }
    }
}

/// Makes a sweep and gives back its exit code.
pub(crate) fn run(args: &SweepArgs) -> Result<u8, RunError> {
    if let Some(bound) = &args.run.series.find_max {
        return crate::findmax::sweep(args, bound);
    }
    if args.parameters.is_empty() {
        let text = "nothing to sweep; name what is varied, as in rate=1k..40k:x2 keys=1,100";
        return Err(RunError::Usage(text.to_owned()));
    }
    let rounds = args.run.series.repeat;
    let seed = args.run.seed.unwrap_or_else(run::fresh_seed);
    let mut points = points(args, rounds, seed)?;
    let first = points.first().map(|point| point.config.clone());
    let first = first.ok_or_else(|| RunError::Usage("there is no point to measure".to_owned()))?;
    let mut series = Series::open(&args.run, &first, "sweep")?;
    let measured = measure(&mut series, &mut points, rounds, seed);
    let made: usize = points.iter().map(|point| point.runs.len()).sum();
    match measured {
        Err(RunError::Interrupted) if made > 0 => {}
        Err(error) if made == 0 => return Err(error),
        Err(error) => {
            conclude(args, &series, points, seed, rounds)?;
            return Err(error);
        }
        Ok(()) => {}
    }
    conclude(args, &series, points, seed, rounds)
}

/// Every combination of the values of `parameters`.
pub(crate) fn settings(parameters: &[String], rounds: u32) -> Result<Vec<Vec<Setting>>, RunError> {
    let axes = parameters.iter().map(|text| Axis::parse(text));
    let axes = axes.collect::<Result<Vec<Axis>, String>>().map_err(RunError::Usage)?;
    grid::points(&axes, rounds).map_err(RunError::Usage)
}

/// Every point with the settings of its run, all of them checked.
fn points(args: &SweepArgs, rounds: u32, seed: u64) -> Result<Vec<Point>, RunError> {
    let points = settings(&args.parameters, rounds)?;
    let point = |settings: Vec<Setting>| {
        let config = words::run_args(&args.run.series.typed, &settings)?.resolve("sweep", seed);
        let told = |text| RunError::Usage(format!("{}: {text}", words::label(&settings)));
        Ok(Point::new(settings.clone(), config.map_err(told)?))
    };
    points.into_iter().map(point).collect()
}

fn measure(
    series: &mut Series,
    points: &mut [Point],
    rounds: u32,
    seed: u64,
) -> Result<(), RunError> {
    let count = points.len();
    let total = count as u64 * u64::from(rounds);
    let mut place = 0_usize;
    for round in 0..rounds {
        for at in grid::order(count, round, seed) {
            let Some(point) = points.get_mut(at) else { continue };
            let (done, label) = (place as u64, words::label(&point.settings));
            let left = total - done;
            let left_ns = series::time_left_ns(&point.config, done, left, series.elapsed_ns());
            let left = series::about(left_ns);
            series.progress(&format!("[{:>3}/{total}] {label:<40} {left} left", done + 1));
            let dir = format!("runs/{:03}-{}", place + 1, dir_name(&label));
            let document = series.run(&point.config, &dir)?;
            point.add(one(dir, round, place, &document));
            place += 1;
            if series.interrupted() {
                return Err(RunError::Interrupted);
            }
        }
    }
    Ok(())
}

fn one(dir: String, round: u32, place: usize, document: &Document) -> One {
    let verdict = &document.verdict;
    let (outcome, exit_code) = (verdict.outcome, verdict.exit_code);
    let (reasons, figures) = (verdict.reasons.clone(), Figures::of(document));
    One { dir, round, place, outcome, exit_code, reasons, figures }
}

/// `label` as a part of a path.
pub(crate) fn dir_name(label: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "=.-".contains(c) { c } else { '_' };
    label.chars().map(plain).take(60).collect()
}

/// The exit codes that count: of an unsafe run always, of others only where no point is valid.
fn codes(points: &[Point]) -> Vec<u8> {
    let all = points.iter().flat_map(|point| &point.runs);
    if all.clone().any(|one| one.exit_code == 4) {
        return vec![4];
    }
    if points.iter().any(|point| point.valid) {
        return Vec::new();
    }
    all.map(|one| one.exit_code).collect()
}

fn conclude(
    args: &SweepArgs,
    series: &Series,
    points: Vec<Point>,
    seed: u64,
    rounds: u32,
) -> Result<u8, RunError> {
    let interrupted = series.interrupted();
    let codes = codes(&points);
    let sweep = Sweep {
        schema: SCHEMA,
        argv: series.argv(),
        seed,
        target: series.about(),
        interrupted,
        exit_code: series::worst_exit(codes, interrupted),
        rounds,
        parameters: args.parameters.clone(),
        knees: knee::knees(&points),
        points,
    };
    series.write("sweep.json", &files::json_text(&sweep)?)?;
    let page = series.write("sweep.html", chart::page(&sweep).as_bytes())?;
    let mut text = table::render(&sweep, series.paint);
    text.push_str(&format!("\n files    {}\n curve    {}\n", series.dir.display(), page.display()));
    files::show(&args.run, &text, &sweep)?;
    Ok(sweep.exit_code)
}

#[cfg(test)]
mod tests;
