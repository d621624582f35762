//! What a race says: the last round's configurations against the control, and what to do.

use serde::Serialize;

use super::race::{Entry, Race};
use crate::config::EngineKnobs;
use crate::statistics::judge::{Good, Word, judge};
use crate::statistics::{Interval, median, ratio_interval};

/// Changes smaller than this matter to nobody, where the noise floor is not known.
const NOISE: f64 = 0.05;

/// A configuration of the last round.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) knobs: EngineKnobs,
    pub(super) role: Role,
    pub(super) valid: bool,
    pub(super) values: Vec<f64>,
    pub(super) median: Option<f64>,
    /// Over the control; `None` for the control itself and where nothing can be said.
    pub(super) ratio: Option<Interval>,
    pub(super) word: Option<Word>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Control,
    /// The engine's defaults, beside another control.
    Default,
    Candidate,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub(super) enum Advice {
    /// Nothing beats the control beyond noise.
    Keep,
    Change {
        knobs: EngineKnobs,
    },
    /// The control is worse than the engine's defaults, and nothing beats these.
    Defaults,
    /// The last round was not reached.
    Unknown,
}

impl Advice {
    /// What a file that follows it sets, for a race that began with `control`.
    pub(super) fn settings(&self, control: &EngineKnobs) -> EngineKnobs {
        match self {
            Self::Change { knobs } => knobs.clone(),
            Self::Keep => control.clone(),
            Self::Defaults | Self::Unknown => EngineKnobs::default(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// Control, default, then candidates, the best first.
    pub(super) rows: Vec<Row>,
    pub(super) advice: Advice,
    /// The candidate that did best, recommended or not.
    pub(super) best: Option<EngineKnobs>,
}

pub(super) fn outcome(race: &Race, good: Good, seed: u64) -> Outcome {
    let noise = race.noise_floor().unwrap_or(NOISE);
    let against = |entry: &Entry, other: &Entry| {
        let ratio = ratio_interval(&other.finals, &entry.finals, seed);
        (ratio, judge(ratio, good, noise))
    };
    let row = |entry: &Entry, role| {
        let (ratio, word) = match role {
            Role::Control => (None, None),
            _ if entry.finals.is_empty() => (None, None),
            _ => {
                let (ratio, word) = against(entry, &race.control);
                (ratio, Some(word))
            }
        };
        Row {
            knobs: entry.knobs.clone(),
            role,
            valid: entry.is_valid(),
            values: entry.finals.clone(),
            median: median(&entry.finals),
            ratio,
            word,
        }
    };
    let mut candidates: Vec<&Entry> =
        race.finalists.iter().filter(|entry| !entry.finals.is_empty()).collect();
    let key = |entry: &Entry| {
        let median = median(&entry.finals).unwrap_or(f64::NAN);
        (!entry.is_valid(), if good == Good::More { -median } else { median })
    };
    candidates.sort_by(|a, b| {
        let (a, b) = (key(a), key(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    let mut rows = vec![row(&race.control, Role::Control)];
    rows.extend(race.default.iter().map(|entry| row(entry, Role::Default)));
    rows.extend(candidates.iter().map(|entry| row(entry, Role::Candidate)));
    // A mean of two runs a side is the least that an interval can be made from.
    let reached = race.control.finals.len() > 1 && !candidates.is_empty();
    let is_better =
        |entry: &Entry, other: &Entry| entry.is_valid() && against(entry, other).1 == Word::Better;
    let winner = candidates.iter().find(|entry| is_better(entry, &race.control)).map(|best| {
        // Of those that cannot be told from the best, the one that sets the least.
        let like = |entry: &&&Entry| {
            let same = against(entry, best).0.is_none_or(|ratio| !ratio.excludes(1.0));
            same && is_better(entry, &race.control)
        };
        candidates.iter().filter(like).min_by_key(|entry| entry.settings()).unwrap_or(best)
    });
    let default = race.default.as_ref().filter(|default| is_better(default, &race.control));
    let advice = match (winner, default) {
        _ if !reached => Advice::Unknown,
        (Some(winner), Some(default)) if !is_better(winner, default) => Advice::Defaults,
        (None, Some(_)) => Advice::Defaults,
        (Some(winner), _) => Advice::Change { knobs: winner.knobs.clone() },
        (None, None) => Advice::Keep,
    };
    let best = candidates.first().map(|entry| entry.knobs.clone());
    Outcome { rows, advice, best }
}
