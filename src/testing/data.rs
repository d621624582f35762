//! Commands on keys, and the scripts that work on them.

use super::command::{Call, NOT_AN_INTEGER, SYNTAX_ERROR, wrong_arity};
use super::request::integer;
use super::script::{self, Invocation};
use super::store::Entry;
use crate::algorithm::script::Script;

/// `SET key value [NX] [PX ms]`; the server's other options are syntax errors here.
pub(super) fn set(call: &mut Call<'_>, args: &[&[u8]]) {
    let [_, key, value, options @ ..] = args else { return };
    let (mut only_new, mut ttl) = (false, None);
    let mut rest = options;
    while let [option, tail @ ..] = rest {
        rest = match (option.to_ascii_lowercase().as_slice(), tail) {
            (b"nx", _) => {
                only_new = true;
                tail
            }
            (b"px", [ttl_ms, tail @ ..]) => {
                ttl = Some(*ttl_ms);
                tail
            }
            _ => return call.reply.error(SYNTAX_ERROR),
        };
    }
    let now_ms = call.node.now_ms();
    let deadline_ms = match ttl.map(|ttl_ms| deadline(ttl_ms, now_ms)).transpose() {
        Ok(deadline_ms) => deadline_ms,
        Err(text) => return call.reply.error(text),
    };
    let db = call.session.db;
    if call.node.store.used_bytes() > call.node.options.max_memory {
        call.node.store.purge(now_ms);
        if call.node.store.used_bytes() > call.node.options.max_memory {
            return call.reply.error(OUT_OF_MEMORY);
        }
    }
    if only_new && call.node.store.get(db, key, now_ms).is_some() {
        return call.reply.null();
    }
    call.node.store.set(db, key, Entry { value: (*value).into(), deadline_ms }, now_ms);
    call.reply.ok();
}

fn deadline(ttl_ms: &[u8], now_ms: i64) -> Result<i64, &'static str> {
    let ttl_ms = integer(ttl_ms).ok_or(NOT_AN_INTEGER)?;
    let future = (ttl_ms > 0).then(|| now_ms.checked_add(ttl_ms)).flatten();
    future.ok_or("ERR invalid expire time in 'set' command")
}

pub(super) fn get(call: &mut Call<'_>, args: &[&[u8]]) {
    let [_, key, ..] = args else { return };
    let now_ms = call.node.now_ms();
    match call.node.store.get(call.session.db, key, now_ms) {
        Some(entry) => call.reply.bulk(&entry.value),
        None => call.reply.null(),
    }
}

pub(super) fn pttl(call: &mut Call<'_>, args: &[&[u8]]) {
    let [_, key, ..] = args else { return };
    let now_ms = call.node.now_ms();
    let left = call.node.store.get(call.session.db, key, now_ms);
    call.reply.integer(left.map_or(-2, |entry| entry.ttl_ms(now_ms).unwrap_or(-1)));
}

pub(super) fn del(call: &mut Call<'_>, args: &[&[u8]]) {
    let now_ms = call.node.now_ms();
    let keys = args.get(1..).unwrap_or_default().iter();
    let removed = keys.filter(|key| call.node.store.remove(call.session.db, key, now_ms)).count();
    call.reply.count(removed);
}

pub(super) fn delifeq(call: &mut Call<'_>, args: &[&[u8]]) {
    let [_, key, value] = args else { return };
    delete_if_equal(call, key, value);
}

/// `DELEX key [IFEQ value]`; the server's other conditions are syntax errors here.
pub(super) fn delex(call: &mut Call<'_>, args: &[&[u8]]) {
    match args {
        [_, _] => del(call, args),
        [_, key, word, value] if word.eq_ignore_ascii_case(b"IFEQ") => {
            delete_if_equal(call, key, value);
        }
        [_, _, _, _] => call.reply.error(SYNTAX_ERROR),
        _ => call.reply.error(wrong_arity("delex")),
    }
}

fn delete_if_equal(call: &mut Call<'_>, key: &[u8], value: &[u8]) {
    let now_ms = call.node.now_ms();
    let (node, db) = (&mut *call.node, call.session.db);
    let equal = node.store.get(db, key, now_ms).is_some_and(|entry| &*entry.value == value);
    call.reply.count(usize::from(equal && node.store.remove(db, key, now_ms)));
}

/// EVAL of a text that EVALSHA could name: it is loaded by that, as on the server.
pub(super) fn eval(call: &mut Call<'_>, args: &[&[u8]]) {
    let [_, body, ..] = args else { return };
    if let Some(split) = split_keys(call, args) {
        match call.node.scripts.load(body) {
            Some(script) => invoke(call, script, split),
            None => call.reply.error(UNKNOWN_SCRIPT),
        }
    }
}

pub(super) fn evalsha(call: &mut Call<'_>, args: &[&[u8]]) {
    let [_, sha, ..] = args else { return };
    // The server looks at the digest's length first and at the digest last.
    if sha.len() != SHA_DIGITS {
        return call.reply.error(NO_SCRIPT);
    }
    if let Some(split) = split_keys(call, args) {
        match call.node.scripts.find(sha) {
            Some(script) => invoke(call, script, split),
            None => call.reply.error(NO_SCRIPT),
        }
    }
}

/// A script's keys and its arguments.
type Split<'a> = (&'a [&'a [u8]], &'a [&'a [u8]]);

/// Answers the error if the number of keys makes no sense.
fn split_keys<'a>(call: &mut Call<'_>, args: &'a [&'a [u8]]) -> Option<Split<'a>> {
    let [_, _, count, rest @ ..] = args else { return None };
    let Some(count) = integer(count) else {
        call.reply.error(NOT_AN_INTEGER);
        return None;
    };
    let Ok(count) = usize::try_from(count) else {
        call.reply.error("ERR Number of keys can't be negative");
        return None;
    };
    let split = rest.split_at_checked(count);
    if split.is_none() {
        call.reply.error("ERR Number of keys can't be greater than number of args");
    }
    split
}

fn invoke(call: &mut Call<'_>, script: &Script, (keys, argv): Split<'_>) {
    let now_ms = call.node.now_ms();
    let (store, db) = (&mut call.node.store, call.session.db);
    match script::run(script, &mut Invocation { store, db, now_ms, keys, argv }) {
        Ok(letters) => call.reply.bulk(letters),
        Err(text) => call.reply.error(text),
    }
}

pub(super) fn script_load(call: &mut Call<'_>, args: &[&[u8]]) {
    match args.get(2).and_then(|body| call.node.scripts.load(body)) {
        Some(script) => call.reply.bulk(script.sha),
        None => call.reply.error(UNKNOWN_SCRIPT),
    }
}

pub(super) fn script_exists(call: &mut Call<'_>, args: &[&[u8]]) {
    let digests = args.get(2..).unwrap_or_default();
    call.reply.array(digests.len());
    for sha in digests {
        call.reply.count(usize::from(call.node.scripts.find(sha).is_some()));
    }
}

pub(super) fn script_flush(call: &mut Call<'_>, args: &[&[u8]]) {
    let mode = args.get(2).map(|mode| mode.to_ascii_lowercase());
    match mode.as_deref() {
        None | Some(b"sync" | b"async") if args.len() <= 3 => {
            call.node.scripts.clear();
            call.reply.ok();
        }
        _ => call.reply.error("ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
    }
}

const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const SHA_DIGITS: usize = 40;
const UNKNOWN_SCRIPT: &str = "ERR the test node runs only the scripts of redlatch";
