//! A search as text: a line per probe while it lasts, a table of rates at its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::health::Disturbance;
use super::ladder::{GRAIN, rate_of_place};
use super::{Answer, Found, Probe, Searched};
use crate::num::floor_u64;
use crate::report::format::{self, COLUMNS, many, rate, setting, wrapped};
use crate::series;
use crate::series::figures::{Column, Kind, Spread};
use crate::sweep::words;

/// Columns of figures: head, kind, what.
const FIGURES: [Column; 5] = [
    ("resp.p50", Kind::Time, |of| of.response_p50_ns),
    ("resp.p99", Kind::Time, |of| of.response_p99_ns),
    ("svc.p99", Kind::Time, |of| of.service_p99_ns),
    ("batch", Kind::Number, |of| of.batch),
    ("cpu", Kind::Share, |of| of.cpu_share),
];
/// Rows beside the answer that are worth a line; far ones were one probe each.
const ROWS_AROUND: u32 = 7;

/// Said before the first probe.
pub(super) fn plan(within_ns: u64, probe_ns: u64, searches: usize) -> String {
    let each = if searches > 1 { format!(" each of {searches} searches") } else { String::new() };
    let probes = within_ns / probe_ns.max(1);
    format!("{} at most{each}: about {probes} probes", series::about(within_ns))
}

pub(super) fn probe_line(
    number: usize,
    doing: &str,
    label: &str,
    probe: &Probe,
    disturbance: Option<Disturbance>,
) -> String {
    let word = if probe.passed { "pass" } else { "fail" };
    let reason = probe.reason.as_deref().map(|text| format!("  {text}")).unwrap_or_default();
    // What does not count needs no other reason.
    let reason = match disturbance {
        Some(disturbance) => format!("  does not count: {}", disturbance.words()),
        None => reason,
    };
    let label = if label.is_empty() { String::new() } else { format!("{label} ") };
    let line = format!(
        "[{number:>3}] {doing:<10} {label}{:>9}/s  {:>7}  {word}{reason}",
        rate(probe.rate),
        probe.value,
    );
    line.chars().take(COLUMNS).collect()
}

pub(super) fn wait_line(unrest: &Disturbance) -> String {
    format!("[...] waiting: {}", unrest.words())
}

pub(super) fn render(found: &Found, dir: &Path) -> String {
    let mut text = format!("highest rate that keeps {}   seed {}\n", found.bound, found.seed);
    for searched in &found.searches {
        text.push('\n');
        if !searched.settings.is_empty() {
            let _ = writeln!(text, " {}", words::label(&searched.settings));
        }
        text.push_str(&table(searched));
        text.push_str(&answer(found, searched));
    }
    if found.interrupted {
        text.push_str("\n interrupted: what is above was measured until then\n");
    }
    let _ = writeln!(text, "\n files    {}", dir.display());
    text
}

/// The probes of rates that belong together.
#[derive(Default)]
struct Row<'a> {
    counted: Vec<&'a Probe>,
    disturbed: usize,
}

/// By rungs around the answer; in the middle of row 0 it lies.
fn rows<'a>(searched: &'a Searched, answer: Option<&Answer>) -> BTreeMap<i32, Row<'a>> {
    let middle = answer.map_or(0, |answer| answer.place);
    let mut rows: BTreeMap<i32, Row<'a>> = BTreeMap::new();
    if answer.is_some() {
        rows.insert(0, Row::default());
    }
    for probe in &searched.probes {
        let at = (probe.place - middle + GRAIN / 2).div_euclid(GRAIN);
        let row = rows.entry(at).or_default();
        let counts = probe.disturbed.is_none() || answer.is_none_or(|all| all.counts_disturbed);
        match counts {
            true => row.counted.push(probe),
            false => row.disturbed += 1,
        }
    }
    rows
}

fn table(searched: &Searched) -> String {
    let answer = searched.answer.as_ref();
    let middle = answer.map_or(0, |answer| answer.place);
    let mut text = format!(" {:>9} {:>9}", "rate", "windows");
    for (name, ..) in FIGURES {
        let _ = write!(text, " {name:>9}");
    }
    text.push_str("  passed\n");
    for (at, row) in rows(searched, answer) {
        let is_near = answer.is_none() || at.unsigned_abs() <= ROWS_AROUND;
        if !is_near {
            continue;
        }
        let median = |pick: &dyn Fn(&Probe) -> Option<f64>| {
            Spread::of(row.counted.iter().map(|probe| pick(probe))).map(|spread| spread.median)
        };
        let windows = Kind::Time.text(median(&|probe| probe.median_ns));
        let _ = write!(text, " {:>9} {windows:>9}", rate(rate_of_place(middle + at * GRAIN)));
        for (_, kind, pick) in FIGURES {
            let _ = write!(text, " {:>9}", kind.text(median(&|probe| pick(&probe.figures))));
        }
        let passed = row.counted.iter().filter(|probe| probe.passed).count();
        let _ = write!(text, "  {passed} of {}", row.counted.len());
        if row.disturbed > 0 {
            let _ = write!(text, " (+{})", row.disturbed);
        }
        text.push_str(if answer.is_some() && at == 0 { "  ← found\n" } else { "\n" });
    }
    text
}

