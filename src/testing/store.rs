//! The data of a test node: strings, hashes and sorted sets with deadlines, in sixteen databases.
//!
//! Time is an argument. Invariants:
//! 1. A key expires when `now_ms > deadline_ms`, in whole milliseconds, as the server's does: a
//!    key set with PX n lives at least n.
//! 2. An expired key is gone for every command, the first of which removes it.
//! 3. `used_bytes` counts every key and value held.
//! 4. While watched, every key that is written, removed or expires is noted once per time.

use std::collections::HashMap;

use super::sorted::Sorted;

/// Fields and their values, in the order in which they came.
type Fields = Vec<(Box<[u8]>, Box<[u8]>)>;

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(Box<[u8]>),
    /// Never empty.
    Hash(Fields),
    /// Never empty.
    Sorted(Sorted),
}

impl Value {
    /// As TYPE names it.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Hash(_) => "hash",
            Self::Sorted(_) => "zset",
        }
    }

    pub(super) const fn is_hash(&self) -> bool {
        matches!(self, Self::Hash(_))
    }

    /// The text; nothing of any other kind.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::Hash(_) | Self::Sorted(_) => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Hash(fields) => {
                fields.iter().map(|(field, value)| field.len() + value.len()).sum()
            }
            Self::Sorted(sorted) => sorted.bytes(),
        }
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) value: Value,
    /// `None`: no expiry.
    pub(super) deadline_ms: Option<i64>,
}

/// A key that is no longer what a client may have read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: Box<[u8]>,
    /// By no client's command, but by time.
    pub(super) expired: bool,
}

type Database = HashMap<Box<[u8]>, Entry>;

/// Every database of one node.
#[derive(Debug)]
pub(super) struct Store {
    databases: Vec<Database>,
    used_bytes: usize,
    /// When this many keys are held, the expired ones among them are removed.
    purge_at: usize,
    /// Whether changes are noted: somebody wants to know.
    pub(super) watched: bool,
    changes: Vec<Change>,
}

impl Store {
    pub(super) fn new() -> Self {
        let databases = std::iter::repeat_with(Database::new).take(DATABASES).collect();
        Self { databases, used_bytes: 0, purge_at: PURGE_MIN, watched: false, changes: Vec::new() }
    }

    /// The live entry of `key`.
    pub(super) fn get(&mut self, db: usize, key: &[u8], now_ms: i64) -> Option<&Entry> {
        // Looked up twice: a returned borrow would forbid the removal.
        self.expire(db, key, now_ms);
        self.databases.get(db)?.get(key)
    }

    pub(super) fn set(&mut self, db: usize, key: &[u8], entry: Entry, now_ms: i64) {
        self.expire(db, key, now_ms);
        self.take(db, key);
        self.purge_if_due(now_ms);
        self.note(key, false);
        self.used_bytes += footprint(key, &entry);
        if let Some(database) = self.databases.get_mut(db) {
            database.insert(key.into(), entry);
        }
    }

    /// Removes `key`; whether it was there, alive.
    pub(super) fn remove(&mut self, db: usize, key: &[u8], now_ms: i64) -> bool {
        self.expire(db, key, now_ms);
        let removed = self.take(db, key).is_some();
        if removed {
            self.note(key, false);
        }
        removed
    }

    /// Sets a field of the hash at `key`, or of a new one.
    pub(super) fn set_field(
        &mut self,
        db: usize,
        key: &[u8],
        (field, value): (&[u8], &[u8]),
        now_ms: i64,
    ) {
        self.expire(db, key, now_ms);
        let held = self.take(db, key);
        let deadline_ms = held.as_ref().and_then(|entry| entry.deadline_ms);
        let mut fields = match held.map(|entry| entry.value) {
            Some(Value::Hash(fields)) => fields,
            _ => Vec::new(),
        };
        match fields.iter_mut().find(|(name, _)| **name == *field) {
            Some((_, held)) => *held = value.into(),
            None => fields.push((field.into(), value.into())),
        }
        self.set(db, key, Entry { value: Value::Hash(fields), deadline_ms }, now_ms);
    }

