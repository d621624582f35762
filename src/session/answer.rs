//! Which replies a command may have, and what they say. Pure.
//!
//! A reply of the wrong type is a [`Mismatch`]: the connection is poisoned, because a shifted
//! reply is a false grant.

use crate::algorithm::script::OWNERS_MAX;
use crate::resp::reply::{ErrorReply, Reply, Value};
use crate::session::stamp::Stamp;

/// What a command asks, and so which replies it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `SET key token NX PX ttl`.
    Acquire,
    /// The extend script over one reserved lock: a letter, which counts as a vote.
    Confirm,
    /// The enter script: a place in the queue, or the lock.
    Enter,
    /// The leave script over one lock: a letter.
    Leave,
    /// CLIENT CACHING: the next command's key is watched.
    Caching,
    /// The drop script over one claim: a letter, `h` where a lock was handed on.
    Drop,
    /// The extend script over some leases: one letter each.
    Extend,
    /// The fenced script: a lock with its token.
    Fenced,
    /// The keep script over one claim: a letter.
    Keep,
    /// SCRIPT LOAD, after a NOSCRIPT.
    Load,
    /// A command of its own with any reply.
    Query,
    /// The raise script over one lock: a letter.
    Raise,
    /// The release script over some locks: one letter each.
    Release,
    /// DELIFEQ or DELEX: 1 deleted, 0 missing or another owner's.
    ReleaseNative,
    /// GET of the node's epoch, behind the last SET NX of its write.
    SealEpoch,
    /// SCRIPT EXISTS, behind that.
    SealScript,
    /// The stamp script by its digest: the heartbeat.
    Stamp,
    /// The stamp script by its text, where the server forgot its scripts.
    StampAnew,
    /// PTTL of a lock that somebody waits for, to be told when it changes.
    Look,
    /// The take script over one claim.
    Take,
    /// `SET key token NX PX ttl` for a lease that is held already.
    TopUp,
    /// GET of a held lock's key, to be told when it changes.
    Watch,
}

impl Kind {
    /// Whether EVALSHA carries it, which a server answers with NOSCRIPT when it forgot the script.
    pub(crate) const fn is_script(self) -> bool {
        matches!(
            self,
            Self::Confirm
                | Self::Drop
                | Self::Enter
                | Self::Extend
                | Self::Fenced
                | Self::Keep
                | Self::Leave
                | Self::Raise
                | Self::Release
                | Self::Stamp
                | Self::Take
        )
    }
}

/// A reply that its command cannot have.
#[derive(Debug, thiserror::Error)]
#[error("{reply} in answer to {kind:?}")]
pub(crate) struct Mismatch {
    kind: Kind,
    reply: String,
}

