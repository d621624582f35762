//! What the built program does with finished runs: their schema and their comparison.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod schema;
mod support;

use serde_json::Value;
use support::dir::{Dir, end};

fn run(dir: &Dir, out: &str, line: &str) {
    let (code, stdout, stderr) = dir.loadgen(&format!("run -q -o {out} --seed 1 {line}"));
    assert!([0, 4, 5].contains(&code), "{code} {stdout}{stderr}");
}

const NOOP: &str = "--backend noop -c 8 -k 100 -d 2s -w 0";

#[test]
fn results_of_every_kind_are_what_the_published_schema_says() {
    let dir = Dir::new("schema");
    let (code, text, _) = dir.loadgen("schema");
    let published: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 0);
    run(&dir, "noop", "--backend noop -d 500ms -w 0 --processes 2 --stages 200ms:100,200ms:300");
    run(&dir, "broken", "--backend broken -c 16 -k 1 -d 500ms -w 0");
    run(
        &dir,
        "nodes",
        "-c 32 -k 4 -d 2500ms -w 200ms --spawn 3 --fenced --ttl 1s --hold exp:1ms --fault \
         kill@500ms/300ms",
    );
    run(&dir, "shared", "--backend noop -d 300ms -w 0 --mode shared:50 --key-dist zipf:1.1");
    for name in ["noop", "broken", "nodes", "shared"] {
        let result = dir.json(&format!("{name}/result.json"));
        let errors = schema::errors(&published, &result);
        assert!(errors.is_empty(), "{name}: correct loadgen/schema: {errors:#?}");
    }
    let result = dir.json("nodes/result.json");
    for path in ["/run", "/safety", "/nodes/0", "/faults/0", "/latency_ns/acquire.response", ""] {
        let mut more = result.clone();
        let fields = more.pointer_mut(path).unwrap().as_object_mut().unwrap();
        fields.insert("surprise".to_owned(), Value::Null);
        let errors = schema::errors(&published, &more);
        assert!(errors.iter().any(|error| error.contains("`surprise` is unknown")), "{path}");
        let mut less = result.clone();
        let fields = less.pointer_mut(path).unwrap().as_object_mut().unwrap();
        let name = fields.keys().next().unwrap().clone();
        fields.remove(&name);
        let errors = schema::errors(&published, &less);
        assert!(errors.iter().any(|error| error.contains("is missing")), "{path} {name}");
    }
    let mut text = result;
    text["run"]["seed"] = Value::from("1");
    assert_eq!(schema::errors(&published, &text).len(), 1, "a text where a number belongs");
}

/// A run that is a measurement. A machine with other things to do makes it invalid now and then.
fn measured(dir: &Dir, out: &str, line: &str) {
    let mut told = (5, String::new(), String::new());
    for _ in 0..5 {
        if told.0 == 5 {
            told = dir.loadgen(&format!("run -q -o {out} --seed 1 {line}"));
        }
    }
    assert_eq!(told.0, 0, "{}{}", told.1, told.2);
}

#[test]
fn two_runs_of_one_build_do_not_differ_and_a_slowed_one_is_worse() {
    let dir = Dir::new("words");
    // At a rate that any machine keeps: how busy it is does not change what is granted.
    for out in ["a", "b"] {
        measured(&dir, out, "--backend noop -c 8 -k 100 -r 200 --arrival constant -d 2s -w 0");
    }
    let line = "compare a b --json out.json --gate throughput --noise 20%";
    let (code, text, errors) = dir.loadgen(line);
    assert_eq!(code, 0, "{text}{errors}");
    let out = dir.json("out.json");
    assert_eq!((&out["verdict"], &out["outcome"]), (&"no_difference".into(), &"pass".into()));
    let none = Value::Array(Vec::new());
    assert_eq!((&out["differences"], &out["under_test"]), (&none, &none));
    assert_ne!(out["sides"][0]["started_at"], out["sides"][1]["started_at"], "two runs");
    let throughput = &out["against"][0]["rows"][0];
    assert_eq!((&throughput["name"], &throughput["gated"]), (&"throughput".into(), &true.into()));
    assert!((throughput["ratio"]["estimate"].as_f64().unwrap() - 1.0).abs() < 0.1, "{throughput}");
    assert!(text.contains("--repeat"), "a caution that single runs tell little: {text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    // The same run, ten times as slow.
    let mut slow = dir.json("b/result.json");
    let rate = slow["totals"]["ok_rate"].as_f64().unwrap();
    slow["totals"]["ok_rate"] = Value::from(rate / 10.0);
    dir.write("slow/result.json", &slow.to_string());
    let (code, json, table) = dir.loadgen("compare a slow/result.json --json -");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["outcome"], &json["exit_code"]), (6, &"regression".into(), &6.into()));
    assert!(table.contains("WORSE") && table.contains("*throughput"), "{table}");
    let (code, text, _) = dir.loadgen("compare slow a --gate throughput");
    assert!(code == 0 && text.contains("BETTER"), "{text}");
    assert_eq!(dir.loadgen("compare a slow --gate none").0, 0);
}

