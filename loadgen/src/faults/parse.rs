//! Faults as text: `KIND@START[/LENGTH][:TARGET][,param=value..]`.
//!
//! Every error names the fault, what is wrong with it, and what to write instead.

use std::str::FromStr;
use std::time::Duration;

use super::kind::Reach;
use super::{Degree, Fault, FaultError, FaultKind, Length, NodeSet, Target};
use crate::cluster::cli::parse_node;

const MAX_SPAN: Duration = Duration::from_secs(7 * 24 * 3_600);
const MAX_DELAY: Duration = Duration::from_secs(60);
const RATES: std::ops::RangeInclusive<u64> = 100..=1 << 34;
const EXAMPLES: &str = "write KIND@START/LENGTH[:TARGET][,PARAM=VALUE], as in kill@10s/3s or \
                        latency@5s/3s:minority,delay=20ms";

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let shown = || text.chars().take(100).collect();
        read(text).map_err(|problem| FaultError::Syntax { shown: shown(), problem })
    }
}

fn read(text: &str) -> Result<Fault, String> {
    let mut parts = text.split(',');
    let head = parts.next().unwrap_or_default();
    let (name, rest) =
        head.split_once('@').ok_or_else(|| format!("has no '@' and start; {EXAMPLES}"))?;
    let kind = FaultKind::by_name(name)
        .ok_or_else(|| format!("has an unknown kind; kinds are {}", FaultKind::names()))?;
    let (times, target) = match rest.split_once(':') {
        Some((times, target)) => (times, Some(target)),
        None => (rest, None),
    };
    let (at, for_) = match times.split_once('/') {
        Some((at, for_)) => (at, Some(for_)),
        None => (times, None),
    };
    let at = span(at).ok_or_else(|| {
        format!("has a bad start '{at}'; write a time such as 500ms, 1.5s or 2m after the '@'")
    })?;
    let for_ = length(kind, for_)?;
    let target = target.map_or(Ok(Target::One), |word| read_target(kind, word))?;
    let mut degree = kind.default_degree();
    let mut seen = Vec::new();
    for part in parts {
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| format!("has '{part}' for a parameter; write PARAM=VALUE"))?;
        if seen.contains(&name) {
            return Err(format!("has '{name}' twice; leave one out"));
        }
        seen.push(name);
        degree = with(kind, degree, name, value)?;
    }
    if let Degree::Latency { delay, jitter } = degree
        && jitter > delay
    {
        return Err("has more jitter than delay; lower jitter".to_owned());
    }
    Ok(Fault { kind, target, at, for_, degree })
}

fn length(kind: FaultKind, text: Option<&str>) -> Result<Duration, String> {
    let name = kind.name();
    match (kind.length(), text) {
        (Length::None, Some(_)) => {
            Err(format!("has a length, but happens at one instant; write {name}@START"))
        }
        (Length::Needed, None) => Err(format!("has no '/' and length; write {name}@10s/3s")),
        (_, None) => Ok(Duration::ZERO),
        (_, Some(text)) => span(text).filter(|span| !span.is_zero()).ok_or_else(|| {
            format!("has a bad length '{text}'; write a time above zero such as 500ms or 3s")
        }),
    }
}

fn read_target(kind: FaultKind, word: &str) -> Result<Target, String> {
    if kind.reach() == Reach::Client {
        let process = word.strip_prefix("process=").and_then(|n| n.parse::<usize>().ok());
        return match (word, process.and_then(|number| number.checked_sub(1))) {
            ("one", _) => Ok(Target::One),
            (_, Some(index)) => Ok(Target::Process(index)),
            _ => Err(format!(
                "has an unknown target '{word}'; a process of the load is one or process=N"
            )),
        };
    }
    match word {
        "one" => return Ok(Target::One),
        "minority" => return Ok(Target::Minority),
        "majority" => return Ok(Target::Majority),
        "all" => return Ok(Target::All),
        _ => {}
    }
    let names = word.strip_prefix("node=").ok_or_else(|| {
        format!(
            "has an unknown target '{word}'; targets are one, minority, majority, all and node=N \
             (several: node=1+3)"
        )
    })?;
    let indices = names.split('+').map(parse_node).collect::<Result<Vec<_>, _>>();
    let set = indices.ok().and_then(NodeSet::new);
    set.map(Target::Nodes).ok_or_else(|| {
        format!("has a bad node number '{names}'; write node=1 for the first, node=1+3 for two")
    })
}

