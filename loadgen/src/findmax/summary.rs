//! What the machine was like over a whole search, for its file and its report.

use serde::Serialize;

use super::health::{Disturbance, Health};
use super::search::MOST_LOOKS;

/// The machine over a search.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    /// Looks at it while it rested.
    looks: usize,
    /// Spent in waiting for it to be as usual.
    waited_ns: u64,
    /// What a piece of the fixed job took: of two searches, the one with the lower figure had the
    /// faster machine.
    job_ns: Option<Job>,
    /// Probes that do not count unless all do, by why.
    slower: usize,
    others: usize,
    stolen: usize,
    #[serde(skip)]
    last: Option<Health>,
    #[serde(skip)]
    jobs: Vec<f64>,
    /// A wait was told of, and lasts.
    #[serde(skip)]
    waits: bool,
}

/// Of the fixed job.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Job {
    pub(crate) best: f64,
    pub(crate) median: f64,
    pub(crate) worst: f64,
}

impl Machine {
    pub(super) fn look(&mut self, health: Health) {
        self.looks += 1;
        self.last = Some(health);
        if let Some(job_ns) = health.job_ns.filter(|_| self.jobs.len() < MOST_LOOKS) {
            let at = self.jobs.partition_point(|&known| known < job_ns);
            self.jobs.insert(at, job_ns);
        }
        let of = |at: usize| self.jobs.get(at).copied();
        let (best, worst) = (of(0), of(self.jobs.len().saturating_sub(1)));
        self.job_ns = best
            .zip(of(self.jobs.len() / 2))
            .zip(worst)
            .map(|((best, median), worst)| Job { best, median, worst });
    }

    pub(super) const fn last(&self) -> Option<Health> {
        self.last
    }

    pub(super) fn last_job_ns(&self) -> Option<f64> {
        self.last.and_then(|last| last.job_ns)
    }

    pub(super) const fn wait(&mut self, span_ns: u64) {
        self.waits = true;
        self.waited_ns = self.waited_ns.saturating_add(span_ns);
    }

    pub(super) const fn calm(&mut self) {
        self.waits = false;
    }

    pub(super) const fn is_calm(&self) -> bool {
        !self.waits
    }

    pub(super) const fn waited_ns(&self) -> u64 {
        self.waited_ns
    }

    pub(super) const fn job(&self) -> Option<Job> {
        self.job_ns
    }

    /// Takes in why probes do not count.
    pub(super) fn count(&mut self, all: &[Option<Disturbance>]) {
        for disturbance in all.iter().flatten() {
            *match disturbance {
                Disturbance::Slower(..) => &mut self.slower,
                Disturbance::Others(_) => &mut self.others,
                Disturbance::Stolen(_) => &mut self.stolen,
            } += 1;
        }
    }

    /// In words: `12 while the machine was slower`; empty if none.
    pub(super) fn disturbed(&self) -> Vec<String> {
        let kinds = [
            (self.slower, "while the machine was slower"),
            (self.others, "beside other programs"),
            (self.stolen, "while the hypervisor took CPU time"),
        ];
        let some = kinds.into_iter().filter(|(n, _)| *n > 0);
        some.map(|(n, words)| format!("{n} {words}")).collect()
    }

    pub(super) const fn disturbed_probes(&self) -> usize {
        self.slower + self.others + self.stolen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_and_disturbances_add_up() {
        let mut machine = Machine::default();
        assert_eq!((machine.job(), machine.last_job_ns()), (None, None));
        for job_ns in [3.0, 1.0, 2.0, 9.0] {
            machine.look(Health { job_ns: Some(job_ns), ..Health::default() });
        }
        machine.look(Health::default());
        assert_eq!(machine.job(), Some(Job { best: 1.0, median: 3.0, worst: 9.0 }));
        assert_eq!((machine.looks, machine.last_job_ns()), (5, None));
        machine.wait(7);
        machine.wait(5);
        assert_eq!((machine.waited_ns(), machine.is_calm()), (12, false));
        let slower = Some(Disturbance::Slower(2.0, 1.0));
        machine.count(&[slower, None, Some(Disturbance::Others(0.5)), slower]);
        assert_eq!(
            machine.disturbed(),
            ["2 while the machine was slower", "1 beside other programs"]
        );
        assert_eq!(machine.disturbed_probes(), 3);
    }
}
