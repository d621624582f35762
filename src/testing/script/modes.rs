//! The scripts on locks in modes: take, keep, drop.

use super::Answer;
use super::host::{Invocation, Raised, as_lua};
use super::locks::same_epoch;
use super::queue::Lines;
use crate::algorithm::script::OWNERS_MAX;

type Ended = Result<Answer, Raised>;

/// What is to be written for one key.
struct Step {
    kind: &'static str,
    ends: i64,
    last: i64,
    dead: Vec<Vec<u8>>,
    /// Beside others, all of whom may stay as they are.
    joins: bool,
}

pub(super) fn take(call: &mut Invocation<'_>) -> Ended {
    same_epoch(call, 10)?;
    let permits = permits(call.arg(call.keys.len() + 3).unwrap_or_default());
    let ttl_text = call.arg(3).unwrap_or_default();
    let ttl_ms = digits(ttl_text).filter(|_| !ttl_text.starts_with(b"0"));
    let is_known = |mode: &[u8]| match mode.strip_prefix(b"P") {
        Some(permit) if !is_mode(mode) => {
            permit.len() <= 4 && digits(permit).is_some_and(|permit| Some(permit) < permits)
        }
        _ => is_mode(mode),
    };
    let modes = (2..=call.keys.len()).map(|i| call.arg(i + 2).unwrap_or_default());
    let (Some(ttl_ms), true) = (ttl_ms, modes.clone().all(is_known)) else {
        return Err(Raised::Returned("ERR no such mode, or no such ttl"));
    };
    let token = call.arg(2).unwrap_or_default();
    let locks: Vec<(&[u8], &[u8])> = call.keys.iter().skip(1).copied().zip(modes).collect();
    let mut plan = Vec::new();
    for (key, mode) in &locks {
        match look(call, key, mode, token, call.now_ms + ttl_ms, permits)? {
            Ok(step) => plan.push(step),
            Err(denied) => return Ok(denied),
        }
    }
    for ((key, mode), step) in locks.into_iter().zip(plan) {
        if mode != b"X" {
            call.hset(98, key, token, &entry(mode, step.ends))?;
            if !step.joins {
                call.pexpire_at(100, key, step.last)?;
            } else if call.pttl(key) < ttl_ms {
                call.pexpire(102, key, as_lua(ttl_ms))?;
            }
            for field in step.dead {
                call.hdel(104, key, &field)?;
            }
        } else if step.kind != "string" {
            call.set(106, &[Some(key), Some(token), Some(b"PX"), Some(ttl_text)])?;
        } else if call.pttl(key) < ttl_ms {
            call.pexpire(108, key, as_lua(ttl_ms))?;
        }
    }
    Ok(Answer::Integer(1))
}

/// What taking one key needs, or the answer that it is denied.
fn look(
    call: &mut Invocation<'_>,
    key: &[u8],
    mode: &[u8],
    token: &[u8],
    end_ms: i64,
    permits: Option<i64>,
) -> Result<Result<Step, Answer>, Raised> {
    let kind = call.kind(key);
    let mut step = Step { kind, ends: end_ms, last: end_ms, dead: Vec::new(), joins: false };
    let denied = Ok(Err(Answer::Nil));
    let fields = if kind == "hash" { call.fields(key) } else { Vec::new() };
    let own = fields.iter().find(|(field, _)| field == token);
    let own_end = own.and_then(|(_, value)| read(value)).map_or(0, |(_, ends)| ends);
    let queue = [b"redlatch:queue:", key].concat();
    if mode == b"S" && (own.is_none() || own_end < call.now_ms) && call.exists(&queue) {
        return denied;
    }
    let mut alive: Vec<Vec<u8>> = Vec::new();
    match kind {
        "none" => {}
        "string" => {
            if mode != b"X" || call.get(55, Some(key))?.as_deref() != Some(token) {
                return denied;
            }
        }
        "hash" if own.is_none() && joins(&fields, mode, call.now_ms) => step.joins = true,
        "hash" => {
            let mut is_taken = false;
            for (field, value) in &fields {
                let Some((held, ends)) = read(value) else { return denied };
                if ends < call.now_ms {
                    if field != token {
                        step.dead.push(field.clone());
                    }
                    continue;
                }
                if field == token {
                    step.ends = step.ends.max(ends);
                } else if is_mode(mode) {
                    if !is_beside(mode, held) {
                        return denied;
                    }
                } else if held == mode {
                    is_taken = true;
                } else if !held.starts_with(b"P") {
                    return denied;
                }
                alive.push(held.to_vec());
                step.last = step.last.max(ends);
            }
            if is_taken {
                return Ok(Err(free_permit(mode, permits, &alive)));
            }
            let left = fields.len() - step.dead.len();
            if left >= usize::from(OWNERS_MAX) && own.is_none() {
                return denied;
            }
        }
        _ => return denied,
    }
    Ok(Ok(step))
}

