//! A schedule with its targets chosen.
//!
//! Pure: the same faults, cluster size and seed give the same plan.
//!
//! Invariant: no node is under two faults at once, nor healed and hit in the same instant.

use std::time::Duration;

use super::{Fault, FaultError, MAX_FAULTS, Target};
use crate::cluster::{Fleet, node_name};

/// One fault and the nodes it hits, counted from 0, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    pub(crate) targets: Vec<usize>,
}

/// Faults in the order of their starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) faults: Vec<Planned>,
}

impl Plan {
    /// Refuses every fault on a fleet that is not ours.
    pub(crate) fn for_fleet(
        faults: &[Fault],
        fleet: &Fleet,
        seed: u64,
    ) -> Result<Self, FaultError> {
        match (fleet, faults.first()) {
            (Fleet::Local(cluster), _) => Self::new(faults, cluster.len(), seed),
            (Fleet::Foreign(_), None) => Ok(Self::default()),
            (Fleet::Foreign(_), Some(fault)) => Err(FaultError::Foreign(*fault)),
        }
    }

    /// Chooses targets among `nodes` nodes. Named nodes first, then the choices of the seed among
    /// what is free at that time.
    pub(crate) fn new(faults: &[Fault], nodes: usize, seed: u64) -> Result<Self, FaultError> {
        if faults.len() > MAX_FAULTS {
            return Err(FaultError::TooMany(faults.len()));
        }
        let mut order: Vec<(usize, Fault)> = faults.iter().copied().enumerate().collect();
        order.sort_by_key(|(_, fault)| (!matches!(fault.target, Target::Index(_)), fault.at));
        let mut planned: Vec<(usize, Planned)> = Vec::with_capacity(order.len());
        let mut random = SplitMix(seed);
        for (place, fault) in order {
            let busy = |node: &usize| {
                let mut others = planned.iter().map(|(_, other)| other);
                others.any(|other| other.targets.contains(node) && overlap(&other.fault, &fault))
            };
            let mut free: Vec<usize> = (0..nodes).filter(|node| !busy(node)).collect();
            let mut targets = match fault.target {
                Target::Index(index) => {
                    if index >= nodes {
                        let node = node_name(index);
                        return Err(FaultError::NoSuchNode { fault, node, last: nodes });
                    }
                    free.retain(|node| *node == index);
                    free
                }
                Target::One | Target::Minority | Target::Majority => {
                    random.shuffle(&mut free);
                    free
                }
            };
            let needed = needed(&fault, nodes)?;
            if targets.len() < needed {
                return Err(FaultError::Overlap { fault, needed, free: targets.len() });
            }
            targets.truncate(needed);
            targets.sort_unstable();
            planned.push((place, Planned { fault, targets }));
        }
        planned.sort_by_key(|(place, planned)| (planned.fault.at, *place));
        Ok(Self { faults: planned.into_iter().map(|(_, planned)| planned).collect() })
    }

    /// When the last fault is to be healed.
    pub(crate) fn end(&self) -> Duration {
        let end = |planned: &Planned| planned.fault.at.saturating_add(planned.fault.for_);
        self.faults.iter().map(end).max().unwrap_or_default()
    }
}

fn needed(fault: &Fault, nodes: usize) -> Result<usize, FaultError> {
    match fault.target {
        Target::One | Target::Index(_) => Ok(1),
        Target::Majority => Ok(nodes / 2 + 1),
        Target::Minority if nodes < 3 => Err(FaultError::NoMinority(*fault, nodes)),
        Target::Minority => Ok((nodes - 1) / 2),
    }
}

/// Ends included: a heal takes time.
fn overlap(a: &Fault, b: &Fault) -> bool {
    a.at <= b.at.saturating_add(b.for_) && b.at <= a.at.saturating_add(a.for_)
}

