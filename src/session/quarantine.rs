//! How long a node's votes do not count, on our own clock. Pure.
//!
//! - I1 for one epoch the end never moves nearer: a node's clock that steps forward does not
//!   shorten its quarantine.
//! - I2 it moves away only when a client with longer locks asks for a longer quarantine.
//! - I3 it is never longer than what was asked for, counted from the answer: it began before that,
//!   wherever the node's clock has gone since.

use std::time::Duration;

use crate::session::stamp::Stamp;
use crate::time::Timestamp;

/// What is known of a node's epoch, across connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quarantine {
    id: Box<[u8]>,
    opens_at: Timestamp,
    asked_ms: u64,
}

impl Quarantine {
    /// Takes note of a node's answer, received `now`. `drift` is the allowance for the node's
    /// clock running faster than ours. `true`: it is an epoch we did not know.
    pub(crate) fn note(&mut self, stamp: &Stamp, now: Timestamp, drift: u32) -> bool {
        // I3: behind a step back the node's own clock would count the step in.
        let left = stamp.remaining().min(Duration::from_millis(stamp.quarantine_ms));
        let opens_at = if left.is_zero() {
            Timestamp::ZERO
        } else {
            now.plus(left).plus(share(left, drift)).plus(GRAIN)
        };
        let is_new = self.id != stamp.id;
        if is_new {
            self.id.clone_from(&stamp.id);
            self.opens_at = opens_at;
        } else if stamp.quarantine_ms > self.asked_ms {
            self.opens_at = self.opens_at.max(opens_at); // I2
        }
        self.asked_ms = stamp.quarantine_ms;
        is_new
    }

    /// The epoch's id.
    pub(crate) fn id(&self) -> &[u8] {
        &self.id
    }

    /// From when on votes count.
    pub(crate) const fn opens_at(&self) -> Timestamp {
        self.opens_at
    }
}

/// The quarantine that locks of up to `max_ttl` ask for: R2's D, with the rate error of the clock
/// that counts it down, and the grain of expiry at both ends.
pub(crate) fn needed_ms(max_ttl: Duration, drift: u32) -> u64 {
    let needed = max_ttl.saturating_add(share(max_ttl, drift)).saturating_add(GRAIN);
    u64::try_from(needed.as_millis()).unwrap_or(u64::MAX).min(QUARANTINE_MS_MAX)
}

fn share(span: Duration, drift: u32) -> Duration {
    let nanos = span.as_nanos().saturating_mul(u128::from(drift)) / 1_000_000;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Expiry and quarantine are counted in whole milliseconds on two clocks.
const GRAIN: Duration = Duration::from_millis(2);

/// So that the node's microseconds stay exact in Lua: 139 years.
const QUARANTINE_MS_MAX: u64 = 1 << 42;

#[cfg(test)]
mod tests {
    use super::*;

    const PPM: u32 = 10_000;

    fn stamp(id: &str, now_s: i64, opens_s: i64, asked_ms: u64) -> Stamp {
        Stamp {
            id: id.as_bytes().into(),
            run_id: "r".into(),
            now_us: now_s * 1_000_000,
            opens_us: opens_s * 1_000_000,
            quarantine_ms: asked_ms,
            fleet: "-".into(),
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_end_is_counted_from_the_answer_with_an_allowance() {
        let mut quarantine = Quarantine::default();
        assert!(quarantine.note(&stamp("a", 100, 110, 10_000), at(5), PPM));
        assert_eq!(quarantine.opens_at(), at(15).plus(Duration::from_millis(102)));
        assert!(quarantine.note(&stamp("b", 100, 90, 10_000), at(6), PPM));
        assert_eq!(quarantine.opens_at(), Timestamp::ZERO);
        assert_eq!(quarantine.id(), b"b");
    }

    #[test]
    fn i1_a_clock_that_steps_does_not_shorten_it() {
        let mut quarantine = Quarantine::default();
        quarantine.note(&stamp("a", 100, 110, 10_000), at(5), PPM);
        let end = quarantine.opens_at();
        for node_now in [101, 160, 40] {
            assert!(!quarantine.note(&stamp("a", node_now, 110, 10_000), at(6), PPM));
            assert_eq!(quarantine.opens_at(), end, "{node_now}");
        }
    }

    #[test]
    fn i2_longer_locks_of_another_client_lengthen_it() {
        let mut quarantine = Quarantine::default();
        quarantine.note(&stamp("a", 100, 110, 10_000), at(5), PPM);
        quarantine.note(&stamp("a", 101, 160, 60_000), at(6), PPM);
        assert!(quarantine.opens_at() > at(65));
    }

    #[test]
    fn i3_a_clock_that_stepped_back_does_not_lengthen_it() {
        let mut quarantine = Quarantine::default();
        // Begun at 100 s by a clock that has gone back an hour since.
        quarantine.note(&stamp("a", 3_600, 7_210, 10_000), at(5), PPM);
        assert_eq!(quarantine.opens_at(), at(15).plus(Duration::from_millis(102)));
    }

    #[test]
    fn r2_the_quarantine_covers_ttl_rate_error_and_grain() {
        assert_eq!(needed_ms(Duration::from_secs(30), PPM), 30_302);
        assert_eq!(needed_ms(Duration::MAX, PPM), QUARANTINE_MS_MAX);
    }
}
