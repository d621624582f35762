//! The built program on locks whose answers are known.

mod support;

use rustix::process::Signal;
use serde_json::Value;
use support::dir::{Dir, finished, percentile};
use support::process::{children, is_gone, signal, until};

#[test]
fn a_stall_counts_for_every_arrival_planned_inside_it_in_an_open_loop() {
    let dir = Dir::new("stall-open");
    let line =
        "run -q --backend stall -c 1 -r 1k --arrival constant -d 3s -w 0 --percentiles 50,95,99";
    let (code, text) = dir.run(line);
    assert!(code == 0 || code == 5, "{text}");
    let result = dir.result();
    // One call of 300 ms, a tenth of the run: a tenth of the arrivals is planned inside it.
    assert!(percentile(&result, "acquire.response", 99.0) > 200_000_000, "{text}");
    assert!(percentile(&result, "acquire.service", 95.0) < 50_000_000, "one slow call: {text}");
    assert!(percentile(&result, "acquire.response", 95.0) > 50_000_000, "{text}");
    assert!(result["latency_ns"]["acquire.service"]["max"].as_u64().unwrap() >= 300_000_000);
}

#[test]
fn the_same_stall_is_a_single_sample_of_a_closed_loop() {
    let dir = Dir::new("stall-closed");
    let (code, text) = dir.run("run -q --backend stall -c 1 -r max -d 2s -w 0 --percentiles 50,95");
    assert_eq!(code, 0, "{text}");
    let result = dir.result();
    assert!(percentile(&result, "acquire.response", 95.0) < 50_000_000, "{text}");
    assert!(result["latency_ns"]["acquire.response"]["max"].as_u64().unwrap() >= 200_000_000);
}

#[test]
fn a_lock_that_grants_wrongly_ends_in_4_and_is_named() {
    let dir = Dir::new("broken");
    let (code, text) = dir.run("run -q --backend broken -d 500ms -w 0");
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("mutual exclusion violated") && text.contains("UNSAFE"), "{text}");
    assert!(text.contains("`lg:") && text.contains("held by client"), "{text}");
    let result = dir.result();
    assert_eq!(result["verdict"]["outcome"], "unsafe");
    assert_eq!(result["safety"]["verdict"], "violated");
    let first = &result["safety"]["violations"][0];
    assert!(first["key"].as_str().unwrap().starts_with("lg:"), "{first}");
    assert_ne!(first["held"]["client"], first["granted"]["client"], "{first}");
}

#[test]
fn a_lock_that_grants_wrongly_is_found_between_processes() {
    // Every process excludes only within itself, but they share names: the checker must see it.
    let dir = Dir::new("broken-processes");
    let line = "run -q --backend broken --processes 2 -c 4 -k 1 --hold 1ms -d 500ms -w 0 --seed 1";
    let (code, text) = dir.run(line);
    assert_eq!(code, 4, "{text}");
    let result = dir.result();
    let violations = result["safety"]["violations"].as_array().unwrap();
    assert!(violations.iter().any(|v| v["held"]["process"] != v["granted"]["process"]), "{text}");
}

#[test]
fn who_waits_the_whole_run_is_starved_and_its_wait_the_longest() {
    let dir = Dir::new("starved");
    let line = "run -q --backend noop -c 2 -k 1 --hold 5s -d 1s -w 0 --wait 500ms";
    let (code, text) = dir.run(line);
    assert_eq!(code, 5, "one grant is no measurement: {text}");
    let fairness = dir.result()["fairness"].clone();
    assert_eq!((&fairness["starved"], &fairness["jain"]), (&1.into(), &0.5.into()), "{text}");
    assert!(fairness["longest_wait_ns"].as_u64().unwrap() >= 1_000_000_000, "{fairness}");
}

/// Few names, so that sections meet; a mode, and the word of its violation.
const MODES: [(&str, &str); 5] = [
    ("mutex -k 4", "overlapped another of the same name"),
    ("shared:50 -k 4", "overlapped another that had to exclude it"),
    ("all:3 -k 9", "overlapped another of the same name"),
    ("hierarchy:3 -k 27", "overlapped another that had to exclude it"),
    ("permits:3 -k 2", "had one permit more than the 3 of a name"),
];

