//! Commands on keys, and the scripts that work on them.

use super::command::{Call, NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE, wrong_arity};
use super::reply::Reply;
use super::request::integer;
use super::script::{self, Answer, Invocation};
use super::store::{Entry, Store, Value};
use crate::algorithm::script::Script;

/// `SET key value [NX] [GET] [PX ms]`; the server's other options are syntax errors here.
pub(super) fn set(call: &mut Call<'_>, args: &[&[u8]]) {
    let now_ms = call.node.now_ms();
    match write(&mut call.node.store, call.session.db, now_ms, args) {
        Ok(Written::Done) => call.reply.ok(),
        Ok(Written::Not | Written::Old(None)) => call.reply.null(),
        Ok(Written::Old(Some(old))) => call.reply.bulk(old),
        Err(text) => call.reply.error(text),
    }
}

/// What SET did.
#[derive(Debug)]
pub(super) enum Written {
    Done,
    /// The key is there and was to be new.
    Not,
    /// GET was asked for: the value until now, whether or not there is another now.
    Old(Option<Box<[u8]>>),
}

/// SET without what the server looks at before the command itself.
pub(super) fn write(
    store: &mut Store,
    db: usize,
    now_ms: i64,
    args: &[&[u8]],
) -> Result<Written, &'static str> {
    let [_, key, value, options @ ..] = args else { return Err(SYNTAX_ERROR) };
    let (mut only_new, mut get, mut ttl) = (false, false, None);
    let mut rest = options;
    while let [option, tail @ ..] = rest {
        rest = match (option.to_ascii_lowercase().as_slice(), tail) {
            (b"nx", _) => {
                only_new = true;
                tail
            }
            (b"get", _) => {
                get = true;
                tail
            }
            (b"px", [ttl_ms, tail @ ..]) => {
                ttl = Some(*ttl_ms);
                tail
            }
            _ => return Err(SYNTAX_ERROR),
        };
    }
    let deadline_ms = ttl.map(|ttl_ms| deadline(ttl_ms, now_ms)).transpose()?;
    let held = store.get(db, key, now_ms);
    let text = held.filter(|_| get).map(|entry| entry.value.text().ok_or(WRONG_TYPE));
    let (found, old) = (held.is_some(), text.transpose()?.map(Box::from));
    let written = !(only_new && found);
    if written {
        let value = Value::Text((*value).into());
        store.set(db, key, Entry { value, deadline_ms }, now_ms);
    }
    Ok(match (get, written) {
        (true, _) => Written::Old(old),
        (false, true) => Written::Done,
        (false, false) => Written::Not,
    })
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
        Some(entry) => match entry.value.text() {
            Some(text) => call.reply.bulk(text),
            None => call.reply.error(WRONG_TYPE),
        },
        None => call.reply.null(),
    }
}

pub(super) fn pttl(call: &mut Call<'_>, args: &[&[u8]]) {
    let [_, key, ..] = args else { return };
    let now_ms = call.node.now_ms();
    let left = call.node.store.get(call.session.db, key, now_ms);
    call.reply.integer(left.map_or(-2, |entry| entry.ttl_ms(now_ms).unwrap_or(-1)));
}

pub(super) fn hgetall(call: &mut Call<'_>, args: &[&[u8]]) {
    let [_, key, ..] = args else { return };
    let now_ms = call.node.now_ms();
    match call.node.store.get(call.session.db, key, now_ms).map(|entry| &entry.value) {
        Some(Value::Hash(fields)) => {
            call.reply.map(fields.len());
            fields.iter().flat_map(|(field, value)| [field, value]).for_each(|part| {
                call.reply.bulk(part);
            });
        }
        Some(_) => call.reply.error(WRONG_TYPE),
        None => call.reply.map(0),
    }
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
    let text = node.store.get(db, key, now_ms).map(|entry| entry.value.text().ok_or(WRONG_TYPE));
    let equal = match text.transpose() {
        Ok(text) => text == Some(value),
        Err(text) => return call.reply.error(text),
    };
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
    match script::run(script, &mut Invocation::new(call.node, call.session, keys, argv)) {
        Ok(answer) => answer_with(&mut call.reply, &answer),
        Err(text) => call.reply.error(text),
    }
}

/// The array of the engine's scripts holds no array.
fn answer_with(reply: &mut Reply<'_>, answer: &Answer) {
    match answer {
        Answer::Array(parts) => {
            reply.array(parts.len());
            parts.iter().for_each(|part| answer_with(reply, part));
        }
        Answer::Bulk(bytes) => reply.bulk(bytes),
        Answer::Integer(value) => reply.integer(*value),
        Answer::Nil => reply.null(),
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
const SHA_DIGITS: usize = 40;
const UNKNOWN_SCRIPT: &str = "ERR the test node runs only the scripts of redlatch";
