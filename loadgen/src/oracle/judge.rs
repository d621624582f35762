//! The judge of mutual exclusion, online and across processes.
//!
//! The *must-hold interval* of a section runs from the instant its guard was returned to the
//! earlier of the instant its release was called and the end of its validity, on one clock for all
//! processes. Two overlapping must-hold intervals on one name are a violation: sound, because a
//! section with an unknown outcome has no interval, and what a client does after its validity ended
//! is counted apart, as an overrun.
//!
//! A second, independent check: every section reads a plain counter of its name when it begins and
//! writes that value plus one when it ends. Every lost update is two sections that overlapped.
//!
//! Invariants:
//! 1. A name's holder word changes by one swap per grant; whoever swaps out a holder that has not
//!    released judges the pair, or, if that holder's validity was longer than it knew at its grant
//!    (a renewal), the holder does when it finds itself replaced. Each section is judged at most
//!    once.
//! 2. The holder word is marked released before the release is sent, so a lawful successor never
//!    sees an unreleased predecessor that is still valid.
//! 3. A pair whose intervals can no longer be read is counted as unresolved, never ignored.
#![forbid(unsafe_code)]

mod crowd;
mod fencing;
mod findings;
mod gaps;
mod handovers;
mod held;
mod lengths;
mod section;
mod steady;
mod waits;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::SharedWords;
use crate::config::RunConfig;
use crate::history::Writer;
use crate::mode::Class;
use crate::num;
use crate::workload::Permits;

pub(crate) use fencing::Tokens;
use gaps::GRAIN_NS;
pub(crate) use handovers::{Grants, Handover};
pub(crate) use section::{Entry, Inside};
pub(crate) use steady::Holder;
use waits::WAIT_WORDS;
pub(crate) use waits::Waits;

const HEADER: usize = 16;
const VIOLATIONS: usize = 0;
const UNRESOLVED: usize = 1;
const OVERRUNS: usize = 2;
const GRANTS: usize = 3;
// The others belong to `gaps`, `fencing` and `handovers`.

const RECORDS: usize = 16;
const RECORD_WORDS: usize = 8;
const CELL_WORDS: usize = 8;
const RECENT: u64 = 8;
const SECTION_WORDS: usize = 7;
const SLOT_WORDS: usize = 8 * SECTION_WORDS;

const RELEASED: u64 = 1;
const CLIENT_BITS: u32 = 24;

/// A holder word: generation, client, released bit. Generations start at 1, so 0 is "never held".
fn holder_word(client: u32, generation: u64) -> u64 {
    generation << (CLIENT_BITS + 1) | u64::from(client) << 1
}

fn holder_of(word: u64) -> (u32, u64) {
    (num::u32_of(word >> 1 & ((1 << CLIENT_BITS) - 1)), word >> (CLIENT_BITS + 1))
}

/// One half of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) client: u32,
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
}

/// Two sections that had to exclude each other and overlapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) key: u64,
    pub(crate) held: Span,
    pub(crate) granted: Span,
    /// As what the one and the other held it.
    pub(crate) classes: [Class; 2],
}

/// What the checker found over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) sections: u64,
    pub(crate) violations: u64,
    pub(crate) unresolved: u64,
    pub(crate) overruns: u64,
    /// Counter updates that disappeared.
    pub(crate) lost_updates: u64,
    /// Readers under whom a counter changed.
    pub(crate) torn_reads: u64,
    /// Names whose counter says nothing, because a client wrote it as its validity ended.
    pub(crate) unjudged_keys: u64,
    pub(crate) tokens: Tokens,
    /// The first few violations.
    pub(crate) examples: Vec<Violation>,
}

/// The checker's memory, mapped.
#[derive(Debug)]
pub(crate) struct Oracle {
    shared: SharedWords,
    map_words: usize,
    keys: usize,
    clients: usize,
    processes: u32,
    /// Names of a process, where each has its own; else of all.
    names: usize,
    /// So many of these can have several holders; they are the first.
    crowded: usize,
    permits: Permits,
    /// Of a process that keeps one.
    history: Option<Writer>,
}

/// A section's hold of a name with one holder. Dropped without [`Entered::finish`], it counts as
/// released at that instant.
#[derive(Debug)]
struct Entered<'a> {
    oracle: &'a Oracle,
    key: u64,
    word: u64,
    seen: u64,
    begin_ns: u64,
    left: bool,
    handover: Option<Handover>,
}

