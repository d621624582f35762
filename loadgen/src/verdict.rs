//! What a run's outcome is, and why: the exit code follows from it alone.
//!
//! Precedence: unsafe before invalid before a failed threshold before pass. An interrupt keeps the
//! first two words but ends with 130 unless exclusion was violated.

use serde::{Deserialize, Serialize};

use crate::check::assumptions;
use crate::clock::{NS_PER_MS, NS_PER_S};
use crate::config::{BackendKind, RunConfig};
use crate::mode::Mode;
use crate::num;
use crate::oracle::judge::Findings;
use crate::report::format::{self, many};
use crate::thresholds::Checked;
use crate::witness::report::WitnessReport;

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
    Threshold,
    Interrupted,
}

/// What the checker says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Safety {
    #[default]
    Holds,
    Violated,
    /// Violated, after the faults had broken what quorum locks assume.
    Expected,
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
    /// Of what the nodes showed; `None`: nobody looked.
    pub(crate) witness: Option<Safety>,
    /// Why it is not a pass; each says what to do.
    pub(crate) reasons: Vec<String>,
    /// What to know about a run that counts.
    pub(crate) warnings: Vec<String>,
}

impl Outcome {
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Threshold => 3,
            Self::Unsafe => 4,
            Self::Invalid => 5,
            Self::Interrupted => 130,
        }
    }
}

impl Verdict {
    /// Takes in what became of the thresholds: a failed one is the outcome where nothing worse is,
    /// and a reason in any case. Of an interrupted run nothing was asked.
    pub(crate) fn judge_thresholds(&mut self, all: &[Checked]) {
        let failed: Vec<&Checked> = all.iter().filter(|checked| !checked.ok).collect();
        if self.outcome == Outcome::Interrupted || failed.is_empty() {
            return;
        }
        if self.outcome == Outcome::Pass {
            self.outcome = Outcome::Threshold;
            self.exit_code = self.outcome.exit_code();
        }
        for checked in failed {
            // The one that ended the run early is known already, with the value it had then.
            let head = checked.failed();
            if !self.reasons.iter().any(|known| known.starts_with(&head)) {
                self.reasons.push(checked.failure());
            }
        }
    }
}

/// What the verdict is made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) interrupted: bool,
    /// The threshold that ended the run early, and how it failed.
    pub(crate) ended_by: Option<String>,
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
    /// Faults stopped or ended processes of the load: what these did late is the faults'.
    pub(crate) hit_clients: bool,
    /// Faults that could not be carried out or healed.
    pub(crate) fault_problems: Vec<String>,
    pub(crate) hiccup_max_ns: Option<u64>,
    pub(crate) saturated: u64,
    pub(crate) witness: Option<WitnessReport>,
}

/// Judges a run.
pub(crate) fn judge(config: &RunConfig, facts: &Facts, findings: &Findings) -> Verdict {
    let broken = match config.strict {
        true => Vec::new(),
        false => assumptions::broken(config, config.nodes.len()),
    };
    let excused = |word| match word {
        Safety::Violated if !broken.is_empty() => Safety::Expected,
        word => word,
    };
    let (safety, fencing) = (safety(facts, findings), fencing(config, findings));
    let (safety, fencing) = (excused(safety), fencing.map(excused));
    let witness = facts.witness.as_ref().map(|of| excused(of.verdict));
    let mut verdict = Verdict { safety, fencing, witness, ..Verdict::default() };
    let mut reasons = Vec::new();
    match verdict.safety {
        Safety::Violated => reasons.push(violated(config, findings)),
        Safety::Unknown => reasons.push(format!(
            "the checker cannot decide: {} could not be read back; run again with fewer faults on \
             clients",
            many(findings.unresolved, "overlapping grant", "overlapping grants")
        )),
        Safety::Expected | Safety::Holds => {}
    }
    let unordered = fencing == Some(Safety::Violated);
    if unordered {
        reasons.push(format!(
            "fencing violated: {} not above an earlier one of the same name",
            many(findings.tokens.violations, "token was", "tokens were")
        ));
    }
    let unbacked = witness == Some(Safety::Violated);
    reasons.extend(facts.witness.as_ref().filter(|_| unbacked).map(WitnessReport::reason));
    invalid(config, facts, findings, &mut reasons);
    verdict.outcome = match verdict.safety {
        Safety::Violated => Outcome::Unsafe,
        _ if unordered || unbacked => Outcome::Unsafe,
        _ if facts.interrupted => Outcome::Interrupted,
        _ if !reasons.is_empty() => Outcome::Invalid,
        _ if facts.ended_by.is_some() => Outcome::Threshold,
        _ => Outcome::Pass,
    };
    verdict.exit_code = verdict.outcome.exit_code();
    reasons.extend(facts.ended_by.clone());
    verdict.reasons = reasons;
    verdict.warnings = warnings(config, facts, findings);
    verdict.warnings.extend(facts.witness.as_ref().and_then(WitnessReport::warning));
    if safety == Safety::Expected || [fencing, witness].contains(&Some(Safety::Expected)) {
        verdict.warnings.push(format!(
            "exclusion was violated, as is to be expected: {}; --strict makes it count",
            broken.join("; ")
        ));
    }
    verdict
}

