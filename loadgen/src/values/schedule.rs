//! Value grammars of how the load runs over time, and of what a run is called.

use serde::{Deserialize, Serialize};

use super::{MAX_DURATION_NS, MAX_RATE, duration, scaled};

/// More stages than this are a mistake in a script.
const MAX_STAGES: usize = 256;
const MAX_NAME: usize = 64;
const MAX_LABEL: usize = 256;

/// A part of the load's time in which the rate goes in a straight line to `to_rate`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) over_ns: u64,
    /// Arrivals per second at its end; 0 is none.
    pub(crate) to_rate: f64,
}

/// Stages one after another; at least one, and one of them has a rate above 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stages(pub(crate) Vec<Stage>);

impl Stages {
    /// How long they last together.
    pub(crate) fn lasts_ns(&self) -> u64 {
        self.0.iter().map(|stage| stage.over_ns).sum()
    }

    /// The highest rate of any.
    pub(crate) fn peak(&self) -> f64 {
        self.0.iter().map(|stage| stage.to_rate).fold(0.0, f64::max)
    }
}

/// `10s:1k,30s:5k,5s:0`.
pub(crate) fn stages(text: &str) -> Result<Stages, String> {
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > MAX_STAGES {
        return Err(format!("{} stages; at most {MAX_STAGES} fit into a run", parts.len()));
    }
    let stages = parts.into_iter().map(|part| stage(part.trim())).collect::<Result<_, _>>();
    let stages = Stages(stages?);
    if stages.lasts_ns() > MAX_DURATION_NS {
        return Err(format!("the stages `{text}` last longer than 24h together; shorten them"));
    }
    if stages.lasts_ns() == 0 {
        return Err(format!("the stages `{text}` last no time; write for example 10s:1k,30s:5k"));
    }
    if stages.peak() <= 0.0 {
        return Err(format!("the stages `{text}` never leave 0; one must have a rate above it"));
    }
    Ok(stages)
}

fn stage(text: &str) -> Result<Stage, String> {
    let Some((over, to)) = text.split_once(':') else {
        return Err(format!("`{text}` is no stage; write TIME:RATE, as in 10s:1k,30s:5k,5s:0"));
    };
    let over_ns = duration(over.trim())?;
    let to = to.trim();
    match scaled(to.strip_suffix("/s").unwrap_or(to)) {
        Some(to_rate) if to_rate <= MAX_RATE => Ok(Stage { over_ns, to_rate }),
        _ => Err(format!(
            "`{to}` of stage `{text}` is not a rate of a stage; write for example 0, 500 or 5k, \
             at most 100M"
        )),
    }
}

/// `1`, `2`, `1.5`, `inf`; the last is `None`.
pub(crate) fn catch_up(text: &str) -> Result<CatchUp, String> {
    if text.trim() == "inf" {
        return Ok(CatchUp(None));
    }
    match scaled(text.trim()) {
        Some(times) if (1.0..=1_000.0).contains(&times) => Ok(CatchUp(Some(times))),
        _ => Err(format!("`{text}` is no multiple of the rate; use 1 to 1000, or inf")),
    }
}

/// How many times the rate missed arrivals are made up for at most; `None`: at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CatchUp(pub(crate) Option<f64>);

/// A run's name: it becomes part of a directory's.
pub(crate) fn run_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let fits = (1..=MAX_NAME).contains(&text.len()) && !text.starts_with(['.', '-']);
    if fits && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is no name of a run: use 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`, \
             as in hot-key-kill"
        ))
    }
}

/// A fault as it was written, if it is one.
pub(crate) fn fault(text: &str) -> Result<String, String> {
    let read = text.parse::<crate::faults::Fault>();
    read.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// `machine=ci-3`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let bad = || format!("`{text}` is no label; write KEY=VALUE, as in machine=ci-3");
    let (key, value) = text.split_once('=').ok_or_else(bad)?;
    let key = run_name(key).map_err(|_| bad())?;
    if value.len() > MAX_LABEL {
        return Err(format!("the value of label `{key}` is longer than {MAX_LABEL} bytes"));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("the value of label `{key}` has a control character; leave it out"));
    }
    Ok((key, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_read_in_order_and_name_what_is_wrong() {
        let read = stages("10s:1k, 30s:5k,500ms:0").unwrap();
        assert_eq!(read.0[1], Stage { over_ns: 30_000_000_000, to_rate: 5_000.0 });
        assert_eq!((read.lasts_ns(), read.peak()), (40_500_000_000, 5_000.0));
        assert_eq!(stages("0s:2k,3s:2k/s").unwrap().0[0].over_ns, 0, "a step");
        for (bad, word) in [
            ("", "no stage"),
            ("10s", "`10s` is no stage"),
            ("10:1k", "`10` has no unit"),
            ("10s:1k,,5s:0", "`` is no stage"),
            ("10s:fast", "`fast`"),
            ("10s:-1", "`-1`"),
            ("10s:200M", "`200M`"),
            ("10s:0", "never leave 0"),
            ("0s:5k", "no time"),
            ("24h:1k,1s:0", "24h together"),
        ] {
            let error = stages(bad).unwrap_err();
            assert!(error.contains(word), "{bad}: {error}");
        }
        assert!(stages(&vec!["1s:1"; 257].join(",")).unwrap_err().contains("256"));
    }

    #[test]
    fn catching_up_is_at_least_at_the_rate_itself() {
        assert_eq!(catch_up("2"), Ok(CatchUp(Some(2.0))));
        assert_eq!(catch_up("inf"), Ok(CatchUp(None)));
        for bad in ["0.5", "0", "-1", "NaN", "2000", ""] {
            assert!(catch_up(bad).unwrap_err().contains(&format!("`{bad}`")), "{bad}");
        }
    }

    #[test]
    fn names_and_labels_fit_into_file_names_and_lines() {
        assert_eq!(run_name("hot-key_2.kill").unwrap(), "hot-key_2.kill");
        for bad in ["", "a/b", "..", "-x", "ä", "two words", &"n".repeat(65)] {
            assert!(run_name(bad).is_err(), "{bad}");
        }
        assert_eq!(label("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(label("empty=").unwrap().1, "");
        for bad in ["a", "=b", "a b=c", "a=x\ny"] {
            assert!(label(bad).is_err(), "{bad}");
        }
        assert!(label(&format!("k={}", "v".repeat(257))).unwrap_err().contains("256 bytes"));
    }
}
