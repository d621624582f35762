//! What sections are drawn from, the same for all clients: the workloads of a run by their weights,
//! and of each its names and how long it holds them.

use std::sync::Arc;

use super::rng::Xoshiro;
use super::zipf::Zipf;
use crate::config::RunConfig;
use crate::mode::Mode;
use crate::num;
use crate::values::{Hold, KeyDist};
use crate::workload::Workload;

/// The names of a workload, by how much they are liked.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    Uniform(u64),
    Zipf(Zipf),
    Hot { hot: u64, all: u64, load: f64 },
    Seq(u64),
}

/// One workload.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) keys: Keys,
    hold: Hold,
    /// Names have holders of several kinds.
    pub(super) draws: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Mix {
    sources: Vec<Source>,
    /// Of each, where its share of 1 ends.
    ends: Vec<f64>,
}

impl Keys {
    pub(super) fn new(of: &Workload) -> Self {
        let all = u64::from(of.keys.max(1));
        match of.key_dist {
            KeyDist::Uniform => Self::Uniform(all),
            KeyDist::Zipf(s) => Self::Zipf(Zipf::new(of.keys, s)),
            KeyDist::Hot { keys, load } => {
                let hot = num::floor_u64((keys * all as f64).round()).clamp(1, all);
                Self::Hot { hot, all, load }
            }
            KeyDist::Seq => Self::Seq(all),
        }
    }

    pub(super) fn pick(&self, rng: &mut Xoshiro, position: u64) -> u32 {
        let key = match self {
            Self::Uniform(all) => rng.below(*all),
            Self::Zipf(zipf) => u64::from(zipf.sample(rng)),
            Self::Hot { hot, all, load } => {
                let (in_hot, place) = (rng.unit() < *load, rng.next());
                let scale = |bound: u64| (u128::from(place) * u128::from(bound)) >> 64;
                if in_hot || hot == all {
                    u64::try_from(scale(*hot)).unwrap_or(0)
                } else {
                    hot + u64::try_from(scale(all - hot)).unwrap_or(0)
                }
            }
            Self::Seq(all) => position % all,
        };
        num::u32_of(key)
    }
}

impl Source {
    pub(super) fn hold_ns(&self, rng: &mut Xoshiro) -> u64 {
        match self.hold {
            Hold::Fixed(ns) => ns,
            Hold::Exp(mean) => num::floor_u64(rng.exponential() * mean as f64),
            Hold::Uniform(low, high) => low + rng.below(high - low + 1),
        }
    }
}

impl Mix {
    pub(super) fn new(config: &RunConfig) -> Arc<Self> {
        let source = |of: &Workload| Source {
            keys: Keys::new(of),
            hold: of.hold,
            draws: of.mode != Mode::Mutex,
        };
        let mut end = 0.0;
        let ends = config.shares().into_iter().map(|share| {
            end += share;
            end
        });
        let ends = ends.collect();
        Arc::new(Self { sources: config.parts().iter().map(source).collect(), ends })
    }

    pub(super) fn len(&self) -> usize {
        self.sources.len()
    }

    /// A workload, by its number and itself. Where there is one, nothing is drawn.
    pub(super) fn pick(&self, rng: &mut Xoshiro) -> Option<(u8, &Source)> {
        let last = self.sources.len().checked_sub(1)?;
        let at = match last {
            0 => 0,
            _ => {
                let at = rng.unit();
                self.ends.iter().position(|end| at < *end).unwrap_or(last)
            }
        };
        Some((u8::try_from(at).ok()?, self.sources.get(at)?))
    }
}