    /// Removes a field of the hash at `key`, and the key with its last one; whether it was there.
    pub(super) fn remove_field(
        &mut self,
        db: usize,
        key: &[u8],
        field: &[u8],
        now_ms: i64,
    ) -> bool {
        let entry = self.get(db, key, now_ms).cloned();
        let Some(Entry { value: Value::Hash(mut fields), deadline_ms }) = entry else {
            return false;
        };
        let held = fields.len();
        fields.retain(|(name, _)| **name != *field);
        let removed = fields.len() < held;
        if removed && fields.is_empty() {
            self.remove(db, key, now_ms);
        } else if removed {
            self.set(db, key, Entry { value: Value::Hash(fields), deadline_ms }, now_ms);
        }
        removed
    }

    /// What `alter` makes of the sorted set at `key`, or of a new one; the key goes with its last
    /// member. Nothing of a key of another kind.
    pub(super) fn alter<T>(
        &mut self,
        db: usize,
        key: &[u8],
        now_ms: i64,
        alter: impl FnOnce(&mut Sorted) -> T,
    ) -> Option<T> {
        let (before, deadline_ms) = match self.get(db, key, now_ms) {
            None => (Sorted::default(), None),
            Some(Entry { value: Value::Sorted(held), deadline_ms }) => (held.clone(), *deadline_ms),
            Some(_) => return None,
        };
        let mut sorted = before.clone();
        let outcome = alter(&mut sorted);
        if sorted.is_empty() {
            self.remove(db, key, now_ms);
        } else if sorted != before {
            self.set(db, key, Entry { value: Value::Sorted(sorted), deadline_ms }, now_ms);
        }
        Some(outcome)
    }

    /// Gives a live key a new deadline; a deadline that is not in the future removes it.
    pub(super) fn expire_at(&mut self, db: usize, key: &[u8], deadline_ms: i64, now_ms: i64) {
        self.note(key, false);
        if deadline_ms <= now_ms {
            self.take(db, key);
        } else if let Some(entry) = self.databases.get_mut(db).and_then(|d| d.get_mut(key)) {
            entry.deadline_ms = Some(deadline_ms);
        }
    }

    /// Live keys of one database, sorted so that equal histories give equal answers.
    pub(super) fn keys(&mut self, db: usize, now_ms: i64) -> Vec<&[u8]> {
        self.purge(now_ms);
        let keys = self.databases.get(db).into_iter().flat_map(|database| database.keys());
        let mut keys: Vec<&[u8]> = keys.map(|key| &**key).collect();
        keys.sort_unstable();
        keys
    }

    /// The number of live keys in one database.
    pub(super) fn len(&mut self, db: usize, now_ms: i64) -> usize {
        self.purge(now_ms);
        self.databases.get(db).map_or(0, HashMap::len)
    }

    /// Every live entry with its database and key, unordered.
    pub(super) fn entries(&mut self, now_ms: i64) -> impl Iterator<Item = (usize, &[u8], &Entry)> {
        self.purge(now_ms);
        let databases = self.databases.iter().enumerate();
        databases.flat_map(|(db, keys)| keys.iter().map(move |(key, entry)| (db, &**key, entry)))
    }

    pub(super) fn clear(&mut self, db: usize) {
        let emptied = self.databases.get_mut(db).map(std::mem::take).unwrap_or_default();
        let freed: usize = emptied.iter().map(|(key, entry)| footprint(key, entry)).sum();
        self.used_bytes = self.used_bytes.saturating_sub(freed);
    }

    pub(super) fn clear_all(&mut self) {
        *self = Self::new();
    }

    /// What changed since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Removes what has expired.
    pub(super) fn purge(&mut self, now_ms: i64) {
        let mut freed = 0;
        for database in &mut self.databases {
            database.retain(|key, entry| {
                let keep = !entry.is_expired(now_ms);
                if !keep {
                    freed += footprint(key, entry);
                    if self.watched {
                        self.changes.push(Change { key: key.clone(), expired: true });
                    }
                }
                keep
            });
        }
        self.used_bytes = self.used_bytes.saturating_sub(freed);
    }

    /// Keys that nobody asks for again must not pile up. Twice what was left last time: each key
    /// set pays for a bounded share of the sweeps.
    fn purge_if_due(&mut self, now_ms: i64) {
        let held = |databases: &[Database]| databases.iter().map(HashMap::len).sum::<usize>();
        if held(&self.databases) >= self.purge_at {
            self.purge(now_ms);
            self.purge_at = PURGE_MIN.max(held(&self.databases) * 2);
        }
    }

