//! The history of a run: who held what from when to when, for `loadgen check` to judge again.
//!
//! Every process writes its own file in the run's private directory, which the parent opens before
//! that directory goes away and puts together at the end. So nothing is left behind, and what a
//! killed process had written is kept.
//!
//! `history.bin`: 8 bytes of [`MAGIC`], the length of the head (u32), the head (JSON), then records
//! of [`RECORD_BYTES`] in no order; all little-endian.
//!
//! Invariants:
//! 1. Bounded: [`PROCESS_BYTES`] per process, [`WHOLE_BYTES`] in all; then a process writes one
//!    mark that it stopped, and nothing more.
//! 2. A section is kept or not as a whole, on all its names, and whether it is depends on the names
//!    and the time alone: the sections of a name that is kept are all there.
//! 3. Without a history nothing is allocated, locked or written.

mod file;
mod writer;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::mode::Class;

pub(crate) use file::{Files, Head, History, Online, read};
pub(crate) use writer::{Note, Writer};

pub(crate) const MAGIC: [u8; 8] = *b"LGHIST1\n";
pub(crate) const RECORD_BYTES: usize = 40;
/// What one process writes at most.
const PROCESS_BYTES: u64 = 64 << 20;
/// What all processes of a run write at most.
const WHOLE_BYTES: u64 = 256 << 20;
/// Of the names, one in so many is kept in a sample; always the first, which skewed loads like
/// most.
const SAMPLED: u64 = 64;
/// Around a fault everything is kept.
const NEAR_FAULT_NS: u64 = 2 * crate::clock::NS_PER_S;

/// `--history`. No documentation of single values, as in `args`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Keep {
    #[default]
    None,
    // Every 64th name, and everything within 2 s of a fault.
    Sampled,
    Full,
}

/// How the checker works.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct CheckerArgs {
    /// Keep the sections in history.bin for `loadgen check`: sampled (every 64th name, and all
    /// within 2 s of a fault) or full; at most 64 MiB per process
    #[arg(long, value_name = "WHAT", default_value = "none", help_heading = "Verdict")]
    pub(crate) history: Keep,
    /// Exclusion counts also where the faults break what quorum locks assume (a majority of nodes
    /// that forget their locks); otherwise that is reported as expected
    #[arg(long, help_heading = "Verdict")]
    pub(crate) strict: bool,
    /// Look from outside, 20 times a second, whether a quorum of nodes holds what the library says
    /// is held, else exit 4: two reads of up to 16 names on every node each time, over connections
    /// of its own; one more lock per process before the start
    #[arg(long, help_heading = "Verdict")]
    pub(crate) witness: bool,
}

/// One section's hold of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The name, by its place among the checker's cells.
    pub(crate) cell: u32,
    pub(crate) client: u32,
    pub(crate) class: Class,
    /// It worked on after its validity had ended.
    pub(crate) overran: bool,
    /// Counts the client's grants from 1.
    pub(crate) generation: u64,
    pub(crate) begin_ns: u64,
    /// Released, or no longer valid.
    pub(crate) end_ns: u64,
    /// 0: none.
    pub(crate) token: u64,
}

/// A mark in the place of a name: the process kept nothing that ended after this instant.
const STOPPED: u32 = u32::MAX;

impl Record {
    fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let words = [
            u64::from(self.cell) | u64::from(self.client) << 32,
            // A client's grants in one run are far below 2^48.
            self.generation << 16 | u64::from(self.overran) << 8 | self.class.code(),
            self.begin_ns,
            self.end_ns,
            self.token,
        ];
        let mut bytes = [0; RECORD_BYTES];
        for (to, from) in bytes.chunks_mut(8).zip(words) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Self {
        let mut words = [0_u64; 5];
        for (to, from) in words.iter_mut().zip(bytes.chunks(8)) {
            *to = from.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        let [who, what, begin_ns, end_ns, token] = words;
        Self {
            cell: crate::num::u32_of(who & u64::from(u32::MAX)),
            client: crate::num::u32_of(who >> 32),
            class: Class::from_code(what & 0xFF),
            overran: what >> 8 & 1 == 1,
            generation: what >> 16,
            begin_ns,
            end_ns,
            token,
        }
    }
}

#[cfg(test)]
mod tests;
