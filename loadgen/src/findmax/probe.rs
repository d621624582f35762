//! One probe of a search: a short run, and whether it kept the bound.
//!
//! Invariant: a probe passes only if its run is valid, keeps the bound, and the rate was sustained:
//! whoever falls behind slowly is beyond the limit, too.

use std::ffi::OsString;

use serde::Serialize;

use super::growth;
use super::health::Health;
use super::ladder::rate_of_place;
use super::machine::Instant;
use super::windows::{self, Windows};
use crate::config::RunConfig;
use crate::document::Document;
use crate::report::hlog;
use crate::run::RunError;
use crate::series::Series;
use crate::series::figures::Figures;
use crate::sweep::words::{self, Setting};
use crate::thresholds::{self, Checked, Threshold};
use crate::verdict::Outcome;

/// One run of a search.
#[derive(Debug, Serialize)]
pub(crate) struct Probe {
    pub(super) rate: f64,
    #[serde(skip)]
    pub(super) place: i32,
    pub(super) dir: String,
    pub(super) passed: bool,
    /// Why it did not.
    pub(super) reason: Option<String>,
    /// The figure that is bounded, as it is shown: the median of the windows where there are some.
    pub(super) value: String,
    /// The same of the whole probe, its stalls included.
    pub(super) whole: String,
    pub(super) window_ns: Option<u64>,
    pub(super) median_ns: Option<f64>,
    /// The figure in each; `null` where nothing was answered.
    pub(super) windows: Vec<Option<u64>>,
    pub(super) health: Health,
    /// Why it does not count; known at the end of the search.
    pub(super) disturbed: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) exit_code: u8,
    pub(super) figures: Figures,
}

/// What a search needs to make its runs.
pub(super) struct Prober<'a> {
    pub(super) bound: &'a Threshold,
    pub(super) typed: &'a [OsString],
    pub(super) settings: &'a [Setting],
    pub(super) seed: u64,
    pub(super) duration_ns: u64,
    pub(super) warmup_ns: u64,
}

/// Why a run does not keep `bound` as a whole; `None` if it does.
pub(crate) fn failure(document: &Document, bound: &Threshold) -> Option<String> {
    let checked = checked(document, bound);
    invalid(document)
        .or_else(|| (!checked.ok).then(|| format!("{bound} not kept")))
        .or_else(|| growth::grows(document).then(|| GROWS.to_owned()))
}

const GROWS: &str = "arrivals under way grew in number: the rate is not sustained";

fn invalid(document: &Document) -> Option<String> {
    let reasons = &document.verdict.reasons;
    let first = || reasons.first().cloned().unwrap_or_else(|| "not valid".to_owned());
    (document.verdict.outcome != Outcome::Pass).then(first)
}

fn checked(document: &Document, bound: &Threshold) -> Checked {
    let checked = thresholds::check(std::slice::from_ref(bound), document, None);
    checked.into_iter().next().unwrap_or_default()
}

impl Prober<'_> {
    /// The settings of a probe at `rate`.
    pub(super) fn config(&self, rate: f64) -> Result<RunConfig, RunError> {
        let mut settings = self.settings.to_vec();
        settings.push(("rate".to_owned(), format!("{rate}")));
        let args = words::run_args(self.typed, &settings)?;
        let config = args.resolve("find-max", self.seed).map_err(RunError::Usage)?;
        let (duration_ns, warmup_ns) = (self.duration_ns, self.warmup_ns);
        Ok(RunConfig {
            duration_ns,
            warmup_ns,
            interval_ns: windows::SHORTEST_NS,
            // Thresholds of the run are judged by whoever looks at one; here the bound decides.
            thresholds: Vec::new(),
            // A rate that was missed is told here, in a way that one stall does not decide.
            allow_overload: true,
            ..config
        })
    }

    /// One probe at the rate of `place`; its files go to `dir`.
    pub(super) fn probe(
        &self,
        series: &mut Series,
        place: i32,
        dir: &str,
    ) -> Result<Probe, RunError> {
        let rate = rate_of_place(place);
        let before = Instant::now(series);
        let document = series.run(&self.config(rate)?, dir)?;
        let health = before.until(&Instant::now(series));
        if document.run.interrupted {
            return Err(RunError::Interrupted);
        }
        let windows = self.windows(series, &document, dir)?;
        let whole = checked(&document, self.bound);
        let value = match &windows {
            Some(windows) => self.bound.judge_latency(windows.median_ns, windows.samples),
            None => whole.clone(),
        };
        let reason = self.reason(&document, &value);
        Ok(Probe {
            rate,
            place,
            dir: dir.to_owned(),
            passed: reason.is_none(),
            reason,
            value: value.shown,
            whole: whole.shown,
            window_ns: windows.as_ref().map(|windows| windows.length_ns),
            median_ns: windows.as_ref().and_then(|windows| windows.median_ns),
            windows: windows.map(|windows| windows.values_ns).unwrap_or_default(),
            health,
            disturbed: None,
            outcome: document.verdict.outcome,
            exit_code: document.verdict.exit_code,
            figures: Figures::of(&document),
        })
    }

    fn windows(
        &self,
        series: &Series,
        document: &Document,
        dir: &str,
    ) -> Result<Option<Windows>, RunError> {
        let Some((metric, percentile, _)) = self.bound.latency_limit() else { return Ok(None) };
        let path = series.dir.join(dir).join("latency.hlog");
        let what = format!("cannot read `{}`", path.display());
        let all = hlog::read(&path, metric).map_err(RunError::tool(&what))?;
        Ok(Windows::of(&all, document.run.duration_ns, percentile))
    }

    fn reason(&self, document: &Document, value: &Checked) -> Option<String> {
        invalid(document)
            .or_else(|| growth::missed(document))
            .or_else(|| (!value.ok).then(|| format!("{} not kept", self.bound)))
            .or_else(|| growth::grows(document).then(|| GROWS.to_owned()))
    }
}
