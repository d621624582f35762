//! The gate of a resource that takes writes from lock holders: no holder passes a later one.
//!
//! - I1 A token is never admitted for a key after a larger one was.
//! - I2 Memory is bounded, and forgetting a key opens nothing: the floor rises to what it had.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard};

use crate::fencing::FencingToken;

/// Remembers the largest [`FencingToken`] per key and refuses smaller ones.
///
/// For a service that keeps its resources in its own process: call [`FenceGate::admit`] with the
/// token that came with the request, and write only if it passes. Check and write must be one step
/// to others: hold the resource's own lock over both. What is kept elsewhere is fenced there, in
/// the statement that writes; and a gate knows nothing of what another process admitted, or the
/// same one before it restarted.
///
/// Equal tokens pass, so that one holder can write many times.
///
/// # When it is full
/// The gate remembers `capacity` keys. One more, and the key with the smallest token is forgotten;
/// its token becomes the floor. A key that is not remembered needs a token that is not below
/// the floor, so a stale one never passes, at the price that a holder may be refused who is not
/// stale: one whose token is older than that of a forgotten key. Tokens follow the time at which
/// locks were granted, so choose a capacity above the number of keys that are locked within the
/// longest time for which a lock is held. With capacity 0 there is the floor alone: one sequence
/// of tokens for all keys.
///
/// # Examples
/// ```
/// use redlatch::{FenceGate, FencingToken};
///
/// let gate = FenceGate::<String>::new(10_000);
/// // Two workers were granted the lock "orders:42", one after the other.
/// let [first, second] = [1_001, 1_002].map(FencingToken::try_from);
/// let (first, second) = (first?, second?);
///
/// // The first one writes, and again: fine.
/// gate.admit("orders:42", first)?;
/// gate.admit("orders:42", first)?;
/// // Then it stops for a garbage collection that outlasts its lease. The second one gets the
/// // lock and writes.
/// gate.admit("orders:42", second)?;
/// // The first one wakes up in the middle of its work and has not noticed: refused.
/// let refused = gate.admit("orders:42", first).unwrap_err();
/// assert_eq!((refused.token, refused.latest), (first, second));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FenceGate<K> {
    capacity: usize,
    inner: Mutex<Inner<K>>,
}

struct Inner<K> {
    latest: HashMap<K, Entry>,
    /// The keys of `latest`, the smallest token first; entries tell equal tokens apart.
    order: BTreeMap<Entry, K>,
    /// The largest token of a key that is not in `latest` any more.
    floor: Option<FencingToken>,
    /// The largest token of all, known before anything is changed on its behalf.
    highest: Option<FencingToken>,
    admitted: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    token: FencingToken,
    serial: u64,
}

