//! Frames in order: a lane or a wire, in one word, so that a state stays small.

use std::fmt;

/// A command on its way. The numbers are tokens, for `Kill` connections; 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Set(u8),
    /// A SET that no seal follows; only where R9 is broken.
    Unsealed(u8),
    Extend(u8),
    Release(u8),
    Seal,
    Kill(u8),
}

impl Frame {
    fn code(self) -> u64 {
        match self {
            Self::Set(at) => 1 + u64::from(at),
            Self::Unsealed(at) => 3 + u64::from(at),
            Self::Extend(at) => 5 + u64::from(at),
            Self::Release(at) => 7 + u64::from(at),
            Self::Kill(at) => 9 + u64::from(at),
            Self::Seal => 11,
        }
    }

    fn of(code: u64) -> Self {
        let at = u8::from(code.is_multiple_of(2));
        match code {
            1 | 2 => Self::Set(at),
            3 | 4 => Self::Unsealed(at),
            5 | 6 => Self::Extend(at),
            7 | 8 => Self::Release(at),
            9 | 10 => Self::Kill(at),
            _ => Self::Seal,
        }
    }
}

/// Up to 16 frames, four bits each, the first in the lowest.
#[derive(Clone, Copy, Default, Hash, PartialEq, Eq)]
pub(super) struct Queue(u64);

impl Queue {
    pub(super) fn frames(self) -> impl Iterator<Item = Frame> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let code = rest & 15;
            rest >>= 4;
            (code != 0).then(|| Frame::of(code))
        })
    }

    pub(super) fn push(&mut self, frame: Frame) {
        let bits = (64 - self.0.leading_zeros()).div_ceil(4) * 4;
        assert!(bits < 64, "no lane or wire gets this long within the bounds");
        self.0 |= frame.code() << bits;
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let first = self.frames().next()?;
        self.0 >>= 4;
        Some(first)
    }

    pub(super) fn has(self, frame: Frame) -> bool {
        self.frames().any(|other| other == frame)
    }

    pub(super) fn without(self, gone: impl Fn(Frame) -> bool) -> Self {
        let mut rest = Self::default();
        self.frames().filter(|frame| !gone(*frame)).for_each(|frame| rest.push(frame));
        rest
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.frames()).finish()
    }
}
