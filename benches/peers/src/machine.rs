//! What a reader needs to judge the figures: machine, versions, command line, date.

use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    load_average: String,
    server: String,
    peers: String,
    build: String,
    command: String,
    date: String,
}

impl Machine {
    pub(crate) fn describe(server: &str) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == "model name").then(|| value.trim().to_owned())
        });
        let load = read("/proc/loadavg");
        Self {
            cpu: cpu.unwrap_or_else(|| env::consts::ARCH.to_owned()),
            cores: thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
            server: server.to_owned(),
            peers: peer_versions(),
            build: if cfg!(debug_assertions) { "DEBUG BUILD: figures are void" } else { "release" }
                .to_owned(),
            command: env::args().collect::<Vec<_>>().join(" "),
            date: date(SystemTime::now()),
        }
    }

    pub(crate) fn text(&self) -> String {
        let Self { cpu, cores, kernel, load_average, server, peers, build, command, date } = self;
        format!(
            "date     {date}\ncommand  {command}\nmachine  {cpu}, {cores} cores, Linux {kernel}, \
             load {load_average} at the start\nserver   {server}, in memory only, on loopback, \
             sharing the cores\npeers    {peers} ({build})\n"
        )
    }
}

fn peer_versions() -> String {
    let lock = include_str!("../Cargo.lock");
    let version = |name: &str| {
        let entry = format!("name = \"{name}\"\nversion = \"");
        lock.split_once(&entry)
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(version, _)| version)
    };
    ["rslock", "redis", "fred", "tokio"]
        .map(|name| format!("{name} {}", version(name).unwrap_or("?")))
        .join(", ")
}

/// UTC, to the minute.
fn date(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02} UTC", day + 1, minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_right_around_leap_days_and_years() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (1_735_689_600, "2025-01-01 00:00 UTC"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn the_lock_file_names_every_peer() {
        assert!(!peer_versions().contains('?'), "{}", peer_versions());
    }
}
