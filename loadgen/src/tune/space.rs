//! What is tuned: the knobs of the engine that decide how commands share writes, and the
//! configurations to begin with.
//!
//! Invariant: a knob at the engine's default is never set ([`Knob::set`]), so that two
//! configurations are equal exactly if the engine works alike under them, and none that is
//! recommended says more than it must.

use std::fmt;

use redlatch::Batching;

use crate::config::{EngineKnobs, Gather};
use crate::plan::rng::Xoshiro;
use crate::sweep::grid;

/// What the builder of the library begins with.
const DEFAULT_MAX_INFLIGHT: u32 = 4_096;

/// A knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Knob {
    Gather,
    MaxCommands,
    MinInflight,
    MaxBytes,
    MaxInflight,
}

/// What a knob is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u32),
    Gather(Gather),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Gather(Gather::Adaptive) => f.write_str("adaptive"),
            Self::Gather(Gather::Always) => f.write_str("always"),
            Self::Gather(Gather::Off) => f.write_str("off"),
        }
    }
}

impl Knob {
    pub(crate) const ALL: [Self; 5] =
        [Self::Gather, Self::MaxCommands, Self::MinInflight, Self::MaxBytes, Self::MaxInflight];

    /// As the flag is called, with underscores.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gather => "batch_gather",
            Self::MaxCommands => "batch_max_commands",
            Self::MinInflight => "batch_gather_min_inflight",
            Self::MaxBytes => "batch_max_bytes",
            Self::MaxInflight => "max_inflight",
        }
    }

    /// The values that are tried.
    pub(crate) fn values(self) -> Vec<Value> {
        let numbers = |numbers: &[u32]| numbers.iter().map(|&n| Value::Number(n)).collect();
        match self {
            Self::Gather => {
                [Gather::Adaptive, Gather::Always, Gather::Off].map(Value::Gather).into()
            }
            Self::MaxCommands => numbers(&[1, 4, 16, 64, 128, 512]),
            Self::MinInflight => numbers(&[1, 2, 4, 8, 16]),
            Self::MaxBytes => numbers(&[2_048, 4_096, 16_384, 65_536]),
            Self::MaxInflight => numbers(&[256, 1_024, 4_096, 16_384]),
        }
    }

    /// The engine's own.
    pub(crate) fn default(self) -> Value {
        let batching = Batching::default();
        let number = |n: usize| Value::Number(u32::try_from(n).unwrap_or(u32::MAX));
        match self {
            Self::Gather => Value::Gather(match batching.gather {
                redlatch::Gather::Always => Gather::Always,
                redlatch::Gather::Off => Gather::Off,
                _ => Gather::Adaptive,
            }),
            Self::MaxCommands => number(batching.max_commands),
            Self::MinInflight => number(batching.gather_min_inflight),
            Self::MaxBytes => number(batching.max_bytes),
            Self::MaxInflight => Value::Number(DEFAULT_MAX_INFLIGHT),
        }
    }

    /// What `of` sets it to; `None`: the engine's default.
    pub(crate) fn get(self, of: &EngineKnobs) -> Option<Value> {
        match self {
            Self::Gather => of.batch_gather.map(Value::Gather),
            Self::MaxCommands => of.batch_max_commands.map(Value::Number),
            Self::MinInflight => of.batch_gather_min_inflight.map(Value::Number),
            Self::MaxBytes => of.batch_max_bytes.map(Value::Number),
            Self::MaxInflight => of.max_inflight.map(Value::Number),
        }
    }

    /// Sets it; the engine's default by leaving it out.
    pub(crate) fn set(self, knobs: &mut EngineKnobs, value: Option<Value>) {
        let value = value.filter(|value| *value != self.default());
        let number = match value {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        };
        match self {
            Self::Gather => {
                knobs.batch_gather = match value {
                    Some(Value::Gather(gather)) => Some(gather),
                    _ => None,
                }
            }
            Self::MaxCommands => knobs.batch_max_commands = number,
            Self::MinInflight => knobs.batch_gather_min_inflight = number,
            Self::MaxBytes => knobs.batch_max_bytes = number,
            Self::MaxInflight => knobs.max_inflight = number,
        }
    }

    fn parse(self, text: &str) -> Result<Value, String> {
        let bad = |values: &str| {
            Err(format!("--start: `{text}` is no value of {}; use {values}", self.name()))
        };
        match self {
            Self::Gather => match self.values().into_iter().find(|value| value.to_string() == text)
            {
                Some(value) => Ok(value),
                None => bad("adaptive, always or off"),
            },
            _ => match crate::values::count_u32(text) {
                Ok(number) => Ok(Value::Number(number)),
                Err(_) => bad("a whole number from 1 on"),
            },
        }
    }
}

/// `knobs` without what says no more than the engine's defaults.
pub(crate) fn plain(knobs: &EngineKnobs) -> EngineKnobs {
    let mut plain = knobs.clone();
    for knob in Knob::ALL {
        knob.set(&mut plain, knob.get(knobs));
    }
    plain
}

/// `knobs` with every knob that is tuned at the engine's default.
pub(crate) fn defaults(knobs: &EngineKnobs) -> EngineKnobs {
    let mut defaults = knobs.clone();
    for knob in Knob::ALL {
        knob.set(&mut defaults, None);
    }
    defaults
}