impl<K: Eq + Hash> FenceGate<K> {
    /// A gate that has seen no token and remembers up to `capacity` keys.
    ///
    /// Memory grows with the keys that come, not with `capacity`.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let inner = Inner {
            latest: HashMap::new(),
            order: BTreeMap::new(),
            floor: None,
            highest: None,
            admitted: 0,
        };
        Self { capacity, inner: Mutex::new(inner) }
    }

    /// Lets a write for `key` pass, unless a larger token than `token` was admitted before.
    ///
    /// Costs a look-up, plus the logarithm of the number of keys when the token is a new one.
    ///
    /// # Errors
    /// [`StaleToken`] when the token is smaller than [`FenceGate::latest`]: the write must not
    /// happen. Its sender lost the lock to a later holder, or the key was forgotten (see above).
    pub fn admit<Q>(&self, key: &Q, token: FencingToken) -> Result<(), StaleToken>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let known = inner.latest.get_mut(key);
        let latest = known.as_ref().map(|entry| entry.token).or(inner.floor);
        // I1: equal is not stale.
        if let Some(latest) = latest.filter(|latest| token < *latest) {
            return Err(StaleToken { token, latest });
        }
        inner.highest = inner.highest.max(Some(token));
        inner.admitted = inner.admitted.wrapping_add(1);
        let entry = Entry { token, serial: inner.admitted };
        match known {
            Some(known) if known.token == token => {}
            Some(known) => {
                if let Some(key) = inner.order.remove(known) {
                    inner.order.insert(entry, key);
                }
                *known = entry;
            }
            None => {
                inner.order.insert(entry, key.to_owned());
                inner.latest.insert(key.to_owned(), entry);
                inner.shrink(self.capacity);
            }
        }
        Ok(())
    }

    /// The smallest token that would be admitted for `key`: the largest that was, or the floor if
    /// the key is not remembered. `None` when any would be.
    pub fn latest<Q>(&self, key: &Q) -> Option<FencingToken>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let inner = self.lock();
        inner.latest.get(key).map(|entry| entry.token).or(inner.floor)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(|poisoned| {
            // A key's own code (`Hash`, `Eq`, `Clone`) panicked half-way, and the map may have lost
            // entries. I2: all of them are forgotten, under a floor that covers each.
            let mut inner = poisoned.into_inner();
            inner.floor = inner.highest;
            inner.latest = HashMap::new();
            inner.order.clear();
            self.inner.clear_poison();
            inner
        })
    }
}

impl<K: Eq + Hash> Inner<K> {
    fn shrink(&mut self, capacity: usize) {
        while self.order.len() > capacity {
            let Some((entry, key)) = self.order.pop_first() else { return };
            // I2: first the floor.
            self.floor = self.floor.max(Some(entry.token));
            self.latest.remove(&key);
        }
    }
}

/// Shows no keys: there may be many.
impl<K> fmt::Debug for FenceGate<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceGate").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// A write with a token that is smaller than one that was admitted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fencing token {token} is stale: {latest} was admitted before")]
#[non_exhaustive]
pub struct StaleToken {
    /// The token that was refused.
    pub token: FencingToken,
    /// The smallest that would have been admitted, see [`FenceGate::latest`].
    pub latest: FencingToken,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::hash::Hasher;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::*;

    const fn shared<T: Send + Sync + fmt::Debug>() {}
    const _: () = shared::<FenceGate<String>>();

    fn token(value: u64) -> FencingToken {
        FencingToken::try_from(value).unwrap()
    }

    #[test]
    fn i1_a_holder_writes_many_times_until_a_later_one_did() {
        let gate = FenceGate::<String>::new(10);
        assert_eq!(gate.latest("a"), None);
        assert_eq!(gate.admit("a", token(5)), Ok(()));
        assert_eq!(gate.admit("a", token(5)), Ok(()));
        assert_eq!(gate.admit("a", token(9)), Ok(()));
        let stale = StaleToken { token: token(5), latest: token(9) };
        assert_eq!(gate.admit("a", token(5)), Err(stale));
        assert_eq!(stale.to_string(), "fencing token 5 is stale: 9 was admitted before");
        assert_eq!(gate.latest("a"), Some(token(9)));
        assert_eq!(gate.admit("b", token(1)), Ok(()), "another key is another sequence");
        assert_eq!(gate.latest("c"), None);
    }

    #[test]
    fn i2_a_forgotten_key_admits_nothing_stale() {
        let gate = FenceGate::<&str>::new(2);
        for (key, value) in [("a", 10), ("b", 20), ("a", 30), ("c", 40)] {
            assert_eq!(gate.admit(&key, token(value)), Ok(()));
        }
        // "b" had the smallest token by then.
        assert_eq!((gate.latest(&"a"), gate.latest(&"b")), (Some(token(30)), Some(token(20))));
        let refused = gate.admit(&"b", token(19)).unwrap_err();
        assert_eq!((refused.token, refused.latest), (token(19), token(20)));
        assert_eq!(gate.admit(&"new", token(19)).unwrap_err().latest, token(20));
        // The holder of "b" goes on; its key is the smallest again and evicts no other.
        assert_eq!(gate.admit(&"b", token(20)), Ok(()));
        assert_eq!(gate.latest(&"a"), Some(token(30)));
        assert_eq!(gate.inner.lock().unwrap().latest.len(), 2);
    }

