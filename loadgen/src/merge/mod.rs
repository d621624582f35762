//! `loadgen merge A B.. -o OUT`: the results of several machines that loaded the same nodes at the
//! same time, as one result.
//!
//! Invariants:
//! 1. Histograms are added bit for bit; counts and rates are sums; no percentile is averaged.
//! 2. What cannot be known of the whole (a median of medians) is left out, not guessed.
//! 3. The verdict is the worst of all, and says that no machine checked exclusion against another.
//! 4. Runs of different settings, or of different times, are refused.

mod keep;
mod rules;
mod series;
mod show;
mod workloads;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::{NS_PER_S, Utc};
use crate::compare::settings;
use crate::document::{self, Document, Latency};
use crate::recorder::{Hist, Metric, histogram, merge};
use crate::report::html;
use crate::report::json::latency;
use crate::run::RunError;

const MOST_MACHINES: usize = 100;
/// Clocks of machines differ; starts that differ by more are no accident.
const APART_NS: u64 = NS_PER_S;

#[derive(Debug, Args)]
#[command(after_help = "\
Every machine makes its own run with the same settings and a --seed of its own, at the same time; \
intervals are aligned by their wall clocks. OUT gets result.json, report.txt, report.html and \
latency.hlog.

Exit codes: that of the merged verdict; 1 tool or I/O error, 2 runs that do not belong together.")]
pub(crate) struct MergeArgs {
    /// Results, one of each machine: a run's directory or its result.json
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Directory for the merged result
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

/// One machine's part in a merged result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) run: Option<String>,
    pub(crate) started_at: String,
    pub(crate) seed: u64,
    pub(crate) ok: u64,
    pub(crate) ok_rate: Option<f64>,
    pub(crate) response_p50_ns: Option<u64>,
    pub(crate) response_p99_ns: Option<u64>,
    pub(crate) outcome: crate::verdict::Outcome,
    pub(crate) safety: crate::verdict::Safety,
}

/// A result and where it came from.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    document: Document,
    /// Of the measured time, by the machine's wall clock.
    started_ns: u64,
}

/// Merges, writes, prints and gives back the verdict's exit code.
pub(crate) fn run(args: &MergeArgs) -> Result<u8, RunError> {
    if args.runs.len() > MOST_MACHINES {
        let text = format!("{} runs are too many; merge at most {MOST_MACHINES}", args.runs.len());
        return Err(RunError::Usage(text));
    }
    let sources = args.runs.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    belong_together(&sources).map_err(RunError::Usage)?;
    let tool =
        |what: String| move |error: std::io::Error| RunError::Tool(format!("{what}: {error}"));
    let out = args.out.display();
    if args.out.join("result.json").exists() {
        let text = format!("`{out}` holds a result already; choose another directory for -o");
        return Err(RunError::Usage(text));
    }
    std::fs::create_dir_all(&args.out).map_err(tool(format!("cannot create `{out}`")))?;
    let aligned = series::align(&sources, &args.out)
        .map_err(tool(format!("cannot write `{out}/latency.hlog`")))?;
    let merged = merge_all(&sources, &args.out, aligned).map_err(RunError::Tool)?;
    let mut json = serde_json::to_vec_pretty(&merged)
        .map_err(|error| RunError::Tool(format!("cannot write the result as JSON: {error}")))?;
    json.push(b'\n');
    let (text, page) = (show::text(&merged), html::render(&merged));
    for (name, bytes) in [
        ("result.json", json.as_slice()),
        ("report.txt", text.as_bytes()),
        ("report.html", page.as_bytes()),
    ] {
        let path = args.out.join(name);
        std::fs::write(&path, bytes).map_err(tool(format!("cannot write `{}`", path.display())))?;
    }
    // A reader that closed its end has seen enough; the files are written.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(merged.verdict.exit_code)
}

fn read(path: &Path) -> Result<Source, RunError> {
    let document = document::load(path).map_err(|error| RunError::Usage(error.to_string()))?;
    let started_ns = Utc::parse_iso(&document.run.started_at).ok_or_else(|| {
        let at: String = document.run.started_at.chars().take(40).collect();
        RunError::Usage(format!("`{}` has no date in run.started_at: `{at}`", path.display()))
    })?;
    Ok(Source { path: path.to_owned(), document, started_ns })
}

impl Source {
    fn ended_ns(&self) -> u64 {
        self.started_ns.saturating_add(self.document.run.duration_ns)
    }
}

/// Why these are not parts of one load.
fn belong_together(sources: &[Source]) -> Result<(), String> {
    let Some((first, others)) = sources.split_first() else { return Ok(()) };
    let mut lines = Vec::new();
    for (at, one) in sources.iter().enumerate() {
        let run = &one.document.run;
        let is_same = |other: &&Source| {
            let of = &other.document.run;
            (run.started_at == of.started_at)
                && (run.seed, run.monotonic_start_ns) == (of.seed, of.monotonic_start_ns)
        };
        if let Some(twin) = sources.iter().take(at).find(is_same) {
            let (a, b) = (twin.path.display(), one.path.display());
            lines.push(format!("`{a}` and `{b}` are the same run of the same clients"));
        }
    }
    let base = settings(&first.document);
    for other in others {
        let theirs = settings(&other.document);
        let names = base.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>();
        for name in names.into_iter().filter(|name| base.get(*name) != theirs.get(*name)) {
            let text = |of: Option<&String>| of.map_or("-", String::as_str).to_owned();
            lines.push(format!(
                "{name}: {} in `{}`, {} in `{}`",
                text(base.get(name)),
                first.path.display(),
                text(theirs.get(name)),
                other.path.display()
            ));
        }
        if other.started_ns >= first.ended_ns() || first.started_ns >= other.ended_ns() {
            lines.push(format!(
                "`{}` ran from {}, `{}` from {}: never at the same time",
                first.path.display(),
                first.document.run.started_at,
                other.path.display(),
                other.document.run.started_at
            ));
        }
    }
    lines.truncate(40);
    if lines.is_empty() {
        return Ok(());
    }
    let list = lines.join("\n  ");
    Err(format!(
        "these runs are not parts of one load:\n  {list}\nrun every machine with the same settings \
         and a --seed of its own, at the same time; `loadgen compare` is for runs that differ"
    ))
}

