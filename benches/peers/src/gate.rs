//! Where the processes of a cell wait for each other: connected and checked, they begin at the
//! same moment, so that their windows are one.
//!
//! A process says `ready` on its standard output; its parent answers with the moment, in
//! nanoseconds of the clock that all processes share.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::Result;

pub(crate) const READY: &str = "ready";

/// From the parent's word to the beginning: time enough for the word to reach every process.
pub(crate) const HEADROOM: Duration = Duration::from_millis(50);

/// A moment of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        Self(Duration::new(now.tv_sec as u64, now.tv_nsec as u32))
    }

    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }

    /// As one line of the parent.
    pub(crate) fn line(self) -> String {
        format!("{}\n", self.0.as_nanos())
    }

    fn parse(line: &str) -> Result<Self> {
        Ok(Self(Duration::from_nanos(line.trim().parse()?)))
    }

    pub(crate) fn wait(self) {
        thread::sleep(self.0.saturating_sub(Self::now().0));
    }
}

/// Says that this process is ready, and answers when it and the others begin.
pub(crate) fn pass() -> Result<Moment> {
    println!("{READY}");
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let begin = Moment::parse(&line).map_err(|_| "the run gave no moment to begin at")?;
    begin.wait();
    Ok(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_its_line() {
        let moment = Moment::now().after(HEADROOM);
        assert_eq!(Moment::parse(&moment.line()).unwrap(), moment);
        assert!(Moment::parse("").is_err());
    }
}