/// A fixed generator: a plan must not change with a dependency.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fisher and Yates; the bias of the remainder is nothing at 9 nodes.
    fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            let bound = u64::try_from(last).unwrap_or(u64::MAX).saturating_add(1);
            items.swap(last, usize::try_from(self.next() % bound).unwrap_or(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(faults: &[&str], nodes: usize, seed: u64) -> Result<Plan, FaultError> {
        let faults: Vec<Fault> = faults.iter().map(|text| text.parse().unwrap()).collect();
        Plan::new(&faults, nodes, seed)
    }

    #[test]
    fn the_seed_alone_decides_and_every_node_has_its_turn() {
        let faults = ["kill@1s/1s", "pause@5s/1s:minority"];
        assert_eq!(plan(&faults, 5, 7), plan(&faults, 5, 7));
        let mut hit = [0; 5];
        for seed in 0..200 {
            let plan = plan(&faults, 5, seed).unwrap();
            assert_eq!(plan.faults[1].targets.len(), 2);
            hit[plan.faults[0].targets[0]] += 1;
        }
        assert!(hit.iter().all(|&count| count > 20), "{hit:?}");
    }

    #[test]
    fn minority_and_majority_are_those_of_the_quorum() {
        for (nodes, minority, majority) in [(3, 1, 2), (4, 1, 3), (5, 2, 3), (9, 4, 5)] {
            let plan = plan(&["kill@1s/1s:minority", "kill@3s/1s:majority"], nodes, 1).unwrap();
            let counts: Vec<_> = plan.faults.iter().map(|fault| fault.targets.len()).collect();
            assert_eq!(counts, [minority, majority], "{nodes}");
        }
        assert!(matches!(plan(&["kill@1s/1s:minority"], 2, 1), Err(FaultError::NoMinority(_, 2))));
    }

    #[test]
    fn no_node_is_under_two_faults_at_once() {
        for seed in 0..200 {
            let faults = ["kill@1s/2s:minority", "pause@2s/2s:minority", "pause@2500ms/1s:node=3"];
            let plan = plan(&faults, 5, seed).unwrap();
            let mut all: Vec<_> = plan.faults.iter().flat_map(|fault| &fault.targets).collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 5, "{plan:?}");
        }
        let error = plan(&["kill@1s/1s:node=1", "pause@2s/1s:node=1"], 5, 1).unwrap_err();
        assert!(error.to_string().contains("needs 1 nodes"), "{error}");
        let error = plan(&["kill@1s/2s:majority", "pause@2s/1s:majority"], 5, 1).unwrap_err();
        assert!(matches!(error, FaultError::Overlap { needed: 3, free: 2, .. }), "{error}");
        assert!(plan(&["kill@1s/1s:node=1", "pause@2001ms/1s:node=1"], 5, 1).is_ok());
    }

    #[test]
    fn nodes_that_are_not_there_or_not_ours_are_refused() {
        let error = plan(&["kill@1s/1s:node=6"], 5, 1).unwrap_err().to_string();
        assert!(error.contains("no node n6") && error.contains("n1 to n5"), "{error}");
        let fleet = Fleet::Foreign(vec!["redis://10.0.0.1:6379".parse().unwrap()]);
        let fault = "kill@1s/1s".parse().unwrap();
        let error = Plan::for_fleet(&[fault], &fleet, 1).unwrap_err().to_string();
        assert!(error.contains("'kill@1s/1s'") && error.contains("does not own"), "{error}");
        assert_eq!(Plan::for_fleet(&[], &fleet, 1).unwrap(), Plan::default());
        let many = vec![fault; MAX_FAULTS + 1];
        assert_eq!(Plan::new(&many, 5, 1), Err(FaultError::TooMany(257)));
    }

    #[test]
    fn faults_come_in_the_order_of_their_starts() {
        let plan = plan(&["kill@5s/3s", "pause@1s/1s:node=2", "pause@2s/2s"], 5, 1).unwrap();
        let starts: Vec<_> = plan.faults.iter().map(|fault| fault.fault.at.as_secs()).collect();
        assert_eq!(starts, [1, 2, 5]);
        assert_eq!(plan.end(), Duration::from_secs(8));
        assert_eq!(Plan::default().end(), Duration::ZERO);
    }
}
