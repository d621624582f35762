//! The workloads of a mix, from what each says of itself and what the flags say for all; and which
//! settings of a workload make no sense together.

use super::RunArgs;
use crate::config::RunConfig;
use crate::mode::Mode;
use crate::near;
use crate::scenario::{WorkloadArgs, own_prefix};
use crate::thresholds::Threshold;
use crate::workload::{self, Workload};

/// Names that one workload locks.
const MOST_KEYS: u32 = 10_000_000;

impl RunArgs {
    /// `config` with the workloads of the mix, if there is one.
    pub(super) fn mix(&self, config: RunConfig) -> Result<RunConfig, String> {
        let of = |args: &WorkloadArgs| self.workload(args, &config);
        let workloads: Vec<Workload> = self.workloads.iter().map(of).collect();
        if workloads.len() > workload::MOST_WORKLOADS {
            return Err(format!("a mix has at most {} workloads", workload::MOST_WORKLOADS));
        }
        for (at, of) in workloads.iter().enumerate() {
            if workloads.iter().take(at).any(|other| other.name == of.name) {
                return Err(format!("workload `{}` is there twice; rename one", of.name));
            }
        }
        workload::incompatible(&workloads)?;
        let config = config.mixed(workloads);
        for of in config.parts().iter() {
            check(of, self.max_ttl)?;
        }
        for threshold in &self.verdict.thresholds {
            exists(threshold, &config)?;
        }
        Ok(config)
    }

    fn workload(&self, of: &WorkloadArgs, base: &RunConfig) -> Workload {
        let prefix = || own_prefix(&base.key_prefix, &of.name);
        Workload {
            name: of.name.clone(),
            weight: of.weight,
            mode: of.mode.unwrap_or(base.mode),
            keys: of.keys.unwrap_or(base.keys),
            key_dist: of.key_dist.unwrap_or(base.key_dist),
            key_prefix: of.key_prefix.clone().unwrap_or_else(prefix),
            ttl_ns: of.ttl.unwrap_or(base.ttl_ns),
            hold: self.effective_hold(of.hold.unwrap_or(self.hold)),
            think_ns: of.think.unwrap_or(base.think_ns),
            wait_ns: of.wait.unwrap_or(base.wait_ns),
            // Who says how long it waits does wait.
            try_only: of.try_only.unwrap_or_else(|| base.try_only && of.wait.is_none()),
            fenced: of.fenced.unwrap_or(base.fenced),
        }
    }
}

/// The settings of one workload, or of a run that has one.
fn check(of: &Workload, max_ttl: Option<u64>) -> Result<(), String> {
    let is_named = !of.name.is_empty();
    let bad =
        |text: String| Err(if is_named { format!("workload `{}`: {text}", of.name) } else { text });
    // Flags, or keys of a table.
    let dash = if is_named { "" } else { "--" };
    if of.keys > MOST_KEYS {
        let keys = of.keys;
        return bad(format!("{dash}keys {keys} is too many; at most {MOST_KEYS} are supported"));
    }
    if of.mode != Mode::Mutex && of.fenced {
        return bad(format!(
            "{dash}fenced goes with {dash}mode mutex alone: other locks have no one order of \
             holders"
        ));
    }
    if let Mode::All(k) = of.mode
        && k > of.keys
    {
        let keys = of.keys;
        return bad(format!("{dash}mode all:{k} needs as many {dash}keys; there are {keys}"));
    }
    if max_ttl.is_some_and(|most| most < of.ttl_ns) {
        return bad("--max-ttl must not be shorter than --ttl".to_owned());
    }
    if of.key_prefix.len() > 1_024 {
        let key = if is_named { "key_prefix" } else { "--key-prefix" };
        return bad(format!("{key} is longer than 1024 bytes; use a shorter one"));
    }
    Ok(())
}

/// The workload that a threshold is about.
fn exists(threshold: &Threshold, config: &RunConfig) -> Result<(), String> {
    let Some(label) = threshold.workload() else { return Ok(()) };
    let names: Vec<&str> = config.workloads.iter().map(|of| of.name.as_str()).collect();
    if names.contains(&label.as_str()) {
        return Ok(());
    }
    let near = near::hint(label.as_str(), names.iter().copied());
    let hint = match names.as_slice() {
        [] => "; this run is no mix: leave the braces out".to_owned(),
        names if near.is_empty() => format!("; there are {}", names.join(", ")),
        _ => near,
    };
    Err(format!("--threshold `{threshold}`: no workload is called `{label}`{hint}"))
}
