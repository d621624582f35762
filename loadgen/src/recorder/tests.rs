//! Nothing is lost, and nothing is there twice.

use super::*;
use crate::plan::rng::SplitMix;

#[test]
fn snapshots_of_many_threads_merge_to_all_samples_bit_for_bit() {
    let recorder = Recorder::new(3, 0);
    let mut snapshots = Snapshots::new();
    let mut expected = histogram();
    let mut total = histogram();
    for round in 0..4 {
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let recorder = &recorder;
                scope.spawn(move || {
                    let mut rng = SplitMix::new(thread + 10 * round);
                    for _ in 0..1_000 {
                        let value = rng.next() >> 28;
                        recorder.with(|shard| shard.record(Metric::Service, value));
                    }
                });
            }
        });
        for thread in 0..4_u64 {
            let mut rng = SplitMix::new(thread + 10 * round);
            (0..1_000).for_each(|_| expected.saturating_record(rng.next() >> 28));
        }
        for (metric, hist) in snapshots.take(&recorder, &Metric::ALL, &[]).hists {
            assert_eq!(metric, Metric::Service);
            merge(&mut total, &hist);
        }
    }
    assert_eq!(total, expected);
    assert_eq!(total.len(), 16_000);
    assert!(
        snapshots.take(&recorder, &Metric::ALL, &[]).hists.is_empty(),
        "nothing is taken twice"
    );
}

#[test]
fn values_beyond_the_range_are_kept_and_counted() {
    let recorder = Recorder::new(1, 0);
    recorder.with(|shard| shard.record(Metric::Response, u64::MAX));
    recorder.with(|shard| shard.counts.fail(FailureKind::NoQuorum));
    let snapshot = Snapshots::new().take(&recorder, &[Metric::Response], &[]);
    recorder.with(|shard| shard.counts.fail(FailureKind::Quarantined));
    let quarantined = Snapshots::new().take(&recorder, &[], &[]).counts;
    assert_eq!((quarantined.quarantined, quarantined.errors()), (1, 1));
    assert_eq!(snapshot.counts.saturated, 1);
    assert_eq!((snapshot.counts.errors(), snapshot.counts.finished()), (1, 1));
    assert!(snapshot.hists[0].1.max() >= HIGHEST_NS);
}

#[test]
fn the_workloads_of_a_mix_have_their_own_samples_and_together_those_of_the_whole() {
    let (recorder, mut snapshots) = (Recorder::new(2, 3), Snapshots::new());
    let sample = |workload: u8, value| {
        recorder.with_of(workload, |to| {
            to.record(Metric::Response, value);
            to.record(Metric::Attempts, 2);
            to.count(|counts| counts.ok += 1);
            to.count_part(|counts| counts.handed_over += 1);
        });
    };
    std::thread::scope(|scope| {
        scope.spawn(|| (1..=1_000).for_each(|n| sample(0, n)));
        scope.spawn(|| (1..=500).for_each(|n| sample(2, 1_000_000 * n)));
    });
    let early = snapshots.take(&recorder, &[], &[]);
    assert_eq!((early.counts.ok, early.counts.handed_over), (1_500, 0));
    let counts: Vec<_> =
        early.parts.iter().map(|of| (of.counts.ok, of.counts.handed_over)).collect();
    assert_eq!(counts, [(1_000, 1_000), (0, 0), (500, 500)]);
    let late = snapshots.take(&recorder, &Metric::ALL, &Metric::OF_WORKLOAD);
    assert_eq!(late.parts.iter().map(|of| of.hists.len()).collect::<Vec<_>>(), [1, 0, 1]);
    let mut sum = histogram();
    late.parts.iter().flat_map(|of| &of.hists).for_each(|(_, hist)| merge(&mut sum, hist));
    assert_eq!(late.hists[0], (Metric::Response, sum));
    assert_eq!((late.parts[0].hists[0].1.max(), late.parts[2].hists[0].1.min()), (1_000, 999_936));
    assert_eq!(late.hists[1].0, Metric::Attempts, "no part of a workload");
}
