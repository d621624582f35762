//! The kinds of locks that a load takes: what `--mode` says, what a section then claims of which
//! name, and which claims exclude each other. It knows no lock: the checker judges by it.

use serde::{Deserialize, Serialize};

use crate::num;

/// Resources of one lock at most, as the library has it.
const MOST_AT_ONCE: u32 = 64;
const MOST_LEVELS: u32 = 8;

/// `--mode`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// One name, one holder.
    Mutex,
    /// Readers share, writers are alone; the percentage that reads.
    Shared(f64),
    /// So many names at once, all or nothing.
    All(u32),
    /// Names are paths of so many levels; who locks one locks all below it.
    Hierarchy(u32),
    /// So many holders at once.
    Permits(u16),
}

/// What a section has of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Class {
    Exclusive,
    Shared,
    /// Something below the name is locked.
    Intent,
    /// One of several equal permits.
    Permit,
}

/// A name, by its place among all names, and what is claimed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) cell: u32,
    pub(crate) class: Class,
}

impl Class {
    const ALL: [Self; 4] = [Self::Exclusive, Self::Shared, Self::Intent, Self::Permit];

    pub(crate) const fn code(self) -> u64 {
        self as u64
    }

    pub(crate) fn from_code(code: u64) -> Self {
        Self::ALL.into_iter().find(|class| class.code() == code).unwrap_or(Self::Exclusive)
    }

    /// Whether two of these may not hold one name at once. Permits exclude by their number.
    pub(crate) const fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Shared, Self::Shared)
            | (Self::Intent, Self::Intent)
            | (Self::Permit, Self::Permit) => false,
            // Whoever locks below a name may write there, which its readers must not see.
            (Self::Exclusive | Self::Shared | Self::Intent | Self::Permit, _) => true,
        }
    }

    /// `held {…} by`, for people.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusively",
            Self::Shared => "as a reader",
            Self::Intent => "for a name below it",
            Self::Permit => "as a permit",
        }
    }
}

impl Mode {
    /// `mutex`, `shared:95`, `all:3`, `hierarchy:3`, `permits:8`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` is no mode; use mutex, shared:READ% (0 to 100), all:K (2 to \
                 {MOST_AT_ONCE}), hierarchy:DEPTH (2 to {MOST_LEVELS}) or permits:K (1 to 1024)"
            )
        };
        let within = |number: &str, least: u32, most: u32| {
            number.parse::<u32>().ok().filter(|n| (least..=most).contains(n)).ok_or_else(bad)
        };
        match text.trim().split_once(':') {
            None if text.trim() == "mutex" => Ok(Self::Mutex),
            Some(("shared", share)) => {
                let plain = share.strip_suffix('%').unwrap_or(share);
                let known = plain.chars().all(|c| c.is_ascii_digit() || c == '.');
                let share = plain.parse::<f64>().ok().filter(|_| known);
                share
                    .filter(|share| (0.0..=100.0).contains(share))
                    .map(Self::Shared)
                    .ok_or_else(bad)
            }
            Some(("all", k)) => within(k, 2, MOST_AT_ONCE).map(Self::All),
            Some(("hierarchy", depth)) => within(depth, 2, MOST_LEVELS).map(Self::Hierarchy),
            Some(("permits", k)) => {
                within(k, 1, 1_024).map(|k| Self::Permits(u16::try_from(k).unwrap_or(1)))
            }
            _ => Err(bad()),
        }
    }

    /// Whether a name can have several holders at once.
    pub(crate) const fn is_crowded(self) -> bool {
        matches!(self, Self::Shared(_) | Self::Hierarchy(_) | Self::Permits(_))
    }

    /// The tree whose leaves are `leaves` names.
    pub(crate) fn tree(self, leaves: u32) -> Tree {
        Tree::new(leaves, if let Self::Hierarchy(depth) = self { depth } else { 1 })
    }
}

/// As it was typed.
impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mutex => f.write_str("mutex"),
            Self::Shared(share) => write!(f, "shared:{share}"),
            Self::All(k) => write!(f, "all:{k}"),
            Self::Hierarchy(depth) => write!(f, "hierarchy:{depth}"),
            Self::Permits(k) => write!(f, "permits:{k}"),
        }
    }
}

