//! What two looks at a name say about the sections that were inside it all the while.
//!
//! A grant is a promise: until its validity ends, a quorum of nodes shows it. So of a section that
//! was inside before the first look and still is after the second one, a quorum must show one token
//! both times, and no quorum may show anything that excludes it.
//!
//! Invariants:
//! 1. A node counts against a section only if it answered both looks and is known to have forgotten
//!    nothing since that section began; otherwise it is *unknown*, and speaks for the section if it
//!    shows it all the same.
//! 2. Which of a process's tokens is whose is not known: as many tokens of that process as it has
//!    sections inside must be on a quorum. Another process's token is known by its beginning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::nodes::{Access, Entry, View};
use crate::mode::Class;
use crate::oracle::judge::Holder;

/// What became of the sections of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sight {
    /// A quorum shows them.
    Backed,
    /// Too many nodes did not answer, or may have forgotten.
    Unknown,
    /// No quorum shows them, though nothing excuses it.
    Unbacked,
    /// A quorum shows somebody whom they exclude.
    OtherHolder,
}

/// What one node showed of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeSight {
    /// The same token both times, of the right process as far as that is known.
    Held,
    /// Nobody.
    Missing,
    /// A token of the right process at one look and nobody at the other: it came or went between.
    Once,
    /// Somebody else, or another token at each look.
    Other,
    /// It did not answer both times, or may have forgotten since the section began.
    Unknown,
}

/// Two looks at one name on all nodes.
#[derive(Debug)]
pub(super) struct Looks<'a> {
    pub(super) rounds: [&'a [Option<View>]; 2],
    /// Its place among the names that were asked.
    pub(super) name: usize,
    /// By process, what its tokens begin with; `None` where that is not known.
    pub(super) owners: &'a [Option<String>],
}

/// What one node showed, both times.
struct Node<'a> {
    rounds: [Option<&'a [Entry]>; 2],
    is_sure: bool,
}

impl Node<'_> {
    /// Shown as such both times.
    fn shows(&self, entry: &Entry) -> bool {
        self.rounds.iter().all(|round| round.is_some_and(|entries| entries.contains(entry)))
    }

    fn lasting(&self) -> impl Iterator<Item = &Entry> {
        let first = self.rounds.first().copied().flatten().unwrap_or_default();
        first.iter().filter(|entry| self.shows(entry))
    }
}

impl Looks<'_> {
    /// Judges `holders`, who were inside all the time, of one name.
    pub(super) fn judge(&self, holders: &[Holder]) -> (Sight, Vec<NodeSight>) {
        let begin_ns = holders.iter().map(|holder| holder.begin_ns).min().unwrap_or(0);
        let Some(class) = holders.first().map(|holder| holder.class) else {
            return (Sight::Unknown, Vec::new());
        };
        let nodes = self.nodes(begin_ns);
        let quorum = nodes.len() / 2 + 1;
        let groups = self.groups(holders);
        let ours = |entry: &Entry| groups.keys().any(|owner| is_of(*owner, entry));
        let seen = nodes.iter().map(|node| node_sight(node, class, ours)).collect();
        // Sections that exclude each other are the checker's matter, which has seen them too.
        if holders.iter().any(|holder| holder.class != class) {
            return (Sight::Unknown, seen);
        }
        if shows_other(&nodes, quorum, class, ours) {
            return (Sight::OtherHolder, seen);
        }
        let sights = groups.iter().map(|(owner, count)| {
            let fits = |entry: &&Entry| fits(entry.access, class) && is_of(*owner, entry);
            backing(&nodes, quorum, *count, fits)
        });
        let worst = sights.max_by_key(|sight| *sight as u8).unwrap_or(Sight::Unknown);
        (worst, seen)
    }

    fn nodes(&self, begin_ns: u64) -> Vec<Node<'_>> {
        let count = self.rounds.iter().map(|round| round.len()).max().unwrap_or(0);
        let node = |at: usize| {
            let views = self.rounds.map(|round| round.get(at).and_then(Option::as_ref));
            let is_sure =
                |view: &Option<&View>| view.is_some_and(|of| of.sure_since_ns <= begin_ns);
            let is_sure = views.iter().all(is_sure);
            let names = views.map(|view| view.and_then(|view| view.names.get(self.name)));
            Node { is_sure, rounds: names.map(|entries| entries.map(Vec::as_slice)) }
        };
        (0..count).map(node).collect()
    }

    /// How many sections there are by the beginning of their tokens. Where that is not known of
    /// one of them, they are one group of any tokens.
    fn groups(&self, holders: &[Holder]) -> BTreeMap<Option<&str>, usize> {
        let owner = |holder: &Holder| {
            let process = holder.client as usize % self.owners.len().max(1);
            self.owners.get(process).and_then(Option::as_deref)
        };
        let is_known = holders.iter().all(|holder| owner(holder).is_some());
        let mut groups = BTreeMap::new();
        for holder in holders {
            *groups.entry(owner(holder).filter(|_| is_known)).or_insert(0) += 1;
        }
        groups
    }
}