impl Oracle {
    /// The words that are shared, and everything else.
    fn sized(config: &RunConfig) -> (usize, impl FnOnce(SharedWords) -> Self) {
        let span = config.duration_ns + config.warmup_ns + 2 * config.grace_ns();
        let map_words = num::usize_of(span / GRAIN_NS / 64 + 1);
        let keys = num::usize_of(config.checked_keys());
        let clients = num::usize_of(config.clients.into());
        let words = HEADER + RECORDS * RECORD_WORDS + map_words + keys * CELL_WORDS;
        let words = words + clients * SLOT_WORDS + num::usize_of(config.crowd_words());
        let words = words + keys * WAIT_WORDS + lengths::words(keys);
        let (processes, spaces) = (config.processes.max(1), config.spaces());
        let (names, crowded) = (spaces.cells().max(1), spaces.crowded_cells());
        let [names, crowded] = [names, crowded].map(num::usize_of);
        let permits = spaces.permits();
        let with = move |shared| Self {
            shared,
            map_words,
            keys,
            clients,
            processes,
            names,
            crowded,
            permits,
            history: None,
        };
        (words, with)
    }

    /// Creates the checker's file.
    pub(crate) fn create(path: &Path, config: &RunConfig) -> io::Result<Self> {
        let (words, with) = Self::sized(config);
        SharedWords::create(path, words).map(with)
    }

    /// Maps the file another process created for the same settings.
    pub(crate) fn open(path: &Path, config: &RunConfig) -> io::Result<Self> {
        let (words, with) = Self::sized(config);
        let history = Writer::beside(path, config)?;
        SharedWords::open(path, words).map(|shared| Self { history, ..with(shared) })
    }

    /// Writes the history of this process out.
    pub(crate) fn flush_history(&self) {
        let _ = self.history.as_ref().map(Writer::flush);
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        static NOWHERE: AtomicU64 = AtomicU64::new(0);
        self.shared.words().get(at).unwrap_or(&NOWHERE)
    }

    fn cell(&self, key: u64, field: usize) -> &AtomicU64 {
        let key = num::usize_of(key).min(self.keys.saturating_sub(1));
        self.word(HEADER + RECORDS * RECORD_WORDS + self.map_words + key * CELL_WORDS + field)
    }

    /// Whether the name can have several holders.
    fn is_crowded(&self, key: u64) -> bool {
        num::usize_of(key) % self.names < self.crowded
    }

    fn section(&self, client: u32, generation: u64, field: usize) -> &AtomicU64 {
        let client = num::usize_of(client.into()).min(self.clients.saturating_sub(1));
        let recent = num::usize_of(generation % RECENT) * SECTION_WORDS;
        let slots = HEADER + RECORDS * RECORD_WORDS + self.map_words + self.keys * CELL_WORDS;
        self.word(slots + client * SLOT_WORDS + recent + field)
    }

    /// Opens the record of a section, before any name shows it.
    fn begin_section(&self, generation: u64, Span { client, begin_ns, end_ns }: Span) {
        let field = |at| self.section(client, generation, at);
        field(0).store(0, Ordering::Release);
        field(1).store(begin_ns, Ordering::Release);
        field(2).store(end_ns, Ordering::Release);
        (3..SECTION_WORDS).for_each(|at| field(at).store(0, Ordering::Release));
        field(0).store(generation, Ordering::Release);
    }