/// Whether all these owners may stay beside a new one, the first of them is not over, and there is
/// room.
fn joins(fields: &[(Vec<u8>, Vec<u8>)], mode: &[u8], now_ms: i64) -> bool {
    let is_over = |value: &[u8]| read(value).is_none_or(|(_, ends)| ends < now_ms);
    let stays = |value: &[u8]| read(value).is_some_and(|(held, _)| is_beside(mode, held));
    is_mode(mode)
        && fields.len() < usize::from(OWNERS_MAX)
        && fields.first().is_some_and(|(_, value)| !is_over(value))
        && fields.iter().all(|(_, value)| stays(value))
}

fn free_permit(mode: &[u8], permits: Option<i64>, taken: &[Vec<u8>]) -> Answer {
    let (Some(first), Some(permits)) = (mode.get(1..).and_then(digits), permits) else {
        return Answer::Nil;
    };
    let others = (first + 1..first + permits).map(|permit| permit % permits);
    let is_free = |permit: &i64| !taken.contains(&format!("P{permit}").into_bytes());
    others.into_iter().find(is_free).map_or(Answer::Nil, |permit| Answer::Integer(-permit))
}

pub(super) fn keep(call: &mut Invocation<'_>) -> Ended {
    same_epoch(call, 5)?;
    let ttl_text = call.arg(3).unwrap_or_default();
    let ttl_ms = digits(ttl_text).filter(|_| ttl_text == b"0" || !ttl_text.starts_with(b"0"));
    let Some(ttl_ms) = ttl_ms else { return Err(Raised::Returned("ERR no such ttl")) };
    let token = call.arg(2).unwrap_or_default();
    let mut letter = b'e';
    let mut held = Vec::new();
    for key in call.keys.iter().skip(1) {
        let kind = call.kind(key);
        if kind == "string" {
            if call.get(17, Some(key))?.as_deref() != Some(token) {
                letter = b'o';
            }
            held.push((*key, None));
            continue;
        }
        let fields = if kind == "hash" { call.fields(key) } else { Vec::new() };
        let own = fields.into_iter().find(|(field, _)| field == token);
        let own = own.as_ref().and_then(|(_, value)| read(value));
        let own = own.filter(|(_, ends)| *ends >= call.now_ms);
        if own.is_none() && letter != b'o' {
            letter = b'm';
        }
        held.push((*key, own.map(|(mode, ends)| (mode.to_vec(), ends))));
    }
    if letter == b'e' && ttl_ms > 0 {
        for (key, entry_of) in held {
            let left_ms = call.pttl(key);
            let end_ms = call.now_ms + ttl_ms;
            match entry_of {
                None if left_ms < ttl_ms => call.pexpire(31, key, as_lua(ttl_ms))?,
                Some((mode, ends)) if ends < end_ms => {
                    call.pexpire(35, key, as_lua(left_ms.max(ttl_ms)))?;
                    call.hset(36, key, token, &entry(&mode, end_ms))?;
                }
                _ => {}
            }
        }
    }
    Ok(Answer::Bulk(vec![letter]))
}

