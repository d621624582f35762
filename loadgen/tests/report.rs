//! What a run leaves for people and for other programs, and what is made of it later.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::dir::Dir;

const BAD: &str = "<script>alert(1)</script>|`";

/// A second of a lock that grants wrongly, under names that are markup.
fn broken(name: &str) -> Dir {
    let dir = Dir::new(name);
    let line = "run -q -o out --backend broken -c 8 -k 4 -d 1s -w 0 --seed 1 --key-prefix";
    let (code, stdout, stderr) = dir.loadgen(&format!("{line} {BAD}"));
    assert_eq!(code, 4, "{stdout}{stderr}");
    dir
}

fn sum(values: &Value) -> u64 {
    values.as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).sum()
}

#[test]
fn every_file_of_a_run_tells_the_same() {
    let dir = broken("same");
    let result = dir.json("out/result.json");
    let count = result["latency_ns"]["acquire.response"]["count"].as_u64().unwrap();
    assert!(count > 0);
    let map = &result["heatmap"];
    let cells = map["columns"].as_array().unwrap().iter();
    let cells = cells.flat_map(|column| column.as_str().unwrap().split(' '));
    let counts = cells.filter_map(|cell| cell.split_once(':'));
    let inside: u64 = counts.map(|(_, n)| n.parse::<u64>().unwrap()).sum();
    assert_eq!(inside + map["after_end"].as_u64().unwrap(), count, "every response is in the map");
    assert_eq!(sum(&result["series"]["ok"]), result["totals"]["ok_in_time"].as_u64().unwrap());
    let started = sum(&result["series"]["started"]);
    let ok = result["totals"]["ok"].as_u64().unwrap();
    assert!(started.abs_diff(ok) <= 16, "{started} calls, {ok} grants by 8 clients");

    let csv = dir.text("out/series.csv");
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let column = head.iter().position(|name| *name == "ok").unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    assert!(rows.iter().all(|row| row.len() == head.len()));
    assert_eq!(rows.len(), result["series"]["t"].as_array().unwrap().len());
    let ok: u64 = rows.iter().map(|row| row[column].parse::<u64>().unwrap()).sum();
    assert_eq!(ok, sum(&result["series"]["ok"]));

    let events = dir.text("out/events.jsonl");
    let events: Vec<Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(events.clone()), result["events"]);
    let violations = events.iter().filter(|event| event["event"] == "violation").count();
    assert_eq!(violations, result["safety"]["violations"].as_array().unwrap().len());
    assert!(violations > 0);
    let machine = &result["environment"];
    assert!(machine["mem_bytes"].as_u64().unwrap() > 0 && machine["nofile"].is_u64(), "{machine}");
}

#[test]
fn the_page_loads_nothing_escapes_names_and_carries_its_result() {
    let dir = broken("page");
    let page = dir.text("out/report.html");
    assert!(page.len() <= 300_000, "{} bytes", page.len());
    let loads = ["http:", "https:", "src=", "<link", "@import", "fetch(", "XMLHttp"];
    let plain = page.replace("http://www.w3.org/2000/svg", "");
    let loaded: Vec<&&str> = loads.iter().filter(|what| plain.contains(**what)).collect();
    assert!(loaded.is_empty(), "{loaded:?}");
    assert!(page.contains("&lt;script&gt;alert(1)"), "the names of the violations");
    assert!(!page.contains("<script>alert"), "as text only");
    assert!(page.contains("UNSAFE") && page.contains("mutual exclusion VIOLATED"));
    assert!(page.contains("class=\"clash\""), "violations are drawn");

    // From the page alone: the same page, the same tables.
    std::fs::copy(dir.join("out/report.html"), dir.join("alone.html")).unwrap();
    let (code, again, stderr) = dir.loadgen("report alone.html --format html");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(again == page, "a report of a report is the report");
    let csv = dir.loadgen("report alone.html -f csv").1;
    assert!(csv == dir.text("out/series.csv"), "the result in it is whole");
    let hgrm = dir.loadgen("report alone.html -f hgrm").1;
    assert!(hgrm == dir.text("out/acquire.hgrm"), "histograms are read back bit for bit");
    let (code, _, stderr) = dir.loadgen("report alone.html");
    assert_eq!(code, 1);
    assert!(stderr.contains("report.txt") && stderr.contains("--format md"), "{stderr}");
    assert_eq!(dir.loadgen("report out").1, dir.text("out/report.txt"));
}

