//! Which configuration is measured next and which drops out. Knows neither nodes nor clocks: a
//! [`Machine`] measures, and says how much time is left.
//!
//! Invariants:
//! 1. The control takes part in every round: all comparisons are with it, under the same weather.
//! 2. Nothing is begun that does not fit the budget, and no round before the last one may use up
//!    what the last one needs.
//! 3. An interrupt or an error ends the race; what was measured until then stays.

use super::effects::{self, Effect};
use super::plan::Plan;
use super::space::{self, Knob};
use crate::config::EngineKnobs;
use crate::run::RunError;
use crate::statistics::judge::Good;
use crate::sweep::grid;

/// Turns of the last round that earlier ones leave time for.
const LEAST_ROUNDS: u32 = 2;

/// What a configuration was measured to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) value: Option<f64>,
    /// It was a measurement: the load was driven as planned.
    pub(crate) valid: bool,
}

/// Why a race ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    Error(RunError),
    /// A run violated mutual exclusion.
    Unsafe,
}

/// What measures.
pub(crate) trait Machine {
    /// Measures `knobs` for `length_ns`; `doing` is told to whoever waits.
    fn measure(
        &mut self,
        knobs: &EngineKnobs,
        length_ns: u64,
        doing: &str,
    ) -> Result<Measured, Stop>;
    /// What is left of the budget.
    fn left_ns(&self) -> u64;
    /// How long a measurement of that length takes, all in all.
    fn cost_ns(&self, length_ns: u64) -> u64;
}

/// A configuration and what was measured of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) knobs: EngineKnobs,
    /// Logarithm over that of the control, the sign such that less is better, and its weight.
    seen: Vec<(f64, f64)>,
    /// Figures of the last round.
    pub(crate) finals: Vec<f64>,
    pub(crate) runs: u32,
    pub(crate) invalid: u32,
    final_invalid: u32,
    final_runs: u32,
}

impl Entry {
    fn new(knobs: EngineKnobs) -> Self {
        Self {
            knobs,
            seen: Vec::new(),
            finals: Vec::new(),
            runs: 0,
            invalid: 0,
            final_invalid: 0,
            final_runs: 0,
        }
    }

    fn note(&mut self, measured: Measured) -> Option<f64> {
        self.runs += 1;
        self.invalid += u32::from(!measured.valid);
        measured.value.filter(|value| value.is_finite() && *value > 0.0)
    }

    /// Where it stands, the less the better; `None`: nothing is known.
    pub(crate) fn score(&self) -> Option<f64> {
        let weight: f64 = self.seen.iter().map(|(_, weight)| weight).sum();
        let sum: f64 = self.seen.iter().map(|(log, weight)| log * weight).sum();
        (weight > 0.0).then(|| sum / weight)
    }

    /// More than half of the runs that count were measurements.
    pub(crate) fn is_valid(&self) -> bool {
        let (runs, invalid) = match self.final_runs {
            0 => (self.runs, self.invalid),
            runs => (runs, self.final_invalid),
        };
        runs > 0 && 2 * invalid < runs
    }

    pub(crate) fn settings(&self) -> usize {
        Knob::ALL.into_iter().filter(|knob| knob.get(&self.knobs).is_some()).count()
    }
}

/// A race and its outcome.
#[derive(Debug)]
pub(crate) struct Race {
    good: Good,
    seed: u64,
    pub(crate) control: Entry,
    /// The engine's defaults, if the control is something else.
    pub(crate) default: Option<Entry>,
    pub(crate) entries: Vec<Entry>,
    /// In the last round, the best of the rounds before first.
    pub(crate) finalists: Vec<Entry>,
    pub(crate) floor_values: Vec<f64>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) was_cut_short: bool,
}

impl Race {
    pub(crate) fn new(control: &EngineKnobs, good: Good, seed: u64) -> Self {
        let control = space::plain(control);
        let default = space::defaults(&control);
        let default = (default != control).then(|| Entry::new(default));
        Self {
            good,
            seed,
            control: Entry::new(control),
            default,
            entries: Vec::new(),
            finalists: Vec::new(),
            floor_values: Vec::new(),
            effects: Vec::new(),
            was_cut_short: false,
        }
    }

    /// How many are in the last round besides the finalists.
    pub(crate) fn references(&self) -> u32 {
        1 + u32::from(self.default.is_some())
    }

    /// Runs it to its end, or to where it is stopped.
    pub(crate) fn run(&mut self, plan: &Plan, machine: &mut impl Machine) -> Result<(), Stop> {
        for number in 1..=plan.floor {
            if machine.left_ns() < machine.cost_ns(plan.first_ns) {
                self.was_cut_short = true;
                return Ok(());
            }
            let doing = format!("noise floor {number} of {}", plan.floor);
            let measured = machine.measure(&self.control.knobs, plan.first_ns, &doing)?;
            self.floor_values.extend(self.control.note(measured));
        }
        let count = crate::num::usize_of(plan.first.into());
        let first = space::first(count, &self.control.knobs, self.seed);
        self.entries = first.into_iter().map(Entry::new).collect();
        // Two turns of everybody are the least that an interval can be made from.
        let least = plan.rounds.min(LEAST_ROUNDS);
        let last_cost_ns = u64::from((plan.finalists + self.references()) * least)
            .saturating_mul(machine.cost_ns(plan.last_ns));
        self.round(1, plan.first_ns, usize::MAX, last_cost_ns, machine)?;
        self.rank();
        if plan.second > 0 {
            let second = crate::num::usize_of(plan.second.into());
            self.round(2, plan.second_ns, second, last_cost_ns, machine)?;
            self.rank();
        }
        self.effects = effects::effects(&self.entries, self.noise_floor(), self.seed);
        self.choose(crate::num::usize_of(plan.finalists.into()));
        self.last(plan, machine)
    }

