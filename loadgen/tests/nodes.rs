//! The built program on local nodes, while it breaks them.

mod support;

use rustix::process::Signal;
use serde_json::Value;
use support::dir::{Dir, end};
use support::process::{children, is_gone, is_stopped, signal, until};
use support::world::sigkill;

#[test]
fn a_kill_and_a_pause_are_carried_out_measured_and_survived() {
    let dir = Dir::new("faults");
    let line = "run -q -r 300 -c 32 -d 5s -w 500ms -k 50 --hold 1ms --seed 3 \
                --fault kill@1s/1s --fault pause@3s/1s";
    let (code, text) = dir.run(line);
    // A machine under load may miss the rate; exclusion it may not miss.
    assert!(code == 0 || code == 5, "{code}: {text}");
    let result = dir.result();
    assert_eq!(result["safety"]["verdict"], "holds", "{text}");
    assert!(result["safety"]["sections"].as_u64().unwrap() > 100, "{text}");
    assert_eq!(result["nodes"].as_array().unwrap().len(), 5, "{text}");
    let faults = result["faults"].as_array().unwrap();
    for (fault, kind) in faults.iter().zip(["kill", "pause"]) {
        assert_eq!(fault["kind"], kind, "{fault}");
        assert_eq!(fault["targets"].as_array().unwrap().len(), 1, "{fault}");
        assert_eq!(fault["detect_by"], "node", "{fault}");
        let number = |name: &str| fault[name].as_u64().unwrap();
        assert!(number("end_ns") >= number("begin_ns") + 900_000_000, "{fault}");
        assert!(number("gap_ns") > 0, "{fault}");
        assert!(text.contains(&format!("{kind} n{}", fault["targets"][0])), "{text}");
    }
    assert_eq!(faults.len(), 2, "{text}");
    let killed = faults[0]["targets"][0].as_u64().unwrap();
    let node = &result["nodes"][usize::try_from(killed).unwrap() - 1];
    assert!(node["reconnects"].as_u64().unwrap() >= 1, "{node}");
}

/// A killed node comes back without its memory: its votes count only when every lock that it may
/// have forgotten has expired.
#[test]
fn a_killed_node_is_quarantined_before_it_votes_again_and_a_paused_one_is_not() {
    for server in ["", "--server-bin test-node"] {
        let dir = Dir::new("quarantine");
        let line = format!(
            "run -q {server} --spawn 3 -c 8 -k 20 --hold 1ms --ttl 1s --max-ttl 1s -d 8s -w 500ms \
             --fault kill@1s/500ms:node=2 --fault pause@5s/1s:node=3"
        );
        let (code, text) = dir.run(&line);
        assert_eq!(code, 0, "{text}");
        let result = dir.result();
        let faults = result["faults"].as_array().unwrap();
        let killed = &faults[0]["nodes"][0];
        let number = |name: &str| killed[name].as_u64().unwrap_or_else(|| panic!("{name}: {text}"));
        assert_eq!(number("node"), 2);
        // A second from when it was up again, which a busy machine sees somewhat later.
        assert!(number("quarantined_ns") >= 800_000_000, "{killed}");
        assert!(number("back_ns") > number("hit_ns"), "{killed}");
        assert_eq!(number("votes_ns"), number("back_ns") + number("quarantined_ns"), "{killed}");
        assert!(text.contains("n2 hit at ") && text.contains("votes again at "), "{text}");
        assert_eq!(faults[1]["nodes"][0]["quarantined_ns"], Value::Null, "{text}");
        // From the first instant on a spawned node votes: it is opened when it is started.
        let epochs = |at: usize| result["nodes"][at]["epochs"].as_u64().unwrap();
        assert_eq!([epochs(0), epochs(1), epochs(2)], [1, 2, 1], "{text}");
        let errors = &result["totals"]["errors"];
        assert_eq!((&errors["quarantined"], &errors["no_quorum"]), (&0.into(), &0.into()));
    }
}

#[test]
fn without_a_vote_of_most_nodes_acquisitions_fail_as_quarantined() {
    let dir = Dir::new("quarantined");
    let line = "run -q --spawn 3 -r 50 -c 8 -d 4s -w 0 --ttl 1s --max-ttl 4s --wait 300ms \
                --fault kill@1s/300ms:majority";
    let (code, text) = dir.run(line);
    assert!(code == 0 || code == 5, "{code}: {text}");
    let result = dir.result();
    assert_eq!(result["safety"]["verdict"], "holds", "{text}");
    let refused = result["totals"]["errors"]["quarantined"].as_u64().unwrap();
    assert!(refused > 0, "{text}");
    assert!(result["faults"][0]["failed"].as_u64().unwrap() >= refused, "{text}");
    let returns = result["faults"][0]["nodes"].as_array().unwrap();
    assert!(returns.iter().all(|node| node["quarantined_ns"].as_u64() > Some(0)), "{text}");
    assert!(text.contains("not voting at the end") && text.contains(", votes in "), "{text}");
}

