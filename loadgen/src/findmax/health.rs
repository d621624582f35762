//! Whether the machine was as usual during a probe. Pure: it is told what was seen.
//!
//! What is usual is the best that was seen in the same search, more than once: nothing is known of
//! a machine beforehand, and what is always there (a busy neighbour, a daemon) belongs to it.
//!
//! Invariants:
//! 1. Whether a probe counts depends on the machine alone, never on its result: to keep those that
//!    passed would be to look for the answer one likes.
//! 2. What is not known disturbs nothing.

use serde::Serialize;

use crate::report::format::ns;

/// The fixed job may take so many times as long as at its best: up to there a probe is taken to
/// have been made at a rate higher by as much, beyond that it tells of something else.
const SLOWEST: f64 = 1.6;
/// More of the CPU time than usual that other programs may use, and the hypervisor may take.
const MOST_OTHERS: f64 = 0.08;
const MOST_STOLEN: f64 = 0.03;
/// The best is the third best: what was seen once or twice was luck.
const RANK: usize = 3;
/// With fewer values the best one is the best.
const FEWEST: usize = 6;

/// The machine around a probe, or while it rests. Shares are of the CPU time of all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Health {
    /// What a piece of the fixed job takes; of a probe, the mean of before and after.
    pub(crate) job_ns: Option<f64>,
    /// Used by other programs than loadgen and the nodes.
    pub(crate) others: Option<f64>,
    /// Given to other machines by the hypervisor.
    pub(crate) stolen: Option<f64>,
}

/// What is usual.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usual(Health);

/// What was unusual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Disturbance {
    /// The fixed job took so much, usually so much.
    Slower(f64, f64),
    Others(f64),
    Stolen(f64),
}

/// What the fixed job takes around a probe, from before and after it.
pub(crate) fn around(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    match (before, after) {
        (Some(before), Some(after)) => Some(f64::midpoint(before, after)),
        (one, other) => one.or(other),
    }
}

impl Usual {
    pub(crate) fn of<'a>(all: impl Iterator<Item = &'a Health> + Clone) -> Self {
        let best = |pick: fn(&Health) -> Option<f64>| {
            let mut known: Vec<f64> = all.clone().filter_map(pick).collect();
            known.sort_by(f64::total_cmp);
            known.get(if known.len() < FEWEST { 0 } else { RANK - 1 }).copied()
        };
        Self(Health {
            job_ns: best(|of| of.job_ns),
            others: best(|of| of.others),
            stolen: best(|of| of.stolen),
        })
    }

    /// How many times as long as at its best the fixed job takes.
    pub(crate) fn slowness(&self, health: &Health) -> f64 {
        let known = health.job_ns.zip(self.0.job_ns);
        known.map_or(1.0, |(now, best)| (now / best).clamp(1.0 / SLOWEST, SLOWEST))
    }

    /// Like this, but with the fixed job as fast as in `other`.
    pub(crate) fn with_job_of(self, other: &Self) -> Self {
        Self(Health { job_ns: other.0.job_ns, ..self.0 })
    }

    /// What other programs use all the time, where that is more than they may use now and then.
    pub(crate) fn constant_others(&self) -> Option<f64> {
        self.0.others.filter(|&share| share > MOST_OTHERS)
    }

    /// What is unusual about `health`.
    pub(crate) fn disturbance(&self, health: &Health) -> Option<Disturbance> {
        let above = |now: Option<f64>, usual: Option<f64>, most: f64| {
            now.zip(usual).and_then(|(now, usual)| (now > usual + most).then_some(now))
        };
        let slower = |(now, usual): (f64, f64)| {
            (now > SLOWEST * usual).then_some(Disturbance::Slower(now, usual))
        };
        let others = above(health.others, self.0.others, MOST_OTHERS).map(Disturbance::Others);
        let stolen = above(health.stolen, self.0.stolen, MOST_STOLEN).map(Disturbance::Stolen);
        let job = health.job_ns.zip(self.0.job_ns).and_then(slower);
        others.or(stolen).or(job)
    }
}

impl Disturbance {
    pub(crate) fn words(&self) -> String {
        let whole = crate::num::floor_u64;
        match *self {
            Self::Slower(now, usual) => {
                format!("machine slower: fixed job {}, best {}", ns(whole(now)), ns(whole(usual)))
            }
            Self::Others(share) => format!("others used {:.0} % of the CPU", 100.0 * share),
            Self::Stolen(share) => format!("hypervisor took {:.0} % of the CPU", 100.0 * share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(job_ns: f64, others: f64, stolen: f64) -> Health {
        Health { job_ns: Some(job_ns), others: Some(others), stolen: Some(stolen) }
    }

    #[test]
    fn usual_is_the_third_best_and_what_is_worse_by_too_much_is_told() {
        let all: Vec<Health> = (0..8_u32).map(|n| seen(100.0 + f64::from(n), 0.0, 0.0)).collect();
        let usual = Usual::of(all.iter());
        assert_eq!(usual.0.job_ns, Some(102.0));
        assert_eq!(Usual::of(all.iter().take(3)).0.job_ns, Some(100.0), "of a few, the best");
        assert_eq!(usual.disturbance(&seen(163.0, 0.07, 0.02)), None);
        let told = |health| usual.disturbance(&health).unwrap().words();
        assert!(told(seen(164.0, 0.0, 0.0)).contains("fixed job 164ns, best 102ns"));
        assert!(told(seen(100.0, 0.09, 0.0)).contains("others used 9 %"));
        assert!(told(seen(100.0, 0.0, 0.04)).contains("hypervisor took 4 %"));
    }

    #[test]
    fn slowness_is_by_the_best_and_bounded() {
        let usual = Usual::of(vec![seen(100.0, 0.0, 0.0); 8].iter());
        let of = |job_ns| usual.slowness(&seen(job_ns, 0.0, 0.0));
        assert_eq!((of(100.0), of(125.0), of(900.0), of(1.0)), (1.0, 1.25, 1.6, 0.625));
        assert_eq!(usual.slowness(&Health::default()), 1.0);
        assert_eq!(Usual::default().slowness(&seen(9.0, 0.0, 0.0)), 1.0);
        assert_eq!(around(Some(2.0), Some(4.0)), Some(3.0));
        assert_eq!((around(None, Some(4.0)), around(Some(2.0), None)), (Some(4.0), Some(2.0)));
    }

    #[test]
    fn what_is_always_there_belongs_to_the_machine_and_is_told_apart() {
        let all = vec![seen(100.0, 0.3, 0.05); 8];
        let usual = Usual::of(all.iter());
        assert_eq!(usual.disturbance(&seen(100.0, 0.35, 0.06)), None);
        assert_eq!(usual.constant_others(), Some(0.3));
        assert_eq!(Usual::of(vec![seen(1.0, 0.02, 0.0); 8].iter()).constant_others(), None);
    }

    #[test]
    fn what_is_not_known_disturbs_nothing() {
        let nothing = Health::default();
        assert_eq!(Usual::of([nothing].iter()).disturbance(&seen(9.0, 0.9, 0.9)), None);
        assert_eq!(Usual::of([seen(9.0, 0.0, 0.0)].iter()).disturbance(&nothing), None);
    }
}
