//! What a peer may make us hold or do for one frame; everything beyond is a typed error.

/// Upper bounds for one frame. A node that exceeds one loses its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of one bulk string, at least [`QUICK_BULK_BYTES`]. A token has some 20 bytes, INFO
    /// some 10 KiB; 4 MiB lets `inspect` look at a key that somebody else uses for something big.
    pub(crate) bulk_bytes: usize,
    /// Depth of nested aggregates, at most [`DEPTH_MAX`]. COMMAND INFO, the deepest reply in use,
    /// has 7 levels. It bounds the recursion of the tree decoders.
    pub(crate) depth: usize,
    /// Elements of one frame, all levels together: 64 Ki. `redis_protocol` spends 104 bytes on
    /// each, so a frame of `:1` costs at most 7 MiB while it is converted.
    pub(crate) elements: usize,
    /// Bytes of one frame. With one more bulk string, which is refused once it is there, this is
    /// what the read buffer may have to hold.
    pub(crate) frame_bytes: usize,
    /// Bytes of a line: a status, an error, a number. Errors of scripts quote at most a few
    /// hundred bytes. A partial line is searched again at each read, so the bound is tight.
    pub(crate) line_bytes: usize,
}

impl Limits {
    /// The limits of every connection of the engine.
    pub(crate) const DEFAULT: Self = Self {
        bulk_bytes: 4 << 20,
        depth: DEPTH_MAX,
        elements: 64 << 10,
        frame_bytes: 8 << 20,
        line_bytes: 8 << 10,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The scanner keeps one counter per level in the decoder itself, so that it never allocates.
pub(crate) const DEPTH_MAX: usize = 32;

/// Strings of up to two digits of length are taken without asking for the limit.
pub(super) const QUICK_BULK_BYTES: usize = 99;

const _: () = assert!(Limits::DEFAULT.bulk_bytes >= QUICK_BULK_BYTES);
const _: () = assert!(Limits::DEFAULT.depth <= DEPTH_MAX);
const _: () = assert!(Limits::DEFAULT.bulk_bytes < Limits::DEFAULT.frame_bytes);
const _: () = assert!(Limits::DEFAULT.line_bytes < Limits::DEFAULT.bulk_bytes);
