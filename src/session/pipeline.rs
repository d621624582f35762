//! The in-flight FIFO of one connection: which command each reply belongs to. Pure.
//!
//! A command enters when its write is formed and leaves only by its reply or by the connection's
//! death; a command whose answer is late stays, so that a later reply is never taken for another's.
//! - I1 replies match commands in order, and a reply of the wrong type is a [`Mismatch`]: the
//!   connection is poisoned, because a shifted reply is a false grant.
//! - I2 every write ends in a marker; its commands share one send time, read just before its bytes
//!   left, from which their shares of validity count.
//! - I3 commands expire in order, each once; an expired command stays in the FIFO.

use std::collections::VecDeque;
use std::time::Duration;

use crate::session::answer::Kind;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: Kind,
    items: u16,
}

/// One write: its marker stands behind its last command.
#[derive(Clone, Copy, Debug, Default)]
struct Write {
    entries: usize,
    items: usize,
    sent_at: Timestamp,
}

/// The FIFO. `T` is what a command's reply is for: an operation, or a query.
#[derive(Debug)]
pub(crate) struct Pipeline<T> {
    entries: VecDeque<Entry>,
    items: VecDeque<T>,
    writes: VecDeque<Write>,
    forming: Write,
    /// Of the front of each queue, how much has expired (I3).
    expired: Write,
    expired_writes: usize,
}

/// The command at the head of the FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) items: usize,
    pub(crate) sent_at: Timestamp,
}

impl<T> Pipeline<T> {
    pub(crate) fn new() -> Self {
        Self {
            entries: VecDeque::with_capacity(CAPACITY),
            items: VecDeque::with_capacity(CAPACITY),
            writes: VecDeque::with_capacity(CAPACITY),
            forming: Write::default(),
            expired: Write::default(),
            expired_writes: 0,
        }
    }

    /// Adds an item of the command that [`Pipeline::push`] will complete.
    pub(crate) fn push_item(&mut self, item: T) {
        self.items.push_back(item);
        self.forming.items += 1;
    }

    /// Adds a command over the last `items` items to the write being formed.
    pub(crate) fn push(&mut self, kind: Kind, items: u16) {
        self.entries.push_back(Entry { kind, items });
        self.forming.entries += 1;
    }

    /// Ends the write being formed: its bytes leave now (I2).
    pub(crate) fn end_write(&mut self, now: Timestamp) {
        if self.forming.entries > 0 {
            self.writes.push_back(Write { sent_at: now, ..self.forming });
        }
        self.forming = Write::default();
    }

    /// Commands in flight.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Commands in flight whose answer is overdue.
    pub(crate) const fn overdue(&self) -> usize {
        self.expired.entries
    }

