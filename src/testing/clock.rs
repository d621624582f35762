//! The clock a test node expires its keys by. Not the engine's clock: the two may disagree, and a
//! test makes them disagree on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A node's wall clock: the machine's, or one that moves only when told to.
///
/// Clones share one clock. Moving the clock makes due keys expire; nothing else waits for it.
///
/// ```
/// use redlatch::testing::TestClock;
/// use std::time::Duration;
///
/// let clock = TestClock::manual(1_000);
/// clock.advance(Duration::from_millis(250));
/// assert_eq!(clock.now_ms(), 1_250);
/// ```
#[derive(Clone, Debug)]
pub struct TestClock {
    follows_machine: bool,
    offset_ms: Arc<AtomicI64>,
}

impl TestClock {
    /// The machine's wall clock, moved by what [`advance`](Self::advance) and
    /// [`rewind`](Self::rewind) add: a node whose clock was stepped.
    #[must_use]
    pub fn real() -> Self {
        Self { follows_machine: true, offset_ms: Arc::default() }
    }

    /// A clock that stands still at `start_ms` (milliseconds since 1970) until it is moved.
    #[must_use]
    pub fn manual(start_ms: i64) -> Self {
        Self { follows_machine: false, offset_ms: Arc::new(AtomicI64::new(start_ms)) }
    }

    /// Moves the clock forward by whole milliseconds.
    pub fn advance(&self, span: Duration) {
        self.shift(i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
    }

    /// Moves the clock backward by whole milliseconds: keys live longer than they were told to.
    pub fn rewind(&self, span: Duration) {
        self.shift(i64::try_from(span.as_millis()).map_or(i64::MIN, i64::wrapping_neg));
    }

    /// Milliseconds since 1970 on this clock.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_us().div_euclid(1_000)
    }

    /// Microseconds since 1970 on this clock.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        let offset_us = self.offset_ms.load(Ordering::SeqCst).saturating_mul(1_000);
        if !self.follows_machine {
            return offset_us;
        }
        let now = clock_gettime(ClockId::Realtime);
        now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000) + offset_us
    }

    fn shift(&self, by_ms: i64) {
        // Bounded so that no sum of shifts, times and deadlines can wrap.
        let moved = |now: i64| Some(now.saturating_add(by_ms).clamp(-SHIFT_MS_MAX, SHIFT_MS_MAX));
        // The closure always answers `Some`, so the update cannot fail.
        let _ = self.offset_ms.fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved);
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::real()
    }
}

/// About 285 years: in microseconds still within an `i64` after the machine's own time is added.
const SHIFT_MS_MAX: i64 = i64::MAX / 1_000 / 1_024;