fn answer(found: &Found, searched: &Searched) -> String {
    let all = searched.probes.len();
    let Some(answer) = &searched.answer else {
        let problem = searched.problem.as_deref().unwrap_or("the search was not finished");
        let probes = many(all as u64, "probe", "probes");
        let mut text = wrapped(" none     ", &format!("{problem} ({probes})"));
        text.push_str(&why(searched, 0.0, true));
        return text;
    };
    let mut text = wrapped(
        " found    ",
        &format!(
            "{}/s is where half of the probes keep {}; with {:.0} % certainty it lies between {} \
             and {}{}",
            rate(answer.rate),
            found.bound,
            100.0 * answer.certainty,
            rate(answer.from),
            rate(answer.to),
            at_its_best(answer),
        ),
    );
    if let Some(window_ns) = searched.probes.iter().rev().find_map(|probe| probe.window_ns) {
        let span = setting(window_ns);
        let words = format!("a probe keeps it if the median of its windows of {span} does");
        text.push_str(&wrapped(" kept     ", &words));
    }
    let checks: Vec<String> = answer
        .checks
        .iter()
        .map(|check| format!("at {} {} of {} passed", rate(check.rate), check.passed, check.probes))
        .collect();
    text.push_str(&wrapped(" check    ", &checks.join(", ")));
    text.push_str(&machine(searched, answer, all));
    text.push_str(&why(searched, answer.rate, answer.counts_disturbed));
    if !answer.doubts.is_empty() {
        let words = format!(
            "another search may well find something else by more than 10 %: {}; a quieter machine \
             or more time (--find-within) would help",
            answer.doubts.join("; ")
        );
        text.push_str(&wrapped(" uneven   ", &words));
    }
    text
}

/// The answer is of the machine at its best; what that was at its usual speed, where it was slower.
fn at_its_best(answer: &Answer) -> String {
    match answer.usual_rate {
        Some(usual) if usual * 1.02 < answer.rate => {
            format!(". That is the machine at its best: as it usually was, {}/s", rate(usual))
        }
        _ => String::new(),
    }
}

/// What counted, and what the machine was like.
fn machine(searched: &Searched, answer: &Answer, all: usize) -> String {
    let machine = &searched.machine;
    let mut words = format!("{} of {all} probes count", answer.counted);
    if answer.counts_disturbed {
        let _ = write!(words, ", {} disturbed ones too", machine.disturbed_probes());
    }
    let disturbed = machine.disturbed();
    if !disturbed.is_empty() {
        let kind = if answer.counts_disturbed { "disturbed" } else { "not those" };
        let _ = write!(words, "; {kind}: {}", disturbed.join(", "));
    }
    if machine.waited_ns() > 0 {
        let waited = series::about(machine.waited_ns());
        let _ = write!(words, "; {waited} were spent waiting for it");
    }
    if let Some(job) = machine.job() {
        let of = |ns: f64| format::ns(floor_u64(ns));
        let (best, median, worst) = (of(job.best), of(job.median), of(job.worst));
        let _ =
            write!(words, "; a fixed job took {best} at best, usually {median}, at worst {worst}");
    }
    wrapped(" machine  ", &words)
}