#[test]
fn fenced_locks_of_several_processes_increase_while_a_node_is_killed() {
    let dir = Dir::new("fenced");
    let line = "run -q --fenced --spawn 3 --processes 2 -t 1 -c 8 -k 4 --hold 1ms -d 4s -w 500ms \
                --ttl 1s --max-ttl 1s --fault kill@1s/500ms";
    let (code, text) = dir.run(line);
    assert_eq!(code, 0, "{text}");
    let result = dir.result();
    let fencing = &result["fencing"];
    assert_eq!((&fencing["verdict"], &fencing["violation_count"]), (&"holds".into(), &0.into()));
    assert_eq!(fencing["checked"], result["safety"]["sections"], "every grant has a token: {text}");
    assert!(fencing["highest_token"].as_u64().unwrap() > 0, "{fencing}");
    assert!(fencing["one_round_trip_share"].as_f64().unwrap() > 0.5, "{fencing}");
}

#[test]
fn processes_exclude_each_other_and_every_client_is_served() {
    let dir = Dir::new("processes");
    let line = "run -q --spawn 3 --processes 2 -t 1 -c 8 -k 1 --hold 1ms -d 3s -w 500ms";
    let (code, text) = dir.run(line);
    assert_eq!(code, 0, "{text}");
    let result = dir.result();
    assert_eq!(result["safety"]["verdict"], "holds", "{text}");
    assert_eq!(result["fairness"]["starved"], 0, "{text}");
    assert_eq!(result["safety"]["counter_exact"], true);
    assert!(result["latency_ns"]["handoff"]["count"].as_u64().unwrap() > 0, "{text}");
    let cost = &result["cost_per_acquisition"];
    assert_eq!(cost["nodes_counted"], 3, "{cost}");
    assert!(cost["acquisitions"].as_u64().unwrap() > 0, "{cost}");
    for name in ["client_cpu_ns", "node_cpu_ns", "node_commands"] {
        assert!(cost[name].as_f64().unwrap() > 0.0, "{name} in {cost}");
    }
}

#[test]
fn a_hot_lock_passes_between_processes_and_the_report_says_how() {
    let dir = Dir::new("hot");
    let (code, text) =
        dir.run("run -q --preset hot-key --spawn 3 --processes 2 -c 8 -d 3s -w 500ms");
    assert_eq!(code, 0, "{text}");
    let result = dir.result();
    assert_eq!(
        (&result["config"]["preset"], &result["config"]["keys"]),
        (&"hot-key".into(), &1.into())
    );
    let contention = &result["contention"];
    let number = |name: &str| contention[name].as_f64().unwrap();
    let between = number("handovers_between_processes");
    assert!(between > 0.0 && between < number("handovers"), "{contention}");
    assert!(number("handovers") <= number("grants"), "{contention}");
    assert!(number("hold_mean_ns") >= 1e6 && number("ping_p50_ns") > 0.0, "{contention}");
    assert!(number("attempts_per_acquisition") > 0.0, "{contention}");
    assert_eq!(contention["ping_p50_ns_by_node"].as_array().unwrap().len(), 3);
    let commands = &contention["commands"];
    let each = |name: &str| commands[name].as_f64().unwrap();
    assert_eq!(commands["nodes_counted"], 3, "{commands}");
    assert!(each("per_handover_between_processes") > each("per_handover"), "{commands}");
    let count = |metric: &str| result["latency_ns"][metric]["count"].as_u64().unwrap();
    assert!(count("handoff.between_processes") > 0, "{text}");
    assert!(count("handoff.between_processes") < count("handoff"), "{text}");
    assert!(result["fairness"]["jain_processes"].as_f64().unwrap() > 0.0, "{text}");
    for words in
        ["handovers, ", "between processes", "per handover", "PING p50", "over 2 processes"]
    {
        assert!(text.contains(words), "{words} is missing: {text}");
    }
}

#[test]
fn a_locks_commands_are_told_apart_from_heartbeats_and_the_watchers_own() {
    let dir = Dir::new("commands");
    let (code, text) = dir.run("run -q --spawn 1 -c 1 -k 1 -r 4 --arrival constant -d 5s -w 500ms");
    assert_eq!(code, 0, "{text}");
    let commands = dir.result()["contention"]["commands"].clone();
    if commands["heartbeats"].is_null() {
        assert!(text.contains("test node"), "a real server tells kinds apart: {text}");
        return;
    }
    // A heartbeat a second, of six commands, and forty PINGs: more than all locks together.
    assert!(commands["heartbeats"].as_u64().unwrap() >= 3, "{commands}");
    assert!(commands["probes"].as_u64().unwrap() > 50, "{commands}");
    let kinds = commands["kinds_per_acquisition"].as_object().unwrap();
    let foreign = ["ping", "info", "time", "auth", "select"];
    assert!(foreign.iter().all(|kind| !kinds.contains_key(*kind)), "{commands}");
    // One write with a SET and its seal, one release, whichever way: none of them runs twice.
    assert!(kinds.values().all(|each| each.as_f64().unwrap() <= 1.2), "{commands}");
    assert!(commands["per_acquisition"].as_f64().unwrap() > 2.0, "{commands}");
}

