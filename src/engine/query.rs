//! A question put to every node outside the lock protocol: what `inspect` asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use atomic_waker::AtomicWaker;

use crate::algorithm::tally::NODES_MAX;
use crate::resp::command;
use crate::resp::reply::Reply;

/// GET and PTTL of one key, sent to each node in one go.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) frame: Vec<u8>,
    answers: Mutex<Answers>,
    pub(crate) waker: AtomicWaker,
}

/// Replies to one query: GET's and PTTL's.
pub(crate) const COMMANDS: usize = 2;

#[derive(Debug)]
struct Answers {
    nodes: [Answer; NODES_MAX],
    pending: usize,
}

/// What one node said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) ttl_ms: Option<i64>,
    /// Replies seen so far.
    seen: usize,
    pub(crate) failed: bool,
}

impl Answer {
    /// Did the node answer both commands?
    pub(crate) const fn is_complete(&self) -> bool {
        self.seen == COMMANDS && !self.failed
    }
}

impl Query {
    pub(crate) fn new(key: &[u8], nodes: usize) -> Self {
        let mut frame = Vec::new();
        command::get(&mut frame, key);
        command::pttl(&mut frame, key);
        Self {
            frame,
            answers: Mutex::new(Answers {
                nodes: std::array::from_fn(|_| Answer::default()),
                pending: nodes,
            }),
            waker: AtomicWaker::new(),
        }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next reply of `node`.
    pub(crate) fn answer(&self, node: usize, reply: &Reply<'_>) {
        let mut answers = self.answers();
        let Some(answer) = answers.nodes.get_mut(node) else { return };
        match (answer.seen, reply) {
            (0, Reply::Bulk(value)) => answer.value = Some(value.to_vec()),
            (1, Reply::Integer(ttl_ms)) => answer.ttl_ms = Some(*ttl_ms),
            // An error (a key of another type, say) still is an answer: there is no token.
            _ => {}
        }
        answer.seen += 1;
        if answer.seen == COMMANDS && !answer.failed {
            answers.pending = answers.pending.saturating_sub(1);
            self.waker.wake();
        }
    }

    /// `node` will not answer (any more).
    pub(crate) fn fail(&self, node: usize) {
        let mut answers = self.answers();
        let Some(answer) = answers.nodes.get_mut(node) else { return };
        if answer.failed || answer.seen == COMMANDS {
            return;
        }
        answer.failed = true;
        answers.pending = answers.pending.saturating_sub(1);
        self.waker.wake();
    }

    /// Every node has answered or failed: what they said.
    pub(crate) fn finished(&self) -> Option<Vec<Answer>> {
        let answers = self.answers();
        (answers.pending == 0).then(|| answers.nodes.to_vec())
    }
}
