//! The list of local clusters on disk: one JSON file per cluster,
//! `$XDG_RUNTIME_DIR/loadgen/ID.json`.
//!
//! It is how a second terminal finds a cluster, and the last layer against orphans: an entry whose
//! owner is gone is reaped by the next start or by `nodes down --all`.
//!
//! Invariants:
//! 1. Files change by rename under one lock: a reader never sees half an entry.
//! 2. What an entry says is checked before it is acted on: processes by start time, directories by
//!    name and owner. Entries of another pid namespace are left alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::process::{ProcId, ProcState};
use super::server::Server;
use super::{Persist, Transport};

const MAX_ENTRY_BYTES: u64 = 1 << 20;
const DIR_PREFIX: &str = "loadgen-nodes-";
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Who ends a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owner {
    /// This process, at its end.
    Process(ProcId),
    /// Nobody, until `nodes down`.
    Kept,
}

/// Where pids and start times mean anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    boot_id: String,
    pid_namespace: String,
}

impl Scope {
    pub(crate) fn here() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            boot_id: boot_id.trim().to_owned(),
            pid_namespace: namespace.to_string_lossy().into_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeEntry {
    /// From 0; shown to people from 1.
    pub(crate) index: usize,
    pub(crate) dir: PathBuf,
    /// `None`: a unix socket only.
    pub(crate) port: Option<u16>,
    pub(crate) process: Option<ProcId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) scope: Scope,
    pub(crate) owner: Owner,
    pub(crate) dir: PathBuf,
    pub(crate) server: Server,
    pub(crate) transport: Transport,
    pub(crate) persist: Persist,
    pub(crate) nodes: Vec<NodeEntry>,
}

impl Entry {
    pub(crate) fn is_orphan(&self) -> bool {
        matches!(self.owner, Owner::Process(owner) if owner.is_gone())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} '{path}': {source}")]
pub(crate) struct RegistryError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> RegistryError {
    move |source| RegistryError { doing, path: path.to_owned(), source }
}

#[derive(Clone, Debug)]
pub(crate) struct Registry {
    dir: PathBuf,
}

impl Registry {
    /// `$XDG_RUNTIME_DIR/loadgen`, or a directory of this user below the temporary one.
    pub(crate) fn open() -> Result<Self, RegistryError> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        match runtime.filter(|dir| dir.is_absolute() && dir.is_dir()) {
            Some(runtime) => Self::open_in(&runtime.join("loadgen")),
            None => {
                let user = rustix::process::getuid().as_raw();
                Self::open_in(&std::env::temp_dir().join(format!("loadgen-{user}")))
            }
        }
    }

