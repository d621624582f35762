//! Who is inside a name, for a witness that looks at the nodes meanwhile: a section that was there
//! before the look and still is afterwards was there all the time, because its release is noted
//! before it is sent.

use std::sync::atomic::Ordering;

use super::crowd::CLASS_BITS;
use super::{Oracle, RELEASED, holder_of, holder_word};
use crate::mode::Class;
use crate::num;

/// Words looked at for one list: some tens of microseconds.
const MOST_LOOKS: usize = 8_192;
/// Names that every list begins with, since skewed loads like the first ones most.
const ALWAYS: u64 = 4;

/// A section seen inside a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) cell: u64,
    pub(crate) client: u32,
    pub(crate) class: Class,
    pub(crate) begin_ns: u64,
    generation: u64,
}

impl Oracle {
    /// Sections inside `most` names at most: the first few names, and others from the cell `from`
    /// on. Those of one name follow each other. Also the cell to go on with.
    pub(crate) fn inside(&self, from: u64, most: usize, now_ns: u64) -> (Vec<Holder>, u64) {
        let keys = self.keys as u64;
        let each = if self.crowded > 0 { self.clients.max(1) } else { 1 };
        let names = (MOST_LOOKS / each).clamp(1, self.keys.max(1)) as u64;
        let (mut found, mut held, mut next) = (Vec::new(), 0, from);
        let turn = (0..names).map(|offset| from.wrapping_add(offset) % keys.max(1));
        let rest = turn.filter(|cell| *cell >= ALWAYS);
        for cell in (0..keys.min(ALWAYS)).chain(rest) {
            let before = found.len();
            self.inside_one(cell, now_ns, &mut found);
            held += usize::from(found.len() > before);
            next = cell + 1;
            if held >= most {
                break;
            }
        }
        (found, next % keys.max(1))
    }

    fn inside_one(&self, cell: u64, now_ns: u64, found: &mut Vec<Holder>) {
        let mut look = |client: u32, generation: u64, class: Class| {
            let record = self.record(client, generation);
            if let Some((span, false)) = record.filter(|(span, _)| span.end_ns > now_ns) {
                let begin_ns = span.begin_ns;
                found.push(Holder { cell, client, class, begin_ns, generation });
            }
        };
        if self.crowded == 0 {
            let word = self.cell(cell, 0).load(Ordering::Acquire);
            if word != 0 && word & RELEASED == 0 {
                let (client, generation) = holder_of(word);
                look(client, generation, Class::Exclusive);
            }
            return;
        }
        for client in 0..num::u32_of(self.clients as u64) {
            let word = self.slot(cell, client).load(Ordering::SeqCst);
            if word != 0 {
                let class = Class::from_code(word & ((1 << CLASS_BITS) - 1));
                look(client, word >> CLASS_BITS, class);
            }
        }
    }

    /// Whether it is inside at `now_ns` as well, its release not called and its validity not over.
    pub(crate) fn is_still_inside(&self, holder: &Holder, now_ns: u64) -> bool {
        let Holder { cell, client, class, generation, .. } = *holder;
        let is_same = match self.crowded > 0 {
            true => {
                let word = self.slot(cell, client).load(Ordering::SeqCst);
                word == (generation << CLASS_BITS | class.code())
            }
            false => {
                let word = self.cell(cell, 0).load(Ordering::Acquire);
                word == holder_word(client, generation)
            }
        };
        let record = self.record(client, generation).filter(|_| is_same);
        record.is_some_and(|(span, released)| !released && span.end_ns > now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Inside};
    use super::*;
    use crate::config::RunConfig;
    use crate::mode::{Claim, Mode};
    use crate::scratch::Scratch;

    fn entry(client: u32, generation: u64, end_ns: u64) -> Entry {
        let (called_ns, begin_ns) = (5, 10);
        Entry { client, generation, called_ns, contended: false, token: 0, begin_ns, end_ns }
    }

    #[test]
    fn a_section_is_inside_until_its_release_or_its_end_and_its_successor_is_another() {
        for mode in [Mode::Mutex, Mode::Shared(50.0)] {
            let dir = Scratch::new("steady").unwrap();
            let config = RunConfig { mode, ..RunConfig::for_tests() };
            let oracle = Oracle::create(&dir.path().join("cells"), &config).unwrap();
            let claim = [Claim { cell: 6, class: Class::Exclusive }];
            assert!(oracle.inside(0, 9, 20).0.is_empty(), "{mode}");
            let first = oracle.enter_all(&claim, 0, entry(2, 7, 100));
            let (seen, _) = oracle.inside(0, 9, 20);
            let [one] = seen.as_slice() else { panic!("{mode}: {seen:?}") };
            assert_eq!((one.cell, one.client, one.begin_ns), (6, 2, 10), "{mode}");
            assert!(oracle.is_still_inside(one, 99), "{mode}");
            assert!(!oracle.is_still_inside(one, 100), "{mode}: its validity is over");
            assert!(oracle.inside(0, 9, 100).0.is_empty(), "{mode}");
            assert!(Inside::leave(first, 30, || true));
            assert!(!oracle.is_still_inside(one, 40), "{mode}: it was released");
            assert!(oracle.inside(0, 9, 40).0.is_empty(), "{mode}");
            let _second = oracle.enter_all(&claim, 0, entry(2, 8, 100));
            assert!(!oracle.is_still_inside(one, 40), "{mode}: this is the next section");
        }
    }

    #[test]
    fn lists_go_round_all_names_and_tell_all_who_share_one() {
        let dir = Scratch::new("steady").unwrap();
        let mode = Mode::Shared(50.0);
        let config = RunConfig { mode, keys: 20, ..RunConfig::for_tests() };
        let oracle = Oracle::create(&dir.path().join("cells"), &config).unwrap();
        let claim = |cell| [Claim { cell, class: Class::Shared }];
        let _inside = [(0, 1), (1, 9), (2, 9), (3, 15)]
            .map(|(client, cell)| oracle.enter_all(&claim(cell), 0, entry(client, 1, 100)));
        let cells = |(list, next): (Vec<Holder>, u64)| {
            (list.iter().map(|of| of.cell).collect::<Vec<_>>(), next)
        };
        assert_eq!(cells(oracle.inside(0, 2, 20)), (vec![1, 9, 9], 10));
        assert_eq!(cells(oracle.inside(10, 2, 20)), (vec![1, 15], 16));
        assert_eq!(cells(oracle.inside(16, 9, 20)), (vec![1, 9, 9, 15], 16));
    }
}