#[test]
fn figures_stand_alone_and_markdown_has_tables() {
    let dir = broken("alone");
    let (code, _, stderr) = dir.loadgen("report out --svg drawn");
    assert_eq!((code, stderr.as_str()), (0, ""));
    for name in ["latency", "throughput", "percentiles", "handoff", "contended", "violations"] {
        let figure = dir.text(&format!("drawn/{name}.svg"));
        assert!(figure.starts_with("<svg ") && figure.ends_with("</svg>\n"), "{name}");
        assert!(figure.contains("xmlns=\"http://www.w3.org/2000/svg\""), "{name}");
        assert!(figure.contains("prefers-color-scheme:dark"), "{name} in the dark");
        assert!(!figure.contains("<script") && !figure.contains("NaN"), "{name}");
    }
    let (code, text, _) = dir.loadgen("report out out/result.json --md");
    assert_eq!(code, 0);
    assert_eq!(text.matches("UNSAFE").count(), 2, "both results, one after the other: {text}");
    assert!(text.contains("| acquire response |") && !text.contains("<script"), "{text}");
}

#[test]
fn names_with_an_uneven_share_are_told_apart() {
    let dir = Dir::new("hot");
    let line = "run -q -o out --backend noop -c 4 -k 50 -d 1s -w 0 --key-dist zipf:1.5 --seed 3";
    let (code, stdout, stderr) = dir.loadgen(line);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let result = dir.json("out/result.json");
    let keys = result["contention"]["hottest_keys"].as_array().unwrap();
    assert_eq!(keys.len(), 10);
    let counts: Vec<u64> = keys.iter().map(|of| of["acquisitions"].as_u64().unwrap()).collect();
    assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    let all = result["latency_ns"]["acquire.response"]["count"].as_u64().unwrap();
    assert!(counts.iter().sum::<u64>() <= all && counts[0] > all / 4, "{counts:?} of {all}");
    let longest = result["latency_ns"]["acquire.response"]["max"].as_u64().unwrap();
    let waits = |of: &Value, what: &str| of[what].as_u64().unwrap();
    assert!(keys.iter().all(|of| waits(of, "wait_max_ns") <= longest), "{keys:?} in {longest}");
    let in_order = |of: &Value| waits(of, "wait_p99_ns") <= waits(of, "wait_max_ns");
    assert!(keys.iter().all(|of| in_order(of) && waits(of, "wait_p99_ns") > 0), "{keys:?}");
    assert!(stdout.contains("busiest names"), "{stdout}");
    let page = dir.text("out/report.html");
    assert!(page.contains(&format!(">{}<", keys[0]["key"].as_str().unwrap())), "on the page");
}

