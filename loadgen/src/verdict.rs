//! What a run's outcome is, and why: the exit code follows from it alone.
//!
//! Precedence: unsafe before invalid before pass. An interrupt keeps the first two words but ends
//! with 130 unless exclusion was violated.

use serde::{Deserialize, Serialize};

use crate::clock::{NS_PER_MS, NS_PER_S};
use crate::config::{BackendKind, RunConfig};
use crate::mode::Mode;
use crate::num;
use crate::oracle::judge::Findings;
use crate::report::format::{self, many};

/// Acquisitions below which nothing is measured.
const FEWEST_SAMPLES: u64 = 10;

/// The word for the outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    #[default]
    Pass,
    Unsafe,
    Invalid,
    Interrupted,
}

/// What the checker says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Safety {
    #[default]
    Holds,
    Violated,
    Unknown,
}

/// The outcome, with every reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) exit_code: u8,
    pub(crate) safety: Safety,
    /// Of the order of fencing tokens; `None`: the run had none.
    pub(crate) fencing: Option<Safety>,
    /// Why it is not a pass; each says what to do.
    pub(crate) reasons: Vec<String>,
    /// What to know about a run that counts.
    pub(crate) warnings: Vec<String>,
}

/// What the verdict is made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) interrupted: bool,
    pub(crate) offered: u64,
    /// Answers within the measured time.
    pub(crate) finished: u64,
    pub(crate) ok: u64,
    pub(crate) timeouts: u64,
    /// From the start of the load to the last answer waited for: what the checker saw.
    pub(crate) whole_ns: u64,
    pub(crate) lag_p50_ns: Option<u64>,
    pub(crate) lag_p99_ns: Option<u64>,
    pub(crate) response_p50_ns: Option<u64>,
    pub(crate) service_p50_ns: Option<u64>,
    /// The share of the time that the busiest worker thread was on a CPU.
    pub(crate) cpu_share: f64,
    /// The load asks more of a name than can be served: what was said about it before the start.
    pub(crate) overload: Option<String>,
    pub(crate) agents_lost: Vec<String>,
    /// Faults that could not be carried out or healed.
    pub(crate) fault_problems: Vec<String>,
    pub(crate) hiccup_max_ns: Option<u64>,
    pub(crate) saturated: u64,
}

/// Judges a run.
pub(crate) fn judge(config: &RunConfig, facts: &Facts, findings: &Findings) -> Verdict {
    let (safety, fencing) = (safety(facts, findings), fencing(config, findings));
    let mut verdict = Verdict { safety, fencing, ..Verdict::default() };
    let mut reasons = Vec::new();
    match verdict.safety {
        Safety::Violated => reasons.push(violated(config, findings)),
        Safety::Unknown => reasons.push(format!(
            "the checker cannot decide: {} could not be read back; run again with fewer faults on \
             clients",
            many(findings.unresolved, "overlapping grant", "overlapping grants")
        )),
        Safety::Holds => {}
    }
    let unordered = fencing == Some(Safety::Violated);
    if unordered {
        reasons.push(format!(
            "fencing violated: {} not above an earlier one of the same name",
            many(findings.tokens.violations, "token was", "tokens were")
        ));
    }
    invalid(config, facts, findings, &mut reasons);
    verdict.outcome = match verdict.safety {
        Safety::Violated => Outcome::Unsafe,
        _ if unordered => Outcome::Unsafe,
        _ if facts.interrupted => Outcome::Interrupted,
        _ if reasons.is_empty() => Outcome::Pass,
        _ => Outcome::Invalid,
    };
    verdict.exit_code = match verdict.outcome {
        Outcome::Pass => 0,
        Outcome::Unsafe => 4,
        Outcome::Invalid => 5,
        Outcome::Interrupted => 130,
    };
    verdict.reasons = reasons;
    verdict.warnings = warnings(config, facts, findings);
    verdict
}

