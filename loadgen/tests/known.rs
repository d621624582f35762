//! Runs whose answers are known: what the generator must find of a lock, or of itself, that is
//! made to be wrong in a known way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are tests")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::dir::{Dir, finished, percentile};
use support::process::{signal, until};

const MS: u64 = 1_000_000;

#[test]
fn a_stall_is_in_the_response_times_of_all_that_were_planned_inside_it() {
    let dir = Dir::new("open");
    // 100 us of service, and one call of 400 ms, a tenth of the run.
    let line = "run --backend stall -c 1 -r 500 --arrival constant -d 4s -w 0 \
                --percentiles 50,80,99 -q";
    let (code, text) = dir.run(line);
    assert!(code == 0 || code == 5, "{text}");
    let result = dir.result();
    // The arrivals of the stall wait 0 to 400 ms: the longest hundredth of all 360 ms and more,
    // and somewhat longer as the backlog is worked off.
    let response = percentile(&result, "acquire.response", 99.0);
    assert!((330 * MS..700 * MS).contains(&response), "{response}: {text}");
    // One call in 2000 was slow.
    assert!(percentile(&result, "acquire.service", 99.0) < 100 * MS, "{text}");
    let median = percentile(&result, "acquire.service", 50.0);
    assert!((100_000..50 * MS).contains(&median), "{median}");
    assert!(result["latency_ns"]["acquire.service"]["max"].as_u64().unwrap() >= 400 * MS);
}

#[test]
fn a_closed_loop_omits_what_the_stall_kept_it_from_asking() {
    let dir = Dir::new("closed");
    let (code, text) = dir.run("run --backend stall -c 1 -r max -d 2s -w 0 --percentiles 50,99 -q");
    assert_eq!(code, 0, "{text}");
    let result = dir.result();
    assert!(percentile(&result, "acquire.response", 99.0) < 100 * MS, "{text}");
    let longest = result["latency_ns"]["acquire.response"]["max"].as_u64().unwrap();
    assert!(longest >= 200 * MS, "the one sample: {longest}");
}

#[test]
fn a_pacer_that_is_late_shows_in_its_lag_and_makes_the_run_invalid() {
    let dir = Dir::new("late");
    let (code, text) = dir.run("run --backend late -c 8 -r 100 --arrival constant -d 1s -w 0 -q");
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("generator-bound"), "{text}");
    let result = dir.result();
    let lag = result["quality"]["sched_lag_ns"]["p50"].as_u64().unwrap();
    assert!(lag >= 4_990_000, "{lag}");
    assert!(percentile(&result, "acquire.response", 50.0) >= lag - lag / 100, "{text}");
    assert!(percentile(&result, "acquire.service", 50.0) < 4 * MS, "the lock was quick: {text}");
}

#[test]
fn missed_arrivals_are_made_up_for_no_faster_than_asked() {
    let started = |name: &str, catch_up: &str| {
        let dir = Dir::new(name);
        // 200 ms of stall from 1.0 s on: 100 arrivals are missed. Clients enough to make them up
        // for at once.
        let line = format!(
            "run --backend stall -c 1 -r 500 --arrival constant -d 2s -w 0 -q \
             --catch-up {catch_up} --allow-overload"
        );
        let (code, text) = dir.run(&line);
        assert!(code == 0 || code == 5, "{text}");
        let result = dir.result();
        let ok = result["series"]["ok"].as_array().unwrap();
        let ok: Vec<u64> = ok.iter().filter_map(Value::as_u64).collect();
        // From the end of the stall on, by hundreds of ms; a machine under load may be late by one.
        ok.iter().skip(12).take(2).sum::<u64>()
    };
    let at_once = started("catch-up-inf", "inf");
    let paced = started("catch-up-2", "1.2");
    // 500/s for 200 ms, times 1.2, against that and the 100 that were missed.
    assert!(paced <= 150, "{paced}");
    assert!(at_once > paced + 20, "{at_once} against {paced}");
}

