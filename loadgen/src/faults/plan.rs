//! A schedule with its targets chosen.
//!
//! Pure: the same faults, ground and seed give the same plan. Whatever cannot be carried out is
//! refused here, before anything starts.
//!
//! Invariants:
//! 1. No node and no process is under two faults at once, nor healed and hit in the same instant.
//! 2. A process that was killed is never hit again, and one at least is left.

use std::time::Duration;

use super::kind::Reach;
use super::{Fault, FaultError, FaultKind, MAX_FAULTS, Target};
use crate::cluster::node_name;
use crate::plan::rng::SplitMix;

/// Whose the nodes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rights {
    /// This run started them.
    #[default]
    Ours,
    /// Given by `--nodes`: only the network in front of them may be disturbed.
    Foreign,
    /// Given as well, with leave to change what they hold.
    ForeignOwned,
}

/// What there is to break, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ground {
    pub(crate) nodes: usize,
    pub(crate) processes: usize,
    pub(crate) end: Duration,
    pub(crate) rights: Rights,
    /// The nodes are the library's own test nodes.
    pub(crate) test_nodes: bool,
}

/// One fault and what it hits, counted from 0, ascending: nodes, or processes of the load.
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
    /// Chooses targets. Named ones first, then the choices of the seed among what is free at that
    /// time.
    pub(crate) fn new(faults: &[Fault], ground: &Ground, seed: u64) -> Result<Self, FaultError> {
        if faults.len() > MAX_FAULTS {
            return Err(FaultError::TooMany(faults.len()));
        }
        faults.iter().try_for_each(|fault| allowed(fault, ground))?;
        let mut order: Vec<(usize, Fault)> = faults.iter().copied().enumerate().collect();
        let named = |target| matches!(target, Target::Nodes(_) | Target::Process(_));
        order.sort_by_key(|(_, fault)| (!named(fault.target), fault.at));
        let mut planned: Vec<(usize, Planned)> = Vec::with_capacity(order.len());
        let mut random = SplitMix::new(seed);
        for (place, fault) in order {
            let targets = choose(&fault, ground, &planned, &mut random)?;
            planned.push((place, Planned { fault, targets }));
        }
        planned.sort_by_key(|(place, planned)| (planned.fault.at, *place));
        let plan = Self { faults: planned.into_iter().map(|(_, planned)| planned).collect() };
        plan.leaves_a_process(ground)?;
        Ok(plan)
    }

    fn leaves_a_process(&self, ground: &Ground) -> Result<(), FaultError> {
        let mut kills =
            self.faults.iter().filter(|planned| planned.fault.kind == FaultKind::ClientKill);
        match kills.nth(ground.processes.saturating_sub(1)) {
            Some(one_too_many) => Err(FaultError::NoneLeft(one_too_many.fault)),
            None => Ok(()),
        }
    }

    /// Whether any fault is between the clients and the nodes.
    pub(crate) fn needs_proxies(&self) -> bool {
        self.has(|kind| kind.reach() == Reach::Network)
    }

    pub(crate) fn has(&self, is_meant: impl Fn(FaultKind) -> bool) -> bool {
        self.faults.iter().any(|planned| is_meant(planned.fault.kind))
    }
}

fn allowed(fault: &Fault, ground: &Ground) -> Result<(), FaultError> {
    let is_foreign = ground.rights != Rights::Ours;
    match fault.kind.reach() {
        _ if fault.at >= ground.end => Err(FaultError::Late(*fault)),
        Reach::Process if is_foreign => Err(FaultError::ForeignProcess(*fault)),
        Reach::Data if ground.rights == Rights::Foreign => Err(FaultError::ForeignData(*fault)),
        Reach::Data if ground.test_nodes => Err(FaultError::TestNode(*fault)),
        Reach::Client if ground.processes < 2 => Err(FaultError::OneProcess(*fault)),
        _ => Ok(()),
    }
}

