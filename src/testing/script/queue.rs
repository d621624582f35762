//! The scripts of the queue between processes: enter, leave, confirm.

use super::Answer;
use super::host::{Invocation, NOT_TEXT, Raised, written};
use super::locks::{Ended, count_up, same_epoch};
use crate::algorithm::script::CHANNEL_PREFIX;
use crate::testing::command::WRONG_TYPE;
use crate::testing::sorted::{Sorted, score};
use crate::testing::store::Value;
use crate::token::Token;

pub(super) fn enter(call: &mut Invocation<'_>) -> Ended {
    same_epoch(call, 9)?;
    let (lock, queue, me) = (call.key(2), call.key(3), call.arg(3));
    let held = holder(call, 15, lock)?;
    if let Some(Some(holder)) = &held
        && Some(&**holder) == me
    {
        return letter(b'r');
    }
    call.zadd(17, queue, call.arg(2), me)?;
    call.pexpire_by(18, queue, call.arg(6))?;
    let holder = match held {
        None => None,
        Some(Some(holder)) => Some(holder),
        Some(None) => {
            let head = call.zpopmin(20, queue)?;
            if head.as_deref() == me {
                call.set(22, &[lock, me, Some(b"PX"), call.arg(4)])?;
                return letter(b'g');
            }
            call.set(25, &[lock, head.as_deref(), Some(b"PX"), call.arg(5)])?;
            if let (Some(head), Some(lock)) = (&head, lock) {
                call.tell(head, &[b"g", head, lock]);
            }
            head
        }
    };
    let mut told = 0;
    if let (Some(holder), Some(me), Some(lock)) = (holder, me, lock)
        && holder.len() == Token::LEN
    {
        told = call.tell(&holder, &[b"w", me, lock]);
    }
    let left_ms = call.pttl(lock.ok_or_else(|| Raised::at(30, NOT_TEXT))?);
    let word = if told > 0 { "w" } else { "d" };
    Ok(Answer::Bulk(format!("{word}{}", written(left_ms)).into_bytes()))
}

pub(super) fn leave(call: &mut Invocation<'_>) -> Ended {
    let (lock, queue, me) = (call.key(1), call.key(2), call.arg(1));
    let held = holder(call, 7, lock)?;
    call.zrem(8, queue, me)?;
    let is_held = match &held {
        Some(None) => false,
        Some(Some(holder)) if Some(&**holder) == me => true,
        _ => return letter(b'o'),
    };
    let Some(head) = call.zpopmin(10, queue)? else {
        if let Some(lock) = lock.filter(|_| is_held) {
            call.del(12, &[lock])?;
        }
        return letter(if is_held { b'd' } else { b'm' });
    };
    call.set(15, &[lock, Some(&head), Some(b"PX"), call.arg(2)])?;
    let lock = lock.unwrap_or_default();
    call.tell(&head, &[b"g", &head, lock]);
    if let Some(next) = call.first(20, queue)? {
        call.tell(&next, &[b"n", &next, lock]);
        call.tell(&head, &[b"w", &next, lock]);
    }
    letter(if is_held { b'h' } else { b'm' })
}

pub(super) fn confirm(call: &mut Invocation<'_>) -> Ended {
    same_epoch(call, 6)?;
    let lock = call.key(2);
    match holder(call, 9, lock)? {
        Some(Some(holder)) if Some(&*holder) == call.arg(2) => {}
        _ => return Ok(Answer::Nil),
    }
    call.pexpire_by(10, lock, call.arg(3))?;
    count_up(call, 12)
}

fn letter(letter: u8) -> Ended {
    Ok(Answer::Bulk(vec![letter]))
}

/// `redis.pcall('GET', lock)`, whose error is a value, and no token: the outer nothing.
fn holder(
    call: &mut Invocation<'_>,
    line: u32,
    lock: Option<&[u8]>,
) -> Result<Option<Option<Vec<u8>>>, Raised> {
    Ok(lock.map(|lock| call.pget(line, Some(lock))).transpose()?.flatten())
}

impl Invocation<'_> {
    /// `redis.call('ZADD', key, score, member)`.
    fn zadd(
        &mut self,
        line: u32,
        key: Option<&[u8]>,
        number: Option<&[u8]>,
        member: Option<&[u8]>,
    ) -> Result<(), Raised> {
        let (Some(key), Some(number), Some(member)) = (key, number, member) else {
            return Err(Raised::at(line, NOT_TEXT));
        };
        self.may_write(line, true)?;
        let score = score(number).map_err(|text| Raised::at(line, text))?;
        self.alter(line, key, |sorted| sorted.add(score, member)).map(drop)
    }

    /// `redis.call('ZREM', key, member)`.
    fn zrem(&mut self, line: u32, key: Option<&[u8]>, member: Option<&[u8]>) -> Result<(), Raised> {
        let (Some(key), Some(member)) = (key, member) else {
            return Err(Raised::at(line, NOT_TEXT));
        };
        self.may_write(line, false)?;
        self.alter(line, key, |sorted| sorted.remove(member)).map(drop)
    }

    /// `redis.call('ZPOPMIN', key)[1]`.
    fn zpopmin(&mut self, line: u32, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Raised> {
        let key = key.ok_or_else(|| Raised::at(line, NOT_TEXT))?;
        self.may_write(line, false)?;
        self.alter(line, key, Sorted::pop_first)
    }

    /// `redis.call('ZRANGE', key, 0, 0)[1]`.
    fn first(&mut self, line: u32, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Raised> {
        let key = key.ok_or_else(|| Raised::at(line, NOT_TEXT))?;
        let entry = self.node.store.get(self.db, key, self.now_ms);
        let first = match entry.map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Sorted(sorted)) => Ok(sorted.first().map(<[u8]>::to_vec)),
            Some(_) => Err(Raised::at(line, WRONG_TYPE)),
        };
        self.has_read(key);
        first
    }

    fn alter<T>(
        &mut self,
        line: u32,
        key: &[u8],
        alter: impl FnOnce(&mut Sorted) -> T,
    ) -> Result<T, Raised> {
        let altered = self.node.store.alter(self.db, key, self.now_ms, alter);
        self.has_written();
        altered.ok_or_else(|| Raised::at(line, WRONG_TYPE))
    }

    /// Says something to the process whose token it is; how many hear it.
    fn tell(&mut self, token: &[u8], words: &[&[u8]]) -> usize {
        let process = token.get(..16).unwrap_or(token);
        let channel = [CHANNEL_PREFIX.as_bytes(), process].concat();
        self.node.clients.publish(self.session.id, &channel, &words.concat())
    }
}