    pub(crate) fn open_in(dir: &Path) -> Result<Self, RegistryError> {
        private_dir(dir).map_err(failed("use the registry directory", dir))?;
        Ok(Self { dir: dir.to_owned() })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn ports_dir(&self) -> PathBuf {
        self.dir.join("ports")
    }

    pub(crate) fn path_of(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    /// Every readable entry of this machine and pid namespace, in the order of their ids. Entries
    /// of an earlier boot describe nothing that runs; they are left to [`Registry::reap`].
    pub(crate) fn list(&self) -> Result<Vec<Entry>, RegistryError> {
        let here = Scope::here();
        let mut entries = self.all()?;
        entries.retain(|entry| entry.scope == here);
        Ok(entries)
    }

    fn all(&self) -> Result<Vec<Entry>, RegistryError> {
        let files = fs::read_dir(&self.dir).map_err(failed("list", &self.dir))?;
        let mut entries: Vec<Entry> = files
            .flatten()
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .filter_map(|path| read(&path).filter(|entry| self.path_of(&entry.id) == path))
            .collect();
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(entries)
    }

    pub(crate) fn get(&self, id: &str) -> Option<Entry> {
        read(&self.path_of(id))
    }

    pub(crate) fn insert(&self, entry: &Entry) -> Result<(), RegistryError> {
        let _lock = self.lock()?;
        self.write(entry)
    }

    /// Changes one entry; true if it is there.
    pub(crate) fn update(
        &self,
        id: &str,
        change: impl FnOnce(&mut Entry),
    ) -> Result<bool, RegistryError> {
        let _lock = self.lock()?;
        let Some(mut entry) = self.get(id) else { return Ok(false) };
        change(&mut entry);
        self.write(&entry)?;
        Ok(true)
    }

    /// Ends what `entry` lists as it is on disk now, removes its directory and the entry itself.
    pub(crate) fn take_down(&self, entry: &Entry) -> Result<(), RegistryError> {
        let _lock = self.lock()?;
        self.take_down_locked(entry)
    }

    fn take_down_locked(&self, entry: &Entry) -> Result<(), RegistryError> {
        let path = self.path_of(&entry.id);
        let current = self.get(&entry.id);
        let entry = current.as_ref().unwrap_or(entry);
        if entry.scope == Scope::here() {
            let processes: Vec<_> = entry.nodes.iter().filter_map(|node| node.process).collect();
            end_all(&processes).map_err(failed("end the nodes of", &path))?;
        }
        remove_cluster_dir(&entry.dir).map_err(failed("remove", &entry.dir))?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Takes down every cluster whose owner is gone; their ids.
    pub(crate) fn reap(&self) -> Result<Vec<String>, RegistryError> {
        let _lock = self.lock()?;
        let here = Scope::here();
        let mut reaped = Vec::new();
        for entry in self.all()? {
            let earlier_boot = entry.scope.boot_id != here.boot_id;
            if earlier_boot || (entry.scope == here && entry.is_orphan()) {
                self.take_down_locked(&entry)?;
                reaped.push(entry.id);
            }
        }
        Ok(reaped)
    }

    fn write(&self, entry: &Entry) -> Result<(), RegistryError> {
        let path = self.path_of(&entry.id);
        let temporary = path.with_extension("new");
        let text = serde_json::to_vec_pretty(entry).map_err(io::Error::from);
        text.and_then(|text| fs::write(&temporary, text))
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(failed("write", &path))
    }

    fn lock(&self) -> Result<File, RegistryError> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(failed("open", &path))?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| failed("lock", &path)(error.into()))?;
        Ok(file)
    }
}

/// An unreadable file is somebody else's or of another version: nothing to act on.
fn read(path: &Path) -> Option<Entry> {
    let size = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?.len();
    let text = (size <= MAX_ENTRY_BYTES).then(|| fs::read(path).ok())??;
    serde_json::from_slice(&text).ok()
}

/// SIGKILL, also for stopped processes, and wait until all are gone.
pub(crate) fn end_all(processes: &[ProcId]) -> io::Result<()> {
    let mut result = Ok(());
    for process in processes {
        if let Err(error) = process.signal(Signal::KILL) {
            result = Err(error);
        }
    }
    for process in processes {
        if !process.wait_for(ProcState::Gone, KILL_LIMIT) {
            let text = format!("pid {} is still there 5 s after SIGKILL", process.pid());
            result = Err(io::Error::other(text));
        }
    }
    result
}

/// A new directory for a cluster's files, readable by this user only.
pub(crate) fn create_cluster_dir(id: &str) -> io::Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("{DIR_PREFIX}{id}"));
    DirBuilder::new().mode(0o700).create(&dir)?;
    Ok(dir)
}

/// Removes `dir` if it has the name and the owner of a cluster's directory; gone already is fine.
pub(crate) fn remove_cluster_dir(dir: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let name = dir.file_name().unwrap_or_default().as_encoded_bytes();
    let ours = metadata.is_dir()
        && metadata.uid() == rustix::process::getuid().as_raw()
        && name.starts_with(DIR_PREFIX.as_bytes());
    if !ours {
        return Err(io::Error::other("it is not a cluster's directory"));
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn private_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(dir)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::other("it is not a directory of this user"));
    }
    Ok(())
}
