//! Writing a process's part of the history while the run goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Keep, NEAR_FAULT_NS, PROCESS_BYTES, Record, SAMPLED, STOPPED, WHOLE_BYTES};
use crate::clock;
use crate::config::RunConfig;
use crate::mode::Class;
use crate::num;
use crate::values;

/// Records are written in pieces of this size.
const PIECE: usize = 1 << 16;

/// Where a process writes.
#[derive(Debug)]
pub(crate) struct Writer {
    keep: Keep,
    /// Of the faults, widened, since the measured start.
    windows: Vec<(i128, i128)>,
    out: Mutex<Out>,
}

#[derive(Debug)]
struct Out {
    file: File,
    pending: Vec<u8>,
    /// How much may still be written; 0 after the mark.
    room: u64,
}

impl Writer {
    /// A file of this process's own beside `cells`; `None` if the run keeps no history.
    pub(crate) fn beside(cells: &Path, config: &RunConfig) -> io::Result<Option<Self>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if config.history == Keep::None {
            return Ok(None);
        }
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = cells.with_file_name(format!("history-{}-{n}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let room = PROCESS_BYTES.min(WHOLE_BYTES / u64::from(config.processes.max(1)));
        let windows = config.faults.iter().filter_map(|fault| window(fault)).collect();
        let out = Mutex::new(Out { file, pending: Vec::with_capacity(PIECE), room });
        Ok(Some(Self { keep: config.history, windows, out }))
    }

    /// Whether a section that takes `cells` at `begin_ns` is kept, in a run whose measured time
    /// starts at `measured_ns`.
    pub(crate) fn keeps(
        &self,
        mut cells: impl Iterator<Item = u64>,
        begin_ns: u64,
        measured_ns: u64,
    ) -> bool {
        let at = i128::from(begin_ns) - i128::from(measured_ns);
        self.keep == Keep::Full
            || cells.any(|cell| cell.is_multiple_of(SAMPLED))
            || self.windows.iter().any(|&(from, to)| (from..to).contains(&at))
    }

    fn append(&self, records: impl Iterator<Item = Record>) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            out.push(record);
        }
    }

    /// Writes out what is pending; the last word before a process reports its end.
    pub(crate) fn flush(&self) {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

impl Out {
    fn push(&mut self, record: Record) {
        let size = super::RECORD_BYTES as u64;
        if self.room == 0 {
            return;
        }
        // The last place is the mark's.
        if self.room < 2 * size {
            self.pending.extend(stopped(record.end_ns).to_bytes());
            self.room = 0;
            return self.flush();
        }
        self.room -= size;
        self.pending.extend(record.to_bytes());
        if self.pending.len() >= PIECE {
            self.flush();
        }
    }

    /// A full disk ends the history, and not the run; the count of sections shows that it did.
    fn flush(&mut self) {
        if self.file.write_all(&self.pending).is_err() {
            self.room = 0;
        }
        self.pending.clear();
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.flush();
    }
}

fn stopped(at_ns: u64) -> Record {
    Record {
        cell: STOPPED,
        client: 0,
        class: Class::Exclusive,
        overran: false,
        generation: 0,
        begin_ns: at_ns,
        end_ns: at_ns,
        token: 0,
    }
}

/// From 2 s before a fault to 2 s after its end, by its text: KIND@START, KIND@START/LENGTH.., or
/// `None` for one that says no time.
fn window(fault: &str) -> Option<(i128, i128)> {
    let (_, times) = fault.split_once('@')?;
    let times = times.split([':', ',']).next()?;
    let (start, length) = times.split_once('/').unwrap_or((times, "0"));
    let start = i128::from(values::duration(start).ok()?);
    let length = i128::from(values::duration(length).ok()?);
    let near = i128::from(NEAR_FAULT_NS);
    Some((start - near, start + length + near))
}

/// A section under way that is kept. Dropped without [`Note::left`], it ends at that instant.
#[derive(Debug)]
pub(crate) struct Note<'a> {
    writer: &'a Writer,
    /// Of its names.
    parts: Vec<(u64, Class)>,
    client: u32,
    generation: u64,
    token: u64,
    begin_ns: u64,
    /// The end of its validity, as known at its grant.
    valid_ns: u64,
    written: bool,
}

impl<'a> Note<'a> {
    pub(crate) fn new(
        writer: &'a Writer,
        parts: Vec<(u64, Class)>,
        (client, generation, token): (u32, u64, u64),
        (begin_ns, valid_ns): (u64, u64),
    ) -> Self {
        Self { writer, parts, client, generation, token, begin_ns, valid_ns, written: false }
    }

    /// Its release is about to be called; `in_time`: it was valid until then.
    pub(crate) fn left(mut self, asked_ns: u64, in_time: bool) {
        self.write(asked_ns, in_time);
    }

    fn write(&mut self, asked_ns: u64, in_time: bool) {
        self.written = true;
        // A renewed lock is valid for longer than was known when it was granted.
        let end_ns = if in_time { asked_ns } else { asked_ns.min(self.valid_ns) };
        let record = |&(cell, class): &(u64, Class)| Record {
            cell: num::u32_of(cell),
            client: self.client,
            class,
            overran: !in_time,
            generation: self.generation,
            begin_ns: self.begin_ns,
            end_ns: end_ns.max(self.begin_ns),
            token: self.token,
        };
        self.writer.append(self.parts.iter().map(record));
    }
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        if !self.written {
            self.write(clock::now_ns(), false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NS_PER_S;
    use crate::scratch::Scratch;

    #[test]
    fn a_process_has_its_part_of_the_whole_and_64_mib_at_most() {
        let dir = Scratch::new("room").unwrap();
        let room = |processes| {
            let config = RunConfig { history: Keep::Full, processes, ..RunConfig::for_tests() };
            let writer = Writer::beside(&dir.path().join("cells"), &config).unwrap().unwrap();
            writer.out.lock().unwrap().room
        };
        assert_eq!([1, 4, 64].map(room), [64 << 20, 64 << 20, 4 << 20]);
    }

    #[test]
    fn faults_tell_when_they_are() {
        let s = i128::from(NS_PER_S);
        assert_eq!(window("kill@4s/3s"), Some((2 * s, 9 * s)));
        assert_eq!(window("latency@5s/3s:minority,delay=20ms"), Some((3 * s, 10 * s)));
        assert_eq!(window("flush@1s:node=2"), Some((-s, 3 * s)));
        assert_eq!(window("flush@1s,x=1"), Some((-s, 3 * s)));
        assert_eq!((window("kill"), window("kill@x")), (None, None));
    }
}
