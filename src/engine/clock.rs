//! The only place of the library that reads time.
//!
//! Validity is counted on CLOCK_BOOTTIME, which goes on while the machine is suspended:
//! `std::time::Instant` stands still then (rust-lang/rust#87906), and a lease judged by it would
//! look valid after the servers had expired it. Off Linux the clock falls back to `Instant`.
//! Timers are tokio's; whatever they do, validity is judged by [`Clock::now`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::time::Timestamp;

/// The engine's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Boottime,
    /// tokio's clock, which a test may pause: every reading and every timer is then virtual.
    #[cfg(test)]
    Runtime(tokio::time::Instant),
    /// The same on a machine that was suspended: ahead of the timers, which stood still.
    #[cfg(test)]
    Shifted(tokio::time::Instant, Shift),
}

/// How long a test's machine was suspended.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shift(&'static std::sync::atomic::AtomicU64);

#[cfg(test)]
impl Shift {
    pub(crate) fn new() -> Self {
        Self(Box::leak(Box::default()))
    }

    /// The machine sleeps for `span`: clocks go on, timers do not.
    pub(crate) fn suspend(self, span: std::time::Duration) {
        self.0.fetch_add(crate::time::nanos(span), std::sync::atomic::Ordering::SeqCst);
    }

    fn get(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

impl Clock {
    pub(crate) const fn system() -> Self {
        Self { source: Source::Boottime }
    }

    /// A clock that follows the runtime's: for tests with paused time and for simulations.
    #[cfg(test)]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn runtime() -> Self {
        Self { source: Source::Runtime(tokio::time::Instant::now()) }
    }

    /// [`Clock::runtime`] of a machine that `shift` suspends.
    #[cfg(test)]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn shifted(shift: Shift) -> Self {
        Self { source: Source::Shifted(tokio::time::Instant::now(), shift) }
    }

    /// How long the machine has been suspended since it booted, as far as this clock can tell.
    pub(crate) fn suspended(self) -> std::time::Duration {
        match self.source {
            Source::Boottime => suspended(),
            #[cfg(test)]
            Source::Runtime(_) => std::time::Duration::ZERO,
            #[cfg(test)]
            Source::Shifted(_, shift) => shift.get(),
        }
    }

    /// Now. Costs about 26 ns.
    pub(crate) fn now(self) -> Timestamp {
        match self.source {
            Source::Boottime => boottime(),
            #[cfg(test)]
            Source::Runtime(origin) => virtual_time(origin),
            #[cfg(test)]
            Source::Shifted(origin, shift) => virtual_time(origin).plus(shift.get()),
        }
    }
}

#[cfg(test)]
thread_local! {
    static AT_NEXT_READING: std::cell::Cell<Option<Box<dyn FnOnce()>>> =
        const { std::cell::Cell::new(None) };
}

/// Does `what` in the middle of whatever reads a virtual clock of this thread next: what another
/// thread does in that moment.
#[cfg(test)]
pub(crate) fn at_next_reading(what: impl FnOnce() + 'static) {
    AT_NEXT_READING.set(Some(Box::new(what)));
}

#[cfg(test)]
fn virtual_time(origin: tokio::time::Instant) -> Timestamp {
    if let Some(what) = AT_NEXT_READING.take() {
        what();
    }
    let nanos = u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
    // From one second on, so that a test may look back from its first instant.
    Timestamp::from_nanos(nanos.saturating_add(1_000_000_000))
}

#[cfg(target_os = "linux")]
fn boottime() -> Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(target_os = "linux")]
fn suspended() -> std::time::Duration {
    let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(monotonic.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(monotonic.tv_nsec).unwrap_or(0);
    let awake = Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos));
    boottime().since(awake)
}

#[cfg(not(target_os = "linux"))]
fn suspended() -> std::time::Duration {
    std::time::Duration::ZERO
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn boottime() -> Timestamp {
    use std::sync::OnceLock;
    use std::time::Instant;
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let nanos = ORIGIN.get_or_init(Instant::now).elapsed().as_nanos();
    Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// One timer that is set again and again, lazily: it fires at or after the earliest instant asked
/// for since it last fired, and is touched only when an earlier one is asked for.
#[derive(Debug)]
pub(crate) struct Timer {
    clock: Clock,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    armed: Timestamp,
}

impl Timer {
    pub(crate) const fn new(clock: Clock) -> Self {
        Self { clock, sleep: None, armed: Timestamp::MAX }
    }

    /// Asks to be polled at `at`, or earlier. Costs nothing while an earlier alarm stands.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn alarm(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        if at >= self.armed {
            return;
        }
        let span = at.since(self.clock.now());
        let Some(deadline) = tokio::time::Instant::now().checked_add(span) else { return };
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline))),
        }
        self.armed = at;
        if let Some(sleep) = &mut self.sleep
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.armed = Timestamp::MAX;
            cx.waker().wake_by_ref();
        }
    }

    /// When it goes off; [`Timestamp::MAX`] when it is not set.
    pub(crate) const fn armed(&self) -> Timestamp {
        self.armed
    }

    /// Has the alarm gone off? Disarms it. Registers the task otherwise.
    pub(crate) fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(sleep), true) = (&mut self.sleep, self.armed < Timestamp::MAX) else {
            return Poll::Pending;
        };
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.armed = Timestamp::MAX;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_system_clock_moves_forward() {
        let clock = Clock::system();
        let first = clock.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now().since(first) >= Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_fires_at_the_earliest_instant_asked_for() {
        let clock = Clock::runtime();
        let mut timer = Timer::new(clock);
        let start = clock.now();
        std::future::poll_fn(|cx| {
            timer.alarm(start.plus(Duration::from_millis(50)), cx);
            timer.alarm(start.plus(Duration::from_millis(20)), cx);
            timer.alarm(start.plus(Duration::from_millis(90)), cx);
            timer.poll_fired(cx)
        })
        .await;
        let waited = clock.now().since(start);
        assert!((19..=22).contains(&waited.as_millis()), "{waited:?}");
    }
}
