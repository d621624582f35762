//! What a node says of its epoch: the call of the stamp script and its answer. Pure.
//!
//! DESIGN's R2: reading, comparing and stamping are one script; ids are fresh random values.

use std::time::Duration;

use crate::algorithm::script::{EPOCH_KEY, STAMP, STATE_KEY};
use crate::resp::command;
use crate::resp::reply::{Reply, Value};

/// What to do with a node's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent<'a> {
    /// Begin a new one if there is none, or if the node was restarted or promoted.
    Greet,
    /// Begin one without quarantine, on its operator's word, only if there is none.
    Open,
    /// Only look.
    Peek,
    /// Also begin a new one if it is still this: its clock has stepped forward.
    Void(&'a [u8]),
}

/// What a caller says of itself with every stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The id of an epoch that this call begins: never used before.
    pub(crate) fresh: String,
    /// How long a node that may have forgotten locks must not vote.
    pub(crate) quarantine_ms: u64,
    /// The fleet that the caller takes the node for a part of; one word.
    pub(crate) fleet: String,
}

impl Caller {
    fn args<'a>(&'a self, intent: Intent<'a>, quarantine: &'a str) -> [&'a [u8]; 5] {
        let (mode, old): (&[u8], &[u8]) = match intent {
            Intent::Greet => (b"greet", b""),
            Intent::Open => (b"open", b""),
            Intent::Peek => (b"peek", b""),
            Intent::Void(old) => (b"void", old),
        };
        [mode, self.fresh.as_bytes(), quarantine.as_bytes(), self.fleet.as_bytes(), old]
    }

    /// The call by the script's text: for a node that may not know it.
    pub(crate) fn write_eval(&self, out: &mut Vec<u8>, intent: Intent<'_>) {
        let mut digits = itoa::Buffer::new();
        let args = self.args(intent, digits.format(self.quarantine_ms));
        command::eval(out, STAMP.body, &KEYS, &args);
    }

    /// The call by the script's digest: the heartbeat.
    pub(crate) fn write_evalsha(&self, out: &mut Vec<u8>, intent: Intent<'_>) {
        let mut digits = itoa::Buffer::new();
        let args = self.args(intent, digits.format(self.quarantine_ms));
        command::evalsha(out, STAMP.sha, &KEYS, &args);
    }
}

const KEYS: [&[u8]; 2] = [EPOCH_KEY.as_bytes(), STATE_KEY.as_bytes()];

/// A node's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Empty if a [`Intent::Peek`] found none.
    pub(crate) id: Box<[u8]>,
    /// Of the server's process.
    pub(crate) run_id: String,
    /// The node's wall clock, in microseconds since 1970.
    pub(crate) now_us: i64,
    /// When its quarantine ends, on the same clock.
    pub(crate) opens_us: i64,
    /// The longest quarantine that any of its clients asked for.
    pub(crate) quarantine_ms: u64,
    /// The fleet it is on record as a part of.
    pub(crate) fleet: String,
}

impl Stamp {
    /// Reads the script's answer; `None` if it is none.
    pub(crate) fn read(reply: &Reply<'_>) -> Option<Self> {
        let Reply::Tree(Value::Array(fields)) = reply else { return None };
        let [id, run_id, now, opens, quarantine, fleet] = fields.as_slice() else { return None };
        let id = id.as_bytes().filter(|id| id.len() <= WORD_MAX)?;
        Some(Self {
            id: id.into(),
            run_id: word(run_id)?,
            now_us: time(now)?,
            opens_us: time(opens)?,
            quarantine_ms: u64::try_from(integer(quarantine)?).ok()?,
            fleet: word(fleet)?,
        })
    }

    /// How much longer the node is in quarantine, by its own clock.
    pub(crate) fn remaining(&self) -> Duration {
        let left = self.opens_us.saturating_sub(self.now_us);
        Duration::from_micros(u64::try_from(left).unwrap_or(0))
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(integer) => Some(*integer),
        _ => None,
    }
}

/// A time that arithmetic on microseconds cannot wrap.
fn time(value: &Value) -> Option<i64> {
    integer(value).filter(|us| (0..=1 << 53).contains(us))
}

fn word(value: &Value) -> Option<String> {
    let bytes = value.as_bytes().filter(|bytes| bytes.len() <= WORD_MAX)?;
    let is_printable = bytes.iter().all(u8::is_ascii_graphic);
    is_printable.then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// Ids, digests and fleets are shorter.
const WORD_MAX: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(parts: [Value; 6]) -> Option<Stamp> {
        Stamp::read(&Reply::Tree(Value::Array(parts.into())))
    }

    fn text(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn an_answer_is_read_and_anything_else_is_none() {
        let good = || {
            let (now, opens) = (Value::Integer(5_000_000), Value::Integer(7_500_000));
            [text("id"), text("run"), now, opens, Value::Integer(30_302), text("5/3/a")]
        };
        let stamp = answer(good()).unwrap();
        assert_eq!((&*stamp.id, stamp.run_id.as_str()), (b"id".as_slice(), "run"));
        assert_eq!(stamp.remaining(), Duration::from_millis(2_500));
        for (at, bad) in [
            (0, text(&"x".repeat(WORD_MAX + 1))),
            (1, text("two words")),
            (2, Value::Integer(-1)),
            (3, Value::Integer(i64::MAX)),
            (4, Value::Integer(-30)),
            (5, Value::Null),
        ] {
            let mut parts = good();
            parts[at] = bad;
            assert_eq!(answer(parts), None, "{at}");
        }
        assert_eq!(Stamp::read(&Reply::Ok), None);
        let mut over = good();
        over[2] = Value::Integer(9_000_000);
        assert_eq!(answer(over).unwrap().remaining(), Duration::ZERO);
    }

    #[test]
    fn a_call_names_both_keys_and_its_intent() {
        let caller = Caller { fresh: "f".into(), quarantine_ms: 20, fleet: "5/3/a".into() };
        let mut out = Vec::new();
        caller.write_evalsha(&mut out, Intent::Void(b"old"));
        let text = String::from_utf8(out).unwrap();
        let expected = [EPOCH_KEY, STATE_KEY, "void", "f", "20", "5/3/a", "old"];
        let words: Vec<_> = text.split("\r\n").skip(8).step_by(2).collect();
        assert_eq!(words, expected);
    }
}
