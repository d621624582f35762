//! The workloads of a run: one, or a mix of several by weight.
//!
//! In a mix every section is drawn to one workload, with the chance of its weight among all of
//! them, by its client's own stream. So the mix is a part of the plan: shares are of the arrivals
//! of an open loop, and of the sections of a closed one, however long each of them takes.
//!
//! Invariants:
//! 1. A run without a mix has one workload, made of its own settings ([`RunConfig::parts`]);
//!    whoever works by parts needs to know no more.
//! 2. Two workloads have names in common only if they have the same prefix ([`Spaces`]), and only
//!    in modes whose holders the checker can judge together.

mod label;
mod spaces;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::config::RunConfig;
use crate::mode::Mode;
use crate::values::{Hold, KeyDist};

pub(crate) use label::Label;
pub(crate) use spaces::{Permits, Spaces, incompatible};

/// Workloads of a mix at most: each has histograms of its own in every recording thread.
pub(crate) const MOST_WORKLOADS: usize = 16;

/// What sections of one kind ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Workload {
    /// Empty in a run that is no mix.
    pub(crate) name: String,
    /// Its part of all sections, among the weights of all.
    pub(crate) weight: f64,
    pub(crate) mode: Mode,
    pub(crate) keys: u32,
    pub(crate) key_dist: KeyDist,
    pub(crate) key_prefix: String,
    pub(crate) ttl_ns: u64,
    pub(crate) hold: Hold,
    pub(crate) think_ns: u64,
    pub(crate) wait_ns: u64,
    pub(crate) try_only: bool,
    pub(crate) fenced: bool,
}

impl RunConfig {
    pub(crate) const fn is_mix(&self) -> bool {
        !self.workloads.is_empty()
    }

    /// The workloads of a mix, or the only one.
    pub(crate) fn parts(&self) -> Cow<'_, [Workload]> {
        if self.is_mix() { Cow::Borrowed(&self.workloads) } else { Cow::Owned(vec![self.only()]) }
    }

    fn only(&self) -> Workload {
        Workload {
            name: String::new(),
            weight: 1.0,
            mode: self.mode,
            keys: self.keys,
            key_dist: self.key_dist,
            key_prefix: self.key_prefix.clone(),
            ttl_ns: self.ttl_ns,
            hold: self.hold,
            think_ns: self.think_ns,
            wait_ns: self.wait_ns,
            try_only: self.try_only,
            fenced: self.fenced,
        }
    }

    /// A mix of `workloads`; the settings that a run without a mix has are those of the first.
    pub(crate) fn mixed(self, workloads: Vec<Workload>) -> Self {
        let Some(first) = workloads.first().cloned() else { return self };
        Self {
            mode: first.mode,
            keys: first.keys,
            key_dist: first.key_dist,
            key_prefix: first.key_prefix,
            ttl_ns: first.ttl_ns,
            hold: first.hold,
            think_ns: first.think_ns,
            wait_ns: first.wait_ns,
            try_only: first.try_only,
            fenced: first.fenced,
            workloads,
            ..self
        }
    }

    /// Of each workload, the share of all sections that is planned for it.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let parts = self.parts();
        let all: f64 = parts.iter().map(|of| of.weight).sum();
        parts.iter().map(|of| of.weight / all).collect()
    }

    pub(crate) fn longest_ttl_ns(&self) -> u64 {
        self.parts().iter().map(|of| of.ttl_ns).max().unwrap_or(self.ttl_ns)
    }

    pub(crate) fn longest_wait_ns(&self) -> u64 {
        self.parts().iter().map(|of| of.wait_ns).max().unwrap_or(self.wait_ns)
    }

    /// Some section takes a fencing token.
    pub(crate) fn is_fenced(&self) -> bool {
        self.parts().iter().any(|of| of.fenced)
    }

    /// Some lock is kept for a while before it is given back.
    pub(crate) fn holds(&self) -> bool {
        self.parts().iter().any(|of| of.hold != Hold::Fixed(0))
    }

    /// The modes in the words of `--mode`.
    pub(crate) fn modes(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for of in self.parts().iter() {
            let word = of.mode.to_string();
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words.join(" + ")
    }

    /// What lock names begin with; none that begins with another of them.
    pub(crate) fn key_prefixes(&self) -> Vec<String> {
        let parts = self.parts();
        let mut all: Vec<&str> = parts.iter().map(|of| of.key_prefix.as_str()).collect();
        all.sort_unstable();
        let mut shortest: Vec<String> = Vec::new();
        for prefix in all {
            if !shortest.last().is_some_and(|before| prefix.starts_with(before.as_str())) {
                shortest.push(prefix.to_owned());
            }
        }
        shortest
    }

    /// The names that can be locked, as the checker numbers them.
    pub(crate) fn spaces(&self) -> Spaces {
        Spaces::of(&self.parts())
    }
}

#[cfg(test)]
impl Workload {
    /// A mutex on 8 names.
    pub(crate) fn for_tests(name: &str, weight: f64) -> Self {
        let key_prefix = format!("lg:{name}:");
        Self { name: name.to_owned(), weight, key_prefix, ..RunConfig::for_tests().only() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_mix_has_one_workload_of_its_own_settings() {
        let config = RunConfig { keys: 7, fenced: true, ..RunConfig::for_tests() };
        let parts = config.parts();
        assert_eq!((parts.len(), parts[0].keys, config.shares()), (1, 7, vec![1.0]));
        assert!(!config.is_mix() && config.is_fenced() && !config.holds());
        assert_eq!(config.clone().mixed(Vec::new()), config);
    }

    #[test]
    fn what_is_asked_of_a_mix_as_a_whole_is_asked_of_all_of_it() {
        let a = Workload { ttl_ns: 5, wait_ns: 9, ..Workload::for_tests("a", 3.0) };
        let b = Workload { mode: Mode::All(2), ..Workload::for_tests("b", 1.0) };
        let b = Workload { fenced: true, hold: Hold::Fixed(1), ..b };
        let config = RunConfig::for_tests().mixed(vec![a, b]);
        assert_eq!((config.shares(), config.modes()), (vec![0.75, 0.25], "mutex + all:2".into()));
        assert_eq!((config.ttl_ns, config.longest_ttl_ns()), (5, 10_000_000_000));
        assert_eq!((config.wait_ns, config.longest_wait_ns()), (9, 1_000_000_000));
        assert!(config.is_fenced() && config.holds() && !config.fenced);
    }

    #[test]
    fn prefixes_are_each_named_once() {
        let of = |prefixes: &[&str]| {
            let part = |prefix: &&str| Workload {
                key_prefix: (*prefix).to_owned(),
                ..Workload::for_tests("x", 1.0)
            };
            let config = RunConfig::for_tests().mixed(prefixes.iter().map(part).collect());
            config.key_prefixes()
        };
        assert_eq!(of(&["lg:b:", "lg:a:", "lg:b:"]), ["lg:a:", "lg:b:"]);
        assert_eq!(of(&["lg:b:", "lg:", "x"]), ["lg:", "x"], "one covers the other");
    }
}
