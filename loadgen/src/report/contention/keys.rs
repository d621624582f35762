//! How the busiest names were served.

use serde::{Deserialize, Serialize};

use crate::config::RunConfig;
use crate::num;
use crate::oracle::judge::Waits;
use crate::report::format::{count, maybe_ns, ns};
use crate::report::json::is_weak;

/// Names in a report at most.
pub(crate) const MOST_HOT_KEYS: usize = 10;
/// Names in a text.
const SHOWN: usize = 3;
const NAME_SHOWN: usize = 31;

/// How one name was served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HotKey {
    pub(crate) key: String,
    pub(crate) acquisitions: u64,
    /// Of all acquisitions.
    pub(crate) share: Option<f64>,
    /// From the planned arrival to the grant.
    pub(crate) wait_mean_ns: Option<f64>,
    /// Exact to 6 %; `null` of a name beyond the first 2 048, and of several machines.
    #[serde(default)]
    pub(crate) wait_p99_ns: Option<u64>,
    pub(crate) wait_max_ns: u64,
}

impl HotKey {
    /// The percentile as text, `~` in front where fewer than 10 waits were longer.
    pub(crate) fn p99(&self) -> String {
        let mark = if is_weak(99.0, self.acquisitions) { "~" } else { "" };
        self.wait_p99_ns.map_or_else(|| maybe_ns(None), |p99| format!("{mark}{}", ns(p99)))
    }

    pub(crate) fn mean(&self) -> String {
        maybe_ns(self.wait_mean_ns.map(|mean| num::floor_u64(mean.round())))
    }

    pub(crate) fn share(&self) -> String {
        self.share.map_or_else(|| "–".to_owned(), |share| format!("{:.2} %", 100.0 * share))
    }
}

/// By name what the checker counted, of `all` acquisitions.
pub(crate) fn hottest_keys(config: &RunConfig, waits: &[Waits], all: u64) -> Vec<HotKey> {
    let per = |part, whole| (whole > 0).then(|| num::share(part, whole));
    let spaces = config.spaces();
    let name = |cell: u64| {
        let process = cell / spaces.cells().max(1);
        let of =
            if config.private_keys() { format!(" of process {process}") } else { String::new() };
        format!("{}{of}", spaces.name(cell))
    };
    let key = |of: &Waits| HotKey {
        key: name(of.cell),
        acquisitions: of.granted,
        share: per(of.granted, all),
        wait_mean_ns: per(of.waited_ns, of.granted),
        wait_p99_ns: of.p99_ns,
        wait_max_ns: of.longest_ns,
    };
    waits.iter().map(key).collect()
}

/// The first few as a table; nothing where there is only one name, whose waits are all there are.
pub(crate) fn lines(keys: &[HotKey], names: u64) -> Vec<String> {
    if keys.is_empty() || names < 2 {
        return Vec::new();
    }
    let [granted, share, mean, p99, max] = ["granted", "of all", "mean wait", "p99", "max"];
    let mut lines = vec![format!(
        " {:<32}{granted:>13}{share:>10}{mean:>11}{p99:>10}{max:>10}",
        "busiest names"
    )];
    for key in keys.iter().take(SHOWN) {
        let name: String = key.key.chars().take(NAME_SHOWN).collect();
        lines.push(format!(
            " {name:<32}{:>13}{:>10}{:>11}{:>10}{:>10}",
            count(key.acquisitions),
            key.share(),
            key.mean(),
            key.p99(),
            ns(key.wait_max_ns)
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::format::COLUMNS;

    #[test]
    fn the_first_few_names_are_shown_with_their_waits() {
        let key = |n: u64| HotKey {
            key: format!("{}{n}", "a-prefix:".repeat(9)),
            acquisitions: 1_234_567_890 - n,
            share: Some(0.246_8),
            wait_mean_ns: Some(1_500_000.0),
            wait_p99_ns: Some(23_400_000),
            wait_max_ns: 59_999_000_000,
        };
        let keys: Vec<HotKey> = (0..9).map(key).collect();
        let text = lines(&keys, 1_000);
        assert_eq!(text.len(), 1 + SHOWN);
        assert!(text.iter().all(|line| line.chars().count() <= COLUMNS), "{text:#?}");
        for word in ["24.68 %", "1.50ms", " 23.4ms", "60.0s"] {
            assert!(text[1].contains(word), "{word}: {}", text[1]);
        }
        assert!(lines(&keys, 1).is_empty() && lines(&[], 9).is_empty());
        let few = HotKey { acquisitions: 999, ..key(0) };
        assert_eq!((few.p99().as_str(), HotKey::default().p99().as_str()), ("~23.4ms", "–"));
    }
}
