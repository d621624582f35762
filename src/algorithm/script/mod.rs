//! The Lua scripts the engine sends, each with the SHA-1 that EVALSHA names it by.
//!
//! The digests are pinned so that nothing is hashed at run time; a test proves each against the
//! text. The scripts, their key order and their answers are API between engines of mixed
//! versions that share a fleet: change one by adding another.

/// One script: what SCRIPT LOAD sends and what EVALSHA names.
#[derive(Debug)]
pub(crate) struct Script {
    /// Lower-case SHA-1 of [`Script::body`], 40 characters.
    pub(crate) sha: &'static str,
    /// The Lua text, as it is loaded.
    pub(crate) body: &'static str,
}

/// Compare-and-delete of up to [`KEYS_MAX`] locks: answers one of `d`, `m`, `o` per key.
pub(crate) const RELEASE: Script =
    Script { sha: "6a21a8644cd1f7ec9ffaa3b999cdf7ccd9435211", body: include_str!("release.lua") };

/// Compare-and-lengthen of up to [`KEYS_MAX`] leases: answers one of `e`, `m`, `o` per key.
pub(crate) const EXTEND: Script =
    Script { sha: "6a553d85bea8e831639914c1b0b19daf1b4d50c1", body: include_str!("extend.lua") };

/// Set-if-free that counts a fencing token up: answers the token, or nil.
pub(crate) const FENCED: Script =
    Script { sha: "8166b3f3f87d734183662becf594a961d06e3d15", body: include_str!("fenced.lua") };

/// Raises a fencing counter for its lock's owner: answers one of `e`, `n`, `m`, `o`.
pub(crate) const RAISE: Script =
    Script { sha: "bcff2986e07ef9bc05a3f48ec8c2d58a97c66dc7", body: include_str!("raise.lua") };

/// Takes several locks in their modes, all or none: answers 1, nil, or -n where permit n is free.
pub(crate) const TAKE: Script =
    Script { sha: "726b6952296c6fb25d469a9e1a94995daca3a69d", body: include_str!("take.lua") };

/// Lengthens all that [`TAKE`] took with one token: answers one of `e`, `m`, `o`.
pub(crate) const KEEP: Script =
    Script { sha: "74305aa420a4c4afec2f695c92c3a3e39340f71b", body: include_str!("keep.lua") };

/// Releases all that [`TAKE`] took with one token, and hands it on: answers one of `h`, `d`, `m`,
/// `o`.
pub(crate) const DROP: Script =
    Script { sha: "a9257534569e0b31a18859717317bf88de1afe99", body: include_str!("drop.lua") };

/// Reads a node's epoch, time and incarnation; begins a new epoch where locks may be forgotten.
pub(crate) const STAMP: Script =
    Script { sha: "4186f937800dca09c15c2a2372ea33b47772b392", body: include_str!("stamp.lua") };

/// Queues a ticket up, or takes a free lock: answers `g`, `r`, or `w` or `d` and a number.
pub(crate) const ENTER: Script =
    Script { sha: "076480df14b0d84af73c5d101789da6ede3774ef", body: include_str!("enter.lua") };

/// Compare-and-hand-on of one lock: answers one of `h`, `d`, `m`, `o`.
pub(crate) const LEAVE: Script =
    Script { sha: "48072aef8f3a34038da9dbebe0899f3c06d2267c", body: include_str!("leave.lua") };

/// Takes a reserved lock and counts its fencing token up: answers the token, or nil.
pub(crate) const CONFIRM: Script =
    Script { sha: "28847e5248de94842ce100529f07624ffe91582e", body: include_str!("confirm.lua") };

/// Every script, in the order in which a handshake loads them.
pub(crate) const ALL: [&Script; 11] =
    [&RELEASE, &EXTEND, &FENCED, &RAISE, &TAKE, &KEEP, &DROP, &STAMP, &ENTER, &LEAVE, &CONFIRM];

/// Locks in one call at most. Lua's `unpack` allows thousands; 64 keeps one call under 100 us of
/// server time, so that it delays no other client noticeably.
pub(crate) const KEYS_MAX: usize = 64;

/// Owners of one key at once at most, where its mode allows several: [`TAKE`] reads them all, and
/// a thousand take it up to a millisecond and a half.
pub(crate) const OWNERS_MAX: u16 = 1_024;

/// Keys of the engine's own begin with this; no resource may.
pub(crate) const RESERVED: &str = "redlatch:";

/// Where a node keeps the id of its epoch.
pub(crate) const EPOCH_KEY: &str = "redlatch:epoch";

/// Where a node keeps the rest of what [`STAMP`] knows.
pub(crate) const STATE_KEY: &str = "redlatch:node";

/// In front of a lock's key: the key of its fencing counter.
pub(crate) const FENCE_PREFIX: &str = "redlatch:fence:";

/// In front of a lock's key: the key of its queue, a sorted set of tokens, each with a ttl, by
/// ticket.
pub(crate) const QUEUE_PREFIX: &str = "redlatch:queue:";

/// In front of a process's id, 16 hexadecimal digits: its channel. What goes over
/// it is a hint, but for one word; see R10'.
pub(crate) const CHANNEL_PREFIX: &str = "redlatch:p:";

/// How long a lock stays reserved for the next in line: a waiter that died costs its successor
/// this and a look, and a confirmation has so long to arrive.
pub(crate) const RESERVATION_MS: u64 = 50;

/// How long a queue lives after the last ticket's look at it; each looks four times a second.
pub(crate) const QUEUE_TTL_MS: u64 = 1_000;

/// How long a fencing counter outlives the last grant: a day, so that it outlives every lock and
/// every clock error by far.
pub(crate) const FENCE_TTL_MS: u64 = 86_400_000;
