//! Memory that the checker shares between the processes of a run: a file mapped as 64-bit atomics.
//! What is written there, and what it proves, is in [`judge`].
//!
//! This is the only file of the crate with `unsafe` code, two expressions: the mapping and the
//! slice over it.
//!
//! Safety invariants:
//! 1. The mapping is made once, at least as long as the slice, page-aligned and writable, and is
//!    unmapped only in [`Drop`], after which no reference to the slice exists (they borrow `Self`).
//! 2. Every access goes through `AtomicU64`, in all processes, so there are no data races.
//! 3. The file is created by us with its final length in a directory of ours and never truncated,
//!    so touching the mapping cannot fault.
#![allow(unsafe_code)]

pub(crate) mod judge;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A file of zeroed words, shared by every process that maps it.
#[derive(Debug)]
pub(crate) struct SharedWords {
    start: *mut core::ffi::c_void,
    words: usize,
}

// SAFETY: the pointer is only ever used as `&[AtomicU64]` (invariant 2), which is `Send` and
// `Sync`, and the mapping belongs to the process, not to a thread.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Creates `path`, which must not exist, with `words` zeroed words.
    pub(crate) fn create(path: &Path, words: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.set_len(Self::bytes(words)?)?;
        Self::map(&file, words)
    }

    /// Maps the file that another process created with as many words.
    pub(crate) fn open(path: &Path, words: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() != Self::bytes(words)? {
            return Err(io::Error::other(format!("{} has another size", path.display())));
        }
        Self::map(&file, words)
    }

    fn bytes(words: usize) -> io::Result<u64> {
        let bytes = words.checked_mul(size_of::<u64>()).and_then(|b| u64::try_from(b).ok());
        bytes
            .filter(|bytes| (1..=1 << 36).contains(bytes))
            .ok_or_else(|| io::Error::other(format!("{words} words cannot be shared")))
    }

    fn map(file: &File, words: usize) -> io::Result<Self> {
        let length = words * size_of::<u64>();
        // SAFETY: a fresh mapping at an address of the kernel's choosing aliases nothing of ours;
        // `length` is not 0 and is the file's length (invariants 1 and 3).
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        Ok(Self { start, words })
    }

    /// The words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping holds `words` aligned words for as long as `self` lives (invariant
        // 1), every bit pattern is a valid AtomicU64, and all access is atomic (invariant 2).
        unsafe { std::slice::from_raw_parts(self.start.cast::<AtomicU64>(), self.words) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no borrow of it outlives `self` (invariant 1).
        let _ = unsafe { munmap(self.start, self.words * size_of::<u64>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_see_each_other_and_sizes_are_checked() {
        let dir = crate::scratch::Scratch::new("words").unwrap();
        let path = dir.path().join("cells");
        let a = SharedWords::create(&path, 1_000).unwrap();
        let b = SharedWords::open(&path, 1_000).unwrap();
        a.words()[999].store(7, Ordering::Release);
        assert_eq!(b.words()[999].load(Ordering::Acquire), 7);
        assert!(SharedWords::open(&path, 999).is_err());
        assert!(SharedWords::create(&path, 1_000).is_err(), "an existing file is not reused");
        assert!(SharedWords::create(&dir.path().join("none"), 0).is_err());
    }
}