fn safety(facts: &Facts, findings: &Findings) -> Safety {
    // A process killed between its last two words leaves a counter off by one: not evidence.
    let off = findings.lost_updates > 0 || findings.torn_reads > 0;
    let counters_off = off && facts.agents_lost.is_empty();
    if findings.violations > 0 || counters_off {
        Safety::Violated
    } else if findings.unresolved > 0 {
        Safety::Unknown
    } else {
        Safety::Holds
    }
}

fn fencing(config: &RunConfig, findings: &Findings) -> Option<Safety> {
    config.fenced.then_some(match findings.tokens.violations {
        0 => Safety::Holds,
        _ => Safety::Violated,
    })
}

fn violated(config: &RunConfig, findings: &Findings) -> String {
    let what = match (findings.violations, findings.lost_updates, config.mode) {
        (0, 0, _) => {
            let n = findings.torn_reads;
            many(n, "plain counter changed under a reader", "plain counters changed under readers")
        }
        (0, n, _) => {
            format!("{} lost", many(n, "update of a plain counter", "updates of plain counters"))
        }
        (n, _, Mode::Permits(k)) => {
            format!("{} had one permit more than the {k} of a name", many(n, "section", "sections"))
        }
        (n, _, Mode::Mutex | Mode::All(_)) => {
            format!("{} overlapped another of the same name", many(n, "section", "sections"))
        }
        (n, _, Mode::Shared(_) | Mode::Hierarchy(_)) => {
            format!("{} overlapped another that had to exclude it", many(n, "section", "sections"))
        }
    };
    format!("mutual exclusion violated: {what}")
}

fn invalid(config: &RunConfig, facts: &Facts, findings: &Findings, reasons: &mut Vec<String>) {
    for lost in &facts.agents_lost {
        reasons.push(format!("{lost}; its load is missing from this run; run again"));
    }
    for problem in &facts.fault_problems {
        reasons
            .push(format!("{problem}; the faults of this run are not those asked for; run again"));
    }
    if facts.interrupted {
        return;
    }
    if config.is_open_loop() {
        undriven(config, facts, findings, reasons);
    }
    if facts.ok < FEWEST_SAMPLES && reasons.is_empty() {
        reasons.push(format!(
            "too few samples: locks granted: {}; run longer, or look at the errors",
            facts.ok
        ));
    }
}

/// Whether the planned arrivals were really made.
fn undriven(config: &RunConfig, facts: &Facts, findings: &Findings, reasons: &mut Vec<String>) {
    let busy = facts.cpu_share > 0.9;
    if config.requests.is_none() && (facts.finished as f64) < facts.offered as f64 * 0.99 {
        let share = 100.0 * num::share(facts.finished, facts.offered);
        // Over the whole run: a backlog from the warm-up can fill all of the measured time.
        let rate = num::share(findings.sections, facts.whole_ns) * NS_PER_S as f64;
        let rate = format::rate(rate);
        let what_to_do = if config.backend != BackendKind::Engine {
            "that is this generator's own ceiling on this machine: lower --rate, or add --threads \
             or --processes"
                .to_owned()
        } else if busy {
            format!(
                "this generator's threads were {:.0} % busy: add --threads or --processes, or \
                 lower --rate",
                100.0 * facts.cpu_share
            )
        } else {
            "the locks did not keep up: lower --rate below that, or add --clients if service time \
             is short"
                .to_owned()
        };
        reasons.push(format!(
            "rate missed: {share:.1} % of the offered arrivals were answered in time, about \
             {rate} locks/s were had; {what_to_do}"
        ));
    } else if busy {
        reasons.push(format!(
            "generator-bound: a worker thread was {:.0} % busy, so responses tell of this \
             generator as well; add --threads or --processes, or lower --rate",
            100.0 * facts.cpu_share
        ));
    }
    if let (Some(lag), Some(response)) = (facts.lag_p50_ns, facts.response_p50_ns)
        && lag > NS_PER_MS.max(response / 2)
    {
        reasons.push(format!(
            "generator-bound: half of all arrivals left {:.1} ms or more after their planned \
             instant; lower --rate, add --processes, or free the machine",
            lag as f64 / NS_PER_MS as f64
        ));
    }
}