#[test]
fn a_lock_that_grants_wrongly_is_found_in_every_mode() {
    for (mode, words) in MODES {
        let dir = Dir::new("broken-in-mode");
        let line = format!("run -q --backend broken --mode {mode} -c 16 --hold 1ms -d 500ms -w 0");
        let (code, text) = dir.run(&line);
        assert_eq!(code, 4, "{mode}: {text}");
        assert!(text.contains(words), "{mode}: {text}");
        let first = dir.result()["safety"]["violations"][0].clone();
        assert_ne!(first["held"]["client"], first["granted"]["client"], "{mode}: {first}");
    }
}

#[test]
fn a_lock_of_another_mode_than_was_asked_for_is_found() {
    for (mode, words) in &MODES[1..] {
        let dir = Dir::new("wrong-mode");
        let line =
            format!("run -q --backend broken-modes --mode {mode} -c 16 --hold 1ms -d 500ms -w 0");
        let (code, text) = dir.run(&line);
        assert_eq!(code, 4, "{mode}: {text}");
        assert!(text.contains(words), "{mode}: {text}");
        assert_eq!(dir.result()["mode"], mode.split(' ').next().unwrap());
    }
}

#[test]
fn wrong_grants_are_found_between_processes_in_every_mode() {
    for (mode, words) in MODES {
        let dir = Dir::new("broken-mode-processes");
        // Every process excludes within itself but for one grant in ten, and they share names.
        let line = format!(
            "run -q --backend broken --mode {mode} --processes 2 -t 1 -c 16 --hold 1ms -d 500ms \
             -w 0"
        );
        let (code, text) = dir.run(&line);
        assert_eq!(code, 4, "{mode}: {text}");
        assert!(text.contains(words), "{mode}: {text}");
        let result = dir.result();
        let violations = result["safety"]["violations"].as_array().unwrap();
        let across = |v: &Value| v["held"]["process"] != v["granted"]["process"];
        assert!(violations.iter().any(across), "{mode}: {text}");
    }
}

#[test]
fn readers_and_as_many_as_there_are_permits_never_wait() {
    for mode in ["shared:100", "permits:16"] {
        let dir = Dir::new("shared");
        let line = format!("run -q --backend noop --mode {mode} -c 16 -k 1 --hold 1ms -n 1000");
        let (code, text) = dir.run(&line);
        assert_eq!(code, 0, "{mode}: {text}");
        let result = dir.result();
        assert_eq!(result["latency_ns"]["acquire.contended"], Value::Null, "{mode}: {text}");
        assert_eq!(result["contention"]["handovers"], 0, "{mode}: {text}");
    }
}

#[test]
fn a_lock_that_keeps_its_mode_holds() {
    for (mode, _) in MODES {
        let dir = Dir::new("right-mode");
        let line = format!("run -q --backend noop --mode {mode} -c 16 --hold 1ms -n 2000");
        let (code, text) = dir.run(&line);
        assert_eq!(code, 0, "{mode}: {text}");
        let safety = dir.result()["safety"].clone();
        assert_eq!((&safety["verdict"], &safety["sections"]), (&"holds".into(), &2_000.into()));
        assert_eq!((&safety["counter_exact"], &safety["overruns"]), (&true.into(), &0.into()));
        let held_ns = 2_000.0 * 1e6;
        let lasted_ns = dir.result()["run"]["duration_ns"].as_f64().unwrap();
        if mode == "permits:3 -k 2" {
            assert!(lasted_ns > held_ns / 6.0, "six at once at most: {lasted_ns}");
        }
        if mode == "mutex -k 4" {
            assert!(lasted_ns > held_ns / 4.0, "four at once at most: {lasted_ns}");
        }
    }
}

#[test]
fn tokens_that_do_not_increase_end_in_4_with_and_without_exclusion() {
    for (backend, exclusion) in [("broken", "violated"), ("broken-tokens", "holds")] {
        let dir = Dir::new(&format!("tokens-{backend}"));
        let line = format!("run -q --backend {backend} --fenced -d 500ms -w 0 -k 8");
        let (code, text) = dir.run(&line);
        assert_eq!(code, 4, "{text}");
        assert!(
            text.contains("fencing violated") && text.contains("tokens OUT OF ORDER"),
            "{text}"
        );
        let result = dir.result();
        assert_eq!(result["safety"]["verdict"], exclusion, "{text}");
        assert_eq!(result["fencing"]["verdict"], "violated", "{text}");
        assert!(result["fencing"]["violation_count"].as_u64().unwrap() > 0, "{text}");
        assert_eq!(result["verdict"]["outcome"], "unsafe");
    }
}

