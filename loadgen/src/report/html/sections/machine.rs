//! What a result is to be trusted by, and all that is needed to make it again: the generator's own
//! quality, the machine, the settings, the command.

use serde_json::Value;

use super::super::head::safety_tone;
use super::super::table::{Cell, Kind, number, pairs, table};
use super::super::{note, section};
use super::tone_kind;
use crate::calibration::{Calibration, Pair};
use crate::document::{Document, Summary};
use crate::merge::Part;
use crate::report::format::{self, many, maybe_ns, ns};
use crate::report::svg::{escape, put};
use crate::report::words;

pub(in super::super) fn quality(out: &mut String, document: &Document) {
    let quality = &document.quality;
    let about = "How far the generator itself can be believed: it must be on time, have CPU to \
                 spare, and run on a machine that does not stall.";
    section(out, "quality", "Quality of the measurement", about);
    let row = |name: &str, of: &Summary, about: &str| -> Vec<Cell> {
        let value = |value: Option<u64>| number(maybe_ns(value));
        let about = (Kind::Text, about.to_owned());
        vec![(Kind::Main, name.to_owned()), value(of.p50), value(of.p99), value(of.max), about]
    };
    let rows = [
        row("schedule lag", &quality.sched_lag_ns, "arrivals left so much later than planned"),
        row("stalls of the machine", &quality.hiccup_ns, "a sleep of 1 ms took so much longer"),
        row("holds too long", &quality.hold_late_ns, "locks were held so much longer than planned"),
    ];
    table(out, &["", ">p50", ">p99", ">max", ""], &rows);
    let percent = |value: Option<f64>| value.map(|value| format!("{value:.0} %"));
    let machine = &document.environment.machine;
    pairs(
        out,
        &[
            ("CPU of loadgen".to_owned(), percent(quality.cpu_pct).map(|text| text + " of a core")),
            ("of its threads".to_owned(), percent(quality.cpu_share.map(|share| share * 100.0))),
            (
                "busiest thread on a CPU".to_owned(),
                percent(quality.busiest_worker.map(|share| share * 100.0)),
            ),
            ("CPU of the machine".to_owned(), percent(machine.busy_pct)),
            (
                "stolen by the host".to_owned(),
                machine.steal_pct.map(|value| format!("{value:.2} %")),
            ),
            ("arrivals per wake".to_owned(), quality.mean_burst.map(|burst| format!("{burst:.2}"))),
        ],
    );
    for text in &quality.processes_lost {
        note(out, text);
    }
    if let Some(calibration) = &document.environment.calibration {
        calibrated(out, calibration);
    }
}

/// What the generator costs by itself.
fn calibrated(out: &mut String, of: &Calibration) {
    out.push_str("<h3>Measured just before the run</h3>\n");
    let pair =
        |pair: Option<Pair>| pair.map(|of| format!("p50 {}, p99 {}", ns(of.p50), ns(of.p99)));
    let rows = [
        ("a lock that costs nothing", pair(of.noop_floor_ns)),
        ("a sleep takes so much longer", pair(of.sleep_overshoot_ns)),
        ("a look at the clock", of.instant_ns.map(ns)),
        ("from one holder to the next, at least", of.handoff_ns.map(ns)),
    ];
    pairs(out, &rows.map(|(name, value)| (name.to_owned(), value)));
}

/// Of a result that was merged: what each machine had.
pub(in super::super) fn machines(out: &mut String, document: &Document) {
    if document.machines.is_empty() {
        return;
    }
    let about = "This result was put together from those of several machines. Histograms are \
                 added bit for bit; what cannot be known of all together is left out.";
    section(out, "machines", "Machines", about);
    let row = |(at, of): (usize, &Part)| -> Vec<Cell> {
        vec![
            (Kind::Main, (at + 1).to_string()),
            (Kind::Address, of.run.clone().unwrap_or_else(|| "–".to_owned())),
            (Kind::Text, of.started_at.clone()),
            number(of.seed.to_string()),
            number(format::count(of.ok)),
            number(of.ok_rate.map_or_else(|| "–".to_owned(), format::rate)),
            number(maybe_ns(of.response_p50_ns)),
            number(maybe_ns(of.response_p99_ns)),
            (Kind::Text, format!("{:?}", of.outcome).to_lowercase()),
            (tone_kind(safety_tone(of.safety)), format!("{:?}", of.safety).to_lowercase()),
        ]
    };
    let rows: Vec<Vec<Cell>> = document.machines.iter().enumerate().map(row).collect();
    let headings = [
        "",
        "run",
        "started",
        ">seed",
        ">granted",
        ">per s",
        ">response p50",
        ">p99",
        "outcome",
        "exclusion",
    ];
    table(out, &headings, &rows);
}

