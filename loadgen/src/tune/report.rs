//! What `tune` prints and writes.

use std::fmt::Write as _;

use serde::Serialize;

use super::advice;
use super::objective::Objective;
use super::outcome::{Advice, Outcome, Role, Row};
use super::plan::Plan;
use super::race::Race;
use super::space;
use super::{Bench, SCHEMA};
use crate::config::EngineKnobs;
use crate::report::TargetAbout;
use crate::report::format::wrapped;
use crate::series::figures::{Figures, Kind, Spread};
use crate::statistics::judge::Word;

/// `tune.json`.
#[derive(Debug, Serialize)]
pub(super) struct Tuned {
    schema: &'static str,
    argv: Vec<String>,
    objective: String,
    seed: u64,
    target: TargetAbout,
    interrupted: bool,
    was_cut_short: bool,
    plan: String,
    elapsed_ns: u64,
    pub(super) exit_code: u8,
    noise_floor: Option<f64>,
    noise_floor_values: Vec<f64>,
    last_round: Vec<RowJson>,
    best: Option<EngineKnobs>,
    advice: Advice,
    sensitivity: Vec<EffectJson>,
    /// Of the rounds before the last one, the best first.
    configurations: Vec<EntryJson>,
}

#[derive(Debug, Serialize)]
struct RowJson {
    role: Role,
    name: String,
    knobs: EngineKnobs,
    valid: bool,
    values: Vec<f64>,
    median: Option<f64>,
    /// Over the control, with its 95 % interval.
    ratio: Option<f64>,
    interval: Option<(f64, f64)>,
    word: Option<Word>,
    figures: Figures,
}

#[derive(Debug, Serialize)]
struct EffectJson {
    knob: &'static str,
    size: Option<f64>,
    best: Option<String>,
    worst: Option<String>,
    matters: bool,
}

#[derive(Debug, Serialize)]
struct EntryJson {
    name: String,
    knobs: EngineKnobs,
    /// Over the control; above 1 is worse.
    score: Option<f64>,
    runs: u32,
    invalid: u32,
}

pub(super) fn document(
    bench: &Bench,
    objective: &Objective,
    race: &Race,
    plan: &Plan,
    outcome: &Outcome,
    exit_code: u8,
) -> Tuned {
    let row = |row: &Row| RowJson {
        role: row.role,
        name: name(row),
        knobs: row.knobs.clone(),
        valid: row.valid,
        values: row.values.clone(),
        median: row.median,
        ratio: row.ratio.map(|ratio| ratio.estimate),
        interval: row.ratio.map(|ratio| (ratio.low, ratio.high)),
        word: row.word,
        figures: figures(bench, &row.knobs),
    };
    let effects = race.effects.iter().map(|effect| EffectJson {
        knob: effect.knob.name(),
        size: effect.size,
        best: effect.best.map(|value| value.to_string()),
        worst: effect.worst.map(|value| value.to_string()),
        matters: effect.matters,
    });
    let entries = race.entries.iter().map(|entry| EntryJson {
        name: space::label(&entry.knobs),
        knobs: entry.knobs.clone(),
        score: entry.score().map(f64::exp),
        runs: entry.runs,
        invalid: entry.invalid,
    });
    Tuned {
        schema: SCHEMA,
        argv: bench.series.argv(),
        objective: objective.text.clone(),
        seed: bench.seed(),
        target: bench.series.about(),
        interrupted: bench.series.interrupted(),
        was_cut_short: race.was_cut_short,
        plan: plan.words(bench.budget_ns),
        elapsed_ns: bench.elapsed_ns(),
        exit_code,
        noise_floor: race.noise_floor(),
        noise_floor_values: race.floor_values.clone(),
        last_round: outcome.rows.iter().map(row).collect(),
        best: outcome.best.clone(),
        advice: outcome.advice.clone(),
        sensitivity: effects.collect(),
        configurations: entries.collect(),
    }
}

/// Medians of the other figures in the last round.
fn figures(bench: &Bench, knobs: &EngineKnobs) -> Figures {
    let seen = bench.finals.iter().filter(|(of, _)| of == knobs);
    let seen: Vec<Figures> = seen.map(|(_, figures)| *figures).collect();
    Figures::from_each(|pick| Spread::of(seen.iter().map(pick)).map(|spread| spread.median))
}

fn name(row: &Row) -> String {
    let label = space::label(&row.knobs);
    match (row.role, label.as_str()) {
        (Role::Control, "default") => label,
        (Role::Control, _) => format!("start: {label}"),
        (Role::Default, _) => "engine's default".to_owned(),
        (Role::Candidate, _) => label,
    }
}

