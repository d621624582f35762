//! Scenario files and thresholds, by the built program.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests; they wait on the test's own clock"
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use support::dir::Dir;

/// Scenarios are timed: one at a time, or they would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// Exit code, standard output and standard error of a run.
fn run(dir: &Dir, line: &str) -> (i32, String, String) {
    dir.loadgen(&format!("run -o out -q {line}"))
}

const NOOP: &str = "backend = \"noop\"\nname = \"short\"\n[load]\nduration = \"400ms\"\n\
                    warmup = \"0s\"\nclients = 4\n";

#[test]
fn a_mistake_in_a_file_is_one_line_with_its_place_and_ends_with_2() {
    let dir = Dir::new("mistake");
    dir.write("s.toml", "name = \"x\"\n\n[load]\ndurration = \"1s\"\n");
    let (code, out, err) = run(&dir, "-f s.toml");
    assert_eq!((code, out.as_str()), (2, ""));
    let told = "loadgen: s.toml:4:1: unknown key `load.durration`; did you mean `load.duration`?\n";
    assert_eq!(err, told);
    dir.write("s.toml", "[load]\nclients = 2\nprocesses = 3\n");
    let (code, _, err) = run(&dir, "-f s.toml");
    assert_eq!((code, err.lines().count()), (2, 1), "{err}");
    assert!(err.contains("s.toml:2:11") && err.contains("s.toml:3:13"), "{err}");
    assert!(!dir.join("out").exists(), "nothing was run");
}

#[test]
fn check_runs_nothing_and_show_config_reads_back() {
    let dir = Dir::new("check");
    dir.write("s.toml", NOOP);
    let (code, out, err) = run(&dir, "-f s.toml --check");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("s.toml is valid: run `short`, 0 faults"), "{out}");
    assert!(!dir.join("out").exists());
    let (code, shown, _) = run(&dir, "-f s.toml --keys 7 --show-config");
    assert_eq!(code, 0);
    assert!(shown.contains("[workload]") && shown.contains("keys = 7"), "{shown}");
    dir.write("s.toml", &shown);
    let (code, again, err) = run(&dir, "-f s.toml --show-config");
    assert_eq!((code, again), (0, shown), "{err}");
    assert!(!dir.join("out").exists());
    dir.write("s.toml", "[[fault]]\nat = \"11s\"\nkind = \"kill\"\nfor = \"1s\"\n");
    let (code, _, err) = run(&dir, "-f s.toml --check");
    assert_eq!(code, 2);
    assert!(err.contains("s.toml:1:1") && err.contains("after the end"), "{err}");
}

#[test]
fn a_threshold_that_holds_passes_and_is_in_every_report() {
    let dir = Dir::new("holds");
    dir.write(
        "s.toml",
        &format!("{NOOP}[labels]\nmachine = \"ci\"\n[[threshold]]\nexpr = \"throughput > 10\"\n"),
    );
    let (code, text, err) = run(&dir, "-f s.toml --set load.duration=300ms");
    assert_eq!(code, 0, "{text}{err}");
    assert!(text.contains("short") && text.contains("✔ throughput > 10"), "{text}");
    let result = dir.result();
    assert_eq!(result["config"]["labels"]["machine"], "ci");
    assert_eq!(result["run"]["duration_ns"], 300_000_000);
    let kept = dir.text("out/scenario.toml");
    dir.write("s.toml", &kept);
    assert_eq!(run(&dir, "-f s.toml").0, 0, "{kept}");
    assert_eq!(dir.result()["run"]["seed"], result["run"]["seed"], "the same run again");
    assert_eq!(dir.result()["run"]["plan_hash"], result["run"]["plan_hash"], "{kept}");
    let threshold = &result["thresholds"][0];
    assert_eq!((&threshold["expr"], &threshold["ok"]), (&"throughput > 10".into(), &true.into()));
    assert!(threshold["value"].as_f64().unwrap() > 10.0, "{threshold}");
    assert!(threshold["samples"].as_u64().unwrap() > 3, "{threshold}");
}

#[test]
fn thresholds_that_fail_end_with_3_and_one_without_samples_is_one() {
    let dir = Dir::new("fails");
    dir.write("s.toml", NOOP);
    for (threshold, told) in [
        ("acquire.response.p99<1ns", "acquire.response.p99<1ns failed"),
        ("errors.rate>50%", "errors.rate>50% failed: 0 %"),
        ("safety.violations!=0", "failed: 0"),
        ("fault.recovered.max<1h", "no samples"),
        ("handoff.between_processes.p50<1h", "no samples"),
    ] {
        let (code, text, err) = run(&dir, &format!("-f s.toml -T {threshold} --slo throughput>1"));
        assert_eq!(code, 3, "{threshold}: {text}{err}");
        assert!(text.contains(told) && text.contains("FAIL ═ exit 3"), "{threshold}: {text}");
        assert!(text.contains("✘") && text.contains("✔ throughput>1"), "{text}");
        let result = dir.result();
        assert_eq!(result["verdict"]["outcome"], "threshold");
        assert_eq!(result["thresholds"][0]["ok"], false);
        assert_eq!(result["thresholds"].as_array().unwrap().len(), 2);
    }
    assert_eq!(dir.result()["thresholds"][0]["value"], Value::Null, "no samples, no value");
}