fn safety(facts: &Facts, findings: &Findings) -> Safety {
    // A process killed between its last two words leaves a counter off by one: not evidence.
    let off = findings.lost_updates > 0 || findings.torn_reads > 0;
    let counters_off = off && facts.agents_lost.is_empty() && !facts.hit_clients;
    if findings.violations > 0 || counters_off {
        Safety::Violated
    } else if findings.unresolved > 0 {
        Safety::Unknown
    } else {
        Safety::Holds
    }
}

fn fencing(config: &RunConfig, findings: &Findings) -> Option<Safety> {
    config.is_fenced().then_some(match findings.tokens.violations {
        0 => Safety::Holds,
        _ => Safety::Violated,
    })
}

fn violated(config: &RunConfig, findings: &Findings) -> String {
    let overlapped = "overlapped another that had to exclude it";
    let what = match (findings.violations, findings.lost_updates, config.mode) {
        (0, 0, _) => {
            let n = findings.torn_reads;
            many(n, "plain counter changed under a reader", "plain counters changed under readers")
        }
        (0, n, _) => {
            format!("{} lost", many(n, "update of a plain counter", "updates of plain counters"))
        }
        (n, ..) if config.is_mix() => {
            format!("{} {overlapped}", many(n, "section", "sections"))
        }
        (n, _, Mode::Permits(k)) => {
            format!("{} had one permit more than the {k} of a name", many(n, "section", "sections"))
        }
        (n, _, Mode::Mutex | Mode::All(_)) => {
            format!("{} overlapped another of the same name", many(n, "section", "sections"))
        }
        (n, _, Mode::Shared(_) | Mode::Hierarchy(_)) => {
            format!("{} {overlapped}", many(n, "section", "sections"))
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
    if facts.interrupted || facts.ended_by.is_some() {
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
    match missed(config, facts, findings) {
        Some(text) if !config.allow_overload => reasons.push(text),
        _ if is_busy(facts) => reasons.push(format!(
            "generator-bound: a worker thread was {:.0} % busy, so responses tell of this \
             generator as well; add --threads or --processes, or lower --rate",
            100.0 * facts.cpu_share
        )),
        _ => {}
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

fn is_busy(facts: &Facts) -> bool {
    facts.cpu_share > 0.9
}

/// Arrivals of an open loop that were not answered in time, if they are too many.
fn missed(config: &RunConfig, facts: &Facts, findings: &Findings) -> Option<String> {
    let most = facts.offered as f64 * 0.99;
    if !config.is_open_loop() || config.requests.is_some() || facts.finished as f64 >= most {
        return None;
    }
    let share = 100.0 * num::share(facts.finished, facts.offered);
    // Over the whole run: a backlog from the warm-up can fill all of the measured time.
    let rate = num::share(findings.sections, facts.whole_ns) * NS_PER_S as f64;
    let rate = format::rate(rate);
    let what_to_do = if facts.overload.is_some() {
        "a name is asked for more than it can give, as was said before the start: lower --rate or \
         --hold, raise --keys, or say --allow-overload if that is meant"
            .to_owned()
    } else if config.backend != BackendKind::Engine {
        "that is this generator's own ceiling on this machine: lower --rate, or add --threads or \
         --processes"
            .to_owned()
    } else if is_busy(facts) {
        format!(
            "this generator's threads were {:.0} % busy: add --threads or --processes, or lower \
             --rate",
            100.0 * facts.cpu_share
        )
    } else {
        "the locks did not keep up: lower --rate below that, or add --clients if service time is \
         short"
            .to_owned()
    };
    Some(format!(
        "rate missed: {share:.1} % of the offered arrivals were answered in time, about {rate} \
         locks/s were had; {what_to_do}"
    ))
}

fn warnings(config: &RunConfig, facts: &Facts, findings: &Findings) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.allow_overload {
        warnings.extend(missed(config, facts, findings));
    } else {
        warnings.extend(facts.overload.clone());
    }
    if !config.is_open_loop() && config.backend == BackendKind::Engine && is_busy(facts) {
        warnings.push(format!(
            "a worker thread was {:.0} % busy: the rate is what this generator can drive, and not \
             the most that the locks can; add --threads or --processes",
            100.0 * facts.cpu_share
        ));
    }
    if let (Some(lag), Some(response)) = (facts.lag_p99_ns, facts.response_p50_ns)
        && lag > NS_PER_MS.max(response / 10)
        && !facts.hit_clients
    {
        warnings.push(format!(
            "1 % of arrivals left {:.1} ms or more late: read p99 response with that in mind, or \
             lower the load on this machine",
            lag as f64 / NS_PER_MS as f64
        ));
    }
    if let (Some(response), Some(service)) = (facts.response_p50_ns, facts.service_p50_ns)
        && config.is_open_loop()
        && response > 2 * service + NS_PER_MS + facts.lag_p50_ns.unwrap_or(0)
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
    if facts.hit_clients {
        warnings.push(
            "faults hit processes of the load: arrivals that came late, stalls and long responses \
             are theirs; read percentiles with that in mind"
                .to_owned(),
        );
    } else if let Some(stall) = facts.hiccup_max_ns.filter(|&stall| stall > 20 * NS_PER_MS) {
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
mod tests;
