//! Breadth-first search over every state that a model can reach.
//!
//! A model is a start state, the steps out of a state and a property. The search visits states
//! in order of distance, so a violation comes with a shortest trace. A state is stored once, in
//! the canonical form that the model gives it (nodes that differ only in name are one state); a
//! trace is replayed without that form, so that names stay the same through it.
//!
//! S1. `holds` passes only if the queue ran empty below the cap: a bound that was hit is a
//!     failure, not a pass.
//! S2. `breaks` passes only if a violation was found, within the length the caller states.

use std::fmt::{Debug, Write as _};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

/// One protocol within small bounds.
pub(crate) trait Model {
    type State: Copy + Eq + Hash + Debug;
    type Step: Copy + Debug;

    fn start(&self) -> Self::State;

    /// Appends everything that can happen next.
    fn next(&self, state: &Self::State, out: &mut Vec<(Self::Step, Self::State)>);

    /// One representative of all states that differ only in names.
    fn canonical(&self, state: Self::State) -> Self::State {
        state
    }

    /// What is wrong with this state, if anything.
    fn violation(&self, state: &Self::State) -> Option<&'static str>;
}

/// States kept at most; the largest model has 690 000. A state is below 150 bytes, so one search
/// stays below 200 MB.
const CAP: usize = 1_000_000;

/// The end of one search.
struct Verdict<S, P> {
    states: usize,
    depth: usize,
    exhausted: bool,
    broken: Option<(&'static str, Vec<(P, S)>)>,
}

/// Asserts S1: no reachable state is a violation.
pub(crate) fn holds<M: Model>(name: &str, model: &M) -> usize {
    let found = search(model);
    if let Some((what, trace)) = &found.broken {
        panic!("{name}: {what} after {} steps\n{}", trace.len(), written(trace));
    }
    assert!(found.exhausted, "{name}: more than {CAP} states; tighten the bounds");
    println!("{name}: holds in all {} states, {} steps deep", found.states, found.depth);
    found.states
}

/// Asserts S2: the violation `expected` is reachable in at most `longest` steps.
pub(crate) fn breaks<M: Model>(name: &str, expected: &str, model: &M, longest: usize) {
    let found = search(model);
    let Some((what, trace)) = &found.broken else {
        panic!("{name}: no violation in {} states, {} steps deep", found.states, found.depth);
    };
    println!("{name}: {what} after {} steps, {} states seen", trace.len(), found.states);
    assert!(what.contains(expected), "{name}: {what}, not {expected}\n{}", written(trace));
    println!("{}", written(trace));
    assert!(
        trace.len() <= longest,
        "{name}: shortest violation has {} steps, not {longest}\n{}",
        trace.len(),
        written(trace)
    );
}

fn written<S: Debug, P: Debug>(trace: &[(P, S)]) -> String {
    let mut text = String::new();
    for (at, (step, _)) in trace.iter().enumerate() {
        writeln!(text, "  {:2}. {step:?}", at + 1).unwrap();
    }
    if let Some((_, last)) = trace.last() {
        writeln!(text, "  end: {last:?}").unwrap();
    }
    text
}

fn search<M: Model>(model: &M) -> Verdict<M::State, M::Step> {
    let mut seen = Seen::new();
    let start = model.canonical(model.start());
    seen.insert(start, 0);
    let mut out = Vec::new();
    let mut at = 0;
    // The last state of the current depth: behind it the next depth begins.
    let (mut depth, mut depth_ends) = (0, 1);
    while at < seen.states.len() {
        if at == depth_ends {
            (depth, depth_ends) = (depth + 1, seen.states.len());
        }
        let state = seen.states[at];
        if let Some(what) = model.violation(&state) {
            let trace = trace(model, &seen, at);
            let states = seen.states.len();
            return Verdict { states, depth, exhausted: false, broken: Some((what, trace)) };
        }
        out.clear();
        model.next(&state, &mut out);
        for (_, next) in &out {
            seen.insert(model.canonical(*next), at);
        }
        if seen.states.len() > CAP {
            return Verdict { states: seen.states.len(), depth, exhausted: false, broken: None };
        }
        at += 1;
    }
    Verdict { states: seen.states.len(), depth, exhausted: true, broken: None }
}

fn trace<M: Model>(model: &M, seen: &Seen<M::State>, end: usize) -> Vec<(M::Step, M::State)> {
    let mut path = vec![end];
    let mut at = end;
    while at != 0 {
        at = seen.parents[at] as usize;
        path.push(at);
    }
    let mut state = model.start();
    let mut steps = Vec::new();
    let mut out = Vec::new();
    for &next in path.iter().rev().skip(1) {
        out.clear();
        model.next(&state, &mut out);
        let (step, after) = out
            .iter()
            .find(|(_, after)| model.canonical(*after) == seen.states[next])
            .copied()
            .expect("canonical forms of one state have the same successors");
        steps.push((step, after));
        state = after;
    }
    steps
}

/// The states seen so far, in the order of their distance, and an index by hash.
struct Seen<S> {
    states: Vec<S>,
    parents: Vec<u32>,
    /// Open addressing, a power of two long; 0 is free, else the state's place plus one.
    slots: Vec<u32>,
}

impl<S: Copy + Eq + Hash> Seen<S> {
    fn new() -> Self {
        Self { states: Vec::new(), parents: Vec::new(), slots: vec![0; 1 << 16] }
    }

