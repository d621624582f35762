//! The clock of the generator: nanoseconds of CLOCK_BOOTTIME, comparable across the processes of
//! one host, and the sleeps built on it.
//!
//! Invariants:
//! 1. Every instant in a report comes from [`now_ns`]; wall time is only used to name and date
//!    runs.
//! 2. Nothing here spins.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

pub(crate) const NS_PER_US: u64 = 1_000;
pub(crate) const NS_PER_MS: u64 = 1_000_000;
pub(crate) const NS_PER_S: u64 = 1_000_000_000;

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(NS_PER_S).saturating_add(rest)
}

/// Now, on the clock that all processes of this host share and that counts suspend.
pub(crate) fn now_ns() -> u64 {
    nanos(clock_gettime(ClockId::Boottime))
}

/// CPU time this process has used.
pub(crate) fn cpu_ns() -> u64 {
    nanos(clock_gettime(ClockId::ProcessCPUTime))
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn wall_ns() -> u64 {
    nanos(clock_gettime(ClockId::Realtime))
}

/// Blocks this thread until `deadline_ns`; returns at once if it has passed.
pub(crate) fn sleep_until(deadline_ns: u64) {
    loop {
        let now = now_ns();
        if now >= deadline_ns {
            return;
        }
        std::thread::sleep(Duration::from_nanos(deadline_ns - now));
    }
}

/// Asks the kernel to wake this thread as close to its deadlines as it can (the default slack is
/// 50 us). Only a quality setting, so a refusal is ignored.
pub(crate) fn sharpen_timers() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// A date of the proleptic Gregorian calendar in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Utc {
    year: u64,
    month: u64,
    day: u64,
    second_of_day: u64,
    milli: u64,
}

impl Utc {
    /// The date of `unix_ns`. Days to dates after Howard Hinnant, "chrono-compatible low-level date
    /// algorithms", civil_from_days; every value is non-negative here.
    pub(crate) fn from_unix_ns(unix_ns: u64) -> Self {
        let seconds = unix_ns / NS_PER_S;
        let days = seconds / 86_400 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            second_of_day: seconds % 86_400,
            milli: unix_ns % NS_PER_S / NS_PER_MS,
        }
    }

    /// Reads what [`Utc::iso`] writes, in nanoseconds since the Unix epoch. Dates to days after
    /// Howard Hinnant, as above, days_from_civil.
    pub(crate) fn parse_iso(text: &str) -> Option<u64> {
        let numbers: Vec<u64> = text
            .strip_suffix('Z')?
            .split(['-', 'T', ':', '.'])
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()?;
        let &[year, month, day, h, m, s, milli] = numbers.as_slice() else { return None };
        let is_date = (1970..10_000).contains(&year) && (1..=12).contains(&month);
        if !is_date || !(1..=31).contains(&day) || h > 23 || m > 59 || s > 60 || milli > 999 {
            return None;
        }
        let year = year - u64::from(month <= 2);
        let (era, year_of_era) = (year / 400, year % 400);
        let shifted = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
        let seconds = days * 86_400 + h * 3_600 + m * 60 + s;
        Some(seconds * NS_PER_S + milli * NS_PER_MS)
    }

    /// `2026-11-23T12:49:03.120Z`
    pub(crate) fn iso(self) -> String {
        let (h, m, s) = self.hms();
        let Self { year, month, day, milli, .. } = self;
        format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{milli:03}Z")
    }

    /// `2026-11-23T12-49-03Z`: the same without characters that file names dislike.
    pub(crate) fn file_stem(self) -> String {
        let (h, m, s) = self.hms();
        let Self { year, month, day, .. } = self;
        format!("{year:04}-{month:02}-{day:02}T{h:02}-{m:02}-{s:02}Z")
    }

    fn hms(self) -> (u64, u64, u64) {
        (self.second_of_day / 3_600, self.second_of_day / 60 % 60, self.second_of_day % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_match_the_calendar() {
        assert_eq!(Utc::from_unix_ns(0).iso(), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            Utc::from_unix_ns(951_782_400 * NS_PER_S + 120_000_000).iso(),
            "2000-02-29T00:00:00.120Z"
        );
        assert_eq!(Utc::from_unix_ns(1_795_438_143 * NS_PER_S).file_stem(), "2026-11-23T12-49-03Z");
    }

    #[test]
    fn a_deadline_in_the_past_returns_at_once_and_a_future_one_is_reached() {
        sleep_until(0);
        let deadline = now_ns() + NS_PER_MS;
        sleep_until(deadline);
        assert!(now_ns() >= deadline);
    }
}