/// All names of a run: the leaves of a tree and the nodes above them, level by level. Of one level
/// where names are no paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    /// The first cell of each level from the top, and how many leaves a node of it has below it.
    levels: Vec<(u64, u64)>,
    cells: u64,
}

impl Tree {
    fn new(leaves: u32, depth: u32) -> Self {
        let leaves = u64::from(leaves.max(1));
        let reaches = |fan: &u64| fan.checked_pow(depth).is_none_or(|all| all >= leaves);
        let fan = (2..).find(reaches).unwrap_or(2);
        let mut tree = Self { levels: Vec::new(), cells: 0 };
        for below in (0..depth).rev() {
            let span = fan.saturating_pow(below);
            tree.levels.push((tree.cells, span));
            tree.cells += leaves.div_ceil(span);
        }
        tree
    }

    /// Names of all levels.
    pub(crate) const fn cells(&self) -> u64 {
        self.cells
    }

    pub(crate) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The nodes on the way from the top to the node of `level` (from 0) that has `leaf` below it
    /// or is it.
    pub(crate) fn way(&self, level: usize, leaf: u32) -> impl Iterator<Item = u32> + use<'_> {
        let way = self.levels.iter().take(level.saturating_add(1));
        way.map(move |&(first, span)| num::u32_of(first + u64::from(leaf) / span))
    }

    /// The name of a node: its way from the top, `1/12/123`.
    pub(crate) fn name(&self, cell: u64) -> String {
        let level = self.levels.iter().rposition(|&(first, _)| first <= cell).unwrap_or(0);
        let (first, span) = self.levels.get(level).copied().unwrap_or((0, 1));
        let leaf = cell.saturating_sub(first) * span;
        let way = self.levels.iter().take(level + 1).map(|&(_, span)| (leaf / span).to_string());
        way.collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_they_are_written_and_nonsense_is_named() {
        for text in ["mutex", "shared:95", "shared:0.5", "all:3", "hierarchy:3", "permits:8"] {
            assert_eq!(Mode::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Mode::parse("shared:95%"), Ok(Mode::Shared(95.0)));
        for bad in [
            "",
            "rw",
            "shared",
            "shared:101",
            "shared:-1",
            "shared:nan",
            "all:1",
            "all:65",
            "all:x",
            "hierarchy:1",
            "hierarchy:9",
            "permits:0",
            "permits:1025",
            "mutex:1",
        ] {
            assert!(Mode::parse(bad).unwrap_err().contains(&format!("`{bad}`")), "{bad}");
        }
    }

    #[test]
    fn exclusion_is_mutual_and_only_equals_share() {
        for a in Class::ALL {
            assert_eq!(Class::from_code(a.code()), a);
            for b in Class::ALL {
                assert_eq!(a.excludes(b), b.excludes(a), "{a:?} {b:?}");
                assert_eq!(a.excludes(b), a != b || a == Class::Exclusive, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_tree_has_every_leaf_below_one_node_of_each_level() {
        let tree = Mode::Hierarchy(3).tree(1_000);
        assert_eq!((tree.cells(), tree.depth()), (10 + 100 + 1_000, 3));
        let way: Vec<u32> = tree.way(2, 123).collect();
        assert_eq!(way, [1, 10 + 12, 110 + 123]);
        assert_eq!(tree.way(0, 999).collect::<Vec<_>>(), [9]);
        let names: Vec<String> = way.iter().map(|&cell| tree.name(cell.into())).collect();
        assert_eq!(names, ["1", "1/12", "1/12/123"]);
        // A number of leaves that fills no tree: the last nodes have fewer.
        let tree = Mode::Hierarchy(2).tree(10);
        assert_eq!(tree.cells(), 3 + 10);
        assert_eq!(tree.way(1, 9).collect::<Vec<_>>(), [2, 12]);
        let flat = Mode::Mutex.tree(8);
        assert_eq!((flat.cells(), flat.name(7)), (8, "7".to_owned()));
    }
}
