//! Time of the load generator: nanoseconds since boot, suspend included, the same for every process
//! of this machine.

use rustix::time::{ClockId, clock_gettime};

/// Now, on CLOCK_BOOTTIME.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}