fn choose(
    fault: &Fault,
    ground: &Ground,
    planned: &[(usize, Planned)],
    random: &mut SplitMix,
) -> Result<Vec<usize>, FaultError> {
    let hits_clients = fault.kind.hits_clients();
    let there = if hits_clients { ground.processes } else { ground.nodes };
    let wanted: Option<Vec<usize>> = match fault.target {
        Target::Nodes(set) => Some(set.indices().collect()),
        Target::Process(index) => Some(vec![index]),
        _ => None,
    };
    if let Some(missing) = wanted.iter().flatten().find(|index| **index >= there) {
        return Err(if hits_clients {
            let process = missing.saturating_add(1);
            FaultError::NoSuchProcess { fault: *fault, process, last: there }
        } else {
            FaultError::NoSuchNode { fault: *fault, node: node_name(*missing), last: there }
        });
    }
    let busy = |index: &usize| {
        let mut others = planned.iter().map(|(_, other)| other);
        others.any(|other| {
            other.fault.kind.hits_clients() == hits_clients
                && other.targets.contains(index)
                && overlap(&other.fault, fault)
        })
    };
    let needed = match (&wanted, fault.target) {
        (Some(wanted), _) => wanted.len(),
        (None, Target::Majority) => there / 2 + 1,
        (None, Target::All) => there,
        (None, Target::Minority) if there < 3 => {
            return Err(FaultError::NoMinority(*fault, there));
        }
        (None, Target::Minority) => (there - 1) / 2,
        (None, _) => 1,
    };
    let mut free: Vec<usize> = (0..there).filter(|index| !busy(index)).collect();
    match &wanted {
        Some(wanted) => free.retain(|index| wanted.contains(index)),
        None => shuffle(random, &mut free),
    }
    if free.len() < needed {
        let what = if hits_clients { "processes" } else { "nodes" };
        return Err(FaultError::Overlap { fault: *fault, what, needed, free: free.len() });
    }
    free.truncate(needed);
    free.sort_unstable();
    Ok(free)
}

/// Ends included: a heal takes time. A killed process is never free again.
fn overlap(a: &Fault, b: &Fault) -> bool {
    let end = |fault: &Fault| match fault.kind {
        FaultKind::ClientKill => Duration::MAX,
        _ => fault.end(),
    };
    a.at <= end(b) && b.at <= end(a)
}

