//! Requests that are more than one plain lock: what they take.

use std::sync::Arc;

use crate::algorithm::mode::{Access, Mode, canonical, claims};
use crate::algorithm::script::{KEYS_MAX, OWNERS_MAX};
use crate::engine::op::Claims;
use crate::error::ClaimError;
use crate::request::{Acquire, TryAcquire};
use crate::resource::Resource;

/// How the resources that are named are taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    In(Mode),
    PermitOf(u16),
}

impl Acquire<'_> {
    /// Takes the lock in this [`Mode`], instead of exclusively: readers share it, a writer excludes
    /// them and is excluded.
    ///
    /// Every mode keeps its promise against every other one and against plain locks on the same
    /// resource, other libraries' included. Others than the exclusive one cost the nodes a script
    /// per lock and one per release, about three times the CPU of a plain lock, five times where
    /// five others hold it; at most 1 024 owners share a resource. Callers of one process do not
    /// queue for them: each asks the nodes, and tries again after a pause.
    ///
    /// A reader that comes while a writer waits in the nodes' queue waits behind it, also one that
    /// reads the same resource already: do not take a lock twice.
    ///
    /// There is no upgrade and no downgrade; see [`Mode`]. Replaces
    /// [`permit_of`](Self::permit_of).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: redlatch::Redlock) -> Result<(), Box<dyn std::error::Error>> {
    /// use redlatch::Mode;
    /// let reading = locks.acquire("config").mode(Mode::Shared).await?;
    /// # drop(reading); Ok(()) }
    /// ```
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.way = Way::In(mode);
        self
    }

    /// The resource's name is a path split at `/`, and everything above it is taken too, on its
    /// behalf: `orders/42/items` conflicts with `orders/42` and with `orders`, if those are locked
    /// as a whole, and not with `orders/43`. All of it is one step, and nothing or all is held.
    ///
    /// Only requests that say so take note of a hierarchy: a plain request for `orders/42/items`
    /// takes no intention lock on `orders`, and whoever locks `orders` does not see it. What names
    /// the parts of one whole should always ask hierarchically; for the whole itself, a name
    /// without `/`, it makes no difference.
    ///
    /// A steady stream of locks below can keep whoever wants the whole waiting.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: redlatch::Redlock) -> Result<(), Box<dyn std::error::Error>> {
    /// let items = locks.acquire("orders/42/items").hierarchical().await?;
    /// # drop(items); Ok(()) }
    /// ```
    pub const fn hierarchical(mut self) -> Self {
        self.hierarchical = true;
        self
    }

    /// Takes any one of the resource's `count` permits, 1 to 1 024: at most so many are held at
    /// once. Whoever shares a resource names the same number; where they differ, the larger one
    /// holds. Locks in any mode exclude all permits and are excluded by each.
    ///
    /// A permit is chosen at random; where it is taken, the nodes say which one is free. Under
    /// contention several owners can be after the last one, so an attempt without waiting may
    /// fail although one is free in that moment. Replaces [`mode`](Self::mode).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: redlatch::Redlock) -> Result<(), Box<dyn std::error::Error>> {
    /// // Never more than five exports at once, over all processes.
    /// let permit = locks.acquire("exports").permit_of(5).await?;
    /// # drop(permit); Ok(()) }
    /// ```
    pub const fn permit_of(mut self, count: u16) -> Self {
        self.way = Way::PermitOf(count);
        self
    }
}

impl TryAcquire<'_> {
    /// As [`Acquire::mode`].
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.0.way = Way::In(mode);
        self
    }

    /// As [`Acquire::hierarchical`].
    pub const fn hierarchical(mut self) -> Self {
        self.0.hierarchical = true;
        self
    }

    /// As [`Acquire::permit_of`].
    pub const fn permit_of(mut self, count: u16) -> Self {
        self.0.way = Way::PermitOf(count);
        self
    }
}

/// What a request for `asked` takes; nothing special, if that is one plain lock.
pub(super) fn claimed(
    mut asked: Vec<Resource>,
    way: Way,
    hierarchical: bool,
) -> Result<Option<Box<Claims>>, ClaimError> {
    let (access, permits) = match way {
        Way::In(mode) => (Access::Mode(mode), None),
        Way::PermitOf(count) if (1..=OWNERS_MAX).contains(&count) => {
            (Access::Permit(0), Some(count))
        }
        Way::PermitOf(count) => return Err(ClaimError::Permits { count, max: OWNERS_MAX }),
    };
    asked.sort();
    asked.dedup();
    if asked.is_empty() {
        return Err(ClaimError::Empty);
    }
    let too_many = |count| ClaimError::TooMany { count, max: KEYS_MAX };
    // More names or deeper ones than this cannot become few enough by lying below each other.
    let mut taken = Vec::new();
    for resource in asked.iter().take(KEYS_MAX + 1) {
        taken.extend(claims(resource, access, hierarchical).take(KEYS_MAX + 1));
    }
    let taken = canonical(taken);
    if taken.len() > KEYS_MAX {
        return Err(too_many(taken.len()));
    }
    if let [(_, Access::Mode(Mode::Exclusive))] = taken.as_slice() {
        return Ok(None);
    }
    Ok(Some(Box::new(Claims { taken, asked: Arc::from(asked), permits })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<Resource> {
        (0..count).map(|n| Resource::from(format!("r{n}"))).collect()
    }

    #[test]
    fn what_cannot_be_taken_is_refused_before_anything_is_sent() {
        let exclusive = Way::In(Mode::Exclusive);
        let claimed = |asked, way| claimed(asked, way, true).unwrap_err();
        assert_eq!(claimed(Vec::new(), exclusive), ClaimError::Empty);
        let max = KEYS_MAX;
        assert_eq!(claimed(names(65), exclusive), ClaimError::TooMany { count: 65, max });
        let deep = Resource::from("a/".repeat(2_000));
        assert_eq!(claimed(vec![deep], exclusive), ClaimError::TooMany { count: 65, max });
        for count in [0, 1_025, u16::MAX] {
            let error = claimed(names(1), Way::PermitOf(count));
            assert_eq!(error, ClaimError::Permits { count, max: 1_024 });
        }
    }

    #[test]
    fn duplicates_are_merged_and_one_exclusive_lock_is_a_plain_one() {
        let shared = Way::In(Mode::Shared);
        let all = claimed([names(64), names(64)].concat(), shared, false).unwrap().unwrap();
        assert_eq!((all.taken.len(), all.asked.len()), (64, 64));
        let twice = [names(1), names(1)].concat();
        assert!(claimed(twice.clone(), Way::In(Mode::Exclusive), true).unwrap().is_none());
        assert!(claimed(twice, shared, false).unwrap().is_some());
        // `a` is asked for whole, and not only for what lies below it.
        let nested = vec![Resource::from("a/b"), Resource::from("a")];
        let claims = claimed(nested, Way::In(Mode::Exclusive), true).unwrap().unwrap();
        let whole = (Resource::from("a"), Access::Mode(Mode::Exclusive));
        assert_eq!(claims.taken.first(), Some(&whole));
        assert_eq!(claims.taken.len(), 2);
    }
}
