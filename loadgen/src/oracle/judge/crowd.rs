//! The judge of names that several sections may hold at once: readers, intents, permits.
//!
//! Beside a name's cell every client has a slot, in which it writes its section before it looks at
//! the slots of all others: of two sections that overlap, at least one sees the other. A slot is
//! not cleared when its section ends, since the section's record says when that was; it is written
//! over by the client's next one.
//!
//! Readers and intents have a part in the second check as well: the plain counter of a name they
//! hold must not change meanwhile, because only exclusive holders write it.
//!
//! Invariants, beside those of the judge:
//! 1. Of a pair the later section is judged, at most once, whoever finds the pair.
//! 2. A section that may have been renewed beyond what was known when another one came is told of
//!    that one, and judges the pair when it ends. Permits are judged by the validity they began
//!    with.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::{CELL_WORDS, RECORD_WORDS, RECORDS, SLOT_WORDS};
use super::{
    HEADER, Handover, Oracle, Span, UNRESOLVED, Violation, holder_of, holder_word, overlap,
};
use crate::mode::Class;
use crate::num;

// Words of a name's cell; 2 to 4 are the counter's, as for a name with one holder.
const LAST_CLIENT: usize = 0;
const LAST_RELEASE: usize = 1;
const LAST_EXCLUSIVE_CLIENT: usize = 5;
const LAST_EXCLUSIVE_RELEASE: usize = 6;
pub(super) const TORN_READS: usize = 7;

// Words of a section's record, behind those that every section has.
const RELEASED_NS: usize = 3;
const INTRUDER: usize = 5;
const INTRUDER_KEY: usize = 6;

pub(super) const CLASS_BITS: u32 = 2;

/// A section on a name, as others see it.
#[derive(Clone, Copy, Debug)]
struct Party {
    span: Span,
    generation: u64,
    class: Class,
}

/// A section's part in one name. Dropped without [`Joined::finish`], it counts as released then.
#[derive(Debug)]
pub(super) struct Joined<'a> {
    oracle: &'a Oracle,
    key: u64,
    class: Class,
    client: u32,
    generation: u64,
    begin_ns: u64,
    seen: u64,
    left: bool,
    pub(super) handover: Option<Handover>,
}

impl Oracle {
    pub(super) fn slot(&self, key: u64, client: u32) -> &AtomicU64 {
        let base = HEADER + RECORDS * RECORD_WORDS + self.map_words + self.keys * CELL_WORDS;
        let key = num::usize_of(key).min(self.keys.saturating_sub(1));
        // Only these names have slots, in each set of names.
        let place = key / self.names * self.crowded + key % self.names;
        let client = num::usize_of(client.into()).min(self.clients.saturating_sub(1));
        self.word(base + self.clients * SLOT_WORDS + place * self.clients + client)
    }

