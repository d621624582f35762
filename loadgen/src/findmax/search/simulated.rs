//! A machine whose limit is known, with what real ones have: slow minutes, a drift, short stalls,
//! and other programs.

use super::super::health::Health;
use crate::plan::rng::Xoshiro;

/// Of a probe; the numbers are those of `--find-max` on two shared cores.
const WINDOWS: u32 = 10;
const WINDOW_S: f64 = 0.2;
const WARMUP_S: f64 = 0.7;
const PROBE_S: f64 = 2.9;
const LOOK_S: f64 = 0.4;
/// The bound, and what an idle queue takes.
const BOUND_S: f64 = 0.005;
const IDLE_S: f64 = 0.000_5;

/// How restless it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Restless {
    /// The capacity in slow phases of 30 to 120 s, which come after fast ones of that length.
    pub(super) slow: Option<f64>,
    /// Amplitude of a drift with a period of ten minutes.
    pub(super) drift: f64,
    /// Stalls of 1 to 50 ms, per second.
    pub(super) stalls: f64,
    /// What other programs use in spans of 15 s with 40 s between them, in the mean.
    pub(super) others: f64,
}

#[derive(Debug)]
pub(super) struct Simulated {
    pub(super) now_s: f64,
    rng: Xoshiro,
    capacity: f64,
    how: Restless,
    /// Ends of phases, fast and slow in turn.
    phases: Vec<f64>,
    begins_slow: bool,
    /// Spans of other programs.
    busy: Vec<(f64, f64)>,
    offset: f64,
}

/// What a probe says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// By the median of its windows.
    pub(super) passed: bool,
    pub(super) health: Health,
}

impl Simulated {
    pub(super) fn new(seed: u64, capacity: f64, how: Restless) -> Self {
        let mut rng = Xoshiro::for_client(seed, 99);
        let (mut phases, mut busy, mut at) = (Vec::new(), Vec::new(), 0.0);
        while at < 3_000.0 {
            at += 30.0 + 90.0 * rng.unit();
            phases.push(at);
        }
        at = 0.0;
        while at < 3_000.0 && how.others > 0.0 {
            let begin = at + 40.0 * rng.exponential();
            at = begin + 15.0 * rng.exponential();
            busy.push((begin, at));
        }
        let begins_slow = rng.unit() < 0.5;
        let offset = rng.unit();
        Self { now_s: 0.0, rng, capacity, how, phases, begins_slow, busy, offset }
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.rng.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.rng.unit()).cos()
    }

    fn speed(&self, at_s: f64) -> f64 {
        let phase = self.phases.iter().position(|&end| at_s < end).unwrap_or(0);
        let is_slow = (phase % 2 == 0) == self.begins_slow;
        let turn = std::f64::consts::TAU * (at_s / 600.0 + self.offset);
        let drift = 1.0 + self.how.drift * turn.sin();
        drift * self.how.slow.filter(|_| is_slow).unwrap_or(1.0)
    }

    fn others(&self, at_s: f64) -> f64 {
        let is_busy = self.busy.iter().any(|&(begin, end)| (begin..end).contains(&at_s));
        if is_busy { self.how.others } else { 0.0 }
    }

    /// A look that rests for `rest_s`: the fixed job is measured with an error, and sometimes
    /// beside something else.
    pub(super) fn look(&mut self, rest_s: f64) -> Health {
        let others = self.others(self.now_s);
        self.now_s += rest_s.max(LOOK_S);
        let error = (0.025 * self.normal()).exp();
        let beside = if self.rng.unit() < 0.05 { 1.0 + 0.4 * self.rng.unit() } else { 1.0 };
        let job_ns = Some(200_000.0 * error * beside / self.speed(self.now_s));
        Health { job_ns, others: Some(others), stolen: Some(0.0) }
    }

    /// A queue whose p99 grows as 1/(1 - load), and that keeps what it could not serve.
    pub(super) fn probe(&mut self, rate: f64) -> Said {
        let jitter = (0.04 * self.normal()).exp();
        let factor = (0.3 * self.normal()).exp();
        let mut next_stall_s = self.rng.exponential() / self.how.stalls;
        let (mut backlog_s, mut others, mut slow) = (0.0_f64, 0.0, 0);
        for window in 0..WINDOWS {
            let at_s = self.now_s + WARMUP_S + f64::from(window) * WINDOW_S;
            let taken = self.others(at_s);
            others += taken / f64::from(WINDOWS);
            let load = rate / (self.capacity * self.speed(at_s) * (1.0 - taken) * jitter);
            backlog_s = (backlog_s + (load - 1.0) * WINDOW_S).max(0.0);
            let spread = (0.2 * self.normal()).exp();
            let queue_s = if load < 1.0 { IDLE_S * factor * spread / (1.0 - load) } else { 1.0 };
            let is_slow = queue_s.max(backlog_s) >= BOUND_S;
            // Who comes in a stall waits for its end, and for those who came before.
            let mut stalled_s = 0.0;
            while next_stall_s < f64::from(window + 1) * WINDOW_S {
                let stall_s = 0.001 * (50.0_f64.ln() * self.rng.unit()).exp();
                stalled_s += (stall_s - BOUND_S).max(0.0) / (1.0 - load).max(0.02);
                next_stall_s += self.rng.exponential() / self.how.stalls;
            }
            slow += u32::from(is_slow || stalled_s > 0.01 * WINDOW_S);
        }
        self.now_s += PROBE_S;
        Said {
            passed: slow < WINDOWS / 2,
            health: Health { job_ns: None, others: Some(others), stolen: Some(0.0) },
        }
    }
}