pub(in super::super) fn environment(out: &mut String, document: &Document) {
    section(out, "environment", "Environment", "");
    let environment = &document.environment;
    let machine = &environment.machine;
    let mut rows: Vec<(String, Option<String>)> = Vec::new();
    let mut row = |name: &str, value: Option<String>| rows.push((name.to_owned(), value));
    let build = [machine.git.clone(), machine.rustc.clone()].into_iter().flatten();
    let build: Vec<String> = [format!("loadgen {} ({})", environment.loadgen, environment.profile)]
        .into_iter()
        .chain(build)
        .collect();
    row("program", Some(build.join(", ")));
    row("kernel", environment.os.clone());
    row("CPU", machine.cpu.clone());
    row("cores", environment.cores.map(|cores| cores.to_string()));
    row("allowed CPUs", machine.affinity.clone());
    row("CPU quota", machine.cgroup_cpu.clone());
    let virtualized = machine.virtualized.map(|is| if is { "yes" } else { "no" }.to_owned());
    row("virtual machine", virtualized);
    row("governor", machine.governor.clone());
    row("memory", machine.mem_bytes.map(gib));
    row("load average before, after", both(&machine.loadavg_before, &environment.loadavg));
    row("open files allowed", machine.nofile.map(format::count));
    row("somaxconn", machine.somaxconn.map(format::count));
    row("clock source", machine.clocksource.clone());
    for (at, facts) in environment.nodes.iter().enumerate() {
        let text = facts.as_ref().map(|facts| {
            let who = [&facts.server, &facts.version].into_iter().flatten();
            let who: Vec<&str> = who.map(String::as_str).collect();
            let mut parts = vec![who.join(" ")];
            let settings = [
                ("save", &facts.save),
                ("appendonly", &facts.appendonly),
                ("maxmemory-policy", &facts.maxmemory_policy),
            ];
            for (name, value) in settings {
                parts.extend(value.as_ref().map(|value| format!("{name} '{value}'")));
            }
            parts.join(", ")
        });
        row(&format!("node n{}", at + 1), text);
    }
    pairs(out, &rows);
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1_u32 << 30))
}

/// The first three numbers of each reading.
fn both(before: &Option<String>, after: &Option<String>) -> Option<String> {
    let short = |text: &String| text.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let texts: Vec<String> = [before, after].into_iter().flatten().map(short).collect();
    (!texts.is_empty()).then(|| texts.join("  –  "))
}

pub(in super::super) fn settings(out: &mut String, document: &Document) {
    section(out, "settings", "Settings", "");
    out.push_str("<h3>The same run again</h3>\n");
    let line = words::reproduce(&document.run.argv, document.run.seed);
    put!(out, "<pre>{}</pre>\n", escape(&line));
    let plan = &document.run.plan_hash;
    note(out, &format!("The same seed gives the same plan ({plan}): arrivals, names, holds."));
    let config = serde_json::to_value(&document.config).unwrap_or(Value::Null);
    let mut rows = Vec::new();
    flatten(&mut rows, "", &config);
    rows.insert(0, ("mode".to_owned(), Some(document.mode.clone())));
    let settings = many(rows.len() as u64, "setting", "settings");
    put!(out, "<details><summary>All {settings} as they were resolved</summary>\n");
    pairs(out, &rows);
    out.push_str("</details>\n");
}

/// `engine.batch_max_commands` and the like; what is not set has the default of the library.
fn flatten(rows: &mut Vec<(String, Option<String>)>, name: &str, value: &Value) {
    let text = match value {
        Value::Object(fields) => {
            for (field, value) in fields.iter().filter(|(field, _)| *field != "mode") {
                let dot = if name.is_empty() { "" } else { "." };
                flatten(rows, &format!("{name}{dot}{field}"), value);
            }
            return;
        }
        Value::Null => None,
        Value::Array(items) if name == "workloads" => {
            for of in items {
                let called = of.get("name").and_then(Value::as_str).unwrap_or_default();
                flatten(rows, &format!("workload.{called}"), of);
            }
            return;
        }
        Value::Array(items) => {
            let item = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            Some(items.iter().map(item).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => match (name.strip_suffix("_ns"), number.as_u64()) {
            (Some(short), Some(value)) => {
                rows.push((short.to_owned(), Some(format::setting(value))));
                return;
            }
            _ => Some(number.to_string()),
        },
        Value::Bool(is) => Some(if *is { "yes" } else { "no" }.to_owned()),
    };
    rows.push((name.to_owned(), text.filter(|text| !text.is_empty())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_by_their_place_and_times_are_readable() {
        let value = serde_json::json!({
            "ttl_ns": 3_000_000_000_u64,
            "engine": { "batch_max": null },
            "nodes": ["a", "b"],
            "fenced": false,
            "workloads": [{ "name": "a", "think_ns": 0 }, { "name": "b", "think_ns": 5_000_000 }],
        });
        let mut rows = Vec::new();
        flatten(&mut rows, "", &value);
        let text = |name: &str| rows.iter().find(|(of, _)| of == name).unwrap().1.clone();
        assert_eq!(text("ttl").as_deref(), Some("3s"));
        assert_eq!(text("engine.batch_max"), None);
        assert_eq!(text("nodes").as_deref(), Some("a, b"));
        assert_eq!(text("fenced").as_deref(), Some("no"));
        assert_eq!(text("workload.b.think").as_deref(), Some("5ms"));
        assert_eq!(gib(3 << 29), "1.5 GiB");
    }
}
