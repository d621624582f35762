//! A timing wheel: many deadlines, one timer. Pure.
//!
//! Hashed wheel (Varghese and Lauck, SOSP 1987, scheme 6) of 4 096 slots of 1.05 ms: insertion and
//! removal in O(1), no allocation once its slab has grown. A deadline beyond one turn waits in the
//! slot it hashes to and is passed over until it is due.
//! - I1 an entry is handed out once, at or after its deadline, never before.
//! - I2 a key is never valid for another entry: it carries the generation of its slab place.

use std::num::NonZeroU64;

use crate::time::Timestamp;

/// One slot is 2^20 ns.
const TICK_SHIFT: u32 = 20;
const SLOTS: usize = 4_096;
const NONE: u32 = u32::MAX;

/// Names an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(NonZeroU64);

impl Key {
    /// For an atomic cell in which zero means "none".
    pub(crate) const fn to_word(self) -> u64 {
        self.0.get()
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    const fn parts(self) -> (u32, u32) {
        (self.0.get() as u32, (self.0.get() >> 32) as u32)
    }

    pub(crate) const fn from_word(word: u64) -> Option<Self> {
        match NonZeroU64::new(word) {
            Some(word) => Some(Self(word)),
            None => None,
        }
    }
}

#[derive(Debug)]
struct Entry<T> {
    due: Timestamp,
    slot: usize,
    previous: u32,
    next: u32,
    generation: u32,
    value: Option<T>,
}

#[derive(Debug)]
pub(crate) struct Wheel<T> {
    slots: Vec<u32>,
    occupied: [u64; SLOTS / 64],
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    /// The next tick to visit.
    tick: u64,
    len: usize,
}

impl<T> Wheel<T> {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            slots: vec![NONE; SLOTS],
            occupied: [0; SLOTS / 64],
            entries: Vec::new(),
            free: Vec::new(),
            tick: now.as_nanos() >> TICK_SHIFT,
            len: 0,
        }
    }

    #[cfg(test)]
    const fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry. Its key is never zero.
    pub(crate) fn insert(&mut self, due: Timestamp, value: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.entries.len()).unwrap_or(NONE);
            self.entries.push(Entry {
                due,
                slot: 0,
                previous: NONE,
                next: NONE,
                generation: 0,
                value: None,
            });
            index
        });
        let mut generation = 0;
        if let Some(entry) = self.entries.get_mut(index as usize) {
            generation = entry.generation.wrapping_add(1).max(1);
            entry.generation = generation;
            entry.value = Some(value);
        }
        self.link(index, due);
        self.len += 1;
        let key = NonZeroU64::new((u64::from(generation) << 32) | u64::from(index));
        Key(key.unwrap_or(NonZeroU64::MIN))
    }

    /// Puts the entry at `index`, which is in no slot, into that of `due`.
    fn link(&mut self, index: u32, due: Timestamp) {
        // Rounded up, so that a visited slot's entries are due (I1).
        let due_tick = due.as_nanos().div_ceil(1 << TICK_SHIFT).max(self.tick);
        let slot = slot_of(due_tick);
        let head = self.slots.get(slot).copied().unwrap_or(NONE);
        if let Some(entry) = self.entries.get_mut(index as usize) {
            (entry.due, entry.slot, entry.previous, entry.next) = (due, slot, NONE, head);
        }
        if let Some(first) = self.entries.get_mut(head as usize) {
            first.previous = index;
        }
        self.set_head(slot, index);
    }

    /// Takes an entry out before it is due. `None`: it was handed out or removed already.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.take(key.parts().0)
    }

    /// An entry that is still in the wheel, and its deadline.
    pub(crate) fn get(&self, key: Key) -> Option<(Timestamp, &T)> {
        let (index, generation) = key.parts();
        let entry = self.entries.get(index as usize)?;
        let value = entry.value.as_ref().filter(|_| entry.generation == generation)?;
        Some((entry.due, value))
    }

    /// The entry behind `key`, if it is still in, to change it where it is.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (index, generation) = key.parts();
        let entry = self.entries.get_mut(index as usize)?;
        entry.value.as_mut().filter(|_| entry.generation == generation)
    }

    /// Gives an entry another deadline; its key stays. Nothing happens to one that is out.
    pub(crate) fn reschedule(&mut self, key: Key, due: Timestamp) {
        if self.get(key).is_some() {
            self.unlink(key.parts().0);
            self.link(key.parts().0, due);
        }
    }

    fn take(&mut self, index: u32) -> Option<T> {
        let value = self.entries.get_mut(index as usize)?.value.take()?;
        self.unlink(index);
        self.free.push(index);
        self.len -= 1;
        Some(value)
    }

    /// Takes the entry at `index` out of its slot.
    fn unlink(&mut self, index: u32) {
        let Some(entry) = self.entries.get(index as usize) else { return };
        let (slot, previous, next) = (entry.slot, entry.previous, entry.next);
        if let Some(before) = self.entries.get_mut(previous as usize) {
            before.next = next;
        } else {
            self.set_head(slot, next);
        }
        if let Some(after) = self.entries.get_mut(next as usize) {
            after.previous = previous;
        }
    }

    fn set_head(&mut self, slot: usize, head: u32) {
        if let Some(first) = self.slots.get_mut(slot) {
            *first = head;
        }
        if let Some(word) = self.occupied.get_mut(slot / 64) {
            if head == NONE {
                *word &= !(1 << (slot % 64));
            } else {
                *word |= 1 << (slot % 64);
            }
        }
    }

    /// Hands out everything that is due at `now`.
    pub(crate) fn advance(&mut self, now: Timestamp, due: &mut Vec<T>) {
        let last = now.as_nanos() >> TICK_SHIFT;
        if last < self.tick {
            return;
        }
        let ticks = (last - self.tick + 1).min(SLOTS as u64);
        for tick in self.tick..self.tick + ticks {
            let mut index = self.slots.get(slot_of(tick)).copied().unwrap_or(NONE);
            while let Some(entry) = self.entries.get(index as usize) {
                let (next, is_due) = (entry.next, entry.due <= now);
                if is_due && let Some(value) = self.take(index) {
                    due.push(value);
                }
                index = next;
            }
        }
        self.tick = last + 1;
    }

    /// When to call [`Wheel::advance`] next: not later than the next deadline, maybe earlier.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        if self.len == 0 {
            return None;
        }
        let start = slot_of(self.tick);
        for step in 0..=SLOTS / 64 {
            let at = (start / 64 + step) % (SLOTS / 64);
            let mut word = self.occupied.get(at).copied().unwrap_or(0);
            if step == 0 {
                word &= u64::MAX << (start % 64);
            }
            if word != 0 {
                let slot = at * 64 + word.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some(Timestamp::from_nanos((self.tick + ahead as u64) << TICK_SHIFT));
            }
        }
        // Only slots behind the start in the start's own word are left: a whole turn away.
        Some(Timestamp::from_nanos((self.tick + SLOTS as u64 - 64) << TICK_SHIFT))
    }

    /// Every entry, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.value.as_ref())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below SLOTS")]
