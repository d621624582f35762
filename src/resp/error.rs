//! Why a byte stream is not RESP, told so that an operator sees what is at the other end.

use std::fmt;

/// The bytes are no frame that this connection can take: the stream is lost, close it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the peer speaks HTTP ({sample}): check host and port of this node")]
    Http { sample: Sample },
    #[error("{what} of {value} exceeds the limit of {limit}")]
    Limit { what: &'static str, value: u64, limit: u64 },
    #[error("malformed reply: {what} at {sample}")]
    Malformed { what: &'static str, sample: Sample },
    #[error("type {byte:?} belongs to RESP3, but this connection speaks RESP2 ({sample})")]
    Resp3Type { byte: char, sample: Sample },
    #[error("streamed replies are not supported ({sample})")]
    Streamed { sample: Sample },
    #[error("the peer speaks TLS ({sample}): use the plain port or a TLS address")]
    Tls { sample: Sample },
    #[error("no RESP type starts with {sample}: check host and port of this node")]
    UnknownType { sample: Sample },
}

/// At most [`SAMPLE_BYTES`] of the input, escaped: safe to print and to log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sample(Box<str>);

impl Sample {
    fn of(input: &[u8], at: usize) -> Self {
        let rest = input.get(at..).unwrap_or_default();
        let shown = rest.get(..SAMPLE_BYTES).unwrap_or(rest);
        Self(shown.escape_ascii().to_string().into_boxed_str())
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A [`DecodeError`] before its sample is taken: small, so that the hot results stay small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// Where in the input the offending token starts.
    pub(super) at: usize,
}

/// The kinds of [`Fault`], as in [`DecodeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    Http,
    Limit { what: &'static str, value: u64, limit: usize },
    Malformed(&'static str),
    Resp3Type(u8),
    Streamed,
    Tls,
    UnknownType,
}

impl Fault {
    #[cold]
    pub(super) fn new(kind: FaultKind, at: usize) -> Self {
        Self { kind, at }
    }

    #[cold]
    pub(super) fn malformed(what: &'static str, at: usize) -> Self {
        Self::new(FaultKind::Malformed(what), at)
    }

    #[cold]
    pub(super) fn limit(what: &'static str, value: u64, limit: usize, at: usize) -> Self {
        Self::new(FaultKind::Limit { what, value, limit }, at)
    }

    /// The error for `input`, of which a short sample is kept.
    #[cold]
    pub(super) fn into_error(self, input: &[u8]) -> DecodeError {
        let sample = Sample::of(input, self.at);
        match self.kind {
            FaultKind::Http => DecodeError::Http { sample },
            FaultKind::Limit { what, value, limit } => {
                DecodeError::Limit { what, value, limit: limit as u64 }
            }
            FaultKind::Malformed(what) => DecodeError::Malformed { what, sample },
            FaultKind::Resp3Type(byte) => DecodeError::Resp3Type { byte: char::from(byte), sample },
            FaultKind::Streamed => DecodeError::Streamed { sample },
            FaultKind::Tls => DecodeError::Tls { sample },
            FaultKind::UnknownType => DecodeError::UnknownType { sample },
        }
    }
}

/// Enough to recognise a protocol by its first bytes, too little to flood a log.
pub(super) const SAMPLE_BYTES: usize = 32;