#[test]
fn several_runs_of_a_side_are_found_in_lists_and_in_directories() {
    let dir = Dir::new("many");
    run(&dir, "set/run-1", NOOP);
    let result = dir.json("set/run-1/result.json");
    let with = |factor: f64| {
        let mut other = result.clone();
        let rate = other["totals"]["ok_rate"].as_f64().unwrap();
        other["totals"]["ok_rate"] = Value::from(rate * factor);
        other
    };
    for (n, factor) in [(2, 1.01), (3, 0.99)] {
        dir.write(&format!("set/run-{n}/result.json"), &with(factor).to_string());
        dir.write(&format!("slow-{n}/result.json"), &with(0.5 * factor).to_string());
    }
    dir.write("slow-1/result.json", &with(0.5).to_string());
    let (code, text, errors) =
        dir.loadgen("compare set slow-1,slow-2,slow-3 --gate throughput --json out.json");
    assert_eq!(code, 6, "{text}{errors}");
    let out = dir.json("out.json");
    assert_eq!(out["sides"][0]["runs"].as_array().unwrap().len(), 3);
    let ratio = &out["against"][0]["rows"][0]["ratio"];
    assert!((ratio["estimate"].as_f64().unwrap() - 0.5).abs() < 0.01, "{ratio}");
    assert!(ratio["high"].as_f64().unwrap() < 0.6, "intervals over runs are narrow here: {ratio}");
}

#[test]
fn what_cannot_be_compared_is_refused_with_a_list() {
    let dir = Dir::new("refused");
    run(&dir, "a", NOOP);
    let mut other = dir.json("a/result.json");
    other["environment"]["cores"] = Value::from(999);
    other["config"]["clients"] = Value::from(9);
    other["run"]["seed"] = Value::from(2);
    dir.write("other/result.json", &other.to_string());
    let (code, _, errors) = dir.loadgen("compare a other");
    assert_eq!(code, 2, "{errors}");
    for part in
        ["cores: ", "999 in B", "clients: 8 in A, 9 in B", "seed: 1 in A, 2 in B", "--force"]
    {
        assert!(errors.contains(part), "`{part}` in {errors}");
    }
    let (code, text, _) = dir.loadgen("compare a other --force --gate none");
    assert!(code == 0 && text.contains("differs"), "{text}");
    for (line, part) in [
        ("compare a", "RUNS"),
        ("compare a nowhere", "`nowhere"),
        ("compare a a --noise x", "5%"),
        ("compare a a --gate speed", "`speed`"),
        ("compare a ,", "names no run"),
    ] {
        let (code, _, errors) = dir.loadgen(line);
        assert!(code == 2 && errors.contains(part), "{line}: {code} {errors}");
    }
}

#[test]
fn a_saved_history_is_judged_as_the_run_was() {
    let dir = Dir::new("check");
    for (name, line, code) in [
        ("lawful", "--backend noop -c 16 -k 4 --hold 100us", 0),
        ("broken", "--backend broken -c 16 -k 1", 4),
        ("two", "--backend broken -c 16 -k 2 --processes 2", 4),
        ("modes", "--backend broken-modes -c 8 -k 3 --mode shared:50", 4),
        ("permits", "--backend noop -c 8 -k 2 --mode permits:2 --hold 100us", 0),
        ("tree", "--backend broken-modes -c 8 -k 4 --mode hierarchy:2", 4),
        ("tokens", "--backend broken-tokens -c 8 -k 2 --fenced", 4),
        ("nodes", "-c 16 -k 2 --spawn 3 --fenced --processes 2 --hold exp:500us", 0),
    ] {
        let line = format!("run -q -o {name} -d 600ms -w 100ms --history full {line}");
        let (online, text, errors) = dir.loadgen(&line);
        assert_eq!(online, code, "{name}: {text}{errors}");
        let (offline, text, errors) = dir.loadgen(&format!("check {name} --json {name}.json"));
        assert_eq!(offline, code, "{name}: {text}{errors}");
        let found = dir.json(&format!("{name}.json"));
        assert_eq!(
            (&found["agrees"], &found["left_out"]),
            (&true.into(), &0.into()),
            "{name}: {text}"
        );
        let sections = dir.json(&format!("{name}/result.json"))["safety"]["sections"].as_u64();
        assert!(found["holds"].as_u64() >= sections && sections > Some(20), "{name}: {text}");
    }
    let found = dir.json("broken.json");
    assert!(found["examples"][0]["held"]["end_ns"].is_u64(), "{found}");
    let (code, _, errors) = dir.loadgen("check nowhere");
    assert!(code == 2 && errors.contains("--history full"), "{errors}");
    run(&dir, "none", NOOP);
    assert_eq!(dir.loadgen("check none").0, 2);
    assert!(!dir.join("none/history.bin").exists());
}

