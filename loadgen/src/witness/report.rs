//! What `--witness` saw, judged in the light of the faults, for every report.

use serde::{Deserialize, Serialize};

use super::locks::{Finding, Sightings};
use super::sight::{NodeSight, Sight};
use crate::config::RunConfig;
use crate::oracle::judge::Holder;
use crate::report::faults::FaultSpan;
use crate::report::format::{count, many};
use crate::report::json::key_name;
use crate::verdict::Safety;

/// Findings that are told of one by one.
const MOST_EXAMPLES: usize = 16;
/// Kinds of faults after which a node that still answers has lost keys before their time.
const FORGETTING: [&str; 2] = ["flush", "ttl-shrink"];

/// Whether the nodes held what the library said it held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WitnessReport {
    pub(crate) verdict: Safety,
    /// Passes that found somebody inside a name.
    pub(crate) passes: u64,
    pub(crate) idle_passes: u64,
    /// Names whose sections stayed inside through a pass.
    pub(crate) judged: u64,
    /// Names whose sections ended meanwhile: skipped.
    pub(crate) moved_on: u64,
    /// Of the judged: a quorum showed one unchanged holder.
    pub(crate) backed: u64,
    /// Of the judged: too many nodes were silent, or had been hit by a fault.
    pub(crate) unknown: u64,
    /// Of the judged: no quorum showed the holder.
    pub(crate) unbacked: u64,
    /// Of the judged: a quorum showed another holder.
    pub(crate) other_holder: u64,
    pub(crate) longest_pass_ns: u64,
    /// Processes whose tokens could be told from those of others.
    pub(crate) processes_known: u64,
    /// Why a node refused to be looked at.
    pub(crate) refused: Option<String>,
    /// The first few findings.
    pub(crate) examples: Vec<Sighting>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sighting {
    /// From the measured start.
    pub(crate) at_ns: i64,
    pub(crate) key: String,
    /// Of several who were inside, one.
    pub(crate) client: u32,
    pub(crate) process: u32,
    pub(crate) sight: Sight,
    /// In the order of the nodes.
    pub(crate) nodes: Vec<NodeSight>,
}

impl WitnessReport {
    pub(crate) fn of(
        seen: &Sightings,
        config: &RunConfig,
        faults: &[FaultSpan],
        measured_ns: u64,
    ) -> Self {
        let mut report = Self {
            passes: seen.passes,
            idle_passes: seen.idle_passes,
            judged: seen.judged,
            moved_on: seen.moved_on,
            backed: seen.backed,
            unknown: seen.unknown,
            longest_pass_ns: seen.longest_pass_ns,
            processes_known: seen.processes_known,
            refused: seen.refused.clone(),
            ..Self::default()
        };
        for finding in &seen.findings {
            match finding.sight {
                _ if is_excused(finding, config, faults) => {
                    report.unknown += 1;
                    continue;
                }
                Sight::OtherHolder => report.other_holder += 1,
                _ => report.unbacked += 1,
            }
            if report.examples.len() < MOST_EXAMPLES {
                report.examples.push(sighting(finding, config, measured_ns));
            }
        }
        report.verdict = match report.unbacked + report.other_holder {
            0 if report.backed == 0 => Safety::Unknown,
            0 => Safety::Holds,
            _ => Safety::Violated,
        };
        report
    }

    /// Why a run with findings is no pass.
    pub(crate) fn reason(&self) -> String {
        let holds = |n: u64| many(n, "hold", "holds");
        let mut parts = Vec::new();
        if self.other_holder > 0 {
            parts.push(format!("{} while a quorum had another holder", holds(self.other_holder)));
        }
        if self.unbacked > 0 {
            parts.push(format!("{} that no quorum of nodes showed", holds(self.unbacked)));
        }
        format!("the nodes did not hold what was said to be held: {}", parts.join(", "))
    }

    /// What to know about a witness that saw nothing.
    pub(crate) fn warning(&self) -> Option<String> {
        if self.verdict != Safety::Unknown {
            return None;
        }
        Some(match &self.refused {
            Some(refused) => format!("the witness saw no hold: {refused}; allow it to read"),
            None if self.judged > 0 => "the witness could judge no hold: too many nodes were \
                                        silent or hit by faults"
                .to_owned(),
            None => "the witness saw no hold that lasted through a pass; raise --hold or the load"
                .to_owned(),
        })
    }

    /// In one line, without the verdict.
    pub(crate) fn words(&self) -> String {
        format!(
            "{} seen in {}: {} backed by a quorum, {} not, {} with another holder, {} unknown; {} \
             ended meanwhile",
            many(self.judged, "hold", "holds"),
            many(self.passes, "pass", "passes"),
            count(self.backed),
            count(self.unbacked),
            count(self.other_holder),
            count(self.unknown),
            count(self.moved_on)
        )
    }
}

impl Sighting {
    /// In one line.
    pub(crate) fn words(&self) -> String {
        let nodes = self.nodes.iter().enumerate().map(|(at, node)| {
            let word = match node {
                NodeSight::Held => "has it",
                NodeSight::Missing => "nobody",
                NodeSight::Once => "at one of two looks",
                NodeSight::Other => "another",
                NodeSight::Unknown => "unknown",
            };
            format!("n{} {word}", at + 1)
        });
        format!(
            "`{}` held by client {} of process {} at {:.6}s: {}",
            self.key,
            self.client,
            self.process,
            self.at_ns as f64 / crate::clock::NS_PER_S as f64,
            nodes.collect::<Vec<_>>().join(", ")
        )
    }
}

