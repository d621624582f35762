//! Outcomes, their precedence, and the words for them.

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
fn what_the_nodes_did_not_hold_is_unsafe_and_a_witness_that_saw_nothing_a_warning() {
    let config = RunConfig::for_tests();
    let of = |witness: WitnessReport| {
        judge(&config, &Facts { witness: Some(witness), ..good() }, &Findings::default())
    };
    let unbacked =
        WitnessReport { verdict: Safety::Violated, unbacked: 2, ..WitnessReport::default() };
    let unsafe_ = of(unbacked);
    assert_eq!((unsafe_.exit_code, unsafe_.safety), (4, Safety::Holds));
    assert!(unsafe_.reasons[0].contains("2 holds that no quorum"), "{:?}", unsafe_.reasons);
    let blind = of(WitnessReport { verdict: Safety::Unknown, ..WitnessReport::default() });
    assert_eq!((blind.exit_code, blind.witness), (0, Some(Safety::Unknown)));
    assert!(blind.warnings.iter().any(|text| text.contains("--hold")), "{:?}", blind.warnings);
    let fine = of(WitnessReport { backed: 1, ..WitnessReport::default() });
    assert_eq!((fine.exit_code, fine.witness), (0, Some(Safety::Holds)));
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

fn checked(expr: &str, ok: bool) -> Checked {
    Checked { expr: expr.to_owned(), ok, samples: 9, shown: "7".to_owned(), value: Some(7.0) }
}

#[test]
fn a_failed_threshold_is_the_outcome_where_nothing_worse_is() {
    let clean = Findings::default();
    let broken = Findings { violations: 1, ..clean.clone() };
    let missed = Facts { finished: 900, ..good() };
    let stopped = Facts { interrupted: true, ..good() };
    let all = [checked("errors.count<9", true), checked("errors.count<5", false)];
    for (facts, findings, code, outcome) in [
        (good(), &clean, 3, Outcome::Threshold),
        (missed, &clean, 5, Outcome::Invalid),
        (good(), &broken, 4, Outcome::Unsafe),
        (stopped, &clean, 130, Outcome::Interrupted),
    ] {
        let mut verdict = judge(&open(), &facts, findings);
        verdict.judge_thresholds(&all[..1]);
        assert_ne!(verdict.exit_code, 3, "a threshold that holds changes nothing");
        verdict.judge_thresholds(&all);
        assert_eq!((verdict.exit_code, verdict.outcome), (code, outcome));
        let told = verdict.reasons.iter().any(|why| why.contains("errors.count<5 failed: 7"));
        assert_eq!(told, outcome != Outcome::Interrupted, "{:?}", verdict.reasons);
    }
}

#[test]
fn a_run_that_a_threshold_ended_has_failed_and_is_not_called_too_short() {
    let why = "threshold errors.count<5 failed: 6; ended early, at 1.0 s".to_owned();
    let facts = Facts { ended_by: Some(why.clone()), finished: 3, ok: 3, ..good() };
    let mut verdict = judge(&open(), &facts, &Findings::default());
    assert_eq!((verdict.exit_code, &verdict.reasons), (3, &vec![why]));
    verdict.judge_thresholds(&[checked("errors.count<5", false)]);
    assert_eq!(verdict.reasons.len(), 1, "told once: {:?}", verdict.reasons);
    verdict.judge_thresholds(&[checked("errors.rate<5%", false)]);
    assert_eq!((verdict.exit_code, verdict.reasons.len()), (3, 2));
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
    let missed = Facts { finished: 500, ..hot };
    let verdict = judge(&open(), &missed, &Findings::default());
    assert!(verdict.reasons[0].contains("more than it can give"), "{:?}", verdict.reasons);
    let verdict = judge(&meant, &missed, &Findings::default());
    assert_eq!(verdict.exit_code, 0, "{:?}", verdict.reasons);
    assert!(verdict.warnings[0].contains("50.0 %"), "{:?}", verdict.warnings);
}

#[test]
fn a_violation_after_a_majority_forgot_is_expected_unless_strict() {
    let nodes = vec!["redis://n".to_owned(); 5];
    let faults = vec!["flush@1s:majority".to_owned()];
    let config = RunConfig { nodes, faults, ..open() };
    let broken = Findings { violations: 1, ..Findings::default() };
    let verdict = judge(&config, &good(), &broken);
    assert_eq!((verdict.exit_code, verdict.safety), (0, Safety::Expected));
    assert!(verdict.warnings.concat().contains("3 of 5 nodes"), "{:?}", verdict.warnings);
    let strict = judge(&RunConfig { strict: true, ..config }, &good(), &broken);
    assert_eq!((strict.exit_code, strict.safety), (4, Safety::Violated));
}