    /// Measures the `most` best entries and the control once each.
    fn round(
        &mut self,
        number: u32,
        length_ns: u64,
        most: usize,
        reserve_ns: u64,
        machine: &mut impl Machine,
    ) -> Result<(), Stop> {
        let count = self.entries.len().min(most);
        let mut values: Vec<(usize, f64)> = Vec::new();
        let mut control = None;
        // The place after the last entry is the control's.
        for (at, place) in grid::order(count + 1, number, self.seed).into_iter().enumerate() {
            if machine.left_ns() < machine.cost_ns(length_ns).saturating_add(reserve_ns) {
                self.was_cut_short = true;
                break;
            }
            let doing = format!("round {number}: {} of {}", at + 1, count + 1);
            let entry =
                if place == count { Some(&mut self.control) } else { self.entries.get_mut(place) };
            let Some(entry) = entry else { continue };
            let measured = machine.measure(&entry.knobs.clone(), length_ns, &doing)?;
            let Some(value) = entry.note(measured) else { continue };
            match place == count {
                true => control = Some(value),
                false => values.push((place, value)),
            }
        }
        // A round without its control is still a ranking: the noise floor's runs stand in for it.
        let floor = crate::statistics::median(&self.floor_values);
        let Some(control) = control.or(floor).filter(|value| *value > 0.0) else { return Ok(()) };
        let weight = length_ns as f64;
        for (place, value) in values {
            let log = (value / control).ln();
            let log = if self.good == Good::More { -log } else { log };
            if let Some(entry) = self.entries.get_mut(place) {
                entry.seen.push((log, weight));
            }
        }
        Ok(())
    }

    /// The best first; whoever was no measurement after all others, and the unknown last.
    fn rank(&mut self) {
        let key = |entry: &Entry| match entry.score() {
            None => (2, f64::INFINITY),
            Some(score) => (u8::from(!entry.is_valid()), score),
        };
        self.entries.sort_by(|a, b| {
            let (a, b) = (key(a), key(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
    }

    /// The finalists: the best, and the best without those settings that showed no effect.
    fn choose(&mut self, most: usize) {
        let ranked: Vec<&Entry> =
            self.entries.iter().filter(|entry| entry.score().is_some()).collect();
        let mut chosen: Vec<EngineKnobs> = Vec::new();
        if let Some(best) = ranked.first().filter(|_| most > 1) {
            let mut simple = best.knobs.clone();
            for effect in self.effects.iter().filter(|effect| !effect.matters) {
                effect.knob.set(&mut simple, None);
            }
            let is_known = |known: &Entry| known.knobs == simple;
            let is_reference =
                is_known(&self.control) || self.default.as_ref().is_some_and(is_known);
            if simple != best.knobs && !is_reference {
                chosen.push(simple);
            }
        }
        for entry in ranked {
            if chosen.len() < most && !chosen.contains(&entry.knobs) {
                chosen.push(entry.knobs.clone());
            }
        }
        self.finalists = chosen.into_iter().map(Entry::new).collect();
    }

    /// Finalists and references, interleaved.
    fn last(&mut self, plan: &Plan, machine: &mut impl Machine) -> Result<(), Stop> {
        for round in 0..plan.rounds {
            let mut all: Vec<&mut Entry> = self.finalists.iter_mut().collect();
            all.push(&mut self.control);
            all.extend(self.default.as_mut());
            let count = all.len();
            for (at, place) in grid::order(count, 100 + round, self.seed).into_iter().enumerate() {
                if machine.left_ns() < machine.cost_ns(plan.last_ns) {
                    self.was_cut_short = true;
                    return Ok(());
                }
                let Some(entry) = all.get_mut(place) else { continue };
                let doing =
                    format!("final {} of {}: {} of {count}", round + 1, plan.rounds, at + 1);
                let measured = machine.measure(&entry.knobs.clone(), plan.last_ns, &doing)?;
                entry.final_runs += 1;
                entry.final_invalid += u32::from(!measured.valid);
                let value = entry.note(measured);
                entry.finals.extend(value);
            }
        }
        Ok(())
    }

    /// How far runs of the control lay apart, to each side, as a share: what nobody can tell from
    /// no change. `None` below two runs.
    pub(crate) fn noise_floor(&self) -> Option<f64> {
        let logs: Vec<f64> = self.floor_values.iter().map(|value| value.ln()).collect();
        let lowest = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (logs.len() > 1).then(|| ((highest - lowest) / 2.0).exp_m1())
    }
}

#[cfg(test)]
mod tests;