#[test]
fn what_passed_at_nodes_is_told_over_time_and_adds_up() {
    let dir = Dir::new("nodes");
    let line = "run -q -o out --spawn 3 --server-bin test-node -c 8 -k 20 -d 2s -w 0 \
                --interval 500ms --processes 2 --seed 1";
    let (code, stdout, stderr) = dir.loadgen(line);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let result = dir.json("out/result.json");
    let nodes = &result["series"]["nodes"];
    assert_eq!(nodes["interval_ns"], 500_000_000);
    assert_eq!(nodes["by_node"].as_array().unwrap().len(), 3);
    for (of, whole) in nodes["by_node"].as_array().unwrap().iter().zip(0..) {
        let whole = &result["nodes"][whole];
        for name in ["commands", "writes"] {
            assert_eq!(of[name].as_array().unwrap().len(), 4, "{of}");
            let (inside, all) = (sum(&of[name]), whole[name].as_u64().unwrap());
            // What connects the clients, and what came after the end, is in none.
            assert!(inside <= all && inside * 10 >= all * 8, "{inside} of {all} {name}");
        }
        assert!(of["rtt_p50"].as_array().unwrap().iter().any(Value::is_u64), "{of}");
    }
    let csv = dir.text("out/series.csv");
    assert!(
        csv.lines().next().unwrap().ends_with(",n3_commands,n3_writes,n3_rtt_p50_ns,n3_rtt_p99_ns")
    );
    assert!(dir.text("out/report.html").contains("id=\"nodes-over-time\""));
}

#[test]
fn a_baseline_is_drawn_beside_the_run() {
    let dir = Dir::new("baseline");
    for (out, seed) in [("a", "1"), ("b", "2")] {
        let line = format!("run -q -o {out} --backend noop -c 2 -k 4 -d 1s -w 0 --seed {seed}");
        let (code, _, stderr) = dir.loadgen(&line);
        assert_eq!(code, 0, "{stderr}");
    }
    let (code, page, stderr) = dir.loadgen("report a -f html --baseline b/report.html");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(page.contains("class=\"curve baseline\" d=\"M") && page.contains("Baseline: "));
    assert_eq!(page.matches(">baseline</td>").count(), 2, "response and service");
    assert!(!dir.text("a/report.html").contains(">baseline</td>"));
    let (code, ..) = dir.loadgen("report a --svg drawn --baseline b");
    assert_eq!(code, 0);
    assert!(dir.text("drawn/percentiles.svg").contains("class=\"curve baseline\" d=\"M"));
}

#[test]
fn what_cannot_be_shown_is_refused_in_a_line() {
    let dir = Dir::new("refused");
    std::fs::write(dir.join("no.html"), "<p>nothing</p>").unwrap();
    for (line, code, words) in [
        ("report", 2, "RESULT"),
        ("report nowhere", 1, "`nowhere`"),
        ("report no.html --md", 1, "no report of loadgen"),
        ("report a b --format csv", 2, "of one result"),
        ("report a --format svg", 2, "-o DIR"),
        ("report a --md --format csv", 2, "cannot be used with"),
        ("report a --md --baseline b", 2, "--format html or --svg"),
        ("report a -f html --baseline nowhere", 1, "`nowhere`"),
    ] {
        let (got, stdout, stderr) = dir.loadgen(line);
        assert_eq!((got, stdout.as_str()), (code, ""), "{line}: {stderr}");
        assert!(stderr.contains(words), "{line}: {stderr}");
    }
}

/// The files that a report lists.
fn listed(text: &str) -> BTreeSet<String> {
    let rest = text.rsplit_once(" files ").unwrap().1;
    let names = rest.split_whitespace().skip(1);
    names.map(ToOwned::to_owned).collect()
}

#[test]
fn a_report_lists_the_files_that_are_there() {
    let dir = Dir::new("files");
    for (more, place) in [("--history full", "out"), ("", "out"), ("--repeat 2", "out/run-1")] {
        let line = format!("run -q -o out --backend noop -c 2 -k 5 -d 200ms -w 0 {more}");
        let (code, stdout, stderr) = dir.loadgen(&line);
        assert_eq!(code, 0, "{more}: {stdout}{stderr}");
        let files = std::fs::read_dir(dir.join(place)).unwrap().flatten();
        let there = files.map(|file| file.file_name().to_string_lossy().into_owned());
        assert_eq!(listed(&dir.text(&format!("{place}/report.txt"))), there.collect(), "{more}");
        std::fs::remove_dir_all(dir.join("out")).unwrap();
    }
}
