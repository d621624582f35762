//! The response times outside faults: a second histogram of those 100 ms intervals in which no
//! fault was planned to be in force.
//!
//! A fault's window is its plan with an interval on either side: what begins and heals it is not
//! instant.

use crate::config::RunConfig;
use crate::faults::Fault;
use crate::recorder::{Hist, TICK_NS, histogram, merge};

/// What a threshold `outside faults` is judged by; nothing is kept where none is.
#[derive(Debug, Default)]
pub(crate) struct Calm {
    /// First and last interval of each fault.
    windows: Vec<(u64, u64)>,
    hist: Option<Hist>,
}

impl Calm {
    pub(crate) fn new(config: &RunConfig) -> Self {
        if !config.thresholds.iter().any(|threshold| threshold.outside_faults) {
            return Self::default();
        }
        let faults = config.faults.iter().filter_map(|text| text.parse::<Fault>().ok());
        let tick =
            |at: std::time::Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX) / TICK_NS;
        let window = |fault: Fault| {
            let last = tick(fault.at.saturating_add(fault.for_)).saturating_add(1);
            (tick(fault.at).saturating_sub(1), last)
        };
        Self { windows: faults.map(window).collect(), hist: Some(histogram()) }
    }

    /// Takes in the responses of interval `index`.
    pub(crate) fn take(&mut self, index: u32, responses: Option<&Hist>) {
        let at = u64::from(index);
        let is_hit = self.windows.iter().any(|&(first, last)| (first..=last).contains(&at));
        if let (Some(all), Some(more), false) = (&mut self.hist, responses, is_hit) {
            merge(all, more);
        }
    }

    pub(crate) fn hist(&self) -> Option<&Hist> {
        self.hist.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_with_a_fault_in_force_and_their_neighbours_do_not_count() {
        let config = RunConfig {
            faults: vec!["kill@1s/500ms".to_owned()],
            thresholds: vec!["acquire.response.p99<5ms outside faults".parse().unwrap()],
            ..RunConfig::for_tests()
        };
        let mut calm = Calm::new(&config);
        let mut one = histogram();
        one.saturating_record(7);
        (0..20).for_each(|index| calm.take(index, Some(&one)));
        // 9 to 16 do not count.
        assert_eq!(calm.hist().map(Hist::len), Some(12));
        let mut none = Calm::new(&RunConfig::for_tests());
        none.take(0, Some(&one));
        assert!(none.hist().is_none(), "nothing is kept that nobody asks for");
    }
}
