//! Thresholds: what they accept, and how they judge.

use super::*;
use crate::metrics::Unit;

fn threshold(text: &str) -> Threshold {
    text.parse().unwrap()
}

fn sample(value: f64) -> Option<Sample> {
    Some(Sample { value, unit: Unit::Time, samples: 40, at_least: false })
}

#[test]
fn every_comparison_judges_on_both_sides_of_its_limit() {
    for (op, below, at, above) in [
        ("<", true, false, false),
        ("<=", true, true, false),
        (">", false, false, true),
        (">=", false, true, true),
        ("==", false, true, false),
        ("!=", true, false, true),
    ] {
        let limit = threshold(&format!("handoff.p99 {op} 5ms"));
        let judged = [4e6, 5e6, 6e6].map(|value| limit.judge(sample(value)).ok);
        assert_eq!(judged, [below, at, above], "{op}");
    }
}

#[test]
fn what_was_not_measured_fails_whatever_the_comparison() {
    for text in ["errors.rate<100%", "throughput>=0", "handoff.p99<1h", "errors.count!=5"] {
        let checked = threshold(text).judge(None);
        assert_eq!((checked.ok, checked.value, checked.samples), (false, None, 0), "{text}");
        assert_eq!(checked.shown, "no samples");
        let failure = checked.failure();
        assert!(failure.contains(text) && failure.ends_with("no samples of it in this run"));
    }
}

#[test]
fn a_bound_from_below_keeps_only_lower_limits() {
    let bound = Some(Sample { at_least: true, ..sample(2e6).unwrap() });
    assert!(!threshold("acquire.response.p99<5ms").judge(bound).ok);
    assert!(!threshold("acquire.response.p99!=5ms").judge(bound).ok);
    assert!(threshold("acquire.response.p99>=1ms").judge(bound).ok);
    assert!(!threshold("acquire.response.p99>=3ms").judge(bound).ok);
    let checked = threshold("acquire.response.p99<5ms").judge(bound);
    assert!(checked.failure().contains("at least 2.00ms"), "{checked:?}");
}

#[test]
fn a_fault_never_recovered_from_is_beyond_every_limit() {
    let checked = threshold("fault.recovered.max<24h").judge(sample(f64::INFINITY));
    assert_eq!((checked.ok, checked.value), (false, None), "JSON has no infinity");
    assert_eq!(checked.shown, "never");
}

#[test]
fn words_behind_the_limit_say_what_counts_and_what_follows() {
    let plain = threshold("errors.rate<0.1%");
    assert_eq!((plain.outside_faults, plain.abort), (false, false));
    for text in [
        "acquire.response.p99 < 5ms outside faults abort",
        "acquire.response.p99<5ms abort outside faults",
    ] {
        let both = threshold(text);
        assert_eq!((both.outside_faults, both.abort), (true, true), "{text}");
        assert_eq!(both.to_string(), text);
        let json = serde_json::to_string(&both).unwrap();
        assert_eq!(serde_json::from_str::<Threshold>(&json).unwrap(), both);
    }
}

#[test]
fn mistakes_are_named_with_what_to_write() {
    for (text, word) in [
        ("", "no comparison"),
        ("acquire.response.p99", "no comparison"),
        ("acquire.response.p99=5ms", "none of <, <="),
        ("acquire.response.p99=<5ms", "none of <, <="),
        ("aquire.response.p99<5ms", "did you mean `acquire.response.p99`"),
        ("acquire.response.p99<5", "write for example 250us"),
        ("acquire.response.p99<5%", "is not a time"),
        ("errors.rate<5ms", "is not a share"),
        ("throughput>=9.5x", "is not a rate"),
        ("safety.violations==none", "is not a count"),
        ("handoff.p99<5ms outside faults", "acquire.response alone"),
        ("fault.gap.max<1s abort", "only at the end"),
        ("errors.rate<1% inside faults", "after it only"),
        ("errors.rate<1% abort abort", "after it only"),
        (&format!("errors.rate<{}", "1".repeat(300)), "longer than 200"),
    ] {
        let error = text.parse::<Threshold>().unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
        assert!(error.starts_with('`'), "{error}");
    }
}

#[test]
fn what_bounds_a_latency_from_above_and_what_needs_tokens_is_known() {
    let limit = |text| threshold(text).latency_limit();
    assert_eq!(limit("handoff.p99<=5ms"), Some((Metric::Handoff, 99.0, 5e6)));
    assert_eq!(limit("handoff.p99>=5ms"), None);
    assert_eq!((limit("handoff.max<5ms"), limit("errors.rate<5%")), (None, None));
    assert!(threshold("fencing.violations==0").needs_tokens());
    assert!(!threshold("safety.violations==0").needs_tokens());
}

#[test]
fn outside_faults_only_responses_outside_count_and_those_that_never_came() {
    let mut run = crate::report::text::tests::sample();
    run.totals = crate::collect::Hists::default();
    let hist = |ns: u64, n: u64| {
        let mut hist = crate::recorder::histogram();
        hist.saturating_record_n(ns, n);
        hist
    };
    run.totals.add(Metric::Response, &hist(80_000_000, 1_000));
    let document = crate::report::json::document(&run);
    let calm = hist(1_000_000, 900);
    let outside = threshold("acquire.response.p50<5ms outside faults");
    let judged = |threshold: &Threshold, document, calm| {
        let checked = threshold.check(document, calm);
        (checked.ok, checked.samples)
    };
    assert_eq!(judged(&outside, &document, Some(&calm)), (true, 900));
    assert!(!judged(&threshold("acquire.response.p50<5ms"), &document, Some(&calm)).0);
    let none = outside.check(&document, Some(&hist(1, 0)));
    assert_eq!((none.ok, none.shown.as_str()), (false, "no samples"), "all of it was a fault");
    // As many that were never answered: the median may be theirs.
    run.totals.add(Metric::Unanswered, &hist(20_000_000_000, 2_000));
    let document = crate::report::json::document(&run);
    assert!(!outside.check(&document, Some(&calm)).ok);
    let none = outside.check(&document, Some(&hist(1, 0)));
    assert_eq!((none.ok, none.shown.as_str()), (false, "no samples"), "of them alone");
}
