//! How a resource is taken: alone, shared, or on behalf of what lies below it.
//!
//! Which modes may be held beside each other, and the one order in which several resources are
//! taken. What the nodes decide by is the same table in `script/take.lua`.

use crate::resource::Resource;

/// How a lock excludes others.
///
/// | may be held beside | exclusive | shared | intent exclusive | intent shared |
/// |---|---|---|---|---|
/// | **exclusive** | – | – | – | – |
/// | **shared** | – | yes | – | yes |
/// | **intent exclusive** | – | – | yes | yes |
/// | **intent shared** | – | yes | yes | yes |
///
/// A plain lock, this library's or another's, is exclusive.
///
/// There is no upgrade and no downgrade: two readers that both waited to become the writer would
/// wait for each other for ever. Release, acquire the other mode, and look again at what the lock
/// protects.
///
/// ```
/// use redlatch::Mode;
/// assert!(Mode::Shared.is_beside(Mode::Shared));
/// assert!(!Mode::Shared.is_beside(Mode::Exclusive));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Nobody else holds it in any mode. The default.
    #[default]
    Exclusive,
    /// What lies below it is held exclusively, or is about to be; see
    /// [`Acquire::hierarchical`](crate::Acquire::hierarchical), which takes it by itself.
    IntentExclusive,
    /// What lies below it is shared, or is about to be.
    IntentShared,
    /// Others may share it: readers.
    Shared,
}

impl Mode {
    /// Whether two owners may hold one resource so at once: symmetric.
    pub const fn is_beside(self, other: Self) -> bool {
        use Mode::{IntentExclusive, IntentShared, Shared};
        matches!(
            (self, other),
            (Shared | IntentShared, Shared | IntentShared)
                | (IntentExclusive, IntentExclusive | IntentShared)
                | (IntentShared, IntentExclusive)
        )
    }

    /// What is taken of everything above a resource that is taken so.
    const fn above(self) -> Self {
        match self {
            Self::Exclusive | Self::IntentExclusive => Self::IntentExclusive,
            Self::Shared | Self::IntentShared => Self::IntentShared,
        }
    }
}

/// How one resource is taken: in a mode, or as one of its permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Mode(Mode),
    /// Excludes whoever wants the same permit, and every mode.
    Permit(u16),
}

impl Access {
    /// The weakest access that excludes all that either of the two excludes.
    fn join(self, other: Self) -> Self {
        use Mode::{IntentExclusive, IntentShared, Shared};
        let (Self::Mode(one), Self::Mode(two)) = (self, other) else {
            return if self == other { self } else { Self::Mode(Mode::Exclusive) };
        };
        Self::Mode(match (one, two) {
            _ if one == two => one,
            (IntentShared, other) | (other, IntentShared) => other,
            // Shared and intent exclusive together: there is no mode for that but all of it.
            (IntentExclusive | Shared | Mode::Exclusive, _) => Mode::Exclusive,
        })
    }

    const fn above(self) -> Self {
        match self {
            Self::Mode(mode) => Self::Mode(mode.above()),
            Self::Permit(_) => Self::Mode(Mode::IntentExclusive),
        }
    }

    /// Its name on the nodes: `X`, `IX`, `IS`, `S`, and `P7` for permit 7.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Mode(Mode::Exclusive) => out.push(b'X'),
            Self::Mode(Mode::IntentExclusive) => out.extend_from_slice(b"IX"),
            Self::Mode(Mode::IntentShared) => out.extend_from_slice(b"IS"),
            Self::Mode(Mode::Shared) => out.push(b'S'),
            Self::Permit(permit) => {
                out.push(b'P');
                out.extend_from_slice(itoa::Buffer::new().format(permit).as_bytes());
            }
        }
    }
}

/// Everything above a path, from the top down: `a/b/c` lies below `a` and `a/b`.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    ends.filter_map(|end| path.get(..end)).filter(|above| !above.is_empty())
}

/// What is taken of `resource` and, if it is a path in a hierarchy, of everything above it.
pub(crate) fn claims(
    resource: &Resource,
    access: Access,
    hierarchical: bool,
) -> impl Iterator<Item = (Resource, Access)> {
    let path = if hierarchical { resource.as_bytes() } else { &[] };
    let above = ancestors(path).map(move |path| (Resource::from(path), access.above()));
    above.chain([(resource.clone(), access)])
}

/// The one order in which everybody takes several resources, each once: by their bytes, so that
/// what lies above comes first.
pub(crate) fn canonical(mut claims: Vec<(Resource, Access)>) -> Vec<(Resource, Access)> {
    claims.sort_by(|one, two| one.0.cmp(&two.0));
    claims.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        if is_same {
            kept.1 = kept.1.join(next.1);
        }
        is_same
    });
    claims
}

