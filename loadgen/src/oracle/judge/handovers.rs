//! How locks pass on: grants, and how many of them had waited for the predecessor's release.

use std::sync::atomic::Ordering;

use super::{GRANTS, Oracle};

/// Words of the header.
const HANDOVERS: usize = 8;
const HANDOVERS_BETWEEN: usize = 9;

/// What was granted so far, in the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    pub(crate) all: u64,
    /// Those that had waited for the predecessor's release.
    pub(crate) handovers: u64,
    /// Of these, those whose predecessor was a client of another process.
    pub(crate) between_processes: u64,
}

impl Grants {
    /// What came between `earlier` and this.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            all: self.all.saturating_sub(earlier.all),
            handovers: self.handovers.saturating_sub(earlier.handovers),
            between_processes: self.between_processes.saturating_sub(earlier.between_processes),
        }
    }
}

/// A lock that passed from one holder to one who was waiting for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handover {
    /// From the predecessor's call of release to this grant.
    pub(crate) took_ns: u64,
    /// The predecessor was a client of another process.
    pub(crate) between_processes: bool,
}

impl Oracle {
    pub(super) fn count_grant(&self, handover: Option<Handover>) {
        self.word(GRANTS).fetch_add(1, Ordering::Relaxed);
        if let Some(Handover { between_processes, .. }) = handover {
            self.word(HANDOVERS).fetch_add(1, Ordering::Relaxed);
            self.word(HANDOVERS_BETWEEN).fetch_add(between_processes.into(), Ordering::Relaxed);
        }
    }

    /// What was granted so far.
    pub(crate) fn grants(&self) -> Grants {
        let word = |at| self.word(at).load(Ordering::Relaxed);
        Grants {
            all: word(GRANTS),
            handovers: word(HANDOVERS),
            between_processes: word(HANDOVERS_BETWEEN),
        }
    }
}