#[test]
fn stages_shape_the_arrivals() {
    let dir = Dir::new("stages");
    let line = "run --backend noop -c 16 --stages 500ms:2k,500ms:2k,0s:0 -d 1500ms -w 0 --seed 3 \
                --arrival constant -q";
    let (code, text) = dir.run(line);
    assert!(code == 0 || code == 5, "{text}");
    let result = dir.result();
    assert_eq!(result["totals"]["offered"], 1_500, "a triangle and a square: {text}");
    let ok: Vec<u64> =
        result["series"]["ok"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    assert!(ok[0] < 60, "{ok:?}");
    assert!(ok[5..10].iter().sum::<u64>() > 800, "{ok:?}");
    assert_eq!(ok[11..].iter().sum::<u64>(), 0, "{ok:?}");
}

#[test]
fn an_overload_is_told_before_the_start_and_thresholds_need_a_word_about_it() {
    let load = "run --backend noop -c 16 -k 1 --hold 4ms -r 500 -d 500ms -w 0 --wait 500ms -q";
    let dir = Dir::new("overload");
    let (code, text) = dir.run(load);
    assert_eq!(code, 5, "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("`lg:0` is asked for 2.0 s of lock time per second"), "{text}");
    let rho = dir.result()["quality"]["hottest_key"]["rho"].as_f64().unwrap();
    assert!((2.0..2.2).contains(&rho), "{rho}");
    let (code, text) = dir.run(&format!("{load} -T throughput>=1"));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("--allow-overload"), "{text}");
    let (code, text) = dir.run(&format!("{load} -T throughput>=1 --allow-overload"));
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_run_knows_what_its_generator_costs() {
    let dir = Dir::new("calibration");
    let (code, text) = dir.run("run --backend noop -n 100 -c 2 -q");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("before the run: floor p50/p99"), "{text}");
    let found = dir.result()["environment"]["calibration"].clone();
    let number = |what: &str, p: &str| found[what][p].as_u64().unwrap();
    let (floor, slow) = (number("noop_floor_ns", "p50"), number("noop_floor_ns", "p99"));
    assert!(0 < floor && floor <= slow, "{found}");
    assert!(number("sleep_overshoot_ns", "p99") > 0 && found["instant_ns"].as_u64().unwrap() > 0);
}

#[test]
fn percentiles_that_the_unanswered_leave_open_are_lower_bounds() {
    let dir = Dir::new("censored");
    // One lock, held for longer than the run: one answer, and everybody else waits.
    let line = "run --backend noop -c 20 -k 1 --hold 5s -r 200 --arrival constant -d 1s -w 0 \
                --wait 500ms --percentiles 10,50,99 -q";
    let (code, text) = dir.run(line);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("≥"), "{text}");
    let result = dir.result();
    let totals = &result["totals"];
    assert_eq!((&totals["ok"], &totals["unfinished"]), (&1.into(), &199.into()), "{totals}");
    assert!(totals["oldest_unfinished_ns"].as_u64().unwrap() >= 1_000 * MS, "{totals}");
    for entry in result["latency_ns"]["acquire.response"]["percentiles"].as_array().unwrap() {
        assert_eq!(entry["at_least"], true, "{entry}");
    }
    // The oldest waited for the whole run and the grace, the median for half of the run less.
    assert!(percentile(&result, "acquire.response", 99.0) >= 1_400 * MS, "{text}");
    assert!(percentile(&result, "acquire.response", 50.0) >= 900 * MS, "{text}");
}