pub(super) fn render(
    bench: &Bench,
    objective: &Objective,
    race: &Race,
    plan: &Plan,
    outcome: &Outcome,
) -> String {
    let percent = |share: Option<f64>| match share {
        Some(share) => format!("±{:.0} %", 100.0 * share),
        None => "unknown".to_owned(),
    };
    let mut text = wrapped(
        "tuned for ",
        &format!(
            "{} (noise floor {}: runs of the same configuration lay so far apart)",
            objective.text,
            percent(race.noise_floor())
        ),
    );
    text.push_str(&wrapped("plan      ", &plan.words(bench.budget_ns)));
    if race.was_cut_short {
        text.push_str("          the budget ended before the plan did\n");
    }
    text.push('\n');
    text.push_str(&rows(bench, objective, outcome));
    text.push('\n');
    text.push_str(&recommendation(race, outcome));
    text.push_str(&sensitivity(race));
    text
}

fn rows(bench: &Bench, objective: &Objective, outcome: &Outcome) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        " {:>12} {:>9} {:>9} {:>6} {:>5}  over the control [95 %]",
        head(&objective.figure()),
        "p50",
        "p99",
        "batch",
        "cpu"
    );
    for row in &outcome.rows {
        let figures = figures(bench, &row.knobs);
        let shown = row.median.map_or_else(|| "-".to_owned(), |value| objective.unit().show(value));
        let change = match (row.ratio, row.word) {
            (Some(ratio), Some(word)) => {
                let share = |ratio: f64| 100.0 * (ratio - 1.0);
                format!(
                    "{:+.0} % [{:+.0}, {:+.0}]  {}",
                    share(ratio.estimate),
                    share(ratio.low),
                    share(ratio.high),
                    word.text()
                )
            }
            (None, Some(_)) => "too few runs".to_owned(),
            _ => String::new(),
        };
        let invalid = if row.valid { "" } else { "  not valid" };
        let _ = writeln!(text, " {}", name(row));
        let _ = writeln!(
            text,
            " {shown:>12} {:>9} {:>9} {:>6} {:>5}  {change}{invalid}",
            Kind::Time.text(figures.response_p50_ns),
            Kind::Time.text(figures.response_p99_ns),
            Kind::Number.text(figures.batch),
            Kind::Share.text(figures.cpu_share),
        );
    }
    text
}

/// The last words of a name, as many as fit a column.
fn head(figure: &str) -> &str {
    figure.strip_prefix("acquire.").unwrap_or(figure)
}

fn recommendation(race: &Race, outcome: &Outcome) -> String {
    let is_default = race.default.is_none();
    let lead = " advice   ";
    match &outcome.advice {
        Advice::Unknown => wrapped(
            lead,
            "none: the last round was not reached; give a longer --budget, or let it end",
        ),
        Advice::Keep if is_default => wrapped(
            lead,
            "keep the defaults: nothing beat them beyond what runs of the same configuration \
             differ by",
        ),
        Advice::Keep => wrapped(
            lead,
            "keep what you started with: nothing beat it beyond what runs of the same \
             configuration differ by",
        ),
        Advice::Defaults => wrapped(
            lead,
            "use the engine's defaults, without any of these settings: they beat what you started \
             with, and nothing beat them beyond what runs of the same configuration differ by",
        ),
        Advice::Change { knobs } => {
            let mut text = wrapped(lead, &space::label(knobs));
            text.push_str(" in code:\n");
            for line in advice::rust(knobs).lines() {
                let _ = writeln!(text, "   {line}");
            }
            text.push_str(" in a scenario file (tuned.toml):\n");
            for line in advice::toml(knobs, &[]).lines().filter(|line| !line.is_empty()) {
                let _ = writeln!(text, "   {line}");
            }
            text
        }
    }
}

fn sensitivity(race: &Race) -> String {
    let mut words = Vec::new();
    for effect in &race.effects {
        let name = effect.knob.name();
        words.push(match (effect.size, effect.best, effect.worst) {
            (Some(size), Some(best), Some(worst)) if effect.matters => {
                let size = 100.0 * size;
                format!("{name} matters ({best} best, {worst} {size:.0} % worse)")
            }
            (Some(_), ..) => format!("{name} showed no effect"),
            _ => format!("{name} was not tried often enough"),
        });
    }
    if words.is_empty() {
        return String::new();
    }
    wrapped(" effects  ", &words.join("; "))
}