#[test]
fn tokens_that_increase_pass_and_a_run_without_them_says_nothing() {
    let dir = Dir::new("tokens");
    let (code, text) = dir.run("run -q --backend noop --fenced -n 2000 -c 8 -k 3 --processes 2");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("tokens INCREASE"), "{text}");
    let json = dir.result();
    let fencing = &json["fencing"];
    assert_eq!((&fencing["checked"], &fencing["violation_count"]), (&2_000.into(), &0.into()));
    assert_eq!(fencing["one_round_trip_share"], 1.0, "{fencing}");
    let (code, text) = dir.run("run -q --backend noop -n 100 -c 2");
    assert_eq!((code, &dir.result()["fencing"]), (0, &Value::Null), "{text}");
    assert!(!text.contains("tokens"), "{text}");
}

#[test]
fn an_impossible_rate_is_invalid_and_says_what_to_do() {
    let dir = Dir::new("impossible");
    let (code, text) = dir.run("run -q --backend noop -r 50M -d 500ms -w 0 -c 8");
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("rate missed") && text.contains("lower --rate"), "{text}");
    let result = dir.result();
    assert_eq!(result["verdict"]["outcome"], "invalid");
    let totals = &result["totals"];
    let number = |name: &str| totals[name].as_u64().unwrap();
    assert!(number("unfinished") > 0, "arrivals nobody answered are counted: {totals}");
    // The arrivals of a hopeless schedule are counted by its rate, which is within 1 %.
    assert!((24_500_000..25_500_000).contains(&number("offered")), "{totals}");
}

#[test]
fn what_the_files_say_adds_up() {
    let dir = Dir::new("adds-up");
    let line = "run -q --backend noop -n 5000 -c 10 -k 3 --hold 50us --processes 2 --seed 5";
    let (code, text) = dir.run(line);
    assert_eq!(code, 0, "{text}");
    let json = dir.result();
    let totals = &json["totals"];
    assert_eq!((&totals["ok"], &totals["unfinished"]), (&Value::from(5_000), &Value::from(0)));
    assert_eq!(json["safety"]["sections"], 5_000);
    let latency = |metric: &str| json["latency_ns"][metric].clone();
    let count = |metric: &str| latency(metric)["count"].as_u64().unwrap();
    assert_eq!(count("acquire.response"), 5_000);
    assert_eq!(count("acquire.uncontended") + count("acquire.contended"), 5_000);
    assert_eq!(count("release"), 5_000);
    let contention = &json["contention"];
    assert_eq!(contention["grants"], 5_000, "the window of a run without a warm-up is the run");
    assert_eq!(contention["handovers"], count("handoff"));
    assert_eq!(contention["attempts_per_acquisition"], 1.0);
    let mean = |value: &Value| value.as_f64().unwrap();
    assert_eq!(mean(&contention["hold_mean_ns"]), mean(&latency("hold")["mean"]));
    for metric in ["acquire.response", "acquire.service", "release", "hold"] {
        let of = latency(metric);
        let number = |key: &str| of[key].as_f64().unwrap();
        assert!((number("sum") / number("count") - number("mean")).abs() < 1.0, "{metric}: {of}");
        assert!(number("min") <= number("mean") && number("mean") <= number("max"), "{metric}");
    }
    let sum = |column: &Value| column.as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    let in_series: u64 = sum(&json["series"]["ok"]);
    assert_eq!(in_series, totals["ok_in_time"].as_u64().unwrap());
    // As a value: histograms in base64 may well contain these letters.
    assert!(!dir.text("out/result.json").contains(": NaN"));

    let table = dir.text("out/acquire.hgrm");
    assert!(table.contains("Total count    =         5000"), "{table}");
    let log = dir.text("out/latency.hlog");
    assert!(log.contains("#[StartTime: ") && log.contains("\nTag=acquire.response,0.000,"));
    assert!(dir.text("out/report.txt").contains("5 000 ok"));
}

