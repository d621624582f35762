//! How long a node's votes do not count, on our own clock. Pure.
//!
//! - I1 for one epoch the end never moves nearer: a node's clock that steps forward does not
//!   shorten its quarantine.
//! - I2 it moves away only when a client with longer locks asks for a longer quarantine.
//! - I3 it is never longer than what was asked for, counted from the answer: it began before that,
//!   wherever the node's clock has gone since.
//! - I4 an epoch that was under way while this address still was in another one belongs to
//!   another server: what was granted in the other epoch is unknown there, whether its quarantine
//!   is over or not.

use std::time::Duration;

use crate::session::stamp::Stamp;
use crate::time::Timestamp;

/// What is known of a node's epoch, across connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quarantine {
    id: Box<[u8]>,
    opens_at: Timestamp,
    asked_ms: u64,
    /// The node's time when it last was in this epoch.
    seen_us: i64,
}

impl Quarantine {
    /// I4: is this another server than the one that was greeted here before? To be asked before
    /// the stamp is noted.
    pub(crate) fn is_strange(&self, stamp: &Stamp) -> bool {
        if self.id.is_empty() || self.id == stamp.id {
            return false;
        }
        // While a quarantine runs, its end tells when it began. Of one that is over, only the end
        // is known; an epoch that was opened by its operator began then.
        let ms = if stamp.remaining().is_zero() { 0 } else { stamp.quarantine_ms };
        let us = i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000);
        // In the same instant is not before: a coarse clock may show one time for both.
        stamp.opens_us.saturating_sub(us) < self.seen_us
    }

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
        self.seen_us = stamp.now_us;
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
    fn i4_an_epoch_from_before_the_last_look_at_another_is_another_servers() {
        let mut quarantine = Quarantine::default();
        assert!(!quarantine.is_strange(&stamp("x", 100, 50, 10_000)), "nothing was known");
        quarantine.note(&stamp("a", 100, 50, 10_000), at(5), PPM);
        quarantine.note(&stamp("a", 120, 50, 10_000), at(25), PPM);
        for (opens_s, is_strange) in [(60, true), (119, true), (120, false), (129, false)] {
            let other = stamp("b", 130, opens_s, 10_000);
            assert_eq!(quarantine.is_strange(&other), is_strange, "open since {opens_s}");
        }
        // Quarantined still: it began ten seconds before its end.
        assert!(quarantine.is_strange(&stamp("b", 125, 129, 10_000)));
        assert!(!quarantine.is_strange(&stamp("b", 125, 130, 10_000)));
        assert!(!quarantine.is_strange(&stamp("a", 125, 50, 10_000)), "the same");
    }

    #[test]
    fn r2_the_quarantine_covers_ttl_rate_error_and_grain() {
        assert_eq!(needed_ms(Duration::from_secs(30), PPM), 30_302);
        assert_eq!(needed_ms(Duration::MAX, PPM), QUARANTINE_MS_MAX);
    }
}