    /// When the oldest command in flight was sent.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.writes.front().map(|write| write.sent_at)
    }

    /// The command that the next reply belongs to.
    pub(crate) fn head(&self) -> Option<Head> {
        let entry = self.entries.front()?;
        let write = self.writes.front()?;
        Some(Head { kind: entry.kind, items: usize::from(entry.items), sent_at: write.sent_at })
    }

    /// Takes the head out, its reply having come, and hands out its items in order.
    pub(crate) fn pop(&mut self, mut each: impl FnMut(usize, T)) {
        let Some(entry) = self.entries.pop_front() else { return };
        let count = usize::from(entry.items);
        if count == 1 {
            // The usual one.
            if let Some(item) = self.items.pop_front() {
                each(0, item);
            }
        } else {
            for (at, item) in self.items.drain(..count.min(self.items.len())).enumerate() {
                each(at, item);
            }
        }
        self.have_left(1, count);
    }

    /// How many commands at the head, `most` at most and of one write, are of `kind` over one item.
    pub(crate) fn run(&self, kind: Kind, most: usize) -> usize {
        let of_one_write = self.writes.front().map_or(0, |write| write.entries);
        let is_one = |entry: &&Entry| entry.kind == kind && entry.items == 1;
        self.entries.iter().take(most.min(of_one_write)).take_while(is_one).count()
    }

    /// As [`Pipeline::pop`] of the first `commands` of such a [`Pipeline::run`].
    pub(crate) fn pop_run(&mut self, commands: usize, each: impl FnMut(T)) {
        self.entries.drain(..commands.min(self.entries.len()));
        self.items.drain(..commands.min(self.items.len())).for_each(each);
        self.have_left(commands, commands);
    }

    /// Commands of one write, over `items` items, have been taken out of the front.
    fn have_left(&mut self, entries: usize, items: usize) {
        if self.expired.entries > 0 {
            self.expired.entries = self.expired.entries.saturating_sub(entries);
            self.expired.items = self.expired.items.saturating_sub(items);
        }
        if let Some(write) = self.writes.front_mut() {
            write.entries -= entries;
            write.items -= items;
            if write.entries == 0 {
                self.writes.pop_front();
                self.expired_writes = self.expired_writes.saturating_sub(1);
            }
        }
    }

    /// The next `count` items, in order.
    pub(crate) fn ahead(&self, count: usize) -> impl Iterator<Item = &T> {
        self.items.range(..count.min(self.items.len()))
    }

    /// When the next command expires.
    pub(crate) fn next_expiry(&self, timeout: Duration) -> Option<Timestamp> {
        self.writes.get(self.expired_writes).map(|write| write.sent_at.plus(timeout))
    }

    /// Expires every command sent `timeout` or longer ago (I3): they stay in the FIFO.
    pub(crate) fn expire(
        &mut self,
        now: Timestamp,
        timeout: Duration,
        mut each: impl FnMut(Kind, &T),
    ) {
        while let Some(write) = self.writes.get(self.expired_writes).copied() {
            if write.sent_at.plus(timeout) > now {
                return;
            }
            let entries = self.entries.range(self.expired.entries..);
            let mut items = self.items.range(self.expired.items..);
            for entry in entries.take(write.entries) {
                for item in items.by_ref().take(usize::from(entry.items)) {
                    each(entry.kind, item);
                }
            }
            self.expired.entries += write.entries;
            self.expired.items += write.items;
            self.expired_writes += 1;
        }
    }

    /// Empties the FIFO, the connection being dead: every item, with its kind, in order.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(Kind, T)) {
        let mut items = self.items.drain(..);
        for entry in self.entries.drain(..) {
            for item in items.by_ref().take(usize::from(entry.items)) {
                each(entry.kind, item);
            }
        }
        drop(items);
        self.writes.clear();
        self.forming = Write::default();
        self.expired = Write::default();
        self.expired_writes = 0;
    }
}

