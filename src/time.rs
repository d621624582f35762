//! Instants and spans of the pure layers: nanoseconds on the engine's clock.
//!
//! A [`Timestamp`] counts from an origin of the clock's choosing, never from the wall clock, and
//! its arithmetic saturates, so that no input can make an instant wrap into the past.

use std::time::Duration;

/// An instant on the engine's clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin: earlier than every reading.
    pub(crate) const ZERO: Self = Self(0);
    /// Later than every reading: "never".
    pub(crate) const MAX: Self = Self(u64::MAX);

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `self + span`, at most [`Timestamp::MAX`].
    #[must_use]
    pub(crate) fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// `self - span`, at least [`Timestamp::ZERO`].
    #[must_use]
    pub(crate) fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }

    /// The span from `earlier` to `self`; zero if `earlier` is the later one.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// `span` in nanoseconds, saturating at 584 years.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp::from_nanos(5).minus(Duration::from_secs(1)), Timestamp::ZERO);
        assert_eq!(Timestamp::ZERO.since(Timestamp::from_nanos(9)), Duration::ZERO);
        assert_eq!(Timestamp::from_nanos(9).since(Timestamp::from_nanos(4)).as_nanos(), 5);
        assert_eq!(nanos(Duration::MAX), u64::MAX);
    }
}
