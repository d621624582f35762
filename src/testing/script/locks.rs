//! The scripts on locks: release, extend, fenced acquisition, raise.

use super::Answer;
use super::host::{Invocation, Raised, WRONG_NUMBER, as_integer, as_lua, number, ordered};
use crate::testing::data::Written;

pub(super) type Ended = Result<Answer, Raised>;

pub(super) fn release(call: &mut Invocation<'_>) -> Ended {
    if call.keys.is_empty() {
        return Err(Raised::at(4, WRONG_NUMBER));
    }
    // All keys are read before the first is deleted: a key named twice answers the same twice.
    let mut letters = Vec::with_capacity(call.keys.len());
    let mut mine = Vec::new();
    for (index, key) in call.keys.iter().enumerate() {
        // MGET answers nil for what is no string.
        letters.push(match call.pget(4, Some(key))?.unwrap_or_default() {
            None => b'm',
            Some(value) if call.argv.get(index) == Some(&&*value) => {
                mine.push(*key);
                b'd'
            }
            Some(_) => b'o',
        });
    }
    if !mine.is_empty() {
        call.del(16, &mine)?;
    }
    Ok(Answer::Bulk(letters))
}

pub(super) fn extend(call: &mut Invocation<'_>) -> Ended {
    same_epoch(call, 5)?;
    let mut letters = Vec::with_capacity(call.keys.len());
    for (index, key) in call.keys.iter().enumerate().skip(1) {
        letters.push(match call.pget(10, Some(key))? {
            None => b'o',
            Some(None) => b'm',
            Some(value) if value.as_deref() == call.arg(2 * index) => {
                let ttl_ms = call.arg(2 * index + 1).and_then(number);
                let left_ms = as_lua(call.pttl(key));
                if ordered(13, (Some(left_ms), ttl_ms), f64::lt)?
                    && let Some(ttl_ms) = ttl_ms.filter(|ttl_ms| *ttl_ms > 0.0)
                {
                    call.pexpire(13, key, ttl_ms)?;
                }
                b'e'
            }
            Some(Some(_)) => b'o',
        });
    }
    Ok(Answer::Bulk(letters))
}

pub(super) fn fenced(call: &mut Invocation<'_>) -> Ended {
    same_epoch(call, 6)?;
    let free = [call.key(2), call.arg(2), Some(b"NX"), Some(b"PX"), call.arg(3)];
    if let Written::Not = call.set(9, &free)? {
        return Ok(Answer::Nil);
    }
    count_up(call, 11)
}

/// Counts a lock's fencing token up, from the line on where the counter is first written.
pub(super) fn count_up(call: &mut Invocation<'_>, line: u32) -> Ended {
    let (counter, life_ms) = (call.key(3), call.arg(5));
    let proposed = call.arg(4).and_then(number);
    let counting = [counter, call.arg(4), Some(b"PX"), life_ms, Some(b"GET")];
    let mut accepted = proposed;
    if let Written::Old(Some(last)) = call.set(line, &counting)? {
        let last = number(&last);
        if ordered(line + 1, (proposed, last), f64::le)? {
            accepted = last.map(|last| last + 1.0);
            let text = format!("{:.0}", accepted.unwrap_or_default());
            call.set(line + 3, &[counter, Some(text.as_bytes()), Some(b"PX"), life_ms])?;
        }
    }
    Ok(accepted.map_or(Answer::Nil, |accepted| Answer::Integer(as_integer(accepted))))
}

pub(super) fn raise(call: &mut Invocation<'_>) -> Ended {
    same_epoch(call, 5)?;
    let (lock, counter, token) = (call.key(2), call.key(3), call.arg(3));
    // `redis.pcall` makes an error a value, which is nobody's token.
    let letter = match lock.map(|lock| call.pget(8, Some(lock))).transpose()?.flatten() {
        Some(None) => b'm',
        Some(value) if value.as_deref() == call.arg(2) => {
            let last = call.get(10, counter)?;
            let known = match &last {
                Some(last) => ordered(11, (token.and_then(number), number(last)), f64::le)?,
                None => false,
            };
            if !known {
                call.set(12, &[counter, token, Some(b"PX"), call.arg(4)])?;
            }
            if known { b'n' } else { b'e' }
        }
        _ => b'o',
    };
    Ok(Answer::Bulk(vec![letter]))
}

/// A node that has begun another epoch has forgotten what the caller knows.
pub(super) fn same_epoch(call: &mut Invocation<'_>, line: u32) -> Result<(), Raised> {
    let id = call.get(line, call.key(1))?;
    match id.is_some() && id.as_deref() == call.arg(1) {
        true => Ok(()),
        false => Err(Raised::Returned("EPOCH another epoch has begun")),
    }
}
