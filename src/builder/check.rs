//! What settings can be used together.

use std::sync::Arc;
use std::time::Duration;

use crate::algorithm::script::RESERVED;
use crate::algorithm::tally::NODES_MAX;
use crate::builder::Builder;
use crate::config::{Drift, Settings, TTL_MAX, whole_millis};
use crate::endpoint::Endpoint;
use crate::engine::node::NodeSettings;
use crate::error::ConfigError;
use crate::resource::Resource;
use crate::session::quarantine::needed_ms;

impl Builder {
    pub(crate) fn check(
        mut self,
    ) -> Result<(Vec<Endpoint>, Settings, Arc<NodeSettings>), ConfigError> {
        if let Some(error) = self.first_error.take() {
            return Err(error.into());
        }
        let count = self.endpoints.len();
        if count == 0 {
            return Err(ConfigError::NoNodes);
        }
        if count > NODES_MAX {
            return Err(ConfigError::TooManyNodes { count, max: NODES_MAX });
        }
        for (at, first) in self.endpoints.iter().enumerate() {
            for second in self.endpoints.iter().skip(at + 1) {
                if first.same_server(second) {
                    let (first, second) = (first.to_string(), second.to_string());
                    return Err(ConfigError::DuplicateNode { first, second });
                }
            }
        }
        let majority = count / 2 + 1;
        let quorum = self.quorum.unwrap_or(majority);
        in_range("quorum", quorum, majority, count)?;
        in_range("max_inflight", self.max_inflight, 16, 1 << 20)?;
        in_range("max_queued_bytes", self.max_queued_bytes, 16 * 1024, 1 << 30)?;
        in_range("batch.max_commands", self.batching.max_commands, 1, 65_536)?;
        in_range("batch.max_bytes", self.batching.max_bytes, 256, 16 << 20)?;
        in_range("batch.gather_min_inflight", self.batching.gather_min_inflight, 1, 65_536)?;
        in_range("key_prefix's length", self.key_prefix.len(), 0, Resource::LEN_MAX - 1)?;
        if !(0.0..=0.9).contains(&self.min_validity) {
            let value = self.min_validity.to_string();
            let expected = "a share from 0 to 0.9".into();
            return Err(ConfigError::OutOfRange { name: "min_validity", value, expected });
        }
        let hour = Duration::from_secs(3_600);
        let ms = Duration::from_millis(1);
        for (name, value, least) in [
            ("node_timeout", self.node_timeout, ms),
            ("connect_timeout", self.connect_timeout, ms),
            ("unresponsive_after", self.unresponsive_after, self.node_timeout),
            ("heartbeat_interval", self.heartbeat_interval, ms),
            ("reconnect.base", self.reconnect.base, ms),
            ("reconnect.cap", self.reconnect.cap, self.reconnect.base),
            ("handoff.within", self.handoff.within, Duration::ZERO),
            ("retry.cap", self.retry.cap, self.retry.base),
        ] {
            if value < least || value > hour {
                let expected = format!("between {least:?} and {hour:?}");
                let value = format!("{value:?}");
                return Err(ConfigError::OutOfRange { name, value, expected });
            }
        }
        if self.client_name.bytes().any(|byte| !byte.is_ascii_graphic()) {
            let (value, expected) = (self.client_name, "printable, without spaces".into());
            return Err(ConfigError::OutOfRange { name: "client_name", value, expected });
        }
        let keys_ttl = self.ttl.saturating_add(self.lock_delay);
        let fitting = MAX_TTL_DEFAULT.max(keys_ttl).min(TTL_MAX);
        let max_ttl = self.max_ttl.unwrap_or(fitting);
        if max_ttl > TTL_MAX {
            let (value, expected) = (format!("{max_ttl:?}"), format!("at most {TTL_MAX:?}"));
            return Err(ConfigError::OutOfRange { name: "max_ttl", value, expected });
        }
        if self.key_prefix.starts_with(RESERVED) {
            let expected = format!("anything but `{RESERVED}`, which the engine keeps for itself");
            let value = self.key_prefix;
            return Err(ConfigError::OutOfRange { name: "key_prefix", value, expected });
        }
        if self.lock_delay > max_ttl {
            let (value, expected) = (format!("{:?}", self.lock_delay), "below `max_ttl`".into());
            return Err(ConfigError::OutOfRange { name: "lock_delay", value, expected });
        }
        let mut settings = Settings {
            key_prefix: self.key_prefix,
            ttl: self.ttl,
            max_ttl: max_ttl.saturating_sub(self.lock_delay),
            lock_delay: self.lock_delay,
            drift: self.drift,
            quorum,
            retry: self.retry,
            renewal: self.renewal,
            handoff: self.handoff,
            waiting: self.waiting,
            node_timeout: self.node_timeout,
            connect_timeout: self.connect_timeout,
            min_validity: self.min_validity,
            max_hold: self.max_hold,
            warnings: Vec::new(),
        };
        if !settings.is_usable_ttl(self.ttl) {
            let value = format!("{:?}", self.ttl);
            let (min, max) = (settings.ttl_min(), settings.max_ttl);
            let expected = format!("between {min:?} and {max:?} (`max_ttl` less `lock_delay`)");
            return Err(ConfigError::OutOfRange { name: "ttl", value, expected });
        }
        let chose_quorum = self.quorum.is_some();
        settings.warnings = warnings(count, chose_quorum, self.ttl, self.drift);
        let node_settings = Arc::new(NodeSettings {
            batching: self.batching,
            max_inflight: self.max_inflight,
            max_queued_bytes: self.max_queued_bytes,
            node_timeout: self.node_timeout,
            connect_timeout: self.connect_timeout,
            unresponsive_after: self.unresponsive_after,
            heartbeat_interval: self.heartbeat_interval,
            reconnect_base: self.reconnect.base,
            reconnect_cap: self.reconnect.cap,
            client_name: self.client_name,
            resp2_only: self.resp2_only,
            allow_eviction: self.allow_eviction,
            drift_ppm: self.drift.parts_per_million,
            word_age: word_age(self.min_validity, self.drift),
            quarantine_ms: needed_ms(max_ttl, self.drift.parts_per_million),
            protections: self.protections,
        });
        Ok((self.endpoints, settings, node_settings))
    }
}

/// Three times the default ttl.
const MAX_TTL_DEFAULT: Duration = Duration::from_secs(30);

/// An eighth of the ttl; less, where a lock that has lost so much might be refused as too slow,
/// though a confirmation could make it good.
fn word_age(min_validity: f64, drift: Drift) -> f64 {
    let to_spare = 1.0 - min_validity - f64::from(drift.parts_per_million) / 1e6;
    (to_spare / 2.0).clamp(0.0, 0.125)
}

/// What can be used, but was hardly meant.
fn warnings(nodes: usize, chose_quorum: bool, ttl: Duration, drift: Drift) -> Vec<String> {
    let mut warnings = Vec::new();
    if nodes.is_multiple_of(2) && !chose_quorum {
        let fewer = nodes - 1;
        warnings.push(format!(
            "{nodes} nodes keep working with as many of them down as {fewer} nodes would: add \
             one, or set `quorum` to say that you want an even number"
        ));
    }
    let valid = drift.share(whole_millis(ttl));
    if valid < ttl.saturating_sub(ttl / 5) {
        warnings.push(format!(
            "of a ttl of {ttl:?} only {valid:?} can be used, the rest is the drift allowance: \
             raise the ttl"
        ));
    }
    warnings
}

fn in_range(
    name: &'static str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let expected = format!("between {least} and {most}");
    Err(ConfigError::OutOfRange { name, value: value.to_string(), expected })
}