#[test]
fn what_is_unsafe_or_invalid_is_worse_than_a_failed_threshold() {
    let dir = Dir::new("precedence");
    let (code, text, _) = run(&dir, "--backend broken -d 500ms -w 0 -T throughput<1");
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("mutual exclusion violated") && text.contains("throughput<1 failed"));
    let line = "--backend noop -c 2 -k 1 --hold 5s -d 500ms -w 0 --wait 300ms -T throughput>1k";
    let (code, text, _) = run(&dir, line);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("throughput>1k failed"), "{text}");
}

#[test]
fn a_run_that_fails_meanwhile_is_ended_early() {
    let dir = Dir::new("abort");
    for (flags, threshold) in [
        ("--abort-on-fail", "acquire.response.p50<1ns"),
        ("--abort-on-fail=200ms", "throughput>1000M"),
        ("", "acquire.response.max<1ns abort"),
    ] {
        let line =
            format!("--backend noop -d 30s -w 0 -c 2 --interval 200ms {flags} -T '{threshold}'");
        let began = Instant::now();
        let (code, text, err) = run(&dir, &line);
        assert_eq!(code, 3, "{threshold}: {text}{err}");
        assert!(began.elapsed().as_secs() < 25, "{threshold} took {:?}", began.elapsed());
        assert!(
            text.contains("ended early, at 0.") || text.contains("ended early, at 1."),
            "{text}"
        );
        let result = dir.result();
        assert!(result["run"]["duration_ns"].as_u64().unwrap() < 20_000_000_000);
        assert_eq!(result["run"]["interrupted"], false);
    }
}

#[test]
fn a_bad_threshold_is_told_before_anything_runs() {
    let dir = Dir::new("bad-threshold");
    for (threshold, told) in [
        ("acquire.respnose.p99<5ms", "did you mean `acquire.response.p99`?"),
        ("acquire.response.p99<5", "write for example 250us"),
        ("fencing.violations==0", "--fenced; add it"),
    ] {
        let (code, out, err) = run(&dir, &format!("--backend noop -T {threshold}"));
        assert_eq!((code, out.as_str()), (2, ""), "{threshold}: {err}");
        assert!(err.contains(told), "{threshold}: {err}");
    }
}

#[test]
fn completions_name_the_flags_of_every_shell() {
    let dir = Dir::new("completions");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, _) = dir.loadgen(&format!("completions {shell}"));
        assert_eq!(code, 0, "{shell}");
        assert!(out.contains("abort-on-fail") && out.contains("show-config"), "{shell}");
    }
    assert_eq!(dir.loadgen("completions tcsh").0, 2);
}

fn shipped() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    files
}

/// Faults early and short, so that three seconds see them.
fn shortened(text: &str) -> String {
    let mut words = "--set load.duration=3s --set load.warmup=500ms".to_owned();
    for number in 1..=text.matches("[[fault]]").count() {
        let at = 500 * number;
        words += &format!(" --set fault.{number}.at={at}ms --set fault.{number}.for=600ms");
    }
    words
}

#[test]
fn every_shipped_scenario_is_valid_says_what_it_shows_and_judges_safety() {
    let dir = Dir::new("shipped");
    let all = shipped();
    assert!(all.len() >= 12, "{all:?}");
    for path in all {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (code, out, err) = dir.loadgen(&format!("run -f '{}' --check", path.display()));
        assert_eq!(code, 0, "{name}: {err}");
        assert!(out.contains(&format!("run `{name}`")), "{name}: {out}");
        assert!(text.starts_with("# ") && text.contains(&format!("-f loadgen/scenarios/{name}")));
        assert!(text.contains("safety.violations == 0"), "{name}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{name}");
    }
}

#[test]
fn every_shipped_scenario_holds_shortened() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = Dir::new("shortened");
    for path in shipped() {
        let words = shortened(&std::fs::read_to_string(&path).unwrap());
        let file = path.display();
        let run = || run(&dir, &format!("-f '{file}' {words}"));
        // A machine with other things to do makes three seconds of load invalid now and then, which
        // is no word about the scenario; a threshold or exclusion that fails is.
        let mut told = run();
        for _ in 0..4 {
            if told.0 == 5 {
                told = run();
            }
        }
        let (code, text, err) = told;
        assert_eq!(code, 0, "{file}: {text}{err}");
        let result = dir.result();
        let thresholds = result["thresholds"].as_array().unwrap();
        assert!(thresholds.iter().all(|threshold| threshold["ok"] == true), "{file}: {text}");
    }
}
