//! Races on machines whose best settings are known.

use super::objective::Objective;
use super::outcome::{Advice, outcome};
use super::plan::Plan;
use super::race::{Machine, Measured, Race, Stop};
use super::space::{self, Knob, Value};
use crate::clock::{NS_PER_MS, NS_PER_S};
use crate::config::{EngineKnobs, Gather};
use crate::plan::rng::Xoshiro;
use crate::run::RunError;
use crate::statistics::judge::Good;

/// A machine with a clock of its own and a known surface.
struct Simulated {
    surface: fn(&EngineKnobs) -> f64,
    /// Relative error of a run of a second.
    sigma: f64,
    rng: Xoshiro,
    left_ns: u64,
    runs: u32,
    /// Interrupted at that run.
    interrupt_at: u32,
}

const OVERHEAD_NS: u64 = 700 * NS_PER_MS;

impl Machine for Simulated {
    fn measure(&mut self, knobs: &EngineKnobs, length_ns: u64, _: &str) -> Result<Measured, Stop> {
        self.runs += 1;
        if self.runs == self.interrupt_at {
            return Err(Stop::Error(RunError::Interrupted));
        }
        let cost_ns = self.cost_ns(length_ns);
        self.left_ns = self.left_ns.checked_sub(cost_ns).expect("the budget is kept");
        let normal =
            (2.0 * self.rng.exponential()).sqrt() * (std::f64::consts::TAU * self.rng.unit()).cos();
        let sigma = self.sigma / (length_ns as f64 / NS_PER_S as f64).sqrt();
        let value = (self.surface)(knobs) * (sigma * normal).exp();
        Ok(Measured { value: Some(value), valid: true })
    }

    fn left_ns(&self) -> u64 {
        self.left_ns
    }

    fn cost_ns(&self, length_ns: u64) -> u64 {
        length_ns + OVERHEAD_NS
    }
}

fn number(knob: Knob, knobs: &EngineKnobs) -> f64 {
    match knob.get(knobs).unwrap_or_else(|| knob.default()) {
        Value::Number(number) => f64::from(number),
        Value::Gather(_) => f64::NAN,
    }
}

fn gathers(knobs: &EngineKnobs, wanted: Gather) -> bool {
    Knob::Gather.get(knobs).unwrap_or_else(|| Knob::Gather.default()) == Value::Gather(wanted)
}

/// Best with commands around the default and any gathering; everything else is without effect.
fn like_the_engine(knobs: &EngineKnobs) -> f64 {
    let commands = number(Knob::MaxCommands, knobs);
    let few = 3e6 * (1.0 + 8.0 / commands);
    if gathers(knobs, Gather::Off) { few * 1.3 } else { few }
}

/// 25 % better with 16 commands at most, gathered always.
fn with_a_better_place(knobs: &EngineKnobs) -> f64 {
    let off = (number(Knob::MaxCommands, knobs).log2() - 4.0).abs();
    let gather = if gathers(knobs, Gather::Always) { 1.0 } else { 1.15 };
    2e6 * (1.0 + 0.12 * off) * gather
}

fn flat(_: &EngineKnobs) -> f64 {
    2e6
}

fn race(
    surface: fn(&EngineKnobs) -> f64,
    sigma: f64,
    start: &EngineKnobs,
    seed: u64,
    budget_s: u64,
) -> (Race, Simulated) {
    let mut race = Race::new(start, Good::Less, seed);
    let budget_ns = budget_s * NS_PER_S;
    let plan = Plan::fit(budget_ns, OVERHEAD_NS, race.references()).unwrap();
    let rng = Xoshiro::for_client(seed, 17);
    let mut machine =
        Simulated { surface, sigma, rng, left_ns: budget_ns, runs: 0, interrupt_at: 0 };
    race.run(&plan, &mut machine).unwrap();
    (race, machine)
}

#[test]
fn the_better_place_of_a_surface_is_found() {
    let mut found = 0;
    for seed in 0..20 {
        let (race, _) = race(with_a_better_place, 0.05, &EngineKnobs::default(), seed, 300);
        let outcome = outcome(&race, Good::Less, seed);
        let default = with_a_better_place(&EngineKnobs::default());
        let Advice::Change { knobs } = outcome.advice else { continue };
        found += u32::from(with_a_better_place(&knobs) < 0.85 * default);
    }
    assert!(found >= 18, "{found} of 20");
}

