//! A private directory that goes away with its owner.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Removed, with everything in it, on drop.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A fresh directory of mode 700 under the system's temporary directory; shared memory where
    /// there is some, so that the checker's pages are never written to a disk.
    pub(crate) fn new(purpose: &str) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let shm = Path::new("/dev/shm");
        let bases = [shm.to_path_buf(), std::env::temp_dir()];
        let mut last = io::Error::other("no temporary directory");
        for base in bases.iter().filter(|base| base.is_dir()) {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let unique = crate::clock::wall_ns();
            let path =
                base.join(format!("loadgen-{purpose}-{}-{n}-{unique:x}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
