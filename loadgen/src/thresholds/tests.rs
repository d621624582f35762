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
        assert!(checked.failure().contains(text) && checked.failure().contains("no samples"));
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