/// Commands in flight before the queues grow: a node that lags by some batches allocates nothing.
const CAPACITY: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_nanos(10);

    fn at(ns: u64) -> Timestamp {
        Timestamp::from_nanos(ns)
    }

    fn filled() -> Pipeline<u32> {
        let mut pipeline = Pipeline::new();
        for item in [1, 2, 3] {
            pipeline.push_item(item);
        }
        pipeline.push(Kind::Release, 3);
        pipeline.push_item(4);
        pipeline.push(Kind::Acquire, 1);
        pipeline.end_write(at(100));
        pipeline.end_write(at(101));
        pipeline.push(Kind::Load, 0);
        pipeline.push_item(5);
        pipeline.push(Kind::Acquire, 1);
        pipeline.end_write(at(105));
        pipeline
    }

    #[test]
    fn i1_replies_match_in_order_and_items_stay_with_their_command() {
        let mut pipeline = filled();
        let mut seen = Vec::new();
        while let Some(head) = pipeline.head() {
            let mut items = Vec::new();
            pipeline.pop(|_, item| items.push(item));
            assert_eq!(items.len(), head.items);
            seen.push((head.kind, head.sent_at.as_nanos(), items));
        }
        let expected = [
            (Kind::Release, 100, vec![1, 2, 3]),
            (Kind::Acquire, 100, vec![4]),
            (Kind::Load, 105, vec![]),
            (Kind::Acquire, 105, vec![5]),
        ];
        assert_eq!(seen, expected);
        assert!(pipeline.is_empty() && pipeline.oldest().is_none());
    }

    /// As one after the other: whatever is asked for, expired or not.
    #[test]
    fn a_run_is_of_one_write_and_one_kind_and_leaves_like_its_commands() {
        for (overdue, most, expected) in [(false, 9, 2), (true, 9, 2), (true, 1, 1), (false, 0, 0)]
        {
            let of_kinds = || {
                let mut pipeline = Pipeline::new();
                let commands = [(Kind::Acquire, 1), (Kind::Acquire, 1), (Kind::Release, 1)];
                for (item, (kind, items)) in commands.into_iter().enumerate() {
                    pipeline.push_item(item);
                    pipeline.push(kind, items);
                }
                pipeline.end_write(at(100));
                for item in [3, 4] {
                    pipeline.push_item(item);
                    pipeline.push(Kind::Acquire, 1);
                    pipeline.end_write(at(101));
                }
                let until = if overdue { at(110) } else { at(109) };
                pipeline.expire(until, TIMEOUT, |_, _| {});
                pipeline
            };
            let (mut pipeline, mut other) = (of_kinds(), of_kinds());
            assert_eq!(pipeline.run(Kind::Acquire, most), expected);
            assert_eq!(pipeline.run(Kind::Release, most), 0, "not at the head");
            let (mut items, mut others) = (Vec::new(), Vec::new());
            pipeline.pop_run(expected, |item| items.push(item));
            (0..expected).for_each(|_| other.pop(|_, item| others.push(item)));
            assert_eq!(items, others);
            assert_eq!(items, (0..expected).collect::<Vec<_>>());
            let state = |of: &Pipeline<usize>| (of.head(), of.len(), of.overdue(), of.oldest());
            assert_eq!(state(&pipeline), state(&other));
            // The rest of the write, whose end is at its place, and nothing of the next one.
            pipeline.pop(|_, _| {});
            assert!(most < 9 || pipeline.run(Kind::Acquire, 9) == 1);
        }
        let mut pipeline = filled();
        assert_eq!(pipeline.run(Kind::Release, 9), 0, "over three items");
        pipeline.pop(|_, _| {});
        assert_eq!(pipeline.run(Kind::Acquire, 9), 1, "the next one is of another write");
        pipeline.pop_run(1, |item| assert_eq!(item, 4));
        assert_eq!(
            pipeline.head().map(|head| (head.kind, head.sent_at)),
            Some((Kind::Load, at(105)))
        );
    }

    #[test]
    fn i3_commands_expire_in_order_once_and_stay() {
        let mut pipeline = filled();
        assert_eq!(pipeline.next_expiry(TIMEOUT), Some(at(110)));
        let mut gone = Vec::new();
        pipeline.expire(at(109), TIMEOUT, |_, item| gone.push(*item));
        assert!(gone.is_empty());
        pipeline.expire(at(110), TIMEOUT, |_, item| gone.push(*item));
        pipeline.expire(at(110), TIMEOUT, |_, item| gone.push(*item));
        assert_eq!(gone, [1, 2, 3, 4]);
        assert_eq!((pipeline.len(), pipeline.overdue()), (4, 2));
        pipeline.pop(|_, _| {});
        assert_eq!(pipeline.overdue(), 1);
        pipeline.expire(at(115), TIMEOUT, |_, item| gone.push(*item));
        assert_eq!(gone, [1, 2, 3, 4, 5]);
        assert_eq!(pipeline.overdue(), 3);
        assert_eq!(pipeline.next_expiry(TIMEOUT), None);
        pipeline.pop(|_, _| {});
        pipeline.push_item(6);
        pipeline.push(Kind::Acquire, 1);
        pipeline.end_write(at(200));
        assert_eq!(pipeline.next_expiry(TIMEOUT), Some(at(210)));
        let mut rest = Vec::new();
        pipeline.drain(|kind, item| rest.push((kind, item)));
        assert_eq!(rest, [(Kind::Acquire, 5), (Kind::Acquire, 6)]);
        assert_eq!((pipeline.len(), pipeline.overdue()), (0, 0));
    }
}
