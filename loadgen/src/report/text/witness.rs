//! What the nodes were seen to hold.

use crate::report::format::{Paint, wrapped};
use crate::verdict::Safety;
use crate::witness::report::WitnessReport;

/// Findings that are shown.
const SHOWN: usize = 5;

pub(super) fn lines(seen: &WitnessReport, verdict: Safety, paint: Paint) -> String {
    let word = match verdict {
        Safety::Holds => paint.good("nodes HOLD WHAT THEY SHOULD"),
        Safety::Violated => paint.bad("nodes DO NOT HOLD WHAT THEY SHOULD"),
        Safety::Expected => paint.warn("nodes HAVE FORGOTTEN AS EXPECTED"),
        Safety::Unknown => paint.warn("nodes UNKNOWN"),
    };
    let mut text = format!(" witness   {word}\n");
    text.push_str(&wrapped("           ", &seen.words()));
    for example in seen.examples.iter().take(SHOWN) {
        text.push_str(&wrapped("           ", &example.words()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::format::COLUMNS;
    use crate::witness::report::Sighting;
    use crate::witness::sight::{NodeSight, Sight};

    #[test]
    fn what_was_seen_fits_and_says_whose_hold_it_was() {
        let example = Sighting {
            at_ns: -1_500_000_000,
            key: "lg:a-rather-long-prefix-of-names:123456".to_owned(),
            client: 9_999,
            process: 3,
            sight: Sight::Unbacked,
            nodes: vec![NodeSight::Missing; 9],
        };
        let seen = WitnessReport {
            judged: 123_456,
            passes: 7_890,
            backed: 123_000,
            unbacked: 400,
            unknown: 56,
            examples: vec![example; 9],
            ..WitnessReport::default()
        };
        let text = lines(&seen, Safety::Violated, Paint(false));
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(text.contains("DO NOT HOLD"), "{text}");
        assert!(text.contains("123 000 backed by a quorum, 400 not"), "{text}");
        assert_eq!(text.matches("client 9999 of process 3 at -1.500000s").count(), SHOWN, "{text}");
    }
}
