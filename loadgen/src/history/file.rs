//! `history.bin` as a whole: put together at the end of a run, and read back.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{MAGIC, RECORD_BYTES, Record, STOPPED, WHOLE_BYTES};
use crate::config::RunConfig;
use crate::oracle::judge::Findings;
use crate::report::RunResult;
use crate::verdict::Safety;

/// A head is a run's settings and a few counts.
const MOST_HEAD: u32 = 1 << 20;
const MOST_FILES: usize = 64;

/// What is known of the run whose history this is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) config: RunConfig,
    /// The nodes it had.
    pub(crate) nodes: usize,
    pub(crate) measured_ns: u64,
    pub(crate) online: Online,
}

impl Head {
    /// Of a finished run, whose nodes are written without their secrets.
    pub(crate) fn of(run: &RunResult) -> Self {
        let verdict = &run.verdict;
        Self {
            config: run.config.clone(),
            nodes: run.config.nodes.len(),
            measured_ns: run.measured_ns,
            online: Online::new(verdict.safety, verdict.fencing, &run.findings),
        }
    }
}

/// What the checker said while the run went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Online {
    pub(crate) safety: Safety,
    pub(crate) fencing: Option<Safety>,
    pub(crate) sections: u64,
    pub(crate) violations: u64,
    /// Found by the plain counters alone, which are not in the history.
    pub(crate) by_counters: bool,
    pub(crate) token_violations: u64,
    pub(crate) overruns: u64,
}

impl Online {
    pub(crate) fn new(safety: Safety, fencing: Option<Safety>, findings: &Findings) -> Self {
        Self {
            safety,
            fencing,
            sections: findings.sections,
            violations: findings.violations,
            by_counters: findings.lost_updates > 0 || findings.torn_reads > 0,
            token_violations: findings.tokens.violations,
            overruns: findings.overruns,
        }
    }
}

/// The processes' files, open.
#[derive(Debug, Default)]
pub(crate) struct Files(Vec<File>);

impl Files {
    /// Opens what the processes of a run write in `dir`, which may go away then.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let is_history = entry.file_name().to_string_lossy().starts_with("history-");
            if is_history && files.len() < MOST_FILES {
                files.push(File::open(entry.path())?);
            }
        }
        Ok(Self(files))
    }

    /// Puts them together as `path`. Call when the processes have ended.
    pub(crate) fn write(mut self, path: &Path, head: &Head) -> io::Result<()> {
        let head = serde_json::to_vec(head)?;
        let length = u32::try_from(head.len()).ok().filter(|&length| length <= MOST_HEAD);
        let length = length.ok_or_else(|| io::Error::other("the run's settings are too long"))?;
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&MAGIC)?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&head)?;
        for file in &mut self.0 {
            file.seek(SeekFrom::Start(0))?;
            // A process that was killed can have left half a record.
            let whole = file.metadata()?.len() / RECORD_BYTES as u64 * RECORD_BYTES as u64;
            io::copy(&mut file.take(whole), &mut out)?;
        }
        out.flush()
    }
}

/// A history, read back.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) head: Head,
    pub(crate) records: Vec<Record>,
    /// When processes stopped keeping sections, if some did.
    pub(crate) stopped_ns: Option<u64>,
}

/// Reads `path`.
pub(crate) fn read(path: &Path) -> io::Result<History> {
    let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let file = File::open(path)?;
    if file.metadata()?.len() > WHOLE_BYTES + u64::from(MOST_HEAD) + 64 {
        return Err(bad("it is larger than any history"));
    }
    let mut from = BufReader::new(file);
    let mut magic = [0; 8];
    let mut length = [0; 4];
    let is_one = from.read_exact(&mut magic).is_ok() && magic == MAGIC;
    if !is_one || from.read_exact(&mut length).is_err() {
        return Err(bad("it is no history of loadgen"));
    }
    let length = u32::from_le_bytes(length);
    if length > MOST_HEAD {
        return Err(bad("its head is too long"));
    }
    let mut head = Vec::new();
    from.by_ref().take(length.into()).read_to_end(&mut head)?;
    let head: Head = serde_json::from_slice(&head)
        .map_err(|error| bad(&format!("its head cannot be read: {error}")))?;
    let mut history = History { head, records: Vec::new(), stopped_ns: None };
    let mut bytes = [0; RECORD_BYTES];
    loop {
        match from.read(&mut bytes)? {
            0 => return Ok(history),
            n => {
                let rest = bytes.get_mut(n..).unwrap_or_default();
                from.read_exact(rest).map_err(|_| bad("it ends inside a record"))?;
            }
        }
        let record = Record::from_bytes(&bytes);
        if record.end_ns < record.begin_ns {
            return Err(bad("a section in it ends before it begins"));
        }
        if record.cell == STOPPED {
            let at = record.end_ns;
            history.stopped_ns = Some(history.stopped_ns.map_or(at, |before| before.min(at)));
        } else {
            history.records.push(record);
        }
    }
}
