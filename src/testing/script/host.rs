//! What a script finds around it: KEYS, ARGV, `redis.call`, and the numbers of Lua.
//!
//! A missing key or argument is Lua's nil, here `None`. Every call names the line of the script
//! that it stands on, for the error that it may raise.

use std::borrow::Cow;

use crate::testing::command::{NOT_AN_INTEGER, OUT_OF_MEMORY, READ_ONLY, WRONG_TYPE};
use crate::testing::core::{NodeCore, Session};
use crate::testing::data::{Written, write};
use crate::testing::options::Role;
use crate::testing::request::integer;

/// One call of a script.
#[derive(Debug)]
pub(crate) struct Invocation<'a> {
    pub(super) node: &'a mut NodeCore,
    pub(super) session: &'a Session,
    pub(super) db: usize,
    pub(super) keys: &'a [&'a [u8]],
    pub(super) argv: &'a [&'a [u8]],
    pub(super) now_ms: i64,
    /// A script that has written may go on where memory has run out.
    wrote: bool,
}

/// How a script ends without an answer.
#[derive(Debug)]
pub(super) enum Raised {
    /// An error that the script did not mean: line and text.
    At(u32, Cow<'static, str>),
    /// What `redis.error_reply` made and the script returned, as it is.
    Returned(&'static str),
}

impl Raised {
    pub(super) fn at(line: u32, text: impl Into<Cow<'static, str>>) -> Self {
        Self::At(line, text.into())
    }

    /// An error of Lua's own, which knows its place without the server.
    pub(super) fn lua(line: u32, text: &str) -> Self {
        Self::at(line, format!("ERR user_script:{line}: {text}"))
    }
}

impl<'a> Invocation<'a> {
    pub(crate) fn new(
        node: &'a mut NodeCore,
        session: &'a Session,
        keys: &'a [&'a [u8]],
        argv: &'a [&'a [u8]],
    ) -> Self {
        // The time stands still while a script runs.
        let (now_ms, db) = (node.now_ms(), session.db);
        Self { node, session, db, keys, argv, now_ms, wrote: false }
    }

