//! Properties of schedules over many seeds.

use std::collections::BTreeSet;

use super::*;
use crate::chaos::KINDS;
use crate::faults::plan::{Ground, Plan, Rights};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn wish(nodes: usize) -> Wish {
    Wish {
        every: s(5),
        shortest: s(1),
        longest: s(3),
        kinds: KINDS.to_vec(),
        aim: Aim::Mixed,
        nodes,
        processes: 3,
        duration: s(60),
        ttl: s(3),
        max_ttl: s(3),
    }
}

/// Nodes in trouble at one instant, by their own account: faults and what they leave behind.
fn in_trouble(faults: &[Fault], at: Duration, max_ttl: Duration) -> BTreeSet<usize> {
    let hit = faults.iter().filter(|fault| {
        let memory = if fault.kind.forgets() { max_ttl } else { Duration::ZERO };
        fault.at <= at && at <= fault.end() + s(1) + memory
    });
    hit.flat_map(|fault| match fault.target {
        Target::Nodes(set) => set.indices().collect(),
        _ => Vec::new(),
    })
    .collect()
}

#[test]
fn never_more_than_a_minority_is_in_trouble_quarantine_included() {
    for seed in 0..300 {
        for (nodes, aim) in [(3, Aim::Mixed), (5, Aim::Mixed), (5, Aim::Minority), (4, Aim::One)] {
            for max_ttl in [s(3), s(10)] {
                let wish = Wish { aim, max_ttl, ..wish(nodes) };
                let faults = make(&wish, seed).unwrap();
                for ms in (0..60_000).step_by(250) {
                    let trouble = in_trouble(&faults, Duration::from_millis(ms), max_ttl);
                    assert!(trouble.len() <= (nodes - 1) / 2, "seed {seed} at {ms} ms: {faults:?}");
                }
            }
        }
    }
}

#[test]
fn the_default_has_many_faults_of_many_kinds_and_ends_calmly() {
    let mut minorities = 0;
    for seed in 0..1_000 {
        let faults = make(&wish(5), seed).unwrap();
        let kinds: BTreeSet<_> = faults.iter().map(|fault| fault.kind).collect();
        assert!(faults.len() >= 10 && kinds.len() >= 5, "seed {seed}: {faults:?}");
        for fault in &faults {
            assert!(fault.at >= s(3) && fault.end() <= s(59), "{fault}");
            let range = match fault.kind {
                FaultKind::ClientPause => s(4)..=s(6),
                kind if kind.length() == Length::None => Duration::ZERO..=Duration::ZERO,
                _ => s(1)..=s(3),
            };
            assert!(range.contains(&fault.for_), "{fault}");
            let pair = |set: NodeSet| set.indices().count() == 2;
            minorities += u32::from(matches!(fault.target, Target::Nodes(set) if pair(set)));
        }
        assert!(faults.is_sorted_by_key(|fault| fault.at), "{faults:?}");
    }
    assert!((500..4_000).contains(&minorities), "{minorities}");
}

#[test]
fn the_seed_alone_decides() {
    assert_eq!(make(&wish(5), 7), make(&wish(5), 7));
    let all: BTreeSet<String> =
        (0..100).map(|seed| format!("{:?}", make(&wish(5), seed).unwrap())).collect();
    assert_eq!(all.len(), 100);
}

#[test]
fn a_schedule_is_a_plan_that_a_run_accepts_and_survives_being_written() {
    let end = s(60);
    let ground = Ground { nodes: 5, processes: 3, end, rights: Rights::Ours, test_nodes: false };
    for seed in 0..200 {
        let kinds = FaultKind::ALL.to_vec();
        let faults = make(&Wish { kinds, every: s(3), ..wish(5) }, seed).unwrap();
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let read: Vec<Fault> = texts.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(read, faults);
        Plan::new(&read, &ground, seed).unwrap();
    }
}

#[test]
fn each_kind_has_its_turn_and_one_process_survives() {
    for seed in 0..50 {
        let kinds = vec![FaultKind::Latency, FaultKind::Reset, FaultKind::ClientKill];
        let faults = make(&Wish { kinds, ..wish(5) }, seed).unwrap();
        let count = |kind| faults.iter().filter(|fault| fault.kind == kind).count();
        assert_eq!(count(FaultKind::ClientKill), 2, "{faults:?}");
        assert!(count(FaultKind::Latency).abs_diff(count(FaultKind::Reset)) <= 1, "{faults:?}");
    }
}

#[test]
fn what_cannot_be_is_said_with_advice() {
    let error = make(&wish(2), 1).unwrap_err();
    assert!(error.contains("2 nodes") && error.contains("3 or more"), "{error}");
    let error = make(&Wish { duration: s(4), ..wish(5) }, 1).unwrap_err();
    assert!(error.contains("--duration 4s") && error.contains("12s or more"), "{error}");
}