/// What a reply says to its command.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    /// The key was set.
    Granted,
    /// The key is held by another owner.
    Denied,
    /// A script's letters, one per item.
    Letters(&'a [u8]),
    /// A native release: deleted, or not.
    Deleted(bool),
    /// A ticket's place.
    Place(Place),
    /// The key was set, and the node counted this far.
    Fenced(u64),
    /// A claim was taken; its script has checked the epoch.
    Taken,
    /// This permit is another owner's, but that one is free.
    Elsewhere(u16),
    /// The epoch that a seal found; nothing if there is none.
    Epoch(&'a [u8]),
    /// Whether a seal found the script.
    Cached(bool),
    Stamped(Stamp),
    /// How long a lock lives, in ms; negative: it is not there, or lives on.
    Life(i64),
    /// The value under a watched key; nothing if there is none.
    Value(&'a [u8]),
    /// An error reply.
    Refused(ErrorReply<'a>),
    /// A loaded script, a switch that was set.
    Done,
    /// Whatever a query was told.
    Reply(&'a Reply<'a>),
}

/// What became of a ticket that was shown to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The lock was free, and is ours for the ttl that was asked for.
    Taken,
    /// The lock is kept for us, for a moment.
    Reserved,
    Waiting {
        /// Nobody told the holder that we wait: whether it releases must be watched.
        is_deaf: bool,
        /// How long the lock lives from now on; `None` if it does not expire.
        ttl_ms: Option<u64>,
    },
}

impl Place {
    fn read(text: &[u8]) -> Option<Self> {
        let (letter, rest) = text.split_first()?;
        let waiting = |is_deaf| {
            let ttl_ms: i64 = std::str::from_utf8(rest).ok()?.parse().ok()?;
            Some(Self::Waiting { is_deaf, ttl_ms: u64::try_from(ttl_ms).ok() })
        };
        match letter {
            b'g' if rest.is_empty() => Some(Self::Taken),
            b'r' if rest.is_empty() => Some(Self::Reserved),
            b'w' => waiting(false),
            b'd' => waiting(true),
            _ => None,
        }
    }
}

/// Reads `reply` as the answer to a command of `kind` over `items` items (I1).
pub(crate) fn answer<'a>(
    kind: Kind,
    items: usize,
    reply: &'a Reply<'a>,
) -> Result<Answer<'a>, Mismatch> {
    let known = match (kind, reply) {
        (Kind::Query, reply) => Some(Answer::Reply(reply)),
        (_, Reply::Error(error)) => Some(Answer::Refused(*error)),
        (Kind::Acquire | Kind::TopUp, Reply::Ok) => Some(Answer::Granted),
        (Kind::Acquire | Kind::TopUp | Kind::Fenced | Kind::Take, Reply::Null) => {
            Some(Answer::Denied)
        }
        (Kind::Take, Reply::Integer(1)) => Some(Answer::Taken),
        (Kind::Take, Reply::Integer(free)) => permit(*free).map(Answer::Elsewhere),
        (Kind::Fenced, Reply::Integer(token)) => u64::try_from(*token).ok().map(Answer::Fenced),
        (Kind::Extend | Kind::Keep, Reply::Bulk(letters)) => {
            is_letters(letters, items, b"emo").then_some(Answer::Letters(letters))
        }
        (Kind::Release, Reply::Bulk(letters)) => {
            is_letters(letters, items, b"dmo").then_some(Answer::Letters(letters))
        }
        (Kind::Confirm, Reply::Bulk(letters)) => {
            is_letters(letters, items, b"emo").then_some(Answer::Letters(letters))
        }
        (Kind::Leave | Kind::Drop, Reply::Bulk(letters)) => {
            is_letters(letters, 1, b"hdmo").then_some(Answer::Letters(letters))
        }
        (Kind::Enter, Reply::Bulk(text)) => Place::read(text).map(Answer::Place),
        (Kind::ReleaseNative, Reply::Integer(count @ (0 | 1))) => {
            Some(Answer::Deleted(*count == 1))
        }
        (Kind::Raise, Reply::Bulk(letters)) => {
            is_letters(letters, items, b"enmo").then_some(Answer::Letters(letters))
        }
        (Kind::SealEpoch, Reply::Bulk(id)) => Some(Answer::Epoch(id)),
        (Kind::SealEpoch, Reply::Null) => Some(Answer::Epoch(b"")),
        (Kind::SealScript, Reply::One(count @ (0 | 1))) => Some(Answer::Cached(*count == 1)),
        (Kind::SealScript, Reply::Tree(Value::Array(found))) => match found.as_slice() {
            [Value::Integer(count @ (0 | 1))] => Some(Answer::Cached(*count == 1)),
            _ => None,
        },
        (Kind::Stamp | Kind::StampAnew, reply) => Stamp::read(reply).map(Answer::Stamped),
        (Kind::Look, Reply::Integer(ms)) => Some(Answer::Life(*ms)),
        (Kind::Watch, Reply::Bulk(value)) => Some(Answer::Value(value)),
        (Kind::Watch, Reply::Null) => Some(Answer::Value(b"")),
        (Kind::Load, Reply::Bulk(_)) | (Kind::Caching, Reply::Ok) => Some(Answer::Done),
        _ => None,
    };
    known.ok_or_else(|| {
        let mut reply = format!("{reply:?}");
        reply.truncate(reply.char_indices().nth(80).map_or(reply.len(), |(at, _)| at));
        Mismatch { kind, reply }
    })
}