    fn insert(&mut self, state: S, parent: usize) {
        if self.states.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = hash(&state) & mask;
        while self.slots[at] != 0 {
            if self.states[self.slots[at] as usize - 1] == state {
                return;
            }
            at = (at + 1) & mask;
        }
        self.states.push(state);
        self.parents.push(u32::try_from(parent).expect("below the cap"));
        self.slots[at] = u32::try_from(self.states.len()).expect("below the cap");
    }

    fn grow(&mut self) {
        let mut slots = vec![0_u32; self.slots.len() * 2];
        let mask = slots.len() - 1;
        for (place, state) in self.states.iter().enumerate() {
            let mut at = hash(state) & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = u32::try_from(place + 1).expect("below the cap");
        }
        self.slots = slots;
    }
}

fn hash<S: Hash>(state: &S) -> usize {
    let hash = BuildHasherDefault::<Mix>::default().hash_one(state);
    usize::try_from(hash >> 1).unwrap_or(usize::MAX)
}

/// Multiply and rotate: a debug build spends most of its time here, and a search is not attacked.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

/// The search itself: it finds what is there, and says so when it stopped early.
mod tests {
    use super::{Model, search};

    /// Counts up by one or three; wrong at `bad`.
    struct Count {
        bad: u32,
        end: u32,
    }

    impl Model for Count {
        type State = u32;
        type Step = u32;

        fn start(&self) -> u32 {
            0
        }

        fn next(&self, state: &u32, out: &mut Vec<(u32, u32)>) {
            out.extend([1, 3].map(|by| (by, state + by)).iter().filter(|to| to.1 <= self.end));
        }

        fn violation(&self, state: &u32) -> Option<&'static str> {
            (*state == self.bad).then_some("bad")
        }
    }

    #[test]
    fn a_violation_comes_with_a_shortest_trace() {
        let found = search(&Count { bad: 7, end: 20 });
        let (_, trace) = found.broken.unwrap();
        assert_eq!(trace.len(), 3);
        assert_eq!(trace.last().unwrap().1, 7);
    }

    #[test]
    fn every_state_is_visited_once() {
        let found = search(&Count { bad: u32::MAX, end: 200_000 });
        assert!(found.exhausted && found.broken.is_none());
        assert_eq!(found.states, 200_001);
    }

    #[test]
    fn a_search_that_hits_the_cap_is_not_exhausted() {
        let found = search(&Count { bad: u32::MAX, end: u32::MAX - 3 });
        assert!(!found.exhausted && found.broken.is_none());
    }
}
