//! The script that reads and begins epochs.

use super::Answer;
use super::host::{Invocation, Raised, as_integer, as_lua, number, ordered};
use crate::algorithm::script::{EPOCH_KEY, STATE_KEY};
use crate::testing::core::{NodeCore, Session};
use crate::testing::options::Role;

/// The node's state as the script reads it; what cannot be read is nothing.
#[derive(Debug, Default)]
struct State {
    was: Option<String>,
    began: f64,
    opens: f64,
    quarantine: f64,
    fleet: Option<Vec<u8>>,
    seen: f64,
}

pub(super) fn stamp(call: &mut Invocation<'_>) -> Result<Answer, Raised> {
    let (mode, fresh, fleet, old) = (call.arg(1), call.arg(2), call.arg(4), call.arg(5));
    let asked = call.arg(3).and_then(number);
    if call.node.role != Role::Master {
        return Err(Raised::Returned("READONLY this node is a replica"));
    }
    let run = call.node.run_id();
    let incarnation = incarnation(call.node);
    let now = as_lua(call.node.options.clock.now_us());
    let mut id = call.get(18, call.key(1))?;
    let state = call.get(19, call.key(2))?.unwrap_or_default();
    let State { was, mut began, mut opens, mut quarantine, fleet: other, mut seen } =
        read(&state).unwrap_or_default();
    let mut other = other.as_deref();
    if mode == Some(b"peek") {
        return Ok(answer(
            id.unwrap_or_default(),
            run,
            [now, opens, quarantine],
            other.or(Some(b"")),
        ));
    }
    if mode == Some(b"open") && id.is_some() {
        return Err(Raised::Returned("INITIALISED this node has an epoch already"));
    }
    let (mut changed, mut refresh) = (false, false);
    if ordered(32, (Some(quarantine), asked), f64::lt)? {
        (quarantine, changed) = (asked.unwrap_or_default(), true);
        if now < opens {
            opens = opens.max(began + quarantine * 1000.0);
        }
    }
    let void = mode == Some(b"void") && id.as_deref() == old;
    if id.is_none() || was.as_ref() != Some(&incarnation) || void {
        (began, opens, other, changed) = (now, now + quarantine * 1000.0, fleet, true);
        if mode == Some(b"open") {
            opens = now;
        }
        call.set(39, &[call.key(1), fresh])?;
        id = fresh.map(<[u8]>::to_vec);
    }
    let age = now - seen;
    if other == fleet {
        refresh = !(0.0..=5_000_000.0).contains(&age);
    } else if !(0.0..=10_000_000.0).contains(&age) {
        (other, refresh) = (fleet, true);
    }
    if changed || refresh {
        if other == fleet {
            seen = now;
        }
        let other = other.ok_or_else(|| Raised::lua(52, NO_FLEET))?;
        let head = format!("{incarnation} {began:.0} {opens:.0} {quarantine:.0} ");
        let text = [head.as_bytes(), other, format!(" {seen:.0}").as_bytes()].concat();
        let set = call.set(52, &[call.key(2), Some(&text)]);
        // By `redis.pcall`: what is only a refresh may fail.
        if changed {
            set?;
        }
    }
    Ok(answer(id.unwrap_or_default(), run, [now, opens, quarantine], other))
}

/// Begins the first epoch of a node that is just being made, as mode `open` does.
pub(crate) fn open(node: &mut NodeCore, db: usize, id: &[u8]) {
    let mut session = Session::new(0);
    session.db = db;
    let keys = [EPOCH_KEY.as_bytes(), STATE_KEY.as_bytes()];
    let argv: [&[u8]; 5] = [b"open", id, b"0", b"-", b""];
    // Fails only where the node may hold no byte: then it stays without an epoch.
    let _ = stamp(&mut Invocation::new(node, &session, &keys, &argv));
}

fn incarnation(node: &NodeCore) -> String {
    format!("{}/{}", node.run_id(), node.replid())
}

/// A list of Lua's ends where a value is nil.
fn answer(id: Vec<u8>, run: String, times: [f64; 3], fleet: Option<&[u8]>) -> Answer {
    let mut parts = vec![Answer::Bulk(id), Answer::Bulk(run.into_bytes())];
    parts.extend(times.map(|time| Answer::Integer(as_integer(time))));
    parts.extend(fleet.map(|fleet| Answer::Bulk(fleet.to_vec())));
    Answer::Array(parts)
}

/// `^(%S+) (%d+) (%d+) (%d+) (%S+) (%d+)$`
fn read(state: &[u8]) -> Option<State> {
    let words: Vec<&[u8]> = state.split(|byte| *byte == b' ').collect();
    let [was, began, opens, quarantine, fleet, seen] = *words else { return None };
    let is_word = |word: &[u8]| {
        !word.is_empty() && !word.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0x0b)
    };
    let digits = |word: &[u8]| word.iter().all(u8::is_ascii_digit).then(|| number(word))?;
    (is_word(was) && is_word(fleet)).then_some(())?;
    Some(State {
        was: Some(String::from_utf8_lossy(was).into_owned()),
        began: digits(began)?,
        opens: digits(opens)?,
        quarantine: digits(quarantine)?,
        fleet: Some(fleet.to_vec()),
        seen: digits(seen)?,
    })
}

const NO_FLEET: &str = "bad argument #6 to 'format' (string expected, got nil)";