    #[test]
    fn capacity_0_is_one_sequence_for_all_keys() {
        let gate = FenceGate::<u32>::new(0);
        assert_eq!(gate.admit(&1, token(7)), Ok(()));
        assert_eq!(gate.admit(&1, token(7)), Ok(()));
        assert!(gate.admit(&2, token(6)).is_err());
    }

    /// How many hashes of a [`Hostile`] key are left before one panics.
    static PATIENCE: AtomicU32 = AtomicU32::new(u32::MAX);

    #[derive(Clone, PartialEq, Eq)]
    struct Hostile(u32);

    impl Hash for Hostile {
        fn hash<H: Hasher>(&self, state: &mut H) {
            assert_ne!(PATIENCE.fetch_sub(1, Ordering::Relaxed), 0, "hostile key");
            state.write_u32(self.0);
        }
    }

    #[test]
    fn i2_a_panic_inside_a_key_opens_nothing() {
        let gate = FenceGate::<Hostile>::new(10);
        gate.admit(&Hostile(1), token(50)).unwrap();
        // It is looked up, but not stored.
        PATIENCE.store(1, Ordering::Relaxed);
        let panicked = catch_unwind(AssertUnwindSafe(|| gate.admit(&Hostile(2), token(60))));
        PATIENCE.store(u32::MAX, Ordering::Relaxed);
        assert!(panicked.is_err());
        for key in [1, 2] {
            assert_eq!(gate.admit(&Hostile(key), token(59)).unwrap_err().latest, token(60));
            assert_eq!(gate.admit(&Hostile(key), token(60)), Ok(()));
        }
        let inner = gate.inner.lock().unwrap();
        assert_eq!((inner.latest.len(), inner.order.len()), (2, 2));
    }

    proptest! {
        #[test]
        fn i1_no_token_is_admitted_after_a_larger_one_of_its_key(
            capacity in 0usize..6,
            writes in proptest::collection::vec((0u8..8, 1u64..60), 1..300),
        ) {
            let gate = FenceGate::<u8>::new(capacity);
            let mut largest = HashMap::new();
            let mut highest = 0;
            for (key, value) in writes {
                let before = *largest.get(&key).unwrap_or(&0);
                match gate.admit(&key, token(value)) {
                    Ok(()) => {
                        prop_assert!(value >= before, "{key}: {value} after {before}");
                        largest.insert(key, value);
                        highest = highest.max(value);
                        prop_assert!(gate.latest(&key) >= Some(token(value)));
                    }
                    // Nothing is refused for no reason: unbounded, only what is stale; bounded,
                    // never what is the largest of all.
                    Err(stale) => {
                        prop_assert_eq!(stale.token, token(value));
                        prop_assert!(value < stale.latest.get() && stale.latest.get() <= highest);
                    }
                }
                let inner = gate.inner.lock().unwrap();
                prop_assert!(inner.latest.len() <= capacity);
                prop_assert_eq!(inner.latest.len(), inner.order.len());
            }
        }

        #[test]
        fn with_room_for_all_keys_only_stale_tokens_are_refused(
            writes in proptest::collection::vec((0u8..8, 1u64..60), 1..300),
        ) {
            let gate = FenceGate::<u8>::new(8);
            let mut largest = HashMap::new();
            for (key, value) in writes {
                let before = largest.entry(key).or_insert(0);
                prop_assert_eq!(gate.admit(&key, token(value)).is_ok(), value >= *before);
                *before = value.max(*before);
                prop_assert_eq!(gate.latest(&key), Some(token(*before)));
            }
        }
    }
}
