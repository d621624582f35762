//! What the workloads of a mix did, each by itself: exact sums of what every process sent.

use super::Hists;
use crate::recorder::{Counts, Snapshot};

/// The sums of one workload.
#[derive(Debug, Default)]
pub(crate) struct PartSums {
    /// Of the measured time.
    pub(crate) counts: Counts,
    /// With what finished after it.
    pub(crate) all_counts: Counts,
    pub(crate) hists: Hists,
}

impl PartSums {
    /// Takes in what a tick had of each workload; `late`: of after the measured time.
    pub(super) fn take(all: &mut [Self], snapshot: &Snapshot, late: bool) {
        for (sums, part) in all.iter_mut().zip(&snapshot.parts) {
            sums.all_counts.add(&part.counts);
            if !late {
                sums.counts.add(&part.counts);
            }
            for (metric, hist) in &part.hists {
                sums.hists.add(*metric, hist);
            }
        }
    }
}
