//! The workloads of a mix, each added up over all machines: histograms bit for bit, counts and
//! rates as sums.

use super::{Source, latencies};
use crate::document::{Errors, Totals, WorkloadReport};
use crate::recorder::Metric;

/// Every workload, in the order of the settings, which all machines share.
pub(super) fn merge(sources: &[Source]) -> Result<Vec<WorkloadReport>, String> {
    let first = sources.first().map_or(&[][..], |first| &first.document.workloads);
    first.iter().map(|of| merged(of, sources)).collect()
}

fn merged(of: &WorkloadReport, sources: &[Source]) -> Result<WorkloadReport, String> {
    let mut totals: Option<Totals> = None;
    for source in sources {
        let Some(theirs) = source.document.workload(&of.name) else {
            let (name, path) = (&of.name, source.path.display());
            return Err(format!("`{path}` has nothing of workload `{name}`; run it again"));
        };
        totals = Some(match totals {
            None => theirs.totals.clone(),
            Some(sum) => add(&sum, &theirs.totals),
        });
    }
    let latency_ns = latencies(sources, &Metric::OF_WORKLOAD, |document| {
        Some(&document.workload(&of.name)?.latency_ns)
    })?;
    Ok(WorkloadReport { totals: totals.unwrap_or_default(), latency_ns, ..of.clone() })
}

/// A sum with an unknown part is unknown.
fn add(a: &Totals, b: &Totals) -> Totals {
    let rate = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
    Totals {
        offered: a.offered + b.offered,
        ok: a.ok + b.ok,
        ok_in_time: a.ok_in_time + b.ok_in_time,
        unfinished: a.unfinished + b.unfinished,
        not_started: a.not_started + b.not_started,
        oldest_unfinished_ns: a.oldest_unfinished_ns.max(b.oldest_unfinished_ns),
        errors: Errors {
            timeout: a.errors.timeout + b.errors.timeout,
            no_quorum: a.errors.no_quorum + b.errors.no_quorum,
            quarantined: a.errors.quarantined + b.errors.quarantined,
            busy: a.errors.busy + b.errors.busy,
            lost: a.errors.lost + b.errors.lost,
            other: a.errors.other + b.errors.other,
        },
        release_unconfirmed: a.release_unconfirmed + b.release_unconfirmed,
        saturated: a.saturated + b.saturated,
        offered_rate: rate(a.offered_rate, b.offered_rate),
        achieved_rate: rate(a.achieved_rate, b.achieved_rate),
        ok_rate: rate(a.ok_rate, b.ok_rate),
        failure_texts: Vec::new(),
    }
}
