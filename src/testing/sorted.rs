//! Sorted sets: members with a score each, as far as the engine's queues need them.

use std::cmp::Ordering;

use super::command::{Call, NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE};
use super::request::integer;
use super::store::Value;

/// Members by score, and by their bytes where scores are equal. No score is a NaN.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sorted(Vec<(f64, Box<[u8]>)>);

impl Sorted {
    /// `true`: the member is new.
    pub(super) fn add(&mut self, score: f64, member: &[u8]) -> bool {
        let is_new = !self.remove(member);
        let before = |(other, name): &(f64, Box<[u8]>)| {
            let by_score = other.partial_cmp(&score).unwrap_or(Ordering::Equal);
            by_score.then_with(|| (**name).cmp(member)) == Ordering::Less
        };
        let at = self.0.partition_point(before);
        self.0.insert(at, (score, member.into()));
        is_new
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let held = self.0.len();
        self.0.retain(|(_, name)| **name != *member);
        self.0.len() < held
    }

    /// The member with the lowest score, which leaves, and that score.
    pub(super) fn pop_first(&mut self) -> Option<(Vec<u8>, f64)> {
        (!self.0.is_empty()).then(|| {
            let (score, member) = self.0.remove(0);
            (member.into_vec(), score)
        })
    }

    pub(super) fn first(&self) -> Option<&[u8]> {
        self.0.first().map(|(_, member)| &**member)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(score, member)| size_of_val(score) + member.len()).sum()
    }

    /// The members from one place to another, both counted from the end where they are negative.
    fn range(&self, start: i64, stop: i64) -> impl ExactSizeIterator<Item = &[u8]> {
        let len = i64::try_from(self.0.len()).unwrap_or(i64::MAX);
        let place = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
        let start = usize::try_from(place(start).max(0)).unwrap_or(usize::MAX);
        let end = usize::try_from(place(stop).saturating_add(1).clamp(0, len)).unwrap_or(0);
        self.0.get(start..end).unwrap_or_default().iter().map(|(_, member)| &**member)
    }
}

/// A score, in the spellings of the server's but hexadecimal ones.
pub(super) fn score(text: &[u8]) -> Result<f64, &'static str> {
    let score = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    score.filter(|score: &f64| !score.is_nan()).ok_or(NOT_A_FLOAT)
}

/// `ZADD key score member ...`; the server's options are no scores here.
pub(super) fn zadd(call: &mut Call<'_>, args: &[&[u8]]) {
    let [_, key, pairs @ ..] = args else { return };
    if !pairs.len().is_multiple_of(2) {
        return call.reply.error(SYNTAX_ERROR);
    }
    let members = pairs.chunks_exact(2).filter_map(|pair| match pair {
        [text, member] => Some(score(text).map(|score| (score, *member))),
        _ => None,
    });
    let members: Vec<_> = match members.collect() {
        Ok(members) => members,
        Err(text) => return call.reply.error(text),
    };
    let now_ms = call.node.now_ms();
    let added = call.node.store.alter(call.session.db, key, now_ms, |sorted| {
        members.into_iter().filter(|(score, member)| sorted.add(*score, member)).count()
    });
    match added {
        Some(added) => call.reply.count(added),
        None => call.reply.error(WRONG_TYPE),
    }
}

pub(super) fn zcard(call: &mut Call<'_>, args: &[&[u8]]) {
    if let Some(sorted) = find(call, args) {
        call.reply.count(sorted.0.len());
    }
}

/// `ZRANGE key start stop`; the server's options are syntax errors here.
pub(super) fn zrange(call: &mut Call<'_>, args: &[&[u8]]) {
    let [_, _, start, stop] = args else { return call.reply.error(SYNTAX_ERROR) };
    let (Some(start), Some(stop)) = (integer(start), integer(stop)) else {
        return call.reply.error(NOT_AN_INTEGER);
    };
    if let Some(sorted) = find(call, args) {
        let members = sorted.range(start, stop);
        call.reply.array(members.len());
        members.for_each(|member| call.reply.bulk(member));
    }
}

/// The sorted set that a command names, empty if there is none; answers the error if the key is
/// of another kind.
fn find(call: &mut Call<'_>, args: &[&[u8]]) -> Option<Sorted> {
    let [_, key, ..] = args else { return None };
    let now_ms = call.node.now_ms();
    match call.node.store.get(call.session.db, key, now_ms).map(|entry| &entry.value) {
        None => Some(Sorted::default()),
        Some(Value::Sorted(sorted)) => Some(sorted.clone()),
        Some(_) => {
            call.reply.error(WRONG_TYPE);
            None
        }
    }
}

pub(super) const NOT_A_FLOAT: &str = "ERR value is not a valid float";
