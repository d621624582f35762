//! Several runs in a row by the built program: repetitions, sweeps, searches, and tuning.
#![expect(clippy::disallowed_methods, reason = "a budget of time is kept on the test's clock")]

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::dir::{Dir, end};
use support::process::{signal, until};

#[test]
fn a_sweep_measures_every_combination_in_every_round_and_draws_its_curve() {
    let dir = Dir::new("grid");
    let line = "sweep clients=2,8 keys=1,50 --repeat 2 --seed 5 -d 200ms -w 0 --settle 0 \
                --backend noop";
    let (code, text) = dir.run(line);
    assert_eq!(code, 0, "{text}");
    let sweep = dir.json("out/sweep.json");
    let points = sweep["points"].as_array().unwrap();
    assert_eq!((points.len(), &sweep["rounds"]), (4, &2.into()), "{text}");
    let mut places: Vec<Vec<u64>> = vec![Vec::new(); 2];
    for point in points {
        assert_eq!(point["valid"], true, "{point}");
        let clients: u64 = point["settings"][0][1].as_str().unwrap().parse().unwrap();
        let keys: u64 = point["settings"][1][1].as_str().unwrap().parse().unwrap();
        for (round, run) in point["runs"].as_array().unwrap().iter().enumerate() {
            assert_eq!(run["round"], round, "{run}");
            places[round].push(run["place"].as_u64().unwrap());
            let result = dir.json(&format!("out/{}/result.json", run["dir"].as_str().unwrap()));
            assert_eq!(result["config"]["clients"], clients, "{run}");
            assert_eq!(result["config"]["keys"], keys, "{run}");
            assert_eq!(result["config"]["seed"], 5, "{run}");
        }
    }
    let shape = |places: &[u64]| {
        let first = places.iter().min().copied().unwrap();
        places.iter().map(|place| place - first).collect::<Vec<_>>()
    };
    assert_ne!(shape(&places[0]), shape(&places[1]), "rounds have orders of their own: {text}");
    places.iter_mut().for_each(|round| round.sort_unstable());
    assert_eq!(places, [[0, 1, 2, 3], [4, 5, 6, 7]], "one round after the other");
    let page = dir.text("out/sweep.html");
    assert!(page.contains("<polyline") && page.contains("keys=50"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "no network: {page}");
    assert!(
        text.contains("left") && text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn runs_of_a_sweep_share_their_nodes_and_no_key() {
    let dir = Dir::new("nodes");
    let line = "sweep clients=2,8 -d 300ms -w 100ms --spawn 3 --hold 1ms --keys 3";
    let (code, text) = dir.run(line);
    assert_eq!(code, 0, "{text}");
    let sweep = dir.json("out/sweep.json");
    let results: Vec<Value> = sweep["points"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|point| point["runs"].as_array().unwrap())
        .map(|run| dir.json(&format!("out/{}/result.json", run["dir"].as_str().unwrap())))
        .collect();
    assert_eq!(results.len(), 2, "{text}");
    assert_eq!(results[0]["config"]["nodes"], results[1]["config"]["nodes"], "{text}");
    assert_ne!(results[0]["config"]["key_prefix"], results[1]["config"]["key_prefix"], "{text}");
    for result in &results {
        assert_eq!(result["safety"]["verdict"], "holds", "{text}");
        for node in result["nodes"].as_array().unwrap() {
            // Nobody flushed it or restarted it, and its votes counted from the beginning.
            assert_eq!((&node["up"], &node["epochs"]), (&true.into(), &1.into()), "{node}");
        }
    }
}

#[test]
fn a_point_that_is_no_measurement_says_why_and_does_not_fail_the_sweep() {
    let dir = Dir::new("invalid");
    let (code, text) = dir.run("sweep rate=500,20M -d 200ms -w 0 --settle 0 --backend noop");
    assert_eq!(code, 0, "{text}");
    let sweep = dir.json("out/sweep.json");
    let impossible = &sweep["points"][1];
    assert_eq!(impossible["valid"], false, "{text}");
    let reason = impossible["reasons"][0].as_str().unwrap();
    assert!(!reason.is_empty() && text.contains("✘"), "{text}");
    let alone = Dir::new("all-invalid");
    let (code, text) = alone.run("sweep rate=20M -d 200ms -w 0 --settle 0 --backend noop");
    assert_eq!(code, 5, "{text}");
}

#[test]
fn mistakes_are_told_in_a_line_before_anything_starts() {
    let dir = Dir::new("mistakes");
    for (line, told) in [
        ("sweep", "nothing to sweep"),
        ("sweep raet=1", "`rate`"),
        ("sweep rate=1k..40k", "1k..40k:x2"),
        ("sweep rate=1,fast", "`fast`"),
        ("sweep rate=1,2 --rate 5", "--rate"),
        ("sweep spawn=3,5", "same for all runs"),
        ("sweep clients=1..2000:+1", "more than 400"),
        ("sweep processes=2 clients=1", "--clients 1"),
        ("sweep rate=1 --find-max acquire.response.p99<1ms", "leave it out"),
        ("run --find-max acquire.respons.p99<1ms", "acquire.response.p99"),
        ("run --find-max acquire.response.p99", "no comparison"),
        ("run --find-max throughput>1 --find-within 30s", "12 probes"),
        ("tune --objective p99", "'min p99 @ 10k/s'"),
        ("tune --objective 'min p99 @ 1k' --budget 3s", "--budget"),
        ("tune --objective 'min p99 @ 1k' --start linger=1", "not tuned"),
        ("tune --objective 'min p99 @ 1k' --budget 15s --rate 5", "leave --rate out"),
        ("tune --objective 'min p99 @ 1k' --budget 15s --requests 100", "leave --requests"),
        ("tune --objective 'min p99 @ 1k' --budget 15s --repeat 2", "leave --repeat"),
        ("tune --objective 'min p99 @ 1k' --budget 15s --fault kill@1s/1s", "leave --fault out"),
    ] {
        let (code, text) = dir.run(&format!("{line} --backend noop"));
        assert_eq!(code, 2, "{line}: {text}");
        assert!(text.contains(told) && text.lines().count() == 1, "{line}: {text}");
    }
    assert!(!dir.join("out").exists());
}

#[test]
fn repeated_runs_have_files_of_their_own_and_the_worst_counts() {
    let dir = Dir::new("repeat");
    let (code, text) = dir.run("run --repeat 3 -d 200ms -w 0 --settle 0 --backend noop");
    assert_eq!(code, 0, "{text}");
    let repeat = dir.json("out/repeat.json");
    assert_eq!(repeat["runs"].as_array().unwrap().len(), 3);
    for number in 1..=3 {
        let result = dir.json(&format!("out/run-{number}/result.json"));
        assert_eq!(result["verdict"]["outcome"], "pass", "{text}");
    }
    let rows = repeat["spread"].as_array().unwrap();
    let row = rows.iter().find(|row| row["figure"] == "throughput").unwrap();
    let of = |name: &str| row["spread"][name].as_f64().unwrap();
    assert!(of("min") <= of("median") && of("median") <= of("max") && of("min") > 0.0, "{row}");
    assert!(text.contains("median") && text.contains("run-3"), "{text}");
    let broken = Dir::new("repeat-broken");
    let line = "run --repeat 2 -d 200ms -w 0 --settle 0 --backend broken";
    let (code, text) = broken.run(line);
    assert_eq!(code, 4, "{text}");
}

#[test]
fn an_interrupt_ends_a_sweep_and_keeps_what_was_measured() {
    let dir = Dir::new("interrupt");
    let child = dir.spawn("sweep clients=1..20:+1 -d 300ms -w 0 --settle 0 --backend noop");
    let runs = dir.join("out/runs");
    let begun = || std::fs::read_dir(&runs).map_or(0, Iterator::count);
    until("the third run begins", || begun() >= 3);
    signal(child.id(), Signal::INT);
    let (code, text) = end(child);
    assert_eq!(code, 130, "{text}");
    let sweep = dir.json("out/sweep.json");
    assert_eq!(sweep["interrupted"], true);
    let runs = |point: &Value| point["runs"].as_array().unwrap().len();
    let points = sweep["points"].as_array().unwrap();
    let made: usize = points.iter().map(runs).sum();
    assert!((2..15).contains(&made), "{made} runs: {text}");
    assert!(text.contains("interrupted") && text.contains("not measured"), "{text}");
}

#[test]
fn the_highest_rate_that_keeps_a_bound_is_found_where_it_is_known() {
    let dir = Dir::new("find-max");
    // Constant arrivals: the offered rate is what was asked for, and 3 000 is the limit.
    let words = "run --find-max offered<3k --arrival constant -d 100ms -w 0 --settle 0 --seed 1 \
                 --find-within 20s --backend noop";
    let began = Instant::now();
    let (code, text) = dir.run(words);
    assert_eq!(code, 0, "{text}");
    assert!(began.elapsed() < Duration::from_secs(60), "{text}");
    let found = dir.json("out/findmax.json");
    assert_eq!(
        (&found["schema"], &found["within_ns"]),
        (&"loadgen.findmax/2".into(), &20_000_000_000_u64.into())
    );
    let search = &found["searches"][0];
    let of = |name: &str| search["answer"][name].as_f64().unwrap();
    // A busy machine leaves time for the doubling alone: between 2 030 and 4 100. That a faster one
    // would keep a higher rate is not so here, where not the machine sets the limit.
    assert!((1_300.0..=4_800.0).contains(&of("usual_rate")), "{text}");
    assert!(of("usual_rate") <= of("rate"), "{text}");
    assert!(of("from") <= of("rate") && of("rate") <= of("to"), "{text}");
    let probes = search["probes"].as_array().unwrap();
    assert!(probes.len() >= 4 && probes.iter().any(|probe| probe["passed"] == false), "{text}");
    for probe in probes {
        // Above it a probe fails, whatever the machine is like.
        let may_pass = probe["rate"].as_f64() < Some(2_999.0);
        assert!(may_pass || probe["passed"] == false, "{probe}");
        assert!(probe["health"]["job_ns"].as_f64() > Some(0.0), "{probe}");
        assert_eq!(probe["windows"].as_array().unwrap().len(), 0, "it is no percentile: {probe}");
    }
    let looks = search["machine"]["looks"].as_u64().unwrap();
    assert!(looks > probes.len() as u64, "one before and one after each: {search}");
    assert!(text.contains("← found") && text.contains("at most: about"), "{text}");
    let lines = || text.lines().filter(|line| line.chars().count() > 100);
    assert_eq!(lines().count(), 0, "{text}");
}

#[test]
fn a_bound_that_no_rate_keeps_ends_in_3_and_was_judged_by_windows() {
    let dir = Dir::new("find-none");
    let words = "run --find-max acquire.response.p50<1ns --rate 1k -d 1s -w 0 --settle 0 \
                 --find-within 21s --backend noop";
    let (code, text) = dir.run(words);
    assert_eq!(code, 3, "{text}");
    let found = dir.json("out/findmax.json");
    let search = &found["searches"][0];
    assert!(search["answer"].is_null(), "{text}");
    assert!(text.contains("no rate ke"), "{text}");
    let first = &search["probes"][0];
    let windows: Vec<u64> =
        first["windows"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    assert_eq!((windows.len(), &first["window_ns"]), (5, &200_000_000.into()), "{first}");
    let median = first["median_ns"].as_f64().unwrap();
    let at_most = windows.iter().filter(|&&ns| ns as f64 <= median).count();
    assert!((3..=5).contains(&at_most), "{first}");
}

#[test]
fn tuning_ends_within_its_budget_with_a_table_and_a_file_that_can_be_used() {
    let dir = Dir::new("tune");
    let began = Instant::now();
    let line = "tune --objective 'min p99 @ 300/s' --budget 20s --spawn 3 --seed 1 \
                --start batch_max_commands=1,batch_gather=off";
    let (code, text) = dir.run(line);
    // On a busy machine a run that began within the budget can last long; without a budget the plan
    // is of some minutes.
    assert!(began.elapsed() < Duration::from_secs(60), "{text}");
    assert!(code == 0 || code == 5, "{code}: {text}");
    let tune = dir.json("out/tune.json");
    let rows = tune["last_round"].as_array().unwrap();
    assert_eq!((&rows[0]["role"], &rows[1]["role"]), (&"control".into(), &"default".into()));
    assert_eq!(rows[0]["knobs"]["batch_max_commands"], 1, "{text}");
    assert!(rows[1]["knobs"]["batch_max_commands"].is_null(), "{text}");
    assert!(tune["elapsed_ns"].as_u64().unwrap() <= 45_000_000_000, "{text}");
    assert!(tune["plan"].as_str().unwrap().contains("cut to fit"), "{text}");
    assert!(text.contains("noise floor") && text.contains("advice"), "{text}");
    let (code, text) = dir.run("run -f out/tuned.toml --backend noop --check");
    assert_eq!(code, 0, "{text}");
}