    /// A section whose record is open takes part in a name, for which it was `waiting` since then.
    pub(super) fn join(
        &self,
        (key, class): (u64, Class),
        generation: u64,
        waiting: Option<u64>,
        span: Span,
    ) -> Joined<'_> {
        let Span { client, begin_ns, .. } = span;
        let mine = Party { span, generation, class };
        let word = generation << CLASS_BITS | class.code();
        self.slot(key, client).swap(word, Ordering::SeqCst);
        // The slot is seen by all who do not see theirs here.
        fence(Ordering::SeqCst);
        self.judge_crowd(key, mine);
        let handover = waiting.and_then(|since_ns| self.passed_on(key, class, since_ns, span));
        let seen = self.cell(key, 2).load(Ordering::Acquire);
        Joined {
            oracle: self,
            key,
            class,
            client,
            generation,
            begin_ns,
            seen,
            left: false,
            handover,
        }
    }

    /// How the name came to this section, if it was waiting for the last one it excludes. Whose
    /// release that was is written after its instant, so it can be another's in rare cases; it
    /// only serves statistics.
    fn passed_on(&self, key: u64, class: Class, called_ns: u64, mine: Span) -> Option<Handover> {
        let waits_for_all = matches!(class, Class::Exclusive | Class::Permit);
        let (release, by) = match waits_for_all {
            true => (LAST_RELEASE, LAST_CLIENT),
            false => (LAST_EXCLUSIVE_RELEASE, LAST_EXCLUSIVE_CLIENT),
        };
        let released_ns = self.cell(key, release).load(Ordering::Acquire);
        let by = num::u32_of(self.cell(key, by).load(Ordering::Acquire));
        (called_ns < released_ns && released_ns <= mine.begin_ns).then(|| Handover {
            took_ns: mine.begin_ns - released_ns,
            between_processes: by % self.processes != mine.client % self.processes,
        })
    }

    fn judge_crowd(&self, key: u64, mine: Party) {
        let mut permits = Vec::new();
        let others = (0..num::u32_of(self.clients as u64)).filter(|&at| at != mine.span.client);
        for client in others {
            let word = self.slot(key, client).load(Ordering::SeqCst);
            if word == 0 {
                continue;
            }
            let class = Class::from_code(word & ((1 << CLASS_BITS) - 1));
            let generation = word >> CLASS_BITS;
            // A client whose record is overwritten has left since.
            let Some((span, released)) = self.record(client, generation) else { continue };
            let theirs = Party { span, generation, class };
            if class.excludes(mine.class) {
                self.judge_pair(key, mine, theirs, released);
            } else if class == Class::Permit && overlap(span, mine.span) {
                permits.push(theirs);
            }
        }
        if permits.len() >= self.permits.at(key) {
            // One that was found may have got its permit from another that had been read before it
            // and has ended since. Read again, that one shows its end.
            let again = |party: &Party| {
                let (span, _) = self.record(party.span.client, party.generation)?;
                Some(Party { span, ..*party })
            };
            let mut permits: Vec<Party> = permits.iter().filter_map(again).collect();
            permits.push(mine);
            self.judge_permits(key, mine, &permits);
        }
    }

    fn judge_pair(&self, key: u64, mine: Party, theirs: Party, released: bool) {
        if overlap(mine.span, theirs.span) {
            self.accuse(key, mine, theirs);
        } else if !released && theirs.span.end_ns <= mine.span.begin_ns {
            self.tell(key, theirs, mine);
        } else if mine.span.end_ns <= theirs.span.begin_ns {
            self.tell(key, mine, theirs);
        }
    }

    /// Of two sections that overlapped, the later one is the violation.
    fn accuse(&self, key: u64, a: Party, b: Party) {
        let order = |party: Party| (party.span.begin_ns, party.span.client);
        let (first, later) = if order(a) <= order(b) { (a, b) } else { (b, a) };
        if self.claim(holder_word(later.span.client, later.generation)) {
            self.report(Violation {
                key,
                held: first.span,
                granted: later.span,
                classes: [first.class, later.class],
            });
        }
    }

    /// `whose` validity had ended as far as was known when `intruder` came: only it can say whether
    /// it was renewed.
    fn tell(&self, key: u64, whose: Party, intruder: Party) {
        let field = |at| self.section(whose.span.client, whose.generation, at);
        let word = holder_word(intruder.span.client, intruder.generation);
        let first = field(INTRUDER).compare_exchange(0, word, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            let at = key << CLASS_BITS | intruder.class.code();
            field(INTRUDER_KEY).store(at, Ordering::Release);
            if field(RELEASED_NS).load(Ordering::SeqCst) != 0 {
                // It ended in this moment and may have looked before: nobody knows.
                self.word(UNRESOLVED).fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The most that were inside at once is reached as one of them begins.
    fn judge_permits(&self, key: u64, mine: Party, all: &[Party]) {
        let begins = all.iter().map(|party| party.span.begin_ns);
        for at in begins.filter(|at| (mine.span.begin_ns..mine.span.end_ns).contains(at)) {
            let inside = |party: &&Party| (party.span.begin_ns..party.span.end_ns).contains(&at);
            let order = |party: &&Party| (party.span.begin_ns, party.span.client);
            let ends = (
                all.iter().filter(inside).min_by_key(order),
                all.iter().filter(inside).max_by_key(order),
            );
            if all.iter().filter(inside).count() > self.permits.at(key)
                && let (Some(first), Some(later)) = ends
            {
                self.accuse(key, *first, *later);
            }
        }
    }
}

impl Joined<'_> {
    /// The section ends; as [`super::Entered::finish`], but only exclusive holders write the
    /// counter, and the others look at it.
    pub(super) fn finish(mut self, asked_ns: u64, valid: &impl Fn() -> bool) -> bool {
        let cell = |at| self.oracle.cell(self.key, at);
        let in_time = valid();
        match self.class {
            Class::Permit => {}
            Class::Exclusive if in_time => {
                cell(2).store(self.seen + 1, Ordering::Release);
                if valid() {
                    cell(3).fetch_add(1, Ordering::AcqRel);
                } else {
                    cell(4).store(1, Ordering::Release);
                }
            }
            // Valid after the look, so valid at the look.
            Class::Intent | Class::Shared
                if in_time && cell(2).load(Ordering::Acquire) != self.seen && valid() =>
            {
                cell(TORN_READS).fetch_add(1, Ordering::Relaxed);
            }
            Class::Exclusive | Class::Intent | Class::Shared => {}
        }
        self.mark_released(asked_ns, in_time);
        in_time
    }

    fn mark_released(&mut self, asked_ns: u64, in_time: bool) {
        self.left = true;
        let (oracle, client) = (self.oracle, self.client);
        let note = |release, by| {
            oracle.cell(self.key, release).fetch_max(asked_ns, Ordering::AcqRel);
            oracle.cell(self.key, by).store(client.into(), Ordering::Release);
        };
        note(LAST_RELEASE, LAST_CLIENT);
        if self.class == Class::Exclusive {
            note(LAST_EXCLUSIVE_RELEASE, LAST_EXCLUSIVE_CLIENT);
        }
        let field = |at| oracle.section(client, self.generation, at);
        field(RELEASED_NS).store(asked_ns, Ordering::SeqCst);
        let intruder = field(INTRUDER).load(Ordering::SeqCst);
        if !in_time || intruder == 0 {
            return;
        }
        let (other, generation) = holder_of(intruder);
        let at = field(INTRUDER_KEY).load(Ordering::Acquire);
        match oracle.record(other, generation) {
            None => {
                oracle.word(UNRESOLVED).fetch_add(1, Ordering::Relaxed);
            }
            Some((span, _)) => {
                let held = Span { client, begin_ns: self.begin_ns, end_ns: asked_ns };
                let class = Class::from_code(at & ((1 << CLASS_BITS) - 1));
                let theirs = Party { span, generation, class };
                let mine = Party { span: held, generation: self.generation, class: self.class };
                if overlap(held, span) {
                    oracle.accuse(at >> CLASS_BITS, mine, theirs);
                }
            }
        }
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        if !self.left {
            self.mark_released(crate::clock::now_ns(), false);
        }
    }
}

#[cfg(test)]
mod tests;