/// Fisher and Yates; the bias of the remainder is nothing at so few.
fn shuffle(random: &mut SplitMix, items: &mut [usize]) {
    for last in (1..items.len()).rev() {
        let bound = u64::try_from(last).unwrap_or(u64::MAX).saturating_add(1);
        items.swap(last, usize::try_from(random.next() % bound).unwrap_or(last));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn ground(nodes: usize) -> Ground {
        let end = Duration::from_secs(7_200);
        Ground { nodes, processes: 3, end, rights: Rights::Ours, test_nodes: false }
    }

    fn read(faults: &[&str]) -> Vec<Fault> {
        faults.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn plan(faults: &[&str], nodes: usize, seed: u64) -> Result<Plan, FaultError> {
        Plan::new(&read(faults), &ground(nodes), seed)
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
    fn minority_majority_and_all_are_those_of_the_quorum() {
        for (nodes, minority, majority) in [(3, 1, 2), (4, 1, 3), (5, 2, 3), (9, 4, 5)] {
            let faults = ["kill@1s/1s:minority", "kill@3s/1s:majority", "latency@5s/1s:all"];
            let plan = plan(&faults, nodes, 1).unwrap();
            let counts: Vec<_> = plan.faults.iter().map(|fault| fault.targets.len()).collect();
            assert_eq!(counts, [minority, majority, nodes], "{nodes}");
        }
        assert!(matches!(plan(&["kill@1s/1s:minority"], 2, 1), Err(FaultError::NoMinority(_, 2))));
    }

    #[test]
    fn no_node_is_under_two_faults_at_once() {
        for seed in 0..200 {
            let faults = ["kill@1s/2s:minority", "latency@2s/2s:minority", "flush@2500ms:node=3"];
            let plan = plan(&faults, 5, seed).unwrap();
            let mut all: Vec<_> = plan.faults.iter().flat_map(|fault| &fault.targets).collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 5, "{plan:?}");
        }
        let error = plan(&["kill@1s/1s:node=1", "pause@2s/1s:node=1+2"], 5, 1).unwrap_err();
        assert!(error.to_string().contains("needs 2 nodes"), "{error}");
        let error = plan(&["kill@1s/2s:majority", "pause@2s/1s:majority"], 5, 1).unwrap_err();
        assert!(matches!(error, FaultError::Overlap { needed: 3, free: 2, .. }), "{error}");
        assert!(plan(&["kill@1s/1s:node=1", "pause@2001ms/1s:node=1"], 5, 1).is_ok());
    }

    #[test]
    fn processes_are_not_nodes_and_one_always_survives() {
        let faults = ["client-pause@1s/3s:process=1", "kill@1s/3s:node=1", "client-pause@2s/1s"];
        for seed in 0..20 {
            let plan = plan(&faults, 5, seed).unwrap();
            assert_ne!(plan.faults[2].targets, [0], "process 1 is paused by then");
        }
        let kills = ["client-kill@1s", "client-kill@9s", "client-pause@8s/1s"];
        for seed in 0..20 {
            let hit = plan(&kills, 5, seed).unwrap().faults;
            assert_ne!(hit[0].targets, hit[1].targets, "killed at 1 s");
            assert_ne!(hit[0].targets, hit[2].targets, "killed at 9 s");
        }
        let three = ["client-kill@1s", "client-kill@2s", "client-kill@3s"];
        let error = plan(&three, 5, 1).unwrap_err().to_string();
        assert!(error.contains("no process to measure with"), "{error}");
        let error = plan(&["client-pause@1s/1s:process=4"], 5, 1).unwrap_err().to_string();
        assert!(error.contains("no process 4") && error.contains("1 to 3"), "{error}");
        let alone = Ground { processes: 1, ..ground(5) };
        let error = Plan::new(&read(&["client-kill@1s"]), &alone, 1).unwrap_err().to_string();
        assert!(error.contains("'client-kill@1s'") && error.contains("--processes 2"), "{error}");
    }

    #[test]
    fn what_is_not_there_not_ours_or_too_late_is_refused() {
        let error = plan(&["kill@1s/1s:node=6"], 5, 1).unwrap_err().to_string();
        assert!(error.contains("no node n6") && error.contains("n1 to n5"), "{error}");
        let at_the_end = Ground { end: Duration::from_secs(9), ..ground(5) };
        let error = Plan::new(&read(&["kill@9s/1s"]), &at_the_end, 1).unwrap_err().to_string();
        assert!(error.contains("after the end") && error.contains("--duration"), "{error}");
        let on_test_nodes = Ground { test_nodes: true, ..ground(5) };
        let error = Plan::new(&read(&["flush@1s"]), &on_test_nodes, 1).unwrap_err().to_string();
        assert!(error.contains("real server"), "{error}");
        let many = vec![read(&["kill@1s/1s"])[0]; MAX_FAULTS + 1];
        assert_eq!(Plan::new(&many, &ground(5), 1), Err(FaultError::TooMany(257)));
    }

    #[test]
    fn foreign_nodes_are_disturbed_by_the_network_and_changed_by_leave_alone() {
        let on = |rights, text: &str| {
            let ground = Ground { rights, ..ground(5) };
            Plan::new(&read(&[text]), &ground, 1).map_err(|error| error.to_string())
        };
        for text in ["latency@1s/1s:all", "reset@1s", "client-pause@1s/1s"] {
            assert!(on(Rights::Foreign, text).is_ok(), "{text}");
        }
        for text in ["kill@1s/1s", "term@1s/1s", "pause@1s/1s"] {
            for rights in [Rights::Foreign, Rights::ForeignOwned] {
                let error = on(rights, text).unwrap_err();
                assert!(error.contains(text) && error.contains("leave --nodes out"), "{error}");
            }
        }
        for text in ["flush@1s", "ttl-shrink@1s/1s"] {
            let error = on(Rights::Foreign, text).unwrap_err();
            assert!(error.contains("--i-own-these-nodes"), "{error}");
            assert!(on(Rights::ForeignOwned, text).is_ok(), "{text}");
        }
    }

    #[test]
    fn faults_come_in_the_order_of_their_starts_and_tell_what_they_need() {
        let plan = |faults: &[&str]| plan(faults, 5, 1).unwrap();
        let three = plan(&["kill@5s/3s", "pause@1s/1s:node=2", "pause@2s/2s"]);
        let starts: Vec<_> = three.faults.iter().map(|fault| fault.fault.at.as_secs()).collect();
        assert_eq!(starts, [1, 2, 5]);
        assert!(!three.needs_proxies());
        for kind in ["partition", "drop-replies", "drop-requests", "latency", "refuse", "reset"] {
            let text = format!("{kind}@1s/1s");
            assert!(plan(&[&text]).needs_proxies(), "{kind}");
        }
    }
}
