//! What a planned section claims: the names beside its own, and of each how much.
//!
//! Drawn from the section's own number, so that it depends on the plan alone.

use super::Section;
use super::mix::Keys;
use super::rng::Xoshiro;
use crate::config::RunConfig;
use crate::mode::{Claim, Class, Mode, Tree};
use crate::num;
use crate::workload::Workload;

/// One in so many sections of a hierarchy locks a name above the leaves.
pub(crate) const INNER_EVERY: u64 = 5;
/// Draws for one more name; popular ones come again and again, so then the next free one is taken.
const MOST_DRAWS: u32 = 32;

/// Tells what sections claim.
#[derive(Clone, Debug)]
pub(crate) struct Claims(Vec<Of>);

/// Of one workload.
#[derive(Clone, Debug)]
struct Of {
    mode: Mode,
    keys: Keys,
    all: u32,
    tree: Tree,
    /// The number of its first name.
    first: u32,
}

impl Claims {
    pub(crate) fn new(config: &RunConfig) -> Self {
        let spaces = config.spaces();
        let of = |(at, workload): (usize, &Workload)| {
            let all = workload.keys.max(1);
            let (keys, tree) = (Keys::new(workload), workload.mode.tree(all));
            Of { mode: workload.mode, keys, all, tree, first: spaces.first_of(at) }
        };
        Self(config.parts().iter().enumerate().map(of).collect())
    }

    /// Replaces what is in `into` by the claims of `section`, in the order of a path or the plan.
    pub(crate) fn of(&self, section: Section, into: &mut Vec<Claim>) {
        into.clear();
        if let Some(of) = self.0.get(usize::from(section.workload)) {
            of.claims(section, into);
            into.iter_mut().for_each(|claim| claim.cell = claim.cell.saturating_add(of.first));
        }
    }
}

impl Of {
    fn claims(&self, section: Section, into: &mut Vec<Claim>) {
        let own = |class| Claim { cell: section.key, class };
        match self.mode {
            Mode::Mutex => into.push(own(Class::Exclusive)),
            Mode::Permits(_) => into.push(own(Class::Permit)),
            Mode::Shared(percent) => {
                let reads = unit(section.draw) * 100.0 < percent;
                into.push(own(if reads { Class::Shared } else { Class::Exclusive }));
            }
            Mode::All(k) => {
                into.push(own(Class::Exclusive));
                self.more_names(section.draw, num::usize_of(k.into()), into);
            }
            Mode::Hierarchy(_) => {
                let depth = self.tree.depth();
                let leaf = depth.saturating_sub(1);
                let inner = section.draw.is_multiple_of(INNER_EVERY) && leaf > 0;
                let above = num::usize_of(section.draw / INNER_EVERY % leaf.max(1) as u64);
                let level = if inner { above } else { leaf };
                let way = self.tree.way(level, section.key);
                into.extend(way.map(|cell| Claim { cell, class: Class::Intent }));
                if let Some(last) = into.last_mut() {
                    last.class = Class::Exclusive;
                }
            }
        }
    }

    /// Fills up to `k` different names, as the distribution of names has them.
    fn more_names(&self, draw: u64, k: usize, into: &mut Vec<Claim>) {
        let mut rng = Xoshiro::for_client(draw, 0);
        while into.len() < k.min(num::usize_of(self.all.into())) {
            let mut cell = 0;
            for position in 0..MOST_DRAWS {
                cell = self.keys.pick(&mut rng, draw.wrapping_add(position.into()));
                if !has(into, cell) {
                    break;
                }
            }
            while has(into, cell) {
                cell = (cell + 1) % self.all;
            }
            into.push(Claim { cell, class: Class::Exclusive });
        }
    }
}

fn has(claims: &[Claim], cell: u32) -> bool {
    claims.iter().any(|claim| claim.cell == cell)
}

/// In [0, 1), by the upper 53 bits.
fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Stream;

    fn claims(mode: Mode, keys: u32, n: usize) -> Vec<Vec<Claim>> {
        let config = RunConfig { mode, keys, ..RunConfig::for_tests() };
        let all = Claims::new(&config);
        let of = |section| {
            let mut claims = Vec::new();
            all.of(section, &mut claims);
            claims
        };
        Stream::new(&config, 0).take(n).map(of).collect()
    }

    #[test]
    fn a_share_reads_and_the_rest_writes() {
        let all = claims(Mode::Shared(90.0), 8, 10_000);
        let reads = all.iter().filter(|claims| claims[0].class == Class::Shared).count();
        assert!((8_800..9_200).contains(&reads), "{reads}");
        let never = claims(Mode::Shared(0.0), 8, 100);
        assert!(never.iter().all(|claims| claims[0].class == Class::Exclusive));
        let always = claims(Mode::Shared(100.0), 8, 100);
        assert!(always.iter().all(|claims| claims[0].class == Class::Shared));
    }

    #[test]
    fn several_names_are_different_ones_however_few_there_are() {
        for (k, keys, len) in [(3, 100, 3), (3, 3, 3), (8, 5, 5)] {
            for mut claims in claims(Mode::All(k), keys, 500) {
                assert!(claims.iter().all(|claim| claim.class == Class::Exclusive));
                claims.sort_by_key(|claim| claim.cell);
                claims.dedup_by_key(|claim| claim.cell);
                assert_eq!(claims.len(), len);
            }
        }
    }

    #[test]
    fn a_path_is_claimed_from_the_top_and_its_end_exclusively() {
        let all = claims(Mode::Hierarchy(3), 1_000, 5_000);
        let mut lengths = [0; 4];
        for claims in &all {
            lengths[claims.len()] += 1;
            let (last, way) = claims.split_last().unwrap();
            assert_eq!(last.class, Class::Exclusive);
            assert!(way.iter().all(|claim| claim.class == Class::Intent));
            assert!(claims.windows(2).all(|pair| pair[0].cell < pair[1].cell));
        }
        assert!(lengths[3] > 3_500 && lengths[1] > 300 && lengths[2] > 300, "{lengths:?}");
    }

    #[test]
    fn workloads_claim_names_of_their_own_unless_they_share_a_prefix() {
        let of = |name, prefix: &str, mode| Workload {
            mode,
            key_prefix: prefix.to_owned(),
            ..Workload::for_tests(name, 1.0)
        };
        let config = RunConfig::for_tests().mixed(vec![
            of("a", "x:", Mode::Mutex),
            of("b", "y:", Mode::Hierarchy(2)),
            of("c", "x:", Mode::All(3)),
        ]);
        let (all, spaces) = (Claims::new(&config), config.spaces());
        let mut claims = Vec::new();
        let mut seen = [false; 3];
        for section in Stream::new(&config, 0).take(200) {
            all.of(section, &mut claims);
            let names: Vec<String> =
                claims.iter().map(|claim| spaces.name(claim.cell.into())).collect();
            let workload = usize::from(section.workload);
            seen[workload] = true;
            let (prefix, most) = [("x:", 1), ("y:", 2), ("x:", 3)][workload];
            assert!(names.iter().all(|name| name.starts_with(prefix)), "{names:?}");
            assert!((1..=most).contains(&names.len()), "{names:?}");
            if prefix == "x:" {
                assert_eq!(names[0], format!("x:{}", section.key));
            }
        }
        assert_eq!(seen, [true; 3]);
    }
}