#[cfg(test)]
mod tests {
    use super::*;
    use Mode::{Exclusive, IntentExclusive, IntentShared, Shared};

    const MODES: [Mode; 4] = [Exclusive, Shared, IntentExclusive, IntentShared];

    fn is_beside(one: Access, two: Access) -> bool {
        match (one, two) {
            (Access::Mode(one), Access::Mode(two)) => one.is_beside(two),
            (Access::Permit(one), Access::Permit(two)) => one != two,
            _ => false,
        }
    }

    /// Gray, Lorie, Putzolu, Traiger 1976, table 1, without SIX.
    #[test]
    fn the_matrix_is_the_standard_one() {
        let standard = [
            [false, false, false, false],
            [false, true, false, true],
            [false, false, true, true],
            [false, true, true, true],
        ];
        for (one, row) in MODES.into_iter().zip(standard) {
            for (two, beside) in MODES.into_iter().zip(row) {
                assert_eq!(one.is_beside(two), beside, "{one:?} beside {two:?}");
            }
        }
    }

    #[test]
    fn a_join_excludes_what_either_excludes_and_no_weaker_access_does() {
        let modes = MODES.map(Access::Mode);
        let all: Vec<_> = modes.into_iter().chain([0, 1].map(Access::Permit)).collect();
        let excludes = |one: Access| all.iter().map(move |two| !is_beside(one, *two));
        let covers = |big: Access, small: Access| {
            excludes(big).zip(excludes(small)).all(|(big, small)| big || !small)
        };
        for one in &all {
            for two in &all {
                let join = one.join(*two);
                assert_eq!(join, two.join(*one), "{one:?} and {two:?}");
                assert!(covers(join, *one) && covers(join, *two), "{one:?} and {two:?}: {join:?}");
                let is_weaker = |other: &&Access| covers(join, **other) && !covers(**other, join);
                let enough = |other: &&Access| covers(**other, *one) && covers(**other, *two);
                let weaker = all.iter().filter(is_weaker).find(enough);
                assert_eq!(weaker, None, "{one:?} and {two:?}: less than {join:?} would do");
            }
        }
    }

    #[test]
    fn a_conflict_below_is_one_above_exactly_when_the_intents_say_so() {
        // Whoever takes a resource whole conflicts with whoever took something below it, unless
        // both only read.
        for whole in [Exclusive, Shared] {
            for below in [Exclusive, Shared] {
                assert_eq!(whole.is_beside(below.above()), whole == Shared && below == Shared);
            }
        }
        // Intents never exclude each other.
        for one in MODES {
            for two in MODES {
                assert!(one.above().is_beside(two.above()));
            }
        }
    }

    #[test]
    fn a_path_lies_below_each_of_its_beginnings() {
        let above = |path: &str| {
            let names = ancestors(path.as_bytes()).map(|above| String::from_utf8_lossy(above));
            names.map(|name| name.into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(above("orders/42/items"), ["orders", "orders/42"]);
        assert_eq!(above("orders"), [""; 0]);
        assert_eq!(above("/a/b"), ["/a"]);
        assert_eq!(above("a/"), ["a"]);
        assert_eq!(above("a//b"), ["a", "a/"]);
        assert_eq!(above(""), [""; 0]);
    }

    #[test]
    fn claims_come_in_one_order_and_once() {
        let resource = |name: &str| Resource::from(name);
        let one: Vec<_> = claims(&resource("a/b/c"), Access::Mode(Shared), true).collect();
        let two: Vec<_> = claims(&resource("a/b"), Access::Permit(3), true).collect();
        let expected = [
            (resource("a"), Access::Mode(IntentExclusive)),
            (resource("a/b"), Access::Mode(Exclusive)),
            (resource("a/b/c"), Access::Mode(Shared)),
        ];
        let forth = canonical([one.clone(), two.clone()].concat());
        assert_eq!(forth, expected);
        assert_eq!(canonical([two, one].concat()), forth);
        let flat: Vec<_> = claims(&resource("a/b"), Access::Mode(Exclusive), false).collect();
        assert_eq!(flat, [(resource("a/b"), Access::Mode(Exclusive))]);
    }

    #[test]
    fn accesses_have_the_names_that_the_scripts_know() {
        let name = |access: Access| {
            let mut out = Vec::new();
            access.write(&mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(MODES.map(|mode| name(Access::Mode(mode))), ["X", "S", "IX", "IS"]);
        assert_eq!(name(Access::Permit(1_023)), "P1023");
    }
}