#[test]
fn on_a_flat_surface_the_defaults_are_kept() {
    let mut kept = 0;
    for seed in 0..20 {
        let (race, _) = race(flat, 0.1, &EngineKnobs::default(), seed, 300);
        kept += u32::from(outcome(&race, Good::Less, seed).advice == Advice::Keep);
    }
    assert!(kept >= 19, "{kept} of 20");
}

#[test]
fn a_bad_start_comes_back_to_what_the_defaults_reach() {
    let start = space::start("batch_max_commands=1,batch_gather=off", &EngineKnobs::default());
    let start = start.unwrap();
    let default = like_the_engine(&EngineKnobs::default());
    assert!(like_the_engine(&start) > 5.0 * default, "it is bad");
    let mut back = 0;
    for seed in 0..20 {
        let (race, _) = race(like_the_engine, 0.1, &start, seed, 300);
        let outcome = outcome(&race, Good::Less, seed);
        let best = outcome.best.as_ref().map_or(f64::INFINITY, like_the_engine);
        let told = !matches!(outcome.advice, Advice::Keep | Advice::Unknown);
        back += u32::from(best <= 1.1 * default && told);
        assert_eq!(outcome.rows.len(), 2 + race.finalists.len(), "control, default, finalists");
    }
    assert!(back >= 19, "{back} of 20");
}

#[test]
fn small_budgets_are_kept_and_the_control_is_in_every_round() {
    for budget_s in [15, 20, 40, 90] {
        let (race, machine) = race(like_the_engine, 0.1, &EngineKnobs::default(), 3, budget_s);
        assert!(machine.runs > 10, "{budget_s} s: {}", machine.runs);
        assert_eq!(race.control.finals.len(), race.finalists[0].finals.len());
        assert!(!race.was_cut_short, "{budget_s} s");
    }
}

#[test]
fn a_machine_slower_than_planned_ends_the_race_within_the_budget() {
    let mut race = Race::new(&EngineKnobs::default(), Good::Less, 1);
    let plan = Plan::fit(60 * NS_PER_S, OVERHEAD_NS, 1).unwrap();
    let rng = Xoshiro::for_client(1, 1);
    let left_ns = 30 * NS_PER_S;
    let mut machine =
        Simulated { surface: flat, sigma: 0.1, rng, left_ns, runs: 0, interrupt_at: 0 };
    // `measure` panics where the budget is not kept.
    race.run(&plan, &mut machine).unwrap();
    assert!(race.was_cut_short);
    // The rounds before left time for two turns of the last one.
    assert!(race.control.finals.len() >= 2, "{race:?}");
    assert!(race.finalists.iter().all(|entry| entry.finals.len() >= 2), "{race:?}");
    outcome(&race, Good::Less, 1);
}

#[test]
fn an_interrupt_keeps_what_was_measured_and_recommends_nothing() {
    for interrupt_at in [1, 4, 20, 45] {
        let mut race = Race::new(&EngineKnobs::default(), Good::Less, 1);
        let plan = Plan::fit(300 * NS_PER_S, OVERHEAD_NS, 1).unwrap();
        let rng = Xoshiro::for_client(1, 1);
        let left_ns = 300 * NS_PER_S;
        let surface = with_a_better_place;
        let mut machine = Simulated { surface, sigma: 0.1, rng, left_ns, runs: 0, interrupt_at };
        let stop = race.run(&plan, &mut machine);
        assert!(matches!(stop, Err(Stop::Error(RunError::Interrupted))), "{interrupt_at}");
        let outcome = outcome(&race, Good::Less, 1);
        if interrupt_at < 40 {
            assert_eq!(outcome.advice, Advice::Unknown, "{interrupt_at}");
        }
    }
}

#[test]
fn more_is_better_where_the_objective_says_so() {
    let rate = |knobs: &EngineKnobs| 1e12 / with_a_better_place(knobs);
    let objective = Objective::parse("max rate @ p99<5ms").unwrap();
    let mut race = Race::new(&EngineKnobs::default(), objective.good(), 5);
    let plan = Plan::fit(300 * NS_PER_S, OVERHEAD_NS, 1).unwrap();
    let rng = Xoshiro::for_client(5, 1);
    let left_ns = 300 * NS_PER_S;
    let mut machine =
        Simulated { surface: rate, sigma: 0.05, rng, left_ns, runs: 0, interrupt_at: 0 };
    race.run(&plan, &mut machine).unwrap();
    let Advice::Change { knobs } = outcome(&race, objective.good(), 5).advice else {
        panic!("{race:?}")
    };
    assert!(rate(&knobs) > 1.15 * rate(&EngineKnobs::default()), "{}", space::label(&knobs));
}
