//! When a write leaves: the gather gate and its adaptive guard. Pure.
//!
//! Gathering means: the driver, woken by a submitter, first sends itself to the back of the run
//! queue once, so that the tasks that are about to submit get to run, and writes then. It is
//! worth it only while others are about to submit, so it is gated on the commands in flight (and
//! on the answers just handed out, whose callers come back at once in a closed loop): a lone
//! caller is never delayed. The guard switches it off while it gains nothing or costs too long.

use crate::time::Timestamp;

/// Gather modes; see [`Batching`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gather {
    /// Gather while it pays: the default.
    #[default]
    Adaptive,
    /// Gather whenever enough is in flight, whatever it gains. For measurements.
    Always,
    /// Write at once. Raises throughput nowhere we measured; for comparison.
    Off,
}

/// How commands share writes. Every field's default suits loopback to metropolitan round trips;
/// `loadgen` measures whether another value pays on your machine and load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batching {
    /// Whether a write waits one turn of the run queue for more commands. Default
    /// [`Gather::Adaptive`].
    pub gather: Gather,
    /// Commands in flight (or answers just handed out) from which a write gathers. Default 4:
    /// below it there is nobody to wait for. Raise it when a handful of callers want the last
    /// microsecond; lower it (1 at least) to save CPU under light load.
    pub gather_min_inflight: usize,
    /// Commands in one write at most. Default 512, about what 64 KiB hold: a write is a system
    /// call, which costs more than forming a hundred commands, while the server reads 16 KiB a
    /// turn and answers them, however they were sent (at 1 024 callers 512 instead of 128 took
    /// 0.2 to 0.5 us of CPU off a lock, and changed neither rate nor latency). A sealed connection
    /// sends 128 at most, for there a grant counts only when the write's last reply has come.
    /// Lower it for fairness between callers, raise it for very small keys.
    pub max_commands: usize,
    /// Bytes in one write at most, give or take one command. Default 64 KiB, for a full write of
    /// locks with names of ordinary length; 16 KiB at most where it is sealed, what a server reads
    /// in one turn of its event loop.
    pub max_bytes: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            gather: Gather::Adaptive,
            gather_min_inflight: 4,
            max_commands: 512,
            max_bytes: 64 * 1024,
        }
    }
}

impl Batching {
    /// The caps of one write, in commands and bytes.
    pub(crate) fn caps(&self, is_sealed: bool) -> (usize, usize) {
        if is_sealed {
            (self.max_commands.min(SEALED_COMMANDS_MAX), self.max_bytes.min(SEALED_BYTES_MAX))
        } else {
            (self.max_commands, self.max_bytes)
        }
    }
}

/// Of a write whose grants wait for its end.
const SEALED_COMMANDS_MAX: usize = 128;
const SEALED_BYTES_MAX: usize = 16 * 1024;

/// The gate of one connection.
#[derive(Debug)]
pub(crate) struct Gate {
    mode: Gather,
    min_inflight: usize,
    deferred: Option<Deferral>,
    gain_x16: u32,
    delay_ns: u64,
    off_for: u32,
}

#[derive(Clone, Copy, Debug)]
struct Deferral {
    at: Timestamp,
    queued: usize,
}

/// Below half a command gained per deferral, or above 100 us of delay, gathering stops.
const GAIN_MIN_X16: u32 = 8;
const DELAY_MAX_NS: u64 = 100_000;
/// Writes without gathering before it is tried again.
const OFF_WRITES: u32 = 64;
/// A fresh gate believes in gathering until it has seen about 16 deferrals.
const GAIN_START_X16: u32 = 64;

impl Gate {
    pub(crate) fn new(settings: &Batching) -> Self {
        Self {
            mode: settings.gather,
            min_inflight: settings.gather_min_inflight.max(1),
            deferred: None,
            gain_x16: GAIN_START_X16,
            delay_ns: 0,
            off_for: 0,
        }
    }

    /// Commands wait: write now (`false`), or go to the back of the run queue first (`true`)?
    pub(crate) fn defer(&mut self, now: Timestamp, queued: usize, expected: usize) -> bool {
        if self.deferred.is_some() || self.mode == Gather::Off || expected < self.min_inflight {
            return false;
        }
        if self.mode == Gather::Adaptive && self.off_for > 0 {
            self.off_for -= 1;
            return false;
        }
        self.deferred = Some(Deferral { at: now, queued });
        true
    }

