//! What the two hand-written Redlocks share: tokens, the release script, retry and validity.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::cell::TTL;

/// Compare-and-delete, as every peer has it.
pub(crate) const RELEASE: &str = r#"if redis.call("get", KEYS[1]) == ARGV[1] then
  return redis.call("del", KEYS[1])
end
return 0"#;

/// Contended cells: uniform between 0 and this, as rslock draws it.
pub(crate) const RETRY_DELAY_MS: u64 = 5;

/// 24 bytes, never the same twice: 16 of the process, 8 counted.
#[derive(Debug)]
pub(crate) struct Tokens {
    process: [u8; 16],
    next: AtomicU64,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        let mut process = [0; 16];
        for half in process.chunks_mut(8) {
            half.copy_from_slice(&RandomState::new().hash_one(0).to_ne_bytes());
        }
        Self { process, next: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> [u8; 24] {
        let mut token = [0; 24];
        let (process, count) = token.split_at_mut(16);
        process.copy_from_slice(&self.process);
        count.copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        token
    }
}

/// Whether a grant that began at `begin` is still worth having.
pub(crate) fn is_valid(begin: Instant) -> bool {
    let drift = TTL / 100 + Duration::from_millis(2);
    begin.elapsed() + drift < TTL
}

/// Waits before the next attempt of a contended acquire.
pub(crate) async fn back_off(token: &[u8; 24]) {
    let drawn = RandomState::new().hash_one(token) % RETRY_DELAY_MS;
    tokio::time::sleep(Duration::from_millis(drawn)).await;
}
