//! What a caller does after a round that gave it no lock: pause and try again, or end.

use std::time::Duration;

use super::{Acquisition, State};
use crate::algorithm::backoff::full_jitter;
use crate::engine::core::{Engine, Opening};
use crate::engine::wish::Failure;
use crate::time::Timestamp;

impl Acquisition {
    /// A round failed: plans the next one, or the end.
    pub(super) fn after_round(&mut self, engine: &Engine, now: Timestamp, failure: Failure) {
        let retry = &engine.settings.retry;
        let was_queued = match &self.state {
            State::Racing(op) => op.ticket.as_ref().is_some_and(|ticket| ticket.is_queued()),
            _ => false,
        };
        self.cancel_timer(engine);
        self.late().failure = failure;
        if self.goes_on(failure) {
            self.course.contended = true;
            if !self.wish.once {
                self.late().failure = Failure::TimedOut;
            }
            self.state = State::Pausing(now);
            return;
        }
        let bits = engine.rng.next();
        let pause = if failure == Failure::Busy {
            self.course.contended = true;
            self.late().unanswered_since = None;
            if self.has_slot {
                engine.waiters.contended(&self.wish.resource, now);
            }
            let denied = &mut self.late().denied;
            let pause = full_jitter(retry.base, retry.cap, *denied, bits);
            *denied = denied.saturating_add(1);
            pause
        } else {
            let since = *self.late().unanswered_since.get_or_insert(now);
            if self.deadline == Timestamp::MAX && now.since(since) >= self.wish.ttl * PATIENCE_TTLS
            {
                self.deadline = now;
            }
            let mild = full_jitter(retry.base, retry.cap, MILD_BACKOFF, bits);
            match failure {
                Failure::Quarantined(opening) => self.quarantined(opening, now, mild),
                _ => mild,
            }
        };
        let used_up = retry.attempts.is_some_and(|most| self.course.attempts >= most.max(1));
        if self.wish.once || used_up {
            self.deadline = now;
        } else if failure == Failure::Busy {
            self.late().failure = Failure::TimedOut;
            // A ticket that failed makes a pause, like any round that others won.
            if retry.attempts.is_none() && self.wait_in_line(engine, now, was_queued) {
                return;
            }
        }
        self.state = State::Pausing(now.plus(pause).min(self.deadline));
    }

    /// Another process has the lock: waits in line for it, or to be told. `false`: a pause is due.
    fn wait_in_line(&mut self, engine: &Engine, now: Timestamp, was_queued: bool) -> bool {
        if self.wish.claims.is_some() {
            return false; // Several keys, or one that many hold.
        }
        if engine.may_queue() {
            if !was_queued {
                engine.lately.note(&self.wish.resource, now);
                self.begin_ticket(engine, now);
            }
            return !was_queued;
        }
        // Told again and again in vain: there are many, and a pause keeps them apart.
        let rests = self.late().denied.is_multiple_of(FRUITLESS_MAX);
        engine.may_watch() && !rests && self.begin_watch(engine).is_some()
    }

    /// Too few nodes may vote: there is a pause to make, or, when it is certain that no quorum can
    /// come in time, no use in waiting.
    fn quarantined(&mut self, opening: Opening, now: Timestamp, mild: Duration) -> Duration {
        let patience = if self.deadline == Timestamp::MAX {
            now.plus(self.wish.ttl * PATIENCE_TTLS)
        } else {
            self.deadline
        };
        if opening.soonest > patience {
            self.deadline = now;
        }
        // What is missing may come back any moment, as where too few nodes answer.
        if opening.soonest <= now {
            return mild;
        }
        // Another node may come back meanwhile.
        opening.soonest.since(now).clamp(Duration::from_millis(1), QUARANTINE_LOOK)
    }
}

/// Rounds in a row that others won before a pause.
const FRUITLESS_MAX: u32 = 4;

/// Of the ttl, how long a request without a deadline goes on while no quorum answers.
const PATIENCE_TTLS: u32 = 1;

/// How often a caller looks again while too few nodes may vote.
const QUARANTINE_LOOK: Duration = Duration::from_millis(250);

/// While nodes are away, pauses are drawn up to four times the base.
const MILD_BACKOFF: u32 = 2;
