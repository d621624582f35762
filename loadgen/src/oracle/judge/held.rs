//! What is held at one instant: for faults that hit who holds something.

use std::sync::atomic::Ordering;

use super::{Oracle, RECENT};
use crate::num;

impl Oracle {
    /// Locks that `process` holds at `now_ns`: entered, not released, still valid.
    pub(crate) fn held_by(&self, process: usize, now_ns: u64) -> u64 {
        let step = num::usize_of(self.processes.into()).max(1);
        let mine = (process..self.clients).step_by(step).map(|client| num::u32_of(client as u64));
        let all = mine.flat_map(|client| (0..RECENT).map(move |recent| (client, recent)));
        let held = all.filter(|&(client, recent)| {
            let field = |at| self.section(client, recent, at).load(Ordering::Acquire);
            field(0) != 0 && field(2) > now_ns && field(3) == 0
        });
        held.count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Inside};
    use super::*;
    use crate::config::RunConfig;
    use crate::mode::{Claim, Class};

    #[test]
    fn only_what_is_neither_released_nor_expired_counts_and_only_of_its_process() {
        let dir = crate::scratch::Scratch::new("held").unwrap();
        let config = RunConfig { processes: 2, ..RunConfig::for_tests() };
        let oracle = Oracle::create(&dir.path().join("cells"), &config).unwrap();
        let held = |now_ns| [0, 1].map(|process| oracle.held_by(process, now_ns));
        let enter = |client, cell, end_ns| {
            let entry = Entry {
                client,
                generation: 1,
                called_ns: 5,
                contended: false,
                token: 0,
                begin_ns: 10,
                end_ns,
            };
            let claim = Claim { cell, class: Class::Exclusive };
            oracle.enter_all(&[claim], 0, entry)
        };
        assert_eq!(held(20), [0, 0]);
        let (first, _second) = (enter(0, 0, 100), enter(2, 1, 50));
        let _other = enter(1, 2, 100);
        assert_eq!(held(20), [2, 1]);
        assert_eq!(held(60), [1, 1], "one has expired");
        assert!(Inside::leave(first, 30, || true));
        assert_eq!(held(40), [1, 1], "one was released");
    }
}