fn slot_of(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    fn due(wheel: &mut Wheel<u32>, now: Timestamp) -> Vec<u32> {
        let mut out = Vec::new();
        wheel.advance(now, &mut out);
        out.sort_unstable();
        out
    }

    #[test]
    fn i1_entries_come_out_once_and_not_before_their_deadline() {
        let mut wheel = Wheel::new(at(0));
        wheel.insert(at(10), 1);
        wheel.insert(at(20_000), 2);
        wheel.insert(at(10), 3);
        assert!(due(&mut wheel, at(9)).is_empty());
        assert_eq!(due(&mut wheel, at(12)), [1, 3]);
        assert!(due(&mut wheel, at(15_000)).is_empty());
        assert_eq!(due(&mut wheel, at(20_002)), [2]);
        assert_eq!((wheel.len(), wheel.next_due()), (0, None));
    }

    #[test]
    fn i2_a_stale_key_removes_nothing() {
        let mut wheel = Wheel::new(at(0));
        let first = wheel.insert(at(10), 1);
        assert_eq!(wheel.remove(first), Some(1));
        assert_eq!(wheel.remove(first), None);
        let second = wheel.insert(at(10), 2);
        assert_eq!(wheel.remove(first), None);
        wheel.reschedule(first, at(50_000));
        assert_eq!((wheel.get(first), wheel.get(second)), (None, Some((at(10), &2))));
        assert_eq!(Key::from_word(second.to_word()), Some(second));
        assert_eq!(due(&mut wheel, at(100)), [2]);
        assert_eq!(wheel.remove(second), None);
    }

    proptest! {
        /// Against a plain list: the same entries at every step, and the wheel never asks to
        /// sleep past a deadline.
        #[test]
        fn i1_agrees_with_a_list(
            steps in proptest::collection::vec((0u8..5, 0u64..12_000), 1..200),
        ) {
            let mut wheel = Wheel::new(at(5));
            let mut list: Vec<(Timestamp, u32, Key)> = Vec::new();
            let mut now = at(5);
            for (id, (action, ms)) in steps.into_iter().enumerate() {
                let id = u32::try_from(id).unwrap();
                match action {
                    0 | 1 => {
                        let deadline = now.plus(Duration::from_millis(ms));
                        list.push((deadline, id, wheel.insert(deadline, id)));
                    }
                    2 if !list.is_empty() => {
                        let at = usize::try_from(ms).unwrap() % list.len();
                        let (_, id, key) = list.swap_remove(at);
                        prop_assert_eq!(wheel.remove(key), Some(id));
                    }
                    3 if !list.is_empty() => {
                        let at = usize::try_from(ms).unwrap() % list.len();
                        let deadline = now.plus(Duration::from_millis(ms));
                        wheel.reschedule(list[at].2, deadline);
                        list[at].0 = deadline;
                        prop_assert_eq!(wheel.get(list[at].2), Some((deadline, &list[at].1)));
                    }
                    _ => {
                        now = now.plus(Duration::from_millis(ms / 4));
                        let out = due(&mut wheel, now);
                        // A deadline within the tick that is under way may come one tick late.
                        let grain = Duration::from_nanos(1 << TICK_SHIFT);
                        for (deadline, id, _) in &list {
                            let is_out = out.contains(id);
                            prop_assert!(!is_out || *deadline <= now);
                            prop_assert!(is_out || deadline.plus(grain) > now);
                        }
                        list.retain(|(_, id, _)| !out.contains(id));
                    }
                }
                prop_assert_eq!(wheel.len(), list.len());
                let grain = Duration::from_nanos(2 << TICK_SHIFT);
                if let Some(first) = list.iter().map(|entry| entry.0).min() {
                    let next = wheel.next_due().unwrap();
                    prop_assert!(next <= first.max(now).plus(grain), "{:?} {:?}", next, first);
                }
            }
        }
    }
}
