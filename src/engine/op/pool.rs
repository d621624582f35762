//! Ops between uses.
//!
//! - I1 (Op I3) an op is handed out only when nobody else refers to it, wherever it was kept.
//! - I2 (DESIGN R11) no two ops that are handed out have the same token.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Op, Spec};
use crate::token::Token;

/// Ops between uses, and what they are named by.
#[derive(Debug)]
pub(crate) struct Pool {
    process: u64,
    ops: Mutex<Ops>,
}

#[derive(Debug, Default)]
struct Ops {
    /// Nobody's, as far as is known: the last one first, whose lines are still in the cache.
    free: Vec<Arc<Op>>,
    /// A node may still refer to them. First in, first out: the oldest is the likeliest to be free.
    busy: VecDeque<Arc<Op>>,
    /// Ops handed out so far: each has a token of its own, never used before (R11). Counted here,
    /// under a lock that every attempt takes anyway: one cache line less that all threads write to.
    attempts: u64,
}

/// More idle ops than this are dropped, of either kind; each takes about 500 bytes. A node that is
/// down refers for a minute and more to those whose release it is owed, and they must not be in the
/// way of the others.
const POOL_MAX: usize = 8_192;
/// How many still referred-to ops a caller passes over before it allocates: each is a cache miss.
const PASSES_MAX: usize = 8;

impl Ops {
    fn next(&mut self) -> Option<Arc<Op>> {
        self.free.pop().or_else(|| self.busy.pop_front())
    }

    /// What finds no room comes back, to be dropped outside the lock: an op may hold a waker, whose
    /// drop may do anything.
    fn put(&mut self, op: Arc<Op>) -> Option<Arc<Op>> {
        if self.busy.len() >= POOL_MAX {
            return Some(op);
        }
        self.busy.push_back(op);
        None
    }
}

impl Pool {
    /// `process`: this client's part of every token.
    pub(crate) fn new(process: u64) -> Self {
        Self { process, ops: Mutex::default() }
    }

    /// An op with a fresh token.
    pub(crate) fn take(&self, spec: &Spec<'_>) -> Arc<Op> {
        let (mut next, attempt) = {
            let mut ops = self.ops();
            ops.attempts += 1;
            (ops.next(), ops.attempts)
        };
        let token = Token::new(self.process, attempt);
        for _ in 0..PASSES_MAX {
            let Some(mut op) = next.take() else { break };
            if let Some(free) = Arc::get_mut(&mut op) {
                free.reset(spec, token);
                return op;
            }
            let mut ops = self.ops();
            let rest = ops.put(op);
            next = ops.next();
            drop(ops);
            drop(rest);
        }
        if let Some(op) = next {
            self.put(op);
        }
        Arc::new(Op::new(spec, token))
    }

    /// Its caller is done with it.
    pub(crate) fn put(&self, op: Arc<Op>) {
        let mut ops = self.ops();
        let rest = ops.put(op);
        drop(ops);
        drop(rest);
    }

    /// Its caller is done with it, and so is every node.
    pub(crate) fn put_free(&self, op: Arc<Op>) {
        // Dropped before `op`, if there is no room for it.
        let mut ops = self.ops();
        if ops.free.len() < POOL_MAX {
            ops.free.push(op);
        }
    }

    fn ops(&self) -> MutexGuard<'_, Ops> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn has_no_op_twice(&self) -> bool {
        let ops = self.ops();
        let all = ops.free.iter().chain(&ops.busy);
        let distinct: std::collections::HashSet<_> = all.map(Arc::as_ptr).collect();
        distinct.len() == ops.free.len() + ops.busy.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::tally::Vote;
    use crate::config::Drift;
    use crate::time::Timestamp;
    use std::collections::HashSet;
    use std::time::Duration;

