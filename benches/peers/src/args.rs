//! The command line: few flags, parsed by hand.

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::peer::{Flavour, Library, Peer};

pub(crate) const USAGE: &str = "\
peers [run]     acquire + release on a key per task, uncontended
peers handover  all tasks on one key

  --peers a,b      probe, probe-next, redlatch, redlatch-noseal, rslock, redisrs, fred;
                   all but the probes also -mt, -ct
  --tasks 1,64     concurrent tasks                   (run: 1,64,1024; handover: 64)
  --nodes 1,3,5    servers, each in memory only       (run: 1,3,5; handover: 5)
  --reps N         repetitions, peers interleaved     (3)
  --seconds S      measured window of a cell          (5)
  --warmup S       before it                          (0.7)
  --processes P    handover: the tasks in P processes (1)
  --hold D         handover: how long each task holds the lock, such as 1ms or 250us (0)
  --server PATH    server program                     (redis-server, else valkey-server)
  --json FILE      every repetition's figures
  --spin           keep the CPUs from halting with spinners of the idle class
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Run,
    Handover,
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) job: Job,
    pub(crate) peers: Vec<Peer>,
    pub(crate) tasks: Vec<usize>,
    pub(crate) nodes: Vec<usize>,
    pub(crate) reps: usize,
    pub(crate) seconds: f64,
    pub(crate) warmup_s: f64,
    pub(crate) processes: usize,
    pub(crate) hold: Duration,
    pub(crate) server: Option<String>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) spin: bool,
}

impl Args {
    fn defaults(job: Job) -> Self {
        let (groups, tasks, nodes): (&[&str], _, _) = match job {
            Job::Run => {
                let groups = &["probe", "redlatch", "rslock", "redisrs", "fred"];
                (groups, vec![1, 64, 1024], vec![1, 3, 5])
            }
            Job::Handover => {
                (&["probe-next", "redlatch", "rslock-mt", "redisrs-mt"], vec![64], vec![5])
            }
        };
        let peers = groups.iter().filter_map(|group| Peer::parse_group(group).ok()).flatten();
        Self {
            job,
            peers: peers.filter(|peer| is_built(*peer)).collect(),
            tasks,
            nodes,
            reps: 3,
            seconds: 5.0,
            warmup_s: 0.7,
            processes: 1,
            hold: Duration::ZERO,
            server: None,
            json: None,
            spin: false,
        }
    }