    /// Is a deferral under way (so that the next write must report to [`Gate::wrote`])?
    pub(crate) const fn is_deferred(&self) -> bool {
        self.deferred.is_some()
    }

    /// A write takes `queued` commands: learns from the deferral before it, if there was one.
    pub(crate) fn wrote(&mut self, now: Timestamp, queued: usize) {
        let Some(deferral) = self.deferred.take() else { return };
        let gained = u32::try_from(queued.saturating_sub(deferral.queued)).unwrap_or(u32::MAX);
        let gained_x16 = gained.min(4_096) * 16;
        let delay_ns = now.since(deferral.at).as_nanos();
        let delay_ns = u64::try_from(delay_ns).unwrap_or(u64::MAX);
        // Moving averages with a weight of 1/8, as in RFC 6298's smoothed round-trip time.
        self.gain_x16 = self.gain_x16 - self.gain_x16 / 8 + gained_x16 / 8;
        self.delay_ns = self.delay_ns - self.delay_ns / 8 + delay_ns.min(1 << 40) / 8;
        let useless = self.gain_x16 < GAIN_MIN_X16;
        // A long delay is worth its while when it gathers a lot: it is the load, not the gate.
        let slow = self.delay_ns > DELAY_MAX_NS && self.gain_x16 < 16 * 8;
        if useless || slow {
            self.off_for = OFF_WRITES;
            self.gain_x16 = GAIN_MIN_X16 * 2;
            self.delay_ns = 0;
        }
    }

    /// Thousandths of commands gained per deferral, and its delay, smoothed: for statistics.
    pub(crate) fn averages(&self) -> (u64, u64) {
        (u64::from(self.gain_x16) * 1_000 / 16, self.delay_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Timestamp {
        Timestamp::from_nanos(us * 1_000)
    }

    #[test]
    fn a_lone_caller_is_never_deferred() {
        let mut gate = Gate::new(&Batching::default());
        for i in 0..1_000 {
            assert!(!gate.defer(at(i), 1, 3));
            gate.wrote(at(i), 1);
        }
    }

    #[test]
    fn a_sealed_write_is_short_and_a_cap_that_was_lowered_holds() {
        assert_eq!(Batching::default().caps(false), (512, 64 * 1024));
        assert_eq!(Batching::default().caps(true), (128, 16 * 1024));
        let small = Batching { max_commands: 1, max_bytes: 512, ..Batching::default() };
        assert_eq!((small.caps(false), small.caps(true)), ((1, 512), (1, 512)));
    }

    #[test]
    fn a_write_is_deferred_once() {
        let mut gate = Gate::new(&Batching::default());
        assert!(gate.defer(at(0), 1, 4));
        assert!(gate.is_deferred());
        assert!(!gate.defer(at(1), 9, 4));
        gate.wrote(at(2), 20);
        assert!(!gate.is_deferred());
        assert!(gate.defer(at(3), 1, 64));
    }

    #[test]
    fn gathering_that_gains_nothing_stops_and_is_tried_again() {
        let mut gate = Gate::new(&Batching::default());
        let mut deferrals = 0;
        for i in 0..1_000 {
            if gate.defer(at(i), 5, 8) {
                deferrals += 1;
            }
            gate.wrote(at(i), 5);
        }
        assert!((20..200).contains(&deferrals), "{deferrals}");
        let mut always = Gate::new(&Batching { gather: Gather::Always, ..Batching::default() });
        for i in 0..100 {
            assert!(always.defer(at(i), 5, 8));
            always.wrote(at(i), 5);
        }
        let mut off = Gate::new(&Batching { gather: Gather::Off, ..Batching::default() });
        assert!(!off.defer(at(0), 5, 800));
    }

    #[test]
    fn gathering_that_takes_long_for_little_stops() {
        let mut gate = Gate::new(&Batching::default());
        let mut deferrals = 0;
        for i in 0..200 {
            if gate.defer(at(i * 1_000), 1, 8) {
                deferrals += 1;
            }
            gate.wrote(at(i * 1_000 + 900), 3);
        }
        assert!(deferrals < 60, "{deferrals}");
        let (gain, delay) = gate.averages();
        assert!(gain < 10_000 && delay < 1_000_000_000);
    }
}
