//! How long a lock is held: exact to tens of microseconds, without a busy core.
//!
//! A timer of the kernel read through the runtime's own poll. The runtime's timer rounds up to
//! whole milliseconds, and a loop would take a core from the servers and from the other processes.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::{Errno, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::Result;

/// One task's timer; nothing at all for a hold of 0.
#[derive(Debug)]
pub(crate) struct Hold(Option<(AsyncFd<OwnedFd>, Duration)>);

impl Hold {
    /// To be called within a runtime.
    pub(crate) fn new(duration: Duration) -> Result<Self> {
        if duration.is_zero() {
            return Ok(Self(None));
        }
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd is all that it asks for"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self(Some((timer, duration))))
    }

    pub(crate) async fn wait(&self) -> Result<()> {
        let Some((timer, duration)) = &self.0 else { return Ok(()) };
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: duration.as_secs() as i64,
                tv_nsec: i64::from(duration.subsec_nanos()),
            },
        };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = timer.readable().await?;
            match read(timer, &mut [0; 8]) {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
