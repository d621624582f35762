//! The response times outside faults: a second histogram of those 100 ms intervals in which no
//! fault was in force, from the hit of its first target until all of them answered again.
//!
//! Invariant: an interval is decided when the next one is there. By then every fault that began
//! within it has told so.

use crate::config::RunConfig;
use crate::faults::board::Lasted;
use crate::recorder::{Hist, TICK_NS, histogram, merge};

/// What a threshold `outside faults` is judged by; nothing is kept where none is.
#[derive(Debug, Default)]
pub(crate) struct Calm {
    measured_ns: u64,
    faults: Vec<Lasted>,
    /// The last interval and its responses.
    undecided: Option<(u64, Hist)>,
    hist: Option<Hist>,
}

impl Calm {
    pub(crate) fn new(config: &RunConfig) -> Self {
        let is_wanted = config.thresholds.iter().any(|threshold| threshold.outside_faults);
        Self { hist: is_wanted.then(histogram), ..Self::default() }
    }

    /// Whether anybody asks for it.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.hist.is_some()
    }

    /// The measured time begins then, on the clock of the faults.
    pub(crate) const fn start_at(&mut self, measured_ns: u64) {
        self.measured_ns = measured_ns;
    }

    /// What is known of faults by now.
    pub(crate) fn know(&mut self, faults: Vec<Lasted>) {
        self.faults = faults;
    }

    /// Takes in the responses of interval `index`.
    pub(crate) fn take(&mut self, index: u32, responses: Option<&Hist>) {
        if self.is_wanted() {
            self.decide();
            self.undecided = responses.map(|responses| (u64::from(index), responses.clone()));
        }
    }

    /// Decides the last interval.
    pub(crate) fn decide(&mut self) {
        let Some((index, responses)) = self.undecided.take() else { return };
        let from_ns = self.measured_ns.saturating_add(index * TICK_NS);
        let to_ns = from_ns.saturating_add(TICK_NS);
        let is_hit = self.faults.iter().any(|fault| {
            fault.begin_ns < to_ns && fault.over_ns.is_none_or(|over_ns| over_ns >= from_ns)
        });
        if let (Some(all), false) = (&mut self.hist, is_hit) {
            merge(all, &responses);
        }
    }

    pub(crate) fn hist(&self) -> Option<&Hist> {
        self.hist.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_NS: u64 = 7_000_000_000;

    fn calm() -> Calm {
        let config = RunConfig {
            thresholds: vec!["acquire.response.p99<5ms outside faults".parse().unwrap()],
            ..RunConfig::for_tests()
        };
        let mut calm = Calm::new(&config);
        calm.start_at(START_NS);
        calm
    }

    /// 20 intervals, with one response each, as long as its number.
    fn after(faults: &[(u64, Option<u64>)]) -> Vec<u64> {
        let mut calm = calm();
        let lasted = |&(begin_ms, over_ms): &(u64, Option<u64>)| Lasted {
            begin_ns: START_NS + begin_ms * 1_000_000,
            over_ns: over_ms.map(|over_ms| START_NS + over_ms * 1_000_000),
        };
        calm.know(faults.iter().map(lasted).collect());
        for index in 0..20 {
            let mut one = histogram();
            one.saturating_record(u64::from(index));
            calm.take(index, Some(&one));
        }
        calm.decide();
        let hist = calm.hist().unwrap();
        hist.iter_recorded().map(|step| step.value_iterated_to()).collect()
    }

    #[test]
    fn intervals_in_which_a_fault_was_in_force_do_not_count_whatever_was_planned() {
        let without = |left_out: std::ops::RangeInclusive<u64>| -> Vec<u64> {
            (0..20).filter(|index| !left_out.contains(index)).collect()
        };
        assert_eq!(after(&[]).len(), 20);
        assert_eq!(after(&[(1_003, Some(1_512))]), without(10..=15));
        assert_eq!(after(&[(999, Some(1_499))]), without(9..=14), "a little earlier");
        assert_eq!(after(&[(1_400, None)]), without(14..=19), "it was never healed");
        assert_eq!(after(&[(300, Some(300))]), without(3..=3), "one instant");
    }

    #[test]
    fn a_fault_that_is_told_of_after_its_interval_still_hits_it() {
        let mut calm = calm();
        let mut one = histogram();
        one.saturating_record(5);
        calm.take(0, Some(&one));
        calm.take(1, Some(&one));
        assert_eq!(calm.hist().map(Hist::len), Some(1), "the last one is not decided");
        calm.know(vec![Lasted { begin_ns: START_NS + 150_000_000, over_ns: None }]);
        calm.take(2, Some(&one));
        calm.decide();
        assert_eq!(calm.hist().map(Hist::len), Some(1));
        let mut none = Calm::new(&RunConfig::for_tests());
        none.take(0, Some(&one));
        none.decide();
        assert!(none.hist().is_none(), "nothing is kept that nobody asks for");
    }
}