    /// `KEYS[place]`, counted from 1.
    pub(super) fn key(&self, place: usize) -> Option<&'a [u8]> {
        self.keys.get(place.checked_sub(1)?).copied()
    }

    /// `ARGV[place]`, counted from 1.
    pub(super) fn arg(&self, place: usize) -> Option<&'a [u8]> {
        self.argv.get(place.checked_sub(1)?).copied()
    }

    /// `redis.call('GET', key)`.
    pub(super) fn get(&mut self, line: u32, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Raised> {
        let key = key.ok_or_else(|| Raised::at(line, NOT_TEXT))?;
        let value = self.node.store.get(self.db, key, self.now_ms);
        let value = value.map(|entry| entry.value.text().map(<[u8]>::to_vec).ok_or(WRONG_TYPE));
        self.has_read(key);
        value.transpose().map_err(|text| Raised::at(line, text))
    }

    /// `redis.pcall('GET', key)`, whose error for a key of another type is a value: the outer
    /// nothing.
    pub(super) fn pget(
        &mut self,
        line: u32,
        key: Option<&[u8]>,
    ) -> Result<Option<Option<Vec<u8>>>, Raised> {
        match self.get(line, key) {
            Err(Raised::At(_, text)) if text == WRONG_TYPE => Ok(None),
            read => read.map(Some),
        }
    }

    /// `redis.call('PTTL', key)`.
    pub(super) fn pttl(&mut self, key: &[u8]) -> i64 {
        let entry = self.node.store.get(self.db, key, self.now_ms);
        let left_ms = entry.map_or(-2, |entry| entry.ttl_ms(self.now_ms).unwrap_or(-1));
        self.has_read(key);
        left_ms
    }

    /// `redis.call('PEXPIRE', key, ttl)` of a key that is there.
    pub(super) fn pexpire(&mut self, line: u32, key: &[u8], ttl_ms: f64) -> Result<(), Raised> {
        self.may_write(line, false)?;
        let ttl_ms = as_argument(ttl_ms).ok_or_else(|| Raised::at(line, NOT_AN_INTEGER))?;
        self.expire_in(line, key, ttl_ms)
    }

    /// `redis.call('PEXPIRE', key, ttl)` of a key that is there, with an argument as it came.
    pub(super) fn pexpire_by(
        &mut self,
        line: u32,
        key: Option<&[u8]>,
        ttl_ms: Option<&[u8]>,
    ) -> Result<(), Raised> {
        let words = key.zip(ttl_ms).ok_or_else(|| Raised::at(line, NOT_TEXT));
        let (key, ttl_ms) = words?;
        self.may_write(line, false)?;
        let ttl_ms = integer(ttl_ms).ok_or_else(|| Raised::at(line, NOT_AN_INTEGER))?;
        self.expire_in(line, key, ttl_ms)
    }

    fn expire_in(&mut self, line: u32, key: &[u8], ttl_ms: i64) -> Result<(), Raised> {
        let Some(deadline_ms) = self.now_ms.checked_add(ttl_ms) else {
            return Err(Raised::at(line, "ERR invalid expire time in 'pexpire' command"));
        };
        self.node.store.expire_at(self.db, key, deadline_ms, self.now_ms);
        self.has_written();
        Ok(())
    }

    /// `redis.call('SET', ...)` with these words after the first.
    pub(super) fn set(&mut self, line: u32, words: &[Option<&[u8]>]) -> Result<Written, Raised> {
        let words: Option<Vec<&[u8]>> = words.iter().copied().collect();
        let words =
            [&[b"SET".as_slice()], &*words.ok_or_else(|| Raised::at(line, NOT_TEXT))?].concat();
        self.may_write(line, true)?;
        let written = write(&mut self.node.store, self.db, self.now_ms, &words);
        self.has_written();
        written.map_err(|text| Raised::at(line, text))
    }

    /// `redis.call('DEL', ...)`.
    pub(super) fn del(&mut self, line: u32, keys: &[&[u8]]) -> Result<(), Raised> {
        self.may_write(line, false)?;
        for key in keys {
            self.node.store.remove(self.db, key, self.now_ms);
        }
        self.has_written();
        Ok(())
    }

    /// What the server checks of a script's command that writes, in its order.
    pub(super) fn may_write(&mut self, line: u32, takes_memory: bool) -> Result<(), Raised> {
        if self.node.role == Role::Replica {
            return Err(Raised::at(line, READ_ONLY));
        }
        if takes_memory && !self.wrote && self.node.is_out_of_memory() {
            return Err(Raised::at(line, OUT_OF_MEMORY));
        }
        self.wrote = true;
        Ok(())
    }

    pub(super) fn has_read(&mut self, key: &[u8]) {
        self.node.announce(Some(self.session.id));
        self.node.track(self.session, Some(key));
    }

    pub(super) fn has_written(&mut self) {
        self.node.announce(Some(self.session.id));
    }
}

/// `left < right` or `left <= right`, which Lua refuses for what is no number.
pub(super) fn ordered(
    line: u32,
    (left, right): (Option<f64>, Option<f64>),
    order: impl Fn(&f64, &f64) -> bool,
) -> Result<bool, Raised> {
    match (left, right) {
        (Some(left), Some(right)) => Ok(order(&left, &right)),
        (None, None) => Err(Raised::lua(line, "attempt to compare two nil values")),
        (None, _) => Err(Raised::lua(line, "attempt to compare nil with number")),
        (_, None) => Err(Raised::lua(line, "attempt to compare number with nil")),
    }
}

/// Lua's `tonumber`, without its hexadecimal spellings.
pub(super) fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.trim_ascii().parse().ok()
}

/// How a number leaves a script: cut to an integer; the smallest one stands for what has none.
#[expect(clippy::cast_possible_truncation, reason = "in range, and meant to cut")]
pub(super) fn as_integer(value: f64) -> i64 {
    let range = -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;
    if range.contains(&value) { value as i64 } else { i64::MIN }
}

#[expect(clippy::cast_precision_loss, reason = "every number in Lua is a double")]
pub(super) fn as_lua(value: i64) -> f64 {
    value as f64
}

/// How Lua writes a number into a text: with 14 digits.
pub(super) fn written(value: i64) -> String {
    if value.unsigned_abs() < 100_000_000_000_000 {
        return value.to_string();
    }
    let text = format!("{:.13e}", as_lua(value));
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}e+{exponent}")
}

/// How a script passes a number to a command: with 17 digits, so whole numbers below 1e17 arrive
/// as integers and all others are refused.
fn as_argument(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 1e17).then(|| format!("{value:.0}").parse().ok())?
}

pub(super) const WRONG_NUMBER: &str = "ERR Wrong number of args calling Redis command from script";
pub(super) const NOT_TEXT: &str = "ERR Lua redis lib command arguments must be strings or integers";
