//! The built program under faults of every kind, on real nodes.
#![expect(clippy::disallowed_methods, reason = "a test waits on its own clock")]

mod support;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::dir::{Dir, end};
use support::process::{children, is_gone, is_stopped, need_server, signal, until};
use support::world::addresses;

fn schedule(text: &str) -> Vec<String> {
    let faults = text.lines().filter_map(|line| line.trim().strip_prefix("--fault "));
    faults.map(str::to_owned).collect()
}

#[test]
fn a_short_chaos_of_many_kinds_is_survived_and_told_fault_by_fault() {
    need_server();
    let dir = Dir::new("short");
    let line = "chaos -d 14s -w 500ms --every 1200ms --for 300ms..700ms --ttl 1s --max-ttl 1s \
                --hold exp:2ms -r 200 -c 24 --processes 2 --seed 5 --progress none \
                --kinds kill,pause,partition,drop-replies,latency,reset,refuse";
    let (code, text) = dir.run(line);
    // A machine under load may miss the rate; exclusion it may not miss.
    assert!(code == 0 || code == 5, "{code}: {text}");
    let result = dir.result();
    assert_eq!(result["safety"]["verdict"], "holds", "{text}");
    assert_eq!(result["config"]["seed"], 5, "{text}");
    let printed = schedule(&text);
    let stored: Vec<String> = serde_json::from_value(result["config"]["faults"].clone()).unwrap();
    assert_eq!(printed, stored);
    let faults = result["faults"].as_array().unwrap();
    assert_eq!(faults.len(), printed.len(), "{text}");
    let kinds: BTreeSet<&str> =
        faults.iter().map(|fault| fault["kind"].as_str().unwrap()).collect();
    assert!(kinds.len() >= 5, "{kinds:?}");
    for (fault, line) in faults.iter().zip(&printed) {
        assert_eq!(fault["fault"], line.as_str(), "{fault}");
        assert!(!fault["end_ns"].is_null() && !fault["node_back_ns"].is_null(), "{fault}");
        let cut_off = ["kill", "partition", "drop-replies", "reset", "refuse"];
        if cut_off.iter().any(|kind| fault["kind"] == *kind) {
            assert_eq!(fault["detect_by"], "node", "{fault}");
        }
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    // The same seed is the same schedule, whatever the machine did.
    let again = Dir::new("short-again");
    let child = again.spawn(line);
    until("the schedule is printed", || children(child.id()).len() >= 3);
    signal(child.id(), Signal::INT);
    assert_eq!(schedule(&end(child).1), printed);
}

#[test]
fn ctrl_c_in_the_middle_of_faults_heals_and_reports() {
    need_server();
    let dir = Dir::new("ctrl-c");
    let line = "run -r 200 -c 16 -d 60s -w 0 --hold 1ms --ttl 2s --processes 2 --progress lines \
                --fault kill@1s/50s:node=1 --fault partition@1s/50s:node=2 \
                --fault client-pause@1s/50s:process=1";
    let child = dir.spawn(line);
    let (loadgen, mut all) = (child.id(), Vec::new());
    until("a process of the load is stopped", || {
        all = children(loadgen);
        all.iter().any(|pid| is_stopped(*pid))
    });
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    signal(loadgen, Signal::INT);
    let (code, text) = end(child);
    assert_eq!(code, 130, "{text}");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let result = dir.result();
    let faults = result["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 3, "{text}");
    assert!(faults.iter().all(|fault| fault["end_ns"].as_u64().unwrap() < 30_000_000_000));
    assert_eq!(result["safety"]["verdict"], "holds", "{text}");
    assert!(!text.contains("could not be healed"), "{text}");
    assert!(all.into_iter().all(is_gone), "{text}");
}

/// A process that is stopped cannot see that its parent is gone; the system ends it all the same.
#[test]
fn a_stopped_process_of_the_load_does_not_outlive_a_killed_loadgen() {
    need_server();
    let dir = Dir::new("orphans");
    let line = "run -r 50 -c 16 -d 60s -w 0 --processes 2 -q --fault client-pause@500ms/50s";
    let mut child = dir.spawn(line);
    let mut all = Vec::new();
    until("a process of the load is stopped", || {
        all = children(child.id());
        all.iter().any(|pid| is_stopped(*pid))
    });
    signal(child.id(), Signal::KILL);
    child.wait().unwrap();
    until("all have ended", || all.iter().all(|pid| is_gone(*pid)));
}

#[test]
fn a_paused_client_overruns_and_violates_nothing() {
    need_server();
    let dir = Dir::new("client-pause");
    let line = "run -r 200 -c 64 -d 8s -w 0 -k 20 --hold 20ms --ttl 1s --max-ttl 1s --wait 4s \
                --processes 2 --fenced -q --fault client-pause@1s/2500ms:process=2";
    let (code, text) = dir.run(line);
    assert!(code == 0 || code == 5, "{code}: {text}");
    let result = dir.result();
    assert_eq!(result["safety"]["verdict"], "holds", "{text}");
    let fault = &result["faults"][0];
    let held = fault["held"].as_u64().unwrap();
    assert!(held > 0 && fault["processes"] == serde_json::json!([2]), "{fault}");
    assert!(result["safety"]["overruns"].as_u64().unwrap() >= 1, "{text}");
    assert!(fault["lost"].as_u64().unwrap() >= 1, "{fault}: {text}");
    assert!(text.contains(&format!("client-pause p2 ({held})")), "{text}");
    assert!(text.contains("faults hit processes of the load"), "{text}");
}

#[test]
fn a_killed_client_leaves_the_run_valid_and_its_locks_expire() {
    need_server();
    let dir = Dir::new("client-kill");
    let line = "run -r 200 -c 64 -d 6s -w 0 -k 5 --hold 10ms --ttl 1s --max-ttl 1s --wait 3s \
                --allow-overload --processes 3 -q --fault client-kill@2s:process=1";
    let (code, text) = dir.run(line);
    assert!(code == 0 || code == 5, "{code}: {text}");
    let result = dir.result();
    assert_eq!(result["safety"]["verdict"], "holds", "{text}");
    let lost = result["quality"]["processes_lost"].as_array().unwrap();
    assert!(lost.is_empty() && !text.contains("is gone"), "{text}");
    let fault = &result["faults"][0];
    assert!(fault["held"].as_u64().unwrap() > 0, "{fault}");
    // A third of the load is missing for four of six seconds: not offered, and not missed.
    let offered = result["totals"]["offered"].as_u64().unwrap();
    assert!((700..1_100).contains(&offered), "{offered}: {text}");
}

#[test]
fn what_cannot_be_is_refused_before_anything_starts() {
    let dir = Dir::new("refused");
    let foreign = "--nodes redis://127.0.0.1:1,redis://127.0.0.1:2,redis://127.0.0.1:3";
    for (line, words) in [
        ("run -q --fault client-pause@1s/1s".to_owned(), "--processes 2"),
        ("run -q --spawn 2 --fault kill@1s/1s:minority".to_owned(), "no minority"),
        ("run -q -d 5s --fault flush@5s".to_owned(), "raise --duration"),
        ("run -q --fault latency@1s/1s,delay=soon".to_owned(), "bad delay 'soon'"),
        ("run -q --fault melt@1s/1s".to_owned(), "kinds are kill, term"),
        ("run -q --fault kill@1s/3s:node=1 --fault latency@2s/1s:all".to_owned(), "5 nodes"),
        ("run -q --server-bin test-node --fault flush@1s".to_owned(), "real server"),
        (format!("run -q {foreign} --fault kill@1s/1s"), "leave --nodes out"),
        (format!("run -q {foreign} --fault flush@1s"), "--i-own-these-nodes"),
        (format!("run -q {foreign} --i-own-these-nodes --fault term@1s/1s"), "leave --nodes out"),
        ("chaos -q --spawn 2".to_owned(), "3 or more"),
        ("chaos -q -d 4s".to_owned(), "no fault fits"),
        ("chaos -q --kinds melt".to_owned(), "there is no kind 'melt'"),
        ("chaos -q --for 3s..1s".to_owned(), "write 1s..3s"),
        ("chaos -q --fault kill@1s/1s".to_owned(), "loadgen run"),
        ("chaos -q --kinds client-pause --processes 1".to_owned(), "--processes 2"),
        (format!("chaos -q {foreign} --kinds kill"), "leave --nodes out"),
    ] {
        let (code, text) = dir.run(&line);
        assert_eq!(code, 2, "{line}: {text}");
        assert!(text.contains(words), "{line}: {text}");
    }
    assert!(!dir.join("out").exists(), "a refused run leaves nothing behind");
}

/// Foreign nodes: the network in front of them is ours, what they hold only by leave.
#[test]
fn foreign_nodes_are_disturbed_through_proxies_and_changed_by_leave() {
    need_server();
    let dir = Dir::new("foreign");
    let mut up = dir.command("nodes up --nodes 3");
    let mut up = up.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let nodes = addresses(&mut up);
    let line = format!(
        "run -r 200 -c 16 -d 5s -w 0 --hold 1ms --ttl 1s --max-ttl 1s -q --nodes {nodes} \
         --i-own-these-nodes --fault drop-replies@1s/500ms --fault flush@3s \
         --fault ttl-shrink@3500ms/500ms:all"
    );
    let (code, text) = dir.run(&line);
    signal(up.id(), Signal::INT);
    let _ = up.wait();
    assert!(code == 0 || code == 5, "{code}: {text}");
    let result = dir.result();
    assert_eq!(result["safety"]["verdict"], "holds", "{text}");
    let faults = result["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 3, "{text}");
    assert_eq!(
        (&faults[0]["detect_by"], &faults[1]["detect_by"]),
        (&"node".into(), &"node".into())
    );
    assert!(faults[1]["nodes"][0]["quarantined_ns"].as_u64().unwrap() > 500_000_000, "{text}");
    let first = nodes.split(',').next().unwrap();
    assert!(text.contains(first), "the report names the nodes, not their proxies: {text}");
}

#[test]
fn outside_faults_is_outside_the_time_in_which_they_were_really_in_force() {
    need_server();
    let dir = Dir::new("outside");
    let line = "run -q --spawn 3 -c 4 -t 1 -k 100 -w 0 -d 2500ms --wait 3s \
                --fault pause@730ms/800ms -T 'acquire.response.p99<10s outside faults'";
    let (_, text) = dir.run(line);
    let result = dir.result();
    let checked = &result["thresholds"][0];
    let samples = checked["samples"].as_u64().unwrap();
    let fault = &result["faults"][0];
    let [begin, end] = ["begin_ns", "end_ns"].map(|at| fault[at].as_u64().unwrap() / 100_000_000);
    let ok: Vec<u64> = result["series"]["ok"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(serde_json::Value::as_u64)
        .collect();
    let without = |from: u64, to: u64| -> u64 {
        let outside = ok.iter().enumerate().filter(|(at, _)| !(from..=to).contains(&(*at as u64)));
        outside.map(|(_, n)| n).sum()
    };
    // A healed node may take a moment to answer; four clients may have no answer at the end.
    let (most, least) = (without(begin, end), without(begin, end + 3));
    assert!(ok.iter().sum::<u64>() > most && least > 0, "{ok:?} {fault}");
    assert!((least..=most + 4).contains(&samples), "{samples} in {least}..={most}: {text}");
}
