//! Whose lease it is: one word that says which holder, and whether it may still pass on.
//!
//! A lease that is handed to the next caller of this process keeps its op, its token and its
//! ledger; only the *generation* moves. A guard and the views made from it carry the generation
//! they were made for: once that is past, they are released, for good.
//! - I1 (DESIGN R12) a generation ends once: it is moved on, or its release begins. A release that
//!   began is never taken back, so nothing moves on after it.
//! - I2 a token that was shown to anybody stays with the holder that showed it: it never moves on,
//!   and it is never shown to an earlier holder once it has moved.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Hold(AtomicU64);

/// The release has begun.
const GONE: u64 = 1;
/// The token is known outside the engine.
const EXPOSED: u64 = 2;
const GENERATION_SHIFT: u32 = 2;

impl Hold {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn reset(&mut self) {
        *self.0.get_mut() = 0;
    }

    /// The holder now; also how often the lease was handed on.
    pub(crate) fn generation(&self) -> u64 {
        self.0.load(Ordering::Acquire) >> GENERATION_SHIFT
    }

    /// Hands the lease on to generation `from + 1`, if `from` holds it, has not begun to release
    /// it and never showed its token.
    pub(crate) fn move_on(&self, from: u64) -> bool {
        let (old, new) = (from << GENERATION_SHIFT, (from + 1) << GENERATION_SHIFT);
        self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Begins the release for `holder`, or for whoever holds it. `true` once: go on and release.
    pub(crate) fn end(&self, holder: Option<u64>) -> bool {
        self.mark(holder, GONE).is_some_and(|before| before & GONE == 0)
    }

    /// The token is about to be shown to `holder`. `false`: it is another's by now.
    pub(crate) fn expose(&self, holder: u64) -> bool {
        self.mark(Some(holder), EXPOSED).is_some()
    }

    /// Sets `bit` while `holder` holds: the word before.
    fn mark(&self, holder: Option<u64>, bit: u64) -> Option<u64> {
        let mark = |word: u64| {
            let is_holder = holder.is_none_or(|holder| holder == word >> GENERATION_SHIFT);
            is_holder.then_some(word | bit)
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, mark).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn i1_a_generation_moves_on_or_ends_and_never_both() {
        let hold = Hold::new();
        assert!(hold.move_on(0));
        assert!(!hold.move_on(0), "moved twice");
        assert!(!hold.end(Some(0)), "released by an earlier holder");
        assert_eq!(hold.generation(), 1);
        assert!(hold.end(Some(1)));
        assert!(!hold.end(Some(1)) && !hold.end(None), "released twice");
        assert!(!hold.move_on(1), "a release was taken back");
        assert_eq!(hold.generation(), 1);
        let other = Hold::new();
        assert!(other.end(None) && !other.move_on(0));
    }

    #[test]
    fn i2_a_shown_token_does_not_move_on_and_a_moved_one_is_not_shown() {
        let hold = Hold::new();
        assert!(hold.move_on(0));
        assert!(!hold.expose(0), "an earlier holder sees its successor's token");
        assert!(hold.expose(1) && hold.expose(1));
        assert!(!hold.move_on(1));
        assert!(hold.end(Some(1)));
        assert!(hold.expose(1), "of a released lease the token is nobody else's");
    }

    /// All who try in the same moment: one of them ends the generation.
    #[test]
    fn i1_one_of_many_threads_ends_a_generation() {
        let hold = Hold::new();
        for generation in 0..500 {
            let (moved, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for thread in 0..3 {
                    let (hold, moved, ended) = (&hold, &moved, &ended);
                    scope.spawn(move || {
                        let is_last = generation == 499;
                        if thread == 0 && is_last {
                            ended.fetch_add(hold.end(None).into(), Ordering::SeqCst);
                        } else {
                            moved.fetch_add(hold.move_on(generation).into(), Ordering::SeqCst);
                        }
                    });
                }
            });
            let (moved, ended) = (moved.into_inner(), ended.into_inner());
            // Ending for whoever holds it may come behind one move; nothing comes behind the end.
            assert!(moved <= 1 && (moved + ended == 1 || generation == 499), "{moved} {ended}");
        }
        assert!(!hold.move_on(hold.generation()));
    }
}
