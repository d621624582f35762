//! What the final reports of a run's processes add up to: what the verdict is made from.

use crate::calibration::overload::Hottest;
use crate::collect::Collector;
use crate::collect::parts::PartSums;
use crate::config::RunConfig;
use crate::num;
use crate::recorder::Metric;
use crate::report::Quality;
use crate::report::totals::PartResult;
use crate::verdict::Facts;

/// How long the measured time really was: less than planned after an interrupt or with `-n`.
pub(super) fn lasted_ns(config: &RunConfig, collector: &Collector) -> u64 {
    let walls = collector.finals.iter().map(|(_, last)| last.cpu_wall_ns);
    walls.max().unwrap_or(config.duration_ns).min(config.duration_ns)
}

/// What the processes' final reports add up to.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) offered: u64,
    pub(super) unfinished: u64,
    pub(super) not_started: u64,
    pub(super) oldest_unfinished_ns: u64,
    pub(super) cpu_whole_ns: u64,
    wall_whole_ns: u64,
}

impl Sums {
    pub(super) fn of(config: &RunConfig, collector: &Collector) -> Self {
        let mut sums = Self::default();
        for (_, last) in &collector.finals {
            sums.offered += last.offered;
            sums.unfinished += last.unfinished;
            sums.not_started += last.not_started;
            sums.cpu_whole_ns += last.cpu_whole_ns;
            sums.wall_whole_ns = sums.wall_whole_ns.max(last.wall_whole_ns);
            sums.oldest_unfinished_ns = sums.oldest_unfinished_ns.max(last.oldest_unfinished_ns);
        }
        // Of a process that a fault ended: what it told of before.
        sums.offered += collector.killed.iter().map(|(_, started)| started).sum::<u64>();
        if !config.is_open_loop() {
            // A closed loop offers what it does.
            sums.offered = collector.all_counts().finished() + sums.unfinished;
        }
        sums
    }
}

/// What each workload of a mix did.
pub(super) fn parts(config: &RunConfig, collector: &mut Collector) -> Vec<PartResult> {
    let all = std::mem::take(&mut collector.parts).into_iter().enumerate();
    let part = |(at, sums): (usize, PartSums)| {
        let PartSums { counts, all_counts, hists } = sums;
        let mut part = PartResult { counts, all_counts, hists, ..PartResult::default() };
        for left in collector.finals.iter().filter_map(|(_, last)| last.left.get(at)) {
            part.unfinished += left.unfinished;
            part.not_started += left.not_started;
            part.oldest_unfinished_ns = part.oldest_unfinished_ns.max(left.oldest_unfinished_ns);
        }
        part.offered = match config.is_open_loop() {
            true => part.all_counts.handed_over + part.not_started,
            false => part.all_counts.finished() + part.unfinished,
        };
        part
    };
    all.map(part).collect()
}

pub(super) fn quality(config: &RunConfig, collector: &Collector) -> Quality {
    let shares = collector.finals.iter().map(|(_, last)| num::share(last.cpu_ns, last.cpu_wall_ns));
    let cores: f64 = shares.sum();
    let threads = f64::from(config.threads) * f64::from(config.processes);
    let sum = |pick: fn(&crate::driver::Final) -> u64| -> u64 {
        collector.finals.iter().map(|(_, last)| pick(last)).sum()
    };
    let busiest = collector.finals.iter().filter_map(|(_, last)| {
        last.busiest_worker_ns.map(|busy_ns| num::share(busy_ns, last.cpu_wall_ns))
    });
    let (started, wakes) = (sum(|last| last.started), sum(|last| last.wakes));
    Quality {
        cpu_pct: cores * 100.0,
        cpu_share: cores / threads,
        busiest_worker: busiest.reduce(f64::max),
        hottest: None,
        mean_burst: (wakes > 0).then(|| num::share(started, wakes)),
        agents_lost: collector.trouble.clone(),
    }
}

pub(super) fn facts(
    config: &RunConfig,
    collector: &Collector,
    sums: &Sums,
    quality: &Quality,
) -> Facts {
    let totals = &collector.totals;
    let all = collector.all_counts();
    Facts {
        offered: sums.offered,
        finished: if config.is_open_loop() { collector.counts.finished() } else { all.finished() },
        ok: all.ok,
        timeouts: all.timeout,
        whole_ns: sums.wall_whole_ns,
        lag_p50_ns: totals.at(Metric::SchedLag, 50.0),
        lag_p99_ns: totals.at(Metric::SchedLag, 99.0),
        response_p50_ns: totals.at(Metric::Response, 50.0),
        service_p50_ns: totals.at(Metric::Service, 50.0),
        // Of a thread, where the kernel tells; else what all threads together would be of them.
        cpu_share: quality.busiest_worker.unwrap_or(quality.cpu_share),
        overload: quality.hottest.as_ref().and_then(Hottest::overload),
        agents_lost: quality.agents_lost.clone(),
        hiccup_max_ns: totals.get(Metric::Hiccup).map(crate::recorder::Hist::max),
        saturated: all.saturated,
        ..Facts::default()
    }
}
