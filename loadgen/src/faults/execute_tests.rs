//! The executor against a stand-in that notes what is done to it, and against real servers.

use std::collections::BTreeMap;
use std::sync::mpsc;

use super::*;
use crate::cluster::local::tests::real_cluster;
use crate::cluster::process::{ProcId, ProcState};
use crate::cluster::{Cluster, ClusterOptions, NodeState, probe};
use crate::faults::means::{Client, Means};
use crate::faults::plan::tests::ground;
use crate::proxy::Proxies;

/// Notes every act; restarts of one node can be made to fail.
#[derive(Debug, Default)]
struct Notes {
    acts: Mutex<Vec<String>>,
    state: Mutex<BTreeMap<usize, &'static str>>,
    failing_heals: Mutex<usize>,
}

impl Notes {
    fn note(&self, act: &'static str, index: usize, state: &'static str) {
        self.acts.lock().unwrap().push(format!("{act} {index}"));
        self.state.lock().unwrap().insert(index, state);
    }

    fn acts(&self) -> Vec<String> {
        self.acts.lock().unwrap().clone()
    }

    fn all_up(&self) -> bool {
        self.state.lock().unwrap().values().all(|state| *state == "up")
    }
}

impl Breakable for Notes {
    fn hit(&self, fault: &Fault, index: usize) -> Result<Option<u64>, String> {
        self.note(fault.kind.name(), index, "down");
        Ok(fault.kind.hits_clients().then_some(2))
    }

    fn keep_up(&self, _fault: &Fault, index: usize) -> Result<(), String> {
        self.acts.lock().unwrap().push(format!("again {index}"));
        Ok(())
    }

    fn heal(&self, _fault: &Fault, index: usize) -> Result<(), String> {
        let mut failing = self.failing_heals.lock().unwrap();
        if *failing > 0 {
            *failing -= 1;
            return Err("node n1 will not start".to_owned());
        }
        self.note("heal", index, "up");
        Ok(())
    }

    fn answers(&self, _fault: &Fault, index: usize) -> bool {
        self.state.lock().unwrap().get(&index) == Some(&"up")
    }

    fn heal_all(&self) -> Result<(), String> {
        self.acts.lock().unwrap().push("heal all".to_owned());
        Ok(())
    }
}

fn plan(faults: &[&str]) -> Plan {
    let faults: Vec<_> = faults.iter().map(|text| text.parse().unwrap()).collect();
    Plan::new(&faults, &ground(5), 1).unwrap()
}

#[test]
fn faults_begin_and_end_in_order_and_never_early() {
    let nodes = Arc::new(Notes::default());
    let (sender, events) = mpsc::channel();
    let start_ns = now_ns();
    let plan = plan(&["kill@10ms/20ms:node=1", "pause@60ms/5ms:node=2"]);
    let outcome = start(plan, nodes.clone(), start_ns, sender).unwrap().finish();
    outcome.healed.unwrap();
    assert_eq!(nodes.acts(), ["kill 0", "heal 0", "pause 1", "heal 1", "heal all"]);
    for (record, (at, for_)) in outcome.records.iter().zip([(10, 20), (60, 5)]) {
        let (in_force, end) = (record.in_force_ns.unwrap(), record.end_ns.unwrap());
        assert!(record.begin_ns >= start_ns + at * 1_000_000);
        assert!(in_force >= record.begin_ns && end >= in_force + for_ * 1_000_000);
        assert!(record.healed_ns.unwrap() >= end);
        assert_eq!(record.error, None);
    }
    let phases: Vec<_> = events.iter().map(|event| (event.record.number, event.phase)).collect();
    let of = |number| [(number, Phase::InForce), (number, Phase::Ending), (number, Phase::Over)];
    assert_eq!(phases, [of(0), of(1)].concat());
}

