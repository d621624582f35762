//! Mixes of several workloads: shares, whose samples are whose, and what is made of them later.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "helpers of tests are tests"
)]

mod schema;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A directory of this test, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadgen-mix-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, text: &str) {
        std::fs::write(self.0.join("s.toml"), text).unwrap();
    }

    /// The exit code, and everything that was printed.
    fn loadgen(&self, line: &str) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.current_dir(&self.0).args(line.split_whitespace()).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
        (status.code().unwrap_or(-1), text.into_owned())
    }

    /// Runs the file into `out`; invalid where the machine was too busy, which does not matter.
    fn measured(&self, flags: &str) -> (Value, String) {
        let (code, text) = self.loadgen(&format!("run -q -f s.toml -o out {flags}"));
        assert!(code == 0 || code == 5, "{code}: {text}");
        (self.result("out"), text)
    }

    fn result(&self, dir: &str) -> Value {
        let path = self.0.join(dir).join("result.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const MS: u64 = 1_000_000;

fn part<'a>(result: &'a Value, name: &str) -> &'a Value {
    let all = result["workloads"].as_array().unwrap();
    all.iter().find(|of| of["name"] == name).unwrap()
}

fn number(of: &Value, path: &str) -> u64 {
    of.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}"))
}

fn percentile(of: &Value, metric: &str, p: f64) -> u64 {
    let all = of["latency_ns"][metric]["percentiles"].as_array().unwrap();
    all.iter().find(|entry| entry["p"] == p).unwrap()["ns"].as_u64().unwrap()
}

/// What all workloads have together is what the run has, and no arrival is lost between them.
fn adds_up(result: &Value) {
    let parts = result["workloads"].as_array().unwrap();
    let sum = |path: &str| parts.iter().map(|of| number(of, path)).sum::<u64>();
    for path in [
        "/totals/offered",
        "/totals/ok",
        "/totals/ok_in_time",
        "/totals/unfinished",
        "/totals/not_started",
        "/totals/errors/timeout",
        "/totals/errors/busy",
    ] {
        assert_eq!(sum(path), number(result, path), "{path}");
    }
    for metric in ["acquire.response", "acquire.service", "acquire.failed", "acquire.unanswered"] {
        let of = |of: &Value, what: &str| of["latency_ns"][metric][what].as_f64().unwrap_or(0.0);
        let sum = |what: &str| parts.iter().map(|part| of(part, what)).sum::<f64>();
        assert_eq!(sum("count"), of(result, "count"), "{metric}");
        assert!(
            (sum("sum") - of(result, "sum")).abs() <= 1.0 + of(result, "sum") * 1e-9,
            "{metric}"
        );
        let longest = parts.iter().map(|part| of(part, "max")).fold(0.0, f64::max);
        assert_eq!(longest, of(result, "max"), "{metric}");
    }
    for of in parts {
        let errors = ["timeout", "no_quorum", "quarantined", "busy", "other"];
        let failed: u64 =
            errors.iter().map(|kind| number(of, &format!("/totals/errors/{kind}"))).sum();
        let answered = number(of, "/totals/ok") + failed + number(of, "/totals/unfinished");
        assert_eq!(number(of, "/totals/offered"), answered, "{}", of["name"]);
    }
}

const THREE_TO_ONE: &str = r#"
backend = "noop"
seed = 7
[load]
clients = 8
rate = "1k"
arrival = "constant"
warmup = "0s"
duration = "2s"
[[workload]]
name = "often"
weight = 3
[[workload]]
name = "seldom"
weight = 1
key_dist = "seq"
"#;

