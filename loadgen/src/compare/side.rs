//! One side of a comparison: its runs, each a result and, where it is kept, its interval log.
//!
//! Bounded: [`MOST_RUNS`] runs, and of each log as many blocks as the bootstrap takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::document::{self, Document};
use crate::intervals;
use crate::recorder::Metric;
use crate::run::RunError;
use crate::statistics::blocks::{BlockHists, Grid};
use crate::verdict::{Outcome, Safety};

const MOST_RUNS: usize = 100;

#[derive(Debug)]
pub(crate) struct Side {
    /// `A`, `B` ..
    pub(crate) letter: String,
    given: String,
    pub(crate) runs: Vec<Measured>,
}

/// A side in a report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct About {
    pub(crate) side: String,
    pub(crate) given: String,
    pub(crate) runs: Vec<String>,
    pub(crate) started_at: Vec<String>,
    pub(crate) outcomes: Vec<Outcome>,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) path: PathBuf,
    pub(crate) document: Document,
    /// Of single runs: the histograms of blocks of time.
    blocks: BTreeMap<Metric, BlockHists>,
}

impl Side {
    pub(crate) fn load(letter: String, given: &str) -> Result<Self, RunError> {
        let mut paths = Vec::new();
        for name in given.split(',').filter(|name| !name.is_empty()) {
            paths.extend(runs_in(Path::new(name)));
        }
        if paths.is_empty() {
            let text = format!("`{given}` names no run; give a run's directory or its result.json");
            return Err(RunError::Usage(text));
        }
        if paths.len() > MOST_RUNS {
            let text = format!("`{given}` has {} runs; at most {MOST_RUNS} are read", paths.len());
            return Err(RunError::Usage(text));
        }
        let is_alone = paths.len() == 1;
        let read = |path: PathBuf| {
            let document = document::load(&path).map_err(|e| RunError::Usage(e.to_string()))?;
            let blocks = if is_alone { blocks(&path, &document) } else { BTreeMap::new() };
            Ok(Measured { path, document, blocks })
        };
        let runs = paths.into_iter().map(read).collect::<Result<Vec<_>, RunError>>()?;
        Ok(Self { letter, given: given.to_owned(), runs })
    }

    #[cfg(test)]
    pub(crate) fn for_tests(letter: &str, documents: Vec<Document>) -> Self {
        let run =
            |document| Measured { path: PathBuf::from(letter), document, blocks: BTreeMap::new() };
        let runs = documents.into_iter().map(run).collect();
        Self { letter: letter.to_owned(), given: letter.to_owned(), runs }
    }

    pub(crate) fn about(&self) -> About {
        About {
            side: self.letter.clone(),
            given: self.given.clone(),
            runs: self.runs.iter().map(|run| run.path.display().to_string()).collect(),
            started_at: self.runs.iter().map(|run| run.document.run.started_at.clone()).collect(),
            outcomes: self.runs.iter().map(|run| run.document.verdict.outcome).collect(),
        }
    }

    /// The worst that the checker says of any run.
    pub(crate) fn safety(&self) -> Safety {
        let any = |word| self.runs.iter().any(|run| run.document.safety.verdict == word);
        [Safety::Violated, Safety::Unknown].into_iter().find(|&word| any(word)).unwrap_or_default()
    }

    pub(crate) fn violates(&self) -> bool {
        self.runs.iter().any(|run| run.document.verdict.outcome == Outcome::Unsafe)
    }
}

impl Measured {
    pub(crate) fn has_log(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// What was recorded of `metric`, by blocks of time.
    pub(crate) fn blocks(&self, metric: Metric) -> Option<&BlockHists> {
        self.blocks.get(&metric)
    }

    /// Locks granted per second in every block.
    pub(crate) fn granted(&self) -> Vec<f64> {
        let series = &self.document.series;
        let grid = Grid::of(self.document.run.duration_ns, series.interval_ns);
        let mut sums = vec![(0_u64, 0_u64); grid.blocks];
        for (&at_ns, &ok) in series.t.iter().zip(&series.ok) {
            if let Some((sum, ticks)) = sums.get_mut(grid.at(at_ns)) {
                *sum += ok;
                *ticks += 1;
            }
        }
        sums.into_iter().map(|(sum, ticks)| crate::num::share(sum, ticks)).collect()
    }
}

/// The runs that `path` means: itself, or the directories in it that are runs.
fn runs_in(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() || path.join("result.json").exists() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|inside| inside.join("result.json").is_file())
        .take(MOST_RUNS + 1)
        .collect();
    runs.sort();
    // Reading it names what is missing.
    if runs.is_empty() { vec![path.to_owned()] } else { runs }
}

/// The histograms beside a result, by blocks; empty if there are none that can be read.
fn blocks(path: &Path, document: &Document) -> BTreeMap<Metric, BlockHists> {
    let dir = if path.is_dir() { Some(path) } else { path.parent() };
    let Some(log) = dir.map(|dir| dir.join("latency.hlog")) else { return BTreeMap::new() };
    let grid = Grid::of(document.run.duration_ns, document.config.interval_ns);
    let mut hists: BTreeMap<Metric, Vec<_>> = BTreeMap::new();
    let read = intervals::read(&log, |metric, from_ns, hist| {
        let empty = || (0..grid.blocks).map(|_| crate::recorder::histogram()).collect();
        let blocks = hists.entry(metric).or_insert_with(empty);
        if let Some(block) = blocks.get_mut(grid.at(from_ns)) {
            crate::recorder::merge(block, hist);
        }
    });
    // A log of another run would lead astray.
    let response = hists.get(&Metric::Response).map(|blocks| blocks.iter().map(|b| b.len()).sum());
    let counted = document.latency(Metric::Response).map(|latency| latency.count);
    if read.is_err() || response != counted {
        return BTreeMap::new();
    }
    hists.into_iter().map(|(metric, blocks)| (metric, BlockHists::new(&blocks))).collect()
}