fn warnings(config: &RunConfig, facts: &Facts, findings: &Findings) -> Vec<String> {
    let mut warnings = Vec::new();
    if !config.allow_overload {
        warnings.extend(facts.overload.clone());
    }
    if !config.is_open_loop() && config.backend == BackendKind::Engine && facts.cpu_share > 0.9 {
        warnings.push(format!(
            "a worker thread was {:.0} % busy: the rate is what this generator can drive, and not \
             the most that the locks can; add --threads or --processes",
            100.0 * facts.cpu_share
        ));
    }
    if let (Some(lag), Some(response)) = (facts.lag_p99_ns, facts.response_p50_ns)
        && lag > NS_PER_MS.max(response / 10)
    {
        warnings.push(format!(
            "1 % of arrivals left {:.1} ms or more late: read p99 response with that in mind, or \
             lower the load on this machine",
            lag as f64 / NS_PER_MS as f64
        ));
    }
    if let (Some(response), Some(service)) = (facts.response_p50_ns, facts.service_p50_ns)
        && config.is_open_loop()
        && response > 2 * service + NS_PER_MS
    {
        warnings.push(
            "arrivals waited for a free client: response is mostly queueing; add --clients"
                .to_owned(),
        );
    }
    if facts.timeouts * 100 > facts.finished {
        warnings.push(format!(
            "{:.1} % of the acquisitions timed out: the asked-for names are overloaded; lower \
             --rate or --hold, or raise --keys or --wait",
            100.0 * num::share(facts.timeouts, facts.finished)
        ));
    }
    if let Some(stall) = facts.hiccup_max_ns.filter(|&stall| stall > 20 * NS_PER_MS) {
        warnings.push(format!(
            "the machine itself stalled for {} ms: outliers of that size are not the engine's; run \
             on a quieter machine",
            stall / NS_PER_MS
        ));
    }
    if findings.unjudged_keys > 0 {
        warnings.push(format!(
            "counters written as a lock's validity ended, and so not judged: {}; raise --ttl or \
             shorten --hold",
            findings.unjudged_keys
        ));
    }
    if facts.saturated > 0 {
        warnings.push(format!(
            "samples longer than 60 s, counted as 60 s: {}; lower --wait",
            facts.saturated
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::judge::Tokens;
    use crate::values::Rate;

    fn open() -> RunConfig {
        let rate = Rate::PerSecond(1_000.0);
        RunConfig { rate, backend: BackendKind::Engine, ..RunConfig::for_tests() }
    }

    fn good() -> Facts {
        Facts {
            offered: 1_000,
            finished: 995,
            ok: 995,
            whole_ns: NS_PER_S,
            lag_p50_ns: Some(60_000),
            lag_p99_ns: Some(200_000),
            response_p50_ns: Some(400_000),
            service_p50_ns: Some(350_000),
            ..Facts::default()
        }
    }

    fn code(facts: &Facts, findings: &Findings) -> u8 {
        judge(&open(), facts, findings).exit_code
    }

    #[test]
    fn outcomes_and_their_precedence() {
        let clean = Findings::default();
        let broken = Findings { violations: 1, ..clean.clone() };
        let missed = Facts { finished: 900, ..good() };
        assert_eq!(code(&good(), &clean), 0);
        assert_eq!(code(&missed, &clean), 5);
        assert_eq!(code(&missed, &broken), 4, "unsafe beats invalid");
        assert_eq!(code(&Facts { interrupted: true, ..missed.clone() }, &clean), 130);
        assert_eq!(code(&Facts { interrupted: true, ..missed }, &broken), 4);
        assert_eq!(code(&good(), &Findings { unresolved: 1, ..clean.clone() }), 5);
        assert_eq!(code(&good(), &Findings { lost_updates: 1, ..clean.clone() }), 4);
        assert_eq!(code(&good(), &Findings { torn_reads: 1, ..clean.clone() }), 4);
        assert_eq!(code(&Facts { ok: 9, ..good() }, &clean), 5);
        let unhealed = Facts { fault_problems: vec!["kill n1 failed".to_owned()], ..good() };
        assert_eq!(code(&unhealed, &clean), 5);
        let lost = Facts { agents_lost: vec!["process 1 is gone".to_owned()], ..good() };
        assert_eq!(code(&lost, &Findings { lost_updates: 1, ..clean }), 5);
    }

    #[test]
    fn tokens_out_of_order_are_unsafe_of_their_own() {
        let tokens = Tokens { checked: 9, violations: 2, highest: 7 };
        let findings = Findings { tokens, ..Findings::default() };
        let fenced = RunConfig { fenced: true, ..open() };
        let verdict = judge(&fenced, &Facts { interrupted: true, ..good() }, &findings);
        assert_eq!((verdict.exit_code, verdict.safety), (4, Safety::Holds));
        assert_eq!(verdict.fencing, Some(Safety::Violated));
        assert!(verdict.reasons[0].contains("2 tokens were not above"), "{:?}", verdict.reasons);
        let lawful = judge(&fenced, &good(), &Findings::default());
        assert_eq!((lawful.exit_code, lawful.fencing), (0, Some(Safety::Holds)));
        assert_eq!(judge(&open(), &good(), &Findings::default()).fencing, None);
    }

    #[test]
    fn a_pacer_that_sleeps_5_ms_too_long_flags_the_run() {
        let late = Facts {
            lag_p50_ns: Some(5_000_000),
            lag_p99_ns: Some(5_500_000),
            response_p50_ns: Some(5_400_000),
            ..good()
        };
        let verdict = judge(&open(), &late, &Findings::default());
        assert_eq!(verdict.exit_code, 5);
        assert!(verdict.reasons[0].contains("generator-bound"), "{:?}", verdict.reasons);
    }

    #[test]
    fn a_missed_rate_says_whose_fault_it_is_and_what_to_do() {
        let missed = Facts { finished: 500, ..good() };
        let verdict = judge(&open(), &missed, &Findings::default());
        assert!(verdict.reasons[0].contains("50.0 %"), "{:?}", verdict.reasons);
        assert!(verdict.reasons[0].contains("lower --rate"));
        let had = Findings { sections: 3_000, ..Findings::default() };
        let whole = Facts { whole_ns: 2 * NS_PER_S, ..missed.clone() };
        let reason = judge(&open(), &whole, &had).reasons.concat();
        assert!(reason.contains("about 1 500 locks/s"), "{reason}");
        let busy = Facts { cpu_share: 0.97, ..missed.clone() };
        let verdict = judge(&open(), &busy, &Findings::default());
        assert!(verdict.reasons[0].contains("--processes"), "{:?}", verdict.reasons);
        let closed = judge(&RunConfig::for_tests(), &missed, &Findings::default());
        assert_eq!(closed.exit_code, 0, "a closed loop offers what it does");
    }

    #[test]
    fn a_generator_at_its_limit_makes_an_open_loop_invalid_and_warns_in_a_closed_one() {
        let busy = Facts { cpu_share: 0.95, ..good() };
        let verdict = judge(&open(), &busy, &Findings::default());
        assert_eq!(verdict.exit_code, 5);
        assert!(verdict.reasons[0].contains("generator-bound: a worker thread was 95 % busy"));
        assert!(verdict.reasons[0].contains("--threads"), "{:?}", verdict.reasons);
        let closed = RunConfig { rate: Rate::Max, ..open() };
        let verdict = judge(&closed, &busy, &Findings::default());
        assert_eq!(verdict.exit_code, 0);
        assert!(verdict.warnings[0].contains("95 % busy"), "{:?}", verdict.warnings);
    }

    #[test]
    fn an_overload_is_a_warning_unless_it_is_meant() {
        let hot = Facts { overload: Some("overload: `k`".to_owned()), ..good() };
        let verdict = judge(&open(), &hot, &Findings::default());
        assert_eq!((verdict.exit_code, verdict.warnings), (0, vec!["overload: `k`".to_owned()]));
        let meant = RunConfig { allow_overload: true, ..open() };
        assert!(judge(&meant, &hot, &Findings::default()).warnings.is_empty());
    }
}