/// `-n` for permit n.
fn permit(free: i64) -> Option<u16> {
    let permit = u16::try_from(free.checked_neg()?).ok()?;
    (permit < OWNERS_MAX).then_some(permit)
}

fn is_letters(letters: &[u8], items: usize, alphabet: &[u8]) -> bool {
    letters.len() == items && letters.iter().all(|letter| alphabet.contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_the_wrong_type_is_a_mismatch() {
        let wrong: [(Kind, usize, Reply<'_>); 31] = [
            (Kind::Acquire, 1, Reply::Integer(1)),
            (Kind::Acquire, 1, Reply::Bulk(b"OK")),
            (Kind::Acquire, 1, Reply::Simple(b"PONG")),
            (Kind::Release, 2, Reply::Bulk(b"d")),
            (Kind::Release, 1, Reply::Bulk(b"e")),
            (Kind::Extend, 1, Reply::Bulk(b"d")),
            (Kind::ReleaseNative, 1, Reply::Integer(2)),
            (Kind::Load, 0, Reply::Null),
            (Kind::Caching, 0, Reply::Null),
            (Kind::Fenced, 1, Reply::Ok),
            (Kind::Fenced, 1, Reply::Integer(-1)),
            (Kind::Raise, 1, Reply::Bulk(b"d")),
            (Kind::SealEpoch, 0, Reply::Ok),
            (Kind::SealEpoch, 0, Reply::Integer(1)),
            (Kind::SealScript, 0, Reply::Null),
            (Kind::SealScript, 0, Reply::One(2)),
            (Kind::Stamp, 0, Reply::Ok),
            (Kind::Take, 1, Reply::Integer(2)),
            (Kind::Take, 1, Reply::Integer(-1_024)),
            (Kind::Take, 1, Reply::Integer(i64::MIN)),
            (Kind::Take, 1, Reply::Ok),
            (Kind::Keep, 1, Reply::Bulk(b"d")),
            (Kind::Drop, 1, Reply::Bulk(b"e")),
            (Kind::TopUp, 1, Reply::Integer(1)),
            (Kind::Confirm, 1, Reply::Bulk(b"h")),
            (Kind::Leave, 1, Reply::Bulk(b"e")),
            (Kind::Enter, 1, Reply::Bulk(b"w")),
            (Kind::Enter, 1, Reply::Bulk(b"g1")),
            (Kind::Enter, 1, Reply::Null),
            (Kind::Watch, 1, Reply::Integer(1)),
            (Kind::Look, 1, Reply::Bulk(b"1")),
        ];
        for (kind, items, reply) in wrong {
            let error = answer(kind, items, &reply).unwrap_err();
            assert!(error.to_string().contains("in answer to"), "{error}");
        }
        assert!(matches!(answer(Kind::Acquire, 1, &Reply::Ok), Ok(Answer::Granted)));
        assert!(matches!(answer(Kind::Acquire, 1, &Reply::Null), Ok(Answer::Denied)));
        assert!(matches!(
            answer(Kind::Release, 3, &Reply::Bulk(b"dmo")),
            Ok(Answer::Letters(b"dmo"))
        ));
        let places = [
            (&b"g"[..], Place::Taken),
            (b"r", Place::Reserved),
            (b"w-1", Place::Waiting { is_deaf: false, ttl_ms: None }),
            (b"d250", Place::Waiting { is_deaf: true, ttl_ms: Some(250) }),
        ];
        for (text, place) in places {
            let reply = Reply::Bulk(text);
            let read = answer(Kind::Enter, 1, &reply);
            assert!(matches!(read, Ok(Answer::Place(read)) if read == place), "{read:?}");
        }
        let long = vec![b'x'; 10_000];
        let text = answer(Kind::Acquire, 1, &Reply::Simple(&long)).unwrap_err().to_string();
        assert!(text.len() < 200, "{text}");
    }
}
