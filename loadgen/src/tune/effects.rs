//! Which knobs matter: how far the means of a knob's values lie apart, and whether chance puts
//! them as far apart when the results are dealt out anew (a permutation test).

use super::race::Entry;
use super::space::{Knob, Value};
use crate::config::EngineKnobs;
use crate::plan::rng::Xoshiro;

/// Configurations below which nothing can be said.
const FEWEST: usize = 8;
const DEALS: u32 = 1_000;
/// As often may chance put means as far apart.
const BY_CHANCE: f64 = 0.05;

/// What a knob does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Effect {
    pub(crate) knob: Knob,
    /// From its best value to its worst, as a share; `None`: too little was measured.
    pub(crate) size: Option<f64>,
    pub(crate) best: Option<Value>,
    pub(crate) worst: Option<Value>,
    /// Neither chance nor noise.
    pub(crate) matters: bool,
}

/// The effects of all knobs on the scores of `entries`; `floor` is what nobody can tell from no
/// change.
pub(super) fn effects(entries: &[Entry], floor: Option<f64>, seed: u64) -> Vec<Effect> {
    let known = entries.iter().filter_map(|entry| Some((&entry.knobs, entry.score()?)));
    let known: Vec<(&EngineKnobs, f64)> = known.collect();
    let knobs: Vec<&EngineKnobs> = known.iter().map(|(knobs, _)| *knobs).collect();
    let scores: Vec<f64> = known.iter().map(|(_, score)| *score).collect();
    Knob::ALL.map(|knob| effect(knob, &knobs, &scores, floor.unwrap_or(0.0), seed)).into()
}

fn effect(knob: Knob, knobs: &[&EngineKnobs], scores: &[f64], floor: f64, seed: u64) -> Effect {
    let values: Vec<Value> =
        knobs.iter().map(|knobs| knob.get(knobs).unwrap_or_else(|| knob.default())).collect();
    let means = means(&values, scores);
    let best = means.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let worst = means.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let nothing = Effect { knob, size: None, best: None, worst: None, matters: false };
    let Some((best, worst)) = best.zip(worst).filter(|_| scores.len() >= FEWEST) else {
        return nothing;
    };
    let seen = between(&values, scores);
    let mut rng = Xoshiro::for_client(seed, u32::MAX);
    let mut dealt = scores.to_vec();
    let mut by_chance = 0_u32;
    for _ in 0..DEALS {
        for last in (1..dealt.len()).rev() {
            let other = crate::num::usize_of(rng.below(last as u64 + 1));
            dealt.swap(last, other);
        }
        by_chance += u32::from(between(&values, &dealt) >= seen);
    }
    let size = (worst.1 - best.1).exp_m1();
    let is_chance = f64::from(by_chance) > BY_CHANCE * f64::from(DEALS);
    Effect {
        knob,
        size: Some(size),
        best: Some(best.0),
        worst: Some(worst.0),
        matters: !is_chance && size > floor,
    }
}

/// The mean score of each value.
fn means(values: &[Value], scores: &[f64]) -> Vec<(Value, f64)> {
    let mut sums: Vec<(Value, f64, f64)> = Vec::new();
    for (value, score) in values.iter().zip(scores) {
        match sums.iter_mut().find(|(known, ..)| known == value) {
            Some((_, sum, n)) => (*sum, *n) = (*sum + score, *n + 1.0),
            None => sums.push((*value, *score, 1.0)),
        }
    }
    sums.into_iter().map(|(value, sum, n)| (value, sum / n)).collect()
}

/// The part of the scores' variation that lies between the values, up to a constant: the statistic
/// of the test. It weighs every value by how often it was tried, as the largest distance does not.
fn between(values: &[Value], scores: &[f64]) -> f64 {
    let all = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    means(values, scores)
        .into_iter()
        .map(|(value, mean)| {
            let n = values.iter().filter(|other| **other == value).count() as f64;
            n * (mean - all).powi(2)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::space;

    fn normal(rng: &mut Xoshiro) -> f64 {
        (2.0 * rng.exponential()).sqrt() * (std::f64::consts::TAU * rng.unit()).cos()
    }

    #[test]
    fn a_knob_with_an_effect_is_told_from_those_without() {
        let (mut right, mut wrong) = (0, 0);
        for seed in 0..40 {
            let all = space::first(24, &EngineKnobs::default(), seed);
            let knobs: Vec<&EngineKnobs> = all.iter().collect();
            let mut rng = Xoshiro::for_client(seed, 3);
            let scores: Vec<f64> = knobs
                .iter()
                .map(|knobs| {
                    let slow = knobs.batch_max_commands == Some(1);
                    f64::from(u8::from(slow)) + 0.1 * normal(&mut rng)
                })
                .collect();
            let of = |knob| effect(knob, &knobs, &scores, 0.05, seed);
            let commands = of(Knob::MaxCommands);
            right += u32::from(commands.matters && commands.worst == Some(Value::Number(1)));
            wrong += u32::from(of(Knob::MaxInflight).matters);
            let below_noise = effect(Knob::MaxCommands, &knobs, &scores, 9.0, seed);
            assert!(!below_noise.matters, "{below_noise:?}");
        }
        assert!(right >= 38, "{right} of 40");
        assert!(wrong <= 6, "{wrong} of 40 by chance");
    }

    #[test]
    fn a_handful_of_runs_says_nothing() {
        let all = space::first(5, &EngineKnobs::default(), 1);
        let knobs: Vec<&EngineKnobs> = all.iter().collect();
        let effect = effect(Knob::Gather, &knobs, &[0.0, 1.0, 2.0, 3.0, 4.0], 0.0, 1);
        assert_eq!((effect.size, effect.matters), (None, false));
    }
}
