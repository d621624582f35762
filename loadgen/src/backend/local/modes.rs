//! Locks of every mode inside the process: all claims of a request or none, by one table of who
//! is in each name. Whoever finds it otherwise looks again after every release, in no order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::mode::{Claim, Class};
use crate::num;
use crate::workload::{Permits, Spaces};

/// Holders of a name by [`Class::code`].
type Holders = [u32; 4];

/// The table.
#[derive(Debug)]
pub(super) struct Names {
    holders: Mutex<Vec<Holders>>,
    released: Notify,
    permits: Permits,
}

/// Claims that were granted; given back when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    names: Arc<Names>,
    claims: Box<[Claim]>,
}

impl Names {
    /// A table of the names of `spaces`, of which there are `cells`.
    pub(super) fn new(spaces: &Spaces, cells: u64) -> Arc<Self> {
        let holders = Mutex::new(vec![Holders::default(); num::usize_of(cells)]);
        Arc::new(Self { holders, released: Notify::new(), permits: spaces.permits() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Holders>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of `claims`, if nobody is in the way of any.
    pub(super) fn try_take(self: &Arc<Self>, claims: &[Claim]) -> Option<Taken> {
        self.try_take_of(claims, 0)
    }

    /// The same with so many permits too much.
    fn try_take_of(self: &Arc<Self>, claims: &[Claim], too_much: usize) -> Option<Taken> {
        let mut all = self.lock();
        let is_free = |claim: &Claim| {
            let permits = self.permits.at(claim.cell.into()).saturating_add(too_much);
            let holders = all.get(num::usize_of(claim.cell.into())).copied().unwrap_or_default();
            (0..).zip(holders).all(|(code, n)| {
                let class = Class::from_code(code);
                let full = class == Class::Permit
                    && claim.class == class
                    && num::usize_of(n.into()) >= permits;
                n == 0 || !(class.excludes(claim.class) || full)
            })
        };
        if !claims.iter().all(is_free) {
            return None;
        }
        count(&mut all, claims, |n| *n += 1);
        Some(Taken { names: Arc::clone(self), claims: claims.into() })
    }

    /// All of `claims`, as soon as nobody is in the way.
    pub(super) async fn take(self: &Arc<Self>, claims: &[Claim]) -> Taken {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            // Told of every release from here on.
            released.as_mut().enable();
            if let Some(taken) = self.try_take(claims) {
                return taken;
            }
            released.await;
        }
    }

    /// Another lock than the one that was asked for, if it can be had: what mistakes a mode.
    pub(super) fn mistake(self: &Arc<Self>, claims: &[Claim]) -> Option<Taken> {
        match claims {
            // A reader in place of a writer, a permit beyond the last one.
            [Claim { cell, class: Class::Exclusive | Class::Shared }] => {
                self.try_take(&[Claim { cell: *cell, class: Class::Shared }])
            }
            [Claim { class: Class::Permit, .. }] => self.try_take_of(claims, 1),
            // One name instead of all; a path without what is above its end.
            [.., last] => self.try_take(&[*last]),
            [] => None,
        }
    }

    /// None at all, which looks like a grant.
    pub(super) fn nothing(self: &Arc<Self>) -> Taken {
        Taken { names: Arc::clone(self), claims: Box::default() }
    }
}

fn count(all: &mut [Holders], claims: &[Claim], change: impl Fn(&mut u32)) {
    for Claim { cell, class } in claims {
        let holders = all.get_mut(num::usize_of((*cell).into()));
        if let Some(n) = holders.and_then(|of| of.get_mut(num::usize_of(class.code()))) {
            change(n);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        count(&mut self.names.lock(), &self.claims, |n| *n = n.saturating_sub(1));
        self.names.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use crate::mode::Mode;
    use Class::{Exclusive, Intent, Permit, Shared};

    fn names(mode: Mode) -> Arc<Names> {
        let config = RunConfig { mode, ..RunConfig::for_tests() };
        Names::new(&config.spaces(), config.names())
    }

    fn claim(cell: u32, class: Class) -> Claim {
        Claim { cell, class }
    }

    #[test]
    fn all_claims_are_had_or_none_and_given_back_together() {
        let names = names(Mode::Hierarchy(2));
        let below = names.try_take(&[claim(0, Intent), claim(1, Exclusive)]).unwrap();
        assert!(names.try_take(&[claim(0, Exclusive)]).is_none());
        assert!(names.try_take(&[claim(0, Intent), claim(1, Exclusive)]).is_none());
        let beside = names.try_take(&[claim(0, Intent), claim(2, Exclusive)]).unwrap();
        drop((below, beside));
        assert!(names.try_take(&[claim(0, Exclusive)]).is_some(), "the refused left nothing");
    }

    #[test]
    fn readers_share_and_permits_are_counted() {
        let names = names(Mode::Permits(2));
        let shared = [claim(0, Shared)];
        let readers = (names.try_take(&shared).unwrap(), names.try_take(&shared).unwrap());
        assert!(names.try_take(&[claim(0, Exclusive)]).is_none());
        drop(readers);
        let permit = [claim(1, Permit)];
        let held = (names.try_take(&permit).unwrap(), names.try_take(&permit).unwrap());
        assert!(names.try_take(&permit).is_none());
        assert!(names.mistake(&permit).is_some(), "that is the mistake");
        drop(held);
        assert!(names.try_take(&permit).is_some());
    }
}