#[test]
fn a_stop_heals_what_began_and_begins_nothing_more() {
    for drop_it in [false, true] {
        let nodes = Arc::new(Notes::default());
        let (sender, events) = mpsc::channel();
        let plan = plan(&["kill@0s/1h:minority", "pause@0s/1h:node=1", "kill@1h/1s:node=2"]);
        let runner = start(plan, nodes.clone(), now_ns(), sender).unwrap();
        for _ in 0..2 {
            let event = events.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(event.phase, Phase::InForce);
        }
        assert!(!nodes.all_up());
        if drop_it {
            drop(runner);
        } else {
            let outcome = runner.stop();
            let numbers: Vec<_> = outcome.records.iter().map(|record| record.number).collect();
            assert_eq!(numbers, [0, 1]);
            assert!(outcome.records.iter().all(|record| record.healed_ns.is_some()));
        }
        assert!(nodes.all_up());
        assert_eq!(nodes.acts().last().unwrap(), "heal all");
        assert_eq!(nodes.acts().iter().filter(|act| act.starts_with("kill")).count(), 2);
    }
}

#[test]
fn a_restart_is_tried_again_and_a_lasting_failure_is_reported() {
    for (failures, healed) in [(2, true), (usize::MAX, false)] {
        let nodes = Notes { failing_heals: Mutex::new(failures), ..Notes::default() };
        let (sender, events) = mpsc::channel();
        let outcome = start(plan(&["kill@0s/1ms:node=1"]), Arc::new(nodes), now_ns(), sender);
        let record = &outcome.unwrap().finish().records[0];
        assert_eq!(record.healed_ns.is_some(), healed);
        let error = (!healed).then(|| "node n1 will not start".to_owned());
        assert_eq!(record.error, error);
        assert_eq!(events.iter().last().unwrap().phase, Phase::Over);
    }
}

#[test]
fn nobody_has_to_listen_and_an_empty_plan_is_over_at_once() {
    let (sender, events) = mpsc::channel();
    drop(events);
    let nodes = Arc::new(Notes::default());
    let outcome = start(plan(&["kill@0s/1ms"]), nodes.clone(), now_ns(), sender.clone());
    assert_eq!(outcome.unwrap().finish().records.len(), 1);
    let outcome = start(Plan::default(), nodes, now_ns(), sender).unwrap().finish();
    assert!(outcome.records.is_empty());
}

#[test]
fn real_nodes_are_broken_and_healed() {
    let options = ClusterOptions { nodes: 5, ..ClusterOptions::default() };
    let Some(cluster) = real_cluster(options) else { return };
    let cluster = Arc::new(cluster);
    let run_id = |index: usize| probe::probe(&cluster.urls()[index]).unwrap().run_id.unwrap();
    let before: Vec<_> = (0..5).map(run_id).collect();
    let (sender, _events) = mpsc::channel();
    let plan = plan(&["kill@0s/50ms:minority", "pause@0s/50ms:node=5"]);
    let killed = plan.faults.iter().find(|fault| fault.fault.kind == FaultKind::Kill).unwrap();
    let killed = killed.targets.clone();
    let runner = start(plan, cluster.clone(), now_ns(), sender).unwrap();
    let outcome = runner.finish();
    assert!(outcome.healed.is_ok(), "{outcome:?}");
    assert_eq!(outcome.records.len(), 2);
    assert!(outcome.records.iter().all(|record| record.healed_ns.is_some()), "{outcome:?}");
    for (index, before) in before.into_iter().enumerate() {
        assert_eq!(run_id(index) != before, killed.contains(&index), "{outcome:?}");
    }
    assert!((0..5).all(|index| cluster.state(index).unwrap() == NodeState::Running));
}

#[test]
fn a_stop_in_the_middle_leaves_real_nodes_running() {
    let options = ClusterOptions { nodes: 3, ..ClusterOptions::default() };
    let Some(cluster) = real_cluster(options) else { return };
    let cluster = Arc::new(cluster);
    let (sender, events) = mpsc::channel();
    let plan = plan_of_three(&["kill@0s/1h:node=1", "pause@0s/1h:node=2"]);
    let runner = start(plan, cluster.clone(), now_ns(), sender).unwrap();
    for _ in 0..2 {
        events.recv_timeout(Duration::from_secs(20)).unwrap();
    }
    assert_eq!(cluster.state(0).unwrap(), NodeState::Down);
    assert_eq!(cluster.state(1).unwrap(), NodeState::Paused);
    runner.stop().healed.unwrap();
    assert!((0..3).all(|index| cluster.state(index).unwrap() == NodeState::Running));
}

fn plan_of_three(faults: &[&str]) -> Plan {
    let faults: Vec<_> = faults.iter().map(|text| text.parse().unwrap()).collect();
    Plan::new(&faults, &ground(3), 1).unwrap()
}
