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
        let board = runner.board.clone();
        let mut began: Vec<u64> = Vec::new();
        for _ in 0..2 {
            let event = events.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(event.phase, Phase::InForce);
            began.push(event.record.begin_ns);
        }
        let lasted = board.lasted();
        assert!(lasted.iter().all(|of| began.contains(&of.begin_ns) && of.over_ns.is_none()));
        assert_eq!(lasted.len(), 2, "the third one has not begun");
        assert!(!nodes.all_up());
        if drop_it {
            drop(runner);
        } else {
            let outcome = runner.stop();
            let numbers: Vec<_> = outcome.records.iter().map(|record| record.number).collect();
            assert_eq!(numbers, [0, 1]);
            let over: Vec<_> = board.lasted().iter().map(|of| of.over_ns).collect();
            let healed: Vec<_> = outcome.records.iter().map(|of| of.healed_ns).collect();
            assert_eq!(over, healed);
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

/// All that a run on `cluster` has.
fn means(cluster: &Arc<Cluster>, clients: Vec<Client>) -> Arc<Means> {
    Arc::new(Means {
        cluster: Some(Arc::clone(cluster)),
        nodes: cluster.urls(),
        proxies: Some(Arc::new(Proxies::start(&cluster.urls()).unwrap())),
        clients: clients.into(),
        key_prefixes: vec!["lg:".to_owned()],
        held: Box::new(|process| if process == 0 { 7 } else { 0 }),
    })
}

#[test]
fn real_nodes_are_broken_and_healed() {
    let options = ClusterOptions { nodes: 5, ..ClusterOptions::default() };
    let Some(cluster) = real_cluster(options) else { return };
    let cluster = Arc::new(cluster);
    let run_id = |index: usize| probe::probe(&cluster.urls()[index]).unwrap().run_id.unwrap();
    let before: Vec<_> = (0..5).map(run_id).collect();
    let (sender, _events) = mpsc::channel();
    let all = plan(&["kill@0s/50ms", "term@0s/50ms", "pause@0s/50ms:node=5"]);
    let restarted: Vec<usize> = all
        .faults
        .iter()
        .filter(|one| one.fault.kind != FaultKind::Pause)
        .collect::<Vec<_>>()
        .iter()
        .flat_map(|one| one.targets.clone())
        .collect();
    let runner = start(all, means(&cluster, Vec::new()), now_ns(), sender).unwrap();
    let outcome = runner.finish();
    assert!(outcome.healed.is_ok(), "{outcome:?}");
    assert_eq!((outcome.records.len(), restarted.len()), (3, 2));
    assert!(outcome.records.iter().all(|record| record.healed_ns.is_some()), "{outcome:?}");
    for (index, before) in before.into_iter().enumerate() {
        assert_eq!(run_id(index) != before, restarted.contains(&index), "{outcome:?}");
    }
    assert!((0..5).all(|index| cluster.state(index).unwrap() == NodeState::Running));
}

/// Whether a node answers through its proxy.
fn passes(means: &Means, index: usize) -> bool {
    let url = &means.proxies.as_ref().unwrap().urls()[index];
    probe::answers(url, Duration::from_millis(300))
}

#[test]
fn every_fault_of_the_network_is_seen_through_the_proxy_and_healed() {
    let options = ClusterOptions { nodes: 3, ..ClusterOptions::default() };
    let Some(cluster) = real_cluster(options) else { return };
    let cluster = Arc::new(cluster);
    let means = means(&cluster, Vec::new());
    for (text, gets_through) in [
        ("partition@0s/1h:node=2", false),
        ("drop-replies@0s/1h:node=2", false),
        ("drop-requests@0s/1h:node=2", false),
        ("reset@0s/1h:node=2", false),
        ("refuse@0s/1h:node=2", false),
        ("latency@0s/1h:node=2,delay=400ms", false),
        ("latency@0s/1h:node=2,delay=1ms", true),
        ("bandwidth@0s/1h:node=2,rate=100B", true),
    ] {
        let (sender, events) = mpsc::channel();
        let runner = start(plan_of_three(&[text]), means.clone(), now_ns(), sender).unwrap();
        let event = events.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((event.phase, event.record.error), (Phase::InForce, None), "{text}");
        assert_eq!(passes(&means, 1), gets_through, "{text}");
        assert!(passes(&means, 0) && probe::answers(&cluster.urls()[1], SOON), "{text}");
        let outcome = runner.stop();
        assert!(outcome.records[0].healed_ns.is_some() && passes(&means, 1), "{text}: {outcome:?}");
    }
}

#[test]
fn keys_are_cut_again_and_again_while_a_clock_runs_fast() {
    let nodes = Arc::new(Notes::default());
    let (sender, _events) = mpsc::channel();
    let plan = plan(&["ttl-shrink@0s/350ms:node=1"]);
    start(plan, nodes.clone(), now_ns(), sender).unwrap().finish();
    let again = nodes.acts().iter().filter(|act| *act == "again 0").count();
    assert!((1..=3).contains(&again), "{:?}", nodes.acts());
    let (sender, _events) = mpsc::channel();
    let once = plan_of_three(&["ttl-shrink@0s:node=1"]);
    let nodes = Arc::new(Notes::default());
    start(once, nodes.clone(), now_ns(), sender).unwrap().finish();
    assert_eq!(nodes.acts(), ["ttl-shrink 0", "heal 0", "heal all"]);
}

const SOON: Duration = Duration::from_secs(5);

#[test]
fn processes_of_the_load_are_stopped_continued_and_killed() {
    let options = ClusterOptions { nodes: 1, ..ClusterOptions::default() };
    let Some(cluster) = real_cluster(options) else { return };
    let cluster = Arc::new(cluster);
    let sleeper = || {
        let mut command = std::process::Command::new("sleep");
        command.arg("60").stdin(std::process::Stdio::null());
        crate::cluster::process::spawn(command).unwrap()
    };
    let mut children = [sleeper(), sleeper(), sleeper()];
    let ids: Vec<_> = children.iter().map(|child| ProcId::of(child.id()).unwrap()).collect();
    let means = means(&cluster, ids.iter().copied().map(Client::new).collect());
    let (sender, events) = mpsc::channel();
    let faults = plan_of_three(&["client-pause@0s/1h:process=1", "client-kill@0s:process=2"]);
    let runner = start(faults, means.clone(), now_ns(), sender).unwrap();
    assert!(ids[0].wait_for(ProcState::Stopped, SOON) && ids[1].wait_for(ProcState::Gone, SOON));
    let first = events.iter().find(|event| event.record.targets == [0]).unwrap();
    assert_eq!((first.phase, first.record.held), (Phase::InForce, Some(7)));
    let outcome = runner.stop();
    assert!(outcome.records.iter().all(|record| record.error.is_none()), "{outcome:?}");
    assert_eq!(outcome.records[1].held, Some(0), "none were had within a moment");
    assert_eq!(
        ids.iter().map(|id| id.state()).collect::<Vec<_>>(),
        [ProcState::Running, ProcState::Gone, ProcState::Running]
    );
    let killed: Vec<_> = means.clients.iter().map(Client::was_killed).collect();
    assert_eq!(killed, [false, true, false]);
    for child in &mut children {
        let _ = child.kill();
        child.wait().unwrap();
    }
}

#[test]
fn a_stop_in_the_middle_leaves_real_nodes_running() {
    let options = ClusterOptions { nodes: 3, ..ClusterOptions::default() };
    let Some(cluster) = real_cluster(options) else { return };
    let cluster = Arc::new(cluster);
    let (sender, events) = mpsc::channel();
    let faults = ["kill@0s/1h:node=1", "pause@0s/1h:node=2", "partition@0s/1h:node=3"];
    let means = means(&cluster, Vec::new());
    let runner = start(plan_of_three(&faults), means.clone(), now_ns(), sender).unwrap();
    for _ in 0..3 {
        events.recv_timeout(Duration::from_secs(20)).unwrap();
    }
    assert_eq!(cluster.state(0).unwrap(), NodeState::Down);
    assert_eq!(cluster.state(1).unwrap(), NodeState::Paused);
    assert!(!passes(&means, 2));
    runner.ask_to_stop();
    runner.stop().healed.unwrap();
    assert!((0..3).all(|index| cluster.state(index).unwrap() == NodeState::Running));
    assert!(passes(&means, 2));
}

fn plan_of_three(faults: &[&str]) -> Plan {
    let faults: Vec<_> = faults.iter().map(|text| text.parse().unwrap()).collect();
    Plan::new(&faults, &ground(3), 1).unwrap()
}