#[test]
fn arrivals_are_shared_by_weight_and_by_the_seed_alone() {
    let dir = Dir::new("shares");
    dir.file(THREE_TO_ONE);
    let offered = |flags: &str| {
        let (result, _) = dir.measured(flags);
        adds_up(&result);
        ["often", "seldom"].map(|name| number(part(&result, name), "/totals/offered"))
    };
    let first = offered("");
    assert_eq!(first[0] + first[1], 2_000);
    // Binomial: 1500 and a deviation of 19.4; five of them.
    assert!(first[0].abs_diff(1_500) < 97, "{first:?}");
    assert_eq!(offered("--processes 2"), first, "the plan is the seed's, whoever executes it");
    assert_ne!(offered("--seed 8"), first);
    // A closed loop shares its sections by weight, and not its time.
    let (result, _) = dir.measured("--rate max -n 2000");
    adds_up(&result);
    assert!(number(part(&result, "often"), "/totals/ok").abs_diff(1_500) < 97);
}

#[test]
fn a_slow_workload_is_slow_in_its_own_numbers_only() {
    let dir = Dir::new("slow");
    // Eight clients pass one lock around, and each holds it for 30 ms; they are quick in between.
    dir.file(
        "backend = \"noop\"\n[load]\nclients = 8\nwarmup = \"0s\"\nduration = \"2s\"\n\
         [[workload]]\nname = \"quick\"\nweight = 3\nkeys = 1000\n\
         [[workload]]\nname = \"slow\"\nkeys = 1\nhold = \"30ms\"\n\
         [output]\npercentiles = [50, 90]\n",
    );
    let (result, text) = dir.measured("");
    adds_up(&result);
    let (quick, slow) = (part(&result, "quick"), part(&result, "slow"));
    assert!(percentile(slow, "acquire.response", 50.0) > 60 * MS, "{text}");
    assert!(percentile(quick, "acquire.response", 90.0) < 30 * MS, "{text}");
    assert!(percentile(slow, "hold", 50.0) >= 30 * MS, "{text}");
    assert!(percentile(quick, "hold", 50.0) < 10 * MS, "{text}");
    assert_eq!(
        number(&result, "/latency_ns/acquire.response/max"),
        number(slow, "/latency_ns/acquire.response/max")
    );
    // In every report, and as a threshold by its name.
    let row =
        |name: &str| text.lines().find(|line| line.starts_with(&format!(" {name} "))).unwrap();
    assert!(row("quick").contains("75.0 %") && row("slow").contains("25.0 %"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let page = std::fs::read_to_string(dir.0.join("out/report.html")).unwrap();
    assert!(page.contains("id=\"workloads\"") && page.contains(">slow<"));
    for (threshold, code) in [
        ("acquire.response.p50{workload=slow}>60ms", 0),
        ("acquire.response.p50{workload=quick}>60ms", 3),
        ("throughput{workload=quik}>1", 2),
    ] {
        let line = format!("run -q -f s.toml -o out -T {threshold}");
        let (ended, text) = dir.loadgen(&line);
        assert_eq!(ended, code, "{threshold}: {text}");
        assert!(code != 2 || text.contains("did you mean `quick`?"), "{text}");
    }
}

#[test]
fn a_stall_is_in_the_responses_of_every_workload_that_was_planned_inside_it() {
    let dir = Dir::new("stall");
    let file = THREE_TO_ONE.replace("\"noop\"", "\"stall\"").replace("\"1k\"", "500");
    dir.file(&file.replace("clients = 8", "clients = 1").replace("\"2s\"", "\"4s\""));
    // 100 us of service, and one call of 400 ms, a tenth of the run.
    let (result, text) = dir.measured("--percentiles 50,99");
    adds_up(&result);
    for name in ["often", "seldom"] {
        let response = percentile(part(&result, name), "acquire.response", 99.0);
        assert!((300 * MS..700 * MS).contains(&response), "{name} {response}: {text}");
        let service = percentile(part(&result, name), "acquire.service", 99.0);
        assert!(service < 100 * MS, "{name} {service}: one call of one workload was slow: {text}");
    }
}

#[test]
fn refusals_and_what_never_ends_count_for_the_workload_that_had_them() {
    let dir = Dir::new("failures");
    dir.file(
        "backend = \"noop\"\n[load]\nclients = 8\nrate = 200\nwarmup = \"0s\"\nduration = \"1s\"\n\
         [[workload]]\nname = \"quick\"\n\
         [[workload]]\nname = \"tries\"\nkeys = 1\nhold = \"300ms\"\ntry = true\n",
    );
    let (result, text) = dir.measured("");
    adds_up(&result);
    assert!(number(part(&result, "tries"), "/totals/errors/busy") > 10, "{text}");
    assert_eq!(number(part(&result, "quick"), "/totals/errors/busy"), 0, "{text}");
    // Its lock is held beyond the end: whoever waits for it has no answer, and then nobody has.
    let flags = "--set workload.tries.try=false --set workload.tries.hold=20s \
                 --set workload.tries.wait=1s --max-in-flight 60 --allow-overload";
    let (result, text) = dir.measured(flags);
    adds_up(&result);
    let tries = part(&result, "tries");
    assert!(number(tries, "/totals/unfinished") > 30, "{text}");
    assert!(number(&result, "/totals/not_started") > 0, "{text}");
    assert!(number(tries, "/totals/oldest_unfinished_ns") > 500 * MS, "{text}");
    let least = &tries["latency_ns"]["acquire.response"]["percentiles"][0];
    assert_eq!(least["at_least"], true, "{least}");
}

/// Readers and writers of the same names, and permits of two numbers.
const SHARING: &str = r#"
seed = 3
[load]
clients = 12
warmup = "0s"
duration = "600ms"
[[workload]]
name = "read"
weight = 4
mode = "shared:100"
keys = 2
key_prefix = "doc:"
hold = "1ms"
[[workload]]
name = "write"
weight = 2
keys = 1
key_prefix = "doc:"
hold = "1ms"
[[workload]]
name = "two"
mode = "permits:2"
keys = 1
hold = "1ms"
[[workload]]
name = "three"
mode = "permits:3"
keys = 1
hold = "1ms"
[output]
history = "full"
"#;

#[test]
fn workloads_that_share_names_are_judged_together_online_and_again() {
    let dir = Dir::new("sharing");
    dir.file(SHARING);
    for (backend, wanted) in [("noop", [0, 5]), ("broken", [4, 4]), ("broken-modes", [4, 4])] {
        let (code, text) =
            dir.loadgen(&format!("run -q -f s.toml -o {backend} --backend {backend}"));
        assert!(wanted.contains(&code), "{backend}: {code} {text}");
        let result = dir.result(backend);
        adds_up(&result);
        let (checked, again) = dir.loadgen(&format!("check {backend}"));
        assert_eq!(checked, if wanted[0] == 4 { 4 } else { 0 }, "{backend}: {again}");
        assert!(again.contains("checker agrees"), "{backend}: {again}");
        assert_eq!(number(&result, "/safety/keys"), 2 + 1 + 1);
        for of in result["safety"]["violations"].as_array().unwrap() {
            // Readers never exclude each other.
            assert!([&of["held_as"], &of["granted_as"]].iter().any(|class| *class != "shared"));
            let key = of["key"].as_str().unwrap();
            assert!(["doc:0", "lg:two:0", "lg:three:0"].contains(&key), "{key}");
        }
    }
}

#[test]
fn a_mix_of_every_mode_on_real_nodes_keeps_its_exclusion_and_its_tokens() {
    let dir = Dir::new("engine");
    dir.file(
        "[cluster]\nspawn = 3\n[load]\nclients = 24\nprocesses = 2\nrate = 150\n\
         warmup = \"300ms\"\nduration = \"2s\"\n\
         [[workload]]\nname = \"plain\"\nweight = 3\nkeys = 20\nfenced = true\nttl = \"5s\"\n\
         [[workload]]\nname = \"tree\"\nmode = \"hierarchy:2\"\nkeys = 9\nhold = \"2ms\"\n\
         [[workload]]\nname = \"read\"\nmode = \"shared:90\"\nkeys = 4\nkey_prefix = \"doc:\"\n\
         [[workload]]\nname = \"both\"\nmode = \"all:2\"\nkeys = 4\nkey_prefix = \"doc:\"\n\
         [[workload]]\nname = \"slots\"\nmode = \"permits:3\"\nkeys = 2\ntry = true\n",
    );
    let (result, text) = dir.measured("");
    adds_up(&result);
    assert_eq!(result["safety"]["verdict"], "holds", "{text}");
    assert_eq!(result["mode"], "mutex + hierarchy:2 + shared:90 + all:2 + permits:3");
    for of in result["workloads"].as_array().unwrap() {
        assert!(number(of, "/totals/ok") > 0, "{of}: {text}");
    }
    // Every grant of the one fenced workload has a token that was checked, warm-up included.
    let checked = number(&result, "/fencing/checked");
    let plain = number(part(&result, "plain"), "/totals/ok");
    assert!(checked >= plain && checked < plain + plain / 2, "{checked} of {plain}: {text}");
    assert_eq!(result["fencing"]["verdict"], "holds");
    let hottest = result["contention"]["hottest_keys"].as_array().unwrap();
    let known = ["lg:plain:", "lg:tree:", "doc:", "lg:slots:"];
    assert!(!hottest.is_empty());
    for key in hottest {
        let key = key["key"].as_str().unwrap();
        assert!(known.iter().any(|prefix| key.starts_with(prefix)), "{key}");
    }
}

#[test]
fn mixes_are_merged_compared_swept_and_read_by_the_schema() {
    let dir = Dir::new("later");
    dir.file(THREE_TO_ONE);
    let line = |seed: u32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        let line = format!("run -q -f s.toml -o m{seed} --seed {seed}");
        command.current_dir(&dir.0).args(line.split_whitespace()).stdout(Stdio::null());
        command.spawn().unwrap()
    };
    for mut child in [line(1), line(2)] {
        assert!(matches!(child.wait().unwrap().code(), Some(0 | 5)));
    }
    let (code, text) = dir.loadgen("merge m1 m2 -o all");
    assert!(code == 0 || code == 5, "{code}: {text}");
    let (all, one, two) = (dir.result("all"), dir.result("m1"), dir.result("m2"));
    adds_up(&all);
    for name in ["often", "seldom"] {
        for path in ["/totals/ok", "/totals/offered", "/latency_ns/acquire.service/count"] {
            let of = |result| number(part(result, name), path);
            assert_eq!(of(&all), of(&one) + of(&two), "{name} {path}");
        }
        assert!(text.contains(name), "{text}");
    }
    let published: Value = serde_json::from_str(&dir.loadgen("schema").1).unwrap();
    for result in [&all, &one] {
        let errors = schema::errors(&published, result);
        assert!(errors.is_empty(), "correct loadgen/schema: {errors:#?}");
    }
    let gate = "compare m1 m1 --gate throughput{workload=often},errors.rate{workload=seldom}";
    let (code, text) = dir.loadgen(&format!("{gate} --json c.json"));
    assert_eq!(code, 0, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.contains("  workload seldom\n   throughput"), "{text}");
    let (code, text) = dir.loadgen("compare m1 m1 --gate throughput{workload=never}");
    assert_eq!(code, 5, "no value: {text}");
    dir.loadgen("run -q -f s.toml -o other --seed 1 --set workload.seldom.hold=1ms");
    let (code, text) = dir.loadgen("compare m1 other");
    assert!(code == 2 && text.contains("workload.seldom.hold"), "{text}");
    let (code, text) = dir.loadgen("sweep rate=200,400 -f s.toml -d 300ms -q -o swept");
    assert!(code == 0 || code == 5, "{code}: {text}");
    let (code, text) = dir.loadgen("sweep workload=1,2 -f s.toml");
    assert!(code == 2 && text.contains("cannot be a parameter"), "{text}");
}