    /// A section whose record is open takes a name with one holder.
    fn occupy(&self, key: u64, generation: u64, called_ns: u64, mine: Span) -> Entered<'_> {
        let Span { client, begin_ns, .. } = mine;
        let word = holder_word(client, generation);
        let previous = self.cell(key, 0).swap(word, Ordering::AcqRel);
        let released_ns = self.cell(key, 1).load(Ordering::Acquire);
        let mut handover = None;
        if previous & RELEASED != 0 {
            let waited = called_ns < released_ns && released_ns <= begin_ns;
            let of = |client: u32| client % self.processes;
            handover = waited.then(|| Handover {
                took_ns: begin_ns - released_ns,
                between_processes: of(holder_of(previous).0) != of(client),
            });
        } else if previous != 0 {
            self.judge_replaced(key, previous, mine);
        }
        let seen = self.cell(key, 2).load(Ordering::Acquire);
        Entered { oracle: self, key, word, seen, begin_ns, left: false, handover }
    }

    /// The interval of a section, if its record has not been overwritten since, and whether its
    /// release was called.
    fn record(&self, client: u32, generation: u64) -> Option<(Span, bool)> {
        let field = |at| self.section(client, generation, at).load(Ordering::Acquire);
        let before = field(0);
        let (begin_ns, end_ns, released_ns) = (field(1), field(2), field(3));
        if before != generation || field(0) != generation {
            return None;
        }
        let is_released = released_ns != 0;
        let end_ns = if is_released { end_ns.min(released_ns) } else { end_ns };
        Some((Span { client, begin_ns, end_ns }, is_released))
    }

    fn span(&self, word: u64) -> Option<Span> {
        let (client, generation) = holder_of(word);
        self.record(client, generation).map(|(span, _)| span)
    }

    /// True for the first to judge this section.
    fn claim(&self, word: u64) -> bool {
        let (client, generation) = holder_of(word);
        let flag = self.section(client, generation, 4);
        flag.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// `mine` replaced a holder that had not released.
    fn judge_replaced(&self, key: u64, previous: u64, mine: Span) {
        if let Some(held) = self.span(previous)
            && overlap(held, mine)
            && self.claim(previous)
        {
            self.report(Violation::of_one_holder(key, held, mine));
        }
    }

    fn report(&self, violation: Violation) {
        let n = self.word(VIOLATIONS).fetch_add(1, Ordering::AcqRel);
        let at = num::usize_of(n);
        if at < RECORDS {
            let Violation { key, held, granted, classes: [first, later] } = violation;
            let words = [
                key,
                held.client.into(),
                held.begin_ns,
                held.end_ns,
                granted.client.into(),
                granted.begin_ns,
                granted.end_ns,
                1 | first.code() << 8 | later.code() << 16,
            ];
            for (offset, value) in words.into_iter().enumerate() {
                self.word(HEADER + at * RECORD_WORDS + offset).store(value, Ordering::Release);
            }
        }
    }

    /// Violations so far.
    pub(crate) fn violations(&self) -> u64 {
        self.word(VIOLATIONS).load(Ordering::Acquire)
    }

    /// A grant that came back with no validity left.
    pub(crate) fn note_overrun(&self) {
        self.word(OVERRUNS).fetch_add(1, Ordering::Relaxed);
    }
}

impl Violation {
    const fn of_one_holder(key: u64, held: Span, granted: Span) -> Self {
        Self { key, held, granted, classes: [Class::Exclusive; 2] }
    }
}

fn overlap(a: Span, b: Span) -> bool {
    a.begin_ns.max(b.begin_ns) < a.end_ns.min(b.end_ns)
}

impl Entered<'_> {
    /// The section ends: its release is about to be called, `asked_ns` being now. `valid` asks the
    /// guard; it is asked around the counter's update. Returns whether the section was wholly
    /// inside its validity.
    fn finish(mut self, asked_ns: u64, valid: &impl Fn() -> bool) -> bool {
        let oracle = self.oracle;
        let in_time = valid();
        if in_time {
            oracle.cell(self.key, 2).store(self.seen + 1, Ordering::Release);
            if valid() {
                oracle.cell(self.key, 3).fetch_add(1, Ordering::AcqRel);
            } else {
                oracle.cell(self.key, 4).store(1, Ordering::Release);
            }
        }
        self.mark_released(asked_ns, in_time);
        in_time
    }

    fn mark_released(&mut self, asked_ns: u64, in_time: bool) {
        self.left = true;
        let (client, generation) = holder_of(self.word);
        let oracle = self.oracle;
        let holder = oracle.cell(self.key, 0);
        if holder.load(Ordering::Acquire) == self.word {
            oracle.cell(self.key, 1).store(asked_ns, Ordering::Release);
        }
        oracle.section(client, generation, 3).store(asked_ns, Ordering::Release);
        let marked = holder.compare_exchange(
            self.word,
            self.word | RELEASED,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if let Err(other) = marked
            && in_time
            && oracle.claim(self.word)
        {
            let held = Span { client, begin_ns: self.begin_ns, end_ns: asked_ns };
            match oracle.span(other & !RELEASED) {
                None => {
                    oracle.word(UNRESOLVED).fetch_add(1, Ordering::Relaxed);
                }
                Some(granted) if overlap(held, granted) => {
                    oracle.report(Violation::of_one_holder(self.key, held, granted));
                }
                Some(_) => {}
            }
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if !self.left {
            self.mark_released(crate::clock::now_ns(), false);
        }
    }
}

#[cfg(test)]
mod tests;
