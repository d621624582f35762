//! The page as a structure: balanced, escaped, bounded, and without anything to load.

use super::*;
use crate::calibration::overload::Hottest;
use crate::calibration::{Calibration, Pair};
use crate::collect::heat::Heat;
use crate::document::{Event, NodeColumns, NodeSeries, State, What, WorkloadReport};
use crate::merge::Part;
use crate::recorder::{Metric, histogram};
use crate::report::NodeReport;
use crate::report::contention::Pings;
use crate::report::figures::tests::document;
use crate::verdict::Safety;
use crate::witness::report::{Sighting, WitnessReport};
use crate::witness::sight::{NodeSight, Sight};

/// The elements of a page, in order; panics where they do not close as they opened.
pub(crate) fn elements(page: &str) -> Vec<String> {
    const VOID: [&str; 2] = ["meta", "br"];
    let mut open: Vec<String> = Vec::new();
    let mut seen = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap_or(page);
    while let Some((before, after)) = rest.split_once('<') {
        assert!(!before.contains('>') || seen.is_empty(), "a stray > in {before:?}");
        let (tag, after) = after.split_once('>').expect("a tag that ends");
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap().to_owned();
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name.as_str()), "near {:?}", &before);
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        seen.push(name.clone());
        let is_raw = name == "script" || name == "style";
        if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            open.push(name.clone());
        }
        if is_raw {
            let end = format!("</{name}>");
            let at = rest.find(&end).expect("a script that ends");
            rest = &rest[at..];
        }
    }
    assert_eq!(open, Vec::<String>::new());
    seen
}

/// What a page would load or leave for, the namespace of SVG aside.
fn addresses(page: &str) -> Vec<&str> {
    let wanted = ["http://", "https://", "src=", "@import", "url(http", "<link", "<img", "<iframe"];
    let allowed = page.replace("http://www.w3.org/2000/svg", "");
    wanted.into_iter().filter(|what| allowed.contains(what)).collect()
}

fn long(ticks: usize) -> Document {
    let mut document = document();
    let mut heat = Heat::default();
    let mut hist = histogram();
    // As spread as they come: every row of the map from 1 us to 60 s.
    (0..208_u32).for_each(|at| {
        let value = crate::num::floor_u64(1_000.0 * (f64::from(at) / 8.0).exp2());
        hist.record_n(value, 123_456).unwrap();
    });
    let columns = ticks.min(200);
    (0..columns).for_each(|tick| heat.add(tick, Some(&hist)));
    document.heatmap = Some(heat.map(0));
    let series = &mut document.series;
    series.interval_ns = 100_000_000;
    series.t = (0..ticks as u64).map(|at| at * 100_000_000).collect();
    series.ok = vec![2_500; ticks];
    series.errors = vec![3; ticks];
    series.contended = vec![100; ticks];
    series.started = vec![2_500; ticks];
    series.in_flight = (0..ticks as u64).map(|at| at * 7_919 % 1_000).collect();
    series.hiccup = vec![Some(1_234_567); ticks];
    let value = |by: u64| (0..ticks as u64).map(move |at| Some(1_000_000 + at * by % 99_000_000));
    series.response.p50 = value(7_919_111).collect();
    series.response.p99 = value(17_919_111).collect();
    series.response.max = value(37_919_111).collect();
    document.run.duration_ns = ticks as u64 * 100_000_000;
    let intervals = (ticks / 10).clamp(1, 1_000);
    let node = |node: u64| NodeColumns {
        commands: (0..intervals as u64).map(|at| 12_345 + at * 7_919 % (997 + node)).collect(),
        writes: (0..intervals as u64).map(|at| 2_345 + at * 6_007 % (883 + node)).collect(),
        rtt_p50: value(101_117 + node).take(intervals).collect(),
        rtt_p99: value(711_317 + node).take(intervals).collect(),
    };
    let interval_ns = document.run.duration_ns / intervals as u64;
    document.series.nodes = NodeSeries { interval_ns, by_node: (0..9).map(node).collect() };
    document.nodes = (1..=9).map(|id| NodeReport { id, ..document.nodes[0].clone() }).collect();
    document
}

#[test]
fn the_page_is_balanced_and_loads_nothing() {
    for document in [document(), long(180)] {
        let page = render(&document);
        let seen = elements(&page);
        for name in ["header", "table", "svg", "figure", "script", "footer"] {
            assert!(seen.iter().any(|of| of == name), "{name}");
        }
        let urls = page.replace("redis://", "");
        assert_eq!(addresses(&urls), Vec::<&str>::new());
        assert!(!page.contains("NaN") && !page.contains(">inf"), "unknown is no number");
    }
}

