//! The judge of a whole history: one sweep over every name, in the order of grants.

use serde::Serialize;

use crate::history::Record;
use crate::mode::Class;
use crate::workload::Permits;

/// Kept examples of violations.
const MOST_EXAMPLES: usize = 8;

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Sections that overlapped an earlier one which excludes them, each counted once.
    pub(super) violations: u64,
    pub(super) token_violations: u64,
    pub(super) overruns: u64,
    pub(super) keys: u64,
    pub(super) examples: Vec<Example>,
}

/// Two sections that had to exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Example {
    /// The name, by its number.
    pub(super) cell: u32,
    pub(super) held: Hold,
    pub(super) granted: Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Hold {
    pub(super) client: u32,
    pub(super) class: Class,
    pub(super) begin_ns: u64,
    pub(super) end_ns: u64,
    pub(super) token: Option<u64>,
}

impl From<&Record> for Hold {
    fn from(of: &Record) -> Self {
        Self {
            client: of.client,
            class: of.class,
            begin_ns: of.begin_ns,
            end_ns: of.end_ns,
            token: Some(of.token).filter(|&token| token > 0),
        }
    }
}

/// Judges all; as many of a name may be held at once as `permits` says.
pub(super) fn judge(mut records: Vec<Record>, permits: &Permits) -> Found {
    let mut found = Found::default();
    let mut late: Vec<(u32, u64)> = records
        .iter()
        .filter(|record| record.overran)
        .map(|record| (record.client, record.generation))
        .collect();
    late.sort_unstable();
    late.dedup();
    found.overruns = late.len() as u64;
    records.sort_unstable_by_key(|record| (record.cell, record.begin_ns, record.end_ns));
    let mut accused: Vec<(u32, u64)> = Vec::new();
    for name in records.chunk_by(|a, b| a.cell == b.cell) {
        found.keys += 1;
        let permits = name.first().map_or(usize::MAX, |of| permits.at(of.cell.into()));
        sweep(name, permits, &mut found, &mut accused);
    }
    // A section of several names is one violation.
    accused.sort_unstable();
    accused.dedup();
    found.violations = accused.len() as u64;
    found
}

/// One name, its records by their begins.
fn sweep(name: &[Record], permits: usize, found: &mut Found, accused: &mut Vec<(u32, u64)>) {
    let mut inside: Vec<&Record> = Vec::new();
    // Of sections that have ended.
    let mut highest = 0;
    for record in name {
        inside.retain(|other| {
            let goes_on = other.end_ns > record.begin_ns;
            highest = highest.max(if goes_on { 0 } else { other.token });
            goes_on
        });
        let same = inside.iter().any(|other| other.token == record.token);
        if record.token > 0 && (record.token <= highest || same) {
            found.token_violations += 1;
        }
        // What has no length overlaps nothing.
        if record.end_ns > record.begin_ns {
            let excluded = inside.iter().find(|other| other.class.excludes(record.class)).copied();
            let held = inside.iter().filter(|other| other.class == Class::Permit).count();
            let full = record.class == Class::Permit && held >= permits;
            let held = excluded.or_else(|| inside.first().copied().filter(|_| full));
            if let Some(held) = held {
                accused.push((record.client, record.generation));
                if found.examples.len() < MOST_EXAMPLES {
                    let (held, granted) = (held.into(), record.into());
                    found.examples.push(Example { cell: record.cell, held, granted });
                }
            }
        }
        inside.push(record);
    }
}