#[test]
fn a_sampled_history_shows_what_it_has_and_claims_no_more() {
    let dir = Dir::new("sampled");
    run(&dir, "out", "--backend noop -c 8 -k 256 -d 1s -w 200ms --history sampled");
    let (code, text, _) = dir.loadgen("check out --json out.json");
    assert!(code == 0 && text.contains("is a sample"), "{code} {text}");
    let found = dir.json("out.json");
    let all = dir.json("out/result.json")["safety"]["sections"].as_u64().unwrap();
    let kept = found["holds"].as_u64().unwrap();
    assert!(kept > 0 && kept * 10 < all && found["keys"] == 4, "{kept} of {all}: {text}");
}

#[test]
fn results_of_two_machines_become_one() {
    let dir = Dir::new("merge");
    let both = [1, 2].map(|seed| {
        let line = format!("run -q -o m{seed} --seed {seed} --backend noop -c 4 -r 500 -d 2s -w 0");
        dir.command(&line).spawn().unwrap()
    });
    for child in both {
        // Invalid where the machine was too busy, which does not matter here.
        let (code, text) = end(child);
        assert!([0, 5].contains(&code), "{code}: {text}");
    }
    let (code, text, errors) = dir.loadgen("merge m1 m2 -o all");
    assert!([0, 5].contains(&code), "{code} {text}{errors}");
    let (all, one, two) =
        (dir.json("all/result.json"), dir.json("m1/result.json"), dir.json("m2/result.json"));
    for path in ["/totals/ok", "/totals/offered", "/safety/sections"] {
        let number = |of: &Value| of.pointer(path).and_then(Value::as_u64).unwrap();
        assert_eq!(number(&all), number(&one) + number(&two), "{path}: {text}{errors}");
    }
    let count = |of: &Value| of["latency_ns"]["acquire.response"]["count"].as_u64().unwrap();
    assert_eq!(count(&all), count(&one) + count(&two));
    let published: Value = serde_json::from_str(&dir.loadgen("schema").1).unwrap();
    let errors = schema::errors(&published, &all);
    assert!(errors.is_empty(), "{errors:#?}");
    let map = &all["heatmap"];
    let columns = map["columns"].as_array().unwrap().iter().filter_map(Value::as_str);
    let cells =
        columns.flat_map(|column| column.split(' ')).filter_map(|cell| cell.split_once(':'));
    let inside: u64 = cells.map(|(_, n)| n.parse::<u64>().unwrap()).sum();
    assert_eq!(inside + map["after_end"].as_u64().unwrap(), count(&all), "every response of both");
    let ok: u64 = all["series"]["ok"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    let in_time = all["totals"]["ok_in_time"].as_u64();
    assert_eq!(Some(ok), in_time, "every grant of the measured time is in one interval");
    assert!(all["series"]["acquire.response"]["p99"][0].is_u64(), "from the interval logs");
    assert!(text.contains("m1") && text.contains("its own clients only"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(dir.join("all/latency.hlog").exists());
    let page = dir.text("all/report.html");
    assert!(page.contains("id=\"machines\"") && page.contains("class=\"curve p99\""));
    let again = dir.loadgen("report all/report.html -f html").1;
    assert!(again == page, "the page carries the merged result");
    for (line, part) in [
        ("merge m1 m1 -o x", "the same run"),
        ("merge m1 m2 -o all", "holds a result already"),
        ("merge m1 -o x", "RUN"),
    ] {
        let (code, _, errors) = dir.loadgen(line);
        assert!(code == 2 && errors.contains(part), "{line}: {code} {errors}");
    }
    run(&dir, "other", "--backend noop -c 5 -r 500 -d 2s -w 0");
    let (code, _, errors) = dir.loadgen("merge m2 other -o x");
    assert!(code == 2 && errors.contains("clients: 4 in `m2`, 5 in `other`"), "{errors}");
}