/// Whether nodes that a fault made forget may be those that do not show the holder.
fn is_excused(finding: &Finding, config: &RunConfig, faults: &[FaultSpan]) -> bool {
    let began_ns = |span: &&FaultSpan| {
        let ends_ns = span.end_ns.unwrap_or(u64::MAX).saturating_add(config.max_ttl_ns);
        FORGETTING.contains(&span.kind.as_str())
            && (span.begin_ns..=ends_ns).contains(&finding.at_ns)
    };
    let hit = |node: &usize| faults.iter().filter(began_ns).any(|span| span.targets.contains(node));
    let nodes = finding.nodes.iter().enumerate();
    let held = nodes.clone().filter(|(_, sight)| **sight == NodeSight::Held).count();
    let may = nodes.filter(|(at, sight)| {
        **sight != NodeSight::Held && (**sight == NodeSight::Unknown || hit(at))
    });
    held + may.count() > finding.nodes.len() / 2
}

fn sighting(finding: &Finding, config: &RunConfig, measured_ns: u64) -> Sighting {
    let Holder { cell, client, .. } = finding.holder;
    let since = i128::from(finding.at_ns) - i128::from(measured_ns);
    Sighting {
        at_ns: i64::try_from(since).unwrap_or(i64::MAX),
        key: key_name(config, cell),
        client,
        process: client % config.processes.max(1),
        sight: finding.sight,
        nodes: finding.nodes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::{Claim, Class};
    use crate::oracle::judge::{Entry, Oracle};
    use crate::scratch::Scratch;
    use NodeSight::{Held, Missing, Once, Other, Unknown};

    fn holder() -> Holder {
        let dir = Scratch::new("report").unwrap();
        let oracle = Oracle::create(&dir.path().join("cells"), &RunConfig::for_tests()).unwrap();
        let entry = Entry {
            client: 3,
            generation: 1,
            called_ns: 5,
            contended: false,
            token: 0,
            begin_ns: 10,
            end_ns: 100,
        };
        let claim = [Claim { cell: 5, class: Class::Exclusive }];
        let _inside = oracle.enter_all(&claim, 0, entry);
        oracle.inside(0, 9, 20).0[0]
    }

    fn span(kind: &str, targets: &[usize], begin_ns: u64, end_ns: u64) -> FaultSpan {
        FaultSpan {
            fault: String::new(),
            kind: kind.to_owned(),
            targets: targets.to_vec(),
            processes: Vec::new(),
            held: None,
            instant: false,
            begin_ns,
            end_ns: Some(end_ns),
        }
    }

    fn judged(sight: Sight, nodes: &[NodeSight], faults: &[FaultSpan]) -> WitnessReport {
        let finding = Finding { at_ns: 10_000, holder: holder(), sight, nodes: nodes.to_vec() };
        let seen = Sightings {
            passes: 9,
            judged: 9,
            backed: 8,
            findings: vec![finding],
            ..Sightings::default()
        };
        let config = RunConfig { max_ttl_ns: 1_000, processes: 2, ..RunConfig::for_tests() };
        WitnessReport::of(&seen, &config, faults, 4_000)
    }

    #[test]
    fn a_finding_is_a_violation_unless_nodes_that_a_fault_made_forget_explain_it() {
        let nodes = [Held, Held, Missing, Missing, Missing];
        let bare = judged(Sight::Unbacked, &nodes, &[]);
        assert_eq!((bare.verdict, bare.unbacked, bare.unknown), (Safety::Violated, 1, 0));
        assert!(bare.reason().contains("1 hold that no quorum of nodes showed"));
        let words = bare.examples[0].words();
        assert!(words.contains("`lg:5` held by client 3 of process 1 at 0.000006s"), "{words}");
        assert!(words.contains("n1 has it, n2 has it, n3 nobody"), "{words}");
        let gone = judged(Sight::Unbacked, &[Held, Once, Other], &[]).examples[0].words();
        assert!(gone.contains("n1 has it, n2 at one of two looks, n3 another"), "{gone}");

        let shrunk = judged(Sight::Unbacked, &nodes, &[span("ttl-shrink", &[3], 8_000, 9_500)]);
        assert_eq!((shrunk.verdict, shrunk.unbacked, shrunk.unknown), (Safety::Holds, 0, 1));
        assert!(shrunk.examples.is_empty());
        for no_excuse in [
            span("ttl-shrink", &[0], 8_000, 9_500),
            span("ttl-shrink", &[3], 7_000, 8_500),
            span("ttl-shrink", &[3], 10_001, 10_002),
            span("pause", &[3], 8_000, 9_500),
        ] {
            let report = judged(Sight::Unbacked, &nodes, std::slice::from_ref(&no_excuse));
            assert_eq!(report.verdict, Safety::Violated, "{no_excuse:?}");
        }
        let nodes = [Held, Unknown, Other, Other, Other];
        let other = judged(Sight::OtherHolder, &nodes, &[]);
        assert_eq!((other.verdict, other.other_holder), (Safety::Violated, 1));
        assert!(other.reason().contains("another holder"), "{}", other.reason());
    }

    #[test]
    fn a_witness_that_judged_nothing_says_so() {
        let config = RunConfig::for_tests();
        let of = |seen: &Sightings| WitnessReport::of(seen, &config, &[], 0);
        let nothing = of(&Sightings { moved_on: 9, passes: 3, ..Sightings::default() });
        assert_eq!(nothing.verdict, Safety::Unknown);
        assert!(nothing.warning().unwrap().contains("raise --hold"));
        let refused = Some("a node answers the witness 'NOPERM'".to_owned());
        let refused = of(&Sightings { refused, ..Sightings::default() });
        assert!(refused.warning().unwrap().contains("NOPERM"));
        let seen = of(&Sightings { judged: 1, backed: 1, ..Sightings::default() });
        assert_eq!((seen.verdict, seen.warning()), (Safety::Holds, None));
    }
}
