//! How attempts at claims differ: no local queue, and permits are looked for one by one.
//!
//! - I1 a round that asked for a taken permit is followed at once by one for a permit that a node
//!   said is free, [`TRIES_MAX`] times in a row; then the caller pauses, or gives up.

use std::sync::Arc;

use super::Acquisition;
use crate::engine::core::{Engine, Unstartable};
use crate::engine::op::{Op, Spec, Way};
use crate::engine::wish::{Failure, Wish};

/// Which permit comes next.
#[derive(Debug, Default)]
pub(super) struct Search {
    next: Option<u16>,
    tries: u32,
}

impl Search {
    /// The permit that a node said is free, if it is one of so many: a node may say anything.
    fn take(&mut self, permits: u16) -> Option<u16> {
        self.next.take().filter(|permit| *permit < permits)
    }
}

impl Acquisition {
    /// Makes the next round's op.
    pub(super) fn attempt(&mut self, engine: &Engine) -> Result<Arc<Op>, Unstartable> {
        let Wish { resource, ttl, fenced, claims, .. } = &mut self.wish;
        let Some(claims) = claims else {
            // Others may have been told of the same release.
            let was_told = self.late.as_ref().is_some_and(|late| late.was_told);
            let way = was_told.then_some(Way::Staged);
            return engine.prepare(resource, *ttl, *fenced, way);
        };
        engine.admit()?;
        if let Some(permits) = claims.permits {
            let any = || below(permits, engine.rng.next());
            let told = self.late.as_mut().and_then(|late| late.search.take(permits));
            claims.choose(told.unwrap_or_else(any));
        }
        let spec = engine.spec(resource, *ttl);
        Ok(engine.fleet.pool.take(&Spec { claims: Some(claims), ..spec }))
    }

    /// A round is lost: notes what the nodes said of other permits, before its op is given up.
    pub(super) fn note_permit(&mut self, op: &Op) {
        self.late().search.next = op.claim.as_ref().and_then(|claim| claim.free());
    }

    /// I1: whether the next round is to follow at once.
    pub(super) fn goes_on(&mut self, failure: Failure) -> bool {
        let search = &mut self.late().search;
        let goes_on = failure == Failure::Busy && search.next.is_some() && search.tries < TRIES_MAX;
        search.tries = if goes_on { search.tries + 1 } else { 0 };
        goes_on
    }
}

/// A number below `count`, out of random `bits`.
fn below(count: u16, bits: u64) -> u16 {
    u16::try_from(bits % u64::from(count.max(1))).unwrap_or(0)
}

/// Each try asks for a permit that was free a round trip ago. When so many in a row were snatched
/// away, others are as eager, and a pause serves everybody.
const TRIES_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_that_there_is_not_is_not_asked_for() {
        let mut search = Search { next: Some(2), tries: 0 };
        assert_eq!((search.take(3), search.take(3)), (Some(2), None));
        search.next = Some(3);
        assert_eq!(search.take(3), None);
        for bits in [0, 1, u64::MAX] {
            assert!(below(3, bits) < 3);
        }
        assert_eq!(below(0, 7), 0);
    }
}