/// Everything that is counted in two ways is the same in both.
#[test]
fn four_processes_add_up_to_one_run_to_the_last_sample() {
    let dir = Dir::new("merge");
    let line = "run --backend noop --processes 4 -t 1 -c 8 -n 8000 -k 64 --seed 11 -q \
                --percentiles 50,99";
    let (code, text) = dir.run(line);
    assert_eq!(code, 0, "{text}");
    let result = dir.result();
    let latency = |metric: &str| result["latency_ns"][metric].clone();
    let count = |metric: &str| latency(metric)["count"].as_u64().unwrap_or(0);
    assert_eq!(result["totals"]["ok"], 8_000);
    for metric in ["acquire.response", "acquire.service", "release", "hold", "validity.left"] {
        assert_eq!(count(metric), 8_000, "{metric}");
    }
    assert_eq!(count("acquire.uncontended") + count("acquire.contended"), 8_000);
    let number = |of: &Value, key: &str| of[key].as_f64().unwrap();
    for metric in ["acquire.response", "acquire.service", "release"] {
        let of = latency(metric);
        let mean = number(&of, "sum") / number(&of, "count");
        assert!((mean - number(&of, "mean")).abs() < 1.0, "{metric}: {of}");
    }
    let column = |name: &str| result["series"][name].as_array().unwrap().clone();
    let sum = |name: &str| column(name).iter().filter_map(Value::as_u64).sum::<u64>();
    assert_eq!(sum("ok"), result["totals"]["ok_in_time"].as_u64().unwrap());
    // The interval log was written from other sums than the totals: its histograms, one per
    // interval, are those of the result.
    let log = dir.text("out/latency.hlog");
    let logged = merged(&log, "acquire.service");
    let packed = latency("acquire.service")["hdr_v2_deflate_b64"].as_str().unwrap().to_owned();
    assert_eq!(logged, decoded(&packed), "bit for bit");
    assert_eq!(logged.len(), 8_000);
    // The plan is that of one process, in four parts.
    let alone = Dir::new("merge-alone");
    let (code, text) = alone.run(&line.replace("--processes 4", "--processes 1"));
    assert_eq!(code, 0, "{text}");
    let hash = |result: &Value| result["run"]["plan_hash"].as_str().unwrap().to_owned();
    assert_eq!(hash(&result), hash(&alone.result()));
}

type Hist = hdrhistogram::Histogram<u64>;

fn decoded(base64: &str) -> Hist {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in base64.bytes().filter(|&letter| letter != b'=') {
        let value = LETTERS.iter().position(|&known| known == letter).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xFF).unwrap());
        }
    }
    let mut deserializer = hdrhistogram::serialization::Deserializer::new();
    deserializer.deserialize(&mut bytes.as_slice()).unwrap()
}

/// The histograms of `tag` in an interval log, added up.
fn merged(log: &str, tag: &str) -> Hist {
    let lines = log.lines().filter_map(|line| line.strip_prefix(&format!("Tag={tag},")));
    lines.map(|line| decoded(line.rsplit(',').next().unwrap())).reduce(|a, b| a + b).unwrap()
}

#[test]
fn a_scrape_during_a_run_is_answered_with_what_was_measured_so_far() {
    let dir = Dir::new("prometheus");
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let line = format!(
        "run --backend noop -c 4 -r 500 -d 20s -w 0 -i 100ms --prometheus 127.0.0.1:{port} \
         --progress lines"
    );
    let child = dir.spawn(&line);
    let mut page = String::new();
    until("the page counts grants", || {
        page = scrape(port).unwrap_or_default();
        samples(&page).get("loadgen_acquisitions_total{outcome=\"ok\"}").is_some_and(|&n| n > 0.0)
    });
    signal(child.id(), Signal::INT);
    let (code, _, shown) = finished(child);
    assert_eq!(code, 130, "{shown}");
    assert!(shown.contains(&format!("serving http://127.0.0.1:{port}/metrics")), "{shown}");
    let at = |name: &str| samples(&page)[name];
    let ok = at("loadgen_acquisitions_total{outcome=\"ok\"}");
    let response = "loadgen_acquire_response_seconds";
    assert_eq!(at(&format!("{response}_count")), ok, "{page}");
    assert_eq!(at(&format!("{response}_bucket{{le=\"+Inf\"}}")), ok, "{page}");
    assert!(at(&format!("{response}_sum")) > 0.0, "{page}");
    assert_eq!(at("loadgen_violations_total"), 0.0);
    assert!(at("loadgen_measured_seconds") > 0.0);
    assert!(!page.contains("lg:"), "no name of a lock: {page}");
    assert!(scrape(port).is_none(), "nobody serves after the run");
}

/// The body of a successful scrape.
fn scrape(port: u16) -> Option<String> {
    let mut peer = TcpStream::connect(("127.0.0.1", port)).ok()?;
    peer.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    peer.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    peer.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    Some(body.to_owned())
}

fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}
