//! Looks from outside whether the nodes hold what the library says it holds: `--witness`.
//!
//! A pass: who is inside a name, by the checker; two looks at those names on every node; who is
//! still inside. Of the sections that were there all the time [`sight`](super::sight) tells what
//! the nodes showed of them. Those that ended meanwhile say nothing.
//!
//! Invariants:
//! 1. The load is bounded: [`MOST_NAMES`] names, two looks, [`PASS_EVERY_NS`] between two passes.
//! 2. No pass is made while the nodes' counters are read, so that what it asked can be taken off.
//! 3. At most [`MOST_FINDINGS`] findings are kept to be judged in the light of the faults; what is
//!    beyond them counts as unknown.

use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;

use super::nodes::Reader;
use super::sight::{Looks, NodeSight, Sight};
use super::{Asked, Window, wait};
use crate::clock::{NS_PER_MS, now_ns};
use crate::cluster::url::NodeUrl;
use crate::config::RunConfig;
use crate::oracle::judge::{Holder, Oracle};
use crate::report::json::key_name;

/// From the begin of one pass to that of the next.
const PASS_EVERY_NS: u64 = 50 * NS_PER_MS;
/// Names looked at in one pass.
const MOST_NAMES: usize = 16;
const MOST_FINDINGS: usize = 256;

/// What it takes to look at locks.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) config: RunConfig,
    /// By process, what its tokens begin with; `None` where that is not known.
    pub(crate) owners: Vec<Option<String>>,
}

/// Sections whom the nodes do not show, or not alone.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) at_ns: u64,
    pub(crate) holder: Holder,
    pub(crate) sight: Sight,
    pub(crate) nodes: Vec<NodeSight>,
}

/// What was seen, before the faults are considered.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    /// Passes that found somebody inside.
    pub(crate) passes: u64,
    /// Passes that found nobody.
    pub(crate) idle_passes: u64,
    /// Names looked at whose sections stayed inside: they are judged.
    pub(crate) judged: u64,
    /// Names whose sections had all ended by the second look.
    pub(crate) moved_on: u64,
    pub(crate) backed: u64,
    pub(crate) unknown: u64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) longest_pass_ns: u64,
    /// Processes whose tokens are known.
    pub(crate) processes_known: u64,
    /// Why a node refused to be looked at.
    pub(crate) refused: Option<String>,
}

/// Makes passes within the window, until it ends or `over` says so.
pub(super) fn run(
    urls: Vec<NodeUrl>,
    setup: &Setup,
    oracle: &Oracle,
    window: Window,
    over: &AtomicBool,
    asked: &Asked,
) -> Sightings {
    let mut reader = Reader::new(urls, setup.config.mode.is_crowded());
    let known = setup.owners.iter().flatten().count() as u64;
    let mut seen = Sightings { processes_known: known, ..Sightings::default() };
    // What no node has forgotten since is known from here on, not from the first pass on.
    pass(&mut reader, asked, |reader| {
        reader.connect();
        reader.look(&[]);
    });
    let mut next_ns = window.from_ns;
    let mut cell = 0;
    while wait(next_ns, over) && now_ns() < window.to_ns {
        pass(&mut reader, asked, |reader| {
            cell = seen.pass(reader, setup, oracle, cell);
        });
        next_ns = (next_ns + PASS_EVERY_NS).max(now_ns());
    }
    seen.refused = reader.refused.take();
    seen
}

/// Lets `look` ask while nobody reads the nodes' counters.
fn pass(reader: &mut Reader, asked: &Asked, look: impl FnOnce(&mut Reader)) {
    let mut asked = asked.write().unwrap_or_else(PoisonError::into_inner);
    look(reader);
    *asked = reader.sent();
}

impl Sightings {
    /// One pass, from the cell `from` on; gives back the cell to go on with.
    fn pass(&mut self, reader: &mut Reader, setup: &Setup, oracle: &Oracle, from: u64) -> u64 {
        reader.connect();
        let began_ns = now_ns();
        let (holders, next) = oracle.inside(from, MOST_NAMES, began_ns);
        let names: Vec<&[Holder]> = holders.chunk_by(|a, b| a.cell == b.cell).collect();
        let cells = names.iter().filter_map(|holders| holders.first());
        let keys: Vec<String> = cells.map(|of| key_name(&setup.config, of.cell)).collect();
        // Also without names: a connection that broke shows, and an epoch that began.
        let first = reader.look(&keys);
        if keys.is_empty() {
            self.idle_passes += 1;
            return next;
        }
        let second = reader.look(&keys);
        let ended_ns = now_ns();
        self.passes += 1;
        self.longest_pass_ns = self.longest_pass_ns.max(ended_ns.saturating_sub(began_ns));
        for (name, holders) in names.into_iter().enumerate() {
            let stayed = holders.iter().filter(|of| oracle.is_still_inside(of, ended_ns));
            let stayed: Vec<Holder> = stayed.copied().collect();
            let Some(&holder) = stayed.first() else {
                self.moved_on += 1;
                continue;
            };
            let looks = Looks { rounds: [&first, &second], name, owners: &setup.owners };
            let (sight, nodes) = looks.judge(&stayed);
            self.judged += 1;
            match sight {
                Sight::Backed => self.backed += 1,
                Sight::Unbacked | Sight::OtherHolder if self.findings.len() < MOST_FINDINGS => {
                    self.findings.push(Finding { at_ns: ended_ns, holder, sight, nodes });
                }
                Sight::Unknown | Sight::Unbacked | Sight::OtherHolder => self.unknown += 1,
            }
        }
        debug_assert_eq!(reader.nodes(), first.len(), "every node has its place");
        next
    }
}
