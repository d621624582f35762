//! Which names a run has, and which workloads share them.
//!
//! Workloads of one prefix share a *space*: name 5 of the one is name 5 of the other. Names of
//! different spaces are different locks. The checker numbers all names in turn, space by space,
//! those that can have several holders first, because only these need room for each client.
//!
//! Invariant: within a space, any two sections exclude each other exactly as their classes say
//! ([`crate::mode::Class`]); what would not is refused by [`incompatible`].

use super::Workload;
use crate::mode::{Mode, Tree};
use crate::num;

/// Names in all, as many as one workload may have.
const MOST_NAMES: u64 = 20_000_000;

/// The names of a run.
#[derive(Clone, Debug)]
pub(crate) struct Spaces {
    all: Vec<Space>,
    /// Of each workload, its place in `all`.
    places: Vec<usize>,
    cells: u64,
    crowded: u64,
}

#[derive(Clone, Debug)]
struct Space {
    prefix: String,
    tree: Tree,
    /// The number of its first name.
    first: u64,
    /// Holders of one name at most, where these are permits.
    permits: Option<u16>,
    /// Every lock is one name's and has one holder.
    is_plain: bool,
}

impl Spaces {
    /// The names of `parts`, which are compatible.
    pub(super) fn of(parts: &[Workload]) -> Self {
        let mut all: Vec<Space> = Vec::new();
        for of in parts.iter().filter(|of| shares_with(parts, of).any(|of| of.mode.is_crowded())) {
            add(&mut all, parts, of);
        }
        let crowded = all.iter().map(|space| space.tree.cells()).sum();
        for of in parts {
            add(&mut all, parts, of);
        }
        let place = |of: &Workload| all.iter().position(|space| space.prefix == of.key_prefix);
        let places = parts.iter().map(|of| place(of).unwrap_or(0)).collect();
        let cells = all.iter().map(|space| space.tree.cells()).sum();
        Self { all, places, cells, crowded }
    }

    /// All names.
    pub(crate) const fn cells(&self) -> u64 {
        self.cells
    }

    /// How many of them can have several holders; they are the first.
    pub(crate) const fn crowded_cells(&self) -> u64 {
        self.crowded
    }

    /// The number of the first name of `workload`.
    pub(crate) fn first_of(&self, workload: usize) -> u32 {
        let space = self.places.get(workload).and_then(|&place| self.all.get(place));
        num::u32_of(space.map_or(0, |space| space.first))
    }

    /// Whether every lock of the names of `workload` is one name's and has one holder.
    pub(crate) fn is_plain(&self, workload: usize) -> bool {
        let space = self.places.get(workload).and_then(|&place| self.all.get(place));
        space.is_some_and(|space| space.is_plain)
    }

    /// The lock behind a number; that of another process with names of its own is called the same.
    pub(crate) fn name(&self, cell: u64) -> String {
        let cell = cell % self.cells.max(1);
        let space = self.all.iter().rfind(|space| space.first <= cell);
        space.map_or_else(String::new, |space| {
            format!("{}{}", space.prefix, space.tree.name(cell - space.first))
        })
    }

    /// How many permits each name has.
    pub(crate) fn permits(&self) -> Permits {
        let of = |space: &Space| (space.first, space.permits.map_or(usize::MAX, usize::from));
        Permits { cells: self.cells.max(1), from: self.all.iter().map(of).collect() }
    }
}

/// Holders of a name at most.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    cells: u64,
    /// From which number on.
    from: Vec<(u64, usize)>,
}

impl Permits {
    /// Of the name with this number; where its holders are no permits, as many as there are.
    pub(crate) fn at(&self, cell: u64) -> usize {
        let cell = cell % self.cells;
        let space = self.from.iter().rfind(|(first, _)| *first <= cell);
        space.map_or(usize::MAX, |(_, permits)| *permits)
    }
}

fn shares_with<'a>(parts: &'a [Workload], one: &Workload) -> impl Iterator<Item = &'a Workload> {
    parts.iter().filter(move |of| of.key_prefix == one.key_prefix)
}

/// The space of `one`, unless it is there.
fn add(all: &mut Vec<Space>, parts: &[Workload], one: &Workload) {
    if all.iter().any(|space| space.prefix == one.key_prefix) {
        return;
    }
    let keys = shares_with(parts, one).map(|of| of.keys).max().unwrap_or(one.keys);
    all.push(Space {
        prefix: one.key_prefix.clone(),
        tree: one.mode.tree(keys),
        first: all.last().map_or(0, |space| space.first + space.tree.cells()),
        permits: if let Mode::Permits(k) = one.mode { Some(k) } else { None },
        is_plain: shares_with(parts, one).all(|of| of.mode == Mode::Mutex),
    });
}

/// Why `parts` cannot be one run, and what to change.
pub(crate) fn incompatible(parts: &[Workload]) -> Result<(), String> {
    for (at, one) in parts.iter().enumerate() {
        for other in parts.iter().take(at) {
            match one.key_prefix == other.key_prefix {
                true => share(other, one)?,
                false => apart(other, one)?,
            }
        }
    }
    let names = Spaces::of(parts).cells;
    if names > MOST_NAMES {
        return Err(format!(
            "the workloads have {names} names together; at most {MOST_NAMES} are supported: lower \
             their keys"
        ));
    }
    Ok(())
}

