//! Single steps of a race, and what is made of a last round that is known.

use super::*;
use crate::config::Gather;
use crate::tune::outcome::{Advice, outcome};
use crate::tune::space::Value;

fn commands(most: u32) -> EngineKnobs {
    EngineKnobs { batch_max_commands: Some(most), ..EngineKnobs::default() }
}

fn race(control: &EngineKnobs) -> Race {
    Race::new(control, Good::Less, 1)
}

fn scored(knobs: EngineKnobs, score: f64, invalid: u32) -> Entry {
    Entry { seen: vec![(score, 1.0)], runs: 2, invalid, ..Entry::new(knobs) }
}

/// Answers what `value` says, at no cost.
struct Fixed<F>(F);

impl<F: Fn(&EngineKnobs, u64, &str) -> Option<f64>> Machine for Fixed<F> {
    fn measure(&mut self, of: &EngineKnobs, length_ns: u64, doing: &str) -> Result<Measured, Stop> {
        let value = (self.0)(of, length_ns, doing);
        Ok(Measured { value, valid: value.is_some() })
    }

    fn left_ns(&self) -> u64 {
        u64::MAX
    }

    fn cost_ns(&self, length_ns: u64) -> u64 {
        length_ns
    }
}

#[test]
fn the_best_is_first_and_what_was_no_measurement_after_all_others() {
    let mut race = race(&EngineKnobs::default());
    race.entries = vec![
        Entry::new(commands(1)),
        scored(commands(4), -1.0, 2),
        scored(commands(16), 0.5, 0),
        scored(commands(64), -0.5, 0),
    ];
    race.rank();
    let order: Vec<_> = race.entries.iter().map(|of| of.knobs.batch_max_commands).collect();
    assert_eq!(order, [Some(64), Some(16), Some(4), Some(1)]);
}

#[test]
fn the_best_without_settings_that_do_nothing_is_a_finalist() {
    let mut race = race(&EngineKnobs::default());
    let both = EngineKnobs { batch_gather: Some(Gather::Off), ..commands(16) };
    race.entries = vec![scored(both.clone(), -1.0, 0), scored(commands(4), 0.0, 0)];
    let effect = |knob, matters| Effect { knob, size: None, best: None, worst: None, matters };
    race.effects = vec![effect(Knob::Gather, false), effect(Knob::MaxCommands, true)];
    race.choose(3);
    let chosen: Vec<EngineKnobs> = race.finalists.iter().map(|of| of.knobs.clone()).collect();
    assert_eq!(chosen, [commands(16), both, commands(4)]);
    // Nothing matters: without its settings the best is the control.
    race.effects = vec![effect(Knob::Gather, false), effect(Knob::MaxCommands, false)];
    race.choose(3);
    assert_eq!(race.finalists.len(), 2);
}

#[test]
fn the_noise_floor_is_half_of_how_far_runs_of_the_control_lie_apart() {
    let mut race = race(&EngineKnobs::default());
    assert_eq!(race.noise_floor(), None);
    race.floor_values = vec![100.0, 121.0, 110.0];
    assert!((race.noise_floor().unwrap() - 0.1).abs() < 1e-9);
}

#[test]
fn in_the_last_round_earlier_runs_that_were_no_measurement_are_forgotten() {
    let mut entry = Entry::new(commands(1));
    assert!(!entry.is_valid(), "nothing was measured");
    (entry.runs, entry.invalid) = (5, 3);
    assert!(!entry.is_valid());
    (entry.final_runs, entry.final_invalid) = (3, 1);
    assert!(entry.is_valid());
    entry.final_invalid = 2;
    assert!(!entry.is_valid());
}

