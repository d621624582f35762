//! The scripts of the queue between processes: enter, leave, confirm.

use super::Answer;
use super::host::{Invocation, NOT_TEXT, Raised, as_lua, number, written};
use super::locks::{Ended, count_up, same_epoch};
use crate::algorithm::script::CHANNEL_PREFIX;
use crate::testing::command::WRONG_TYPE;
use crate::testing::sorted::{Sorted, score};
use crate::testing::store::Value;
use crate::token::Token;

pub(super) fn enter(call: &mut Invocation<'_>) -> Ended {
    same_epoch(call, 12)?;
    let (lock, queue, me, ttl_ms) = (call.key(2), call.key(3), call.arg(3), call.arg(4));
    let held = holder(call, 18, lock)?;
    if let Some(Some(holder)) = &held
        && Some(&**holder) == me
    {
        return letter(b'r');
    }
    let ticket = ticket_number(call.arg(2))?;
    let score = format!("{:.0}", ticket - modulo(ticket, 64.0) + quarters(call.now_ms) % 64.0);
    let member = member(23, me, ttl_ms)?;
    call.zadd(23, queue, Some(score.as_bytes()), Some(&member))?;
    call.pexpire_by(24, queue, call.arg(6))?;
    let mut holder = match held {
        Some(None) => None,
        Some(Some(holder)) => Some(Holder::One(holder)),
        None => Some(Holder::OtherType),
    };
    for _ in 0..HEADS_MAX {
        if holder.is_some() {
            break;
        }
        let Some((member, _)) = call.zpopmin(27, queue)? else {
            return Err(Raised::lua(27, "bad argument #1 to 'sub' (string expected, got nil)"));
        };
        let (head, _) = parts(&member);
        if Some(head) == me {
            call.set(29, &[lock, me, Some(b"PX"), ttl_ms])?;
            return letter(b'g');
        }
        call.set(32, &[lock, Some(head), Some(b"PX"), call.arg(5)])?;
        if lock.is_some_and(|lock| call.tell(head, &[b"g", head, lock]) > 0) {
            holder = Some(Holder::One(head.to_vec()));
        }
    }
    let lock = lock.ok_or_else(|| Raised::at(43, NOT_TEXT))?;
    let is_told = match holder {
        Some(Holder::One(holder)) => {
            holder.len() == Token::LEN
                && call.tell(&holder, &[b"w", me.unwrap_or_default(), lock]) > 0
        }
        Some(Holder::OtherType) => {
            call.any_field(lock).is_some_and(|name| name.len() == Token::LEN)
        }
        None => false,
    };
    let word = if is_told { "w" } else { "d" };
    Ok(Answer::Bulk(format!("{word}{}", written(call.pttl(lock))).into_bytes()))
}

/// Who has a lock.
enum Holder {
    One(Vec<u8>),
    /// What GET has an error for.
    OtherType,
}

pub(super) fn leave(call: &mut Invocation<'_>) -> Ended {
    let (lock, queue, me) = (call.key(1), call.key(2), call.arg(1));
    let held = holder(call, 10, lock)?;
    let is_held = matches!(&held, Some(Some(holder)) if Some(&**holder) == me);
    if !is_held {
        let member = member(12, me, call.arg(3))?;
        call.zrem(12, queue, Some(&member))?;
        if held != Some(None) {
            return letter(b'o');
        }
    }
    if call.hand_on(&Lines { pop: 19, set: 26, first: 28 }, lock, queue, call.arg(2))? {
        return letter(if is_held { b'h' } else { b'm' });
    }
    call.del(37, &[lock.ok_or_else(|| Raised::at(37, NOT_TEXT))?])?;
    letter(if is_held { b'd' } else { b'm' })
}

/// Where a script that hands on asks what.
pub(super) struct Lines {
    pub(super) pop: u32,
    pub(super) set: u32,
    pub(super) first: u32,
}

/// Heads for whom nobody listens that one call passes over at most.
const HEADS_MAX: usize = 16;

/// A member of a queue: the token, and the ttl that it asks for.
fn parts(member: &[u8]) -> (&[u8], &[u8]) {
    member.split_at(member.len().min(Token::LEN))
}

/// The time in quarters of a second.
fn quarters(now_ms: i64) -> f64 {
    as_lua(now_ms.div_euclid(250))
}

/// Lua's `%`.
fn modulo(value: f64, by: f64) -> f64 {
    value - (value / by).floor() * by
}

/// What arithmetic makes of an argument.
fn ticket_number(text: Option<&[u8]>) -> Result<f64, Raised> {
    let kind = if text.is_some() { "string" } else { "nil" };
    let text = text.and_then(number);
    text.ok_or_else(|| {
        Raised::lua(22, &format!("attempt to perform arithmetic on field '?' (a {kind} value)"))
    })
}

/// `me .. ttl`.
fn member(line: u32, me: Option<&[u8]>, ttl_ms: Option<&[u8]>) -> Result<Vec<u8>, Raised> {
    let nothing =
        |what: &str| Raised::lua(line, &format!("attempt to concatenate {what} (a nil value)"));
    let me = me.ok_or_else(|| nothing("local 'me'"))?;
    Ok([me, ttl_ms.ok_or_else(|| nothing("field '?'"))?].concat())
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
    /// A free lock goes to the head of its queue for whom somebody listens, if there is one.
    pub(super) fn hand_on(
        &mut self,
        lines: &Lines,
        lock: Option<&[u8]>,
        queue: Option<&[u8]>,
        reserved: Option<&[u8]>,
    ) -> Result<bool, Raised> {
        let name = lock.unwrap_or_default();
        for _ in 0..HEADS_MAX {
            let Some((member, score)) = self.zpopmin(lines.pop, queue)? else { break };
            let (token, life) = parts(&member);
            let age = modulo(quarters(self.now_ms) - score, 64.0);
            let life = Some(life).filter(|life| age < 3.0 && number(life).is_some());
            let word: &[u8] = if life.is_some() { b"G" } else { b"g" };
            self.set(lines.set, &[lock, Some(token), Some(b"PX"), life.or(reserved)])?;
            if self.tell(token, &[word, token, name]) == 0 {
                continue;
            }
            if let Some(next) = self.first(lines.first, queue)? {
                let (next, _) = parts(&next);
                self.tell(next, &[b"n", next, name]);
                self.tell(token, &[b"w", next, name]);
            }
            return Ok(true);
        }
        Ok(false)
    }

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

    /// `redis.call('ZPOPMIN', key)`.
    fn zpopmin(&mut self, line: u32, key: Option<&[u8]>) -> Result<Option<(Vec<u8>, f64)>, Raised> {
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