/// Two workloads of the same names.
fn share(one: &Workload, other: &Workload) -> Result<(), String> {
    let both = format!(
        "workload `{}` and workload `{}` have the same key_prefix, and so the same names",
        one.name, other.name
    );
    let flat = |mode: Mode| matches!(mode, Mode::Mutex | Mode::Shared(_) | Mode::All(_));
    let same = match (one.mode, other.mode) {
        (Mode::Hierarchy(_), Mode::Hierarchy(_)) if one.keys != other.keys => {
            return Err(format!(
                "{both}, but trees of {} and {} keys have others; give both the same keys, or each \
                 a key_prefix of its own",
                one.keys, other.keys
            ));
        }
        (a, b) => a == b || (flat(a) && flat(b)),
    };
    if !same {
        return Err(format!(
            "{both}, but holders in mode {} and in mode {} cannot be judged together (mutex, \
             shared and all can, and what is the same); give each a key_prefix of its own",
            one.mode, other.mode
        ));
    }
    let fenced = [one, other].into_iter().any(|of| of.fenced);
    if fenced && (one.mode, other.mode) != (Mode::Mutex, Mode::Mutex) {
        return Err(format!(
            "{both}, of which only mode mutex has tokens; leave `fenced` out, or give each a \
             key_prefix of its own"
        ));
    }
    Ok(())
}

/// Two workloads of different prefixes: `a` + `11` and `a1` + `1` would be one lock under two
/// numbers.
fn apart(one: &Workload, other: &Workload) -> Result<(), String> {
    let (short, long) = match one.key_prefix.len() <= other.key_prefix.len() {
        true => (one, other),
        false => (other, one),
    };
    let rest = long.key_prefix.strip_prefix(short.key_prefix.as_str());
    let is_number = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '/');
    if rest.is_some_and(is_number) {
        return Err(format!(
            "key_prefix `{}` of workload `{}` and `{}` of workload `{}` can begin one and the same \
             name; let the longer one end in another letter than a digit, as in `{}:`",
            short.key_prefix, short.name, long.key_prefix, long.name, long.key_prefix
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, prefix: &str, mode: Mode, keys: u32) -> Workload {
        let key_prefix = prefix.to_owned();
        Workload { key_prefix, mode, keys, ..Workload::for_tests(name, 1.0) }
    }

    #[test]
    fn workloads_of_one_prefix_have_the_same_names_and_others_their_own() {
        let parts = [
            part("plain", "a:", Mode::Mutex, 10),
            part("crowd", "b:", Mode::Permits(3), 4),
            part("more", "a:", Mode::Mutex, 20),
            part("tree", "c:", Mode::Hierarchy(2), 4),
        ];
        incompatible(&parts).unwrap();
        let spaces = Spaces::of(&parts);
        // Crowded first: 4 names of b, then c with two above four, then 20 of a.
        assert_eq!((spaces.cells(), spaces.crowded_cells()), (4 + 6 + 20, 4 + 6));
        assert_eq!([0, 1, 2, 3].map(|at| spaces.first_of(at)), [10, 0, 10, 4]);
        assert_eq!([0, 1, 2, 3].map(|at| spaces.is_plain(at)), [true, false, true, false]);
        let names = [0, 3, 4, 6, 9, 10, 29, 30].map(|cell| spaces.name(cell));
        assert_eq!(names, ["b:0", "b:3", "c:0", "c:0/0", "c:1/3", "a:0", "a:19", "b:0"]);
        let permits = spaces.permits();
        assert_eq!([3, 4, 10, 33].map(|cell| permits.at(cell)), [3, usize::MAX, usize::MAX, 3]);
    }

    #[test]
    fn readers_on_the_names_of_a_mutex_make_these_crowded() {
        let parts = [
            part("write", "a:", Mode::Mutex, 10),
            part("read", "a:", Mode::Shared(100.0), 5),
            part("all", "a:", Mode::All(2), 10),
        ];
        incompatible(&parts).unwrap();
        let spaces = Spaces::of(&parts);
        assert_eq!((spaces.cells(), spaces.crowded_cells(), spaces.is_plain(0)), (10, 10, false));
    }

    #[test]
    fn what_cannot_be_judged_together_is_refused_with_the_way_out() {
        let of = |a: (&str, Mode, u32), b: (&str, Mode, u32)| {
            let parts = [part("one", a.0, a.1, a.2), part("two", b.0, b.1, b.2)];
            incompatible(&parts).err()
        };
        let (mutex, tree) = (Mode::Mutex, Mode::Hierarchy(2));
        for (a, b, word) in [
            (("a:", mutex, 5), ("a:", Mode::Permits(2), 5), "mode mutex and in mode permits:2"),
            (("a:", Mode::Permits(3), 5), ("a:", Mode::Permits(2), 5), "cannot be judged"),
            (("a:", mutex, 5), ("a:", tree, 5), "cannot be judged together"),
            (("a:", tree, 5), ("a:", tree, 6), "trees of 5 and 6 keys"),
            (("a", mutex, 5), ("a1", mutex, 5), "as in `a1:`"),
            (("a1/2", mutex, 5), ("a", tree, 5), "one and the same name"),
            (("a:", mutex, 10_000_000), ("b:", tree, 10_000_000), "lower their keys"),
        ] {
            let told = of(a, b).unwrap_or_else(|| panic!("{a:?} {b:?}"));
            assert!(told.contains(word), "{told}");
        }
        assert_eq!(of(("a:", mutex, 5), ("a:b", mutex, 5)), None);
        assert_eq!(of(("a:", tree, 5), ("a:", tree, 5)), None);
        let fenced = Workload { fenced: true, ..part("one", "a:", Mode::Mutex, 5) };
        let told = incompatible(&[fenced, part("two", "a:", Mode::All(2), 5)]).unwrap_err();
        assert!(told.contains("only mode mutex has tokens"), "{told}");
    }
}