    /// `None` where help was asked for.
    pub(crate) fn parse(words: &[String]) -> Result<Option<Self>> {
        let mut words = words.iter().map(String::as_str).peekable();
        let job = match words.peek().copied() {
            Some("run") => Some(Job::Run),
            Some("handover") => Some(Job::Handover),
            _ => None,
        };
        if job.is_some() {
            words.next();
        }
        let mut args = Self::defaults(job.unwrap_or(Job::Run));
        let mut peers_are_chosen = false;
        while let Some(flag) = words.next() {
            if matches!(flag, "-h" | "--help") {
                return Ok(None);
            }
            if flag == "--spin" {
                args.spin = true;
                continue;
            }
            peers_are_chosen |= flag == "--peers";
            let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
            args.set(flag, value).map_err(|error| format!("{flag} {value}: {error}"))?;
        }
        if args.needs_tasks() && !peers_are_chosen {
            args.peers.retain(|peer| peer.flavour != Flavour::Raw);
        }
        args.check()?;
        Ok(Some(args))
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<()> {
        match flag {
            "--peers" => {
                self.peers.clear();
                for group in value.split(',') {
                    self.peers.extend(Peer::parse_group(group)?);
                }
            }
            "--tasks" => self.tasks = numbers(value, 1..=16_384)?,
            "--nodes" => self.nodes = numbers(value, 1..=9)?,
            "--reps" => self.reps = numbers(value, 1..=1000)?.pop().unwrap_or(1),
            "--seconds" => self.seconds = seconds(value, 0.05)?,
            "--warmup" => self.warmup_s = seconds(value, 0.0)?,
            "--processes" => self.processes = numbers(value, 1..=64)?.pop().unwrap_or(1),
            "--hold" => self.hold = hold(value)?,
            "--server" => self.server = Some(value.to_owned()),
            "--json" => self.json = Some(PathBuf::from(value)),
            _ => return Err("unknown flag; see --help".into()),
        }
        Ok(())
    }

    /// Several processes or a hold: the probes, which only know a queue of their own, have neither.
    fn needs_tasks(&self) -> bool {
        self.processes > 1 || !self.hold.is_zero()
    }

    fn check(&self) -> Result<()> {
        if self.needs_tasks() && self.job != Job::Handover {
            return Err("--processes and --hold are for handover".into());
        }
        if self.tasks.iter().any(|tasks| *tasks < self.processes) {
            return Err("every process needs a task: fewer --processes or more --tasks".into());
        }
        for peer in &self.peers {
            if !is_built(*peer) {
                return Err(format!("{peer} is not in this build: --features redlatch").into());
            }
            if self.job == Job::Handover && peer.library == Library::Probe {
                return Err("probe has no queue for one key: use probe-next".into());
            }
            if self.needs_tasks() && peer.flavour == Flavour::Raw {
                return Err(format!("{peer} knows neither --processes nor --hold").into());
            }
        }
        Ok(())
    }
}

fn is_built(peer: Peer) -> bool {
    let is_ours = matches!(peer.library, Library::Redlatch | Library::Unsealed);
    !is_ours || cfg!(feature = "redlatch")
}

fn numbers(text: &str, range: std::ops::RangeInclusive<usize>) -> Result<Vec<usize>> {
    let parse = |part: &str| match part.trim().parse::<usize>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("`{part}` is no number from {} to {}", range.start(), range.end())),
    };
    Ok(text.split(',').map(parse).collect::<Result<_, _>>()?)
}

/// `1ms`, `250us`, `0`.
fn hold(text: &str) -> Result<Duration> {
    let (number, unit) = if let Some(number) = text.strip_suffix("us") {
        (number, 1e-6)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1e-3)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1.0)
    } else {
        (text, if text == "0" { 1.0 } else { f64::NAN })
    };
    match number.parse::<f64>().map(|number| number * unit) {
        // A tenth of the ttl at most: no peer may lose its lock while it holds it.
        Ok(seconds) if (0.0..=1.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("`{text}` is no time from 0 to 1s, such as 1ms or 250us").into()),
    }
}

fn seconds(text: &str, least: f64) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(value) if value >= least && value <= 3600.0 => Ok(value),
        _ => Err(format!("`{text}` is no number of seconds from {least} to 3600").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Args>> {
        Args::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_choose_a_subset() {
        let args = parse("--peers probe,rslock,fred-ct --tasks 1,64 --nodes 5 --reps 2 --spin");
        let Ok(Some(args)) = args else { panic!("refused: {args:?}") };
        let names: Vec<String> = args.peers.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["probe", "rslock-mt", "rslock-ct", "fred-ct"]);
        assert_eq!((args.tasks, args.nodes, args.reps), (vec![1, 64], vec![5], 2));
        assert!(args.spin);
    }

    #[test]
    fn processes_and_hold_leave_the_probes_out() {
        let args = parse("handover --processes 4 --hold 250us");
        let Ok(Some(args)) = args else { panic!("refused: {args:?}") };
        assert_eq!((args.processes, args.hold), (4, Duration::from_micros(250)));
        assert!(args.peers.iter().all(|peer| peer.flavour != Flavour::Raw), "{:?}", args.peers);
        assert!(args.peers.len() >= 2);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--peers probe-mt",
            "--peers nobody",
            "--tasks 0",
            "--tasks",
            "--nodes 10",
            "--seconds NaN",
            "--frobnicate 1",
            "handover --peers probe",
            "handover --peers probe-next --processes 2",
            "handover --peers probe-next --hold 1ms",
            "handover --processes 65",
            "handover --processes 8 --tasks 7",
            "handover --hold 1",
            "handover --hold 2s",
            "handover --hold -1ms",
            "run --processes 2",
            "run --hold 1ms",
        ] {
            assert!(parse(line).is_err(), "{line} was accepted");
        }
    }
}
