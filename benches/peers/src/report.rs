//! Medians over the repetitions, and the report as text and JSON.

use serde::{Serialize, Serializer};

use crate::args::Job;
use crate::group::{CellResult, Handover};
use crate::machine::Machine;
use crate::peer::Peer;
use crate::{ratios, tables};

/// One repetition of one cell.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) peer: Peer,
    pub(crate) nodes: usize,
    pub(crate) tasks: usize,
    pub(crate) rep: usize,
    #[serde(flatten)]
    pub(crate) result: CellResult,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    #[serde(serialize_with = "job_name")]
    pub(crate) job: Job,
    pub(crate) processes: usize,
    /// As asked for; what was measured is in each cell.
    pub(crate) hold_us: f64,
    pub(crate) measured: Vec<Measured>,
}

fn job_name<S: Serializer>(job: &Job, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match job {
        Job::Run => "run",
        Job::Handover => "handover",
    })
}

/// One cell over all repetitions.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) peer: Peer,
    pub(crate) nodes: usize,
    pub(crate) tasks: usize,
    /// Median of every figure; sums of errors, keys left, starved tasks and violations.
    pub(crate) median: CellResult,
    /// (max - min) / median of the rate, in per cent.
    pub(crate) spread_percent: f64,
}

impl Report {
    pub(crate) fn is_clean(&self) -> bool {
        self.measured.iter().all(|cell| {
            let violations = cell.result.handover.as_ref().map_or(0, |one| one.violations);
            cell.result.errors == 0 && cell.result.keys_left == 0 && violations == 0
        })
    }

    /// Cells in the order of nodes, tasks, and the peers' first appearance.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut names: Vec<(usize, usize, Peer)> = Vec::new();
        for cell in &self.measured {
            let name = (cell.nodes, cell.tasks, cell.peer);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.sort_unstable();
        names.into_iter().map(|(nodes, tasks, peer)| self.row(nodes, tasks, peer)).collect()
    }

    fn row(&self, nodes: usize, tasks: usize, peer: Peer) -> Row {
        let of_row = |cell: &&Measured| (cell.nodes, cell.tasks, cell.peer) == (nodes, tasks, peer);
        let results: Vec<&CellResult> =
            self.measured.iter().filter(of_row).map(|cell| &cell.result).collect();
        let of = |field: fn(&CellResult) -> f64| {
            median(results.iter().map(|result| field(result)).collect())
        };
        let rates = || results.iter().map(|result| result.cycles_per_s);
        let rate = of(|result| result.cycles_per_s);
        let range = rates().fold(0.0, f64::max) - rates().fold(f64::INFINITY, f64::min);
        let contended: Vec<&Handover> =
            results.iter().filter_map(|result| result.handover.as_ref()).collect();
        let of_contended =
            |field: fn(&Handover) -> f64| median(contended.iter().map(|one| field(one)).collect());
        let handover = (!contended.is_empty()).then(|| Handover {
            passed_on: of_contended(|one| one.passed_on),
            crossed: of_contended(|one| one.crossed),
            hold_us: of_contended(|one| one.hold_us),
            jain: of_contended(|one| one.jain),
            max_wait_ms: of_contended(|one| one.max_wait_ms),
            starved: contended.iter().map(|one| one.starved).sum(),
            violations: contended.iter().map(|one| one.violations).sum(),
        });
        let median = CellResult {
            cycles_per_s: rate,
            acquire_p50_us: of(|result| result.acquire_p50_us),
            acquire_p99_us: of(|result| result.acquire_p99_us),
            acquire_p999_us: of(|result| result.acquire_p999_us),
            cycle_p50_us: of(|result| result.cycle_p50_us),
            client_cpu_us: of(|result| result.client_cpu_us),
            server_cpu_us: of(|result| result.server_cpu_us),
            commands: of(|result| result.commands),
            reads: of(|result| result.reads),
            writes: of(|result| result.writes),
            others_cpu_percent: of(|result| result.others_cpu_percent),
            errors: results.iter().map(|result| result.errors).sum(),
            keys_left: results.iter().map(|result| result.keys_left).sum(),
            first_error: results.iter().find_map(|result| result.first_error.clone()),
            handover,
            ..CellResult::default()
        };
        Row {
            peer,
            nodes,
            tasks,
            median,
            spread_percent: if rate > 0.0 { 100.0 * range / rate } else { 0.0 },
        }
    }

    pub(crate) fn text(&self) -> String {
        let rows = self.rows();
        let mut text = format!("\n{}\n", self.machine.text());
        match self.job {
            Job::Run => {
                text.push_str(&tables::cycles(&rows));
                text.push_str(&ratios::over_probe(&rows));
                text.push_str(&ratios::over_peers(self, &rows));
            }
            Job::Handover => text.push_str(&tables::handovers(self, &rows)),
        }
        text.push_str(&tables::errors(&rows));
        text
    }

    /// Rates by repetition.
    pub(crate) fn rates(&self, nodes: usize, tasks: usize, peer: Peer) -> Vec<(usize, f64)> {
        let cells = self.measured.iter();
        cells
            .filter(|cell| (cell.nodes, cell.tasks, cell.peer) == (nodes, tasks, peer))
            .map(|cell| (cell.rep, cell.result.cycles_per_s))
            .collect()
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert!((median(vec![9.0, 1.0, 5.0]) - 5.0).abs() < 1e-12);
        assert!((median(vec![4.0, 1.0, 2.0, 9.0]) - 3.0).abs() < 1e-12);
        assert!(median(Vec::new()).abs() < 1e-12);
    }
}