fn with(kind: FaultKind, degree: Degree, name: &str, value: &str) -> Result<Degree, String> {
    let bad = |what: &str| Err(format!("has a bad {name} '{value}'; {what}"));
    match (degree, name) {
        (Degree::Latency { delay, jitter }, "delay" | "jitter") => {
            let Some(span) = span(value).filter(|span| *span <= MAX_DELAY) else {
                return bad("write a time up to 60s, such as 20ms");
            };
            Ok(match name {
                // A jitter that nobody asked for must not stand in the way of a short delay.
                "delay" => Degree::Latency { delay: span, jitter: jitter.min(span) },
                _ => Degree::Latency { delay, jitter: span },
            })
        }
        (Degree::Bandwidth(_), "rate") => match bytes(value).filter(|rate| RATES.contains(rate)) {
            Some(rate) => Ok(Degree::Bandwidth(rate)),
            None => bad("write bytes per second, such as 64KiB or 1MiB, at least 100B"),
        },
        (Degree::Keep(_), "fraction") => match permille(value) {
            Some(permille) => Ok(Degree::Keep(permille)),
            None => bad("write a share between 0 and 1 of at most three digits, such as 0.1"),
        },
        _ => {
            let known = match kind.default_degree() {
                Degree::None => "it takes none".to_owned(),
                Degree::Latency { .. } => "it takes delay and jitter".to_owned(),
                Degree::Bandwidth(_) => "it takes rate".to_owned(),
                Degree::Keep(_) => "it takes fraction".to_owned(),
            };
            Err(format!("has an unknown parameter '{name}'; {known}"))
        }
    }
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.strip_suffix("/s").unwrap_or(text);
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let unit = match unit {
        "B" => 1,
        "kB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

fn permille(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("0.").filter(|digits| digits.len() <= 3)?;
    let whole = digits.chars().all(|c| c.is_ascii_digit());
    let padded = format!("{digits:0<3}");
    padded.parse::<u16>().ok().filter(|permille| whole && *permille > 0)
}

/// `500us`, `20ms`, `1.5s`, `2m`, up to seven days.
fn span(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let unit_ns: u128 = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || whole.len() > 18 || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let units = whole.parse::<u128>().ok()? * scale + fraction.parse::<u128>().ok()?;
    let span = Duration::from_nanos(u64::try_from(units.checked_mul(unit_ns)? / scale).ok()?);
    (span <= MAX_SPAN).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn every_kind_is_read_and_what_is_shown_can_be_read_again() {
        for kind in FaultKind::ALL {
            let name = kind.name();
            let text = match kind.length() {
                Length::None => format!("{name}@20s"),
                _ => format!("{name}@20s/1.5s"),
            };
            let read = fault(&text);
            assert_eq!((read.kind, read.at), (kind, Duration::from_secs(20)));
            assert_eq!((read.target, read.degree), (Target::One, kind.default_degree()));
            assert_eq!(fault(&read.to_string()), read, "{read}");
        }
        for text in [
            "kill@0s/1us:minority",
            "pause@1.5s/20ms:node=9",
            "partition@1m/1h:node=1+3+4",
            "latency@5s/3s:majority,delay=7ms,jitter=2ms",
            "bandwidth@5s/3s:all,rate=1500B",
            "bandwidth@5s/3s,rate=3MiB",
            "ttl-shrink@5s:node=2,fraction=0.05",
            "reset@5s",
            "client-pause@5s/12s:process=2",
        ] {
            let read = fault(text);
            assert_eq!(fault(&read.to_string()), read, "{read}");
        }
    }

    #[test]
    fn times_targets_and_parameters_mean_what_is_written() {
        assert_eq!(fault("kill@10s/1500ms:one"), fault("kill@10s/1.5s"));
        let nodes = fault("pause@0s/250us:node=2+n4");
        assert_eq!(nodes.target, Target::Nodes(NodeSet::new([1, 3]).unwrap()));
        assert_eq!((nodes.at, nodes.for_), (Duration::ZERO, Duration::from_micros(250)));
        assert_eq!(nodes.end(), Duration::from_micros(250));
        assert_eq!(fault("client-kill@1s:process=3").target, Target::Process(2));
        let ms = Duration::from_millis;
        let short = Degree::Latency { delay: ms(2), jitter: ms(2) };
        assert_eq!(fault("latency@1s/1s,delay=2ms").degree, short);
        assert_eq!(fault("bandwidth@1s/1s,rate=10KiB/s").degree, Degree::Bandwidth(10_240));
        assert_eq!(fault("ttl-shrink@1s/1s,fraction=0.5").degree, Degree::Keep(500));
    }

    #[test]
    fn bad_faults_are_named_with_what_is_wrong_and_what_to_write() {
        for (text, problem, advice) in [
            ("", "no '@'", "kill@10s/3s"),
            ("kill", "no '@'", "kill@10s/3s"),
            ("melt@1s/1s", "unknown kind", "drop-replies"),
            ("kill@1s", "no '/' and length", "kill@10s/3s"),
            ("kill@/1s", "bad start ''", "500ms"),
            ("kill@-1s/1s", "bad start", "500ms"),
            ("kill@1/1s", "bad start", "500ms"),
            ("kill@.5s/1s", "bad start", "500ms"),
            ("kill@999999999999999999h/1s", "bad start", "500ms"),
            ("kill@169h/1s", "bad start", "500ms"),
            ("kill@1s/0s", "bad length '0s'", "above zero"),
            ("kill@1s/1s1s", "bad length", "above zero"),
            ("flush@1s/1s", "at one instant", "flush@START"),
            ("client-kill@1s/1s", "at one instant", "client-kill@START"),
            ("kill@1s/1s:", "unknown target ''", "minority"),
            ("kill@1s/1s:some", "unknown target", "node=N"),
            ("kill@1s/1s:process=1", "unknown target", "node=N"),
            ("kill@1s/1s:node=0", "bad node", "node=1"),
            ("kill@1s/1s:node=1+", "bad node", "node=1"),
            ("kill@1s/1s:node=65", "bad node", "node=1"),
            ("client-pause@1s/1s:minority", "unknown target", "process=N"),
            ("client-pause@1s/1s:process=0", "unknown target", "process=N"),
            ("kill@1s/1s,delay=1ms", "unknown parameter 'delay'", "takes none"),
            ("latency@1s/1s,rate=1KiB", "unknown parameter 'rate'", "delay and jitter"),
            ("latency@1s/1s,delay", "'delay' for a parameter", "PARAM=VALUE"),
            ("latency@1s/1s,delay=1", "bad delay", "20ms"),
            ("latency@1s/1s,delay=61s", "bad delay", "60s"),
            ("latency@1s/1s,delay=1ms,delay=2ms", "twice", "leave one out"),
            ("latency@1s/1s,delay=1ms,jitter=2ms", "more jitter than delay", "lower jitter"),
            ("bandwidth@1s/1s,rate=64", "bad rate", "64KiB"),
            ("bandwidth@1s/1s,rate=99B", "bad rate", "at least 100B"),
            ("bandwidth@1s/1s,rate=99999999999999999999MiB", "bad rate", "64KiB"),
            ("ttl-shrink@1s,fraction=1", "bad fraction", "0.1"),
            ("ttl-shrink@1s,fraction=0.000", "bad fraction", "0.1"),
            ("ttl-shrink@1s,fraction=0.-1", "bad fraction", "0.1"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(&format!("fault '{text}'")), "{error}");
            assert!(error.contains(problem) && error.contains(advice), "{text}: {error}");
        }
    }
}