/// Why probes above `above` failed, the most frequent reason first; of those that count, or all.
fn why(searched: &Searched, above: f64, all: bool) -> String {
    let mut reasons: Vec<(&str, u32)> = Vec::new();
    let counts = |probe: &&Probe| all || probe.disturbed.is_none();
    for probe in searched.probes.iter().filter(counts).filter(|probe| probe.rate > above) {
        let Some(reason) = probe.reason.as_deref() else { continue };
        // Up to the colon: the numbers behind it differ from probe to probe.
        let kind = reason.split_once(": ").map_or(reason, |(kind, _)| kind);
        match reasons.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, n)) => *n += 1,
            None => reasons.push((kind, 1)),
        }
    }
    if reasons.is_empty() {
        return String::new();
    }
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let words: Vec<String> = reasons.iter().map(|(kind, n)| format!("{kind} ({n} ×)")).collect();
    wrapped(" above it ", &words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::SCHEMA;
    use super::super::health::Health;
    use super::super::search::Check;
    use super::super::summary::Machine;
    use super::*;
    use crate::series::figures::Figures;
    use crate::verdict::Outcome;

    fn probe(place: i32, passed: bool, disturbed: bool) -> Probe {
        Probe {
            rate: rate_of_place(place),
            place,
            dir: "probes/001".to_owned(),
            passed,
            reason: (!passed).then(|| "acquire.response.p99<5ms not kept".to_owned()),
            value: "4.20ms".to_owned(),
            whole: "31.0ms".to_owned(),
            window_ns: Some(200_000_000),
            median_ns: Some(4_200_000.0),
            windows: vec![Some(4_200_000); 10],
            health: Health::default(),
            disturbed: disturbed.then(|| "others used 30 % of the CPU".to_owned()),
            outcome: Outcome::Pass,
            exit_code: 0,
            figures: Figures { response_p99_ns: Some(31e6), ..Figures::default() },
        }
    }

    fn found(doubts: Vec<String>, counts_disturbed: bool) -> Found {
        let mut machine = Machine::default();
        machine.look(Health { job_ns: Some(210_000.0), ..Health::default() });
        machine.count(&[None, None, Some(Disturbance::Others(0.3)), None]);
        machine.wait(21_000_000_000);
        let check = |place, passed| Check { rate: rate_of_place(place), passed, probes: 3 };
        let answer = Answer {
            rate: rate_of_place(100),
            usual_rate: Some(2_220.0),
            place: 100,
            from: 2_500.0,
            to: 2_800.0,
            certainty: 0.9,
            checks: vec![check(92, 3), check(100, 2), check(108, 0)],
            counted: if counts_disturbed { 4 } else { 3 },
            counts_disturbed,
            doubts,
        };
        let probes = vec![
            probe(99, true, false),
            probe(101, false, false),
            probe(100, false, true),
            probe(140, false, false),
        ];
        let searched = Searched {
            settings: Vec::new(),
            answer: Some(answer),
            problem: None,
            elapsed_ns: 1,
            machine,
            probes,
        };
        Found {
            schema: SCHEMA,
            argv: Vec::new(),
            bound: "acquire.response.p99<5ms".to_owned(),
            seed: 1,
            within_ns: 240_000_000_000,
            interrupted: false,
            exit_code: 0,
            searches: vec![searched],
        }
    }

    fn text(found: &Found) -> String {
        let text = render(found, Path::new("out"));
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        // Wrapped lines say what they say wherever they break.
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_answer_says_what_it_means_what_counted_and_how_sure_it_is() {
        let text = text(&found(Vec::new(), false));
        for told in [
            "2 670/s is where half of the probes keep acquire.response.p99<5ms",
            "with 90 % certainty it lies between 2 500 and 2 800",
            "the median of its windows of 200ms does",
            "check at 2 460 3 of 3 passed, at 2 670 2 of 3 passed, at 2 880 0 of 3 passed",
            "3 of 4 probes count; not those: 1 beside other programs",
            "about 21s were spent waiting for it",
            "a fixed job took 210µs at best",
            "1 of 2 (+1) ← found",
            "not kept (2 ×)",
        ] {
            assert!(text.contains(told), "`{told}` is not in: {text}");
        }
        assert!(!text.contains("uneven"), "{text}");
    }

    #[test]
    fn an_uneven_machine_and_disturbed_probes_that_count_are_told() {
        let text = text(&found(vec!["the interval is wider".to_owned()], true));
        for told in [
            "uneven another search may well find something else by more than 10 %: the interval \
             is wider; a quieter machine",
            "4 of 4 probes count, 1 disturbed ones too; disturbed: 1 beside other programs",
            "1 of 3 ← found",
        ] {
            assert!(text.contains(told), "`{told}` is not in: {text}");
        }
    }

    #[test]
    fn lines_of_probes_and_of_waits_say_why_one_does_not_count() {
        let others = Some(Disturbance::Others(0.66));
        let line = probe_line(7, "closing in", "", &probe(100, false, true), others);
        let told = "[  7] closing in     2 670/s   4.20ms  fail  does not count: others used \
                    66 % of the CPU";
        assert_eq!(line, told);
        let line = probe_line(7, "closing in", "", &probe(100, false, false), None);
        assert!(line.ends_with("fail  acquire.response.p99<5ms not kept"), "{line}");
        let slow = wait_line(&Disturbance::Slower(500_000.0, 400_000.0));
        assert_eq!(slow, "[...] waiting: machine slower: fixed job 500µs, best 400µs");
        assert_eq!(
            plan(240_000_000_000, 3_500_000_000, 1),
            "about 4m 00s at most: about 68 probes"
        );
        assert!(plan(1, 1, 3).contains("each of 3 searches"));
    }
}