/// All as one document.
fn merge_all(sources: &[Source], out: &Path, aligned: series::Aligned) -> Result<Document, String> {
    let values: Vec<Value> = sources
        .iter()
        .map(|source| serde_json::to_value(&source.document).map_err(|e| e.to_string()))
        .collect::<Result<_, _>>()?;
    let mut all = rules::merge(&values);
    let put = |all: &mut Value, name: &str, value: Result<Value, serde_json::Error>| {
        let value = value.map_err(|error| format!("cannot merge {name}: {error}"))?;
        if let Some(fields) = all.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
        Ok::<(), String>(())
    };
    let metrics: Vec<Metric> =
        Metric::ALL.into_iter().filter(|&metric| metric != Metric::Attempts).collect();
    let whole = latencies(sources, &metrics, |document| Some(&document.latency_ns))?;
    put(&mut all, "latency_ns", serde_json::to_value(whole))?;
    put(&mut all, "workloads", serde_json::to_value(workloads::merge(sources)?))?;
    put(&mut all, "series", serde_json::to_value(&aligned.series))?;
    let kept = keep::Kept::of(sources, aligned.started_ns);
    put(&mut all, "heatmap", serde_json::to_value(&kept.heat))?;
    put(&mut all, "machines", serde_json::to_value(parts(sources)))?;
    let mut all: Document =
        serde_json::from_value(all).map_err(|error| format!("cannot merge: {error}"))?;
    all.run.id = out.file_name().map(|name| name.to_string_lossy().into_owned());
    all.run.started_at = Utc::from_unix_ns(aligned.started_ns).iso();
    all.run.duration_ns = aligned.ended_ns - aligned.started_ns;
    all.run.argv = std::env::args().collect();
    all.series.nodes = kept.nodes;
    all.contention.hottest_keys = kept.hottest_keys;
    all.verdict.warnings.extend(warnings(sources, &aligned));
    all.verdict.warnings.extend(kept.left_out);
    Ok(all)
}

type Latencies = std::collections::BTreeMap<String, Option<Latency>>;

/// The histograms that `of` a result has, added up.
fn latencies(
    sources: &[Source],
    metrics: &[Metric],
    of: impl Fn(&Document) -> Option<&Latencies>,
) -> Result<Latencies, String> {
    let percentiles =
        sources.first().map(|first| first.document.config.percentiles.clone()).unwrap_or_default();
    let mut all = Latencies::new();
    for metric in metrics {
        let mut sum: Option<Hist> = None;
        for source in sources {
            let latency = of(&source.document).and_then(|all| all.get(metric.name())?.as_ref());
            let Some(latency) = latency else { continue };
            let hist = latency.hist().ok_or_else(|| {
                let path = source.path.display();
                format!("the histogram of {} in `{path}` cannot be read", metric.name())
            })?;
            merge(sum.get_or_insert_with(histogram), &hist);
        }
        all.insert(metric.name().to_owned(), sum.map(|hist| latency(&hist, &percentiles)));
    }
    Ok(all)
}

fn parts(sources: &[Source]) -> Vec<Part> {
    let part = |source: &Source| {
        let document = &source.document;
        let hist = document.hist(Metric::Response).filter(|hist| !hist.is_empty());
        let at = |p| hist.as_ref().map(|hist| hist.value_at_percentile(p));
        Part {
            run: Some(source.path.display().to_string()),
            started_at: document.run.started_at.clone(),
            seed: document.run.seed,
            ok: document.totals.ok,
            ok_rate: document.totals.ok_rate,
            response_p50_ns: at(50.0),
            response_p99_ns: at(99.0),
            outcome: document.verdict.outcome,
            safety: document.safety.verdict,
        }
    };
    sources.iter().map(part).collect()
}

fn warnings(sources: &[Source], aligned: &series::Aligned) -> Vec<String> {
    let mut warnings = vec![
        "every machine checked exclusion among its own clients only; locks held on two machines at \
         once would not have been seen"
            .to_owned(),
    ];
    let latest = sources.iter().map(|source| source.started_ns).max().unwrap_or(0);
    if latest - aligned.started_ns > APART_NS {
        let apart = (latest - aligned.started_ns) as f64 / NS_PER_S as f64;
        warnings.push(format!(
            "the machines started {apart:.1} s apart by their own clocks: summed rates count time \
             in which not all of them ran; start them together and keep their clocks right"
        ));
    }
    let seeds: std::collections::BTreeSet<u64> =
        sources.iter().map(|source| source.document.run.seed).collect();
    if seeds.len() < sources.len() {
        warnings.push(
            "machines had the same seed, and so the same plan: their arrivals coincide; give each \
             a --seed of its own"
                .to_owned(),
        );
    }
    if !aligned.has_logs {
        warnings.push(
            "a run has no latency.hlog beside its result: the percentiles of single intervals are \
             not known of all machines together"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests;