pub(super) fn release(call: &mut Invocation<'_>) -> Ended {
    let token = call.arg(1).unwrap_or_default();
    let (mut letter, mut is_handed_on) = (b'd', false);
    for key in call.keys {
        let kind = call.kind(key);
        let fields = if kind == "hash" { call.fields(key) } else { Vec::new() };
        let own = fields.into_iter().find(|(field, _)| field == token);
        if kind == "string" && call.get(53, Some(key))?.as_deref() == Some(token) {
            is_handed_on |= hand_on(call, key)?;
        } else if let Some((_, entry)) = own {
            call.hdel(56, key, token)?;
            if call.exists(key) {
                shorten(call, key, &entry)?;
            }
            if !call.exists(key) {
                is_handed_on |= hand_on(call, key)?;
            }
        } else if kind == "string" {
            letter = b'o';
        } else if letter == b'd' {
            letter = b'm';
        }
    }
    let letter = if is_handed_on && letter == b'd' { b'h' } else { letter };
    Ok(Answer::Bulk(vec![letter]))
}

/// A key lives as long as the last of its owners, who is not the one of this entry if it ends long
/// before the key.
fn shorten(call: &mut Invocation<'_>, key: &[u8], entry: &[u8]) -> Result<(), Raised> {
    let ends = call.now_ms + call.pttl(key);
    if read(entry).is_some_and(|(_, own)| own + 5 < ends) {
        return Ok(());
    }
    let fields = call.fields(key);
    let ends = fields.iter().filter_map(|(_, value)| read(value)).map(|(_, ends)| ends);
    ends.max().map_or(Ok(()), |last| call.pexpire_at(47, key, last))
}

/// What nobody holds any more goes to the head of its queue.
fn hand_on(call: &mut Invocation<'_>, key: &[u8]) -> Result<bool, Raised> {
    let queue = [b"redlatch:queue:", key].concat();
    let lines = Lines { pop: 16, set: 22, first: 24 };
    let is_handed_on = match call.hand_on(&lines, Some(key), Some(&queue), call.arg(2)) {
        // `redis.pcall`: a queue that is none is as an empty one.
        Err(Raised::At(line, _)) if line == lines.pop => false,
        handed_on => handed_on?,
    };
    if !is_handed_on {
        call.del(34, &[key])?;
    }
    Ok(is_handed_on)
}

fn is_mode(mode: &[u8]) -> bool {
    matches!(mode, b"X" | b"S" | b"IX" | b"IS")
}

fn is_beside(one: &[u8], two: &[u8]) -> bool {
    matches!((one, two), (b"S" | b"IS", b"S" | b"IS") | (b"IX", b"IX" | b"IS") | (b"IS", b"IX"))
}

fn permits(text: &[u8]) -> Option<i64> {
    digits(text).filter(|_| text.len() <= 4 && !text.starts_with(b"0"))
}

/// Decimal digits and nothing else, as many as a time in milliseconds has.
fn digits(text: &[u8]) -> Option<i64> {
    let is_number = text.len() <= 13 && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

fn entry(mode: &[u8], ends: i64) -> Vec<u8> {
    [mode, b" ", itoa::Buffer::new().format(ends).as_bytes()].concat()
}

/// An owner's mode and its end.
fn read(value: &[u8]) -> Option<(&[u8], i64)> {
    let at = value.iter().position(|byte| *byte == b' ')?;
    let (mode, ends) = (value.get(..at)?, value.get(at + 1..)?);
    let is_word = !mode.is_empty() && mode.iter().all(u8::is_ascii_alphanumeric);
    Some((mode, digits(ends).filter(|_| is_word && !ends.is_empty())?))
}
