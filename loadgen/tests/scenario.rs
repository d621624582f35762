//! Scenario files and thresholds, by the built program.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests; they wait on the test's own clock"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Scenarios are timed: one at a time, or they would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// A directory of this test, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("loadgen-scenario-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, text: &str) {
        std::fs::write(self.0.join("s.toml"), text).unwrap();
    }

    /// Exit code, standard output and standard error.
    fn loadgen(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.current_dir(&self.0).args(words).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
    }

    fn run(&self, line: &str) -> (i32, String, String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.loadgen(&[&["run", "-o", "out", "-q"], &words[..]].concat())
    }

    fn result(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.join("out/result.json")).unwrap()).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const NOOP: &str = "backend = \"noop\"\nname = \"short\"\n[load]\nduration = \"400ms\"\n\
                    warmup = \"0s\"\nclients = 4\n";

#[test]
fn a_mistake_in_a_file_is_one_line_with_its_place_and_ends_with_2() {
    let dir = Dir::new("mistake");
    dir.file("name = \"x\"\n\n[load]\ndurration = \"1s\"\n");
    let (code, out, err) = dir.run("-f s.toml");
    assert_eq!((code, out.as_str()), (2, ""));
    let told = "loadgen: s.toml:4:1: unknown key `load.durration`; did you mean `load.duration`?\n";
    assert_eq!(err, told);
    dir.file("[load]\nclients = 2\nprocesses = 3\n");
    let (code, _, err) = dir.run("-f s.toml");
    assert_eq!((code, err.lines().count()), (2, 1), "{err}");
    assert!(err.contains("s.toml:2:11") && err.contains("s.toml:3:13"), "{err}");
    assert!(!dir.0.join("out").exists(), "nothing was run");
}

#[test]
fn check_runs_nothing_and_show_config_reads_back() {
    let dir = Dir::new("check");
    dir.file(NOOP);
    let (code, out, err) = dir.run("-f s.toml --check");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("s.toml is valid: run `short`, 0 faults"), "{out}");
    assert!(!dir.0.join("out").exists());
    let (code, shown, _) = dir.run("-f s.toml --keys 7 --show-config");
    assert_eq!(code, 0);
    assert!(shown.contains("[workload]") && shown.contains("keys = 7"), "{shown}");
    dir.file(&shown);
    let (code, again, err) = dir.run("-f s.toml --show-config");
    assert_eq!((code, again), (0, shown), "{err}");
    assert!(!dir.0.join("out").exists());
    dir.file("[[fault]]\nat = \"11s\"\nkind = \"kill\"\nfor = \"1s\"\n");
    let (code, _, err) = dir.run("-f s.toml --check");
    assert_eq!(code, 2);
    assert!(err.contains("s.toml:1:1") && err.contains("after the end"), "{err}");
}

#[test]
fn a_threshold_that_holds_passes_and_is_in_every_report() {
    let dir = Dir::new("holds");
    dir.file(&format!(
        "{NOOP}[labels]\nmachine = \"ci\"\n[[threshold]]\nexpr = \"throughput > 10\"\n"
    ));
    let (code, text, err) = dir.run("-f s.toml --set load.duration=300ms");
    assert_eq!(code, 0, "{text}{err}");
    assert!(text.contains("short") && text.contains("✔ throughput > 10"), "{text}");
    let result = dir.result();
    assert_eq!(result["config"]["labels"]["machine"], "ci");
    assert_eq!(result["run"]["duration_ns"], 300_000_000);
    let kept = std::fs::read_to_string(dir.0.join("out/scenario.toml")).unwrap();
    dir.file(&kept);
    assert_eq!(dir.run("-f s.toml").0, 0, "{kept}");
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
    dir.file(NOOP);
    for (threshold, told) in [
        ("acquire.response.p99<1ns", "acquire.response.p99<1ns failed"),
        ("errors.rate>50%", "errors.rate>50% failed: 0 %"),
        ("safety.violations!=0", "failed: 0"),
        ("fault.recovered.max<1h", "no samples"),
        ("handoff.between_processes.p50<1h", "no samples"),
    ] {
        let (code, text, err) = dir.run(&format!("-f s.toml -T {threshold} --slo throughput>1"));
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
    let (code, text, _) = dir.run("--backend broken -d 500ms -w 0 -T throughput<1");
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("mutual exclusion violated") && text.contains("throughput<1 failed"));
    let line = "--backend noop -c 2 -k 1 --hold 5s -d 500ms -w 0 --wait 300ms -T throughput>1k";
    let (code, text, _) = dir.run(line);
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
        let line = "-q -o out --backend noop -d 30s -w 0 -c 2 --interval 200ms";
        let words: Vec<&str> = line.split_whitespace().chain(flags.split_whitespace()).collect();
        let began = std::time::Instant::now();
        let (code, text, err) = dir.loadgen(&[&["run"], &words[..], &["-T", threshold]].concat());
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
        let (code, out, err) = dir.run(&format!("--backend noop -T {threshold}"));
        assert_eq!((code, out.as_str()), (2, ""), "{threshold}: {err}");
        assert!(err.contains(told), "{threshold}: {err}");
    }
}

#[test]
fn completions_name_the_flags_of_every_shell() {
    let dir = Dir::new("completions");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, _) = dir.loadgen(&["completions", shell]);
        assert_eq!(code, 0, "{shell}");
        assert!(out.contains("abort-on-fail") && out.contains("show-config"), "{shell}");
    }
    assert_eq!(dir.loadgen(&["completions", "tcsh"]).0, 2);
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
fn shortened(text: &str) -> Vec<String> {
    let mut words = vec!["load.duration=3s".to_owned(), "load.warmup=500ms".to_owned()];
    for number in 1..=text.matches("[[fault]]").count() {
        words.push(format!("fault.{number}.at={}ms", 500 * number));
        words.push(format!("fault.{number}.for=600ms"));
    }
    words.into_iter().flat_map(|set| ["--set".to_owned(), set]).collect()
}

#[test]
fn every_shipped_scenario_is_valid_says_what_it_shows_and_judges_safety() {
    let dir = Dir::new("shipped");
    let all = shipped();
    assert!(all.len() >= 12, "{all:?}");
    for path in all {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (code, out, err) = dir.loadgen(&["run", "-f", &path.display().to_string(), "--check"]);
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
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let file = path.display().to_string();
        let head = ["run", "-q", "-o", "out", "-f", &file];
        let run = || dir.loadgen(&[&head, &words[..]].concat());
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