#[test]
fn longer_runs_weigh_more_and_the_noise_floor_stands_in_for_a_lost_control() {
    let mut race = race(&EngineKnobs::default());
    race.entries = vec![Entry::new(commands(1))];
    race.floor_values = vec![100.0; 2];
    let is_control = |of: &EngineKnobs| *of == EngineKnobs::default();
    // Twice as slow in a short round; in one of three times its length, as fast.
    let value = |of: &EngineKnobs, length_ns: u64, _: &str| match length_ns {
        _ if is_control(of) => None,
        1 => Some(200.0),
        _ => Some(100.0),
    };
    let mut machine = Fixed(value);
    race.round(1, 1, 9, 0, &mut machine).unwrap();
    let first = race.entries[0].score().unwrap();
    assert!((first - 2.0_f64.ln()).abs() < 1e-9, "{first}");
    race.round(2, 3, 9, 0, &mut machine).unwrap();
    let both = race.entries[0].score().unwrap();
    assert!((both - 2.0_f64.ln() / 4.0).abs() < 1e-9, "{both}");
}

fn last(knobs: EngineKnobs, finals: [f64; 3], invalid: u32) -> Entry {
    Entry {
        finals: finals.into(),
        final_runs: 3,
        runs: 3,
        final_invalid: invalid,
        ..Entry::new(knobs)
    }
}

/// Close together around `level`.
fn near(level: f64) -> [f64; 3] {
    [level * 0.999, level, level * 1.001]
}

/// A race whose last round was this, the control first.
fn ended(control: Entry, default: Option<Entry>, finalists: Vec<Entry>) -> Race {
    let mut race = race(&control.knobs);
    (race.control, race.default, race.finalists) = (control, default, finalists);
    race.floor_values = vec![99.0, 101.0];
    race
}

fn advice(race: &Race) -> Advice {
    outcome(race, Good::Less, 1).advice
}

#[test]
fn of_those_that_cannot_be_told_apart_the_one_that_sets_least_is_advised() {
    let more = EngineKnobs { batch_gather: Some(Gather::Off), ..commands(16) };
    let finalists = vec![last(more, near(70.0), 0), last(commands(16), [70.2, 69.9, 70.1], 0)];
    let control = last(EngineKnobs::default(), near(100.0), 0);
    assert_eq!(advice(&ended(control, None, finalists)), Advice::Change { knobs: commands(16) });
}

#[test]
fn a_bad_start_is_sent_back_to_the_defaults_unless_something_beats_them() {
    let against = |best: [f64; 3]| {
        let default = last(EngineKnobs::default(), near(60.0), 0);
        let control = last(commands(1), near(100.0), 0);
        advice(&ended(control, Some(default), vec![last(commands(64), best, 0)]))
    };
    assert_eq!(against(near(60.0)), Advice::Defaults);
    assert_eq!(against(near(99.5)), Advice::Defaults, "nothing beat the start but they");
    assert_eq!(against(near(40.0)), Advice::Change { knobs: commands(64) });
}

#[test]
fn nothing_is_advised_that_is_no_measurement_within_noise_or_seen_once() {
    let against = |control: Entry, candidate: Entry| advice(&ended(control, None, vec![candidate]));
    let control = || last(EngineKnobs::default(), near(100.0), 0);
    assert_eq!(against(control(), last(commands(16), near(70.0), 2)), Advice::Keep);
    assert_eq!(against(control(), last(commands(16), near(99.3), 0)), Advice::Keep, "noise: 1 %");
    let once = Entry { finals: vec![100.0], ..control() };
    assert_eq!(against(once, last(commands(16), near(70.0), 0)), Advice::Unknown);
    assert_eq!(Knob::MaxCommands.get(&commands(16)), Some(Value::Number(16)));
}

#[test]
fn what_follows_an_advice_sets_what_it_says() {
    let (start, better) = (commands(1), commands(64));
    let change = Advice::Change { knobs: better.clone() };
    assert_eq!(change.settings(&start), better);
    assert_eq!(Advice::Keep.settings(&start), start);
    for none in [Advice::Defaults, Advice::Unknown] {
        assert_eq!(none.settings(&start), EngineKnobs::default(), "{none:?}");
    }
}
