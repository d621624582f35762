//! The scripts on locks in modes: take, keep, drop.

use super::Answer;
use super::host::{Invocation, Raised, as_lua};
use super::locks::same_epoch;
use crate::algorithm::script::OWNERS_MAX;

type Ended = Result<Answer, Raised>;

/// What is to be written for one key.
struct Step {
    kind: &'static str,
    ends: i64,
    last: i64,
    dead: Vec<Vec<u8>>,
    own: bool,
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
            call.hset(82, key, token, &entry(mode, step.ends))?;
            call.pexpire_at(83, key, step.last)?;
            for field in step.dead {
                call.hdel(84, key, &field)?;
            }
        } else if step.kind != "string" {
            call.set(86, &[Some(key), Some(token), Some(b"PX"), Some(ttl_text)])?;
        } else if call.pttl(key) < ttl_ms {
            call.pexpire(88, key, as_lua(ttl_ms))?;
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
    let mut step = Step { kind, ends: end_ms, last: end_ms, dead: Vec::new(), own: false };
    let denied = Ok(Err(Answer::Nil));
    let mut alive: Vec<Vec<u8>> = Vec::new();
    match kind {
        "none" => {}
        "string" => {
            if mode != b"X" || call.get(37, Some(key))?.as_deref() != Some(token) {
                return denied;
            }
        }
        "hash" => {
            let mut is_taken = false;
            for (field, value) in call.fields(key) {
                let Some((held, ends)) = read(&value) else { return denied };
                if ends < call.now_ms {
                    step.dead.push(field);
                    continue;
                }
                if field == token {
                    (step.ends, step.own) = (step.ends.max(ends), true);
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
            if alive.len() >= usize::from(OWNERS_MAX) && !step.own {
                return denied;
            }
        }
        _ => return denied,
    }
    let queue = [b"redlatch:queue:", key].concat();
    if mode == b"S" && !step.own && call.exists(&queue) {
        return denied;
    }
    Ok(Ok(step))
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
                    call.pexpire_at(34, key, call.now_ms + left_ms.max(ttl_ms))?;
                    call.hset(35, key, token, &entry(&mode, end_ms))?;
                }
                _ => {}
            }
        }
    }
    Ok(Answer::Bulk(vec![letter]))
}

pub(super) fn release(call: &mut Invocation<'_>) -> Ended {
    let token = call.arg(1).unwrap_or_default();
    let mut letter = b'd';
    for key in call.keys {
        let kind = call.kind(key);
        if kind == "string" && call.get(9, Some(key))?.as_deref() == Some(token) {
            call.del(10, &[key])?;
        } else if kind == "hash" && call.hdel(11, key, token)? {
            let fields = call.fields(key);
            let ends = fields.iter().filter_map(|(_, value)| read(value)).map(|(_, ends)| ends);
            if let Some(last) = ends.max() {
                call.pexpire_at(17, key, last)?;
            }
        } else if kind == "string" {
            letter = b'o';
        } else if letter == b'd' {
            letter = b'm';
        }
    }
    Ok(Answer::Bulk(vec![letter]))
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