/// `batch_max_commands=16 batch_gather=off`, or `default`.
pub(crate) fn label(knobs: &EngineKnobs) -> String {
    let words = Knob::ALL.into_iter().filter_map(|knob| {
        Some(format!("{}={}", knob.name().trim_start_matches("batch_"), knob.get(knobs)?))
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "default".to_owned() } else { words.join(" ") }
}

/// `base` with `batch_max_commands=1,batch_gather=off` on top.
pub(crate) fn start(text: &str, base: &EngineKnobs) -> Result<EngineKnobs, String> {
    let mut knobs = base.clone();
    for part in text.split(',').map(str::trim) {
        let Some((name, value)) = part.split_once('=') else {
            return Err(format!(
                "--start: `{part}` is no setting; write NAME=VALUE, as in batch_max_commands=1"
            ));
        };
        let wanted = name.trim().replace('-', "_");
        let names = Knob::ALL.map(Knob::name);
        let Some(knob) = Knob::ALL.into_iter().find(|knob| knob.name() == wanted) else {
            return Err(format!(
                "--start: `{name}` is not tuned{}; there are {}",
                crate::near::hint(&wanted, names),
                names.join(", ")
            ));
        };
        knob.set(&mut knobs, Some(knob.parse(value.trim())?));
    }
    Ok(plain(&knobs))
}

/// `count` configurations, none of them `control` or the engine's defaults. Every value of a knob
/// is taken equally often, in an order of chance of its own: a Latin hypercube (McKay, Beckman and
/// Conover, 1979) over values instead of strata.
pub(crate) fn first(count: usize, control: &EngineKnobs, seed: u64) -> Vec<EngineKnobs> {
    let none = defaults(control);
    let mut found: Vec<EngineKnobs> = Vec::new();
    // What stands twice is drawn again, a bounded number of times.
    for round in 0..8_u32 {
        let missing = count - found.len().min(count);
        let mut drawn = vec![none.clone(); missing];
        for (at, knob) in (0_u32..).zip(Knob::ALL) {
            let values = knob.values();
            let order = grid::order(missing, 8 * round + at, seed);
            let mut offset = Xoshiro::for_client(seed, 1_000 + 8 * round + at);
            let offset = crate::num::usize_of(offset.below(values.len() as u64));
            for (candidate, place) in drawn.iter_mut().zip(order) {
                let value = values.get((place + offset) % values.len()).copied();
                knob.set(candidate, value);
            }
        }
        for candidate in drawn {
            if candidate != *control && candidate != none && !found.contains(&candidate) {
                found.push(candidate);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_configurations_take_every_value_equally_often_and_none_twice() {
        let control = EngineKnobs::default();
        let all = first(24, &control, 7);
        assert_eq!(all.len(), 24);
        let another = all[3].clone();
        assert!(!first(24, &another, 7).contains(&another), "the control is measured anyhow");
        assert_eq!(all, first(24, &control, 7));
        assert_ne!(all, first(24, &control, 8));
        for knob in Knob::ALL {
            for value in knob.values() {
                let is_it = |knobs: &&EngineKnobs| {
                    knob.get(knobs).unwrap_or_else(|| knob.default()) == value
                };
                let n = all.iter().filter(is_it).count();
                let even = 24 / knob.values().len();
                assert!(n.abs_diff(even) <= 2, "{} = {value}: {n} of 24", knob.name());
            }
        }
        for (at, knobs) in all.iter().enumerate() {
            assert!(!all[..at].contains(knobs) && *knobs != control, "{}", label(knobs));
            assert_eq!(plain(knobs), *knobs);
        }
    }

    #[test]
    fn defaults_are_those_of_the_library_and_are_left_out() {
        let mut knobs = EngineKnobs::default();
        for knob in Knob::ALL {
            assert!(knob.values().contains(&knob.default()), "{}", knob.name());
            knob.set(&mut knobs, Some(knob.default()));
        }
        assert_eq!(knobs, EngineKnobs::default());
        assert_eq!(label(&knobs), "default");
    }

    #[test]
    fn few_configurations_try_other_values_with_every_seed() {
        let mut tried: Vec<Option<Value>> = Vec::new();
        for seed in 0..40 {
            let few = first(3, &EngineKnobs::default(), seed);
            tried.extend(few.iter().map(|knobs| Knob::MaxCommands.get(knobs)));
        }
        for value in Knob::MaxCommands.values() {
            let value = Some(value).filter(|value| *value != Knob::MaxCommands.default());
            assert!(tried.contains(&value), "{value:?} is never among three");
        }
    }

    #[test]
    fn a_start_is_read_and_mistakes_are_named() {
        let base = EngineKnobs { node_timeout_ns: Some(7), ..EngineKnobs::default() };
        let knobs = start("batch_max_commands=1, batch-gather=off,max_inflight=4096", &base);
        let knobs = knobs.unwrap();
        assert_eq!(label(&knobs), "gather=off max_commands=1");
        assert_eq!(knobs.node_timeout_ns, Some(7));
        for (bad, told) in [
            ("batch_max_commands", "NAME=VALUE"),
            ("batch_max_command=1", "`batch_max_commands`"),
            ("linger=1", "there are batch_gather"),
            ("batch_gather=on", "adaptive, always or off"),
            ("max_inflight=0", "whole number"),
        ] {
            let error = start(bad, &base).unwrap_err();
            assert!(error.contains(told) && error.starts_with("--start"), "{error}");
        }
    }
}
