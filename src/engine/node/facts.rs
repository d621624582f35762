//! What is known and counted of a node, besides whether it votes.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is known of a node besides its health; touched off the hot path only.
#[derive(Debug, Default)]
pub(crate) struct About {
    pub(crate) reason: Option<String>,
    pub(crate) server: Option<String>,
    pub(crate) run_id: Option<String>,
    pub(crate) round_trips: Option<hdrhistogram::Histogram<u64>>,
    /// The epoch it is in.
    pub(crate) epoch: Option<String>,
    /// What is wrong with how it is set up, though it works.
    pub(crate) warning: Option<String>,
}

/// Counters since the engine started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commands: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) disconnects: AtomicU64,
    pub(crate) late_grants_released: AtomicU64,
    pub(crate) withdrawn: AtomicU64,
    pub(crate) releases_given_up: AtomicU64,
    pub(crate) releases_repeated: AtomicU64,
    pub(crate) script_reloads: AtomicU64,
    pub(crate) seals_broken: AtomicU64,
    pub(crate) unfenced: AtomicU64,
    pub(crate) epochs: AtomicU64,
    pub(crate) topped_up: AtomicU64,
    pub(crate) clock_steps: AtomicU64,
    pub(crate) clock_steps_back: AtomicU64,
    pub(crate) gather_gain_x1000: AtomicU64,
    pub(crate) gather_delay_ns: AtomicU64,
}

/// Adds to a statistics counter.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