    /// Removes `key` if its time is over.
    fn expire(&mut self, db: usize, key: &[u8], now_ms: i64) {
        let held = self.databases.get(db).and_then(|database| database.get(key));
        if held.is_some_and(|entry| entry.is_expired(now_ms)) {
            self.take(db, key);
            self.note(key, true);
        }
    }

    // Invariant 4.
    fn note(&mut self, key: &[u8], expired: bool) {
        if self.watched {
            self.changes.push(Change { key: key.into(), expired });
        }
    }

    fn take(&mut self, db: usize, key: &[u8]) -> Option<Entry> {
        let entry = self.databases.get_mut(db)?.remove(key)?;
        self.used_bytes = self.used_bytes.saturating_sub(footprint(key, &entry));
        Some(entry)
    }
}

impl Entry {
    /// Milliseconds left, at least 0; `None` without an expiry.
    pub(super) fn ttl_ms(&self, now_ms: i64) -> Option<i64> {
        self.deadline_ms.map(|deadline_ms| deadline_ms.saturating_sub(now_ms).max(0))
    }

    // Invariant 1.
    fn is_expired(&self, now_ms: i64) -> bool {
        self.deadline_ms.is_some_and(|deadline_ms| now_ms > deadline_ms)
    }
}

/// What a key costs: its bytes and a round figure for the table around them.
fn footprint(key: &[u8], entry: &Entry) -> usize {
    key.len() + entry.value.len() + 64
}

/// The server's default.
pub(super) const DATABASES: usize = 16;
const PURGE_MIN: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(deadline_ms: impl Into<Option<i64>>) -> Entry {
        let value = Value::Text(b"v".as_slice().into());
        Entry { value, deadline_ms: deadline_ms.into() }
    }

    #[test]
    fn a_key_lives_through_its_last_millisecond() {
        let mut store = Store::new();
        store.set(0, b"k", entry(100), 0);
        assert_eq!(store.get(0, b"k", 100).unwrap().ttl_ms(100), Some(0));
        assert_eq!(store.get(0, b"k", 101), None);
        assert_eq!(store.get(0, b"k", 100), None, "an expired key does not come back");
    }

    #[test]
    fn every_byte_is_given_back() {
        let mut store = Store::new();
        for round in 0..3_i64 {
            store.set(0, b"a", entry(None), round);
            store.set(1, b"b", entry(round + 5), round);
            store.set(1, b"c", entry(round + 5), round);
        }
        assert_eq!(store.used_bytes(), 3 * 66);
        assert!(store.remove(1, b"b", 7), "alive in its last millisecond");
        assert!(!store.remove(1, b"c", 8), "an expired key does not count as removed");
        store.clear(0);
        assert_eq!((store.used_bytes(), store.len(0, 0), store.len(1, 0)), (0, 0, 0));
    }

    #[test]
    fn a_sorted_set_goes_with_its_last_member() {
        let mut store = Store::new();
        store.set(0, b"text", entry(None), 0);
        assert_eq!(store.alter(0, b"text", 0, Sorted::pop_first), None);
        for (score, member) in [(2.0, b"b"), (1.0, b"c"), (1.0, b"a"), (3.0, b"a")] {
            store.alter(0, b"z", 0, |sorted| sorted.add(score, member));
        }
        assert_eq!(store.used_bytes(), 69 + (1 + 64 + 3 * 9));
        store.expire_at(0, b"z", 10, 0);
        store.watched = true;
        assert_eq!(store.alter(0, b"z", 0, |sorted| sorted.remove(b"x")), Some(false));
        assert_eq!(store.take_changes(), [], "nothing has changed");
        for member in [b"c", b"b", b"a"] {
            assert_eq!(store.get(0, b"z", 0).unwrap().deadline_ms, Some(10));
            let popped = store.alter(0, b"z", 0, Sorted::pop_first).unwrap();
            assert_eq!(popped.map(|(member, _)| member).as_deref(), Some(member.as_slice()));
            assert_eq!(store.take_changes().len(), 1);
        }
        assert_eq!((store.used_bytes(), store.len(0, 0)), (69, 1));
    }

    #[test]
    fn expired_keys_do_not_pile_up() {
        let mut store = Store::new();
        for step in 0..10_000_i64 {
            store.set(0, &step.to_be_bytes(), entry(step + 1), step);
            assert!(store.used_bytes() <= PURGE_MIN * (8 + 1 + 64), "at {step}");
        }
    }
}