#[test]
fn every_way_of_waiting_excludes_between_processes() {
    for waiting in ["queue", "race", "backoff"] {
        let dir = Dir::new(&format!("waiting-{waiting}"));
        let line =
            format!("run -q --waiting {waiting} --spawn 3 --processes 2 -t 1 -c 4 -k 1 -n 100");
        let (code, text) = dir.run(&line);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains(&format!("({waiting})")), "{text}");
        let result = dir.result();
        assert_eq!(result["config"]["waiting"], waiting);
        assert_eq!(
            (&result["totals"]["ok"], &result["safety"]["verdict"]),
            (&100.into(), &"holds".into())
        );
    }
}

#[test]
fn locks_of_every_mode_exclude_what_they_must_between_processes() {
    for mode in ["shared:80 -k 4", "all:3 -k 12", "hierarchy:3 -k 27", "permits:3 -k 2"] {
        let dir = Dir::new("mode");
        let line = format!(
            "run -q --mode {mode} --spawn 3 --processes 2 -t 1 -c 12 --hold 1ms -d 2s -w 500ms"
        );
        let (code, text) = dir.run(&line);
        assert_eq!(code, 0, "{mode}: {text}");
        let safety = dir.result()["safety"].clone();
        assert_eq!((&safety["verdict"], &safety["overruns"]), (&"holds".into(), &0.into()));
        assert!(safety["sections"].as_u64().unwrap() > 100, "{mode}: {text}");
        // Readers and permits of one name are held at once.
        let word = mode.split(' ').next().unwrap();
        assert!(text.contains(&format!(", {word}, hold 1ms")), "{mode}: {text}");
    }
}

#[test]
fn far_beyond_capacity_a_run_is_invalid_and_names_the_rate_it_had() {
    let dir = Dir::new("capacity");
    let (code, text) = dir.run("run -q --rate 500k -d 1s -w 500ms");
    assert_eq!(code, 5, "{text}");
    let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let rate = flowing.split_once("answered in time, about ").unwrap().1;
    let rate = rate.split_once(" locks/s were had").unwrap().0.replace(' ', "");
    let result = dir.result();
    let sections = result["safety"]["sections"].as_f64().unwrap();
    // Warm-up, measured time and what was waited for afterwards: 1.5 s at least.
    let rate = rate.parse::<f64>().unwrap();
    assert!(rate > 1.0 && rate <= sections / 1.5 + 1.0, "{rate} of {sections} sections: {text}");
    let latency = &result["latency_ns"];
    let unanswered = latency["acquire.unanswered"]["count"].as_u64().unwrap();
    assert_eq!(unanswered, result["totals"]["unfinished"].as_u64().unwrap(), "{text}");
    let row = text.lines().find(|line| line.contains("acquire response")).unwrap();
    assert!(row.contains('≥'), "{text}");
}

#[test]
fn test_nodes_are_processes_that_are_killed_and_paused_like_servers() {
    let dir = Dir::new("test-node");
    let line = "run -q --server-bin test-node -c 8 -d 3s -w 500ms --hold 1ms \
                --fault kill@500ms/700ms:node=2 --fault pause@1700ms/700ms:node=3";
    let (code, text) = dir.run(line);
    assert_eq!(code, 0, "{text}");
    let head: String = text.lines().take(6).collect();
    assert!(head.contains("5 nodes, test node ") && head.contains("NO REAL SERVER"), "{text}");
    let result = dir.result();
    assert_eq!(result["environment"]["target"]["test_node"], true);
    let nodes = result["nodes"].as_array().unwrap();
    assert!(nodes[1]["reconnects"].as_u64().unwrap() >= 1, "{}", nodes[1]);
    let faults = result["faults"].as_array().unwrap();
    // A busy machine can be slow a moment before the engine misses a node.
    assert!(faults.iter().all(|fault| !fault["detect_ns"].is_null()), "{faults:?}");
    assert!(faults.iter().all(|fault| !fault["node_back_ns"].is_null()), "{faults:?}");
    // The killed one began to count anew, and no test node tells its CPU time.
    let cost = &result["cost_per_acquisition"];
    assert_eq!((&cost["nodes_counted"], &cost["node_cpu_ns"]), (&4.into(), &Value::Null));
    assert!(cost["node_commands"].as_f64().unwrap() > 1.0, "{cost}");
    assert_eq!(nodes[1]["server"], Value::Null, "{}", nodes[1]);
}