#[test]
fn same_seed_same_plan() {
    let hash = |name: &str, rest: &str| {
        let dir = Dir::new(name);
        let line = format!("run -q --backend noop -n 100 -c 4 --hold exp:10us {rest}");
        let (code, text) = dir.run(&line);
        assert_eq!(code, 0, "{text}");
        let hash = dir.result()["run"]["plan_hash"].as_str().unwrap().to_owned();
        assert!(text.contains(&format!("plan {hash}")), "{text}");
        hash
    };
    let first = hash("plan-a", "--seed 7");
    assert_eq!(first, hash("plan-b", "--seed 7 --processes 2"), "however many execute it");
    assert_ne!(first, hash("plan-c", "--seed 8"));
}

#[test]
fn json_to_standard_output_leaves_the_report_to_standard_error() {
    let dir = Dir::new("json");
    let (_, out, err) = dir.loadgen("run -q -o out --backend noop -n 100 -c 2 --json -");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["schema"], "loadgen.result/1");
    assert_eq!(document, dir.result());
    assert!(err.contains("PASS"), "{err}");
}

#[test]
fn wrong_usage_ends_in_2_and_names_the_value() {
    let dir = Dir::new("usage");
    for (line, words) in [
        ("run -q --rate fast", "`fast` is not a rate"),
        ("run -q -d 10", "`10` has no unit"),
        ("run -q --backend noop --key-dist zipf:x", "`zipf:x`"),
        ("run -q --backend noop -c 2 --processes 3", "--processes 3"),
        ("run -q --no-such-flag", "--no-such-flag"),
    ] {
        let (code, text) = dir.run(line);
        assert_eq!(code, 2, "{line}: {text}");
        assert!(text.contains(words), "{line}: {text}");
    }
}

#[test]
fn an_unwritable_directory_ends_in_1() {
    let dir = Dir::new("unwritable");
    dir.write("out", "a file is in the way");
    let (code, text) = dir.run("run -q --backend noop -n 100");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("`out`"), "{text}");
}

/// The log exists from the start of the load on.
fn wait_for_the_load(dir: &Dir) {
    until("the load starts", || dir.join("out/latency.hlog").exists());
}

#[test]
fn an_interrupt_still_writes_the_report_and_ends_in_130() {
    for processes in [1, 2] {
        let dir = Dir::new(&format!("interrupt-{processes}"));
        let line =
            format!("run -q --backend noop -d 60s -w 0 -c 4 --hold 1ms --processes {processes}");
        let child = dir.spawn(&line);
        wait_for_the_load(&dir);
        signal(child.id(), Signal::INT);
        let (code, text, _) = finished(child);
        assert_eq!(code, 130, "{text}");
        assert!(text.contains("INTERRUPTED"), "{text}");
        let run = dir.result()["run"].clone();
        assert_eq!(run["interrupted"], true);
        assert!(run["duration_ns"].as_u64().unwrap() < 50_000_000_000, "it stopped early: {run}");
    }
}

#[test]
fn a_worker_process_that_dies_is_reported_and_makes_the_run_invalid() {
    let dir = Dir::new("agent-dies");
    let line = "run -q --backend noop --processes 2 -c 4 -d 2s -w 0 --hold 1ms";
    let child = dir.spawn(line);
    wait_for_the_load(&dir);
    signal(*children(child.id()).first().unwrap(), Signal::KILL);
    let (code, text, _) = finished(child);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("is gone") && text.contains("run again"), "{text}");
}

#[test]
fn no_worker_process_outlives_a_killed_parent() {
    let dir = Dir::new("orphans");
    let line = "run -q --backend noop --processes 3 -c 6 -d 60s -w 0 --hold 1ms";
    let mut child = dir.spawn(line);
    wait_for_the_load(&dir);
    let workers = children(child.id());
    assert_eq!(workers.len(), 3);
    signal(child.id(), Signal::KILL);
    child.wait().unwrap();
    until("the worker processes have ended", || workers.iter().all(|pid| is_gone(*pid)));
}
