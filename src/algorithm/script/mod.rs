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
    Script { sha: "d91d42aa1657aa926b8e7cd45af2f8cac0ee1f84", body: include_str!("extend.lua") };

/// Every script, in the order in which a handshake loads them.
pub(crate) const ALL: [&Script; 2] = [&RELEASE, &EXTEND];

/// Keys in one call at most. Lua's `unpack` allows thousands; 64 keeps one call under 100 us of
/// server time, so that it delays no other client noticeably.
pub(crate) const KEYS_MAX: usize = 64;