#[test]
fn what_users_and_servers_say_is_text() {
    let mut document = long(20);
    let bad = "<script>alert('x')</script>\"&";
    document.run.name = bad.to_owned();
    document.run.plan_hash = bad.to_owned();
    document.run.argv = vec!["loadgen".to_owned(), bad.to_owned()];
    document.config.key_prefix = bad.to_owned();
    document.config.nodes = vec![bad.to_owned()];
    document.nodes[0].url = bad.to_owned();
    document.nodes[0].state = bad.to_owned();
    document.faults[0].kind = bad.to_owned();
    document.environment.target.server = bad.to_owned();
    document.environment.machine.cpu = Some(bad.to_owned());
    document.verdict.reasons = vec![bad.to_owned()];
    document.verdict.warnings = vec![bad.to_owned()];
    document.totals.failure_texts = vec![bad.to_owned()];
    document.safety.violations.iter_mut().for_each(|of| of.key = bad.to_owned());
    document.contention.hottest_keys[0].key = bad.to_owned();
    document.quality.hottest_key = Some(Hottest {
        key: bad.to_owned(),
        requests_per_s: 900.0,
        hold_mean_ns: 1_000_000,
        handoff_ns: 400_000,
        rho: 1.26,
    });
    document.run.labels.insert("who".to_owned(), bad.to_owned());
    document.machines = vec![Part {
        run: Some(bad.to_owned()),
        started_at: bad.to_owned(),
        seed: 1,
        ok: 5,
        ok_rate: None,
        response_p50_ns: None,
        response_p99_ns: Some(7),
        outcome: crate::verdict::Outcome::Pass,
        safety: Safety::Holds,
    }];
    let key = bad.to_owned();
    let what = What::Violation { key, held_by: 1, granted_to: 2 };
    document.events.push(Event { at_ns: 5, what });
    let page = render(&document);
    elements(&page);
    assert_eq!(page.matches("<script>").count(), 1, "the page's own");
    assert!(page.matches("&lt;script&gt;").count() >= 17);
    let own = include_str!("page.js").matches("alert(").count();
    let raw = page.replace("&lt;script&gt;alert(", "").replace("\\u003cscript>alert(", "");
    assert_eq!(raw.matches("alert(").count(), own);
}

#[test]
fn a_run_of_six_hours_with_every_latency_fits() {
    let mut document = long(216_000);
    let node = |at: i64| {
        let (was, now) =
            if at % 2 == 0 { (State::Up, State::Away) } else { (State::Away, State::Up) };
        Event { at_ns: at * 10_000_000_000, what: What::Node { node: 1, was, now } }
    };
    document.events = (0..2_000).map(node).collect();
    let page = render(&document);
    elements(&page);
    assert!(page.len() <= MOST_BYTES, "{} bytes", page.len());
    let file = std::env::temp_dir().join(format!("loadgen-page-{}.html", std::process::id()));
    std::fs::write(&file, &page).unwrap();
    let read = crate::document::load(&file);
    std::fs::remove_file(&file).unwrap();
    let read = read.unwrap();
    assert_eq!(read.series.ok.iter().sum::<u64>(), 216_000 * 2_500, "no answer is lost");
    assert_eq!(read.series.response.max.iter().max(), document.series.response.max.iter().max());
    assert_eq!(read.latency_ns, document.latency_ns);
    let commands = |of: &Document| -> Vec<u64> {
        of.series.nodes.by_node.iter().map(|node| node.commands.iter().sum()).collect()
    };
    assert_eq!(commands(&read), commands(&document), "no command of nine nodes is lost");
    assert!(page.contains("id=\"nodes-over-time\""));
}

/// A workload whose histograms have a sample in every bucket that there can be.
fn workload(at: usize) -> WorkloadReport {
    let mut hist = histogram();
    (0..40_000_u64).for_each(|n| hist.saturating_record(1_000 + n * n * 37));
    let latency = crate::report::json::latency(&hist, &[50.0, 99.0]);
    let all = Metric::OF_WORKLOAD.map(|of| (of.name().to_owned(), Some(latency.clone())));
    let (name, share) = (format!("workload-number-{at:04}"), 1.0 / 16.0);
    WorkloadReport { name, share, latency_ns: all.into(), ..WorkloadReport::default() }
}

