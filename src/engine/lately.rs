//! Which locks a caller of this process had to wait for a moment ago, because others had them.
//!
//! Whoever comes for such a lock gets in line at once: a round of SETs would most likely be denied,
//! and cost a round trip and a command per node. It is a guess, in a table of fixed size that knows
//! names by their hashes: a wrong one costs a script call per node where a SET would have done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::RandomState;

use crate::resource::Resource;
use crate::time::Timestamp;

#[derive(Debug)]
pub(crate) struct Lately {
    hasher: RandomState,
    /// Until when each slot's names count as contended.
    until: [AtomicU64; SLOTS],
    /// The latest of all slots: one load tells that there was no contention.
    latest: AtomicU64,
}

/// A few times as many as a process has hot names; 2 kB.
const SLOTS: usize = 256;

/// How long a name counts as contended after somebody had to wait for it: as long as a queue lives
/// that nobody looks at.
const MEMORY: Duration = Duration::from_secs(1);

impl Lately {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            until: [const { AtomicU64::new(0) }; SLOTS],
            latest: AtomicU64::new(0),
        }
    }

    fn slot(&self, resource: &Resource) -> Option<&AtomicU64> {
        let hash = self.hasher.hash_one(resource.as_bytes()) % SLOTS as u64;
        self.until.get(usize::try_from(hash).ok()?)
    }

    /// Somebody had to wait for this lock.
    pub(crate) fn note(&self, resource: &Resource, now: Timestamp) {
        let until = now.plus(MEMORY).as_nanos();
        self.latest.fetch_max(until, Ordering::Relaxed);
        if let Some(slot) = self.slot(resource) {
            slot.fetch_max(until, Ordering::Relaxed);
        }
    }

    /// Will whoever wants this lock have to wait, as far as one can tell?
    pub(crate) fn was_contended(&self, resource: &Resource, now: Timestamp) -> bool {
        let now = now.as_nanos();
        self.latest.load(Ordering::Relaxed) > now
            && self.slot(resource).is_some_and(|until| until.load(Ordering::Relaxed) > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_for_a_while_and_no_other_is() {
        let lately = Lately::new();
        let names: Vec<Resource> = (0..64).map(|n| Resource::from(format!("r{n}"))).collect();
        let begin = Timestamp::ZERO.plus(MEMORY);
        assert!(!lately.was_contended(&names[0], begin));
        lately.note(&names[0], begin);
        let end = begin.plus(MEMORY);
        let just_before = Timestamp::from_nanos(end.as_nanos() - 1);
        assert!(lately.was_contended(&names[0], begin));
        assert!(lately.was_contended(&names[0], just_before));
        assert!(!lately.was_contended(&names[0], end));
        // Of 63 other names one in 256 shares its slot.
        let others = names.iter().skip(1).filter(|name| lately.was_contended(name, begin)).count();
        assert!(others < 16, "{others} of 63 names are taken for another");
        // An older note shortens nothing.
        lately.note(&names[0], end);
        lately.note(&names[0], begin);
        assert!(lately.was_contended(&names[0], end));
    }
}
