//! Keeps the CPUs from halting: on a virtual machine a halting CPU adds about 15 us to a wake-up,
//! which at one task is most of what would be measured.
//!
//! One spinner per core at SCHED_IDLE, so that anything else runs before it.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, hint, thread};

use rustix::process::getppid;

use crate::Result;
use crate::children::{self, Owned};

pub(crate) fn start() -> Result<Vec<Owned>> {
    if !children::works("chrt", &["-i", "0", "true"]) {
        return Err("--spin needs `chrt -i` (package util-linux)".into());
    }
    let program = env::current_exe()?.display().to_string();
    let args = ["-i".to_owned(), "0".to_owned(), program, "spin".to_owned()];
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (0..cores).map(|_| Ok(children::spawn(&PathBuf::from("chrt"), &args)?)).collect()
}

/// The spinner itself: until its parent is gone.
pub(crate) fn spin() -> Result<bool> {
    let parent = getppid();
    while getppid() == parent {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(10) {
            hint::spin_loop();
        }
    }
    Ok(true)
}