#[test]
fn a_mix_of_the_most_workloads_fits_and_its_table_has_them_all() {
    let mut document = long(600);
    document.workloads = (0..crate::workload::MOST_WORKLOADS).map(workload).collect();
    let page = render(&document);
    elements(&page);
    assert!(page.len() <= MOST_BYTES, "{} bytes", page.len());
    for of in &document.workloads {
        assert!(page.contains(&format!(">{}<", of.name)), "{}", of.name);
    }
    document.workloads.truncate(1);
    let page = render(&document);
    assert!(page.len() <= MOST_BYTES && page.contains("id=\"workloads\""));
    document.workloads.clear();
    assert!(!render(&document).contains("id=\"workloads\""), "no mix, no table");
}

#[test]
fn a_short_run_is_carried_whole() {
    let document = long(180);
    let page = render(&document);
    let file = std::env::temp_dir().join(format!("loadgen-whole-{}.html", std::process::id()));
    std::fs::write(&file, &page).unwrap();
    let read = crate::document::load(&file);
    std::fs::remove_file(&file).unwrap();
    let read = read.unwrap();
    assert_eq!((&read.series, &read.totals), (&document.series, &document.totals));
}

#[test]
fn what_a_result_knows_is_on_its_page() {
    let mut document = document();
    let pair = Some(Pair { p50: 912, p99: 4_130 });
    document.environment.calibration = Some(Calibration {
        noop_floor_ns: pair,
        instant_ns: Some(33),
        sleep_overshoot_ns: None,
        handoff_ns: Some(412_000),
    });
    document.quality.busiest_worker = Some(0.87);
    document.run.labels.insert("branch".to_owned(), "main".to_owned());
    let checked = crate::thresholds::Checked {
        expr: "acquire.response.p99<5ms".to_owned(),
        shown: "7.31ms".to_owned(),
        samples: 5_000,
        ..crate::thresholds::Checked::default()
    };
    document.thresholds.push(checked);
    document.contention.ping_p50_ns_by_node = vec![Some(85_000)];
    let (p50, p90, p99, max) = (85_000, 90_000, 123_000, 4_567_000);
    document.contention.ping_ns_by_node = vec![Some(Pings { count: 400, p50, p90, p99, max })];
    document.witness = Some(WitnessReport {
        verdict: Safety::Violated,
        examples: vec![Sighting {
            at_ns: 5,
            key: "lg:0".to_owned(),
            client: 3,
            process: 1,
            sight: Sight::Unbacked,
            nodes: vec![NodeSight::Held, NodeSight::Missing, NodeSight::Unknown],
        }],
        ..WitnessReport::default()
    });
    let page = render(&document);
    for words in [
        ">p50 912ns, p99 4.13µs<",
        ">a look at the clock</th><td>33ns<",
        ">a sleep takes so much longer</th><td>–<",
        ">412µs<",
        ">87 %<",
        ">branch=main<",
        ">acquire.response.p99&lt;5ms<",
        ">✘ failed<",
        ">7.31ms<",
        ">lg:&lt;0&gt;</td><td class=\"num\">1 234</td><td class=\"num\">24.68 %</td>\
         <td class=\"num\">1.50ms</td><td class=\"num\">66.0ms</td><td class=\"num\">77.0ms<",
        ">85.0µs</td><td class=\"num\">90.0µs</td><td class=\"num\">123µs</td>\
         <td class=\"num\">4.57ms<",
        ">nodes DO NOT HOLD what they should<",
        ">client 3 of process 1<",
        ">no quorum has the holder</td><td class=\"tone good\">has it</td>\
         <td class=\"tone bad\">nobody</td><td class=\"tone warn\">unknown<",
        "Jain index 0.990 over 4 clients",
    ] {
        assert!(page.contains(words), "{words}");
    }
    document.environment.calibration = None;
    document.contention.hottest_keys.clear();
    let page = render(&document);
    elements(&page);
    assert!(!page.contains("just before the run") && !page.contains("granted most often"));
}

#[test]
fn a_run_in_which_nothing_happened_has_a_page() {
    let mut document = document();
    document.latency_ns.values_mut().for_each(|of| *of = None);
    document.nodes.clear();
    document.faults.clear();
    document.safety.violations.clear();
    document.heatmap = None;
    document.events.clear();
    document.run.duration_ns = 0;
    document.totals = crate::document::Totals::default();
    let page = render(&document);
    elements(&page);
    assert!(page.contains("Nothing was acquired") && !page.contains("NaN"));
}