    fn take(pool: &Pool) -> Arc<Op> {
        pool.take(&Spec {
            resource: &"r".into(),
            prefix: b"",
            ttl: Duration::from_secs(1),
            lock_delay: Duration::ZERO,
            drift: Drift::default(),
            nodes: 3,
            quorum: 2,
            fencing: None,
            ticket: None,
            claims: None,
        })
    }

    #[test]
    fn the_op_that_became_free_last_is_the_next_and_the_oldest_busy_one_follows() {
        let pool = Pool::new(1);
        let ops: Vec<_> = (0..4).map(|_| take(&pool)).collect();
        let places: Vec<_> = ops.iter().map(Arc::as_ptr).collect();
        for (at, op) in ops.into_iter().enumerate() {
            if at < 2 { pool.put(op) } else { pool.put_free(op) }
        }
        let again: Vec<_> = (0..4).map(|_| take(&pool)).collect();
        let expected = [places[3], places[2], places[0], places[1]];
        assert_eq!(again.iter().map(Arc::as_ptr).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn i1_an_op_that_somebody_refers_to_is_passed_over_and_not_lost() {
        let pool = Pool::new(1);
        let busy: Vec<_> = (0..PASSES_MAX + 3).map(|_| take(&pool)).collect();
        busy.iter().for_each(|op| pool.put_free(Arc::clone(op)));
        let fresh = take(&pool);
        assert!(busy.iter().all(|op| !Arc::ptr_eq(op, &fresh)));
        let kept = || {
            let ops = pool.ops();
            ops.free.len() + ops.busy.len()
        };
        assert_eq!(kept(), busy.len());
        drop(busy);
        let again: Vec<_> = (0..PASSES_MAX + 3).map(|_| take(&pool)).collect();
        assert!(again.iter().all(|op| Arc::strong_count(op) == 1));
        assert_eq!(kept(), 0);
    }

    #[test]
    fn ops_that_a_node_keeps_are_not_in_the_way_of_the_others() {
        let pool = Pool::new(1);
        let kept: Vec<_> = (0..POOL_MAX + 10).map(|_| take(&pool)).collect();
        kept.iter().for_each(|op| pool.put(Arc::clone(op)));
        assert_eq!(pool.ops().busy.len(), POOL_MAX, "bounded");
        pool.put_free(take(&pool));
        assert_eq!(pool.ops().free.len(), 1);
    }

    #[test]
    fn an_op_that_is_used_again_owes_nothing_of_before() {
        let pool = Pool::new(1);
        let op = take(&pool);
        let until = Timestamp::from_nanos(7);
        op.owe_until(until);
        op.owe_until(Timestamp::ZERO);
        assert_eq!(op.owed_until(), until, "of several, the last");
        pool.put_free(op);
        assert_eq!(take(&pool).owed_until(), Timestamp::ZERO);
    }

    #[test]
    fn i2_every_op_has_a_token_of_its_own_also_one_that_is_used_again() {
        let pool = Pool::new(7);
        let mut tokens = HashSet::new();
        for round in 0..100 {
            let op = take(&pool);
            assert!(tokens.insert(op.token), "{:?} twice", op.token);
            assert!(op.token.to_hex().starts_with("0000000000000007"));
            if round % 3 == 0 { pool.put(op) } else { pool.put_free(op) }
        }
    }

    #[test]
    fn the_second_who_is_done_puts_an_op_back_whoever_that_is() {
        let pool = Pool::new(1);
        for caller_at in 0..=3 {
            let op = take(&pool);
            op.begin_release(0b111);
            let mut back = Vec::new();
            for node in 0..3 {
                if node == caller_at {
                    back.push(op.caller_is_done());
                }
                op.count_release(node, Vote::Granted);
                back.push(op.nodes_are_done());
            }
            if caller_at == 3 {
                back.push(op.caller_is_done());
            }
            assert_eq!(back, [false, false, false, true], "the caller before node {caller_at}");
            assert!(!op.nodes_are_done(), "once only");
            pool.put_free(op);
        }
    }
}