fn is_of(owner: Option<&str>, entry: &Entry) -> bool {
    owner.is_none_or(|owner| entry.token.starts_with(owner))
}

/// Whether a node keeps a section's hold so.
const fn fits(access: Access, class: Class) -> bool {
    matches!(
        (class, access),
        (Class::Exclusive, Access::Exclusive)
            | (Class::Shared, Access::Shared)
            | (Class::Intent, Access::IntentExclusive)
            | (Class::Permit, Access::Permit)
    )
}

/// Whether what a node shows may not be there beside the section.
fn excludes(entry: &Entry, class: Class, is_ours: bool) -> bool {
    match (class, entry.access) {
        (Class::Exclusive, Access::Exclusive) => !is_ours,
        (Class::Shared, Access::IntentShared) | (Class::Intent, Access::IntentShared) => false,
        (class, access) => !fits(access, class),
    }
}

fn node_sight(node: &Node<'_>, class: Class, ours: impl Fn(&Entry) -> bool) -> NodeSight {
    let is_its = |entry: &Entry| fits(entry.access, class) && ours(entry);
    if node.lasting().any(is_its) {
        return NodeSight::Held;
    } else if !node.is_sure {
        return NodeSight::Unknown;
    }
    let mut shown = node.rounds.iter().flatten().copied().flatten();
    match (shown.next(), shown.next()) {
        (None, _) => NodeSight::Missing,
        (Some(entry), None) if is_its(entry) => NodeSight::Once,
        (Some(_), _) => NodeSight::Other,
    }
}

/// Whether a quorum of sure nodes shows an owner whom the section excludes: at one look, or by
/// showing one token at the first and another one at the second, of which one is not its.
fn shows_other(
    nodes: &[Node<'_>],
    quorum: usize,
    class: Class,
    ours: impl Fn(&Entry) -> bool,
) -> bool {
    let by_quorum = |round: usize| -> Vec<&Entry> {
        let mut counts: BTreeMap<&str, (usize, &Entry)> = BTreeMap::new();
        for node in nodes.iter().filter(|node| node.is_sure) {
            for entry in node.rounds.get(round).copied().flatten().unwrap_or_default() {
                counts.entry(entry.token.as_str()).or_insert((0, entry)).0 += 1;
            }
        }
        let all = counts.into_values().filter(|(count, _)| *count >= quorum);
        all.map(|(_, entry)| entry).collect()
    };
    let (first, second) = (by_quorum(0), by_quorum(1));
    if first.iter().chain(&second).any(|entry| excludes(entry, class, ours(entry))) {
        return true;
    }
    let only = |entries: &[&Entry]| entries.first().map(|entry| entry.token.clone());
    let both = only(&first).zip(only(&second));
    class == Class::Exclusive && both.is_some_and(|(first, second)| first != second)
}

/// Whether a quorum shows as many tokens of a kind as there are sections.
fn backing(
    nodes: &[Node<'_>],
    quorum: usize,
    sections: usize,
    fits: impl Fn(&&Entry) -> bool,
) -> Sight {
    let mut shown: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for node in nodes {
        for entry in node.lasting().filter(|entry| fits(entry)) {
            let (all, unsure) = shown.entry(entry.token.as_str()).or_default();
            *all += 1;
            *unsure += usize::from(!node.is_sure);
        }
    }
    let unsure = nodes.iter().filter(|node| !node.is_sure).count();
    let backed = shown.values().filter(|(all, _)| *all >= quorum).count();
    // An unsure node that does not show a token may have had it.
    let possible = shown.values().filter(|(all, of)| all + unsure - of >= quorum).count();
    if backed >= sections {
        Sight::Backed
    } else if possible >= sections || unsure >= quorum {
        Sight::Unknown
    } else {
        Sight::Unbacked
    }
}

#[cfg(test)]
mod tests;