#[test]
fn without_a_server_on_the_path_test_nodes_are_taken_and_the_report_says_so() {
    let dir = Dir::new("no-server");
    let mut command = dir.command("run -q -o out -c 8 -d 1s -w 0 --spawn 3");
    command.env("PATH", dir.path()).env_remove("LOADGEN_SERVER_BIN");
    let (code, text) = end(command.spawn().unwrap());
    assert_eq!(code, 0, "{text}");
    let head: String = text.lines().take(6).collect();
    assert!(head.contains("3 nodes, test node ") && head.contains("NO REAL SERVER"), "{text}");
}

/// Kills loadgen itself while a node is paused; `fewest` processes of its own must end with it.
fn killed_in_a_fault(name: &str, line: &str, fewest: usize) {
    let dir = Dir::new(name);
    let child = dir.spawn(&format!("run -q {line} -c 4 -d 60s -w 0 --fault pause@100ms/50s"));
    until("a node is paused", || children(child.id()).into_iter().any(is_stopped));
    let started = children(child.id());
    assert!(started.len() >= fewest, "{started:?}");
    sigkill(child);
    until("everything has ended", || started.iter().all(|pid| is_gone(*pid)));
}

#[test]
fn a_killed_run_leaves_no_test_node_behind() {
    // Three nodes and the guard.
    killed_in_a_fault("killed-test-node", "--server-bin test-node --spawn 3", 4);
}

#[test]
fn an_interrupt_in_the_middle_of_a_fault_heals_reports_and_leaves_nothing() {
    let dir = Dir::new("interrupt");
    let child = dir.spawn("run -q --spawn 3 -c 4 -d 60s -w 0 --hold 1ms --fault pause@100ms/50s");
    let pid = child.id();
    until("a node is paused", || children(pid).into_iter().any(is_stopped));
    let started = children(pid);
    assert!(started.len() >= 3);
    signal(pid, Signal::INT);
    let (code, text) = end(child);
    assert_eq!(code, 130, "{text}");
    assert!(text.contains("INTERRUPTED") && text.contains("pause n"), "{text}");
    assert!(started.iter().all(|pid| is_gone(*pid)), "{text}");
}

#[test]
fn a_killed_run_leaves_no_server_and_no_worker_behind() {
    // Three nodes and two workers.
    killed_in_a_fault("killed", "--spawn 3 --processes 2", 5);
}

#[test]
fn too_few_nodes_up_is_a_clear_error_of_every_acquisition() {
    let dir = Dir::new("majority");
    let line =
        "run -q --spawn 3 -r 50 -c 8 -d 3s -w 0 --wait 300ms --fault pause@500ms/1s:majority";
    let (code, text) = dir.run(line);
    assert!(code == 0 || code == 5, "{code}: {text}");
    let result = dir.result();
    let errors = &result["totals"]["errors"];
    let failed = errors["no_quorum"].as_u64().unwrap() + errors["timeout"].as_u64().unwrap();
    assert!(failed > 0, "{errors}");
    assert!(result["faults"][0]["failed"].as_u64().unwrap() > 0, "{text}");
    assert!(result["faults"][0]["gap_ns"].as_u64().unwrap() > 500_000_000, "{text}");
    let texts = result["totals"]["failure_texts"].as_array().unwrap();
    assert!(texts.iter().any(|text| text.as_str().unwrap().contains("redis://127.0.0.1")));
}

#[test]
fn a_mistake_in_a_fault_or_an_address_ends_in_2_and_starts_nothing() {
    let dir = Dir::new("usage");
    for (line, words) in [
        ("run -q --fault melt@1s/1s", "melt@1s/1s"),
        ("run -q -d 2s --fault kill@3s/1s", "after the end of the run"),
        ("run -q --spawn 1 --fault pause@1s/1s:minority", "minority"),
        ("run -q --nodes redis://127.0.0.1:1 --fault kill@1s/1s", "--nodes"),
        ("run -q --nodes http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("run -q --nodes redis://127.0.0.1:1 --spawn 3", "--spawn"),
    ] {
        let (code, text) = dir.run(line);
        assert_eq!(code, 2, "{line}: {text}");
        assert!(text.contains(words), "{line}: {text}");
        assert!(!dir.join("out").exists(), "{line}");
    }
}

#[test]
fn nodes_that_do_not_answer_end_in_1_by_name() {
    let dir = Dir::new("unreachable");
    let (code, text) = dir.run("run -q --nodes redis://127.0.0.1:1");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("127.0.0.1:1"), "{text}");
    assert!(!dir.join("out").exists(), "no empty directory is left behind");
}
